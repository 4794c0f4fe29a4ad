/** What may be asked of a reading, checked once at the border. */

import type { OttlaError } from "../errors.ts";
import type { IsolationLevel } from "../log/committed_reader.ts";
import { checkObject, checkSignal, checkWholeNumber } from "../store/store_options.ts";

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
  /**
   * Only this partition; unless given all of them: one after the other, or as records come if
   * `live`.
   */
  readonly partition?: number | undefined;
  /** The first offset, the first record of a time or later, or an end; "earliest" unless given. */
  readonly from?: number | "earliest" | "latest" | Date | undefined;
  /** The offset or the time to stop before. */
  readonly to?: number | Date | undefined;
  /** How many records at most. */
  readonly limit?: number | undefined;
  /**
   * What of transactions is read: all that is there ("readUncommitted", unless given), or only what
   * was committed, and nothing from the first offset on of which that is still open.
   */
  readonly isolation?: IsolationLevel | undefined;
  /** Whether to wait for records to come; else reading ends where the log ended when it began. */
  readonly live?: boolean | undefined;
  /** Ends the reading with its reason as the error. */
  readonly signal?: AbortSignal | undefined;
  /** Called for damage, and reading goes on behind it; unless given, damage is an error. */
  readonly onGap?: ((gap: ReadGap) => void) | undefined;
}

/**
 * Checks the options of a reading.
 *
 * @param options What was given.
 * @throws TypeError or RangeError naming the option.
 */
export function checkReadOptions(options: ReadOptions): void {
  checkObject("options", options);
  const { from, to, limit, live, signal, onGap } = options;
  if (from !== "earliest" && from !== "latest") checkOffsetOrDate("from", from);
  checkOffsetOrDate("to", to);
  if (limit !== Infinity) checkWholeNumber("limit", limit, 0, Number.MAX_SAFE_INTEGER);
  if (live !== undefined && typeof live !== "boolean") {
    throw new TypeError(`live must be true or false, got ${typeof live}`);
  }
  checkIsolation(options.isolation);
  checkSignal(signal);
  if (onGap !== undefined && typeof onGap !== "function") {
    throw new TypeError(`onGap must be a function, got ${typeof onGap}`);
  }
}

/**
 * Checks an isolation level.
 *
 * @param isolation What was given.
 * @throws TypeError if it is none.
 */
export function checkIsolation(isolation: unknown): void {
  const isLevel = isolation === undefined || isolation === "readUncommitted" ||
    isolation === "readCommitted";
  if (isLevel) return;
  throw new TypeError(
    `isolation must be "readUncommitted" or "readCommitted", got ${String(isolation)}`,
  );
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
