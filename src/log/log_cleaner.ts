/**
 * Compacts a log: keeps the last record of each key (src/FORMAT.md, section 6.9; Kafka's
 * `LogCleaner`).
 *
 * A compaction goes through the dirty part of a log once to learn where each key stands last, and
 * then through the whole log from its start, copying what stays. Segments that have become small
 * are made one. Each group of segments is swapped in as soon as it is complete, so a compaction that
 * is broken off has done some of its work and no harm: the next one begins with the same dirty part.
 *
 * It works in steps of 64 KB and waits for the next turn of the event loop in between. What is
 * appended meanwhile is none of its business: it cleans sealed segments alone.
 */

import { batchBytesMax, segmentBytesMax } from "../limits.ts";
import { positionForOffset } from "../segment/segment_load.ts";
import type { Segment } from "../segment/segment.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { RecordView } from "../record/record_reader.ts";
import { forEachRecord, keyOf } from "../record/record_reader.ts";
import type { OffsetMap, OffsetMapLimits } from "./compaction_offset_map.ts";
import { offsetMap, putOffset } from "./compaction_offset_map.ts";
import type { CompactionPass } from "./compaction_pass.ts";
import { compactBatch, compactionPass } from "./compaction_pass.ts";
import { groupedSegment, groupSegments } from "./compaction_range.ts";
import type { CompactionTurns } from "./compaction_scan.ts";
import { scanSegment } from "./compaction_scan.ts";
import type { CleanedSegment } from "./compaction_segment.ts";
import {
  createCleaned,
  dropCleaned,
  finishCleaned,
  removeUnfinished,
  syncCleaned,
  writeCleaned,
} from "./compaction_segment.ts";
import { swapIn } from "./compaction_swap.ts";
import type { AbortedBatches } from "./compaction_transactions.ts";
import { abortedBatches, findAborted, isAborted } from "./compaction_transactions.ts";
import type { Log } from "./log.ts";
import { checkUsable } from "./log.ts";
import { syncTransactionIndexes } from "./transaction_indexes.ts";

/** What to clean of a log, and how. */
export interface LogCleaning {
  readonly firstDirtyOffset: number;
  /** As `cleanableRange` has it. */
  readonly endOffset: number;
  /** In milliseconds since the epoch. */
  readonly now: number;
  readonly deleteRetentionMs: number;
  /** Random: nobody who chooses keys must know it. */
  readonly seed: bigint;
  /** Waits for the next turn of the event loop; throws if the compaction is to end. */
  readonly nextTurn: () => Promise<void>;
  /** Called after every step. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** How many keys fit into one compaction. */
  readonly mapLimits?: OffsetMapLimits | undefined;
  /** How large a segment may become; as large as any unless given. */
  readonly segmentBytesMax?: number;
}

/** What a compaction did. */
export interface LogCleaned {
  /** Where the log is dirty from now on. */
  readonly firstDirtyOffset: number;
  /** Whether it came to its end; if not, retention has taken away what it worked on. */
  readonly isComplete: boolean;
  readonly readBytes: number;
  readonly keptBytes: number;
  readonly readRecords: number;
  readonly keptRecords: number;
  /** Of those that went because they have no key. */
  readonly keylessRecords: number;
  readonly readSegments: number;
  readonly keptSegments: number;
}

/** What was learned of the keys of the dirty part. */
interface LearnedKeys {
  readonly map: OffsetMap;
  /** Up to where; before the end if the map is full. */
  endOffset: number;
  readonly aborted: AbortedBatches["transactions"];
}

/**
 * Compacts a log up to an offset, or as far as the keys have room.
 *
 * @param log The log.
 * @param cleaning What to clean, and how. Nobody else compacts the log at the same time.
 * @returns Resolves with what was done, on disk.
 * @throws OttlaError `CORRUPT_MESSAGE` at damage, `DISK_FULL`, `KAFKA_STORAGE_ERROR`,
 * `CODEC_MISSING`, `BUFFER_EXHAUSTED`, `RECORD_LIST_TOO_LARGE`, `HANDLE_CLOSED`; what the file
 * system throws, and what `nextTurn` throws. Every segment is then as it was, or compacted.
 */
export async function cleanLog(log: Log, cleaning: LogCleaning): Promise<LogCleaned> {
  checkUsable(log);
  removeUnfinished(log);
  // An entry that is still to be written would be written to the segment that is to come.
  syncTransactionIndexes(log);
  const sealed = log.segments.slice(0, -1).filter((one) => one.baseOffset < cleaning.endOffset);
  const turns = turnsOf(log, cleaning, sealed);
  const learned = await learnKeys(log, cleaning, sealed, turns);
  if (learned === undefined) return nothingCleaned(cleaning);
  const pass = compactionPass(
    log,
    learned.map,
    learned.endOffset,
    abortedBatches(learned.aborted),
    { segmentBytesMax, ...cleaning },
  );
  const sources = sealed.filter(({ baseOffset }) => baseOffset < learned.endOffset);
  const groups = groupSegments(sources.map(groupedSegment), log.config);
  let keptBytes = 0;
  for (const group of groups) {
    const segments = group.map(({ segment }) => segment);
    const sizeBytes = await cleanGroup(log, pass, segments, turns);
    if (sizeBytes === undefined) return nothingCleaned(cleaning);
    keptBytes += sizeBytes;
  }
  return {
    firstDirtyOffset: learned.endOffset,
    isComplete: true,
    readBytes: sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    keptBytes,
    readRecords: pass.readRecords,
    keptRecords: pass.keptRecords,
    keylessRecords: pass.keylessRecords,
    readSegments: sources.length,
    keptSegments: groups.length,
  };
}

