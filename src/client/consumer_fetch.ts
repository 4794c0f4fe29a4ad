/**
 * Takes records from the partitions of a consumer: batch by batch they take turns, and what one of
 * them has to complain about does not keep the others from being read.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import {
  isLookingAhead,
  isolatedCursor,
  isolatedEnd,
  nextVisibleBatch,
} from "../log/committed_reader.ts";
import type { Log } from "../log/log.ts";
import { releaseBuffer } from "../log/log_cursor.ts";
import { readableEnd } from "../log/log_reader.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import { logOf } from "../store/partitions.ts";
import { getPartitionState, getTopicState } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import type { ConsumedPartition, ConsumerState } from "./consumer_state.ts";
import { isGone } from "./consumer_state.ts";
import { isUnreadable, recordsOrGap, tellGap } from "./gaps.ts";
import { offsetOfTime } from "./offsets.ts";
import { textOfThrown } from "./thrown_text.ts";
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
        state.failures.set(entry, error);
        break;
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
  const { partitions, failures } = state;
  const present = partitions[state.current];
  if (present !== undefined && hasRecord(state, present)) return present;
  for (let tried = 0; tried < partitions.length; tried++) {
    state.current = (state.current + 1) % partitions.length;
    const entry = partitions[state.current]!;
    if (hasRecord(state, entry)) return entry;
    // What failed is tried again when that was told.
    if (entry.isPaused || state.unplaced.has(entry) || failures.has(entry)) continue;
    try {
      if (fillEntry(state, entry)) return entry;
    } catch (error) {
      // What it could not read is not passed over: the next look begins at the position again.
      entry.cursor = undefined;
      failures.set(entry, errorOf(entry, error));
    }
  }
  return undefined;
}

function hasRecord({ failures }: ConsumerState, entry: ConsumedPartition): boolean {
  return entry.index < entry.records.length && !entry.isPaused && !failures.has(entry);
}

/** What a poll is told of a partition that cannot be read, with the way on if there is one. */
function errorOf({ topic, partition }: ConsumedPartition, error: unknown): unknown {
  if (!isUnreadable(error)) return asStorageError(`consume ${topic}-${partition}`, error);
  const { code, details, message } = error;
  const text = `${message}; to go on behind it, seek to ${String(details["endOffset"])}`;
  return new OttlaError(code, text, { cause: error, details });
}

/** Decodes the next batch of a partition that has a record behind its position. */
function fillEntry(state: ConsumerState, entry: ConsumedPartition): boolean {
  entry.records = noRecords;
  entry.index = 0;
  try {
    if (isGone(entry)) return followNewTopic(state, entry) && fillFromLog(state, entry);
    if (entry.cursor === undefined && entry.position < 0) resetPosition(state, entry);
    else if (entry.cursor === undefined) placeEntry(state, entry, entry.position);
    return fillFromLog(state, entry);
  } catch (error) {
    if (!isOttlaError(error, "OFFSET_OUT_OF_RANGE")) throw error;
    resetPosition(state, entry, error);
    return fillFromLog(state, entry);
  }
}

function fillFromLog(state: ConsumerState, entry: ConsumedPartition): boolean {
  const { log, cursor } = entry;
  if (log === undefined || cursor === undefined) return false;
  const endOffset = isolatedEnd(log, state.options.isolation);
  while (cursor.offset < endOffset) {
    try {
      const batch = nextVisibleBatch(cursor, endOffset);
      // The batch that it holds back lies behind the position.
      if (isLookingAhead(cursor)) return false;
      if (batch === undefined) break;
      if (!isControlBatch(batch)) entry.records = recordsFrom(batch, entry.position);
    } catch (error) {
      tellGap(state.options.onGap, log.source, error);
      // Who was told may have moved the consumer elsewhere.
      if (entry.cursor !== cursor) return fillFromLog(state, entry);
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
    return new OttlaError(
      "INVALID_RECORD",
      `Cannot deserialize the ${part} of offset ${offset} of ${topic}-${partition}: ` +
        `${textOfThrown(cause)}; to go on behind it, seek to ${offset + 1}`,
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
  const log = logOfEntry(state, entry);
  const cursor = isolatedCursor(log, offset, cursorOptions, state.options.isolation);
  if (isGone(entry)) entry.committed = -1;
  placeLater(state, entry, offset);
  entry.log = log;
  entry.cursor = cursor;
}

/**
 * Has the next look at a partition give it a position: what keeps it from being read is told then,
 * and not what was found where it was.
 *
 * @param state The consumer.
 * @param entry The partition.
 * @param offset The next offset to be given out.
 */
export function placeLater(state: ConsumerState, entry: ConsumedPartition, offset: number): void {
  state.failures.delete(entry);
  entry.cursor = undefined;
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
  const log = logOfEntry(state, entry);
  if (reset === "none") throw cause ?? noOffsetError(state, entry);
  placeEntry(state, entry, offsetOfReset(state, log, reset));
}

function offsetOfReset(
  { store, options }: ConsumerState,
  log: Log,
  reset: "earliest" | "latest" | { readonly durationMs: number },
): number {
  if (reset === "earliest") return log.startOffset;
  if (reset === "latest") return isolatedEnd(log, options.isolation);
  const timestamp = Math.max(0, store.clock.now() - reset.durationMs);
  return offsetOfTime(log, timestamp) ?? readableEnd(log);
}

function logOfEntry({ store }: ConsumerState, { topic, partition }: ConsumedPartition): Log {
  const state = getTopicState(store, topic);
  return logOf(store, state, getPartitionState(state, partition));
}

/**
 * Where a topic was deleted and made anew under its name, goes on with the new one. Returns false if
 * it was not, and the group of the consumer will tell.
 */
function followNewTopic(state: ConsumerState, entry: ConsumedPartition): boolean {
  const { store } = state;
  const topic = store.topics.get(entry.topic);
  const partition = topic?.partitions[entry.partition];
  if (store.state !== "open" || topic === undefined || partition === undefined) {
    if (state.member !== undefined && store.state === "open") return false;
    const gone = { name: entry.topic } as Parameters<typeof asTopicDeleted>[1];
    throw asTopicDeleted(store, gone, new OttlaError("HANDLE_CLOSED", "the log is closed"));
  }
  state.tracker?.forget([entry]);
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
