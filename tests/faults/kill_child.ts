/**
 * A program that does all a store can do until it is killed, and says on its standard output what
 * was acknowledged to it: after the promise has resolved, never before.
 *
 * Its parameters are the store's folder, a seed, which is also the name of this life, and the level
 * at which it appends; it chooses between "os" and "disk" itself unless that is given.
 */

import { writeSync } from "node:fs";
import process from "node:process";
import {
  append,
  appendBatch,
  commit,
  compactTopic,
  createTopic,
  deleteRecords,
  deleteTopic,
  offsetsOf,
  openConsumer,
  openProducer,
  openStore,
  poll,
  send,
} from "../../mod.ts";
import type { Ack } from "../../mod.ts";
import { seededRandom } from "../../src/testing/mod.ts";
import type { Acknowledgement, OrderId } from "./kill_plan.ts";
import {
  deletedPartition,
  groupId,
  killStoreOptions,
  latestKeys,
  latestTopic,
  makeOrder,
  ordersPartitions,
  ordersTopic,
  passingPrefix,
  printOrderId,
} from "./kill_plan.ts";

/** Nobody killed it: give up. */
const stepsMax = 100_000;
const burstMax = 8;
const orderBytesMax = 400;

const [folder = "", seed = "0", level] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const encoder = new TextEncoder();

const store = await openStore(folder, killStoreOptions);
acknowledge("open");
await createTopic(store, ordersTopic, { partitions: ordersPartitions, ifNotExists: true });
await createTopic(store, latestTopic, { cleanupPolicy: "compact", ifNotExists: true });
const producer = openProducer(store, { lingerMs: 0 });
const consumer = await openConsumer(store, {
  groupId,
  topics: ordersTopic,
  autoCommit: false,
  autoOffsetReset: "earliest",
});

try {
  const parts = [appendSingly, appendMany, produce, consume, keepLatest, deleteOld, passTopics];
  await Promise.all(parts.map(async (part) => {
    const step = part();
    for (let count = 0; count < stepsMax; count++) await step();
  }));
} catch (error) {
  acknowledge("failed", error instanceof Error ? error.stack ?? error.message : String(error));
}

function acknowledge(...line: Acknowledgement): void {
  let bytes = encoder.encode(JSON.stringify(line) + "\n");
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      // A full pipe that does not wait: the reader is behind.
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
  }
}

/** Gives the ids of one stream, each partition's counted by itself. */
function orderIds(name: string): () => OrderId {
  const counts = new Array<number>(ordersPartitions).fill(0);
  return () => {
    const partition = random.below(ordersPartitions);
    const sizeBytes = random.below(orderBytesMax);
    return { stream: `${seed}.${name}`, partition, number: counts[partition]!++, sizeBytes };
  };
}

function someAck(): Ack {
  return level === "disk" || random.chance(0.5) ? "disk" : "os";
}

function someOrders(nextId: () => OrderId): OrderId[] {
  return Array.from({ length: 1 + random.below(burstMax) }, nextId);
}

function appendSingly(): () => Promise<void> {
  const nextId = orderIds("append");
  return async () => {
    const ack = someAck();
    await Promise.all(
      someOrders(nextId).map(async (id) => {
        const record = { value: makeOrder(id), partition: id.partition };
        const { partition, offset } = await append(store, ordersTopic, record, { ack });
        acknowledge("record", partition, offset, printOrderId(id));
      }),
    );
  };
}

function appendMany(): () => Promise<void> {
  const nextId = orderIds("batch");
  return async () => {
    const ids = someOrders(nextId);
    const records = ids.map((id) => ({ value: makeOrder(id), partition: id.partition }));
    const stored = await appendBatch(store, ordersTopic, records, { ack: someAck() });
    for (const { partition, baseOffset } of stored) {
      ids.filter((id) => id.partition === partition).forEach((id, index) => {
        acknowledge("record", partition, baseOffset + index, printOrderId(id));
      });
    }
  };
}

function produce(): () => Promise<void> {
  const nextId = orderIds("send");
  return async () => {
    await Promise.all(
      someOrders(nextId).map(async (id) => {
        const record = { value: makeOrder(id), partition: id.partition };
        const { partition, offset } = await send(producer, ordersTopic, record);
        acknowledge("record", partition, offset, printOrderId(id));
      }),
    );
  };
}

function consume(): () => Promise<void> {
  return async () => {
    const records = await poll(consumer, { recordsMax: 1 + random.below(200), waitMs: 1 });
    const ends = new Map(records.map(({ partition, offset }) => [partition, offset + 1]));
    await commit(consumer);
    for (const [partition, offset] of ends) acknowledge("commit", partition, offset);
  };
}

function keepLatest(): () => Promise<void> {
  let value = 0;
  return async () => {
    const key = random.below(latestKeys);
    const number = Number(seed) * stepsMax + value++;
    await append(store, latestTopic, { key: `${key}`, value: `${number}` }, { ack: someAck() });
    acknowledge("latest", key, number);
    if (random.chance(0.02)) await compactTopic(store, latestTopic);
  };
}

function deleteOld(): () => Promise<void> {
  return async () => {
    const { startOffset, highWatermark } = offsetsOf(store, ordersTopic)[deletedPartition]!;
    const beforeOffset = startOffset + random.below(highWatermark - startOffset + 1);
    await append(store, latestTopic, { key: "pause", value: "" });
    if (random.chance(0.9)) return;
    acknowledge("start", await deleteRecords(store, ordersTopic, deletedPartition, beforeOffset));
  };
}

function passTopics(): () => Promise<void> {
  let number = Number(seed) * stepsMax;
  return async () => {
    const name = `${passingPrefix}${number}`;
    await createTopic(store, name);
    acknowledge("topic", number, true);
    await append(store, name, { value: name });
    if (random.chance(0.5)) {
      await deleteTopic(store, name);
      acknowledge("topic", number, false);
    }
    number++;
  };
}
