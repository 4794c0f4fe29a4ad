/**
 * Reads a partition's log: batches from an offset on, the offset of a timestamp, the bytes of a
 * range.
 *
 * Nothing is believed that a checksum does not confirm. Where the log is damaged the reader says so
 * once, naming the offsets that are lost, and goes on behind them when it is asked again.
 */

import { isOttlaError } from "../errors.ts";
import { pinFile } from "../platform/file_pool.ts";
import type { BatchView } from "../record/batch_view.ts";
import { hasValidChecksum, isControlBatch } from "../record/batch_view.ts";
import { forEachRecord } from "../record/record_reader.ts";
import type { Segment } from "../segment/segment.ts";
import { indexesOf, offsetForTimestamp } from "../segment/segment_load.ts";
import type { Log } from "./log.ts";
import { activeSegment, checkUsable, tryWriteAccepted } from "./log.ts";
import type { LogCursor } from "./log_cursor.ts";
import {
  batchInBuffer,
  checkOffset,
  emptyBuffer,
  emptyView,
  fillCursor,
  fitsBetween,
  passDamage,
  seekCursor,
} from "./log_cursor.ts";
import { unpinSegment } from "./retired_segments.ts";

export type { LogCursor };

/**
 * A cursor at an offset.
 *
 * @param log What to read.
 * @param offset The first offset wanted.
 * @param options How many bytes are read at once, and whether the batches may share one buffer.
 * @returns The cursor.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if the log does not reach there.
 */
export function logCursor(
  log: Log,
  offset: number,
  options: { readonly readBytes: number; readonly reusesBuffer: boolean },
): LogCursor {
  checkOffset(log, offset);
  return {
    log,
    offset,
    minOffset: 0,
    segment: undefined,
    position: 0,
    buffer: emptyBuffer,
    view: emptyView,
    filled: 0,
    at: 0,
    verifiesData: true,
    outcomes: undefined,
    ...options,
  };
}

/**
 * Up to where a log can be read now: what was accepted is written first.
 *
 * @param log The log.
 * @returns The high watermark, or less if the disk does not take what was accepted.
 */
export function readableEnd(log: Log): number {
  checkUsable(log);
  log.gathered?.write();
  tryWriteAccepted(log);
  return Math.min(log.highWatermark, activeSegment(log).endOffset);
}

/**
 * The next batch with the cursor's offset or a later one.
 *
 * @param cursor Moved behind the batch.
 * @param endOffset Batches from there on are not given.
 * @returns The batch, its checksum verified, or undefined if there is none yet. It may begin before
 * the offset.
 * @throws OttlaError `CORRUPT_MESSAGE` at damage, with `startOffset` and `endOffset` of what is
 * lost; the cursor has moved behind it. `OFFSET_OUT_OF_RANGE` if retention has removed what comes
 * next.
 */
export function nextBatch(cursor: LogCursor, endOffset: number): BatchView | undefined {
  const { log } = cursor;
  while (cursor.offset < endOffset) {
    const isLost = cursor.segment === undefined || cursor.segment.isDoomed;
    if (isLost || cursor.offset < log.startOffset) seekCursor(cursor);
    const batch = batchInBuffer(cursor);
    if (batch === undefined) {
      if (!fillCursor(cursor)) return undefined;
      continue;
    }
    const isNext = batch.baseOffset === cursor.minOffset &&
      batch.lastOffset < cursor.segment!.endOffset;
    if (!isNext && !fitsBetween(cursor, batch)) {
      passDamage(cursor, `it claims to begin with offset ${batch.baseOffset}`);
      continue;
    }
    if (batch.baseOffset >= endOffset) return undefined;
    const isVerified = cursor.verifiesData || isControlBatch(batch);
    if (isVerified && !hasValidChecksum(batch)) {
      passDamage(cursor, "its checksum is wrong");
      continue;
    }
    cursor.minOffset = batch.lastOffset + 1;
    cursor.at += batch.sizeBytes;
    if (batch.lastOffset < cursor.offset) continue;
    cursor.offset = batch.lastOffset + 1;
    return batch;
  }
  return undefined;
}

/**
 * The first record with a timestamp that is not smaller than the given one.
 *
 * @param log The log.
 * @param timestamp In milliseconds since the epoch.
 * @returns Its offset and timestamp, or undefined if all that can be read is older.
 */
