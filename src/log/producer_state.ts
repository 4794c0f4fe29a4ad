/**
 * What a log knows of its producers: what makes a batch that is sent twice be stored once, and what
 * tells where transactions begin and end (src/FORMAT.md, section 6.8).
 *
 * A pure state machine. `checkBatch` says whether a batch may be appended, `noteBatch` says that it
 * was; `replayBatch` is for batches that are in the log already, which nobody judges any more.
 *
 * | batch of a client                                  | verdict                        |
 * | -------------------------------------------------- | ------------------------------ |
 * | one of the last five, by epoch and sequence        | a duplicate: not stored again  |
 * | of an older epoch                                  | `INVALID_PRODUCER_EPOCH`       |
 * | of an unknown producer                             | stored, whatever its sequence  |
 * | of a new epoch, not with sequence 0                | `OUT_OF_ORDER_SEQUENCE_NUMBER` |
 * | not with the sequence behind the last              | `OUT_OF_ORDER_SEQUENCE_NUMBER` |
 * | outside of the transaction that its producer began | `INVALID_TXN_STATE`            |
 * | anything else                                      | stored                         |
 */

import type { ErrorCode } from "../errors.ts";
import { OttlaError } from "../errors.ts";
import type { BatchSource, BatchView } from "../record/batch_view.ts";
import {
  baseSequenceOf,
  incrementSequence,
  isControlBatch,
  isTransactional,
  lastSequenceOf,
  producerEpochOf,
  producerIdOf,
} from "../record/batch_view.ts";
import type { EndTransactionMarker } from "../record/control_record.ts";
import { endTransactionMarkerOf } from "../record/control_record.ts";
import { forEachRecord } from "../record/record_reader.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";

/** How many batches of a producer are known, to tell a duplicate by; what may be in flight. */
const batchesKnownMax = 5;
/** A producer that appended nothing for so long, and has no transaction open, is forgotten. */
export const producerIdExpirationMs = 86_400_000;
/** How many producers a log knows; for one more, those are forgotten that are idle for longest. */
export const producersMax = 100_000;
/** How many are forgotten at once then, since finding them takes a look at all. */
const forgottenCountMax = 1_000;

/** A batch as its header has it: what the rules are about. */
export interface ProducedHeader {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** -1 in a control batch. */
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
  readonly maxTimestamp: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  /** What a control batch says, if it ends a transaction. */
  readonly marker: EndTransactionMarker | undefined;
}

/** A batch that is in the log, to tell a duplicate by. */
export interface SequencedBatch {
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
  readonly maxTimestamp: number;
}

/** What is known of one producer. */
export interface ProducerState {
  readonly producerId: number;
  epoch: number;
  /** The last ones of its epoch, in order; `batchesKnownMax` at most. */
  readonly batches: SequencedBatch[];
  /** Of the last marker, or -1. */
  coordinatorEpoch: number;
  /** Of its last batch or marker: the largest of that batch, not the time of appending. */
  lastTimestamp: number;
  /** That, or when it last appended while the log was open, whichever is later. */
  lastUsedMs: number;
  /** Where its open transaction begins, or -1. */
  currentTransactionFirstOffset: number;
}

/** A transaction that has ended. */
export interface EndedTransaction {
  readonly firstOffset: number;
  /** Of its marker. */
  readonly lastOffset: number;
}

/** What a log knows of its producers. */
export interface ProducerStates {
  readonly source: BatchSource;
  readonly byId: Map<number, ProducerState>;
  /** First offsets of the open transactions by producer, the earliest first. */
  readonly open: Map<number, number>;
  /** Transactions that have ended, until readers can see their markers; the earliest first. */
  readonly ended: EndedTransaction[];
}

/**
 * The states of a log that has seen no producer.
 *
 * @param source The topic and partition, for messages.
 * @returns The states.
 */
export function producerStates(source: BatchSource): ProducerStates {
  return { source, byId: new Map(), open: new Map(), ended: [] };
}

/**
 * What the rules need to know of a batch.
 *
 * @param batch A batch of a producer.
 * @returns Its header.
 * @throws OttlaError `INVALID_RECORD` if it is a control batch whose record is malformed.
 */
export function headerOf(batch: BatchView): ProducedHeader {
  const isControl = isControlBatch(batch);
  let marker: EndTransactionMarker | undefined;
  if (isControl) forEachRecord(batch, (record) => void (marker ??= endTransactionMarkerOf(record)));
  return {
    producerId: producerIdOf(batch),
    producerEpoch: producerEpochOf(batch),
    baseSequence: baseSequenceOf(batch),
    lastSequence: lastSequenceOf(batch),
    baseOffset: batch.baseOffset,
    lastOffset: batch.lastOffset,
    maxTimestamp: batch.maxTimestamp,
    isTransactional: isTransactional(batch),
    isControl,
    marker,
  };
}

