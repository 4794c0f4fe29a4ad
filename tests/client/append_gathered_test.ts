/** Single records appended at "disk" in one turn: one write for all, and each told of its own. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import type { RecordMetadata } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { readBatches } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore, flush } from "../../src/store/open_store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { failNext, faultyDisk, resetCounts } from "../support/faulty_file_system.ts";
import {
  numberedText,
  openTestStore,
  removeLocks,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

const appendAll = (
  store: Parameters<typeof append>[0],
  count: number,
): Promise<PromiseSettledResult<RecordMetadata>[]> =>
  Promise.allSettled(
    Array.from({ length: count }, (_, n) => append(store, "orders", { value: `v${n}` })),
  );

const offsetsIn = (results: PromiseSettledResult<RecordMetadata>[]): (number | undefined)[] =>
  results.map((result) => result.status === "fulfilled" ? result.value.offset : undefined);

test("64 appends of a turn are 64 batches in one write", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "first" });
    resetCounts(disk);
    const results = await appendAll(store, 64);
    assert.deepEqual([disk.counts.write, disk.counts.sync], [1, 1]);
    assert.deepEqual(offsetsIn(results), Array.from({ length: 64 }, (_, n) => n + 1));
    const batches: number[] = [];
    for await (const { recordCount } of readBatches(store, "orders")) batches.push(recordCount);
    assert.deepEqual(batches, new Array(65).fill(1));
    assert.deepEqual(await valuesIn(store, "orders"), ["first", ...numberedText(0, 64)]);
  }, { fileSystem: disk.fs });
});

test("what other calls append in the turn stays in the order of the calls", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const places = await Promise.all([
      append(store, "orders", { value: "a" }),
      append(store, "orders", { value: "b" }, { ack: "os" }),
      append(store, "orders", { value: "c" }),
      append(store, "orders", { value: "d" }, { ack: "memory" }),
      append(store, "orders", { value: "e" }),
    ]);
    const [batch] = await appendBatch(store, "orders", [{ value: "f" }]);
    assert.deepEqual(places.map(({ offset }) => offset), [0, 1, 2, 3, 4]);
    assert.equal(batch!.baseOffset, 5);
    assert.deepEqual(await valuesIn(store, "orders"), ["a", "b", "c", "d", "e", "f"]);
  });
});

test("a serde that appends comes before the record that it is for", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const inner: Promise<RecordMetadata>[] = [];
    const value = {
      name: "chatty",
      serialize(text: string): Uint8Array {
        inner.push(append(store, "orders", { value: `before ${text}` }));
        return new TextEncoder().encode(text);
      },
      deserialize: (bytes: Uint8Array): string => new TextDecoder().decode(bytes),
    };
    const topic = { name: "orders", key: undefined, value } as unknown as Parameters<
      typeof append<string, string>
    >[1];
    const places = await Promise.all([
      append(store, topic, { value: "a" }),
      append(store, topic, { value: "b" }, { ack: "os" }),
    ]);
    assert.deepEqual(places.map(({ offset }) => offset), [1, 3]);
    assert.deepEqual((await Promise.all(inner)).map(({ offset }) => offset), [0, 2]);
    assert.deepEqual(await valuesIn(store, "orders"), ["before a", "a", "before b", "b"]);
  });
});

test("a full disk between two segments: those before are stored, those behind are told", async () => {
  const disk = faultyDisk();
  const options = { fileSystem: disk.fs, topicOverrides: { segmentBytes: 300 } };
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionMs: -1 });
    await append(store, "orders", { value: "first" });
    failNext(disk, { operation: "write", code: "ENOSPC", after: 1, path: "orders-0" });
    const results = await appendAll(store, 7);
    const offsets = offsetsIn(results);
    const storedCount = offsets.indexOf(undefined);
    assert.ok(storedCount > 0 && storedCount < 7, `${storedCount} of 7 are stored`);
    for (const [n, result] of results.entries()) {
      if (n < storedCount) assert.equal(offsets[n], n + 1);
      else assert.ok(result.status === "rejected" && isOttlaError(result.reason, "DISK_FULL"));
    }
    assert.equal(offsetsOf(store, "orders")[0]!.highWatermark, storedCount + 1);
    const { offset } = await append(store, "orders", { value: "behind" });
    assert.equal(offset, storedCount + 1);
    assert.deepEqual(await valuesIn(store, "orders"), [
      "first",
      ...numberedText(0, storedCount),
      "behind",
    ]);
  }, options);
});

test("a failed sync is told to all of them", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "first" });
  failNext(disk, { operation: "sync", code: "EIO", path: "orders-0" });
  const results = await appendAll(store, 3);
  for (const result of results) {
    assert.ok(result.status === "rejected" && isOttlaError(result.reason, "KAFKA_STORAGE_ERROR"));
  }
  await assert.rejects(closeStore(store));
});

test("flushing and closing take what the turn has appended so far", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  const first = append(store, "orders", { value: "v0" });
  const flushed = flush(store);
  const second = append(store, "orders", { value: "v1" });
  const closed = closeStore(store);
  const late = append(store, "orders", { value: "too late" });
  await assert.rejects(late, (error) => isOttlaError(error, "HANDLE_CLOSED"));
  assert.deepEqual([(await first).offset, (await second).offset], [0, 1]);
  await Promise.all([flushed, closed]);
  removeLocks(fs);
  const again = await openTestStore(fs);
  assert.deepEqual(await valuesIn(again, "orders"), ["v0", "v1"]);
  await closeStore(again);
});

test("a topic that is deleted before the turn ends says so", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const appended = append(store, "orders", { value: "v0" });
    const [outcome] = await Promise.allSettled([appended, deleteTopic(store, "orders")]);
    if (outcome.status === "fulfilled") assert.equal(outcome.value.offset, 0);
    else assert.ok(isOttlaError(outcome.reason, "UNKNOWN_TOPIC_OR_PARTITION"), outcome.reason);
  });
});

test("a signal ends the waiting of its own append only", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const controller = new AbortController();
    const stopped = append(store, "orders", { value: "v0" }, { signal: controller.signal });
    const other = append(store, "orders", { value: "v1" });
    controller.abort(new Error("enough"));
    await assert.rejects(stopped, { message: "enough" });
    assert.equal((await other).offset, 1);
    assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1"]);
  });
});

test("a turn that appends more than a megabyte writes in between", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "first" });
    resetCounts(disk);
    const value = new Uint8Array(15 * 1024);
    const places = await Promise.all(
      Array.from({ length: 100 }, () => append(store, "orders", { value })),
    );
    assert.deepEqual(places.map(({ offset }) => offset), places.map((_, n) => n + 1));
    assert.equal(disk.counts.write, 2, "one megabyte, and the rest");
  }, { fileSystem: disk.fs });
});
