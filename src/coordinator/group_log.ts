/**
 * The log behind all groups: `__consumer_offsets`, written as Kafka's coordinator writes it
 * (src/FORMAT.md, section 10.1).
 *
 * The topic is made by the first write, never by reading. All records of a group lie in one of its
 * partitions. What belongs together is one batch, so that after a crash it is there as a whole or
 * not at all; only what is larger than a batch or a segment can be is several.
 */

import { javaHashPartition } from "../bytes/java_hash.ts";
import { isOttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import { nextTurn } from "../platform/clock.ts";
import type { Ack, Log } from "../log/log.ts";
import { appendBuilt } from "../log/log.ts";
import { countFailedAppend } from "../log/log_stats.ts";
import { logCursor, nextBatch, readableEnd } from "../log/log_reader.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import { appendRecord, batchBuilder, finishBatch, resetBuilder } from "../record/batch_builder.ts";
import type { BatchView } from "../record/batch_view.ts";
import { hasFolder, logOf } from "../store/partitions.ts";
import type { PartitionState, StoreInternals, TopicState } from "../store/store.ts";
import { checkOpen, getTopicState } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { createTopicIn } from "../store/topics.ts";
import type { GroupRecord } from "./group_records.ts";
import { encodeGroupRecord, offsetsTopic } from "./group_records.ts";

/** The writing end of `__consumer_offsets`. */
export interface GroupLog {
  readonly store: StoreInternals;
  readonly builder: BatchBuilder;
  /** Writes that wait for the topic to be made, in the order of their calls. */
  readonly waiting: WaitingWrite[];
  /** The making of the topic that is under way. */
  creating: Promise<void> | undefined;
}

interface WaitingWrite {
  readonly write: () => Promise<void>;
  readonly resolve: (done: Promise<void>) => void;
  readonly reject: (error: unknown) => void;
}

/** Where records were appended. */
export interface AppendedRecords {
  /** Of the first one; they lie one behind the other. */
  readonly baseOffset: number;
  /** Resolves when they have reached their level; undefined if they have. */
  readonly done: Promise<void> | undefined;
}

/** As many as Kafka makes unless it is told otherwise. */
const offsetsPartitions = 50;
const offsetsSegmentBytes = 104_857_600;
/** What a batch has beside the keys and values of its records, and a record beside its own. */
const batchOverheadBytes = 61;
const recordOverheadBytes = 32;
/** A builder that has grown beyond is not kept. */
const builderBytesMax = 4 * 1024 * 1024;
/** How many bytes are read at once, and how many before the event loop has a turn. */
const readBytes = 1024 * 1024;
const turnBytes = 4 * 1024 * 1024;

/**
 * The writing end of the log of a store's groups.
 *
 * @param store The inside of a store.
 * @returns The log; nothing is touched yet.
 */
export function groupLog(store: StoreInternals): GroupLog {
  return { store, builder: batchBuilder(), waiting: [], creating: undefined };
}

/**
 * The topic that all groups are kept in.
 *
 * @param store The inside of a store.
 * @returns The topic, or undefined if nothing was ever written to it.
 */
export function findOffsetsTopic(store: StoreInternals): TopicState | undefined {
  return store.topics.get(offsetsTopic);
}

/**
 * Writes once there is a topic to write to: at once if there is, else when it has been made. Writes
 * keep the order of their calls.
 *
 * @param log The log.
 * @param write Writes, and gives what is to be waited for.
 * @returns Resolves when that does.
 * @throws What making the topic or writing throws; making it is tried again by the next write.
 */
export function whenWritable(log: GroupLog, write: () => Promise<void>): Promise<void> {
  if (log.waiting.length === 0 && findOffsetsTopic(log.store) !== undefined) return write();
  const written = new Promise<void>((resolve, reject) => {
    log.waiting.push({ write, resolve, reject });
  });
  log.creating ??= createOffsetsTopic(log);
  return written;
}

/** Makes the topic with Kafka's settings, then lets those write who wait for it. Never rejects. */
async function createOffsetsTopic(log: GroupLog): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  try {
    await createTopicIn(log.store, offsetsTopic, {
      partitions: offsetsPartitions,
      cleanupPolicy: "compact",
      compression: "producer",
      segmentBytes: offsetsSegmentBytes,
      ifNotExists: true,
    });
  } catch (error) {
    failure = { error };
  }
  log.creating = undefined;
  for (const { write, resolve, reject } of log.waiting.splice(0)) {
    if (failure !== undefined) {
      reject(failure.error);
      continue;
    }
    try {
      resolve(write());
    } catch (error) {
      reject(error);
    }
  }
}

