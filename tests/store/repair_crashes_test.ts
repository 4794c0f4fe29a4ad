/** Repairs that a power cut interrupts, and what the opening after it finds. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  append,
  closeStore,
  compactTopic,
  createTopic,
  openStore,
  repairStore,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { operationCountOf, setFaults, simulatedDisk } from "../../src/testing/mod.ts";
import type { SimulatedDisk, SimulatedProcess } from "../../src/testing/mod.ts";
import { withRunningClock } from "../support/simulated_disk_fixture.ts";
import {
  copyFolder,
  dyingFileSystem,
  recordsIn,
  removeLocks,
  storeFolder,
} from "../support/store_fixture.ts";

const topicOverrides = { segmentBytes: 400, segmentIndexBytes: 240 };

/** Where a store is opened. */
type Process = Partial<SimulatedProcess> & Pick<SimulatedProcess, "fileSystem">;

/** Every how many operations the power is cut; a prime, so that all kinds of them are met. */
const stride = 29;

/** A compacted topic of several segments, of which one in the middle has lost its log. */
async function storeWithHole(seed: number): Promise<SimulatedDisk> {
  const disk = simulatedDisk({ seed });
  const { fileSystem: fs } = disk;
  await withRunningClock(disk, fillProfiles(disk.process));
  await withRunningClock(disk, compactProfiles(disk.process));
  const folder = `${storeFolder}/profiles-0`;
  const logs = fs.list(folder).filter(({ name }) => name.endsWith(".log")).map(({ name }) => name);
  assert.ok(logs.length > 4);
  fs.remove(`${folder}/${logs.sort()[2]!}`);
  fs.syncFolder(folder);
  return disk;
}

function openOn(process: Process): Promise<Store> {
  return openStore(storeFolder, { ...process, diskFreeBytesMin: 0, topicOverrides });
}

async function fillProfiles(process: Process): Promise<void> {
  const store = await openOn(process);
  await createTopic(store, "profiles", { cleanupPolicy: "compact" });
  for (let index = 0; index < 30; index++) {
    await append(store, "profiles", { key: `k${index % 20}`, value: "v".repeat(90) });
  }
  await closeStore(store);
}

async function compactProfiles(process: Process): Promise<void> {
  const store = await openOn(process);
  await compactTopic(store, "profiles");
  await closeStore(store);
}

async function offsetsIn(process: Process): Promise<number[]> {
  const store = await openOn(process);
  const records = await recordsIn(store, "profiles");
  await closeStore(store);
  return records.map(({ offset }) => offset);
}

test("what lies behind a segment that is gone stays, whenever the power is cut", async () => {
  const whole = await storeWithHole(0);
  const before = operationCountOf(whole);
  await withRunningClock(whole, repairStore(storeFolder, whole.process));
  const operations = operationCountOf(whole) - before;
  const wanted = await withRunningClock(whole, offsetsIn(whole.process));
  assert.equal(wanted.at(-1), 29);
  for (let number = 1; number <= operations; number += stride) {
    const disk = await storeWithHole(number);
    const cut = operationCountOf(disk) + number;
    setFaults(disk, {
      rule: (operation) => operation.number === cut ? { crash: "powerCut" } : undefined,
    });
    await withRunningClock(disk, repairStore(storeFolder, disk.process)).catch(() => {});
    setFaults(disk);
    assert.deepEqual(
      await withRunningClock(disk, offsetsIn(disk.process)),
      wanted,
      `cut at ${number}`,
    );
  }
});

test("what a compaction that was broken off was about to swap in is not lost", async () => {
  const filled = memoryFileSystem();
  await fillProfiles({ fileSystem: filled });
  let brokenOffCount = 0;
  let isDone = false;
  for (let changes = 0; !isDone; changes += 3) {
    assert.ok(changes < 1_000, "the compaction comes to an end");
    const fs = memoryFileSystem();
    copyFolder(filled, storeFolder, fs);
    const process = { fileSystem: dyingFileSystem(fs, changes).fs };
    isDone = await compactProfiles(process).then(() => true, () => false);
    removeLocks(fs);
    const names = fs.list(`${storeFolder}/profiles-0`).map(({ name }) => name);
    if (!names.some((name) => name.endsWith(".swap"))) continue;
    brokenOffCount++;
    const opened = memoryFileSystem();
    copyFolder(fs, storeFolder, opened);
    const planned = await repairStore(storeFolder, { fileSystem: fs, dryRun: true });
    const { steps, losses, check } = await repairStore(storeFolder, { fileSystem: fs });
    assert.deepEqual([planned.steps, planned.losses], [steps, losses]);
    assert.deepEqual([losses, check!.isClean], [[], true]);
    const wanted = await offsetsIn({ fileSystem: opened });
    assert.deepEqual(await offsetsIn({ fileSystem: fs }), wanted);
  }
  assert.ok(brokenOffCount > 1);
});
