/**
 * Takes records from the partitions of a consumer: batch by batch they take turns, and what one of
 * them has to complain about does not keep the others from being read.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { releaseBuffer } from "../log/log_cursor.ts";
import { findOffsetForTimestamp, logCursor, nextBatch, readableEnd } from "../log/log_reader.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import { logOf } from "../store/partitions.ts";
import { getPartitionState, getTopicState } from "../store/store.ts";
import type { ConsumedPartition, ConsumerState } from "./consumer_state.ts";
import { recordsOrGap, tellGap } from "./gaps.ts";
import { asTopicDeleted } from "./topic.ts";

/** Records keep the buffer they were read into alive. */
const cursorOptions = { readBytes: 128 * 1024, reusesBuffer: false } as const;
const noRecords: readonly LogRecord[] = [];

/**
 * Takes records that are there.
 *
 * @param state The consumer.
 * @param target Gets the records.
 * @param recordsMax How many there may be in it.
 * @returns How many bytes their keys and values have.
 */
export function takeRecords(state: ConsumerState, target: LogRecord[], recordsMax: number): number {
  let sizeBytes = 0;
  while (target.length < recordsMax) {
    const entry = entryWithRecords(state);
    if (entry === undefined) break;
    const end = Math.min(entry.records.length, entry.index + recordsMax - target.length);
    while (entry.index < end) {
      const record = entry.records[entry.index]!;
      const recordBytes = (record.key?.length ?? 0) + (record.value?.length ?? 0);
      const error = deserializeRecord(state, entry, record);
      if (error !== undefined && state.tracker?.takeUndeserializable(record, error) !== true) {
        state.failure ??= { error };
        // The others have their turns before this one fails again.
        state.current = (state.current + 1) % state.partitions.length;
        return sizeBytes;
      }
      target.push(record);
      sizeBytes += recordBytes;
      state.bytesSinceTurn += recordBytes;
      entry.index++;
      entry.position = record.offset + 1;
    }
    if (entry.index >= entry.records.length) entry.records = noRecords;
  }
  return sizeBytes;
}

/** The partition whose turn it is and that has a record; undefined if there is none now. */
function entryWithRecords(state: ConsumerState): ConsumedPartition | undefined {
  const { partitions } = state;
  const present = partitions[state.current];
  if (present !== undefined && !present.isPaused && present.index < present.records.length) {
    return present;
  }
  for (let tried = 0; tried < partitions.length; tried++) {
    state.current = (state.current + 1) % partitions.length;
    const entry = partitions[state.current]!;
    if (entry.isPaused || state.unplaced.has(entry)) continue;
    if (entry.index < entry.records.length) return entry;
    try {
      if (fillEntry(state, entry)) return entry;
    } catch (error) {
      state.failure ??= { error };
    }
  }
  return undefined;
}

/** Decodes the next batch of a partition that has a record behind its position. */
function fillEntry(state: ConsumerState, entry: ConsumedPartition): boolean {
  entry.records = noRecords;
  entry.index = 0;
  try {
    if (entry.cursor === undefined) resetPosition(state, entry);
    return fillFromLog(state, entry);
  } catch (error) {
    if (isOttlaError(error, "OFFSET_OUT_OF_RANGE")) {
      resetPosition(state, entry, error);
      return fillFromLog(state, entry);
    }
    if (isOttlaError(error, "HANDLE_CLOSED") && followNewTopic(state, entry)) return false;
    throw error;
  }
}

function fillFromLog(state: ConsumerState, entry: ConsumedPartition): boolean {
  const { log, cursor } = entry;
  if (log === undefined || cursor === undefined) return false;
  const endOffset = readableEnd(log);
  while (cursor.offset < endOffset) {
    try {
      const batch = nextBatch(cursor, endOffset);
      if (batch === undefined) break;
      if (!isControlBatch(batch)) entry.records = recordsFrom(batch, entry.position);
    } catch (error) {
      // Whoever looks again begins behind the damage, which was told once.
      if (isOttlaError(error, "CORRUPT_MESSAGE")) entry.position = cursor.offset;
      tellGap(state.options.onGap, log.source, error);
    }
    if (entry.records.length > 0) return true;
    entry.position = cursor.offset;
  }
  // Compaction may have left nothing up to the end.
  if (cursor.offset < endOffset) cursor.offset = endOffset;
  entry.position = cursor.offset;
  releaseBuffer(cursor);
  return false;
}

