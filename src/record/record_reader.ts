/**
 * Reads the records of a batch: one after the other through a view that allocates nothing, or as
 * objects.
 *
 * Every length is held against what is left before it is used; a batch that is not what its header
 * says is `CORRUPT_MESSAGE`, whatever its bytes are.
 */

import { strict as assert } from "node:assert";
import { byteReader, readVarint, readVarlong } from "../bytes/byte_reader.ts";
import type { ByteReader } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import { batchHeaderBytes } from "./batch_layout.ts";
import type { BatchView } from "./batch_view.ts";
import { compressionOfBatch, isLogAppendTime } from "./batch_view.ts";
import { decompress } from "./compression.ts";
import type { Header, LogRecord } from "./record.ts";

/**
 * One record in the bytes of its batch. The same object serves all records of a batch: what is
 * needed longer than the call must be copied.
 */
export interface RecordView {
  offset: number;
  /** In milliseconds since the epoch; -1 if it has none. */
  timestamp: number;
  /** What the positions below are positions in. */
  bytes: Uint8Array;
  /** Of the first byte of the key, or -1 if the key is null. */
  keyStart: number;
  keyEnd: number;
  /** Of the first byte of the value, or -1 if the value is null. */
  valueStart: number;
  valueEnd: number;
  headerCount: number;
  /** Of the first header. */
  headersStart: number;
  /** Of the first byte behind the record. */
  end: number;
}

/** How many bytes the records of one compressed batch may have. */
export const decompressedBytesMax: number = 2 ** 30;

/** The smallest record: its length, attributes, two deltas, two lengths and a header count. */
const recordBytesMin = 7;
const noHeaders: readonly Header[] = Object.freeze([]);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Calls a function for every record of a batch, in order. For hot loops: nothing is allocated a
 * record.
 *
 * @param batch The batch; its checksum is not verified here.
 * @param visit Gets the same view each time, with the next record in it.
 * @returns How many records there were.
 * @throws OttlaError `CORRUPT_MESSAGE` if the records are not what the header says,
 * `CODEC_MISSING`.
 */
export function forEachRecord(batch: BatchView, visit: (record: RecordView) => void): number {
  const reader = recordsReader(batch);
  const count = batch.recordCount;
  const record = recordView(reader.bytes);
  const appendTime = isLogAppendTime(batch) ? batch.maxTimestamp : undefined;
  for (let index = 0; index < count; index++) {
    if (!readCommonRecord(reader, batch, record)) readAnyRecord(reader, batch, record);
    if (appendTime !== undefined) record.timestamp = appendTime;
    visit(record);
  }
  checkAllRead(reader, batch);
  return count;
}

/**
 * The records of a batch as objects, in order.
 *
 * @param batch The batch; its checksum is not verified here.
 * @returns The records. Their bytes are views of the batch: copy what must outlive its buffer.
 * @throws OttlaError `CORRUPT_MESSAGE` if the records are not what the header says,
 * `CODEC_MISSING`.
 */
export function recordsOf(batch: BatchView): LogRecord[] {
  const reader = recordsReader(batch);
  const { topic, partition, recordCount } = batch;
  const view = recordView(reader.bytes);
  const { buffer, byteOffset } = reader.bytes;
  const contentOf = (start: number, end: number): Uint8Array | null =>
    start < 0 ? null : new Uint8Array(buffer, byteOffset + start, end - start);
  const appendTime = isLogAppendTime(batch) ? batch.maxTimestamp : undefined;
  // The loop of `forEachRecord` again, with what all records share looked up once: 68 ns a record of
  // 100 bytes against 111 ns when `forEachRecord` calls back for each.
  const records = new Array<LogRecord>(recordCount);
  for (let index = 0; index < recordCount; index++) {
    if (!readCommonRecord(reader, batch, view)) readAnyRecord(reader, batch, view);
    records[index] = {
      topic,
      partition,
      offset: view.offset,
      timestamp: appendTime ?? view.timestamp,
      key: contentOf(view.keyStart, view.keyEnd),
      value: contentOf(view.valueStart, view.valueEnd),
      headers: view.headerCount === 0 ? noHeaders : headersOf(view),
    };
  }
  checkAllRead(reader, batch);
  return records;
}

