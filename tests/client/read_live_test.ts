/**
 * Reading as records come: no gap between history and present, nothing twice, and nobody left
 * behind who waits.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { read, readBatches } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createPartitions, createTopic, deleteRecords } from "../../src/store/topics.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  numbered,
  numberedText,
  openTestStore,
  settled,
  storeFolder,
  textOf,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";

/** How many wait for records of a topic. */
function watcherCount(store: Store, topic = "orders"): number {
  const { partitions } = internalsOf(store).topics.get(topic)!;
  return partitions.reduce((sum, { log }) => sum + (log?.watchers.size ?? 0), 0);
}

test("records that are appended between any two steps come once and in order", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 10));
    const seen: string[] = [];
    let next = 10;
    for await (const { value, offset } of read(store, "orders", { live: true })) {
      assert.equal(offset, seen.length);
      seen.push(textOf(value));
      if (seen.length === 200) break;
      // At times several, at times none, so that the reader is ahead now and then and waits.
      const count = [0, 1, 3, 0, 2][seen.length % 5]!;
      const ack = (["disk", "os", "memory"] as const)[seen.length % 3]!;
      const later = appendBatch(store, "orders", numbered(next, next + count), { ack });
      next += count;
      if (next <= seen.length) {
        await append(store, "orders", { value: `v${next++}` });
      }
      if (seen.length % 2 === 0) await later;
    }
    assert.deepEqual(seen, numberedText(0, 200));
    assert.equal(watcherCount(store), 0);
  });
});

test("from latest, only what comes is read", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "old" });
    const reader = read(store, "orders", { live: true, from: "latest" });
    const first = reader.next();
    await append(store, "orders", { value: "new" });
    assert.equal(textOf((await first).value!.value), "new");
  });
});

test("records of all partitions come as they are appended, and a busy one does not hold back the others", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    const seen: string[] = [];
    const next: number[] = [0, 0, 0];
    await append(store, "orders", { value: "0:0", partition: 0 });
    await append(store, "orders", { value: "2:0", partition: 2 });
    for await (const { value, partition, offset } of read(store, "orders", { live: true })) {
      assert.equal(offset, next[partition]!++);
      seen.push(textOf(value));
      if (partition === 2) break;
      // Partition 0 always has something more.
      await append(store, "orders", { value: `0:${offset + 1}`, partition: 0 });
      assert.ok(seen.length < 10);
    }
    assert.equal(seen.at(-1), "2:0");
  });
});

test("partitions that are added are read from their beginning", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const reader = read(store, "orders", { live: true, from: "latest" });
    const first = reader.next();
    await settled();
    await createPartitions(store, "orders", 2);
    await append(store, "orders", { value: "v0", partition: 1 });
    const { value } = await first;
    assert.deepEqual([value!.partition, textOf(value!.value)], [1, "v0"]);
    const alone = read(store, "orders", { live: true, partition: 0, from: "latest" });
    const waiting = alone.next();
    await append(store, "orders", { value: "other", partition: 1 });
    await append(store, "orders", { value: "mine", partition: 0 });
    assert.equal(textOf((await waiting).value!.value), "mine");
  });
});

test("an end may be in the future: an offset, a time, a number of records", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const collect = async (
      reader: AsyncIterable<{ value: Uint8Array | null }>,
    ): Promise<string[]> => {
      const values: string[] = [];
      for await (const { value } of reader) values.push(textOf(value));
      return values;
    };
    const byOffset = collect(read(store, "orders", { live: true, to: 7 }));
    const byLimit = collect(read(store, "orders", { live: true, limit: 4 }));
    const byTime = collect(read(store, "orders", { live: true, to: new Date(1005) }));
    const batches = (async () => {
      const bases: number[] = [];
      for await (const batch of readBatches(store, "orders", { live: true, to: new Date(1005) })) {
        bases.push(batch.baseOffset);
      }
      return bases;
    })();
    for (let start = 0; start < 12; start += 3) {
      await appendBatch(
        store,
        "orders",
        numbered(start, start + 3).map((one, index) => ({
          ...one,
          timestamp: 1000 + start + index,
        })),
      );
    }
    assert.deepEqual(await byOffset, numberedText(0, 7));
    assert.deepEqual(await byLimit, numberedText(0, 4));
    assert.deepEqual(await byTime, numberedText(0, 5));
    assert.deepEqual(await batches, [0, 3]);
    assert.equal(watcherCount(store), 0);
  });
});