function nothingCleaned({ firstDirtyOffset }: LogCleaning): LogCleaned {
  return {
    firstDirtyOffset,
    isComplete: false,
    readBytes: 0,
    keptBytes: 0,
    readRecords: 0,
    keptRecords: 0,
    keylessRecords: 0,
    readSegments: 0,
    keptSegments: 0,
  };
}

/** Gives others their turns, and makes sure after each that there still is a log to work on. */
function turnsOf(log: Log, cleaning: LogCleaning, sealed: readonly Segment[]): CompactionTurns {
  const { firstDirtyOffset, nextTurn, onProgress } = cleaning;
  let bytesTotal = 0;
  for (const { endOffset, sizeBytes } of sealed) {
    bytesTotal += endOffset > firstDirtyOffset ? 2 * sizeBytes : sizeBytes;
  }
  let bytesDone = 0;
  return {
    onBytes: (count) => void (bytesDone += count),
    async next() {
      onProgress?.(Math.min(bytesDone, bytesTotal), bytesTotal);
      await nextTurn();
      checkUsable(log);
    },
  };
}

/** Learns where each key of the dirty part stands last. */
async function learnKeys(
  log: Log,
  cleaning: LogCleaning,
  sealed: readonly Segment[],
  turns: CompactionTurns,
): Promise<LearnedKeys | undefined> {
  const { firstDirtyOffset, seed, mapLimits } = cleaning;
  const found = await findAborted(log, firstDirtyOffset, cleaning.endOffset, turns);
  if (found === undefined) return undefined;
  const recordsMax = found.endOffset - firstDirtyOffset;
  const learned: LearnedKeys = {
    map: offsetMap(seed, recordsMax, mapLimits),
    endOffset: firstDirtyOffset,
    aborted: found.aborted,
  };
  const aborted = abortedBatches(found.aborted);
  let isFull = false;
  for (const segment of sealed) {
    if (segment.endOffset <= firstDirtyOffset || segment.baseOffset >= found.endOffset) continue;
    const start = segment.baseOffset < firstDirtyOffset
      ? positionForOffset(segment, log.config, firstDirtyOffset)
      : 0;
    const isThere = await scanSegment(log, segment, start, turns, (batch) => {
      if (batch.lastOffset < firstDirtyOffset) return true;
      if (batch.baseOffset >= found.endOffset) return false;
      const isData = !isControlBatch(batch) && !isAborted(aborted, batch);
      isFull = isData && !learnBatch(learned, batch, firstDirtyOffset);
      if (!isFull) learned.endOffset = batch.lastOffset + 1;
      return !isFull;
    });
    if (!isThere) return undefined;
    if (isFull) break;
    // Offsets behind its last batch are not in the log.
    learned.endOffset = Math.min(segment.endOffset, found.endOffset);
  }
  return learned;
}

/** Returns false if there is no room for all keys of the batch; then it has learned the first. */
function learnBatch(learned: LearnedKeys, batch: BatchView, firstOffset: number): boolean {
  let isFull = false;
  forEachRecord(batch, (record: RecordView) => {
    if (isFull || record.offset < firstOffset) return;
    const key = keyOf(record);
    if (key !== null && !putOffset(learned.map, key, record.offset)) isFull = true;
    else learned.endOffset = record.offset + 1;
  });
  return !isFull;
}

/** Makes one segment of several. Returns its size, or undefined if one of them is gone. */
async function cleanGroup(
  log: Log,
  pass: CompactionPass,
  sources: readonly Segment[],
  turns: CompactionTurns,
): Promise<number | undefined> {
  const cleaned = createCleaned(log, sources);
  let isSwapped = false;
  try {
    if (await copyGroup(log, pass, sources, cleaned, turns)) {
      await finishCleaned(log, cleaned, sources.at(-1)!);
      isSwapped = await swapIn(log, sources, cleaned, turns);
    }
  } finally {
    if (!isSwapped) dropCleaned(log, cleaned);
  }
  return isSwapped ? cleaned.segment.sizeBytes : undefined;
}

/** Copies what stays of a group. Returns false if one of its segments is gone. */
async function copyGroup(
  log: Log,
  pass: CompactionPass,
  sources: readonly Segment[],
  cleaned: CleanedSegment,
  turns: CompactionTurns,
): Promise<boolean> {
  const last = sources.findLast(({ sizeBytes }) => sizeBytes > 0);
  // How much batches may gain, so that what is left of all of them fits into one segment.
  let spareBytes = pass.segmentBytesMax -
    sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const source of sources) {
    const isThere = await scanSegment(log, source, 0, turnsWithSync(turns, cleaned), (
      batch,
      isLastOfSegment,
    ) => {
      const isLast = isLastOfSegment && source === last;
      const { target } = cleaned;
      const start = target.position;
      const sizeBytesMax = Math.min(batchBytesMax, batch.sizeBytes + spareBytes);
      const aborted = compactBatch(pass, target, batch, isLast, sizeBytesMax);
      spareBytes -= target.position - start - batch.sizeBytes;
      if (aborted !== undefined) cleaned.aborted.push(aborted);
    }, () => writeCleaned(log, cleaned));
    if (!isThere) return false;
  }
  return true;
}

function turnsWithSync(turns: CompactionTurns, cleaned: CleanedSegment): CompactionTurns {
  return {
    onBytes: turns.onBytes,
    async next() {
      await syncCleaned(cleaned);
      await turns.next();
    },
  };
}
