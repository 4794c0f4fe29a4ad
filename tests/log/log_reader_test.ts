/** Reading by offset: over segments and gaps, along a live tail, and past the start of the log. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog, rollLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { logCursor, nextBatch, readableEnd } from "../../src/log/log_reader.ts";
import { advanceStart, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchBuilder } from "../../src/record/batch_builder.ts";
import { appendBuilt } from "../../src/log/log.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import {
  appendBatches,
  appendNumbered,
  appendValues,
  basesOf,
  buildBatch,
  filesOf,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  readLog,
  resizeFile,
  segmentPath,
  valuesOf,
} from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

const isOutOfRange = (error: unknown): boolean => isOttlaError(error, "OFFSET_OUT_OF_RANGE");

/** Small segments with an index entry for every other batch or so. */
const config = { segmentBytes: 7 * numberedBatchBytes, indexIntervalBytes: 100 };

/**
 * A batch whose records have these offsets' values, beginning at an offset that need not be the end
 * of the log.
 */
function appendAt(log: Log, baseOffset: number, values: readonly string[]): void {
  const builder = batchBuilder();
  log.endOffset = baseOffset;
  const endOffset = buildBatch(builder, baseOffset, values);
  void appendBuilt(log, builder, endOffset, "os");
}

describe("reading by offset", () => {
  it("every offset can be read from, over several segments", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 100);
    assert.ok(log.segments.length > 10);
    for (let offset = 0; offset <= 100; offset++) {
      assert.deepEqual(valuesOf(log, offset), numberedValues(offset, 100));
    }
  });

  it("every offset can be read from after a clean close, and where indexes are gone", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendNumbered(log, 60);
    await closeLog(log);
    for (const kind of ["index", "timeindex", undefined] as const) {
      for (const name of filesOf(fs)) {
        if (name.endsWith(`.${kind}`)) fs.remove(`/store/orders-0/${name}`);
      }
      const { log: reopened } = openTestLog(fs, { config });
      for (let offset = 60; offset >= 0; offset -= 7) {
        assert.deepEqual(valuesOf(reopened, offset), numberedValues(offset, 60));
      }
      await closeLog(reopened);
    }
  });

  it("any amount read at once gives the same batches", () => {
    const { log } = openTestLog(memoryFileSystem(), { config: { segmentBytes: 3000 } });
    const values: string[] = [];
    for (const size of [1, 2000, 10, 700, 64, 1, 1500, 300, 40, 2500, 1]) {
      values.push("x".repeat(size));
      void appendValues(log, [values.at(-1)!]);
    }
    for (const readBytes of [1, 16, 17, 60, 61, 62, 100, 1000, 4096, 100_000]) {
      for (const reusesBuffer of [true, false]) {
        for (let offset = 0; offset < values.length; offset++) {
          const { records, lost } = readLog(log, offset, { readBytes, reusesBuffer });
          assert.deepEqual(records.map(({ value }) => value), values.slice(offset));
          assert.deepEqual(lost, []);
        }
      }
    }
  });

  it("a batch is given whole, also from an offset inside it", () => {
    const { log } = openTestLog(memoryFileSystem());
    void appendBatches(log, [["a", "b", "c"], ["d", "e"]]);
    for (const [offset, baseOffset] of [[0, 0], [1, 0], [2, 0], [3, 3], [4, 3]] as const) {
      const cursor = logCursor(log, offset, { readBytes: 4096, reusesBuffer: false });
      const batch = nextBatch(cursor, 5);
      assert.equal(batch?.baseOffset, baseOffset);
      assert.equal(cursor.offset, batch.lastOffset + 1);
    }
  });

  it("batches from the end offset on are not given", () => {
    const { log } = openTestLog(memoryFileSystem());
    void appendBatches(log, [["a", "b"], ["c", "d"]]);
    for (const [endOffset, count] of [[0, 0], [1, 1], [2, 1], [3, 2], [4, 2]] as const) {
      const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
      let seen = 0;
      while (nextBatch(cursor, endOffset) !== undefined) seen++;
      assert.equal(seen, count);
    }
  });

  it("buffers that are not reused keep their batches", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 30);
    const cursor = logCursor(log, 0, { readBytes: 150, reusesBuffer: false });
    const batches = rangeOf(0, 30).map(() => nextBatch(cursor, 30)!);
    const decoder = new TextDecoder();
    for (const [offset, batch] of batches.entries()) {
      const bytes = batch.bytes.subarray(batch.position, batch.position + batch.sizeBytes);
      assert.ok(decoder.decode(bytes).includes(`v${offset}`));
    }
  });

  it("an offset before the start or behind the end is out of range, the end itself is not", () => {
    const { log } = openTestLog(memoryFileSystem(), { config, startOffset: 5 });
    appendNumbered(log, 20);
    const cursorAt = (offset: number) => () =>
      logCursor(log, offset, { readBytes: 100, reusesBuffer: true });
    assert.throws(cursorAt(4), isOutOfRange);
    assert.throws(cursorAt(26), isOutOfRange);
    assert.deepEqual(valuesOf(log, 25), []);
    assert.equal(log.startOffset, 5);
  });

  it("a gap in the offsets is passed over", () => {
    const { log } = openTestLog(memoryFileSystem());
    appendAt(log, 0, ["a", "b"]);
    appendAt(log, 50, ["c"]);
    appendAt(log, 60, ["d"]);
    for (
      const [offset, seen] of [[0, [0, 1, 50, 60]], [2, [50, 60]], [49, [50, 60]], [51, [
        60,
      ]]] as const
    ) {
      const { records, lost } = readLog(log, offset);
      assert.deepEqual(records.map((record) => record.offset), seen);
      assert.deepEqual(lost, []);
    }
  });

  it("empty segments in between are passed over", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 21);
    assert.deepEqual(basesOf(log), [0, 7, 13, 19]);
    for (const segment of log.segments.slice(1, 3)) {
      segment.sizeBytes = 0;
      resizeFile(log.pool.fs, segment.log.path, 0);
    }
    const { records, lost } = readLog(log, 0);
    assert.deepEqual(records.map((record) => record.offset), [...rangeOf(0, 7), 19, 20]);
    assert.deepEqual(lost, []);
  });

  it("a reader that has seen all there is stands at the end, even where offsets are missing", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendNumbered(log, 7);
    rollLog(log);
    abandonLog(log);
    resizeFile(fs, segmentPath(0), 5 * numberedBatchBytes);
    const { log: reopened } = openTestLog(fs, { config, recoveryPoint: 0 });
    const cursor = logCursor(reopened, 0, { readBytes: 1000, reusesBuffer: true });
    for (let count = 0; count < 5; count++) assert.ok(nextBatch(cursor, 7));
    assert.equal(nextBatch(cursor, 7), undefined);
    assert.equal(cursor.offset, 7);
  });
});

