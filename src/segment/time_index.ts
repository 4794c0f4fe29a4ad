/**
 * The sparse time index of a segment, in memory: from which offset on to look for a timestamp.
 *
 * An entry says: the largest timestamp so far was this one, and it first stood in a batch that ends
 * with this offset. So whatever has a larger timestamp has a larger offset. The last entry of a
 * sealed segment is its largest timestamp.
 *
 * On disk an entry is 12 bytes: the timestamp (int64) and the offset less the segment's base
 * (int32).
 */

import { getInt64, setInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import { grownCapacity } from "./index_capacity.ts";

/** The size of an entry on disk. */
export const timeEntryBytes = 12;

/** The largest number below 2^63: a timestamp may be anything that has 64 bits. */
const timestampMax = 2 ** 63 - 1024;

/** A time index. */
export interface TimeIndex {
  readonly baseOffset: number;
  readonly entriesMax: number;
  count: number;
  timestamps: Float64Array;
  relativeOffsets: Uint32Array;
}

/** A timestamp and the offset it stands at. */
export interface TimestampOffset {
  /** In milliseconds since the epoch, or -1. */
  readonly timestamp: number;
  readonly offset: number;
}

/**
 * An index without entries.
 *
 * @param baseOffset The first offset of the segment.
 * @param sizeBytesMax How large its file may become.
 * @returns The index.
 */
export function timeIndex(baseOffset: number, sizeBytesMax: number): TimeIndex {
  return {
    baseOffset,
    entriesMax: Math.floor(sizeBytesMax / timeEntryBytes),
    count: 0,
    timestamps: new Float64Array(0),
    relativeOffsets: new Uint32Array(0),
  };
}

/** Whether only the entry is left that is kept for the sealing; then the segment must be rolled. */
export function isTimeIndexFull(index: TimeIndex): boolean {
  return index.count >= index.entriesMax - 1;
}

/** The last entry, or timestamp -1 at the base offset if there is none. */
export function lastTimeEntry(index: TimeIndex): TimestampOffset {
  return timeEntry(index, index.count - 1);
}

/**
 * Adds an entry if its timestamp is larger than that of the last one.
 *
 * @param index The index.
 * @param timestamp The largest timestamp so far; not smaller than the last entry's.
 * @param offset The last offset of the batch that has it.
 * @param isSealing Whether the entry kept for the sealing may be used.
 * @throws RangeError if the index is full, or timestamp or offset go back.
 */
export function maybeAppendTimeEntry(
  index: TimeIndex,
  timestamp: number,
  offset: number,
  isSealing = false,
): void {
  if (!isSealing && isTimeIndexFull(index)) {
    throw new RangeError(
      `Cannot index timestamp ${timestamp}: all ${index.entriesMax} entries are used`,
    );
  }
  const last = lastTimeEntry(index);
  if (index.count > 0 && (offset < last.offset || timestamp < last.timestamp)) {
    throw new RangeError(
      `Cannot index timestamp ${timestamp} of offset ${offset} behind ${last.timestamp} of ` +
        `${last.offset}`,
    );
  }
  if (timestamp <= last.timestamp) return;
  if (index.count === index.timestamps.length) timeIndexGrow(index);
  index.timestamps[index.count] = timestamp;
  index.relativeOffsets[index.count] = offset - index.baseOffset;
  index.count++;
}

/**
 * From where on to look for a timestamp.
 *
 * @param index The index.
 * @param timestamp In milliseconds since the epoch.
 * @returns The last entry with a timestamp that is not larger, or timestamp -1 at the base offset.
 */
export function lookUpTimestamp(index: TimeIndex, timestamp: number): TimestampOffset {
  let low = -1;
  let high = index.count - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (index.timestamps[middle]! <= timestamp) low = middle;
    else high = middle - 1;
  }
  return timeEntry(index, low);
}

/** Removes the entries whose offset is not below the given one. */
export function truncateTimeIndex(index: TimeIndex, offset: number): void {
  while (index.count > 0 && lastTimeEntry(index).offset >= offset) index.count--;
}

/**
 * The entries as they lie in the file.
 *
 * @param index The index.
 * @param from The number of the first entry.
 * @returns Its bytes and those of all behind it.
 */
export function encodeTimeEntries(index: TimeIndex, from = 0): Uint8Array {
  const bytes = new Uint8Array((index.count - from) * timeEntryBytes);
  const view = new DataView(bytes.buffer);
  for (let entry = from; entry < index.count; entry++) {
    const at = (entry - from) * timeEntryBytes;
    setInt64(view, at, Math.min(index.timestamps[entry]!, timestampMax));
    view.setUint32(at + 8, index.relativeOffsets[entry]!);
  }
  return bytes;
}

/**
 * Reads the entries of a file behind those that an index has, up to where they stop rising.
 *
 * @param index The index.
 * @param bytes The file, or a part of it that begins with an entry.
 * @param endOffset The end of the segment: entries from there on are not taken.
 * @returns Whether all bytes were entries.
 * @throws OttlaError `STORE_INVALID` if the file cannot be an index of this segment.
 */
export function decodeTimeEntries(
  index: TimeIndex,
  bytes: Uint8Array,
  endOffset: number,
): boolean {
  if (bytes.length % timeEntryBytes !== 0) {
    throw new OttlaError(
      "STORE_INVALID",
      `Cannot use the time index of ${index.baseOffset}: ${bytes.length} bytes are not whole ` +
        `entries of ${timeEntryBytes}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += timeEntryBytes) {
    const timestamp = getInt64(view, at);
    const offset = index.baseOffset + view.getInt32(at + 8);
    const last = lastTimeEntry(index);
    // No batch has a timestamp that is no safe integer.
    const rises = timestamp > last.timestamp && offset >= last.offset &&
      timestamp <= Number.MAX_SAFE_INTEGER;
    // The zeros behind the entries of a preallocated file would pass as a first entry of the year
    // 1970.
    const isZeros = timestamp === 0 && offset === index.baseOffset && index.count === 0;
    if (!rises || isZeros || offset >= endOffset || index.count >= index.entriesMax) return false;
    maybeAppendTimeEntry(index, timestamp, offset, true);
  }
  return true;
}

function timeEntry(index: TimeIndex, entry: number): TimestampOffset {
  if (entry < 0) return { timestamp: -1, offset: index.baseOffset };
  return {
    timestamp: index.timestamps[entry]!,
    offset: index.baseOffset + index.relativeOffsets[entry]!,
  };
}

function timeIndexGrow(index: TimeIndex): void {
  const capacity = grownCapacity(index.count, index.entriesMax);
  const timestamps = new Float64Array(capacity);
  const relativeOffsets = new Uint32Array(capacity);
  timestamps.set(index.timestamps);
  relativeOffsets.set(index.relativeOffsets);
  index.timestamps = timestamps;
  index.relativeOffsets = relativeOffsets;
}
