/** Consumers where something goes wrong or comes in between: nothing is lost, missed or told twice. */

import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumedOffset } from "../../src/client/consumer_options.ts";
import { assign, assignmentOf, positionOf, seek } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { commitOffsets } from "../../src/client/groups.ts";
import { isOttlaError } from "../../src/errors.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { now, orders, polled, reader } from "../support/orders_reader.ts";
import {
  numbered,
  openTestStore,
  settableClock,
  settled,
  textOf,
  withStore,
} from "../support/store_fixture.ts";

const bills = { topic: "bills", partition: 0 };

describe("where a consumer begins", () => {
  it("is what was committed, though its log could not be opened at first", async () => {
    const disk = faultyDisk();
    let store = await openTestStore(disk.fs);
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 5));
    await commitOffsets(store, "billing", [{ ...orders, offset: 2 }]);
    await closeStore(store);
    store = await openTestStore(disk.fs);
    failNext(disk, { operation: "open", code: "EMFILE", path: "orders-0", times: 1000 });
    const consumer = await reader(store, { autoOffsetReset: "latest" });
    assert.equal(positionOf(consumer, "orders", 0), 2);
    await assert.rejects(poll(consumer, now), (error) => isOttlaError(error));
    healDisk(disk);
    assert.deepEqual(await polled(consumer), ["v2", "v3", "v4"]);
    await closeStore(store);
  });

  it("is once in a partition that is given twice", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 2));
      const consumer = await reader(store, { partitions: [orders, orders] });
      assert.deepEqual(assignmentOf(consumer), [orders]);
      assert.deepEqual(await polled(consumer), ["v0", "v1"]);
    });
  });

  const nonsense: readonly (readonly [string, unknown])[] = [
    ["nothing", undefined],
    ["a map", new Map()],
    ["null for an offset", [null]],
    ["a text", [{ ...orders, offset: "1" }]],
    ["no number", [{ ...orders, offset: NaN }]],
    ["a fraction", [{ ...orders, offset: 1.5 }]],
    ["a number below 0", [{ ...orders, offset: -1 }]],
    ["an offset without a topic", [{ partition: 0, offset: 1 }]],
  ];
  for (const [what, loaded] of nonsense) {
    it(`is nowhere if the offset store gives ${what}`, async () => {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        await appendBatch(store, "orders", numbered(0, 3));
        let given = loaded as readonly ConsumedOffset[];
        const offsetStore = { load: () => given, save() {} };
        await assert.rejects(
          reader(store, { offsetStore }),
          (error: Error) =>
            /^(Type|Range)Error$/.test(error.name) && /load\(\)/.test(error.message),
        );
        given = [{ ...bills, offset: 9 }, { ...orders, offset: 1 }, { ...orders, offset: 2 }];
        assert.deepEqual(await polled(await reader(store, { offsetStore })), ["v1", "v2"]);
        given = [{ ...orders, offset: 1_000_000 }];
        assert.deepEqual(await polled(await reader(store, { offsetStore })), ["v0", "v1", "v2"]);
      });
    });
  }
});

describe("a partition that cannot be read", () => {
  it("keeps no other from being read, and begins where it was when it can be again", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      const topics = ["a", "b", "c"];
      for (const topic of topics) {
        await createTopic(store, topic);
        await appendBatch(store, topic, numbered(0, 2));
      }
      const partitions = topics.map((topic) => ({ topic, partition: 0 }));
      const consumer = await reader(store, { partitions });
      failNext(disk, { operation: "read", code: "EIO", path: "/b-0/", times: 1000 });
      const seen: string[] = [];
      let failures = 0;
      for (let polls = 0; polls < 10; polls++) {
        try {
          const records = await poll(consumer, { ...now, recordsMax: 1 });
          seen.push(...records.map(({ topic, offset }) => `${topic} ${offset}`));
        } catch (error) {
          assert.ok(isOttlaError(error, "KAFKA_STORAGE_ERROR"));
          failures++;
        }
      }
      assert.deepEqual([seen.sort(), failures], [["a 0", "a 1", "c 0", "c 1"], 6]);
      healDisk(disk);
      assert.deepEqual(await polled(consumer), ["v0", "v1"]);
    }, { fileSystem: disk.fs });
  });
});

