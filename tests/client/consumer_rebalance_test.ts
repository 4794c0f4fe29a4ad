/** Partitions that move while something fails or ends: all errors are told, nobody gets too much. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { closeConsumer, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import { assignmentOf } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { stateOf } from "../../src/client/consumer_state.ts";
import { topicOf } from "../../src/client/topic.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import { joinMembership, leaveMembership, loseMember } from "../../src/coordinator/membership.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { createPartitions, createTopic, deleteTopic } from "../../src/store/topics.ts";
import { settled, textOf, withStore } from "../support/store_fixture.ts";

function member(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    topics: ["orders", "notes"],
    autoOffsetReset: "earliest",
    ...options,
  });
}

function failing(message: string): () => Promise<void> {
  return () => Promise.reject(new Error(message));
}

/** The messages of all errors that something is rejected with. */
async function messagesOf(promise: Promise<unknown>): Promise<string[]> {
  try {
    await promise;
  } catch (error) {
    const errors: unknown[] = error instanceof AggregateError ? error.errors : [error];
    return errors.map((each) => (each as Error).message);
  }
  return [];
}

describe("errors while partitions move", () => {
  it("are all told: of listeners", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      await createTopic(store, "notes");
      const consumer = await member(store, {
        onRevoked: failing("revoked"),
        onLost: failing("lost"),
      });
      await deleteTopic(store, "notes");
      await member(store);
      const polling = poll(consumer, { waitMs: 0 });
      await assert.rejects(polling, /^AggregateError: 2 errors at once: revoked; lost$/);
      assert.deepEqual(await messagesOf(polling), ["revoked", "lost"]);
      assert.deepEqual(await poll(consumer, { waitMs: 0 }), []);
    });
  });

  it("are all told: of a listener, and of the assignor that fails meanwhile", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      let isFailing = false;
      const assignor: ConsumerOptions["assignor"] = (members, counts) => {
        if (isFailing) throw new Error("no idea");
        const [last] = members.slice(-1);
        const count = counts.get("orders") ?? 0;
        const all = Array.from(
          { length: count },
          (_, partition) => ({ topic: "orders", partition }),
        );
        return new Map([[last!.memberId, all]]);
      };
      const consumer = await member(store, {
        assignor,
        async onRevoked() {
          isFailing = true;
          await createPartitions(store, "orders", 3);
          throw new Error("revoked");
        },
      });
      await member(store, { assignor });
      const [first, second, ...more] = await messagesOf(poll(consumer, { waitMs: 0 }));
      assert.equal(first, "revoked");
      assert.match(second!, /no idea/);
      assert.deepEqual(more, []);
    });
  });

  it("are all told: of a listener, and of the place that another consumer has taken", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const instance = { instanceId: "one" };
      const consumer = await member(store, { ...instance, onLost: failing("lost") });
      await member(store, instance);
      const [first, second, ...more] = await messagesOf(poll(consumer, { waitMs: 0 }));
      assert.equal(first, "lost");
      assert.match(second!, /another consumer has taken the place of instance one/);
      assert.deepEqual(more, []);
      const isFenced = (error: unknown): boolean => isOttlaError(error, "FENCED_INSTANCE_ID");
      await assert.rejects(poll(consumer, { waitMs: 0 }), isFenced);
    });
  });

  it("are all told: of an opening, and of the closing after it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const opening = member(store, {
        onAssigned: failing("assigned"),
        onRevoked: failing("revoked"),
      });
      assert.deepEqual(await messagesOf(opening), ["assigned", "revoked"]);
    });
  });

  it("come again as long as the group does not take a lost member back", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await append(store, "orders", { value: "first" });
      const consumer = await member(store);
      const { group, member: lost } = stateOf(consumer);
      loseMember(group!.membership, lost!);
      const other = joinMembership(group!.membership, { topics: ["orders"], assignor: "range" });
      const isRefused = (error: unknown): boolean =>
        isOttlaError(error, "INCONSISTENT_GROUP_PROTOCOL");
      for (let count = 0; count < 2; count++) {
        await assert.rejects(poll(consumer, { waitMs: 0 }), isRefused);
      }
      leaveMembership(group!.membership, other);
      const records = await poll(consumer, { waitMs: 0 });
      assert.deepEqual(records.map(({ value }) => textOf(value)), ["first"]);
    });
  });
});

describe("a consumer that goes while partitions move", () => {
  it("takes none once it is being closed", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      const told: string[] = [];
      let goOn = (): void => {};
      const note = (what: string) => (list: readonly TopicPartition[]): void =>
        void told.push(`${what} ${list.map(({ partition }) => partition).join()}`);
      const first = await member(store, {
        onAssigned: note("assigned"),
        onRevoked(list) {
          note("revoked")(list);
          return new Promise((resolve) => goOn = resolve);
        },
      });
      const second = await member(store);
      const polling = poll(first, { waitMs: 0 });
      await settled();
      await createPartitions(store, "orders", 4);
      const closing = closeConsumer(first);
      for (let turn = 0; turn < 2; turn++) {
        goOn();
        await settled();
      }
      await Promise.all([polling, closing]);
      assert.deepEqual(told, ["assigned 0,1", "revoked 1", "revoked 0"]);
      await poll(second, { waitMs: 0 });
      assert.deepEqual(assignmentOf(second).map(({ partition }) => partition), [0, 1, 2, 3]);
    });
  });

  it("gives nothing out once another one has its place, at whatever turn", async () => {
    for (let turns = 0; turns < 30; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "orders");
        await append(store, "orders", { value: "first" });
        let stateWhenRead: string | undefined;
        const orders = topicOf("orders", {
          value: {
            name: "noted",
            serialize: (value: Uint8Array) => value,
            deserialize(bytes) {
              stateWhenRead = stateOf(consumer).member!.state;
              return bytes;
            },
          },
        });
        const consumer = await openConsumer(store, {
          groupId: "billing",
          topics: orders,
          autoOffsetReset: "earliest",
          instanceId: "one",
        });
        const polling = poll(consumer, { waitMs: 0 }).catch(() => []);
        const opening = (async () => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve();
          await member(store, { instanceId: "one" });
        })();
        await Promise.all([polling, opening]);
        assert.notEqual(stateWhenRead, "lost", `after ${turns} turns`);
      });
    }
  });
});
