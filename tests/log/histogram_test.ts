/** Histograms: every value in its bucket, quantiles within the bounds of theirs, sums that add up. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import {
  addHistogram,
  batchBytesBounds,
  countValue,
  durationBounds,
  histogram,
  quantileOf,
} from "../../src/log/histogram.ts";
import type { Histogram } from "../../src/log/histogram.ts";
import { assertProperty } from "../support/properties.ts";

function filled(values: readonly number[], bounds: readonly number[] = [1, 2, 5, 10]): Histogram {
  const target = histogram(bounds);
  for (const value of values) countValue(target, value);
  return target;
}

const anyValues = fc.array(fc.double({ min: 0, max: 30, noNaN: true }), { maxLength: 200 });

test("a value lies in the first bucket whose bound it does not exceed", () => {
  const { counts, count, sum, max } = filled([0, 1, 1.001, 2, 10, 10.5, 1000]);
  assert.deepEqual([...counts], [2, 2, 0, 1, 2]);
  assert.deepEqual([count, sum, max], [7, 1024.501, 1000]);
});

test("the bounds rise, and are what they seem", () => {
  for (const bounds of [durationBounds, batchBytesBounds]) {
    assert.deepEqual(bounds, [...bounds].sort((a, b) => a - b));
    assert.equal(new Set(bounds).size, bounds.length);
  }
  assert.deepEqual(durationBounds.slice(0, 4), [0.01, 0.02, 0.05, 0.1]);
  assert.deepEqual([durationBounds.at(-1), batchBytesBounds.at(-1)], [10_000, 2 ** 27]);
});

test("without values everything is 0", () => {
  assert.equal(quantileOf(filled([]), 0.99), 0);
});

test("one value is every quantile's upper limit", () => {
  assert.equal(quantileOf(filled([7]), 1), 7);
  assert.ok(quantileOf(filled([7]), 0.5) <= 7);
  assert.equal(quantileOf(filled([50, 70]), 1), 70);
});

test("values spread evenly have the quantiles of a ruler", () => {
  const values = Array.from({ length: 1000 }, (_, index) => (index + 1) / 100);
  const even = filled(values);
  for (const part of [0.05, 0.3, 0.5, 0.9, 0.99]) {
    assert.ok(Math.abs(quantileOf(even, part) - part * 10) < 0.02, `${part}`);
  }
});

test("a quantile lies in the bucket of the value that it estimates", () => {
  assertProperty(
    fc.property(anyValues, fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1), (values, part) => {
      fc.pre(values.length > 0);
      const target = filled(values);
      const estimate = quantileOf(target, part);
      const exact = values.toSorted((a, b) => a - b)[Math.ceil(part * values.length) - 1]!;
      const bucketOf = (value: number): number => {
        const bucket = target.bounds.findIndex((bound) => value <= bound);
        return bucket < 0 ? target.bounds.length : bucket;
      };
      const low = target.bounds[bucketOf(exact) - 1] ?? 0;
      const high = target.bounds[bucketOf(exact)] ?? target.max;
      assert.ok(estimate >= low && estimate <= high + 1e-9, `${low} <= ${estimate} <= ${high}`);
      assert.ok(estimate <= target.max + 1e-9);
    }),
  );
});

test("two that are added up are one that has counted everything", () => {
  assertProperty(fc.property(anyValues, anyValues, (some, others) => {
    const sum = filled(some);
    addHistogram(sum, filled(others));
    const all = filled([...some, ...others]);
    assert.deepEqual([...sum.counts], [...all.counts]);
    assert.deepEqual([sum.count, sum.max], [all.count, all.max]);
    assert.ok(Math.abs(sum.sum - all.sum) < 1e-6);
  }));
});
