/** Copies of live stores: what they hold, what goes on meanwhile, how they fail. */

import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { compactTopic } from "../../src/client/compact_topic.ts";
import { deleteTopic } from "../../src/client/delete_topic.ts";
import { commitOffsets, committedOffsets } from "../../src/client/groups.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { backupStore } from "../../src/store/backup.ts";
import type { BackupProgress } from "../../src/store/backup.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
} from "../../src/store/topics.ts";
import { contentOfStore, copyFolder, openedContent } from "../support/backup_fixture.ts";
import { faultyDisk } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import {
  contentOf,
  isNoLock,
  numbered,
  numberedText,
  openTestStore,
  storeFolder,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

const smallSegments = { topicOverrides: { segmentBytes: 1000 } };

forEachFileSystem("a copy holds what the store holds", async (fileSystem, root) => {
  const folder = joinPath(root, "store");
  const target = joinPath(root, "above/copy");
  const store = await openStore(folder, { fileSystem, ack: "os", ...smallSegments });
  await fill(store);
  const wanted = await contentOfStore(store);
  const report = await backupStore(store, target);
  assert.deepEqual(await contentOfStore(store), wanted);
  await closeStore(store);
  assert.deepEqual(await openedContent(fileSystem, target), wanted);
  // The groups are spread over the partitions of their topic; one of these has records.
  assert.equal(report.partitions, 3 + 1 + 2 + 1);
  assert.equal(report.path, target);
  assert.ok(report.linkedBytes > 0 && report.copiedBytes > 0);
});

test("a copy is what closing the store would have left", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, smallSegments);
  await fill(store);
  await backupStore(store, copyFolder);
  await closeStore(store);
  assert.deepEqual(contentOf(fs, copyFolder), contentOf(fs, storeFolder, isNoLock));
});

test("a store that nobody has used since it was opened", async () => {
  const fs = memoryFileSystem();
  const first = await openTestStore(fs, smallSegments);
  await fill(first);
  const wanted = await contentOfStore(first);
  await closeStore(first);
  const store = await openTestStore(fs, smallSegments);
  await backupStore(store, copyFolder);
  await closeStore(store);
  assert.deepEqual(await openedContent(fs), wanted);
});

test("an empty store", () =>
  withStore(async (store, fs) => {
    assert.deepEqual(await backupStore(store, copyFolder), {
      path: copyFolder,
      partitions: 0,
      linkedBytes: 0,
      copiedBytes: metadataBytes(fs),
    });
    assert.deepEqual(await openedContent(fs), { partitions: {}, committed: {} });
  }));

test("on a disk sealed segments are links, and the rest are files of their own", async () => {
  await withFolder(async (root) => {
    const store = await openStore(join(root, "store"), { ack: "os", ...smallSegments });
    await fill(store);
    await backupStore(store, join(root, "linked"));
    await backupStore(store, join(root, "whole"), { links: false });
    const names = diskFileSystem().list(join(root, "linked", "orders-0"))
      .map(({ name }) => name).filter((name) => name.endsWith(".log")).sort();
    assert.ok(names.length > 2);
    const inodeOf = (folder: string, name: string): number =>
      statSync(join(root, folder, "orders-0", name)).ino;
    for (const name of names) {
      const isSealed = name !== names.at(-1);
      assert.equal(inodeOf("linked", name) === inodeOf("store", name), isSealed, name);
      assert.notEqual(inodeOf("whole", name), inodeOf("store", name));
      const index = name.replace(".log", ".index");
      assert.notEqual(inodeOf("linked", index), inodeOf("store", index));
    }
    await closeStore(store);
    const fs = diskFileSystem();
    const linked = await openedContent(fs, join(root, "linked"));
    assert.deepEqual(await openedContent(fs, join(root, "whole")), linked);
  });
});

for (const code of ["EXDEV", "EPERM", "EMLINK"]) {
  test(`where the file system makes no links (${code}) bytes are copied`, async () => {
    const inner = memoryFileSystem();
    const link = (): void => {
      throw Object.assign(new Error(code), { code });
    };
    const fileSystem: FileSystem = { ...inner, link };
    await withStore(async (store) => {
      inner.link = link;
      await fill(store);
      const { linkedBytes, copiedBytes } = await backupStore(store, copyFolder);
      assert.equal(linkedBytes, 0);
      assert.ok(copiedBytes > 3000);
      assert.deepEqual(await openedContent(inner), await contentOfStore(store));
    }, { fileSystem, ...smallSegments });
  });
}

