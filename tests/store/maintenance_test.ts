/**
 * What a store does by itself: retention and recovery points, and that none of it keeps a process
 * alive.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { closeRange, openRange } from "../../src/client/range.ts";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { closeStore, flush } from "../../src/store/open_store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { alterTopic, createTopic, deleteRecords, describeTopic } from "../../src/store/topics.ts";
import { failNext, faultyDisk, resetCounts } from "../support/faulty_file_system.ts";
import type { ManualClock } from "../support/log_fixture.ts";
import { manualClock, ringTimers } from "../support/log_fixture.ts";
import {
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  textOfFile,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

const start = 1_750_000_000_000;
const hour = 3_600_000;
const smallSegments = { topicOverrides: { segmentBytes: 200 } };

/** Lets the timers ring that are due by now, as often as they come again. */
function passTime(clock: ManualClock, ms: number): void {
  clock.nowMs += ms;
  ringTimers(clock);
}

test("retention removes what is too old, in the background, by the clock that was given", async () => {
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionHours: 2 });
    await appendBatch(
      store,
      "orders",
      numbered(0, 10).map((one) => ({ ...one, timestamp: start })),
    );
    for (let number = 10; number < 20; number++) {
      await append(store, "orders", { value: `v${number}` });
    }
    const { segmentCount } = describeTopic(store, "orders").partitions[0]!;
    assert.ok(segmentCount > 2);
    passTime(clock, hour);
    await append(store, "orders", { value: "v20" });
    passTime(clock, 1.5 * hour);
    assert.deepEqual(await valuesIn(store, "orders"), ["v20"]);
    passTime(clock, 2 * hour);
    assert.deepEqual(await valuesIn(store, "orders"), [], "the active segment goes too");
    const [offsets] = offsetsOf(store, "orders");
    assert.deepEqual([offsets!.startOffset, offsets!.endOffset], [21, 21]);
  }, { clock, ...smallSegments });
});

test("retention by size keeps the newest, and its start is remembered", async () => {
  const fs = memoryFileSystem();
  const options = { fileSystem: fs, ...smallSegments };
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders", { retentionBytes: 500, retentionMs: -1 });
  for (let number = 0; number < 30; number++) {
    await append(store, "orders", { value: `v${number}` });
  }
  const before = describeTopic(store, "orders").partitions[0]!;
  const report = await enforceRetention(store);
  const after = describeTopic(store, "orders").partitions[0]!;
  assert.equal(report.removedSegments, before.segmentCount - after.segmentCount);
  assert.equal(report.removedBytes, before.sizeBytes - after.sizeBytes);
  assert.ok(after.sizeBytes >= 500 && after.sizeBytes < 700);
  crashStore(store, fs);
  await withStore(async (reopened) => {
    const { startOffset } = offsetsOf(reopened, "orders")[0]!;
    assert.equal(startOffset, after.startOffset);
    assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(startOffset, 30));
    assert.deepEqual(await enforceRetention(reopened), { removedSegments: 0, removedBytes: 0 });
  }, options);
});

test("compacted topics are not cut by age, and a topic may be kept for ever", async () => {
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "compacted", { cleanupPolicy: "compact", retentionMs: 1 });
    await createTopic(store, "kept", { retentionMs: -1 });
    await createTopic(store, "both", { cleanupPolicy: "compact,delete", retentionMs: 1 });
    for (const topic of ["compacted", "kept", "both"]) {
      await append(store, topic, { key: "k", value: "v" });
    }
    passTime(clock, 1000 * hour);
    assert.deepEqual(await valuesIn(store, "compacted"), ["v"]);
    assert.deepEqual(await valuesIn(store, "kept"), ["v"]);
    assert.deepEqual(await valuesIn(store, "both"), []);
  }, { clock });
});

