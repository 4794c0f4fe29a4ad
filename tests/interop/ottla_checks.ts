/**
 * Folders that ottla wrote, held to Kafka's dump tool.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { closeStore, offsetsOf, openStore } from "../../mod.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareWithAppended, compareWithDump, readAll } from "./compare_records.ts";
import { crashTopic, crashWhileAppending, makeCrashRecord } from "./crash.ts";
import { compareDumps, judgeFolder } from "./judge.ts";
import { readKafkaLogs, readKafkaMetadata } from "./folder_dump.ts";
import type { Kafka } from "./kafka_tools.ts";
import { goneTopics, makeOttlaFolder, makeRetainedFolder, wantedConfigs } from "./ottla_folder.ts";

const crashCount = 20_000;

/**
 * Makes folders with ottla and lets Kafka's dump tool read them.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param scratch A folder for stores.
 * @returns A folder with topics of every kind, closed, for a broker to start on.
 */
export async function checkOttlaFolders(
  checks: Checks,
  kafka: Kafka,
  scratch: string,
): Promise<string> {
  const folder = join(scratch, "written");
  await check(checks, "ottla writes topics of every kind", async () => {
    const appended = await makeOttlaFolder(folder);
    const store = await openStore(folder);
    const differences: string[] = [];
    for (const [topic, records] of appended) {
      const found = await readAll(store, topic);
      differences.push(...compareWithAppended(topic, found, records, topic === "append-time"));
    }
    await closeStore(store);
    return differences;
  });
  await checkFolder(checks, kafka, folder, "a folder that ottla wrote");
  await check(
    checks,
    "Kafka finds ottla's topics and configurations",
    () => compareMetadata(kafka, folder),
  );

  const retained = join(scratch, "retained");
  await check(checks, "ottla applies retention", async () => {
    await makeRetainedFolder(retained);
    const store = await openStore(retained);
    const startOffset = offsetsOf(store, "retained")[0]?.startOffset ?? 0;
    await closeStore(store);
    if (startOffset === 0) return ["retained starts at 0, expected more"];
    const logs = (await readdir(join(retained, "retained-0"))).filter((name) =>
      name.endsWith(".log")
    );
    const old = logs.filter((name) => Number(name.slice(0, 20)) < startOffset);
    return old.map((name) => `retained-0/${name}: still there, expected it gone`);
  });
  await checkFolder(checks, kafka, retained, "a folder after retention");

  const crashed = join(scratch, "crashed");
  await check(
    checks,
    "ottla keeps what it acknowledged before it was killed",
    () => crashAndReopen(crashed),
  );
  await checkFolder(checks, kafka, crashed, "a folder after a crash");
  return folder;
}

/**
 * The checks that any closed folder must pass.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder The folder.
 * @param name What it is called in the messages.
 */
export async function checkFolder(
  checks: Checks,
  kafka: Kafka,
  folder: string,
  name: string,
): Promise<void> {
  await check(
    checks,
    `Kafka's dump tool accepts every file of ${name}`,
    () => judgeFolder(kafka, folder),
  );
  await check(
    checks,
    `ottla dump prints the same as Kafka's of ${name}`,
    () => compareDumps(kafka, folder),
  );
  await check(
    checks,
    `ottla and Kafka read the same records in ${name}`,
    () => compareFolder(kafka, folder),
  );
}

/** Opens the folder and compares every record with Kafka's dump of the same files. */
async function compareFolder(kafka: Kafka, folder: string): Promise<string[]> {
  const partitions = await readKafkaLogs(kafka, folder);
  const store = await openStore(folder);
  const differences: string[] = [];
  for (const { topic, partition, batches } of partitions) {
    if (topic.startsWith("__")) continue;
    const records = await readAll(store, topic, partition);
    const startOffset = offsetsOf(store, topic)[partition]?.startOffset ?? 0;
    const where = `${topic}-${partition}`;
    differences.push(...compareWithDump(where, records, batches, startOffset));
  }
  await closeStore(store);
  return differences;
}

async function compareMetadata(kafka: Kafka, folder: string): Promise<string[]> {
  const { topicIds, configs } = await readKafkaMetadata(kafka, folder);
  const differences = goneTopics.filter((topic) => topicIds.has(topic))
    .map((topic) => `${topic}: still there, expected it gone`);
  for (const [topic, wanted] of Object.entries(wantedConfigs)) {
    for (const [name, value] of Object.entries(wanted)) {
      const found = configs.get(topic)?.[name];
      if (found !== value) differences.push(`${topic} ${name}: ${found}, expected ${value}`);
    }
  }
  for (const topic of topicIds.keys()) {
    // Without these a broker's own defaults would take records away half a minute after it started.
    for (const name of ["cleanup.policy", "retention.ms", "retention.bytes"]) {
      const found = configs.get(topic)?.[name];
      if (found === undefined) differences.push(`${topic} ${name}: absent, expected a value`);
    }
  }
  return differences;
}

async function crashAndReopen(folder: string): Promise<string[]> {
  const acknowledgedCount = await crashWhileAppending(folder, crashCount);
  const store = await openStore(folder);
  const records = await readAll(store, crashTopic);
  await closeStore(store);
  const differences = records.length < acknowledgedCount
    ? [`${crashTopic}: ${records.length} records, acknowledged ${acknowledgedCount}`]
    : [];
  const wanted = records.map((_, offset) => makeCrashRecord(offset));
  return [...differences, ...compareWithAppended(crashTopic, records, wanted)];
}
