/**
 * What a write, a roll or a sync that fails leaves behind: the log as it was, or one that says that
 * it cannot be used.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError, OttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog, activeSegment, flushLog, writeAccepted } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { readableEnd } from "../../src/log/log_reader.ts";
import { rebuildIndexes } from "../../src/segment/segment_load.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendBatches,
  appendNumbered,
  appendValues,
  manualClock,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
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

  it("indexes that cannot be read now keep nothing from being appended later", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 3);
    failNext(disk, { operation: "read", ...brokenDisk, path: ".log" });
    assert.throws(() => rebuildIndexes(activeSegment(log), log.config), brokenDisk);
    failNext(disk, { operation: "open", ...brokenDisk, path: "index" });
    assert.throws(() => appendNumbered(log, 1), isStorageError);
    appendNumbered(log, 1);
    assert.deepEqual(valuesOf(log), numberedValues(0, 4));
    abandonLog(log);
  });

  it("a failed undo poisons the log, and does not say that nothing was written", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    appendNumbered(log, 3);
    failNext(disk, { operation: "write", code: "ENOSPC", shortBytes: 30, path: ".log" });
    failNext(disk, { operation: "truncate", code: "EIO", path: ".log" });
    const isFailure = (error: unknown): boolean => error === log.commit.failure;
    assert.throws(() => appendNumbered(log, 1), isFailure);
    const { failure } = log.commit;
    assert.ok(failure instanceof OttlaError && isStorageError(failure));
    assert.doesNotMatch(failure.message, /sync/);
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
    // The first batch does not fit and rolls, the second one would fit into what there is.
    const all = ["a long value that does not fit", "v", "w"];
    for (const operation of ["open", "write", "truncate", "syncFolder"] as const) {
      for (let after = 0; after < 8; after++) {
        for (const [count, isCrash] of [[2, true], [2, false], [3, true]] as const) {
          const what = `${operation} ${after} ${count} ${isCrash}`;
          const disk = faultyDisk();
          const { log } = openTestLog(disk.fs, { config });
          appendNumbered(log, 2);
          failNext(disk, { operation, code: "ENOSPC", after });
          const values = ["v0", "v1"];
          for (const value of all.slice(0, count)) {
            try {
              void appendValues(log, [value]);
              values.push(value);
            } catch (error) {
              if (!isOttlaError(error, "DISK_FULL")) throw error;
            }
          }
          assert.ok(values.length > count, what);
          assert.deepEqual(valuesOf(log), values, what);
          healDisk(disk);
          if (isCrash) abandonLog(log);
          else await closeLog(log);
          const recoveryPoint = isCrash ? 0 : Infinity;
          const { log: reopened } = openTestLog(disk.fs, { config, recoveryPoint });
          assert.deepEqual(valuesOf(reopened), values, what);
          abandonLog(reopened);
          assert.equal(disk.handles.size, 0);
        }
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
  it("of a log that is poisoned already do not change its error", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    await appendValues(log, ["v0"], "disk");
    failNext(disk, { operation: "sync", code: "EIO" });
    const waiting = appendValues(log, ["v1"], "disk")!.catch((error: unknown) => error);
    failNext(disk, { operation: "write", code: "EIO", shortBytes: 30, path: ".log" });
    failNext(disk, { operation: "truncate", code: "EIO", path: ".log" });
    assert.throws(() => appendNumbered(log, 1), isStorageError);
    const { failure } = log.commit;
    assert.equal(await waiting, failure);
    assert.equal(log.commit.failure, failure);
  });

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

describe("syncs on the spot", () => {
  it("are over when the append is, and one that fails poisons the log", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog({ ...disk.fs, isSyncQuick: () => true });
    await Promise.all([
      appendValues(log, ["v0"], "disk", 1_000_000),
      appendValues(log, ["v1"], "disk", 1_000_001),
    ]);
    assert.deepEqual([log.commit.syncedOffset, log.highWatermark], [2, 2]);
    assert.deepEqual(log.unsynced, []);
    failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
    await assert.rejects(appendValues(log, ["v2"], "disk", 1_000_002)!, isStorageError);
    assert.throws(() => appendNumbered(log, 1), isStorageError);
    assert.deepEqual(reopenedValues(disk.fs, log).slice(0, 2), numberedValues(0, 2));
  });
});
