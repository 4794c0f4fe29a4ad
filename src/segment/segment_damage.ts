/**
 * Tells damage from batches, where a checksum alone cannot: the first offset of a batch and its
 * length are in no checksum, and behind damage bytes may look like a batch that are the value of a
 * record.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import type { FileHandle } from "../platform/file_system.ts";
import { batchHeaderBytes, field, headerToMagicBytes } from "../record/batch_layout.ts";
import { peekBatchSize } from "../record/batch_view.ts";
import { findNextBatch, scanBatches } from "./batch_scan.ts";
import type { Segment } from "./segment.ts";

/** A batch whose bytes are those that were written. */
export interface GoodBatch {
  readonly position: number;
  readonly baseOffset: number;
}

/** How many batches in a row make sure that the first of them is one. */
const chainCountMax = 16;

/**
 * Whether a batch ends before the one behind it begins. Where the offsets of a log leave no gaps, a
 * first offset that is too large shows by this, and one that is too small by the batch before.
 *
 * @param segment The segment.
 * @param file Its log file.
 * @param position Behind the batch.
 * @param lastOffset Of the batch.
 * @returns False if the offsets of the batch cannot be right, or else those of the next one.
 */
export function endsBeforeNext(
  segment: Segment,
  file: FileHandle,
  position: number,
  lastOffset: number,
): boolean {
  const header = new Uint8Array(headerToMagicBytes);
  const view = new DataView(header.buffer);
  if (segment.pool.fs.read(file, header, position) < headerToMagicBytes) return true;
  return peekBatchSize(view, 0) === 0 || lastOffset < getInt64(view, 0);
}

/**
 * Looks for the first good batch behind damage.
 *
 * @param segment The segment.
 * @param file Its log file.
 * @param position Where the damage begins: that of a batch that is not good.
 * @param end Where the batches of the file end.
 * @param minOffset Behind the last good batch before the damage.
 * @param maxOffset What no offset of the segment is above.
 * @returns The batch, or undefined if there is none.
 */
export function findGoodBatch(
  segment: Segment,
  file: FileHandle,
  position: number,
  end: number,
  minOffset: number,
  maxOffset: number,
): GoodBatch | undefined {
  const neighbour = findNeighbour(segment, file, position, end, minOffset, maxOffset);
  if (neighbour !== undefined) return neighbour;
  const { fs } = segment.pool;
  let first: GoodBatch | undefined;
  for (let start = position + 1;;) {
    const range = { start, end, verify: true };
    const found = findNextBatch(fs, file, range, minOffset, maxOffset);
    if (found === undefined) return first;
    if (isInChain(segment, file, found.position, end)) return found;
    first ??= found;
    start = found.position + 1;
  }
}

/** The batch that begins where the damaged one says that it ends, if its offset bears that out. */
function findNeighbour(
  segment: Segment,
  file: FileHandle,
  position: number,
  end: number,
  minOffset: number,
  maxOffset: number,
): GoodBatch | undefined {
  const { fs } = segment.pool;
  const header = new Uint8Array(batchHeaderBytes);
  const view = new DataView(header.buffer);
  if (fs.read(file, header, position) < batchHeaderBytes) return undefined;
  const start = position + peekBatchSize(view, 0);
  if (start === position || start >= end) return undefined;
  const count = view.getInt32(field.lastOffsetDelta) + 1;
  let neighbour: GoodBatch | undefined;
  scanBatches(fs, file, { start, end, verify: true }, ({ baseOffset, lastOffset }) => {
    const isNext = baseOffset === minOffset + count || baseOffset === getInt64(view, 0) + count;
    const isInRange = baseOffset > minOffset && lastOffset <= maxOffset;
    if (isNext && isInRange) neighbour = { position: start, baseOffset };
    return false;
  });
  return neighbour;
}

/**
 * Whether batches follow one another from a position to the end, or many of them: the value of a
 * record does not look so.
 */
function isInChain(segment: Segment, file: FileHandle, position: number, end: number): boolean {
  const header = new Uint8Array(headerToMagicBytes);
  const view = new DataView(header.buffer);
  let next = position;
  for (let count = 0; count < chainCountMax && next < end; count++) {
    if (segment.pool.fs.read(file, header, next) < headerToMagicBytes) return false;
    const sizeBytes = peekBatchSize(view, 0);
    if (sizeBytes === 0 || next + sizeBytes > end) return false;
    next += sizeBytes;
  }
  return true;
}