test("changing the copy leaves the store alone, and the other way round", () =>
  withStore(async (store, fs) => {
    await fill(store);
    await backupStore(store, copyFolder);
    const before = await contentOfStore(store);
    const copy = await openStore(copyFolder, { fileSystem: fs, ...smallSegments });
    await appendBatch(copy, "orders", numbered(900, 950).map((one) => ({ ...one, partition: 0 })));
    await deleteTopic(copy, "prices");
    await deleteRecords(copy, "orders", 1, -1);
    await closeStore(copy);
    assert.deepEqual(await contentOfStore(store), before);
    await deleteTopic(store, "orders");
    const copied = await openedContent(fs);
    assert.deepEqual(copied.partitions["orders-0"]?.values.slice(-2), ["v948", "v949"]);
  }, smallSegments));

test("a store in memory goes to the disk", async () => {
  await withFolder(async (root) => {
    const store = await openStore(":memory:", smallSegments);
    await fill(store);
    const target = join(root, "kept");
    const { linkedBytes } = await backupStore(store, target);
    assert.equal(linkedBytes, 0);
    assert.deepEqual(await openedContent(diskFileSystem(), target), await contentOfStore(store));
    await closeStore(store);
  });
});

test("what is accepted and not written, and what is not yet on disk, is in the copy", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" }, { ack: "memory" });
    const acknowledged = append(store, "orders", { value: "v1" });
    await backupStore(store, copyFolder);
    const { partitions } = await openedContent(fs);
    assert.deepEqual(partitions["orders-0"]?.values, ["v0", "v1"]);
    await acknowledged;
  }));

test("appends go on, and the copy ends where they were at one moment", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "orders", { partitions: 2 });
    let count = 0;
    let isDone = false;
    const appendOn = async (): Promise<void> => {
      while (!isDone) {
        // Partition 1 is always at most one behind.
        for (const partition of [0, 1]) {
          await append(store, "orders", { value: `v${count}`, partition }, { ack: "os" });
        }
        count++;
        await nextTurn();
      }
    };
    const appending = appendOn();
    while (count < 40) await nextTurn();
    const countBefore = count;
    await backupStore(store, copyFolder);
    const countAfter = count;
    isDone = true;
    await appending;
    const { partitions } = await openedContent(fs);
    const [first, second] = [partitions["orders-0"]!.values, partitions["orders-1"]!.values];
    assert.deepEqual(first, numberedText(0, first.length));
    assert.deepEqual(second, numberedText(0, second.length));
    assert.ok(first.length >= countBefore && first.length <= countAfter + 1);
    assert.ok(first.length - second.length <= 1 && first.length >= second.length);
    assert.ok(countAfter > countBefore, "appends went on meanwhile");
  }, smallSegments));

test("retention removes what is being copied only afterwards", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "orders");
    for (const record of numbered(0, 60)) await append(store, "orders", record, { ack: "os" });
    const logs = (): string[] =>
      fs.list(joinPath(storeFolder, "orders-0")).map(({ name }) => name)
        .filter((name) => name.endsWith(".log"));
    const logsBefore = logs().length;
    await duringBackup(store, async () => {
      await deleteRecords(store, "orders", 0, 55);
      await enforceRetention(store);
      assert.equal(logs().length, logsBefore);
    });
    assert.ok(logs().length < logsBefore);
    assert.deepEqual(await valuesIn(store, "orders"), numberedText(55, 60));
    const { partitions } = await openedContent(fs);
    assert.deepEqual(partitions["orders-0"]?.values, numberedText(0, 60));
  }, smallSegments));

test("compaction replaces what is being copied, and the copy holds what was there before", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "prices", { cleanupPolicy: "compact" });
    for (const { value } of numbered(0, 60)) {
      await append(store, "prices", { key: value.slice(0, 2), value }, { ack: "os" });
    }
    const wanted = await contentOfStore(store);
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    const other = memoryFileSystem();
    const syncData = async (file: number): Promise<void> => {
      await gate;
      await other.syncData(file);
    };
    const backing = backupStore(store, copyFolder, { fileSystem: { ...other, syncData } });
    // Until the first file of the partition waits to be synced.
    while (other.stat(`${copyFolder}/prices-0`) === undefined) await nextTurn();
    try {
      // What the first compaction has made is replaced by the second one, and so on.
      for (const last of [".log.deleted", ".log.2.deleted", ".log.3.deleted"]) {
        await append(store, "prices", { key: "v1", value: last }, { ack: "os" });
        const { keptRecords } = await compactTopic(store, "prices");
        assert.equal(keptRecords, 10);
        const names = fs.list(`${storeFolder}/prices-0`).map(({ name }) => name);
        assert.ok(names.some((name) => name.endsWith(last)), last);
      }
    } finally {
      open();
    }
    await backing;
    assert.deepEqual(await openedContent(other), wanted);
    const left = fs.list(`${storeFolder}/prices-0`).map(({ name }) => name);
    assert.deepEqual(left.filter((name) => name.endsWith(".deleted")), []);
  }, smallSegments));

