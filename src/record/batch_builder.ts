/**
 * Writes records straight into the bytes of a batch: one copy in.
 *
 * A builder owns one buffer and may hold several batches in it, one behind the other, so that a
 * single write takes them all to the file: `appendRecord` as often as there are records,
 * `finishBatch`, and so on; then `builtBytes` and, once they are written, `resetBuilder`.
 */

import { strict as assert } from "node:assert";
import { setInt64 } from "../bytes/byte_reader.ts";
import { crc32c } from "../bytes/crc32c.ts";
import { sizeOfVarint, sizeOfVarlong, writeVarint, writeVarlong } from "../bytes/varint.ts";
import {
  attribute,
  batchHeaderBytes,
  checksumStart,
  field,
  logOverheadBytes,
  magicV2,
  none,
} from "./batch_layout.ts";
import type { Compression } from "./compression.ts";
import { compress, idOf } from "./compression.ts";
import type { Content, HeaderInput } from "./record.ts";

/** The buffer that batches are written into, and the batch that is open at its end. */
export interface BatchBuilder {
  bytes: Uint8Array;
  view: DataView;
  /** Where the open batch begins: behind the last finished one. */
  batchStart: number;
  /** Where the next record goes. */
  position: number;
  /** Of the open batch. */
  recordCount: number;
  /** Of the first record in the open batch. */
  baseTimestamp: number;
  /** The largest in the open batch, or -1. */
  maxTimestamp: number;
}

/** What the header of a batch says beside what its records tell. */
export interface BatchOptions {
  /** The offset of the first record. */
  readonly baseOffset: number;
  readonly partitionLeaderEpoch?: number | undefined;
  readonly compression?: Compression | undefined;
  readonly compressionLevel?: number | undefined;
  /** The time of appending; then it is the timestamp of every record. */
  readonly logAppendTime?: number | undefined;
  readonly transactional?: boolean | undefined;
  readonly control?: boolean | undefined;
  readonly producerId?: number | undefined;
  readonly producerEpoch?: number | undefined;
  readonly baseSequence?: number | undefined;
}

/** The length that stands for null, -1, as a varint. */
const nullLength = 1;
const capacityBytesMax = 2 ** 31 - 1;
const utf8 = new TextEncoder();
const emptyHeaders: readonly HeaderInput[] = [];

/**
 * A builder without content.
 *
 * @param capacityBytes How many bytes to make room for at first; it grows as needed.
 * @returns The builder.
 */
export function batchBuilder(capacityBytes = 16 * 1024): BatchBuilder {
  const bytes = new Uint8Array(Math.max(capacityBytes, batchHeaderBytes));
  return {
    bytes,
    view: new DataView(bytes.buffer),
    batchStart: 0,
    position: batchHeaderBytes,
    recordCount: 0,
    baseTimestamp: none,
    maxTimestamp: none,
  };
}

/** How many bytes the open batch has so far, uncompressed; only a header if it has no records. */
export function openBatchBytes(builder: BatchBuilder): number {
  return builder.position - builder.batchStart;
}

/** The bytes of all finished batches: a view, true until the builder is used again. */
export function builtBytes(builder: BatchBuilder): Uint8Array {
  return builder.bytes.subarray(0, builder.batchStart);
}

/** Forgets all batches and records; the room stays. */
export function resetBuilder(builder: BatchBuilder): void {
  builder.batchStart = 0;
  openBatch(builder);
}

/**
 * Writes one record at the end of the open batch, if it fits.
 *
 * @param builder Where to.
 * @param timestamp In milliseconds since the epoch.
 * @param key Bytes, text, or null.
 * @param value Bytes, text, or null.
 * @param headers In their order; keys may repeat.
 * @param batchBytesMax How large the batch may become, uncompressed. Its first record always fits.
 * @returns False if the batch would become larger; then it is as before.
 * @throws RangeError if the timestamp is no safe integer or the batch would grow beyond 2^31 - 1
 * bytes. TypeError if something has another type. The batch is as before then.
 */
