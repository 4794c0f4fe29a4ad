/**
 * The batches of what is read: of one partition, or of all partitions of a topic.
 *
 * What is on disk is read synchronously in pieces of a few hundred kilobytes; only who has caught
 * up with a live log waits, and is woken by the append that he waits for. There is no moment
 * between history and live at which a record could be missed: both are the same cursor.
 */

import type { IsolationLevel } from "../log/committed_reader.ts";
import {
  isLookingAhead,
  isolatedCursor,
  isolatedEnd,
  nextVisibleBatch,
} from "../log/committed_reader.ts";
import type { Log } from "../log/log.ts";
import type { LogCursor } from "../log/log_reader.ts";
import type { logCursor } from "../log/log_reader.ts";
import { readableEnd } from "../log/log_reader.ts";
import { nextTurn } from "../platform/clock.ts";
import type { BatchView } from "../record/batch_view.ts";
import { forEachRecord } from "../record/record_reader.ts";
import { logOf } from "../store/partitions.ts";
import type { PartitionState, Store, StoreInternals, TopicState } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { tellGap } from "./gaps.ts";
import { offsetOfTime } from "./offsets.ts";
import type { ReadOptions } from "./read_options.ts";
import { checkReadOptions } from "./read_options.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** One partition that is being read. */
export interface Source {
  readonly log: Log;
  readonly cursor: LogCursor;
  /** Where reading began: a batch may begin before. */
  readonly startOffset: number;
  /** Exclusive; Infinity if live. */
  endOffset: number;
  /** The first record of this time or later ends the reading, if it is still to come. */
  readonly endTimestamp: number;
}

/** Reads the batches of its sources: one source after the other, or by turns if it is live. */
export interface BatchFeed {
  readonly store: StoreInternals;
  readonly topic: TopicState;
  readonly sources: Source[];
  readonly options: ReadOptions;
  readonly cursorOptions: CursorOptions;
  /** The number of the source that is read now. */
  current: number;
  /** How many bytes of batches were given since the event loop had a turn. */
  bytesSinceTurn: number;
  isDone: boolean;
  /** Ends a wait that is under way. */
  wake: (() => void) | undefined;
}

/** How many bytes are read at once, and whether batches share a buffer. */
export type CursorOptions = Parameters<typeof logCursor>[2];

/**
 * Checks the arguments of a reading, which is done at once, and places a cursor in every partition
 * to be read.
 *
 * @param store The store.
 * @param topicArgument The topic.
 * @param options What to read.
 * @param cursorOptions How to read it.
 * @returns The feed, at its beginning.
 * @throws As `read`, at once.
 */
export function batchFeed(
  store: Store,
  topicArgument: TopicArgument,
  options: ReadOptions,
  cursorOptions: CursorOptions,
): BatchFeed {
  const internals = openInternals(store);
  const topic = getTopicState(internals, nameOfTopic(topicArgument));
  checkReadOptions(options);
  const feed: BatchFeed = {
    store: internals,
    topic,
    sources: [],
    options,
    cursorOptions,
    current: 0,
    bytesSinceTurn: 0,
    isDone: false,
    wake: undefined,
  };
  const states = options.partition === undefined
    ? topic.partitions
    : [getPartitionState(topic, options.partition)];
  for (const state of states) addSource(feed, state, options.from ?? "earliest");
  return feed;
}

function addSource(
  feed: BatchFeed,
  state: PartitionState,
  from: NonNullable<ReadOptions["from"]>,
): void {
  const { to, live, isolation } = feed.options;
  const log = logOf(feed.store, feed.topic, state);
  const endOffset = endOffsetOf(log, feed.options);
  const startOffset = startOffsetOf(log, from, isolation);
  feed.sources.push({
    log,
    cursor: isolatedCursor(log, startOffset, feed.cursorOptions, isolation),
    startOffset,
    endOffset,
    endTimestamp: live === true && to instanceof Date ? to.getTime() : Infinity,
  });
}

/**
 * The next batch that is there, of the present source or of one behind it.
 *
 * @param feed Moved behind the batch; its present source is the batch's.
 * @returns The batch, or undefined if there is none yet.
 */
