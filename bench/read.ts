/** Reading, against a bare pass of CRC-32C over the same bytes. */

import * as fs from "node:fs";
import { join } from "node:path";
import { appendBatch, closeStore, createTopic, openStore, read, readBatches } from "../mod.ts";
import { crc32c } from "../src/bytes/crc32c.ts";
import type { BatchView } from "../src/record/batch_view.ts";
import { batchesIn, verifyChecksum } from "../src/record/batch_view.ts";
import { forEachRecord } from "../src/record/record_reader.ts";
import { benchFolder, benchRecords, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare } from "./harness.ts";

const batchRecords = 1000;
/** `read` is to make 4 million records a second where the checksum makes 5 GB/s. */
const readRateMin = 4e6;
const checksumRate = 5e9;

/**
 * `forEachRecord` in memory and from the store, and `read`.
 *
 * @param scale How large and how often.
 * @returns The medians of each.
 */
export async function benchRead(scale: BenchScale): Promise<Outcome[]> {
  const folder = benchFolder("read");
  const batchCount = scale.isSmoke ? 10 : 1000;
  const store = await openStore(join(folder, "store"));
  try {
    await createTopic(store, "bench");
    const records = benchRecords(batchRecords, 100);
    for (let n = 0; n < batchCount; n++) {
      await appendBatch(store, "bench", records, { ack: "os" });
    }
    const log = fs.readFileSync(join(store.path, "bench-0", `${"0".repeat(20)}.log`));
    const batches = [...batchesIn(log)];
    const bytesPerRecord = log.length / (batchCount * batchRecords);
    const common = {
      unit: "records",
      unitsPerRun: batchCount * batchRecords,
      runs: scale.isSmoke ? 1 : 3,
      baseline: { name: "bare CRC-32C", run: () => checksumPass(log, batches) },
    };
    let size = 0;
    const visit = ({ valueStart, valueEnd }: { valueStart: number; valueEnd: number }): void => {
      size += valueEnd - valueStart;
    };
    return [
      await compare({
        ...common,
        title: "forEachRecord, checksums verified",
        ratioMin: 0.4,
        ottla: {
          name: "forEachRecord",
          run() {
            size = 0;
            for (const batch of batches) {
              verifyChecksum(batch);
              forEachRecord(batch, visit);
            }
            return size;
          },
        },
      }, scale),
      await compare({
        ...common,
        title: "readBatches + forEachRecord, from the files",
        ratioMin: 0.35,
        ottla: {
          name: "readBatches",
          async run() {
            size = 0;
            for await (const batch of readBatches(store, "bench")) forEachRecord(batch, visit);
            return size;
          },
        },
      }, scale),
      await compare({
        ...common,
        title: "read, an object a record",
        ratioMin: readRateMin * bytesPerRecord / checksumRate,
        ottla: {
          name: "read",
          async run() {
            size = 0;
            for await (const record of read(store, "bench")) size += record.value!.length;
            return size;
          },
        },
      }, scale),
    ];
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}

function checksumPass(log: Uint8Array, batches: readonly BatchView[]): number {
  let sum = 0;
  for (const { position, sizeBytes } of batches) {
    sum ^= crc32c(log.subarray(position, position + sizeBytes));
  }
  return sum >>> 0;
}
