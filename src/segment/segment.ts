/**
 * One segment: a file of batches, its offset index and its time index.
 *
 * The indexes live in memory and are loaded when first needed. Their files are preallocated while
 * the segment is active and hold what was there when the segment was last flushed, sealed or
 * closed; what is missing in them is found again in the log.
 */

import type { BatchSource } from "../record/batch_view.ts";
import { field, logOverheadBytes } from "../record/batch_layout.ts";
import { getInt64 } from "../bytes/byte_reader.ts";
import { segmentBytesMax } from "../limits.ts";
import type { FilePool, PooledFile } from "../platform/file_pool.ts";
import { closePooledFile, handleOf, pooledFile } from "../platform/file_pool.ts";
import { joinPath } from "../platform/files.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import type { OffsetIndex } from "./offset_index.ts";
import { appendOffsetEntry, isOffsetIndexFull, truncateOffsetIndex } from "./offset_index.ts";
import { segmentFileName } from "./segment_file_name.ts";
import type { TimeIndex } from "./time_index.ts";
import { isTimeIndexFull, maybeAppendTimeEntry, truncateTimeIndex } from "./time_index.ts";

/** What a segment needs to know of its topic's configuration. */
export interface SegmentConfig {
  readonly segmentBytes: number;
  readonly segmentMs: number;
  readonly segmentIndexBytes: number;
  readonly indexIntervalBytes: number;
  /** Where it contains "compact", a segment must not grow older than `maxCompactionLagMs`. */
  readonly cleanupPolicy?: string;
  readonly maxCompactionLagMs?: number;
}

/** A segment of a partition's log. */
export interface Segment {
  readonly pool: FilePool;
  readonly folder: string;
  readonly source: BatchSource;
  readonly baseOffset: number;
  readonly log: PooledFile;
  /** How much of the log file is batches. */
  sizeBytes: number;
  /** The offset behind the last batch. */
  endOffset: number;
  /** The largest timestamp in it, or -1. */
  maxTimestamp: number;
  /** The last offset of the batch where that timestamp first stood. */
  offsetOfMaxTimestamp: number;
  /** The largest timestamp of its first batch, or -1; undefined while it is not known. */
  firstTimestamp: number | undefined;
  /** When it was made or opened, for rolling by time where records have no timestamps. */
  readonly createdMs: number;
  bytesSinceIndexEntry: number;
  /** Undefined until they are needed. */
  indexes: SegmentIndexes | undefined;
  /** Set when it is to be removed, as soon as nobody has pinned its log file. */
  isDoomed: boolean;
  /** What stands behind the names of its files once a compacted segment has taken these; else "". */
  asideSuffix: string;
}

/** The files that a segment may have, in the order in which they are renamed. */
export const segmentKinds = ["log", "index", "timeindex", "txnindex"] as const;

/** How many segments of one base may be waiting for their removal. */
const asideMax = 1_000_000;

/** Both indexes of a segment, and how much of them is in their files. */
export interface SegmentIndexes {
  readonly offset: OffsetIndex;
  readonly time: TimeIndex;
  offsetEntriesSaved: number;
  timeEntriesSaved: number;
}

/** Where a segment lies and what it belongs to. */
export interface SegmentPlace {
  readonly pool: FilePool;
  readonly folder: string;
  readonly source: BatchSource;
}

/**
 * A segment over an existing log file, of which nothing but the name is known yet.
 *
 * @param place Where it lies.
 * @param baseOffset Its first offset.
 * @param createdMs What counts as the time of its making.
 * @returns The segment, taken as empty.
 */
export function segmentAt(place: SegmentPlace, baseOffset: number, createdMs: number): Segment {
  return {
    pool: place.pool,
    folder: place.folder,
    source: place.source,
    baseOffset,
    log: pooledFile(joinPath(place.folder, segmentFileName(baseOffset, "log"))),
    sizeBytes: 0,
    endOffset: baseOffset,
    maxTimestamp: -1,
    offsetOfMaxTimestamp: baseOffset,
    firstTimestamp: undefined,
    createdMs,
    bytesSinceIndexEntry: 0,
    indexes: undefined,
    isDoomed: false,
    asideSuffix: "",
  };
}

