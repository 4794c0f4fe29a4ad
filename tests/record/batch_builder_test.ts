/** Building batches: sizes, limits, headers, and what is refused. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
  openBatchBytes,
  resetBuilder,
} from "../../src/record/batch_builder.ts";
import type { BatchOptions } from "../../src/record/batch_builder.ts";
import { batchHeaderBytes } from "../../src/record/batch_layout.ts";
import {
  batchesIn,
  hasValidChecksum,
  isControlBatch,
  isLogAppendTime,
  isTransactional,
  verifyChecksum,
} from "../../src/record/batch_view.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import type { Content, HeaderInput } from "../../src/record/record.ts";
import { anyRecords, codecs } from "../support/arbitraries.ts";
import { buildBatch, someTime, viewOf } from "../support/batches.ts";
import { assertProperty } from "../support/properties.ts";

await loadCrc32c();
for (const codec of codecs) await loadCodec(codec);

/** The bytes of a second record, its length prefix included; the first has the timestamp 0. */
function sizeOfRecord(
  timestamp: number,
  key: Content,
  value: Content,
  headers?: HeaderInput[],
): number {
  const builder = batchBuilder();
  appendRecord(builder, 0, null, null);
  const before = openBatchBytes(builder);
  appendRecord(builder, timestamp, key, value, headers);
  return openBatchBytes(builder) - before;
}

test("records have the sizes that Kafka gives them", () => {
  const headers = [{ key: "k1", value: "v1" }, { key: "k2", value: null }];
  assert.equal(sizeOfRecord(0, "a", "1"), 9);
  assert.equal(sizeOfRecord(0, "b", null), 8);
  assert.equal(sizeOfRecord(0, null, "3"), 8);
  assert.equal(sizeOfRecord(0, null, null), 7);
  assert.equal(sizeOfRecord(9998, "abc", "0", headers), 23);
  assert.equal(sizeOfRecord(999, "abc", new Uint8Array(204_800)), 15 + 204_800);
});

test("a builder knows the size of its batch before it is finished", () => {
  assertProperty(
    fc.property(anyRecords, (records) => {
      const builder = batchBuilder(1);
      let before = openBatchBytes(builder);
      assert.equal(before, batchHeaderBytes);
      for (const { timestamp, key = null, value = null, headers } of records) {
        assert.equal(appendRecord(builder, timestamp, key, value, headers), true);
        assert.ok(openBatchBytes(builder) >= before + 7);
        before = openBatchBytes(builder);
      }
      assert.equal(finishBatch(builder, { baseOffset: 0 }), before);
      assert.equal(builtBytes(builder).length, before);
      assert.equal(openBatchBytes(builder), batchHeaderBytes);
    }),
    { numRuns: 50 },
  );
});

test("the first record of a batch always fits, a later one only below the limit", () => {
  const builder = batchBuilder();
  const limit = batchHeaderBytes + 9 + 9;
  assert.equal(appendRecord(builder, 0, "a", "1", [], 1), true);
  assert.equal(appendRecord(builder, 0, "b", "2", [], limit - 1), false);
  assert.equal(builder.recordCount, 1);
  assert.equal(appendRecord(builder, 0, "b", "2", [], limit), true);
  assert.equal(appendRecord(builder, 0, "c", "3", [], limit), false);
  assert.equal(openBatchBytes(builder), limit);
  finishBatch(builder, { baseOffset: 0 });
  assert.deepEqual(recordsOf(viewOf(builtBytes(builder))).map(({ offset }) => offset), [0, 1]);
});

test("the largest timestamp counts wherever it stands", () => {
  const records = [0, 2, 1].map((timestamp) => ({ timestamp }));
  const batch = viewOf(buildBatch(records));
  assert.equal(batch.baseTimestamp, 0);
  assert.equal(batch.maxTimestamp, 2);
  assert.deepEqual(recordsOf(batch).map(({ timestamp }) => timestamp), [0, 2, 1]);
});

test("the time of appending takes the place of all timestamps", () => {
  const records = [0, 2, 1].map((timestamp) => ({ timestamp }));
  const batch = viewOf(buildBatch(records, { logAppendTime: 15 }));
  assert.ok(isLogAppendTime(batch));
  assert.ok(hasValidChecksum(batch));
  assert.equal(batch.maxTimestamp, 15);
  assert.deepEqual(recordsOf(batch).map(({ timestamp }) => timestamp), [15, 15, 15]);
});

test("a builder without finished batches has no bytes", () => {
  const builder = batchBuilder();
  assert.equal(builtBytes(builder).length, 0);
  assert.throws(() => finishBatch(builder, { baseOffset: 0 }), { name: "AssertionError" });
  appendRecord(builder, someTime, "a", null);
  assert.equal(builtBytes(builder).length, 0);
});

test("several batches lie one behind the other, and a reset forgets them", () => {
  assertProperty(
    fc.property(fc.array(anyRecords, { minLength: 1, maxLength: 4 }), (groups) => {
      const builder = batchBuilder(1);
      for (let round = 0; round < 2; round++) {
        resetBuilder(builder);
        let baseOffset = 5;
        for (const [index, records] of groups.entries()) {
          for (const { timestamp, key = null, value = null, headers } of records) {
            appendRecord(builder, timestamp, key, value, headers);
          }
          finishBatch(builder, { baseOffset, compression: codecs[index % codecs.length]! });
          baseOffset += records.length;
        }
        // One record more that is not finished does not count.
        appendRecord(builder, someTime, "open", "open");
        const batches = [...batchesIn(builtBytes(builder))];
        assert.equal(batches.length, groups.length);
        for (const batch of batches) verifyChecksum(batch);
        const timestamps = batches.flatMap((batch) => recordsOf(batch)).map((r) => r.timestamp);
        assert.deepEqual(timestamps, groups.flat().map(({ timestamp }) => timestamp));
        assert.equal(batches.at(-1)!.lastOffset + 1, baseOffset);
      }
    }),
    { numRuns: 40 },
  );
});

