/** Durations as people write them: `"30s"`, `"1h"`. */

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds, or a whole number with `ms`, `s`, `m`, `h` or `d` behind it, such as `"30s"`. */
export type Duration = number | string;

/**
 * Reads a duration.
 *
 * @param duration What was given.
 * @returns It in milliseconds.
 * @throws TypeError if it is neither a number nor a string, RangeError if it is below zero or not
 * written as a duration.
 */
export function durationMs(duration: Duration): number {
  if (typeof duration === "number") {
    if (duration >= 0 && duration <= Number.MAX_SAFE_INTEGER) return duration;
    throw durationError(String(duration));
  }
  if (typeof duration !== "string") {
    throw new TypeError(`duration must be a number or a string, got ${typeof duration}`);
  }
  const [, count, unit = ""] = /^(\d{1,15})(ms|s|m|h|d)$/.exec(duration) ?? [];
  const ms = Number(count) * (unitMs[unit] ?? NaN);
  if (ms <= Number.MAX_SAFE_INTEGER) return ms;
  throw durationError(JSON.stringify(duration));
}

function durationError(got: string): RangeError {
  return new RangeError(
    "duration must be milliseconds, 0 or more, or a whole number with ms, s, m, h or d behind it, " +
      `such as "30s", got ${got}`,
  );
}
