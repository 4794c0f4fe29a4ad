/**
 * The offset of a timestamp: the first record that is not older, however the timestamps jump.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { Log } from "../../src/log/log.ts";
import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { findOffsetForTimestamp } from "../../src/log/log_reader.ts";
import { advanceStart } from "../../src/log/retention.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { bytesReadOf, faultyDisk, resetCounts } from "../support/faulty_file_system.ts";
import {
  appendValues,
  filesOf,
  flipByte,
  logFolder,
  openTestLog,
  segmentPath,
} from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

const config = { segmentBytes: 400, indexIntervalBytes: 60, segmentMs: Number.MAX_SAFE_INTEGER };

function appendStamped(log: Log, timestamps: readonly number[], ack: "os" | "disk" = "os"): void {
  void appendValues(log, timestamps.map(String), ack, timestamps);
}

/** What a look-up must give, by looking at all records. */
function naive(all: readonly number[], timestamp: number, start: number): object | undefined {
  const offset = all.findIndex((candidate, index) => index >= start && candidate >= timestamp);
  return offset < 0 ? undefined : { offset, timestamp: all[offset] };
}

describe("offset for timestamp", () => {
  it("is the first offset whose timestamp is not smaller", () => {
    const { log } = openTestLog(memoryFileSystem());
    assert.equal(findOffsetForTimestamp(log, 0), undefined);
    for (let offset = 0; offset < 10; offset++) appendStamped(log, [400 + 10 * offset]);
    for (
      const [timestamp, offset] of [[420, 2], [421, 3], [430, 3], [431, 4], [401, 1], [399, 0]]
    ) {
      assert.equal(findOffsetForTimestamp(log, timestamp!)?.offset, offset);
    }
    assert.deepEqual(findOffsetForTimestamp(log, 490), { offset: 9, timestamp: 490 });
    assert.equal(findOffsetForTimestamp(log, 491), undefined);
  });

  it("does not see what readers do not see", async () => {
    const { log } = openTestLog(faultyDisk().fs);
    appendStamped(log, [100]);
    const waiting = appendValues(log, ["a"], "disk", 200);
    assert.equal(findOffsetForTimestamp(log, 150), undefined);
    await waiting;
    assert.deepEqual(findOffsetForTimestamp(log, 150), { offset: 1, timestamp: 200 });
    void appendValues(log, ["b"], "memory", 300);
    assert.deepEqual(findOffsetForTimestamp(log, 250), { offset: 2, timestamp: 300 });
  });

  it("agrees with looking at every record, whatever the timestamps, segments and starts", async () => {
    const timestamps = fc.array(
      fc.array(fc.integer({ min: -1, max: 60 }), { minLength: 1, maxLength: 4 }),
      { minLength: 1, maxLength: 60 },
    );
    await assertProperty(
      fc.asyncProperty(timestamps, fc.nat(), fc.boolean(), async (batches, start, reopens) => {
        const fs = memoryFileSystem();
        let { log } = openTestLog(fs, { config });
        for (const batch of batches) appendStamped(log, batch);
        if (reopens) {
          await closeLog(log);
          ({ log } = openTestLog(fs, { config }));
        }
        const all = batches.flat();
        for (const startOffset of [0, start % all.length]) {
          advanceStart(log, startOffset);
          for (let timestamp = 0; timestamp <= 61; timestamp++) {
            assert.deepEqual(
              findOffsetForTimestamp(log, timestamp),
              naive(all, timestamp, startOffset),
              `${timestamp} from ${startOffset}`,
            );
          }
        }
        abandonLog(log);
      }),
      { numRuns: 100 },
    );
  });

  it("reads no more than lies between two entries of the indexes", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { indexIntervalBytes: 1000 } });
    for (let offset = 0; offset < 2000; offset++) appendStamped(log, [offset]);
    for (const timestamp of [0, 77, 1000, 1999]) {
      resetCounts(disk);
      assert.equal(findOffsetForTimestamp(log, timestamp)?.offset, timestamp);
      assert.ok(bytesReadOf(disk, ".log") < 70_000);
    }
  });

  it("passes over damage", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    for (let offset = 0; offset < 5; offset++) appendStamped(log, [100 + offset]);
    const batchBytes = log.segments[0]!.sizeBytes / 5;
    flipByte(fs, segmentPath(0), 2 * batchBytes + 65);
    assert.equal(findOffsetForTimestamp(log, 101)?.offset, 1);
    assert.equal(findOffsetForTimestamp(log, 102)?.offset, 3);
  });

  it("needs no index files", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    const all = Array.from({ length: 100 }, (_, offset) => (offset * 37) % 101);
    for (const timestamp of all) appendStamped(log, [timestamp]);
    await closeLog(log);
    for (const name of filesOf(fs)) if (/index$/.test(name)) fs.remove(`${logFolder}/${name}`);
    const { log: reopened } = openTestLog(fs, { config });
    for (let timestamp = 0; timestamp <= 101; timestamp++) {
      assert.deepEqual(findOffsetForTimestamp(reopened, timestamp), naive(all, timestamp, 0));
    }
  });
});
