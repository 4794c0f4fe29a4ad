/**
 * Opens the log of a partition, and recovers it if it was not closed.
 *
 * After a clean shutdown nothing is read but the end of the last segment. After anything else every
 * batch from the recovery point on is verified:
 *
 * | found behind the last good batch | what is done                                                       |
 * | -------------------------------- | ------------------------------------------------------------------ |
 * | nothing                          | nothing                                                            |
 * | bytes, and a good batch later    | the bytes stay and are a gap; the log goes on behind it            |
 * | bytes, and a later segment       | the bytes stay and are a gap; the log goes on with that segment    |
 * | bytes, and the next segment      | a torn tail, as no offset is missing                               |
 * | bytes, and nothing later         | a torn tail: the bytes are put aside in a file `.torn` and cut off |
 *
 * After a power cut it is not damage that tears a log from the recovery point on, but that some of
 * what was not synced is there and some is not. What lies behind the first hole was never
 * acknowledged at "disk" and would be a log with records missing in the middle. So there the log
 * ends at the first hole, and all behind it is put aside like a torn tail.
 */

import { OttlaError } from "../errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { FilePool } from "../platform/file_pool.ts";
import { closePooledFile, handleOf } from "../platform/file_pool.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode, isDiskFull } from "../platform/file_system.ts";
import { folderOf, joinPath } from "../platform/files.ts";
import { warn } from "../platform/warning.ts";
import type { BatchSource } from "../record/batch_view.ts";
import { emptyIndexes, saveIndexFiles, syncIndexFilesNow } from "../segment/index_file.ts";
import type { Segment } from "../segment/segment.ts";
import { segmentAt, truncateSegment } from "../segment/segment.ts";
import type { Gap } from "../segment/segment_load.ts";
import {
  allowingGaps,
  createSegment,
  openLastSegment,
  openSealedSegment,
  positionForOffset,
  sealSegment,
} from "../segment/segment_load.ts";
import { acceptedBatches } from "./accepted_batches.ts";
import { epochCheckpointName, readEpochCheckpoint } from "./checkpoint_file.ts";
import { groupCommit } from "./group_commit.ts";
import type { EpochEntry } from "./leader_epoch_cache.ts";
import { leaderEpochCache } from "./leader_epoch_cache.ts";
import type { Log, LogConfig } from "./log.ts";
import { advanceHighWatermark, poisonLog } from "./log.ts";
import { settleLogFolder } from "./log_folder.ts";
import { closedError } from "./log_errors.ts";
import type { LogStats } from "./log_stats.ts";
import { countAcknowledged, logStats } from "./log_stats.ts";
import { syncLog } from "./log_sync.ts";
import { loadProducers } from "./producer_replay.ts";
import { producerSnapshots } from "./producer_snapshots.ts";
import { producerStates } from "./producer_state.ts";
import { cutAtHole, cutTail, findHole, setSegmentAside, writeAgain } from "./torn_tail.ts";
import { restoreTransactionIndexes } from "./transaction_indexes.ts";

/** What to open. */
export interface LogPlace {
  readonly pool: FilePool;
  readonly clock: Clock;
  /** The partition's folder, which exists. */
  readonly folder: string;
  readonly source: BatchSource;
  readonly config: LogConfig;
  readonly leaderEpoch: number;
  /** Everything below it is on disk; Infinity after a clean shutdown. */
  readonly recoveryPoint: number;
  /** The first offset that can be read, as it was last recorded. */
  readonly startOffset: number;
  /** Up to where it is recorded to have been on disk, however it was left. */
  readonly reachedOffset?: number | undefined;
  /**
   * Whether a broker that was killed had it open last. Such a log may have producers and no snapshot
   * that says so, so its recovered segments are read from their beginning, as Kafka does.
   */
  readonly wasBrokers?: boolean | undefined;
  /** Whether the machine has stopped since it was last open, so that there may be holes. */
  readonly lostPower?: boolean | undefined;
  /** Counts what the log does; one of its own unless given. */
  readonly stats?: LogStats | undefined;
}

