/** What a compaction costs those who append meanwhile, and how fast it is. */

import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import {
  append,
  appendBatch,
  closeStore,
  compactTopic,
  createTopic,
  forEachRecord,
  openStore,
  readBatches,
} from "../mod.ts";
import type { Ack, Store } from "../mod.ts";
import type { BenchRecord } from "./fixture.ts";
import { benchFolder, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare, touchMemory } from "./harness.ts";
import type { Measurement } from "./memory.ts";

const valueBytes = 200;
const batchRecords = 1000;
const segmentBytes = 16 * 1024 * 1024;

/**
 * Appends one record after the other while the same topic is compacted again and again, and while it
 * is not.
 *
 * @param scale How large and how often.
 * @param ack What each append waits for.
 * @returns How many times as long the slowest hundredth of the appends took.
 */
export async function benchCompactionLatency(scale: BenchScale, ack: Ack): Promise<Measurement> {
  const folder = benchFolder("compaction-latency");
  const rounds = scale.isSmoke ? 1 : 5;
  const count = scale.isSmoke ? 50 : 3000;
  const store = await openStore(join(folder, "store"));
  const quiet: number[] = [];
  const busy: number[] = [];
  let checksum = 0;
  try {
    await createTopic(store, "bench", { cleanupPolicy: "compact", segmentBytes });
    const megabytes = scale.isSmoke ? 1 : 64;
    await fill(store, megabytes * 1024 * 1024, 50_000);
    await timeAppends(store, count, ack);
    touchMemory(scale.touchBytes);
    for (let round = 0; round < rounds; round++) {
      quiet.push(percentile(await timeAppends(store, count, ack), 0.99));
      const isDone = { value: false };
      const compacting = compactUntil(store, isDone);
      busy.push(percentile(await timeAppends(store, count, ack), 0.99));
      isDone.value = true;
      checksum += await compacting;
    }
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
  const quietMs = percentile(quiet, 0.5);
  const busyMs = percentile(busy, 0.5);
  return {
    title: `p99 of append, ack "${ack}", during compaction: ${(busyMs * 1000).toFixed(0)} µs ` +
      `against ${(quietMs * 1000).toFixed(0)} µs`,
    value: busyMs / quietMs,
    valueMax: 3,
    unit: "times as long",
    checksum,
  };
}

/**
 * Compacts a topic of which nine records in ten go, against reading it and keeping the last offset
 * of each key in a `Map`.
 *
 * @param scale How large and how often.
 * @returns The medians.
 */
export async function benchCompaction(scale: BenchScale): Promise<Outcome> {
  const folder = benchFolder("compaction");
  const sizeBytes = (scale.isSmoke ? 1 : 64) * 1024 * 1024;
  let store: Store | undefined;
  let count = 0;
  let round = 0;
  const before = async (): Promise<void> => {
    store = await openStore(join(folder, `store-${round++}`));
    await createTopic(store, "bench", { cleanupPolicy: "compact", segmentBytes });
    count = await fill(store, sizeBytes, Math.ceil(sizeBytes / (valueBytes + 20) / 10));
  };
  const after = async (): Promise<void> => {
    await closeStore(store!);
    removeFolder(store!.path);
  };
  try {
    return await compare({
      title: "compactTopic, a tenth of the records left, 200 B values",
      unit: "MiB",
      unitsPerRun: sizeBytes / 1024 ** 2,
      runs: 1,
      ratioMin: 0.25,
      baseline: {
        name: "read into a Map",
        before,
        async run() {
          const offsets = new Map<string, number>();
          const decoder = new TextDecoder("latin1");
          for await (const batch of readBatches(store!, "bench")) {
            forEachRecord(batch, ({ bytes, keyStart, keyEnd, offset }) => {
              offsets.set(decoder.decode(bytes.subarray(keyStart, keyEnd)), offset);
            });
          }
          return offsets.size;
        },
        after,
      },
      ottla: {
        name: "ottla",
        before,
        async run() {
          const { readRecords, keptRecords } = await compactTopic(store!, "bench");
          if (readRecords !== count) throw new Error(`${readRecords} of ${count} were read`);
          return keptRecords;
        },
        after,
      },
    }, scale);
  } finally {
    removeFolder(folder);
  }
}

/** Appends so many bytes, each key in turn. Returns the number of records. */
async function fill(store: Store, sizeBytes: number, keyCount: number): Promise<number> {
  let count = 0;
  for (let bytes = 0; bytes < sizeBytes; bytes += batchRecords * (valueBytes + 20)) {
    const records = Array.from({ length: batchRecords }, (_, nth) => record(count + nth, keyCount));
    await appendBatch(store, "bench", records, { ack: "os" });
    count += batchRecords;
  }
  return count;
}

function record(nth: number, keyCount: number): BenchRecord {
  return {
    key: new TextEncoder().encode(String(nth % keyCount).padStart(12, "0")),
    value: new Uint8Array(valueBytes).fill(nth),
  };
}

/** How long each of so many appends took, in milliseconds, the event loop having a turn between. */
async function timeAppends(store: Store, count: number, ack: Ack): Promise<number[]> {
  const times: number[] = [];
  for (let nth = 0; nth < count; nth++) {
    const one = record(nth, 1000);
    const start = performance.now();
    await append(store, "bench", one, { ack });
    times.push(performance.now() - start);
    await setImmediate();
  }
  return times;
}

async function compactUntil(store: Store, isDone: { readonly value: boolean }): Promise<number> {
  let keptRecords = 0;
  while (!isDone.value) {
    keptRecords = (await compactTopic(store, "bench")).keptRecords;
    await setImmediate();
  }
  return keptRecords;
}

function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