export function findOffsetForTimestamp(
  log: Log,
  timestamp: number,
): { offset: number; timestamp: number } | undefined {
  const endOffset = readableEnd(log);
  for (const segment of log.segments) {
    indexesOf(segment, log.config);
    if (segment.maxTimestamp < timestamp) continue;
    const from = Math.max(offsetForTimestamp(segment, log.config, timestamp), log.startOffset);
    if (from >= endOffset) return undefined;
    const cursor = logCursor(log, from, { readBytes: 64 * 1024, reusesBuffer: true });
    const found = findInBatches(cursor, timestamp, endOffset);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** One stretch of one file. */
export interface RangeSlice {
  readonly segment: Segment;
  readonly startPosition: number;
  readonly endPosition: number;
}

/**
 * Where the whole batches of a range of offsets lie.
 *
 * @param log The log.
 * @param startOffset The range begins with the batch that holds it.
 * @param endOffset It ends before the first batch that begins there or behind; at most the readable
 * end.
 * @param bytesMax It ends before a batch that would bring it beyond, but has one batch at least.
 * @returns The stretches, their segments pinned: `unpinSlices` lets go of them.
 */
export function pinSlices(
  log: Log,
  startOffset: number,
  endOffset: number,
  bytesMax: number,
): RangeSlice[] {
  checkOffset(log, startOffset);
  const limit = Math.min(endOffset, readableEnd(log));
  const slices: RangeSlice[] = [];
  let bytesLeft = bytesMax;
  for (let offset = startOffset; offset < limit && bytesLeft > 0;) {
    const slice = findSlice(log, offset, limit, bytesLeft, slices.length === 0);
    if (slice === undefined) break;
    slices.push(slice);
    const { segment, startPosition, endPosition } = slice;
    if (endPosition < segment.sizeBytes) break;
    bytesLeft -= endPosition - startPosition;
    offset = segment.endOffset;
  }
  for (const [index, { segment }] of slices.entries()) {
    try {
      pinFile(log.pool, segment.log);
    } catch (error) {
      unpinSlices(log, slices.slice(0, index));
      throw error;
    }
  }
  return slices;
}

/**
 * Lets go of the segments that `pinSlices` has pinned; those that are to be removed are, if nobody
 * else needs them.
 *
 * @param log The log, open or closed.
 * @param slices What it gave.
 */
export function unpinSlices(log: Log, slices: readonly RangeSlice[]): void {
  for (const { segment } of slices) unpinSegment(log, segment);
}

function findInBatches(
  cursor: LogCursor,
  timestamp: number,
  endOffset: number,
): { offset: number; timestamp: number } | undefined {
  const { startOffset } = cursor.log;
  for (;;) {
    const batch = nextReadable(cursor, endOffset);
    if (batch === undefined) return undefined;
    if (batch.maxTimestamp < timestamp) continue;
    let found: { offset: number; timestamp: number } | undefined;
    forEachRecord(batch, (record) => {
      const isFound = found === undefined && record.timestamp >= timestamp &&
        record.offset >= startOffset;
      if (isFound) found = { offset: record.offset, timestamp: record.timestamp };
    });
    if (found !== undefined) return found;
  }
}

/**
 * As `nextBatch`, passing over what is damaged.
 *
 * @param cursor Moved behind the batch.
 * @param endOffset Batches from there on are not given.
 * @returns The batch, or undefined if there is none yet.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if retention has removed what comes next.
 */
export function nextReadable(cursor: LogCursor, endOffset: number): BatchView | undefined {
  for (;;) {
    try {
      return nextBatch(cursor, endOffset);
    } catch (error) {
      if (!isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
    }
  }
}

/**
 * The stretch of one segment's file that begins with the batch at an offset, or with the next one.
 */
function findSlice(
  log: Log,
  offset: number,
  endOffset: number,
  bytesMax: number,
  needsOne: boolean,
): RangeSlice | undefined {
  const cursor = logCursor(log, offset, { readBytes: 64 * 1024, reusesBuffer: true });
  const first = nextBatch(cursor, endOffset);
  if (first === undefined) return undefined;
  const segment = cursor.segment!;
  const startPosition = cursor.position + first.position;
  const restBytes = segment.sizeBytes - startPosition;
  const hasGap = log.gaps.some((gap) => gap.segmentBaseOffset === segment.baseOffset);
  if (!hasGap && segment.endOffset <= endOffset && restBytes <= bytesMax) {
    return { segment, startPosition, endPosition: segment.sizeBytes };
  }
  let endPosition = startPosition + (needsOne ? first.sizeBytes : 0);
  let batch: BatchView | undefined = first;
  while (batch !== undefined && cursor.segment === segment) {
    const end = cursor.position + batch.position + batch.sizeBytes;
    if (end - startPosition > bytesMax) break;
    endPosition = end;
    // A range ends before damage; the next one that begins there says so.
    batch = findUndamaged(cursor, endOffset);
  }
  return endPosition === startPosition ? undefined : { segment, startPosition, endPosition };
}

function findUndamaged(cursor: LogCursor, endOffset: number): BatchView | undefined {
  try {
    return nextBatch(cursor, endOffset);
  } catch (error) {
    if (isOttlaError(error, "CORRUPT_MESSAGE")) return undefined;
    throw error;
  }
}