/**
 * Judges a batch that a client wants to append. Nothing is changed.
 *
 * @param states What is known.
 * @param header Of the batch; its offsets do not count.
 * @param origin A coordinator's own batches are held to no sequence, and are never duplicates.
 * @returns The original if the batch is a duplicate, undefined if it is to be appended.
 * @throws OttlaError `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER`, `INVALID_TXN_STATE`,
 * `TRANSACTION_COORDINATOR_FENCED`, or `BUFFER_EXHAUSTED` if there are `producersMax` producers and
 * all of them have transactions open.
 */
export function checkBatch(
  states: ProducerStates,
  header: ProducedHeader,
  origin: "client" | "coordinator" = "client",
): SequencedBatch | undefined {
  const state = states.byId.get(header.producerId);
  if (state === undefined) {
    if (states.open.size >= producersMax) {
      throw fault("BUFFER_EXHAUSTED", states, header, `${producersMax} transactions are open`);
    }
    return undefined;
  }
  const isSequenced = origin === "client" && !header.isControl;
  if (isSequenced) {
    const original = findDuplicate(state, header);
    if (original !== undefined) return original;
  }
  if (header.producerEpoch < state.epoch) {
    const reason = `its epoch is ${header.producerEpoch}, the producer has epoch ${state.epoch}`;
    throw fault("INVALID_PRODUCER_EPOCH", states, header, reason);
  }
  if (header.isControl) checkMarker(states, state, header);
  else checkData(states, state, header, isSequenced);
  return undefined;
}

/**
 * Takes note of a batch that was appended.
 *
 * @param states What is known.
 * @param header Of the batch, its offsets those of the log.
 * @param now In milliseconds since the epoch.
 * @returns The transaction that the batch aborted, if it is a marker that did.
 */
export function noteBatch(
  states: ProducerStates,
  header: ProducedHeader,
  now: number,
): AbortedTransaction | undefined {
  const state = stateFor(states, header);
  // What another epoch sent can be no duplicate any more.
  if (header.producerEpoch !== state.epoch) state.batches.length = 0;
  state.epoch = header.producerEpoch;
  state.lastTimestamp = header.maxTimestamp;
  state.lastUsedMs = Math.max(header.maxTimestamp, now);
  if (header.isControl) {
    return header.marker === undefined ? undefined : endTransaction(states, state, header);
  }
  noteSequence(state, header);
  if (header.isTransactional && state.currentTransactionFirstOffset < 0) {
    openTransaction(states, state, header.baseOffset);
  }
  return undefined;
}

/**
 * Takes note of a batch that is in the log already, whatever the rules would say of it: a recovery
 * does not argue with what was acknowledged.
 *
 * @param states What is known of the batches before it.
 * @param batch The batch; one without a producer is passed over.
 * @returns The transaction that the batch aborted, if it is a marker that did.
 */
export function replayBatch(
  states: ProducerStates,
  batch: BatchView,
): AbortedTransaction | undefined {
  if (producerIdOf(batch) < 0) return undefined;
  let header: ProducedHeader;
  try {
    header = headerOf(batch);
  } catch (error) {
    // A control batch that nobody understands ends no transaction.
    if (error instanceof OttlaError) return undefined;
    throw error;
  }
  return noteBatch(states, header, header.maxTimestamp);
}

/**
 * The first offset of which it is open whether it was committed.
 *
 * @param states What is known.
 * @param highWatermark A transaction counts as ended where its marker is below; Infinity if nothing
 * is given.
 * @returns The offset, or undefined if there is none.
 */
export function firstUnstableOffset(
  states: ProducerStates,
  highWatermark: number = Number.POSITIVE_INFINITY,
): number | undefined {
  let first = firstOpenOffset(states);
  for (const { firstOffset, lastOffset } of states.ended) {
    if (lastOffset < highWatermark) continue;
    if (first === undefined || firstOffset < first) first = firstOffset;
  }
  return first;
}

/**
 * Forgets the ended transactions whose markers can be seen.
 *
 * @param states What is known.
 * @param highWatermark Readers see what is below.
 */
export function forgetEnded(states: ProducerStates, highWatermark: number): void {
  const { ended } = states;
  // They ended in the order of their markers.
  let count = 0;
  while (count < ended.length && ended[count]!.lastOffset < highWatermark) count++;
  if (count > 0) ended.splice(0, count);
}

/**
 * Forgets producers that appended nothing for `producerIdExpirationMs` and have no transaction open.
 *
 * @param states What is known.
 * @param now In milliseconds since the epoch.
 * @returns How many were forgotten.
 */
export function expireProducers(states: ProducerStates, now: number): number {
  let count = 0;
  for (const [producerId, state] of states.byId) {
    if (state.currentTransactionFirstOffset >= 0) continue;
    if (now - state.lastUsedMs < producerIdExpirationMs) continue;
    states.byId.delete(producerId);
    count++;
  }
  return count;
}

/**
 * Gives a producer back that was known before.
 *
 * @param states What is known; not this producer.
 * @param state What is known of it. Those with open transactions must come in the order of these.
 */
