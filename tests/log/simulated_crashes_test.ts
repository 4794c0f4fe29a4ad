/** What the model of `simulated_lives_test.ts` has found, each as a plain test. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { openLog } from "../../src/log/log_open.ts";
import { pinSlices, unpinSlices } from "../../src/log/log_reader.ts";
import { recoveryPointOf } from "../../src/log/log_sync.ts";
import { noteRecoveryPoint } from "../../src/log/producer_snapshots.ts";
import { advanceStart, largestTimestamp, retireBelowStart } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { makeFolderSynced } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { SimulatedDisk } from "../../src/testing/mod.ts";
import { powerCut, setFaults, simulatedDisk, syncedContentOf } from "../../src/testing/mod.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import type { LogOptions } from "../support/log_fixture.ts";
import {
  appendValues,
  logFolder,
  openTestLog,
  resizeFile,
  segmentPath,
  testPlace,
  valuesOf,
} from "../support/log_fixture.ts";
import { contentOf } from "../support/simulated_disk_fixture.ts";

/** Every batch but the first of a segment has an entry in both indexes. */
const config = { indexIntervalBytes: 0 };
/** The largest timestamp stands in the middle. */
const timestamps = [1, 2, 9, 3, 4];

/** A disk that has the folder of the log. */
function diskWithFolder(seed: number): SimulatedDisk {
  const disk = simulatedDisk({ seed });
  makeFolderSynced(disk.fileSystem, logFolder);
  return disk;
}

function openAfterPowerCut(fs: FileSystem, options: LogOptions): Log {
  return openLog({ ...testPlace(fs, options), lostPower: true }).log;
}

function appendTimes(log: Log, times: readonly number[]): void {
  for (const time of times) void appendValues(log, [`at ${time}`], "os", time);
}

function largestOf(log: Log): number {
  return largestTimestamp(log, log.segments[0]!);
}

describe("a power cut", () => {
  it("takes nothing that was acknowledged behind what a failed sync had dropped", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = diskWithFolder(seed);
      const first = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
      setFaults(disk, {
        rule: ({ kind, path }) =>
          kind === "sync" && path.endsWith(".log") ? { code: "EIO" } : undefined,
      });
      // Longer than a sector, or the next batch would bring it along.
      const long = "v0".repeat(1000);
      await assert.rejects(appendValues(first, [long], "disk")!);
      setFaults(disk);
      abandonLog(first);
      // Another partition could not be recovered, so the mark of the power cut is still there.
      const second = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
      await appendValues(second, ["v1"], "disk");
      powerCut(disk, { unsynced: "lost" });
      const third = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
      assert.deepEqual(valuesOf(third), [long, "v1"], `seed ${seed}`);
    }
  });

  it("brings nothing back between two segments that a range would send", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const disk = diskWithFolder(seed);
      const { log } = openTestLog(disk.fileSystem);
      await appendValues(log, ["v0"], "disk");
      const { sizeBytes } = log.segments[0]!;
      setFaults(disk, {
        rule: ({ kind }) => kind === "write" ? { code: "EIO", writtenBytes: 50 } : undefined,
      });
      assert.throws(() => appendValues(log, ["x".repeat(600)]));
      setFaults(disk);
      rollLog(log);
      powerCut(disk);
      const again = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 1 });
      await appendValues(again, ["v1"], "disk");
      const slices = pinSlices(again, 0, 2, Infinity);
      const end = again.segments.length === 1 ? 2 * sizeBytes : sizeBytes;
      assert.equal(slices[0]!.endPosition, end, `seed ${seed}`);
      unpinSlices(again, slices);
      abandonLog(again);
    }
  });

  it("leaves the indexes of a log that was recovered and closed", async () => {
    const disk = diskWithFolder(1);
    const { log } = openTestLog(disk.fileSystem, { config });
    appendTimes(log, timestamps);
    abandonLog(log);
    await closeLog(openTestLog(disk.fileSystem, { config, recoveryPoint: 0 }).log);
    for (const kind of ["index", "timeindex"] as const) {
      const path = segmentPath(0, kind);
      assert.deepEqual(syncedContentOf(disk, path), contentOf(disk, path));
    }
  });

  it("leaves no index that the opening after the next trusts", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendTimes(log, timestamps);
    saveActiveIndexes(log);
    abandonLog(log);
    resizeFile(fs, segmentPath(0, "timeindex"), 12);
    abandonLog(openAfterPowerCut(fs, { config, recoveryPoint: 5 }));
    const { log: again } = openTestLog(fs, { config, recoveryPoint: 5 });
    assert.equal(largestOf(again), 9);
  });
});

describe("the recovery point", () => {
  it("never falls behind what was recorded", async () => {
    const { log } = openTestLog(memoryFileSystem());
    await appendValues(log, ["v0", "v1"], "disk");
    noteRecoveryPoint(log);
    void appendValues(log, ["v2"], "os");
    rollLog(log);
    assert.equal(recoveryPointOf(log), 2);
    await flushLog(log);
    assert.equal(recoveryPointOf(log), 3);
  });
});

describe("a removal that failed", () => {
  it("keeps nothing from being synced", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    void appendValues(log, ["v0"]);
    rollLog(log);
    advanceStart(log, 1);
    retireBelowStart(log);
    failNext(disk, { operation: "remove", code: "EBUSY", path: ".log" });
    assert.throws(() => sweepRetired(log), /EBUSY/);
    await appendValues(log, ["v1"], "disk");
    assert.deepEqual(valuesOf(log), ["v1"]);
  });
});

describe("a checkpoint that could save one index only", () => {
  it("leaves the other complete enough to tell the largest timestamp", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    appendTimes(log, timestamps.slice(0, 2));
    saveActiveIndexes(log);
    appendTimes(log, timestamps.slice(2));
    failNext(disk, { operation: "open", code: "EMFILE", path: ".timeindex" });
    assert.throws(() => saveActiveIndexes(log));
    abandonLog(log);
    const { log: again } = openTestLog(disk.fs, { config, recoveryPoint: 5 });
    assert.equal(largestOf(again), 9);
  });
});
