/**
 * Finds out what was known of a log's producers when it was last open: from the newest snapshot
 * that can be read, and from the batches behind it.
 *
 * | opened after     | snapshots in the folder | what is done                                       |
 * | ---------------- | ----------------------- | -------------------------------------------------- |
 * | a clean shutdown | none                    | nothing: there were no producers                   |
 * | a clean shutdown | one at the log's end    | it is loaded                                       |
 * | a clean shutdown | older ones              | the newest is loaded, the batches behind it read   |
 * | a crash          | none                    | the segments that were recovered are read, if any  |
 * |                  |                         | of their batches has a producer                    |
 * | a crash          | some                    | the newest not beyond the recovery point is        |
 * |                  |                         | loaded, the batches behind it read                 |
 * | a crash          | only newer ones         | as if there were none: they were the log's first   |
 *
 * A snapshot that cannot be read is passed over, and the next older one takes its place; where there
 * is none, the whole log is read. Snapshots behind the log's end speak of batches that a crash took.
 */

import { OttlaError } from "../errors.ts";
import { joinPath } from "../platform/files.ts";
import { pinFile, unpinFile } from "../platform/file_pool.ts";
import type { Segment } from "../segment/segment.ts";
import { scanBatches } from "../segment/batch_scan.ts";
import { findGoodBatch } from "../segment/segment_damage.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import { positionForOffset } from "../segment/segment_load.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import type { Log } from "./log.ts";
import {
  dropSnapshots,
  forgetSnapshot,
  loadSnapshot,
  sweepSnapshots,
  syncSnapshotsNow,
  takeSnapshotIfUsed,
  trustedOffset,
  writeSnapshot,
  writeSnapshotAgain,
} from "./producer_snapshots.ts";
import type { ProducerStates } from "./producer_state.ts";
import { forgetEnded, producerStates, replayBatch } from "./producer_state.ts";

/** What the opening of a log did before its producers are looked at. */
export interface LogOpening {
  /** The first offset of the first segment that was recovered; Infinity if none was. */
  readonly recoveredOffset: number;
  /** Whether a batch that was recovered has a producer. */
  readonly hasProducers: boolean;
  /** Whether all there was lay below the log's start. */
  readonly isReset: boolean;
}

/** What was read of a log to know its producers. */
export interface Replayed {
  /** From where on. */
  readonly startOffset: number;
  /** What was aborted there, in the order of the markers. */
  readonly aborted: readonly AbortedTransaction[];
}

/**
 * Sets the states of a log that was just opened. Nothing is read of a log that was cleanly closed.
 *
 * @param log The log, its states empty.
 * @param opening What its opening did.
 * @returns What was read, if anything had to be.
 * @throws What the file system throws.
 */
export function loadProducers(log: Log, opening: LogOpening): Replayed | undefined {
  const { snapshots, endOffset } = log;
  removeBehindEnd(log);
  if (opening.isReset) dropSnapshots(log, () => true);
  const isRecovered = opening.recoveredOffset !== Infinity;
  if (snapshots.offsets.length === 0 && !opening.hasProducers) {
    return isRecovered ? { startOffset: opening.recoveredOffset, aborted: [] } : undefined;
  }
  const limit = trustedOffset(log);
  const bad = new Set<number>();
  const loaded = snapshots.offsets.findLast((offset) => {
    if (offset > limit) return false;
    if (loadSnapshot(log, offset)) return true;
    bad.add(offset);
    return false;
  });
  const firstOffset = bad.size > 0 ? log.segments[0]!.baseOffset : opening.recoveredOffset;
  const startOffset = loaded ?? firstOffset;
  if (loaded !== undefined && snapshots.unsynced.includes(loaded)) writeSnapshotAgain(log, loaded);
  const taken = new Set([endOffset]);
  const aborted = replayFrom(log, startOffset, taken);
  // One that was not believed is not looked at again.
  if (loaded !== endOffset) forgetSnapshot(log, endOffset);
  // The only ones must stay until a recovery point behind them is recorded: if there was a crash
  // before, nothing else would tell that there are producers.
  if (loaded !== undefined) dropSnapshots(log, (offset) => bad.has(offset) && !taken.has(offset));
  takeSnapshotIfUsed(log);
  // Those beyond may speak of batches that the crash took.
  if (!snapshots.isDue) dropSnapshots(log, (offset) => offset > limit && !taken.has(offset));
  syncSnapshotsNow(log);
  sweepSnapshots(log);
  return isRecovered || startOffset < endOffset ? { startOffset, aborted } : undefined;
}

