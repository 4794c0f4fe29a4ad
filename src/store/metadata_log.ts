/**
 * The metadata log `__cluster_metadata-0`: read at open, appended to by every change of a topic.
 *
 * Records are written as Kafka's controller writes them (src/FORMAT.md, section 5). The first
 * change after an opening begins a new epoch with a LEADER_CHANGE, as a new leader would; a store
 * that only writes data leaves the metadata log alone.
 */

import { zeroUuid } from "../bytes/uuid.ts";
import type { Log } from "../log/log.ts";
import { appendBuilt } from "../log/log.ts";
import { joinPath, replaceFile } from "../platform/files.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import {
  appendRecord,
  batchBuilder,
  finishBatch,
  openBatchBytes,
  resetBuilder,
} from "../record/batch_builder.ts";
import type { MetadataImage } from "./metadata_image.ts";
import type { FolderMetadata } from "./metadata_reader.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import { encodeControlKey, encodeControlRecord, encodeMetadataRecord } from "./metadata_records.ts";
import { applyRecord } from "./metadata_replay.ts";
import { printQuorumState, quorumStateName } from "./quorum_state.ts";
import { asStorageError } from "./store_errors.ts";

/** The metadata log of an open store. */
export interface MetadataLog {
  readonly log: Log;
  readonly image: MetadataImage;
  readonly nodeId: number;
  readonly builder: BatchBuilder;
  /**
   * The epoch of the last batch, of the quorum's state, or of the snapshot, whichever is the
   * highest.
   */
  lastEpoch: number;
  /** Whether this opening has begun its own epoch. */
  hasEpoch: boolean;
  /** Records that must come before any others. */
  pending: readonly MetadataRecord[];
  /** The last change that was begun; changes happen one after the other. */
  turn: Promise<unknown>;
}

/** A batch larger than this is not accepted by Kafka's controller. */
const metadataBatchBytesMax = 8 * 1024 * 1024;

/**
 * The metadata log of a folder, to be appended to.
 *
 * @param log The log, opened.
 * @param metadata What was read of it.
 * @param nodeId The id that the folder belongs to.
 * @returns The metadata log.
 */
export function metadataLog(log: Log, metadata: FolderMetadata, nodeId: number): MetadataLog {
  return {
    log,
    image: metadata.image,
    nodeId,
    builder: batchBuilder(),
    lastEpoch: metadata.lastEpoch,
    hasEpoch: false,
    pending: metadata.pending,
    turn: Promise.resolve(),
  };
}

/**
 * Makes a change of the metadata: nobody else's comes between looking at the image and applying the
 * change, and nothing is applied before it is on disk.
 *
 * @param metadata The metadata log.
 * @param change Looks at the image and gives the records that change it.
 * @param applied Called when they are on disk and in the image, before anybody else's turn.
 * @param failed Called if they could not be brought to disk, before anybody else's turn: with why,
 * and with whether nobody knows if they are there all the same. Then there is no further change
 * until the store is opened again, which shows whether this one is true.
 * @returns Resolves then.
 * @throws What the functions throw, and OttlaError `DISK_FULL` or `KAFKA_STORAGE_ERROR`.
 */
export function changeMetadata(
  metadata: MetadataLog,
  change: () => readonly MetadataRecord[],
  applied: () => void = () => {},
  failed: (cause: unknown, isUncertain: boolean) => void = () => {},
): Promise<void> {
  const turn = metadata.turn.then(async () => {
    try {
      await writeChange(metadata, change(), failed);
      applied();
    } catch (error) {
      throw asStorageError("change the topics of the store", error);
    }
  });
  // Whoever waits behind a change that failed still gets his turn.
  metadata.turn = turn.catch(() => {});
  return turn;
}

async function writeChange(
  metadata: MetadataLog,
  records: readonly MetadataRecord[],
  failed: (cause: unknown, isUncertain: boolean) => void,
): Promise<void> {
  if (records.length === 0) return;
  const { log, image } = metadata;
  let wasUsable = false;
  try {
    if (!metadata.hasEpoch) await beginEpoch(metadata);
    const all = [...metadata.pending, ...records];
    wasUsable = log.commit.failure === undefined;
    await appendMetadata(metadata, all.map(encodeMetadataRecord), log.clock.now());
  } catch (error) {
    // A log that had failed before takes nothing, so nothing of this is there.
    failed(error, wasUsable && log.commit.failure !== undefined);
    throw error;
  }
  metadata.pending = [];
  for (const record of records) applyRecord(image, record);
}

/** Begins an epoch of our own, as the leader of a quorum of one. */
async function beginEpoch(metadata: MetadataLog): Promise<void> {
  const { log, image, nodeId } = metadata;
  const epoch = metadata.lastEpoch + 1;
  const state = printQuorumState({
    dataVersion: image.kraftVersion === 0 ? 0 : 1,
    leaderId: nodeId,
    leaderEpoch: epoch,
    votedId: -1,
    votedDirectoryId: zeroUuid,
    currentVoters: [nodeId],
  });
  replaceFile(log.pool.fs, joinPath(log.folder, quorumStateName), state);
  metadata.lastEpoch = epoch;
  log.leaderEpoch = epoch;
  const value = encodeControlRecord({
    type: "LeaderChangeMessage",
    version: 0,
    leaderId: nodeId,
    voters: [{ voterId: nodeId, voterDirectoryId: zeroUuid }],
    grantingVoters: [{ voterId: nodeId, voterDirectoryId: zeroUuid }],
  });
  const { builder } = metadata;
  resetBuilder(builder);
  appendRecord(builder, log.clock.now(), encodeControlKey("LeaderChangeMessage"), value);
  finishBatch(builder, {
    baseOffset: log.endOffset,
    partitionLeaderEpoch: epoch,
    control: true,
  });
  await appendBuilt(log, builder, log.endOffset + 1, "disk");
  metadata.hasEpoch = true;
}

/** Appends values as data batches, all in one write. */
async function appendMetadata(
  metadata: MetadataLog,
  values: readonly Uint8Array[],
  timestamp: number,
): Promise<void> {
  const { builder, log } = metadata;
  let nextOffset = log.endOffset;
  const finish = (): void => {
    const baseOffset = nextOffset;
    nextOffset += builder.recordCount;
    finishBatch(builder, { baseOffset, partitionLeaderEpoch: log.leaderEpoch });
  };
  resetBuilder(builder);
  for (const value of values) {
    const isFull = openBatchBytes(builder) + value.length > metadataBatchBytesMax / 2;
    if (isFull && builder.recordCount > 0) finish();
    appendRecord(builder, timestamp, null, value);
  }
  finish();
  await appendBuilt(log, builder, nextOffset, "disk");
}