/** A log and what its recovery had to do. */
export interface OpenedLog {
  readonly log: Log;
  /** How many bytes were verified. */
  readonly scannedBytes: number;
  /** How many bytes were cut from a torn end and put aside. */
  readonly tornBytes: number;
}

/**
 * Opens the log of a partition.
 *
 * @param place What to open.
 * @returns The log and what was done to it.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if its files cannot be read.
 */
export function openLog(place: LogPlace): OpenedLog {
  const { pool } = place;
  try {
    return openSegments(place);
  } catch (cause) {
    for (const file of pool.open) {
      // What is pinned is of a deleted topic of the name, and somebody's who still reads it.
      if (file.pins === 0 && folderOf(file.path) === place.folder) closePooledFile(pool, file);
    }
    if (cause instanceof OttlaError) throw cause;
    const { topic, partition } = place.source;
    throw new OttlaError(
      "KAFKA_STORAGE_ERROR",
      `Cannot open ${topic}-${partition} in ${place.folder}: ${String(cause)}`,
      { cause, details: { topic, partition } },
    );
  }
}

/** What opening the segments of a log came by. */
interface Walk {
  readonly segments: Segment[];
  readonly gaps: Gap[];
  scannedSegments: number;
  scannedBytes: number;
  tornBytes: number;
  /** Where recovery began. */
  recoveredOffset: number;
  hasProducers: boolean;
  /** Which segments could not be written again, and from where on. */
  readonly unwritten: Map<Segment, number>;
}

function openSegments(place: LogPlace): OpenedLog {
  const { bases, snapshotOffsets, transactionIndexes } = settleLogFolder(
    place.pool.fs,
    place.folder,
  );
  const walk: Walk = {
    segments: [],
    gaps: [],
    scannedSegments: 0,
    scannedBytes: 0,
    tornBytes: 0,
    recoveredOffset: Infinity,
    hasProducers: false,
    unwritten: new Map(),
  };
  const { segments } = walk;
  for (const [index, baseOffset] of bases.entries()) {
    const nextBase = bases[index + 1];
    if (nextBase !== undefined && isOnDisk(place, nextBase)) {
      segments.push(openSealedSegment(place, baseOffset, nextBase, place.clock.now()));
    } else if (place.recoveryPoint === Infinity) {
      openActive(place, baseOffset, walk);
    } else if (recoverSegment(place, baseOffset, bases.slice(index + 1), walk)) {
      break;
    }
  }
  // A recovery that failed, or died, may have left names that only look as if they were on disk.
  if (walk.scannedSegments > 0) place.pool.fs.syncFolder(place.folder);
  const isReset = startAt(place, segments);
  if (isReset) walk.unwritten.clear();
  const log = newLog(place, walk, snapshotOffsets);
  warnIfShort(log, place.reachedOffset);
  const { recoveredOffset, hasProducers, scannedBytes, tornBytes } = walk;
  log.stats.recoveredSegments += walk.scannedSegments;
  log.stats.recoveredBytes += scannedBytes;
  log.stats.tornBytes += tornBytes;
  const replayed = loadProducers(log, { recoveredOffset, hasProducers, isReset });
  if (replayed !== undefined) restoreTransactionIndexes(log, replayed, transactionIndexes);
  return { log, scannedBytes, tornBytes };
}

/** A log goes on where it ends, as a broker would let it; whoever has cut it may not know. */
function warnIfShort({ source, endOffset }: Log, reachedOffset = 0): void {
  if (endOffset >= reachedOffset) return;
  warn(
    `Records of ${source.topic}-${source.partition} are missing: it ends at offset ${endOffset}, ` +
      `and was on disk up to offset ${reachedOffset}; what is appended now gets their offsets, ` +
      "unless the store is repaired before",
  );
}

/**
 * Whether a segment with a successor is on disk as it was left. One that ends at the recovery point
 * was the active one when that was recorded, and a power cut may bring back what was cut off since.
 */
