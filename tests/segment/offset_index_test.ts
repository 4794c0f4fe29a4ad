/** The offset index. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import {
  appendOffsetEntry,
  decodeOffsetEntries,
  encodeOffsetEntries,
  findOffsetEntry,
  isOffsetIndexFull,
  lastIndexedOffset,
  lastIndexedPosition,
  lookUpPosition,
  offsetEntryBytes,
  offsetIndex,
  truncateOffsetIndex,
} from "../../src/segment/offset_index.ts";
import type { OffsetIndex } from "../../src/segment/offset_index.ts";
import { poisoned } from "../support/batches.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const base = 45;

function entriesOf(index: OffsetIndex): [number, number][] {
  return Array.from({ length: index.count }, (_, entry) => [
    index.baseOffset + index.relativeOffsets[entry]!,
    index.positions[entry]!,
  ]);
}

function filled(entries: readonly (readonly [number, number])[], baseOffset = base): OffsetIndex {
  const index = offsetIndex(baseOffset, 8_192);
  for (const [offset, position] of entries) appendOffsetEntry(index, offset, position);
  return index;
}

test("an empty index leads to the beginning", () => {
  const index = offsetIndex(base, 240);
  for (const offset of [0, base, base + 92]) assert.equal(lookUpPosition(index, offset), 0);
  assert.equal(lastIndexedOffset(index), base);
  assert.equal(lastIndexedPosition(index), 0);
  assert.equal(findOffsetEntry(index, base), -1);
  assert.equal(encodeOffsetEntries(index).length, 0);
});

test("a look-up gives the last entry that is not larger", () => {
  const index = offsetIndex(base, 30 * offsetEntryBytes);
  for (let entry = 0; entry < 30; entry++) {
    appendOffsetEntry(index, base + 2 * entry + 1, entry * 100);
  }
  assert.ok(isOffsetIndexFull(index));
  assert.equal(lookUpPosition(index, base), 0);
  for (let entry = 0; entry < 30; entry++) {
    assert.equal(lookUpPosition(index, base + 2 * entry + 1), entry * 100);
    assert.equal(lookUpPosition(index, base + 2 * entry + 2), entry * 100);
  }
  assert.equal(lookUpPosition(index, base + 1_000), 2_900);
  assert.equal(lookUpPosition(index, base - 10), 0);
});

test("a look-up agrees with a plain search", () => {
  const rises = fc.array(
    fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 999 })),
  );
  assertProperty(fc.property(rises, fc.nat({ max: 300 }), (steps, offset) => {
    let at: [number, number] = [base - 1, 0];
    const entries = steps.map(([by, far]) => at = [at[0] + by, at[1] + far]);
    const plain = entries.findLast(([entry]) => entry <= base + offset);
    assert.equal(lookUpPosition(filled(entries), base + offset), plain?.[1] ?? 0);
  }));
});

test("a full index takes nothing more", () => {
  const index = offsetIndex(base, 2 * offsetEntryBytes + 7);
  appendOffsetEntry(index, base, 0);
  appendOffsetEntry(index, base + 1, 10);
  assert.ok(isOffsetIndexFull(index));
  assert.throws(() => appendOffsetEntry(index, base + 2, 20), RangeError);
  assert.equal(index.count, 2);
});

test("offsets must rise", () => {
  const index = filled([[base + 6, 0]]);
  assert.throws(() => appendOffsetEntry(index, base + 5, 10), RangeError);
  assert.throws(() => appendOffsetEntry(index, base + 6, 10), RangeError);
  assert.equal(index.count, 1);
});

test("an offset must be within 2^31 - 1 of the base", () => {
  const pairs = [[0, 2 ** 31], [1, 0], [100, 10], [2 ** 31, 0], [2 ** 31, 2 ** 32], [
    0,
    -(2 ** 31),
  ]];
  for (const [baseOffset, offset] of pairs) {
    const index = offsetIndex(baseOffset!, 100);
    assert.throws(
      () => appendOffsetEntry(index, offset!, 10),
      RangeError,
      `${baseOffset} ${offset}`,
    );
  }
  const index = filled([[base, 0], [base + 2 ** 31 - 1, 9]]);
  assert.equal(lastIndexedOffset(index), base + 2 ** 31 - 1);
});

test("truncating removes entries from the offset on", () => {
  const entries = Array.from({ length: 9 }, (_, entry) => [entry + 1, entry * 10] as const);
  const truncated = (offset: number): number => {
    const index = filled([...entries], 0);
    truncateOffsetIndex(index, offset);
    return lastIndexedOffset(index);
  };
  assert.equal(truncated(12), 9);
  assert.equal(truncated(10), 9);
  assert.equal(truncated(9), 8);
  assert.equal(truncated(5), 4);
  assert.equal(truncated(0), 0);
  const index = filled([...entries], 0);
  truncateOffsetIndex(index, 5);
  appendOffsetEntry(index, 5, 40);
  assert.deepEqual(entriesOf(index).slice(-2), [[4, 30], [5, 40]]);
});

test("an entry has Kafka's bytes", () => {
  const index = filled([[1_025, 4_200]], 1_000);
  assert.equal(hexOf(encodeOffsetEntries(index)), "0000001900001068");
  const read = offsetIndex(1_000, 80);
  assert.equal(decodeOffsetEntries(read, bytesOfHex("0000001900001068"), 5_000), true);
  assert.deepEqual(entriesOf(read), [[1_025, 4_200]]);
});

test("entries come back, also those added later, also far behind the base", () => {
  const baseOffset = 2 ** 52;
  const index = filled([[baseOffset, 70], [baseOffset + 2 ** 31 - 1, 2 ** 31 - 1]], baseOffset);
  const read = offsetIndex(baseOffset, 80);
  assert.equal(decodeOffsetEntries(read, encodeOffsetEntries(index).subarray(0, 8), 2 ** 31), true);
  assert.equal(decodeOffsetEntries(read, encodeOffsetEntries(index, 1), 2 ** 31), true);
  assert.deepEqual(entriesOf(read), entriesOf(index));
});

test("entries end where they stop rising", () => {
  const good = encodeOffsetEntries(filled([[base + 1, 100], [base + 5, 200]]));
  const read = (tail: string, logBytes = 1_000): [number, number][] => {
    const index = offsetIndex(base, 800);
    const bytes = Uint8Array.from([...good, ...bytesOfHex(tail)]);
    assert.equal(decodeOffsetEntries(index, poisoned(bytes), logBytes), false);
    return entriesOf(index);
  };
  const both = [[base + 1, 100], [base + 5, 200]];
  assert.deepEqual(read("0000000000000000".repeat(3)), both);
  assert.deepEqual(read("00000005" + "0000012c"), both, "the same offset");
  assert.deepEqual(read("00000006" + "000000c8"), both, "the same position");
  assert.deepEqual(read("00000006" + "000003e8"), both, "a position behind the log");
  assert.deepEqual(read("80000000" + "0000012c"), both, "an offset too far from the base");
  assert.deepEqual(read("00000006" + "80000000", 2 ** 31), both, "a position of 32 bits");
  assert.deepEqual(read("0000000000000000", 150), [[base + 1, 100]]);
});

test("a file that is no whole number of entries is no index", () => {
  const index = offsetIndex(base, 800);
  assert.throws(
    () => decodeOffsetEntries(index, new Uint8Array(7), 1_000),
    (error) => isOttlaError(error, "STORE_INVALID"),
  );
  assert.equal(index.count, 0);
});

test("any bytes are decoded without harm", () => {
  const small = fc.array(fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 400 })), { maxLength: 12 })
    .map((pairs) => new Uint8Array(new Uint32Array(pairs.flat()).buffer).reverse());
  const anyBytes = fc.oneof(fc.uint8Array({ maxLength: 100 }), small);
  assertProperty(fc.property(anyBytes, fc.nat({ max: 2 ** 32 }), (bytes, logBytes) => {
    const index = offsetIndex(base, 48);
    try {
      decodeOffsetEntries(index, poisoned(bytes), logBytes);
    } catch (error) {
      assert.ok(isOttlaError(error, "STORE_INVALID"));
    }
    assert.ok(index.count <= 6);
    let before: [number, number] = [base - 1, 0];
    for (const entry of entriesOf(index)) {
      assert.ok(entry[0] > before[0] && entry[1] > before[1] && entry[1] < logBytes);
      before = entry;
    }
  }));
});
