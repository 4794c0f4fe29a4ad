/** A batch without records: every reader of batches takes it for one that holds nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import {
  batchesIn,
  isControlBatch,
  partitionLeaderEpochOf,
  producerIdOf,
  verifyChecksum,
} from "../../src/record/batch_view.ts";
import { buildEmptyBatch, emptyBatchOffsetsMax } from "../../src/record/empty_batch.ts";
import { forEachRecord, recordsOf } from "../../src/record/record_reader.ts";
import { assertProperty } from "../support/properties.ts";

await loadCrc32c();

test("it stands for its offsets and holds no record", () => {
  const property = fc.property(
    fc.nat({ max: Number.MAX_SAFE_INTEGER - emptyBatchOffsetsMax - 1 }),
    fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: emptyBatchOffsetsMax })),
    fc.integer({ min: -1, max: 2 ** 31 - 1 }),
    (startOffset, count, epoch) => {
      const [batch, more] = [
        ...batchesIn(buildEmptyBatch(startOffset, startOffset + count, epoch)),
      ];
      assert.equal(more, undefined);
      verifyChecksum(batch!);
      assert.deepEqual([batch!.baseOffset, batch!.lastOffset], [
        startOffset,
        startOffset + count - 1,
      ]);
      assert.deepEqual([batch!.recordCount, batch!.maxTimestamp], [0, -1]);
      assert.deepEqual([partitionLeaderEpochOf(batch!), producerIdOf(batch!)], [epoch, -1]);
      assert.equal(isControlBatch(batch!), false);
      assert.deepEqual(recordsOf(batch!), []);
      assert.equal(forEachRecord(batch!, () => assert.fail("there is no record")), 0);
    },
  );
  assertProperty(property);
});

test("no offsets, and too many, are refused", () => {
  for (const [start, end] of [[5, 5], [5, 4], [-1, 3], [0, emptyBatchOffsetsMax + 1]] as const) {
    assert.throws(() => buildEmptyBatch(start, end, 0), RangeError);
  }
});
