/**
 * Compacts the topics whose `cleanup.policy` says so, one log at a time: the dirtiest first, by
 * itself every `compactionCheckMs`, or a topic at once because somebody asks (`compact_topic.ts`).
 *
 * How far a log is compacted is recorded when it is, in Kafka's `cleaner-offset-checkpoint`. A log
 * that cannot be compacted, because it is damaged for example, is left alone until the store is
 * opened again.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { CleanableRange } from "../log/compaction_range.ts";
import { cleanableRange, firstDirtyOffsetOf, isWorthCleaning } from "../log/compaction_range.ts";
import type { Log } from "../log/log.ts";
import type { LogCleaned, LogCleaning } from "../log/log_cleaner.ts";
import { cleanLog } from "../log/log_cleaner.ts";
import { countCompaction } from "../log/log_stats.ts";
import { warn } from "../platform/warning.ts";
import { hasFolder, logOf, writeFirstDirtyOffsets } from "./partitions.ts";
import type { PartitionState, StoreInternals, TopicState } from "./store.ts";
import { checkOpen } from "./store.ts";
import { untilClosed, waitedTurn } from "./until_closed.ts";
import { asStorageError } from "./store_errors.ts";

/** The compactions of a store. */
interface Cleaner {
  /** Settles when those are over that were asked for until now. */
  turn: Promise<void>;
  /** Whether the store compacts by itself at this moment. */
  isRunning: boolean;
  /** How many calls wait for a compaction, or for the end of those before theirs. */
  waitingCount: number;
  /** Ends the pause of a compaction that nobody had been waiting for. */
  hurry: (() => void) | undefined;
  /** Logs that are left alone. */
  readonly uncleanable: WeakSet<Log>;
}

/** A log that is worth compacting. */
interface Candidate {
  readonly topic: TopicState;
  readonly state: PartitionState;
  readonly log: Log;
  readonly range: CleanableRange;
}

const cleaners = new WeakMap<StoreInternals, Cleaner>();
/** How many partitions are looked at before the event loop gets a turn. */
const looksAtOnce = 64;

/**
 * Compacts what is worth it, unless that is under way. It neither keeps the process alive nor
 * throws: what fails is left alone, with a warning.
 *
 * @param internals The inside of an open store.
 */
export function cleanInBackground(internals: StoreInternals): void {
  const cleaner = cleanerOf(internals);
  const isUsed = [...internals.topics.values()].some(isCompacted);
  if (cleaner.isRunning || !isUsed) return;
  cleaner.isRunning = true;
  takeCleanerTurn(internals, async (signal) => {
    while (await cleanDirtiest(internals, signal));
  }).catch((error) => {
    if (!isOttlaError(error, "HANDLE_CLOSED")) warn("Compaction ended", error);
  }).finally(() => {
    cleaner.isRunning = false;
  });
}

/**
 * Runs when no other compaction of the store does, for somebody who waits for it. Closing the store
 * ends it first.
 *
 * @param internals The inside of an open store.
 * @param task Gets a signal that tells when it is to end.
 * @returns What it resolves to.
 * @throws What it throws.
 */
export async function inCleanerTurn<T>(
  internals: StoreInternals,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const cleaner = cleanerOf(internals);
  cleaner.waitingCount++;
  // The pauses of the one before keep no process alive, but whoever waits for its end does.
  cleaner.hurry?.();
  try {
    return await takeCleanerTurn(internals, task);
  } finally {
    cleaner.waitingCount--;
  }
}

function takeCleanerTurn<T>(
  internals: StoreInternals,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const cleaner = cleanerOf(internals);
  return untilClosed(internals, "compacting", (closing) => {
    const run = cleaner.turn.then(() => task(closing));
    cleaner.turn = run.then(() => {}, () => {});
    return run;
  });
}

/**
 * Compacts one log, and records how far it is compacted then.
 *
 * @param internals The inside of a store, within `inCleanerTurn`.
 * @param topic The topic.
 * @param state One of its partitions.
 * @param range What to clean.
 * @param cleaning Who waits for it, and how it tells of its progress.
 * @returns Resolves with what was done.
 * @throws As `cleanLog`; OttlaError `INVALID_CONFIG` if the topic is no longer to be compacted.
 */
export async function cleanPartition(
  internals: StoreInternals,
  topic: TopicState,
  state: PartitionState,
  range: CleanableRange,
  cleaning: Pick<LogCleaning, "nextTurn" | "onProgress">,
): Promise<LogCleaned> {
  const { clock, randomBytes } = internals;
  const log = logOf(internals, topic, state);
  const seed = new DataView(randomBytes(8).slice().buffer).getBigUint64(0);
  try {
    if (state.firstDirtyOffset === undefined) {
      // Whatever ends it halfway, a check then knows why offsets are missing.
      recordFirstDirtyOffset(internals, state, range.firstDirtyOffset);
    }
    const cleaned = await cleanLog(log, {
      firstDirtyOffset: range.firstDirtyOffset,
      endOffset: range.endOffset,
      now: clock.now(),
      deleteRetentionMs: topic.config.deleteRetentionMs,
      seed,
      async nextTurn() {
        await cleaning.nextTurn();
        checkOpen(internals);
        checkCompacted(topic);
      },
      onProgress: cleaning.onProgress,
    });
    countCompaction(log, cleaned);
    if (cleaned.isComplete) recordFirstDirtyOffset(internals, state, cleaned.firstDirtyOffset);
    return cleaned;
  } catch (error) {
    throw asStorageError(`compact ${topic.name}-${state.partition}`, error);
  }
}

