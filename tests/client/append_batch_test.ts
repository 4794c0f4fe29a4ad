/**
 * Appending many records: order, batches, all or nothing, and code of the user's that interferes.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { AppendRecord } from "../../src/client/append.ts";
import { append, appendBatch } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { readBatches } from "../../src/client/read.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { compressionOfBatch, partitionLeaderEpochOf } from "../../src/record/batch_view.ts";
import { createTopic } from "../../src/store/topics.ts";
import type { Store } from "../../src/store/store.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { assertProperty } from "../support/properties.ts";
import {
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  recordsIn,
  textOf,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

/** What the batches of a partition look like: offsets, counts, sizes. */
async function batchesOf(
  store: Store,
  topic: string,
): Promise<{ baseOffset: number; lastOffset: number; sizeBytes: number; codec: string }[]> {
  const seen = [];
  for await (const batch of readBatches(store, topic, { partition: 0 })) {
    const { baseOffset, lastOffset, sizeBytes } = batch;
    assert.equal(partitionLeaderEpochOf(batch), 0);
    seen.push({ baseOffset, lastOffset, sizeBytes, codec: compressionOfBatch(batch) });
  }
  return seen;
}

test("the records of each partition lie one behind the other, in the order they were given", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    await append(store, "orders", { value: "before", partition: 1 });
    const records = numbered(0, 12).map((one, index) => ({ ...one, partition: (index * 7) % 3 }));
    const placed = await appendBatch(store, "orders", records);
    assert.deepEqual(
      placed.map((
        { topic, partition, baseOffset, lastOffset },
      ) => [topic, partition, baseOffset, lastOffset]),
      [["orders", 0, 0, 3], ["orders", 1, 1, 4], ["orders", 2, 0, 3]],
    );
    for (let partition = 0; partition < 3; partition++) {
      const wanted = records.filter((one) => one.partition === partition).map(({ value }) => value);
      const seen = await valuesIn(store, "orders", { partition });
      assert.deepEqual(seen.filter((value) => value !== "before"), wanted);
    }
  });
});

test("no records are no batch", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    assert.deepEqual(await appendBatch(store, "orders", []), []);
    assert.deepEqual(
      await appendBatch(store, "orders", new Set<AppendRecord>(), { ack: "disk" }),
      [],
    );
    assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 0);
  });
});

test("batches are as large as `maxMessageBytes` allows and no larger", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { maxMessageBytes: 61 + 5 * 9 });
    const [placed] = await appendBatch(
      store,
      "orders",
      numbered(0, 12).map(() => ({ value: "12" })),
    );
    assert.deepEqual([placed!.baseOffset, placed!.lastOffset], [0, 11]);
    assert.deepEqual(await batchesOf(store, "orders"), [
      { baseOffset: 0, lastOffset: 4, sizeBytes: 106, codec: "none" },
      { baseOffset: 5, lastOffset: 9, sizeBytes: 106, codec: "none" },
      { baseOffset: 10, lastOffset: 11, sizeBytes: 79, codec: "none" },
    ]);
  });
});

test("batches are no larger than a segment either", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { segmentBytes: 2 ** 20, maxMessageBytes: 2 ** 24 });
    const value = new Uint8Array(100_000);
    const [placed] = await appendBatch(
      store,
      "orders",
      Array.from({ length: 50 }, () => ({ value })),
    );
    assert.equal(placed!.lastOffset, 49);
    const sizes = (await batchesOf(store, "orders")).map(({ sizeBytes }) => sizeBytes);
    assert.ok(sizes.length >= 5 && sizes.every((size) => size <= 2 ** 20));
    const tooLarge = [{ value: "small" }, { value: new Uint8Array(2 ** 20) }];
    await assert.rejects(appendBatch(store, "orders", tooLarge), hasCode("RECORD_LIST_TOO_LARGE"));
    assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 50, "nothing of it was appended");
  });
});

for (const codec of ["gzip", "snappy", "lz4", "zstd"] as const) {
  test(`a topic's batches are compressed: ${codec}`, async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "orders", { compression: codec });
      const values = Array.from({ length: 500 }, (_, index) => `${index} `.repeat(20));
      await appendBatch(store, "orders", values.map((value) => ({ key: "k", value })));
      const [batch, ...others] = await batchesOf(store, "orders");
      assert.equal(others.length, 0);
      assert.equal(batch!.codec, codec);
      assert.ok(batch!.sizeBytes < values.join("").length / 3);
      assert.deepEqual(await valuesIn(store, "orders"), values);
      await append(store, "orders", { value: "after" });
      crashStore(store, fs);
      await withStore(async (reopened) => {
        assert.deepEqual(await valuesIn(reopened, "orders"), [...values, "after"]);
      }, { fileSystem: fs });
    });
  });
}

