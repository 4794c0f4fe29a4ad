/**
 * What the tests of logs share: a clock that stands still, a log in a folder, and short ways to
 * fill and read it.
 */

import assert from "node:assert/strict";

import { isOttlaError } from "../../src/errors.ts";
import type { Ack, Log, LogConfig } from "../../src/log/log.ts";
import { activeSegment, appendBuilt } from "../../src/log/log.ts";
import type { LogPlace, OpenedLog } from "../../src/log/log_open.ts";
import { openLog } from "../../src/log/log_open.ts";
import { logCursor, nextBatch, readableEnd } from "../../src/log/log_reader.ts";
import type { Clock, Timer } from "../../src/platform/clock.ts";
import type { FilePool } from "../../src/platform/file_pool.ts";
import { filePool } from "../../src/platform/file_pool.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import type { BatchBuilder } from "../../src/record/batch_builder.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import type { SegmentFileKind } from "../../src/segment/segment_file_name.ts";

/** A clock that a test moves. */
export interface ManualClock extends Clock {
  nowMs: number;
  readonly timers: Set<{ readonly callback: () => void }>;
}

/** A clock that stands at a time. */
export function manualClock(nowMs = 1_000_000): ManualClock {
  const clock: ManualClock = {
    nowMs,
    timers: new Set(),
    now: () => clock.nowMs,
    startTimer(callback): Timer {
      const timer = { callback };
      clock.timers.add(timer);
      return timer;
    },
    stopTimer: (timer) => void clock.timers.delete(timer as { callback: () => void }),
  };
  return clock;
}

/** Lets all timers ring that were started so far. */
export function ringTimers(clock: ManualClock): void {
  for (const timer of [...clock.timers]) {
    clock.timers.delete(timer);
    timer.callback();
  }
}

/** Lets everything happen that was only waiting for its turn. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** A small log that is never flushed, rolled or cut unless a test says so. */
export const testConfig: LogConfig = {
  segmentBytes: 1024 * 1024,
  segmentMs: 7 * 24 * 3600_000,
  segmentIndexBytes: 4096,
  indexIntervalBytes: 4096,
  cleanupPolicy: "delete",
  retentionMs: -1,
  retentionBytes: -1,
  flushMessages: Number.MAX_SAFE_INTEGER,
  flushMs: Number.MAX_SAFE_INTEGER,
};

/** Where the logs of the tests lie. */
export const logFolder = "/store/orders-0";

/** What may be different from one test to the next. */
export interface LogOptions {
  readonly config?: Partial<LogConfig>;
  readonly clock?: Clock;
  readonly folder?: string;
  readonly openMax?: number;
  /** In place of a pool of its own. */
  readonly pool?: FilePool;
  /** Infinity if not given: the log was closed, or there is none yet. */
  readonly recoveryPoint?: number;
  readonly startOffset?: number;
}

/** Opens the log of `orders-0`, or makes it. */
export function openTestLog(fs: FileSystem, options: LogOptions = {}): OpenedLog {
  return openLog(testPlace(fs, options));
}

/** Where a log of a test lies. */
export function testPlace(fs: FileSystem, options: LogOptions = {}): LogPlace {
  const folder = options.folder ?? logFolder;
  fs.makeFolder(folder);
  return {
    pool: options.pool ?? filePool(fs, options.openMax ?? 16),
    clock: options.clock ?? manualClock(),
    folder,
    source: { topic: "orders", partition: 0 },
    config: { ...testConfig, ...options.config },
    leaderEpoch: 0,
    recoveryPoint: options.recoveryPoint ?? Infinity,
    startOffset: options.startOffset ?? 0,
  };
}

/** A batch of records without keys; a number stands for a value of that many bytes. */
export function buildBatch(
  builder: BatchBuilder,
  baseOffset: number,
  values: readonly (string | number)[],
  timestamps: number | readonly number[] = 1_000_000,
): number {
  for (const [index, value] of values.entries()) {
    const timestamp = typeof timestamps === "number" ? timestamps : timestamps[index]!;
    const content = typeof value === "number" ? new Uint8Array(value).fill(value) : value;
    appendRecord(builder, timestamp, null, content);
  }
  finishBatch(builder, { baseOffset, partitionLeaderEpoch: 0 });
  return baseOffset + values.length;
}

/** Appends one batch. */
export function appendValues(
  log: Log,
  values: readonly (string | number)[],
  ack: Ack = "os",
  timestamps: number | readonly number[] = 1_000_000,
): Promise<void> | undefined {
  return appendBatches(log, [values], ack, timestamps);
}

