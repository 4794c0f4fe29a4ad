/**
 * Changes of topics on disks that fail in the middle: what is true is told as true, what is not
 * leaves nothing behind, and where nobody knows nothing more is acknowledged.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { openProducer, send } from "../../src/client/producer.ts";
import { read } from "../../src/client/read.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  listTopics,
} from "../../src/store/topics.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  removeLocks,
  rootNames,
  storeFolder,
  textOfFile,
  valuesIn,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

const isStorageError = hasCode("KAFKA_STORAGE_ERROR");

/** Which partitions are described as failed, and with which code. */
function failuresOf(store: Store, topic: string): (ErrorCode | undefined)[] {
  return describeTopic(store, topic).partitions.map(({ failure }) => failure?.code);
}

test("a topic is created though one of its partitions cannot be opened", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    failNext(disk, { operation: "open", code: "EMFILE", path: "/orders-1/", times: 100 });
    const created = await createTopic(store, "orders", { partitions: 3 });
    assert.deepEqual(created.partitions.map(({ failure }) => failure?.code), [
      undefined,
      "KAFKA_STORAGE_ERROR",
      undefined,
    ]);
    assert.equal(isOttlaError(created.partitions[1]!.failure), true);
    assert.deepEqual(listTopics(store), ["orders"]);
    await assert.rejects(append(store, "orders", { value: "v", partition: 1 }), isStorageError);
    healDisk(disk);
    assert.deepEqual(failuresOf(store, "orders"), [undefined, undefined, undefined]);
    assert.ok(!("failure" in describeTopic(store, "orders").partitions[1]!));
    await append(store, "orders", { value: "v", partition: 1 });
  }, { fileSystem: disk.fs });
});

test("a change is told of though a partition cannot be opened", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders", { partitions: 2 });
  for (const partition of [0, 1]) await append(store, "orders", { value: "v", partition });
  await deleteRecords(store, "orders", 1, 1);
  crashStore(store, disk.fs);
  failNext(disk, { operation: "open", code: "EIO", path: "/orders-1/", times: 1000 });
  await withStore(async (broken) => {
    const altered = await alterTopic(broken, "orders", { retentionHours: 5 });
    assert.equal(altered.config.retentionMs, 5 * 3_600_000);
    const [first, second] = altered.partitions;
    assert.deepEqual([first!.endOffset, first!.failure], [1, undefined]);
    const { partition, startOffset, endOffset, segmentCount, sizeBytes, failure } = second!;
    assert.deepEqual([partition, startOffset, endOffset, segmentCount, sizeBytes], [1, 1, 1, 0, 0]);
    assert.match(failure!.message, /^Cannot open orders-1: EIO/);
    assert.equal((await createPartitions(broken, "orders", 3)).partitions.length, 3);
    healDisk(disk);
  }, { fileSystem: disk.fs });
});

test("an alteration changes nothing if its partitioner or the rest cannot be recorded", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 4, partitioner: "murmur2" });
    await createTopic(store, "others", { partitions: 4 });
    const before = ["orders", "others"].map((name) => describeTopic(store, name));
    for (const name of ["orders", "others"]) {
      failNext(disk, { operation: "write", code: "ENOSPC", path: "ottla.partitioners" });
      await assert.rejects(
        alterTopic(store, name, { retentionHours: 5, partitioner: () => 3 }),
        hasCode("DISK_FULL"),
      );
    }
    for (const name of ["orders", "others"]) {
      failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata-0" });
      await assert.rejects(
        alterTopic(store, name, { retentionHours: 5, partitioner: () => 3 }),
        hasCode("DISK_FULL"),
      );
    }
    assert.deepEqual(["orders", "others"].map((name) => describeTopic(store, name)), before);
    assert.match(textOfFile(disk.fs, "ottla.partitioners")!, /:\{"\S{22}":"murmur2"\}/);
    await alterTopic(store, "others", { retentionHours: 5, partitioner: () => 3 });
    assert.equal((await append(store, "others", { key: "k", value: "v" })).partition, 3);
  }, { fileSystem: disk.fs });
});

