/** The published entry `ottla/record`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as record from "../../src/record/mod.ts";

test("the program of the module's comment runs", async () => {
  const { appendRecord, batchBuilder, batchesIn, builtBytes, finishBatch } = record;
  const { loadCodec, loadCrc32c, recordsOf, verifyChecksum } = record;
  await loadCrc32c();
  await loadCodec("gzip");

  const builder = batchBuilder();
  appendRecord(builder, Date.now(), "ann", "hello", [{ key: "language", value: "en" }]);
  appendRecord(builder, Date.now(), "bob", null);
  finishBatch(builder, { baseOffset: 0, compression: "gzip" });
  const bytes = builtBytes(builder).slice();

  const seen: unknown[] = [];
  for (const batch of batchesIn(bytes)) {
    verifyChecksum(batch);
    for (const { offset, key, value, headers } of recordsOf(batch)) {
      seen.push([offset, String.fromCharCode(...key!), value?.length, headers.length]);
    }
  }
  assert.deepEqual(seen, [[0, "ann", 5, 1], [1, "bob", undefined, 0]]);
});

test("nothing is published by accident", () => {
  assert.deepEqual(Object.keys(record).sort(), [
    "OttlaError",
    "appendRecord",
    "assignOffsets",
    "baseSequenceOf",
    "batchBuilder",
    "batchesIn",
    "buildEndTransactionMarker",
    "builtBytes",
    "compressionOfBatch",
    "controlTypeOf",
    "deleteHorizonOf",
    "endTransactionMarkerOf",
    "finishBatch",
    "forEachRecord",
    "hasValidChecksum",
    "headersOf",
    "isControlBatch",
    "isLogAppendTime",
    "isOttlaError",
    "isTransactional",
    "keyOf",
    "lastSequenceOf",
    "loadCodec",
    "loadCrc32c",
    "openBatchBytes",
    "partitionLeaderEpochOf",
    "producerEpochOf",
    "producerIdOf",
    "recordsOf",
    "resetBuilder",
    "sequenceOf",
    "valueOf",
    "verifyChecksum",
    "viewBatch",
  ]);
});
