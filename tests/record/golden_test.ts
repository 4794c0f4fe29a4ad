/** Golden batches: bytes of the format's examples and of Kafka itself. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { batchBuilder, builtBytes } from "../../src/record/batch_builder.ts";
import {
  baseSequenceOf,
  batchesIn,
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
} from "../../src/record/batch_view.ts";
import {
  buildEndTransactionMarker,
  endTransactionMarkerOf,
} from "../../src/record/control_record.ts";
import { forEachRecord, recordsOf } from "../../src/record/record_reader.ts";
import { codecs } from "../support/arbitraries.ts";
import { kafkaSegments } from "../support/kafka_segments.ts";
import { buildBatch, viewOf } from "../support/batches.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";

await loadCrc32c();

const utf8 = new TextEncoder();

/** Two records, the second 5 ms later with a null key and two headers. */
const twoRecords =
  "00000000000000000000004f000000000206ba5b620000000000010000018bcfe568000000018bcfe5" +
  "6805ffffffffffffffffffffffffffff0000000214000000046b310476310024000a02010a68656c6c6f0402680231026e01";
/** A commit marker at offset 42 of producer 1000, epoch 3. */
const commitMarker =
  "000000000000002a000000420000000502ad320ccb0030000000000000018bcfe568000000018bcfe56" +
  "80000000000000003e80003ffffffff000000012000000008000000010c00000000000700";
/** An empty transactional batch that compaction has kept. */
const emptyBatch =
  "00000000000000640000003100000005027a3ceb68001000000009ffffffffffffffff0000018bcfe56809" +
  "00000000000003e800030000001400000000";
/** A tombstone with a delete horizon a day later. */
const tombstone =
  "00000000000000050000003c00000002029019ba4a0040000000030000018bd50bc4000000018bcfe56800ff" +
  "ffffffffffffffffffffffffff000000011400ffefb25204026b0100";

test("two records have Kafka's bytes", () => {
  const bytes = buildBatch(
    [
      { timestamp: 1_700_000_000_000, key: "k1", value: "v1" },
      {
        timestamp: 1_700_000_000_005,
        value: "hello",
        headers: [{ key: "h", value: "1" }, { key: "n", value: null }],
      },
    ],
    { baseOffset: 0, partitionLeaderEpoch: 0 },
  );
  assert.equal(bytes.length, 91);
  assert.equal(hexOf(bytes), twoRecords);
});

test("two records are read from Kafka's bytes", () => {
  const batch = viewOf(bytesOfHex(twoRecords));
  assert.ok(hasValidChecksum(batch));
  assert.deepEqual([batch.baseOffset, batch.lastOffset, batch.recordCount], [0, 1, 2]);
  assert.equal(batch.sizeBytes, 91);
  assert.equal(batch.baseTimestamp, 1_700_000_000_000);
  assert.equal(batch.maxTimestamp, 1_700_000_000_005);
  assert.equal(partitionLeaderEpochOf(batch), 0);
  assert.deepEqual([producerIdOf(batch), producerEpochOf(batch)], [-1, -1]);
  assert.deepEqual([baseSequenceOf(batch), lastSequenceOf(batch)], [-1, -1]);
  assert.equal(isTransactional(batch), false);
  assert.equal(isControlBatch(batch), false);
  assert.equal(isLogAppendTime(batch), false);
  assert.equal(deleteHorizonOf(batch), undefined);
  assert.equal(compressionOfBatch(batch), "none");
  const place = { topic: "", partition: -1 };
  assert.deepEqual(recordsOf(batch), [
    {
      ...place,
      offset: 0,
      timestamp: 1_700_000_000_000,
      key: utf8.encode("k1"),
      value: utf8.encode("v1"),
      headers: [],
    },
    {
      ...place,
      offset: 1,
      timestamp: 1_700_000_000_005,
      key: null,
      value: utf8.encode("hello"),
      headers: [{ key: "h", value: utf8.encode("1") }, { key: "n", value: null }],
    },
  ]);
});

test("a commit marker has Kafka's bytes", () => {
  const builder = batchBuilder();
  const sizeBytes = buildEndTransactionMarker(builder, {
    type: "commit",
    coordinatorEpoch: 7,
    baseOffset: 42,
    partitionLeaderEpoch: 5,
    producerId: 1000,
    producerEpoch: 3,
    timestamp: 1_700_000_000_000,
  });
  assert.equal(sizeBytes, 78);
  assert.equal(hexOf(builtBytes(builder)), commitMarker);
});