test("a time in the future that begins a batch ends before that batch", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const reader = readBatches(store, "orders", { live: true, to: new Date(2000) });
    const first = reader.next();
    await append(store, "orders", { value: "v0", timestamp: 1999 });
    assert.equal((await first).value!.baseOffset, 0);
    const second = reader.next();
    await append(store, "orders", { value: "v1", timestamp: 2000 });
    assert.deepEqual(await second, { done: true, value: undefined });
  });
});

test("a signal that is aborted while the reader waits ends it, and nobody is left waiting", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    for (const reading of [read, readBatches]) {
      const controller = new AbortController();
      const reader = reading(store, "orders", { live: true, signal: controller.signal });
      const waiting = reader.next();
      await settled();
      assert.equal(watcherCount(store), 2);
      controller.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
      assert.equal(watcherCount(store), 0);
    }
  });
});

test("return() ends a wait that is under way, and leaves no watcher behind", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    for (const reading of [read, readBatches]) {
      const reader = reading(store, "orders", { live: true });
      const waiting = [reader.next(), reader.next()];
      await settled();
      assert.deepEqual(await reader.return!(), { done: true, value: undefined });
      for (const next of waiting) assert.deepEqual(await next, { done: true, value: undefined });
      assert.equal(watcherCount(store), 0);
    }
  });
});

test("closing the store tells all who wait", async () => {
  const store = await openTestStore(memoryFileSystem());
  await createTopic(store, "orders");
  const reader = read(store, "orders", { live: true });
  const waiting = [reader.next(), reader.next()];
  await settled();
  await closeStore(store);
  await assert.rejects(waiting[0]!, (error) => isOttlaError(error, "HANDLE_CLOSED"));
  assert.deepEqual(await waiting[1]!, { done: true, value: undefined });
});

test("calls of next() that wait at the same time are answered in order, each with another record", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    const reader = read(store, "orders", { live: true, partition: 0 });
    const waiting = Array.from({ length: 5 }, () => reader.next());
    const answered: number[] = [];
    waiting.forEach((next, index) => next.then(() => answered.push(index)));
    await settled();
    await append(store, "orders", { value: "v0", partition: 0 });
    // Asked before those that wait could take what has come.
    await append(store, "orders", { value: "v1", partition: 0 }, { ack: "os" });
    waiting.push(reader.next());
    await appendBatch(store, "orders", numbered(2, 6).map((one) => ({ ...one, partition: 0 })));
    const values = (await Promise.all(waiting)).map(({ value }) => textOf(value!.value));
    assert.deepEqual(values, numberedText(0, 6));
    assert.deepEqual(answered, [0, 1, 2, 3, 4]);
  });
});

test("a reader that waits at the end is told nothing of what is deleted behind it", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 5));
    const reader = read(store, "orders", { live: true, from: 5 });
    const waiting = reader.next();
    await deleteRecords(store, "orders", 0, 5);
    await append(store, "orders", { value: "v5" });
    assert.equal((await waiting).value!.offset, 5);
  });
});

test("a partition that a failed sync has poisoned says so to who waits for it", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  const reader = read(store, "orders", { live: true });
  const waiting = reader.next();
  failNext(disk, { operation: "sync", code: "EIO", path: "orders-0/00000000000000000000.log" });
  await assert.rejects(append(store, "orders", { value: "v" }));
  await assert.rejects(waiting, (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"));
  healDisk(disk);
  await assert.rejects(closeStore(store));
});

test("a log that ends in offsets without records is waited for, not gone around in", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 3));
  await closeStore(store);
  // What compaction and a roll can leave: an empty segment behind offsets that have no record any
  // more.
  writeFile(fs, joinPath(storeFolder, "orders-0/00000000000000000010.log"), "");
  const reopened = await openTestStore(fs);
  const reader = read(reopened, "orders", { live: true });
  for (let offset = 0; offset < 3; offset++) {
    assert.equal((await reader.next()).value!.offset, offset);
  }
  const waiting = reader.next();
  await settled();
  assert.equal(watcherCount(reopened), 1);
  assert.equal((await append(reopened, "orders", { value: "v10" })).offset, 10);
  assert.equal((await waiting).value!.offset, 10);
  await closeStore(reopened);
});
