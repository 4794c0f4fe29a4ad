/** Reading what is there: from where to where, how much, and what is said about damage. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { append, appendBatch } from "../../src/client/append.ts";
import { read, readBatches } from "../../src/client/read.ts";
import type { ReadGap, ReadOptions } from "../../src/client/read_options.ts";
import { topicOf } from "../../src/client/topic.ts";
import { json } from "../../src/client/serde.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import { forEachRecord, valueOf } from "../../src/record/record_reader.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic, deleteRecords, deleteTopic } from "../../src/store/topics.ts";
import { flipByte, manualClock, writeBytes } from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";
import {
  numbered,
  numberedText,
  openTestStore,
  recordsIn,
  storeFolder,
  textOf,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

/** Thirty records at times 1000, 1010 and so on, in batches of five. */
async function fill(store: Store): Promise<void> {
  await createTopic(store, "orders", { retentionMs: -1 });
  for (let start = 0; start < 30; start += 5) {
    const records = numbered(start, start + 5).map((one, index) => ({
      ...one,
      timestamp: 1000 + 10 * (start + index),
    }));
    await appendBatch(store, "orders", records);
  }
}

const stretches: readonly (readonly [ReadOptions, number, number])[] = [
  [{}, 0, 30],
  [{ from: "earliest" }, 0, 30],
  [{ from: "latest" }, 30, 30],
  [{ from: 0 }, 0, 30],
  [{ from: 7 }, 7, 30],
  [{ from: 10, to: 10 }, 10, 10],
  [{ from: 12, to: 5 }, 12, 12],
  [{ from: 7, to: 13 }, 7, 13],
  [{ to: 5 }, 0, 5],
  [{ to: 1000 }, 0, 30],
  [{ from: 30 }, 30, 30],
  [{ from: new Date(1000) }, 0, 30],
  [{ from: new Date(1071) }, 8, 30],
  [{ from: new Date(1070) }, 7, 30],
  [{ from: new Date(5000) }, 30, 30],
  [{ to: new Date(1071) }, 0, 8],
  [{ to: new Date(0) }, 0, 0],
  [{ from: new Date(1020), to: new Date(1040) }, 2, 4],
  [{ limit: 0 }, 0, 0],
  [{ limit: 1 }, 0, 1],
  [{ limit: 7, from: 3 }, 3, 10],
  [{ limit: Infinity, partition: 0 }, 0, 30],
  [{ limit: 100 }, 0, 30],
];

test("reading begins and ends where it is asked to", async () => {
  await withStore(async (store) => {
    await fill(store);
    for (const [options, start, end] of stretches) {
      const seen = await recordsIn(store, "orders", options);
      const what = JSON.stringify(options);
      assert.deepEqual(
        seen.map(({ offset }) => offset),
        numbered(start, end).map((_, index) => start + index),
        what,
      );
      assert.deepEqual(seen.map(({ value }) => textOf(value)), numberedText(start, end), what);
    }
  });
});

test("batches are given whole, those that hold the first and the last offset too", async () => {
  await withStore(async (store) => {
    await fill(store);
    const basesOf = async (options: ReadOptions): Promise<number[]> => {
      const bases: number[] = [];
      for await (const batch of readBatches(store, "orders", options)) bases.push(batch.baseOffset);
      return bases;
    };
    assert.deepEqual(await basesOf({}), [0, 5, 10, 15, 20, 25]);
    assert.deepEqual(await basesOf({ from: 7, to: 12 }), [5, 10]);
    assert.deepEqual(await basesOf({ from: 5, to: 10 }), [5]);
    assert.deepEqual(await basesOf({ limit: 2 }), [0, 5]);
    assert.deepEqual(await basesOf({ limit: 0 }), []);
    assert.deepEqual(await basesOf({ from: "latest" }), []);
  });
});

test("a view is true until the next step, and its records can be visited", async () => {
  await withStore(async (store) => {
    await fill(store);
    const values: string[] = [];
    for await (const batch of readBatches(store, "orders")) {
      forEachRecord(batch, (record) => values.push(textOf(valueOf(record))));
    }
    assert.deepEqual(values, numberedText(0, 30));
  });
});

test("the bytes of a record stay what they were when the reader has moved on", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const values = Array.from({ length: 300 }, (_, index) => `${index}:`.padEnd(3000, "x"));
    for (const value of values) await append(store, "orders", { value }, { ack: "os" });
    const records = await recordsIn(store, "orders");
    assert.deepEqual(records.map(({ value }) => textOf(value)), values);
  });
});

