/** Waits for what a poll may be waiting for: records, its group, its time, its end. */

import { isLookingAhead } from "../log/committed_reader.ts";
import type { Log } from "../log/log.ts";
import { nextTurn } from "../platform/clock.ts";
import type { ConsumerState } from "./consumer_state.ts";

/** The longest that one timer runs. */
const timerMsMax = 2 ** 31 - 1;

/**
 * Waits until it is worth another look. It must be called in the turn in which nothing was found, or
 * what comes in between is missed. No clock ticks meanwhile: the append that is waited for wakes.
 *
 * @param state The consumer.
 * @param waitMs How long at most, in milliseconds; Infinity is fine.
 * @param signal Ends the wait.
 * @returns Resolves with false if the signal has ended it.
 */
export function waitForMore(
  state: ConsumerState,
  waitMs: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { clock } = state.store;
  const isSearching = state.partitions.some((entry) =>
    !entry.isPaused && isLookingAhead(entry.cursor)
  );
  if (isSearching) return nextTurn().then(() => signal?.aborted !== true);
  const logs: Log[] = [];
  for (const { log, isPaused } of state.partitions) {
    if (log !== undefined && !log.isClosed && !isPaused) logs.push(log);
  }
  return new Promise((resolve) => {
    const wake = (): void => {
      for (const log of logs) log.watchers.delete(wake);
      clock.stopTimer(timer);
      signal?.removeEventListener("abort", wake);
      state.wake = undefined;
      resolve(signal?.aborted !== true);
    };
    // Whoever waits for records has something to do: the process stays.
    const timer = clock.startTimer(wake, Math.min(waitMs, timerMsMax), true);
    state.wake = wake;
    for (const log of logs) log.watchers.add(wake);
    signal?.addEventListener("abort", wake, { once: true });
    if (signal?.aborted === true) wake();
  });
}
