/** Opening a store that was cleanly closed: it must not take longer for holding more. */

import { join } from "node:path";
import { append, appendBatch, closeStore, createTopic, offsetsOf, openStore } from "../mod.ts";
import { benchFolder, benchRecords, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare } from "./harness.ts";

/**
 * Opens a store, looks up its end and appends a record, with a certain amount of data and with ten
 * times as much.
 *
 * @param scale How large and how often.
 * @returns The medians: the rate with ten times the data, as a ratio to the rate with once.
 */
export async function benchOpen(scale: BenchScale): Promise<Outcome> {
  const folder = benchFolder("open");
  const batches = scale.isSmoke ? 3 : 300;
  try {
    const small = await filledStore(join(folder, "small"), batches);
    const large = await filledStore(join(folder, "large"), batches * 10);
    return await compare({
      title: `open, look, append, close: ${countText(10 * batches)} against ${countText(batches)}`,
      unit: "opens",
      unitsPerRun: 1,
      runs: scale.isSmoke ? 1 : 20,
      ratioMin: 1 / 1.3,
      baseline: { name: "once the data", run: () => openOnce(small) },
      ottla: { name: "ten times the data", run: () => openOnce(large) },
    }, scale);
  } finally {
    removeFolder(folder);
  }
}

async function filledStore(path: string, batches: number): Promise<string> {
  const store = await openStore(path);
  const records = benchRecords(1000, 100);
  await createTopic(store, "bench", { segmentBytes: 16 * 1024 * 1024 });
  for (let n = 0; n < batches; n++) await appendBatch(store, "bench", records, { ack: "os" });
  await closeStore(store);
  return path;
}

async function openOnce(path: string): Promise<number> {
  const store = await openStore(path);
  const [{ endOffset } = { endOffset: -1 }] = offsetsOf(store, "bench");
  await append(store, "bench", { value: "one more" }, { ack: "os" });
  await closeStore(store);
  return endOffset;
}

function countText(batches: number): string {
  return `${(batches * 1000).toLocaleString("en")} records`;
}
