/** What a compaction costs those who append meanwhile, and how fast it is. */

import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import {
  alterTopic,
  append,
  appendBatch,
  closeStore,
  compactTopic,
  createTopic,
  describeTopic,
  flush,
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
const segmentBytes = 4 * 1024 * 1024;
const largeSegmentBytes = 16 * 1024 * 1024;
const keysLeft = 1000;
/** A compaction that has not begun to show by then has failed. */
const compactedMsMax = 60_000;

/**
 * Appends one record after the other while the store compacts another topic by itself, and while it
 * does not.
 *
 * @param scale How large and how often.
 * @param ack What each append waits for.
 * @returns How many times as long the slowest hundredth of the appends took.
 */
export async function benchCompactionLatency(scale: BenchScale, ack: Ack): Promise<Measurement> {
  const folder = benchFolder("compaction-latency");
  const rounds = scale.isSmoke ? 1 : 5;
  const sizeBytes = (scale.isSmoke ? 4 : 48) * 1024 * 1024;
  const quiet: number[] = [];
  const busy: number[] = [];
  let checksum = 0;
  touchMemory(scale.touchBytes);
  for (let round = 0; round < rounds; round++) {
    // What no checkpoint has recorded as being on disk is not compacted yet.
    const options = { compactionCheckMs: 500, checkpointMs: 500 };
    const store = await openStore(join(folder, `store-${round}`), options);
    try {
      const cleanupPolicy = "compact";
      await createTopic(store, "quiet", { cleanupPolicy, segmentBytes, minCleanableDirtyRatio: 1 });
      await createTopic(store, "bench", { cleanupPolicy, segmentBytes, minCleanableDirtyRatio: 1 });
      await fill(store, "bench", sizeBytes, keysLeft);
      await flush(store);
      await timeAppends(store, "quiet", 200, ack);
      quiet.push(percentile(await timeAppends(store, "quiet", 3000, ack), 0.99));
      await alterTopic(store, "bench", { minCleanableDirtyRatio: 0 });
      busy.push(percentile(await timeUntilCompacted(store, sizeBytes, ack), 0.99));
      checksum += describeTopic(store, "bench").partitions[0]!.segmentCount;
    } finally {
      await closeStore(store);
    }
  }
  removeFolder(folder);
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
    await createTopic(store, "bench", {
      cleanupPolicy: "compact",
      segmentBytes: largeSegmentBytes,
    });
    count = await fill(store, "bench", sizeBytes, Math.ceil(sizeBytes / (valueBytes + 20) / 10));
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
      ratioMin: 0.15,
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
async function fill(
  store: Store,
  topic: string,
  sizeBytes: number,
  keyCount: number,
): Promise<number> {
  let count = 0;
  for (let bytes = 0; bytes < sizeBytes; bytes += batchRecords * (valueBytes + 20)) {
    const records = Array.from({ length: batchRecords }, (_, nth) => record(count + nth, keyCount));
    await appendBatch(store, topic, records, { ack: "os" });
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
async function timeAppends(
  store: Store,
  topic: string,
  count: number,
  ack: Ack,
): Promise<number[]> {
  const times: number[] = [];
  for (let nth = 0; nth < count; nth++) {
    const one = record(nth, keysLeft);
    const start = performance.now();
    await append(store, topic, one, { ack });
    times.push(performance.now() - start);
    await setImmediate();
  }
  return times;
}

/** The same from the first step of a compaction to its last. */
async function timeUntilCompacted(store: Store, sizeBytes: number, ack: Ack): Promise<number[]> {
  const times: number[] = [];
  const left = (): number => describeTopic(store, "bench").partitions[0]!.sizeBytes;
  const end = performance.now() + compactedMsMax;
  while (left() > sizeBytes / 2) {
    if (performance.now() > end) throw new Error("The store does not compact the topic");
    times.push(...await timeAppends(store, "quiet", 100, ack));
  }
  return times;
}

function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
