/**
 * The bytes of a `.txnindex`: the aborted transactions whose markers a segment holds
 * (src/FORMAT.md, section 3.7).
 *
 *     entries of 34 bytes: version int16 = 0, producerId int64, firstOffset int64,
 *     lastOffset int64, lastStableOffset int64
 */

import { byteReader, readInt16, readInt64, remainingBytes } from "../bytes/byte_reader.ts";
import { byteWriter, writeInt16, writeInt64, writtenBytes } from "../bytes/byte_writer.ts";
import { OttlaError } from "../errors.ts";

/** One aborted transaction. */
export interface AbortedTransaction {
  readonly version: number;
  readonly producerId: number;
  /** Of its first record. */
  readonly firstOffset: number;
  /** Of its marker. */
  readonly lastOffset: number;
  /** What was decided when it was aborted lay below. */
  readonly lastStableOffset: number;
}

/** The size of an entry. */
export const txnEntryBytes = 34;
const formatVersion = 0;

/**
 * Parses a transaction index.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns Its entries in the file's order.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if it is not such an index.
 */
export function parseTxnIndex(bytes: Uint8Array, path: string): AbortedTransaction[] {
  const reader = byteReader(bytes);
  if (bytes.length % txnEntryBytes !== 0) {
    throw indexFault(path, `${bytes.length} bytes are not whole entries of ${txnEntryBytes}`);
  }
  const entries: AbortedTransaction[] = [];
  try {
    while (remainingBytes(reader) > 0) {
      const version = readInt16(reader);
      if (version !== formatVersion) throw indexFault(path, `version ${version}, wanted 0`);
      entries.push({
        version,
        producerId: readInt64(reader),
        firstOffset: readInt64(reader),
        lastOffset: readInt64(reader),
        lastStableOffset: readInt64(reader),
      });
    }
  } catch (error) {
    if (error instanceof RangeError) throw indexFault(path, error.message);
    throw error;
  }
  return entries;
}

/**
 * The entries as they lie in the file.
 *
 * @param entries Some entries.
 * @returns Their bytes.
 */
export function printTxnIndex(entries: readonly AbortedTransaction[]): Uint8Array {
  const writer = byteWriter(entries.length * txnEntryBytes);
  for (const { version, producerId, firstOffset, lastOffset, lastStableOffset } of entries) {
    writeInt16(writer, version);
    writeInt64(writer, producerId);
    writeInt64(writer, firstOffset);
    writeInt64(writer, lastOffset);
    writeInt64(writer, lastStableOffset);
  }
  return writtenBytes(writer);
}

function indexFault(path: string, found: string): OttlaError {
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot read the transaction index ${path}: ${found}`,
    { details: { path } },
  );
}
