/** Polls and iterations: the loop that gives out records and does what the group wants in between. */

import { nextTurn } from "../platform/clock.ts";
import type { LogRecord } from "../record/record.ts";
import { autoCommitDelay, autoCommitIfDue } from "./consumer_commit.ts";
import { takeRecords } from "./consumer_fetch.ts";
import type { PollOptions } from "./consumer_options.ts";
import { placeUnplaced, reconcile } from "./consumer_rebalance.ts";
import type { ConsumerState, HandlingTracker } from "./consumer_state.ts";
import { noteHandled } from "./consumer_state.ts";
import { waitForMore } from "./consumer_wait.ts";

/** Kafka's defaults. */
const recordsMaxDefault = 500;
const waitMsDefault = 500;
/** After so many bytes timers and sockets get a turn. */
const turnBytes = 4 * 1024 * 1024;
/** What a poll that finds nothing counts for: who only looks gives them turns too. */
const emptyPollBytes = 64 * 1024;

/**
 * Gives the next records of a consumer, waiting for some if there are none.
 *
 * @param state The consumer.
 * @param options As in `poll`, checked.
 * @param tracker Of who polls, if that is `consumeEach`: as long as it is at work nobody else may.
 * @returns Resolves with the records.
 * @throws As `poll`.
 */
export function startPoll(
  state: ConsumerState,
  options: PollOptions,
  tracker?: HandlingTracker,
): Promise<LogRecord[]> {
  if (state.polling !== undefined) {
    throw new TypeError("Cannot poll: another poll of this consumer is under way");
  }
  if (state.tracker !== tracker) {
    throw new TypeError("Cannot poll: consumeEach handles the records of this consumer");
  }
  return noted(state, pollRecords(state, options));
}

/** Notes what is under way up to the turn in which it ends: who waits for it goes on right then. */
function noted(state: ConsumerState, polling: Promise<LogRecord[]>): Promise<LogRecord[]> {
  const end = (): void => void (state.polling = undefined);
  state.polling = polling;
  polling.then(end, end);
  return polling;
}

/**
 * Does what comes before the first poll: takes partitions and gives them positions.
 *
 * @param state The consumer, which has joined its group.
 * @returns Resolves when that is done, or the consumer was closed meanwhile.
 * @throws What a listener, an assignor or the offset store threw.
 */
export async function openPartitions(state: ConsumerState): Promise<void> {
  const open = async (): Promise<LogRecord[]> => {
    // Those who are opened in the same turn have joined before partitions are shared out.
    await Promise.resolve();
    await reconcile(state);
    await placeUnplaced(state);
    return [];
  };
  // Whoever closes the consumer waits for it, so that it hands over what it has been given.
  await noted(state, open());
}

async function pollRecords(state: ConsumerState, options: PollOptions): Promise<LogRecord[]> {
  const { recordsMax = recordsMaxDefault, waitMs = waitMsDefault, bytesMin = 0 } = options;
  const { clock } = state.store;
  noteHandled(state);
  autoCommitIfDue(state);
  if (state.bytesSinceTurn >= turnBytes) {
    state.bytesSinceTurn = 0;
    await nextTurn();
  }
  let endMs = clock.now() + waitMs;
  const records: LogRecord[] = [];
  let sizeBytes = 0;
  while (state.phase === "open") {
    if (records.length === 0) {
      await reconcile(state);
      await placeUnplaced(state);
      // Another consumer may have taken the place while offsets were loaded.
      if (state.isReconcileDue) continue;
    } else if (state.isReconcileDue) break;
    throwFailure(state, records);
    sizeBytes += takeRecords(state, records, recordsMax);
    if (state.tracker !== undefined && records.length > 0) {
      state.tracker.takeIn(records);
      break;
    }
    throwFailure(state, records);
    const isEnough = records.length >= recordsMax || (records.length > 0 && sizeBytes >= bytesMin);
    const beforeMs = clock.now();
    const leftMs = endMs - beforeMs;
    if (isEnough || leftMs <= 0 || state.failures.size > 0) break;
    // Either may have come while this poll awaited something else, when there was no wait to end.
    if (state.isReconcileDue || state.phase !== "open") continue;
    const commitOrEndMs = Math.min(leftMs, autoCommitDelay(state));
    if (!(await waitForMore(state, commitOrEndMs, options.signal))) {
      if (records.length > 0) break;
      options.signal?.throwIfAborted();
    }
    // A clock that was set back must not make the wait longer by that.
    endMs -= Math.max(0, beforeMs - clock.now());
    autoCommitIfDue(state);
  }
  if (records.length === 0) state.bytesSinceTurn += emptyPollBytes;
  return records;
}

/** What went wrong is told when there is nothing else to give. */
function throwFailure(state: ConsumerState, records: readonly LogRecord[]): void {
  if (state.failures.size === 0 || records.length > 0) return;
  const [entry, error] = [...state.failures][0]!;
  state.failures.delete(entry);
  // Whoever tries again at once, and again, leaves a turn to others each time.
  state.bytesSinceTurn = turnBytes;
  throw error;
}

/**
 * Iterates over the records of a consumer: one after the other, for as long as it is open. A record
 * is handled when the next one is asked for.
 *
 * @param state The consumer.
 * @returns The iterator; leaving it ends nothing.
 */
export function recordIterator<K, V>(state: ConsumerState): AsyncIterator<LogRecord<K, V>> {
  type Result = IteratorResult<LogRecord<K, V>>;
  const done: Result = { done: true, value: undefined };
  const nextSlow = async (): Promise<Result> => {
    while (state.phase === "open") {
      const [record] = await startPoll(state, { recordsMax: 1, waitMs: Infinity });
      state.isInHand = true;
      if (record !== undefined) return { done: false, value: record as LogRecord<K, V> };
    }
    return done;
  };
  const target: LogRecord[] = [];
  const nextNow = (): Result | undefined => {
    const entry = state.partitions[state.current];
    const isSlow = state.isReconcileDue || state.phase !== "open" || state.polling !== undefined ||
      state.failures.size > 0 || entry === undefined || entry.isPaused ||
      entry.index >= entry.records.length || !state.isInHand;
    if (isSlow) return undefined;
    entry.handled = entry.position;
    autoCommitIfDue(state);
    target.length = 0;
    takeRecords(state, target, 1);
    const record = target[0];
    return record === undefined
      ? undefined
      : { done: false, value: record as unknown as LogRecord<K, V> };
  };
  return {
    next() {
      const result = nextNow();
      return result === undefined ? nextSlow() : Promise.resolve(result);
    },
    return() {
      return Promise.resolve(done);
    },
  };
}
