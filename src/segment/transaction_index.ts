/**
 * The transaction index of a segment: one entry for each aborted transaction whose marker is in the
 * segment, in the order of the markers (src/FORMAT.md, section 3.7).
 *
 * Nothing of it is held in memory and no file is kept open: most segments have no aborted
 * transaction, and then there is no file either. What may be appended is decided by the log, which
 * is also who makes an index anew that cannot be read (`log/transaction_indexes.ts`).
 */

import { OttlaError } from "../errors.ts";
import type { FileHandle } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath, readFile, replaceFile } from "../platform/files.ts";
import type { Segment } from "./segment.ts";
import { segmentFileName } from "./segment_file_name.ts";
import type { AbortedTransaction } from "./txn_index_file.ts";
import { parseTxnIndex, printTxnIndex, txnEntryBytes } from "./txn_index_file.ts";

/** A larger file is no index: a full segment of nothing but markers needs less. */
const indexBytesMax = 2 ** 30;

/**
 * The entries of a segment's index.
 *
 * @param segment The segment.
 * @returns The entries; none if there is no file. One that was cut short at the end of the file
 * does not count.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the file cannot be the index of this segment; what
 * the file system throws.
 */
export function readTransactionIndex(segment: Segment): AbortedTransaction[] {
  const path = transactionIndexPath(segment);
  const bytes = readFile(segment.pool.fs, path, indexBytesMax);
  if (bytes === undefined) return [];
  const entries = parseTxnIndex(bytes.subarray(0, wholeBytes(bytes.length)), path);
  let before = segment.baseOffset - 1;
  for (const { firstOffset, lastOffset } of entries) {
    const isPossible = lastOffset > before && lastOffset < segment.endOffset &&
      firstOffset >= 0 && firstOffset <= lastOffset;
    if (!isPossible) {
      throw new OttlaError(
        "KAFKA_STORAGE_ERROR",
        `Cannot use the transaction index ${path}: the transaction of offsets ${firstOffset} to ` +
          `${lastOffset} is not in its order, or not of this segment`,
        { details: { path } },
      );
    }
    before = lastOffset;
  }
  return entries;
}

/**
 * Adds entries behind those that a segment's index has. Nothing is synced.
 *
 * @param segment The segment; the first entry makes the file.
 * @param entries The aborted transactions, in the order of their markers.
 * @throws RangeError if a marker does not lie behind that of the entry before, OttlaError
 * `KAFKA_STORAGE_ERROR` if the last entry in the file is none; what the file system throws.
 */
export function appendTransactionEntries(
  segment: Segment,
  entries: readonly AbortedTransaction[],
): void {
  if (entries.length === 0) return;
  const { fs } = segment.pool;
  const path = transactionIndexPath(segment);
  const file = fs.open(path, "create");
  try {
    const position = wholeBytes(fs.sizeOf(file));
    let before = position === 0 ? -1 : lastOffsetIn(segment, file, position, path);
    for (const { firstOffset, lastOffset } of entries) {
      if (lastOffset <= before) {
        throw new RangeError(
          `Cannot index the aborted transaction of offsets ${firstOffset} to ${lastOffset} in ` +
            `${path}: its last entry ends at offset ${before}`,
        );
      }
      before = lastOffset;
    }
    fs.write(file, printTxnIndex(entries), position);
  } finally {
    fs.close(file);
  }
}

/**
 * Gives a segment's index other entries, so that a power cut leaves the old ones or the new ones.
 *
 * @param segment The segment.
 * @param entries All that it is to have, in the order of the markers; without any there is no file.
 * @throws What the file system throws.
 */
export function replaceTransactionIndex(
  segment: Segment,
  entries: readonly AbortedTransaction[],
): void {
  const { fs } = segment.pool;
  const path = transactionIndexPath(segment);
  if (entries.length > 0) return replaceFile(fs, path, printTxnIndex(entries));
  try {
    fs.remove(path);
  } catch (error) {
    if (!hasErrorCode(error, "ENOENT")) throw error;
  }
}

/**
 * Brings a segment's index to disk, waiting on the spot. The folder must be synced as well.
 *
 * @param segment The segment; it may have no index.
 */
export function syncTransactionIndex(segment: Segment): void {
  const { fs } = segment.pool;
  let file: FileHandle;
  try {
    file = fs.open(transactionIndexPath(segment), "write");
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return;
    throw error;
  }
  try {
    fs.syncDataNow(file);
  } finally {
    fs.close(file);
  }
}

/**
 * Takes those of a segment's aborted transactions that matter to a reader.
 *
 * @param entries Of one segment's index.
 * @param fetchOffset The first offset that is read.
 * @param upperBound Offsets from there on are not read.
 * @param target Gets the transactions.
 * @returns Whether these are all: if not, later segments may have more.
 */
export function collectAborted(
  entries: readonly AbortedTransaction[],
  fetchOffset: number,
  upperBound: number,
  target: AbortedTransaction[],
): boolean {
  for (const entry of entries) {
    if (entry.lastOffset >= fetchOffset && entry.firstOffset < upperBound) target.push(entry);
    // Whatever is aborted later began at this offset or behind it.
    if (entry.lastStableOffset >= upperBound) return true;
  }
  return false;
}

/**
 * Where a segment's index lies, if it has one.
 *
 * @param segment The segment.
 * @returns The path.
 */
export function transactionIndexPath(segment: Segment): string {
  return joinPath(segment.folder, segmentFileName(segment.baseOffset, "txnindex"));
}

function lastOffsetIn(
  segment: Segment,
  file: FileHandle,
  end: number,
  path: string,
): number {
  const bytes = new Uint8Array(txnEntryBytes);
  segment.pool.fs.read(file, bytes, end - txnEntryBytes);
  return parseTxnIndex(bytes, path)[0]!.lastOffset;
}

function wholeBytes(sizeBytes: number): number {
  return sizeBytes - sizeBytes % txnEntryBytes;
}
