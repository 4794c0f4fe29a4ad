/**
 * Takes records out of a batch, as Kafka's `MemoryRecords.filterTo` does (src/FORMAT.md, section
 * 6.9).
 *
 * What is left keeps its offset, its timestamp and its place: the batch begins and ends with the
 * offsets it had, and what it says of its producer stays. A batch of which nothing is taken is
 * copied byte by byte.
 */

import { setInt64 } from "../bytes/byte_reader.ts";
import type { ByteWriter } from "../bytes/byte_writer.ts";
import { makeRoom, writeBytes } from "../bytes/byte_writer.ts";
import { crc32c } from "../bytes/crc32c.ts";
import { sizeOfVarint, sizeOfVarlong, writeVarint, writeVarlong } from "../bytes/varint.ts";
import { OttlaError } from "../errors.ts";
import {
  attribute,
  batchHeaderBytes,
  checksumStart,
  field,
  logOverheadBytes,
  none,
} from "./batch_layout.ts";
import type { BatchView } from "./batch_view.ts";
import { compressionOfBatch, deleteHorizonOf, isLogAppendTime } from "./batch_view.ts";
import { compress, decompress } from "./compression.ts";
import type { RecordView } from "./record_reader.ts";
import { decompressedBytesMax, forEachRecord } from "./record_reader.ts";

/** What is to become of a batch. */
export interface BatchFilter {
  /** Whether a record stays; asked once for each, in order. */
  readonly keeps: (record: RecordView) => boolean;
  /** Whether the header stays when no record does. */
  readonly retainsEmpty: boolean;
  /** Whether the batch gets a delete horizon, as it does when a tombstone stays. */
  readonly needsHorizon: boolean;
  /** The horizon it gets if it has none, in milliseconds since the epoch; undefined: none yet. */
  readonly deleteHorizonMs: number | undefined;
  /** How large the batch may become; it gets no horizon if it is too large with one. */
  readonly sizeBytesMax: number;
}

/** Which records of a batch stay, and what they have in common. */
interface Retained {
  /** 1 for each that stays. */
  readonly flags: Uint8Array;
  count: number;
  hasTombstone: boolean;
  firstTimestamp: number;
  maxTimestamp: number;
}

/** What the timestamps of a batch are counted from: its horizon, if it has one. */
interface Base {
  readonly horizon: number | undefined;
  readonly timestamp: number;
}

/** Larger ones would not leave room for the distance to a timestamp. */
const deleteHorizonMax = 2 ** 52;
/** How many bytes a record may gain: its length, and its distance from another base timestamp. */
const recordGrowthBytes = 16;
const keptInEmpty = attribute.logAppendTime | attribute.transactional | attribute.control;

/**
 * Writes what is to be left of a batch.
 *
 * @param target Where to.
 * @param batch The batch, its checksum verified.
 * @param filter What is to become of it.
 * @returns How many records are left; nothing was written if none are and the header does not stay.
 * @throws OttlaError `CORRUPT_MESSAGE` if its records are not what its header says, `CODEC_MISSING`,
 * `RECORD_LIST_TOO_LARGE` if what is left is too large however it is written.
 */
export function filterBatch(target: ByteWriter, batch: BatchView, filter: BatchFilter): number {
  const plain = plainBatch(batch);
  const retained = judgeRecords(plain, filter);
  if (retained.count === 0) {
    if (filter.retainsEmpty) writeEmptyBatch(target, batch);
    return 0;
  }
  const oldHorizon = deleteHorizonOf(batch);
  const horizon = oldHorizon ?? newHorizon(filter, retained);
  if (retained.count === batch.recordCount && horizon === oldHorizon) {
    writeWhole(target, batch);
  } else {
    writeWithin(filter.sizeBytesMax, target, batch, plain, retained, horizon);
  }
  return retained.count;
}

/**
 * Writes what is left of a batch. Its records become longer where another base timestamp is farther
 * away from theirs; if that is too much they keep their distances.
 */