test("several partitions are read one after the other, or one alone", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    for (const partition of [2, 0, 1, 2]) {
      await append(store, "orders", { value: `p${partition}`, partition });
    }
    assert.deepEqual(await valuesIn(store, "orders"), ["p0", "p1", "p2", "p2"]);
    assert.deepEqual(await valuesIn(store, "orders", { partition: 2 }), ["p2", "p2"]);
    assert.deepEqual(await valuesIn(store, "orders", { limit: 3 }), ["p0", "p1", "p2"]);
    assert.throws(() => read(store, "orders", { from: 2 }), hasCode("OFFSET_OUT_OF_RANGE"));
  });
});

test("an end is where the log ended when reading began", async () => {
  await withStore(async (store) => {
    await fill(store);
    const seen: string[] = [];
    for await (const { value } of read(store, "orders")) {
      if (seen.length < 10) await append(store, "orders", { value: "later" });
      seen.push(textOf(value));
    }
    assert.deepEqual(seen, numberedText(0, 30));
  });
});

test("an offset that the log does not have is an error at once", async () => {
  await withStore(async (store) => {
    await fill(store);
    await deleteRecords(store, "orders", 0, 7);
    for (const from of [31, 6, 0]) {
      assert.throws(() => read(store, "orders", { from }), (error) => {
        return isOttlaError(error, "OFFSET_OUT_OF_RANGE") && error.kafkaCode === 1 &&
          error.details.offset === from && error.details.startOffset === 7;
      });
      assert.throws(() => readBatches(store, "orders", { from }), hasCode("OFFSET_OUT_OF_RANGE"));
    }
    assert.deepEqual(await valuesIn(store, "orders"), numberedText(7, 30));
  });
});

test("a slow reader is told when what comes next was deleted", async () => {
  await withStore(async (store) => {
    await fill(store);
    const reader = readBatches(store, "orders");
    assert.equal((await reader.next()).value!.baseOffset, 0);
    await deleteRecords(store, "orders", 0, 12);
    await assert.rejects(reader.next(), hasCode("OFFSET_OUT_OF_RANGE"));
    assert.deepEqual(await reader.next(), { done: true, value: undefined });
  });
});

test("a slow reader is told when retention has taken what comes next", async () => {
  const clock = manualClock(1_750_000_000_000);
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionMs: 1000 });
    for (let number = 0; number < 20; number++) {
      await append(store, "orders", { value: `v${number}` });
    }
    const reader = read(store, "orders");
    assert.equal((await reader.next()).value!.offset, 0);
    clock.nowMs += 5000;
    assert.ok((await enforceRetention(store)).removedSegments > 5);
    await assert.rejects(reader.next(), hasCode("OFFSET_OUT_OF_RANGE"));
  }, { clock, topicOverrides: { segmentBytes: 200 } });
});

test("a reader of a topic that is deleted is told", async () => {
  await withStore(async (store) => {
    await fill(store);
    const reader = readBatches(store, "orders");
    await reader.next();
    await deleteTopic(store, "orders");
    await assert.rejects(reader.next(), hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
  });
});

test("leaving a loop ends the reading", async () => {
  await withStore(async (store) => {
    await fill(store);
    const reader = read(store, "orders");
    for await (const { offset } of reader) if (offset === 3) break;
    assert.deepEqual(await reader.next(), { done: true, value: undefined });
    assert.equal(reader[Symbol.asyncIterator](), reader);
  });
});

test("a signal ends the reading with its reason", async () => {
  await withStore(async (store) => {
    await fill(store);
    for (const reading of [read, readBatches]) {
      const controller = new AbortController();
      const reader = reading(store, "orders", { signal: controller.signal });
      await reader.next();
      controller.abort(new Error("enough"));
      await assert.rejects(reader.next(), /enough/);
      assert.deepEqual(await reader.next(), { done: true, value: undefined });
    }
  });
});

test("calls of next() that do not wait for each other get every record once, in order", async () => {
  await withStore(async (store) => {
    await fill(store);
    const reader = read(store, "orders");
    const results = await Promise.all(Array.from({ length: 35 }, () => reader.next()));
    assert.deepEqual(
      results.slice(0, 30).map(({ value }) => textOf(value!.value)),
      numberedText(0, 30),
    );
    assert.ok(results.slice(30).every(({ done }) => done));
  });
});

test("an error of a serde is the reader's, and ends the reading", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "{" });
    await append(store, "orders", { value: "{}" });
    const reader = read(store, topicOf<null, unknown>("orders", { value: json() }));
    await assert.rejects(reader.next(), SyntaxError);
    assert.deepEqual(await reader.next(), { done: true, value: undefined });
  });
});

const dataFile = joinPath(storeFolder, "orders-0/00000000000000000000.log");

