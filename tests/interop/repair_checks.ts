/**
 * Checks of repaired folders: Kafka's tools read over what was taken out, and find the rest.
 */
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  append,
  closeStore,
  commitOffsets,
  createTopic,
  openStore,
  repairStore,
} from "../../mod.ts";
import { findUnexpectedWarnings, withBroker } from "./boot_checks.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareWithConsumed, readAll } from "./compare_records.ts";
import { compareDumps, judgeFolder } from "./judge.ts";
import { consoleConsume } from "./kafka_commands.ts";
import { findProjectFolder } from "./project.ts";
import type { Kafka } from "./kafka_tools.ts";

const topic = "orders";
/** With keys and values of one size, and so batches of one size. */
const recordCount = 10;

/** What happens to a copy of Kafka's files. */
const damages = [
  {
    name: "a flipped bit in a batch",
    file: "segments-0/00000000000000000000.log",
    damage: (bytes: Uint8Array): Uint8Array =>
      bytes.map((byte, at) => at === 100 ? byte ^ 1 : byte),
  },
  {
    name: "a log that was cut",
    file: "codec-gzip-0/00000000000000000000.log",
    damage: (bytes: Uint8Array): Uint8Array => bytes.slice(0, bytes.length - 7),
  },
  {
    name: "a metadata log with a damaged batch",
    file: "__cluster_metadata-0/00000000000000000000.log",
    damage: (bytes: Uint8Array): Uint8Array =>
      bytes.map((byte, at) => at === 400 ? byte ^ 1 : byte),
  },
] as const;

/**
 * Damages folders that Kafka wrote, repairs them, and lets Kafka's dump tool read every file.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param scratch A folder for copies.
 */
export async function checkRepair(checks: Checks, kafka: Kafka, scratch: string): Promise<void> {
  const fixture = join(findProjectFolder(), "tests", "fixtures", "kafka_4_1_1", "static_4_0");
  for (const [index, { name, file, damage }] of damages.entries()) {
    await check(checks, `Kafka's tools read a folder that was repaired after ${name}`, async () => {
      const folder = join(scratch, `repaired${index}`);
      await cp(fixture, folder, { recursive: true });
      const path = join(folder, file);
      await writeFile(path, damage(await readFile(path)));
      const { check: after, steps } = await repairStore(folder);
      if (steps.length === 0) return ["nothing was repaired"];
      if (after?.isClean !== true) return [`the check is not clean: ${JSON.stringify(after)}`];
      return [...await judgeFolder(kafka, folder), ...await compareDumps(kafka, folder)];
    });
  }
  await check(checks, "Kafka starts on a repaired folder and reads what is left", async () => {
    const folder = join(scratch, "booted");
    const lostOffset = await writeDamaged(folder);
    const { losses } = await repairStore(folder);
    if (losses[0]?.startOffset !== lostOffset) return [`lost: ${JSON.stringify(losses)}`];
    const store = await openStore(folder);
    const records = await readAll(store, topic);
    await closeStore(store);
    if (records.length !== recordCount - 1) return [`${records.length} records are left`];
    return await withBroker(kafka, folder, async (broker) => {
      const consumed = await consoleConsume(broker, topic, records.length);
      return [
        ...compareWithConsumed(topic, records, consumed),
        ...findUnexpectedWarnings(broker),
      ];
    });
  });
}

/** Writes a folder, and damages a batch of its records and one of its metadata. */
async function writeDamaged(folder: string): Promise<number> {
  const store = await openStore(folder);
  await createTopic(store, topic);
  for (let index = 0; index < recordCount; index++) {
    await append(store, topic, { key: `k${index}`, value: `value ${index}` });
  }
  await commitOffsets(store, "billing", [{ topic, partition: 0, offset: 3 }]);
  await closeStore(store);
  const log = join(folder, `${topic}-0`, "00000000000000000000.log");
  const bytes = await readFile(log);
  const batchBytes = bytes.length / recordCount;
  bytes[Math.floor(batchBytes * 2 + 65)]! ^= 1;
  await writeFile(log, bytes);
  const metadataLog = join(folder, "__cluster_metadata-0", "00000000000000000000.log");
  const metadata = await readFile(metadataLog);
  metadata[metadata.length - 10]! ^= 1;
  await writeFile(metadataLog, metadata);
  return 2;
}
