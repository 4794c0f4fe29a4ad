/**
 * What `ottla perf` prints, in the words and numbers of kafka-producer-perf-test and
 * kafka-consumer-perf-test, so that what reads theirs can read ours. A MB has 1,048,576 bytes.
 */

import type { LatencyStatistics, LatencyTally } from "./perf_latency.ts";
import { latencyPercentiles } from "./perf_latency.ts";

/** What a consumer has done, from the beginning or in an interval. */
export interface ConsumedTally {
  readonly recordCount: number;
  readonly sizeBytes: number;
  /** How long it took in all. */
  readonly elapsedMs: number;
  /** What of it passed before the first partition could be read. */
  readonly rebalanceMs: number;
}

const megabyteBytes = 1024 * 1024;
const consumedTitles = [
  "data.consumed.in.MB",
  "MB.sec",
  "data.consumed.in.nMsg",
  "nMsg.sec",
  "rebalance.time.ms",
  "fetch.time.ms",
  "fetch.MB.sec",
  "fetch.nMsg.sec",
];

/** The titles above the line of a consumer. */
export const consumerHeader: string = ["start.time", "end.time", ...consumedTitles].join(", ");

/** The titles above the lines of a consumer's intervals. */
export const intervalHeader: string = ["time", "threadId", ...consumedTitles].join(", ");

/**
 * The line of a producer's interval.
 *
 * @param tally What was sent in it.
 * @param elapsedMs How long it was.
 * @returns The line without its end.
 */
export function producerIntervalLine(tally: LatencyTally, elapsedMs: number): string {
  const { count, sizeBytes, maxMs } = tally;
  return `${count} records sent, ${perSecond(count, elapsedMs).toFixed(1)} records/sec ` +
    `(${megabytesPerSecond(sizeBytes, elapsedMs).toFixed(2)} MB/sec), ` +
    `${averageMs(tally).toFixed(1)} ms avg latency, ${maxMs.toFixed(1)} ms max latency.`;
}

/**
 * The line that sums a producer up. Percentiles are whole milliseconds, cut down, as Kafka has them.
 *
 * @param statistics What was sent.
 * @param elapsedMs How long it took.
 * @param isSteadyState Whether it is about what followed the warm-up.
 * @returns The line without its end.
 */
export function producerSummaryLine(
  statistics: LatencyStatistics,
  elapsedMs: number,
  isSteadyState = false,
): string {
  const { tally } = statistics;
  const { count, sizeBytes, maxMs } = tally;
  const { p50, p95, p99, p999 } = latencyPercentiles(statistics);
  const ms = (latencyMs: number): string => `${Math.floor(latencyMs)} ms`;
  return `${count}${isSteadyState ? " steady state" : ""} records sent, ` +
    `${perSecond(count, elapsedMs).toFixed(6)} records/sec ` +
    `(${megabytesPerSecond(sizeBytes, elapsedMs).toFixed(2)} MB/sec), ` +
    `${averageMs(tally).toFixed(2)} ms avg latency, ${maxMs.toFixed(2)} ms max latency, ` +
    `${ms(p50)} 50th, ${ms(p95)} 95th, ${ms(p99)} 99th, ${ms(p999)} 99.9th.`;
}

/** The same as an object; percentiles are not cut down. */
export function producerSummary(
  statistics: LatencyStatistics,
  elapsedMs: number,
): Readonly<Record<string, unknown>> {
  const { tally } = statistics;
  const { count, sizeBytes, maxMs } = tally;
  const { p50, p95, p99, p999 } = latencyPercentiles(statistics);
  return {
    recordCount: count,
    sizeBytes,
    durationMs: rounded(elapsedMs),
    recordsPerSecond: rounded(perSecond(count, elapsedMs)),
    megabytesPerSecond: rounded(megabytesPerSecond(sizeBytes, elapsedMs)),
    latencyMs: {
      average: rounded(averageMs(tally)),
      max: rounded(maxMs),
      p50: rounded(p50),
      p95: rounded(p95),
      p99: rounded(p99),
      p999: rounded(p999),
    },
  };
}