const badRecords: Readonly<
  Record<string, [unknown, ErrorCode | typeof TypeError | typeof RangeError]>
> = {
  "no record": [null, TypeError],
  "a text": ["record", TypeError],
  "a value that is an object": [{ value: { amount: 3 } }, TypeError],
  "a key that is a number": [{ key: 1, value: "v" }, TypeError],
  "headers that are none": [{ value: "v", headers: { a: "b" } }, TypeError],
  "a header without a key": [{ value: "v", headers: [{ value: "b" }] }, TypeError],
  "a header's value that is a number": [
    { value: "v", headers: [{ key: "a", value: 1 }] },
    TypeError,
  ],
  "a timestamp that is a text": [{ value: "v", timestamp: "now" }, TypeError],
  "a timestamp that is no number": [{ value: "v", timestamp: NaN }, RangeError],
  "a timestamp that is a Date without time": [{ value: "v", timestamp: new Date("x") }, RangeError],
  "a timestamp before -1": [{ value: "v", timestamp: -2 }, RangeError],
  "a timestamp too far ahead": [{ value: "v", timestamp: 2 ** 52 }, "INVALID_TIMESTAMP"],
  "a partition that is a text": [{ value: "v", partition: "0" }, TypeError],
  "a partition that is a name": [{ value: "v", partition: "length" }, TypeError],
  "a partition that is no whole number": [{ value: "v", partition: 0.5 }, TypeError],
  "a partition that is not there": [{ value: "v", partition: 2 }, "UNKNOWN_TOPIC_OR_PARTITION"],
  "a negative partition": [{ value: "v", partition: -1 }, "UNKNOWN_TOPIC_OR_PARTITION"],
  "a record that is too large": [{ value: "x".repeat(2000) }, "MESSAGE_TOO_LARGE"],
};

for (const [what, [bad, wanted]] of Object.entries(badRecords)) {
  test(`bad input in the middle appends nothing, and nothing of it shows up later: ${what}`, async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2, maxMessageBytes: 1000 });
      const good = (
        value: string,
      ): AppendRecord[] => [{ value, partition: 0 }, { value, partition: 1 }];
      const records = [...good("lost"), bad as AppendRecord, ...good("lost")];
      const isWanted = (error: unknown): boolean =>
        typeof wanted === "string" ? isOttlaError(error, wanted) : error instanceof wanted;
      await assert.rejects(appendBatch(store, "orders", records), isWanted);
      await assert.rejects(append(store, "orders", bad as AppendRecord), isWanted);
      assert.deepEqual(offsetsOf(store, "orders").map(({ endOffset }) => endOffset), [0, 0]);
      const placed = await appendBatch(store, "orders", good("kept"));
      assert.deepEqual(placed.map(({ lastOffset }) => lastOffset), [0, 0]);
      assert.deepEqual(await valuesIn(store, "orders"), ["kept", "kept"]);
    });
  });
}

test("a generator that throws appends nothing, and its error is the answer", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const mine = new Error("mine");
    function* records(): Generator<AppendRecord> {
      yield { value: "lost" };
      throw mine;
    }
    await assert.rejects(appendBatch(store, "orders", records()), (error) => error === mine);
    await appendBatch(store, "orders", [{ value: "kept" }]);
    assert.deepEqual(await valuesIn(store, "orders"), ["kept"]);
  });
});

test("a bad record ends the generator that gave it", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    let isEnded = false;
    function* records(): Generator<AppendRecord> {
      try {
        yield { value: 1 as unknown as string };
      } finally {
        isEnded = true;
      }
    }
    await assert.rejects(appendBatch(store, "orders", records()), TypeError);
    assert.ok(isEnded);
  });
});

