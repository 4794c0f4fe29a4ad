/**
 * The segment that a compaction makes of several: its files end with `.cleaned` until all of them
 * are on disk.
 */

import type { ByteWriter } from "../bytes/byte_writer.ts";
import { byteWriter } from "../bytes/byte_writer.ts";
import { closePooledFile, pinFile, pooledFile, unpinFile } from "../platform/file_pool.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import { emptyIndexes } from "../segment/index_file.ts";
import { encodeOffsetEntries } from "../segment/offset_index.ts";
import type { Segment, SegmentIndexes } from "../segment/segment.ts";
import { appendToSegment, sealIndexes, segmentAt, segmentKinds } from "../segment/segment.ts";
import type { SegmentFileKind, SegmentFileSuffix } from "../segment/segment_file_name.ts";
import { parseSegmentFileName, segmentFileName } from "../segment/segment_file_name.ts";
import { encodeTimeEntries } from "../segment/time_index.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import { printTxnIndex } from "../segment/txn_index_file.ts";
import type { Log } from "./log.ts";
import { poisonLog } from "./log.ts";

/** A segment that is being written. */
export interface CleanedSegment {
  readonly segment: Segment;
  readonly indexes: SegmentIndexes;
  /** Batches that are to be written next. */
  readonly target: ByteWriter;
  /** Whose markers stay, in their order. */
  readonly aborted: AbortedTransaction[];
  /** Written since the last sync. */
  unsyncedBytes: number;
}

/** Synced one part after the other, the file never holds up the syncs of appends for long. */
const syncBytes = 1024 * 1024;
/** A target that has grown beyond is not kept. */
const targetBytesMax = 4 * 1024 * 1024;

/**
 * Makes an empty segment that is to replace others.
 *
 * @param log The log.
 * @param sources The segments that it replaces.
 * @returns The segment, its log open for writing.
 */
export function createCleaned(log: Log, sources: readonly Segment[]): CleanedSegment {
  const { pool, folder, source } = log;
  const first = sources[0]!;
  const place = { pool, folder, source };
  const segment: Segment = {
    ...segmentAt(place, first.baseOffset, first.createdMs),
    log: pooledFile(cleanedPath(log, first.baseOffset, "log", "cleaned")),
  };
  const file = pool.fs.open(segment.log.path, "create");
  try {
    pool.fs.truncate(file, 0);
  } finally {
    pool.fs.close(file);
  }
  segment.indexes = emptyIndexes(segment, log.config.segmentIndexBytes);
  const target = byteWriter();
  return { segment, indexes: segment.indexes, target, aborted: [], unsyncedBytes: 0 };
}

/**
 * Writes the batches that have come together.
 *
 * @param log The log.
 * @param cleaned The segment.
 * @throws What the file system throws.
 */
export function writeCleaned(log: Log, cleaned: CleanedSegment): void {
  const { segment, indexes, target } = cleaned;
  if (target.position === 0) return;
  const bytes = target.bytes.subarray(0, target.position);
  appendToSegment(segment, indexes, bytes, target.view, log.config);
  cleaned.unsyncedBytes += bytes.length;
  target.position = 0;
  if (target.bytes.length > targetBytesMax) Object.assign(target, byteWriter());
}

/**
 * Brings the log of the segment to disk once enough of it was written.
 *
 * @param cleaned The segment.
 * @param isLast Whether nothing more will be written.
 * @returns Resolves when it is there.
 * @throws What the file system throws.
 */
export async function syncCleaned(cleaned: CleanedSegment, isLast = false): Promise<void> {
  if (cleaned.unsyncedBytes < syncBytes && !isLast) return;
  const { pool, log } = cleaned.segment;
  cleaned.unsyncedBytes = 0;
  const file = pinFile(pool, log);
  try {
    await pool.fs.syncData(file);
  } finally {
    unpinFile(log);
  }
}

/**
 * Completes the segment: writes what is left, its indexes, and brings all of it to disk, names
 * included.
 *
 * @param log The log.
 * @param cleaned The segment.
 * @param last The last segment that it replaces.
 * @returns Resolves when all is on disk.
 * @throws What the file system throws.
 */
