/** Producer ids: no two alike, whatever happens to the store between them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { nextProducerId, producerIdBlockSize } from "../../src/store/producer_ids.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { assertProperty } from "../support/properties.ts";
import {
  contentOf,
  crashStore,
  dyingFileSystem,
  isNoLock,
  openTestStore,
  removeLocks,
  storeFolder,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

function next(store: Store): Promise<number> {
  return nextProducerId(internalsOf(store));
}

async function take(store: Store, count: number): Promise<number[]> {
  const ids: number[] = [];
  while (ids.length < count) ids.push(await next(store));
  return ids;
}

test("producer ids count from 0, a block recorded for a thousand of them", async () => {
  await withStore(async (store) => {
    const { metadata, image } = internalsOf(store);
    const before = metadata.log.endOffset;
    assert.deepEqual(await take(store, 3), [0, 1, 2]);
    assert.equal(image.nextProducerId, producerIdBlockSize);
    const recorded = metadata.log.endOffset;
    assert.ok(recorded > before);
    await take(store, producerIdBlockSize - 3);
    assert.equal(metadata.log.endOffset, recorded);
    assert.equal(await next(store), producerIdBlockSize);
    assert.equal(image.nextProducerId, 2 * producerIdBlockSize);
    assert.equal(metadata.log.commit.syncedOffset, metadata.log.endOffset);
  });
});

test("a store whose producers need no ids records none", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    assert.equal(internalsOf(store).image.nextProducerId, 0);
  }, { fileSystem: fs });
});

test("all who ask at once get ids of their own from blocks that they share", async () => {
  await withStore(async (store) => {
    const count = 2 * producerIdBlockSize + 500;
    const ids = await Promise.all(Array.from({ length: count }, () => next(store)));
    assert.equal(new Set(ids).size, count);
    assert.equal(Math.max(...ids), count - 1);
    assert.equal(internalsOf(store).image.nextProducerId, 3 * producerIdBlockSize);
  });
});

test("a restart begins a new block, and so does a crash", async () => {
  const fs = memoryFileSystem();
  const first = await openTestStore(fs);
  assert.deepEqual(await take(first, 2), [0, 1]);
  await closeStore(first);
  const second = await openTestStore(fs);
  assert.deepEqual(await take(second, 2), [1000, 1001]);
  crashStore(second, fs);
  const third = await openTestStore(fs);
  assert.deepEqual(await take(third, 2), [2000, 2001]);
  await closeStore(third);
});

test("on the disk too", async () => {
  await withFolder(async (folder) => {
    for (const start of [0, 1000]) {
      const store = await openStore(folder);
      assert.deepEqual(await take(store, 2), [start, start + 1]);
      await closeStore(store);
    }
  });
});

test("a store that is closed gives none out", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await closeStore(store);
  const before = contentOf(fs, storeFolder, isNoLock);
  await assert.rejects(next(store), (error: unknown) => isOttlaError(error, "HANDLE_CLOSED"));
  assert.deepEqual(contentOf(fs, storeFolder, isNoLock), before);
});

test("a full disk fails those who ask, and no longer when there is room", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata", times: 99 });
  const asked = await Promise.allSettled([next(store), next(store)]);
  for (const one of asked) {
    assert.ok(one.status === "rejected" && isOttlaError(one.reason, "DISK_FULL"));
  }
  healDisk(disk);
  assert.equal(await next(store), 0);
  await closeStore(store);
});

test("the largest whole number is the last that a folder can give out", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    const { image } = internalsOf(store);
    image.nextProducerId = Number.MAX_SAFE_INTEGER - 1500;
    assert.equal(await next(store), Number.MAX_SAFE_INTEGER - 1500);
    await take(store, 999);
    await assert.rejects(next(store), (error: unknown) => {
      assert.ok(isOttlaError(error, "STORE_INVALID"));
      return /^Cannot give out a producer id: the next one is \d+,/.test(error.message);
    });
  }, { fileSystem: fs });
});

/** Asks for some ids, and stops when the file system does. */
async function takeUntilDeath(
  fs: FileSystem,
  given: number[],
  inner: FileSystem = fs,
): Promise<void> {
  let store: Store | undefined;
  try {
    store = await openTestStore(fs);
    for (let count = 0; count < 3; count++) given.push(await next(store));
    const ids = internalsOf(store).producerIds;
    // What is left of the block is spent, so that the next one is recorded.
    ids.next = ids.end;
    for (let count = 0; count < 3; count++) given.push(await next(store));
  } catch {
    // It died.
  }
  if (store !== undefined) crashStore(store, inner);
}

test("an id is given out once, at whatever change the process dies", async () => {
  for (let changesMax = 0;; changesMax++) {
    const fs = memoryFileSystem();
    const given: number[] = [];
    const dying = dyingFileSystem(fs, changesMax);
    await takeUntilDeath(dying.fs, given, fs);
    removeLocks(fs);
    await takeUntilDeath(fs, given);
    assert.equal(new Set(given).size, given.length, `${changesMax} changes`);
    assert.ok(given.length >= 6);
    if (dying.changeCount() <= changesMax) break;
  }
});

test("nor is one given out twice that a power cut came after", async () => {
  const anyLife = fc.record({
    count: fc.integer({ min: 0, max: 4 }),
    spends: fc.boolean(),
    closes: fc.boolean(),
    keepsNames: fc.boolean(),
    keptShare: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  await assertProperty(
    fc.asyncProperty(fc.array(anyLife, { minLength: 2, maxLength: 5 }), async (lives) => {
      let disk = faultyDisk();
      const given: number[] = [];
      for (const { count, spends, closes, keepsNames, keptShare } of lives) {
        const store = await openTestStore(disk.fs);
        given.push(...await take(store, count));
        const ids = internalsOf(store).producerIds;
        if (spends) ids.next = ids.end;
        // Under way when the power goes: nobody was told.
        const asked = spends ? next(store).catch(() => {}) : undefined;
        if (closes) await closeStore(store);
        else crashStore(store, disk.fs);
        await asked;
        const bytes = (unsynced: number): number => Math.floor(keptShare * unsynced);
        disk = crashDisk(disk, { names: keepsNames, bytes });
        removeLocks(disk.fs);
      }
      assert.equal(new Set(given).size, given.length);
    }),
    { numRuns: 60 },
  );
});
