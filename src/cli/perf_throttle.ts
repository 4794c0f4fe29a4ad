/**
 * Keeps sending down to a rate, as Kafka's ThroughputThrottler does: whoever is ahead of the rate
 * owes the time of one record for each, and sleeps once that is long enough for a timer. What a timer
 * oversleeps is caught up, as the rate is that of the whole run.
 */

import type { Clock } from "../platform/clock.ts";

/** A rate that is kept. */
export interface Throttle {
  /** Infinity to keep none. */
  readonly recordsPerSecond: number;
  readonly startMs: number;
  /** What is to be slept and was not yet. */
  owedMs: number;
}

/** Sleeping less is not worth a timer. */
const sleepMsMin = 2;

/**
 * Begins to keep a rate.
 *
 * @param recordsPerSecond The rate; Infinity to keep none.
 * @param startMs When the first record is sent, on the clock of the later calls.
 * @returns The throttle.
 */
export function throttle(recordsPerSecond: number, startMs: number): Throttle {
  return { recordsPerSecond, startMs, owedMs: 0 };
}

/**
 * Tells how long to sleep before the next record. Unlike in Kafka the first millisecond, in which no
 * rate can be computed, is no licence to send at any: being ahead needs no division.
 *
 * @param throttle The throttle, which takes it that the time is slept.
 * @param sentCount How many records were sent before the last one.
 * @param nowMs When the last one was sent.
 * @returns In milliseconds; 0 to go on at once.
 */
export function takeThrottleDelay(throttle: Throttle, sentCount: number, nowMs: number): number {
  const { recordsPerSecond, startMs } = throttle;
  if (recordsPerSecond === Infinity) return 0;
  if (sentCount * 1000 <= recordsPerSecond * (nowMs - startMs)) return 0;
  throttle.owedMs += 1000 / recordsPerSecond;
  if (throttle.owedMs < sleepMsMin) return 0;
  const delayMs = throttle.owedMs;
  throttle.owedMs = 0;
  return delayMs;
}

/**
 * Sleeps; the process stays alive meanwhile.
 *
 * @param clock The clock.
 * @param delayMs How long, in milliseconds.
 * @param signal Ends the sleep.
 * @returns Resolves when the time is over or the signal has been aborted.
 */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clock.stopTimer(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = clock.startTimer(end, Math.ceil(delayMs), true);
    signal.addEventListener("abort", end, { once: true });
  });
}
