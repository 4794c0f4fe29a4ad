/** The public functions: which there are, and that the README's kind of program runs with them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ottla from "../mod.ts";
import type { LogRecord, RecordMetadata, Topic } from "../mod.ts";
import { withFolder } from "./support/store_fixture.ts";

test("the functions that others build on are there", () => {
  const wanted = [
    ["openStore", "closeStore", "flush"],
    ["createTopic", "deleteTopic", "listTopics", "describeTopic", "alterTopic", "createPartitions"],
    ["deleteRecords", "enforceRetention"],
    ["topicOf", "utf8", "bytes", "json", "msgpack"],
    ["append", "appendBatch"],
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
