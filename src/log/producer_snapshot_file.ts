/**
 * `<offset>.snapshot`: the state of a partition's idempotent and transactional producers as of an
 * offset (src/FORMAT.md, section 4.7).
 *
 *     version int16 = 1, checksum uint32 of all that follows, count int32, entry*
 *     entry of 46 bytes = producerId int64, epoch int16, lastSequence int32, lastOffset int64,
 *       offsetDelta int32, timestamp int64, coordinatorEpoch int32,
 *       currentTransactionFirstOffset int64
 */

import {
  byteReader,
  readInt16,
  readInt32,
  readInt64,
  readUint32,
  remainingBytes,
} from "../bytes/byte_reader.ts";
import type { ByteReader } from "../bytes/byte_reader.ts";
import {
  byteWriter,
  writeInt16,
  writeInt32,
  writeInt64,
  writeUint32,
  writtenBytes,
} from "../bytes/byte_writer.ts";
import type { ByteWriter } from "../bytes/byte_writer.ts";
import { crc32c } from "../bytes/crc32c.ts";
import { OttlaError } from "../errors.ts";

/** What is known of one producer. */
export interface ProducerSnapshotEntry {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Of its last batch; -1 if it has none, only a marker. */
  readonly lastSequence: number;
  /** Of its last batch, or -1. */
  readonly lastOffset: number;
  /** From the first to the last offset of its last batch. */
  readonly offsetDelta: number;
  /** In milliseconds since the epoch. */
  readonly timestamp: number;
  readonly coordinatorEpoch: number;
  /** Where its open transaction begins, or -1. */
  readonly currentTransactionFirstOffset: number;
}

const headerBytes = 10;
/** What the checksum covers begins here. */
const checksumStart = 6;
const entryBytes = 46;
const formatVersion = 1;

/**
 * Prints a producer snapshot.
 *
 * @param entries What is known of each producer.
 * @returns The whole file.
 */
export function printProducerSnapshot(entries: readonly ProducerSnapshotEntry[]): Uint8Array {
  const writer = byteWriter(headerBytes + entries.length * entryBytes);
  writeInt16(writer, formatVersion);
  writeUint32(writer, 0);
  writeInt32(writer, entries.length);
  for (const entry of entries) writeEntry(writer, entry);
  const bytes = writtenBytes(writer);
  writer.view.setUint32(checksumStart - 4, crc32c(bytes.subarray(checksumStart)));
  return bytes;
}

/**
 * Parses a producer snapshot.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns Its entries in the file's order.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if it is not such a snapshot.
 */
export function parseProducerSnapshot(bytes: Uint8Array, path: string): ProducerSnapshotEntry[] {
  if (bytes.length < headerBytes) throw snapshotFault(path, `it has only ${bytes.length} bytes`);
  const reader = byteReader(bytes);
  const version = readInt16(reader);
  if (version !== formatVersion) {
    throw snapshotFault(path, `version ${version}, wanted ${formatVersion}`);
  }
  const stored = readUint32(reader);
  const actual = crc32c(bytes.subarray(reader.position));
  if (stored !== actual) throw snapshotFault(path, `checksum ${actual}, ${stored} was written`);
  const count = readInt32(reader);
  if (count * entryBytes !== remainingBytes(reader)) {
    throw snapshotFault(path, `${count} entries are not in ${remainingBytes(reader)} bytes`);
  }
  try {
    return Array.from({ length: count }, () => readEntry(reader));
  } catch (error) {
    if (error instanceof RangeError) throw snapshotFault(path, error.message);
    throw error;
  }
}

function readEntry(reader: ByteReader): ProducerSnapshotEntry {
  return {
    producerId: readInt64(reader),
    producerEpoch: readInt16(reader),
    lastSequence: readInt32(reader),
    lastOffset: readInt64(reader),
    offsetDelta: readInt32(reader),
    timestamp: readInt64(reader),
    coordinatorEpoch: readInt32(reader),
    currentTransactionFirstOffset: readInt64(reader),
  };
}

function writeEntry(writer: ByteWriter, entry: ProducerSnapshotEntry): void {
  writeInt64(writer, entry.producerId);
  writeInt16(writer, entry.producerEpoch);
  writeInt32(writer, entry.lastSequence);
  writeInt64(writer, entry.lastOffset);
  writeInt32(writer, entry.offsetDelta);
  writeInt64(writer, entry.timestamp);
  writeInt32(writer, entry.coordinatorEpoch);
  writeInt64(writer, entry.currentTransactionFirstOffset);
}

function snapshotFault(path: string, found: string): OttlaError {
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot read the producer snapshot ${path}: ${found}`,
    { details: { path } },
  );
}
