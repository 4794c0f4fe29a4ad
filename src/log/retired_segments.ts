/**
 * Segments that were taken out of a log: their files go as soon as nobody has pinned them.
 */

import { closePooledFile, unpinFile } from "../platform/file_pool.ts";
import type { Segment } from "../segment/segment.ts";
import { removeSegmentFiles } from "../segment/segment.ts";
import type { Log } from "./log.ts";
import { rememberRetired } from "./producer_replay.ts";
import { sweepSnapshots, syncSnapshotsNow } from "./producer_snapshots.ts";

/**
 * Removes the files of segments that were taken out of the log and that nobody reads or syncs.
 *
 * @param log The log, open or being closed: the files of a closed one may belong to whoever has
 * opened it again. One that is poisoned keeps them until it is opened again.
 * @param countMax How many segments lose their files at most, where there is time for the rest later.
 * @throws What the file system throws; as `rememberRetired` and `syncSnapshotsNow`.
 */
export function sweepRetired(log: Log, countMax = Infinity): void {
  const { doomed } = log;
  // After a failed sync nobody knows what is on disk: then what is in these files may be all of it.
  const isKept = log.copyCount > 0 || log.isStartDue || log.commit.failure !== undefined;
  if (doomed.length === 0 || isKept) return;
  // From here on only snapshots know of the producers that have no batch in what is left.
  rememberRetired(log);
  syncSnapshotsNow(log);
  sweepSnapshots(log);
  // What a crash leaves of them lies below the start of the log, and goes with the next retention.
  let countLeft = countMax;
  for (let index = 0; index < doomed.length && countLeft > 0;) {
    const segment = doomed[index]!;
    if (segment.log.pins > 0) {
      index++;
    } else {
      // First, as a removal that fails may leave no file to be synced.
      const unsyncedIndex = log.unsynced.indexOf(segment);
      if (unsyncedIndex >= 0) log.unsynced.splice(unsyncedIndex, 1);
      log.unwritten.delete(segment);
      removeSegmentFiles(segment);
      countLeft--;
      doomed.splice(index, 1);
    }
  }
}

/**
 * Takes back one pin of a segment's file. With the last one the file is closed if the log is
 * closed, and removed if the segment was taken out of the log.
 *
 * @param log The log, open or closed.
 * @param segment The segment.
 */
export function unpinSegment(log: Log, segment: Segment): void {
  unpinFile(segment.log);
  if (segment.log.pins > 0) return;
  if (log.isClosed) closePooledFile(log.pool, segment.log);
  else if (segment.isDoomed) trySweep(log);
}

/**
 * Keeps all files of a log that are in its folder now, whatever is taken out of the log, until
 * `releaseFiles`. Unlike a pin it keeps none of them open.
 *
 * @param log The log.
 */
export function holdFiles(log: Log): void {
  log.copyCount++;
}

/**
 * Takes back one `holdFiles`. With the last one the files go of what was taken out of the log.
 *
 * @param log The log, open or closed.
 */
export function releaseFiles(log: Log): void {
  log.copyCount--;
  if (!log.isClosed) trySweep(log);
}

/**
 * As `sweepRetired`, for someone who did not ask for the removal: what fails now is tried again by
 * the next sweep.
 *
 * @param log The log.
 * @param countMax How many segments lose their files at most.
 */
export function trySweep(log: Log, countMax = Infinity): void {
  try {
    sweepRetired(log, countMax);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}