function isOnDisk({ recoveryPoint, lostPower }: LogPlace, nextBase: number): boolean {
  return lostPower ? nextBase < recoveryPoint : nextBase <= recoveryPoint;
}

/** Opens the last segment of a log that was cleanly closed. */
function openActive(place: LogPlace, baseOffset: number, walk: Walk): void {
  const opened = openLastSegment(place, baseOffset, place.config, place.clock.now(), Infinity);
  const { segment, result } = opened;
  walk.segments.push(segment);
  walk.gaps.push(...result.gaps);
  if (result.reason !== "end") walk.tornBytes += cutTornTail(place, segment);
  // A roll that failed may have left it, with a name that is not on disk.
  if (segment.sizeBytes === 0) place.pool.fs.syncFolder(place.folder);
}

/** Opens a segment that may not have been flushed. Returns whether the log has been cut in it. */
function recoverSegment(
  place: LogPlace,
  baseOffset: number,
  laterBases: readonly number[],
  walk: Walk,
): boolean {
  const { recoveryPoint, config, clock } = place;
  if (place.wasBrokers || place.lostPower) distrustIndexes(place, baseOffset);
  const now = clock.now();
  let nextBase = laterBases[0];
  const walked = nextBase === undefined ? config : allowingGaps(config);
  let { segment, result } = openLastSegment(place, baseOffset, walked, now, recoveryPoint);
  const hole = place.lostPower ? findHole(segment, result, place, nextBase) : undefined;
  if (hole !== undefined) {
    walk.tornBytes += cutAtHole(place, segment, hole, laterBases);
    walk.scannedBytes += result.scannedBytes;
    closePooledFile(place.pool, segment.log);
    ({ segment, result } = openLastSegment(place, baseOffset, config, now, recoveryPoint));
    nextBase = undefined;
  }
  walk.segments.push(segment);
  walk.gaps.push(...result.gaps);
  const isTorn = result.reason !== "end" && segment.endOffset >= (nextBase ?? 0);
  if (isTorn) walk.tornBytes += cutTornTail(place, segment);
  if (nextBase !== undefined) closeRecovered(segment, nextBase, config, walk.gaps);
  walk.scannedSegments++;
  walk.scannedBytes += result.scannedBytes;
  walk.recoveredOffset = Math.min(walk.recoveredOffset, baseOffset);
  walk.hasProducers ||= result.hasProducers;
  const start = recoveryPoint > baseOffset ? positionForOffset(segment, config, recoveryPoint) : 0;
  try {
    writeAgain(segment, start);
  } catch (error) {
    // What is there can be read. It is tried again before anything is appended or synced.
    if (!isDiskFull(error)) throw error;
    walk.unwritten.set(segment, start);
  }
  // What readers will be shown must not be lost to a power cut that comes after the recovery.
  place.pool.fs.syncDataNow(handleOf(place.pool, segment.log));
  return hole !== undefined;
}

/**
 * Empties the index files of a segment. A power cut may have taken entries of one and spared those
 * of the other, which then speak of a time that is too early: indexes of the active segment are
 * written and not synced. The next opening must not trust them either.
 */
function distrustIndexes(place: LogPlace, baseOffset: number): void {
  const { segmentIndexBytes } = place.config;
  const segment = segmentAt(place, baseOffset, place.clock.now());
  try {
    saveIndexFiles(segment, emptyIndexes(segment, segmentIndexBytes), segmentIndexBytes);
  } catch (error) {
    // It has no such file, and there is no room for one.
    if (!isDiskFull(error)) throw error;
  }
}

/**
 * Drops what lies below the start, and begins a segment where there is none. Returns whether it did.
 */
