/**
 * Walks through the log of a segment, notes every batch in the segment and its indexes, and so
 * finds where it ends.
 *
 * From position 0 that rebuilds an index, with checksums verified it is recovery, and from the last
 * entry of a good index it finds the end of a segment that was cleanly closed.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import { segmentBytesMax } from "../limits.ts";
import type { FileHandle } from "../platform/file_system.ts";
import { batchHeaderBytes, field } from "../record/batch_layout.ts";
import { peekBatchSize, producerIdOf } from "../record/batch_view.ts";
import type { ScanEndReason } from "./batch_scan.ts";
import { scanBatches } from "./batch_scan.ts";
import { emptyIndexes, readIndexFiles } from "./index_file.ts";
import { lastIndexedOffset, lastIndexedPosition, lookUpPosition } from "./offset_index.ts";
import type { Segment, SegmentConfig, SegmentIndexes } from "./segment.ts";
import { noteBatch } from "./segment.ts";
import { endsBeforeNext, findGoodBatch } from "./segment_damage.ts";
import type { TimestampOffset } from "./time_index.ts";
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
  /**
   * Why the batches end where they end; anything but "end" means that bytes are left behind them.
   */
  readonly reason: ScanEndReason;
  /** How many bytes of the file it went through. */
  readonly scannedBytes: number;
  /** Whether a batch that it came by has a producer. */
  readonly hasProducers: boolean;
}

/**
 * Takes the indexes from their files as far as these can be believed, and walks on from their last
 * entry; from the beginning where there is nothing to believe.
 *
 * An index is believed if the batches of its last entries are what these say. A segment that was
 * cleanly closed has its largest timestamp in its time index, so a larger one behind shows that the
 * time index is short, and so do bytes in its file that are no entries.
 *
 * @param segment Its indexes, size, end and timestamps are set.
 * @param file The handle of its log.
 * @param config The topic's configuration.
 * @param logBytes Where the log ends.
 * @param trustedOffset Only entries below it count, and from there on checksums are verified.
 * Infinity: all is trusted, and nothing verified.
 * @returns What the walk found.
 */
export function walkFromIndex(
  segment: Segment,
  file: FileHandle,
  config: SegmentConfig,
  logBytes: number,
  trustedOffset: number,
): ScanResult {
  const isClean = trustedOffset === Infinity;
  const limit = Math.min(trustedOffset, Number.MAX_SAFE_INTEGER);
  const { indexes, isTimeIndexWhole } = readIndexFiles(
    segment,
    config.segmentIndexBytes,
    logBytes,
    limit,
  );
  const isBelieved = isTimeIndexWhole || !isClean;
  const indexed = isBelieved ? findIndexedBatch(segment, indexes, file) : undefined;
  if (indexed === undefined) return walkFromStart(segment, file, config, logBytes, !isClean);
  const last = lastTimeEntry(indexes.time);
  segment.indexes = indexes;
  segment.maxTimestamp = last.timestamp;
  segment.offsetOfMaxTimestamp = last.offset;
  segment.firstTimestamp = readHeader(segment, file, 0)?.maxTimestamp;
  segment.sizeBytes = lastIndexedPosition(indexes.offset);
  segment.endOffset = indexed.baseOffset;
  const result = scanInto(segment, indexes, file, config, logBytes, !isClean);
  if (!isClean) return result;
  if (isWhole(result) && segment.maxTimestamp === last.timestamp) return result;
  return walkFromStart(segment, file, config, logBytes, false);
}

/**
 * Walks through the whole segment with empty indexes.
 *
 * @param segment Its indexes, size, end and timestamps are set.
 * @param file The handle of its log.
 * @param config The topic's configuration.
 * @param logBytes Where the log ends.
 * @param verify Whether the checksums are verified. Where anything is wrong they are all the same:
 * else a damaged header, not the batches behind it, would be believed.
 * @returns What the walk found.
 */
export function walkFromStart(
  segment: Segment,
  file: FileHandle,
  config: SegmentConfig,
  logBytes: number,
  verify: boolean,
): ScanResult {
  segment.indexes = emptyIndexes(segment, config.segmentIndexBytes);
  segment.sizeBytes = 0;
  segment.endOffset = segment.baseOffset;
  segment.firstTimestamp = undefined;
  segment.maxTimestamp = -1;
  segment.offsetOfMaxTimestamp = segment.baseOffset;
  const result = scanInto(segment, segment.indexes, file, config, logBytes, verify);
  if (verify || isWhole(result)) return result;
  return walkFromStart(segment, file, config, logBytes, true);
}

function isWhole({ reason, gaps }: ScanResult): boolean {
  return reason === "end" && gaps.length === 0;
}

/**
 * The batch of the last offset entry, if it and the one of the last time entry are what these say.
 */
