/**
 * Makes, opens, recovers and seals segments: whatever turns files into a `Segment` and back.
 *
 * Everything here rests on one walk: `scanInto` goes through the batches from a known position on and notes each in
 * the segment and its indexes. From position 0 that rebuilds an index, with checksums verified it is recovery, and from
 * the last entry of a good index it finds the end of a segment that was cleanly closed.
 */

import type { FileHandle } from "../platform/file_system.ts";
import { handleOf, pinFile, unpinFile } from "../platform/file_pool.ts";
import { getInt64 } from "../bytes/byte_reader.ts";
import { batchHeaderBytes, field } from "../record/batch_layout.ts";
import { peekBatchSize } from "../record/batch_view.ts";
import type { ScanEndReason } from "./batch_scan.ts";
import { findNextBatch, scanBatches } from "./batch_scan.ts";
import { emptyIndexes, readIndexFiles, saveIndexFiles } from "./index_file.ts";
import {
  lastIndexedOffset,
  lastIndexedPosition,
  lookUpPosition,
  truncateOffsetIndex,
} from "./offset_index.ts";
import type { Segment, SegmentConfig, SegmentIndexes, SegmentPlace } from "./segment.ts";
import { noteBatch, sealIndexes, segmentAt } from "./segment.ts";
import { lastTimeEntry } from "./time_index.ts";

/** A stretch of a log whose bytes are damaged: its offsets cannot be read, what follows can. */
export interface Gap {
  /** Of the first record that may be missing. */
  readonly startOffset: number;
  /** Of the next record that can be read. */
  readonly endOffset: number;
  /** In the file of the segment that begins with `segmentBaseOffset`. */
  readonly startPosition: number;
  readonly endPosition: number;
  readonly segmentBaseOffset: number;
}

/** What a walk through a segment found. */
export interface ScanResult {
  readonly gaps: Gap[];
  /** Why the batches end where they end; anything but "end" means that bytes are left behind them. */
  readonly reason: ScanEndReason;
}

/**
 * Makes a new, empty segment with its files.
 *
 * @param place Where it lies.
 * @param baseOffset Its first offset.
 * @param config The topic's configuration.
 * @param now In milliseconds since the epoch.
 * @returns The segment. The folder must be synced before anything in it is promised.
 */
export function createSegment(
  place: SegmentPlace,
  baseOffset: number,
  config: SegmentConfig,
  now: number,
): Segment {
  const { fs } = place.pool;
  const segment = segmentAt(place, baseOffset, now);
  const file = fs.open(segment.log.path, "create");
  try {
    fs.truncate(file, 0);
  } finally {
    fs.close(file);
  }
  segment.indexes = emptyIndexes(segment, config.segmentIndexBytes);
  saveIndexFiles(segment, segment.indexes, config.segmentIndexBytes);
  return segment;
}

/**
 * A sealed segment of which only the size is looked at; the rest is loaded when it is needed.
 *
 * @param place Where it lies.
 * @param baseOffset Its first offset.
 * @param endOffset The first offset of the segment behind it.
 * @param now In milliseconds since the epoch.
 * @returns The segment.
 */
export function openSealedSegment(
  place: SegmentPlace,
  baseOffset: number,
  endOffset: number,
  now: number,
): Segment {
  const segment = segmentAt(place, baseOffset, now);
  segment.sizeBytes = place.pool.fs.stat(segment.log.path)?.sizeBytes ?? 0;
  segment.endOffset = endOffset;
  return segment;
}

/**
 * Opens the last segment of a log, or one that may not have been flushed.
 *
 * @param place Where it lies.
 * @param baseOffset Its first offset.
 * @param config The topic's configuration.
 * @param now In milliseconds since the epoch.
 * @param trustedOffset Everything below it is known to be on disk; from there on checksums are verified. Infinity
 * after a clean shutdown.
 * @returns The segment with its indexes loaded, and what was found.
 */
export function openLastSegment(
  place: SegmentPlace,
  baseOffset: number,
  config: SegmentConfig,
  now: number,
  trustedOffset: number,
): { segment: Segment; result: ScanResult } {
  const { fs } = place.pool;
  const segment = segmentAt(place, baseOffset, now);
  const file = pinFile(place.pool, segment.log);
  try {
    const logBytes = fs.sizeOf(file);
    const result = walkFromIndex(segment, file, config, logBytes, trustedOffset);
    return { segment, result };
  } finally {
    unpinFile(segment.log);
  }
}

