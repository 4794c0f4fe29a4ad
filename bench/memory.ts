/** How much memory ten thousand partitions take, and the appending of gigabytes. */

import { join } from "node:path";
import { append, appendBatch, closeStore, createTopic, offsetsOf, openStore } from "../mod.ts";
import { benchFolder, benchRecords, removeFolder } from "./fixture.ts";
import type { BenchScale } from "./harness.ts";

/** A measurement that has a limit instead of something beside it. */
export interface Measurement {
  readonly title: string;
  readonly value: number;
  readonly valueMax: number;
  readonly unit: string;
  readonly checksum: number;
}

/**
 * Opens many partitions, with a record in each.
 *
 * @param scale How large.
 * @returns Bytes of memory a partition.
 */
export async function benchPartitions(scale: BenchScale): Promise<Measurement> {
  const folder = benchFolder("partitions");
  const count = scale.isSmoke ? 50 : 10_000;
  const store = await openStore(join(folder, "store"));
  try {
    await createTopic(store, "warm");
    await append(store, "warm", { value: "x" }, { ack: "os" });
    const before = usedBytes();
    await createTopic(store, "bench", { partitions: count });
    for (let partition = 0; partition < count; partition++) {
      await append(store, "bench", { value: "one", partition }, { ack: "os" });
    }
    const used = usedBytes() - before;
    const checksum = offsetsOf(store, "bench").reduce((sum, { endOffset }) => sum + endOffset, 0);
    return {
      title: `${count} partitions with a record each`,
      value: used / count / 1024,
      // A few partitions carry what is made once for all.
      valueMax: scale.isSmoke ? 1024 : 20,
      unit: "KiB a partition",
      checksum,
    };
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}

/**
 * Appends gigabytes and watches the size of the process.
 *
 * @param scale How large.
 * @returns By how many bytes it grew at most.
 */
export async function benchGrowth(scale: BenchScale): Promise<Measurement> {
  const folder = benchFolder("growth");
  const totalBytes = scale.isSmoke ? 16 * 1024 ** 2 : 4 * 1024 ** 3;
  const store = await openStore(join(folder, "store"));
  try {
    await createTopic(store, "bench", { segmentBytes: 256 * 1024 * 1024 });
    const records = benchRecords(1000, 1000);
    const before = process.memoryUsage().rss;
    let peak = before;
    let lastOffset = 0;
    for (let bytes = 0; bytes < totalBytes; bytes += 1_000_000) {
      const [batch] = await appendBatch(store, "bench", records, { ack: "os" });
      lastOffset = batch!.lastOffset;
      if (bytes % 32_000_000 === 0) peak = Math.max(peak, process.memoryUsage().rss);
    }
    return {
      title: `appending ${(totalBytes / 1024 ** 3).toFixed(2)} GiB`,
      value: (peak - before) / 1024 ** 2,
      valueMax: 150,
      unit: "MiB above the start",
      checksum: lastOffset,
    };
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}

/** How much memory is in use, after a collection where there can be one. */
export function usedBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
