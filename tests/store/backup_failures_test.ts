/** Copies that fail: what is refused, what is removed again, what a crash leaves. */

import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";

import { append } from "../../src/client/append.ts";
import { deleteTopic } from "../../src/client/delete_topic.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import type { FileHandle, FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { BackupOptions } from "../../src/store/backup.ts";
import { backupStore } from "../../src/store/backup.ts";
import { abandonStore, closeStore, flush, openStore } from "../../src/store/open_store.ts";
import { allPartitions } from "../../src/store/partitions.ts";
import { repairStore } from "../../src/store/repair_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import { powerCut, simulatedDisk } from "../../src/testing/mod.ts";
import type { CopyContent } from "../support/backup_fixture.ts";
import { contentOfStore, copyFolder, openedContent } from "../support/backup_fixture.ts";
import type { FaultyOperation } from "../support/faulty_file_system.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { withRunningClock } from "../support/simulated_disk_fixture.ts";
import {
  contentOf,
  dyingFileSystem,
  numbered,
  openTestStore,
  removeLocks,
  storeFolder,
  withFolder,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";

const smallSegments = { topicOverrides: { segmentBytes: 1000 } };

async function fill(store: Store): Promise<void> {
  await createTopic(store, "orders", { partitions: 2 });
  for (const [index, { value }] of numbered(0, 80).entries()) {
    await append(store, "orders", { value, partition: index % 2 }, { ack: "os" });
  }
}

/** Is refused with a code, and a message that contains a text. */
function refused(code: ErrorCode, text: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isOttlaError(error, code), String(error));
    assert.ok(error.message.includes(text), error.message);
    return true;
  };
}

/** Nobody holds files any more: what is deleted goes. */
async function assertNothingHeld(store: Store, fs: FileSystem): Promise<void> {
  for (const { log } of allPartitions(internalsOf(store))) assert.equal(log?.copyCount ?? 0, 0);
  await deleteRecords(store, "orders", 0, -1);
  const logs = fs.list(`${storeFolder}/orders-0`).filter(({ name }) => name.endsWith(".log"));
  assert.equal(logs.length, 1);
  assert.equal(internalsOf(store).closers.size, 0);
}

test("a folder with something in it is refused, and stays as it is", () =>
  withStore(async (store, fs) => {
    await fill(store);
    fs.makeFolder(copyFolder);
    writeFile(fs, `${copyFolder}/notes.txt`, "mine");
    const before = contentOf(fs, copyFolder);
    await assert.rejects(backupStore(store, copyFolder), refused("STORE_INVALID", "notes.txt"));
    assert.deepEqual(contentOf(fs, copyFolder), before);
    fs.remove(`${copyFolder}/notes.txt`);
    await backupStore(store, copyFolder);
    const copied = contentOf(fs, copyFolder);
    await assert.rejects(backupStore(store, copyFolder), refused("STORE_INVALID", "empty"));
    assert.deepEqual(contentOf(fs, copyFolder), copied);
    writeFile(fs, "/file", "x");
    await assert.rejects(backupStore(store, "/file"), refused("STORE_INVALID", "it is a file"));
  }, smallSegments));

