/** XXH64: published vectors, and the partitions that keys come to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadXxh64, xxh64, xxh64Partition } from "../../src/bytes/xxh64.ts";
import { assertProperty } from "../support/properties.ts";

const encoder = new TextEncoder();

test("xxh64 agrees with the published hashes", async () => {
  await loadXxh64();
  await loadXxh64();
  const hashes: ReadonlyArray<readonly [string, bigint]> = [
    ["", 0xef46db3751d8e999n],
    ["a", 0xd24ec4f1a98c6e5bn],
    ["abc", 0x44bc2cf5ad770999n],
    ["Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1n],
  ];
  for (const [text, hash] of hashes) assert.equal(xxh64(encoder.encode(text)), hash, text);
});

test("xxh64 of a key larger than a memory page does not depend on earlier keys", async () => {
  await loadXxh64();
  const long = new Uint8Array(300_000).map((_, index) => index * 31);
  const first = xxh64(long);
  xxh64(encoder.encode("something else"));
  assert.equal(xxh64(long), first);
  assert.notEqual(xxh64(long.subarray(1)), first);
});

test("xxh64 reads a view and nothing around it", async () => {
  await loadXxh64();
  assert.equal(xxh64(encoder.encode("xabcx").subarray(1, 4)), 0x44bc2cf5ad770999n);
});

test("xxh64Partition keeps to its rule: the low 31 bits modulo the number of partitions", async () => {
  await loadXxh64();
  assertProperty(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.integer({ min: 1, max: 100_000 }), (
      key,
      partitionCount,
    ) => {
      const wanted = Number((xxh64(key) & 0x7fffffffn) % BigInt(partitionCount));
      assert.equal(xxh64Partition(key, partitionCount), wanted);
    }),
  );
});

test("xxh64Partition never moves a key", async () => {
  await loadXxh64();
  // From an implementation of its own in another language, for 1, 4, 7 and 1000 partitions.
  const partitions: ReadonlyArray<readonly [string, number[]]> = [
    ["ATL", [0, 2, 3, 14]],
    ["ORD", [0, 2, 1, 602]],
    ["DFW", [0, 1, 4, 897]],
    ["DEN", [0, 1, 2, 797]],
    ["LAX", [0, 1, 6, 393]],
    ["", [0, 1, 2, 73]],
    ["0", [0, 0, 5, 372]],
    ["key-1", [0, 2, 1, 558]],
    ["a key that is longer than thirty-two bytes", [0, 3, 5, 523]],
  ];
  for (const [key, wanted] of partitions) {
    const found = [1, 4, 7, 1000].map((count) => xxh64Partition(encoder.encode(key), count));
    assert.deepEqual(found, wanted, key);
  }
});

test("xxh64Partition spreads keys evenly", async () => {
  await loadXxh64();
  const counts = new Array<number>(7).fill(0);
  for (let index = 0; index < 70_000; index++) {
    const partition = xxh64Partition(encoder.encode(`airport-${index}`), counts.length);
    counts[partition] = counts[partition]! + 1;
  }
  for (const count of counts) assert.ok(Math.abs(count - 10_000) < 500, `counts are ${counts}`);
});