describe("reading along", () => {
  it("a cursor at the end sees what is appended, over rolls", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    const cursor = logCursor(log, 0, { readBytes: 256, reusesBuffer: true });
    for (let offset = 0; offset < 50; offset++) {
      assert.equal(nextBatch(cursor, readableEnd(log)), undefined);
      appendNumbered(log, 1);
      assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, offset);
    }
    assert.ok(log.segments.length > 5);
  });

  it("a cursor never shows what is not visible, and misses none of it later", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
    void appendValues(log, ["v0"], "os");
    const waiting = appendValues(log, ["v1"], "disk");
    void appendValues(log, ["v2"], "os");
    assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, 0);
    assert.equal(nextBatch(cursor, readableEnd(log)), undefined);
    await waiting;
    assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, 1);
    assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, 2);
  });

  it("a batch that was taken back is not seen in place of the one that came instead", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 2);
    const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
    assert.ok(nextBatch(cursor, 2));
    failNext(disk, { operation: "write", code: "EIO", shortBytes: 80, path: ".log" });
    assert.throws(() => appendBatches(log, [["wrong"], ["wrong"]]));
    assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, 1);
    assert.equal(nextBatch(cursor, readableEnd(log)), undefined);
    appendNumbered(log, 1);
    assert.equal(nextBatch(cursor, readableEnd(log))?.baseOffset, 2);
    assert.deepEqual(valuesOf(log), numberedValues(0, 3));
  });

  it("any interleaving of appends, rolls, closings and reads gives every record once", async () => {
    const step = fc.constantFrom("append", "batch", "memory", "roll", "read", "reopen");
    await assertProperty(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const fs = memoryFileSystem();
        let { log } = openTestLog(fs, { config });
        let cursor = logCursor(log, 0, { readBytes: 200, reusesBuffer: true });
        let seen = 0;
        for (const name of [...steps, "read"]) {
          if (name === "append") appendNumbered(log, 1);
          if (name === "batch") {
            const { endOffset } = log;
            void appendValues(log, numberedValues(endOffset, endOffset + 3));
          }
          if (name === "memory") appendNumbered(log, 2, "memory");
          if (name === "roll") rollLog(log);
          if (name === "reopen") {
            await closeLog(log);
            ({ log } = openTestLog(fs, { config }));
            cursor = logCursor(log, seen, { readBytes: 200, reusesBuffer: true });
          }
          if (name !== "read") continue;
          for (;;) {
            const batch = nextBatch(cursor, readableEnd(log));
            if (batch === undefined) break;
            assert.equal(batch.baseOffset, seen);
            seen = batch.lastOffset + 1;
          }
          assert.equal(seen, log.endOffset);
        }
        assert.deepEqual(valuesOf(log), numberedValues(0, log.endOffset));
        abandonLog(log);
      }),
      { numRuns: 60 },
    );
  });
});

