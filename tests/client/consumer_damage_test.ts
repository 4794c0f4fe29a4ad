/** Consumers before damage: nothing is passed over that nobody has said to pass over. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, poll } from "../../src/client/consumer.ts";
import { assign, positionOf, seek } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import { isOttlaError } from "../../src/errors.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import { setFaults, simulatedDisk } from "../../src/testing/mod.ts";
import { damageFirstBatch, obscureFirstBatch } from "../support/damage.ts";
import { now, orders, polled, reader } from "../support/orders_reader.ts";
import { numbered, withStore } from "../support/store_fixture.ts";

const bills = { topic: "bills", partition: 0 };

/** Makes a topic with so many batches of a record each, "v0" and so on. */
async function makeTopic(store: Store, topic: string, batches: number): Promise<void> {
  await createTopic(store, topic);
  for (const record of numbered(0, batches)) await append(store, topic, record);
}

function isDamage(error: unknown): boolean {
  return isOttlaError(error, "CORRUPT_MESSAGE");
}

async function committed(store: Store): Promise<string[]> {
  const offsets = await committedOffsets(store, "billing");
  return offsets.map(({ topic, offset }) => `${topic} ${offset}`);
}

describe("a consumer at damage", () => {
  it("stays there, and so does its group, until somebody seeks behind it", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 3);
      damageFirstBatch(fs, "orders");
      for (let times = 0; times < 2; times++) {
        const consumer = await reader(store);
        for (let polls = 0; polls < 3; polls++) {
          await assert.rejects(poll(consumer, now), {
            code: "CORRUPT_MESSAGE",
            message: "Cannot read offsets 0 to 0 of orders-0: the batch at position 0 of " +
              "/store/orders-0/00000000000000000000.log is damaged, its checksum is wrong; " +
              "to go on behind it, seek to 1",
          });
          assert.equal(positionOf(consumer, "orders", 0), 0);
        }
        await closeConsumer(consumer);
        assert.deepEqual(await committed(store), ["orders 0"]);
      }
      const consumer = await reader(store);
      const error: unknown = await poll(consumer, now).catch((error) => error);
      assert.ok(isOttlaError(error));
      seek(consumer, "orders", 0, Number(error.details["endOffset"]));
      assert.deepEqual(await polled(consumer), ["v1", "v2"]);
      await closeConsumer(consumer);
      assert.deepEqual(await committed(store), ["orders 3"]);
    });
  });

  it("gets every record if the file is well and was only read wrongly", async () => {
    const disk = simulatedDisk({ seed: 7 });
    const store = await openStore("/data", { ...disk.process, diskFreeBytesMin: 0 });
    await makeTopic(store, "orders", 3);
    const consumer = await reader(store);
    setFaults(disk, {
      rule: ({ kind, path }) =>
        kind === "read" && path.endsWith(".log") ? { flippedBits: 500 } : undefined,
    });
    await assert.rejects(poll(consumer, now), isDamage);
    await assert.rejects(poll(consumer, now), isDamage);
    setFaults(disk);
    assert.deepEqual(await polled(consumer), ["v0", "v1", "v2"]);
    await closeStore(store);
  });

  it("is given what lies in front of it first, and what other partitions have", async () => {
    await withStore(async (store, fs) => {
      const partitions = ["a", "b", "c"].map((topic) => ({ topic, partition: 0 }));
      for (const { topic } of partitions) await makeTopic(store, topic, 3);
      damageFirstBatch(fs, "a");
      damageFirstBatch(fs, "b");
      const consumer = await reader(store, { partitions });
      const told = new Set<unknown>();
      const seen: string[] = [];
      for (let polls = 0; polls < 10; polls++) {
        try {
          for (const { topic, offset } of await poll(consumer, { ...now, recordsMax: 1 })) {
            seen.push(`${topic} ${offset}`);
          }
        } catch (error) {
          assert.ok(isOttlaError(error, "CORRUPT_MESSAGE"));
          told.add(error.details["topic"]);
        }
      }
      assert.deepEqual([[...told].sort(), seen], [["a", "b"], ["c 0", "c 1", "c 2"]]);
    });
  });

  it("is not told of what was found where it is no longer", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 4);
      await makeTopic(store, "bills", 1);
      damageFirstBatch(fs, "orders");
      const consumer = await reader(store, { partitions: [orders, bills] });
      assert.deepEqual(await polled(consumer), ["v0"]);
      seek(consumer, "orders", 0, 3);
      assert.deepEqual(await polled(consumer), ["v3"]);
      seek(consumer, "bills", 0, 0);
      seek(consumer, "orders", 0, 0);
      assert.deepEqual(await polled(consumer), ["v0"]);
      await assign(consumer, [bills]);
      assert.deepEqual(await polled(consumer), []);
    });
  });

  it("goes on by itself when the damage was deleted", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 3);
      damageFirstBatch(fs, "orders");
      const consumer = await reader(store);
      await assert.rejects(poll(consumer, now), isDamage);
      await deleteRecords(store, "orders", 0, 1);
      assert.deepEqual(await polled(consumer), ["v1", "v2"]);
    });
  });

  it("does not hold up others by polling again and again", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 1);
      damageFirstBatch(fs, "orders");
      const consumer = await reader(store);
      let isDue = false;
      setImmediate(() => isDue = true);
      for (let polls = 0; polls < 3; polls++) await assert.rejects(poll(consumer, now), isDamage);
      assert.equal(isDue, true);
    });
  });

  it("is told by an iteration each time, and can go on with it", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 2);
      damageFirstBatch(fs, "orders");
      const consumer = await reader(store);
      for (let times = 0; times < 2; times++) {
        await assert.rejects(async () => {
          for await (const { offset } of consumer) assert.fail(`offset ${offset} was given out`);
        }, isDamage);
      }
      seek(consumer, "orders", 0, 1);
      const { value } = await consumer[Symbol.asyncIterator]().next();
      assert.equal(value.offset, 1);
    });
  });
});

