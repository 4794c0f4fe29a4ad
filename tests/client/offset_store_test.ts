/** Offsets that are kept somewhere else than in the store. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumedOffset, OffsetStore } from "../../src/client/consumer_options.ts";
import { assignmentOf } from "../../src/client/consumer_positions.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { numbered, settled, textOf, withStore } from "../support/store_fixture.ts";

const partitions = [{ topic: "orders", partition: 0 }];
const now = { waitMs: 0 };

/** A store in memory, as a user might write one. */
function keptOffsets(kept: Map<number, number>): OffsetStore {
  return {
    load: (wanted) =>
      wanted.flatMap(({ topic, partition }) => {
        const offset = kept.get(partition);
        return offset === undefined ? [] : [{ topic, partition, offset }];
      }),
    save(offsets) {
      for (const { partition, offset } of offsets) kept.set(partition, offset);
    },
  };
}

describe("an offset store of the user's own", () => {
  it("gives offsets and takes them, and the store keeps none", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 6));
      const kept = new Map([[0, 2]]);
      const consumer = await openConsumer(store, { partitions, offsetStore: keptOffsets(kept) });
      const polled = await poll(consumer, { waitMs: 0, recordsMax: 2 });
      assert.deepEqual(polled.map(({ value }) => textOf(value)), ["v2", "v3"]);
      await commit(consumer);
      assert.deepEqual([...kept], [[0, 4]]);
      await poll(consumer, { waitMs: 0, recordsMax: 1 });
      await closeConsumer(consumer);
      assert.deepEqual([...kept], [[0, 5]]);
      assert.equal(internalsOf(store).topics.has("__consumer_offsets"), false);
    });
  });

  it("serves a group's members too", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      for (const partition of [0, 1, 0, 1]) {
        await append(store, "orders", { value: "v", partition });
      }
      const kept = new Map<number, number>();
      const join = (): ReturnType<typeof openConsumer> =>
        openConsumer(store, {
          groupId: "billing",
          topics: ["orders"],
          autoOffsetReset: "earliest",
          offsetStore: keptOffsets(kept),
        });
      const first = await join();
      assert.equal((await poll(first, now)).length, 4);
      const second = await join();
      await poll(first, now);
      assert.deepEqual(await poll(second, now), []);
      assert.equal(assignmentOf(second).length, 1);
      assert.equal(kept.size, 1);
      await closeConsumer(first);
      assert.deepEqual([...kept.values()], [2, 2]);
    });
  });

  it("that fails to load is asked again by the next poll", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      let isDown = false;
      const { load, save } = keptOffsets(new Map([[0, 1]]));
      const offsetStore: OffsetStore = {
        load(wanted) {
          if (isDown) throw new Error("the database is down");
          return load(wanted);
        },
        save,
      };
      isDown = true;
      await assert.rejects(openConsumer(store, { partitions, offsetStore }), /database is down/);
      await createTopic(store, "later");
      isDown = false;
      const consumer = await openConsumer(store, {
        groupId: "billing",
        topics: /^(orders|new)/,
        offsetStore,
      });
      assert.equal((await poll(consumer, now)).length, 2);
      isDown = true;
      await createTopic(store, "new");
      await assert.rejects(poll(consumer, now), /database is down/);
      await append(store, "orders", { value: "v3" });
      await assert.rejects(poll(consumer, now), /database is down/);
      isDown = false;
      assert.equal((await poll(consumer, now)).length, 1);
    });
  });

  it("that fails to save fails the commit, and moves nothing", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      const saved: ConsumedOffset[] = [];
      let isDown = true;
      const consumer = await openConsumer(store, {
        partitions,
        autoOffsetReset: "earliest",
        offsetStore: {
          load: () => [],
          async save(offsets) {
            await Promise.resolve();
            if (isDown) throw new Error("the database is down");
            saved.push(...offsets);
          },
        },
      });
      await poll(consumer, now);
      await assert.rejects(commit(consumer), /database is down/);
      isDown = false;
      await commit(consumer);
      assert.deepEqual(saved, [{ topic: "orders", partition: 0, offset: 3 }]);
    });
  });

  it("that is slow to load does not keep a consumer from seeing what its group wants", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await append(store, "orders", { value: "v0" });
      const first = await openConsumer(store, { groupId: "billing", topics: ["orders"] });
      let loaded = (_: readonly ConsumedOffset[]): void => {};
      let isDown = true;
      const asked: TopicPartition[][] = [];
      const second = await openConsumer(store, {
        groupId: "billing",
        topics: ["orders", "bills"],
        autoOffsetReset: "earliest",
        offsetStore: {
          load(wanted) {
            asked.push([...wanted]);
            if (isDown) throw new Error("the database is down");
            return new Promise((resolve) => loaded = resolve);
          },
          save() {},
        },
      });
      await createTopic(store, "bills");
      await assert.rejects(poll(second, now), /database is down/);
      isDown = false;
      const waiting = poll(second, { waitMs: Infinity });
      await settled();
      assert.deepEqual(asked.at(-1), [{ topic: "bills", partition: 0 }]);
      await closeConsumer(first);
      loaded([]);
      await settled();
      assert.deepEqual(asked.at(-1), partitions);
      loaded([]);
      assert.equal((await waiting).length, 1);
    }, { clock: manualClock() });
  });
});
