/** Time: injected everywhere, so that tests and simulations decide what time it is. */

import { performance } from "node:perf_hooks";
import { clearTimeout, setImmediate, setTimeout } from "node:timers";

/** A running timer; only the clock that gave it knows what is in it. */
export type Timer = unknown;

/** A source of time and timers. */
export interface Clock {
  /** Milliseconds since the Unix epoch, a whole number. */
  now(): number;
  /** Milliseconds with fractions since some moment, to measure with; `now` unless given. */
  preciseNow?(): number;
  /**
   * Calls back once after a delay.
   *
   * @param callback What to call.
   * @param delayMs After how many milliseconds; cut to 2^31 - 1.
   * @param keepsAlive Whether the process must not end before; false unless given.
   */
  startTimer(callback: () => void, delayMs: number, keepsAlive?: boolean): Timer;
  /** Stops a timer; stopping it twice is fine. */
  stopTimer(timer: Timer): void;
}

/** With more, `setTimeout` does not wait at all. */
const delayMsMax = 2 ** 31 - 1;

/**
 * The clock of this machine.
 *
 * @returns A clock over `Date.now` and `setTimeout`.
 */
export function systemClock(): Clock {
  return {
    now: Date.now,
    preciseNow: () => performance.now(),
    startTimer(callback, delayMs, keepsAlive = false) {
      const timer = setTimeout(callback, Math.min(delayMs, delayMsMax));
      if (!keepsAlive) timer.unref();
      return timer;
    },
    stopTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
  };
}

/**
 * What time it is, as exactly as the clock can tell: for differences, not for dates.
 *
 * @param clock The clock.
 * @returns Milliseconds, with fractions where the clock has them.
 */
export function preciseNow(clock: Clock): number {
  return clock.preciseNow === undefined ? clock.now() : clock.preciseNow();
}

/**
 * Whether a clock asks the machine for the time, which moves by itself, and costs some 50 ns.
 *
 * @param clock The clock.
 * @returns False if somebody else says what time it is.
 */
export function isMachineTime(clock: Clock): boolean {
  return clock.now === Date.now;
}

/**
 * Lets the event loop do what else there is to do.
 *
 * @returns Resolves in a later turn of the event loop.
 */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
