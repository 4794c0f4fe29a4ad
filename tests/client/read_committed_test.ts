/** Reading what was committed, as users do: once, live, as a consumer, and what a broker wrote. */

import assert from "node:assert/strict";
import { describe, it, test } from "node:test";

import { append } from "../../src/client/append.ts";
import { closeConsumer, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import { positionOf, seek } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { read, readBatches } from "../../src/client/read.ts";
import type { ReadOptions } from "../../src/client/read_options.ts";
import type { Log } from "../../src/log/log.ts";
import { rollLog } from "../../src/log/log.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { isControlBatch } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import { segmentPath } from "../support/log_fixture.ts";
import { endTransaction, produce } from "../support/produced.ts";
import {
  copyFolder,
  crashStore,
  recordsIn,
  settled,
  storeFolder,
  textOf,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

const committed = { isolation: "readCommitted" } as const;

function logIn(store: Store, partition = 0, topic = "orders"): Log {
  const internals = internalsOf(store);
  const state = internals.topics.get(topic)!;
  return logOf(internals, state, state.partitions[partition]!);
}

/** One transactional record with its offset in its value. */
function send(log: Log, producerId: number, size = 0): void {
  const batches = log.producers.byId.get(producerId)?.batches ?? [];
  const values = [`${producerId}@${log.endOffset}${".".repeat(size)}`];
  produce(log, (batches.at(-1)?.lastSequence ?? -1) + 1, {
    producerId,
    values,
    transactional: true,
  });
}

function end(log: Log, producerId: number, type: "commit" | "abort"): void {
  endTransaction(log, type, { producerId });
}

/** Two transactions, one of them aborted, and one that is open. */
async function fill(store: Store): Promise<Log> {
  await createTopic(store, "orders");
  const log = logIn(store);
  await append(store, "orders", { value: "plain@0" }, { ack: "os" });
  send(log, 1);
  send(log, 2);
  rollLog(log);
  send(log, 1);
  end(log, 1, "abort");
  end(log, 2, "commit");
  await append(store, "orders", { value: "plain@6" }, { ack: "os" });
  send(log, 3);
  await append(store, "orders", { value: "plain@8" }, { ack: "os" });
  return log;
}

const all = ["plain@0", "1@1", "2@2", "1@3", "plain@6", "3@7", "plain@8"];
const decided = ["plain@0", "2@2", "plain@6"];

async function basesOf(store: Store, options: ReadOptions): Promise<number[]> {
  const bases: number[] = [];
  for await (const batch of readBatches(store, "orders", options)) bases.push(batch.baseOffset);
  return bases;
}

describe("read and readBatches", () => {
  for (const kind of ["disk", "memory"] as const) {
    it(`give what was committed if that is asked for (${kind})`, async () => {
      await withFolder(async (folder) => {
        const fs = kind === "disk" ? diskFileSystem() : memoryFileSystem();
        const path = kind === "disk" ? `${folder}/store` : storeFolder;
        const check = async (store: Store): Promise<void> => {
          assert.deepEqual(await valuesIn(store, "orders"), all);
          assert.deepEqual(
            await valuesIn(store, "orders", { isolation: "readUncommitted" }),
            all,
          );
          assert.deepEqual(await valuesIn(store, "orders", committed), decided);
          assert.deepEqual(await basesOf(store, committed), [0, 2, 6]);
          assert.deepEqual(await basesOf(store, {}), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        };
        let store = await openStore(path, { fileSystem: fs });
        await fill(store);
        await check(store);
        await closeStore(store);
        store = await openStore(path, { fileSystem: fs });
        await check(store);
        if (kind === "memory") {
          crashStore(store, fs);
          fs.remove(segmentPath(3, "txnindex"));
          store = await openStore(path, { fileSystem: fs });
          await check(store);
        }
        end(logIn(store), 3, "commit");
        assert.deepEqual(await valuesIn(store, "orders", committed), [
          ...decided,
          "3@7",
          "plain@8",
        ]);
        await closeStore(store);
      });
    });
  }

  it("begin and end where they are told", async () => {
    await withStore(async (store) => {
      await fill(store);
      const values = (options: ReadOptions): Promise<string[]> =>
        valuesIn(store, "orders", { ...committed, ...options });
      assert.deepEqual(await values({ from: 1 }), ["2@2", "plain@6"]);
      assert.deepEqual(await values({ from: 3 }), ["plain@6"]);
      assert.deepEqual(await values({ from: 8 }), []);
      assert.deepEqual(await values({ to: 6 }), ["plain@0", "2@2"]);
      assert.deepEqual(await values({ limit: 2 }), ["plain@0", "2@2"]);
      assert.deepEqual(await values({ from: "latest" }), []);
      assert.throws(() => read(store, "orders", { ...committed, from: 10 }));
      const { lastStableOffset, highWatermark } = offsetsOf(store, "orders")[0]!;
      assert.deepEqual([lastStableOffset, highWatermark], [7, 9]);
    });
  });

  it("refuse a level that there is not", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      for (const isolation of ["read_committed", 1, null, "serializable"]) {
        const options = { isolation } as unknown as ReadOptions;
        for (const reading of [read, readBatches]) {
          assert.throws(() => reading(store, "orders", options), { name: "TypeError" });
        }
        await assert.rejects(
          openConsumer(store, {
            partitions: [{ topic: "orders", partition: 0 }],
            ...options,
          }),
          { name: "TypeError", message: /^isolation must be/ },
        );
      }
    });
  });

  it("go through a log whose beginning was deleted in the middle of a transaction", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      await deleteRecords(store, "orders", 0, 3);
      assert.deepEqual(await valuesIn(store, "orders", committed), ["plain@6"]);
      await deleteRecords(store, "orders", 0, 8);
      assert.deepEqual(await valuesIn(store, "orders", committed), []);
      end(log, 3, "abort");
      assert.deepEqual(await valuesIn(store, "orders", committed), ["plain@8"]);
    });
  });

  it("read one partition after the other, also where a marker is far ahead", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      for (const partition of [0, 1]) {
        const log = logIn(store, partition);
        send(log, 1);
        for (let count = 0; count < 12; count++) send(log, 2, 900_000);
        end(log, 2, "abort");
        end(log, 1, "commit");
      }
      for (const live of [false, true]) {
        const partitions: number[] = [];
        for await (
          const { partition } of read(store, "orders", { ...committed, live, limit: 2 })
        ) partitions.push(partition);
        assert.deepEqual(partitions.sort(), [0, 1]);
      }
      assert.deepEqual(
        (await recordsIn(store, "orders", committed)).map(({ partition }) => partition),
        [0, 1],
      );
    });
  });
});

