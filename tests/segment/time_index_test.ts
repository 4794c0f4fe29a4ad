/** The time index. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import {
  decodeTimeEntries,
  encodeTimeEntries,
  isTimeIndexFull,
  lastTimeEntry,
  lookUpTimestamp,
  maybeAppendTimeEntry,
  timeEntryBytes,
  timeIndex,
  truncateTimeIndex,
} from "../../src/segment/time_index.ts";
import type { TimeIndex } from "../../src/segment/time_index.ts";
import { poisoned } from "../support/batches.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const base = 45;

/** Kafka's own example: thirty slots, entry i says timestamp 10 i at offset 10 i + 45. */
function filled(count: number): TimeIndex {
  const index = timeIndex(base, 30 * timeEntryBytes);
  for (let entry = 1; entry <= count; entry++) {
    maybeAppendTimeEntry(index, 10 * entry, 10 * entry + base);
  }
  return index;
}

function entriesOf(index: TimeIndex): [number, number][] {
  return Array.from({ length: index.count }, (_, entry) => [
    index.timestamps[entry]!,
    index.baseOffset + index.relativeOffsets[entry]!,
  ]);
}

test("an empty index leads to the beginning", () => {
  const index = timeIndex(base, 360);
  assert.deepEqual(lookUpTimestamp(index, 100), { timestamp: -1, offset: base });
  assert.deepEqual(lastTimeEntry(index), { timestamp: -1, offset: base });
});

test("a look-up gives the last entry that is not larger", () => {
  const index = filled(29);
  assert.deepEqual(lookUpTimestamp(index, 9), { timestamp: -1, offset: 45 });
  assert.deepEqual(lookUpTimestamp(index, 25), { timestamp: 20, offset: 65 });
  assert.deepEqual(lookUpTimestamp(index, 30), { timestamp: 30, offset: 75 });
  assert.deepEqual(lookUpTimestamp(index, 10_000), { timestamp: 290, offset: 335 });
  assert.deepEqual(entriesOf(index).slice(0, 4).at(-1), [40, 85]);
});

test("the last slot is kept for the sealing", () => {
  const index = filled(28);
  assert.equal(isTimeIndexFull(index), false);
  maybeAppendTimeEntry(index, 290, 335);
  assert.equal(isTimeIndexFull(index), true);
  assert.throws(() => maybeAppendTimeEntry(index, 10_000, 1_000), RangeError);
  maybeAppendTimeEntry(index, 10_000, 1_000, true);
  assert.deepEqual(lastTimeEntry(index), { timestamp: 10_000, offset: 1_000 });
  assert.equal(index.count, 30);
});

test("an index that is fuller than it may be still takes the entry of the sealing", () => {
  const index = { ...filled(29), entriesMax: 5 };
  assert.ok(isTimeIndexFull(index));
  maybeAppendTimeEntry(index, 300, 400, true);
  assert.deepEqual(lastTimeEntry(index), { timestamp: 300, offset: 400 });
  assert.equal(index.count, 30);
  assert.deepEqual(entriesOf(index)[28], [290, 335]);
});

test("neither offset nor timestamp may go back, and the same timestamp is no new entry", () => {
  const index = filled(3);
  assert.throws(() => maybeAppendTimeEntry(index, 40, 74), RangeError);
  assert.throws(() => maybeAppendTimeEntry(index, 29, 80), RangeError);
  maybeAppendTimeEntry(index, 30, 90);
  assert.deepEqual(lastTimeEntry(index), { timestamp: 30, offset: 75 });
  maybeAppendTimeEntry(index, 31, 75);
  assert.deepEqual(lastTimeEntry(index), { timestamp: 31, offset: 75 });
});

test("records without timestamps are not indexed", () => {
  const index = timeIndex(base, 360);
  maybeAppendTimeEntry(index, -1, base + 5);
  assert.equal(index.count, 0);
});

test("truncating removes entries from the offset on", () => {
  const truncated = (offset: number): number => {
    const index = filled(5);
    truncateTimeIndex(index, offset);
    return index.count;
  };
  assert.equal(truncated(55), 0);
  assert.equal(truncated(56), 1);
  assert.equal(truncated(1_000), 5);
  assert.equal(truncated(0), 0);
});

