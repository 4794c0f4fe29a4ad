/** Appending: levels of acknowledgement, visibility, rolling, and what a failure leaves behind. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError, OttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog, closeLog, flushLog, rollLog, writeAccepted } from "../../src/log/log.ts";
import { readableEnd } from "../../src/log/log_reader.ts";
import { retireSegments, sweepRetired } from "../../src/log/retention.ts";
import { filePool } from "../../src/platform/file_pool.ts";
import {
  failNext,
  faultyDisk,
  healDisk,
  holdSyncs,
  releaseSyncs,
} from "../support/faulty_file_system.ts";
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
  readLog,
  ringTimers,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";

const fullDisk = { code: "ENOSPC" } as const;
const brokenDisk = { code: "EIO" } as const;

/** What the log shows after it was opened again, as after a crash of the process. */
function reopenedValues(fs: Parameters<typeof openTestLog>[0], log: Log): string[] {
  abandonLog(log);
  const { log: reopened } = openTestLog(fs, { recoveryPoint: 0 });
  const values = valuesOf(reopened);
  abandonLog(reopened);
  return values;
}

const isDiskFull = (error: unknown): boolean => isOttlaError(error, "DISK_FULL");
const isStorageError = (error: unknown): boolean => isOttlaError(error, "KAFKA_STORAGE_ERROR");

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

describe("failed writes", () => {
  for (const { code } of [fullDisk, brokenDisk]) {
    for (const shortBytes of [0, 1, 30, 69, 70, 100, 139]) {
      it(`${code} after ${shortBytes} bytes leaves the log as before`, async () => {
        const disk = faultyDisk();
        const { log } = openTestLog(disk.fs);
        appendNumbered(log, 3);
        for (const ack of ["os", "disk"] as const) {
          failNext(disk, { operation: "write", code, shortBytes, path: ".log" });
          assert.throws(
            () => appendBatches(log, [["x"], ["y"]], ack),
            code === "ENOSPC" ? isDiskFull : isStorageError,
          );
          assert.deepEqual([log.endOffset, log.highWatermark], [3, 3]);
          assert.deepEqual(valuesOf(log), numberedValues(0, 3));
        }
        await appendValues(log, ["v3"], "disk");
        appendNumbered(log, 1);
        assert.deepEqual(valuesOf(log), numberedValues(0, 5));
        assert.deepEqual(reopenedValues(disk.fs, log), numberedValues(0, 5));
        assert.equal(disk.handles.size, 0);
      });
    }
  }

  it("a failed undo poisons the log", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 3);
    failNext(disk, { operation: "write", code: "EIO", shortBytes: 30, path: ".log" });
    failNext(disk, { operation: "truncate", code: "EIO", path: ".log" });
    assert.throws(() => appendNumbered(log, 1), isStorageError);
    const { failure } = log.commit;
    assert.ok(failure instanceof OttlaError);
    assert.doesNotMatch(failure.message, /sync/);
    const isFailure = (error: unknown): boolean => error === failure;
    assert.throws(() => appendNumbered(log, 1), isFailure);
    assert.throws(() => readableEnd(log), isFailure);
    await assert.rejects(flushLog(log), isFailure);
    await assert.rejects(closeLog(log), isFailure);
    assert.equal(disk.handles.size, 0);
    assert.deepEqual(reopenedValues(disk.fs, log), numberedValues(0, 3));
  });

  it("a failure behind a roll keeps what was written, names its end, and does not hide what follows", async () => {
    for (const ack of ["os", "disk"] as const) {
      const disk = faultyDisk();
      const config = { segmentBytes: 3 * numberedBatchBytes };
      const { log } = openTestLog(disk.fs, { config });
      failNext(disk, { operation: "write", code: "ENOSPC", path: "03.log" });
      assert.throws(
        () => appendBatches(log, numberedValues(0, 8).map((value) => [value]), ack),
        (error) => isOttlaError(error, "DISK_FULL") && error.details["endOffset"] === 3,
      );
      await settle();
      assert.deepEqual([log.endOffset, log.highWatermark], [3, 3]);
      appendNumbered(log, 1);
      assert.deepEqual(valuesOf(log), numberedValues(0, 4));
      assert.deepEqual(reopenedValues(disk.fs, log), numberedValues(0, 4));
    }
  });

  it("a roll that fails at any point loses nothing that comes after it", async () => {
    const config = { segmentBytes: 3 * numberedBatchBytes };
    for (const operation of ["open", "write", "truncate", "syncFolder"] as const) {
      for (let after = 0; after < 12; after++) {
        const disk = faultyDisk();
        const { log } = openTestLog(disk.fs, { config });
        appendNumbered(log, 2);
        failNext(disk, { operation, code: "ENOSPC", after });
        const values = ["v0", "v1"];
        // The first batch does not fit and rolls, the second one would fit into what there is.
        for (const value of ["a long value that does not fit", "v", "w"]) {
          try {
            void appendValues(log, [value]);
            values.push(value);
          } catch (error) {
            if (!isOttlaError(error, "DISK_FULL")) throw error;
          }
        }
        assert.ok(values.length >= 4, `${operation} ${after}`);
        assert.deepEqual(valuesOf(log), values, `${operation} ${after}`);
        healDisk(disk);
        const isCrash = after % 2 === 0;
        if (isCrash) abandonLog(log);
        else await closeLog(log);
        const { log: reopened } = openTestLog(disk.fs, {
          config,
          recoveryPoint: isCrash ? 0 : Infinity,
        });
        assert.deepEqual(valuesOf(reopened), values, `${operation} ${after} reopened`);
        abandonLog(reopened);
        assert.equal(disk.handles.size, 0);
      }
    }
  });

  it("a leader epoch that could not be recorded is recorded with the next append", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    failNext(disk, { operation: "rename", code: "ENOSPC", path: "leader-epoch-checkpoint" });
    assert.throws(() => appendNumbered(log, 1), isDiskFull);
    assert.equal(log.endOffset, 0);
    appendNumbered(log, 1);
    abandonLog(log);
    const { log: reopened } = openTestLog(disk.fs, { recoveryPoint: 0 });
    assert.deepEqual(reopened.epochs.entries, [{ epoch: 0, startOffset: 0 }]);
  });
});