test("a commit marker is read from Kafka's bytes", () => {
  const batch = viewOf(bytesOfHex(commitMarker));
  assert.ok(hasValidChecksum(batch));
  assert.ok(isControlBatch(batch) && isTransactional(batch));
  assert.deepEqual([batch.baseOffset, batch.lastOffset, batch.recordCount], [42, 42, 1]);
  assert.deepEqual([producerIdOf(batch), producerEpochOf(batch)], [1000, 3]);
  assert.deepEqual([baseSequenceOf(batch), lastSequenceOf(batch)], [-1, -1]);
  assert.equal(partitionLeaderEpochOf(batch), 5);
  const markers: unknown[] = [];
  forEachRecord(batch, (record) => markers.push(endTransactionMarkerOf(record)));
  assert.deepEqual(markers, [{ type: "commit", coordinatorEpoch: 7 }]);
});

test("an empty batch that compaction has kept is read", () => {
  const batch = viewOf(bytesOfHex(emptyBatch));
  assert.ok(hasValidChecksum(batch));
  assert.equal(batch.sizeBytes, 61);
  assert.deepEqual([batch.baseOffset, batch.lastOffset, batch.recordCount], [100, 109, 0]);
  assert.deepEqual([baseSequenceOf(batch), lastSequenceOf(batch)], [20, 29]);
  assert.equal(batch.baseTimestamp, -1);
  assert.equal(batch.maxTimestamp, 1_700_000_000_009);
  assert.ok(isTransactional(batch));
  assert.equal(forEachRecord(batch, () => assert.fail("there is no record")), 0);
});

test("a tombstone with a delete horizon is read", () => {
  const batch = viewOf(bytesOfHex(tombstone));
  assert.ok(hasValidChecksum(batch));
  assert.equal(batch.sizeBytes, 72);
  assert.deepEqual([batch.baseOffset, batch.lastOffset, batch.recordCount], [5, 8, 1]);
  assert.equal(deleteHorizonOf(batch), 1_700_000_000_000 + 86_400_000);
  const [record] = recordsOf(batch);
  assert.equal(record?.offset, 7);
  assert.equal(record?.timestamp, 1_700_000_000_000);
  assert.deepEqual([record?.key, record?.value], [utf8.encode("k"), null]);
});

test("what Kafka wrote is read, and written again it has Kafka's bytes", async () => {
  for (const codec of codecs) await loadCodec(codec);
  const compressions = new Set<string>();
  let rewrittenCount = 0;
  for (const { path, read } of kafkaSegments()) {
    const log = read("log");
    let end = 0;
    for (const batch of batchesIn(log)) {
      assert.ok(hasValidChecksum(batch), path);
      assert.equal(batch.position, end);
      end += batch.sizeBytes;
      const records = recordsOf(batch);
      assert.equal(records.length, batch.recordCount);
      const compression = compressionOfBatch(batch);
      compressions.add(compression);
      // Compaction leaves holes, and under append time the producer's timestamps are hidden.
      const isDense = records.length === batch.lastOffset - batch.baseOffset + 1;
      const isPlain = compression === "none" && isDense && deleteHorizonOf(batch) === undefined;
      if (!isPlain || isLogAppendTime(batch)) continue;
      const rewritten = buildBatch(records, {
        baseOffset: batch.baseOffset,
        partitionLeaderEpoch: partitionLeaderEpochOf(batch),
        producerId: producerIdOf(batch),
        producerEpoch: producerEpochOf(batch),
        baseSequence: baseSequenceOf(batch),
        transactional: isTransactional(batch),
        control: isControlBatch(batch),
      });
      const original = log.subarray(batch.position, batch.position + batch.sizeBytes);
      assert.equal(hexOf(rewritten), hexOf(original), `${path} at ${batch.position}`);
      rewrittenCount++;
    }
    assert.equal(end, log.length, path);
  }
  assert.deepEqual([...compressions].sort(), [...codecs].sort());
  assert.ok(rewrittenCount > 100, `${rewrittenCount} batches were written again`);
});
