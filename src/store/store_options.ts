/** Checks what callers give as options: once, at the border. */

import type { Ack } from "../log/log.ts";
import type { Partitioner } from "./partitioner.ts";
import { partitionerNames } from "./partitioner.ts";
import type { StoreOptions } from "./store.ts";

const acks: readonly unknown[] = ["disk", "os", "memory"];

/**
 * Checks the options of `openStore`.
 *
 * @param options What was given.
 * @throws TypeError or RangeError naming the option.
 */
export function checkStoreOptions(options: StoreOptions): void {
  checkObject("options", options);
  checkAck(options.ack);
  if (options.partitioner !== undefined) checkPartitioner(options.partitioner);
  if (options.create !== undefined && typeof options.create !== "boolean") {
    throw new TypeError(`create must be true or false, got ${typeof options.create}`);
  }
  checkWholeNumber("retentionCheckMs", options.retentionCheckMs, 1, 2 ** 31 - 1);
  checkWholeNumber("compactionCheckMs", options.compactionCheckMs, 1, 2 ** 31 - 1);
  checkWholeNumber("checkpointMs", options.checkpointMs, 1, 2 ** 31 - 1);
  checkWholeNumber("openFilesMax", options.openFilesMax, 1, 1_000_000);
  checkWholeNumber("diskFreeBytesMin", options.diskFreeBytesMin, 0, Number.MAX_SAFE_INTEGER);
  checkWholeNumber("offsetsRetentionMinutes", options.offsetsRetentionMinutes, 1, 2 ** 31 - 1);
}

/**
 * Checks an acknowledgement level.
 *
 * @param ack What was given; undefined stands for the default.
 * @throws TypeError if it is none.
 */
export function checkAck(ack: unknown): asserts ack is Ack | undefined {
  if (ack === undefined || acks.includes(ack)) return;
  throw new TypeError(`ack must be "disk", "os" or "memory", got ${String(ack)}`);
}

/**
 * Checks a partitioner.
 *
 * @param partitioner What was given.
 * @throws TypeError if it is none.
 */
export function checkPartitioner(partitioner: unknown): asserts partitioner is Partitioner {
  const names: readonly unknown[] = partitionerNames;
  if (typeof partitioner === "function" || names.includes(partitioner)) return;
  throw new TypeError(
    `partitioner must be one of ${partitionerNames.join(", ")} or a function, got ` +
      String(partitioner),
  );
}

/**
 * Checks an object of options.
 *
 * @param name The argument's name.
 * @param value What was given.
 * @throws TypeError if it is none.
 */
export function checkObject(name: string, value: unknown): asserts value is object {
  if (typeof value === "object" && value !== null) return;
  throw new TypeError(`${name} must be an object, got ${describe(value)}`);
}

/**
 * Checks a signal that may be left out.
 *
 * @param signal What was given.
 * @throws TypeError if it is none.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError(`signal must be an AbortSignal, got ${describe(signal)}`);
}

/**
 * Checks a number that may be left out.
 *
 * @param name The argument's name.
 * @param value What was given; undefined is fine.
 * @param min The smallest that is allowed.
 * @param max The largest that is allowed.
 * @throws TypeError if it is no number, RangeError if it is no whole one or out of range.
 */
export function checkWholeNumber(name: string, value: unknown, min: number, max: number): void {
  if (value !== undefined) checkNumber(name, value, min, max);
}

/**
 * Checks a number.
 *
 * @param name The argument's name.
 * @param value What was given.
 * @param min The smallest that is allowed.
 * @param max The largest that is allowed.
 * @throws TypeError if it is no number, RangeError if it is no whole one or out of range.
 */
export function checkNumber(name: string, value: unknown, min: number, max: number): void {
  if (typeof value !== "number" || Number.isNaN(value)) {
    throw new TypeError(`${name} must be a number, got ${describe(value)}`);
  }
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new RangeError(`${name} must be a whole number from ${min} to ${max}, got ${value}`);
}

function describe(value: unknown): string {
  return value === null || Number.isNaN(value) ? String(value) : typeof value;
}