export function appendRecord(
  builder: BatchBuilder,
  timestamp: number,
  key: Content,
  value: Content,
  headers: readonly HeaderInput[] = emptyHeaders,
  batchBytesMax: number = Number.MAX_SAFE_INTEGER,
): boolean {
  const keyBytes = typeof key === "string" ? utf8.encode(key) : key;
  const valueBytes = typeof value === "string" ? utf8.encode(value) : value;
  const keySize = keyBytes === null ? 0 : keyBytes.length;
  const valueSize = valueBytes === null ? 0 : valueBytes.length;
  const offsetDelta = builder.recordCount;
  // Most records of a batch have its timestamp, or it is their first.
  let timestampDelta = 0;
  if (timestamp !== builder.baseTimestamp) {
    if (offsetDelta > 0) timestampDelta = timestamp - builder.baseTimestamp;
    checkTimestamp(timestamp, timestampDelta);
  }

  const bodySize = 2 + sizeOfLength(offsetDelta) + sizeOfLength(keySize) + keySize +
    sizeOfLength(valueSize) + valueSize +
    (timestampDelta === 0 ? 0 : sizeOfVarlong(timestampDelta) - 1) +
    (headers.length === 0 ? 1 : sizeOfHeaders(headers));
  const start = builder.position;
  const sizeBytes = sizeOfLength(bodySize) + bodySize;
  const end = start + sizeBytes;
  if (end - builder.batchStart > batchBytesMax && offsetDelta > 0) return false;
  if (end > builder.bytes.length) reserveGrow(builder, end);

  const { bytes } = builder;
  let at = writeLength(bytes, start, bodySize);
  bytes[at] = 0;
  bytes[at + 1] = 0;
  at = timestampDelta === 0 ? at + 2 : writeVarlong(bytes, at + 1, timestampDelta);
  at = writeLength(bytes, at, offsetDelta);
  if (keyBytes === null) {
    bytes[at++] = nullLength;
  } else {
    at = writeLength(bytes, at, keySize);
    bytes.set(keyBytes, at);
    at += keySize;
  }
  if (valueBytes === null) {
    bytes[at++] = nullLength;
  } else {
    at = writeLength(bytes, at, valueSize);
    bytes.set(valueBytes, at);
    at += valueSize;
  }
  if (headers.length === 0) bytes[at++] = 0;
  else at = writeHeaders(bytes, at, headers);
  if (at !== end) {
    throw new TypeError(
      "Cannot append a record: key and value must be a Uint8Array, a string or null",
    );
  }

  if (timestampDelta !== 0 || offsetDelta === 0) noteTimestamp(builder, timestamp);
  builder.position = end;
  builder.recordCount = offsetDelta + 1;
  return true;
}

/**
 * Ends the open batch: compresses its records, writes its header, and opens the next one behind it.
 *
 * @param builder Where the batch is open, with one record or more.
 * @param options What its header says.
 * @returns The size of the batch with its header.
 * @throws OttlaError `CODEC_MISSING` if the compression is not installed. RangeError if the options
 * cannot be together in a header. The batch stays open then.
 */
