/**
 * What a compaction knows of transactions: which of them were aborted, and which markers have
 * nothing left to say (Kafka's `CleanedTransactionMetadata`).
 *
 * Kafka asks its transaction index which transactions were aborted. An index that had lost an entry
 * would make a compaction keep what was aborted and throw away the committed value before it; so
 * here the markers in the log are asked, once, before anything is decided. Logs without producers
 * are spared that.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import { attribute } from "../record/batch_layout.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, producerIdOf } from "../record/batch_view.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import type { CompactionTurns } from "./compaction_scan.ts";
import { stepBytes } from "./compaction_scan.ts";
import type { Log } from "./log.ts";
import { nameOfLog } from "./log_errors.ts";
import { logCursor, nextBatch, readableEnd } from "./log_reader.ts";
import type { ProducerStates } from "./producer_state.ts";
import { firstUnstableOffset, forgetEnded, producerStates, replayBatch } from "./producer_state.ts";

/** The aborted transactions of a part of a log, while somebody goes through its batches. */
export interface AbortedBatches {
  /** In the order of their first offsets. */
  readonly transactions: readonly AbortedTransaction[];
  /** How many of them begin before the last batch that was asked for. */
  seenCount: number;
  /** Of those, the last offset of each producer's last one. */
  readonly ends: Map<number, number>;
}

/** What was found out about the transactions of a part of a log. */
export interface FoundTransactions {
  /** Up to where; less than was asked for if there are very many. */
  readonly endOffset: number;
  readonly aborted: readonly AbortedTransaction[];
}

/** With more, a compaction ends earlier and the next one goes on. */
export const abortedMax = 250_000;
const transactionalOrControl = attribute.transactional | attribute.control;

/**
 * Finds the aborted transactions that have batches in a part of a log.
 *
 * @param log The log.
 * @param startOffset Where the part begins.
 * @param endOffset Where it ends; not behind the last stable offset.
 * @param turns Gives others their turns.
 * @param countMax How many are kept in mind.
 * @returns The transactions, or undefined if retention has taken the part away meanwhile.
 * @throws OttlaError `CORRUPT_MESSAGE` at damage, `BUFFER_EXHAUSTED` if there are too many at once.
 */
export async function findAborted(
  log: Log,
  startOffset: number,
  endOffset: number,
  turns: CompactionTurns,
  countMax: number = abortedMax,
): Promise<FoundTransactions | undefined> {
  const aborted: AbortedTransaction[] = [];
  if (!hasProducers(log)) return { endOffset, aborted };
  const states = producerStates(log.source);
  try {
    const cursor = logCursor(log, startOffset, { readBytes: stepBytes, reusesBuffer: true });
    // What is decided on is verified where it is decided.
    cursor.verifiesData = false;
    const readEnd = readableEnd(log);
    for (let bytesLeft = stepBytes;;) {
      const batch = nextBatch(cursor, readEnd);
      const isOver = batch === undefined ||
        (batch.baseOffset >= endOffset && !isOpenBefore(states, endOffset));
      if (isOver) break;
      const ended = noteTransaction(states, batch);
      if (ended !== undefined && ended.firstOffset < endOffset) aborted.push(ended);
      if (aborted.length >= countMax) {
        const decided = firstUnstableOffset(states) ?? batch.lastOffset + 1;
        if (decided <= startOffset) throw tooManyError(log, startOffset, countMax);
        return { endOffset: Math.min(endOffset, decided), aborted: inOrder(aborted) };
      }
      bytesLeft -= batch.sizeBytes;
      if (bytesLeft > 0) continue;
      bytesLeft = stepBytes;
      await turns.next();
    }
  } catch (error) {
    if (isOttlaError(error, "OFFSET_OUT_OF_RANGE")) return undefined;
    throw error;
  }
  return { endOffset, aborted: inOrder(aborted) };
}

/**
 * Begins to go through the batches that the transactions are about.
 *
 * @param transactions In the order of their first offsets.
 * @returns What `isAborted` asks.
 */
export function abortedBatches(transactions: readonly AbortedTransaction[]): AbortedBatches {
  return { transactions, seenCount: 0, ends: new Map() };
}

/**
 * Whether a batch belongs to a transaction that was aborted.
 *
 * @param batches The transactions.
 * @param batch The batch; not before those that were asked for until now.
 * @returns True if so.
 */
export function isAborted(batches: AbortedBatches, batch: BatchView): boolean {
  const { transactions, ends } = batches;
  while (batches.seenCount < transactions.length) {
    const { producerId, firstOffset, lastOffset } = transactions[batches.seenCount]!;
    if (firstOffset > batch.lastOffset) break;
    ends.set(producerId, lastOffset);
    batches.seenCount++;
  }
  const isData = (batch.attributes & transactionalOrControl) === attribute.transactional;
  if (!isData || ends.size === 0) return false;
  return (ends.get(producerIdOf(batch)) ?? -1) >= batch.baseOffset;
}

/**
 * Takes note of a batch of a transaction, or of a marker.
 *
 * @param states Knows where transactions are open.
 * @param batch Any batch; one that has nothing to do with transactions is passed over.
 * @returns The transaction that it aborted, if it is a marker that aborted one with batches.
 */
export function noteTransaction(
  states: ProducerStates,
  batch: BatchView,
): AbortedTransaction | undefined {
  if ((batch.attributes & transactionalOrControl) === 0) return undefined;
  // An empty one says nothing any more.
  if (isControlBatch(batch) && batch.recordCount === 0) return undefined;
  const ended = replayBatch(states, batch);
  forgetEnded(states, Infinity);
  return ended;
}

/** A log without them has neither snapshots nor anything in mind. */
function hasProducers({ snapshots, producers }: Log): boolean {
  return snapshots.offsets.length > 0 || producers.byId.size > 0;
}

function isOpenBefore(states: ProducerStates, offset: number): boolean {
  return (firstUnstableOffset(states) ?? offset) < offset;
}

function inOrder(aborted: AbortedTransaction[]): AbortedTransaction[] {
  return aborted.sort((a, b) => a.firstOffset - b.firstOffset);
}

function tooManyError(log: Log, startOffset: number, countMax: number): OttlaError {
  return new OttlaError(
    "BUFFER_EXHAUSTED",
    `Cannot compact ${nameOfLog(log)}: while the transaction from offset ${startOffset} on was ` +
      `open, ${countMax} others were aborted`,
    { details: { ...log.source, startOffset } },
  );
}