/** Appends several batches at once. */
export function appendBatches(
  log: Log,
  batches: readonly (readonly (string | number)[])[],
  ack: Ack = "os",
  timestamps: number | readonly number[] = 1_000_000,
): Promise<void> | undefined {
  const builder = batchBuilder();
  let offset = log.endOffset;
  for (const values of batches) offset = buildBatch(builder, offset, values, timestamps);
  return appendBuilt(log, builder, offset, ack);
}

/** `v7` for every offset from 7 on, one a batch. */
export function appendNumbered(log: Log, count: number, ack: Ack = "os"): void {
  for (let left = count; left > 0; left--) {
    void appendValues(log, [`v${log.endOffset}`], ack, 1_000_000 + log.endOffset);
  }
}

/** The size of a batch that `appendNumbered` writes at offsets of one digit. */
export const numberedBatchBytes = 61 + 9;

/** A record as a test wants to see it. */
export interface SeenRecord {
  readonly offset: number;
  readonly value: string;
}

/** What a reader saw: the records, and the offsets that damage took. */
export interface Seen {
  readonly records: SeenRecord[];
  readonly lost: { readonly startOffset: number; readonly endOffset: number }[];
}

/** Reads a log to its readable end, going on behind damage. */
export function readLog(
  log: Log,
  offset: number = log.startOffset,
  options = { readBytes: 4096, reusesBuffer: true },
): Seen {
  const cursor = logCursor(log, offset, options);
  const seen: Seen = { records: [], lost: [] };
  const endOffset = readableEnd(log);
  for (let calls = 0;; calls++) {
    assert.ok(calls < 100_000, "the reader comes to an end");
    try {
      const batch = nextBatch(cursor, endOffset);
      if (batch === undefined) return seen;
      for (const record of recordsOf(batch)) {
        if (record.offset < offset) continue;
        seen.records.push({ offset: record.offset, value: textOf(record.value) });
      }
    } catch (error) {
      if (!isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
      const { startOffset, endOffset } = error.details;
      seen.lost.push({ startOffset: Number(startOffset), endOffset: Number(endOffset) });
    }
  }
}

/** The values that a reader sees, none lost. */
export function valuesOf(log: Log, offset: number = log.startOffset): string[] {
  const { records, lost } = readLog(log, offset);
  assert.deepEqual(lost, []);
  assert.deepEqual(records.map((record) => record.offset), rangeOf(offset, log.highWatermark));
  return records.map((record) => record.value);
}

/** `v0`, `v1` and so on, as `appendNumbered` writes them. */
export function numberedValues(startOffset: number, endOffset: number): string[] {
  return rangeOf(startOffset, endOffset).map((offset) => `v${offset}`);
}

/** Whole numbers from one up to another, exclusive. */
export function rangeOf(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start) }, (_, index) => start + index);
}

/** The names in the folder of a log, sorted. */
export function filesOf(fs: FileSystem, folder: string = logFolder): string[] {
  return fs.list(folder).map((entry) => entry.name).sort();
}

/** The path of a file of a segment. */
export function segmentPath(
  baseOffset: number,
  kind: SegmentFileKind = "log",
  folder: string = logFolder,
): string {
  return joinPath(folder, segmentFileName(baseOffset, kind));
}

/** Changes one byte of a file. */
export function flipByte(fs: FileSystem, path: string, position: number, mask = 0xff): void {
  const file = fs.open(path, "write");
  const byte = new Uint8Array(1);
  fs.read(file, byte, position);
  byte[0]! ^= mask;
  fs.write(file, byte, position);
  fs.close(file);
}

/** Writes bytes into a file, which is made if there is none. */
export function writeBytes(
  fs: FileSystem,
  path: string,
  bytes: Uint8Array,
  position: number = fs.stat(path)?.sizeBytes ?? 0,
): void {
  const file = fs.open(path, "create");
  fs.write(file, bytes, position);
  fs.close(file);
}

/** Cuts or extends a file. */
export function resizeFile(fs: FileSystem, path: string, sizeBytes: number): void {
  const file = fs.open(path, "write");
  fs.truncate(file, sizeBytes);
  fs.close(file);
}

/** The base offsets of the segments of a log. */
export function basesOf(log: Log): number[] {
  return log.segments.map((segment) => segment.baseOffset);
}

/** The size of the active segment's file as the log sees it. */
export function activeBytes(log: Log): number {
  return activeSegment(log).sizeBytes;
}

function textOf(value: Uint8Array | null): string {
  return value === null ? "null" : new TextDecoder().decode(value);
}
