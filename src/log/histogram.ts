/**
 * Histograms with fixed buckets: counting is a search among two dozen bounds and four additions, and
 * what was counted in several can be added up.
 */

/** How many values lie between bounds. */
export interface Histogram {
  /** The largest value of each bucket but the last, which has none; rising. */
  readonly bounds: readonly number[];
  /** One a bucket. */
  readonly counts: Float64Array;
  count: number;
  sum: number;
  /** 0 until there is a value. */
  max: number;
}

/** Bounds for durations in milliseconds, from 10 microseconds to 10 seconds. */
export const durationBounds: readonly number[] = [-2, -1, 0, 1, 2, 3]
  .flatMap((exponent) => [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)))
  .concat(10_000);
/** Bounds for sizes of batches, from 64 bytes to 128 MiB. */
export const batchBytesBounds: readonly number[] = Array.from(
  { length: 22 },
  (_, index) => 2 ** (index + 6),
);

/**
 * A histogram without values.
 *
 * @param bounds The largest value of each bucket but the last, rising.
 * @returns The histogram.
 */
export function histogram(bounds: readonly number[]): Histogram {
  return { bounds, counts: new Float64Array(bounds.length + 1), count: 0, sum: 0, max: 0 };
}

/**
 * Counts a value.
 *
 * @param target The histogram.
 * @param value Not negative.
 */
export function countValue(target: Histogram, value: number): void {
  const { bounds, counts } = target;
  let bucket = 0;
  while (bucket < bounds.length && value > bounds[bucket]!) bucket++;
  counts[bucket]!++;
  target.count++;
  target.sum += value;
  if (value > target.max) target.max = value;
}

/**
 * Adds what another histogram has counted.
 *
 * @param target The histogram that grows.
 * @param other One with the same bounds.
 */
export function addHistogram(target: Histogram, other: Histogram): void {
  for (const [bucket, count] of other.counts.entries()) target.counts[bucket]! += count;
  target.count += other.count;
  target.sum += other.sum;
  target.max = Math.max(target.max, other.max);
}

/**
 * Estimates the value that a part of all values does not exceed: values are taken to be spread
 * evenly in their bucket.
 *
 * @param source The histogram.
 * @param part From 0 to 1: 0.99 for the 99th percentile.
 * @returns The value, at most the largest one; 0 if there is none.
 */
export function quantileOf(source: Histogram, part: number): number {
  const { bounds, counts, count, max } = source;
  const wanted = part * count;
  let before = 0;
  for (const [bucket, inBucket] of counts.entries()) {
    if (inBucket > 0 && before + inBucket >= wanted) {
      const low = bucket === 0 ? 0 : bounds[bucket - 1]!;
      const high = Math.min(bounds[bucket] ?? max, max);
      return low + (high - low) * (wanted - before) / inBucket;
    }
    before += inBucket;
  }
  return max;
}
