/** Consumers: polling against reading, the way from a producer to a consumer, groups, memory. */

import { join } from "node:path";
import type { Consumer, Store } from "../mod.ts";
import {
  append,
  appendBatch,
  assignmentOf,
  closeConsumer,
  closeProducer,
  closeStore,
  createTopic,
  openConsumer,
  openProducer,
  openStore,
  poll,
  read,
  seek,
  send,
} from "../mod.ts";
import { benchFolder, benchRecords, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare } from "./harness.ts";
import type { Measurement } from "./memory.ts";
import { usedBytes } from "./memory.ts";

const batchRecords = 1000;
/** One record a millisecond. */
const liveIntervalMs = 1;

/**
 * A consumer of a group that polls 500 records at a time, against `read`.
 *
 * @param scale How large and how often.
 * @returns The medians.
 */
export function benchPoll(scale: BenchScale): Promise<Outcome> {
  return withStore("poll", async (store) => {
    const batchCount = scale.isSmoke ? 10 : 1000;
    await createTopic(store, "bench");
    const records = benchRecords(batchRecords, 100);
    for (let n = 0; n < batchCount; n++) {
      await appendBatch(store, "bench", records, { ack: "os" });
    }
    const count = batchCount * batchRecords;
    const consumer = await openConsumer(store, { groupId: "bench", topics: "bench" });
    return await compare({
      title: "a consumer that polls 500 at a time, against read",
      unit: "records",
      unitsPerRun: count,
      runs: scale.isSmoke ? 1 : 3,
      ratioMin: 0.6,
      baseline: {
        name: "read",
        async run() {
          let size = 0;
          for await (const record of read(store, "bench")) size += record.value!.length;
          return size;
        },
      },
      ottla: {
        name: "poll",
        async run() {
          let size = 0;
          let seen = 0;
          seek(consumer, "bench", 0, "earliest");
          while (seen < count) {
            const polled = await poll(consumer, { recordsMax: 500 });
            for (const record of polled) size += record.value!.length;
            seen += polled.length;
          }
          return size;
        },
      },
    }, scale);
  });
}

/**
 * A thousand records a second through a topic, from the call that sends to the poll that gives.
 *
 * @param scale How long.
 * @returns The 99th percentile of the time it takes, in milliseconds.
 */
export function benchLive(scale: BenchScale): Promise<Measurement> {
  return withStore("live", async (store) => {
    const count = scale.isSmoke ? 50 : 10_000;
    await createTopic(store, "bench");
    const consumer = await openConsumer(store, {
      groupId: "bench",
      topics: "bench",
      autoOffsetReset: "earliest",
    });
    const producer = openProducer(store, { ack: "os" });
    const [sent, received] = [new Float64Array(count), new Float64Array(count)];
    const consuming = (async () => {
      for (let seen = 0; seen < count;) {
        const records = await poll(consumer, { waitMs: 1000 });
        const now = performance.now();
        for (const { offset } of records) received[offset] = now;
        seen += records.length;
      }
    })();
    await atIntervals(count, (n) => {
      sent[n] = performance.now();
      send(producer, "bench", { key: "key", value: "x".repeat(100) }).catch(fail);
    });
    await consuming;
    await closeProducer(producer);
    const latencies = received.map((time, n) => time - sent[n]!).sort();
    return {
      title: "live from send to poll, 1,000 records a second, 99th percentile",
      value: latencies[Math.ceil(count * 0.99) - 1]!,
      valueMax: 2,
      unit: "ms",
      checksum: count,
    };
  });
}

/**
 * A thousand consumers share a thousand partitions: half of them first, then all.
 *
 * @param scale How many.
 * @returns Milliseconds until each has one partition, from the moment the second half joins.
 */
export function benchRebalance(scale: BenchScale): Promise<Measurement> {
  return withStore("rebalance", async (store) => {
    const count = scale.isSmoke ? 20 : 1000;
    await createTopic(store, "bench", { partitions: count });
    const consumers = await openConsumers(store, count / 2);
    await pollUntilShared(consumers, 2);
    const start = performance.now();
    consumers.push(...await openConsumers(store, count / 2));
    const polls = await pollUntilShared(consumers, 1);
    return {
      title: `${count} consumers share ${count} partitions after half of them joined`,
      value: performance.now() - start,
      valueMax: 1000,
      unit: "ms",
      checksum: polls,
    };
  });
}

/**
 * Opens consumers that have nothing to do.
 *
 * @param scale How many.
 * @returns Kilobytes a consumer.
 */
export function benchIdleConsumers(scale: BenchScale): Promise<Measurement> {
  return withStore("idle", async (store) => {
    const count = scale.isSmoke ? 20 : 1000;
    await createTopic(store, "bench", { partitions: count });
    for (let partition = 0; partition < count; partition++) {
      await append(store, "bench", { value: "one", partition }, { ack: "os" });
    }
    const [warm] = await openConsumers(store, 1);
    await poll(warm!, { waitMs: 0 });
    await closeConsumer(warm!);
    const before = usedBytes();
    const consumers = await openConsumers(store, count);
    await pollUntilShared(consumers, 1);
    // Each has read a record and now waits for the next one.
    const waiting = consumers.map((consumer) => poll(consumer, { waitMs: 60_000 }));
    await new Promise((resolve) => setTimeout(resolve, 10));
    const used = usedBytes() - before;
    const closing = consumers.map((consumer) => closeConsumer(consumer));
    const polled = (await Promise.all(waiting)).flat();
    await Promise.all(closing);
    return {
      title: `${count} idle consumers that wait in a poll`,
      value: used / count / 1024,
      // A few consumers carry what is made once for all.
      valueMax: scale.isSmoke ? 1024 : 100,
      unit: "KiB a consumer",
      checksum: polled.length,
    };
  });
}

function openConsumers(store: Store, count: number): Promise<Consumer[]> {
  return Promise.all(Array.from({ length: count }, () =>
    openConsumer(store, {
      groupId: "bench",
      topics: "bench",
      autoOffsetReset: "earliest",
      autoCommit: false,
    })));
}

/** Polls until each consumer has its share; returns how many polls that took. */
async function pollUntilShared(consumers: readonly Consumer[], share: number): Promise<number> {
  let polls = 0;
  while (consumers.some((consumer) => assignmentOf(consumer).length !== share)) {
    for (const consumer of consumers) await poll(consumer, { waitMs: 0 });
    polls += consumers.length;
  }
  return polls;
}

/** A send that fails would be waited for in vain. */
function fail(error: unknown): never {
  throw error;
}

/** Calls back at even intervals, catching up where the timer was late. */
async function atIntervals(count: number, callback: (n: number) => void): Promise<void> {
  const start = performance.now();
  for (let n = 0; n < count;) {
    await new Promise((resolve) => setTimeout(resolve, liveIntervalMs));
    const due = (performance.now() - start) / liveIntervalMs;
    while (n < count && n < due) callback(n++);
  }
}

async function withStore<Result>(
  name: string,
  run: (store: Store) => Promise<Result>,
): Promise<Result> {
  const folder = benchFolder(name);
  const store = await openStore(join(folder, "store"));
  try {
    return await run(store);
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}
