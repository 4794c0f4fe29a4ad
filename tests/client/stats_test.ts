/** What a store tells of itself: counters, gauges, and that asking changes nothing. */

import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { test } from "node:test";

import {
  alterTopic,
  append,
  appendBatch,
  closeConsumer,
  closeRange,
  closeStore,
  commitOffsets,
  compactTopic,
  createTopic,
  deleteRecords,
  deleteTopic,
  enforceRetention,
  flush,
  openConsumer,
  openProducer,
  openRange,
  openStore,
  poll,
  send,
  sendRange,
  statsOf,
} from "../../mod.ts";
import type { HistogramStats, Producer, StatsOptions, Store, StoreStats } from "../../mod.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { powerCut, setFaults, simulatedDisk } from "../../src/testing/mod.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { produce } from "../support/produced.ts";
import {
  crashStore,
  numbered,
  openTestStore,
  recordsIn,
  storeFolder,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";
import { logOf } from "../../src/store/partitions.ts";
import { internalsOf } from "../../src/store/store.ts";

const smallSegments = { topicOverrides: { segmentBytes: 1000 } };

/** Buckets add up to the count, and quantiles lie where values are. */
function assertSound({ count, sum, max, p50, p99, buckets }: HistogramStats): void {
  assert.equal(buckets.reduce((total, bucket) => total + bucket.count, 0), count);
  assert.equal(buckets.at(-1)!.le, null);
  assert.ok(p50 <= p99 && p99 <= max && max <= sum + 1e-9, JSON.stringify({ p50, p99, max, sum }));
}

function topicOf(stats: StoreStats, name: string): StoreStats["topics"][number] {
  return stats.topics.find(({ topic }) => topic === name)!;
}

test("appends are counted by topic and level, batches with their sizes", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await createTopic(store, "prices");
    await append(store, "orders", { value: "x" });
    await append(store, "orders", { value: "x" }, { ack: "os" });
    await append(store, "orders", { value: "x" }, { ack: "os" });
    await appendBatch(store, "orders", numbered(0, 10), { ack: "memory" });
    await appendBatch(store, "prices", numbered(0, 5), { ack: "disk" });
    const stats = statsOf(store);
    const { appends, batchBytes } = topicOf(stats, "orders");
    assert.deepEqual([appends.disk.records, appends.disk.batches], [1, 1]);
    assert.deepEqual([appends.os.records, appends.os.batches], [2, 2]);
    assert.deepEqual([appends.memory.records, appends.memory.batches], [10, 1]);
    assert.equal(batchBytes.count, 4);
    assert.equal(batchBytes.sum, appends.disk.bytes + appends.os.bytes + appends.memory.bytes);
    assert.equal(batchBytes.max, appends.memory.bytes);
    const perRecord = appends.os.bytes / 2;
    assert.equal(batchBytes.buckets.find(({ le }) => le! >= perRecord)!.count, 3);
    assertSound(batchBytes);
    await flush(store);
    const { totals } = statsOf(store);
    assert.equal(totals.appends.disk.records, 6);
    assert.equal(totals.logBytes, totals.batchBytes.sum);
    assert.equal(totals.appends.failed, 0);
  }));

test("many records that are appended in one turn are batches of their own", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await Promise.all(numbered(0, 20).map((record) => append(store, "orders", record)));
    const { appends, acknowledgeMs, syncMs } = statsOf(store).totals;
    assert.deepEqual([appends.disk.records, appends.disk.batches], [20, 20]);
    // They share a write, a wait and a sync.
    assert.equal(acknowledgeMs.count, 1);
    assert.equal(syncMs.count, 1);
  }));

