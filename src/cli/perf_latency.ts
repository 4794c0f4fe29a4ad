/**
 * How long sends took: counts, sums and maxima of all of them, and percentiles of a sample, as
 * Kafka's ProducerPerformance takes it. Of a long run every n-th latency is kept, so memory is
 * bounded.
 */

/** How many latencies are kept at most. */
export const latencySamplesMax = 500_000;

/** What is known of a number of sends. */
export interface LatencyTally {
  count: number;
  sizeBytes: number;
  totalMs: number;
  maxMs: number;
}

/** A tally with the sample that percentiles are taken from. */
export interface LatencyStatistics {
  readonly tally: LatencyTally;
  /** One latency of so many is kept, beginning with the first. */
  readonly sampling: number;
  readonly samples: Float64Array;
  sampleCount: number;
}

/** The latencies that the given parts of all sends stayed below, in milliseconds. */
export interface LatencyPercentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
}

/** Nothing so far. */
export function latencyTally(): LatencyTally {
  return { count: 0, sizeBytes: 0, totalMs: 0, maxMs: 0 };
}

/**
 * Adds a send to a tally.
 *
 * @param tally The tally.
 * @param latencyMs How long the send took.
 * @param sizeBytes How large its record was.
 */
export function addLatency(tally: LatencyTally, latencyMs: number, sizeBytes: number): void {
  tally.count++;
  tally.sizeBytes += sizeBytes;
  tally.totalMs += latencyMs;
  if (latencyMs > tally.maxMs) tally.maxMs = latencyMs;
}

/**
 * Statistics of no sends so far.
 *
 * @param recordsMax How many sends there will be at most.
 * @returns The statistics.
 */
export function latencyStatistics(recordsMax: number): LatencyStatistics {
  const sampling = Math.max(1, Math.ceil(recordsMax / latencySamplesMax));
  return {
    tally: latencyTally(),
    sampling,
    samples: new Float64Array(Math.ceil(recordsMax / sampling)),
    sampleCount: 0,
  };
}

/**
 * Adds a send to statistics.
 *
 * @param statistics The statistics.
 * @param latencyMs How long the send took.
 * @param sizeBytes How large its record was.
 */
export function noteLatency(
  statistics: LatencyStatistics,
  latencyMs: number,
  sizeBytes: number,
): void {
  const { tally, sampling, samples } = statistics;
  const isKept = tally.count % sampling === 0 && statistics.sampleCount < samples.length;
  if (isKept) samples[statistics.sampleCount++] = latencyMs;
  addLatency(tally, latencyMs, sizeBytes);
}

/**
 * The percentiles of what was kept: as in Kafka the element of the sorted sample at the part's place,
 * cut down to a whole number.
 *
 * @param statistics The statistics.
 * @returns The percentiles; zeros if there were no sends.
 */
export function latencyPercentiles(
  { samples, sampleCount }: LatencyStatistics,
): LatencyPercentiles {
  const sorted = samples.slice(0, sampleCount).sort();
  const at = (part: number): number => sorted[Math.floor(part * sampleCount)] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999) };
}