/** Thirty records of which the second batch, 5 to 9, is damaged. */
async function damagedStore(): Promise<{ store: Store; fs: FileSystem }> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await fill(store);
  await closeStore(store);
  const sizeBytes = fs.stat(dataFile)!.sizeBytes / 6;
  // A value of the second batch: the sizes of the batches differ by a few bytes.
  flipByte(fs, dataFile, Math.floor(sizeBytes * 1.6));
  return { store: await openTestStore(fs), fs };
}

test("damage is an error that names what is lost", async () => {
  const { store } = await damagedStore();
  for (const reading of [read, readBatches]) {
    const run = async (): Promise<void> => {
      for await (const _ of reading(store, "orders"));
    };
    await assert.rejects(run, (error) => {
      return isOttlaError(error, "CORRUPT_MESSAGE") && error.details.startOffset === 5 &&
        error.details.endOffset === 10;
    });
  }
  assert.deepEqual(await valuesIn(store, "orders", { to: 5 }), numberedText(0, 5));
  assert.deepEqual(await valuesIn(store, "orders", { from: 10 }), numberedText(10, 30));
  await closeStore(store);
});

test("who asks for gaps is told of them, and reads on behind", async () => {
  const { store } = await damagedStore();
  const gaps: ReadGap[] = [];
  const values = await valuesIn(store, "orders", { onGap: (gap) => gaps.push(gap) });
  assert.deepEqual(values, [...numberedText(0, 5), ...numberedText(10, 30)]);
  assert.deepEqual(
    gaps.map((
      { topic, partition, startOffset, endOffset },
    ) => [topic, partition, startOffset, endOffset]),
    [["orders", 0, 5, 10]],
  );
  assert.ok(isOttlaError(gaps[0]!.error, "CORRUPT_MESSAGE"));
  const mine = new Error("mine");
  const onGap = (): void => {
    throw mine;
  };
  await assert.rejects(valuesIn(store, "orders", { onGap }), (error) => error === mine);
  await closeStore(store);
});

test("a batch whose checksum is right and whose records are not is a gap too", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v0" });
  await closeStore(store);
  const builder = batchBuilder();
  appendRecord(builder, 0, null, "v1");
  // The length of the record: the batch ends within it.
  builder.bytes[builder.batchStart + 61] = 100;
  finishBatch(builder, { baseOffset: 1, partitionLeaderEpoch: 0 });
  writeBytes(fs, dataFile, builtBytes(builder));
  const reopened = await openTestStore(fs);
  await append(reopened, "orders", { value: "v2" });
  await assert.rejects(valuesIn(reopened, "orders"), (error) => {
    return isOttlaError(error, "CORRUPT_MESSAGE") && error.details.startOffset === 1 &&
      error.details.endOffset === 2;
  });
  const gaps: ReadGap[] = [];
  assert.deepEqual(await valuesIn(reopened, "orders", { onGap: (gap) => gaps.push(gap) }), [
    "v0",
    "v2",
  ]);
  assert.deepEqual(gaps.map(({ startOffset, endOffset }) => [startOffset, endOffset]), [[1, 2]]);
  await closeStore(reopened);
});

test("control batches are no records, and are batches", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v0" });
  await closeStore(store);
  const builder = batchBuilder();
  appendRecord(builder, 0, new Uint8Array([0, 0, 0, 1]), new Uint8Array(6));
  finishBatch(builder, {
    baseOffset: 1,
    partitionLeaderEpoch: 0,
    control: true,
    transactional: true,
    producerId: 1,
    producerEpoch: 0,
  });
  writeBytes(fs, dataFile, builtBytes(builder));
  const reopened = await openTestStore(fs);
  await append(reopened, "orders", { value: "v2" });
  assert.deepEqual((await recordsIn(reopened, "orders")).map(({ offset }) => offset), [0, 2]);
  const bases: number[] = [];
  for await (const batch of readBatches(reopened, "orders")) bases.push(batch.baseOffset);
  assert.deepEqual(bases, [0, 1, 2]);
  await closeStore(reopened);
});

test("any stretch of any log is read as it was written", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 });
  await assertProperty(
    fc.asyncProperty(sizes, fc.nat(), fc.nat(), fc.nat(20), async (batches, a, b, limit) => {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        let end = 0;
        for (const size of batches) {
          await appendBatch(store, "orders", numbered(end, end + size), { ack: "os" });
          end += size;
        }
        const from = a % (end + 1);
        const to = b % (end + 2);
        const values = await valuesIn(store, "orders", { from, to, limit });
        assert.deepEqual(
          values,
          numberedText(from, Math.max(from, Math.min(to, end))).slice(0, limit),
        );
      }, { topicOverrides: { segmentBytes: 300, indexIntervalBytes: 100 } });
    }),
    { numRuns: 40 },
  );
});