/**
 * Where the dirty part of a partition's log begins. What is recorded is put right if the log does
 * not reach there.
 *
 * @param internals The inside of a store.
 * @param state The partition.
 * @param log Its log.
 * @returns The offset.
 * @throws What the file system throws.
 */
export function firstDirtyOffsetIn(
  internals: StoreInternals,
  state: PartitionState,
  log: Log,
): number {
  const offset = firstDirtyOffsetOf(log, state.firstDirtyOffset);
  if (state.firstDirtyOffset !== undefined && state.firstDirtyOffset !== offset) {
    recordFirstDirtyOffset(internals, state, offset);
  }
  return offset;
}

/** What could not be recorded is not believed to be. */
function recordFirstDirtyOffset(
  internals: StoreInternals,
  state: PartitionState,
  offset: number,
): void {
  const before = state.firstDirtyOffset;
  state.firstDirtyOffset = offset;
  try {
    writeFirstDirtyOffsets(internals);
  } catch (error) {
    state.firstDirtyOffset = before;
    throw error;
  }
}

/** Whether records of a topic are to be compacted. */
export function isCompacted(topic: TopicState): boolean {
  return topic.config.cleanupPolicy.includes("compact");
}

/**
 * Makes sure that records of a topic are to be compacted.
 *
 * @param topic The topic.
 * @throws OttlaError `INVALID_CONFIG` if not.
 */
export function checkCompacted(topic: TopicState): void {
  if (isCompacted(topic)) return;
  const { name, config: { cleanupPolicy } } = topic;
  throw new OttlaError(
    "INVALID_CONFIG",
    `Cannot compact ${name}: its cleanup.policy is ${JSON.stringify(cleanupPolicy)}, wanted one ` +
      `with "compact"`,
    { details: { topic: name, cleanupPolicy } },
  );
}

function cleanerOf(internals: StoreInternals): Cleaner {
  let cleaner = cleaners.get(internals);
  if (cleaner === undefined) {
    cleaner = {
      turn: Promise.resolve(),
      isRunning: false,
      waitingCount: 0,
      hurry: undefined,
      uncleanable: new WeakSet(),
    };
    cleaners.set(internals, cleaner);
  }
  return cleaner;
}

/** Returns false if there was nothing to do, or nothing could be done. */
async function cleanDirtiest(internals: StoreInternals, signal: AbortSignal): Promise<boolean> {
  const candidate = await findDirtiest(internals, signal);
  if (candidate === undefined) return false;
  const { topic, state, log, range } = candidate;
  try {
    const cleaned = await cleanPartition(internals, topic, state, range, {
      nextTurn: () => laterTurn(internals, signal),
    });
    return cleaned.isComplete;
  } catch (error) {
    signal.throwIfAborted();
    if (isOttlaError(error, "INVALID_CONFIG") || log.isClosed) return true;
    // When there is room again, the next check does it.
    if (isOttlaError(error, "DISK_FULL")) return false;
    if (!(error instanceof OttlaError)) throw error;
    cleanerOf(internals).uncleanable.add(log);
    warn(`Left ${topic.name}-${state.partition} as it is until the store is opened again`, error);
    return true;
  }
}

/** The log with the largest dirty part of those that are worth compacting. */
async function findDirtiest(
  internals: StoreInternals,
  signal: AbortSignal,
): Promise<Candidate | undefined> {
  let dirtiest: Candidate | undefined;
  let looks = 0;
  for (const topic of [...internals.topics.values()].filter(isCompacted)) {
    for (const state of topic.partitions) {
      if (++looks % looksAtOnce === 0) await laterTurn(internals, signal);
      const candidate = candidateOf(internals, topic, state);
      if (candidate === undefined) continue;
      const isDirtier = dirtiest === undefined ||
        candidate.range.dirtyRatio > dirtiest.range.dirtyRatio;
      if (isDirtier) dirtiest = candidate;
    }
  }
  return dirtiest;
}

function candidateOf(
  internals: StoreInternals,
  topic: TopicState,
  state: PartitionState,
): Candidate | undefined {
  if (internals.topics.get(topic.name) !== topic || topic.failure !== undefined) return undefined;
  try {
    if (!hasFolder(internals, state)) return undefined;
    const log = logOf(internals, topic, state);
    const isLeftAlone = log.isClosed || log.commit.failure !== undefined ||
      cleanerOf(internals).uncleanable.has(log);
    if (isLeftAlone) return undefined;
    const firstDirtyOffset = firstDirtyOffsetIn(internals, state, log);
    const range = cleanableRange(log, firstDirtyOffset, topic.config, internals.clock.now());
    return isWorthCleaning(range, topic.config) ? { topic, state, log, range } : undefined;
  } catch (error) {
    // One that cannot be opened or read keeps the others from nothing; who uses it is told.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/** A turn of the event loop that does not keep the process alive, unless somebody waits. */
function laterTurn(internals: StoreInternals, signal: AbortSignal): Promise<void> {
  const { clock } = internals;
  const cleaner = cleanerOf(internals);
  if (cleaner.waitingCount > 0) return waitedTurn([signal]);
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const end = (settle: () => void): void => {
      clock.stopTimer(timer);
      signal.removeEventListener("abort", stop);
      cleaner.hurry = undefined;
      settle();
    };
    const stop = (): void => end(() => reject(signal.reason));
    const goOn = (): void => end(resolve);
    const timer = clock.startTimer(goOn, 0);
    signal.addEventListener("abort", stop, { once: true });
    cleaner.hurry = goOn;
  });
}
