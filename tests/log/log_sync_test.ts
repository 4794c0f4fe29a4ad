/** What a sync of a log covers: all that was written before it began, and nothing that came later. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { abandonLog } from "../../src/log/log.ts";
import {
  crashDisk,
  faultyDisk,
  holdSyncs,
  releaseSyncs,
  resetCounts,
} from "../support/faulty_file_system.ts";
import { appendValues, filesOf, openTestLog, settle, valuesOf } from "../support/log_fixture.ts";
import { produce } from "../support/produced.ts";

test("what is written while a sync runs is on disk when its own sync is done", async () => {
  const disk = faultyDisk();
  const { log } = openTestLog(disk.fs);
  holdSyncs(disk);
  const first = appendValues(log, ["v0"], "disk");
  await settle();
  let isDone = false;
  const second = appendValues(log, ["v1"], "disk")!.then(() => void (isDone = true));
  releaseSyncs(disk);
  await first;
  await settle();
  assert.equal(isDone, false);
  assert.equal(releaseSyncs(disk), 1, "the file is synced again");
  await second;
  assert.deepEqual(log.unsynced, []);
  abandonLog(log);
  assert.deepEqual(valuesOf(openTestLog(crashDisk(disk).fs, { recoveryPoint: 0 }).log), [
    "v0",
    "v1",
  ]);
});

test("a snapshot comes to disk with the data, where syncs are done on the spot as well", async () => {
  for (const isQuick of [false, true]) {
    const disk = faultyDisk();
    const fs = { ...disk.fs, isSyncQuick: () => isQuick };
    const { log } = openTestLog(fs);
    await appendValues(log, ["plain"], "disk");
    await produce(log, 0, { ack: "disk" }).done;
    assert.deepEqual(log.snapshots.unsynced, []);
    resetCounts(disk);
    await produce(log, 1, { ack: "disk" }).done;
    assert.equal(disk.counts.sync, 1);
    abandonLog(log);
    const names = filesOf(crashDisk(disk).fs);
    assert.ok(names.includes("00000000000000000001.snapshot"), `${names}`);
  }
});