/**
 * Appends bytes that are whole batches.
 *
 * @param segment The active segment, its indexes loaded.
 * @param bytes The batches.
 * @param view Over the same bytes.
 * @param config The topic's configuration.
 * @throws What the file system throws; then the segment is as before.
 */
export function appendToSegment(
  segment: Segment,
  indexes: SegmentIndexes,
  bytes: Uint8Array,
  view: DataView,
  config: SegmentConfig,
): void {
  segment.pool.fs.write(handleOf(segment.pool, segment.log), bytes, segment.sizeBytes);
  for (let at = 0; at < bytes.length;) {
    const sizeBytes = view.getInt32(at + field.batchLength) + logOverheadBytes;
    const lastOffset = getInt64(view, at) + view.getInt32(at + field.lastOffsetDelta);
    const isEmpty = view.getInt32(at + field.recordCount) === 0;
    noteBatch(
      segment,
      indexes,
      lastOffset,
      isEmpty ? -1 : getInt64(view, at + field.maxTimestamp),
      sizeBytes,
      config.indexIntervalBytes,
    );
    at += sizeBytes;
  }
}

/**
 * Counts a batch that stands at the end of the segment, and indexes it if it is time for an entry.
 *
 * @param segment The segment, which ends where the batch begins.
 * @param indexes Its indexes.
 * @param lastOffset Of the batch.
 * @param maxTimestamp Of the batch, or -1 if a compaction has left no records in it: then no record
 * has the timestamp that its header keeps.
 * @param sizeBytes Of the batch.
 * @param indexIntervalBytes How far apart entries are, at least.
 */
export function noteBatch(
  segment: Segment,
  indexes: SegmentIndexes,
  lastOffset: number,
  maxTimestamp: number,
  sizeBytes: number,
  indexIntervalBytes: number,
): void {
  if (segment.sizeBytes === 0) segment.firstTimestamp = maxTimestamp;
  if (maxTimestamp > segment.maxTimestamp) {
    segment.maxTimestamp = maxTimestamp;
    segment.offsetOfMaxTimestamp = lastOffset;
  }
  const isDue = segment.bytesSinceIndexEntry > indexIntervalBytes;
  if (isDue && !isOffsetIndexFull(indexes.offset) && !isTimeIndexFull(indexes.time)) {
    appendOffsetEntry(indexes.offset, lastOffset, segment.sizeBytes);
    maybeAppendTimeEntry(indexes.time, segment.maxTimestamp, segment.offsetOfMaxTimestamp);
    segment.bytesSinceIndexEntry = 0;
  }
  segment.sizeBytes += sizeBytes;
  segment.bytesSinceIndexEntry += sizeBytes;
  segment.endOffset = lastOffset + 1;
}

/**
 * Tells whether a segment must be rolled before an append.
 *
 * @param segment The active segment.
 * @param indexes Its indexes.
 * @param config The topic's configuration.
 * @param appendBytes How many bytes are to be appended.
 * @param maxTimestamp The largest timestamp among them, or -1.
 * @param lastOffset The last offset among them.
 * @param now In milliseconds since the epoch.
 * @returns True if they belong into a new segment (src/FORMAT.md, section 6.2).
 */
export function mustRoll(
  segment: Segment,
  indexes: SegmentIndexes,
  config: SegmentConfig,
  appendBytes: number,
  maxTimestamp: number,
  lastOffset: number,
  now: number,
): boolean {
  if (segment.sizeBytes + appendBytes > config.segmentBytes) return true;
  if (segment.sizeBytes === 0) return lastOffset - segment.baseOffset > segmentBytesMax;
  const waitedMs = segment.firstTimestamp !== undefined && segment.firstTimestamp >= 0
    ? maxTimestamp - segment.firstTimestamp
    : now - segment.createdMs;
  return waitedMs > segmentMsOf(config) ||
    isOffsetIndexFull(indexes.offset) ||
    isTimeIndexFull(indexes.time) ||
    lastOffset - segment.baseOffset > segmentBytesMax;
}