test("topics come and go meanwhile", () =>
  withStore(async (store, fs) => {
    await fill(store);
    const wanted = await contentOfStore(store);
    await duringBackup(store, async () => {
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      await append(store, "orders", { value: "another" });
      await createTopic(store, "new", { partitions: 2 });
      await append(store, "new", { value: "new" });
      await createPartitions(store, "prices", 4);
      await alterTopic(store, "prices", { retentionMs: 5 });
    });
    const left = fs.list(storeFolder).map(({ name }) => name);
    assert.deepEqual(left.filter((name) => name.includes("delete")), []);
    assert.deepEqual(await valuesIn(store, "orders"), ["another"]);
    assert.deepEqual(await openedContent(fs), wanted);
  }, smallSegments));

test("the beginning of a deletion that is not on disk yet is no part of the copy", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, { ack: "os", ...smallSegments });
  await fill(store);
  disk.heldSyncs = [];
  const deleting = deleteTopic(store, "prices");
  await nextTurn();
  const copying = backupStore(store, copyFolder);
  await nextTurn();
  const held = disk.heldSyncs;
  disk.heldSyncs = undefined;
  for (const release of held) release();
  await Promise.all([deleting, copying]);
  const content = await contentOfStore(store);
  await closeStore(store);
  assert.deepEqual(await openedContent(disk.inner), content);
});

test("a committed offset is never beyond the end of its partition", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "orders");
    let isDone = false;
    let count = 0;
    const commitOn = async (): Promise<void> => {
      while (!isDone) {
        const { offset } = await append(store, "orders", { value: `v${count++}` }, { ack: "os" });
        const next = { topic: "orders", partition: 0, offset: offset + 1 };
        await commitOffsets(store, "billing", [next], { ack: "os" });
        await nextTurn();
      }
    };
    const committing = commitOn();
    while (count < 20) await nextTurn();
    await backupStore(store, copyFolder);
    isDone = true;
    await committing;
    const { partitions, committed } = await openedContent(fs);
    const endOffset = partitions["orders-0"]!.values.length;
    const offset = committed["billing orders-0"]!;
    assert.ok(offset > 0 && endOffset - offset <= 1 && offset <= endOffset);
    assert.ok((await committedOffsets(store, "billing"))[0]!.offset >= offset);
  }, smallSegments));

test("progress is told, and is complete in the end", () =>
  withStore(async (store) => {
    await fill(store);
    const told: BackupProgress[] = [];
    const onProgress = (progress: BackupProgress): void => void told.push(progress);
    const { partitions, linkedBytes, copiedBytes } = await backupStore(store, copyFolder, {
      onProgress,
    });
    const last = told.at(-1)!;
    assert.deepEqual([last.partitionsDone, last.bytesDone], [
      last.partitionsTotal,
      last.bytesTotal,
    ]);
    assert.equal(last.partitionsTotal, partitions + 1);
    assert.equal(last.bytesTotal, linkedBytes + copiedBytes);
    const done = told.map(({ bytesDone }) => bytesDone);
    assert.deepEqual(done, done.toSorted((a, b) => a - b));
  }, smallSegments));

/** What lies in the metadata log, which every store has. */
function metadataBytes(fs: FileSystem): number {
  const path = `${storeFolder}/__cluster_metadata-0/00000000000000000000.log`;
  return readFile(fs, path)!.length;
}

/** Topics of several segments, one of them never used, a group, records that were deleted. */
async function fill(store: Store): Promise<void> {
  await createTopic(store, "orders", { partitions: 3, partitioner: "roundRobin" });
  await createTopic(store, "prices", { cleanupPolicy: "compact", partitions: 1 });
  await createTopic(store, "unused", { partitions: 2 });
  for (const record of numbered(0, 90)) await append(store, "orders", record, { ack: "os" });
  for (const { value } of numbered(0, 30)) {
    await append(store, "prices", { key: value.slice(0, 2), value }, { ack: "os" });
  }
  await deleteRecords(store, "orders", 2, 7);
  await commitOffsets(store, "billing", [
    { topic: "orders", partition: 0, offset: 12 },
    { topic: "orders", partition: 1, offset: 30 },
  ]);
}

/** Does something while files are being copied: after what the copy holds was decided. */
async function duringBackup(store: Store, doing: () => Promise<void>): Promise<void> {
  let done: Promise<void> | undefined;
  await backupStore(store, copyFolder, {
    onProgress: () => done ??= doing(),
  });
  assert.ok(done !== undefined);
  await done;
}
