/** What a store does by itself for the producers of its partitions, and what a crash leaves them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { appendBatch } from "../../src/client/append.ts";
import type { Log } from "../../src/log/log.ts";
import { lastStableOffset } from "../../src/log/producer_append.ts";
import { producerIdExpirationMs } from "../../src/log/producer_state.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { checkStore } from "../../src/store/check_store.ts";
import { producerIdExpirationCheckMs } from "../../src/store/maintenance.ts";
import { closeStore, flush, openStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { getPartitionState, getTopicState, internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords, deleteTopic } from "../../src/store/topics.ts";
import { bytesReadOf, faultyDisk, resetCounts } from "../support/faulty_file_system.ts";
import { filesOf, manualClock, ringTimers } from "../support/log_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";
import { crashStore, openTestStore, storeFolder, withFolder } from "../support/store_fixture.ts";

/** Several of these have an index between them and the beginning. */
const big = "x".repeat(1000);
const folder = `${storeFolder}/orders-0`;

function logIn(store: Store): Log {
  const internals = internalsOf(store);
  const topic = getTopicState(internals, "orders");
  return logOf(internals, topic, getPartitionState(topic, 0));
}

/** The offsets of the snapshots in the folder of the log. */
function snapshotsOf({ pool, folder }: Log): number[] {
  const names = filesOf(pool.fs, folder).filter((name) => name.endsWith(".snapshot"));
  return names.map((name) => Number(name.slice(0, 20)));
}

test("a checkpoint takes a snapshot, so that a crash costs only what came since", async () => {
  const disk = faultyDisk();
  const clock = manualClock(producedTime);
  const store = await openTestStore(disk.fs, { clock });
  await createTopic(store, "orders");
  const log = logIn(store);
  for (let sequence = 0; sequence < 1000; sequence++) produce(log, sequence);
  await flush(store);
  ringTimers(clock);
  assert.deepEqual(snapshotsOf(log), [0, 1000]);
  await produce(log, 1000, { ack: "disk" }).done;
  ringTimers(clock);
  produce(log, 1001);
  crashStore(store, disk.fs);
  resetCounts(disk);
  const reopened = await openTestStore(disk.fs, { clock });
  assert.ok(bytesReadOf(disk, "orders-0/00000000000000000000.log") < 20_000);
  const recovered = logIn(reopened);
  assert.deepEqual(snapshotsOf(recovered), [0, 1002]);
  assert.equal(produce(recovered, 1001).isDuplicate, true);
  assert.equal(produce(recovered, 1002).baseOffset, 1002);
  await closeStore(reopened);
});

test("a store that was closed reads none of the batches of its producers", async () => {
  const disk = faultyDisk();
  const clock = manualClock(producedTime);
  const store = await openTestStore(disk.fs, { clock });
  await createTopic(store, "orders");
  for (let sequence = 0; sequence < 10; sequence++) produce(logIn(store), sequence);
  await closeStore(store);
  resetCounts(disk);
  const reopened = await openTestStore(disk.fs, { clock });
  assert.equal(bytesReadOf(disk, ".snapshot"), 0, "the partition is opened when it is used");
  const log = logIn(reopened);
  assert.equal(bytesReadOf(disk, ".snapshot"), 56);
  assert.equal(produce(log, 9).isDuplicate, true);
  await closeStore(reopened);
  const report = await checkStore(storeFolder, { fileSystem: disk.fs });
  assert.deepEqual(report.problems, []);
});

test("after a crash of a store on the disk nothing is stored twice", async () => {
  await withFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "orders", { segmentBytes: 1024 * 1024 });
    await produce(logIn(store), 0, { ack: "disk" }).done;
    endTransaction(logIn(store), "abort", { producerId: 8, epoch: 3, ack: "os" });
    produce(logIn(store), 0, { producerId: 9, transactional: true });
    const { fs } = internalsOf(store);
    crashStore(store, fs);
    for (const { name } of fs.list(path)) {
      if (name.startsWith("ottla.lock.")) fs.remove(`${path}/${name}`);
    }
    const reopened = await openStore(path);
    const log = logIn(reopened);
    assert.equal(produce(log, 0).isDuplicate, true);
    assert.equal(produce(log, 0, { producerId: 8, epoch: 3 }).baseOffset, 3);
    assert.equal(lastStableOffset(log), 2);
    await closeStore(reopened);
    assert.deepEqual((await checkStore(path)).problems, []);
  });
});

test("idle producers are forgotten in the background", async () => {
  const fs = memoryFileSystem();
  const clock = manualClock(producedTime);
  const store = await openTestStore(fs, { clock });
  await createTopic(store, "orders");
  const log = logIn(store);
  produce(log, 0, { producerId: 1 });
  clock.nowMs += producerIdExpirationCheckMs;
  produce(log, 0, { producerId: 2, timestamp: 0 });
  clock.nowMs = producedTime + producerIdExpirationMs - 1;
  ringTimers(clock);
  assert.deepEqual([...log.producers.byId.keys()], [1, 2]);
  clock.nowMs++;
  ringTimers(clock);
  assert.deepEqual([...log.producers.byId.keys()], [2], "counted from when it appended");
  await closeStore(store);
});

test("producers outlive their records, and end with their topic", async () => {
  const fs = memoryFileSystem();
  const options = { topicOverrides: { segmentBytes: 300 }, clock: manualClock(producedTime) };
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders");
  for (let sequence = 0; sequence < 20; sequence++) produce(logIn(store), sequence);
  await deleteRecords(store, "orders", 0, -1);
  assert.ok(logIn(store).segments[0]!.baseOffset > 0);
  await closeStore(store);
  const reopened = await openTestStore(fs, options);
  assert.equal(produce(logIn(reopened), 19).isDuplicate, true);
  await deleteTopic(reopened, "orders");
  assert.equal(fs.stat(folder), undefined);
  await createTopic(reopened, "orders");
  assert.equal(produce(logIn(reopened), 5).baseOffset, 0);
  await closeStore(reopened);
});

test("a broker that was killed may have left producers and no sign of them", async () => {
  const disk = faultyDisk();
  const clock = manualClock(producedTime);
  const store = await openTestStore(disk.fs, { clock });
  await createTopic(store, "orders");
  const log = logIn(store);
  const many = Array.from({ length: 50 }, () => ({ value: big }));
  for (let sequence = 0; sequence < 20; sequence++) produce(log, sequence);
  await appendBatch(store, "orders", many);
  await appendBatch(store, "orders", many);
  const { endOffset } = log;
  await closeStore(store);
  // With flush.messages a broker records recovery points beyond its last snapshot, and the first
  // snapshot it takes is that of its first roll. Its indexes are written as it goes.
  const { inner } = disk;
  inner.remove(`${storeFolder}/ottla.cleanshutdown`);
  for (const name of filesOf(inner, folder)) {
    if (name.endsWith(".snapshot")) inner.remove(`${folder}/${name}`);
  }
  const reopened = await openTestStore(disk.fs, { clock });
  const recovered = logIn(reopened);
  assert.equal(recovered.endOffset, endOffset);
  assert.equal(produce(recovered, 19).isDuplicate, true);
  assert.equal(produce(recovered, 20).baseOffset, endOffset);
  await closeStore(reopened);
});