describe("a consumer with onGap", () => {
  it("goes on behind damage, and commits that", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 2);
      damageFirstBatch(fs, "orders");
      const gaps: number[][] = [];
      const consumer = await reader(store, {
        onGap: ({ startOffset, endOffset }) => void gaps.push([startOffset, endOffset]),
      });
      assert.deepEqual(await polled(consumer), ["v1"]);
      await closeConsumer(consumer);
      assert.deepEqual([gaps, await committed(store)], [[[0, 1]], ["orders 2"]]);
    });
  });

  it("may seek in it", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 4);
      damageFirstBatch(fs, "orders");
      const consumer: Consumer = await reader(store, {
        onGap: () => seek(consumer, "orders", 0, 3),
      });
      assert.deepEqual(await polled(consumer), ["v3"]);
    });
  });

  it("that throws is told again, for nothing was passed over", async () => {
    await withStore(async (store, fs) => {
      await makeTopic(store, "orders", 2);
      damageFirstBatch(fs, "orders");
      let calls = 0;
      const consumer = await reader(store, {
        onGap() {
          if (++calls < 3) throw new Error(`call ${calls}`);
        },
      });
      await assert.rejects(poll(consumer, now), /call 1/);
      await assert.rejects(poll(consumer, now), /call 2/);
      assert.deepEqual(await polled(consumer), ["v1"]);
    });
  });
});

describe("a batch that cannot be decompressed", () => {
  it("is not passed over, and no gap", async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", numbered(0, 5));
      await append(store, "orders", { value: "v5" });
      obscureFirstBatch(fs, "orders");
      for (const onGap of [undefined, () => assert.fail("it is no gap")]) {
        const consumer = await reader(store, { onGap });
        for (let polls = 0; polls < 3; polls++) {
          await assert.rejects(poll(consumer, now), {
            code: "UNSUPPORTED_COMPRESSION_TYPE",
            message: "Cannot read offsets 0 to 4 of orders-0: Cannot decompress a batch: unknown " +
              "compression type id 7, wanted 0 to 4; to go on behind it, seek to 5",
          });
        }
        await closeConsumer(consumer);
        assert.deepEqual(await committed(store), ["orders 0"]);
      }
      const consumer = await reader(store);
      seek(consumer, "orders", 0, 5);
      assert.deepEqual(await polled(consumer), ["v5"]);
    });
  });
});
