/** The map from keys to their last offsets, which every decision of a compaction stands on. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";

import { loadXxh64, xxh64Halves } from "../../src/bytes/xxh64.ts";
import {
  lastOffsetOfKey,
  offsetMap,
  offsetMapLimits,
  putOffset,
} from "../../src/log/compaction_offset_map.ts";
import { hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

before(loadXxh64);

describe("offset map", () => {
  it("knows what a plain map knows, whatever the keys are", () => {
    const key = fc.oneof(
      fc.uint8Array({ maxLength: 3 }),
      fc.uint8Array({ minLength: 30, maxLength: 70 }),
    );
    assertProperty(fc.property(fc.array(key, { maxLength: 300 }), fc.bigInt(0n, 2n ** 64n - 1n), (
      keys,
      seed,
    ) => {
      const map = offsetMap(seed, keys.length);
      const plain = new Map<string, number>();
      for (const [offset, one] of keys.entries()) {
        assert.ok(putOffset(map, one, offset));
        plain.set(hexOf(one), offset);
      }
      assert.equal(map.count, plain.size);
      for (const one of [...keys, utf8("absent")]) {
        assert.equal(lastOffsetOfKey(map, one), plain.get(hexOf(one)) ?? -1);
      }
    }));
  });

  it("takes no two keys of one hash for the same", () => {
    const map = offsetMap(1n, 4);
    const last = map.hashes.length - 1;
    const first = utf8("first");
    assert.ok(putOffset(map, first, 1));
    const slot = xxh64Halves(first, 1n)[0]! & last;
    let other = first;
    for (let index = 0; (xxh64Halves(other, 1n)[0]! & last) !== slot || other === first; index++) {
      other = utf8(`other${index}`);
    }
    // As if their hashes were the same as a whole.
    map.hashes[slot] = xxh64Halves(other, 1n)[1]!;
    assert.equal(lastOffsetOfKey(map, other), -1);
    assert.ok(putOffset(map, other, 2));
    assert.equal(lastOffsetOfKey(map, other), 2);
    assert.equal(map.count, 2);
  });

  it("takes no more keys than it may, and new offsets of those that it has", () => {
    const map = offsetMap(2n, 1000, { entriesMax: 2, keyBytesMax: 100 });
    assert.ok(putOffset(map, utf8("a"), 0));
    assert.ok(putOffset(map, utf8("b"), 1));
    assert.equal(putOffset(map, utf8("c"), 2), false);
    assert.ok(putOffset(map, utf8("a"), 3));
    assert.equal(lastOffsetOfKey(map, utf8("c")), -1);
    assert.deepEqual([map.count, lastOffsetOfKey(map, utf8("a"))], [2, 3]);
  });

  it("takes no more bytes of keys than it may, but the first key whatever its size", () => {
    const map = offsetMap(3n, 1000, { entriesMax: 100, keyBytesMax: 10 });
    assert.ok(putOffset(map, new Uint8Array(50), 0));
    assert.equal(putOffset(map, utf8("a"), 1), false);
    const other = offsetMap(3n, 1000, { entriesMax: 100, keyBytesMax: 10 });
    assert.ok(putOffset(other, utf8("12345"), 0));
    assert.ok(putOffset(other, utf8("67890"), 1));
    assert.equal(putOffset(other, utf8("1"), 2), false);
  });

  it("keeps keys that are larger than a megabyte, and those around them", () => {
    const map = offsetMap(4n, 100);
    const large = new Uint8Array(3 * 1024 * 1024 + 5).fill(7);
    const keys = [utf8("before"), large, utf8("behind"), large.slice(0, 1024 * 1024)];
    for (const [offset, key] of keys.entries()) assert.ok(putOffset(map, key, offset));
    for (const [offset, key] of keys.entries()) assert.equal(lastOffsetOfKey(map, key), offset);
    large[large.length - 1] = 8;
    assert.equal(lastOffsetOfKey(map, large), -1);
  });

  it("has a table of the size of the log, and never more than its limit", () => {
    assert.equal(offsetMap(5n, 0).hashes.length, 16);
    assert.equal(offsetMap(5n, 12).hashes.length, 16);
    assert.equal(offsetMap(5n, 13).hashes.length, 32);
    const largest = offsetMap(5n, Number.MAX_SAFE_INTEGER);
    const tableBytes = largest.hashes.byteLength + largest.keyPlaces.byteLength +
      largest.offsets.byteLength;
    assert.equal(tableBytes + offsetMapLimits.keyBytesMax, 128 * 1024 * 1024);
    assert.equal(largest.entriesMax, offsetMapLimits.entriesMax);
  });
});
