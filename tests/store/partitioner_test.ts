/** How records find their partition, by each partitioner. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { murmur2, toPositive } from "../../src/bytes/murmur2.ts";
import { loadXxh64, xxh64Partition } from "../../src/bytes/xxh64.ts";
import { append, appendBatch } from "../../src/client/append.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { Partitioner, PartitionerState } from "../../src/store/partitioner.ts";
import { choosePartition, partitionerNames } from "../../src/store/partitioner.ts";
import { alterTopic, createPartitions, createTopic } from "../../src/store/topics.ts";
import { assertProperty } from "../support/properties.ts";
import { withStore } from "../support/store_fixture.ts";

const utf8 = new TextEncoder();
const zeros = (count: number): Uint8Array => new Uint8Array(count);

function newState(): PartitionerState {
  return { partition: -1, bytes: 0 };
}

test("murmur2 agrees with Kafka's vectors, text and bytes alike", () => {
  // The vectors of Kafka's own tests.
  const vectors: Readonly<Record<string, number>> = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
    "": 275646681,
    "key-1": 193331640,
  };
  for (const [key, hash] of Object.entries(vectors)) {
    assert.equal(murmur2(utf8.encode(key)), hash);
    for (const count of [2, 3, 50, 10_000]) {
      const wanted = (hash & 0x7fffffff) % count;
      for (const form of [key, utf8.encode(key)]) {
        assert.equal(choosePartition("murmur2", newState(), form, null, count, zeros), wanted);
      }
    }
  }
});

test("every partitioner that has a name gives a partition of the topic", async () => {
  await loadXxh64();
  assertProperty(fc.property(
    fc.constantFrom(...partitionerNames),
    fc.integer({ min: 1, max: 10_000 }),
    fc.array(fc.option(fc.oneof(fc.string(), fc.uint8Array())), { minLength: 1 }),
    fc.infiniteStream(fc.uint8Array({ minLength: 4, maxLength: 4 })),
    (partitioner, count, keys, random) => {
      const state = newState();
      for (const key of keys) {
        const draw = (): Uint8Array => random.next().value;
        const chosen = choosePartition(partitioner, state, key, key, count, draw);
        assert.ok(Number.isInteger(chosen) && chosen >= 0 && chosen < count);
      }
    },
  ));
});

test("a hash of the key does not depend on the form of the key or what came before", async () => {
  await loadXxh64();
  assertProperty(
    fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 2, max: 99 }), (key, count) => {
      const bytes = utf8.encode(key);
      for (const partitioner of ["xxh64", "murmur2"] as const) {
        const state = newState();
        const first = choosePartition(partitioner, state, key, "v", count, zeros);
        choosePartition(partitioner, state, null, "v", count, zeros);
        assert.equal(choosePartition(partitioner, state, bytes, null, count, zeros), first);
        const hashed = partitioner === "murmur2"
          ? toPositive(murmur2(bytes)) % count
          : xxh64Partition(bytes, count);
        assert.equal(first, hashed);
      }
    }),
  );
});

test("round robin goes around, whatever the keys are", () => {
  const state = newState();
  const chosen = [1, 2, 3, 4, 5].map(() =>
    choosePartition("roundRobin", state, "same", null, 3, zeros)
  );
  assert.deepEqual(chosen, [0, 1, 2, 0, 1]);
});

test("sticky stays for 16 KiB and then goes to another partition", () => {
  const state = newState();
  const kilobyte = new Uint8Array(1024);
  const random = (count: number): Uint8Array => new Uint8Array(count).fill(0);
  const chosen = Array.from(
    { length: 64 },
    () => choosePartition("sticky", state, null, kilobyte, 3, random),
  );
  const runs: number[][] = [];
  for (const partition of chosen) {
    if (runs.at(-1)?.[0] === partition) runs.at(-1)!.push(partition);
    else runs.push([partition]);
  }
  assert.deepEqual(runs.map((run) => run.length), [16, 16, 16, 16]);
  assert.deepEqual(runs.map(([partition]) => partition), [0, 1, 2, 0]);
});

test("sticky and records without a key spread over all partitions", async () => {
  for (const partitioner of ["sticky", "xxh64", "murmur2"] as const) {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 4, partitioner });
      const value = new Uint8Array(2000);
      for (let index = 0; index < 400; index++) {
        await append(store, "orders", { value }, { ack: "os" });
      }
      const batches = await appendBatch(
        store,
        "orders",
        Array.from({ length: 400 }, () => ({ value })),
      );
      assert.deepEqual(batches.map(({ partition }) => partition), [0, 1, 2, 3], partitioner);
    });
  }
});

test("randomness may come as a view into a larger buffer", () => {
  const pool = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
  const state = newState();
  const random = (count: number): Uint8Array => pool.subarray(8, 8 + count);
  assert.equal(choosePartition("sticky", state, null, null, 5, random), 2);
});

test("a key comes to the same partition after the store was opened again", async () => {
  const fs = memoryFileSystem();
  const keys = Array.from({ length: 50 }, (_, index) => `key-${index}`);
  const placesOf = async (): Promise<number[]> => {
    const places: number[] = [];
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 7, ifNotExists: true });
      for (const key of keys) {
        places.push((await append(store, "orders", { key, value: "v" }, { ack: "os" })).partition);
      }
    }, { fileSystem: fs });
    return places;
  };
  const before = await placesOf();
  assert.deepEqual(await placesOf(), before);
  assert.ok(new Set(before).size > 3);
});

test("a function gets the bytes of the key and the present number of partitions", async () => {
  const calls: [string | null, number][] = [];
  const partitioner: Partitioner = (key, count) => {
    calls.push([key === null ? null : new TextDecoder().decode(key), count]);
    return count - 1;
  };
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2, partitioner });
    assert.equal((await append(store, "orders", { key: "k", value: "v" })).partition, 1);
    await createPartitions(store, "orders", 5);
    assert.equal((await append(store, "orders", { value: "v" })).partition, 4);
    assert.equal(
      (await append(store, "orders", { key: "k", value: "v", partition: 0 })).partition,
      0,
    );
    assert.deepEqual(calls, [["k", 2], [null, 5]]);
  });
});

test("a function that gives no partition of the topic appends nothing", async () => {
  const answers: readonly unknown[] = [
    -1,
    2,
    0.5,
    NaN,
    Infinity,
    "0",
    null,
    undefined,
    Promise.resolve(0),
  ];
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    for (const answer of answers) {
      await alterTopic(store, "orders", { partitioner: () => answer as number });
      await assert.rejects(
        appendBatch(store, "orders", [{ value: "v0", partition: 0 }, { value: "v1" }]),
        (error) => error instanceof RangeError && error.message.includes("a partition from 0 to 1"),
        String(answer),
      );
    }
    const thrown = new Error("mine");
    await alterTopic(store, "orders", {
      partitioner: () => {
        throw thrown;
      },
    });
    await assert.rejects(append(store, "orders", { value: "v" }), (error) => error === thrown);
    assert.equal((await append(store, "orders", { value: "v", partition: 0 })).offset, 0);
  });
});