test("syncs and waiting are measured by the store's clock", async () => {
  const clock = manualClock();
  const disk = faultyDisk(memoryFileSystem(clock.now));
  const store = await openTestStore(disk.fs, { clock });
  await createTopic(store, "orders");
  await append(store, "orders", { value: "first" });
  disk.heldSyncs = [];
  const first = append(store, "orders", { value: "slow" });
  await clock.advance(40);
  const second = append(store, "orders", { value: "behind it" });
  await clock.advance(10);
  disk.heldSyncs.shift()!();
  await first;
  await clock.advance(3);
  disk.heldSyncs.shift()!();
  disk.heldSyncs = undefined;
  await second;
  const { syncMs, acknowledgeMs } = statsOf(store).totals;
  // 0, 50 and 3; the second one waited for what was left of the first one, and its own.
  assert.deepEqual([syncMs.count, syncMs.sum, syncMs.max], [3, 53, 50]);
  assert.deepEqual([acknowledgeMs.count, acknowledgeMs.sum], [3, 50 + 13]);
  assert.equal(syncMs.buckets.find(({ le }) => le === 50)!.count, 1);
  assert.equal(syncMs.buckets.find(({ le }) => le === 5)!.count, 1);
  assertSound(syncMs);
  assertSound(acknowledgeMs);
  await closeStore(store);
});

test("what only asks for a flush has not waited for an append", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "x" }, { ack: "os" });
    await flush(store);
    const { syncMs, acknowledgeMs } = statsOf(store).totals;
    assert.deepEqual([syncMs.count, acknowledgeMs.count], [1, 0]);
  }));

test("failures are counted: of appends, of syncs", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs, { ack: "os", diskFreeBytesMin: 0 });
  await createTopic(store, "orders");
  await append(store, "orders", { value: "x" });
  failNext(disk, { operation: "write", code: "ENOSPC", path: ".log", times: 2 });
  await assert.rejects(append(store, "orders", { value: "x" }));
  await assert.rejects(append(store, "orders", { value: "x" }));
  healDisk(disk);
  await append(store, "orders", { value: "x" });
  const { appends } = statsOf(store).totals;
  assert.deepEqual([appends.failed, appends.os.records, appends.os.batches], [2, 2, 2]);
  failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
  await assert.rejects(append(store, "orders", { value: "x" }, { ack: "disk" }));
  await assert.rejects(append(store, "orders", { value: "poisoned" }));
  const after = statsOf(store).totals;
  assert.deepEqual([after.failedSyncs, after.appends.failed, after.appends.disk.records], [
    1,
    3,
    1,
  ]);
  await closeStore(store).catch(() => {});
});

test("of an append that fails half way what is stored is counted", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const records = Array.from({ length: 6 }, () => ({ value: "x".repeat(300) }));
    // The first of several batches is written, and the next one is not.
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".log", after: 1 });
    await assert.rejects(appendBatch(store, "orders", records, { ack: "os" }));
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".log", after: 1 });
    const gathered = await Promise.allSettled(
      records.map((record) => append(store, "orders", record)),
    );
    const stored = gathered.filter(({ status }) => status === "fulfilled");
    const { totals, topics } = statsOf(store, { partitions: true });
    const { failed, os, disk: { records: recordsAtDisk } } = totals.appends;
    assert.ok(os.records > 0 && stored.length > 0);
    assert.deepEqual([failed, recordsAtDisk], [1 + 6 - stored.length, stored.length]);
    assert.equal(topics[0]!.partitionStats![0]!.offsets!.endOffset, os.records + recordsAtDisk);
    assert.equal(totals.batchBytes.sum, totals.logBytes);
  }, { fileSystem: disk.fs, diskFreeBytesMin: 0, ...smallSegments });
});

/** All ways in which records get in, each with a call that appends once. */
const ways: readonly [string, (store: Store, producers: Producer[]) => Promise<unknown>][] = [
  ["append at disk", (store) => append(store, "orders", { value }, { ack: "disk" })],
  ["append at os", (store) => append(store, "orders", { value }, { ack: "os" })],
  ["append at memory", (store) => append(store, "orders", { value }, { ack: "memory" })],
  ["appendBatch", (store) => appendBatch(store, "orders", [{ value }, { value }])],
  ["an idempotent producer", (_, [idempotent]) => send(idempotent!, "orders", { value })],
  ["another producer", (_, [, other]) => send(other!, "orders", { value })],
];
const value = "x".repeat(1_000);

