/** Consumers: polling, positions, commits, and what a group does with its partitions. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { stateOf } from "../../src/client/consumer_state.ts";
import {
  assign,
  assignmentOf,
  pause,
  positionOf,
  resume,
  seek,
} from "../../src/client/consumer_positions.ts";
import { json } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import {
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
} from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import {
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  settled,
  textOf,
  withStore,
} from "../support/store_fixture.ts";

const now = { waitMs: 0 };

/** What a poll gives, as text. */
async function polled(consumer: Consumer, recordsMax = 500): Promise<string[]> {
  return (await poll(consumer, { waitMs: 0, recordsMax })).map(({ value }) => textOf(value));
}

function member(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    topics: ["orders"],
    autoOffsetReset: "earliest",
    ...options,
  });
}

/** Partitions of `orders` by number. */
function numbersOf(partitions: readonly TopicPartition[]): number[] {
  return partitions.map(({ partition }) => partition);
}

describe("polling", () => {
  it("gives records in order, as many as asked for, and none when there are none", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 10));
      const consumer = await member(store);
      assert.deepEqual(await polled(consumer, 4), numberedText(0, 4));
      assert.deepEqual(await polled(consumer), numberedText(4, 10));
      assert.deepEqual(await polled(consumer), []);
      assert.equal(positionOf(consumer, "orders", 0), 10);
      await append(store, "orders", { value: "v10" });
      assert.deepEqual(await polled(consumer), ["v10"]);
    });
  });

  it("begins at the end of the log as of its opening unless told otherwise", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      const consumer = await openConsumer(store, { groupId: "billing", topics: "orders" });
      await append(store, "orders", { value: "v3" });
      assert.deepEqual(await polled(consumer), ["v3"]);
    });
  });

  it("waits for records, for the time, the signal or the end, and watches nothing afterwards", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await member(store);
      const first = poll(consumer, { waitMs: 1000 });
      await settled();
      await append(store, "orders", { value: "v0" });
      assert.deepEqual((await first).map(({ value }) => textOf(value)), ["v0"]);

      const second = poll(consumer, { waitMs: 1000 });
      await settled();
      await clock.advance(1000);
      assert.deepEqual(await second, []);

      const stop = new AbortController();
      const third = poll(consumer, { waitMs: 1000, signal: stop.signal });
      await settled();
      stop.abort(new Error("enough"));
      await assert.rejects(third, /enough/);

      const fourth = poll(consumer, { waitMs: Infinity });
      await settled();
      await assert.rejects(poll(consumer), /another poll/);
      await closeConsumer(consumer);
      assert.deepEqual(await fourth, []);
      const { log } = internalsOf(store).topics.get("orders")!.partitions[0]!;
      assert.equal(log!.watchers.size, 0);
      await assert.rejects(poll(consumer), (error) => isOttlaError(error, "HANDLE_CLOSED"));
    }, { clock });
  });

  it("waits on until there are as many bytes as asked for", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await member(store);
      const polling = poll(consumer, { waitMs: 1000, bytesMin: 5 });
      for (const value of ["ab", "cd", "ef"]) {
        await settled();
        await append(store, "orders", { value });
      }
      assert.equal((await polling).length, 3);
      const late = poll(consumer, { waitMs: 1000, bytesMin: 5 });
      await append(store, "orders", { value: "g" });
      await settled();
      await clock.advance(1000);
      assert.equal((await late).length, 1);
    }, { clock });
  });

  it("partitions take turns, and paused ones have none", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 3 });
      for (let n = 0; n < 9; n++) {
        await append(store, "orders", { value: `v${n}`, partition: n % 3 });
      }
      const consumer = await member(store);
      pause(consumer, [{ topic: "orders", partition: 1 }]);
      const seen = await poll(consumer, { waitMs: 0, recordsMax: 4 });
      assert.deepEqual(new Set(seen.map(({ partition }) => partition)), new Set([0, 2]));
      resume(consumer);
      assert.deepEqual((await polled(consumer)).length, 5);
      assert.throws(
        () => pause(consumer, [{ topic: "orders", partition: 9 }]),
        (error) => isOttlaError(error, "ILLEGAL_GENERATION"),
      );
    });
  });

  it("iterates over records as they come, until the consumer is closed", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 3));
      const consumer = await member(store);
      const seen: string[] = [];
      for await (const { value } of consumer) {
        seen.push(textOf(value));
        if (seen.length < 6) await append(store, "orders", { value: `v${seen.length + 2}` });
        if (seen.length === 8) void closeConsumer(consumer);
      }
      assert.deepEqual(seen, numberedText(0, 8));
    });
  });

  it("gives typed values, and a value that no serde can read is an error until it is passed", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const orders = topicOf<string, { n: number }>("orders", { value: json() });
      await append(store, orders, { value: { n: 1 } });
      await append(store, "orders", { value: "{" });
      await append(store, orders, { value: { n: 3 } });
      const consumer = await openConsumer(store, {
        groupId: "billing",
        topics: orders,
        autoOffsetReset: "earliest",
      });
      assert.deepEqual((await poll(consumer, now)).map(({ value }) => value?.n), [1]);
      for (let times = 0; times < 2; times++) {
        await assert.rejects(poll(consumer, now), (error) => {
          assert.ok(isOttlaError(error, "INVALID_RECORD"));
          assert.deepEqual([error.details["offset"], error.cause instanceof Error], [1, true]);
          return true;
        });
      }
      seek(consumer, "orders", 0, 2);
      assert.deepEqual((await poll(consumer, now)).map(({ value }) => value?.n), [3]);
    });
  });

  it("goes where it is told, and where retention has left something", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { retentionMs: -1 });
      for (let n = 0; n < 10; n++) {
        await append(store, "orders", { value: `v${n}`, timestamp: 1000 + n });
      }
      const consumer = await member(store);
      seek(consumer, "orders", 0, 8);
      assert.deepEqual(await polled(consumer), ["v8", "v9"]);
      seek(consumer, "orders", 0, new Date(1006));
      assert.deepEqual(await polled(consumer, 1), ["v6"]);
      seek(consumer, "orders", 0, "latest");
      assert.deepEqual(await polled(consumer), []);
      seek(consumer, "orders", 0, "earliest");
      assert.deepEqual(await polled(consumer, 1), ["v0"]);
      await deleteRecords(store, "orders", 0, 7);
      assert.throws(
        () => seek(consumer, "orders", 0, 3),
        (error) => isOttlaError(error, "OFFSET_OUT_OF_RANGE"),
      );
      seek(consumer, "orders", 0, 7);
      assert.deepEqual(await polled(consumer, 1), ["v7"]);
      await deleteRecords(store, "orders", 0, 9);
      assert.deepEqual(await polled(consumer), ["v9"]);
    });
  });

  it("without a committed offset begins as told: not at all, or some time ago", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      for (const value of ["old", "new"]) {
        await append(store, "orders", { value });
        await clock.advance(60_000);
      }
      const strict = await member(store, { groupId: "strict", autoOffsetReset: "none" });
      await assert.rejects(
        poll(strict, now),
        (error) => isOttlaError(error, "NO_OFFSET_FOR_PARTITION"),
      );
      seek(strict, "orders", 0, 1);
      assert.deepEqual(await polled(strict), ["new"]);
      const recent = await member(store, {
        groupId: "recent",
        autoOffsetReset: { durationMs: 90_000 },
      });
      assert.deepEqual(await polled(recent), ["new"]);
    }, { clock });
  });
});

