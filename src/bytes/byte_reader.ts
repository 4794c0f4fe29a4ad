/**
 * A cursor over bytes. Every function checks that the input holds what it is asked for and throws a
 * `RangeError` where it does not, so a reader never looks past its end. Numbers are big-endian, as
 * everywhere in Kafka.
 */

import { varintSizeMax, varlongSizeMax } from "./varint.ts";

/** Bytes, a place in them, and where they end. */
export interface ByteReader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Of the next byte to be read, an index into `bytes`. */
  position: number;
  /** Exclusive. */
  end: number;
}

/**
 * A reader over a range of bytes.
 *
 * @param bytes What to read.
 * @param start The first byte, by default 0.
 * @param end Behind the last byte, by default all.
 * @returns The reader, at `start`.
 */
export function byteReader(bytes: Uint8Array, start = 0, end: number = bytes.length): ByteReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes, view, position: start, end };
}

/** How many bytes are left. */
export function remainingBytes(reader: ByteReader): number {
  return reader.end - reader.position;
}

/** Reads a signed byte. */
export function readInt8(reader: ByteReader): number {
  return reader.view.getInt8(advance(reader, 1));
}

/** Reads a signed 16-bit integer. */
export function readInt16(reader: ByteReader): number {
  return reader.view.getInt16(advance(reader, 2));
}

/** Reads an unsigned 16-bit integer. */
export function readUint16(reader: ByteReader): number {
  return reader.view.getUint16(advance(reader, 2));
}

/** Reads a signed 32-bit integer. */
export function readInt32(reader: ByteReader): number {
  return reader.view.getInt32(advance(reader, 4));
}

/** Reads an unsigned 32-bit integer. */
export function readUint32(reader: ByteReader): number {
  return reader.view.getUint32(advance(reader, 4));
}

/** Reads a signed 64-bit integer; a `RangeError` if it is not a safe integer. */
export function readInt64(reader: ByteReader): number {
  return checkSafe(getInt64(reader.view, advance(reader, 8)));
}

/** Reads a 64-bit floating-point number. */
export function readFloat64(reader: ByteReader): number {
  return reader.view.getFloat64(advance(reader, 8));
}

/** Reads bytes as a view of the input, not a copy. */
export function readBytes(reader: ByteReader, count: number): Uint8Array {
  const start = advance(reader, count);
  return reader.bytes.subarray(start, start + count);
}

/** Reads an unsigned 32-bit integer of variable length. */
export function readUnsignedVarint(reader: ByteReader): number {
  let value = 0;
  for (let shift = 0; shift < 7 * varintSizeMax; shift += 7) {
    const byte = reader.view.getUint8(advance(reader, 1));
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value >>> 0;
  }
  throw new RangeError(`A varint is longer than ${varintSizeMax} bytes`);
}

/** Reads a signed 32-bit integer of variable length. */
export function readVarint(reader: ByteReader): number {
  const value = readUnsignedVarint(reader);
  return (value >>> 1) ^ -(value & 1);
}

/** Reads a signed 64-bit integer of variable length; a `RangeError` if it is not a safe integer. */
export function readVarlong(reader: ByteReader): number {
  const first = reader.view.getUint8(advance(reader, 1));
  let magnitude = (first & 0x7f) >> 1;
  let byte = first;
  let factor = 64;
  for (let size = 1; byte >= 0x80; size++) {
    if (size === varlongSizeMax) {
      throw new RangeError(`A varlong is longer than ${varlongSizeMax} bytes`);
    }
    byte = reader.view.getUint8(advance(reader, 1));
    magnitude += (byte & 0x7f) * factor;
    factor *= 128;
  }
  return checkSafe((first & 1) === 0 ? magnitude : -magnitude - 1);
}

/**
 * A signed 64-bit integer as a number, which is exact only for safe integers.
 *
 * @param view Where it lies.
 * @param position Of its first byte.
 * @returns The nearest number.
 */
export function getInt64(view: DataView, position: number): number {
  return view.getInt32(position) * 2 ** 32 + view.getUint32(position + 4);
}

/**
 * Writes a safe integer as a signed 64-bit integer.
 *
 * @param view Where to.
 * @param position Of its first byte.
 * @param value A safe integer.
 */
export function setInt64(view: DataView, position: number, value: number): void {
  view.setInt32(position, Math.floor(value / 2 ** 32));
  view.setUint32(position + 4, value >>> 0);
}

function advance(reader: ByteReader, count: number): number {
  const start = reader.position;
  if (!(count >= 0 && count <= reader.end - start)) {
    throw new RangeError(
      `Cannot read ${count} bytes at ${start}: the input ends at ${reader.end}`,
    );
  }
  reader.position = start + count;
  return start;
}

function checkSafe(value: number): number {
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`The 64-bit integer ${value} is beyond 2^53 - 1`);
  }
  return value;
}
