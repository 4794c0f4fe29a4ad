/** What consumers are given that they cannot take: a clear error, and nothing moves. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions, PollOptions } from "../../src/client/consumer_options.ts";
import {
  assign,
  assignmentOf,
  pause,
  positionOf,
  resume,
  seek,
} from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { committedOffsets, describeGroup } from "../../src/client/groups.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { withStore } from "../support/store_fixture.ts";

const now = { waitMs: 0 };
const orders = { topic: "orders", partition: 0 };

function coded(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

function member(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    topics: ["orders"],
    autoOffsetReset: "earliest",
    ...options,
  });
}

describe("options of a consumer", () => {
  const wrong: readonly (readonly [string, unknown, "TypeError" | "RangeError", string])[] = [
    ["nothing", undefined, "TypeError", "options"],
    ["a text", "billing", "TypeError", "options"],
    ["a group that is no text", { groupId: 5, topics: "orders" }, "TypeError", "groupId"],
    ["topics without a group", { topics: "orders" }, "TypeError", "groupId"],
    ["topics and partitions", { groupId: "g", topics: "a", partitions: [] }, "TypeError", "topics"],
    ["a topic that is a number", { groupId: "g", topics: [5] }, "TypeError", "topic"],
    ["partitions that are no list", { partitions: orders }, "TypeError", "partitions"],
    ["a partition without a topic", { partitions: [{ partition: 0 }] }, "TypeError", "partitions"],
    ["a partition below 0", { partitions: [{ ...orders, partition: -1 }] }, "RangeError", "part"],
    ["an instance without topics", { partitions: [], instanceId: "a" }, "TypeError", "instanceId"],
    ["an empty instance", { groupId: "g", topics: "a", instanceId: "" }, "RangeError", "instance"],
    ["an unknown reset", { autoOffsetReset: "first" }, "TypeError", "autoOffsetReset"],
    ["a reset to no time", { autoOffsetReset: { durationMs: -1 } }, "RangeError", "autoOffset"],
    ["autoCommit as a text", { autoCommit: "yes" }, "TypeError", "autoCommit"],
    ["an interval of 0", { autoCommitIntervalMs: 0 }, "RangeError", "autoCommitIntervalMs"],
    ["an unknown level", { ack: "all" }, "TypeError", "ack"],
    ["a listener that is no function", { onRevoked: {} }, "TypeError", "onRevoked"],
    ["an offset store without save", { offsetStore: { load() {} } }, "TypeError", "offsetStore"],
  ];
  for (const [what, options, name, argument] of wrong) {
    it(`${what}: ${name} that names ${argument}`, async () => {
      await withStore(async (store) => {
        await assert.rejects(
          openConsumer(store, options as ConsumerOptions),
          (error: Error) => error.name === name && error.message.includes(argument),
        );
        assert.equal((await committedOffsets(store, "g")).length, 0);
      });
    });
  }

  it("a group's name that is empty, an assignor nobody knows, a partition that is not there", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await assert.rejects(member(store, { groupId: "" }), coded("INVALID_GROUP_ID"));
      await assert.rejects(member(store, { assignor: "fair" as never }), RangeError);
      await assert.rejects(
        openConsumer(store, { partitions: [{ topic: "nowhere", partition: 0 }] }),
        coded("UNKNOWN_TOPIC_OR_PARTITION"),
      );
      const first = await member(store, { assignor: "range" });
      await assert.rejects(member(store), coded("INCONSISTENT_GROUP_PROTOCOL"));
      await poll(first, now);
      assert.equal((await describeGroup(store, "billing")).members.length, 1);
    });
  });
});

describe("arguments", () => {
  it("of polls and positions are checked", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await member(store);
      for (
        const [options, kind] of [
          [{ recordsMax: 0 }, RangeError],
          [{ recordsMax: "5" }, TypeError],
          [{ waitMs: -1 }, RangeError],
          [{ bytesMin: 1.5 }, RangeError],
          [{ signal: {} }, TypeError],
          [null, TypeError],
        ] as const
      ) {
        await assert.rejects(poll(consumer, options as unknown as PollOptions), kind);
      }
      assert.throws(() => seek(consumer, "orders", 0, "first" as never), TypeError);
      assert.throws(() => seek(consumer, "orders", 0, -1), RangeError);
      assert.throws(() => seek(consumer, "orders", 0, new Date(NaN)), RangeError);
      assert.throws(() => seek(consumer, "orders", 0, 1), coded("OFFSET_OUT_OF_RANGE"));
      assert.throws(() => seek(consumer, "orders", 7, 0), coded("ILLEGAL_GENERATION"));
      assert.throws(() => positionOf(consumer, "bills", 0), coded("ILLEGAL_GENERATION"));
      assert.throws(() => pause(consumer, {} as never), TypeError);
      assert.throws(() => resume(consumer, [{ topic: "bills", partition: 0 }]), /ILLEGAL|assigned/);
      await assert.rejects(assign(consumer, [orders]), TypeError);
      assert.equal(positionOf(consumer, "orders", 0), 0);
    });
  });

  it("that are no consumer, or one that is closed, are refused everywhere", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await assert.rejects(poll(undefined as never), /^TypeError: consumer/);
      await assert.rejects(commit({} as never), /^TypeError: consumer/);
      assert.throws(() => assignmentOf({ internals: 5 } as never), /^TypeError: consumer/);
      const consumer = await member(store);
      await closeConsumer(consumer);
      await closeConsumer(consumer);
      await assert.rejects(poll(consumer), coded("HANDLE_CLOSED"));
      await assert.rejects(commit(consumer), coded("HANDLE_CLOSED"));
      assert.throws(() => seek(consumer, "orders", 0, 0), coded("HANDLE_CLOSED"));
      assert.deepEqual(assignmentOf(consumer), []);
      for await (const _ of consumer) assert.fail("there is nothing in a closed consumer");
    });
  });

  it("and so is a store that is closed; its consumers are closed with it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const consumer = await member(store);
      const waiting = poll(consumer, { waitMs: Infinity });
      await closeStore(store);
      assert.deepEqual(await waiting, []);
      await assert.rejects(poll(consumer), coded("HANDLE_CLOSED"));
      await assert.rejects(member(store), coded("HANDLE_CLOSED"));
    });
  });
});

describe("commits that are refused move no offset", () => {
  it("of several partitions all or none", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      await append(store, "orders", { value: "v0", partition: 0 });
      const consumer = await member(store);
      await commit(consumer, [{ ...orders, offset: 0 }]);
      const bad: readonly (readonly [object, ErrorCode | typeof TypeError | typeof RangeError])[] =
        [
          [{ ...orders, partition: 1, offset: 9 }, "OFFSET_OUT_OF_RANGE"],
          [{ ...orders, partition: 9, offset: 0 }, "ILLEGAL_GENERATION"],
          [{ topic: "bills", partition: 0, offset: 0 }, "ILLEGAL_GENERATION"],
          [{ ...orders, offset: 1, metadata: "x".repeat(5000) }, "OFFSET_METADATA_TOO_LARGE"],
          [{ ...orders, offset: -1 }, RangeError],
          [{ ...orders, offset: "1" }, TypeError],
          [{ ...orders, offset: 1, metadata: 5 }, TypeError],
        ];
      for (const [entry, wanted] of bad) {
        const offsets = [{ ...orders, offset: 1 }, entry as typeof orders & { offset: number }];
        await assert.rejects(
          commit(consumer, offsets),
          typeof wanted === "string" ? coded(wanted) : wanted,
        );
      }
      const [committed, ...others] = await committedOffsets(store, "billing");
      assert.equal(committed!.offset, 0);
      assert.equal(others.length, 0);
      await commit(consumer);
      assert.equal((await poll(consumer, now)).length, 1);
    });
  });

  it("by a member whose place another one has taken", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await append(store, "orders", { value: "v0" });
      const before = await member(store, { instanceId: "one" });
      await poll(before, now);
      const after = await member(store, { instanceId: "one" });
      await assert.rejects(commit(before), coded("ILLEGAL_GENERATION"));
      assert.deepEqual(await committedOffsets(store, "billing"), []);
      assert.equal((await poll(after, now)).length, 1);
      await closeConsumer(before);
      assert.deepEqual(await committedOffsets(store, "billing"), []);
      await commit(after);
      assert.equal((await committedOffsets(store, "billing"))[0]!.offset, 1);
    });
  });

  it("of a topic that was deleted meanwhile", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await createTopic(store, "bills");
      await append(store, "orders", { value: "v0" });
      const consumer = await member(store, { topics: ["orders", "bills"] });
      await poll(consumer, now);
      await deleteTopic(store, "orders");
      await assert.rejects(commit(consumer), coded("UNKNOWN_TOPIC_OR_PARTITION"));
      await poll(consumer, now);
      assert.deepEqual(assignmentOf(consumer), [{ topic: "bills", partition: 0 }]);
      await commit(consumer);
      const offsets = await committedOffsets(store, "billing");
      assert.deepEqual(offsets.map(({ topic }) => topic), ["bills"]);
    });
  });
});
