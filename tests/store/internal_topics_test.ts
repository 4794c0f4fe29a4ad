/** The topics in which a store keeps the state of groups: who may see them, and who may not write. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { commitOffsets } from "../../src/client/groups.ts";
import { read } from "../../src/client/read.ts";
import type { Store } from "../../src/store/store.ts";
import {
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  listTopics,
} from "../../src/store/topics.ts";
import { withStore } from "../support/store_fixture.ts";

const name = "__consumer_offsets";

async function withGroup(run: (store: Store) => Promise<void>): Promise<void> {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset: 0 }]);
    await run(store);
  });
}

describe("internal topics", () => {
  it("are listed for those who ask for them", async () => {
    await withGroup((store) => {
      assert.deepEqual(listTopics(store), ["orders"]);
      assert.deepEqual(listTopics(store, {}), ["orders"]);
      assert.deepEqual(listTopics(store, { includesInternal: true }), [name, "orders"]);
      assert.throws(() => listTopics(store, { includesInternal: 1 as never }), TypeError);
      assert.throws(() => listTopics(store, null as never), TypeError);
      return Promise.resolve();
    });
  });

  it("can be read and described", async () => {
    await withGroup(async (store) => {
      const keys: number[] = [];
      for await (const { key } of read(store, name)) keys.push(key![1]!);
      assert.deepEqual(keys, [1]);
      assert.equal(describeTopic(store, name).partitions.length, 50);
    });
  });

  it("are nobody's to write to or to take from", async () => {
    await withGroup(async (store) => {
      const error = { code: "INVALID_TOPIC_EXCEPTION" };
      await assert.rejects(append(store, name, { key: "k", value: "v" }), error);
      await assert.rejects(deleteTopic(store, name), error);
      await assert.rejects(createPartitions(store, name, 51), error);
      await assert.rejects(deleteRecords(store, name, 0, 1), error);
      assert.equal(describeTopic(store, name).partitions.length, 50);
    });
  });
});
