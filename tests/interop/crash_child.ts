/**
 * A program that appends to a store until it is killed, and says after every acknowledgement how
 * far it got.
 *
 * Its parameter is the store's folder.
 */
import process from "node:process";
import { appendBatch, createTopic, openStore } from "../../mod.ts";
import type { AppendRecord } from "../../mod.ts";
import { crashTopic, makeCrashRecord } from "./crash.ts";

const batchCount = 17;
/** Nobody killed it: give up. */
const recordsMax = 50_000_000;

const [folder = ""] = process.argv.slice(2);
const store = await openStore(folder);
await createTopic(store, crashTopic, {
  retentionMs: -1,
  segmentBytes: 1024 * 1024,
  ifNotExists: true,
});
for (let start = 0; start < recordsMax; start += batchCount) {
  const records: AppendRecord[] = Array.from(
    { length: batchCount },
    (_, index) => makeCrashRecord(start + index),
  );
  await appendBatch(store, crashTopic, records, { ack: start % 5 === 0 ? "disk" : "os" });
  process.stdout.write(`${start + batchCount}\n`);
}
