/** A clock that stands still until a test moves it. */

import type { Clock, Timer } from "../platform/clock.ts";

/** A clock for `openStore({ clock })`. */
export interface ManualClock extends Clock {
  /**
   * Moves time on and calls every timer that becomes due on the way, in order, at its time.
   *
   * @param ms By how many milliseconds.
   * @returns Resolves when what the timers started has had a turn.
   */
  advance(ms: number): Promise<void>;
}

interface ManualTimer {
  readonly dueMs: number;
  readonly callback: () => void;
}

/** A timer that starts itself anew without delay would never let time move on. */
const callsMax = 1_000_000;

/**
 * A clock that stands still.
 *
 * @param startMs Its first time, in milliseconds since the epoch.
 * @returns The clock.
 * @example
 * ```ts
 * import { closeStore, openStore } from "ottla";
 * import { manualClock } from "ottla/testing";
 * const clock = manualClock();
 * const store = await openStore(":memory:", { clock });
 * await clock.advance(3_600_000);
 * await closeStore(store);
 * ```
 */
export function manualClock(startMs = 1_700_000_000_000): ManualClock {
  let nowMs = startMs;
  const timers = new Set<ManualTimer>();
  return {
    now: () => nowMs,
    startTimer(callback, delayMs): Timer {
      const timer = { dueMs: nowMs + delayMs, callback };
      timers.add(timer);
      return timer;
    },
    stopTimer: (timer) => void timers.delete(timer as ManualTimer),
    async advance(ms) {
      const endMs = nowMs + ms;
      for (let calls = 0; calls < callsMax; calls++) {
        const next = firstDue(timers, endMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.dueMs);
        next.callback();
        await Promise.resolve();
      }
      nowMs = endMs;
    },
  };
}

function firstDue(timers: ReadonlySet<ManualTimer>, endMs: number): ManualTimer | undefined {
  let first: ManualTimer | undefined;
  for (const timer of timers) {
    if (timer.dueMs <= endMs && (first === undefined || timer.dueMs < first.dueMs)) first = timer;
  }
  return first;
}
