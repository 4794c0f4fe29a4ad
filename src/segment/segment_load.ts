/**
 * Makes, opens and seals segments, and gives them their indexes: whatever turns files into a
 * `Segment` and back.
 *
 * What is taken from an index file is held against the log where it is used; an index that
 * disagrees is made anew.
 */

import { OttlaError } from "../errors.ts";
import { segmentBytesMax } from "../limits.ts";
import { handleOf, pinFile, unpinFile } from "../platform/file_pool.ts";
import type { FileHandle } from "../platform/file_system.ts";
import { emptyIndexes, replaceIndexFiles, saveIndexFiles } from "./index_file.ts";
import { lookUpPosition } from "./offset_index.ts";
import type { Segment, SegmentConfig, SegmentIndexes, SegmentPlace } from "./segment.ts";
import { sealIndexes, segmentAt } from "./segment.ts";
import type { Gap, ScanResult } from "./segment_walk.ts";
import { isTimeEntryTrue, readHeader, walkFromIndex, walkFromStart } from "./segment_walk.ts";
import { lookUpTimestamp } from "./time_index.ts";

export type { Gap, ScanResult };

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
 * @throws OttlaError `STORE_INVALID` if the file is larger than a segment can be.
 */
export function openSealedSegment(
  place: SegmentPlace,
  baseOffset: number,
  endOffset: number,
  now: number,
): Segment {
  const segment = segmentAt(place, baseOffset, now);
  segment.sizeBytes = place.pool.fs.stat(segment.log.path)?.sizeBytes ?? 0;
  checkLogSize(segment, segment.sizeBytes);
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
 * @param trustedOffset Everything below it is known to be on disk; from there on checksums are
 * verified. Infinity after a clean shutdown.
 * @returns The segment with its indexes loaded, and what was found.
 * @throws OttlaError `STORE_INVALID` if the file is larger than a segment can be.
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
    checkLogSize(segment, logBytes);
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
    walkFromIndex(segment, file, allowingGaps(config), logBytes, Infinity);
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
    const result = walkFromStart(segment, file, allowingGaps(config), logBytes, false);
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

/**
 * Where in a segment to begin looking for the first record that is not older than a timestamp. An
 * index that says something else than the log is rebuilt.
 *
 * @param segment The segment.
 * @param config The topic's configuration.
 * @param timestamp In milliseconds since the epoch.
 * @returns An offset; the record is in its batch or behind it.
 */
export function offsetForTimestamp(
  segment: Segment,
  config: SegmentConfig,
  timestamp: number,
): number {
  const indexes = indexesOf(segment, config);
  const entry = lookUpTimestamp(indexes.time, timestamp);
  if (entry.timestamp < 0) return segment.baseOffset;
  const file = pinFile(segment.pool, segment.log);
  try {
    if (isTimeEntryTrue(segment, indexes, file, entry)) return entry.offset;
  } finally {
    unpinFile(segment.log);
  }
  rebuildIndexes(segment, config);
  return lookUpTimestamp(segment.indexes!.time, timestamp).offset;
}

/**
 * The configuration with which a sealed segment is walked: what was compacted before its topic was
 * altered has gaps, and a batch behind one that ends below the next segment is right.
 *
 * @param config The topic's configuration.
 * @returns It, with gaps between offsets allowed.
 */
export function allowingGaps<Config extends SegmentConfig>(config: Config): Config {
  return { ...config, cleanupPolicy: "compact" };
}

/** A position in a file of an index has 31 bits. */
function checkLogSize(segment: Segment, logBytes: number): void {
  if (logBytes <= segmentBytesMax) return;
  throw new OttlaError(
    "STORE_INVALID",
    `Cannot open ${segment.log.path}: it has ${logBytes} bytes, a segment has at most ` +
      `${segmentBytesMax}`,
    { details: { logBytes, segmentBytesMax } },
  );
}

/**
 * Does something that walks through a sealed segment; its size and end stay what the folder says.
 */
function keepingExtent<T>(segment: Segment, walk: (file: FileHandle, logBytes: number) => T): T {
  const { endOffset, sizeBytes } = segment;
  const file = pinFile(segment.pool, segment.log);
  try {
    return walk(file, sizeBytes);
  } catch (error) {
    // Half an index would be taken for a whole one.
    segment.indexes = undefined;
    throw error;
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
  if (isSaved) return;
  try {
    replaceIndexFiles(segment, indexes);
  } catch (error) {
    // A disk that takes no index can still be read; the next opening makes the index again.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
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

/** Reads the log file of a segment. */
export function readSegment(segment: Segment, target: Uint8Array, position: number): number {
  return segment.pool.fs.read(handleOf(segment.pool, segment.log), target, position);
}
