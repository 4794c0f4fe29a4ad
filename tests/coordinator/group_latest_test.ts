/** Keeping values of offsets undecoded: whatever is kept can be decoded, and nothing is mixed up. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import type { LatestValues } from "../../src/coordinator/group_latest.ts";
import {
  dropLatest,
  keepLatest,
  latestValues,
  noteKey,
} from "../../src/coordinator/group_latest.ts";
import { decodeGroupValue, encodeGroupRecord } from "../../src/coordinator/group_records.ts";
import type { RecordView } from "../../src/record/record_reader.ts";
import { offsetRecord } from "../support/group_batches.ts";
import { concat } from "../support/batches.ts";
import { hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

/** A record as a reader shows it: in the middle of other bytes. */
function viewOf(key: Uint8Array, value: Uint8Array, offset = 0): RecordView {
  const bytes = concat(Uint8Array.of(1, 2, 3), key, value, Uint8Array.of(4, 5, 6));
  const keyEnd = 3 + key.length;
  const valueEnd = keyEnd + value.length;
  return {
    offset,
    timestamp: 0,
    bytes,
    keyStart: 3,
    keyEnd,
    valueStart: keyEnd,
    valueEnd,
    headerCount: 0,
    headersStart: valueEnd,
    end: valueEnd,
  };
}

const plain = [3, 4].map((version) => encodeGroupRecord(offsetRecord(0, 5, { version })));
const withId = encodeGroupRecord({
  ...offsetRecord(0, 5),
  value: { ...offsetRecord(0, 5).value, topicId: "AQIDBAUGBwgJCgsMDQ4PEA" },
} as never);

describe("keeping the latest values", () => {
  it("keeps plain ones of keys that are known, the last one of each", () => {
    const latest: LatestValues = new Map();
    const { key } = plain[0]!;
    assert.equal(keepLatest(latest, viewOf(key, plain[0]!.value!)), false);
    noteKey(latest, key);
    noteKey(latest, key);
    for (const [offset, { value }] of [...plain, withId].entries()) {
      assert.equal(keepLatest(latest, viewOf(key, value!, offset)), true);
      const [entry, ...others] = latestValues(latest);
      assert.equal(others.length, 0);
      assert.equal(entry!.recordOffset, offset);
      assert.equal(hexOf(entry!.value.subarray(0, entry!.sizeBytes)), hexOf(value!));
    }
    dropLatest(latest, key);
    assert.deepEqual([...latestValues(latest)], []);
  });

  it("leaves those with a note, of old versions and of other kinds to be decoded", () => {
    const latest: LatestValues = new Map();
    const { key } = plain[0]!;
    noteKey(latest, key);
    const noted = encodeGroupRecord(offsetRecord(0, 5, { metadata: "note" }));
    assert.equal(keepLatest(latest, viewOf(key, noted.value!)), false);
    for (const version of [0, 2]) {
      const { value } = encodeGroupRecord(offsetRecord(0, 5, { version }));
      assert.equal(keepLatest(latest, viewOf(key, value!)), false);
    }
    const legacy = key.slice();
    legacy[1] = 0;
    noteKey(latest, legacy);
    assert.equal(keepLatest(latest, viewOf(legacy, plain[0]!.value!)), false);
    const tombstone = { ...viewOf(key, new Uint8Array(0)), valueStart: -1, valueEnd: -1 };
    assert.equal(keepLatest(latest, tombstone), false);
  });

  it("keeps nothing that could not be decoded", () => {
    const change = fc.tuple(fc.nat({ max: 45 }), fc.nat({ max: 255 }));
    const start = fc.constantFrom(...[...plain, withId].map(({ value }) => value!));
    assertProperty(fc.property(start, fc.array(change, { maxLength: 3 }), (value, changes) => {
      const latest: LatestValues = new Map();
      const { key } = plain[0]!;
      noteKey(latest, key);
      const changed = value.slice();
      for (const [at, byte] of changes) if (at < changed.length) changed[at] = byte;
      if (!keepLatest(latest, viewOf(key, changed))) return;
      const decoded = decodeGroupValue("OffsetCommit", changed);
      assert.equal(decoded.metadata, "");
      assert(decoded.offset >= 0);
    }));
  });

  it("tells keys apart", () => {
    const keys = fc.uniqueArray(fc.uint8Array({ maxLength: 6 }), { selector: hexOf });
    assertProperty(fc.property(keys, (tails) => {
      const latest: LatestValues = new Map();
      const all = tails.map((tail) => Uint8Array.of(0, 1, ...tail));
      all.forEach((key) => noteKey(latest, key));
      all.forEach((key, offset) => keepLatest(latest, viewOf(key, plain[0]!.value!, offset)));
      const found = new Map(
        [...latestValues(latest)].map(({ key, recordOffset }) => [hexOf(key), recordOffset]),
      );
      assert.deepEqual(found, new Map(all.map((key, offset) => [hexOf(key), offset])));
    }));
  });
});
