/**
 * What the logs of a topic have done since the store was opened, as plain numbers: one object for all
 * of them, so that counting costs an append a handful of additions, no look-up and no allocation.
 *
 * An append at "os" or "memory" reads no clock for it. One at "disk" reads it once, so that it can
 * be told how long it waited, and a sync reads it twice.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import { isOttlaError } from "../errors.ts";
import { preciseNow } from "../platform/clock.ts";
import {
  appendChannel,
  compactionChannel,
  retentionChannel,
  syncChannel,
} from "../platform/diagnostics.ts";
import { field, logOverheadBytes } from "../record/batch_layout.ts";
import type { Segment } from "../segment/segment.ts";
import type { Histogram } from "./histogram.ts";
import {
  addHistogram,
  batchBytesBounds,
  countValue,
  durationBounds,
  histogram,
} from "./histogram.ts";
import type { Ack, Log } from "./log.ts";

/** What was appended at one level. */
export interface AppendCounts {
  records: number;
  batches: number;
  bytes: number;
}

/** What a compaction did. */
export interface CompactionCounts {
  readonly readBytes: number;
  readonly keptBytes: number;
  readonly readRecords: number;
  readonly keptRecords: number;
}

/** What the logs of a topic have done. */
export interface LogStats {
  readonly disk: AppendCounts;
  readonly os: AppendCounts;
  readonly memory: AppendCounts;
  /** Appends, and tries of a producer's batch, that the disk did not take. */
  failedAppends: number;
  /** Sizes of batches in bytes, as they were written. */
  readonly batchBytes: Histogram;
  /** How long those at "disk" waited, in milliseconds: from the write until it was on disk. */
  readonly acknowledgeMs: Histogram;
  /** How long syncs took that went well, in milliseconds. */
  readonly syncMs: Histogram;
  failedSyncs: number;
  /** Reads of files by readers of records, and what was sent as ranges of files. */
  reads: number;
  readBytes: number;
  sentBytes: number;
  /** What retention and deletions of records have taken out of logs. */
  retiredSegments: number;
  retiredBytes: number;
  compactions: number;
  compactionReadBytes: number;
  compactionKeptBytes: number;
  compactionReadRecords: number;
  compactionKeptRecords: number;
  /** What was scanned because the store had not been closed, and cut off. */
  recoveredSegments: number;
  recoveredBytes: number;
  tornBytes: number;
}

/** The fields of a `LogStats` that are numbers. */
export type LogCounter = {
  [Name in keyof LogStats]: LogStats[Name] extends number ? Name : never;
}[keyof LogStats];

/**
 * Nothing done yet.
 *
 * @returns All counters at 0.
 */
export function logStats(): LogStats {
  return {
    disk: { records: 0, batches: 0, bytes: 0 },
    os: { records: 0, batches: 0, bytes: 0 },
    memory: { records: 0, batches: 0, bytes: 0 },
    failedAppends: 0,
    batchBytes: histogram(batchBytesBounds),
    acknowledgeMs: histogram(durationBounds),
    syncMs: histogram(durationBounds),
    failedSyncs: 0,
    reads: 0,
    readBytes: 0,
    sentBytes: 0,
    retiredSegments: 0,
    retiredBytes: 0,
    compactions: 0,
    compactionReadBytes: 0,
    compactionKeptBytes: 0,
    compactionReadRecords: 0,
    compactionKeptRecords: 0,
    recoveredSegments: 0,
    recoveredBytes: 0,
    tornBytes: 0,
  };
}

/**
 * Adds what other logs have done.
 *
 * @param target Grows.
 * @param other What they have done.
 */
export function addLogStats(target: LogStats, other: LogStats): void {
  for (const [name, value] of Object.entries(other) as [keyof LogStats, unknown][]) {
    if (typeof value === "number") target[name as LogCounter] += value;
  }
  for (const ack of ["disk", "os", "memory"] as const) {
    target[ack].records += other[ack].records;
    target[ack].batches += other[ack].batches;
    target[ack].bytes += other[ack].bytes;
  }
  addHistogram(target.batchBytes, other.batchBytes);
  addHistogram(target.acknowledgeMs, other.acknowledgeMs);
  addHistogram(target.syncMs, other.syncMs);
}

/**
 * Counts the batches of an append that were written or accepted, and tells who listens.
 *
 * @param log The log, which ends behind them.
 * @param view Begins with the whole batches of the append.
 * @param sizeBytes How long these are.
 * @param ack The level that was asked for.
 * @param baseOffset Where the log ended before.
 */