/** The key of a record, as a view of the batch. */
export function keyOf(record: RecordView): Uint8Array | null {
  return record.keyStart < 0 ? null : viewOf(record.bytes, record.keyStart, record.keyEnd);
}

/** The value of a record, as a view of the batch. */
export function valueOf(record: RecordView): Uint8Array | null {
  return record.valueStart < 0 ? null : viewOf(record.bytes, record.valueStart, record.valueEnd);
}

/**
 * The headers of a record, in their order.
 *
 * @param record The record, as it was visited: its headers were checked then.
 * @returns The headers, their values as views of the batch.
 */
export function headersOf(record: RecordView): readonly Header[] {
  if (record.headerCount === 0) return noHeaders;
  const reader = byteReader(record.bytes, record.headersStart, record.end);
  const headers: Header[] = [];
  for (let index = 0; index < record.headerCount; index++) {
    const key = headerContent(reader);
    assert(key !== null, "a header has a key");
    headers.push({ key: utf8.decode(key), value: headerContent(reader) });
  }
  return headers;
}

/** A cursor over the records of a batch, decompressed if need be. */
function recordsReader(batch: BatchView): ByteReader {
  const { bytes, position, sizeBytes, recordCount } = batch;
  const start = position + batchHeaderBytes;
  const end = position + sizeBytes;
  const compression = compressionOfBatch(batch);
  let reader: ByteReader;
  if (compression === "none" || recordCount === 0) {
    reader = { bytes, view: batch.view, position: start, end };
  } else {
    reader = byteReader(decompress(compression, bytes.subarray(start, end), decompressedBytesMax));
  }
  if (recordCount < 0 || recordCount > (reader.end - reader.position) / recordBytesMin) {
    throw corruptRecords(
      batch,
      `${recordCount} records cannot be in ${reader.end - reader.position} bytes`,
    );
  }
  return reader;
}

function recordView(bytes: Uint8Array): RecordView {
  return {
    offset: 0,
    timestamp: 0,
    bytes,
    keyStart: -1,
    keyEnd: -1,
    valueStart: -1,
    valueEnd: -1,
    headerCount: 0,
    headersStart: 0,
    end: 0,
  };
}

/**
 * Reads the record at the cursor into the view and moves the cursor behind it, if it is of the
 * common form: no field longer than two bytes, the timestamp that of the batch, no header, nothing
 * wrong.
 *
 * Measured at 100-byte values: 13 ns a record against 25 ns for `readAnyRecord`.
 *
 * @returns False if it is of another form; then nothing has changed.
 */
function readCommonRecord(reader: ByteReader, batch: BatchView, record: RecordView): boolean {
  const { bytes } = reader;
  let at = reader.position;
  let raw = bytes[at++]!;
  if (raw >= 0x80) {
    const high = bytes[at++]!;
    if (high >= 0x80) return false;
    raw = raw & 0x7f | high << 7;
  }
  const end = at + (raw >> 1);
  if ((raw & 1) !== 0 || end > reader.end || bytes[at + 1] !== 0) return false;
  at += 2;

  raw = bytes[at++]!;
  if (raw >= 0x80) {
    const high = bytes[at++]!;
    if (high >= 0x80) return false;
    raw = raw & 0x7f | high << 7;
  }
  const offset = batch.baseOffset + (raw >> 1);
  if ((raw & 1) !== 0 || offset > batch.lastOffset) return false;

  raw = bytes[at++]!;
  if (raw >= 0x80) return false;
  const keyIsNull = raw === 1;
  if (!keyIsNull && (raw & 1) !== 0) return false;
  const keyStart = at;
  at += raw >> 1;

  raw = bytes[at++]!;
  if (raw >= 0x80) {
    const high = bytes[at++]!;
    if (high >= 0x80) return false;
    raw = raw & 0x7f | high << 7;
  }
  const valueIsNull = raw === 1;
  if (!valueIsNull && (raw & 1) !== 0) return false;
  const valueStart = at;
  at += raw >> 1;
  if (at !== end - 1 || bytes[at] !== 0) return false;

  record.offset = offset;
  record.timestamp = batch.baseTimestamp;
  record.keyStart = keyIsNull ? -1 : keyStart;
  record.keyEnd = keyIsNull ? -1 : keyStart + (bytes[keyStart - 1]! >> 1);
  record.valueStart = valueIsNull ? -1 : valueStart;
  record.valueEnd = valueIsNull ? -1 : at;
  record.headerCount = 0;
  record.headersStart = end;
  record.end = end;
  reader.position = end;
  return true;
}