test("a topic never begins where a deleted one of its name did, though that was left recorded", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 100));
  await deleteRecords(store, "orders", 0, 90);
  const name = "log-start-offset-checkpoint";
  failNext(disk, { operation: "write", code: "ENOSPC", path: name });
  await assert.rejects(deleteTopic(store, "orders"), hasCode("DISK_FULL"));
  assert.match(textOfFile(disk.fs, name)!, /^orders 0 90$/m);
  assert.deepEqual(rootNames(disk.fs).filter((entry) => entry.startsWith("orders")), []);
  failNext(disk, { operation: "write", code: "ENOSPC", path: name });
  await assert.rejects(createTopic(store, "orders"), hasCode("DISK_FULL"));
  assert.deepEqual(listTopics(store), []);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 5));
  crashStore(store, disk.fs);
  await withStore(async (reopened) => {
    assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 5));
  }, { fileSystem: disk.fs });
});

test("more partitions never begin where those of a deleted topic did either", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders", { partitions: 2 });
  const second = numbered(0, 100).map((record) => ({ ...record, partition: 1 }));
  await appendBatch(store, "orders", second);
  await deleteRecords(store, "orders", 1, 90);
  await createTopic(store, "keeper");
  // Recorded again by the next deletion, and not by this one.
  failNext(disk, { operation: "write", code: "ENOSPC", path: "log-start-offset-checkpoint" });
  await assert.rejects(deleteTopic(store, "orders"), hasCode("DISK_FULL"));
  await createTopic(store, "orders");
  await createPartitions(store, "orders", 2);
  await appendBatch(store, "orders", second.slice(0, 5));
  crashStore(store, disk.fs);
  await withStore(async (reopened) => {
    assert.deepEqual(await valuesIn(reopened, "orders", { partition: 1 }), numberedText(0, 5));
  }, { fileSystem: disk.fs });
});

test("a partition that cannot be removed keeps no other one's files", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    failNext(disk, { operation: "rename", code: "EACCES", path: "orders-0" });
    await assert.rejects(deleteTopic(store, "orders"), isStorageError);
    assert.deepEqual(listTopics(store), []);
    assert.deepEqual(rootNames(disk.fs).filter((name) => name.startsWith("orders")), ["orders-0"]);
  }, { fileSystem: disk.fs });
});

test("a topic is not created where a folder of its name cannot be set aside", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    await append(store, "orders", { value: "old", partition: 1 });
    failNext(disk, { operation: "rename", code: "EACCES", path: "orders-1", times: 3 });
    await assert.rejects(deleteTopic(store, "orders"), isStorageError);
    await assert.rejects(createTopic(store, "orders", { partitions: 2 }), isStorageError);
    assert.deepEqual(listTopics(store), []);
    await createTopic(store, "orders");
    await assert.rejects(createPartitions(store, "orders", 2), isStorageError);
    assert.equal(describeTopic(store, "orders").partitions.length, 1);
    await createPartitions(store, "orders", 2);
    await append(store, "orders", { value: "new", partition: 1 });
    assert.deepEqual(await valuesIn(store, "orders"), ["new"]);
  }, { fileSystem: disk.fs });
});