describe("a live reader", () => {
  it("waits until the marker can be seen", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      const reader = read(store, "orders", { ...committed, live: true });
      for (const value of decided) assert.equal(textOf((await reader.next()).value!.value), value);
      let isThere = false;
      const next = reader.next();
      void next.then(() => void (isThere = true));
      await append(store, "orders", { value: "plain@9" });
      await settled();
      assert.equal(isThere, false);
      const marker = endTransaction(log, "commit", { producerId: 3, ack: "disk" });
      assert.equal(textOf((await next).value!.value), "3@7");
      await marker.done;
      assert.equal(textOf((await reader.next()).value!.value), "plain@8");
      assert.equal(textOf((await reader.next()).value!.value), "plain@9");
      const later = reader.next();
      send(log, 1);
      await settled();
      end(log, 1, "abort");
      await append(store, "orders", { value: "plain@13" });
      assert.equal(textOf((await later).value!.value), "plain@13");
      await reader.return!();
    });
  });

  it("begins at the last stable offset if told to begin with the latest", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      const reader = read(store, "orders", { ...committed, live: true, from: "latest" });
      end(log, 3, "commit");
      assert.equal((await reader.next()).value!.offset, 7);
      await reader.return!();
    });
  });

  it("has its signal and its end heard while it looks ahead", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const log = logIn(store);
      send(log, 1);
      for (let count = 0; count < 12; count++) send(log, 2, 900_000);
      end(log, 1, "commit");
      end(log, 2, "commit");
      const reader = read(store, "orders", { ...committed, live: true });
      const first = reader.next();
      await reader.return!();
      assert.equal((await first).done, true);
      const controller = new AbortController();
      const other = read(store, "orders", { ...committed, signal: controller.signal });
      const failing = other.next();
      controller.abort(new Error("enough"));
      await assert.rejects(failing, { message: "enough" });
    });
  });
});

