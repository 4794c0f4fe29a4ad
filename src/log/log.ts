/**
 * The log of one partition: segments in order, the last of them active.
 *
 * Appending is synchronous: when `appendBuilt` returns, the batches are in the page cache and have their offsets.
 * What it returns is awaited by those who asked for more than that. Offsets: `startOffset` <= `highWatermark` <=
 * `endOffset`; readers see what is below the high watermark.
 */

import { strict as assert } from "node:assert";
import { getInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { FilePool } from "../platform/file_pool.ts";
import { closePooledFile, handleOf, pinFile, unpinFile } from "../platform/file_pool.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import { builtBytes } from "../record/batch_builder.ts";
import type { BatchSource } from "../record/batch_view.ts";
import { field, logOverheadBytes } from "../record/batch_layout.ts";
import { saveIndexFiles } from "../segment/index_file.ts";
import type { Segment, SegmentConfig } from "../segment/segment.ts";
import { appendToSegment, mustRoll } from "../segment/segment.ts";
import type { Gap } from "../segment/segment_load.ts";
import { createSegment, indexesOf, sealSegment } from "../segment/segment_load.ts";
import { writeEpochCheckpoint } from "./checkpoint_file.ts";
import type { GroupCommit } from "./group_commit.ts";
import { hideUntilSynced, visibleEnd, waitUntilSynced } from "./group_commit.ts";
import type { LeaderEpochCache } from "./leader_epoch_cache.ts";
import { assignEpoch } from "./leader_epoch_cache.ts";

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
  readonly folder: string;
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
  readonly epochs: LeaderEpochCache;
  readonly commit: GroupCommit;
  /** Accepted and not written yet, in the order of their offsets. */
  readonly accepted: AcceptedBatches;
  /** Segments with bytes that may not be on disk, in order. */
  readonly unsynced: Segment[];
  /** Called once, at the next change of the high watermark, and when the log is closed. */
  readonly watchers: Set<() => void>;
  /** Segments that are no longer part of the log, but of their files someone may still be reading. */
  readonly doomed: Segment[];
  /** Damage that is known of. */
  readonly gaps: Gap[];
  lastSyncMs: number;
  isClosed: boolean;
}

/** Batches that were acknowledged at level "memory". */
export interface AcceptedBatches {
  chunks: Uint8Array[];
  sizeBytes: number;
  /** Whether someone will write them soon. */
  isWriteDue: boolean;
}

/** Accepted batches are written when there are this many bytes of them. */
const acceptedWriteBytes = 256 * 1024;
/** And when the disk takes none, this many are kept before appends fail. */
const acceptedBytesMax = 8 * 1024 * 1024;

/** The segment that is written to. */
export function activeSegment(log: Log): Segment {
  return log.segments.at(-1)!;
}

/** The name of a log for people: `orders-3`. */
export function nameOfLog(log: Log): string {
  return `${log.source.topic}-${log.source.partition}`;
}

/**
 * Appends the finished batches of a builder. They must begin with the log's end offset.
 *
 * @param log The log.
 * @param builder Holds the batches; it may be used again as soon as this returns.
 * @param endOffset Behind their last record.
 * @param ack What to wait for.
 * @returns Resolves when the level is reached; undefined if it is reached already.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`, `RECORD_LIST_TOO_LARGE`: of the batch that it names and those
 * behind it nothing is in the log.
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
  if (ack === "memory") {
    acceptBatches(log, bytes.slice(), endOffset);
    return undefined;
  }
  writeAccepted(log);
  writeBatches(log, bytes, builder.view, ack === "disk");
  assert(log.endOffset === endOffset, "the log ends where its last batch ends");
  if (ack === "disk") return waitUntilSynced(log.commit, endOffset);
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
  while (accepted.chunks.length > 0) {
    const chunk = accepted.chunks[0]!;
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const endOffset = log.endOffset;
    log.endOffset = getInt64(view, 0);
    try {
      writeBatches(log, chunk, view, false);
    } finally {
      log.endOffset = Math.max(log.endOffset, endOffset);
    }
    accepted.chunks.shift();
    accepted.sizeBytes -= chunk.length;
  }
}

/**
 * Waits until all that was appended so far is on disk.
 *
 * @param log The log.
 * @returns Resolves when it is.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk fails.
 */
export async function flushLog(log: Log): Promise<void> {
  checkUsable(log);
  writeAccepted(log);
  await waitUntilSynced(log.commit, log.endOffset);
}

/**
 * Syncs the files of a log; what the group commit does when someone waits.
 *
 * @param log The log.
 * @returns Up to which offset, and when it is done.
 */
