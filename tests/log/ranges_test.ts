/**
 * Ranges: which bytes of which files hold the whole batches of some offsets, and that they stay
 * while they are pinned.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import type { RangeSlice } from "../../src/log/log_reader.ts";
import { pinSlices, unpinSlices } from "../../src/log/log_reader.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchesIn, hasValidChecksum } from "../../src/record/batch_view.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import {
  appendNumbered,
  appendValues,
  filesOf,
  flipByte,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  segmentPath,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

const config = { segmentBytes: 7 * numberedBatchBytes, indexIntervalBytes: 100 };

/** The offsets of the batches that lie in the bytes of some slices. */
function batchOffsetsOf(log: Log, slices: readonly RangeSlice[]): number[] {
  const offsets: number[] = [];
  for (const { segment, startPosition, endPosition } of slices) {
    const bytes = readFile(log.pool.fs, segment.log.path)!.subarray(startPosition, endPosition);
    let sizeBytes = 0;
    for (const batch of batchesIn(bytes)) {
      assert.ok(hasValidChecksum(batch));
      offsets.push(batch.baseOffset);
      sizeBytes += batch.sizeBytes;
    }
    assert.equal(sizeBytes, bytes.length);
  }
  return offsets;
}

const bytesOf = (slices: readonly RangeSlice[]): number =>
  slices.reduce((sum, { startPosition, endPosition }) => sum + endPosition - startPosition, 0);

describe("ranges", () => {
  it("hold exactly the batches of any two offsets", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 24);
    for (let start = 0; start <= 24; start++) {
      for (let end = start; end <= 25; end++) {
        const slices = pinSlices(log, start, end, Infinity);
        assert.deepEqual(batchOffsetsOf(log, slices), rangeOf(start, Math.min(end, 24)));
        unpinSlices(log, slices);
      }
    }
  });

  it("hold whole batches: the one with the first offset, none that begins behind", () => {
    const { log } = openTestLog(memoryFileSystem());
    for (let batch = 0; batch < 4; batch++) {
      void appendValues(log, numberedValues(log.endOffset, log.endOffset + 3));
    }
    const offsetsOf = (start: number, end: number): number[] => {
      const slices = pinSlices(log, start, end, Infinity);
      unpinSlices(log, slices);
      return batchOffsetsOf(log, slices);
    };
    assert.deepEqual(offsetsOf(4, 12), [3, 6, 9]);
    assert.deepEqual(offsetsOf(4, 6), [3]);
    assert.deepEqual(offsetsOf(4, 7), [3, 6]);
    assert.deepEqual(offsetsOf(5, 5), []);
  });

  it("stay within the bytes asked for, but hold one batch at least", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 30);
    assertProperty(
      fc.property(
        fc.nat(29),
        fc.nat(31),
        fc.integer({ min: 1, max: 2500 }),
        (start, end, bytesMax) => {
          const slices = pinSlices(log, start, end, bytesMax);
          unpinSlices(log, slices);
          const offsets = batchOffsetsOf(log, slices);
          const sizeOf = (offset: number): number => numberedBatchBytes + (offset > 9 ? 1 : 0);
          const expected: number[] = [];
          let left = bytesMax;
          for (const offset of rangeOf(start, Math.min(end, 30))) {
            left -= sizeOf(offset);
            if (left < 0 && expected.length > 0) break;
            expected.push(offset);
          }
          assert.deepEqual(offsets, expected);
          assert.ok(bytesOf(slices) <= Math.max(bytesMax, sizeOf(start)));
        },
      ),
    );
  });

  it("end at the high watermark", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 2);
    const waiting = appendValues(log, ["v2"], "disk");
    const before = pinSlices(log, 0, 10, Infinity);
    assert.deepEqual(batchOffsetsOf(log, before), [0, 1]);
    unpinSlices(log, before);
    await waiting;
    const after = pinSlices(log, 0, 10, Infinity);
    assert.deepEqual(batchOffsetsOf(log, after), [0, 1, 2]);
    unpinSlices(log, after);
  });

  it("end before damage, and begin behind it where the error says", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    appendNumbered(log, 6);
    flipByte(fs, segmentPath(0), 3 * numberedBatchBytes + 65);
    const before = pinSlices(log, 0, 5, Infinity);
    assert.deepEqual(batchOffsetsOf(log, before), [0, 1, 2]);
    unpinSlices(log, before);
    assert.throws(
      () => pinSlices(log, 3, 5, Infinity),
      (error) => isOttlaError(error, "CORRUPT_MESSAGE") && error.details["endOffset"] === 4,
    );
    const behind = pinSlices(log, 4, 6, Infinity);
    assert.deepEqual(batchOffsetsOf(log, behind), [4, 5]);
    unpinSlices(log, behind);
  });

  it("are out of range where the log does not reach", () => {
    const { log } = openTestLog(memoryFileSystem(), { startOffset: 3 });
    appendNumbered(log, 2);
    for (const offset of [2, 6]) {
      assert.throws(
        () => pinSlices(log, offset, 10, Infinity),
        (error) => isOttlaError(error, "OFFSET_OUT_OF_RANGE"),
      );
    }
  });

  it("keep their files while they are pinned, whatever retention does", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { ...config, retentionBytes: 0 }, openMax: 2 });
    appendNumbered(log, 30);
    const first = pinSlices(log, 0, 14, Infinity);
    const second = pinSlices(log, 3, 5, Infinity);
    assert.ok(retireSegments(log, 0) > 2);
    sweepRetired(log);
    assert.deepEqual(batchOffsetsOf(log, first), [...rangeOf(0, 13), 13]);
    unpinSlices(log, first);
    assert.deepEqual(batchOffsetsOf(log, second), [3, 4]);
    assert.deepEqual(filesOf(disk.fs).filter((name) => name.endsWith(".log")).length, 2);
    unpinSlices(log, second);
    assert.deepEqual(filesOf(disk.fs).filter((name) => name.endsWith(".log")).length, 1);
    abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });

  it("of a closed log keep their handle, and remove nothing when they let go", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { ...config, retentionBytes: 0 } });
    appendNumbered(log, 10);
    const slices = pinSlices(log, 0, 10, Infinity);
    retireSegments(log, 0);
    await closeLog(log);
    await settle();
    assert.equal(disk.handles.size, 2);
    const { log: reopened } = openTestLog(disk.fs, { config, startOffset: 0 });
    unpinSlices(log, slices);
    assert.deepEqual(valuesOf(reopened), numberedValues(0, 10));
    abandonLog(reopened);
    assert.equal(disk.handles.size, 0);
  });

  it("that cannot be pinned in full are not pinned at all", () => {
    for (let after = 0; after < 6; after++) {
      const disk = faultyDisk();
      const { log } = openTestLog(disk.fs, { config, openMax: 1 });
      appendNumbered(log, 14);
      assert.equal(log.segments.length, 3);
      failNext(disk, { operation: "open", code: "EMFILE", after, path: ".log" });
      assert.throws(() => pinSlices(log, 0, 14, Infinity), /EMFILE/);
      assert.deepEqual(log.segments.map((segment) => segment.log.pins), [0, 0, 0]);
    }
  });
});