test("a generator that appends to the same partitions in between loses nothing and mixes nothing up", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2, maxMessageBytes: 200 });
    const inner: Promise<unknown>[] = [];
    function* records(depth: number): Generator<AppendRecord> {
      for (let index = 0; index < 30; index++) {
        if (depth < 2 && index % 10 === 5) {
          inner.push(appendBatch(store, "orders", records(depth + 1), { ack: "os" }));
          inner.push(append(store, "orders", { value: "single", partition: index % 2 }));
        }
        yield { value: `${depth}:${index}`, partition: index % 2 };
      }
    }
    const outer = await appendBatch(store, "orders", records(0));
    await Promise.all(inner);
    for (let partition = 0; partition < 2; partition++) {
      const seen = await recordsIn(store, "orders", { partition });
      assert.deepEqual(seen.map(({ offset }) => offset), seen.map((_, index) => index));
      const { baseOffset, lastOffset } = outer[partition]!;
      const wanted = Array.from({ length: 15 }, (_, index) => `0:${2 * index + partition}`);
      const values = seen.map(({ value }) => textOf(value));
      assert.deepEqual(values.slice(baseOffset, lastOffset + 1), wanted);
    }
    assert.equal((await valuesIn(store, "orders")).length, 30 + 3 * 30 + 9 * 30 + 3 + 9);
  });
});

test("a partitioner that appends is no trouble either", async () => {
  await withStore(async (store) => {
    const inner: Promise<unknown>[] = [];
    await createTopic(store, "orders", {
      partitioner: (key) => {
        if (key !== null) inner.push(append(store, "orders", { value: "inner" }, { ack: "os" }));
        return 0;
      },
    });
    await appendBatch(store, "orders", [{ key: "a", value: "v0" }, { key: "b", value: "v1" }]);
    await Promise.all(inner);
    assert.deepEqual(await valuesIn(store, "orders"), ["inner", "inner", "v0", "v1"]);
  });
});

test("a disk that fails in between stores whole partitions, and says which failed", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    failNext(disk, {
      operation: "write",
      code: "ENOSPC",
      path: "orders-1/00000000000000000000.log",
    });
    const records = [0, 1, 2].flatMap((partition) =>
      numbered(0, 3).map((one) => ({ ...one, partition }))
    );
    await assert.rejects(appendBatch(store, "orders", records), (error) => {
      return isOttlaError(error, "DISK_FULL") && error.details.partition === 1;
    });
    await append(store, "orders", { value: "after", partition: 1 });
    assert.deepEqual(await valuesIn(store, "orders", { partition: 0 }), numberedText(0, 3));
    assert.deepEqual(await valuesIn(store, "orders", { partition: 1 }), ["after"]);
  }, { fileSystem: disk.fs });
});

test("whatever is appended in whatever batches is read back in order, after a crash too", async () => {
  const call = fc.array(
    fc.record({
      key: fc.option(fc.oneof(fc.string(), fc.uint8Array()), { nil: null }),
      value: fc.option(fc.oneof(fc.string(), fc.uint8Array({ maxLength: 300 })), { nil: null }),
      partition: fc.option(fc.integer({ min: 0, max: 2 }), { nil: undefined }),
    }),
    { maxLength: 12 },
  );
  const ack = fc.constantFrom("disk", "os", "memory");
  await assertProperty(
    fc.asyncProperty(fc.array(fc.tuple(call, ack), { maxLength: 8 }), async (calls) => {
      const options = { topicOverrides: { segmentBytes: 700, maxMessageBytes: 600 } };
      await withStore(async (store, fs) => {
        await createTopic(store, "orders", { partitions: 3 });
        let count = 0;
        for (const [records, level] of calls) {
          const placed = await appendBatch(store, "orders", records, { ack: level });
          for (const { baseOffset, lastOffset } of placed) count += lastOffset - baseOffset + 1;
        }
        const given = calls.flatMap(([records]) => records);
        assert.equal(count, given.length);
        const before = await recordsIn(store, "orders");
        const shown = (content: Uint8Array | string | null): string =>
          content === null
            ? "null"
            : `${typeof content === "string" ? new TextEncoder().encode(content) : content}`;
        assert.deepEqual(
          before.map(({ key, value }) => `${shown(key)}/${shown(value)}`).sort(),
          given.map(({ key, value }) => `${shown(key)}/${shown(value)}`).sort(),
        );
        crashStore(store, fs);
        const reopened = await openTestStore(fs, options);
        assert.deepEqual(await recordsIn(reopened, "orders"), before);
        crashStore(reopened, fs);
      }, options);
    }),
    { numRuns: 30 },
  );
});
