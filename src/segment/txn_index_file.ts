/**
 * Reads the `.txnindex` of a segment: the aborted transactions whose markers it holds
 * (src/FORMAT.md, section 3.7).
 *
 *     entries of 34 bytes: version int16 = 0, producerId int64, firstOffset int64, lastOffset
 * int64,     lastStableOffset int64
 */

import { byteReader, readInt16, readInt64, remainingBytes } from "../bytes/byte_reader.ts";
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

const entryBytes = 34;
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
  if (bytes.length % entryBytes !== 0) {
    throw indexFault(path, `${bytes.length} bytes are not whole entries of ${entryBytes}`);
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

function indexFault(path: string, found: string): OttlaError {
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot read the transaction index ${path}: ${found}`,
    {
      details: { path },
    },
  );
}
