/**
 * A batch as it lies in a buffer: its header decoded, its records untouched.
 *
 * A view holds no copy. It is true as long as nobody writes into the buffer below it.
 */

import { crc32c } from "../bytes/crc32c.ts";
import { getInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import {
  attribute,
  batchHeaderBytes,
  checksumStart,
  field,
  headerToMagicBytes,
  logOverheadBytes,
  magicV2,
} from "./batch_layout.ts";
import type { Compression } from "./compression.ts";
import { codecOf } from "./compression.ts";

/** A batch in a buffer. */
export interface BatchView {
  /** The topic it was read from, or "" if it came from elsewhere. */
  readonly topic: string;
  /** The partition it was read from, or -1. */
  readonly partition: number;
  /** The buffer; `position` and what follows are of this batch, the rest is not. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Of its first byte in `bytes`. */
  readonly position: number;
  /** With its header. */
  readonly sizeBytes: number;
  readonly baseOffset: number;
  /** Inclusive: a compacted batch may end behind its last record. */
  readonly lastOffset: number;
  readonly recordCount: number;
  readonly attributes: number;
  /**
   * What the timestamps of its records count from, in milliseconds since the epoch; exact up to
   * 2^53.
   */
  readonly baseTimestamp: number;
  /** In milliseconds since the epoch; -1 if it has none. */
  readonly maxTimestamp: number;
}

/** Where a batch was read from. */
export interface BatchSource {
  readonly topic: string;
  readonly partition: number;
}

const nowhere: BatchSource = { topic: "", partition: -1 };

/**
 * How many bytes the batch at a position has, by its own word, which may be wrong.
 *
 * @param view The buffer; `headerToMagicBytes` bytes must be there.
 * @param position Of the batch.
 * @returns The size with its header, or 0 if what is there cannot be a batch v2.
 */
export function peekBatchSize(view: DataView, position: number): number {
  const length = view.getInt32(position + field.batchLength);
  if (view.getInt8(position + field.magic) !== magicV2) return 0;
  return length >= batchHeaderBytes - logOverheadBytes ? length + logOverheadBytes : 0;
}

/**
 * Looks at the batch at a position.
 *
 * @param bytes The buffer.
 * @param position Of the first byte of the batch.
 * @param end Where the bytes that may be looked at end.
 * @param source Where the batch comes from.
 * @param view Over all of `bytes`; give it to save making one a batch.
 * @returns The batch, or undefined if it is not there in full: what is there is its beginning.
 * @throws OttlaError `CORRUPT_MESSAGE` if what is there is not the beginning of a batch v2.
 */
export function viewBatch(
  bytes: Uint8Array,
  position = 0,
  end: number = bytes.length,
  source: BatchSource = nowhere,
  view: DataView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
): BatchView | undefined {
  if (end - position < headerToMagicBytes) return undefined;
  const sizeBytes = peekBatchSize(view, position);
  if (sizeBytes === 0) throw malformedBatch(view, position);
  if (end - position < sizeBytes) return undefined;
  const baseOffset = getInt64(view, position + field.baseOffset);
  const lastOffset = baseOffset + view.getInt32(position + field.lastOffsetDelta);
  if (baseOffset < 0 || lastOffset < baseOffset || lastOffset >= Number.MAX_SAFE_INTEGER) {
    throw new OttlaError(
      "CORRUPT_MESSAGE",
      `Cannot read a batch at position ${position}: it claims offsets ${baseOffset} to ` +
        `${lastOffset}`,
      { details: { position, baseOffset, lastOffset } },
    );
  }
  return {
    topic: source.topic,
    partition: source.partition,
    bytes,
    view,
    position,
    sizeBytes,
    baseOffset,
    lastOffset,
    recordCount: view.getInt32(position + field.recordCount),
    attributes: view.getInt16(position + field.attributes),
    baseTimestamp: getInt64(view, position + field.baseTimestamp),
    maxTimestamp: getInt64(view, position + field.maxTimestamp),
  };
}

/**
 * Goes through the batches of a buffer, one behind the other, without verifying their checksums.
 *
 * @param bytes The buffer.
 * @param source Where the batches come from.
 * @returns The batches that are there in full; an incomplete one at the end is passed over.
 * @throws OttlaError `CORRUPT_MESSAGE` at something that is not a batch v2.
 */
export function* batchesIn(bytes: Uint8Array, source?: BatchSource): Generator<BatchView> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let position = 0; position < bytes.length;) {
    const batch = viewBatch(bytes, position, bytes.length, source, view);
    if (batch === undefined) return;
    yield batch;
    position += batch.sizeBytes;
  }
}