describe("commits", () => {
  it("outlast a crash once they have resolved, and a new consumer goes on from there", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await createTopic(store, "orders");
    await appendBatch(store, "orders", numbered(0, 10));
    const consumer = await member(store, { autoCommit: false });
    await poll(consumer, { waitMs: 0, recordsMax: 4 });
    await commit(consumer);
    await poll(consumer, { waitMs: 0, recordsMax: 4 });
    crashStore(store, fs);
    store = await openTestStore(fs);
    const next = await member(store);
    assert.deepEqual(await polled(next), numberedText(4, 10));
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual(await polled(await member(store)), []);
    await closeStore(store);
  });

  it("by themselves come in time, with the next poll, and count what was handled", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 10));
      const consumer = await member(store, { autoCommitIntervalMs: 1000 });
      const committed = (): number => stateOf(consumer).partitions[0]!.committed;
      await poll(consumer, { waitMs: 0, recordsMax: 4 });
      await clock.advance(1000);
      assert.equal(committed(), -1);
      await poll(consumer, { waitMs: 0, recordsMax: 4 });
      await settled();
      assert.equal(committed(), 4);
      await poll(consumer, { waitMs: 0, recordsMax: 4 });
      await settled();
      assert.equal(committed(), 4);
    }, { clock });
  });

  it("of an iteration that was left do not count the last record", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 5));
      const consumer = await member(store);
      for await (const { value } of consumer) if (textOf(value) === "v2") break;
      await closeConsumer(consumer);
      assert.deepEqual(await polled(await member(store)), numberedText(2, 5));
    });
  });

  it("are refused for partitions of others and beyond the end, and move nothing", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      await append(store, "orders", { value: "v0", partition: 0 });
      const consumer = await member(store);
      const other = await member(store);
      await poll(consumer, now);
      await poll(other, now);
      const [own] = assignmentOf(consumer);
      const foreign = 1 - own!.partition;
      await assert.rejects(
        commit(consumer, [{ topic: "orders", partition: foreign, offset: 0 }]),
        (error) => isOttlaError(error, "ILLEGAL_GENERATION"),
      );
      await assert.rejects(
        commit(consumer, [{ topic: "orders", partition: own!.partition, offset: 99 }]),
        (error) => isOttlaError(error, "OFFSET_OUT_OF_RANGE"),
      );
      await assert.rejects(commit(consumer, [{ topic: "orders" } as never]), TypeError);
      assert.equal(stateOf(consumer).partitions[0]!.committed, -1);
    });
  });
});

