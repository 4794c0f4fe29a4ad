/**
 * Copies a log as it was at one moment, while it goes on.
 *
 * `cutLog` takes note of what the log is, in one turn of the event loop, and holds its files;
 * `copyLog` then makes of it the folder that a clean shutdown at that moment would have left:
 *
 * | file of the copy                   | where it comes from                                        |
 * | ---------------------------------- | ---------------------------------------------------------- |
 * | `.log` of a sealed segment         | a hard link, if it lies below the recovery point: it is    |
 * |                                    | never written to again; else its bytes                     |
 * | `.index`, `.timeindex` of it       | their bytes: a damaged index is made anew in place         |
 * | `.log` of the active segment       | its bytes up to the end of the log                         |
 * | `.index`, `.timeindex` of it       | made from what is in memory, complete                      |
 * | `.txnindex`                        | its entries whose markers lie before the end of the log    |
 * | `.snapshot` at the end of the log  | made from what is known of producers                       |
 * | older `.snapshot`                  | their bytes, unless they have become useless meanwhile     |
 * | `leader-epoch-checkpoint`          | made from what is in memory                                |
 *
 * While files are held, retention and compaction take segments out of the log and leave the files,
 * which have other names then.
 */

import { strict as assert } from "node:assert";
import { isOttlaError, OttlaError } from "../errors.ts";
import { joinPath, readFile } from "../platform/files.ts";
import { encodeOffsetEntries, offsetEntryBytes } from "../segment/offset_index.ts";
import type { Segment, SegmentIndexes } from "../segment/segment.ts";
import { indexesOf } from "../segment/segment_load.ts";
import type { SegmentFileKind } from "../segment/segment_file_name.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import type { TimeIndex } from "../segment/time_index.ts";
import { encodeTimeEntries, maybeAppendTimeEntry } from "../segment/time_index.ts";
import { parseTxnIndex, printTxnIndex, txnEntryBytes } from "../segment/txn_index_file.ts";
import { epochCheckpointName, printEpochCheckpoint } from "./checkpoint_file.ts";
import type { FolderCopy } from "./folder_copy.ts";
import { copyBytes, copyFile, writeWhole } from "./folder_copy.ts";
import type { EpochEntry } from "./leader_epoch_cache.ts";
import type { Log } from "./log.ts";
import { activeSegment, checkUsable, writeAccepted } from "./log.ts";
import { syncFiles } from "./log_sync.ts";
import { snapshotOf } from "./producer_snapshots.ts";
import { holdFiles } from "./retired_segments.ts";
import { syncTransactionIndexes } from "./transaction_indexes.ts";

/** A log as it was at one moment. */
export interface LogCut {
  readonly log: Log;
  readonly startOffset: number;
  /** Behind all that had been appended, at whatever level. */
  readonly endOffset: number;
  readonly sealed: readonly Segment[];
  readonly active: ActiveCut;
  /** What lies below is on disk for good: no recovery changes its segments. */
  readonly recoveryPoint: number;
  /** Of all log files. */
  readonly sizeBytes: number;
  readonly epochs: readonly EpochEntry[];
  /** What is known of producers; undefined if there never was one. */
  readonly snapshot: Uint8Array | undefined;
  /** Of those before the end of the log, rising. */
  readonly snapshotOffsets: readonly number[];
}

/** The active segment at that moment. What is behind its counts was added to the indexes since. */
interface ActiveCut {
  readonly segment: Segment;
  readonly sizeBytes: number;
  readonly indexes: SegmentIndexes;
  readonly offsetCount: number;
  readonly timeCount: number;
  readonly maxTimestamp: number;
  readonly offsetOfMaxTimestamp: number;
}

const indexBytesMax = 2 ** 30;

/**
 * Waits until the sealed segments of a log are on disk, so that a recovery point can be recorded
 * that they lie below.
 *
 * @param log The log.
 * @returns Resolves when they are.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk fails.
 */
export function syncSealed(log: Log): Promise<void> {
  return syncFiles(log, activeSegment(log).baseOffset);
}

/**
 * Takes note of what a log is at this moment, and holds its files until `releaseFiles`.
 *
 * @param log The log. What was accepted of it is written first; what is gathered still has no offsets.
 * @returns What it is.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR` if something of it cannot be written, or the
 * failure that poisoned it; then no file is held. What the file system throws.
 */
export function cutLog(log: Log): LogCut {
  checkUsable(log);
  writeAccepted(log);
  syncTransactionIndexes(log);
  checkUsable(log);
  const { segments, startOffset, endOffset } = log;
  const active = activeSegment(log);
  assert(active.endOffset === endOffset, "all of the log is in its files");
  const indexes = indexesOf(active, log.config);
  const cut: LogCut = {
    log,
    startOffset,
    endOffset,
    sealed: segments.slice(0, -1),
    active: {
      segment: active,
      sizeBytes: active.sizeBytes,
      indexes,
      offsetCount: indexes.offset.count,
      timeCount: indexes.time.count,
      maxTimestamp: active.maxTimestamp,
      offsetOfMaxTimestamp: active.offsetOfMaxTimestamp,
    },
    recoveryPoint: log.snapshots.recoveryPoint,
    sizeBytes: segments.reduce((sum, segment) => sum + segment.sizeBytes, 0),
    epochs: log.epochs.entries,
    snapshot: snapshotOf(log),
    snapshotOffsets: log.snapshots.offsets.filter((offset) => offset < endOffset),
  };
  holdFiles(log);
  return cut;
}

