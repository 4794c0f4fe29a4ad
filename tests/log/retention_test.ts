/** Retention: the cases of Kafka's own tests, and its order and comparisons. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { Log, LogConfig } from "../../src/log/log.ts";
import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { pinSlices, readableEnd, unpinSlices } from "../../src/log/log_reader.ts";
import { advanceStart, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendNumbered,
  appendValues,
  basesOf,
  filesOf,
  manualClock,
  numberedValues,
  openTestLog,
  readLog,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";

const batchBytes = 61 + 7 + 10;

/** Ten bytes of value, so that all batches have the same size. */
function append(log: Log, count: number, timestamp = 1_000_000): void {
  for (let left = count; left > 0; left--) {
    void appendValues(log, [String(log.endOffset).padStart(10, "0")], "os", timestamp);
  }
}

function openWith(config: Partial<LogConfig>, segmentBatches = 5): Log {
  const segmentBytes = segmentBatches * batchBytes;
  return openTestLog(memoryFileSystem(), { config: { segmentBytes, ...config } }).log;
}

const isOutOfRange = (error: unknown): boolean => isOttlaError(error, "OFFSET_OUT_OF_RANGE");

describe("retention by size", () => {
  it("removes a segment only while what stays is not below the limit", () => {
    for (const [retentionBytes, segmentCount] of [[10, 2], [15, 3], [11, 3], [9, 2], [0, 1]]) {
      const log = openWith({ retentionBytes: retentionBytes! * batchBytes });
      append(log, 15);
      retireSegments(log, 0);
      assert.equal(log.segments.length, segmentCount, `${retentionBytes} batches`);
      assert.equal(log.startOffset, log.segments[0]!.baseOffset);
      assert.equal(log.endOffset, 15);
    }
  });

  it("leaves six segments of ten batches for five and a bit", () => {
    const log = openWith({ retentionBytes: 50 * batchBytes + 10 }, 10);
    append(log, 200);
    assert.equal(retireSegments(log, 0), 14);
    assert.equal(log.segments.length, 6);
    assert.equal(retireSegments(log, 0), 0);
  });

  it("is off without a limit, and without the policy delete", () => {
    for (
      const config of [{ retentionBytes: -1 }, { retentionBytes: 0, cleanupPolicy: "compact" }]
    ) {
      const log = openWith(config);
      append(log, 30);
      assert.equal(retireSegments(log, 0), 0);
    }
    const log = openWith({ retentionBytes: 0, cleanupPolicy: "compact,delete" });
    append(log, 30);
    assert.ok(retireSegments(log, 0) > 0);
  });
});

describe("retention by time", () => {
  it("removes every segment that is too old, and begins an empty one where all are", () => {
    const log = openWith({ retentionMs: 10_000 });
    append(log, 12, 10);
    assert.equal(retireSegments(log, 10_010), 0);
    assert.equal(retireSegments(log, 10_011), 3);
    assert.deepEqual(basesOf(log), [12]);
    assert.deepEqual([log.startOffset, log.endOffset, log.highWatermark], [12, 12, 12]);
    assert.equal(retireSegments(log, 99_999), 0);
    append(log, 1, 99_999);
    assert.equal(log.segments.length, 1);
    assert.equal(readLog(log).records[0]?.offset, 12);
  });

  it("goes by the largest timestamp of each segment, the oldest first", () => {
    const log = openWith({ retentionMs: 1000 });
    for (const timestamp of [100, 50_000, 100, 100]) append(log, 5, timestamp);
    assert.equal(retireSegments(log, 10_000), 1);
    assert.deepEqual(basesOf(log), [5, 10, 15]);
  });

  it("goes by the time of the last write where records have no time", async () => {
    const clock = manualClock(5_000);
    const fs = memoryFileSystem(clock.now);
    const config = { retentionMs: 1000, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(fs, { config, clock });
    append(log, 5, -1);
    clock.nowMs = 7_000;
    append(log, 1, -1);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { config, clock });
    assert.equal(retireSegments(reopened, 6_000), 0);
    assert.equal(retireSegments(reopened, 6_001), 1);
    assert.equal(retireSegments(reopened, 8_001), 1);
    assert.deepEqual(basesOf(reopened), [6]);
  });

  it("knows the timestamps of segments that were not looked at since opening", async () => {
    const fs = memoryFileSystem();
    const config = { retentionMs: 1000, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(fs, { config });
    for (const timestamp of [100, 200, 5000]) append(log, 5, timestamp);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { config });
    assert.equal(retireSegments(reopened, 1201), 2);
    assert.deepEqual(basesOf(reopened), [10]);
  });
});