describe("a group", () => {
  it("moves partitions when their owner polls or closes, and never has two owners", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 4 });
      const events: string[] = [];
      const listen = (name: string): Partial<ConsumerOptions> => ({
        onAssigned: (list) => void events.push(`${name} + ${numbersOf(list).length}`),
        onRevoked: (list) => void events.push(`${name} - ${numbersOf(list).length}`),
      });
      const first = await member(store, listen("a"));
      assert.equal(assignmentOf(first).length, 4);
      const second = await member(store, listen("b"));
      assert.deepEqual(assignmentOf(second), []);
      await poll(second, now);
      assert.deepEqual(assignmentOf(second), []);
      await poll(first, now);
      assert.equal(assignmentOf(first).length, 2);
      await poll(second, now);
      assert.equal(assignmentOf(second).length, 2);
      const both = [...assignmentOf(first), ...assignmentOf(second)];
      assert.deepEqual(numbersOf(both).sort(), [0, 1, 2, 3]);
      await closeConsumer(first);
      await poll(second, now);
      assert.equal(assignmentOf(second).length, 4);
      assert.deepEqual(events, ["a + 4", "a - 2", "b + 2", "a - 2", "b + 2"]);
    });
  });

  it("hands over to a member that waits in a poll, at once, whenever the other closes", async () => {
    for (let turns = 0; turns < 20; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        await append(store, "orders", { value: "v0" });
        const first = await member(store);
        const second = await member(store);
        const waiting = poll(second, { waitMs: Infinity });
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        await closeConsumer(first);
        assert.deepEqual((await waiting).map(({ value }) => textOf(value)), ["v0"]);
      }, { clock: manualClock() });
    }
  });

  it("lets a poll end whenever its consumer or the store closes", async () => {
    for (let turns = 0; turns < 20; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        const waiting = poll(await member(store), { waitMs: Infinity });
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        await closeStore(store);
        assert.deepEqual(await waiting, []);
      }, { clock: manualClock() });
    }
  });

  for (const how of ["awaited", "not awaited"]) {
    it(`counts what is committed while partitions are revoked, ${how}`, async () => {
      await withStore(async (store) => {
        await createTopic(store, "orders", { partitions: 2 });
        for (let n = 0; n < 6; n++) {
          await append(store, "orders", { value: `v${n}`, partition: n % 2 });
        }
        const first: Consumer = await member(store, {
          autoCommit: false,
          onRevoked: async (list) => {
            const committing = commit(first, list.map((entry) => ({ ...entry, offset: 2 })));
            if (how === "awaited") await committing;
          },
        });
        await poll(first, now);
        const second = await member(store);
        await poll(first, now);
        const values = await polled(second);
        assert.equal(values.length, 1);
        assert.ok(["v4", "v5"].includes(values[0]!));
      });
    });
  }

  it("tells of an error in a listener and goes on", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      const first = await member(store, {
        onRevoked: () => {
          throw new Error("not now");
        },
      });
      const second = await member(store);
      await assert.rejects(poll(first, now), /not now/);
      await poll(second, now);
      assert.deepEqual([assignmentOf(first).length, assignmentOf(second).length], [1, 1]);
      await assert.rejects(closeConsumer(first), /not now/);
      await poll(second, now);
      assert.equal(assignmentOf(second).length, 2);
    });
  });

  it("survives an assignor that gives nonsense", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      let isBroken = false;
      const assignor: NonNullable<ConsumerOptions["assignor"]> = (members, counts) => {
        const [first] = members;
        const all = Array.from({ length: counts.get("orders")! }, (_, partition) => ({
          topic: "orders",
          partition,
        }));
        return new Map([[first!.memberId, isBroken ? [...all, ...all] : all]]);
      };
      const consumer = await member(store, { assignor });
      assert.equal(assignmentOf(consumer).length, 2);
      isBroken = true;
      await createPartitions(store, "orders", 3);
      await assert.rejects(
        poll(consumer, now),
        (error) => isOttlaError(error, "UNSUPPORTED_ASSIGNOR"),
      );
      isBroken = false;
      await createPartitions(store, "orders", 4);
      await poll(consumer, now);
      assert.equal(assignmentOf(consumer).length, 4);
    });
  });

  it("follows topics that come, grow and go", async () => {
    await withStore(async (store) => {
      const lost: TopicPartition[] = [];
      const consumer = await member(store, {
        topics: /^orders/,
        onLost: (list) => void lost.push(...list),
      });
      assert.deepEqual(assignmentOf(consumer), []);
      const waiting = poll(consumer, { waitMs: Infinity });
      await createTopic(store, "orders-eu");
      await append(store, "orders-eu", { value: "v0" });
      assert.equal((await waiting).length, 1);
      await createPartitions(store, "orders-eu", 3);
      await poll(consumer, now);
      assert.equal(assignmentOf(consumer).length, 3);
      await deleteTopic(store, "orders-eu");
      await poll(consumer, now);
      assert.deepEqual([assignmentOf(consumer).length, lost.length], [0, 3]);
    });
  });

  it("gives a returning instance its place, and fences the one before", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      const first = await member(store, { instanceId: "one" });
      const second = await member(store, { instanceId: "one" });
      assert.equal(assignmentOf(second).length, 2);
      await assert.rejects(poll(first, now), (error) => isOttlaError(error, "FENCED_INSTANCE_ID"));
      await assert.rejects(poll(first, now), (error) => isOttlaError(error, "FENCED_INSTANCE_ID"));
      await closeConsumer(first);
      await poll(second, now);
      assert.equal(assignmentOf(second).length, 2);
    });
  });
});

describe("a consumer with given partitions", () => {
  it("reads them whatever others do, and others when told", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      for (let n = 0; n < 4; n++) {
        await append(store, "orders", { value: `v${n}`, partition: n % 2 });
      }
      const consumer = await openConsumer(store, {
        partitions: [{ topic: "orders", partition: 1 }],
        autoOffsetReset: "earliest",
      });
      assert.deepEqual(await polled(consumer), ["v1", "v3"]);
      await assign(consumer, [{ topic: "orders", partition: 0 }]);
      assert.deepEqual(await polled(consumer), ["v0", "v2"]);
      await assert.rejects(commit(consumer), (error) => isOttlaError(error, "INVALID_GROUP_ID"));
      await assert.rejects(
        openConsumer(store, { partitions: [{ topic: "orders", partition: 2 }] }),
        (error) => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION"),
      );
    });
  });
});
