/**
 * What a store has done since it was opened, and what it holds now, as plain numbers: counters from
 * `log/log_stats.ts`, gauges from what is open. One entry a topic; partitions only if asked for.
 *
 * The metadata log is not counted: what is told is what users' topics and the internal topics do.
 */

import type { Histogram } from "../log/histogram.ts";
import { quantileOf } from "../log/histogram.ts";
import type { Log } from "../log/log.ts";
import type { LogStats } from "../log/log_stats.ts";
import { addLogStats, logStats } from "../log/log_stats.ts";
import { joinPath } from "../platform/files.ts";
import { listSegments } from "./folder_view.ts";
import type { PartitionState, StoreInternals, TopicState } from "./store.ts";
import { findFreeBytes } from "./disk_space.ts";
import { partitionFolderName } from "./topic_name.ts";

/** What was appended at one level. */
export interface AppendStats {
  readonly records: number;
  readonly batches: number;
  readonly bytes: number;
}

/** How values are distributed. */
export interface HistogramStats {
  readonly count: number;
  readonly sum: number;
  /** The largest value; 0 if there is none. */
  readonly max: number;
  /** Half of the values are at most this, by estimate. */
  readonly p50: number;
  /** 99 of 100 values are at most this, by estimate. */
  readonly p99: number;
  /**
   * How many values lie in each bucket: above the bound before it, and not above its own, `le`. The
   * last one has no bound.
   */
  readonly buckets: readonly { readonly le: number | null; readonly count: number }[];
}

/** What the logs of a topic have done since the store was opened, or those of all topics. */
export interface LogCounters {
  /** By the level that was asked for. */
  readonly appends: {
    readonly disk: AppendStats;
    readonly os: AppendStats;
    readonly memory: AppendStats;
    /** Appends, and tries of producers, that the disk did not take: it was full, or has failed. */
    readonly failed: number;
  };
  /** Sizes of appended batches, in bytes. */
  readonly batchBytes: HistogramStats;
  /** How long appends at "disk" waited for it, in milliseconds. */
  readonly acknowledgeMs: HistogramStats;
  /** How long bringing a log to disk took, in milliseconds. */
  readonly syncMs: HistogramStats;
  readonly failedSyncs: number;
  /** Reads of files by readers, consumers and the like; bytes that were sent as ranges of files. */
  readonly reads: { readonly count: number; readonly bytes: number; readonly sentBytes: number };
  /** What retention and deletions of records took away. */
  readonly retention: { readonly segments: number; readonly bytes: number };
  readonly compaction: {
    readonly count: number;
    readonly readRecords: number;
    readonly keptRecords: number;
    readonly readBytes: number;
    readonly keptBytes: number;
  };
  /** What was scanned because the store had not been closed properly, and cut off. */
  readonly recovery: {
    readonly segments: number;
    readonly bytes: number;
    readonly tornBytes: number;
  };
}

/** What the logs of a topic hold now, or those of all topics. */
export interface LogGauges {
  readonly partitions: number;
  readonly segments: number;
  /** Of log files, what is accepted and not written left out. */
  readonly logBytes: number;
  /** Producers that are known by their ids, in the logs that are open. */
  readonly producerIds: number;
}

/** What a partition holds now. */
export interface PartitionStats {
  readonly partition: number;
  readonly segments: number;
  readonly logBytes: number;
  /** Undefined while its log is not open. */
  readonly offsets:
    | {
      readonly startOffset: number;
      readonly highWatermark: number;
      readonly endOffset: number;
    }
    | undefined;
}

/** What a topic has done and holds. */
export interface TopicStats extends LogCounters, LogGauges {
  readonly topic: string;
  /** Undefined unless they were asked for. */
  readonly partitionStats: readonly PartitionStats[] | undefined;
}

/** What can be told without the groups. */
export interface LogsStats {
  /** The store's folder, or ":memory:". */
  readonly path: string;
  /** When it was opened, in milliseconds since the epoch, and how long that took. */
  readonly openedMs: number;
  readonly openTookMs: number;
  /** Whether it had been closed properly. */
  readonly wasClean: boolean;
  /** Of all topics, those that were deleted since included. */
  readonly totals: LogCounters & LogGauges;
  /** By name; those that were asked for. */
  readonly topics: readonly TopicStats[];
  /** Log files: open now, how many may be, how often one was opened. */
  readonly files: { readonly open: number; readonly openMax: number; readonly openings: number };
  /** Bytes that can still be written where the store lies; undefined if nobody can tell. */
  readonly freeBytes: number | undefined;
}

/** Which topics to tell of, and whether of their partitions. */
export interface LogsStatsOptions {
  readonly topics: ReadonlySet<TopicState>;
  readonly partitions: boolean;
}

/** What a partition that is not open holds: it does not change until it is opened. */
interface ClosedExtent {
  readonly segments: number;
  readonly logBytes: number;
}

const closedExtents = new WeakMap<PartitionState, ClosedExtent>();

