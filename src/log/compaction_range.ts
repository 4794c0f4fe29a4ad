/**
 * Which part of a log a compaction may clean, and which segments it makes one of (src/FORMAT.md,
 * section 6.9).
 *
 *     | clean: no key twice | dirty: to be cleaned now | not to be cleaned yet       | active |
 *     start            firstDirtyOffset            endOffset
 *
 * Not to be cleaned is what is open (a transaction, the active segment), what is too young, and
 * what a crash may take or a recovery has to read: whoever removes a value because a later one is
 * there must be certain of the later one, whoever replays the log from a producer snapshot on must
 * find there the end of every transaction that was open then, and whoever looks for what a power
 * cut has torn must not come by offsets that a compaction took.
 */

import { segmentBytesMax } from "../limits.ts";
import { joinPath } from "../platform/files.ts";
import type { Segment } from "../segment/segment.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import { indexesOf } from "../segment/segment_load.ts";
import type { Log } from "./log.ts";
import { activeSegment } from "./log.ts";
import { lastStableOffset } from "./producer_append.ts";
import { trustedOffset } from "./producer_snapshots.ts";
import { largestTimestamp } from "./retention.ts";

/** What a compaction needs to know of a topic's configuration. */
export interface CompactionConfig {
  readonly minCleanableDirtyRatio: number;
  readonly minCompactionLagMs: number;
  readonly maxCompactionLagMs: number;
  readonly deleteRetentionMs: number;
}

/** What there is to clean in a log. */
export interface CleanableRange {
  readonly firstDirtyOffset: number;
  /**
   * What begins there is not to be cleaned yet: the base of a segment. It lies before
   * `firstDirtyOffset` where that is within such a segment.
   */
  readonly endOffset: number;
  readonly cleanBytes: number;
  readonly cleanableBytes: number;
  /** Which part of the bytes up to the end is dirty, 0 to 1. */
  readonly dirtyRatio: number;
  /** Whether a record has waited for longer than `max.compaction.lag.ms`. */
  readonly isOverdue: boolean;
}

/** How large the segments may become that a compaction makes of several. */
export interface GroupLimits {
  readonly segmentBytes: number;
  readonly segmentIndexBytes: number;
}

/** What a segment adds to those of its group. */
export interface GroupedSegment {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly sizeBytes: number;
  readonly indexBytes: number;
  readonly timeIndexBytes: number;
}

/**
 * Where the dirty part of a log begins.
 *
 * @param log The log.
 * @param recordedOffset What is recorded; undefined if nothing is.
 * @returns That, or the log's start if the log does not reach there.
 */
export function firstDirtyOffsetOf(log: Log, recordedOffset: number | undefined): number {
  const { startOffset, endOffset, isStartDue } = log;
  if (recordedOffset === undefined) return startOffset;
  // Until the start is on disk a crash may bring back what lies before it.
  if (isStartDue) return recordedOffset;
  return recordedOffset < startOffset || recordedOffset > endOffset ? startOffset : recordedOffset;
}

/**
 * What there is to clean in a log now.
 *
 * @param log The log.
 * @param firstDirtyOffset Where its dirty part begins.
 * @param config Its topic's configuration.
 * @param now In milliseconds since the epoch.
 * @returns The range; `cleanableBytes` is 0 if nothing of the dirty part is to be cleaned.
 */
export function cleanableRange(
  log: Log,
  firstDirtyOffset: number,
  config: CompactionConfig,
  now: number,
): CleanableRange {
  const dirty = log.segments.slice(0, -1).filter((one) => one.endOffset > firstDirtyOffset);
  const limit = Math.min(
    unrecordedStart(log),
    lastStableOffset(log),
    activeSegment(log).baseOffset,
    log.snapshots.recoveryPoint,
    unsyncedOffset(log),
    replayedOffset(log),
    youngOffset(log, dirty, config, now),
  );
  const boundary = log.segments.findLast(({ baseOffset }) => baseOffset <= limit);
  const endOffset = boundary?.baseOffset ?? 0;
  const cleanable = dirty.filter(({ baseOffset }) => baseOffset < endOffset);
  const cleanableBytes = sizeOf(cleanable);
  const cleanBytes = sizeOf(log.segments.filter((one) => one.endOffset <= firstDirtyOffset));
  const totalBytes = cleanBytes + cleanableBytes;
  return {
    firstDirtyOffset,
    endOffset,
    cleanBytes,
    cleanableBytes,
    dirtyRatio: totalBytes === 0 ? 0 : cleanableBytes / totalBytes,
    isOverdue: cleanableBytes > 0 && isOverdue(log, dirty, config, now),
  };
}

