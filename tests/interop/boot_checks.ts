/**
 * A real broker on a folder that ottla wrote and closed, and ottla again after it.
 */
import { cp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { closeStore, isOttlaError, listTopics, openStore } from "../../mod.ts";
import type { LogRecord } from "../../mod.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareWithConsumed, readAll } from "./compare_records.ts";
import { startBroker, stopBroker, warningsOf } from "./kafka_broker.ts";
import type { Broker, BrokerOptions } from "./kafka_broker.ts";
import { consoleConsume, consoleProduce } from "./kafka_commands.ts";
import { makeConsoleRecords } from "./kafka_folder.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";

/**
 * What a broker warns of on any folder: that its controller begins, that it sets a log's high
 * watermark, which no file tells it, to 0 before it finds it, and that it has begun to read groups
 * as the leader of an epoch that ended when it registered itself, after which it reads them anew.
 */
const expectedWarnings = [
  /Performing controller activation/,
  /Non-monotonic update of high watermark from .* to \(offset=0, /,
  /Failed to load metadata from __consumer_offsets-\d+ .*: Stopped loading records from .* because/,
];

/** What the broker's producer adds to one topic. */
const producedTopic = "codec-none";
const producedCount = 8;

/**
 * Starts a broker on ottla's folder, reads everything with Kafka's console consumer, and the other
 * way round.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder A folder that ottla wrote and closed.
 */
export async function checkBoot(checks: Checks, kafka: Kafka, folder: string): Promise<void> {
  const written = await readTopics(folder);
  await check(
    checks,
    "Kafka makes the same indexes from ottla's logs",
    () => compareIndexes(kafka, folder),
  );
  await check(
    checks,
    "Kafka does not start on a folder that ottla has open",
    () => startWhileOpen(kafka, folder),
  );
  await check(
    checks,
    "Kafka starts on ottla's folder and reads every record",
    () =>
      withBroker(kafka, folder, async (broker) => {
        const differences = await consumeTopics(broker, written);
        await consoleProduce(broker, producedTopic, makeConsoleRecords(producedCount, "kafka"));
        return [
          ...differences,
          ...await openWhileRunning(folder),
          ...findUnexpectedWarnings(broker),
        ];
      }),
  );
  let extended = new Map<string, LogRecord[]>();
  await check(checks, "ottla opens its folder after Kafka and finds what Kafka added", async () => {
    extended = await readTopics(folder);
    return [...written].flatMap(([topic, records]) => {
      const wanted = records.length + (topic === producedTopic ? producedCount : 0);
      const found = extended.get(topic)?.length;
      return found === wanted ? [] : [`${topic}: ${found} records, expected ${wanted}`];
    });
  });
  await checkFolder(checks, kafka, folder, "a folder that Kafka and ottla took turns in");
  await check(
    checks,
    "Kafka starts again and reads every record",
    () => withBroker(kafka, folder, (broker) => consumeTopics(broker, extended)),
  );
}

/** Lets a broker recover a copy from its logs alone, and compares the index files that it makes. */
async function compareIndexes(kafka: Kafka, folder: string): Promise<string[]> {
  const copy = `${folder}-without-indexes`;
  await cp(folder, copy, { recursive: true });
  await rm(join(copy, "recovery-point-offset-checkpoint"));
  const names = (await readdir(folder, { recursive: true })).filter((name) =>
    /\.(time)?index$/.test(name) && !name.startsWith("__cluster_metadata")
  );
  for (const name of names) await rm(join(copy, name));
  await withBroker(kafka, copy, () => Promise.resolve([]));
  const differences: string[] = [];
  for (const name of names) {
    const [actual, expected] = [
      await readFile(join(folder, name)),
      await readFile(join(copy, name)),
    ];
    if (actual.equals(expected)) continue;
    const sizes = `${actual.length} bytes, expected ${expected.length}`;
    differences.push(`${name}: ${sizes}, first difference at ${firstDifference(actual, expected)}`);
  }
  return differences;
}

function firstDifference(actual: Uint8Array, expected: Uint8Array): number {
  return expected.findIndex((byte, at) => byte !== actual[at]);
}

async function startWhileOpen(kafka: Kafka, folder: string): Promise<string[]> {
  const store = await openStore(folder);
  try {
    await stopBroker(await startBroker(kafka, folder));
    return [`${folder}: a broker started, expected it to refuse`];
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return /No readable meta.properties files found/.test(text) ? [] : [text];
  } finally {
    await closeStore(store);
  }
}

async function openWhileRunning(folder: string): Promise<string[]> {
  try {
    await closeStore(await openStore(folder));
    return [`${folder}: ottla opened it, expected STORE_LOCKED`];
  } catch (error) {
    return isOttlaError(error, "STORE_LOCKED") ? [] : [String(error)];
  }
}

/**
 * Runs a broker on a folder for as long as something is done with it.
 *
 * @param kafka Kafka.
 * @param folder The folder, formatted or a closed store.
 * @param use What to do with the broker.
 * @param options How it is configured.
 * @returns What that returns.
 * @throws Error If the broker does not start, does not stop, or the use of it throws.
 */
export async function withBroker(
  kafka: Kafka,
  folder: string,
  use: (broker: Broker) => Promise<string[]>,
  options: BrokerOptions = {},
): Promise<string[]> {
  const broker = await startBroker(kafka, folder, options);
  try {
    return await use(broker);
  } finally {
    await stopBroker(broker);
  }
}

/** Every record of every topic of users, sorted by partition and offset. */
async function readTopics(folder: string): Promise<Map<string, LogRecord[]>> {
  const store = await openStore(folder);
  const topics = new Map<string, LogRecord[]>();
  for (const name of listTopics(store)) {
    if (name.startsWith("__")) continue;
    const records = await readAll(store, name);
    topics.set(name, records.sort((a, b) => a.partition - b.partition || a.offset - b.offset));
  }
  await closeStore(store);
  return topics;
}

async function consumeTopics(
  broker: Broker,
  topics: ReadonlyMap<string, readonly LogRecord[]>,
): Promise<string[]> {
  const differences = await Promise.all([...topics].map(async ([topic, records]) => {
    if (records.length === 0) return [];
    const consumed = await consoleConsume(broker, topic, records.length);
    return compareWithConsumed(topic, records, consumed);
  }));
  return differences.flat();
}

/**
 * What a broker warned of that it does not warn of on any folder.
 *
 * @param broker The broker.
 * @returns The lines of its log.
 */
export function findUnexpectedWarnings(broker: Broker): string[] {
  return warningsOf(broker).filter((line) =>
    expectedWarnings.every((pattern) => !pattern.test(line))
  );
}