test("two backups to one folder: one is refused, the other one is whole", () =>
  withStore(async (store, fs) => {
    await fill(store);
    const results = await Promise.allSettled([
      backupStore(store, copyFolder),
      backupStore(store, copyFolder),
    ]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    assert.deepEqual(await openedContent(fs), await contentOfStore(store));
  }, smallSegments));

test("two backups at a time to two folders", () =>
  withStore(async (store, fs) => {
    await fill(store);
    await Promise.all([backupStore(store, copyFolder), backupStore(store, "/second")]);
    assert.deepEqual(await openedContent(fs), await openedContent(fs, "/second"));
    await assertNothingHeld(store, fs);
  }, smallSegments));

test("misuse is named", () =>
  withStore(async (store) => {
    const rejects = (target: unknown, options: unknown, pattern: RegExp): Promise<void> =>
      assert.rejects(backupStore(store, target as string, options as BackupOptions), pattern);
    await rejects(":memory:", {}, /RangeError: target must be .* another folder, got ":memory:"/);
    await rejects(storeFolder, {}, /RangeError: target must be/);
    await rejects(`${storeFolder}/backup`, {}, /RangeError: target must be .* the store's own/);
    await rejects(7, {}, /TypeError: path must be/);
    await rejects(copyFolder, null, /TypeError: options must be/);
    await rejects(copyFolder, { links: "no" }, /TypeError: links must be/);
    await rejects(copyFolder, { onProgress: 1 }, /TypeError: onProgress must be/);
    await rejects(copyFolder, { signal: {} }, /TypeError: signal must be/);
  }));

test("no symbolic link leads into the store's own folder", () =>
  withFolder(async (root) => {
    const [folder, link] = [join(root, "store"), join(root, "link")];
    symlinkSync(folder, link);
    mkdirSync(folder);
    const isRefused = /RangeError: target must be .* the store's own/;
    for (const opened of [folder, link]) {
      const store = await openStore(opened);
      for (const target of [link, join(link, "new/copy"), join(folder, "copy")]) {
        await assert.rejects(backupStore(store, target), isRefused);
      }
      await backupStore(store, join(root, `copy of ${basename(opened)}`));
      await closeStore(store);
    }
    const again = await openStore(folder);
    await closeStore(again);
  }));

test("what a store in memory calls its folder is free on a disk", async () => {
  const { fileSystem } = simulatedDisk({ seed: 0 });
  const store = await openStore(":memory:");
  assert.match(internalsOf(store).folder, /^\/memory/);
  await backupStore(store, "/memory/copy", { fileSystem });
  await closeStore(store);
  await openedContent(fileSystem, "/memory/copy");
});

test("a name that only begins like the store's is another folder", () =>
  withStore(async (store, fs) => {
    await backupStore(store, `${storeFolder}-copy`);
    assert.deepEqual(await openedContent(fs, `${storeFolder}-copy`), await contentOfStore(store));
  }));

for (const moment of ["before", "at once", "while files are copied"]) {
  test(`aborted ${moment}, it leaves nothing`, () =>
    withStore(async (store, fs) => {
      await fill(store);
      const controller = new AbortController();
      const reason = new Error("enough");
      if (moment === "before") controller.abort(reason);
      const backing = backupStore(store, "/above/copy", {
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      });
      if (moment === "at once") controller.abort(reason);
      await assert.rejects(backing, (error) => error === reason);
      assert.equal(fs.stat("/above"), undefined);
      await assertNothingHeld(store, fs);
    }, smallSegments));
}

test("an empty folder that was there stays, empty", () =>
  withStore(async (store, fs) => {
    await fill(store);
    fs.makeFolder(copyFolder);
    const onProgress = (): never => {
      throw new RangeError("of the caller's");
    };
    await assert.rejects(backupStore(store, copyFolder, { onProgress }), /of the caller's/);
    assert.deepEqual(fs.list(copyFolder), []);
    await assertNothingHeld(store, fs);
  }, smallSegments));

test("closing the store ends it first", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, smallSegments);
  await fill(store);
  let closing: Promise<void> | undefined;
  const backing = backupStore(store, copyFolder, {
    onProgress: () => void (closing ??= closeStore(store)),
  });
  await assert.rejects(backing, refused("HANDLE_CLOSED", "it is closed"));
  await closing;
  assert.equal(fs.stat(copyFolder), undefined);
  const again = await openTestStore(fs);
  assert.equal(again.recovery.wasClean, true);
  await closeStore(again);
  await assert.rejects(backupStore(store, copyFolder), refused("HANDLE_CLOSED", "it is closed"));
});

test("abandoning the store ends it, too", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, smallSegments);
  await fill(store);
  const backing = backupStore(store, copyFolder, { onProgress: () => abandonStore(store) });
  await assert.rejects(backing, refused("HANDLE_CLOSED", "it is closed"));
  assert.equal(fs.stat(copyFolder), undefined);
});

test("a topic that is deleted while an aborted backup holds its files is removed all the same", () =>
  withStore(async (store, fs) => {
    await fill(store);
    let deleting: Promise<void> | undefined;
    const controller = new AbortController();
    const backing = backupStore(store, copyFolder, {
      signal: controller.signal,
      onProgress: () =>
        void (deleting ??= deleteTopic(store, "orders").then(() => controller.abort())),
    });
    await backing.catch(() => {});
    await deleting;
    const names = fs.list(storeFolder).map(({ name }) => name);
    assert.deepEqual(names.filter((name) => name.startsWith("orders")), []);
  }, smallSegments));

