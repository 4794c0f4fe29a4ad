/**
 * The metadata log `__cluster_metadata-0`: replayed at open, appended to by every change of a topic.
 *
 * Records are written as Kafka's controller writes them (KRAFT-METADATA sections 2 and 3). The first change after an opening begins a new
 * epoch with a LEADER_CHANGE, as a new leader would; a store that only writes data leaves the metadata log alone.
 */

import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { appendBuilt } from "../log/log.ts";
import { logCursor, nextBatch, readableEnd } from "../log/log_reader.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile, replaceFile } from "../platform/files.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import {
  appendRecord,
  batchBuilder,
  finishBatch,
  openBatchBytes,
  resetBuilder,
} from "../record/batch_builder.ts";
import type { BatchView } from "../record/batch_view.ts";
import {
  batchesIn,
  isControlBatch,
  partitionLeaderEpochOf,
  verifyChecksum,
} from "../record/batch_view.ts";
import { forEachRecord, keyOf, valueOf } from "../record/record_reader.ts";
import type { MetadataImage } from "./metadata_image.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeControlKey,
  encodeControlRecord,
  encodeMetadataRecord,
} from "./metadata_records.ts";
import { applyControlRecord, applyRecord, finishReplay } from "./metadata_replay.ts";
import { parseQuorumState, printQuorumState, quorumStateName } from "./quorum_state.ts";
import { zeroUuid } from "../bytes/uuid.ts";

/** The metadata log of an open store. */
export interface MetadataLog {
  readonly log: Log;
  readonly image: MetadataImage;
  readonly nodeId: number;
  readonly builder: BatchBuilder;
  /** The epoch of the last batch, of the quorum's state, or of the snapshot, whichever is the highest. */
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
const snapshotName = /^(\d{20})-(\d{10})\.checkpoint$/;
const snapshotBytesMax = 2 ** 30;

/**
 * Replays the metadata log into an image.
 *
 * @param log The log.
 * @param image An empty image.
 * @param nodeId The id that the folder belongs to.
 * @returns The metadata log, to be appended to.
 * @throws OttlaError `STORE_INVALID` if it is damaged, `UNSUPPORTED_VERSION` if a newer Kafka wrote it.
 */
export function replayMetadata(log: Log, image: MetadataImage, nodeId: number): MetadataLog {
  const { fs } = log.pool;
  const snapshot = findSnapshot(fs, log);
  let lastEpoch = 0;
  let offset = log.startOffset;
  if (snapshot !== undefined) {
    lastEpoch = snapshot.epoch;
    offset = Math.max(offset, snapshot.offset);
    replaySnapshot(fs, snapshot.path, image);
  }
  if (offset <= log.endOffset) lastEpoch = Math.max(lastEpoch, replayLog(log, offset, image));
  const quorumPath = joinPath(log.folder, quorumStateName);
  const quorum = readFile(fs, quorumPath);
  if (quorum !== undefined && quorum.length > 0) {
    lastEpoch = Math.max(lastEpoch, parseQuorumState(quorum, quorumPath).leaderEpoch);
  }
  return {
    log,
    image,
    nodeId,
    builder: batchBuilder(),
    lastEpoch,
    hasEpoch: false,
    pending: finishReplay(image),
    turn: Promise.resolve(),
  };
}

/**
 * Makes a change of the metadata: nobody else's comes between looking at the image and applying the change, and nothing is applied before
 * it is on disk.
 *
 * @param metadata The metadata log.
 * @param change Looks at the image and gives the records that change it.
 * @returns Resolves with the records when they are on disk and in the image.
 * @throws What `change` throws, and OttlaError `DISK_FULL` or `KAFKA_STORAGE_ERROR`.
 */
export function changeMetadata(
  metadata: MetadataLog,
  change: () => readonly MetadataRecord[],
): Promise<readonly MetadataRecord[]> {
  const turn = metadata.turn.then(() => writeChange(metadata, change()));
  // Whoever waits behind a change that failed still gets his turn.
  metadata.turn = turn.catch(() => {});
  return turn;
}

async function writeChange(
  metadata: MetadataLog,
  records: readonly MetadataRecord[],
): Promise<readonly MetadataRecord[]> {
  if (records.length === 0) return records;
  const { log, image } = metadata;
  if (!metadata.hasEpoch) await beginEpoch(metadata);
  const all = [...metadata.pending, ...records];
  await appendMetadata(metadata, all.map(encodeMetadataRecord), log.clock.now());
  metadata.pending = [];
  for (const record of records) applyRecord(image, record);
  return records;
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

function replayLog(log: Log, offset: number, image: MetadataImage): number {
  const cursor = logCursor(log, offset, { readBytes: 1024 * 1024, reusesBuffer: true });
  let lastEpoch = 0;
  if (log.gaps.length > 0) {
    const gap = log.gaps[0]!;
    throw damagedMetadata(log, `offsets ${gap.startOffset} to ${gap.endOffset - 1} are lost`);
  }
  try {
    for (;;) {
      const batch = nextBatch(cursor, readableEnd(log));
      if (batch === undefined) return lastEpoch;
      lastEpoch = Math.max(lastEpoch, partitionLeaderEpochOf(batch));
      replayBatch(batch, offset, image, "log");
    }
  } catch (cause) {
    const isDamage = cause instanceof OttlaError && cause.code === "CORRUPT_MESSAGE";
    throw isDamage ? damagedMetadata(log, cause.message, cause) : cause;
  }
}

function replayBatch(
  batch: BatchView,
  startOffset: number,
  image: MetadataImage,
  origin: "log" | "snapshot",
): void {
  const isControl = isControlBatch(batch);
  forEachRecord(batch, (record) => {
    if (record.offset < startOffset) return;
    const value = valueOf(record);
    if (isControl) {
      const key = keyOf(record);
      if (key !== null && value !== null) {
        applyControlRecord(image, decodeControlRecord(key, value));
      }
    } else if (value !== null) {
      applyRecord(image, decodeMetadataRecord(value), origin);
    }
  });
}

/** The newest snapshot that a Kafka has left. */
function findSnapshot(
  fs: FileSystem,
  log: Log,
): { path: string; offset: number; epoch: number } | undefined {
  let newest: { path: string; offset: number; epoch: number } | undefined;
  for (const { name } of fs.list(log.folder)) {
    const match = snapshotName.exec(name);
    if (match === null) continue;
    const found = {
      path: joinPath(log.folder, name),
      offset: Number(match[1]),
      epoch: Number(match[2]),
    };
    const isNewer = newest === undefined || found.offset > newest.offset ||
      (found.offset === newest.offset && found.epoch > newest.epoch);
    if (isNewer) newest = found;
  }
  return newest;
}

function replaySnapshot(fs: FileSystem, path: string, image: MetadataImage): void {
  const bytes = readFile(fs, path, snapshotBytesMax);
  if (bytes === undefined) return;
  let end = 0;
  for (const batch of batchesIn(bytes)) {
    verifyChecksum(batch);
    replayBatch(batch, 0, image, "snapshot");
    end = batch.position + batch.sizeBytes;
  }
  if (end !== bytes.length) {
    throw new OttlaError(
      "STORE_INVALID",
      `Cannot read the snapshot ${path}: it ends within a batch at position ${end}`,
      { details: { path, position: end } },
    );
  }
}

function damagedMetadata(log: Log, reason: string, cause?: unknown): OttlaError {
  return new OttlaError(
    "STORE_INVALID",
    `Cannot open the store: its metadata log ${log.folder} is damaged: ${reason}`,
    { cause, details: { folder: log.folder } },
  );
}
