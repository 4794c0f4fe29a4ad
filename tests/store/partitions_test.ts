/**
 * The partitions' folders: what belongs to no topic is set aside, and what is recorded of them may
 * be missing or wrong.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { isOttlaError } from "../../src/errors.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords, describeTopic, listTopics } from "../../src/store/topics.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { writeBytes } from "../support/log_fixture.ts";
import {
  copyFolder,
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  rootNames,
  storeFolder,
  textOfFile,
  valuesIn,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";

test("after a crash, folders of no topic are renamed as Kafka renames them, with all that is in them", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders", { partitions: 2 });
  await append(store, "orders", { value: "v0", partition: 0 });
  crashStore(store, fs);
  const path = (name: string): string => joinPath(storeFolder, name);
  copyFolder(fs, path("orders-0"), fs, path("unknown-0"));
  copyFolder(fs, path("orders-0"), fs, path("orders-7"));
  fs.rename(path("orders-1"), path("moved-1"));
  writeFile(fs, path("moved-1/partition.metadata"), "version: 0\ntopic_id: EBESExQVFhcYGRobHB0eHw");
  fs.rename(path("moved-1"), path("orders-1"));
  await withStore(async (reopened) => {
    assert.deepEqual(listTopics(reopened), ["orders"]);
    assert.deepEqual(await valuesIn(reopened, "orders"), ["v0"]);
    await append(reopened, "orders", { value: "v1", partition: 1 });
  }, { fileSystem: fs });
  const strays = rootNames(fs).filter((name) => name.endsWith("-stray"));
  assert.deepEqual(strays.map((name) => name.split(".")[0]), ["orders-1", "orders-7", "unknown-0"]);
  for (const stray of strays) {
    assert.match(stray, /^\w+-\d\.[0-9a-f]{32}-stray$/);
    assert.ok(fs.list(path(stray)).some(({ name }) => name === "00000000000000000000.log"));
  }
});

test("a partition of which the folder is gone begins anew, as with Kafka", async () => {
  const fs = memoryFileSystem();
  await withStore((store) => createTopic(store, "orders", { partitions: 2 }).then(() => {}), {
    fileSystem: fs,
  });
  const folder = joinPath(storeFolder, "orders-1");
  for (const { name } of fs.list(folder)) fs.remove(joinPath(folder, name));
  fs.removeFolder(folder);
  await withStore(async (store) => {
    assert.ok(internalsOf(store).recovery.wasClean);
    assert.equal((await append(store, "orders", { value: "v0", partition: 1 })).offset, 0);
  }, { fileSystem: fs });
});

test("checkpoints that cannot be read cost time and nothing else", async () => {
  for (const content of ["", "garbage", "1\n0\n", "0\n1\n", "0\n1\norders zero 1\n"]) {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 10));
    crashStore(store, fs);
    for (const name of ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"]) {
      writeFile(fs, joinPath(storeFolder, name), content);
    }
    await withStore(async (reopened) => {
      assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 10));
    }, { fileSystem: fs });
  }
});

test("checkpoints are in Kafka's format, with what is true of each partition", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    await appendBatch(store, "orders", numbered(0, 5).map((one) => ({ ...one, partition: 1 })));
    await deleteRecords(store, "orders", 1, 2);
  }, { fileSystem: fs });
  assert.equal(textOfFile(fs, "log-start-offset-checkpoint"), "0\n1\norders 1 2\n");
  assert.match(
    textOfFile(fs, "recovery-point-offset-checkpoint")!,
    /^0\n2\norders 1 5\n__cluster_metadata 0 \d+\n$/,
  );
  const id = /topic_id: (\S+)$/.exec(textOfFile(fs, "orders-0/partition.metadata")!)![1];
  assert.equal(textOfFile(fs, "orders-1/partition.metadata"), `version: 0\ntopic_id: ${id}`);
});

test("logs are opened when they are first used", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 20 });
    await append(store, "orders", { value: "v", partition: 3 });
  }, { fileSystem: disk.fs });
  const store = await openTestStore(disk.fs);
  const opened = (): number[] =>
    internalsOf(store).topics.get("orders")!.partitions
      .flatMap(({ log, partition }) => log === undefined ? [] : [partition]);
  assert.deepEqual(opened(), []);
  await append(store, "orders", { value: "v", partition: 3 });
  assert.deepEqual(opened(), [3]);
  assert.equal(offsetsOf(store, "orders").length, 20);
  await closeStore(store);
  assert.equal(disk.handles.size, 0);
});

test("more partitions can be used than files may be open at once", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 50 });
    for (let round = 0; round < 3; round++) {
      for (let partition = 0; partition < 50; partition++) {
        await append(store, "orders", { value: `v${round}`, partition }, { ack: "os" });
      }
    }
    assert.ok(disk.handles.size <= 12, `${disk.handles.size} files are open`);
    assert.equal((await valuesIn(store, "orders")).length, 150);
  }, { fileSystem: disk.fs, openFilesMax: 10 });
  assert.equal(disk.handles.size, 0);
});

test("a torn end is put aside and reported, in the partition where it was", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders", { partitions: 3 });
  for (let partition = 0; partition < 3; partition++) {
    await append(store, "orders", { value: `v${partition}`, partition });
  }
  crashStore(store, fs);
  const file = joinPath(storeFolder, "orders-1/00000000000000000000.log");
  const torn = readFile(fs, file)!.subarray(0, 40);
  writeBytes(fs, file, torn);
  await withStore(async (reopened) => {
    assert.equal(internalsOf(reopened).recovery.tornBytes, 40);
    assert.deepEqual(await valuesIn(reopened, "orders"), ["v0", "v1", "v2"]);
    assert.deepEqual(
      describeTopic(reopened, "orders").partitions.map(({ endOffset }) => endOffset),
      [1, 1, 1],
    );
  }, { fileSystem: fs });
  const [aside] = fs.list(joinPath(storeFolder, "orders-1")).filter(({ name }) =>
    name.endsWith(".torn")
  );
  assert.deepEqual(readFile(fs, joinPath(storeFolder, `orders-1/${aside!.name}`)), torn);
});

test("a poisoned partition leaves the others alone, and closing says so", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders", { partitions: 2 });
  failNext(disk, { operation: "sync", code: "EIO", path: "orders-0/00000000000000000000.log" });
  const isPoisoned = (error: unknown): boolean => isOttlaError(error, "KAFKA_STORAGE_ERROR");
  await assert.rejects(append(store, "orders", { value: "v0", partition: 0 }), isPoisoned);
  await assert.rejects(append(store, "orders", { value: "v0", partition: 0 }), isPoisoned);
  await append(store, "orders", { value: "v1", partition: 1 });
  assert.deepEqual(await valuesIn(store, "orders", { partition: 1 }), ["v1"]);
  await assert.rejects(
    appendBatch(store, "orders", [{ value: "v2", partition: 1 }, { value: "v2", partition: 0 }]),
    isPoisoned,
  );
  assert.deepEqual(
    await valuesIn(store, "orders", { partition: 1 }),
    ["v1"],
    "nothing of the batch",
  );
  await assert.rejects(closeStore(store), isPoisoned);
  await withStore(async (reopened) => {
    assert.equal(internalsOf(reopened).recovery.wasClean, false);
    assert.deepEqual(await valuesIn(reopened, "orders", { partition: 1 }), ["v1"]);
    await append(reopened, "orders", { value: "v3", partition: 0 });
  }, { fileSystem: disk.fs });
});
