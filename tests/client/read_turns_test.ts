/** Reading a long history lets the event loop do what else there is to do. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { appendBatch, closeStore, createTopic, openStore, read, readBatches } from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { nextTurn } from "../../src/platform/clock.ts";

const batchCount = 32;

/** A store with sixteen megabytes in one partition. */
async function longHistory(): Promise<Store> {
  const store = await openStore(":memory:");
  await createTopic(store, "history");
  const value = new Uint8Array(512 * 1024);
  for (let batch = 0; batch < batchCount; batch++) {
    await appendBatch(store, "history", [{ value }], { ack: "os" });
  }
  return store;
}

test("other work gets its turn while records or batches are read", async () => {
  const store = await longHistory();
  for (const readAll of [read, readBatches] as const) {
    let turns = 0;
    let isReading = true;
    const other = (async () => {
      while (isReading) {
        await nextTurn();
        turns++;
      }
    })();
    let count = 0;
    for await (const _ of readAll(store, "history")) count++;
    isReading = false;
    assert.equal(count, batchCount);
    assert.ok(turns >= 2, `${turns} turns while ${count} batches were read`);
    await other;
  }
  await closeStore(store);
});