/** A record that waits in the active segment cannot be compacted. */
function segmentMsOf(config: SegmentConfig): number {
  const { segmentMs, cleanupPolicy, maxCompactionLagMs } = config;
  if (maxCompactionLagMs === undefined || maxCompactionLagMs >= segmentMs) return segmentMs;
  return cleanupPolicy?.includes("compact") === true ? maxCompactionLagMs : segmentMs;
}

/**
 * Ends a segment's life as the active one: its time index gets its last entry.
 *
 * @param segment The segment.
 * @param indexes Its indexes.
 */
export function sealIndexes(segment: Segment, indexes: SegmentIndexes): void {
  if (segment.maxTimestamp < 0) return;
  maybeAppendTimeEntry(indexes.time, segment.maxTimestamp, segment.offsetOfMaxTimestamp, true);
}

/**
 * Cuts a segment so that it ends before a position. Its largest timestamp stays what it was: what
 * is cut is a torn end, not batches that were counted.
 *
 * @param segment The segment.
 * @param indexes Its indexes.
 * @param position Of a batch.
 * @param endOffset The offset behind the batch before it.
 */
export function truncateSegment(
  segment: Segment,
  indexes: SegmentIndexes,
  position: number,
  endOffset: number,
): void {
  segment.pool.fs.truncate(handleOf(segment.pool, segment.log), position);
  segment.sizeBytes = position;
  segment.endOffset = endOffset;
  truncateOffsetIndex(indexes.offset, endOffset);
  truncateTimeIndex(indexes.time, endOffset);
  indexes.offsetEntriesSaved = Math.min(indexes.offsetEntriesSaved, indexes.offset.count);
  indexes.timeEntriesSaved = Math.min(indexes.timeEntriesSaved, indexes.time.count);
}

/**
 * Gives the files of a segment names that say that they are about to be removed. Whoever has them
 * open goes on reading them.
 *
 * @param segment A segment that is being replaced.
 */
export function setSegmentFilesAside(segment: Segment): void {
  const { fs } = segment.pool;
  if (segment.log.pins === 0) closePooledFile(segment.pool, segment.log);
  const suffix = freeAsideSuffix(segment);
  for (const kind of segmentKinds) {
    const path = joinPath(segment.folder, segmentFileName(segment.baseOffset, kind));
    ignoringMissing(() => fs.rename(path, path + suffix));
  }
  segment.asideSuffix = suffix;
}

/** A copy that is under way may still need what was set aside before under the same name. */
function freeAsideSuffix({ pool, folder, baseOffset }: Segment): string {
  const path = joinPath(folder, segmentFileName(baseOffset, "log"));
  let suffix = ".deleted";
  for (let count = 2; pool.fs.stat(path + suffix) !== undefined && count < asideMax; count++) {
    suffix = `.${count}.deleted`;
  }
  return suffix;
}

/**
 * Removes the files of a segment, under a name that says so first. The producer snapshot where it
 * begins is the log's: it may be all that tells of producers.
 *
 * @param segment A segment that nobody reads any more.
 */
export function removeSegmentFiles(segment: Segment): void {
  const { fs } = segment.pool;
  closePooledFile(segment.pool, segment.log);
  for (const kind of segmentKinds) {
    const path = joinPath(segment.folder, segmentFileName(segment.baseOffset, kind));
    ignoringMissing(() => {
      const isAside = segment.asideSuffix !== "";
      const aside = path + (isAside ? segment.asideSuffix : ".deleted");
      if (!isAside) fs.rename(path, aside);
      fs.remove(aside);
    });
  }
}

function ignoringMissing(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!hasErrorCode(error, "ENOENT")) throw error;
  }
}