/**
 * Makes a copy of a log in an empty folder.
 *
 * @param cut What the log was; its files are still held.
 * @param target Where to copy it.
 * @returns Resolves when all files are on disk; the folder is not synced.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the log could not be synced meanwhile; what the file
 * systems and the target's `claim` and `nextTurn` throw.
 */
export async function copyLog(cut: LogCut, target: FolderCopy): Promise<void> {
  const { log } = cut;
  for (const segment of cut.sealed) await copySealed(cut, segment, target);
  await copyActive(cut, target);
  await copySnapshots(cut, target);
  if (cut.epochs.length > 0) {
    await writeWhole(target, epochCheckpointName, printEpochCheckpoint(cut.epochs));
  }
  // Nobody knows what of such a log is on disk, so nobody knows it of files that are linked.
  const { failure } = log.commit;
  if (failure !== undefined && !isOttlaError(failure, "HANDLE_CLOSED")) throw failure;
}

async function copySealed(
  { log, recoveryPoint }: LogCut,
  segment: Segment,
  target: FolderCopy,
): Promise<void> {
  const { baseOffset, endOffset, sizeBytes } = segment;
  const name = segmentFileName(baseOffset, "log");
  const copy = endOffset <= recoveryPoint ? copyFile : copyBytes;
  await copy(target, () => pathOf(log, segment, "log"), name, sizeBytes);
  for (const kind of ["index", "timeindex"] as const) {
    const bytes = readFile(log.pool.fs, pathOf(log, segment, kind), indexBytesMax);
    // Whoever needs one that is missing makes it from the log.
    if (bytes !== undefined) await writeWhole(target, segmentFileName(baseOffset, kind), bytes);
  }
  await copyTransactionIndex(log, segment, endOffset, target);
}

async function copyActive({ log, active, endOffset }: LogCut, target: FolderCopy): Promise<void> {
  const { segment, sizeBytes, indexes, offsetCount } = active;
  const { baseOffset } = segment;
  const name = segmentFileName(baseOffset, "log");
  await copyBytes(target, () => pathOf(log, segment, "log"), name, sizeBytes);
  const offsets = encodeOffsetEntries(indexes.offset)
    .subarray(0, offsetCount * offsetEntryBytes);
  await writeWhole(target, segmentFileName(baseOffset, "index"), offsets);
  const times = encodeTimeEntries(sealedTimes(active));
  await writeWhole(target, segmentFileName(baseOffset, "timeindex"), times);
  await copyTransactionIndex(log, segment, endOffset, target);
}

/** The time index as sealing the segment at that moment would have left it. */
function sealedTimes(active: ActiveCut): TimeIndex {
  const { indexes: { time }, timeCount, maxTimestamp, offsetOfMaxTimestamp } = active;
  const sealed: TimeIndex = {
    ...time,
    count: timeCount,
    timestamps: time.timestamps.slice(0, timeCount),
    relativeOffsets: time.relativeOffsets.slice(0, timeCount),
  };
  if (maxTimestamp >= 0) maybeAppendTimeEntry(sealed, maxTimestamp, offsetOfMaxTimestamp, true);
  return sealed;
}

async function copyTransactionIndex(
  log: Log,
  segment: Segment,
  endOffset: number,
  target: FolderCopy,
): Promise<void> {
  const path = pathOf(log, segment, "txnindex");
  const bytes = readFile(log.pool.fs, path, indexBytesMax);
  if (bytes === undefined) return;
  const entries = entriesBefore(bytes, path, endOffset);
  if (entries.length === 0) return;
  await writeWhole(target, segmentFileName(segment.baseOffset, "txnindex"), entries);
}

/** Those whose markers lie before an offset. What cannot be read stays what it is. */
function entriesBefore(bytes: Uint8Array, path: string, endOffset: number): Uint8Array {
  const whole = bytes.subarray(0, bytes.length - bytes.length % txnEntryBytes);
  try {
    const entries = parseTxnIndex(whole, path);
    return printTxnIndex(entries.filter(({ lastOffset }) => lastOffset < endOffset));
  } catch (error) {
    if (error instanceof OttlaError) return bytes;
    throw error;
  }
}

async function copySnapshots(cut: LogCut, target: FolderCopy): Promise<void> {
  const { log, endOffset, snapshot } = cut;
  for (const offset of cut.snapshotOffsets) {
    const name = segmentFileName(offset, "snapshot");
    const bytes = readFile(log.pool.fs, joinPath(log.folder, name), indexBytesMax);
    if (bytes !== undefined) await writeWhole(target, name, bytes);
  }
  if (snapshot === undefined) return;
  await writeWhole(target, segmentFileName(endOffset, "snapshot"), snapshot);
}

/** Where a file of a segment lies now: both the folder and the segment may have been renamed. */
function pathOf(log: Log, segment: Segment, kind: SegmentFileKind): string {
  return joinPath(log.folder, segmentFileName(segment.baseOffset, kind)) + segment.asideSuffix;
}
