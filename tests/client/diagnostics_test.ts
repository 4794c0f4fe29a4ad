/** What is told on `node:diagnostics_channel`, and that nothing is while nobody listens. */

import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { test } from "node:test";

import {
  append,
  appendBatch,
  closeStore,
  compactTopic,
  createTopic,
  deleteRecords,
  statsOf,
} from "../../mod.ts";
import type {
  AppendMessage,
  CompactionMessage,
  RecoveryMessage,
  RetentionMessage,
  SyncMessage,
} from "../../mod.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { appendChannel, syncChannel } from "../../src/platform/diagnostics.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { crashStore, numbered, openTestStore, storeFolder } from "../support/store_fixture.ts";

/** Does something and gives back what was told meanwhile; of the metadata log nothing. */
async function toldWhile<Message>(name: string, doing: () => Promise<void>): Promise<Message[]> {
  const told: Message[] = [];
  const listener = (message: unknown): void => {
    const { topic } = message as { topic?: string };
    if (topic !== "__cluster_metadata") told.push(message as Message);
  };
  subscribe(name, listener);
  try {
    await doing();
  } finally {
    unsubscribe(name, listener);
  }
  return told;
}

const folder = `${storeFolder}/orders-0`;
const ofOrders = { folder, topic: "orders", partition: 0 };

test("appends are told with their place, level and size", async () => {
  const store = await openTestStore(memoryFileSystem());
  await createTopic(store, "orders");
  const told = await toldWhile<AppendMessage>("ottla:append", async () => {
    await append(store, "orders", { value: "x" });
    await appendBatch(store, "orders", numbered(0, 10), { ack: "os" });
    await append(store, "orders", { value: "x" }, { ack: "memory" });
  });
  const { disk, os, memory } = statsOf(store).totals.appends;
  assert.deepEqual(told, [
    { ...ofOrders, ack: "disk", baseOffset: 0, endOffset: 1, batches: 1, bytes: disk.bytes },
    { ...ofOrders, ack: "os", baseOffset: 1, endOffset: 11, batches: 1, bytes: os.bytes },
    { ...ofOrders, ack: "memory", baseOffset: 11, endOffset: 12, batches: 1, bytes: memory.bytes },
  ]);
  await closeStore(store);
});

test("syncs are told, and those that failed with what the file system threw", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  const told = await toldWhile<SyncMessage>("ottla:sync", async () => {
    await append(store, "orders", { value: "x" });
    failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
    await assert.rejects(append(store, "orders", { value: "x" }));
  });
  assert.deepEqual(told.map(({ tookMs: _, error: _error, ...rest }) => rest), [
    { ...ofOrders, endOffset: 1 },
    { ...ofOrders, endOffset: 2 },
  ]);
  assert.ok(told.every(({ tookMs }) => tookMs >= 0));
  assert.ok(!("error" in told[0]!));
  assert.match(String(told[1]!.error), /EIO/);
  await closeStore(store).catch(() => {});
});

test("openings are told with what recovery did", async () => {
  const fs = memoryFileSystem();
  const told = await toldWhile<RecoveryMessage>("ottla:recovery", async () => {
    const first = await openTestStore(fs);
    await createTopic(first, "orders");
    await append(first, "orders", { value: "x" });
    crashStore(first, fs);
    const second = await openTestStore(fs);
    await closeStore(second);
    await closeStore(await openTestStore(fs));
  });
  assert.deepEqual(told.map(({ wasClean }) => wasClean), [false, false, true]);
  assert.deepEqual(told.map(({ folder }) => folder), Array(3).fill(storeFolder));
  assert.deepEqual(told.map(({ scannedPartitions }) => scannedPartitions), [0, 1, 0]);
  assert.ok(told[1]!.scannedBytes > 0 && told[1]!.tornBytes === 0 && told[1]!.tookMs >= 0);
});

test("retention and compaction are told", async () => {
  const store = await openTestStore(memoryFileSystem(), { topicOverrides: { segmentBytes: 1000 } });
  await createTopic(store, "orders");
  await createTopic(store, "prices", { cleanupPolicy: "compact" });
  for (const { value } of numbered(0, 40)) {
    await append(store, "orders", { value }, { ack: "os" });
    await append(store, "prices", { key: "k", value }, { ack: "os" });
  }
  const retired = await toldWhile<RetentionMessage>("ottla:retention", async () => {
    await deleteRecords(store, "orders", 0, 30);
  });
  const { retention } = statsOf(store, { topics: ["orders"] }).topics[0]!;
  assert.deepEqual(retired, [{
    ...ofOrders,
    segments: retention.segments,
    bytes: retention.bytes,
    startOffset: 30,
  }]);
  assert.ok(retention.segments > 0);
  const compacted = await toldWhile<CompactionMessage>("ottla:compaction", async () => {
    await compactTopic(store, "prices");
  });
  assert.equal(compacted.length, 1);
  assert.deepEqual([compacted[0]!.topic, compacted[0]!.readRecords], ["prices", 40]);
  assert.equal(compacted[0]!.keptRecords, 1);
  await closeStore(store);
});

test("who no longer listens is told nothing", async () => {
  const store = await openTestStore(memoryFileSystem());
  await createTopic(store, "orders");
  const told = await toldWhile("ottla:append", () => Promise.resolve());
  await append(store, "orders", { value: "x" });
  assert.deepEqual([told, appendChannel.hasSubscribers, syncChannel.hasSubscribers], [
    [],
    false,
    false,
  ]);
  await closeStore(store);
});