const faults: [FaultyOperation, string, ErrorCode][] = [
  ["write", "ENOSPC", "DISK_FULL"],
  ["sync", "EIO", "KAFKA_STORAGE_ERROR"],
  ["syncFolder", "EIO", "KAFKA_STORAGE_ERROR"],
  ["rename", "EIO", "KAFKA_STORAGE_ERROR"],
  ["open", "EMFILE", "KAFKA_STORAGE_ERROR"],
  ["read", "EIO", "KAFKA_STORAGE_ERROR"],
];
for (const [operation, code, expected] of faults) {
  test(`whenever a ${operation} fails with ${code}, nothing is left, and the store goes on`, async () => {
    const disk = faultyDisk();
    const store = await openTestStore(disk.fs, { ack: "os", ...smallSegments });
    await fill(store);
    await flush(store);
    await nextTurn();
    let failures = 0;
    for (let after = 0;; after += 3) {
      const path = operation === "read" ? storeFolder : copyFolder;
      failNext(disk, { operation, code, after, path });
      const outcome = await backupStore(store, copyFolder, { links: operation !== "read" })
        .catch((error: unknown) => error);
      const hasFailed = disk.faults[0]!.failed > 0;
      healDisk(disk);
      if (!hasFailed) break;
      failures++;
      refused(expected, "Cannot back up /store to /copy")(outcome);
      assert.equal(disk.inner.stat(copyFolder), undefined);
      await append(store, "orders", { value: "more" });
    }
    assert.ok(failures > 0);
    await closeStore(store);
    await openedContent(disk.inner);
  });
}

test("a store whose disk is full goes to another one", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, { ack: "os", ...smallSegments });
  await fill(store);
  failNext(disk, { operation: "write", code: "ENOSPC", times: Infinity, path: storeFolder });
  const other = memoryFileSystem();
  await backupStore(store, copyFolder, { fileSystem: other });
  healDisk(disk);
  assert.deepEqual(await openedContent(other), await contentOfStore(store));
  await closeStore(store);
});

test("what a recovery might change is not shared by links", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, { ack: "os", ...smallSegments });
  await fill(store);
  const path = `${storeFolder}/recovery-point`;
  failNext(disk, { operation: "write", code: "ENOSPC", times: Infinity, path });
  const { linkedBytes } = await backupStore(store, copyFolder);
  healDisk(disk);
  assert.equal(linkedBytes, 0);
  assert.deepEqual(await openedContent(disk.inner), await contentOfStore(store));
  await closeStore(store);
});

test("a log that has failed keeps the store from being copied", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, smallSegments);
  await fill(store);
  failNext(disk, { operation: "sync", code: "EIO", path: "orders-0" });
  const record = { value: "x", partition: 0 };
  await assert.rejects(append(store, "orders", record, { ack: "disk" }));
  const backing = backupStore(store, copyFolder);
  await assert.rejects(backing, refused("KAFKA_STORAGE_ERROR", "orders-0"));
  assert.equal(disk.inner.stat(copyFolder), undefined);
  await closeStore(store).catch(() => {});
});

test("a log that fails while it is being copied keeps the copy from being made", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, smallSegments);
  await fill(store);
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => open = resolve);
  const other = memoryFileSystem();
  const syncData = (): Promise<void> => gate;
  const backing = backupStore(store, copyFolder, { fileSystem: { ...other, syncData } });
  while (other.stat(`${copyFolder}/orders-0`) === undefined) await nextTurn();
  failNext(disk, { operation: "sync", code: "EIO", path: "orders-0" });
  await assert.rejects(append(store, "orders", { value: "x", partition: 0 }));
  open();
  await assert.rejects(backing, refused("KAFKA_STORAGE_ERROR", "orders-0"));
  assert.equal(other.stat(copyFolder), undefined);
  await closeStore(store).catch(() => {});
});

/** A file system on which, once `hold` is called, syncs of files of a folder wait for `release`. */
function holdingFileSystem(
  inner: FileSystem,
  folder: string,
): { fs: FileSystem; hold: () => void; release: () => void; heldCount: () => number } {
  const files = new Set<FileHandle>();
  let release = (): void => {};
  let gate = Promise.resolve();
  let heldCount = 0;
  const fs: FileSystem = {
    ...inner,
    open(path, mode) {
      const file = inner.open(path, mode);
      if (path.startsWith(`${folder}/`)) files.add(file);
      return file;
    },
    createExclusive(path) {
      const file = inner.createExclusive(path);
      if (path.startsWith(`${folder}/`)) files.add(file);
      return file;
    },
    async syncData(file) {
      if (files.has(file)) heldCount++;
      if (files.has(file)) await gate;
      await inner.syncData(file);
    },
  };
  const hold = (): void => {
    gate = new Promise<void>((resolve) => release = resolve);
    heldCount = 0;
  };
  return { fs, hold, release: () => release(), heldCount: () => heldCount };
}

