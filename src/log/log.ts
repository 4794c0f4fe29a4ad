/**
 * The log of one partition: segments in order, the last of them active.
 *
 * Appending is synchronous: when `appendBuilt` returns, the batches are in the page cache and have
 * their offsets. What it returns is awaited by those who asked for more than that. Offsets:
 * `startOffset` <= `highWatermark` <= `endOffset`; readers see what is below the high watermark.
 */

import { strict as assert } from "node:assert";
import { getInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import type { Clock } from "../platform/clock.ts";
import { preciseNow } from "../platform/clock.ts";
import type { FilePool } from "../platform/file_pool.ts";
import { closePooledFile, handleOf } from "../platform/file_pool.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import { builtBytes } from "../record/batch_builder.ts";
import type { BatchSource } from "../record/batch_view.ts";
import { field, logOverheadBytes } from "../record/batch_layout.ts";
import { saveIndexFiles } from "../segment/index_file.ts";
import type { Segment, SegmentConfig, SegmentIndexes } from "../segment/segment.ts";
import { appendToSegment, mustRoll } from "../segment/segment.ts";
import type { Gap } from "../segment/segment_load.ts";
import { createSegment, indexesOf, sealSegment } from "../segment/segment_load.ts";
import type { AcceptedBatches } from "./accepted_batches.ts";
import {
  acceptBytes,
  acceptedBytesMax,
  acceptedWriteBytes,
  dropWritten,
} from "./accepted_batches.ts";
import type { GatheredAppends } from "./gathered_appends.ts";
import type { GroupCommit } from "./group_commit.ts";
import { hideUntilSynced, rejectWaiters, visibleEnd, waitUntilSynced } from "./group_commit.ts";
import type { LeaderEpochCache } from "./leader_epoch_cache.ts";
import { noteEpoch } from "./leader_epoch_file.ts";
import { batchTooLargeError, closedError, poisonError, storageError } from "./log_errors.ts";
import type { LogStats } from "./log_stats.ts";
import { countBatches } from "./log_stats.ts";
import { syncFiles, writeUnwritten } from "./log_sync.ts";
import type { ProducerSnapshots } from "./producer_snapshots.ts";
import { takeSnapshotIfUsed } from "./producer_snapshots.ts";
import type { ProducerStates } from "./producer_state.ts";
import type { TransactionIndexes } from "./transaction_indexes.ts";

/** What an acknowledgement stands for: on disk, in the page cache, or accepted. */
export type Ack = "disk" | "os" | "memory";

/** What a log needs to know of its topic's configuration. */
export interface LogConfig extends SegmentConfig {
  readonly cleanupPolicy: string;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly flushMessages: number;
  readonly flushMs: number;
}

/** The log of one partition. */
export interface Log {
  readonly pool: FilePool;
  readonly clock: Clock;
  /** Another one once its topic was deleted and somebody still copies its files. */
  folder: string;
  readonly source: BatchSource;
  config: LogConfig;
  /** In the order of their offsets, never empty. */
  readonly segments: Segment[];
  /** The first offset that can be read. */
  startOffset: number;
  /** The offset that the next record gets. */
  endOffset: number;
  /** Readers see what is below. */
  highWatermark: number;
  /** What batches are stamped with. */
  leaderEpoch: number;
  /** Below it the indexes were on disk when it was opened: its end, if it had been closed. */
  readonly openedOffset: number;
  readonly epochs: LeaderEpochCache;
  readonly commit: GroupCommit;
  /** What is known of idempotent and transactional producers. */
  readonly producers: ProducerStates;
  readonly snapshots: ProducerSnapshots;
  /** Undefined until a transaction is aborted. */
  transactionIndexes: TransactionIndexes | undefined;
  /** Accepted and not written yet, in the order of their offsets. */
  readonly accepted: AcceptedBatches;
  /** Appended at "disk" in this turn of the event loop and not written yet. */
  gathered: GatheredAppends | undefined;
  /** Segments with bytes that may not be on disk, in order. */
  readonly unsynced: Segment[];
  /**
   * Those of them that a recovery could not write again on a full disk, and from where on: whatever
   * comes next has to, or a sync would be of nothing.
   */
  readonly unwritten: Map<Segment, number>;
  /** Called once, at the next change of the high watermark, and when the log is closed. */
  readonly watchers: Set<() => void>;
  /**
   * Segments that are no longer part of the log, but of their files someone may still be reading.
   */
  readonly doomed: Segment[];
  /** How many copies of its files are under way: meanwhile none of them is removed. */
  copyCount: number;
  /** Whether the start that retention has moved is not on disk yet: until then all files stay. */
  isStartDue: boolean;
  /** Damage that is known of. */
  readonly gaps: Gap[];
  /**
   * Set by a roll that failed: its file may lie in the folder, so nothing is appended before it.
   */
  isRollDue: boolean;
  lastSyncMs: number;
  /** What it and the other logs of its topic have done. */
  readonly stats: LogStats;
  isClosed: boolean;
}

/** The segment that is written to. */
export function activeSegment(log: Log): Segment {
  return log.segments.at(-1)!;
}

/**
 * Appends the finished batches of a builder. They must begin with the log's end offset.
 *
 * @param log The log.
 * @param builder Holds the batches; it may be used again as soon as this returns.
 * @param endOffset Behind their last record.
 * @param ack What to wait for.
 * @returns Resolves when the level is reached; undefined if it is reached already.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`, `RECORD_LIST_TOO_LARGE`: of the batch that
 * it names and those behind it nothing is in the log, which ends at `endOffset` in the details.
 */
export function appendBuilt(
  log: Log,
  builder: BatchBuilder,
  endOffset: number,
  ack: Ack,
): Promise<void> | undefined {
  checkUsable(log);
  const bytes = builtBytes(builder);
  const baseOffset = log.endOffset;
  assert(getInt64(builder.view, 0) === baseOffset, "batches begin where the log ends");
  checkBatchSizes(log, bytes, builder.view);
  if (ack === "memory" && bytes.length <= acceptedBytesMax) {
    acceptBatches(log, bytes, endOffset);
    countBatches(log, builder.view, bytes.length, ack, baseOffset);
    return undefined;
  }
  try {
    writeAccepted(log);
    writeBatches(log, bytes, builder.view, ack === "disk");
  } finally {
    // Also if it failed: of several runs the first may be written and the next one not.
    countBatches(log, builder.view, bytes.length, ack, baseOffset);
  }
  assert(log.endOffset === endOffset, "the log ends where its last batch ends");
  if (ack === "disk") return waitUntilSynced(log.commit, endOffset, preciseNow(log.clock));
  advanceHighWatermark(log);
  flushIfDue(log);
  return undefined;
}

/**
 * Writes what was accepted at level "memory". Readers call this before they read.
 *
 * @param log The log.
 * @throws As `appendBuilt`; what could not be written stays accepted.
 */
export function writeAccepted(log: Log): void {
  const { accepted } = log;
  if (accepted.sizeBytes === 0) return;
  const bytes = accepted.bytes.subarray(0, accepted.sizeBytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { endOffset } = log;
  log.endOffset = activeSegment(log).endOffset;
  try {
    writeBatches(log, bytes, view, false);
  } finally {
    // Of several runs the first may be written and the next one not.
    dropWritten(accepted, log.endOffset);
    log.endOffset = endOffset;
  }
  if (log.snapshots.isDue) takeSnapshotIfUsed(log);
  flushIfDue(log);
}

/**
 * Writes what was accepted at level "memory", if the disk takes it.
 *
 * @param log The log.
 * @returns The error if it does not; then what could not be written stays accepted.
 */
export function tryWriteAccepted(log: Log): OttlaError | undefined {
  try {
    writeAccepted(log);
    return undefined;
  } catch (error) {
    if (error instanceof OttlaError) return error;
    throw error;
  }
}

/**
 * Waits until all that was appended so far is on disk, and the indexes of what was sealed.
 *
 * @param log The log.
 * @returns Resolves when it is.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk fails.
 */
export async function flushLog(log: Log): Promise<void> {
  checkUsable(log);
  log.gathered?.write();
  writeAccepted(log);
  await syncFiles(log, log.endOffset);
}

/**
 * Brings the high watermark to where the levels of all batches allow, and tells those who watch it.
 *
 * @param log The log.
 */
export function advanceHighWatermark(log: Log): void {
  const visible = visibleEnd(log.commit, log.endOffset);
  if (visible <= log.highWatermark) return;
  log.highWatermark = visible;
  notifyWatchers(log);
}

/**
 * Closes the active segment and opens a new one behind it. An empty one stays.
 *
 * @param log The log.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`; then the next append tries again.
 */
export function rollLog(log: Log): void {
  const active = activeSegment(log);
  // So an empty one takes any batch, even one that was accepted before segments became smaller.
  if (active.sizeBytes === 0) return;
  const place = { pool: log.pool, folder: log.folder, source: log.source };
  log.isRollDue = true;
  try {
    sealSegment(active, log.config);
    const segment = createSegment(place, active.endOffset, log.config, log.clock.now());
    log.pool.fs.syncFolder(log.folder);
    // Its indexes are to be synced, even if all of its batches are.
    if (log.unsynced.at(-1) !== active) log.unsynced.push(active);
    log.segments.push(segment);
  } catch (cause) {
    throw storageError(log, cause, "begin a segment of");
  }
  log.isRollDue = false;
  takeSnapshotIfUsed(log);
  // Bounds what a recovery has to read. Nobody waits; a failure poisons the log and so reaches who
  // comes next.
  syncFiles(log, active.endOffset).catch(() => {});
}

/**
 * Saves the indexes of the active segment, so that recovery may begin behind them.
 *
 * @param log The log.
 */
export function saveActiveIndexes(log: Log): void {
  const active = activeSegment(log);
  saveIndexFiles(active, indexesOf(active, log.config), log.config.segmentIndexBytes);
}

/**
 * Lets go of all files and does nothing else: the log stays as a crash would leave it.
 *
 * @param log The log; it cannot be used afterwards.
 */
export function abandonLog(log: Log): void {
  log.isClosed = true;
  for (const segment of [...log.segments, ...log.doomed]) {
    if (segment.log.pins === 0) closePooledFile(log.pool, segment.log);
  }
  rejectWaiters(log.commit, closedError(log));
  notifyWatchers(log);
}

/**
 * Makes sure that a log can be used.
 *
 * @param log The log.
 * @throws OttlaError `HANDLE_CLOSED`, or the failure that poisoned it.
 */
export function checkUsable(log: Log): void {
  if (log.isClosed) throw closedError(log);
  if (log.commit.failure !== undefined) throw log.commit.failure;
}

/**
 * Makes a failure after which nobody knows what is on disk the error that everyone gets until the
 * store is opened again.
 *
 * @param log The log.
 * @param cause What the file system threw.
 * @param action What failed.
 * @returns The error: that of the first failure if there are several.
 */
export function poisonLog(log: Log, cause: unknown, action = "syncing it"): Error {
  log.commit.failure ??= poisonError(log, cause, action);
  notifyWatchers(log);
  return log.commit.failure;
}

function acceptBatches(log: Log, bytes: Uint8Array, endOffset: number): void {
  const { accepted } = log;
  if (accepted.sizeBytes + bytes.length > acceptedWriteBytes) {
    const failure = tryWriteAccepted(log);
    if (failure !== undefined && accepted.sizeBytes + bytes.length > acceptedBytesMax) {
      throw failure;
    }
  }
  acceptBytes(accepted, bytes);
  log.endOffset = endOffset;
  advanceHighWatermark(log);
  if (accepted.isWriteDue) return;
  accepted.isWriteDue = true;
  log.clock.startTimer(() => writeAcceptedLater(log), 0);
}

function writeAcceptedLater(log: Log): void {
  log.accepted.isWriteDue = false;
  if (log.isClosed || log.commit.failure !== undefined) return;
  // Nobody waits for this. What could not be written the next append, read, flush or close tries
  // again.
  tryWriteAccepted(log);
}

function checkBatchSizes(log: Log, bytes: Uint8Array, view: DataView): void {
  for (let at = 0; at < bytes.length;) {
    const sizeBytes = batchSizeAt(view, at);
    if (sizeBytes > log.config.segmentBytes) throw batchTooLargeError(log, sizeBytes);
    at += sizeBytes;
  }
}

/** Writes whole batches, in runs that fit into a segment. */
function writeBatches(log: Log, bytes: Uint8Array, view: DataView, isHidden: boolean): void {
  writeUnwritten(log);
  for (let start = 0; start < bytes.length;) {
    const active = segmentForBatch(log, view, start);
    const roomBytes = log.config.segmentBytes - active.sizeBytes;
    let end = start;
    do end += batchSizeAt(view, end); while (
      end < bytes.length && end - start + batchSizeAt(view, end) <= roomBytes
    );
    writeRun(log, active, bytes, view, start, end);
    const baseOffset = log.endOffset;
    log.endOffset = active.endOffset;
    if (isHidden) hideUntilSynced(log.commit, baseOffset, log.endOffset);
    start = end;
  }
}

/** The segment that the batch at a position belongs into: the active one, or a new one. */
function segmentForBatch(log: Log, view: DataView, position: number): Segment {
  const active = activeSegment(log);
  const { config } = log;
  const sizeBytes = batchSizeAt(view, position);
  const lastOffset = log.endOffset + view.getInt32(position + field.lastOffsetDelta);
  const maxTimestamp = getInt64(view, position + field.maxTimestamp);
  const indexes = indexesToAppend(log, active);
  const now = log.clock.now();
  if (
    log.isRollDue || mustRoll(active, indexes, config, sizeBytes, maxTimestamp, lastOffset, now)
  ) {
    rollLog(log);
  }
  return activeSegment(log);
}

/** Those of a log that was opened are read when they are first needed. */
function indexesToAppend(log: Log, active: Segment): SegmentIndexes {
  try {
    return indexesOf(active, log.config);
  } catch (cause) {
    throw storageError(log, cause, "append to");
  }
}

function writeRun(
  log: Log,
  segment: Segment,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): void {
  const isAll = start === 0 && end === bytes.length;
  const run = isAll ? bytes : bytes.subarray(start, end);
  const runView = start === 0 ? view : new DataView(run.buffer, run.byteOffset, run.byteLength);
  const baseOffset = getInt64(runView, 0);
  noteEpoch(log, baseOffset);
  if (log.unsynced.at(-1) !== segment) log.unsynced.push(segment);
  try {
    appendToSegment(segment, indexesOf(segment, log.config), run, runView, log.config);
  } catch (cause) {
    writeRunUndo(log, segment);
    // If that failed too, "the disk is full" would promise that nothing of the batch is there.
    throw log.commit.failure ?? storageError(log, cause, `append offset ${baseOffset} to`);
  }
}

/** Takes away what a failed write may have left; if that fails too, nobody knows what is there. */
function writeRunUndo(log: Log, segment: Segment): void {
  try {
    log.pool.fs.truncate(handleOf(log.pool, segment.log), segment.sizeBytes);
  } catch (cause) {
    poisonLog(log, cause, "taking back a write that failed");
  }
}

function flushIfDue(log: Log): void {
  const { flushMessages, flushMs } = log.config;
  const unsyncedCount = log.endOffset - log.commit.syncedOffset;
  const isDue = unsyncedCount >= flushMessages ||
    log.clock.now() - log.lastSyncMs >= flushMs;
  // Nobody waits for this one; a failure poisons the log and so reaches whoever comes next.
  if (isDue) waitUntilSynced(log.commit, log.endOffset).catch(() => {});
}

function batchSizeAt(view: DataView, position: number): number {
  return view.getInt32(position + field.batchLength) + logOverheadBytes;
}

function notifyWatchers(log: Log): void {
  if (log.watchers.size === 0) return;
  const watchers = [...log.watchers];
  log.watchers.clear();
  for (const watcher of watchers) watcher();
}
