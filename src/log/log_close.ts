/** Closes a log, so that the next opening has nothing to recover. */

import { syncIndexFiles } from "../segment/index_file.ts";
import { sealSegment } from "../segment/segment_load.ts";
import type { Log } from "./log.ts";
import { abandonLog, activeSegment, checkUsable, tryWriteAccepted } from "./log.ts";
import { syncFiles } from "./log_sync.ts";
import { syncSnapshots, takeSnapshotIfUsed } from "./producer_snapshots.ts";
import { sweepRetired } from "./retired_segments.ts";
import { syncTransactionIndexes } from "./transaction_indexes.ts";

/**
 * Writes and syncs everything, ends the index files with their last entries, and lets go of all
 * files.
 *
 * @param log The log; it cannot be used afterwards, whether this succeeds or not.
 * @returns The offset below which everything is on disk.
 * @throws OttlaError if something could not be written.
 */
export async function closeLog(log: Log): Promise<number> {
  if (log.isClosed) return log.commit.syncedOffset;
  try {
    checkUsable(log);
    log.gathered?.write();
    const failure = tryWriteAccepted(log);
    // From here on nothing is taken, so that what is on disk in the end is all there is.
    log.isClosed = true;
    await syncFiles(log, activeSegment(log).endOffset);
    const active = activeSegment(log);
    sealSegment(active, log.config);
    if (active.endOffset > log.openedOffset) await syncIndexFiles(active);
    // Those that were pinned by a sync until now; the folder is still ours.
    sweepRetired(log);
    if (failure !== undefined) throw failure;
    takeSnapshotIfUsed(log);
    await syncSnapshots(log);
    syncTransactionIndexes(log);
    return log.commit.syncedOffset;
  } finally {
    abandonLog(log);
  }
}