export function restoreProducer(states: ProducerStates, state: ProducerState): void {
  states.byId.set(state.producerId, state);
  if (state.currentTransactionFirstOffset >= 0) {
    states.open.set(state.producerId, state.currentTransactionFirstOffset);
  }
}

function firstOpenOffset(states: ProducerStates): number | undefined {
  for (const offset of states.open.values()) return offset;
  return undefined;
}

function findDuplicate(state: ProducerState, header: ProducedHeader): SequencedBatch | undefined {
  if (header.producerEpoch !== state.epoch) return undefined;
  const { baseSequence, lastSequence } = header;
  for (const batch of state.batches) {
    if (batch.baseSequence === baseSequence && batch.lastSequence === lastSequence) return batch;
  }
  return undefined;
}

function checkMarker(states: ProducerStates, state: ProducerState, header: ProducedHeader): void {
  const { marker } = header;
  if (marker === undefined || marker.coordinatorEpoch >= state.coordinatorEpoch) return;
  const reason = `its coordinator has epoch ${marker.coordinatorEpoch}, one of epoch ` +
    `${state.coordinatorEpoch} took over`;
  throw fault("TRANSACTION_COORDINATOR_FENCED", states, header, reason);
}

function checkData(
  states: ProducerStates,
  state: ProducerState,
  header: ProducedHeader,
  isSequenced: boolean,
): void {
  if (isSequenced) {
    // After a marker and in a new epoch there is no last one: then the first is 0.
    const last = header.producerEpoch === state.epoch ? state.batches.at(-1) : undefined;
    const wanted = last === undefined ? 0 : incrementSequence(last.lastSequence, 1);
    if (header.baseSequence !== wanted) {
      const reason = `it begins with sequence number ${header.baseSequence} in epoch ` +
        `${header.producerEpoch}, ${wanted} was expected`;
      throw fault("OUT_OF_ORDER_SEQUENCE_NUMBER", states, header, reason);
    }
  }
  if (state.currentTransactionFirstOffset < 0 || header.isTransactional) return;
  const reason = `it is in no transaction, and one is open since offset ` +
    `${state.currentTransactionFirstOffset}`;
  throw fault("INVALID_TXN_STATE", states, header, reason);
}

function stateFor(states: ProducerStates, header: ProducedHeader): ProducerState {
  const { producerId, producerEpoch } = header;
  const known = states.byId.get(producerId);
  if (known !== undefined) return known;
  if (states.byId.size >= producersMax) forgetIdle(states);
  const state: ProducerState = {
    producerId,
    epoch: producerEpoch,
    batches: [],
    coordinatorEpoch: -1,
    lastTimestamp: header.maxTimestamp,
    lastUsedMs: header.maxTimestamp,
    currentTransactionFirstOffset: -1,
  };
  states.byId.set(producerId, state);
  return state;
}

function forgetIdle({ byId }: ProducerStates): void {
  const idle = [...byId.values()].filter((state) => state.currentTransactionFirstOffset < 0);
  idle.sort((a, b) => a.lastUsedMs - b.lastUsedMs);
  for (const { producerId } of idle.slice(0, forgottenCountMax)) byId.delete(producerId);
}

function noteSequence(state: ProducerState, header: ProducedHeader): void {
  const { batches } = state;
  if (batches.length === batchesKnownMax) batches.shift();
  batches.push({
    baseSequence: header.baseSequence,
    lastSequence: header.lastSequence,
    baseOffset: header.baseOffset,
    lastOffset: header.lastOffset,
    maxTimestamp: header.maxTimestamp,
  });
}

function openTransaction(states: ProducerStates, state: ProducerState, firstOffset: number): void {
  state.currentTransactionFirstOffset = firstOffset;
  states.open.set(state.producerId, firstOffset);
}

function endTransaction(
  states: ProducerStates,
  state: ProducerState,
  header: ProducedHeader,
): AbortedTransaction | undefined {
  const marker = header.marker!;
  const { producerId } = state;
  const firstOffset = state.currentTransactionFirstOffset;
  const { lastOffset } = header;
  state.coordinatorEpoch = marker.coordinatorEpoch;
  if (firstOffset < 0) return undefined;
  state.currentTransactionFirstOffset = -1;
  states.open.delete(producerId);
  states.ended.push({ firstOffset, lastOffset });
  if (marker.type === "commit") return undefined;
  const lastStableOffset = firstOpenOffset(states) ?? lastOffset + 1;
  return { version: 0, producerId, firstOffset, lastOffset, lastStableOffset };
}

function fault(
  code: ErrorCode,
  states: ProducerStates,
  header: ProducedHeader,
  reason: string,
): OttlaError {
  const { topic, partition } = states.source;
  const { producerId, producerEpoch, baseSequence } = header;
  return new OttlaError(
    code,
    `Cannot append a batch of producer ${producerId} to ${topic}-${partition}: ${reason}`,
    { details: { topic, partition, producerId, producerEpoch, baseSequence } },
  );
}