for (
  const [what, code] of [
    ["there is too little room", "DISK_FULL"],
    ["the disk takes nothing", "DISK_FULL"],
    ["a sync has failed", "KAFKA_STORAGE_ERROR"],
  ] as const
) {
  test(`when ${what} every call that fails counts once, and none that is wrong`, async () => {
    const disk = faultyDisk();
    const freeBytes = (): number => what === "there is too little room" ? 1_000 : 1_000_000;
    const store = await openTestStore({ ...disk.fs, freeBytes }, { diskFreeBytesMin: 100 });
    await createTopic(store, "orders");
    const producers = [true, false].map((isIdempotent) =>
      openProducer(store, { lingerMs: 0, retries: 0, idempotent: isIdempotent })
    );
    for (const producer of producers) await send(producer, "orders", { value: "x" });
    await append(store, "orders", { value: "x" }, { ack: "os" });
    let failed = 0;
    if (what === "the disk takes nothing") {
      failNext(disk, { operation: "write", code: "ENOSPC", path: ".log", times: 1_000 });
    } else if (what === "a sync has failed") {
      failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
      await assert.rejects(flush(store));
    }
    for (const [way, call] of ways) {
      // It is written later.
      if (what === "the disk takes nothing" && way === "append at memory") continue;
      await assert.rejects(call(store, producers), { code }, way);
      failed++;
      assert.equal(topicOf(statsOf(store), "orders").appends.failed, failed, way);
    }
    // Those of one turn of the event loop are written together.
    await Promise.allSettled([1, 2, 3].map(() => append(store, "orders", { value })));
    failed += 3;
    await assert.rejects(append(store, "orders", { value, timestamp: -2 }), RangeError);
    await assert.rejects(appendBatch(store, "orders", [{ value: 5 as never }]), TypeError);
    assert.equal(statsOf(store).totals.appends.failed, failed);
    healDisk(disk);
    await closeStore(store).catch(() => {});
  });
}

test("commits that are refused are counted with the topic that they are written to", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const offsets = [{ topic: "orders", partition: 0, offset: 0 }];
    await commitOffsets(store, "billing", offsets);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".log" });
    await assert.rejects(commitOffsets(store, "billing", offsets), { code: "DISK_FULL" });
    assert.equal(topicOf(statsOf(store), "__consumer_offsets").appends.failed, 1);
  }, { fileSystem: disk.fs });
});

test("syncs on the spot are counted like those in threads", async () => {
  const disk = faultyDisk();
  const store = await openTestStore({ ...disk.fs, isSyncQuick: () => true });
  await createTopic(store, "orders");
  await append(store, "orders", { value: "x" });
  failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
  await assert.rejects(append(store, "orders", { value: "x" }));
  const { syncMs, failedSyncs, acknowledgeMs } = statsOf(store).totals;
  assert.deepEqual([syncMs.count, failedSyncs, acknowledgeMs.count], [1, 1, 1]);
  await closeStore(store).catch(() => {});
});

test("reads and what is sent are counted", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 50), { ack: "os" });
    assert.equal(statsOf(store).totals.reads.count, 0);
    await recordsIn(store, "orders");
    const { totals } = statsOf(store);
    assert.deepEqual([totals.reads.count, totals.reads.bytes], [1, totals.logBytes]);
    const range = openRange(store, "orders", 0, { from: 0 });
    const server = createServer((socket) => socket.resume().on("end", () => socket.end()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const socket = connect(port, "127.0.0.1");
    await sendRange(range, socket);
    await new Promise<void>((resolve) => socket.end(resolve));
    server.close();
    closeRange(range);
    assert.equal(statsOf(store).totals.reads.sentBytes, totals.logBytes);
  }));

