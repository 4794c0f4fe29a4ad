/**
 * Reading a log of which bytes were changed: never a wrong record, and nothing is lost but what
 * stood in them.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { logCursor, nextBatch } from "../../src/log/log_reader.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { builtBytes } from "../../src/record/batch_builder.ts";
import { appendBuilt } from "../../src/log/log.ts";
import {
  appendNumbered,
  appendValues,
  buildBatch,
  flipByte,
  manualClock,
  numberedBatchBytes,
  openTestLog,
  rangeOf,
  readLog,
  resizeFile,
  segmentPath,
  settle,
  writeBytes,
} from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

/** Small segments with an index entry for every other batch or so. */
const config = { segmentBytes: 7 * numberedBatchBytes, indexIntervalBytes: 100 };

describe("damage", () => {
  /** Offsets 0..9 in batches of 2, 3, 1 and 4; the third value looks like a batch. */
  function damagedLog(nested: boolean): { fs: ReturnType<typeof memoryFileSystem>; log: Log } {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config: { indexIntervalBytes: 50 } });
    void appendValues(log, ["v0", "v1"]);
    if (nested) {
      const inner = batchBuilder();
      buildBatch(inner, 7, ["wrong", "wrong"]);
      const builder = batchBuilder();
      for (const value of ["v2", builtBytes(inner).slice(), "v4"]) {
        appendRecord(builder, 1_000_000, null, value);
      }
      finishBatch(builder, { baseOffset: 2, partitionLeaderEpoch: 0 });
      void appendBuilt(log, builder, 5, "os");
    } else {
      void appendValues(log, ["v2", "v3", "v4"]);
    }
    void appendValues(log, ["v5"]);
    void appendValues(log, ["v6", "v7", "v8", "v9"]);
    return { fs, log };
  }

  /** The first offset of the batch at each position, and of the one behind it. */
  function batchRanges(log: Log): { start: number; end: number; endPosition: number }[] {
    const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
    const ranges = [];
    for (;;) {
      const batch = nextBatch(cursor, 10);
      if (batch === undefined) return ranges;
      const endPosition = cursor.position + cursor.at;
      ranges.push({ start: batch.baseOffset, end: batch.lastOffset + 1, endPosition });
    }
  }

  for (const nested of [false, true]) {
    it(`in any one byte hides one batch and nothing else${nested ? ", whatever its values are" : ""}`, () => {
      const { fs, log } = damagedLog(nested);
      const ranges = batchRanges(log);
      const segment = log.segments[0]!;
      const { indexes } = segment;
      const whole = readLog(log).records;
      assert.deepEqual(whole.map((record) => record.offset), rangeOf(0, 10));
      for (let position = 0; position < ranges.at(-1)!.endPosition; position++) {
        // What is in no checksum but the leader epoch must be found out in another way.
        const { start, end } = ranges.find((range) => position < range.endPosition)!;
        for (const mask of [0x01, 0x80, 0xff]) {
          flipByte(fs, segmentPath(0), position, mask);
          for (const offset of [0, start, end - 1, end, 9]) {
            // A look-up that meets the damage may have made the indexes anew.
            segment.indexes = indexes;
            const { records, lost } = readLog(log, offset);
            const what = `byte ${position} ^ ${mask}, from ${offset}`;
            const isWhole = records.length === 10 - offset;
            const expected = whole.filter((record) =>
              record.offset >= offset && (isWhole || record.offset < start || record.offset >= end)
            );
            assert.deepEqual(records, expected, what);
            const lostHere = { startOffset: Math.max(offset, start), endOffset: end };
            assert.deepEqual(lost, isWhole ? [] : [lostHere], what);
          }
          flipByte(fs, segmentPath(0), position, mask);
        }
      }
    });
  }

  it("of a length that leads to the end of another batch hides one batch", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    appendNumbered(log, 5);
    const length = numberedBatchBytes - 12;
    flipByte(fs, segmentPath(0), numberedBatchBytes + 11, length ^ (length + numberedBatchBytes));
    const { records, lost } = readLog(log);
    assert.deepEqual(records.map((record) => record.offset), [0, 2, 3, 4]);
    assert.deepEqual(lost, [{ startOffset: 1, endOffset: 2 }]);
  });

  it("in several batches of several segments is told batch by batch", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendNumbered(log, 21);
    for (const [baseOffset, batch] of [[0, 0], [0, 3], [0, 6], [7, 5], [13, 1]] as const) {
      flipByte(
        fs,
        segmentPath(baseOffset),
        batch * (numberedBatchBytes + (baseOffset > 9 ? 1 : 0)) + 65,
      );
    }
    const { records, lost } = readLog(log);
    const lostOffsets = [0, 3, 6, 12, 14];
    assert.deepEqual(lost.map(({ startOffset }) => startOffset), lostOffsets);
    assert.deepEqual(
      records.map((record) => record.offset),
      rangeOf(0, 21).filter((offset) => !lostOffsets.includes(offset)),
    );
  });

  it("on both sides of a batch does not hide it", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    appendNumbered(log, 6);
    flipByte(fs, segmentPath(0), numberedBatchBytes + 65);
    flipByte(fs, segmentPath(0), 3 * numberedBatchBytes + 9);
    const { records, lost } = readLog(log);
    assert.deepEqual(records.map((record) => record.offset), [0, 2, 4, 5]);
    assert.deepEqual(lost, [
      { startOffset: 1, endOffset: 2 },
      { startOffset: 3, endOffset: 4 },
    ]);
  });

  it("of the end of a file that became shorter ends with the segment", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendNumbered(log, 14);
    resizeFile(fs, segmentPath(0), 5 * numberedBatchBytes + 30);
    const { records, lost } = readLog(log);
    assert.deepEqual(records.map((record) => record.offset), [...rangeOf(0, 5), ...rangeOf(7, 14)]);
    assert.deepEqual(lost, [{ startOffset: 5, endOffset: 7 }]);
  });

  it("of whole files does not end the reading", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendNumbered(log, 21);
    const size = fs.stat(segmentPath(7))!.sizeBytes;
    writeBytes(fs, segmentPath(7), new Uint8Array(size).fill(0xaa), 0);
    const { records, lost } = readLog(log);
    assert.deepEqual(records.map((record) => record.offset), [
      ...rangeOf(0, 7),
      ...rangeOf(13, 21),
    ]);
    assert.deepEqual(lost, [{ startOffset: 7, endOffset: 13 }]);
  });

  it("names the place and the offsets, and the cursor goes on behind it", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    appendNumbered(log, 3);
    flipByte(fs, segmentPath(0), numberedBatchBytes + 65);
    const cursor = logCursor(log, 0, { readBytes: 100, reusesBuffer: true });
    assert.equal(nextBatch(cursor, 3)?.baseOffset, 0);
    assert.throws(() => nextBatch(cursor, 3), (error) => {
      assert.ok(isOttlaError(error, "CORRUPT_MESSAGE"));
      assert.match(error.message, /Cannot read offsets 1 to 1 of orders-0.*position 70.*checksum/);
      assert.deepEqual(error.details, {
        topic: "orders",
        partition: 0,
        startOffset: 1,
        endOffset: 2,
        position: numberedBatchBytes,
      });
      return true;
    });
    assert.equal(cursor.offset, 2);
    assert.equal(nextBatch(cursor, 3)?.baseOffset, 2);
  });

  it("at random never gives a wrong record and always comes to an end", async () => {
    const flips = fc.array(
      fc.record({
        at: fc.double({ min: 0, max: 0.999, noNaN: true }),
        mask: fc.integer({ min: 1, max: 255 }),
      }),
      { minLength: 1, maxLength: 8 },
    );
    await assertProperty(
      fc.asyncProperty(flips, fc.integer({ min: 1, max: 500 }), async (changes, readBytes) => {
        const fs = memoryFileSystem();
        const { log } = openTestLog(fs, { config, clock: manualClock() });
        appendNumbered(log, 20);
        await settle();
        for (const { at, mask } of changes) {
          const segment = log.segments[Math.floor(at * log.segments.length)]!;
          const position = Math.floor((at * 997 % 1) * segment.sizeBytes);
          // Bytes 0 to 7 of a batch are in no checksum; two wrong neighbours can bear each other
          // out.
          if (position % segment.sizeBytes % 70 > 12) {
            flipByte(fs, segment.log.path, position, mask);
          }
        }
        const { records, lost } = readLog(log, 0, { readBytes, reusesBuffer: true });
        const offsets = new Set(records.map((record) => record.offset));
        assert.equal(offsets.size, records.length);
        for (const { offset, value } of records) assert.equal(value, `v${offset}`);
        for (const { startOffset, endOffset } of lost) {
          for (const offset of rangeOf(startOffset, endOffset)) offsets.add(offset);
        }
        assert.equal(offsets.size, 20);
      }),
      { numRuns: 200 },
    );
  });
});