/**
 * The line that sums a consumer up.
 *
 * @param consumed What it has done.
 * @param startMs When it began, in milliseconds since the epoch.
 * @param endMs When it ended.
 * @returns The line without its end.
 */
export function consumerSummaryLine(
  consumed: ConsumedTally,
  startMs: number,
  endMs: number,
): string {
  const { recordCount, sizeBytes, elapsedMs } = consumed;
  return [
    localTime(startMs),
    localTime(endMs),
    (sizeBytes / megabyteBytes).toFixed(4),
    megabytesPerSecond(sizeBytes, elapsedMs).toFixed(4),
    recordCount,
    perSecond(recordCount, elapsedMs).toFixed(4),
    fetchCells(consumed),
  ].join(", ");
}

/** The same as an object. */
export function consumerSummary(
  consumed: ConsumedTally,
  startMs: number,
  endMs: number,
): Readonly<Record<string, unknown>> {
  const { recordCount, sizeBytes, elapsedMs, rebalanceMs } = consumed;
  const fetchMs = fetchMsOf(consumed);
  return {
    startTime: startMs,
    endTime: endMs,
    recordCount,
    sizeBytes,
    durationMs: rounded(elapsedMs),
    megabytesPerSecond: rounded(megabytesPerSecond(sizeBytes, elapsedMs)),
    recordsPerSecond: rounded(perSecond(recordCount, elapsedMs)),
    rebalanceMs: rounded(rebalanceMs),
    fetchMs: rounded(fetchMs),
    fetchMegabytesPerSecond: rounded(megabytesPerSecond(sizeBytes, fetchMs)),
    fetchRecordsPerSecond: rounded(perSecond(recordCount, fetchMs)),
  };
}

/**
 * The line of a consumer's interval.
 *
 * @param total What it has done since the beginning.
 * @param interval What of it in this interval.
 * @param endMs When the interval ended, in milliseconds since the epoch.
 * @returns The line without its end.
 */
export function consumerIntervalLine(
  total: Pick<ConsumedTally, "recordCount" | "sizeBytes">,
  interval: ConsumedTally,
  endMs: number,
): string {
  const { recordCount, sizeBytes, elapsedMs } = interval;
  return [
    localTime(endMs),
    0,
    (total.sizeBytes / megabyteBytes).toFixed(4),
    megabytesPerSecond(sizeBytes, elapsedMs).toFixed(4),
    total.recordCount,
    perSecond(recordCount, elapsedMs).toFixed(4),
    fetchCells(interval),
  ].join(", ");
}

function fetchCells(consumed: ConsumedTally): string {
  const { recordCount, sizeBytes, rebalanceMs } = consumed;
  const fetchMs = fetchMsOf(consumed);
  return [
    Math.round(rebalanceMs),
    Math.round(fetchMs),
    megabytesPerSecond(sizeBytes, fetchMs).toFixed(4),
    perSecond(recordCount, fetchMs).toFixed(4),
  ].join(", ");
}

function fetchMsOf({ elapsedMs, rebalanceMs }: ConsumedTally): number {
  return Math.max(0, elapsedMs - rebalanceMs);
}

/** In a time that is none there was no rate. */
function perSecond(amount: number, elapsedMs: number): number {
  return elapsedMs > 0 ? amount * 1000 / elapsedMs : 0;
}

function megabytesPerSecond(sizeBytes: number, elapsedMs: number): number {
  return perSecond(sizeBytes, elapsedMs) / megabyteBytes;
}

function averageMs({ totalMs, count }: LatencyTally): number {
  return count > 0 ? totalMs / count : 0;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** As Kafka prints times unless told otherwise: yyyy-MM-dd HH:mm:ss:SSS, in the local zone. */
function localTime(timeMs: number): string {
  const time = new Date(timeMs);
  const digits = (value: number, count: number): string => String(value).padStart(count, "0");
  const day = [
    digits(time.getFullYear(), 4),
    digits(time.getMonth() + 1, 2),
    digits(time.getDate(), 2),
  ];
  const clock = [
    digits(time.getHours(), 2),
    digits(time.getMinutes(), 2),
    digits(time.getSeconds(), 2),
    digits(time.getMilliseconds(), 3),
  ];
  return `${day.join("-")} ${clock.join(":")}`;
}