function writeWithin(
  sizeBytesMax: number,
  target: ByteWriter,
  batch: BatchView,
  plain: BatchView,
  retained: Retained,
  horizon: number | undefined,
): void {
  const start = target.position;
  const oldHorizon = deleteHorizonOf(batch);
  const oldBase = isLogAppendTime(batch) ? batch.maxTimestamp : batch.baseTimestamp;
  const bases: Base[] = [
    { horizon, timestamp: horizon ?? retained.firstTimestamp },
    { horizon: oldHorizon, timestamp: oldHorizon ?? oldBase },
  ];
  for (const base of bases) {
    target.position = start;
    const recordsBytes = writeRetained(target, batch, plain, retained, base);
    const sizeBytes = target.position - start;
    if (sizeBytes <= sizeBytesMax && recordsBytes <= decompressedBytesMax) return;
  }
  target.position = start;
  if (retained.count < batch.recordCount) throw tooLargeError(batch, sizeBytesMax);
  // Compressed again it is larger than it was; as it is it has its room.
  writeWhole(target, batch);
}

function writeWhole(target: ByteWriter, { bytes, position, sizeBytes }: BatchView): void {
  writeBytes(target, bytes.subarray(position, position + sizeBytes));
}

function newHorizon(
  { needsHorizon, deleteHorizonMs }: BatchFilter,
  { hasTombstone }: Retained,
): number | undefined {
  if (deleteHorizonMs === undefined || !(needsHorizon || hasTombstone)) return undefined;
  return Math.min(deleteHorizonMs, deleteHorizonMax);
}

/** The same batch with its records decompressed. */
function plainBatch(batch: BatchView): BatchView {
  const compression = compressionOfBatch(batch);
  if (compression === "none" || batch.recordCount === 0) return batch;
  const start = batch.position + batchHeaderBytes;
  const packed = batch.bytes.subarray(start, batch.position + batch.sizeBytes);
  const records = decompress(compression, packed, decompressedBytesMax);
  const bytes = new Uint8Array(batchHeaderBytes + records.length);
  bytes.set(records, batchHeaderBytes);
  return {
    ...batch,
    bytes,
    view: new DataView(bytes.buffer),
    position: 0,
    sizeBytes: bytes.length,
    attributes: batch.attributes & ~attribute.compressionMask,
  };
}

function judgeRecords(plain: BatchView, filter: BatchFilter): Retained {
  const retained: Retained = {
    // A count that cannot be is found out before the first record is visited.
    flags: new Uint8Array(Math.max(0, Math.min(plain.recordCount, plain.sizeBytes))),
    count: 0,
    hasTombstone: false,
    firstTimestamp: none,
    maxTimestamp: none,
  };
  let index = 0;
  forEachRecord(plain, (record) => {
    const isKept = filter.keeps(record);
    if (isKept) {
      retained.flags[index] = 1;
      if (retained.count === 0) retained.firstTimestamp = record.timestamp;
      if (record.timestamp > retained.maxTimestamp) retained.maxTimestamp = record.timestamp;
      if (record.valueStart < 0) retained.hasTombstone = true;
      retained.count++;
    }
    index++;
  });
  return retained;
}

function writeEmptyBatch(target: ByteWriter, batch: BatchView): void {
  const start = writeHeaderOf(target, batch);
  const { view } = target;
  view.setInt16(start + field.attributes, batch.attributes & keptInEmpty);
  setInt64(view, start + field.baseTimestamp, none);
  view.setInt32(start + field.recordCount, 0);
  finishBatch(target, start);
}

