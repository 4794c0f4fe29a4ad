/** The offsets of partitions, and of times. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetForTimestamp, offsetsOf } from "../../src/client/offsets.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { topicOf } from "../../src/client/topic.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import { faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import { crashStore, numbered, openTestStore, withStore } from "../support/store_fixture.ts";

test("offsets are those of each partition, in order", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    await appendBatch(store, "orders", numbered(0, 4).map((one) => ({ ...one, partition: 1 })));
    await deleteRecords(store, "orders", 1, 3);
    const empty = {
      topic: "orders",
      startOffset: 0,
      endOffset: 0,
      highWatermark: 0,
      lastStableOffset: 0,
    };
    const wanted = [
      { ...empty, partition: 0 },
      {
        topic: "orders",
        partition: 1,
        startOffset: 3,
        endOffset: 4,
        highWatermark: 4,
        lastStableOffset: 4,
      },
      { ...empty, partition: 2 },
    ];
    assert.deepEqual(offsetsOf(store, "orders"), wanted);
    assert.deepEqual(offsetsOf(store, topicOf("orders")), wanted);
  });
});

test("the high watermark waits for the disk, the end does not", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    holdSyncs(disk);
    const appended = append(store, "orders", { value: "v0" });
    const { highWatermark, endOffset } = offsetsOf(store, "orders")[0]!;
    assert.deepEqual([highWatermark, endOffset], [0, 1]);
    assert.equal(offsetForTimestamp(store, "orders", 0, 0), undefined, "nobody sees it yet");
    let isDone = false;
    appended.then(() => isDone = true);
    while (!isDone) {
      releaseSyncs(disk);
      await new Promise((done) => setTimeout(done, 0));
    }
    assert.equal(offsetsOf(store, "orders")[0]!.highWatermark, 1);
    disk.heldSyncs = undefined;
  }, { fileSystem: disk.fs });
});

test("the offset of a time is that of the first record that is not older", async () => {
  const fs = memoryFileSystem();
  const options = { topicOverrides: { segmentBytes: 300, indexIntervalBytes: 50 } };
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders", { retentionMs: -1 });
  const times = [1000, 1010, 1010, 1005, 1030, 1020, 1050, 1060, 1055, 1100];
  for (const timestamp of times) {
    await append(store, "orders", { value: "v", timestamp }, { ack: "os" });
  }
  const check = (opened: typeof store): void => {
    for (let time = 990; time <= 1110; time++) {
      const index = times.findIndex((timestamp) => timestamp >= time);
      const wanted = index < 0 ? undefined : index;
      assert.equal(offsetForTimestamp(opened, "orders", 0, time), wanted, `${time}`);
      assert.equal(offsetForTimestamp(opened, "orders", 0, new Date(time)), wanted);
    }
  };
  check(store);
  crashStore(store, fs);
  const recovered = await openTestStore(fs, options);
  check(recovered);
  await deleteRecords(recovered, "orders", 0, 5);
  assert.equal(offsetForTimestamp(recovered, "orders", 0, 0), 5);
  crashStore(recovered, fs);
});

test("an empty partition has no offset of any time", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    assert.equal(offsetForTimestamp(store, "orders", 0, 0), undefined);
  });
});