describe("the start of the log", () => {
  it("moves to any offset up to the high watermark, and not back", async () => {
    const log = openWith({});
    append(log, 12);
    const waiting = appendValues(log, ["hidden"], "disk");
    assert.throws(() => advanceStart(log, 13), isOutOfRange);
    assert.equal(log.startOffset, 0);
    assert.equal(advanceStart(log, 7), 7);
    assert.equal(advanceStart(log, 3), 7);
    assert.equal(advanceStart(log, -1), 12);
    await waiting;
    assert.equal(advanceStart(log, -1), 13);
  });

  it("removes the segments that lie wholly before it, with every policy", () => {
    for (const cleanupPolicy of ["delete", "compact", ""]) {
      const log = openWith({ cleanupPolicy });
      append(log, 20);
      advanceStart(log, 12);
      assert.equal(retireSegments(log, 0), 2);
      assert.deepEqual(basesOf(log), [10, 15]);
      assert.equal(log.startOffset, 12);
      advanceStart(log, -1);
      assert.equal(retireSegments(log, 0), 1);
      assert.deepEqual(basesOf(log), [15]);
    }
  });

  it("is not passed by removal of what readers have not seen", async () => {
    const disk = faultyDisk();
    const config = { retentionBytes: 0, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 5);
    failNext(disk, { operation: "sync", code: "EIO", times: 0 });
    const waiting = appendValues(log, ["hidden"], "disk");
    append(log, 10);
    assert.equal(log.highWatermark, 5);
    assert.equal(retireSegments(log, 0), 1);
    assert.deepEqual([log.startOffset, basesOf(log)[0]], [5, 5]);
    await waiting;
    assert.ok(retireSegments(log, 0) > 0);
  });

  it("stays where it was when the log is opened again", async () => {
    const fs = memoryFileSystem();
    const config = { segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(fs, { config });
    append(log, 20);
    advanceStart(log, 12);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { config, startOffset: 12 });
    assert.equal(reopened.startOffset, 12);
    assert.equal(readLog(reopened).records[0]?.offset, 12);
    assert.equal(retireSegments(reopened, 0), 2);
  });
});

