/**
 * Puts a cleaned segment in the place of those that it was made of, so that a crash at any point
 * leaves either all of these or it alone (src/FORMAT.md, sections 2.4 and 6.9).
 *
 * | step                                             | what the next opening makes of a crash     |
 * | ------------------------------------------------ | ------------------------------------------ |
 * | 1 the files ending with `.cleaned` are on disk   | they are removed                           |
 * | 2 they are renamed to `.swap`                    | as long as one is `.cleaned`, all removed  |
 * |   the folder is synced                           | all are `.swap`: the swap is completed     |
 * | 3 the old files are renamed to `.deleted`        | completed                                  |
 * |   the folder is synced                           | completed; no old file comes back          |
 * |   the `.swap` files get their names, log first   | completed                                  |
 * | 4 the folder is synced                           | there is nothing left to do                |
 * |   old files go that nobody reads any more        | the others are removed                     |
 *
 * An opening that completes a swap removes what begins among the offsets of its log. So the last
 * batch of those that become one segment always keeps its header.
 *
 * Syncing a folder holds up everybody for milliseconds, so each number has its own turn of the event
 * loop. Nobody sees a log with half of its files: step 3 is one turn. In step 4 many old files go a
 * few a turn, and the folder is synced with the last: the old files are of no use after step 3, but
 * beside the files of the next compaction a `.swap` that came back would be removed.
 */

import { closePooledFile, pooledFile } from "../platform/file_pool.ts";
import type { Segment } from "../segment/segment.ts";
import { setSegmentFilesAside } from "../segment/segment.ts";
import type { CompactionTurns } from "./compaction_scan.ts";
import type { CleanedSegment } from "./compaction_segment.ts";
import { cleanedPath, kindsOfCleaned } from "./compaction_segment.ts";
import type { Log } from "./log.ts";
import { poisonLog } from "./log.ts";
import { storageError } from "./log_errors.ts";
import { trySweep } from "./retired_segments.ts";

const action = "swapping in a compacted segment";
/**
 * The files of how many segments are removed in one turn of the event loop. With 1 MiB each that
 * takes a millisecond a segment: 240 of them held up everybody for 300 ms.
 */
const removedAtOnce = 4;

/**
 * Replaces segments by the one that was made of them.
 *
 * @param log The log.
 * @param sources Segments of the log, one behind the other, all sealed.
 * @param cleaned What was made of them, complete, its bytes on disk.
 * @param turns Gives others their turns.
 * @returns False if a source was taken out of the log meanwhile: then nothing was replaced.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`; what `turns` throws. If nothing of the old
 * segments was touched until then they stay. If the disk fails later the log is poisoned, and the
 * next opening completes the swap.
 */
export async function swapIn(
  log: Log,
  sources: readonly Segment[],
  cleaned: CleanedSegment,
  turns: CompactionTurns,
): Promise<boolean> {
  const { fs } = log.pool;
  const { segment } = cleaned;
  const kinds = kindsOfCleaned(cleaned);
  const pathOf = (kind: typeof kinds[number], suffix: "" | "cleaned" | "swap"): string =>
    cleanedPath(log, segment.baseOffset, kind, suffix);
  closePooledFile(log.pool, segment.log);
  await turns.next();
  syncNames(log);
  await turns.next();
  try {
    for (const kind of kinds) fs.rename(pathOf(kind, "cleaned"), pathOf(kind, "swap"));
  } catch (cause) {
    throw storageError(log, cause, "swap in a compacted segment of");
  }
  syncNames(log);
  await turns.next();
  if (sources.some(({ isDoomed }) => isDoomed)) return false;
  try {
    for (const source of sources) setSegmentFilesAside(source);
    fs.syncFolder(log.folder);
    for (const kind of kinds) fs.rename(pathOf(kind, "swap"), pathOf(kind, ""));
  } catch (cause) {
    throw poisonLog(log, cause, action);
  }
  replaceSegments(log, sources, { ...segment, log: pooledFile(pathOf("log", "")) });
  try {
    for (let left = sources.length; left > removedAtOnce; left -= removedAtOnce) {
      await turns.next();
      trySweep(log, removedAtOnce);
    }
    await turns.next();
  } finally {
    // Whoever ends the compaction now finds it done.
    if (!log.isClosed) removeReplaced(log);
  }
  return true;
}

function removeReplaced(log: Log): void {
  syncNames(log);
  trySweep(log);
}

/** What a sync of names has failed for once, nobody knows: old and new names may both be there. */
function syncNames(log: Log): void {
  try {
    log.pool.fs.syncFolder(log.folder);
  } catch (cause) {
    throw poisonLog(log, cause, action);
  }
}

function replaceSegments(log: Log, sources: readonly Segment[], replacement: Segment): void {
  const { segments, unsynced } = log;
  segments.splice(segments.indexOf(sources[0]!), sources.length, replacement);
  for (const source of sources) source.isDoomed = true;
  log.doomed.push(...sources);
  const kept = unsynced.filter((segment) => !sources.includes(segment));
  unsynced.splice(0, unsynced.length, ...kept);
}