test("deleted records give their segments back, down to the one that is written to", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    for (let number = 0; number < 10; number++) {
      await append(store, "orders", { value: `v${number}` });
    }
    await deleteRecords(store, "orders", 0, 5);
    const [partition] = describeTopic(store, "orders").partitions;
    assert.equal(partition!.startOffset, 5);
    assert.equal(partition!.segmentCount, 3, "two records fit into each");
  }, smallSegments);
});

test("one partition that cannot be cut does not keep the others from it", async () => {
  const disk = faultyDisk();
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "a", { retentionMs: 1 });
    await createTopic(store, "b", { retentionMs: 1 });
    for (const topic of ["a", "b"]) await append(store, topic, { value: "v" });
    clock.nowMs += hour;
    failNext(disk, { operation: "open", code: "EMFILE", path: "/a-0/", times: 9 });
    await assert.rejects(
      enforceRetention(store),
      (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
    );
    assert.deepEqual(await valuesIn(store, "b"), []);
    disk.faults.length = 0;
    await enforceRetention(store);
    assert.deepEqual(await valuesIn(store, "a"), []);
  }, { fileSystem: disk.fs, clock });
});

test("files go when the new start is on disk, also after a round that could not record it", async () => {
  const disk = faultyDisk();
  const clock = manualClock(start);
  const options = { fileSystem: disk.fs, clock };
  const store = await openTestStore(disk.fs, options);
  await createTopic(store, "orders", { retentionMs: 1 });
  await append(store, "orders", { value: "v" });
  clock.nowMs += hour;
  const path = "log-start-offset-checkpoint";
  failNext(disk, { operation: "write", code: "ENOSPC", path, times: 1 });
  await assert.rejects(enforceRetention(store), (error) => isOttlaError(error, "DISK_FULL"));
  const files = (): number =>
    describeTopic(store, "orders").partitions[0]!.segmentCount +
    disk.inner.list("/store/orders-0").filter(({ name }) => /^0{20}.log$/.test(name)).length;
  assert.equal(files(), 2);
  await enforceRetention(store);
  assert.equal(files(), 1);
  assert.match(textOfFile(disk.fs, path)!, /^orders 0 1$/m);
  await closeStore(store);
});

test("a range keeps its files from retention, and gives them back", async () => {
  const disk = faultyDisk();
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionMs: 1 });
    await append(store, "orders", { value: "v" });
    const range = openRange(store, "orders", 0, { from: 0 });
    clock.nowMs += hour;
    assert.equal((await enforceRetention(store)).removedSegments, 1);
    const names = (): string[] => disk.inner.list("/store/orders-0").map(({ name }) => name);
    assert.ok(names().includes("00000000000000000000.log"));
    closeRange(range);
    assert.ok(!names().some((name) => name.startsWith("00000000000000000000.")));
  }, { fileSystem: disk.fs, clock });
});

test("recovery points are recorded in the background, so that a crash costs only what came since", async () => {
  const clock = manualClock(start);
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, { clock });
  await createTopic(store, "orders");
  await createTopic(store, "idle");
  for (let number = 0; number < 1000; number += 10) {
    await appendBatch(store, "orders", numbered(number, number + 10));
  }
  await append(store, "idle", { value: "v" });
  passTime(clock, 60_000);
  assert.match(textOfFile(fs, "recovery-point-offset-checkpoint")!, /^orders 0 1000$/m);
  await append(store, "orders", { value: "v1000" });
  crashStore(store, fs);
  const reopened = await openTestStore(fs, { clock });
  const { scannedBytes, wasClean } = internalsOf(reopened).recovery;
  assert.equal(wasClean, false);
  // About what lies between two entries of an index.
  assert.ok(scannedBytes < 5000, `${scannedBytes} bytes were scanned`);
  assert.equal((await valuesIn(reopened, "orders")).length, 1001);
  await closeStore(reopened);
  // Opened, not touched, and crashed: what was recorded stays true.
  const untouched = await openTestStore(fs, { clock });
  passTime(clock, 60_000);
  crashStore(untouched, fs);
  await withStore((again) => {
    assert.ok(internalsOf(again).recovery.scannedBytes < 5000);
    return Promise.resolve();
  }, { fileSystem: fs, clock });
});

