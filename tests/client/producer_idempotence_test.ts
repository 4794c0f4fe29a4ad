/** What is sent twice is stored once: in this life of the store, and in the next. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import { producerInternals } from "../../src/client/producer_state.ts";
import { readBatches } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Ack } from "../../src/log/log.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { BatchBuilder } from "../../src/record/batch_builder.ts";
import { assignOffsets, batchBuilder } from "../../src/record/batch_builder.ts";
import { producerIdOf } from "../../src/record/batch_view.ts";
import { abandonStore, closeStore, openStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { getTopicState, internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { assertProperty } from "../support/properties.ts";
import { numbered, removeLocks, valuesIn, withStore } from "../support/store_fixture.ts";

/** The batches of `orders-0` as they are on disk, each in a builder as its producer sent it. */
async function batchesOf(store: Store): Promise<{ builder: BatchBuilder; recordCount: number }[]> {
  const batches: { builder: BatchBuilder; recordCount: number }[] = [];
  for await (const batch of readBatches(store, "orders")) {
    const builder = batchBuilder(batch.sizeBytes);
    builder.bytes.set(batch.bytes.subarray(batch.position, batch.position + batch.sizeBytes));
    builder.batchStart = batch.sizeBytes;
    batches.push({ builder, recordCount: batch.recordCount });
  }
  return batches;
}

/** Submits a batch once more, as a producer would that did not hear of its end. */
function submitAgain(
  store: Store,
  { builder, recordCount }: { builder: BatchBuilder; recordCount: number },
): { readonly baseOffset: number; readonly isDuplicate: boolean } {
  const internals = internalsOf(store);
  const topic = getTopicState(internals, "orders");
  const log = logOf(internals, topic, topic.partitions[0]!);
  assignOffsets(builder.view, 0, log.endOffset, log.leaderEpoch);
  return appendProduced(log, builder, log.endOffset + recordCount, "os");
}

function isOutOfOrder(error: unknown): boolean {
  return isOttlaError(error, "OUT_OF_ORDER_SEQUENCE_NUMBER");
}

async function opened(fs: FileSystem, folder: string): Promise<Store> {
  return await openStore(joinPath(folder, "store"), { fileSystem: fs });
}

describe("idempotence", () => {
  for (const end of ["a close", "a crash"] as const) {
    forEachFileSystem(
      `stores once what is submitted twice, and after ${end} too`,
      async (fs, folder) => {
        const store = await opened(fs, folder);
        await createTopic(store, "orders");
        const producer = openProducer(store);
        await Promise.all(numbered(0, 3).map((record) => send(producer, "orders", record)));
        await send(producer, "orders", { value: "v3" });
        const batches = await batchesOf(store);
        assert.equal(batches.length, 2);
        for (const [index, batch] of batches.entries()) {
          const { isDuplicate, baseOffset } = submitAgain(store, batch);
          assert.deepEqual({ isDuplicate, baseOffset }, {
            isDuplicate: true,
            baseOffset: 3 * index,
          });
        }
        if (end === "a close") await closeStore(store);
        else abandonStore(store);
        removeLocks(fs, joinPath(folder, "store"));

        const next = await opened(fs, folder);
        const { isDuplicate, baseOffset } = submitAgain(next, batches[1]!);
        assert.deepEqual({ isDuplicate, baseOffset }, { isDuplicate: true, baseOffset: 3 });
        // Of older ones a snapshot tells only that they are old: they are refused.
        if (end === "a crash") assert.equal(submitAgain(next, batches[0]!).isDuplicate, true);
        else assert.throws(() => submitAgain(next, batches[0]!), isOutOfOrder);
        assert.deepEqual(await valuesIn(next, "orders"), ["v0", "v1", "v2", "v3"]);
        const successor = openProducer(next);
        await send(successor, "orders", { value: "v4" });
        const { producerId } = producerInternals(successor).identity!;
        assert.notEqual(producerId, producerInternals(producer).identity!.producerId);
        await closeStore(next);
      },
    );
  }

  it("tells the producer of a duplicate where the original is", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store);
      await send(producer, "orders", { value: "v0" });
      // As if the producer had not heard that its first batch is stored.
      const queue = producerInternals(producer).routes.get("orders")!.queues[0]!;
      queue.nextSequence = 0;
      assert.equal((await send(producer, "orders", { value: "v0" })).offset, 0);
      assert.equal((await send(producer, "orders", { value: "v1" })).offset, 1);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1"]);
    });
  });

  it("begins again with a new epoch or id when the log refuses the numbers", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store);
      await send(producer, "orders", { value: "v0" });
      const internals = producerInternals(producer);
      internals.routes.get("orders")!.queues[0]!.nextSequence = 7;
      await assert.rejects(
        send(producer, "orders", { value: "gap" }),
        isOutOfOrder,
      );
      await send(producer, "orders", { value: "v1" });
      const { producerId, producerEpoch } = internals.identity!;
      assert.equal(producerEpoch, 1);
      const stale = { producerId, producerEpoch: 0 };
      internals.identity = stale;
      internals.routes.get("orders")!.queues[0]!.identity = stale;
      await assert.rejects(
        send(producer, "orders", { value: "fenced" }),
        (error) => isOttlaError(error, "INVALID_PRODUCER_EPOCH"),
      );
      await send(producer, "orders", { value: "v2" });
      assert.notEqual(internals.identity!.producerId, producerId);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1", "v2"]);
    });
  });

  it("can be switched off", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await send(openProducer(store, { idempotent: false }), "orders", { value: "v0" });
      for await (const batch of readBatches(store, "orders")) assert.equal(producerIdOf(batch), -1);
    });
  });
});

