/**
 * What is old or too much goes, segment by segment, the oldest first (src/FORMAT.md, section 6.6).
 *
 * Retiring takes segments out of the log; their files go with `sweepRetired`, which the caller
 * calls once the new start offset is on disk. Files that somebody still reads stay until he has let
 * go.
 */

import type { Segment } from "../segment/segment.ts";
import { indexesOf } from "../segment/segment_load.ts";
import type { Log } from "./log.ts";
import { checkUsable, rollLog, tryWriteAccepted } from "./log.ts";
import { nameOfLog } from "./log_errors.ts";
import { countRetired } from "./log_stats.ts";
import { isOttlaError, OttlaError } from "../errors.ts";

/**
 * Takes out of the log what its topic's retention no longer keeps.
 *
 * @param log The log.
 * @param now In milliseconds since the epoch.
 * @returns How many segments were taken out.
 */
export function retireSegments(log: Log, now: number): number {
  checkUsable(log);
  tryWriteAccepted(log);
  const deletes = log.config.cleanupPolicy.includes("delete");
  return retireBelowStart(log) + (deletes ? retireBySize(log) + retireByAge(log, now) : 0);
}

/**
 * Moves the start of a log: what is before can no longer be read.
 *
 * @param log The log.
 * @param beforeOffset The first offset to keep; -1 stands for the high watermark.
 * @returns The start offset.
 * @throws OttlaError `OFFSET_OUT_OF_RANGE` if the offset is beyond the high watermark.
 */
export function advanceStart(log: Log, beforeOffset: number): number {
  checkUsable(log);
  tryWriteAccepted(log);
  const startOffset = beforeOffset === -1 ? log.highWatermark : beforeOffset;
  if (startOffset > log.highWatermark || startOffset < 0) {
    throw new OttlaError(
      "OFFSET_OUT_OF_RANGE",
      `Cannot delete the records of ${nameOfLog(log)} before offset ${startOffset}: its high ` +
        `watermark is ${log.highWatermark}`,
      { details: { ...log.source, offset: startOffset, highWatermark: log.highWatermark } },
    );
  }
  log.startOffset = Math.max(log.startOffset, startOffset);
  return log.startOffset;
}

/**
 * Takes out of the log the segments that lie wholly below its start.
 *
 * @param log The log.
 * @returns How many segments were taken out.
 */
export function retireBelowStart(log: Log): number {
  return retireWhile(log, (_, next) => next !== undefined && next.baseOffset <= log.startOffset);
}

function retireBySize(log: Log): number {
  const { retentionBytes } = log.config;
  if (retentionBytes < 0) return 0;
  let excess = -retentionBytes;
  for (const segment of log.segments) excess += segment.sizeBytes;
  return retireWhile(log, (segment) => {
    if (excess < segment.sizeBytes) return false;
    excess -= segment.sizeBytes;
    return true;
  });
}

function retireByAge(log: Log, now: number): number {
  const { retentionMs } = log.config;
  if (retentionMs < 0) return 0;
  return retireWhile(log, (segment) => now - largestTimestamp(log, segment) > retentionMs);
}

/**
 * The largest timestamp of a segment, or when its file was last written if its records have none.
 *
 * @param log The log.
 * @param segment One of its segments.
 * @returns In milliseconds since the epoch.
 */
export function largestTimestamp(log: Log, segment: Segment): number {
  indexesOf(segment, log.config);
  if (segment.maxTimestamp >= 0) return segment.maxTimestamp;
  return log.pool.fs.stat(segment.log.path)?.modifiedMs ?? segment.createdMs;
}

/**
 * Takes out the oldest segments up to the first that a rule wants to keep, or that has records not
 * yet visible.
 */
function retireWhile(
  log: Log,
  isOver: (segment: Segment, next: Segment | undefined) => boolean,
): number {
  const { segments } = log;
  let count = 0;
  while (count < segments.length) {
    const segment = segments[count]!;
    const next = segments[count + 1];
    const isEmptyLast = next === undefined && segment.sizeBytes === 0;
    if (isEmptyLast || log.highWatermark < segment.endOffset || !isOver(segment, next)) break;
    count++;
  }
  if (count === 0) return 0;
  if (count === segments.length) count -= retireRoll(log);
  const retired = segments.splice(0, count);
  for (const segment of retired) segment.isDoomed = true;
  log.doomed.push(...retired);
  log.startOffset = Math.max(log.startOffset, segments[0]!.baseOffset);
  countRetired(log, retired);
  return count;
}

/**
 * Begins the segment that stays when all others go. Returns how many of those must stay because it
 * could not.
 */
function retireRoll(log: Log): number {
  try {
    rollLog(log);
    return 0;
  } catch (error) {
    // On a full disk there may be room for it once the others are gone.
    if (log.segments.length === 1 || !isOttlaError(error, "DISK_FULL")) throw error;
    return 1;
  }
}