test("retention, deletions of records and compaction are counted", async () => {
  const clock = manualClock();
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionMs: 1000 });
    await createTopic(store, "prices", { cleanupPolicy: "compact" });
    for (const record of numbered(0, 60)) await append(store, "orders", record, { ack: "os" });
    const before = topicOf(statsOf(store), "orders");
    assert.ok(before.segments > 3);
    await deleteRecords(store, "orders", 0, 20);
    const deleted = topicOf(statsOf(store), "orders");
    assert.equal(deleted.retention.segments, before.segments - deleted.segments);
    assert.ok(deleted.retention.segments > 0);
    await clock.advance(2000);
    const { removedSegments } = await enforceRetention(store);
    const { retention, segments, logBytes } = topicOf(statsOf(store), "orders");
    assert.equal(retention.segments, deleted.retention.segments + removedSegments);
    assert.deepEqual([segments, logBytes, retention.bytes], [1, 0, before.logBytes]);
    for (const { value } of numbered(0, 60)) {
      await append(store, "prices", { key: "one", value }, { ack: "os" });
    }
    const report = await compactTopic(store, "prices");
    const { compaction } = topicOf(statsOf(store), "prices");
    assert.equal(compaction.count, 1);
    const { readBytes, keptBytes, readRecords, keptRecords } = compaction;
    assert.deepEqual([readRecords, keptRecords], [report.readRecords, report.keptRecords]);
    assert.deepEqual([readBytes, keptBytes], [report.readBytes, report.keptBytes]);
  }, { clock, ...smallSegments });
});

test("the counters of a deleted topic stay in the totals", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 7));
    await deleteTopic(store, "orders");
    await createTopic(store, "orders");
    await append(store, "orders", { value: "x" });
    const stats = statsOf(store);
    assert.equal(stats.totals.appends.disk.records, 8);
    assert.equal(topicOf(stats, "orders").appends.disk.records, 1);
    assert.equal(stats.totals.partitions, 1);
  }));

test("gauges: partitions, segments, bytes, producers, files, free space", () =>
  withStore(async (store, fs) => {
    await createTopic(store, "orders", { partitions: 3 });
    for (const record of numbered(0, 40)) {
      await append(store, "orders", { ...record, partition: 1 }, { ack: "os" });
    }
    const internals = internalsOf(store);
    const topic = internals.topics.get("orders")!;
    produce(logOf(internals, topic, topic.partitions[1]!), 0, { producerId: 5 });
    const stats = statsOf(store, { partitions: true });
    const { partitions, segments, logBytes, producerIds, partitionStats } = topicOf(
      stats,
      "orders",
    );
    const files = fs.list(`${storeFolder}/orders-1`).filter(({ name }) => name.endsWith(".log"));
    // The others have an empty one each.
    assert.deepEqual([partitions, segments, producerIds], [3, files.length + 2, 1]);
    assert.deepEqual(partitionStats?.map(({ partition }) => partition), [0, 1, 2]);
    assert.deepEqual(partitionStats?.[1], {
      partition: 1,
      segments: files.length,
      logBytes,
      offsets: { startOffset: 0, highWatermark: 41, endOffset: 41 },
    });
    assert.equal(stats.files.open, internals.pool.open.size);
    assert.ok(stats.files.openings >= stats.files.open && stats.files.openMax === 512);
    assert.equal(stats.freeBytes, fs.freeBytes(storeFolder));
    assert.equal(topicOf(statsOf(store), "orders").partitionStats, undefined);
  }, smallSegments));

test("partitions that were not used since the opening count with their files", async () => {
  const fs = memoryFileSystem();
  const first = await openTestStore(fs, smallSegments);
  await createTopic(first, "orders");
  await appendBatch(first, "orders", numbered(0, 40), { ack: "os" });
  const before = statsOf(first).totals;
  await closeStore(first);
  const store = await openTestStore(fs, smallSegments);
  const closed = statsOf(store).totals;
  const [partition] = topicOf(statsOf(store, { partitions: true }), "orders").partitionStats!;
  assert.deepEqual([partition?.segments, partition?.offsets], [before.segments, undefined]);
  assert.deepEqual([closed.segments, closed.logBytes], [before.segments, before.logBytes]);
  assert.equal(closed.appends.os.records, 0);
  await append(store, "orders", { value: "more" });
  assert.ok(statsOf(store).totals.logBytes > before.logBytes);
  await closeStore(store);
});

