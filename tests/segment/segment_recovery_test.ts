/** Recovering segments: what is cut, what is kept, and what is a gap. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { setInt64 } from "../../src/bytes/byte_reader.ts";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { joinPath } from "../../src/platform/files.ts";
import { field } from "../../src/record/batch_layout.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import {
  offsetForTimestamp,
  openLastSegment,
  positionForOffset,
} from "../../src/segment/segment_load.ts";
import { anyDamage, damaged } from "../support/arbitraries.ts";
import { concat, someTime } from "../support/batches.ts";
import { assertProperty } from "../support/properties.ts";
import type { BatchPlan, FoundBatch } from "../support/segments.ts";
import {
  batchesOfLog,
  checkLookUps,
  planBatch,
  planBatches,
  segmentPlace,
  setFile,
  smallConfig,
  writeSealed,
} from "../support/segments.ts";

await loadCrc32c();

/**
 * Puts bytes where a segment's log is and recovers it, with index files of the undamaged log beside
 * it.
 */
function recover(
  bytes: Uint8Array,
  plans: readonly BatchPlan[],
  trustedOffset = 0,
): ReturnType<typeof openLastSegment> {
  const place = segmentPlace();
  const { baseOffset } = writeSealed(place, plans);
  setFile(place.pool.fs, joinPath("/", segmentFileName(baseOffset, "log")), bytes);
  return openLastSegment(place, baseOffset, smallConfig, someTime, trustedOffset);
}

test("recovery keeps what stands before a torn end, wherever it is torn", () => {
  const plans = planBatches(12);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const [, beforeLast, last] = found.slice(-3) as [FoundBatch, FoundBatch, FoundBatch];
  for (let size = beforeLast.position + 1; size <= log.length; size++) {
    const kept = size === log.length
      ? log.length
      : size < last.position
      ? beforeLast.position
      : last.position;
    for (const trustedOffset of [0, beforeLast.baseOffset]) {
      const { segment, result } = recover(log.subarray(0, size), plans, trustedOffset);
      assert.equal(segment.sizeBytes, kept, `cut at ${size}`);
      assert.equal(result.reason, size === kept ? "end" : "incomplete");
      assert.deepEqual(result.gaps, []);
      checkLookUps(segment, batchesOfLog(log.subarray(0, kept)));
    }
  }
});

test("recovery keeps what stands before zeros or garbage", () => {
  const plans = planBatches(12);
  const log = concat(...plans.map(planBatch));
  const garbage = Uint8Array.from({ length: 700 }, (_, index) => index * index + 2);
  for (
    const tail of [new Uint8Array(5), new Uint8Array(100_000), garbage, garbage.subarray(0, 9)]
  ) {
    const { segment, result } = recover(concat(log, tail), plans);
    assert.equal(segment.sizeBytes, log.length);
    assert.notEqual(result.reason, "end");
    assert.deepEqual(result.gaps, []);
    checkLookUps(segment, batchesOfLog(log));
  }
});

test("a wrong bit hides its own batch and no other, whichever it is", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const broken = found[4]!;
  const after = found[5]!;
  for (let at = broken.position; at < after.position; at++) {
    for (const bit of [1, 16, 128]) {
      const bytes = log.slice();
      bytes[at]! ^= bit;
      const { segment, result } = recover(bytes, plans);
      const field = `byte ${at - broken.position} ^ ${bit}`;
      assert.equal(segment.endOffset, found.at(-1)!.lastOffset + 1, field);
      assert.equal(segment.sizeBytes, log.length, field);
      assert.equal(result.reason, "end", field);
      // No checksum covers the leader epoch, and nothing depends on it.
      if (at - broken.position >= 12 && at - broken.position < 16) {
        assert.deepEqual(result.gaps, []);
        continue;
      }
      assert.deepEqual(result.gaps, [{
        startOffset: broken.baseOffset,
        endOffset: after.baseOffset,
        startPosition: broken.position,
        endPosition: after.position,
        segmentBaseOffset: 0,
      }], field);
    }
  }
});

