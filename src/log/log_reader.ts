/**
 * Reads a partition's log: batches from an offset on, the offset of a timestamp, the bytes of a range.
 *
 * Nothing is believed that a checksum does not confirm. Where the log is damaged the reader says so once, naming the offsets that are lost,
 * and goes on behind them when it is asked again.
 */

import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import { closePooledFile, pinFile, unpinFile } from "../platform/file_pool.ts";
import { headerToMagicBytes } from "../record/batch_layout.ts";
import type { BatchView } from "../record/batch_view.ts";
import { hasValidChecksum, peekBatchSize, viewBatch } from "../record/batch_view.ts";
import { forEachRecord } from "../record/record_reader.ts";
import { findNextBatch } from "../segment/batch_scan.ts";
import type { Segment } from "../segment/segment.ts";
import { indexesOf, positionForOffset, readSegment } from "../segment/segment_load.ts";
import { lookUpTimestamp } from "../segment/time_index.ts";
import type { Log } from "./log.ts";
import { activeSegment, checkUsable, nameOfLog, writeAccepted } from "./log.ts";
import { sweepRetired } from "./retention.ts";

/** A place in a log, and the bytes behind it that were read ahead. */
export interface LogCursor {
  readonly log: Log;
  /** The next offset that is wanted. */
  offset: number;
  /** Undefined until the first batch was looked for, and when the segment was removed. */
  segment: Segment | undefined;
  /** Where in the file of the segment the buffer begins. */
  position: number;
  buffer: Uint8Array;
  view: DataView;
  /** How much of the buffer was read. */
  filled: number;
  /** Of the next batch in the buffer. */
  at: number;
  /** How many bytes are read at once. */
  readonly readBytes: number;
  /** Whether the buffer is used again for the next bytes; else every batch keeps its own alive. */
  readonly reusesBuffer: boolean;
}

const emptyBuffer = new Uint8Array(0);
const emptyView = new DataView(emptyBuffer.buffer);

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
    segment: undefined,
    position: 0,
    buffer: emptyBuffer,
    view: emptyView,
    filled: 0,
    at: 0,
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
  try {
    writeAccepted(log);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
  }
  return Math.min(log.highWatermark, activeSegment(log).endOffset);
}

/**
 * The next batch with the cursor's offset or a later one.
 *
 * @param cursor Moved behind the batch.
 * @param endOffset Batches from there on are not given.
 * @returns The batch, its checksum verified, or undefined if there is none yet. It may begin before the offset.
 * @throws OttlaError `CORRUPT_MESSAGE` at damage, with `startOffset` and `endOffset` of what is lost; the cursor has moved behind
 * it. `OFFSET_OUT_OF_RANGE` if retention has removed what comes next.
 */
export function nextBatch(cursor: LogCursor, endOffset: number): BatchView | undefined {
  while (cursor.offset < endOffset) {
    if (cursor.segment === undefined || cursor.segment.isDoomed) seekCursor(cursor);
    const batch = batchInBuffer(cursor);
    if (batch === undefined) {
      if (!fillCursor(cursor)) return undefined;
      continue;
    }
    if (batch.baseOffset >= endOffset) return undefined;
    if (batch.lastOffset >= cursor.offset) {
      if (!hasValidChecksum(batch)) throw skipDamage(cursor, "its checksum is wrong");
      cursor.offset = batch.lastOffset + 1;
      cursor.at += batch.sizeBytes;
      return batch;
    }
    cursor.at += batch.sizeBytes;
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
    const { time } = indexesOf(segment, log.config);
    if (segment.maxTimestamp < timestamp) continue;
    const from = Math.max(lookUpTimestamp(time, timestamp).offset, log.startOffset);
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
 * @param endOffset It ends before the first batch that begins there or behind; at most the readable end.
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
    const segment = segmentOf(log, offset);
    const startPosition = findBatchPosition(log, segment, offset);
    const isLast = limit < segment.endOffset || bytesLeft < segment.sizeBytes - startPosition;
    const endPosition = isLast
      ? findRangeEnd(log, segment, startPosition, limit, slices.length === 0, bytesLeft)
      : segment.sizeBytes;
    if (endPosition > startPosition) slices.push({ segment, startPosition, endPosition });
    bytesLeft -= endPosition - startPosition;
    offset = isLast ? limit : segment.endOffset;
  }
  for (const { segment } of slices) pinFile(log.pool, segment.log);
  return slices;
}

/**
 * Lets go of the segments that `pinSlices` has pinned; those that are to be removed are, if nobody else needs them.
 *
 * @param log The log, open or closed.
 * @param slices What it gave.
 */
export function unpinSlices(log: Log, slices: readonly RangeSlice[]): void {
  for (const { segment } of slices) {
    unpinFile(segment.log);
    if (log.isClosed && segment.log.pins === 0) closePooledFile(log.pool, segment.log);
  }
  sweepRetired(log);
}

function checkOffset(log: Log, offset: number): void {
  checkUsable(log);
  const { startOffset, endOffset, source } = log;
  if (offset >= startOffset && offset <= endOffset) return;
  throw new OttlaError(
    "OFFSET_OUT_OF_RANGE",
    `Cannot read offset ${offset} of ${
      nameOfLog(log)
    }: the log has offsets from ${startOffset} to ` +
      `${endOffset}`,
    { details: { ...source, offset, startOffset, endOffset } },
  );
}