describe("a cursor and retention", () => {
  it("a cursor that retention has overtaken is out of range", () => {
    const { log } = openTestLog(memoryFileSystem(), {
      config: { ...config, retentionBytes: 3 * numberedBatchBytes },
    });
    appendNumbered(log, 30);
    const cursor = logCursor(log, 0, { readBytes: 100, reusesBuffer: true });
    assert.ok(nextBatch(cursor, 30));
    assert.ok(retireSegments(log, 0) > 0);
    assert.throws(() => nextBatch(cursor, 30), isOutOfRange);
    sweepRetired(log);
    assert.throws(() => nextBatch(cursor, 30), isOutOfRange);
    assert.deepEqual(valuesOf(log), numberedValues(log.startOffset, 30));
  });

  it("a cursor that deleteRecords has overtaken is out of range, though the bytes are there", () => {
    const { log } = openTestLog(memoryFileSystem());
    appendNumbered(log, 10);
    const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
    assert.ok(nextBatch(cursor, 10));
    advanceStart(log, 5);
    assert.throws(() => nextBatch(cursor, 10), isOutOfRange);
    const ahead = logCursor(log, 5, { readBytes: 4096, reusesBuffer: true });
    assert.equal(nextBatch(ahead, 10)?.baseOffset, 5);
    advanceStart(log, 6);
    assert.equal(nextBatch(ahead, 10)?.baseOffset, 6);
  });

  it("a cursor whose own segment goes, but not what it wants next, goes on", () => {
    const { log } = openTestLog(memoryFileSystem(), { config });
    appendNumbered(log, 14);
    const cursor = logCursor(log, 0, { readBytes: 4096, reusesBuffer: true });
    for (let offset = 0; offset < 7; offset++) nextBatch(cursor, 14);
    advanceStart(log, 7);
    assert.equal(retireSegments(log, 0), 1);
    sweepRetired(log);
    assert.equal(nextBatch(cursor, 14)?.baseOffset, 7);
  });
});