test("a topic of which nobody knows whether it is deleted takes nothing more", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders", { partitions: 2 });
  await createTopic(store, "others");
  const producer = openProducer(store, { partitioner: () => 0 });
  await send(producer, "orders", { value: "v0" });
  // Its second partition is not open.
  internalsOf(store).topics.get("orders")!.partitions[1]!.log = undefined;
  failNext(disk, { operation: "sync", code: "EIO", path: "__cluster_metadata-0" });
  await assert.rejects(deleteTopic(store, "orders"), isStorageError);
  assert.deepEqual(listTopics(store), ["orders", "others"]);
  const isUncertain = (error: unknown): boolean =>
    isStorageError(error) && /its deletion failed and may be on disk/.test(String(error));
  for (const partition of [0, 1]) {
    await assert.rejects(append(store, "orders", { value: "v", partition }), isUncertain);
    await assert.rejects(send(producer, "orders", { value: "v", partition }), isUncertain);
  }
  await assert.rejects(valuesIn(store, "orders", { partition: 0 }), isUncertain);
  await append(store, "others", { value: "o0" });
  // Nothing of another deletion is there, since the metadata takes nothing any more.
  await assert.rejects(deleteTopic(store, "others"), isStorageError);
  await append(store, "others", { value: "o1" });
  crashStore(store, disk.fs);

  for (const isThere of [true, false]) {
    const after = crashDisk(disk, isThere ? {} : { names: true, bytes: (unsynced) => unsynced });
    removeLocks(after.fs);
    await withStore(async (reopened) => {
      assert.deepEqual(listTopics(reopened), isThere ? ["orders", "others"] : ["others"]);
      if (isThere) await append(reopened, "orders", { value: "v1", partition: 0 });
      assert.deepEqual(await valuesIn(reopened, "others"), ["o0", "o1"]);
    }, { fileSystem: after.fs });
  }
});

test("a topic whose deletion is surely not on disk can be used as before", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata-0" });
    await assert.rejects(deleteTopic(store, "orders"), hasCode("DISK_FULL"));
    await append(store, "orders", { value: "v0" });
    await deleteTopic(store, "orders");
    assert.deepEqual(listTopics(store), []);
  }, { fileSystem: disk.fs });
});

for (const text of ["", "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", "nonsense"]) {
  const shown = JSON.stringify(text);
  test(`partition.metadata of ${shown} hides its partition and no other`, async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "orders", { partitions: 2 });
    for (const partition of [0, 1]) await append(store, "orders", { value: "v0", partition });
    await closeStore(store);
    const path = joinPath(storeFolder, "orders-1/partition.metadata");
    const content = readFile(fs, path)!;
    writeFile(fs, path, text);
    // After a crash every folder is looked at, after a proper end none.
    for (const wasClean of [true, false]) {
      const broken = await openTestStore(fs);
      assert.equal(broken.recovery.wasClean, wasClean);
      assert.deepEqual(broken.recovery.failedPartitions, wasClean ? [] : ["orders-1"]);
      assert.deepEqual(failuresOf(broken, "orders"), [undefined, "KAFKA_STORAGE_ERROR"]);
      await append(broken, "orders", { value: "v1", partition: 0 });
      await assert.rejects(append(broken, "orders", { value: "x", partition: 1 }), isStorageError);
      crashStore(broken, fs);
    }
    writeFile(fs, path, content);
    await withStore(async (mended) => {
      assert.deepEqual(await valuesIn(mended, "orders", { partition: 1 }), ["v0"]);
      assert.deepEqual(await valuesIn(mended, "orders", { partition: 0 }), ["v0", "v1", "v1"]);
    }, { fileSystem: fs });
  });
}

test("a folder that is no topic's is set aside though nobody can say whose it was", async () => {
  const fs = memoryFileSystem();
  crashStore(await openTestStore(fs), fs);
  const folder = joinPath(storeFolder, "stray-0");
  fs.makeFolder(folder);
  writeFile(fs, joinPath(folder, "partition.metadata"), "nonsense");
  await withStore((_) => {
    const names = rootNames(fs).filter((name) => name.startsWith("stray-0"));
    assert.match(names.join(), /^stray-0\.[0-9a-f]{32}-stray$/);
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("a reader that learns of partitions after the deletion makes no folders for them", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
    const reading = read(store, "orders", { live: true })[Symbol.asyncIterator]();
    assert.equal((await reading.next()).done, false);
    const partitions = createPartitions(store, "orders", 2).then(() => {
      // As it is before anybody has used the new one.
      internalsOf(store).topics.get("orders")!.partitions[1]!.log = undefined;
    });
    await Promise.all([partitions, deleteTopic(store, "orders")]);
    await assert.rejects(reading.next(), hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
    assert.deepEqual(rootNames(fs).filter((name) => name.startsWith("orders")), []);
  }, { fileSystem: fs });
});