describe("a poll that waits", () => {
  it("is not kept by records that have no bytes", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await reader(store);
      const waiting = poll(consumer, { waitMs: Infinity });
      await settled();
      await append(store, "orders", { value: null });
      assert.equal((await waiting).length, 1);
    }, { clock: manualClock() });
  });

  it("is not kept for longer because the clock is set back", async () => {
    const clock = settableClock(10_000_000);
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await reader(store, { autoCommit: false });
      const waiting = poll(consumer, { waitMs: 10 });
      await settled();
      clock.nowMs -= 3_600_000;
      const moving = setInterval(() => clock.nowMs += 10, 1);
      assert.deepEqual(await waiting, []);
      clearInterval(moving);
    }, { clock });
  });

  it("sees partitions that are assigned while it loads the offsets of others", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await createTopic(store, "bills");
      await append(store, "bills", { value: "v0" });
      const loads: (() => void)[] = [];
      let isSlow = false;
      const consumer = await reader(store, {
        partitions: [],
        offsetStore: {
          load: () => isSlow ? new Promise((resolve) => loads.push(() => resolve([]))) : [],
          save() {},
        },
      });
      isSlow = true;
      const first = assign(consumer, [orders]);
      const waiting = poll(consumer, { waitMs: Infinity });
      await settled();
      const second = assign(consumer, [orders, bills]);
      await settled();
      for (const load of loads.splice(0, 2)) load();
      await settled();
      for (const load of loads.splice(0)) load();
      await Promise.all([first, second]);
      assert.equal((await waiting).length, 1);
    }, { clock: manualClock() });
  });

  it("for more bytes gives what it has when its group wants something", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      await append(store, "orders", { value: "v0", partition: 0 });
      const join = (): Promise<Consumer> =>
        openConsumer(store, { groupId: "g", topics: "orders", autoOffsetReset: "earliest" });
      const first = await join();
      const waiting = poll(first, { waitMs: Infinity, bytesMin: 1000 });
      await settled();
      const second = await join();
      assert.equal((await waiting).length, 1);
      await poll(first, now);
      await poll(second, now);
      assert.deepEqual([assignmentOf(first).length, assignmentOf(second).length], [1, 1]);
    }, { clock: manualClock() });
  });

  it("goes on where a seek has said while offsets were loaded", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 5));
      let load = (): void => {};
      const consumer = await reader(store, {
        partitions: [],
        offsetStore: {
          load: () => new Promise((resolve) => load = () => resolve([{ ...orders, offset: 1 }])),
          save() {},
        },
      });
      const assigning = assign(consumer, [orders]);
      await settled();
      seek(consumer, "orders", 0, 3);
      load();
      await assigning;
      assert.deepEqual(await polled(consumer), ["v3", "v4"]);
    });
  });

  it("gives what is there in a topic that was made anew", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      const consumer = await reader(store, { autoOffsetReset: "latest" });
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      await append(store, "orders", { value: "new" });
      const records = await poll(consumer, { waitMs: Infinity });
      assert.deepEqual(records.map(({ value }) => textOf(value)), ["new"]);
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      assert.throws(
        () => seek(consumer, "orders", 0, 9),
        (error) => isOttlaError(error, "OFFSET_OUT_OF_RANGE"),
      );
      assert.deepEqual(await polled(consumer), ["v0", "v1", "v2"]);
    }, { clock: manualClock() });
  });

  it("by looking again and again leaves turns to others", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await reader(store);
      let isDue = false;
      setImmediate(() => isDue = true);
      for (let polls = 0; polls < 1000 && !isDue; polls++) await poll(consumer, now);
      assert.equal(isDue, true);
    });
  });
});

describe("saves in an offset store", () => {
  it("come one behind the other, and those by themselves do not pile up", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 100));
      const saves: { readonly offset: number; readonly end: () => void }[] = [];
      const consumer = await reader(store, {
        autoCommitIntervalMs: 1000,
        offsetStore: {
          load: () => [],
          save: ([first]) =>
            new Promise<void>((resolve) => saves.push({ offset: first!.offset, end: resolve })),
        },
      });
      for (let times = 0; times < 20; times++) {
        await poll(consumer, { waitMs: 0, recordsMax: 1 });
        await clock.advance(1000);
        await settled();
      }
      assert.deepEqual(saves.map(({ offset }) => offset), [1]);
      const closing = closeConsumer(consumer);
      await settled();
      assert.equal(saves.length, 1);
      saves[0]!.end();
      await settled();
      assert.deepEqual(saves.map(({ offset }) => offset), [1, 20]);
      saves[1]!.end();
      await closing;
    }, { clock });
  });
});

describe("closing", () => {
  it("that a listener waits for is not waited for in silence", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      let go = (): void => {};
      const consumer: Consumer = await openConsumer(store, {
        groupId: "billing",
        topics: ["orders"],
        onRevoked: () =>
          new Promise((resolve) => {
            void closeConsumer(consumer).then(resolve);
            go = resolve;
          }),
      });
      const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
      const closing = closeConsumer(consumer);
      await settled();
      await clock.advance(30_000);
      const { name, message } = await warned;
      assert.equal(name, "OttlaWarning");
      assert.match(message, /^closeConsumer has waited 30 seconds for a consumer of group billing/);
      go();
      await closing;
    }, { clock });
  });

  it("while a consumer is opened waits until it has what it hands over", async () => {
    for (let turns = 0; turns < 20; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        const events: string[] = [];
        const opening = openConsumer(store, {
          groupId: "billing",
          topics: ["orders"],
          onAssigned: async () => {
            events.push("+");
            await settled();
            events.push("+ done");
          },
          onRevoked: () => void events.push("-"),
        });
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        await closeStore(store);
        await opening.catch((error) => assert.ok(isOttlaError(error, "HANDLE_CLOSED")));
        assert.ok(events.length === 0 || events.join() === "+,+ done,-", events.join());
      });
    }
  });
});