test("a disk that takes no checkpoint is tried again, and nobody falls over it", async () => {
  const disk = faultyDisk();
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
    failNext(disk, { operation: "write", code: "ENOSPC", path: "checkpoint", times: 5 });
    passTime(clock, 60_000);
    disk.faults.length = 0;
    passTime(clock, 60_000);
    assert.match(textOfFile(disk.fs, "recovery-point-offset-checkpoint")!, /^orders 0 1$/m);
    await append(store, "orders", { value: "v1" });
  }, { fileSystem: disk.fs, clock });
});

test("a log whose indexes cannot be saved does not keep recovery points from the others", async () => {
  const disk = faultyDisk();
  const clock = manualClock(start);
  await withStore(async (store) => {
    for (const topic of ["a", "b"]) {
      await createTopic(store, topic);
      await append(store, topic, { value: "v" });
    }
    failNext(disk, { operation: "open", code: "EMFILE", path: "/a-0/", times: 9 });
    passTime(clock, 60_000);
    assert.match(textOfFile(disk.fs, "recovery-point-offset-checkpoint")!, /^b 0 1$/m);
    disk.faults.length = 0;
  }, { fileSystem: disk.fs, clock });
});

test("flush puts on disk what was only accepted or written", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, { ack: "memory" });
  await createTopic(store, "orders", { partitions: 2 });
  for (let number = 0; number < 4; number++) {
    await append(store, "orders", { value: `v${number}`, partition: number % 2 });
    // The first record of a partition records its leader epoch too.
    if (number === 1) await flush(store);
  }
  resetCounts(disk);
  await flush(store);
  assert.equal(disk.counts.sync, 2);
  await flush(store);
  assert.equal(disk.counts.sync, 2, "there was nothing to do");
  for (const { log } of internalsOf(store).topics.get("orders")!.partitions) {
    assert.equal(log!.commit.syncedOffset, 2);
  }
  await closeStore(store);
});

test("timers end with the store", async () => {
  const clock = manualClock(start);
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, { clock });
  assert.ok(clock.timers.size >= 2);
  await closeStore(store);
  assert.equal(clock.timers.size, 0);
  const dropped = await openTestStore(fs, { clock });
  crashStore(dropped, fs);
  assert.equal(clock.timers.size, 0);
});

test("a change of the retention takes effect at the next check", async () => {
  const clock = manualClock(start);
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v" });
    passTime(clock, 24 * hour);
    assert.deepEqual(await valuesIn(store, "orders"), ["v"]);
    await alterTopic(store, "orders", { retentionHours: 1 });
    passTime(clock, 1);
    assert.deepEqual(await valuesIn(store, "orders"), []);
  }, { clock });
});

test("an open store does not keep its process alive", async () => {
  await withFolder(async (folder) => {
    const program = `
      import { append, createTopic, openStore, read } from ${JSON.stringify(moduleUrl("mod"))};
      const store = await openStore(${JSON.stringify(join(folder, "store"))});
      await createTopic(store, "orders");
      await append(store, "orders", { value: "v" });
      const reader = read(store, "orders", { live: true });
      await reader.next();
      reader.next();
      console.log("ended");
    `;
    const isDeno = "Deno" in globalThis;
    const args = isDeno ? ["eval", "--quiet", program] : ["--input-type=module", "--eval", program];
    const isBun = "Bun" in globalThis;
    const { code, output } = await outputOf(isBun ? ["--eval", program] : args);
    assert.deepEqual([code, output.trim()], [0, "ended"]);
  });
});

/** The URL of a module of the project as this runtime runs it. */
function moduleUrl(name: string): string {
  const isCompiled = import.meta.url.endsWith(".js");
  const path = join(process.cwd(), isCompiled ? "dist" : "", `${name}.${isCompiled ? "js" : "ts"}`);
  return pathToFileURL(path).href;
}

function outputOf(args: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => output += text);
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}
