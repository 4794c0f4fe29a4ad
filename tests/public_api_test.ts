/** The public functions: which there are, and that the README's kind of program runs with them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ottla from "../mod.ts";
import type { LogRecord, RecordMetadata, Topic } from "../mod.ts";
import { withFolder } from "./support/store_fixture.ts";

test("the functions that others build on are there", () => {
  const wanted = [
    ["openStore", "closeStore", "flush", "checkStore", "repairStore"],
    ["createTopic", "deleteTopic", "listTopics", "describeTopic", "alterTopic", "createPartitions"],
    ["deleteRecords", "enforceRetention", "compactTopic"],
    ["topicOf", "utf8", "bytes", "json", "msgpack"],
    ["append", "appendBatch"],
    ["openProducer", "send", "flushProducer", "closeProducer"],
    ["openConsumer", "poll", "commit", "closeConsumer", "consumeEach"],
    ["seek", "pause", "resume", "assign", "assignmentOf", "positionOf"],
    ["commitOffsets", "committedOffsets", "resetOffsets", "groupLag"],
    ["listGroups", "describeGroup", "deleteGroup"],
    ["read", "readBatches", "recordsOf", "forEachRecord", "keyOf", "valueOf", "headersOf"],
    ["offsetsOf", "offsetForTimestamp"],
    ["openRange", "sendRange", "closeRange"],
    ["OttlaError", "isOttlaError"],
  ].flat();
  for (const name of wanted) assert.ok(name in ottla, name);
  const internal = Object.keys(ottla).filter((name) => /abandon|internals|_/i.test(name));
  assert.deepEqual(internal, []);
});

test("types: what is given decides what comes back, and bytes are the default", async () => {
  const store = await ottla.openStore(":memory:");
  await ottla.createTopic(store, "orders");
  const orders = ottla.topicOf<string, { amount: number }>("orders", {
    key: ottla.utf8,
    value: ottla.json(),
  });
  const typed: Topic<string | null, { amount: number } | null> = orders;
  const placed: RecordMetadata = await ottla.append(store, typed, {
    key: "ann",
    value: { amount: 3 },
  });
  assert.equal(placed.offset, 0);
  // @ts-expect-error: a number is no value of this topic
  await assert.rejects(ottla.append(store, "orders", { value: 3 }), TypeError);
  // @ts-expect-error: nor is a text one of the other
  await ottla.append(store, orders, { value: "3" });
  for await (const record of ottla.read(store, orders, { limit: 1 })) {
    const amount: number | undefined = record.value?.amount;
    assert.equal(amount, 3);
  }
  for await (const record of ottla.read(store, "orders", { limit: 1 })) {
    const raw: LogRecord = record;
    assert.deepEqual(raw.value, new TextEncoder().encode('{"amount":3}'));
  }
  await ottla.closeStore(store);
});

test("types: what a producer sends and a consumer gets", async () => {
  const store = await ottla.openStore(":memory:");
  await ottla.createTopic(store, "orders");
  const orders = ottla.topicOf("orders", { value: ottla.json<{ amount: number }>() });
  const producer = ottla.openProducer(store);
  await ottla.send(producer, orders, { value: { amount: 3 } });
  // @ts-expect-error: a text is no value of this topic
  await ottla.send(producer, orders, { value: "3" });
  const consumer = await ottla.openConsumer(store, {
    groupId: "billing",
    topics: [orders],
    autoOffsetReset: "earliest",
  });
  const [record] = await ottla.poll(consumer, { recordsMax: 1 });
  const amount: number | undefined = record?.value?.amount;
  assert.equal(amount, 3);
  for await (const { value } of consumer) {
    // @ts-expect-error: there is no such field
    assert.equal(value?.count, undefined);
    break;
  }
  await ottla.closeStore(store);
});

test("a queue of jobs: produced, consumed by a group, and gone on with after a restart", async () => {
  await withFolder(async (folder) => {
    const seen: string[] = [];
    for (let run = 0; run < 3; run++) {
      await using store = await ottla.openStore(`${folder}/jobs`);
      await ottla.createTopic(store, "jobs", { partitions: 3, ifNotExists: true });
      await using producer = ottla.openProducer(store, { ack: "os" });
      const values = ["a", "b", "c", "d"].map((name) => `${name}${run}`);
      await Promise.all(values.map((value) => ottla.send(producer, "jobs", { key: value, value })));
      await using consumer = await ottla.openConsumer(store, {
        groupId: "workers",
        topics: "jobs",
        autoOffsetReset: "earliest",
      });
      const records = await ottla.poll(consumer, { waitMs: 0 });
      seen.push(...records.map(({ value }) => ottla.utf8.deserialize(value!)));
    }
    const wanted = [0, 1, 2].flatMap((run) => ["a", "b", "c", "d"].map((name) => `${name}${run}`));
    assert.deepEqual(seen.sort(), wanted.sort());
  });
});

test("a program appends, reads, closes, opens again and goes on", async () => {
  await withFolder(async (folder) => {
    let committed = 0;
    for (let run = 0; run < 3; run++) {
      const store = await ottla.openStore(`${folder}/events`);
      await ottla.createTopic(store, "events", { ifNotExists: true });
      await ottla.appendBatch(store, "events", [{ value: `a${run}` }, { value: `b${run}` }]);
      const seen: string[] = [];
      for await (const { value, offset } of ottla.read(store, "events", { from: committed })) {
        seen.push(ottla.utf8.deserialize(value!));
        committed = offset + 1;
      }
      assert.deepEqual(seen, [`a${run}`, `b${run}`]);
      await store[Symbol.asyncDispose]();
    }
    assert.equal(committed, 6);
  });
});