test("an entry has Kafka's bytes", () => {
  const index = timeIndex(1_000, 120);
  maybeAppendTimeEntry(index, 1_700_000_000_005, 1_025);
  assert.equal(hexOf(encodeTimeEntries(index)), "0000018bcfe5680500000019");
  const read = timeIndex(1_000, 120);
  assert.equal(decodeTimeEntries(read, bytesOfHex("0000018bcfe5680500000019"), 1_026), true);
  assert.deepEqual(entriesOf(read), [[1_700_000_000_005, 1_025]]);
});

test("entries come back, also those added later", () => {
  const index = filled(20);
  const read = timeIndex(base, 360);
  assert.equal(decodeTimeEntries(read, encodeTimeEntries(index).subarray(0, 48), 999), true);
  assert.equal(decodeTimeEntries(read, poisoned(encodeTimeEntries(index, 4)), 999), true);
  assert.deepEqual(entriesOf(read), entriesOf(index));
});

test("a timestamp beyond 2^53 is written as one of 64 bits", () => {
  for (const timestamp of [2 ** 62, 2 ** 63, 2 ** 64]) {
    const index = timeIndex(0, 120);
    maybeAppendTimeEntry(index, timestamp, 5);
    const view = new DataView(encodeTimeEntries(index).buffer);
    assert.ok(view.getBigInt64(0) >= 2n ** 62n, `${timestamp}`);
  }
});

test("entries end where they stop rising, or the segment ends", () => {
  const good = hexOf(encodeTimeEntries(filled(2)));
  const read = (tail: string, endOffset = 999): number => {
    const index = timeIndex(base, 360);
    assert.equal(decodeTimeEntries(index, poisoned(bytesOfHex(good + tail)), endOffset), false);
    return index.count;
  };
  assert.equal(read("00".repeat(36)), 2);
  assert.equal(read("0000000000000014" + "00000020"), 2, "the same timestamp");
  assert.equal(read("000000000000001e" + "00000013"), 2, "an offset that goes back");
  assert.equal(read("ffffffffffffffff" + "00000020"), 2, "a negative timestamp");
  assert.equal(read("00".repeat(12), 65), 1);
});

test("a file of zeros is an index without entries", () => {
  const index = timeIndex(base, 360);
  assert.equal(decodeTimeEntries(index, new Uint8Array(120), 999), false);
  assert.equal(index.count, 0);
});

test("a file that is no whole number of entries is no index", () => {
  assert.throws(
    () => decodeTimeEntries(timeIndex(base, 360), new Uint8Array(13), 1_000),
    (error) => isOttlaError(error, "STORE_INVALID"),
  );
});

test("any bytes are decoded without harm", () => {
  const small = fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 60 })), { maxLength: 12 })
    .map((pairs) => {
      const bytes = new Uint8Array(pairs.length * timeEntryBytes);
      const view = new DataView(bytes.buffer);
      for (const [entry, [timestamp, offset]] of pairs.entries()) {
        view.setInt32(entry * timeEntryBytes + 4, timestamp);
        view.setInt32(entry * timeEntryBytes + 8, offset);
      }
      return bytes;
    });
  const anyBytes = fc.oneof(fc.uint8Array({ maxLength: 120 }), small);
  assertProperty(fc.property(anyBytes, fc.nat({ max: 200 }), (bytes, endOffset) => {
    const index = timeIndex(base, 60);
    try {
      decodeTimeEntries(index, poisoned(bytes), endOffset);
    } catch (error) {
      assert.ok(isOttlaError(error, "STORE_INVALID"));
    }
    assert.ok(index.count <= 5);
    let before: [number, number] = [-1, base];
    for (const entry of entriesOf(index)) {
      assert.ok(entry[0] > before[0] && entry[1] >= before[1] && entry[1] < endOffset);
      before = entry;
    }
  }));
});

test("an entry whose timestamp is no safe integer is not taken", () => {
  const bytes = new Uint8Array(2 * timeEntryBytes);
  const view = new DataView(bytes.buffer);
  view.setBigInt64(0, 5n);
  view.setInt32(8, 1);
  view.setBigInt64(timeEntryBytes, 2n ** 53n + 1n);
  view.setInt32(timeEntryBytes + 8, 2);
  const index = timeIndex(base, 60);
  assert.equal(decodeTimeEntries(index, bytes, base + 10), false);
  assert.deepEqual(entriesOf(index), [[5, base + 1]]);
});