/** Returns how many bytes the records have before they are compressed. */
function writeRetained(
  target: ByteWriter,
  batch: BatchView,
  plain: BatchView,
  retained: Retained,
  { horizon, timestamp: baseTimestamp }: Base,
): number {
  const start = writeHeaderOf(target, batch);
  makeRoom(target, plain.sizeBytes + retained.count * recordGrowthBytes);
  let index = 0;
  forEachRecord(plain, (record) => {
    if (retained.flags[index++] === 1) {
      target.position = writeRecord(target.bytes, target.position, record, batch, baseTimestamp);
    }
  });
  const recordsBytes = target.position - start - batchHeaderBytes;
  compressFrom(target, start + batchHeaderBytes, batch);
  const { view } = target;
  const horizonBit = horizon === undefined ? 0 : attribute.deleteHorizon;
  view.setInt16(start + field.attributes, batch.attributes & ~attribute.deleteHorizon | horizonBit);
  setInt64(view, start + field.baseTimestamp, baseTimestamp);
  const maxTimestamp = isLogAppendTime(batch) ? batch.maxTimestamp : retained.maxTimestamp;
  setInt64(view, start + field.maxTimestamp, maxTimestamp);
  view.setInt32(start + field.recordCount, retained.count);
  finishBatch(target, start);
  return recordsBytes;
}

/** Returns where the header begins. */
function writeHeaderOf(target: ByteWriter, batch: BatchView): number {
  const start = target.position;
  writeBytes(target, batch.bytes.subarray(batch.position, batch.position + batchHeaderBytes));
  return start;
}

/** Sets what depends on all other bytes of the batch at the end of the target. */
function finishBatch({ bytes, view, position }: ByteWriter, start: number): void {
  view.setInt32(start + field.batchLength, position - start - logOverheadBytes);
  view.setUint32(start + field.crc, crc32c(bytes.subarray(start + checksumStart, position)));
}

/** Writes a record with another distance from another timestamp. Returns where it ends. */
function writeRecord(
  bytes: Uint8Array,
  position: number,
  record: RecordView,
  { baseOffset }: BatchView,
  baseTimestamp: number,
): number {
  const { keyStart, keyEnd, valueStart, valueEnd, headerCount, headersStart, end } = record;
  const timestampDelta = record.timestamp - baseTimestamp;
  const offsetDelta = record.offset - baseOffset;
  const keySize = keyStart < 0 ? none : keyEnd - keyStart;
  const valueSize = valueStart < 0 ? none : valueEnd - valueStart;
  const headersSize = end - headersStart;
  const bodySize = 1 + sizeOfVarlong(timestampDelta) + sizeOfVarint(offsetDelta) +
    sizeOfVarint(keySize) + Math.max(0, keySize) + sizeOfVarint(valueSize) +
    Math.max(0, valueSize) + sizeOfVarint(headerCount) + headersSize;
  let at = writeVarint(bytes, position, bodySize);
  bytes[at++] = 0;
  at = writeVarlong(bytes, at, timestampDelta);
  at = writeVarint(bytes, at, offsetDelta);
  at = writeVarint(bytes, at, keySize);
  if (keySize > 0) bytes.set(record.bytes.subarray(keyStart, keyEnd), at);
  at = writeVarint(bytes, at + Math.max(0, keySize), valueSize);
  if (valueSize > 0) bytes.set(record.bytes.subarray(valueStart, valueEnd), at);
  at = writeVarint(bytes, at + Math.max(0, valueSize), headerCount);
  if (headersSize > 0) bytes.set(record.bytes.subarray(headersStart, end), at);
  return at + headersSize;
}

/** Compresses what was written from a position on, as the batch was before. */
function compressFrom(target: ByteWriter, start: number, batch: BatchView): void {
  const compression = compressionOfBatch(batch);
  if (compression === "none") return;
  const packed = compress(compression, target.bytes.subarray(start, target.position));
  target.position = start;
  writeBytes(target, packed);
}

function tooLargeError(batch: BatchView, sizeBytesMax: number): OttlaError {
  const { topic, partition, baseOffset, sizeBytes } = batch;
  return new OttlaError(
    "RECORD_LIST_TOO_LARGE",
    `Cannot compact ${topic}-${partition}: the batch at offset ${baseOffset}, which has ` +
      `${sizeBytes} bytes, would become larger than ${sizeBytesMax}`,
    { details: { topic, partition, baseOffset, sizeBytes, sizeBytesMax } },
  );
}