/** One of these that stayed would be taken for true when the log has grown beyond it. */
function removeBehindEnd(log: Log): void {
  const { snapshots, endOffset, folder } = log;
  const { fs } = log.pool;
  const behind = snapshots.offsets.filter((offset) => offset > endOffset);
  if (behind.length === 0) return;
  for (const offset of behind) fs.remove(joinPath(folder, segmentFileName(offset, "snapshot")));
  fs.syncFolder(folder);
  snapshots.offsets.length -= behind.length;
  snapshots.unsynced = snapshots.unsynced.filter((offset) => offset <= endOffset);
}

/** Replays the log from an offset on, and takes a snapshot wherever a segment begins. */
function replayFrom(log: Log, offset: number, taken: Set<number>): AbortedTransaction[] {
  const aborted: AbortedTransaction[] = [];
  if (offset >= log.endOffset) return aborted;
  for (const segment of log.segments) {
    const { baseOffset } = segment;
    const isBetween = baseOffset > offset && baseOffset < log.endOffset;
    if (isBetween && tryWriteSnapshot(log, baseOffset)) taken.add(baseOffset);
    if (segment.endOffset > offset) replaySegment(log, segment, offset, log.producers, aborted);
  }
  // Whatever is in the log now can be seen.
  forgetEnded(log.producers, Infinity);
  return aborted;
}

/** Returns whether there is one now. */
function tryWriteSnapshot(log: Log, offset: number): boolean {
  if (log.producers.byId.size === 0) return false;
  try {
    writeSnapshot(log, offset);
    return true;
  } catch (error) {
    // On a full disk a log can be opened all the same.
    if (!(error instanceof OttlaError)) throw error;
    return false;
  }
}

/**
 * Makes sure that a snapshot which a recovery trusts knows of the producers whose batches go with
 * the segments that were taken out of the log. Each roll takes one; but that may have failed, or
 * have waited for what was accepted to be written, and then lies beyond the recovery point.
 *
 * @param log The log, its start recorded.
 * @throws As `takeSnapshot`, and what the file system throws.
 */
export function rememberRetired(log: Log): void {
  const { snapshots: { offsets }, producers, doomed, source } = log;
  if (offsets.length === 0 && producers.byId.size === 0) return;
  const { baseOffset } = log.segments[0]!;
  const limit = trustedOffset(log);
  if (offsets.some((offset) => offset >= baseOffset && offset <= limit)) return;
  const states = producerStates(source);
  const loaded =
    offsets.findLast((offset) => offset < baseOffset && loadSnapshot(log, offset, states)) ?? 0;
  for (const segment of doomed) {
    // What a compaction has replaced is in what took its place.
    const isRetired = segment.asideSuffix === "" && segment.endOffset <= baseOffset;
    if (isRetired && segment.endOffset > loaded) replaySegment(log, segment, loaded, states, []);
  }
  writeSnapshot(log, baseOffset, states);
}

/**
 * Takes note of the batches of a segment, from an offset on; damage is passed over.
 *
 * @param log The log.
 * @param segment One of its segments.
 * @param offset The first offset that counts.
 * @param states What is known of the batches before it.
 * @param aborted Gets the transactions that were aborted there.
 */
export function replaySegment(
  log: Log,
  segment: Segment,
  offset: number,
  states: ProducerStates,
  aborted: AbortedTransaction[],
): void {
  const { pool, source } = log;
  const end = segment.sizeBytes;
  let start = offset > segment.baseOffset ? positionForOffset(segment, log.config, offset) : 0;
  let minOffset = segment.baseOffset;
  const file = pinFile(pool, segment.log);
  try {
    while (start < end) {
      const range = { start, end, verify: true, source };
      const { position, reason } = scanBatches(pool.fs, file, range, (batch) => {
        if (batch.baseOffset < minOffset || batch.lastOffset >= segment.endOffset) return false;
        minOffset = batch.lastOffset + 1;
        if (batch.lastOffset < offset) return true;
        const ended = replayBatch(states, batch);
        if (ended !== undefined) aborted.push(ended);
        return true;
      });
      if (reason === "end") return;
      const offsetMax = segment.endOffset - 1;
      const next = findGoodBatch(segment, file, position, end, minOffset, offsetMax);
      if (next === undefined) return;
      start = next.position;
    }
  } finally {
    unpinFile(segment.log);
  }
}