test("a wrong bit in the last batch takes no other with it", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const last = batchesOfLog(log).at(-1)!;
  for (let at = last.position; at < log.length; at++) {
    const bytes = log.slice();
    bytes[at]! ^= 4;
    const { segment, result } = recover(bytes, plans);
    const place = at - last.position;
    // A first offset that is larger, and a leader epoch, cannot be told from right ones here.
    if (place < 8 && segment.sizeBytes === log.length) {
      assert.ok(segment.endOffset > last.baseOffset);
      assert.ok(segment.endOffset <= 2 ** 31, "but never further than an index can count");
    } else if (place >= 12 && place < 16) {
      assert.equal(result.reason, "end");
    } else {
      assert.equal(segment.sizeBytes, last.position, `byte ${place}`);
      assert.equal(segment.endOffset, last.baseOffset);
      assert.notEqual(result.reason, "end");
    }
  }
});

test("a batch too far from the first is damage, with a right checksum too", () => {
  const plans = planBatches(9);
  const far = planBatch({ baseOffset: 2 ** 31 + 5 });
  const behind = planBatch({ baseOffset: 100 });
  const log = concat(...plans.map(planBatch));
  const alone = recover(concat(log, far), plans);
  assert.equal(alone.segment.sizeBytes, log.length);
  const followed = recover(concat(log, far, behind), plans);
  assert.equal(followed.segment.endOffset, 101);
  assert.equal(followed.result.gaps.length, 1);
});

test("gaps that the log has had from the beginning are none", () => {
  const plans = planBatches(20).filter((_, index) => index % 3 !== 1);
  const log = concat(...plans.map(planBatch));
  const { segment, result } = recover(log, plans);
  assert.deepEqual([result.gaps, result.reason], [[], "end"]);
  checkLookUps(segment, batchesOfLog(log));
});

test("damage of any kind and place leaves a log that can be read", () => {
  const plans = planBatches(25);
  const log = concat(...plans.map(planBatch));
  const offsets = new Set(plans.map(({ baseOffset }) => baseOffset));
  const trust = fc.constantFrom(0, 10, 30, Infinity);
  assertProperty(
    fc.property(anyDamage, trust, (damage, trustedOffset) => {
      const bytes = damaged(log, damage);
      const { segment, result } = recover(bytes, plans, trustedOffset);
      assert.ok(segment.sizeBytes <= bytes.length);
      let before = -1;
      for (const gap of result.gaps) {
        assert.ok(gap.startPosition > before && gap.endPosition > gap.startPosition);
        assert.ok(gap.endOffset >= gap.startOffset && offsets.has(gap.endOffset));
        before = gap.startPosition;
      }
      for (let offset = 0; offset < 60; offset++) {
        assert.ok(positionForOffset(segment, smallConfig, offset) <= bytes.length);
        assert.ok(offsetForTimestamp(segment, smallConfig, someTime + offset * 5) >= 0);
      }
    }),
    { numRuns: 200 },
  );
});

test("only what is not trusted is verified", () => {
  const plans = planBatches(40);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const broken = log.slice();
  broken[found[5]!.position + 70]! ^= 1;
  const trusted = recover(broken, plans, found[30]!.baseOffset).result;
  assert.deepEqual(trusted.gaps, []);
  assert.ok(trusted.scannedBytes < log.length / 2);
  assert.equal(recover(broken, plans, 0).result.gaps.length, 1);
  assert.equal(recover(broken, plans, 0).result.scannedBytes, log.length);
  assert.deepEqual(recover(broken, plans, Infinity).result.gaps, []);
});

test("a first offset that is too large does not swallow the batches behind it", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  for (const offset of [found[4]!.baseOffset + 1, 1_000, 2 ** 30, 2 ** 40, 2 ** 52]) {
    const bytes = log.slice();
    setInt64(new DataView(bytes.buffer), found[4]!.position + field.baseOffset, offset);
    const { segment, result } = recover(bytes, plans);
    assert.equal(segment.endOffset, found.at(-1)!.lastOffset + 1);
    assert.deepEqual(result.gaps.map((gap) => [gap.startOffset, gap.endOffset]), [
      [found[4]!.baseOffset, found[5]!.baseOffset],
    ]);
  }
});
