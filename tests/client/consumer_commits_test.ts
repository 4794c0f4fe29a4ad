/** What a consumer commits by itself: never another topic's offset, never for a lost partition. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import { assign, assignmentOf, positionOf } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { numbered, settableClock, settled, textOf, withStore } from "../support/store_fixture.ts";

const now = { waitMs: 0 };

function member(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    topics: ["orders", "bills"],
    autoOffsetReset: "earliest",
    ...options,
  });
}

/** Reads given partitions and commits for the group all the same. */
function reader(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    partitions: ["orders", "bills"].map((topic) => ({ topic, partition: 0 })),
    autoOffsetReset: "earliest",
    ...options,
  });
}

/** `orders` with three records, `bills` with as many. */
async function createBoth(store: Store): Promise<void> {
  for (const topic of ["orders", "bills"]) {
    await createTopic(store, topic);
    await appendBatch(store, topic, numbered(0, 3));
  }
}

/** What is committed, as `orders 3`. */
async function committed(store: Store): Promise<string[]> {
  const offsets = await committedOffsets(store, "billing");
  return offsets.map(({ topic, offset }) => `${topic} ${offset}`);
}

describe("a commit without offsets", () => {
  it("counts for a partition that is left and comes back at once", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store);
      assert.equal((await poll(consumer, now)).length, 6);
      const committing = commit(consumer);
      const leaving = assign(consumer, []);
      await assign(consumer, [{ topic: "orders", partition: 0 }]);
      assert.equal(positionOf(consumer, "orders", 0), 3);
      await Promise.all([committing, leaving]);
    });
  });

  it("does not count what a poll has found that is under way", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, { autoCommit: false });
      assert.equal((await poll(consumer, { waitMs: 0, recordsMax: 1 })).length, 1);
      const stop = new AbortController();
      const polling = poll(consumer, { waitMs: 10, bytesMin: 1000, signal: stop.signal });
      await settled();
      await commit(consumer);
      stop.abort();
      assert.equal((await polling).length, 5);
      assert.deepEqual(await committed(store), ["bills 1", "orders 0"]);
    }, { clock: manualClock() });
  });
});

describe("a commit in an iteration", () => {
  it("counts the record in hand, and closing does not take it back", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, { partitions: [{ topic: "orders", partition: 0 }] });
      for await (const { offset } of consumer) {
        if (offset < 1) continue;
        await commit(consumer);
        break;
      }
      await closeConsumer(consumer);
      assert.deepEqual(await committed(store), ["orders 2"]);
    });
  });
});

describe("commits of a consumer one of whose topics was deleted", () => {
  it("are made for the others when it is closed", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const lost: string[] = [];
      const revoked: string[] = [];
      const consumer = await member(store, {
        onLost: (list) => void lost.push(...list.map(({ topic }) => topic)),
        onRevoked: (list) => void revoked.push(...list.map(({ topic }) => topic)),
      });
      assert.equal((await poll(consumer, now)).length, 6);
      await deleteTopic(store, "orders");
      await closeConsumer(consumer);
      assert.deepEqual(await committed(store), ["bills 3"]);
      assert.deepEqual([lost, revoked], [["orders"], ["bills"]]);
    });
  });

  it("are made for the others in time, by one that was given its partitions too", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, { autoCommitIntervalMs: 1000 });
      assert.equal((await poll(consumer, now)).length, 6);
      await deleteTopic(store, "orders");
      await clock.advance(1000);
      await assert.rejects(
        poll(consumer, now),
        (error) => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION"),
      );
      await settled();
      assert.deepEqual(await committed(store), ["bills 3"]);
      await closeConsumer(consumer);
    }, { clock });
  });

  for (const ending of ["polls", "is closed"]) {
    it(`are not made for the one that has its name now, when it ${ending}`, async () => {
      await withStore(async (store) => {
        await createBoth(store);
        const lost: string[] = [];
        const consumer = await member(store, {
          onLost: (list) => void lost.push(...list.map(({ topic }) => topic)),
        });
        assert.equal((await poll(consumer, now)).length, 6);
        await deleteTopic(store, "orders");
        await createTopic(store, "orders");
        await appendBatch(store, "orders", numbered(10, 15));
        if (ending === "polls") {
          const seen = await poll(consumer, { waitMs: 0, recordsMax: 1 });
          assert.deepEqual(seen.map(({ value }) => textOf(value)), ["v10"]);
          assert.equal(positionOf(consumer, "orders", 0), 1);
        }
        await closeConsumer(consumer);
        assert.deepEqual(lost, ["orders"]);
        const wanted = ending === "polls" ? ["bills 3", "orders 1"] : ["bills 3"];
        assert.deepEqual(await committed(store), wanted);
      });
    });
  }

  it("are refused for the one that has its name now", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await member(store);
      assert.equal((await poll(consumer, now)).length, 6);
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(10, 15));
      const isGone = (error: unknown): boolean => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION");
      await assert.rejects(commit(consumer), isGone);
      const entry = { topic: "orders", partition: 0, offset: 2 };
      await assert.rejects(commit(consumer, [entry]), isGone);
      assert.deepEqual(await committed(store), []);
    });
  });
});