/** The checksum that the batch carries. */
export function storedChecksumOf(batch: BatchView): number {
  return batch.view.getUint32(batch.position + field.crc);
}

/** The checksum that the bytes of the batch have. */
export function actualChecksumOf(batch: BatchView): number {
  const { bytes, position, sizeBytes } = batch;
  return crc32c(bytes.subarray(position + checksumStart, position + sizeBytes));
}

/** Tells whether the bytes of the batch are those that were written. */
export function hasValidChecksum(batch: BatchView): boolean {
  return storedChecksumOf(batch) === actualChecksumOf(batch);
}

/**
 * Verifies the checksum of a batch.
 *
 * @param batch The batch.
 * @throws OttlaError `CORRUPT_MESSAGE` if its bytes are not those that were written.
 */
export function verifyChecksum(batch: BatchView): void {
  const stored = storedChecksumOf(batch);
  const actual = actualChecksumOf(batch);
  if (stored === actual) return;
  throw new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot read offsets ${batch.baseOffset} to ${batch.lastOffset}: the batch has checksum ` +
      `${hex(actual)}, ${hex(stored)} was written`,
    { details: { baseOffset: batch.baseOffset, lastOffset: batch.lastOffset, stored, actual } },
  );
}

/** How the records of the batch are compressed. */
export function compressionOfBatch(batch: BatchView): Compression {
  return codecOf(batch.attributes & attribute.compressionMask);
}

/** Whether the timestamps are the times of appending, the same for all records of the batch. */
export function isLogAppendTime(batch: BatchView): boolean {
  return (batch.attributes & attribute.logAppendTime) !== 0;
}

/** Whether the batch belongs to a transaction. */
export function isTransactional(batch: BatchView): boolean {
  return (batch.attributes & attribute.transactional) !== 0;
}

/** Whether the batch holds a marker of Kafka's own instead of records of users. */
export function isControlBatch(batch: BatchView): boolean {
  return (batch.attributes & attribute.control) !== 0;
}

/**
 * When the tombstones of a compacted batch may go, in milliseconds since the epoch, if that is set.
 */
export function deleteHorizonOf(batch: BatchView): number | undefined {
  return (batch.attributes & attribute.deleteHorizon) !== 0 ? batch.baseTimestamp : undefined;
}

/** The leader epoch under which the batch was appended, or -1. */
export function partitionLeaderEpochOf(batch: BatchView): number {
  return batch.view.getInt32(batch.position + field.partitionLeaderEpoch);
}

/** The id of the idempotent producer that sent the batch, or -1. */
export function producerIdOf(batch: BatchView): number {
  return getInt64(batch.view, batch.position + field.producerId);
}

/** The epoch of that producer, or -1. */
export function producerEpochOf(batch: BatchView): number {
  return batch.view.getInt16(batch.position + field.producerEpoch);
}

/** The sequence number of its first record, or -1. */
export function baseSequenceOf(batch: BatchView): number {
  return batch.view.getInt32(batch.position + field.baseSequence);
}

const sequenceMax = 2 ** 31 - 1;

/** The sequence number of its last record, or -1; behind 2^31 - 1 comes 0. */
export function lastSequenceOf(batch: BatchView): number {
  return sequenceOf(batch, batch.lastOffset);
}

/** The sequence number of the record with an offset of the batch, or -1. */
export function sequenceOf(batch: BatchView, offset: number): number {
  const baseSequence = baseSequenceOf(batch);
  return baseSequence < 0 ? -1 : incrementSequence(baseSequence, offset - batch.baseOffset);
}

/**
 * The sequence number some records later.
 *
 * @param sequence A sequence number.
 * @param increment How many records later.
 * @returns Behind 2^31 - 1 comes 0.
 */
export function incrementSequence(sequence: number, increment: number): number {
  return (sequence + increment) % (sequenceMax + 1);
}

/**
 * The sequence number some records earlier.
 *
 * @param sequence A sequence number.
 * @param decrement How many records earlier.
 * @returns Before 0 comes 2^31 - 1.
 */
export function decrementSequence(sequence: number, decrement: number): number {
  return (sequence - decrement + sequenceMax + 1) % (sequenceMax + 1);
}

function malformedBatch(view: DataView, position: number): OttlaError {
  const magic = view.getInt8(position + field.magic);
  const length = view.getInt32(position + field.batchLength);
  return new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot read a batch at position ${position}: format ${magic} and length ${length} were ` +
      `found, format ${magicV2} and a length of ${batchHeaderBytes - logOverheadBytes} or more ` +
      `were expected`,
    { details: { position, magic, length } },
  );
}

function hex(checksum: number): string {
  return checksum.toString(16).padStart(8, "0");
}
