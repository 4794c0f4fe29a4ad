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
import { produce } from "../support/produced.ts";
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

/** From now on one kind of operation on segments fails: all syncs, or the writes of what is there. */
function failLog(disk: SimulatedDisk, failing: "sync" | "write", code: string): void {
  setFaults(disk, {
    rule({ kind, path, position = 0 }) {
      return kind === failing && path.endsWith(".log") && position === 0 ? { code } : undefined;
    },
  });
}

function appendTimes(log: Log, times: readonly number[]): void {
  for (const time of times) void appendValues(log, [`at ${time}`], "os", time);
}

function largestOf(log: Log): number {
  return largestTimestamp(log, log.segments[0]!);
}

/** Longer than a sector, or the next batch would bring it along. */
const long = "v0".repeat(1000);

/** Leaves a log of which a sync has dropped `long`, after a power cut. */
async function failSync(disk: SimulatedDisk): Promise<void> {
  const first = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
  failLog(disk, "sync", "EIO");
  await assert.rejects(appendValues(first, [long], "disk")!);
  setFaults(disk);
  abandonLog(first);
}

/** Such a log, opened on a full disk, which keeps it from being written again. */
async function openUnwritten(disk: SimulatedDisk): Promise<Log> {
  await failSync(disk);
  failLog(disk, "write", "ENOSPC");
  return openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
}

describe("a power cut", () => {
  it("takes nothing that was acknowledged behind what a failed sync had dropped", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = diskWithFolder(seed);
      await failSync(disk);
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

  it("makes no batch the first one whose first offset it has taken", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs);
    void appendValues(log, ["v0"]);
    const { sizeBytes } = log.segments[0]!;
    void appendValues(log, ["v1"]);
    abandonLog(log);
    const file = fs.open(segmentPath(0, "log"), "write");
    fs.write(file, new Uint8Array(sizeBytes + 8), 0);
    fs.close(file);
    const again = openAfterPowerCut(fs, { recoveryPoint: 0 });
    assert.deepEqual([valuesOf(again), again.endOffset], [[], 0]);
  });

  it("brings no segment back that a recovery which failed had put aside", async () => {
    for (const failing of ["remove", "syncFolder"]) {
      const disk = diskWithFolder(1);
      const { log } = openTestLog(disk.fileSystem);
      await appendValues(log, ["v0"], "disk");
      const { sizeBytes } = log.segments[0]!;
      await appendValues(log, ["v1"], "disk");
      rollLog(log);
      await appendValues(log, ["v2"], "disk");
      abandonLog(log);
      resizeFile(disk.fileSystem, segmentPath(0, "log"), sizeBytes);
      setFaults(disk, { rule: ({ kind }) => kind === failing ? { code: "EIO" } : undefined });
      const opened = { recoveryPoint: 1 };
      assert.throws(() => openAfterPowerCut(disk.fileSystem, opened), /Cannot put .* aside/);
      setFaults(disk);
      const second = openAfterPowerCut(disk.fileSystem, opened);
      await appendValues(second, ["v3"], "disk");
      abandonLog(second);
      powerCut(disk, { unsynced: "lost" });
      const third = openAfterPowerCut(disk.fileSystem, opened);
      assert.deepEqual(valuesOf(third), ["v0", "v3"], failing);
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

describe("a recovery that cannot write again what a failed sync had dropped", () => {
  it("lets it be read, and promises nothing until it is written", async () => {
    const disk = diskWithFolder(1);
    const full = await openUnwritten(disk);
    for (const ack of ["os", "disk"] as const) {
      assert.throws(() => appendValues(full, ["v1"], ack), { code: "DISK_FULL" });
    }
    await assert.rejects(flushLog(full), { code: "DISK_FULL" });
    assert.deepEqual([valuesOf(full), recoveryPointOf(full)], [[long], 0]);
    setFaults(disk);
    await appendValues(full, ["v1"], "disk");
    assert.equal(recoveryPointOf(full), 2);
    abandonLog(full);
    powerCut(disk, { unsynced: "lost" });
    const again = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
    assert.deepEqual(valuesOf(again), [long, "v1"]);
  });

  it("is made up for by a flush and by a close, once there is room", async () => {
    for (const end of [flushLog, closeLog]) {
      const disk = diskWithFolder(2);
      const full = await openUnwritten(disk);
      setFaults(disk);
      await end(full);
      powerCut(disk, { unsynced: "lost" });
      const again = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 1 });
      assert.deepEqual(valuesOf(again), [long], end.name);
    }
  });

  it("promises nothing of a batch that is sent again", async () => {
    const disk = diskWithFolder(4);
    const first = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
    produce(first, 0);
    abandonLog(first);
    failLog(disk, "write", "ENOSPC");
    const full = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
    assert.throws(() => produce(full, 0, { ack: "disk" }), { code: "DISK_FULL" });
    setFaults(disk);
    await produce(full, 0, { ack: "disk" }).done;
    assert.equal(recoveryPointOf(full), 1);
  });

  it("keeps no retention from freeing what it may free", async () => {
    const disk = diskWithFolder(3);
    const first = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
    void appendValues(first, ["v0"]);
    abandonLog(first);
    failLog(disk, "write", "ENOSPC");
    const full = openAfterPowerCut(disk.fileSystem, { recoveryPoint: 0 });
    rollLog(full);
    advanceStart(full, 1);
    retireBelowStart(full);
    sweepRetired(full);
    setFaults(disk);
    await appendValues(full, ["v1"], "disk");
    assert.deepEqual(valuesOf(full), ["v1"]);
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

  it("leaves none of the other that a recovery before did not trust", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    appendTimes(log, timestamps);
    saveActiveIndexes(log);
    abandonLog(log);
    const { log: recovered } = openTestLog(disk.fs, { config, recoveryPoint: 2 });
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".timeindex" });
    assert.throws(() => saveActiveIndexes(recovered));
    abandonLog(recovered);
    const { log: again } = openTestLog(disk.fs, { config, recoveryPoint: 5 });
    assert.equal(largestOf(again), 9);
  });
});
