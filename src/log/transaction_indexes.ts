/**
 * The transaction indexes of a log: which transactions were aborted, for brokers and for whoever
 * sends batches without looking into them (src/FORMAT.md, section 3.7).
 *
 * An entry is written when the abort marker is, and is on disk before a recovery point beyond the
 * marker is recorded. So after a crash the entries below what was replayed are true, and those
 * above are made anew from the markers that were replayed. What cannot be read, or cannot be
 * written now, is made anew from the log as well, with the next occasion at the latest. Such a file
 * is replaced as a whole: a power cut that took part of it would leave fewer entries below what is
 * replayed, and nothing would tell that some are missing. A log that has never seen an abort has
 * nothing of this in memory but an empty field.
 *
 * Readers in this process do not ask these indexes, but the log itself (`committed_reader.ts`).
 */

import { isOttlaError } from "../errors.ts";
import type { Segment } from "../segment/segment.ts";
import {
  appendTransactionEntries,
  collectAborted,
  readTransactionIndex,
  replaceTransactionIndex,
  syncTransactionIndex,
  transactionIndexPath,
} from "../segment/transaction_index.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import { txnEntryBytes } from "../segment/txn_index_file.ts";
import type { Log } from "./log.ts";
import type { Replayed } from "./producer_replay.ts";
import { replaySegment } from "./producer_replay.ts";
import { loadSnapshot } from "./producer_snapshots.ts";
import { producerStates } from "./producer_state.ts";

/** What is still to be done about the transaction indexes of a log. */
export interface TransactionIndexes {
  /** Entries that are in no file yet, in the order of their markers. */
  unsaved: AbortedTransaction[];
  /** Segments whose files must be made anew. */
  readonly stale: Set<Segment>;
  /** Segments whose files may not be on disk. */
  readonly unsynced: Set<Segment>;
}

/**
 * Takes note of a transaction that was aborted, and writes its entry if the disk takes it now.
 *
 * @param log The log; the marker was appended to it.
 * @param aborted The transaction.
 */
export function noteAborted(log: Log, aborted: AbortedTransaction): void {
  indexesOfLog(log).unsaved.push(aborted);
  trySaveEntries(log);
}

/**
 * Brings all entries to disk whose markers are in the files, waiting on the spot. A log without
 * aborted transactions does nothing.
 *
 * @param log The log.
 * @throws What the file system throws; then the next call tries again.
 */
export function syncTransactionIndexes(log: Log): void {
  const indexes = log.transactionIndexes;
  if (indexes === undefined) return;
  saveEntries(log, indexes);
  for (const segment of indexes.stale) {
    if (segment.isDoomed) indexes.stale.delete(segment);
    else saveStale(indexes, segment, abortedIn(log, segment));
  }
  if (indexes.unsynced.size === 0) return;
  try {
    for (const segment of indexes.unsynced) {
      if (!segment.isDoomed) syncTransactionIndex(segment);
    }
    log.pool.fs.syncFolder(log.folder);
  } catch (error) {
    // Asking again would be answered as if all were well, so the next call writes them anew.
    for (const segment of indexes.unsynced) indexes.stale.add(segment);
    throw error;
  }
  indexes.unsynced.clear();
}

/**
 * As `syncTransactionIndexes`, for someone who can do without.
 *
 * @param log The log.
 * @returns False if the disk does not take them: then no recovery point may move.
 */
export function trySyncTransactionIndexes(log: Log): boolean {
  try {
    syncTransactionIndexes(log);
    return true;
  } catch (error) {
    if (isFileSystemError(error)) return false;
    throw error;
  }
}

/**
 * The aborted transactions that matter to someone who reads a range of offsets, by Kafka's rule.
 *
 * @param log The log.
 * @param fetchOffset The first offset of the range.
 * @param upperBound Exclusive.
 * @returns The transactions, in the order of their markers. Of those that reach into the range none
 * is missing; a few may lie beyond it.
 */
export function abortedTransactions(
  log: Log,
  fetchOffset: number,
  upperBound: number,
): AbortedTransaction[] {
  const { segments, snapshots, producers } = log;
  const found: AbortedTransaction[] = [];
  // There are no producers.
  if (snapshots.offsets.length === 0 && producers.byId.size === 0) return found;
  if (log.transactionIndexes !== undefined) trySaveEntries(log);
  const first = segments.findLastIndex(({ baseOffset }) => baseOffset <= fetchOffset);
  for (const segment of segments.slice(Math.max(0, first))) {
    if (collectAborted(entriesOf(log, segment), fetchOffset, upperBound, found)) return found;
  }
  collectAborted(log.transactionIndexes?.unsaved ?? [], fetchOffset, upperBound, found);
  return found;
}

/**
 * Makes the indexes of a log that was just opened agree with what was replayed of it.
 *
 * @param log The log.
 * @param replayed From where on it was replayed, and what was aborted there.
 * @param indexedBases The base offsets of the segments that have an index.
 */