/**
 * Gathers the statistics of a store's logs.
 *
 * @param internals The inside of a store.
 * @param path What it was opened as.
 * @param options What is wanted.
 * @returns The statistics, which do not change any more.
 */
export function logsStatsOf(
  internals: StoreInternals,
  path: string,
  options: LogsStatsOptions,
): LogsStats {
  const { stats, pool, recovery } = internals;
  const all = logStats();
  addLogStats(all, stats.deletedTopics);
  let gauges = noGauges;
  const topics: TopicStats[] = [];
  for (const topic of internals.topics.values()) {
    addLogStats(all, topic.stats);
    const partitionStats = topic.partitions.map((state) => partitionStatsOf(internals, state));
    const topicGauges = gaugesOf(topic, partitionStats);
    gauges = sumOf(gauges, topicGauges);
    if (!options.topics.has(topic)) continue;
    topics.push({
      topic: topic.name,
      ...countersOf(topic.stats),
      ...topicGauges,
      partitionStats: options.partitions ? partitionStats : undefined,
    });
  }
  return {
    path,
    openedMs: stats.openedMs,
    openTookMs: stats.openTookMs,
    wasClean: recovery.wasClean,
    totals: { ...countersOf(all), ...gauges },
    topics: topics.sort((a, b) => a.topic < b.topic ? -1 : 1),
    files: { open: pool.open.size, openMax: pool.openMax, openings: pool.openings },
    freeBytes: findFreeBytes(internals.fs, internals.folder),
  };
}

/**
 * What a histogram tells.
 *
 * @param source The histogram.
 * @returns Its numbers, which do not change any more.
 */
export function histogramStatsOf(source: Histogram): HistogramStats {
  const { bounds, counts, count, sum, max } = source;
  return {
    count,
    sum,
    max,
    p50: quantileOf(source, 0.5),
    p99: quantileOf(source, 0.99),
    buckets: Array.from(counts, (inBucket, bucket) => ({
      le: bounds[bucket] ?? null,
      count: inBucket,
    })),
  };
}

const noGauges: LogGauges = { partitions: 0, segments: 0, logBytes: 0, producerIds: 0 };

function sumOf(a: LogGauges, b: LogGauges): LogGauges {
  return {
    partitions: a.partitions + b.partitions,
    segments: a.segments + b.segments,
    logBytes: a.logBytes + b.logBytes,
    producerIds: a.producerIds + b.producerIds,
  };
}

function countersOf(stats: LogStats): LogCounters {
  const { disk, os, memory } = stats;
  return {
    appends: {
      disk: { ...disk },
      os: { ...os },
      memory: { ...memory },
      failed: stats.failedAppends,
    },
    batchBytes: histogramStatsOf(stats.batchBytes),
    acknowledgeMs: histogramStatsOf(stats.acknowledgeMs),
    syncMs: histogramStatsOf(stats.syncMs),
    failedSyncs: stats.failedSyncs,
    reads: { count: stats.reads, bytes: stats.readBytes, sentBytes: stats.sentBytes },
    retention: { segments: stats.retiredSegments, bytes: stats.retiredBytes },
    compaction: {
      count: stats.compactions,
      readRecords: stats.compactionReadRecords,
      keptRecords: stats.compactionKeptRecords,
      readBytes: stats.compactionReadBytes,
      keptBytes: stats.compactionKeptBytes,
    },
    recovery: {
      segments: stats.recoveredSegments,
      bytes: stats.recoveredBytes,
      tornBytes: stats.tornBytes,
    },
  };
}

function gaugesOf(topic: TopicState, partitions: readonly PartitionStats[]): LogGauges {
  let segments = 0;
  let logBytes = 0;
  let producerIds = 0;
  for (const partition of partitions) {
    segments += partition.segments;
    logBytes += partition.logBytes;
  }
  for (const { log } of topic.partitions) producerIds += log?.producers.byId.size ?? 0;
  return { partitions: partitions.length, segments, logBytes, producerIds };
}

function partitionStatsOf(internals: StoreInternals, state: PartitionState): PartitionStats {
  const { partition, log } = state;
  if (log === undefined) {
    return { partition, ...closedExtentOf(internals, state), offsets: undefined };
  }
  const { startOffset, highWatermark, endOffset, segments } = log;
  return {
    partition,
    segments: segments.length,
    logBytes: logBytesOf(log),
    offsets: { startOffset, highWatermark, endOffset },
  };
}

function logBytesOf({ segments }: Log): number {
  let sizeBytes = 0;
  for (const segment of segments) sizeBytes += segment.sizeBytes;
  return sizeBytes;
}

function closedExtentOf({ fs, folder }: StoreInternals, state: PartitionState): ClosedExtent {
  let extent = closedExtents.get(state);
  if (extent === undefined) {
    const name = partitionFolderName(state.topic, state.partition);
    const segments = listSegments(fs, joinPath(folder, name));
    const logBytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    extent = { segments: segments.length, logBytes };
    closedExtents.set(state, extent);
  }
  return extent;
}