export function countBatches(
  log: Log,
  view: DataView,
  sizeBytes: number,
  ack: Ack,
  baseOffset: number,
): void {
  const { stats, endOffset } = log;
  if (endOffset === baseOffset) return;
  let batches = 0;
  let bytes = 0;
  while (bytes < sizeBytes && getInt64(view, bytes) < endOffset) {
    const batchBytes = view.getInt32(bytes + field.batchLength) + logOverheadBytes;
    countValue(stats.batchBytes, batchBytes);
    bytes += batchBytes;
    batches++;
  }
  const counts = ack === "disk" ? stats.disk : ack === "os" ? stats.os : stats.memory;
  counts.records += endOffset - baseOffset;
  counts.batches += batches;
  counts.bytes += bytes;
  if (!appendChannel.hasSubscribers) return;
  const { folder, source } = log;
  appendChannel.publish({ folder, ...source, ack, baseOffset, endOffset, batches, bytes });
}

/**
 * Counts an append that failed, if it was not for what was to be appended. Whatever lets records in
 * calls it once for each call that fails.
 *
 * @param stats Those of the topic.
 * @param error What the caller gets.
 */
export function countFailedAppend(stats: LogStats, error: unknown): void {
  const isOfDisk = isOttlaError(error, "DISK_FULL") || isOttlaError(error, "KAFKA_STORAGE_ERROR");
  if (isOfDisk) stats.failedAppends++;
}

/**
 * Counts a sync, and tells who listens.
 *
 * @param log The log.
 * @param startMs When it began, by `preciseNow`.
 * @param endOffset Everything below is on disk.
 */
export function countSync(log: Log, startMs: number, endOffset: number): void {
  const tookMs = Math.max(0, preciseNow(log.clock) - startMs);
  countValue(log.stats.syncMs, tookMs);
  if (!syncChannel.hasSubscribers) return;
  syncChannel.publish({ folder: log.folder, ...log.source, endOffset, tookMs });
}

/**
 * Counts a sync that failed, and tells who listens.
 *
 * @param log The log.
 * @param startMs When it began, by `preciseNow`.
 * @param endOffset What lies below is not known to be on disk.
 * @param error What the file system threw.
 */
export function countFailedSync(
  log: Log,
  startMs: number,
  endOffset: number,
  error: unknown,
): void {
  log.stats.failedSyncs++;
  if (!syncChannel.hasSubscribers) return;
  const tookMs = Math.max(0, preciseNow(log.clock) - startMs);
  syncChannel.publish({ folder: log.folder, ...log.source, endOffset, tookMs, error });
}

/**
 * Counts the appends that are on disk now and whose callers wait to hear of it.
 *
 * @param log The log; its `syncedOffset` has just moved.
 */
export function countAcknowledged({ commit, clock, stats }: Log): void {
  let now = -1;
  for (const { endOffset, sinceMs } of commit.waiters) {
    if (sinceMs < 0 || endOffset > commit.syncedOffset) continue;
    if (now < 0) now = preciseNow(clock);
    countValue(stats.acknowledgeMs, Math.max(0, now - sinceMs));
  }
}

/**
 * Counts segments that were taken out of a log, and tells who listens.
 *
 * @param log The log, which begins behind them.
 * @param segments The segments.
 */
export function countRetired(log: Log, segments: readonly Segment[]): void {
  const { stats, folder, source, startOffset } = log;
  const bytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  stats.retiredSegments += segments.length;
  stats.retiredBytes += bytes;
  if (!retentionChannel.hasSubscribers) return;
  retentionChannel.publish({ folder, ...source, segments: segments.length, bytes, startOffset });
}

/**
 * Counts a compaction, and tells who listens.
 *
 * @param log The log.
 * @param cleaned What it did.
 */
export function countCompaction({ stats, folder, source }: Log, cleaned: CompactionCounts): void {
  const { readBytes, keptBytes, readRecords, keptRecords } = cleaned;
  stats.compactions++;
  stats.compactionReadBytes += readBytes;
  stats.compactionKeptBytes += keptBytes;
  stats.compactionReadRecords += readRecords;
  stats.compactionKeptRecords += keptRecords;
  if (!compactionChannel.hasSubscribers) return;
  const counts = { readBytes, keptBytes, readRecords, keptRecords };
  compactionChannel.publish({ folder, ...source, ...counts });
}
