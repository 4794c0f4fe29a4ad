/** Brings the files of a log to disk: what its group commit does when someone waits. */

import { closePooledFile, pinFile, unpinFile } from "../platform/file_pool.ts";
import type { Segment } from "../segment/segment.ts";
import type { Log } from "./log.ts";
import { activeSegment } from "./log.ts";

/**
 * Syncs the files of a log; what the group commit does when someone waits.
 *
 * @param log The log.
 * @returns Up to which offset, and when it is done.
 */
export function syncLog(log: Log): { endOffset: number; done: Promise<void> } {
  const { pool } = log;
  const segments = [...log.unsynced];
  const endOffset = activeSegment(log).endOffset;
  const syncs = segments.map(async (segment) => {
    const file = pinFile(pool, segment.log);
    try {
      await pool.fs.syncData(file);
    } finally {
      unpinSegment(log, segment);
    }
  });
  const done = Promise.all(syncs).then(() => {
    log.lastSyncMs = log.clock.now();
    const isSynced = (segment: Segment): boolean => segment.endOffset <= endOffset;
    const kept = log.unsynced.filter((segment) =>
      !segments.includes(segment) || !isSynced(segment)
    );
    log.unsynced.splice(0, log.unsynced.length, ...kept);
  });
  return { endOffset, done };
}

/**
 * Takes back one pin of a segment's file. The last one closes the file if the log is closed.
 *
 * @param log The log, open or closed.
 * @param segment The segment.
 */
export function unpinSegment(log: Log, segment: Segment): void {
  unpinFile(segment.log);
  if (log.isClosed && segment.log.pins === 0) closePooledFile(log.pool, segment.log);
}