export function syncLog(log: Log): { endOffset: number; done: Promise<void> } {
  const { pool } = log;
  const segments = [...log.unsynced];
  const endOffset = activeSegment(log).endOffset;
  const syncs = segments.map(async (segment) => {
    const file = pinFile(pool, segment.log);
    try {
      await pool.fs.syncData(file);
    } finally {
      unpinFile(segment.log);
    }
  });
  const done = Promise.all(syncs).then(() => {
    log.lastSyncMs = log.clock.now();
    const isSynced = (segment: Segment): boolean => segment.endOffset <= endOffset;
    const kept = log.unsynced.filter((segment) =>
      !segments.includes(segment) || !isSynced(segment)
    );
    log.unsynced.splice(0, log.unsynced.length, ...kept);
  });
  return { endOffset, done };
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
 * Closes the active segment and opens a new one behind it.
 *
 * @param log The log.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`; then the log is as before.
 */
export function rollLog(log: Log): void {
  const active = activeSegment(log);
  const place = { pool: log.pool, folder: log.folder, source: log.source };
  sealSegment(active, log.config);
  const segment = createSegment(place, active.endOffset, log.config, log.clock.now());
  log.pool.fs.syncFolder(log.folder);
  log.segments.push(segment);
  // Bounds what a recovery has to read. Nobody waits; a failure poisons the log and so reaches who comes next.
  waitUntilSynced(log.commit, active.endOffset).catch(() => {});
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
 * Writes and syncs everything, ends the index files with their last entries, and lets go of all files.
 *
 * @param log The log; it cannot be used afterwards, whether this succeeds or not.
 * @returns The offset below which everything is on disk.
 * @throws OttlaError if something could not be written.
 */
export async function closeLog(log: Log): Promise<number> {
  if (log.isClosed) return log.commit.syncedOffset;
  try {
    await flushLog(log);
    sealSegment(activeSegment(log), log.config);
    return log.commit.syncedOffset;
  } finally {
    abandonLog(log);
  }
}

/**
 * Lets go of all files and does nothing else: the log stays as a crash would leave it.
 *
 * @param log The log; it cannot be used afterwards.
 */
export function abandonLog(log: Log): void {
  log.isClosed = true;
  for (const segment of log.segments) {
    if (segment.log.pins === 0) closePooledFile(log.pool, segment.log);
  }
  notifyWatchers(log);
}

/**
 * Makes sure that a log can be used.
 *
 * @param log The log.
 * @throws OttlaError `HANDLE_CLOSED`, or the failure that poisoned it.
 */
export function checkUsable(log: Log): void {
  if (log.isClosed) {
    throw new OttlaError("HANDLE_CLOSED", `Cannot use ${nameOfLog(log)}: it is closed`);
  }
  if (log.commit.failure !== undefined) throw log.commit.failure;
}

/**
 * Turns the failure of a sync into the error that everyone gets until the store is opened again.
 *
 * @param log The log.
 * @param cause What the file system threw.
 * @returns The error.
 */
export function poisonLog(log: Log, cause: unknown): OttlaError {
  const { syncedOffset } = log.commit;
  const failure = new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot use ${
      nameOfLog(log)
    }: syncing it failed, so records from offset ${syncedOffset} on may ` +
      `not be on disk; open the store again to go on from what is`,
    { cause, details: { ...log.source, syncedOffset } },
  );
  log.commit.failure ??= failure;
  notifyWatchers(log);
  return failure;
}

function acceptBatches(log: Log, chunk: Uint8Array, endOffset: number): void {
  const { accepted } = log;
  if (accepted.sizeBytes >= acceptedWriteBytes) {
    try {
      writeAccepted(log);
    } catch (error) {
      if (accepted.sizeBytes + chunk.length > acceptedBytesMax) throw error;
    }
  }
  accepted.chunks.push(chunk);
  accepted.sizeBytes += chunk.length;
  log.endOffset = endOffset;
  advanceHighWatermark(log);
  if (accepted.isWriteDue) return;
  accepted.isWriteDue = true;
  log.clock.startTimer(() => writeAcceptedLater(log), 0);
}

function writeAcceptedLater(log: Log): void {
  log.accepted.isWriteDue = false;
  if (log.isClosed || log.commit.failure !== undefined) return;
  try {
    writeAccepted(log);
  } catch (error) {
    // Nobody waits for this. What is accepted stays so, and the next append, read, flush or close tries again.
    if (!(error instanceof OttlaError)) throw error;
  }
}

/** Writes whole batches, in runs that fit into a segment. */
function writeBatches(log: Log, bytes: Uint8Array, view: DataView, isHidden: boolean): void {
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
  const sizeBytes = batchSizeAt(view, position);
  const { config } = log;
  if (sizeBytes > config.segmentBytes) {
    throw new OttlaError(
      "RECORD_LIST_TOO_LARGE",
      `Cannot append a batch of ${sizeBytes} bytes to ${nameOfLog(log)}: a segment holds at most ` +
        `${config.segmentBytes}`,
      { details: { ...log.source, sizeBytes, segmentBytes: config.segmentBytes } },
    );
  }
  const active = activeSegment(log);
  const indexes = indexesOf(active, config);
  const lastOffset = log.endOffset + view.getInt32(position + field.lastOffsetDelta);
  const maxTimestamp = getInt64(view, position + field.maxTimestamp);
  const now = log.clock.now();
  if (!mustRoll(active, indexes, config, sizeBytes, maxTimestamp, lastOffset, now)) return active;
  try {
    rollLog(log);
  } catch (cause) {
    throw storageError(log, cause, "begin a segment of");
  }
  return activeSegment(log);
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
    throw storageError(log, cause, `append offset ${baseOffset} to`);
  }
}

/** Takes away what a failed write may have left; if that fails too, nobody knows what is there. */
function writeRunUndo(log: Log, segment: Segment): void {
  try {
    log.pool.fs.truncate(handleOf(log.pool, segment.log), segment.sizeBytes);
  } catch (cause) {
    poisonLog(log, cause);
  }
}

function noteEpoch(log: Log, baseOffset: number): void {
  if (!assignEpoch(log.epochs, log.leaderEpoch, baseOffset)) return;
  try {
    const path = joinPath(log.folder, "leader-epoch-checkpoint");
    writeEpochCheckpoint(log.pool.fs, path, log.epochs.entries);
  } catch (cause) {
    throw storageError(log, cause, "record the leader epoch of");
  }
}

function storageError(log: Log, cause: unknown, action: string): OttlaError {
  const isFull = hasErrorCode(cause, "ENOSPC") || hasErrorCode(cause, "EDQUOT");
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new OttlaError(
    isFull ? "DISK_FULL" : "KAFKA_STORAGE_ERROR",
    `Cannot ${action} ${nameOfLog(log)}: ${isFull ? "the disk is full" : reason}`,
    { cause, details: { ...log.source, endOffset: log.endOffset } },
  );
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
