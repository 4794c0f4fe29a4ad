/**
 * Reading: records or batches of one partition, or of all partitions of a topic one after the other, from an offset or a time on.
 *
 * What is on disk is read synchronously in pieces of a few hundred kilobytes; only who has caught up with a live log waits, and is woken by
 * the append that he waits for. There is no moment between history and live at which a record could be missed: both are the same cursor.
 */

import type { OttlaError } from "../errors.ts";
import { isOttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { checkUsable } from "../log/log.ts";
import type { LogCursor } from "../log/log_reader.ts";
import { findOffsetForTimestamp, logCursor, nextBatch, readableEnd } from "../log/log_reader.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import { recordsOf } from "../record/record_reader.ts";
import { logOf } from "../store/partitions.ts";
import type { Store } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { checkWholeNumber } from "../store/store_options.ts";
import type { Topic, TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** A stretch of a log that cannot be read. */
export interface ReadGap {
  readonly topic: string;
  readonly partition: number;
  /** The first offset that is lost. */
  readonly startOffset: number;
  /** The next offset that can be read. */
  readonly endOffset: number;
  /** What was found. */
  readonly error: OttlaError;
}

/** What to read. */
export interface ReadOptions {
  /** Only this partition; unless given all of them: one after the other, or as records come if `live`. */
  readonly partition?: number | undefined;
  /** The first offset, the first record of a time or later, or an end; "earliest" unless given. */
  readonly from?: number | "earliest" | "latest" | Date | undefined;
  /** The offset or the time to stop before. */
  readonly to?: number | Date | undefined;
  /** How many records at most. */
  readonly limit?: number | undefined;
  /** Whether to wait for records to come; else reading ends where the log ended when it began. */
  readonly live?: boolean | undefined;
  /** Ends the reading with its reason as the error. */
  readonly signal?: AbortSignal | undefined;
  /** Called for damage, and reading goes on behind it; unless given, damage is an error. */
  readonly onGap?: ((gap: ReadGap) => void) | undefined;
}

/** One partition that is being read. */
interface Source {
  readonly log: Log;
  readonly cursor: LogCursor;
  /** Where reading began: a batch may begin before. */
  readonly startOffset: number;
  /** Exclusive; Infinity if live. */
  readonly endOffset: number;
}

/** Reads the batches of its sources one after the other. */
interface BatchFeed {
  readonly store: Store;
  readonly sources: Source[];
  readonly options: ReadOptions;
  /** The number of the source that is read now. */
  current: number;
}

/** Records keep the buffer they were read into alive, so those are small; views share one large buffer. */
const recordReadBytes = 128 * 1024;
const batchReadBytes = 256 * 1024;

/**
 * Reads records.
 *
 * @param store The store.
 * @param topic The topic's name for bytes, or a topic with types.
 * @param options What to read.
 * @returns The records of each partition in the order of their offsets. Leaving the loop ends the reading.
 * @throws TypeError or RangeError at once. While reading: OttlaError `OFFSET_OUT_OF_RANGE` if the offset is not in the log or retention has
 * overtaken the reader, `CORRUPT_MESSAGE` with `startOffset` and `endOffset` of what is lost, `HANDLE_CLOSED` if the store is closed, and the
 * signal's reason.
 */
export function read<K = Uint8Array | null, V = Uint8Array | null>(
  store: Store,
  topic: string | Topic<K, V>,
  options: ReadOptions = {},
): AsyncIterableIterator<LogRecord<K, V>> {
  const { key: keySerde, value: valueSerde } = typeof topic === "object"
    ? topic
    : { key: undefined, value: undefined };
  const feed = batchFeed(store, topic as TopicArgument, options, recordReadBytes, false);
  let left = options.limit ?? Infinity;
  let records: LogRecord[] = [];
  let index = 0;
  let isDone = left === 0;

  const decoded = (record: LogRecord): LogRecord<K, V> => {
    const { key, value } = record;
    const typed = record as { key: unknown; value: unknown };
    if (keySerde !== undefined && key !== null) typed.key = keySerde.deserialize(key);
    if (valueSerde !== undefined && value !== null) typed.value = valueSerde.deserialize(value);
    return record as LogRecord<K, V>;
  };
  const take = (): IteratorResult<LogRecord<K, V>> => {
    const record = records[index++]!;
    if (--left === 0) isDone = true;
    return { done: false, value: decoded(record) };
  };
  /** Decodes the next batch that has a record. Returns false where nothing is to be had without waiting. */
  const refill = (): boolean => {
    for (;;) {
      const batch = feedBatch(feed);
      if (batch === undefined) return false;
      if (isControlBatch(batch)) continue;
      records = recordsInRange(batch, feed.sources[feed.current]!);
      index = 0;
      if (records.length > 0) return true;
    }
  };
  const nextLater = async (): Promise<IteratorResult<LogRecord<K, V>>> => {
    for (;;) {
      options.signal?.throwIfAborted();
      if (isDone) return { done: true, value: undefined };
      if (index < records.length || refill()) return take();
      if (!(await feedWait(feed))) isDone = true;
    }
  };
  return {
    next() {
      // Most calls find a decoded record: they get their promise without the cost of an async function.
      if (index < records.length && !isDone && options.signal?.aborted !== true) {
        try {
          return Promise.resolve(take());
        } catch (error) {
          return Promise.reject(error);
        }
      }
      return nextLater();
    },
    return() {
      isDone = true;
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/**
 * Reads batches without decoding their records: for hot loops, with `forEachRecord`.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types, whose serdes are not used.
 * @param options What to read; `limit` counts batches. A batch that holds the first or last offset is given whole.
 * @returns The batches, control batches included, their checksums verified. Each lies in a buffer that is used again for the next.
 * @throws As `read`.
 */
export function readBatches(
  store: Store,
  topic: TopicArgument,
  options: ReadOptions = {},
): AsyncIterableIterator<BatchView> {
  const feed = batchFeed(store, topic, options, batchReadBytes, true);
  return iterateBatches(feed, options);
}

async function* iterateBatches(
  feed: BatchFeed,
  options: ReadOptions,
): AsyncIterableIterator<BatchView> {
  let left = options.limit ?? Infinity;
  while (left > 0) {
    options.signal?.throwIfAborted();
    const batch = feedBatch(feed);
    if (batch !== undefined) {
      left--;
      yield batch;
    } else if (!(await feedWait(feed))) {
      return;
    }
  }
}

/** Checks the arguments, which is done at once, and places a cursor in every partition to be read. */
function batchFeed(
  store: Store,
  topicArgument: TopicArgument,
  options: ReadOptions,
  readBytes: number,
  reusesBuffer: boolean,
): BatchFeed {
  const internals = openInternals(store);
  checkReadOptions(options);
  const topic = getTopicState(internals, nameOfTopic(topicArgument));
  const states = options.partition === undefined
    ? topic.partitions
    : [getPartitionState(topic, options.partition)];
  const sources = states.map((state) => {
    const log = logOf(internals, topic, state);
    const endOffset = endOffsetOf(log, options);
    const startOffset = startOffsetOf(log, options.from ?? "earliest");
    const cursor = logCursor(log, startOffset, { readBytes, reusesBuffer });
    return { log, cursor, startOffset, endOffset };
  });
  return { store, sources, options, current: 0 };
}

/** The next batch that is there, of the present source or of one behind it. */
function feedBatch(feed: BatchFeed): BatchView | undefined {
  const { sources } = feed;
  for (let tried = 0; tried < sources.length; tried++) {
    const source = sources[feed.current]!;
    const batch = sourceBatch(feed, source);
    if (batch !== undefined) return batch;
    feed.current = (feed.current + 1) % sources.length;
  }
  return undefined;
}

function sourceBatch(feed: BatchFeed, source: Source): BatchView | undefined {
  const { log, cursor, endOffset } = source;
  for (;;) {
    if (cursor.offset >= endOffset) return undefined;
    try {
      return nextBatch(cursor, Math.min(endOffset, readableEnd(log)));
    } catch (error) {
      if (feed.options.onGap === undefined || !isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
      feed.options.onGap({
        ...log.source,
        startOffset: Number(error.details.startOffset),
        endOffset: Number(error.details.endOffset),
        error,
      });
    }
  }
}

/** Waits for something new in any source. Resolves with false if nothing can come any more. */
function feedWait(feed: BatchFeed): Promise<boolean> {
  const { signal } = feed.options;
  const waiting = feed.sources.filter(({ cursor, endOffset }) => cursor.offset < endOffset);
  if (feed.options.live !== true || waiting.length === 0) return Promise.resolve(false);
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      for (const { log } of waiting) log.watchers.delete(wake);
      signal?.removeEventListener("abort", abort);
      act();
    };
    const wake = (): void => settle(() => resolve(true));
    const abort = (): void => settle(() => reject(signal?.reason));
    signal?.addEventListener("abort", abort, { once: true });
    for (const { log } of waiting) {
      try {
        checkUsable(log);
      } catch (error) {
        settle(() => reject(error));
        return;
      }
      log.watchers.add(wake);
    }
    // Something may have come between the look and the watch.
    const hasCome = waiting.some(({ log, cursor }) => cursor.offset < readableEnd(log));
    if (hasCome) wake();
  });
}

/** The records of a batch without those before and behind what is wanted. */
function recordsInRange(batch: BatchView, source: Source): LogRecord[] {
  const records = recordsOf(batch);
  const { startOffset, endOffset } = source;
  if (batch.baseOffset >= startOffset && batch.lastOffset < endOffset) return records;
  return records.filter(({ offset }) => offset >= startOffset && offset < endOffset);
}

function startOffsetOf(log: Log, from: NonNullable<ReadOptions["from"]>): number {
  if (from === "earliest") return log.startOffset;
  if (from === "latest") return readableEnd(log);
  if (from instanceof Date) {
    return findOffsetForTimestamp(log, from.getTime())?.offset ?? readableEnd(log);
  }
  return from;
}

function endOffsetOf(log: Log, options: ReadOptions): number {
  const { to, live } = options;
  const end = live === true ? Infinity : readableEnd(log);
  if (to === undefined) return end;
  if (to instanceof Date) {
    return Math.min(end, findOffsetForTimestamp(log, to.getTime())?.offset ?? end);
  }
  return Math.min(end, to);
}

function checkReadOptions(options: ReadOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options must be an object, got ${String(options)}`);
  }
  const { from, to, limit, live, signal, onGap } = options;
  if (from !== "earliest" && from !== "latest") checkOffsetOrDate("from", from);
  checkOffsetOrDate("to", to);
  if (limit !== Infinity) checkWholeNumber("limit", limit, 0, Number.MAX_SAFE_INTEGER);
  if (live !== undefined && typeof live !== "boolean") {
    throw new TypeError(`live must be true or false, got ${typeof live}`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError("signal must be an AbortSignal");
  }
  if (onGap !== undefined && typeof onGap !== "function") {
    throw new TypeError(`onGap must be a function, got ${typeof onGap}`);
  }
}

function checkOffsetOrDate(name: string, value: unknown): void {
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new RangeError(`${name} is a Date without a time`);
    return;
  }
  if (value !== undefined && typeof value !== "number") {
    const ends = name === "from" ? ', "earliest", "latest"' : "";
    throw new TypeError(`${name} must be an offset${ends} or a Date, got ${String(value)}`);
  }
  checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER);
}
