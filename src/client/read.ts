/**
 * Reading: records or batches of one partition, or of all partitions of a topic one after the
 * other, from an offset or a time on.
 */

import { nextTurn } from "../platform/clock.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import type { Store } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import type { BatchFeed, CursorOptions } from "./batch_feed.ts";
import { batchFeed, feedBatch, feedWait } from "./batch_feed.ts";
import { recordsOrGap, tellGap } from "./gaps.ts";
import type { ReadOptions } from "./read_options.ts";
import type { Topic, TopicArgument } from "./topic.ts";
import { asTopicDeleted } from "./topic.ts";

/**
 * Records keep the buffer they were read into alive, so those are small; views share one large
 * buffer.
 */
const recordCursor: CursorOptions = { readBytes: 128 * 1024, reusesBuffer: false };
const batchCursor: CursorOptions = { readBytes: 256 * 1024, reusesBuffer: true };

/**
 * Reads records.
 *
 * @param store The store.
 * @param topic The topic's name for bytes, or a topic with types.
 * @param options What to read.
 * @returns The records of each partition in the order of their offsets. Leaving the loop ends the
 * reading, and so does an error.
 * @throws At once: TypeError or RangeError, OttlaError `UNKNOWN_TOPIC_OR_PARTITION`,
 * `OFFSET_OUT_OF_RANGE` if the log does not reach to where reading is to begin. While reading:
 * `OFFSET_OUT_OF_RANGE` if retention has overtaken the reader, `CORRUPT_MESSAGE` with `startOffset`
 * and `endOffset` of what is lost, `UNKNOWN_TOPIC_OR_PARTITION` if the topic was deleted,
 * `HANDLE_CLOSED` if the store was closed, and the signal's reason.
 */
export function read<K = Uint8Array | null, V = Uint8Array | null>(
  store: Store,
  topic: string | Topic<K, V>,
  options: ReadOptions = {},
): AsyncIterableIterator<LogRecord<K, V>> {
  const feed = batchFeed(store, topic as TopicArgument, options, recordCursor);
  const { key: keySerde, value: valueSerde } = typeof topic === "object"
    ? topic
    : { key: undefined, value: undefined };
  let left = options.limit ?? Infinity;
  let records: LogRecord[] = [];
  let index = 0;
  feed.isDone = left === 0;

  /**
   * Decodes the next batch that has a record. Returns false where nothing is to be had without
   * waiting.
   */
  const refill = (): boolean => {
    for (;;) {
      const batch = feedBatch(feed);
      if (batch === undefined) return false;
      if (isControlBatch(batch)) continue;
      records = recordsInRange(batch, feed);
      index = 0;
      if (records.length > 0) return true;
    }
  };
  return feedIterator(feed, (): LogRecord<K, V> | undefined => {
    if (index >= records.length && !refill()) return undefined;
    const record = records[index++]!;
    if (--left === 0) feed.isDone = true;
    const typed = record as LogRecord<K | null, V | null>;
    if (keySerde !== undefined && record.key !== null) typed.key = keySerde.deserialize(record.key);
    if (valueSerde !== undefined && record.value !== null) {
      typed.value = valueSerde.deserialize(record.value);
    }
    return typed as LogRecord<K, V>;
  });
}

/**
 * Reads batches without decoding their records: for hot loops, with `forEachRecord`.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types, whose serdes are not used.
 * @param options What to read; `limit` counts batches. A batch that holds the first or last offset
 * is given whole.
 * @returns The batches, their checksums verified; control batches included, but not where only what
 * was committed is read. Each lies in a buffer that is used again for the next.
 * @throws As `read`.
 */
export function readBatches(
  store: Store,
  topic: TopicArgument,
  options: ReadOptions = {},
): AsyncIterableIterator<BatchView> {
  const feed = batchFeed(store, topic, options, batchCursor);
  let left = options.limit ?? Infinity;
  feed.isDone = left === 0;
  return feedIterator(feed, () => {
    const batch = feedBatch(feed);
    if (batch !== undefined && --left === 0) feed.isDone = true;
    return batch;
  });
}

/**
 * After so many bytes timers and sockets get a turn, about every ten milliseconds: a loop over a
 * long history that waits for nothing else must not hold them up.
 */
const turnBytes = 4 * 1024 * 1024;

/** Iterates over what `take` gives, and waits where it gives nothing. */
function feedIterator<T>(feed: BatchFeed, take: () => T | undefined): AsyncIterableIterator<T> {
  const { signal } = feed.options;
  /** The last call that waits: those behind it are answered in order. */
  let waiting: Promise<unknown> | undefined;

  const takeNow = (): IteratorResult<T> | undefined => {
    if (feed.isDone) return { done: true, value: undefined };
    try {
      if (signal !== undefined) signal.throwIfAborted();
      const value = take();
      return value === undefined ? undefined : { done: false, value };
    } catch (error) {
      feed.isDone = true;
      const failure = asStorageError(`read ${feed.topic.name}`, error);
      throw asTopicDeleted(feed.store, feed.topic, failure);
    }
  };
  const takeLater = async (): Promise<IteratorResult<T>> => {
    if (feed.bytesSinceTurn >= turnBytes) {
      feed.bytesSinceTurn = 0;
      await nextTurn();
    }
    for (;;) {
      const result = takeNow();
      if (result !== undefined) return result;
      if (!(await feedWait(feed))) feed.isDone = true;
    }
  };
  return {
    next() {
      // Most calls find a decoded record: they get their promise without the cost of an async
      // function.
      if (waiting === undefined && feed.bytesSinceTurn < turnBytes) {
        try {
          const result = takeNow();
          if (result !== undefined) return Promise.resolve(result);
        } catch (error) {
          return Promise.reject(error);
        }
      }
      const later = waiting === undefined ? takeLater() : waiting.then(takeLater, takeLater);
      const settled = (): void => {
        if (waiting === later) waiting = undefined;
      };
      waiting = later;
      later.then(settled, settled);
      return later;
    },
    return() {
      feed.isDone = true;
      feed.wake?.();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The records of a batch without those before and behind what is wanted. */
function recordsInRange(batch: BatchView, feed: BatchFeed): LogRecord[] {
  const source = feed.sources[feed.current]!;
  const { startOffset, endOffset } = source;
  let records: LogRecord[];
  try {
    records = recordsOrGap(batch);
  } catch (error) {
    tellGap(feed.options.onGap, source.log.source, error);
    return [];
  }
  if (batch.baseOffset >= startOffset && batch.lastOffset < endOffset) return records;
  return records.filter(({ offset }) => offset >= startOffset && offset < endOffset);
}