test("a topic that is deleted while its segments are synced is copied all the same", async () => {
  const source = holdingFileSystem(memoryFileSystem(), `${storeFolder}/orders-0`);
  const store = await openTestStore(source.fs, { ack: "os", ...smallSegments });
  await fill(store);
  const wanted = await contentOfStore(store);
  const other = memoryFileSystem();
  const target = holdingFileSystem(other, `${copyFolder}/orders-0`);
  target.hold();
  const backing = backupStore(store, copyFolder, { fileSystem: target.fs });
  while (target.heldCount() === 0) await nextTurn();
  source.hold();
  for (const record of numbered(0, 40)) await append(store, "orders", { ...record, partition: 0 });
  const flushing = assert.rejects(flush(store), refused("HANDLE_CLOSED", "orders-0"));
  while (source.heldCount() === 0) await nextTurn();
  await deleteTopic(store, "orders");
  await flushing;
  source.release();
  // The sync goes on to the indexes, which lie in a folder of another name by now.
  await nextTurn();
  target.release();
  await backing;
  assert.deepEqual(await openedContent(other), wanted);
  await closeStore(store);
});

/** Even a repair makes a store of it only if all of every partition is there. Returns how many. */
async function checkRepaired(fileSystem: FileSystem, wanted: CopyContent): Promise<number> {
  if (fileSystem.stat(copyFolder) === undefined) return 0;
  const repairing = repairStore(copyFolder, { fileSystem });
  const repaired = await repairing.catch((error: unknown) => error);
  if (isOttlaError(repaired, "STORE_INVALID")) return 0;
  const store = await openStore(copyFolder, { fileSystem, create: false });
  assert.deepEqual(await contentOfStore(store), wanted);
  await closeStore(store);
  return 1;
}

test("wherever the process dies, what is left is no store or a whole one", async () => {
  const inner = memoryFileSystem();
  const first = await openTestStore(inner, smallSegments);
  await fill(first);
  const wanted = await contentOfStore(first);
  await closeStore(first);
  let count = 0;
  let repairedCount = 0;
  for (let changesMax = 0;; changesMax += 3) {
    const store = await openTestStore(inner, smallSegments);
    const target = memoryFileSystem();
    const dying = dyingFileSystem(target, changesMax);
    const isDone = await backupStore(store, copyFolder, { fileSystem: dying.fs })
      .then(() => true, () => false);
    await closeStore(store);
    if (isDone) break;
    count++;
    const opening = openStore(copyFolder, { fileSystem: target, create: false });
    const opened = await opening.catch((error: unknown) => error);
    if (isOttlaError(opened, "STORE_INVALID")) {
      repairedCount += await checkRepaired(target, wanted);
      continue;
    }
    // With nothing but the last sync of the folder missing, it is whole.
    await closeStore(opened as Store);
    removeLocks(target, copyFolder);
    assert.deepEqual(await openedContent(target), wanted);
  }
  assert.ok(count > 10 && repairedCount > 0);
});

test("a copy that is taken away again is no store, wherever the process dies", async () => {
  const store = await openTestStore(memoryFileSystem(), smallSegments);
  await fill(store);
  const wanted = await contentOfStore(store);
  let refusedCount = 0;
  for (let changesMax = 0;; changesMax++) {
    const target = memoryFileSystem();
    const dying = dyingFileSystem(target, changesMax);
    // The last thing that can fail: all of the copy is there, and has its name.
    let hasFailed = false;
    const syncFolder = (folder: string): void => {
      const isNamed = target.stat(`${copyFolder}/meta.properties`) !== undefined;
      if (!hasFailed && isNamed) {
        hasFailed = true;
        throw Object.assign(new Error("EIO: the disk failed"), { code: "EIO" });
      }
      dying.fs.syncFolder(folder);
    };
    const backing = backupStore(store, copyFolder, { fileSystem: { ...dying.fs, syncFolder } });
    await assert.rejects(backing, refused("KAFKA_STORAGE_ERROR", "EIO"));
    if (!hasFailed) continue;
    if (target.stat(copyFolder) === undefined) break;
    const opening = openStore(copyFolder, { fileSystem: target, create: false });
    const opened = await opening.catch((error: unknown) => error);
    if (isOttlaError(opened, "STORE_INVALID")) {
      refusedCount++;
      await checkRepaired(target, wanted);
      continue;
    }
    await closeStore(opened as Store);
    removeLocks(target, copyFolder);
    assert.deepEqual(await openedContent(target), wanted);
  }
  assert.ok(refusedCount > 10);
  await closeStore(store);
});

test("once it has resolved, a power cut takes nothing of the copy", async () => {
  for (let seed = 0; seed < 8; seed++) {
    const disk = simulatedDisk({ seed });
    const options = { ...disk.process, diskFreeBytesMin: 0, ...smallSegments };
    const store = await openStore("/data", options);
    await withRunningClock(disk, fill(store));
    await withRunningClock(disk, backupStore(store, "/above/copy"));
    const wanted = await contentOfStore(store);
    powerCut(disk, { unsynced: "lost" });
    assert.deepEqual(await openedContent(disk.fileSystem, "/above/copy"), wanted);
  }
});