/**
 * Whether a log is to be cleaned without being asked to.
 *
 * @param range What there is to clean.
 * @param config Its topic's configuration.
 * @returns True if enough of it is dirty, or has waited for too long.
 */
export function isWorthCleaning(range: CleanableRange, config: CompactionConfig): boolean {
  if (range.cleanableBytes === 0) return false;
  return range.dirtyRatio > config.minCleanableDirtyRatio || range.isOverdue;
}

/**
 * Divides segments into those that become one, in order.
 *
 * @param segments One behind the other.
 * @param limits How large one may become.
 * @returns The groups; a segment that is too large already is alone in its own.
 */
export function groupSegments<One extends GroupedSegment>(
  segments: readonly One[],
  limits: GroupLimits,
): One[][] {
  const groups: One[][] = [];
  let group: One[] = [];
  let sizeBytes = 0;
  let indexBytes = 0;
  let timeIndexBytes = 0;
  for (const segment of segments) {
    sizeBytes += segment.sizeBytes;
    indexBytes += segment.indexBytes;
    timeIndexBytes += segment.timeIndexBytes;
    const offsetCount = segment.endOffset - 1 - (group[0] ?? segment).baseOffset;
    const fits = group.length > 0 && sizeBytes <= limits.segmentBytes &&
      indexBytes <= limits.segmentIndexBytes && timeIndexBytes <= limits.segmentIndexBytes &&
      // An empty one brings no offsets; else one would be left behind every 2^31 of them.
      (segment.sizeBytes === 0 || offsetCount <= segmentBytesMax);
    if (fits) {
      group.push(segment);
      continue;
    }
    group = [segment];
    groups.push(group);
    ({ sizeBytes, indexBytes, timeIndexBytes } = segment);
  }
  return groups;
}

/**
 * What a segment adds to those of its group.
 *
 * @param segment A sealed segment.
 * @returns It with the sizes of its index files.
 */
export function groupedSegment(segment: Segment): GroupedSegment & { readonly segment: Segment } {
  const { fs } = segment.pool;
  const sizeOfFile = (kind: "index" | "timeindex"): number =>
    fs.stat(joinPath(segment.folder, segmentFileName(segment.baseOffset, kind)))?.sizeBytes ?? 0;
  const { baseOffset, endOffset, sizeBytes } = segment;
  return {
    segment,
    baseOffset,
    endOffset,
    sizeBytes,
    indexBytes: sizeOfFile("index"),
    timeIndexBytes: sizeOfFile("timeindex"),
  };
}

/** Before a start that is not on disk there may be records again that no compaction has seen. */
function unrecordedStart({ isStartDue }: Log): number {
  return isStartDue ? -1 : Infinity;
}

/** The base of the first segment that is to be synced: until then its files must stay. */
function unsyncedOffset({ unsynced }: Log): number {
  return unsynced.find(({ isDoomed }) => !isDoomed)?.baseOffset ?? Infinity;
}

/** Before it begins what the next opening may have to replay to know the producers. */
function replayedOffset(log: Log): number {
  const { snapshots, producers } = log;
  if (snapshots.offsets.length === 0 && producers.byId.size === 0) return Infinity;
  const limit = trustedOffset(log);
  const isTrusted = (offset: number): boolean =>
    offset <= limit && !snapshots.unsynced.includes(offset);
  return snapshots.offsets.findLast(isTrusted) ?? 0;
}

/** The base of the first dirty segment that has a record which is too young. */
function youngOffset(
  log: Log,
  dirty: readonly Segment[],
  { minCompactionLagMs }: CompactionConfig,
  now: number,
): number {
  if (minCompactionLagMs <= 0) return Infinity;
  const young = dirty.find((one) => largestTimestamp(log, one) > now - minCompactionLagMs);
  return young?.baseOffset ?? Infinity;
}

function isOverdue(
  log: Log,
  dirty: readonly Segment[],
  { maxCompactionLagMs }: CompactionConfig,
  now: number,
): boolean {
  if (maxCompactionLagMs === Infinity) return false;
  return dirty.some((segment) => {
    indexesOf(segment, log.config);
    const { firstTimestamp = 0 } = segment;
    return firstTimestamp > 0 && firstTimestamp < now - maxCompactionLagMs;
  });
}

function sizeOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