function findIndexedBatch(
  segment: Segment,
  indexes: SegmentIndexes,
  file: FileHandle,
): BatchHeader | undefined {
  const { offset, time } = indexes;
  if (offset.count === 0 || time.count === 0) return undefined;
  const batch = readHeader(segment, file, lastIndexedPosition(offset));
  const isTrue = batch !== undefined && batch.lastOffset === lastIndexedOffset(offset) &&
    batch.baseOffset >= segment.baseOffset &&
    isTimeEntryTrue(segment, indexes, file, lastTimeEntry(time));
  return isTrue ? batch : undefined;
}

/**
 * Tells whether an entry of a time index is true of the log, as far as one batch can tell.
 *
 * @param segment The segment.
 * @param indexes Its indexes; the offset index leads to the batch.
 * @param file The handle of its log.
 * @param entry The entry.
 * @returns Whether the batch with the entry's offset has the entry's timestamp as its largest.
 */
export function isTimeEntryTrue(
  segment: Segment,
  indexes: SegmentIndexes,
  file: FileHandle,
  entry: TimestampOffset,
): boolean {
  let position = lookUpPosition(indexes.offset, entry.offset);
  for (;;) {
    const batch = readHeader(segment, file, position);
    if (batch === undefined || batch.baseOffset > entry.offset) return false;
    if (batch.lastOffset >= entry.offset) return batch.maxTimestamp === entry.timestamp;
    position += batch.sizeBytes;
  }
}

/** What the header of a batch says, right or wrong. */
export interface BatchHeader {
  readonly sizeBytes: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly maxTimestamp: number;
}

/**
 * Reads the header of the batch at a position.
 *
 * @param segment The segment.
 * @param file The handle of its log.
 * @param position Where the batch begins.
 * @returns The header, or undefined if there is none.
 */
export function readHeader(
  segment: Segment,
  file: FileHandle,
  position: number,
): BatchHeader | undefined {
  const header = new Uint8Array(batchHeaderBytes);
  if (segment.pool.fs.read(file, header, position) < batchHeaderBytes) return undefined;
  const view = new DataView(header.buffer);
  const sizeBytes = peekBatchSize(view, 0);
  if (sizeBytes === 0) return undefined;
  const baseOffset = getInt64(view, field.baseOffset);
  return {
    sizeBytes,
    baseOffset,
    lastOffset: baseOffset + view.getInt32(field.lastOffsetDelta),
    maxTimestamp: getInt64(view, field.maxTimestamp),
  };
}

/**
 * Walks from where the segment ends, as it is known, to the end of its file, noting every batch.
 *
 * Where bytes are damaged the walk goes on at the next good batch, and the damage is a gap; where
 * no good batch follows it ends, and whoever called decides what to do with the rest.
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
  // An index can count no further; an offset beyond that is damage, which no checksum covers.
  const offsetMax = segment.baseOffset + segmentBytesMax;
  const gaps: Gap[] = [];
  const scannedBytes = logBytes - segment.sizeBytes;
  let hasProducers = false;
  // The last batch has none behind it to tell a wrong first offset by. Where nothing is compacted
  // it begins where the one before it ends.
  const isCompacted = config.cleanupPolicy?.includes("compact") !== false;
  const fits = (lastOffset: number, behind: number): boolean =>
    (isCompacted || behind < logBytes) && endsBeforeNext(segment, file, behind, lastOffset);
  // The first batch may be the one of the last index entry, which is not indexed again.
  segment.bytesSinceIndexEntry = 0;
  for (;;) {
    const start = segment.sizeBytes;
    const scanned = scanBatches(
      fs,
      file,
      { start, end: logBytes, verify, source },
      (batch, position) => {
        const { baseOffset, lastOffset } = batch;
        if (baseOffset < segment.endOffset || lastOffset > offsetMax) return false;
        const behind = position + batch.sizeBytes;
        if (baseOffset !== segment.endOffset && !fits(lastOffset, behind)) return false;
        hasProducers ||= producerIdOf(batch) >= 0;
        noteBatch(
          segment,
          indexes,
          batch.lastOffset,
          batch.recordCount === 0 ? -1 : batch.maxTimestamp,
          batch.sizeBytes,
          config.indexIntervalBytes,
        );
        return true;
      },
    );
    if (scanned.reason === "end") return { gaps, reason: "end", scannedBytes, hasProducers };
    const next = findGoodBatch(
      segment,
      file,
      scanned.position,
      logBytes,
      segment.endOffset,
      offsetMax,
    );
    if (next === undefined) return { gaps, reason: scanned.reason, scannedBytes, hasProducers };
    gaps.push({
      startOffset: segment.endOffset,
      endOffset: next.baseOffset,
      startPosition: scanned.position,
      endPosition: next.position,
      segmentBaseOffset: segment.baseOffset,
    });
    segment.sizeBytes = next.position;
    segment.endOffset = next.baseOffset;
  }
}
