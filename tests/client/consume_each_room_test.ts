/** `consumeEach` where there is no room for more: it ends, and its group gets what it wants. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { consumeEach } from "../../src/client/consume_each.ts";
import { closeConsumer, poll } from "../../src/client/consumer.ts";
import { takenMax } from "../../src/client/handler_lanes.ts";
import { createTopic } from "../../src/store/topics.ts";
import { numbered, recordsIn, settled, withStore } from "../support/store_fixture.ts";
import { committed, worker } from "../support/workers.ts";

/** A promise that a test ends. */
function held(): { readonly promise: Promise<void>; end(error?: Error): void } {
  let end = (_?: Error): void => {};
  const promise = new Promise<void>((resolve, reject) => {
    end = (error) => error === undefined ? resolve() : reject(error);
  });
  return { promise, end };
}

describe("without room for more records", () => {
  for (const way of ["an error", "a signal"]) {
    it(`${way} ends it, though all wait for one record`, async () => {
      await withStore(async (store) => {
        await createTopic(store, "jobs");
        await appendBatch(store, "jobs", numbered(0, takenMax + 10), { ack: "os" });
        const consumer = await worker(store);
        const [first, full, stop] = [held(), held(), new AbortController()];
        const handling = consumeEach(consumer, ({ offset }) => {
          if (offset === takenMax - 1) full.end();
          return offset === 0 ? first.promise : undefined;
        }, { retriesMax: 0, signal: stop.signal });
        await full.promise;
        await settled();
        if (way === "a signal") stop.abort();
        first.end(new Error("in vain"));
        if (way === "a signal") await handling;
        else await assert.rejects(handling, /in vain/);
        assert.equal(await committed(store) ?? 0, 0);
        const [again] = await poll(consumer, { waitMs: 0 });
        assert.equal(again?.offset, 0);
      });
    });
  }

  it("partitions of which nothing runs go to another member at once", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs", { partitions: 2 });
      await appendBatch(
        store,
        "jobs",
        numbered(0, 50).map((record) => ({ ...record, partition: 0 })),
      );
      const first = await worker(store);
      const slow = held();
      const handling = consumeEach(first, () => slow.promise, { concurrency: 1 });
      await settled();
      const second = await worker(store);
      const polling = poll(second, { waitMs: Infinity });
      await append(store, "jobs", { value: "other", partition: 1 });
      // It would wait for ever if the first one waited for its handler.
      const [record] = await polling;
      slow.end();
      assert.equal(record?.partition, 1);
      await closeConsumer(first);
      await handling;
      assert.ok((await committed(store))! >= 17, "what was taken in was handled");
    });
  });
});

describe("a handler that fails because it is told to stop", () => {
  for (const deadLetterTopic of [undefined, "dead"]) {
    const where = deadLetterTopic === undefined ? "without" : "with";
    it(`has its record come again, ${where} a dead letter topic`, async () => {
      await withStore(async (store) => {
        await createTopic(store, "jobs");
        await createTopic(store, "dead");
        await appendBatch(store, "jobs", numbered(0, 2));
        const consumer = await worker(store);
        const stop = new AbortController();
        const handling = consumeEach(consumer, (_, { signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason));
          }), {
          retriesMax: 0,
          signal: stop.signal,
          ...(deadLetterTopic === undefined ? {} : { deadLetterTopic }),
        });
        await settled();
        stop.abort();
        await handling;
        assert.equal((await recordsIn(store, "dead")).length, 0);
        const records = await poll(consumer, { waitMs: 0 });
        assert.deepEqual(records.map(({ offset }) => offset), [0, 1]);
      });
    });
  }
});