/** Reads the record at the cursor into the view and moves the cursor behind it. */
function readAnyRecord(reader: ByteReader, batch: BatchView, record: RecordView): void {
  try {
    const size = readVarint(reader);
    const start = reader.position;
    const end = start + size;
    if (size < recordBytesMin - 1 || end > reader.end) {
      throw new RangeError(`it claims ${size} bytes, ${reader.end - start} are left`);
    }
    reader.position = start + 1;
    record.timestamp = batch.baseTimestamp + readVarlong(reader);
    record.offset = batch.baseOffset + readVarint(reader);
    record.keyStart = skipContent(reader, end, "its key");
    record.keyEnd = record.keyStart < 0 ? -1 : reader.position;
    record.valueStart = skipContent(reader, end, "its value");
    record.valueEnd = record.valueStart < 0 ? -1 : reader.position;
    record.headerCount = readVarint(reader);
    record.headersStart = reader.position;
    record.end = end;
    if (record.headerCount < 0 || record.headerCount > end - reader.position) {
      throw new RangeError(`it claims ${record.headerCount} headers`);
    }
    for (let index = 0; index < record.headerCount; index++) {
      if (skipContent(reader, end, "a header") < 0) throw new RangeError("a header has no key");
      skipContent(reader, end, "a header");
    }
    if (reader.position !== end) {
      throw new RangeError(`it claims ${size} bytes and has ${reader.position - start}`);
    }
    if (record.offset < batch.baseOffset || record.offset > batch.lastOffset) {
      throw new RangeError(`its offset ${record.offset} is not in the batch`);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw corruptRecords(batch, `a record is malformed: ${error.message}`);
  }
}

/** Moves behind a length and as many bytes; returns where the bytes begin, or -1 for null. */
function skipContent(reader: ByteReader, end: number, what: string): number {
  const size = readVarint(reader);
  if (size < 0) return -1;
  const start = reader.position;
  if (size > end - start) throw new RangeError(`${what} of ${size} bytes does not fit`);
  reader.position = start + size;
  return start;
}

/** The key or value of a header; `readAnyRecord` has checked the lengths. */
function headerContent(reader: ByteReader): Uint8Array | null {
  const size = readVarint(reader);
  if (size < 0) return null;
  const start = reader.position;
  reader.position = start + size;
  return reader.bytes.subarray(start, start + size);
}

function checkAllRead(reader: ByteReader, batch: BatchView): void {
  if (reader.position === reader.end) return;
  throw corruptRecords(
    batch,
    `${reader.end - reader.position} bytes are left behind its ${batch.recordCount} records`,
  );
}

function corruptRecords(batch: BatchView, what: string): OttlaError {
  return new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot read the records of offsets ${batch.baseOffset} to ${batch.lastOffset}: ${what}`,
    { details: { baseOffset: batch.baseOffset, lastOffset: batch.lastOffset } },
  );
}

/** As `subarray`, and a plain `Uint8Array` also of a Node `Buffer`; 22 ns against 31. */
function viewOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}
