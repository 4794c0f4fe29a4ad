/** What a producer does with batches that could not be written when their topic is altered: they are held to what it says then. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { send } from "../../src/client/producer.ts";
import type { ProducerOptions } from "../../src/client/producer_options.ts";
import { producerInternals } from "../../src/client/producer_state.ts";
import { readBatches } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { baseSequenceOf, producerEpochOf } from "../../src/record/batch_view.ts";
import type { Store } from "../../src/store/store.ts";
import { alterTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { failNext } from "../support/faulty_file_system.ts";
import type { ProducerFixture } from "../support/producer_fixture.ts";
import { withProducerOn } from "../support/producer_fixture.ts";
import { numbered, numberedText, valuesIn } from "../support/store_fixture.ts";

async function withProducer(
  options: ProducerOptions,
  run: (fixture: ProducerFixture) => Promise<void>,
): Promise<void> {
  await withProducerOn({ clock: manualClock(), producer: options }, async (fixture) => {
    await run(fixture);
    assert.equal(producerInternals(fixture.producer).usedBytes, 0);
  });
}

/** The epoch, first sequence and count of each batch. */
async function numbersIn(store: Store): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of readBatches(store, "orders")) {
    found.push(`${producerEpochOf(batch)}: ${baseSequenceOf(batch)}+${batch.recordCount}`);
  }
  return found;
}

const full = { operation: "write", code: "ENOSPC", path: "orders-0" } as const;

describe("a batch that is tried again", () => {
  it("is split where the topic takes only smaller ones by now, and keeps its numbers", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, full);
      const sent = numbered(0, 8).map((record) => send(producer, "orders", record));
      await nextTurn();
      await alterTopic(store, "orders", { maxMessageBytes: 61 + 4 * 10 });
      await clock.advance(200);
      const offsets = (await Promise.all(sent)).map(({ offset }) => offset);
      assert.deepEqual(offsets, [1, 2, 3, 4, 5, 6, 7, 8]);
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 8));
      assert.deepEqual(await numbersIn(store), ["0: 0+1", "0: 1+4", "0: 5+4"]);
    });
  });

  it("fails if its only record is too large by now; what follows takes its number", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, full);
      const sent = send(producer, "orders", { value: "x".repeat(500) });
      const failed = assert.rejects(sent, (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"));
      await nextTurn();
      await alterTopic(store, "orders", { maxMessageBytes: 300 });
      const next = send(producer, "orders", { value: "v0" });
      await clock.advance(200);
      await failed;
      assert.equal((await next).offset, 1);
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "v0"]);
      assert.deepEqual(await numbersIn(store), ["0: 0+1", "0: 1+1"]);
    });
  });

  it("loses the records without keys if the topic is compacted by now", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, full);
      const keyed = send(producer, "orders", { key: "k", value: "v0" });
      const keyless = send(producer, "orders", { value: "v1" });
      const failed = assert.rejects(keyless, (error) => isOttlaError(error, "INVALID_RECORD"));
      await nextTurn();
      await alterTopic(store, "orders", { cleanupPolicy: "compact" });
      await clock.advance(200);
      assert.equal((await keyed).offset, 1);
      await failed;
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "v0"]);
    });
  });

  it("begins a new epoch with its parts if there is one by now", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, full);
      const sent = numbered(0, 8).map((record) => send(producer, "orders", record));
      await nextTurn();
      // As another partition has it when one of its batches is given up.
      const internals = producerInternals(producer);
      internals.identity = { ...internals.identity!, producerEpoch: 1 };
      await alterTopic(store, "orders", { maxMessageBytes: 61 + 4 * 10 });
      await clock.advance(200);
      await Promise.all(sent);
      assert.deepEqual(await numbersIn(store), ["0: 0+1", "1: 0+4", "1: 4+4"]);
    });
  });
});