export function restoreTransactionIndexes(
  log: Log,
  replayed: Replayed,
  indexedBases: ReadonlySet<number>,
): void {
  const { startOffset, aborted } = replayed;
  if (aborted.length === 0 && indexedBases.size === 0) return;
  let next = 0;
  for (const segment of log.segments) {
    const first = next;
    while (next < aborted.length && aborted[next]!.lastOffset < segment.endOffset) next++;
    const isReplayed = segment.endOffset > startOffset || segment === log.segments.at(-1);
    if (!isReplayed || (first === next && !indexedBases.has(segment.baseOffset))) continue;
    const inSegment = aborted.slice(first, next);
    try {
      const isRight = isIndexOf(segment, startOffset, inSegment);
      if (!isRight) {
        const kept = entriesBelow(log, segment, startOffset);
        replaceTransactionIndex(segment, [...kept, ...inSegment]);
      }
      // A file that is as it should be may still be in the page cache only.
      if (!isRight || first < next) indexesOfLog(log).unsynced.add(segment);
    } catch (error) {
      if (!isFileSystemError(error)) throw error;
      // With the next checkpoint; a full disk keeps no log from being opened.
      indexesOfLog(log).stale.add(segment);
    }
  }
}

/** Whether a file has what it must have from an offset on, and nothing else behind its entries. */
function isIndexOf(
  segment: Segment,
  startOffset: number,
  aborted: readonly AbortedTransaction[],
): boolean {
  try {
    const entries = readTransactionIndex(segment);
    const sizeBytes = segment.pool.fs.stat(transactionIndexPath(segment))?.sizeBytes ?? 0;
    const from = entries.findIndex(({ lastOffset }) => lastOffset >= startOffset);
    const tail = from < 0 ? [] : entries.slice(from);
    return sizeBytes === entries.length * txnEntryBytes && tail.length === aborted.length &&
      tail.every((entry, index) => isSame(entry, aborted[index]!));
  } catch (error) {
    if (isUnusable(error) || isFileSystemError(error)) return false;
    throw error;
  }
}

function isSame(a: AbortedTransaction, b: AbortedTransaction): boolean {
  return a.producerId === b.producerId && a.firstOffset === b.firstOffset &&
    a.lastOffset === b.lastOffset && a.lastStableOffset === b.lastStableOffset;
}

/** The entries of a segment below an offset; from its batches where the index cannot be read. */
function entriesBelow(log: Log, segment: Segment, offset: number): AbortedTransaction[] {
  if (offset <= segment.baseOffset) return [];
  let entries;
  try {
    entries = readTransactionIndex(segment);
  } catch (error) {
    if (!isUnusable(error)) throw error;
    entries = abortedIn(log, segment);
  }
  return entries.filter(({ lastOffset }) => lastOffset < offset);
}

function indexesOfLog(log: Log): TransactionIndexes {
  log.transactionIndexes ??= { unsaved: [], stale: new Set(), unsynced: new Set() };
  return log.transactionIndexes;
}

function trySaveEntries(log: Log): void {
  try {
    saveEntries(log, indexesOfLog(log));
  } catch (error) {
    // The log tells all that an index knows, and what is to be saved stays noted.
    if (!isFileSystemError(error)) throw error;
  }
}

/** Writes what can be written: the marker of a batch that was only accepted is in no file yet. */
function saveEntries({ segments }: Log, indexes: TransactionIndexes): void {
  const { unsaved, stale, unsynced } = indexes;
  const { endOffset } = segments.at(-1)!;
  while (unsaved.length > 0 && unsaved[0]!.lastOffset < endOffset) {
    const { lastOffset } = unsaved[0]!;
    const segment = segments.findLast(({ baseOffset }) => baseOffset <= lastOffset);
    // Else retention has taken it. One that is stale gets all of its entries from the log.
    if (segment !== undefined && !stale.has(segment)) {
      try {
        appendTransactionEntries(segment, unsaved.slice(0, 1));
        unsynced.add(segment);
      } catch (error) {
        if (!isUnusable(error)) throw error;
        stale.add(segment);
      }
    }
    unsaved.shift();
  }
}

function saveStale(
  { stale, unsynced }: TransactionIndexes,
  segment: Segment,
  aborted: readonly AbortedTransaction[],
): void {
  replaceTransactionIndex(segment, aborted);
  stale.delete(segment);
  unsynced.add(segment);
}

/** The entries of a segment; from its batches where the index cannot be read. */
function entriesOf(log: Log, segment: Segment): readonly AbortedTransaction[] {
  if (log.transactionIndexes?.stale.has(segment) !== true) {
    try {
      return readTransactionIndex(segment);
    } catch (error) {
      if (!isUnusable(error) && !isFileSystemError(error)) throw error;
    }
  }
  const aborted = abortedIn(log, segment);
  const indexes = indexesOfLog(log);
  indexes.stale.add(segment);
  try {
    saveStale(indexes, segment, aborted);
  } catch (error) {
    if (!isFileSystemError(error)) throw error;
  }
  return aborted;
}

/** Finds the aborted transactions whose markers are in a segment in its batches. */
function abortedIn(log: Log, segment: Segment): AbortedTransaction[] {
  const states = producerStates(log.source);
  const loaded = log.snapshots.offsets.findLast((offset) =>
    offset <= segment.baseOffset && loadSnapshot(log, offset, states)
  );
  const from = loaded ?? log.segments[0]!.baseOffset;
  const aborted: AbortedTransaction[] = [];
  for (const one of log.segments) {
    if (one.baseOffset > segment.baseOffset) break;
    if (one.endOffset <= from) continue;
    aborted.length = 0;
    replaySegment(log, one, from, states, aborted);
  }
  return aborted;
}

/** Whether an error says that a file is not the index that it should be. */
function isUnusable(error: unknown): boolean {
  return error instanceof RangeError || isOttlaError(error, "KAFKA_STORAGE_ERROR");
}

function isFileSystemError(error: unknown): boolean {
  return error instanceof Error && "code" in error && !isOttlaError(error);
}
