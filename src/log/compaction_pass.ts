/**
 * What stays of each batch and each record while a compaction goes through a log, from its first
 * segment to the last one that it cleans (src/FORMAT.md, section 6.9; Kafka's `Cleaner`).
 *
 * | record                                            | stays                              |
 * | ------------------------------------------------- | ---------------------------------- |
 * | behind what the map of keys has seen              | yes                                |
 * | without a key                                     | no                                 |
 * | whose key comes again                             | no                                 |
 * | with a value                                      | yes                                |
 * | a tombstone                                       | until its batch's horizon has come |
 * | of an aborted transaction                         | no                                 |
 * | a marker of a transaction with batches before it  | yes                                |
 * | a marker without                                  | until its batch's horizon has come |
 *
 * A batch of which nothing stays goes too, but for its header where that is the last of its
 * producer, or the last of what becomes one segment.
 */

import type { ByteWriter } from "../bytes/byte_writer.ts";
import { OttlaError } from "../errors.ts";
import { filterBatch } from "../record/batch_filter.ts";
import type { BatchFilter } from "../record/batch_filter.ts";
import type { BatchView } from "../record/batch_view.ts";
import {
  deleteHorizonOf,
  isControlBatch,
  producerEpochOf,
  producerIdOf,
} from "../record/batch_view.ts";
import type { RecordView } from "../record/record_reader.ts";
import { keyOf } from "../record/record_reader.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import type { OffsetMap } from "./compaction_offset_map.ts";
import { lastOffsetOfKey } from "./compaction_offset_map.ts";
import type { AbortedBatches } from "./compaction_transactions.ts";
import { isAborted, noteTransaction } from "./compaction_transactions.ts";
import type { Log } from "./log.ts";
import { headerOf, producerStates } from "./producer_state.ts";
import type { ProducerStates } from "./producer_state.ts";

/** One way through a log. */
export interface CompactionPass {
  readonly log: Log;
  /** Where the last record of each key stands, up to `mapEndOffset`. */
  readonly map: OffsetMap;
  readonly mapEndOffset: number;
  readonly aborted: AbortedBatches;
  /** Which transactions have batches before the next one. */
  readonly states: ProducerStates;
  /** When it takes place, in milliseconds since the epoch. */
  readonly now: number;
  readonly deleteRetentionMs: number;
  /** How large what becomes one segment may become. */
  readonly segmentBytesMax: number;
  readRecords: number;
  keptRecords: number;
  /** Of those that went because they have no key. */
  keylessRecords: number;
}

/**
 * Begins to go through a log.
 *
 * @param log The log.
 * @param map Where the last record of each key stands.
 * @param mapEndOffset Up to where the map was filled.
 * @param aborted The aborted transactions of what was not cleaned before.
 * @param settings When it takes place, how long tombstones stay, and how large a segment may become.
 * @returns The pass.
 */
export function compactionPass(
  log: Log,
  map: OffsetMap,
  mapEndOffset: number,
  aborted: AbortedBatches,
  settings: Pick<CompactionPass, "now" | "deleteRetentionMs" | "segmentBytesMax">,
): CompactionPass {
  return {
    log,
    map,
    mapEndOffset,
    aborted,
    states: producerStates(log.source),
    now: settings.now,
    deleteRetentionMs: settings.deleteRetentionMs,
    segmentBytesMax: settings.segmentBytesMax,
    readRecords: 0,
    keptRecords: 0,
    keylessRecords: 0,
  };
}

/**
 * Writes what stays of a batch.
 *
 * @param pass The pass, which has come to the batch.
 * @param target Where to.
 * @param batch The batch.
 * @param isLast Whether it is the last one of what becomes one segment.
 * @param sizeBytesMax How large it may become.
 * @returns The aborted transaction that its marker, which stays, is of.
 * @throws As `filterBatch`.
 */
export function compactBatch(
  pass: CompactionPass,
  target: ByteWriter,
  batch: BatchView,
  isLast: boolean,
  sizeBytesMax: number,
): AbortedTransaction | undefined {
  const horizon = deleteHorizonOf(batch);
  const isControl = isControlBatch(batch);
  const isDiscarded = isControl ? isEmptied(pass, batch) : isAborted(pass.aborted, batch);
  const ended = noteTransaction(pass.states, batch);
  const isDropped = isDiscarded && (!isControl || (horizon !== undefined && horizon <= pass.now));
  const retainsEmpty = isLast || isLastOfProducer(pass.log, batch);
  pass.readRecords += batch.recordCount;
  if (isDropped && !retainsEmpty) return ended;
  // What lies before a tombstone that the map has not seen is still there: its time has not begun.
  const isLearned = batch.lastOffset < pass.mapEndOffset;
  const filter: BatchFilter = {
    keeps: (record) => !isDropped && (isControl || isKept(pass, record, horizon)),
    retainsEmpty,
    needsHorizon: isControl && isDiscarded,
    deleteHorizonMs: isLearned ? pass.now + pass.deleteRetentionMs : undefined,
    sizeBytesMax,
  };
  pass.keptRecords += filterBatch(target, batch, filter);
  return ended;
}

function isKept(pass: CompactionPass, record: RecordView, horizon: number | undefined): boolean {
  if (record.offset >= pass.mapEndOffset) return true;
  const key = keyOf(record);
  if (key === null) {
    pass.keylessRecords++;
    return false;
  }
  if (record.offset < lastOffsetOfKey(pass.map, key)) return false;
  return record.valueStart >= 0 || horizon === undefined || pass.now < horizon;
}

/** Whether a control batch ends a transaction of which no batch is left. */
function isEmptied(pass: CompactionPass, batch: BatchView): boolean {
  if (batch.recordCount === 0) return true;
  try {
    return headerOf(batch).marker !== undefined && !pass.states.open.has(producerIdOf(batch));
  } catch (error) {
    // What nobody understands stays.
    if (error instanceof OttlaError) return false;
    throw error;
  }
}

/**
 * Whether a producer that is still known is known by this batch: by its last data, or else by the
 * marker that fences its epoch.
 */
function isLastOfProducer({ producers }: Log, batch: BatchView): boolean {
  const producerId = producerIdOf(batch);
  const state = producerId < 0 ? undefined : producers.byId.get(producerId);
  if (state === undefined) return false;
  const last = state.batches.at(-1);
  if (last !== undefined) return batch.lastOffset === last.lastOffset;
  return isControlBatch(batch) && producerEpochOf(batch) === state.epoch;
}