/**
 * Appends records of a group, in one batch. `max.message.bytes` is for what clients produce: Kafka
 * reads and compacts larger batches.
 *
 * @param log The log; the topic must exist.
 * @param groupId The group.
 * @param records One or more.
 * @param ack The level that they are to reach.
 * @returns Where they are.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`, `HANDLE_CLOSED`; nothing was appended then,
 * or of what is larger than a segment what fits into the one before.
 */
export function appendGroupRecords(
  log: GroupLog,
  groupId: string,
  records: readonly GroupRecord[],
  ack: Ack,
): AppendedRecords {
  const { store, builder } = log;
  checkOpen(store);
  const topic = getTopicState(store, offsetsTopic);
  const state = topic.partitions[partitionOfGroup(topic, groupId)]!;
  const now = store.clock.now();
  try {
    const target = logOf(store, topic, state);
    const baseOffset = target.endOffset;
    const endOffset = buildBatches(builder, target, records, now);
    const done = appendBuilt(target, builder, endOffset, ack);
    return { baseOffset, done };
  } catch (cause) {
    const error = asStorageError(`write to the log of group ${groupId}`, cause);
    countFailedAppend(topic.stats, error);
    throw error;
  } finally {
    if (builder.bytes.length > builderBytesMax) Object.assign(builder, batchBuilder());
    resetBuilder(builder);
  }
}

/** Builds batches as large as can be. Returns the offset behind them. */
function buildBatches(
  builder: BatchBuilder,
  log: Log,
  records: readonly GroupRecord[],
  now: number,
): number {
  const { leaderEpoch: partitionLeaderEpoch, config } = log;
  const sizeBytesMax = Math.min(batchBytesMax, config.segmentBytes);
  let baseOffset = log.endOffset;
  let sizeBytes = batchOverheadBytes;
  resetBuilder(builder);
  for (const record of records) {
    const { key, value } = encodeGroupRecord(record);
    const recordBytes = key.length + (value?.length ?? 0) + recordOverheadBytes;
    if (builder.recordCount > 0 && sizeBytes + recordBytes > sizeBytesMax) {
      const { recordCount } = builder;
      finishBatch(builder, { baseOffset, partitionLeaderEpoch });
      baseOffset += recordCount;
      sizeBytes = batchOverheadBytes;
    }
    appendRecord(builder, now, key, value);
    sizeBytes += recordBytes;
  }
  const { recordCount } = builder;
  finishBatch(builder, { baseOffset, partitionLeaderEpoch });
  return baseOffset + recordCount;
}

/**
 * The partition that a group is kept in.
 *
 * @param topic `__consumer_offsets`.
 * @param groupId The group.
 * @returns The partition's number.
 */
export function partitionOfGroup(topic: TopicState, groupId: string): number {
  return javaHashPartition(groupId, topic.partitions.length);
}

/**
 * Reads a partition of the topic from its beginning, letting the event loop have its turns.
 *
 * @param store The inside of a store.
 * @param topic `__consumer_offsets`.
 * @param state One of its partitions; one without a folder has no batches.
 * @param visit Gets each batch; its bytes are those of the next one afterwards.
 * @param onDamage Gets what is said of damage; reading goes on behind it.
 * @throws OttlaError if the log cannot be opened or read, and what `visit` throws.
 */
export async function readGroupBatches(
  store: StoreInternals,
  topic: TopicState,
  state: PartitionState,
  visit: (batch: BatchView) => void,
  onDamage: (error: unknown) => void,
): Promise<void> {
  if (!hasFolder(store, state)) return;
  const log = logOf(store, topic, state);
  const endOffset = readableEnd(log);
  const cursor = logCursor(log, log.startOffset, { readBytes, reusesBuffer: true });
  let bytesSinceTurn = 0;
  for (;;) {
    let batch: BatchView | undefined;
    try {
      batch = nextBatch(cursor, endOffset);
    } catch (error) {
      if (!isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
      onDamage(error);
      continue;
    }
    if (batch === undefined) return;
    visit(batch);
    bytesSinceTurn += batch.sizeBytes;
    if (bytesSinceTurn < turnBytes) continue;
    bytesSinceTurn = 0;
    await nextTurn();
  }
}
