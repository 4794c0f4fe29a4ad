/** Taking records out of batches: what stays as it was, and what is counted anew. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";

import { byteWriter, writtenBytes } from "../../src/bytes/byte_writer.ts";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import type { BatchFilter } from "../../src/record/batch_filter.ts";
import { filterBatch } from "../../src/record/batch_filter.ts";
import { batchHeaderBytes } from "../../src/record/batch_layout.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import {
  baseSequenceOf,
  compressionOfBatch,
  deleteHorizonOf,
  hasValidChecksum,
  isControlBatch,
  isLogAppendTime,
  isTransactional,
  lastSequenceOf,
  partitionLeaderEpochOf,
  producerEpochOf,
  producerIdOf,
  sequenceOf,
} from "../../src/record/batch_view.ts";
import type { Compression } from "../../src/record/compression.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { buildBatch, rawBatch, someTime, viewOf } from "../support/batches.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const keepsAll: BatchFilter = {
  keeps: () => true,
  retainsEmpty: false,
  needsHorizon: false,
  deleteHorizonMs: someTime + 86_400_000,
  sizeBytesMax: Infinity,
};
const keepsNone: BatchFilter = { ...keepsAll, keeps: () => false, retainsEmpty: true };

function keepsOffsets(...offsets: number[]): BatchFilter {
  return { ...keepsAll, keeps: ({ offset }) => offsets.includes(offset) };
}

function filtered(bytes: Uint8Array, filter: BatchFilter): Uint8Array {
  const target = byteWriter(16);
  filterBatch(target, viewOf(bytes), filter);
  return writtenBytes(target).slice();
}

function filteredView(bytes: Uint8Array, filter: BatchFilter): BatchView {
  const batch = viewOf(filtered(bytes, filter));
  assert.ok(hasValidChecksum(batch));
  return batch;
}

before(async () => {
  await loadCrc32c();
  await loadCodec("zstd");
});

describe("batch filter", () => {
  it("copies a batch of which nothing goes byte by byte", () => {
    const bytes = buildBatch([{ key: "a", value: "1" }, { key: "b", value: "2" }], {
      compression: "gzip",
    });
    assert.deepEqual(filtered(bytes, keepsAll), bytes);
  });

  it("keeps where a batch begins and ends, whatever goes", () => {
    const bytes = buildBatch(
      ["a", "b", "c"].map((key, index) => ({ key, value: key, timestamp: someTime + index * 10 })),
      {
        baseOffset: 3,
        producerId: 23,
        producerEpoch: 5,
        baseSequence: 10,
        partitionLeaderEpoch: 67,
        transactional: true,
      },
    );
    const batch = filteredView(bytes, keepsOffsets(4));
    assert.deepEqual([batch.baseOffset, batch.lastOffset, batch.recordCount], [3, 5, 1]);
    assert.deepEqual([batch.baseTimestamp, batch.maxTimestamp], [someTime + 10, someTime + 10]);
    assert.deepEqual([producerIdOf(batch), producerEpochOf(batch)], [23, 5]);
    assert.deepEqual([baseSequenceOf(batch), lastSequenceOf(batch)], [10, 12]);
    assert.equal(partitionLeaderEpochOf(batch), 67);
    assert.ok(isTransactional(batch));
    const [record] = recordsOf(batch);
    assert.deepEqual([record?.offset, record?.timestamp], [4, someTime + 10]);
    assert.equal(sequenceOf(batch, 4), 11);
  });

  it("leaves a header of a batch that must not be forgotten, and nothing of others", () => {
    const header = {
      baseOffset: 100,
      partitionLeaderEpoch: 2,
      producerId: 1000,
      producerEpoch: 3,
      baseSequence: 20,
      transactional: true,
    };
    const records = Array.from({ length: 10 }, (_, index) => ({
      key: "k",
      timestamp: 1_700_000_000_009 - index,
    }));
    const bytes = buildBatch(records, { ...header, compression: "gzip" });
    const empty = filtered(bytes, keepsNone);
    // The example of Kafka's.
    const kafkas = "00000000000000640000003100000005027a3ceb68001000000009ffffffffffffffff" +
      "0000018bcfe5680900000000000003e800030000001400000000";
    assert.equal(hexOf(empty).slice(34), kafkas.slice(34));
    assert.deepEqual(filtered(empty, keepsNone), empty);
    assert.equal(filtered(empty, { ...keepsNone, retainsEmpty: false }).length, 0);
    assert.equal(filtered(bytes, { ...keepsNone, retainsEmpty: false }).length, 0);
  });

  it("gives a batch with a tombstone a horizon, as Kafka does", () => {
    const batch = viewOf(buildBatch(
      [{ key: "x", value: "v" }, { key: "y", value: "v" }, { key: "k" }, { key: "z", value: "v" }],
      { baseOffset: 5, partitionLeaderEpoch: 2 },
    ));
    const bytes = filtered(batch.bytes, keepsOffsets(7));
    const kafkas = bytesOfHex(
      "00000000000000050000003c00000002029019ba4a0040000000030000018bd50bc4000000018bcfe56800" +
        "ffffffffffffffffffffffffffff000000011400ffefb25204026b0100",
    );
    assert.equal(hexOf(bytes), hexOf(kafkas));
    assert.equal(deleteHorizonOf(viewOf(bytes)), someTime + 86_400_000);
    assert.equal(recordsOf(viewOf(bytes))[0]!.timestamp, someTime);
    // It has one now, which stays what it is.
    const later = { ...keepsAll, deleteHorizonMs: someTime * 2 };
    assert.deepEqual(filtered(bytes, later), bytes);
  });

  it("keeps timestamps where a horizon is set", () => {
    const records = [50, 100, 150].map((timestamp, index) => ({
      key: `${index}`,
      value: index === 1 ? null : "v",
      timestamp,
    }));
    const batch = filteredView(buildBatch(records), { ...keepsAll, deleteHorizonMs: 100 });
    assert.equal(deleteHorizonOf(batch), 100);
    assert.deepEqual(recordsOf(batch).map(({ timestamp }) => timestamp), [50, 100, 150]);
    assert.equal(batch.maxTimestamp, 150);
    const rest = filteredView(batch.bytes, keepsOffsets(0, 1));
    assert.deepEqual([deleteHorizonOf(rest), rest.maxTimestamp], [100, 100]);
    assert.deepEqual(recordsOf(rest).map(({ timestamp }) => timestamp), [50, 100]);
    const empty = filteredView(batch.bytes, keepsNone);
    assert.deepEqual([deleteHorizonOf(empty), empty.maxTimestamp], [undefined, 150]);
  });

  it("gives a batch with a tombstone no horizon as long as there is none to give", () => {
    const bytes = buildBatch([{ key: "k" }, { key: "l", value: "v" }]);
    const notYet = { ...keepsAll, deleteHorizonMs: undefined };
    assert.deepEqual(filtered(bytes, notYet), bytes);
    const rest = filteredView(bytes, { ...keepsOffsets(0), deleteHorizonMs: undefined });
    assert.deepEqual([rest.recordCount, deleteHorizonOf(rest)], [1, undefined]);
    const withHorizon = filtered(bytes, keepsAll);
    assert.deepEqual(filtered(withHorizon, notYet), withHorizon);
  });

  it("gives a batch no horizon that would make it too large", () => {
    const bytes = buildBatch([{ key: "a", value: "v" }, { key: "k" }, { key: "l" }]);
    const { sizeBytes } = filteredView(bytes, keepsOffsets(0, 1));
    const batch = filteredView(bytes, { ...keepsOffsets(0, 1), sizeBytesMax: sizeBytes - 1 });
    assert.deepEqual([deleteHorizonOf(batch), batch.recordCount], [undefined, 2]);
    assert.deepEqual(filtered(bytes, { ...keepsAll, sizeBytesMax: bytes.length }), bytes);
    assert.deepEqual(filtered(bytes, { ...keepsAll, sizeBytesMax: bytes.length - 1 }), bytes);
  });

  it("keeps records as far from the base timestamp as they were where they would grow", () => {
    const times = [someTime, someTime + 1e9, someTime, someTime];
    const records = times.map((timestamp, nth) => ({
      key: `${nth}`,
      value: nth === 3 ? null : "v",
      timestamp,
    }));
    for (const logAppendTime of [undefined, someTime + 1e6]) {
      const bytes = buildBatch(records, { logAppendTime });
      const firstBytes = 9;
      const sizeBytesMax = bytes.length - firstBytes;
      const batch = filteredView(bytes, { ...keepsOffsets(1, 2, 3), sizeBytesMax });
      assert.ok(batch.sizeBytes <= sizeBytesMax);
      assert.equal(deleteHorizonOf(batch), undefined);
      assert.deepEqual(
        recordsOf(batch).map(({ timestamp }) => timestamp),
        times.slice(1).map((timestamp) => logAppendTime ?? timestamp),
      );
    }
  });

  it("refuses what is too large however it is written, and leaves nothing of it", () => {
    const target = byteWriter();
    const batch = viewOf(buildBatch([{ key: "a", value: "v" }, { key: "k" }]));
    const filter = { ...keepsOffsets(1), sizeBytesMax: batchHeaderBytes };
    assert.throws(() => filterBatch(target, batch, filter), { code: "RECORD_LIST_TOO_LARGE" });
    assert.equal(target.position, 0);
  });

  it("gives a batch without tombstones a horizon if it is told to", () => {
    const bytes = buildBatch([{ key: "k", value: "v" }], {
      control: true,
      transactional: true,
      producerId: 1,
      producerEpoch: 0,
    });
    const batch = filteredView(bytes, { ...keepsAll, needsHorizon: true });
    assert.ok(isControlBatch(batch));
    assert.equal(deleteHorizonOf(batch), keepsAll.deleteHorizonMs);
  });

  it("keeps the time of appending", () => {
    const records = [1, 2, 3].map((timestamp) => ({ key: `${timestamp}`, value: "v", timestamp }));
    const bytes = buildBatch(records, { logAppendTime: someTime });
    const batch = filteredView(bytes, keepsOffsets(1));
    assert.ok(isLogAppendTime(batch));
    assert.equal(batch.maxTimestamp, someTime);
    assert.equal(recordsOf(batch)[0]!.timestamp, someTime);
    assert.equal(filteredView(bytes, keepsNone).maxTimestamp, someTime);
  });

  it("refuses a batch whose records are not what it says", () => {
    const body = bytesOfHex("0c00000002610000");
    for (const recordCount of [-1, 2, 2 ** 31 - 1]) {
      const bytes = rawBatch({ body, recordCount });
      assert.throws(() => filtered(bytes, keepsAll), { code: "CORRUPT_MESSAGE" });
    }
  });

  it("gives back what was kept, of any records in any codec", () => {
    const bytes = fc.uint8Array({ maxLength: 100 });
    const record = fc.record({
      key: fc.option(bytes),
      value: fc.option(bytes),
      timestamp: fc.integer({ min: -1, max: 2 ** 45 }),
      headers: fc.array(fc.record({ key: fc.string(), value: fc.option(bytes) }), { maxLength: 3 }),
      isKept: fc.boolean(),
    });
    const codec = fc.constantFrom<Compression>("none", "gzip", "zstd", "lz4", "snappy");
    assertProperty(fc.property(fc.array(record, { minLength: 1, maxLength: 20 }), codec, (
      records,
      compression,
    ) => {
      const whole = buildBatch(records, { baseOffset: 7, compression });
      const target = byteWriter(16);
      const filter = {
        ...keepsNone,
        keeps: ({ offset }: { offset: number }) => records[offset - 7]!.isKept,
      };
      const count = filterBatch(target, viewOf(whole), filter);
      const batch = viewOf(writtenBytes(target));
      assert.ok(hasValidChecksum(batch));
      assert.equal(batch.sizeBytes, target.position);
      const expected = recordsOf(viewOf(whole)).filter(({ offset }) => records[offset - 7]!.isKept);
      assert.equal(count, expected.length);
      const shown = (list: ReturnType<typeof recordsOf>): unknown =>
        list.map(({ key, value, headers, offset, timestamp }) => ({
          offset,
          timestamp,
          key: key && hexOf(key),
          value: value && hexOf(value),
          headers: headers.map((header) => [header.key, header.value && hexOf(header.value)]),
        }));
      assert.deepEqual(shown(recordsOf(batch)), shown(expected));
      assert.deepEqual([batch.baseOffset, batch.lastOffset], [7, 6 + records.length]);
      if (count > 0) assert.equal(compressionOfBatch(batch), compression);
      else assert.equal(batch.sizeBytes, batchHeaderBytes);
    }));
  });
});