describe("a consumer of what was committed", () => {
  const now = { waitMs: 0 };

  function consumer(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
    return openConsumer(store, {
      groupId: "billing",
      topics: ["orders"],
      autoOffsetReset: "earliest",
      ...committed,
      ...options,
    });
  }

  async function polled(from: Consumer): Promise<string[]> {
    return (await poll(from, now)).map(({ value }) => textOf(value));
  }

  it("sees what was committed, waits for the rest, and commits up to where it has come", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      const first = await consumer(store);
      assert.deepEqual(await polled(first), decided);
      assert.equal(positionOf(first, "orders", 0), 7);
      assert.deepEqual(await polled(first), []);
      const waiting = poll(first, { waitMs: 60_000 });
      await settled();
      end(log, 3, "abort");
      assert.deepEqual((await waiting).map(({ value }) => textOf(value)), ["plain@8"]);
      assert.deepEqual(await polled(first), []);
      assert.equal(positionOf(first, "orders", 0), 10);
      await closeConsumer(first);
      send(log, 1);
      end(log, 1, "commit");
      const second = await consumer(store);
      assert.deepEqual(await polled(second), ["1@10"]);
    });
  });

  it("takes the last stable offset for the latest", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      const late = await consumer(store, { autoOffsetReset: "latest" });
      assert.equal(positionOf(late, "orders", 0), 7);
      const other = await consumer(store, {
        groupId: "other",
        autoOffsetReset: "latest",
        isolation: "readUncommitted",
      });
      assert.equal(positionOf(other, "orders", 0), 9);
      seek(late, "orders", 0, "earliest");
      assert.deepEqual(await polled(late), decided);
      seek(late, "orders", 0, "latest");
      assert.equal(positionOf(late, "orders", 0), 7);
      end(log, 3, "commit");
      assert.deepEqual(await polled(late), ["3@7", "plain@8"]);
      seek(other, "orders", 0, "latest");
      assert.equal(positionOf(other, "orders", 0), 10);
    });
  });

  it("keeps its position while it looks far ahead, and gets there", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const log = logIn(store);
      send(log, 1);
      for (let count = 0; count < 12; count++) send(log, 2, 900_000);
      end(log, 2, "abort");
      end(log, 1, "commit");
      const impatient = await consumer(store);
      assert.deepEqual(await polled(impatient), []);
      assert.equal(positionOf(impatient, "orders", 0), 0);
      await closeConsumer(impatient);
      const patient = await consumer(store);
      const records = await poll(patient, { waitMs: 60_000 });
      assert.deepEqual(records.map(({ value }) => textOf(value)), ["1@0"]);
      const polling = poll(patient, { waitMs: 60_000, signal: AbortSignal.abort(new Error("x")) });
      await assert.rejects(polling, { message: "x" });
      assert.equal(positionOf(patient, "orders", 0), log.endOffset);
    });
  });

  it("iterates over what was committed", async () => {
    await withStore(async (store) => {
      const log = await fill(store);
      end(log, 3, "commit");
      const values: string[] = [];
      for await (const { value } of await consumer(store)) {
        if (values.push(textOf(value)) === 5) break;
      }
      assert.deepEqual(values, [...decided, "3@7", "plain@8"]);
    });
  });
});

for (const name of ["static_4_0", "standalone_4_1"]) {
  test(`what a broker's producers committed is read, and nothing else: ${name}`, async () => {
    const fs: FileSystem = memoryFileSystem();
    copyFolder(diskFileSystem(), `tests/fixtures/kafka_4_1_1/${name}`, fs);
    await withStore(async (store) => {
      const everything = await recordsIn(store, "transactions");
      const offsets = new Set<number>();
      const markers: string[] = [];
      for await (const batch of readBatches(store, "transactions")) {
        if (!isControlBatch(batch)) continue;
        for (const { key } of recordsOf(batch)) markers.push(`${batch.baseOffset}:${key![3]}`);
      }
      for (const { offset } of await recordsIn(store, "transactions", committed)) {
        offsets.add(offset);
      }
      assert.ok(markers.length >= 3, "two were committed and one was aborted");
      assert.equal(markers.filter((marker) => marker.endsWith(":0")).length, 1);
      const aborted = everything.filter(({ offset }) => !offsets.has(offset));
      assert.ok(aborted.length > 0 && aborted.length < everything.length);
      const marker = Number(markers.find((one) => one.endsWith(":0"))!.split(":")[0]);
      const before = markers.map((one) => Number(one.split(":")[0])).filter((at) => at < marker);
      const first = Math.max(-1, ...before) + 1;
      assert.deepEqual(
        aborted.map(({ offset }) => offset),
        everything.map(({ offset }) => offset).filter((at) => at >= first && at < marker),
      );
      const stored = offsetsOf(store, "transactions")[0]!;
      assert.equal(stored.lastStableOffset, stored.endOffset);
    }, { fileSystem: fs });
  });

  test(`a transaction index is made anew as the broker made it: ${name}`, async () => {
    const fs: FileSystem = memoryFileSystem();
    copyFolder(diskFileSystem(), `tests/fixtures/kafka_4_1_1/${name}`, fs);
    const folder = joinPath(storeFolder, "transactions-0");
    const path = segmentPath(0, "txnindex", folder);
    const bytes = readFile(fs, path)!;
    assert.equal(bytes.length, 34);
    for (const { name: file } of fs.list(folder)) {
      // All of the log is recovered then.
      const isGone = file.endsWith(".txnindex") || file.endsWith(".snapshot");
      if (isGone) fs.remove(joinPath(folder, file));
    }
    fs.remove(joinPath(storeFolder, ".kafka_cleanshutdown"));
    fs.remove(joinPath(storeFolder, "recovery-point-offset-checkpoint"));
    await withStore((store) => {
      assert.deepEqual(readFile(fs, path), bytes);
      const { lastStableOffset, endOffset } = offsetsOf(store, "transactions")[0]!;
      assert.equal(lastStableOffset, endOffset);
      return Promise.resolve();
    }, { fileSystem: fs });
    assert.deepEqual(readFile(fs, path), bytes);
  });
}
