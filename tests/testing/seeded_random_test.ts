/** Chance by seed: the same on every runtime, and even enough. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { SeededRandom } from "../../src/testing/mod.ts";
import { seededRandom } from "../../src/testing/mod.ts";

const draw = (random: SeededRandom, count: number): number[] =>
  Array.from({ length: count }, () => random.uint32());

describe("seeded random", () => {
  it("gives these numbers on every runtime", () => {
    assert.deepEqual(draw(seededRandom(0), 3), [1789933344, 44971166, 2521392804]);
    assert.deepEqual(draw(seededRandom(2 ** 53 - 1), 3), [219981187, 3356140, 4212152102]);
  });

  it("gives the same for the same seed, and something else for any other", () => {
    const seeds = [0, 1, 2, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
    const drawn = seeds.map((seed) => draw(seededRandom(seed), 4).join());
    assert.deepEqual(drawn, seeds.map((seed) => draw(seededRandom(seed), 4).join()));
    assert.equal(new Set(drawn).size, seeds.length);
  });

  it("is forked by name, whatever was drawn before", () => {
    const random = seededRandom(7);
    const first = draw(random.fork("a"), 4);
    draw(random, 10);
    assert.deepEqual(draw(random.fork("a"), 4), first);
    assert.notDeepEqual(draw(random.fork("b"), 4), first);
    assert.notDeepEqual(draw(seededRandom(8).fork("a"), 4), first);
    assert.notDeepEqual(draw(random.fork("a").fork("a"), 4), first);
  });

  it("hits every whole number below an end alike", () => {
    const random = seededRandom(3);
    const counts = new Array<number>(10).fill(0);
    for (let draws = 0; draws < 10_000; draws++) counts[random.below(10)]!++;
    for (const count of counts) assert.ok(count > 850 && count < 1_150, `${counts}`);
    assert.equal(random.below(1), 0);
    const large = Array.from({ length: 100 }, () => random.below(2 ** 53));
    assert.ok(large.every((value) => Number.isSafeInteger(value) && value >= 0));
    assert.ok(large.some((value) => value > 2 ** 52));
    assert.ok(large.some((value) => value % 2 === 1));
  });

  it("is true as often as it was asked to be", () => {
    const random = seededRandom(4);
    const countOf = (probability: number): number =>
      Array.from({ length: 10_000 }, () => random.chance(probability)).filter(Boolean).length;
    assert.equal(countOf(0), 0);
    assert.equal(countOf(1), 10_000);
    const third = countOf(1 / 3);
    assert.ok(third > 3_150 && third < 3_520, `${third}`);
  });

  it("picks values and gives bytes", () => {
    const random = seededRandom(5);
    const picked = new Set(Array.from({ length: 100 }, () => random.pick(["a", "b", "c"])));
    assert.deepEqual([...picked].sort(), ["a", "b", "c"]);
    assert.throws(() => random.pick([]), /^RangeError: values must hold one value or more/);
    assert.equal(random.bytes(0).length, 0);
    assert.ok(new Set(random.bytes(10_000)).size > 250);
  });

  it("refuses what is no seed", () => {
    for (const seed of [-1, 1.5, 2 ** 53, Infinity]) {
      assert.throws(() => seededRandom(seed), /^RangeError: seed must be/);
    }
    for (const seed of [NaN, "1" as unknown as number]) {
      assert.throws(() => seededRandom(seed), /^TypeError: seed must be/);
    }
  });
});