export function feedBatch(feed: BatchFeed): BatchView | undefined {
  const { sources, options } = feed;
  if (options.live === true) {
    if (options.partition === undefined) addNewPartitions(feed);
    // A partition that is always busy must not keep the others from being read.
    feed.current = (feed.current + 1) % sources.length;
  }
  for (let tried = 0; tried < sources.length; tried++) {
    const source = sources[feed.current]!;
    const batch = sourceBatch(feed, source);
    if (batch !== undefined) {
      feed.bytesSinceTurn += batch.sizeBytes;
      return batch;
    }
    // The one behind it has its turn when this one has come to its end.
    if (isLookingAhead(source.cursor)) return undefined;
    feed.current = (feed.current + 1) % sources.length;
  }
  return undefined;
}

function addNewPartitions(feed: BatchFeed): void {
  const { sources, topic } = feed;
  for (const state of topic.partitions.slice(sources.length)) addSource(feed, state, "earliest");
}

function sourceBatch(feed: BatchFeed, source: Source): BatchView | undefined {
  const { log, cursor } = source;
  while (cursor.offset < source.endOffset) {
    const endOffset = Math.min(source.endOffset, isolatedEnd(log, feed.options.isolation));
    // What was deleted is not given, even where its bytes are still there: seeking finds that out.
    if (cursor.offset < log.startOffset) cursor.segment = undefined;
    try {
      const batch = nextVisibleBatch(cursor, endOffset);
      if (batch !== undefined && batch.maxTimestamp >= source.endTimestamp) {
        endAtTime(source, batch);
      }
      if (batch !== undefined && batch.baseOffset < source.endOffset) return batch;
      if (isLookingAhead(cursor)) return undefined;
      // Compaction may have left no record up to the end: waiting for what is there already would
      // never end.
      if (cursor.offset < endOffset) cursor.offset = endOffset;
      if (batch === undefined) return undefined;
    } catch (error) {
      tellGap(feed.options.onGap, log.source, error);
    }
  }
  return undefined;
}

/** Ends a live reading before the first record of its last time. */
function endAtTime(source: Source, batch: BatchView): void {
  forEachRecord(batch, ({ offset, timestamp }) => {
    const isOver = timestamp >= source.endTimestamp && offset >= source.startOffset;
    if (isOver && offset < source.endOffset) source.endOffset = offset;
  });
}

/**
 * Waits for something new in any source. It must be called in the turn in which nothing was found,
 * or what comes in between is missed.
 *
 * @param feed What is read.
 * @returns Resolves with true when it is worth another look, with false if nothing can come any
 * more.
 */
export function feedWait(feed: BatchFeed): Promise<boolean> {
  const { signal, live } = feed.options;
  if (feed.sources.some(({ cursor }) => isLookingAhead(cursor))) {
    feed.bytesSinceTurn = 0;
    return nextTurn().then(() => true);
  }
  const waiting = feed.sources.filter(({ cursor, endOffset }) => cursor.offset < endOffset);
  if (live !== true || waiting.length === 0) return Promise.resolve(false);
  return new Promise((resolve) => {
    // Whatever it is that comes, an end included: the next look finds it.
    const wake = (): void => {
      for (const { log } of waiting) log.watchers.delete(wake);
      signal?.removeEventListener("abort", wake);
      feed.wake = undefined;
      resolve(true);
    };
    feed.wake = wake;
    signal?.addEventListener("abort", wake, { once: true });
    for (const { log } of waiting) log.watchers.add(wake);
  });
}

function startOffsetOf(
  log: Log,
  from: NonNullable<ReadOptions["from"]>,
  isolation: IsolationLevel | undefined,
): number {
  if (from === "earliest") return log.startOffset;
  if (from === "latest") return isolatedEnd(log, isolation);
  if (from instanceof Date) {
    return offsetOfTime(log, from.getTime()) ?? readableEnd(log);
  }
  return from;
}

function endOffsetOf(log: Log, options: ReadOptions): number {
  const { to, live, isolation } = options;
  const end = live === true ? Infinity : isolatedEnd(log, isolation);
  if (to === undefined) return end;
  if (to instanceof Date) {
    return Math.min(end, offsetOfTime(log, to.getTime()) ?? end);
  }
  return Math.min(end, to);
}
