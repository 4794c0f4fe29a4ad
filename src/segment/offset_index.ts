/**
 * The sparse offset index of a segment, in memory: which batch to begin at to find an offset.
 *
 * An entry says: the batch at this position ends with this offset. So whatever has that offset or a
 * later one lies at that position or behind it. Look-ups touch no disk. The index only ever saves
 * reading; it is never evidence about the log.
 *
 * On disk an entry is 8 bytes: the offset less the segment's base (int32) and the position (int32).
 */

import { OttlaError } from "../errors.ts";
import { grownCapacity } from "./index_capacity.ts";

/** The size of an entry on disk. */
export const offsetEntryBytes = 8;

/** An offset index. */
export interface OffsetIndex {
  readonly baseOffset: number;
  readonly entriesMax: number;
  count: number;
  relativeOffsets: Uint32Array;
  positions: Uint32Array;
}

/**
 * An index without entries.
 *
 * @param baseOffset The first offset of the segment.
 * @param sizeBytesMax How large its file may become.
 * @returns The index.
 */
export function offsetIndex(baseOffset: number, sizeBytesMax: number): OffsetIndex {
  return {
    baseOffset,
    entriesMax: Math.floor(sizeBytesMax / offsetEntryBytes),
    count: 0,
    relativeOffsets: new Uint32Array(0),
    positions: new Uint32Array(0),
  };
}

/** Whether no entry fits any more; then the segment must be rolled. */
export function isOffsetIndexFull(index: OffsetIndex): boolean {
  return index.count >= index.entriesMax;
}

/** The offset of the last entry, or the base offset if there is none. */
export function lastIndexedOffset(index: OffsetIndex): number {
  return index.count === 0
    ? index.baseOffset
    : index.baseOffset + index.relativeOffsets[index.count - 1]!;
}

/** The position of the last entry, or 0 if there is none. */
export function lastIndexedPosition(index: OffsetIndex): number {
  return index.count === 0 ? 0 : index.positions[index.count - 1]!;
}

/**
 * Adds an entry.
 *
 * @param index The index.
 * @param offset The last offset of the batch; larger than that of the entry before.
 * @param position Where the batch begins.
 * @throws RangeError if the index is full, or the offset is not larger or too far from the base.
 */
export function appendOffsetEntry(index: OffsetIndex, offset: number, position: number): void {
  if (isOffsetIndexFull(index)) {
    throw new RangeError(`Cannot index offset ${offset}: all ${index.entriesMax} entries are used`);
  }
  const relativeOffset = offset - index.baseOffset;
  if (relativeOffset < 0 || relativeOffset > 0x7fffffff) {
    throw new RangeError(
      `Cannot index offset ${offset}: the segment begins at ${index.baseOffset}`,
    );
  }
  if (index.count > 0 && offset <= lastIndexedOffset(index)) {
    throw new RangeError(`Cannot index offset ${offset} behind ${lastIndexedOffset(index)}`);
  }
  if (index.count === index.positions.length) offsetIndexGrow(index);
  index.relativeOffsets[index.count] = relativeOffset;
  index.positions[index.count] = position;
  index.count++;
}

/**
 * Where to begin reading to find an offset.
 *
 * @param index The index.
 * @param offset The offset.
 * @returns The number of the last entry whose offset is not larger, or -1 if there is none.
 */
export function findOffsetEntry(index: OffsetIndex, offset: number): number {
  const relativeOffset = offset - index.baseOffset;
  let low = -1;
  let high = index.count - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (index.relativeOffsets[middle]! <= relativeOffset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The position that belongs to `findOffsetEntry`.
 *
 * @param index The index.
 * @param offset The offset.
 * @returns The position of a batch that is not behind the one with the offset.
 */
export function lookUpPosition(index: OffsetIndex, offset: number): number {
  const entry = findOffsetEntry(index, offset);
  return entry < 0 ? 0 : index.positions[entry]!;
}

/** Removes the entries whose offset is not below the given one. */
export function truncateOffsetIndex(index: OffsetIndex, offset: number): void {
  index.count = findOffsetEntry(index, offset - 1) + 1;
}

/**
 * The entries as they lie in the file.
 *
 * @param index The index.
 * @param from The number of the first entry.
 * @returns Its bytes and those of all behind it.
 */
export function encodeOffsetEntries(index: OffsetIndex, from = 0): Uint8Array {
  const bytes = new Uint8Array((index.count - from) * offsetEntryBytes);
  const view = new DataView(bytes.buffer);
  for (let entry = from; entry < index.count; entry++) {
    const at = (entry - from) * offsetEntryBytes;
    view.setUint32(at, index.relativeOffsets[entry]!);
    view.setUint32(at + 4, index.positions[entry]!);
  }
  return bytes;
}

/**
 * Reads the entries of a file behind those that an index has. Entries stop where they stop rising:
 * what follows are the zeros of a file that was preallocated.
 *
 * @param index The index.
 * @param bytes The file, or a part of it that begins with an entry.
 * @param logBytes The size of the segment's log: entries from there on are not taken.
 * @returns Whether all bytes were entries.
 * @throws OttlaError `STORE_INVALID` if the file cannot be an index of this segment.
 */
export function decodeOffsetEntries(
  index: OffsetIndex,
  bytes: Uint8Array,
  logBytes: number,
): boolean {
  if (bytes.length % offsetEntryBytes !== 0) {
    throw new OttlaError(
      "STORE_INVALID",
      `Cannot use the offset index of ${index.baseOffset}: ${bytes.length} bytes are not whole ` +
        `entries of ${offsetEntryBytes}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offsetBefore = index.count === 0 ? -1 : lastIndexedOffset(index) - index.baseOffset;
  let positionBefore = lastIndexedPosition(index);
  for (let at = 0; at < bytes.length; at += offsetEntryBytes) {
    // Signed, as Kafka has them: what is beyond 31 bits is negative and does not rise.
    const relativeOffset = view.getInt32(at);
    const position = view.getInt32(at + 4);
    const rises = relativeOffset > offsetBefore && position > positionBefore;
    if (!rises || position >= logBytes || index.count >= index.entriesMax) return false;
    appendOffsetEntry(index, index.baseOffset + relativeOffset, position);
    offsetBefore = relativeOffset;
    positionBefore = position;
  }
  return true;
}

function offsetIndexGrow(index: OffsetIndex): void {
  const capacity = grownCapacity(index.count, index.entriesMax);
  const relativeOffsets = new Uint32Array(capacity);
  const positions = new Uint32Array(capacity);
  relativeOffsets.set(index.relativeOffsets);
  positions.set(index.positions);
  index.relativeOffsets = relativeOffsets;
  index.positions = positions;
}
