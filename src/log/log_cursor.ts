/**
 * A place in a log and the bytes behind it that were read ahead: what `nextBatch` moves along.
 *
 * The cursor knows which offset must come next in the file, so that damage shows even where no
 * checksum covers it.
 */

import { Buffer } from "node:buffer";
import { getInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import { handleOf } from "../platform/file_pool.ts";
import { headerToMagicBytes } from "../record/batch_layout.ts";
import type { BatchView } from "../record/batch_view.ts";
import { peekBatchSize, viewBatch } from "../record/batch_view.ts";
import type { OffsetIndex } from "../segment/offset_index.ts";
import { findOffsetEntry } from "../segment/offset_index.ts";
import type { Segment } from "../segment/segment.ts";
import { endsBeforeNext, findGoodBatch } from "../segment/segment_damage.ts";
import { indexesOf, positionForOffset, readSegment } from "../segment/segment_load.ts";
import { readHeader } from "../segment/segment_walk.ts";
import type { TransactionOutcomes } from "./committed_reader.ts";
import type { Log } from "./log.ts";
import { checkUsable } from "./log.ts";
import { nameOfLog } from "./log_errors.ts";

/** What a cursor holds that has read nothing ahead. */
export const emptyBuffer: Uint8Array = new Uint8Array(0);
export const emptyView: DataView = new DataView(emptyBuffer.buffer);

/** A place in a log, and the bytes behind it that were read ahead. */
export interface LogCursor {
  readonly log: Log;
  /** The next offset that is wanted. */
  offset: number;
  /** Behind the batch before the next one in the file: where the next one begins, or behind it. */
  minOffset: number;
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
  /** Whether it makes sure of all batches; else only of control batches. */
  verifiesData: boolean;
  /** What it knows of transactions; undefined if it sees all of them. */
  outcomes: TransactionOutcomes | undefined;
}

/**
 * Makes sure that a log reaches to an offset.
 *
 * @param log The log.
 * @param offset Its end counts too.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if it does not.
 */
export function checkOffset(log: Log, offset: number): void {
  checkUsable(log);
  const { startOffset, endOffset, source } = log;
  if (offset >= startOffset && offset <= endOffset) return;
  const name = nameOfLog(log);
  throw new OttlaError(
    "OFFSET_OUT_OF_RANGE",
    `Cannot read offset ${offset} of ${name}: the log has offsets from ${startOffset} to ${endOffset}`,
    { details: { ...source, offset, startOffset, endOffset } },
  );
}

/**
 * Places the cursor at a batch before the one that holds the offset wanted, so that damage there
 * hides nothing wanted. The offsets of that batch are right if the index says the same.
 *
 * @param cursor The cursor.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if the log does not have the offset any more.
 */
export function seekCursor(cursor: LogCursor): void {
  const { log, offset } = cursor;
  checkOffset(log, offset);
  const segment = segmentOf(log, offset);
  const before = Math.max(segment.baseOffset, offset - 1);
  const position = positionForOffset(segment, log.config, before);
  let minOffset = segment.baseOffset;
  if (position > 0) {
    const header = readHeader(segment, handleOf(segment.pool, segment.log), position);
    const indexed = lookUpOffset(indexesOf(segment, log.config).offset, before);
    if (header?.lastOffset === indexed) minOffset = header.baseOffset;
  }
  moveCursor(cursor, segment, position, minOffset);
}

function lookUpOffset(index: OffsetIndex, offset: number): number {
  const entry = findOffsetEntry(index, offset);
  return entry < 0 ? -1 : index.baseOffset + index.relativeOffsets[entry]!;
}

function moveCursor(
  cursor: LogCursor,
  segment: Segment,
  position: number,
  minOffset: number,
): void {
  cursor.segment = segment;
  cursor.position = position;
  cursor.minOffset = minOffset;
  cursor.filled = 0;
  cursor.at = 0;
}

/**
 * The batch at the cursor if all of it is in the buffer.
 *
 * @param cursor Moved behind bytes that are no batch.
 * @returns The batch, or undefined.
 * @throws As `passDamage`.
 */
export function batchInBuffer(cursor: LogCursor): BatchView | undefined {
  const { buffer, at, filled, view, log } = cursor;
  if (at >= filled) return undefined;
  try {
    return viewBatch(buffer, at, filled, log.source, view);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    passDamage(cursor, error.message);
    return undefined;
  }
}

/**
 * Whether the offsets of a batch fit between those before and those behind it. The first offset is
 * in no checksum; where the offsets of a log leave no gaps, a wrong one always overlaps with a
 * neighbour.
 *
 * @param cursor Stands at the batch.
 * @param batch The batch.
 * @returns False if its offsets cannot be right.
 */
export function fitsBetween(cursor: LogCursor, batch: BatchView): boolean {
  if (batch.baseOffset < cursor.minOffset) return false;
  const segment = cursor.segment!;
  if (batch.lastOffset >= segment.endOffset) return false;
  const next = cursor.at + batch.sizeBytes;
  if (next + headerToMagicBytes <= cursor.filled && peekBatchSize(cursor.view, next) > 0) {
    return batch.lastOffset < getInt64(cursor.view, next);
  }
  const file = handleOf(segment.pool, segment.log);
  return endsBeforeNext(segment, file, cursor.position + next, batch.lastOffset);
}

/**
 * Reads on where the buffer ends.
 *
 * @param cursor Stands at a batch that is not in the buffer in full.
 * @returns False where the log ends.
 * @throws As `passDamage`.
 */
export function fillCursor(cursor: LogCursor): boolean {
  const { log } = cursor;
  let segment = cursor.segment!;
  let position = cursor.position + cursor.at;
  let neededBytes = headerToMagicBytes;
  if (cursor.filled - cursor.at >= headerToMagicBytes) {
    neededBytes = peekBatchSize(cursor.view, cursor.at);
  }
  while (position >= segment.sizeBytes) {
    const next = segmentBehind(log, segment);
    // All that lies before has been seen: offsets that have not come are not in the log.
    cursor.offset = Math.max(cursor.offset, next?.baseOffset ?? segment.endOffset);
    if (next === undefined) return false;
    segment = next;
    position = 0;
  }
  moveCursor(
    cursor,
    segment,
    position,
    segment === cursor.segment ? cursor.minOffset : segment.baseOffset,
  );
  const availableBytes = segment.sizeBytes - position;
  if (neededBytes > Math.min(batchBytesMax, availableBytes)) {
    passDamage(cursor, `${neededBytes} bytes are needed, ${availableBytes} are there`);
    return true;
  }
  const size = Math.min(availableBytes, Math.max(neededBytes, cursor.readBytes));
  if (!cursor.reusesBuffer || cursor.buffer.length < size) {
    // Not filled with zeros first: nothing behind what is read into it is ever looked at.
    const capacity = cursor.reusesBuffer ? Math.max(size, cursor.readBytes) : size;
    cursor.buffer = new Uint8Array(Buffer.allocUnsafeSlow(capacity).buffer);
    cursor.view = new DataView(cursor.buffer.buffer);
  }
  cursor.filled = readSegment(segment, cursor.buffer.subarray(0, size), position);
  log.stats.reads++;
  log.stats.readBytes += cursor.filled;
  if (cursor.filled < neededBytes) {
    passDamage(cursor, `${neededBytes} bytes are needed, its file has ${cursor.filled}`);
  }
  return true;
}

/**
 * Lets go of what was read ahead, for a cursor that has come to the end of its log.
 *
 * @param cursor Stays where it is.
 */
export function releaseBuffer(cursor: LogCursor): void {
  cursor.position += cursor.at;
  cursor.filled = 0;
  cursor.at = 0;
  cursor.buffer = emptyBuffer;
  cursor.view = emptyView;
  const ahead = cursor.outcomes?.ahead;
  if (ahead !== undefined) releaseBuffer(ahead);
}

function segmentBehind(log: Log, segment: Segment): Segment | undefined {
  return log.segments[log.segments.indexOf(segment) + 1];
}

/**
 * Moves the cursor behind the damage it stands at.
 *
 * @param cursor The cursor.
 * @param reason What is wrong there.
 * @throws OttlaError `CORRUPT_MESSAGE` if offsets are lost that were wanted.
 */
export function passDamage(cursor: LogCursor, reason: string): void {
  const { log } = cursor;
  const segment = cursor.segment!;
  const startOffset = cursor.offset;
  const position = cursor.position + cursor.at;
  const next = findGoodBatch(
    segment,
    handleOf(segment.pool, segment.log),
    position,
    segment.sizeBytes,
    cursor.minOffset,
    segment.endOffset - 1,
  );
  const following = segmentBehind(log, segment);
  if (next !== undefined) {
    moveCursor(cursor, segment, next.position, next.baseOffset);
  } else if (following !== undefined) {
    moveCursor(cursor, following, 0, following.baseOffset);
  } else {
    moveCursor(cursor, segment, segment.sizeBytes, segment.endOffset);
  }
  const endOffset = cursor.minOffset;
  if (endOffset <= startOffset) return;
  cursor.offset = endOffset;
  throw new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot read offsets ${startOffset} to ${endOffset - 1} of ${nameOfLog(log)}: the batch at ` +
      `position ${position} of ${segment.log.path} is damaged, ${reason}`,
    { details: { ...log.source, startOffset, endOffset, position } },
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
