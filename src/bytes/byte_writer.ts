/**
 * A buffer that grows while it is written. For small things that are written rarely; batches have
 * their own.
 */

import { setInt64 } from "./byte_reader.ts";
import {
  varintSizeMax,
  varlongSizeMax,
  writeUnsignedVarint as putUnsignedVarint,
  writeVarint as putVarint,
  writeVarlong as putVarlong,
} from "./varint.ts";

/** A growing buffer and how much of it is written. */
export interface ByteWriter {
  bytes: Uint8Array;
  view: DataView;
  /** How many bytes are written. */
  position: number;
}

/**
 * A writer without content.
 *
 * @param capacity How many bytes to make room for at first.
 * @returns The writer.
 */
export function byteWriter(capacity = 256): ByteWriter {
  const bytes = new Uint8Array(capacity);
  return { bytes, view: new DataView(bytes.buffer), position: 0 };
}

/** A view of what was written so far; the next write may move it elsewhere. */
export function writtenBytes(writer: ByteWriter): Uint8Array {
  return writer.bytes.subarray(0, writer.position);
}

/** Writes a signed byte. */
export function writeInt8(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 1);
  writer.view.setInt8(at, value);
}

/** Writes a signed 16-bit integer. */
export function writeInt16(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 2);
  writer.view.setInt16(at, value);
}

/** Writes an unsigned 16-bit integer. */
export function writeUint16(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 2);
  writer.view.setUint16(at, value);
}

/** Writes a signed 32-bit integer. */
export function writeInt32(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 4);
  writer.view.setInt32(at, value);
}

/** Writes an unsigned 32-bit integer. */
export function writeUint32(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 4);
  writer.view.setUint32(at, value);
}

/** Writes a safe integer as a signed 64-bit integer. */
export function writeInt64(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 8);
  setInt64(writer.view, at, value);
}

/** Writes a 64-bit floating-point number. */
export function writeFloat64(writer: ByteWriter, value: number): void {
  const at = reserve(writer, 8);
  writer.view.setFloat64(at, value);
}

/** Writes an unsigned 32-bit integer of variable length. */
export function writeUnsignedVarint(writer: ByteWriter, value: number): void {
  const at = reserve(writer, varintSizeMax);
  writer.position = putUnsignedVarint(writer.bytes, at, value);
}

/** Writes a signed 32-bit integer of variable length. */
export function writeVarint(writer: ByteWriter, value: number): void {
  const at = reserve(writer, varintSizeMax);
  writer.position = putVarint(writer.bytes, at, value);
}

/** Writes a safe integer as a signed 64-bit integer of variable length. */
export function writeVarlong(writer: ByteWriter, value: number): void {
  const at = reserve(writer, varlongSizeMax);
  writer.position = putVarlong(writer.bytes, at, value);
}

/** Writes bytes as they are. */
export function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  const at = reserve(writer, bytes.length);
  writer.bytes.set(bytes, at);
}

/**
 * Makes room for bytes that the caller writes into the buffer himself, at the position.
 *
 * @param writer The writer; its position stays.
 * @param count How many bytes.
 */
export function makeRoom(writer: ByteWriter, count: number): void {
  const end = writer.position + count;
  if (end <= writer.bytes.length) return;
  const grown = new Uint8Array(Math.max(end, writer.bytes.length * 2));
  grown.set(writer.bytes.subarray(0, writer.position));
  writer.bytes = grown;
  writer.view = new DataView(grown.buffer);
}

/** Makes room for `count` bytes, counts them as written, and returns where they begin. */
function reserve(writer: ByteWriter, count: number): number {
  makeRoom(writer, count);
  const at = writer.position;
  writer.position = at + count;
  return at;
}