const anySend = fc.record({
  partition: fc.nat({ max: 2 }),
  ack: fc.constantFrom<Ack>("disk", "os", "memory"),
  size: fc.oneof(fc.nat({ max: 60 }), fc.constantFrom(200, 900)),
  /** What happens behind it. */
  pause: fc.constantFrom("none", "none", "none", "turn", "time", "flush"),
  /** Whether a write is going to fail, and how much of it reaches the file. */
  fault: fc.constantFrom(undefined, undefined, undefined, 0, 70, 100_000),
});

describe("whatever is sent", () => {
  it("is there once and in order, wherever disks fail for a time", async () => {
    await assertProperty(
      fc.asyncProperty(
        fc.array(anySend, { maxLength: 60 }),
        fc.constantFrom(0, 5),
        fc.constantFrom(60, 300, 2000),
        fc.constantFrom(4_000, 1_000_000),
        fc.boolean(),
        async (sends, lingerMs, batchBytes, bufferBytes, isReopened) => {
          const clock = manualClock();
          const disk = faultyDisk(memoryFileSystem());
          const wanted: string[][] = [[], [], []];
          await withStore(async (store) => {
            await createTopic(store, "orders", { partitions: 3 });
            const blockMs = 1_000_000;
            const producer = openProducer(store, { lingerMs, batchBytes, bufferBytes, blockMs });
            const sent: Promise<{ readonly partition: number; readonly offset: number }>[] = [];
            let isFlushing = false;
            for (const [index, { partition, ack, size, pause, fault }] of sends.entries()) {
              const value = `${index}:`.padEnd(size, "x");
              wanted[partition]!.push(value);
              if (fault !== undefined) {
                const path = `orders-${partition}`;
                failNext(disk, { operation: "write", code: "ENOSPC", path, shortBytes: fault });
              }
              sent.push(send(producer, "orders", { value, partition }, { ack }));
              if (pause === "turn") await nextTurn();
              if (pause === "time") await clock.advance(60);
              if (pause === "flush" && !isFlushing) {
                isFlushing = true;
                flushProducer(producer).then(() => void (isFlushing = false));
              }
            }
            let isClosed = false;
            const closing = closeProducer(producer).then(() => void (isClosed = true));
            for (let turn = 0; !isClosed; turn++) {
              assert.ok(turn < 10_000, "the producer does not hang");
              await nextTurn();
              await clock.advance(100);
            }
            await closing;
            // What was accepted at "memory" is written when it is read at the latest.
            healDisk(disk);
            const offsets: number[][] = [[], [], []];
            for (const { partition, offset } of await Promise.all(sent)) {
              offsets[partition]!.push(offset);
            }
            for (const [partition, values] of wanted.entries()) {
              assert.deepEqual(offsets[partition], values.map((_, offset) => offset));
              assert.deepEqual(await valuesIn(store, "orders", { partition }), values);
            }
            assert.equal(producerInternals(producer).usedBytes, 0);
          }, { clock, fileSystem: disk.fs });
          if (!isReopened) return;
          await withStore(async (store) => {
            for (const [partition, values] of wanted.entries()) {
              assert.deepEqual(await valuesIn(store, "orders", { partition }), values);
            }
          }, { clock, fileSystem: disk.fs });
        },
      ),
      { numRuns: 60 },
    );
  });
});
