/** Appending: levels of acknowledgement, visibility, rolling, closing. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import { abandonLog, flushLog, rollLog, writeAccepted } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { readableEnd } from "../../src/log/log_reader.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { filePool } from "../../src/platform/file_pool.ts";
import { faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import {
  activeBytes,
  appendBatches,
  appendNumbered,
  appendValues,
  basesOf,
  manualClock,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  ringTimers,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";

describe("levels of acknowledgement", () => {
  it("os is reached and visible at once", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    assert.equal(appendValues(log, ["a", "b"], "os"), undefined);
    assert.equal(log.highWatermark, 2);
    assert.deepEqual(valuesOf(log), ["a", "b"]);
    assert.equal(log.commit.syncedOffset, 0);
  });

  it("disk is visible when it is synced, and so is what stands behind it", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    void appendValues(log, ["a"], "os");
    holdSyncs(disk);
    const onDisk = appendValues(log, ["b"], "disk");
    void appendValues(log, ["c"], "os");
    void appendValues(log, ["d"], "memory");
    await settle();
    assert.deepEqual([log.endOffset, log.highWatermark, readableEnd(log)], [4, 1, 1]);
    assert.deepEqual(valuesOf(log), ["a"]);
    releaseSyncs(disk);
    await onDisk;
    assert.deepEqual(valuesOf(log), ["a", "b", "c", "d"]);
  });

  it("a batch that came during a sync stays hidden until the next", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    holdSyncs(disk);
    const order: string[] = [];
    const first = appendValues(log, ["a"], "disk")!.then(() => order.push("a"));
    await settle();
    // The first append also records its leader epoch.
    disk.counts.sync = 1;
    const second = appendValues(log, ["b"], "disk")!.then(() => order.push("b"));
    const third = appendValues(log, ["c"], "disk")!.then(() => order.push("c"));
    await settle();
    assert.equal(disk.counts.sync, 1);
    releaseSyncs(disk);
    await first;
    assert.equal(log.highWatermark, 1);
    assert.equal(disk.counts.sync, 2);
    releaseSyncs(disk);
    await Promise.all([second, third]);
    assert.equal(log.highWatermark, 3);
    assert.deepEqual(order, ["a", "b", "c"]);
    assert.equal(disk.counts.sync, 2);
  });

  it("memory can be read at once, and is written when the timer rings", () => {
    const disk = faultyDisk();
    const clock = manualClock();
    const { log } = openTestLog(disk.fs, { clock });
    disk.counts.write = 0;
    assert.equal(appendValues(log, ["a"], "memory"), undefined);
    void appendValues(log, ["b"], "memory");
    assert.equal(disk.counts.write, 0);
    assert.equal(log.highWatermark, 2);
    assert.equal(clock.timers.size, 1);
    ringTimers(clock);
    assert.equal(activeBytes(log), 2 * (numberedBatchBytes - 1));
    void appendValues(log, ["c"], "memory");
    assert.deepEqual(valuesOf(log), ["a", "b", "c"]);
    ringTimers(clock);
    assert.equal(clock.timers.size, 0);
  });

  it("watchers hear of every change of the high watermark, once", async () => {
    const { log } = openTestLog(faultyDisk().fs);
    const heard: number[] = [];
    const watch = (): void => void log.watchers.add(() => heard.push(log.highWatermark));
    watch();
    void appendValues(log, ["a"], "os");
    void appendValues(log, ["b"], "os");
    watch();
    void appendValues(log, ["c"], "memory");
    watch();
    await appendValues(log, ["d"], "disk");
    watch();
    abandonLog(log);
    assert.deepEqual(heard, [1, 3, 4, 4]);
  });

  it("flush waits for all that was appended", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    void appendValues(log, ["a"], "os");
    void appendValues(log, ["b"], "memory");
    await flushLog(log);
    assert.equal(log.commit.syncedOffset, 2);
    assert.equal(log.unsynced.length, 0);
    const syncs = disk.counts.sync;
    await flushLog(log);
    assert.equal(disk.counts.sync, syncs);
  });

  it("flush.messages and flush.ms ask for syncs that nobody waits for", async () => {
    const clock = manualClock();
    const { log } = openTestLog(faultyDisk().fs, {
      clock,
      config: { flushMessages: 3, flushMs: 1000 },
    });
    appendNumbered(log, 2);
    await settle();
    assert.equal(log.commit.syncedOffset, 0);
    appendNumbered(log, 1);
    await settle();
    assert.equal(log.commit.syncedOffset, 3);
    clock.nowMs += 1000;
    appendNumbered(log, 1);
    await settle();
    assert.equal(log.commit.syncedOffset, 4);
    appendNumbered(log, 4, "memory");
    writeAccepted(log);
    await settle();
    assert.equal(log.commit.syncedOffset, 8);
  });
});

describe("rolling", () => {
  it("begins a new segment before the batch that does not fit", () => {
    const config = { segmentBytes: 5 * numberedBatchBytes };
    const { log } = openTestLog(faultyDisk().fs, { config });
    appendNumbered(log, 5);
    assert.deepEqual(basesOf(log), [0]);
    appendNumbered(log, 3);
    assert.deepEqual(basesOf(log), [0, 5]);
    assert.deepEqual(valuesOf(log), numberedValues(0, 8));
  });

  it("divides one append of many batches over segments", async () => {
    const config = { segmentBytes: 3 * numberedBatchBytes };
    for (const ack of ["disk", "os", "memory"] as const) {
      const { log } = openTestLog(faultyDisk().fs, { config });
      await appendBatches(log, numberedValues(0, 8).map((value) => [value]), ack);
      assert.equal(readableEnd(log), 8);
      assert.deepEqual(basesOf(log), [0, 3, 6]);
      assert.deepEqual(valuesOf(log), numberedValues(0, 8));
    }
  });

  it("rolls by the time of the first record, and by the clock where there is none", () => {
    const clock = manualClock();
    const hour = 3600_000;
    const config = { segmentMs: hour };
    const { log } = openTestLog(faultyDisk().fs, { clock, config });
    const append = (timestamp: number): number => {
      void appendValues(log, ["a"], "os", timestamp);
      return log.segments.length;
    };
    clock.nowMs += hour + 1;
    assert.equal(append(-1), 1);
    assert.equal(append(-1), 2);
    clock.nowMs += hour + 1;
    assert.equal(append(-1), 3);

    const { log: stamped } = openTestLog(faultyDisk().fs, { clock, config });
    const future = clock.nowMs + 10 * hour;
    void appendValues(stamped, ["a"], "os", future);
    clock.nowMs += 2 * hour;
    void appendValues(stamped, ["a"], "os", future);
    assert.equal(stamped.segments.length, 1);
    void appendValues(stamped, ["a"], "os", future + hour + 1);
    assert.equal(stamped.segments.length, 2);
  });

  it("remembers the time of the first record when it is opened again", async () => {
    const { fs } = faultyDisk();
    const clock = manualClock();
    const config = { segmentMs: 1000, indexIntervalBytes: 100 };
    const { log } = openTestLog(fs, { clock, config });
    appendNumbered(log, 100);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { clock, config });
    void appendValues(reopened, ["a"], "os", 1_000_000 + 1001);
    assert.equal(reopened.segments.length, 2);
    abandonLog(reopened);
  });

  it("rolls when an index is full", () => {
    const config = { segmentIndexBytes: 5 * 12, indexIntervalBytes: 0 };
    const { log } = openTestLog(faultyDisk().fs, { config });
    appendNumbered(log, 12);
    assert.deepEqual(basesOf(log), [0, 5, 10]);
    assert.deepEqual(valuesOf(log), numberedValues(0, 12));
  });

  it("leaves an empty segment as it is", () => {
    const { log } = openTestLog(faultyDisk().fs);
    rollLog(log);
    assert.deepEqual(basesOf(log), [0]);
    appendNumbered(log, 1);
    rollLog(log);
    rollLog(log);
    assert.deepEqual(basesOf(log), [0, 1]);
  });

  it("refuses a batch that is larger than a segment, at every level, and goes on", async () => {
    const config = { segmentBytes: 500 };
    for (const ack of ["disk", "os", "memory"] as const) {
      const { fs } = faultyDisk();
      const { log } = openTestLog(fs, { config });
      void appendValues(log, ["v0"], "os");
      assert.throws(
        () => appendBatches(log, [["v1"], [500]], ack),
        (error) => isOttlaError(error, "RECORD_LIST_TOO_LARGE"),
      );
      assert.deepEqual([log.endOffset, log.highWatermark], [1, 1]);
      await appendValues(log, ["v1"], ack);
      assert.deepEqual(valuesOf(log), numberedValues(0, 2));
      await closeLog(log);
    }
  });

  it("takes what was accepted before segments became smaller", () => {
    const { log } = openTestLog(faultyDisk().fs);
    void appendValues(log, ["v0"], "os");
    void appendValues(log, ["v1", 2000], "memory");
    void appendValues(log, ["v3"], "memory");
    log.config = { ...log.config, segmentBytes: 1000 };
    writeAccepted(log);
    assert.deepEqual(basesOf(log), [0, 1, 3]);
    assert.equal(readableEnd(log), 4);
  });
});

describe("closing", () => {
  it("takes nothing more as soon as it has begun", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 2);
    const waiting = appendValues(log, ["v2"], "disk");
    appendNumbered(log, 1, "memory");
    const closing = closeLog(log);
    for (const ack of ["disk", "os", "memory"] as const) {
      assert.throws(
        () => appendValues(log, ["late"], ack),
        (error) => isOttlaError(error, "HANDLE_CLOSED"),
      );
    }
    assert.equal(await closing, 4);
    await waiting;
    await settle();
    assert.equal(disk.handles.size, 0);
    const { log: reopened } = openTestLog(disk.fs);
    assert.deepEqual(valuesOf(reopened), numberedValues(0, 4));
  });

  it("rejects those who wait when the log is abandoned, and opens no file again", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    holdSyncs(disk);
    const isClosed = (error: unknown): boolean => isOttlaError(error, "HANDLE_CLOSED");
    const first = assert.rejects(appendValues(log, ["v0"], "disk")!, isClosed);
    await settle();
    const second = assert.rejects(appendValues(log, ["v1"], "disk")!, isClosed);
    abandonLog(log);
    releaseSyncs(disk);
    await Promise.all([first, second]);
    await settle();
    assert.equal(disk.handles.size, 0);
  });

  it("an abandoned log does not begin the sync that it had planned", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    const waiting = assert.rejects(
      appendValues(log, ["v0"], "disk")!,
      (error) => isOttlaError(error, "HANDLE_CLOSED"),
    );
    abandonLog(log);
    const syncs = disk.counts.sync;
    await waiting;
    await settle();
    assert.equal(disk.counts.sync, syncs);
    assert.equal(disk.handles.size, 0);
  });
});

describe("many logs", () => {
  it("that wait their turn to sync are not synced once they are abandoned or retired", async () => {
    const disk = faultyDisk();
    const pool = filePool(disk.fs, 50);
    const logs = rangeOf(0, 20).map((index) =>
      openTestLog(disk.fs, { pool, folder: `/store/topic-${index}`, config: { retentionBytes: 0 } })
        .log
    );
    holdSyncs(disk);
    const waits = logs.map((log) =>
      appendValues(log, ["v0"], "disk")!.then(() => "done", () => "lost")
    );
    await settle();
    const [abandoned, retired] = logs.slice(-2);
    abandonLog(abandoned!);
    retired!.highWatermark = 1;
    assert.equal(retireSegments(retired!, 0), 1);
    sweepRetired(retired!);
    for (let rounds = 0; rounds < 10; rounds++) {
      releaseSyncs(disk);
      await settle();
    }
    const results = await Promise.all(waits);
    assert.deepEqual(
      results.map((result) => result === "done"),
      logs.map((log) => log !== abandoned),
    );
    assert.equal(abandoned!.commit.syncedOffset, 0);
    assert.equal(retired!.commit.failure, undefined);
    for (const log of logs) abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });
});