describe("commits by themselves", () => {
  it("come at once when the clock was set back", async () => {
    const clock = settableClock(10_000_000);
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store);
      assert.equal((await poll(consumer, now)).length, 6);
      clock.nowMs -= 3_600_000;
      await poll(consumer, now);
      await settled();
      assert.deepEqual(await committed(store), ["bills 3", "orders 3"]);
    }, { clock });
  });

  it("count in a topic that was made anew, from its beginning", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, { partitions: [{ topic: "orders", partition: 0 }] });
      assert.equal((await poll(consumer, now)).length, 3);
      await commit(consumer);
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      assert.equal((await poll(consumer, now)).length, 3);
      await closeConsumer(consumer);
      assert.deepEqual(await committed(store), ["orders 3"]);
    });
  });

  it("are not made by a member whose place another one has taken", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createBoth(store);
      const before = await member(store, { instanceId: "one", autoCommitIntervalMs: 1000 });
      assert.equal((await poll(before, { waitMs: 0, recordsMax: 2 })).length, 2);
      const after = await member(store, { instanceId: "one" });
      assert.equal((await poll(after, now)).length, 6);
      await commit(after);
      await clock.advance(1000);
      await assert.rejects(
        poll(before, now),
        (error) => isOttlaError(error, "FENCED_INSTANCE_ID"),
      );
      await settled();
      assert.deepEqual(await committed(store), ["bills 3", "orders 3"]);
    }, { clock });
  });

  it("come in time in the middle of a batch that is iterated over", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, {
        autoCommitIntervalMs: 1000,
        partitions: [{ topic: "orders", partition: 0 }],
      });
      for await (const { offset } of consumer) {
        await clock.advance(1000);
        await settled();
        if (offset === 2) break;
      }
      assert.deepEqual(await committed(store), ["orders 2"]);
    }, { clock });
  });

  it("are made for partitions that the consumer is told to leave", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store, { autoCommitIntervalMs: 1_000_000 });
      assert.equal((await poll(consumer, { waitMs: 0, recordsMax: 3 })).length, 3);
      assert.equal((await poll(consumer, { waitMs: 0, recordsMax: 1 })).length, 1);
      await assign(consumer, []);
      assert.deepEqual(await committed(store), ["bills 3", "orders 0"]);
      const back = { topic: "bills", partition: 0 };
      await assign(consumer, [back, back]);
      assert.deepEqual(assignmentOf(consumer), [back]);
      assert.equal(positionOf(consumer, "bills", 0), 3);
    });
  });

  it("are waited for by closing, whatever partitions are left", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      let save = (): void => {};
      const consumer = await reader(store, {
        offsetStore: { load: () => [], save: () => new Promise<void>((resolve) => save = resolve) },
      });
      await poll(consumer, now);
      const committing = commit(consumer);
      await settled();
      await deleteTopic(store, "orders");
      await deleteTopic(store, "bills");
      let isClosed = false;
      const closing = closeConsumer(consumer).then(() => isClosed = true);
      await settled();
      assert.equal(isClosed, false);
      save();
      await Promise.all([committing, closing]);
    });
  });

  it("do not count what a poll had found when the consumer was closed", async () => {
    await withStore(async (store) => {
      await createBoth(store);
      const consumer = await reader(store);
      const polling = poll(consumer, { waitMs: Infinity, bytesMin: 1_000_000 });
      await settled();
      await closeConsumer(consumer);
      assert.equal((await polling).length, 6);
      assert.deepEqual(await committed(store), ["bills 0", "orders 0"]);
      await append(store, "orders", { value: "v3" });
      const next = await reader(store);
      assert.equal((await poll(next, now)).length, 7);
      assert.equal(assignmentOf(next).length, 2);
    }, { clock: manualClock() });
  });

  it("do not count a record that an iteration has just found, at whatever turn it is closed", async () => {
    for (let turns = 0; turns < 30; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        await append(store, "orders", { value: "first" });
        const consumer = await member(store);
        const first = consumer[Symbol.asyncIterator]().next();
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        await closeConsumer(consumer);
        await first;
        assert.deepEqual(await committed(store), ["orders 0"], `after ${turns} turns`);
      });
    }
  });

  it("do not count what a poll has not given yet, at whatever turn it is closed", async () => {
    for (let turns = 0; turns < 30; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        await append(store, "orders", { value: "first" });
        const consumer = await member(store);
        let turn = 0;
        let endTurn = Infinity;
        const polling = poll(consumer).then(() => endTurn = turn);
        for (; turn < turns; turn++) await Promise.resolve();
        const closing = closeConsumer(consumer);
        for (; turn < 60; turn++) await Promise.resolve();
        await Promise.all([polling, closing]);
        const isGiven = endTurn <= turns;
        const wanted = isGiven ? ["orders 1"] : ["orders 0"];
        assert.deepEqual(await committed(store), wanted, `after ${turns} turns of ${endTurn}`);
      });
    }
  });
});
