/** What is known of producers after crashes in the middle of rolls, retention and recoveries. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, writeAccepted } from "../../src/log/log.ts";
import { advanceStart, retireBelowStart } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { makeFolderSynced } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { powerCut, setFaults, simulatedDisk } from "../../src/testing/mod.ts";
import type { LogOptions } from "../support/log_fixture.ts";
import {
  appendValues,
  basesOf,
  logFolder,
  manualClock,
  openTestLog,
  segmentPath,
} from "../support/log_fixture.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { produce, producedTime } from "../support/produced.ts";

function open(fs: FileSystem, options: LogOptions = {}): Log {
  return openTestLog(fs, { clock: manualClock(producedTime), ...options }).log;
}

/** Segments that begin with 0, 1, 3 and 4; the batch of a producer is at 1, its name is 7. */
function fill(log: Log): void {
  void appendValues(log, ["v0"]);
  rollLog(log);
  produce(log, 0);
  void appendValues(log, ["v2"]);
  rollLog(log);
  void appendValues(log, ["v3"]);
  rollLog(log);
  void appendValues(log, ["v4"]);
}

/** What a store does to delete records; what is below is gone. */
function deleteBefore(log: Log, offset: number): void {
  advanceStart(log, offset);
  retireBelowStart(log);
  sweepRetired(log);
}

function assertKnown(log: Log): void {
  const again = produce(log, 0);
  assert.deepEqual([again.isDuplicate, again.baseOffset], [true, 1]);
}

describe("a producer is known after a crash", () => {
  it("whose batches were deleted when no snapshot of them was trusted yet", () => {
    const fs = memoryFileSystem();
    const log = open(fs);
    void appendValues(log, ["v0"]);
    produce(log, 0);
    // While a batch waits to be written no snapshot can be taken where the next segment begins.
    void appendValues(log, ["v2"], "memory");
    rollLog(log);
    writeAccepted(log);
    assert.deepEqual([basesOf(log), log.snapshots.offsets], [[0, 2], [1, 3]]);
    deleteBefore(log, 2);
    assert.deepEqual(basesOf(log), [2]);
    abandonLog(log);
    assertKnown(open(fs, { recoveryPoint: 0, startOffset: 2 }));
  });

  it("whose batches were deleted when no snapshot could be taken", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    void appendValues(log, ["v0"]);
    produce(log, 0);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".snapshot" });
    rollLog(log);
    void appendValues(log, ["v2"]);
    deleteBefore(log, 2);
    abandonLog(log);
    assertKnown(open(disk.fs, { recoveryPoint: 0, startOffset: 2 }));
  });

  it("whose batches were deleted though no snapshot told of it", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    void appendValues(log, ["v0"]);
    produce(log, 0);
    abandonLog(log);
    disk.inner.remove(segmentPath(1, "snapshot"));
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".snapshot", times: 2 });
    const recovered = open(disk.fs, { recoveryPoint: 0 });
    rollLog(recovered);
    assert.deepEqual(recovered.snapshots.offsets, []);
    void appendValues(recovered, ["v2"]);
    deleteBefore(recovered, 2);
    abandonLog(recovered);
    assertKnown(open(disk.fs, { recoveryPoint: 0, startOffset: 2 }));
  });

  it("whose batches cannot be deleted, as the disk takes no snapshot", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    void appendValues(log, ["v0"]);
    produce(log, 0);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".snapshot", times: 2 });
    rollLog(log);
    assert.throws(() => deleteBefore(log, 2), { code: "DISK_FULL" });
    abandonLog(log);
    assertKnown(open(disk.fs, { recoveryPoint: 0, startOffset: 2 }));
  });

  it("whose batches retention has taken since the recovery before", () => {
    const fs = memoryFileSystem();
    const log = open(fs);
    fill(log);
    abandonLog(log);
    const recovered = open(fs, { recoveryPoint: 0 });
    deleteBefore(recovered, 4);
    assert.deepEqual(basesOf(recovered), [4]);
    abandonLog(recovered);
    assertKnown(open(fs, { recoveryPoint: 0, startOffset: 4 }));
  });

  it("in the middle of the removal of the segments with its batches", () => {
    const fs = memoryFileSystem();
    const log = open(fs);
    fill(log);
    const remove = (path: string): void => {
      if (path.includes("3.log")) throw Object.assign(new Error("EIO"), { code: "EIO" });
      fs.remove(path);
    };
    abandonLog(log);
    const recovered = open({ ...fs, remove }, { recoveryPoint: 0 });
    assert.throws(() => deleteBefore(recovered, 4), /EIO/);
    abandonLog(recovered);
    fs.rename(
      `${logFolder}/00000000000000000003.log.deleted`,
      `${logFolder}/00000000000000000003.log`,
    );
    assertKnown(open(fs, { recoveryPoint: 0, startOffset: 4 }));
  });

  it("whose batches retention took, but not on disk", async () => {
    const fs = memoryFileSystem();
    const log = open(fs);
    fill(log);
    await flushLog(log);
    log.snapshots.recoveryPoint = 3;
    log.isStartDue = true;
    advanceStart(log, 4);
    retireBelowStart(log);
    rollLog(log);
    abandonLog(log);
    assertKnown(open(fs, { recoveryPoint: 3 }));
  });

  it("of a snapshot that a process had failed to sync, and a power cut later", () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = simulatedDisk({ seed });
      makeFolderSynced(disk.fileSystem, logFolder);
      const log = open(disk.fileSystem);
      fill(log);
      setFaults(disk, {
        rule: ({ kind, path }) =>
          kind === "sync" && path.endsWith("4.snapshot") ? { code: "EIO" } : undefined,
      });
      assert.throws(() => deleteBefore(log, 4), /syncing it failed/);
      setFaults(disk);
      abandonLog(log);
      const recovered = open(disk.fileSystem, { recoveryPoint: 4, startOffset: 4 });
      deleteBefore(recovered, 4);
      disk.fileSystem.syncFolder(logFolder);
      powerCut(disk, { unsynced: "lost" });
      assertKnown(open(disk.fileSystem, { recoveryPoint: 4, startOffset: 4 }));
    }
  });
});
