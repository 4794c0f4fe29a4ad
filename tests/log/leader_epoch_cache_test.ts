/** Leader epochs: the cases of Kafka's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { LeaderEpochCache } from "../../src/log/leader_epoch_cache.ts";
import {
  assignEpoch,
  endOffsetForEpoch,
  findEpochOfOffset,
  findLatestEpoch,
  findNextEpoch,
  findPreviousEpoch,
  leaderEpochCache,
  truncateEpochsFromEnd,
  truncateEpochsFromStart,
} from "../../src/log/leader_epoch_cache.ts";
import { assertProperty } from "../support/properties.ts";

const unknown = { epoch: -1, endOffset: -1 };

function cacheOf(...entries: readonly (readonly [number, number])[]): LeaderEpochCache {
  return leaderEpochCache(entries.map(([epoch, startOffset]) => ({ epoch, startOffset })));
}

function entriesOf(cache: LeaderEpochCache): [number, number][] {
  return cache.entries.map((entry) => [entry.epoch, entry.startOffset]);
}

test("the newest epoch ends at the log's end", () => {
  const cache = cacheOf([2, 10]);
  assert.equal(findLatestEpoch(cache), 2);
  assert.deepEqual(endOffsetForEpoch(cache, 2, 11), { epoch: 2, endOffset: 11 });
});

test("an entry that contradicts a new one is dropped", () => {
  assert.deepEqual(entriesOf(cacheOf([2, 9], [2, 10])), [[2, 9]]);
  assert.deepEqual(entriesOf(cacheOf([2, 9], [3, 9])), [[3, 9]]);
  assert.deepEqual(entriesOf(cacheOf([2, 6], [3, 5])), [[3, 5]]);
  const cache = cacheOf([1, 5], [2, 6], [1, 7]);
  assert.equal(findLatestEpoch(cache), 1);
  assert.deepEqual(entriesOf(cache)[0], [1, 7]);
  assert.deepEqual(endOffsetForEpoch(cache, 2, 8), unknown);
});

test("assigning says whether anything changed", () => {
  const cache = leaderEpochCache();
  assert.equal(assignEpoch(cache, 0, 0), true);
  assert.equal(assignEpoch(cache, 0, 0), false);
  assert.equal(assignEpoch(cache, 0, 5), false);
  assert.equal(assignEpoch(cache, 1, 5), true);
  assert.throws(() => assignEpoch(cache, -1, 5), RangeError);
  assert.throws(() => assignEpoch(cache, 2, -5), RangeError);
  assert.deepEqual(entriesOf(cache), [[0, 0], [1, 5]]);
});

test("an epoch between known ones ends where the next one began", () => {
  const replaced = cacheOf([5, 11], [6, 12], [7, 13], [7, 12]);
  assert.deepEqual(endOffsetForEpoch(replaced, 5, 14), { epoch: 5, endOffset: 12 });
  assert.deepEqual(endOffsetForEpoch(replaced, 6, 14), { epoch: 5, endOffset: 12 });
  const cache = cacheOf([0, 10], [2, 13], [4, 17]);
  assert.deepEqual(endOffsetForEpoch(cache, 1, 20), { epoch: 0, endOffset: 13 });
  assert.deepEqual(endOffsetForEpoch(cache, 2, 20), { epoch: 2, endOffset: 17 });
  assert.deepEqual(endOffsetForEpoch(cache, 3, 20), { epoch: 2, endOffset: 17 });
});

test("an epoch below all begins nothing, one above all is unknown", () => {
  const cache = cacheOf([5, 11], [6, 12], [7, 13]);
  assert.deepEqual(endOffsetForEpoch(cache, 4, 14), { epoch: 4, endOffset: 11 });
  assert.deepEqual(endOffsetForEpoch(cache, 8, 14), unknown);
  assert.deepEqual(endOffsetForEpoch(cache, -1, 14), unknown);
  assert.deepEqual(endOffsetForEpoch(leaderEpochCache(), 0, 14), unknown);
});

test("cutting the log's end forgets the epochs behind it", () => {
  const cut = (endOffset: number): [boolean, [number, number][]] => {
    const cache = cacheOf([2, 6], [3, 8], [4, 11]);
    return [truncateEpochsFromEnd(cache, endOffset), entriesOf(cache)];
  };
  assert.deepEqual(cut(8), [true, [[2, 6]]]);
  assert.deepEqual(cut(9), [true, [[2, 6], [3, 8]]]);
  assert.deepEqual(cut(12), [false, [[2, 6], [3, 8], [4, 11]]]);
  assert.deepEqual(cut(-1), [false, [[2, 6], [3, 8], [4, 11]]]);
  assert.deepEqual(cut(0), [true, []]);
});

test("cutting the log's start keeps the epoch that covers it", () => {
  const cut = (startOffset: number): [boolean, [number, number][]] => {
    const cache = cacheOf([2, 6], [3, 8], [4, 11]);
    return [truncateEpochsFromStart(cache, startOffset), entriesOf(cache)];
  };
  assert.deepEqual(cut(8), [true, [[3, 8], [4, 11]]]);
  assert.deepEqual(cut(9), [true, [[3, 9], [4, 11]]]);
  assert.deepEqual(cut(11), [true, [[4, 11]]]);
  assert.deepEqual(cut(15), [true, [[4, 15]]]);
  for (const startOffset of [1, 6, -1]) {
    assert.deepEqual(cut(startOffset), [false, [[2, 6], [3, 8], [4, 11]]]);
  }
  const cache = cacheOf([0, 0], [1, 7], [2, 10]);
  truncateEpochsFromStart(cache, 5);
  assert.deepEqual(entriesOf(cache), [[0, 5], [1, 7], [2, 10]]);
});

test("an offset belongs to the last epoch that began before it", () => {
  const cache = cacheOf([0, 10], [1, 20], [5, 30]);
  assert.equal(findEpochOfOffset(cache, 25), 1);
  assert.equal(findEpochOfOffset(cache, 20), 1);
  assert.equal(findEpochOfOffset(cache, 30), 5);
  assert.equal(findEpochOfOffset(cache, 50), 5);
  assert.equal(findEpochOfOffset(cache, 5), undefined);
});

test("the epochs beside an epoch are found", () => {
  assert.equal(findPreviousEpoch(cacheOf([2, 0], [4, 1], [10, 2]), 10), 4);
  assert.equal(findPreviousEpoch(cacheOf([2, 0]), 2), undefined);
  const cache = cacheOf([0, 0], [1, 1], [2, 2]);
  assert.equal(findNextEpoch(cache, -1), 0);
  assert.equal(findNextEpoch(cache, 0), 1);
  assert.equal(findNextEpoch(cache, 2), undefined);
});

test("entries always increase strictly in both numbers", () => {
  const steps = fc.array(
    fc.tuple(fc.nat(8), fc.nat(30), fc.constantFrom("assign", "end", "start")),
  );
  assertProperty(fc.property(steps, (list) => {
    const cache = leaderEpochCache();
    for (const [epoch, offset, kind] of list) {
      const before = entriesOf(cache);
      const changed = kind === "assign"
        ? assignEpoch(cache, epoch, offset)
        : kind === "end"
        ? truncateEpochsFromEnd(cache, offset)
        : truncateEpochsFromStart(cache, offset);
      const after = entriesOf(cache);
      assert.equal(changed, JSON.stringify(before) !== JSON.stringify(after));
      const isIncreasing = cache.entries.every((entry, index) => {
        const previous = cache.entries[index - 1] ?? { epoch: -1, startOffset: -1 };
        return previous.epoch < entry.epoch && previous.startOffset < entry.startOffset;
      });
      assert.equal(isIncreasing, true);
    }
  }));
});
