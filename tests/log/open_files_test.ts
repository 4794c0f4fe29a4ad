/** Many logs under a small limit of open files, and none left open at the end. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { abandonLog, activeSegment } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { pinSlices, unpinSlices } from "../../src/log/log_reader.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { filePool, pinFile, unpinFile } from "../../src/platform/file_pool.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendNumbered,
  appendValues,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";

const config = { segmentBytes: 3 * numberedBatchBytes, retentionBytes: 5 * numberedBatchBytes };

describe("open files", () => {
  it("300 logs work under a limit of 50", async () => {
    const disk = faultyDisk();
    const openMax = 50;
    const pool = filePool(disk.fs, openMax);
    const open = (): ReturnType<typeof openTestLog>["log"][] =>
      rangeOf(0, 300).map((index) =>
        openTestLog(disk.fs, { pool, config, folder: `/store/topic-${index}` }).log
      );
    const logs = open();
    for (let round = 0; round < 3; round++) {
      for (const log of logs) {
        appendNumbered(log, 2);
        assert.ok(disk.handles.size <= openMax + 1);
      }
    }
    const waits = logs.map((log) => appendValues(log, ["v6"], "disk"));
    let isDone = false;
    void Promise.all(waits).then(() => isDone = true);
    while (!isDone) {
      // A sync keeps its file open, so only a few go on at once.
      assert.ok(disk.handles.size <= openMax + 17);
      await Promise.resolve();
    }
    for (const log of logs) assert.deepEqual(valuesOf(log), numberedValues(0, 7));
    for (const log of logs) {
      retireSegments(log, 0);
      sweepRetired(log);
    }
    appendNumbered(logs[0]!, 1);
    const closing = logs.map(closeLog);
    await settle();
    assert.ok(disk.handles.size <= openMax + 17);
    await Promise.all(closing);
    await settle();
    assert.equal(disk.handles.size, 0);
    const reopened = open();
    assert.ok(disk.handles.size <= openMax);
    for (const log of reopened) {
      assert.deepEqual(valuesOf(log), numberedValues(log.startOffset, log.endOffset));
    }
    assert.equal(reopened[1]!.endOffset, 7);
    for (const log of reopened) abandonLog(log);
    assert.equal(disk.handles.size, 0);
  });

  it("none stays open whatever fails while a log is opened", () => {
    for (
      const operation of [
        "open",
        "read",
        "write",
        "truncate",
        "sync",
        "syncFolder",
        "rename",
      ] as const
    ) {
      for (let after = 0; after < 25; after++) {
        const disk = faultyDisk();
        const { log } = openTestLog(disk.fs, { config });
        appendNumbered(log, 10);
        abandonLog(log);
        assert.equal(disk.handles.size, 0);
        failNext(disk, { operation, code: "EIO", after });
        let opened;
        try {
          opened = openTestLog(disk.fs, { config, recoveryPoint: 0 });
        } catch (error) {
          assert.equal((error as { code?: string }).code, "KAFKA_STORAGE_ERROR");
          assert.equal(disk.handles.size, 0, `${operation} ${after}`);
        }
        healDisk(disk);
        opened ??= openTestLog(disk.fs, { config, recoveryPoint: 0 });
        assert.deepEqual(valuesOf(opened.log), numberedValues(0, 10));
        abandonLog(opened.log);
        assert.equal(disk.handles.size, 0);
      }
    }
  });

  it("a range that outlives its log closes its files in the end", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    appendNumbered(log, 9);
    const slices = pinSlices(log, 0, 9, Infinity);
    const again = pinSlices(log, 0, 2, Infinity);
    abandonLog(log);
    assert.equal(disk.handles.size, 3);
    unpinSlices(log, slices);
    assert.equal(disk.handles.size, 1);
    unpinSlices(log, again);
    assert.equal(disk.handles.size, 0);
  });

  it("an opening that fails closes its own files, and none that somebody has pinned", () => {
    const disk = faultyDisk();
    const pool = filePool(disk.fs, 16);
    const { log } = openTestLog(disk.fs, { pool });
    appendValues(log, ["one"]);
    const file = activeSegment(log).log;
    const handle = pinFile(pool, file);
    failNext(disk, { operation: "open", code: "EIO", path: ".timeindex" });
    assert.throws(() => openTestLog(disk.fs, { pool, recoveryPoint: 0 }), {
      code: "KAFKA_STORAGE_ERROR",
    });
    assert.deepEqual([...disk.handles.keys()], [handle]);
    unpinFile(file);
  });
});
