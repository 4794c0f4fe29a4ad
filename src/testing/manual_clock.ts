/**
 * A clock that stands still until a test moves it.
 *
 * A store takes all of its time from its clock, so this one drives retention, checkpoints, the
 * heartbeat of the lock, sessions and rebalances of consumers, lingering and delivery timeouts of
 * producers, and the syncs of a simulated disk that take time. What it does not drive are turns of
 * the event loop: a long reading gives way to others with `setImmediate`, and a group commit begins
 * at the end of its turn, both at once.
 */

import type { Clock, Timer } from "../platform/clock.ts";
import { nextTurn } from "../platform/clock.ts";
import type { Duration } from "./duration.ts";
import { durationMs } from "./duration.ts";

/** A clock for `openStore({ clock })`. */
export interface ManualClock extends Clock {
  /**
   * Moves time on and calls every timer that becomes due on the way, in order, at its time. What is
   * under way gets a turn of the event loop before, and what a timer has started before the next
   * one is called.
   *
   * @param duration By how much: milliseconds, or a text such as `"250ms"`, `"30s"`, `"15m"`,
   * `"1h"` or `"7d"`.
   * @returns Resolves when what the timers started has had a turn.
   * @throws TypeError or RangeError if that is no duration, RangeError if a timer starts itself anew
   * without end.
   */
  advance(duration: Duration): Promise<void>;
  /** How many timers were started and neither were called nor stopped. */
  timerCount(): number;
}

interface ManualTimer {
  readonly dueMs: number;
  readonly callback: () => void;
}

/** A timer that starts itself anew without delay would never let time move on. */
const callsMax = 1_000_000;
/** As with `setTimeout`. */
const delayMsMax = 2 ** 31 - 1;

/**
 * A clock that stands still.
 *
 * @param startMs Its first time, in milliseconds since the epoch.
 * @returns The clock.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, offsetsOf, openStore } from "ottla";
 * import { manualClock } from "ottla/testing";
 *
 * const clock = manualClock();
 * const store = await openStore(":memory:", { clock });
 * await createTopic(store, "clicks", { retentionHours: 24, segmentMs: 3_600_000 });
 * await append(store, "clicks", { value: "old" });
 * await clock.advance("2h");
 * await append(store, "clicks", { value: "new" }); // into the next segment
 * await clock.advance("23h");
 * console.log(offsetsOf(store, "clicks")[0]?.startOffset); // 1
 * await closeStore(store);
 * console.log(clock.timerCount()); // 0
 * ```
 */
export function manualClock(startMs = 1_700_000_000_000): ManualClock {
  let nowMs = startMs;
  const timers = new Set<ManualTimer>();
  return {
    now: () => nowMs,
    startTimer(callback, delayMs): Timer {
      const timer = { dueMs: nowMs + Math.min(delayMs, delayMsMax), callback };
      timers.add(timer);
      return timer;
    },
    stopTimer: (timer) => void timers.delete(timer as ManualTimer),
    async advance(duration) {
      const endMs = nowMs + durationMs(duration);
      // What is under way belongs to the time before.
      await nextTurn();
      for (let calls = 0;; calls++) {
        const next = firstDue(timers, endMs);
        if (next === undefined) break;
        if (calls === callsMax) throw endlessError(duration);
        timers.delete(next);
        nowMs = Math.max(nowMs, next.dueMs);
        next.callback();
        await nextTurn();
      }
      // Another call may have moved time further meanwhile.
      nowMs = Math.max(nowMs, endMs);
    },
    timerCount: () => timers.size,
  };
}

function firstDue(timers: ReadonlySet<ManualTimer>, endMs: number): ManualTimer | undefined {
  let first: ManualTimer | undefined;
  for (const timer of timers) {
    if (timer.dueMs <= endMs && (first === undefined || timer.dueMs < first.dueMs)) first = timer;
  }
  return first;
}

function endlessError(duration: Duration): RangeError {
  return new RangeError(
    `Cannot advance by ${duration}: ${callsMax} timers came due on the way, so one seems to start ` +
      "itself anew without end",
  );
}