export function finishBatch(builder: BatchBuilder, options: BatchOptions): number {
  assert(builder.recordCount > 0, "a batch needs a record");
  finishBatchCheck(builder, options);
  const compression = options.compression ?? "none";
  if (compression !== "none") compressRecords(builder, compression, options.compressionLevel);
  const { bytes, view, batchStart: start, position: end } = builder;
  setInt64(view, start + field.baseOffset, options.baseOffset);
  view.setInt32(start + field.batchLength, end - start - logOverheadBytes);
  view.setInt32(start + field.partitionLeaderEpoch, options.partitionLeaderEpoch ?? none);
  view.setInt8(start + field.magic, magicV2);
  view.setInt16(start + field.attributes, attributesOf(compression, options));
  view.setInt32(start + field.lastOffsetDelta, builder.recordCount - 1);
  setInt64(view, start + field.baseTimestamp, builder.baseTimestamp);
  setInt64(view, start + field.maxTimestamp, options.logAppendTime ?? builder.maxTimestamp);
  setInt64(view, start + field.producerId, options.producerId ?? none);
  view.setInt16(start + field.producerEpoch, options.producerEpoch ?? none);
  view.setInt32(start + field.baseSequence, options.baseSequence ?? none);
  view.setInt32(start + field.recordCount, builder.recordCount);
  view.setUint32(start + field.crc, crc32c(bytes.subarray(start + checksumStart, end)));
  builder.batchStart = end;
  openBatch(builder);
  return end - start;
}

/**
 * Gives a finished batch its place in a log. The checksum does not cover these fields.
 *
 * @param view The buffer.
 * @param position Of the batch.
 * @param baseOffset The offset of its first record.
 * @param partitionLeaderEpoch Under which it is appended.
 */
export function assignOffsets(
  view: DataView,
  position: number,
  baseOffset: number,
  partitionLeaderEpoch: number,
): void {
  setInt64(view, position + field.baseOffset, baseOffset);
  view.setInt32(position + field.partitionLeaderEpoch, partitionLeaderEpoch);
}

/**
 * Gives all finished batches their places, one behind the other.
 *
 * @param builder Holds them.
 * @param baseOffset The offset of the first record.
 * @param partitionLeaderEpoch Under which they are appended.
 * @returns The offset behind the last record.
 */
export function placeBuilt(
  builder: BatchBuilder,
  baseOffset: number,
  partitionLeaderEpoch: number,
): number {
  const { view, batchStart: end } = builder;
  let offset = baseOffset;
  for (let position = 0; position < end;) {
    assignOffsets(view, position, offset, partitionLeaderEpoch);
    offset += view.getInt32(position + field.lastOffsetDelta) + 1;
    position += view.getInt32(position + field.batchLength) + logOverheadBytes;
  }
  return offset;
}

/**
 * Copies the finished batches of one builder behind those of another.
 *
 * @param target Where to; it has no open batch with records.
 * @param source Stays as it is.
 */
export function copyBuilt(target: BatchBuilder, source: BatchBuilder): void {
  assert(target.recordCount === 0, "records of an open batch would be written over");
  const start = target.batchStart;
  target.position = start;
  reserve(target, source.batchStart);
  target.bytes.set(builtBytes(source), start);
  target.batchStart = start + source.batchStart;
  openBatch(target);
}

function finishBatchCheck(builder: BatchBuilder, options: BatchOptions): void {
  const { baseOffset, producerId = none, producerEpoch = none, baseSequence = none } = options;
  if (!(baseOffset >= 0 && Number.isSafeInteger(baseOffset + builder.recordCount))) {
    throw new RangeError(`Cannot finish a batch: its first offset is ${baseOffset}`);
  }
  if (producerId < 0 && options.transactional !== true) return;
  const hasSequence = baseSequence >= 0 || options.control === true;
  if (producerId >= 0 && producerEpoch >= 0 && hasSequence) return;
  throw new RangeError(
    `Cannot finish a batch of producer ${producerId}: its epoch is ${producerEpoch}, its first ` +
      `sequence number ${baseSequence}`,
  );
}

function openBatch(builder: BatchBuilder): void {
  builder.position = builder.batchStart + batchHeaderBytes;
  builder.recordCount = 0;
  builder.baseTimestamp = none;
  builder.maxTimestamp = none;
  reserve(builder, 0);
}

function attributesOf(compression: Compression, options: BatchOptions): number {
  return idOf(compression) |
    (options.logAppendTime === undefined ? 0 : attribute.logAppendTime) |
    (options.transactional === true ? attribute.transactional : 0) |
    (options.control === true ? attribute.control : 0);
}

