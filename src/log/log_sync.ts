/** Brings the files of a log to disk: what its group commit does when someone waits. */

import { preciseNow } from "../platform/clock.ts";
import type { FilePool } from "../platform/file_pool.ts";
import { handleOf, pinFile } from "../platform/file_pool.ts";
import { syncIndexFiles } from "../segment/index_file.ts";
import type { Segment } from "../segment/segment.ts";
import { waitForNewSync, waitUntilSynced } from "./group_commit.ts";
import type { Log } from "./log.ts";
import { activeSegment } from "./log.ts";
import { countFailedSync, countSync } from "./log_stats.ts";
import { syncSnapshots } from "./producer_snapshots.ts";
import { unpinSegment } from "./retired_segments.ts";
import { closedError, storageError } from "./log_errors.ts";
import { writeAgain } from "./torn_tail.ts";

/** Who syncs a file now, and who waits for his turn. */
interface SyncTurns {
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * How many files of a store are synced at once. They must stay open for it, and there may be
 * thousands; a few keep a disk busy.
 */
const syncsMax = 16;
const turnsOfPools = new WeakMap<FilePool, SyncTurns>();

/**
 * Syncs the files of a log; what the group commit does when someone waits.
 *
 * @param log The log.
 * @returns Up to which offset, and when it is done: undefined if it is.
 */
export function syncLog(log: Log): { endOffset: number; done: Promise<void> | undefined } {
  const { pool, snapshots, unsynced } = log;
  const active = activeSegment(log);
  const { endOffset } = active;
  const isOneFile = unsynced.length === 1 && unsynced[0] === active &&
    snapshots.unsynced.length === 0;
  const startMs = preciseNow(log.clock);
  if (isOneFile && pool.fs.isSyncQuick()) {
    try {
      pool.fs.syncDataNow(handleOf(pool, active.log));
    } catch (error) {
      countFailedSync(log, startMs, endOffset, error);
      throw error;
    }
    countSync(log, startMs, endOffset);
    log.lastSyncMs = log.clock.now();
    unsynced.length = 0;
    return { endOffset, done: undefined };
  }
  const segments = [...unsynced];
  const syncs = segments.map((segment) => syncSegment(log, segment));
  if (snapshots.unsynced.length > 0) syncs.push(syncSnapshots(log));
  const done = Promise.all(syncs).then(() => {
    countSync(log, startMs, endOffset);
    log.lastSyncMs = log.clock.now();
    // One that has been sealed meanwhile has indexes that are not synced.
    const isSynced = (segment: Segment): boolean =>
      segment.endOffset <= endOffset && (segment !== active || active === activeSegment(log));
    const kept = log.unsynced.filter((segment) =>
      !segments.includes(segment) || !isSynced(segment)
    );
    log.unsynced.splice(0, log.unsynced.length, ...kept);
  }, (error) => {
    if (!log.isClosed) countFailedSync(log, startMs, endOffset, error);
    throw error;
  });
  return { endOffset, done };
}

/**
 * Waits until everything below an offset is on disk, and whatever else was done to the files: a
 * write that failed may have been cut off again.
 *
 * @param log The log.
 * @param endOffset Behind what must be on disk.
 * @returns Resolves when it is.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk fails, or as `writeUnwritten`.
 */
export async function syncFiles(log: Log, endOffset: number): Promise<void> {
  writeUnwritten(log);
  const { commit, unsynced } = log;
  await (unsynced.length > 0
    ? waitForNewSync(commit, endOffset)
    : waitUntilSynced(commit, endOffset));
}

/**
 * Writes again what a recovery could not on a full disk.
 *
 * @param log The log.
 * @throws OttlaError `DISK_FULL` if there still is no room for it, `KAFKA_STORAGE_ERROR`; what is
 * there can be read all the same.
 */
export function writeUnwritten(log: Log): void {
  for (const [segment, start] of log.unwritten) {
    try {
      writeAgain(segment, start);
    } catch (cause) {
      throw storageError(log, cause, "write again what a crash has left of");
    }
    log.unwritten.delete(segment);
  }
}

/**
 * Where a recovery may begin. A sealed segment that is to be synced counts from its beginning, even
 * if all of its batches are on disk: what was cut off it may not be. But what was recorded stays
 * true, and may be all that makes the snapshots of producers trusted.
 *
 * @param log The log.
 * @returns An offset below which everything is on disk.
 */
export function recoveryPointOf(log: Log): number {
  const { commit: { syncedOffset }, snapshots: { recoveryPoint }, unsynced } = log;
  const first = unsynced[0];
  const isSealed = first !== undefined && first !== activeSegment(log);
  const offset = isSealed ? Math.min(syncedOffset, first.baseOffset) : syncedOffset;
  return Math.max(recoveryPoint, offset);
}

async function syncSegment(log: Log, segment: Segment): Promise<void> {
  const { pool } = log;
  const turns = turnsOf(pool);
  if (turns.running < syncsMax) turns.running++;
  else await new Promise<void>((resolve) => turns.waiting.push(resolve));
  try {
    // While it waited its turn the segment may have been removed, or the log abandoned. One that
    // was retired counts until its files go: a crash may bring it back before the new start.
    const isSynced = segment.endOffset <= log.commit.syncedOffset;
    if (!log.unsynced.includes(segment) || (segment.isDoomed && isSynced)) return;
    if (log.isClosed && log.commit.waiters.length === 0) throw closedError(log);
    const file = pinFile(pool, segment.log);
    try {
      await pool.fs.syncData(file);
      const isAside = segment.asideSuffix !== "";
      if (!isAside && segment !== activeSegment(log)) await syncIndexFiles(segment);
    } finally {
      unpinSegment(log, segment);
    }
  } finally {
    const next = turns.waiting.shift();
    if (next === undefined) turns.running--;
    else next();
  }
}

function turnsOf(pool: FilePool): SyncTurns {
  let turns = turnsOfPools.get(pool);
  if (turns === undefined) {
    turns = { running: 0, waiting: [] };
    turnsOfPools.set(pool, turns);
  }
  return turns;
}
