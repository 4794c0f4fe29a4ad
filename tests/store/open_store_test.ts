/**
 * Opening and closing: what is left in the folder, who may use the store when, and what a crash at
 * any moment leaves.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { existsSync, readdirSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import process from "node:process";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetForTimestamp, offsetsOf } from "../../src/client/offsets.ts";
import { closeRange, openRange } from "../../src/client/range.ts";
import { read, readBatches } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { abandonStore, closeStore, flush, openStore } from "../../src/store/open_store.ts";
import {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  listTopics,
} from "../../src/store/topics.ts";
import {
  crashDisk,
  failNext,
  faultyDisk,
  holdSyncs,
  releaseSyncs,
} from "../support/faulty_file_system.ts";
import { manualClock, ringTimers } from "../support/log_fixture.ts";
import {
  contentOf,
  crashStore,
  dyingFileSystem,
  isNoLock,
  numbered,
  numberedText,
  openTestStore,
  removeLocks,
  rootNames,
  storeFolder,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";
import { internalsOf } from "../../src/store/store.ts";

const isClosed = (error: unknown): boolean => isOttlaError(error, "HANDLE_CLOSED");

test("a new store has what a broker needs, and gives it up to the broker when it is closed", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  assert.ok(rootNames(fs).includes("ottla.meta.properties"));
  assert.ok(!rootNames(fs).includes("meta.properties"));
  await closeStore(store);
  assert.deepEqual(rootNames(fs), [
    "__cluster_metadata-0",
    "log-start-offset-checkpoint",
    "meta.properties",
    "ottla.cleanshutdown",
    "recovery-point-offset-checkpoint",
  ]);
});

test("a store that was closed is opened without anything being scanned", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    await appendBatch(store, "orders", numbered(0, 300));
  }, { fileSystem: fs });
  await withStore(async (store) => {
    assert.deepEqual(store.recovery, {
      wasClean: true,
      scannedPartitions: 0,
      scannedBytes: 0,
      tornBytes: 0,
      failedPartitions: [],
      unwrittenFiles: [],
    });
    assert.deepEqual((await valuesIn(store, "orders")).sort(), numberedText(0, 300).sort());
  }, { fileSystem: fs });
});

test("closing and opening again without a change leaves every byte as it was", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2, partitioner: "murmur2" });
    await appendBatch(store, "orders", numbered(0, 10));
  }, { fileSystem: fs });
  const before = contentOf(fs, storeFolder, isNoLock);
  await withStore(() => Promise.resolve(), { fileSystem: fs });
  assert.deepEqual(contentOf(fs, storeFolder, isNoLock), before);
});

test("what a crash leaves is recovered, and appending goes on behind it", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 5), { ack: "os" });
  crashStore(store, fs);
  await withStore(async (reopened) => {
    const { wasClean, scannedPartitions, tornBytes } = reopened.recovery;
    assert.deepEqual([wasClean, scannedPartitions, tornBytes], [false, 1, 0]);
    assert.equal((await append(reopened, "orders", { value: "v5" })).offset, 5);
    assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 6));
  }, { fileSystem: fs });
});

test("a store in memory keeps nothing", async () => {
  const store = await openStore(":memory:");
  assert.equal(store.path, ":memory:");
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v0" });
  assert.deepEqual(await valuesIn(store, "orders"), ["v0"]);
  await closeStore(store);
  const other = await openStore(":memory:");
  assert.deepEqual(listTopics(other), []);
  await closeStore(other);
});

test("a path may be relative or a URL, and folders above it are made", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "a", "b");
    await closeStore(await openStore(relative(process.cwd(), path)));
    assert.ok(existsSync(join(path, "meta.properties")));
    const store = await openStore(pathToFileURL(path));
    assert.equal(store.path, resolve(path));
    await closeStore(store);
    const text = await openStore(`${pathToFileURL(path)}`);
    assert.equal(text.path, resolve(path));
    await closeStore(text);
  });
});

test("a relative path stays what it was when the working folder changes", async () => {
  await withFolder(async (folder) => {
    const cwd = process.cwd();
    const store = await openStore(relative(cwd, join(folder, "store")));
    try {
      process.chdir(folder);
      await createTopic(store, "orders");
      await append(store, "orders", { value: "v0" });
      await closeStore(store);
    } finally {
      process.chdir(cwd);
    }
    assert.deepEqual(readdirSync(folder), ["store"]);
    assert.ok(readdirSync(join(folder, "store")).includes("orders-0"));
  });
});

test("without `create` a folder that is not there or empty is refused and not made", async () => {
  const fs = memoryFileSystem();
  const isInvalid = (error: unknown): boolean => isOttlaError(error, "STORE_INVALID");
  await assert.rejects(openTestStore(fs, { create: false }), isInvalid);
  assert.equal(fs.stat(storeFolder), undefined);
  fs.makeFolder(storeFolder);
  await assert.rejects(openTestStore(fs, { create: false }), isInvalid);
  assert.deepEqual(fs.list(storeFolder), []);
});

test("two openings of one folder: the second is refused and the first goes on", async () => {
  await withFolder(async (folder) => {
    const store = await openStore(folder);
    await assert.rejects(openStore(folder), (error) => {
      return isOttlaError(error, "STORE_LOCKED") && error.message.includes(`${process.pid}`);
    });
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
    await closeStore(store);
    await closeStore(await openStore(folder));
  });
});

test("of openings at the same time one wins", async () => {
  const fs = memoryFileSystem();
  const openings = await Promise.allSettled([1, 2, 3, 4].map(() => openTestStore(fs)));
  const opened = openings.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
  assert.equal(opened.length, 1);
  for (const result of openings) {
    if (result.status === "rejected") assert.ok(isOttlaError(result.reason, "STORE_LOCKED"));
  }
  await closeStore(opened[0]!);
});

test("closing twice, also at the same time: both wait for the end", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v0" }, { ack: "os" });
  holdSyncs(disk);
  let closedCount = 0;
  const both = [closeStore(store), closeStore(store)].map((closing) =>
    closing.then(() => closedCount++)
  );
  await new Promise((done) => setTimeout(done, 0));
  assert.equal(closedCount, 0);
  while (closedCount < 2) {
    releaseSyncs(disk);
    await new Promise((done) => setTimeout(done, 0));
  }
  await Promise.all(both);
  await closeStore(store);
});

test("a store is disposed of by closing it", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await store[Symbol.asyncDispose]();
  assert.ok(rootNames(fs).includes("ottla.cleanshutdown"));
  assert.throws(() => listTopics(store), isClosed);
});

test("a closed store can be used for nothing", async () => {
  const store = await openStore(":memory:");
  await createTopic(store, "orders");
  await closeStore(store);
  const now: (() => unknown)[] = [
    () => listTopics(store),
    () => describeTopic(store, "orders"),
    () => read(store, "orders"),
    () => readBatches(store, "orders"),
    () => offsetsOf(store, "orders"),
    () => offsetForTimestamp(store, "orders", 0, 0),
    () => openRange(store, "orders", 0, { from: 0 }),
  ];
  for (const call of now) assert.throws(call, isClosed, String(call));
  const later: (() => Promise<unknown>)[] = [
    () => flush(store),
    () => createTopic(store, "other"),
    () => deleteTopic(store, "orders"),
    () => alterTopic(store, "orders", { retentionMs: 1 }),
    () => createPartitions(store, "orders", 2),
    () => deleteRecords(store, "orders", 0, 0),
    () => append(store, "orders", { value: "v" }),
    () => appendBatch(store, "orders", [{ value: "v" }]),
    () => enforceRetention(store),
  ];
  for (const call of later) await assert.rejects(call(), isClosed, String(call));
  await closeStore(store);
  abandonStore(store);
});

test("appends that wait for the disk are acknowledged by closing", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders", { partitions: 2 });
  holdSyncs(disk);
  const appends = [0, 1, 2, 3].map((number) =>
    append(store, "orders", { value: `v${number}`, partition: number % 2 })
  );
  const closing = closeStore(store);
  let isDone = false;
  closing.then(() => isDone = true, () => isDone = true);
  while (!isDone) {
    releaseSyncs(disk);
    await new Promise((done) => setTimeout(done, 0));
  }
  await closing;
  assert.deepEqual((await Promise.all(appends)).map(({ offset }) => offset), [0, 0, 1, 1]);
  disk.heldSyncs = undefined;
  await withStore(async (reopened) => {
    assert.ok(reopened.recovery.wasClean);
    assert.equal((await valuesIn(reopened, "orders")).length, 4);
  }, { fileSystem: disk.fs });
});

test("readers that wait for records are told when the store is closed", async () => {
  const store = await openStore(":memory:");
  await createTopic(store, "orders", { partitions: 2 });
  const records = read(store, "orders", { live: true });
  const batches = readBatches(store, "orders", { partition: 1, live: true });
  const waiting = [records.next(), batches.next()];
  await closeStore(store);
  for (const next of waiting) await assert.rejects(next, isClosed);
  assert.deepEqual(await records.next(), { done: true, value: undefined });
});

test("a topic that is being created when the store is closed is there wholly", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  const creations = ["a", "b"].map((name) => createTopic(store, name, { partitions: 2 }));
  const closing = closeStore(store);
  const results = await Promise.allSettled(creations);
  await closing;
  await withStore((reopened) => {
    const created = results.flatMap((result) =>
      result.status === "fulfilled" ? [result.value.name] : []
    );
    assert.deepEqual(listTopics(reopened), created);
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("a range that is open when the store is closed keeps its file until it is closed too", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v0" });
  const range = openRange(store, "orders", 0, { from: 0 });
  await closeStore(store);
  assert.deepEqual([...disk.handles.values()].map((path) => path.split("/").at(-2)), ["orders-0"]);
  closeRange(range);
  closeRange(range);
  assert.equal(disk.handles.size, 0);
});

test("a closing that fails is told, and the next opening recovers", async () => {
  for (const operation of ["sync", "write", "rename"] as const) {
    const disk = faultyDisk();
    const store = await openTestStore(disk.fs);
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 3), { ack: "os" });
    failNext(disk, { operation, code: "EIO" });
    await assert.rejects(closeStore(store), `${operation} fails`);
    assert.throws(() => listTopics(store), isClosed);
    assert.equal(disk.handles.size, 0, "no file stays open");
    await withStore(async (reopened) => {
      assert.equal(reopened.recovery.wasClean, false, operation);
      assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 3));
    }, { fileSystem: disk.fs });
  }
});

test("an opening that fails at any change can be tried again, and nothing is lost", async () => {
  for (const wasCrashed of [false, true]) {
    const source = memoryFileSystem();
    const store = await openTestStore(source);
    await createTopic(store, "orders", { partitions: 2 });
    await appendBatch(store, "orders", numbered(0, 20));
    if (wasCrashed) crashStore(store, source);
    else await closeStore(store);
    let failedCount = 0;
    for (let changesMax = 0;; changesMax++) {
      assert.ok(changesMax < 500);
      const dying = dyingFileSystem(source, changesMax);
      const opened = await openTestStore(dying.fs).then((value) => value, () => undefined);
      removeLocks(source);
      if (opened !== undefined) {
        crashStore(opened, source);
        break;
      }
      failedCount++;
      await withStore(async (reopened) => {
        const values = await valuesIn(reopened, "orders");
        assert.deepEqual(values.sort(), numberedText(0, 20).sort(), `after ${changesMax} changes`);
        if (wasCrashed) crashStore(reopened, source);
      }, { fileSystem: source });
    }
    assert.ok(failedCount >= 3, `${failedCount} openings failed`);
  }
});

test("a first opening that dies at any change leaves what can be opened, its features recorded", async () => {
  for (let changesMax = 0;; changesMax++) {
    assert.ok(changesMax < 500);
    const inner = memoryFileSystem();
    const dying = dyingFileSystem(inner, changesMax);
    const opened = await openTestStore(dying.fs).then((value) => value, () => undefined);
    if (opened !== undefined) crashStore(opened, inner);
    removeLocks(inner);
    await withStore(async (store) => {
      assert.equal(internalsOf(store).image.features.get("metadata.version"), 25);
      await createTopic(store, "orders");
      await append(store, "orders", { value: "v0" });
    }, { fileSystem: inner });
    await withStore(async (store) => {
      assert.equal(internalsOf(store).image.features.get("metadata.version"), 25);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0"]);
    }, { fileSystem: inner });
    if (opened !== undefined) break;
  }
});

test("a death at any moment of a run loses nothing that was acknowledged", async () => {
  for (let changesMax = 0;; changesMax += 7) {
    assert.ok(changesMax < 5000);
    const inner = memoryFileSystem();
    const dying = dyingFileSystem(inner, changesMax);
    const acknowledged: string[] = [];
    let isWhole = false;
    try {
      const store = await openTestStore(dying.fs);
      try {
        await createTopic(store, "orders", { partitions: 1 });
        for (let number = 0; number < 12; number++) {
          await append(store, "orders", { value: `v${number}` });
          acknowledged.push(`v${number}`);
        }
        await closeStore(store);
        isWhole = true;
      } finally {
        crashStore(store, inner);
      }
    } catch {
      // It died where it was to die.
    }
    removeLocks(inner);
    await withStore(async (store) => {
      const values = listTopics(store).includes("orders") ? await valuesIn(store, "orders") : [];
      assert.deepEqual(values.slice(0, acknowledged.length), acknowledged, `at ${changesMax}`);
      assert.ok(values.length <= acknowledged.length + 1);
    }, { fileSystem: inner });
    if (isWhole) break;
  }
});

test("a power cut at any moment loses nothing that was acknowledged, whatever else the disk kept", async () => {
  const kept: readonly Parameters<typeof crashDisk>[1][] = [
    {},
    { names: true },
    { names: true, bytes: (unsynced) => unsynced },
    { names: true, bytes: (unsynced) => Math.floor(unsynced / 2) },
  ];
  for (let appendCount = 0; appendCount < 6; appendCount++) {
    for (const keeping of kept) {
      const disk = faultyDisk();
      const store = await openTestStore(disk.fs, { topicOverrides: { segmentBytes: 200 } });
      await createTopic(store, "orders");
      for (let number = 0; number < appendCount; number++) {
        await append(store, "orders", { value: `v${number}` });
      }
      await append(store, "orders", { value: "lost" }, { ack: "os" });
      const after = crashDisk(disk, keeping);
      abandonStore(store);
      removeLocks(after.fs);
      await withStore(async (reopened) => {
        assert.deepEqual(
          (await valuesIn(reopened, "orders")).slice(0, appendCount),
          numberedText(0, appendCount),
        );
        await append(reopened, "orders", { value: "after" });
        assert.equal((await valuesIn(reopened, "orders")).at(-1), "after");
      }, { fileSystem: after.fs });
    }
  }
});

test("an owner whose lock was taken over touches nothing any more", async () => {
  const fs = memoryFileSystem();
  const clock = manualClock(1_750_000_000_000);
  const store = await openTestStore(fs, { clock });
  await createTopic(store, "orders", { retentionMs: 1 });
  await append(store, "orders", { value: "v0" });
  removeLocks(fs);
  const successor = await openTestStore(fs);
  // The heartbeat finds that the lock is gone.
  ringTimers(clock);
  const isLost = (error: unknown): boolean => isOttlaError(error, "STORE_LOCKED");
  const before = contentOf(fs);
  await assert.rejects(append(store, "orders", { value: "v1" }), isLost);
  assert.throws(() => read(store, "orders"), isLost);
  clock.nowMs += 3_600_000;
  ringTimers(clock);
  await assert.rejects(closeStore(store), isLost);
  assert.deepEqual(contentOf(fs), before);
  assert.deepEqual(await valuesIn(successor, "orders"), ["v0"]);
  await closeStore(successor);
  assert.ok(rootNames(fs).includes("ottla.cleanshutdown"));
});

test("an opening that fails half way gives a broker's file its name back, and the folder up", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
  }, { fileSystem: disk.fs });
  for (const operation of ["remove", "open"] as const) {
    const path = operation === "remove" ? "ottla.cleanshutdown" : "__cluster_metadata-0/00";
    // The first look at the metadata goes well, the opening of its log does not.
    failNext(disk, { operation, code: "EIO", path, after: operation === "open" ? 1 : 0 });
    await assert.rejects(
      openTestStore(disk.fs),
      (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
    );
    assert.ok(rootNames(disk.fs).includes("meta.properties"), operation);
    assert.equal(disk.handles.size, 0);
  }
  await withStore(async (store) => {
    assert.deepEqual(await valuesIn(store, "orders"), ["v0"]);
  }, { fileSystem: disk.fs });
});