export async function finishCleaned(
  log: Log,
  cleaned: CleanedSegment,
  last: Segment,
): Promise<void> {
  const { fs } = log.pool;
  const { segment, indexes, aborted } = cleaned;
  writeCleaned(log, cleaned);
  segment.endOffset = last.endOffset;
  sealIndexes(segment, indexes);
  if (segment.maxTimestamp < 0) {
    // Retention goes by this then. It may have taken the last one away.
    const modifiedMs = fs.stat(last.log.path)?.modifiedMs;
    if (modifiedMs !== undefined) fs.setModified(segment.log.path, modifiedMs);
  }
  await syncCleaned(cleaned, true);
  await writeWhole(log, segment, "index", encodeOffsetEntries(indexes.offset));
  await writeWhole(log, segment, "timeindex", encodeTimeEntries(indexes.time));
  if (aborted.length > 0) await writeWhole(log, segment, "txnindex", printTxnIndex(aborted));
  indexes.offsetEntriesSaved = indexes.offset.count;
  indexes.timeEntriesSaved = indexes.time.count;
}

/**
 * Lets go of a segment that was written, and removes its files unless they have taken the names of
 * others.
 *
 * @param log The log. What lies in the folder of a closed one may be somebody else's, and one that
 * is poisoned may need them to be whole again.
 * @param cleaned The segment.
 * @throws What the file system throws: files that stayed would one day replace what the log will be
 * by then, so the log is poisoned.
 */
export function dropCleaned(log: Log, cleaned: CleanedSegment): void {
  closePooledFile(log.pool, cleaned.segment.log);
  if (log.isClosed || log.commit.failure !== undefined) return;
  try {
    removeUnfinished(log);
  } catch (cause) {
    throw poisonLog(log, cause, "removing an unfinished compaction");
  }
}

/**
 * Removes the files that an unfinished compaction has left.
 *
 * @param log The log; nobody compacts it.
 * @throws What the file system throws.
 */
export function removeUnfinished(log: Log): void {
  const { fs } = log.pool;
  let hasSwap = false;
  for (const { name } of fs.list(log.folder)) {
    const suffix = parseSegmentFileName(name)?.suffix;
    if (suffix !== "cleaned" && suffix !== "swap") continue;
    hasSwap ||= suffix === "swap";
    try {
      fs.remove(joinPath(log.folder, name));
    } catch (error) {
      if (!hasErrorCode(error, "ENOENT")) throw error;
    }
  }
  // One that a power cut brought back would be completed.
  if (hasSwap) fs.syncFolder(log.folder);
}

/**
 * The path of a file of a segment that takes the place of others.
 *
 * @param log The log.
 * @param baseOffset Of the segment.
 * @param kind What the file holds.
 * @param suffix How far it has come.
 * @returns The path.
 */
export function cleanedPath(
  log: Log,
  baseOffset: number,
  kind: SegmentFileKind,
  suffix: SegmentFileSuffix,
): string {
  return joinPath(log.folder, segmentFileName(baseOffset, kind, suffix));
}

/**
 * The kinds of the files that a cleaned segment has.
 *
 * @param cleaned The segment.
 * @returns The kinds, in the order in which the files are renamed.
 */
export function kindsOfCleaned({ aborted }: CleanedSegment): SegmentFileKind[] {
  return segmentKinds.filter((kind) => kind !== "txnindex" || aborted.length > 0);
}

async function writeWhole(
  log: Log,
  { baseOffset }: Segment,
  kind: SegmentFileKind,
  bytes: Uint8Array,
): Promise<void> {
  const { fs } = log.pool;
  const file = fs.open(cleanedPath(log, baseOffset, kind, "cleaned"), "create");
  try {
    fs.truncate(file, 0);
    if (bytes.length > 0) fs.write(file, bytes, 0);
    await fs.syncData(file);
  } finally {
    fs.close(file);
  }
}