test("a record larger than the room makes room", () => {
  const builder = batchBuilder(0);
  const value = new Uint8Array(300_000).fill(3);
  appendRecord(builder, someTime, "large", value);
  appendRecord(builder, someTime, "small", "x");
  finishBatch(builder, { baseOffset: 0 });
  const [large, small] = recordsOf(viewOf(builtBytes(builder)));
  assert.deepEqual(large?.value, value);
  assert.equal(small?.value?.length, 1);
});

test("a timestamp that is no safe integer is refused and changes nothing", () => {
  const builder = batchBuilder();
  const wrong = [NaN, Infinity, 0.5, 2 ** 53, -(2 ** 53), "1", undefined] as number[];
  for (const timestamp of wrong) {
    assert.throws(() => appendRecord(builder, timestamp, "k", null), RangeError);
  }
  appendRecord(builder, someTime, "a", null);
  for (const timestamp of [...wrong, someTime + 0.5, someTime - 2 ** 53]) {
    assert.throws(() => appendRecord(builder, timestamp, "k", null), RangeError);
  }
  appendRecord(builder, someTime + 1, "b", null);
  finishBatch(builder, { baseOffset: 0 });
  const timestamps = recordsOf(viewOf(builtBytes(builder))).map(({ timestamp }) => timestamp);
  assert.deepEqual(timestamps, [someTime, someTime + 1]);
});

test("timestamps too far apart for one batch are refused", () => {
  const builder = batchBuilder();
  appendRecord(builder, Number.MIN_SAFE_INTEGER, null, null);
  assert.throws(() => appendRecord(builder, 1, null, null), RangeError);
  appendRecord(builder, 0, null, null);
  finishBatch(builder, { baseOffset: 0 });
  const [first, second] = recordsOf(viewOf(builtBytes(builder)));
  assert.deepEqual([first?.timestamp, second?.timestamp], [Number.MIN_SAFE_INTEGER, 0]);
});

test("what is neither bytes nor text is a TypeError and changes nothing", () => {
  const builder = batchBuilder();
  appendRecord(builder, someTime, "a", "1");
  const before = openBatchBytes(builder);
  const wrong = [5, {}, undefined, true, new ArrayBuffer(4)] as unknown as Content[];
  for (const content of wrong) {
    assert.throws(() => appendRecord(builder, someTime, content, null), TypeError);
    assert.throws(() => appendRecord(builder, someTime, null, content), TypeError);
    const headers = [{ key: "h", value: content }];
    assert.throws(() => appendRecord(builder, someTime, null, null, headers), TypeError);
  }
  const headers = [{ key: null, value: "v" }] as unknown as HeaderInput[];
  assert.throws(() => appendRecord(builder, someTime, null, null, headers), TypeError);
  assert.equal(openBatchBytes(builder), before);
  finishBatch(builder, { baseOffset: 0 });
  assert.equal(recordsOf(viewOf(builtBytes(builder))).length, 1);
});

test("options that contradict each other are refused and the batch stays open", () => {
  const builder = batchBuilder();
  appendRecord(builder, someTime, "a", "1");
  const producer = { producerId: 5, producerEpoch: 1, baseSequence: 0 };
  const wrong: BatchOptions[] = [
    { baseOffset: -1 },
    { baseOffset: 0.5 },
    { baseOffset: NaN },
    { baseOffset: Number.MAX_SAFE_INTEGER },
    { baseOffset: 0, transactional: true },
    { baseOffset: 0, producerId: 5 },
    { baseOffset: 0, ...producer, producerEpoch: -1 },
    { baseOffset: 0, ...producer, baseSequence: -1 },
  ];
  for (const options of wrong) {
    assert.throws(() => finishBatch(builder, options), RangeError, JSON.stringify(options));
  }
  assert.equal(builder.recordCount, 1);
  finishBatch(builder, { baseOffset: 0, transactional: true, ...producer });
  const batch = viewOf(builtBytes(builder));
  assert.ok(isTransactional(batch) && !isControlBatch(batch));
  assert.equal(recordsOf(batch).length, 1);
});

test("a level that a codec does not have is refused and the batch stays open", () => {
  const builder = batchBuilder();
  appendRecord(builder, someTime, "a", "1");
  const options = { baseOffset: 0, compression: "gzip", compressionLevel: 10 } as const;
  assert.throws(() => finishBatch(builder, options), RangeError);
  finishBatch(builder, { ...options, compressionLevel: 9 });
  assert.equal(recordsOf(viewOf(builtBytes(builder))).length, 1);
});

test("records that compress badly still fit", () => {
  const noise = new Uint8Array(5_000);
  let state = 1;
  for (let index = 0; index < noise.length; index++) {
    state = Math.imul(state, 1_103_515_245) + 12_345 | 0;
    noise[index] = state >>> 16;
  }
  for (const compression of codecs) {
    const builder = batchBuilder(5_100);
    appendRecord(builder, someTime, null, noise);
    finishBatch(builder, { baseOffset: 0, compression });
    assert.deepEqual(recordsOf(viewOf(builtBytes(builder)))[0]?.value, noise, compression);
  }
});