function startAt(place: LogPlace, segments: Segment[]): boolean {
  const { pool, startOffset } = place;
  const last = segments.at(-1);
  if (last !== undefined && last.endOffset >= startOffset) return false;
  // A start behind the end: what was deleted on request is all there was, and its offsets are not
  // given out again. But the start is a number in a text without a checksum, so nothing is thrown
  // away.
  for (const segment of segments.splice(0)) {
    closePooledFile(pool, segment.log);
    setSegmentAside(place, segment.baseOffset);
  }
  segments.push(createSegment(place, startOffset, place.config, place.clock.now()));
  pool.fs.syncFolder(place.folder);
  return true;
}

function newLog(place: LogPlace, walk: Walk, snapshotOffsets: number[]): Log {
  const { pool, folder } = place;
  const { segments, gaps, unwritten } = walk;
  const endOffset = segments.at(-1)!.endOffset;
  const epochs = readEpochs(pool.fs, joinPath(folder, epochCheckpointName));
  const log: Log = {
    pool,
    clock: place.clock,
    folder,
    source: place.source,
    config: place.config,
    segments,
    startOffset: Math.max(place.startOffset, segments[0]!.baseOffset),
    endOffset,
    highWatermark: endOffset,
    openedOffset: place.recoveryPoint === Infinity ? endOffset : segments.at(-1)!.baseOffset,
    leaderEpoch: place.leaderEpoch,
    epochs: leaderEpochCache(epochs.filter((entry) => entry.startOffset < endOffset)),
    commit: groupCommit(
      unwritten.size === 0 ? endOffset : Math.min(place.recoveryPoint, endOffset),
      () => syncLog(log),
      () => {
        countAcknowledged(log);
        advanceHighWatermark(log);
      },
      (cause) => {
        // Where nobody waits for a closed log its topic was deleted, and its files have other names.
        const isDeleted = log.isClosed && log.commit.waiters.length === 0;
        return isDeleted && hasErrorCode(cause, "ENOENT")
          ? closedError(log)
          : poisonLog(log, cause);
      },
    ),
    producers: producerStates(place.source),
    snapshots: producerSnapshots(snapshotOffsets, place.recoveryPoint, endOffset),
    transactionIndexes: undefined,
    accepted: acceptedBatches(),
    gathered: undefined,
    unsynced: [...unwritten.keys()],
    unwritten,
    watchers: new Set(),
    doomed: [],
    copyCount: 0,
    isStartDue: false,
    gaps,
    isRollDue: false,
    lastSyncMs: place.clock.now(),
    stats: place.stats ?? logStats(),
    isClosed: false,
  };
  return log;
}

/**
 * The leader epochs as they were recorded. A file that cannot be read counts as none: nothing else
 * is lost by that.
 */
function readEpochs(fs: FileSystem, path: string): EpochEntry[] {
  try {
    return readEpochCheckpoint(fs, path);
  } catch (error) {
    if (error instanceof OttlaError) return [];
    throw error;
  }
}

/** A segment with a successor ends where that begins, whatever its last bytes are. */
function closeRecovered(
  segment: Segment,
  nextBase: number,
  config: LogConfig,
  gaps: Gap[],
): void {
  try {
    sealSegment(segment, config);
    syncIndexFilesNow(segment);
  } catch (error) {
    // A disk that takes no index can still be read; the next opening makes the index again.
    if (!isDiskFull(error)) throw error;
  }
  const logBytes = segment.pool.fs.sizeOf(handleOf(segment.pool, segment.log));
  if (segment.sizeBytes < logBytes) {
    gaps.push({
      startOffset: segment.endOffset,
      endOffset: nextBase,
      startPosition: segment.sizeBytes,
      endPosition: logBytes,
      segmentBaseOffset: segment.baseOffset,
    });
  }
  segment.sizeBytes = logBytes;
  segment.endOffset = nextBase;
}

/** Puts what follows the last good batch aside and cuts it off. */
function cutTornTail(place: LogPlace, segment: Segment): number {
  const count = cutTail(place, segment, segment.sizeBytes);
  truncateSegment(segment, segment.indexes!, segment.sizeBytes, segment.endOffset);
  return count;
}