/** The last segment that does not begin behind an offset. */
function segmentOf(log: Log, offset: number): Segment {
  const { segments } = log;
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (segments[middle]!.baseOffset <= offset) low = middle;
    else high = middle - 1;
  }
  return segments[low]!;
}

function seekCursor(cursor: LogCursor): void {
  const { log } = cursor;
  checkOffset(log, cursor.offset);
  const segment = segmentOf(log, cursor.offset);
  moveCursor(cursor, segment, positionForOffset(segment, log.config, cursor.offset));
}

function moveCursor(cursor: LogCursor, segment: Segment, position: number): void {
  cursor.segment = segment;
  cursor.position = position;
  cursor.filled = 0;
  cursor.at = 0;
}

/** The batch at the cursor if all of it is in the buffer. */
function batchInBuffer(cursor: LogCursor): BatchView | undefined {
  const { buffer, at, filled, view, log } = cursor;
  if (at >= filled) return undefined;
  try {
    return viewBatch(buffer, at, filled, log.source, view);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    throw skipDamage(cursor, error.message);
  }
}

/** Reads on where the buffer ends. Returns false where the log ends. */
function fillCursor(cursor: LogCursor): boolean {
  const { log } = cursor;
  let segment = cursor.segment!;
  let position = cursor.position + cursor.at;
  if (position >= segment.sizeBytes) {
    const next = log.segments[log.segments.indexOf(segment) + 1];
    if (next === undefined) return false;
    segment = next;
    position = 0;
  }
  const available = segment.sizeBytes - position;
  const left = cursor.filled - cursor.at;
  let wanted = cursor.readBytes;
  if (left >= headerToMagicBytes && segment === cursor.segment) {
    wanted = Math.max(wanted, peekBatchSize(cursor.view, cursor.at));
  }
  moveCursor(cursor, segment, position);
  if (wanted > Math.min(batchBytesMax, available) && wanted > cursor.readBytes) {
    throw skipDamage(cursor, `a batch claims ${wanted} bytes, ${available} are there`);
  }
  if (available === 0) return false;
  const size = Math.min(wanted, available);
  if (!cursor.reusesBuffer || cursor.buffer.length < size) {
    cursor.buffer = new Uint8Array(cursor.reusesBuffer ? Math.max(size, cursor.readBytes) : size);
    cursor.view = new DataView(cursor.buffer.buffer);
  }
  cursor.filled = readSegment(segment, cursor.buffer.subarray(0, size), position);
  const isCut = cursor.filled === available && available < headerToMagicBytes;
  if (cursor.filled < size || isCut) {
    throw skipDamage(cursor, `its file has ${cursor.filled} bytes where ${size} were expected`);
  }
  return true;
}

/** Moves the cursor behind the damage it stands at, and makes the error that says what is lost. */
function skipDamage(cursor: LogCursor, reason: string): OttlaError {
  const { log } = cursor;
  const segment = cursor.segment!;
  const startOffset = cursor.offset;
  const position = cursor.position + cursor.at;
  const next = findGoodBatch(segment, position + 1, startOffset);
  if (next === undefined) {
    const following = log.segments[log.segments.indexOf(segment) + 1];
    cursor.offset = following?.baseOffset ?? segment.endOffset;
    if (following === undefined) moveCursor(cursor, segment, segment.sizeBytes);
    else moveCursor(cursor, following, 0);
  } else {
    cursor.offset = next.baseOffset;
    moveCursor(cursor, segment, next.position);
  }
  return new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot read offsets ${startOffset} to ${cursor.offset - 1} of ${
      nameOfLog(log)
    }: the batch at ` +
      `position ${position} of ${segment.log.path} is damaged, ${reason}`,
    { details: { ...log.source, startOffset, endOffset: cursor.offset, position } },
  );
}

function findGoodBatch(
  segment: Segment,
  start: number,
  offsetMin: number,
): { position: number; baseOffset: number } | undefined {
  const file = pinFile(segment.pool, segment.log);
  try {
    const range = { start, end: segment.sizeBytes, verify: true };
    return findNextBatch(segment.pool.fs, file, range, offsetMin);
  } finally {
    unpinFile(segment.log);
  }
}

function findInBatches(
  cursor: LogCursor,
  timestamp: number,
  endOffset: number,
): { offset: number; timestamp: number } | undefined {
  const { startOffset } = cursor.log;
  for (;;) {
    const batch = nextBatch(cursor, endOffset);
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

/** The position of the batch that holds an offset, or of the next one. */
function findBatchPosition(log: Log, segment: Segment, offset: number): number {
  const cursor = logCursor(log, offset, { readBytes: 64 * 1024, reusesBuffer: true });
  const batch = nextBatch(cursor, segment.endOffset);
  if (batch === undefined || cursor.segment !== segment) return segment.sizeBytes;
  return cursor.position + batch.position;
}

function findRangeEnd(
  log: Log,
  segment: Segment,
  startPosition: number,
  endOffset: number,
  needsOne: boolean,
  bytesMax: number,
): number {
  const cursor = logCursor(log, log.startOffset, { readBytes: 256 * 1024, reusesBuffer: true });
  moveCursor(cursor, segment, startPosition);
  let position = startPosition;
  for (;;) {
    const batch = nextBatch(cursor, Math.min(endOffset, segment.endOffset));
    if (batch === undefined || cursor.segment !== segment) return position;
    const end = cursor.position + batch.position + batch.sizeBytes;
    const isFirst = needsOne && position === startPosition;
    if (end - startPosition > bytesMax && !isFirst) return position;
    position = end;
  }
}