/** The records of a batch without those that were given out before. */
function recordsFrom(batch: BatchView, position: number): LogRecord[] {
  const records = recordsOrGap(batch);
  if (batch.baseOffset >= position) return records;
  return records.filter(({ offset }) => offset >= position);
}

/** Puts key and value through the topic's serdes; if they fail the record stays as it is. */
function deserializeRecord(
  state: ConsumerState,
  entry: ConsumedPartition,
  record: LogRecord,
): OttlaError | undefined {
  const { keySerde, valueSerde } = entry;
  if (keySerde === undefined && valueSerde === undefined) return undefined;
  const { key, value } = record;
  state.tracker?.stored.set(record, { key, value });
  let part = "key";
  try {
    const typedKey = keySerde !== undefined && key !== null ? keySerde.deserialize(key) : key;
    part = "value";
    const typed = record as { key: unknown; value: unknown };
    if (valueSerde !== undefined && value !== null) typed.value = valueSerde.deserialize(value);
    typed.key = typedKey;
    return undefined;
  } catch (cause) {
    const { topic, partition, offset } = record;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new OttlaError(
      "INVALID_RECORD",
      `Cannot deserialize the ${part} of offset ${offset} of ${topic}-${partition}: ${reason}; to ` +
        `go on behind it, seek to ${offset + 1}`,
      { cause, details: { topic, partition, offset } },
    );
  }
}

/**
 * Gives a partition a position.
 *
 * @param state The consumer.
 * @param entry The partition.
 * @param offset The next offset to be given out.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if the log does not reach there,
 * `UNKNOWN_TOPIC_OR_PARTITION`.
 */
export function placeEntry(state: ConsumerState, entry: ConsumedPartition, offset: number): void {
  const log = openEntry(state, entry);
  entry.cursor = logCursor(log, offset, cursorOptions);
  state.tracker?.forget([entry]);
  entry.records = noRecords;
  entry.index = 0;
  entry.position = offset;
  entry.handled = offset;
}

/**
 * Gives a partition the position that `autoOffsetReset` names.
 *
 * @param state The consumer.
 * @param entry The partition.
 * @param cause Why the position it had does not count, if it had one.
 * @throws OttlaError `NO_OFFSET_FOR_PARTITION` or the cause if there is to be no reset.
 */
export function resetPosition(
  state: ConsumerState,
  entry: ConsumedPartition,
  cause?: OttlaError,
): void {
  const reset = state.options.autoOffsetReset ?? "latest";
  const log = openEntry(state, entry);
  if (reset === "none") throw cause ?? noOffsetError(state, entry);
  placeEntry(state, entry, offsetOfReset(log, reset, state.store.clock.now()));
}

function offsetOfReset(
  log: Log,
  reset: "earliest" | "latest" | { readonly durationMs: number },
  now: number,
): number {
  if (reset === "earliest") return log.startOffset;
  const endOffset = readableEnd(log);
  if (reset === "latest") return endOffset;
  return findOffsetForTimestamp(log, Math.max(0, now - reset.durationMs))?.offset ?? endOffset;
}

function openEntry(state: ConsumerState, entry: ConsumedPartition): Log {
  const topic = getTopicState(state.store, entry.topic);
  entry.log = logOf(state.store, topic, getPartitionState(topic, entry.partition));
  return entry.log;
}

/**
 * Where a topic was deleted and made anew under its name, goes on with the new one. Returns false if
 * it was not.
 */
function followNewTopic(state: ConsumerState, entry: ConsumedPartition): boolean {
  const { store } = state;
  const topic = store.topics.get(entry.topic);
  const partition = topic?.partitions[entry.partition];
  if (store.state !== "open" || topic === undefined || partition === undefined) {
    // A member is told by its group.
    if (state.member !== undefined && store.state === "open") return true;
    const gone = { name: entry.topic } as Parameters<typeof asTopicDeleted>[1];
    throw asTopicDeleted(store, gone, new OttlaError("HANDLE_CLOSED", "the log is closed"));
  }
  if (partition.log === entry.log) return false;
  entry.committed = -1;
  placeEntry(state, entry, logOf(store, topic, partition).startOffset);
  return true;
}

function noOffsetError(state: ConsumerState, { topic, partition }: ConsumedPartition): OttlaError {
  const { groupId } = state.options;
  return new OttlaError(
    "NO_OFFSET_FOR_PARTITION",
    `Cannot consume ${topic}-${partition}: group ${
      String(groupId)
    } has committed no offset there ` +
      `and autoOffsetReset is "none"; seek to where it is to begin`,
    { details: { topic, partition, groupId } },
  );
}
