/**
 * Names in folders are on disk before what is in the files counts as such, also where the first
 * attempt at making them failed, or its process died.
 */

import assert from "node:assert/strict";
import { describe, it, test } from "node:test";

import { append } from "../../src/client/append.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { folderOf } from "../../src/platform/files.ts";
import { createTopic } from "../../src/store/topics.ts";
import type { FaultyOperation } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  crashStore,
  openTestStore,
  storeFolder,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

/** A file system that knows which folders were made and are not yet on disk in the folder above. */
function folderWatch(inner: FileSystem): { fs: FileSystem; unsynced: Set<string> } {
  const unsynced = new Set<string>();
  const fs: FileSystem = {
    ...inner,
    makeFolder(path) {
      if (inner.stat(path) === undefined) unsynced.add(path);
      inner.makeFolder(path);
    },
    syncFolder(folder) {
      inner.syncFolder(folder);
      for (const path of unsynced) {
        if (folderOf(path) === folder) unsynced.delete(path);
      }
    },
  };
  return { fs, unsynced };
}

const faults: readonly { operation: FaultyOperation; path: string }[] = [
  { operation: "write", path: "partition.metadata" },
  { operation: "sync", path: "partition.metadata" },
  { operation: "rename", path: "partition.metadata" },
  { operation: "open", path: "/orders-0/00000000000000000000.log" },
  { operation: "truncate", path: "/orders-0/00000000000000000000.index" },
  { operation: "syncFolder", path: "/orders-0" },
  { operation: "syncFolder", path: storeFolder },
];

describe("a record of a partition whose making had failed", () => {
  for (const { operation, path } of faults) {
    for (const after of [0, 1]) {
      it(`at ${operation} of ${path}, call ${after}, survives a power cut`, async () => {
        const disk = faultyDisk();
        const watch = folderWatch(disk.fs);
        const store = await openTestStore(watch.fs);
        await createTopic(store, "other");
        failNext(disk, { operation, path, after, code: "EIO" });
        await createTopic(store, "orders").catch(() => {});
        for (let attempt = 0; attempt < 3; attempt++) {
          await append(store, "orders", { value: "v0" }).catch(() => {});
        }
        healDisk(disk);
        await append(store, "orders", { value: "last" });
        assert.deepEqual([...watch.unsynced], []);
        const cut = crashDisk(disk);
        crashStore(store, cut.fs);
        await withStore(async (reopened) => {
          assert.equal((await valuesIn(reopened, "orders")).at(-1), "last");
        }, { fileSystem: cut.fs });
      });
    }
  }
});

test("so does one of a segment that a crash of the process left empty", async () => {
  const disk = faultyDisk();
  const options = { topicOverrides: { segmentBytes: 200 } };
  const first = await openTestStore(disk.fs, options);
  await createTopic(first, "orders");
  const value = "x".repeat(100);
  await append(first, "orders", { value });
  failNext(disk, { operation: "syncFolder", path: "/orders-0", code: "EIO" });
  await assert.rejects(append(first, "orders", { value }), /begin a segment/);
  crashStore(first, disk.fs);
  const second = await openTestStore(disk.fs, options);
  await append(second, "orders", { value: "last" });
  const cut = crashDisk(disk);
  crashStore(second, cut.fs);
  await withStore(async (third) => {
    assert.deepEqual(await valuesIn(third, "orders"), [value, "last"]);
  }, { fileSystem: cut.fs });
});