describe("memory level on a disk that takes nothing", () => {
  it("keeps what was accepted up to a limit, and loses and reorders none of it", async () => {
    const disk = faultyDisk();
    const clock = manualClock();
    const { log } = openTestLog(disk.fs, { clock, config: { segmentBytes: 3_000_000 } });
    void appendValues(log, ["v0"], "os");
    failNext(disk, { operation: "write", code: "ENOSPC", times: Infinity, path: ".log" });
    const valueBytes = 100_000;
    let count = 0;
    assert.throws(() => {
      for (; count < 1000; count++) void appendValues(log, [valueBytes], "memory");
    }, isDiskFull);
    assert.ok(count > 2 && count * valueBytes < 8 * 1024 * 1024);
    assert.ok(log.accepted.sizeBytes <= 8 * 1024 * 1024);
    assert.equal(log.endOffset, 1 + count);
    assert.throws(() => appendNumbered(log, 1), isDiskFull);
    ringTimers(clock);
    assert.equal(readableEnd(log), 1);
    assert.equal(readLog(log).records.length, 1);

    healDisk(disk);
    void appendValues(log, ["last"], "memory");
    assert.equal(readableEnd(log), count + 2);
    const values = valuesOf(log);
    assert.equal(values.length, count + 2);
    assert.ok(values.slice(1, -1).every((value) => value.length === valueBytes));
    assert.equal(values.at(-1), "last");
    await closeLog(log);
    const { log: reopened } = openTestLog(disk.fs);
    assert.deepEqual(valuesOf(reopened), values);
  });

  it("a write that fails in the middle of a chunk writes nothing twice", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { segmentBytes: 3 * numberedBatchBytes } });
    void appendBatches(log, numberedValues(0, 8).map((value) => [value]), "memory");
    void appendValues(log, ["v8"], "memory");
    failNext(disk, { operation: "write", code: "ENOSPC", after: 1, times: 2, path: ".log" });
    assert.throws(() => writeAccepted(log), isDiskFull);
    assert.equal(readableEnd(log), 3);
    assert.equal(readableEnd(log), 9);
    const sizes = log.segments.map((segment) => segment.sizeBytes / numberedBatchBytes);
    assert.deepEqual(sizes, [3, 3, 3]);
    assert.deepEqual(valuesOf(log), numberedValues(0, 9));
    assert.deepEqual(reopenedValues(disk.fs, log), numberedValues(0, 9));
  });

  it("an append larger than the limit is written at once", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config: { segmentBytes: 32 * 1024 * 1024 } });
    void appendValues(log, ["v0"], "memory");
    void appendValues(log, [9 * 1024 * 1024], "memory");
    assert.equal(log.accepted.sizeBytes, 0);
    assert.equal(log.highWatermark, 2);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".log" });
    assert.throws(() => appendValues(log, [9 * 1024 * 1024], "memory"), isDiskFull);
    assert.equal(log.endOffset, 2);
  });
});

describe("failed syncs", () => {
  it("poison the log: the same error for all who wait and every later call", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    await appendValues(log, ["v0"], "disk");
    failNext(disk, { operation: "sync", code: "EIO" });
    const errors: unknown[] = [];
    const keep = (error: unknown): void => void errors.push(error);
    const waiting = [appendValues(log, ["v1"], "disk"), appendValues(log, ["v2"], "disk")];
    await Promise.all(waiting.map((promise) => promise!.catch(keep)));
    for (const call of [() => appendNumbered(log, 1), () => readableEnd(log)]) {
      try {
        call();
      } catch (error) {
        keep(error);
      }
    }
    await flushLog(log).catch(keep);
    await closeLog(log).catch(keep);
    assert.equal(errors.length, 6);
    assert.ok(errors.every((error) => error === log.commit.failure));
    assert.ok(isStorageError(errors[0]));
    assert.equal(log.highWatermark, 1);
    assert.equal(disk.handles.size, 0);
    const { log: reopened } = openTestLog(disk.fs, { recoveryPoint: 1 });
    assert.equal(valuesOf(reopened)[0], "v0");
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
    const waits = logs.map((log) => appendValues(log, ["v0"], "disk")!.then(() => "done", () => "lost"));
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
    assert.deepEqual(results.map((result) => result === "done"), logs.map((log) => log !== abandoned));
    assert.equal(abandoned!.commit.syncedOffset, 0);
    assert.equal(retired!.commit.failure, undefined);
    for (const log of logs) abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });
});