/**
 * The indexes of a segment, loaded or rebuilt if they are not in memory yet.
 *
 * @param segment The segment.
 * @param config The topic's configuration.
 * @returns Its indexes.
 */
export function indexesOf(segment: Segment, config: SegmentConfig): SegmentIndexes {
  if (segment.indexes !== undefined) return segment.indexes;
  keepingExtent(segment, (file, logBytes) => {
    walkFromIndex(segment, file, config, logBytes, Infinity);
    saveIfGrown(segment, segment.indexes!);
  });
  return segment.indexes!;
}

/**
 * Throws the indexes of a segment away and makes them anew from its log.
 *
 * @param segment The segment.
 * @param config The topic's configuration.
 * @returns What the walk through the segment found.
 */
export function rebuildIndexes(segment: Segment, config: SegmentConfig): ScanResult {
  return keepingExtent(segment, (file, logBytes) => {
    const result = walkFromStart(segment, file, config, logBytes, false);
    saveIfGrown(segment, segment.indexes!);
    return result;
  });
}

/**
 * Ends a segment's life as the active one: indexes complete, their files cut to size.
 *
 * @param segment The segment.
 * @param config The topic's configuration.
 */
export function sealSegment(segment: Segment, config: SegmentConfig): void {
  const indexes = indexesOf(segment, config);
  sealIndexes(segment, indexes);
  saveIndexFiles(segment, indexes, undefined);
}

/** Does something that walks through a sealed segment; its size and end stay what the folder says. */
function keepingExtent<T>(segment: Segment, walk: (file: FileHandle, logBytes: number) => T): T {
  const { endOffset, sizeBytes } = segment;
  const file = pinFile(segment.pool, segment.log);
  try {
    return walk(file, sizeBytes);
  } finally {
    segment.sizeBytes = sizeBytes;
    segment.endOffset = endOffset;
    unpinFile(segment.log);
  }
}

/** Writes the index files of a sealed segment if what they hold had to be completed. */
function saveIfGrown(segment: Segment, indexes: SegmentIndexes): void {
  sealIndexes(segment, indexes);
  const isSaved = indexes.offset.count === indexes.offsetEntriesSaved &&
    indexes.time.count === indexes.timeEntriesSaved;
  if (!isSaved) saveIndexFiles(segment, indexes, undefined);
}

/**
 * Takes the indexes from their files as far as these can be believed, and walks on from their last entry; from the
 * beginning where there is nothing to believe.
 *
 * Only entries below the trusted offset count. An index is believed if the batch of its last entry stands where it says. A
 * segment that was cleanly closed has its largest timestamp in its time index, so a larger one behind shows that
 * the time index is short.
 */
function walkFromIndex(
  segment: Segment,
  file: FileHandle,
  config: SegmentConfig,
  logBytes: number,
  trustedOffset: number,
): ScanResult {
  const isClean = trustedOffset === Infinity;
  const limit = isClean ? Number.MAX_SAFE_INTEGER : trustedOffset;
  const indexes = readIndexFiles(segment, config.segmentIndexBytes, logBytes, limit);
  const { offset, time } = indexes;
  truncateOffsetIndex(offset, limit);
  if (offset.count === 0 || time.count === 0 || !isEntryTrue(segment, indexes, file)) {
    return walkFromStart(segment, file, config, logBytes, !isClean);
  }
  indexes.offsetEntriesSaved = offset.count;
  indexes.timeEntriesSaved = time.count;
  const last = lastTimeEntry(time);
  segment.indexes = indexes;
  segment.maxTimestamp = last.timestamp;
  segment.offsetOfMaxTimestamp = last.offset;
  segment.sizeBytes = lastIndexedPosition(offset);
  segment.endOffset = segment.baseOffset;
  const result = scanInto(segment, indexes, file, config, logBytes, !isClean);
  if (!isClean || segment.maxTimestamp === last.timestamp) return result;
  return walkFromStart(segment, file, config, logBytes, false);
}