test("how the store was opened", async () => {
  const fs = memoryFileSystem();
  const clock = manualClock();
  const first = await openTestStore(fs, { clock, ...smallSegments });
  await createTopic(first, "orders");
  for (const record of numbered(0, 60)) await append(first, "orders", record, { ack: "os" });
  const { logBytes, segments } = statsOf(first).totals;
  assert.deepEqual([statsOf(first).wasClean, statsOf(first).openedMs], [false, clock.now()]);
  crashStore(first, fs);
  const store = await openTestStore(fs, { clock, ...smallSegments });
  const stats = statsOf(store);
  assert.equal(stats.wasClean, false);
  assert.deepEqual(stats.totals.recovery, { segments, bytes: logBytes, tornBytes: 0 });
  assert.ok(stats.openTookMs >= 0);
  await closeStore(store);
});

test("groups are told of once somebody has asked for one", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "x" });
    assert.equal(statsOf(store).groups, undefined);
    await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset: 1 }]);
    const consumer = await openConsumer(store, { groupId: "shipping", topics: ["orders"] });
    await poll(consumer, { waitMs: 0 });
    assert.deepEqual(statsOf(store).groups, { groups: 2, groupsWithMembers: 1, members: 1 });
    await closeConsumer(consumer);
    assert.equal(statsOf(store).groups?.members, 0);
  }));

test("statistics are plain values that do not change any more", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "x" });
    const stats = statsOf(store, { partitions: true });
    const text = JSON.stringify(stats);
    await appendBatch(store, "orders", numbered(0, 9));
    await alterTopic(store, "orders", { retentionMs: 1 });
    assert.equal(JSON.stringify(stats), text);
    const isPlain = (value: unknown): boolean =>
      value === null || ["string", "boolean", "undefined"].includes(typeof value) ||
      (typeof value === "number" ? Number.isFinite(value) : Object.values(value!).every(isPlain));
    assert.ok(isPlain(stats));
  }));

test("only some topics", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await createTopic(store, "prices");
    await append(store, "prices", { value: "x" });
    const stats = statsOf(store, { topics: ["orders"] });
    assert.deepEqual(stats.topics.map(({ topic }) => topic), ["orders"]);
    assert.equal(stats.totals.appends.disk.records, 1);
  }));

test("misuse is named", async () => {
  const store = await openStore(":memory:");
  const asking = (options: unknown) => (): StoreStats => statsOf(store, options as StatsOptions);
  assert.throws(asking(null), /TypeError: options must be/);
  assert.throws(asking({ partitions: 1 }), /TypeError: partitions must be true or false/);
  assert.throws(asking({ topics: "orders" }), /TypeError: topics must be an array/);
  assert.throws(asking({ topics: ["orders"] }), { code: "UNKNOWN_TOPIC_OR_PARTITION" });
  assert.throws(() => statsOf({} as Store), TypeError);
  await closeStore(store);
  assert.throws(asking({}), { code: "HANDLE_CLOSED" });
});

test("a torn end that is cut off is counted", async () => {
  const disk = simulatedDisk({ seed: 3 });
  const options = { diskFreeBytesMin: 0 };
  const first = await openStore("/data", { ...disk.process, ...options });
  await createTopic(first, "orders");
  await append(first, "orders", { value: "kept" });
  for (const record of numbered(0, 300)) await append(first, "orders", record, { ack: "os" });
  powerCut(disk);
  const store = await openStore("/data", { ...disk.process, ...options });
  const { recovery } = statsOf(store).totals;
  assert.equal(recovery.tornBytes, store.recovery.tornBytes);
  assert.equal(recovery.bytes, store.recovery.scannedBytes);
  assert.equal((await valuesIn(store, "orders"))[0], "kept");
  await closeStore(store);
});

test("a folder that cannot be looked at is an error of the store, and passes", async () => {
  const disk = simulatedDisk({ seed: 4 });
  const first = await openStore("/data", { ...disk.process, diskFreeBytesMin: 0 });
  await createTopic(first, "orders");
  await append(first, "orders", { value: "one" });
  await closeStore(first);
  const store = await openStore("/data", { ...disk.process, diskFreeBytesMin: 0 });
  setFaults(disk, { rule: ({ kind }) => kind === "list" ? { code: "EMFILE" } : undefined });
  assert.throws(() => statsOf(store), { name: "OttlaError", code: "KAFKA_STORAGE_ERROR" });
  setFaults(disk);
  assert.equal(topicOf(statsOf(store), "orders").segments, 1);
  await closeStore(store);
});