function compressRecords(
  builder: BatchBuilder,
  compression: Compression,
  level: number | undefined,
): void {
  const start = builder.batchStart + batchHeaderBytes;
  const compressed = compress(compression, builder.bytes.subarray(start, builder.position), level);
  const end = start + compressed.length;
  if (end > builder.bytes.length) reserveGrow(builder, end);
  builder.bytes.set(compressed, start);
  builder.position = end;
}

function checkTimestamp(timestamp: number, delta: number): void {
  if (Number.isSafeInteger(timestamp) && Number.isSafeInteger(delta)) return;
  throw new RangeError(
    `Cannot append a record with timestamp ${timestamp}: it and its distance from the first of ` +
      `the batch must be safe integers`,
  );
}

function noteTimestamp(builder: BatchBuilder, timestamp: number): void {
  if (builder.recordCount === 0) builder.baseTimestamp = timestamp;
  if (timestamp > builder.maxTimestamp) builder.maxTimestamp = timestamp;
}

/** Makes room for some bytes at the position. */
function reserve(builder: BatchBuilder, count: number): void {
  const end = builder.position + count;
  if (end > builder.bytes.length) reserveGrow(builder, end);
}

function reserveGrow(builder: BatchBuilder, end: number): void {
  if (end > capacityBytesMax) {
    throw new RangeError(`Cannot build ${end} bytes at once: at most ${capacityBytesMax} fit`);
  }
  const grown = new Uint8Array(Math.min(capacityBytesMax, Math.max(end, builder.bytes.length * 2)));
  grown.set(builder.bytes.subarray(0, Math.min(builder.position, builder.bytes.length)));
  builder.bytes = grown;
  builder.view = new DataView(grown.buffer);
}

function sizeOfHeaders(headers: readonly HeaderInput[]): number {
  let size = sizeOfVarint(headers.length);
  for (const { key, value } of headers) {
    if (typeof key !== "string") {
      throw new TypeError("Cannot append a record: a header key is no string");
    }
    size += sizeOfContent(key) + sizeOfContent(value);
  }
  return size;
}

function sizeOfContent(content: Content): number {
  if (content === null) return 1;
  const size = typeof content === "string" ? utf8Length(content) : content.length;
  return sizeOfVarint(size) + size;
}

function writeHeaders(
  bytes: Uint8Array,
  position: number,
  headers: readonly HeaderInput[],
): number {
  let at = writeVarint(bytes, position, headers.length);
  for (const { key, value } of headers) {
    at = writeContent(bytes, at, key);
    at = writeContent(bytes, at, value);
  }
  return at;
}

function writeContent(bytes: Uint8Array, position: number, content: Content): number {
  if (content === null) return writeVarint(bytes, position, none);
  const source = typeof content === "string" ? utf8.encode(content) : content;
  const start = writeVarint(bytes, position, source.length);
  bytes.set(source, start);
  return start + source.length;
}

/** How many bytes a text has as UTF-8; a lone surrogate counts as the replacement character. */
function utf8Length(text: string): number {
  let size = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    const isPair = unit >= 0xd800 && unit < 0xdc00 &&
      (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00;
    if (isPair) {
      size += 2;
      index++;
    } else {
      size += unit < 0x800 ? 1 : 2;
    }
  }
  return size;
}

/** The size of `writeLength`: almost every length takes one byte or two. */
function sizeOfLength(length: number): number {
  return length < 64 ? 1 : length < 8192 ? 2 : sizeOfVarint(length);
}

/** Writes a varint that is not negative. */
function writeLength(bytes: Uint8Array, position: number, length: number): number {
  if (length < 64) {
    bytes[position] = length << 1;
    return position + 1;
  }
  if (length >= 8192) return writeVarint(bytes, position, length);
  bytes[position] = length << 1 & 0x7f | 0x80;
  bytes[position + 1] = length >> 6;
  return position + 2;
}