/** Walks through the whole segment with empty indexes. */
function walkFromStart(
  segment: Segment,
  file: FileHandle,
  config: SegmentConfig,
  logBytes: number,
  verify: boolean,
): ScanResult {
  segment.indexes = emptyIndexes(segment, config.segmentIndexBytes);
  segment.sizeBytes = 0;
  segment.endOffset = segment.baseOffset;
  segment.maxTimestamp = -1;
  segment.offsetOfMaxTimestamp = segment.baseOffset;
  return scanInto(segment, segment.indexes, file, config, logBytes, verify);
}

function isEntryTrue(segment: Segment, indexes: SegmentIndexes, file: FileHandle): boolean {
  const lastOffset = lastIndexedOffset(indexes.offset);
  const batch = readHeader(segment, file, lastIndexedPosition(indexes.offset));
  return batch !== undefined && batch.baseOffset <= lastOffset && lastOffset <= batch.lastOffset;
}

/**
 * Where to begin reading to find an offset. An index that leads elsewhere is rebuilt.
 *
 * @param segment The segment that holds the offset, if any does.
 * @param config The topic's configuration.
 * @param offset The offset.
 * @returns The position of a batch that is not behind the one with the offset.
 */
export function positionForOffset(segment: Segment, config: SegmentConfig, offset: number): number {
  const position = lookUpPosition(indexesOf(segment, config).offset, offset);
  if (position === 0) return 0;
  const file = pinFile(segment.pool, segment.log);
  try {
    const batch = readHeader(segment, file, position);
    if (
      batch !== undefined && batch.baseOffset <= offset && batch.baseOffset >= segment.baseOffset
    ) {
      return position;
    }
  } finally {
    unpinFile(segment.log);
  }
  rebuildIndexes(segment, config);
  return lookUpPosition(segment.indexes!.offset, offset);
}

/** The offsets of the batch at a position, if there is one. */
function readHeader(
  segment: Segment,
  file: FileHandle,
  position: number,
): { baseOffset: number; lastOffset: number } | undefined {
  const header = new Uint8Array(batchHeaderBytes);
  if (segment.pool.fs.read(file, header, position) < batchHeaderBytes) return undefined;
  const view = new DataView(header.buffer);
  if (peekBatchSize(view, 0) === 0) return undefined;
  const baseOffset = getInt64(view, field.baseOffset);
  return { baseOffset, lastOffset: baseOffset + view.getInt32(field.lastOffsetDelta) };
}

/**
 * Walks from where the segment ends, as it is known, to the end of its file, noting every batch.
 *
 * Where bytes are damaged the walk goes on at the next good batch, and the damage is a gap; where no good batch follows it
 * ends, and whoever called decides what to do with the rest.
 */
function scanInto(
  segment: Segment,
  indexes: SegmentIndexes,
  file: FileHandle,
  config: SegmentConfig,
  logBytes: number,
  verify: boolean,
): ScanResult {
  const { fs } = segment.pool;
  const { source } = segment;
  const gaps: Gap[] = [];
  // The first batch may be the one of the last index entry, which is not indexed again.
  segment.bytesSinceIndexEntry = 0;
  for (;;) {
    const start = segment.sizeBytes;
    const scanned = scanBatches(fs, file, { start, end: logBytes, verify, source }, (batch) => {
      if (batch.baseOffset < segment.endOffset) return false;
      noteBatch(
        segment,
        indexes,
        batch.lastOffset,
        batch.maxTimestamp,
        batch.sizeBytes,
        config.indexIntervalBytes,
      );
      return true;
    });
    if (scanned.reason === "end") return { gaps, reason: "end" };
    const next = findNextBatch(
      fs,
      file,
      { start: scanned.position + 1, end: logBytes, verify: true },
      segment.endOffset,
    );
    if (next === undefined) return { gaps, reason: scanned.reason };
    gaps.push({
      startOffset: segment.endOffset,
      endOffset: next.baseOffset,
      startPosition: scanned.position,
      endPosition: next.position,
      segmentBaseOffset: segment.baseOffset,
    });
    segment.sizeBytes = next.position;
  }
}

/** Reads the log file of a segment. */
export function readSegment(segment: Segment, target: Uint8Array, position: number): number {
  return segment.pool.fs.read(handleOf(segment.pool, segment.log), target, position);
}