describe("the files of removed segments", () => {
  it("go when nobody reads them", () => {
    const disk = faultyDisk();
    const config = { retentionBytes: 0, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 12);
    const slices = pinSlices(log, 0, 3, Infinity);
    retireSegments(log, 0);
    assert.equal(log.doomed.length, 3);
    sweepRetired(log);
    assert.equal(log.doomed.length, 1);
    assert.deepEqual(filesOf(disk.fs), [
      "00000000000000000000.index",
      "00000000000000000000.log",
      "00000000000000000000.timeindex",
      "00000000000000000012.index",
      "00000000000000000012.log",
      "00000000000000000012.timeindex",
      "leader-epoch-checkpoint",
    ]);
    unpinSlices(log, slices);
    assert.equal(filesOf(disk.fs).length, 4);
    abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });

  it("go the oldest first, so that a crash leaves no hole", () => {
    for (const operation of ["rename", "remove"] as const) {
      for (let after = 0; after < 12; after++) {
        const disk = faultyDisk();
        const config = { retentionBytes: 6 * batchBytes, segmentBytes: 5 * batchBytes };
        const { log } = openTestLog(disk.fs, { config });
        append(log, 25);
        assert.equal(retireSegments(log, 0), 3);
        failNext(disk, { operation, code: "EIO", after });
        try {
          sweepRetired(log);
        } catch {
          healDisk(disk);
        }
        const crashed = crashDisk(disk, { names: true, bytes: (unsynced) => unsynced });
        const { log: reopened } = openTestLog(crashed.fs, { config, recoveryPoint: 0 });
        const offsets = readLog(reopened).records.map((record) => record.offset);
        assert.equal(offsets.at(-1), 24);
        assert.equal(offsets.length, 25 - offsets[0]!, `${operation} ${after}`);
      }
    }
  });

  it("stay when the log is closed before they go, and are closed", () => {
    const disk = faultyDisk();
    const config = { retentionBytes: 0, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 12);
    assert.equal(retireSegments(log, 0), 3);
    abandonLog(log);
    assert.equal(disk.handles.size, 0);
    const { log: reopened } = openTestLog(disk.fs, { config, startOffset: 12 });
    assert.equal(reopened.startOffset, 12);
    assert.equal(retireSegments(reopened, 0), 3);
  });

  it("are not synced any more", async () => {
    const disk = faultyDisk();
    const config = { retentionBytes: 0, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 12);
    retireSegments(log, 0);
    sweepRetired(log);
    await appendValues(log, ["v"], "disk");
    assert.equal(log.commit.syncedOffset, 13);
    await settle();
    assert.equal(log.commit.failure, undefined);
    await closeLog(log);
    assert.equal(disk.handles.size, 0);
  });

  it("outlive a sync that is under way", async () => {
    const disk = faultyDisk();
    const config = { retentionBytes: 0, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 12);
    disk.heldSyncs = [];
    const waiting = appendValues(log, ["v"], "disk");
    await settle();
    const held = disk.heldSyncs.splice(0);
    assert.ok(held.length > 0);
    retireSegments(log, 0);
    sweepRetired(log);
    disk.heldSyncs = undefined;
    for (const release of held) release();
    await waiting;
    assert.equal(log.commit.failure, undefined);
    sweepRetired(log);
    assert.ok(log.doomed.length <= 1);
    await closeLog(log);
    assert.equal(disk.handles.size, 0);
  });
});

describe("retention on a full disk", () => {
  it("still removes what is old, and so makes room", () => {
    const disk = faultyDisk();
    const config = { retentionMs: 1000, segmentBytes: 5 * batchBytes };
    const { log } = openTestLog(disk.fs, { config });
    append(log, 12, 100);
    appendNumbered(log, 1, "memory");
    failNext(disk, { operation: "write", code: "ENOSPC", times: Infinity });
    failNext(disk, { operation: "truncate", code: "ENOSPC", times: Infinity, path: "index" });
    assert.equal(retireSegments(log, 5000), 2);
    sweepRetired(log);
    assert.deepEqual(basesOf(log), [10]);
    assert.equal(advanceStart(log, 11), 11);
    healDisk(disk);
    assert.equal(readableEnd(log), 13);
    assert.deepEqual(readLog(log).records.map((record) => record.offset), [11, 12]);
    abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });

  it("of a log of one old segment says so, and does it later", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { retentionMs: 1000 } });
    appendNumbered(log, 3);
    failNext(disk, { operation: "open", code: "ENOSPC", path: "03.log" });
    const later = 1_000_003 + 1001;
    assert.throws(() => retireSegments(log, later), (error) => isOttlaError(error, "DISK_FULL"));
    assert.deepEqual(valuesOf(log), numberedValues(0, 3));
    assert.equal(retireSegments(log, later), 1);
    assert.deepEqual(basesOf(log), [3]);
  });
});
