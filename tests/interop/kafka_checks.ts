/**
 * Folders that a real broker wrote, opened by ottla; and back again.
 */
import { join } from "node:path";
import {
  appendBatch,
  closeStore,
  describeTopic,
  listTopics,
  offsetsOf,
  openStore,
} from "../../mod.ts";
import type { Store, TopicConfig } from "../../mod.ts";
import { topicConfigOf } from "../../src/store/topic_config.ts";
import { configTable } from "../../src/store/topic_config_table.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareWithConsumed, compareWithDump, readAll } from "./compare_records.ts";
import { startBroker, stopBroker } from "./kafka_broker.ts";
import { consoleConsume } from "./kafka_commands.ts";
import { makeKafkaFolder } from "./kafka_folder.ts";
import type { Expected, ExpectedTopic, KafkaFolderOptions } from "./kafka_folder.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";
import { makeRecords } from "./ottla_folder.ts";

/** The kinds of folders: what a broker can leave behind. */
const kinds: Readonly<Record<string, KafkaFolderOptions>> = {
  "a folder of Kafka's newest features": {},
  "a folder of Kafka 4.0 whose broker was killed": {
    isSmall: true,
    releaseVersion: "4.0",
    isKilled: true,
  },
  "a folder of Kafka's with its voters in it": { isSmall: true, isStandalone: true },
};

/** What ottla appends to each topic. */
const appendedCount = 12;

/**
 * Makes folders with a broker, opens and extends them with ottla, and starts a broker on them again.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param scratch A folder for log folders.
 */
export async function checkKafkaFolders(
  checks: Checks,
  kafka: Kafka,
  scratch: string,
): Promise<void> {
  for (const [name, options] of Object.entries(kinds)) {
    const folder = join(scratch, `kafka-${Object.keys(kinds).indexOf(name)}`);
    let expected: Expected | undefined;
    await check(checks, `Kafka writes ${name}`, async () => {
      expected = await makeKafkaFolder(kafka, folder, options);
      return [];
    });
    if (expected === undefined) continue;
    await checkKafkaFolder(checks, kafka, folder, name, expected, options);
  }
}

async function checkKafkaFolder(
  checks: Checks,
  kafka: Kafka,
  folder: string,
  name: string,
  expected: Expected,
  options: KafkaFolderOptions,
): Promise<void> {
  await check(
    checks,
    `ottla opens ${name}`,
    () => withStore(folder, (store) => compareTopics(store, expected)),
  );
  await check(
    checks,
    `ottla reads the records of ${name}`,
    () => withStore(folder, (store) => compareAllRecords(store, expected)),
  );
  await check(
    checks,
    `ottla appends to ${name}`,
    () => withStore(folder, (store) => appendToAll(store, expected)),
  );
  await checkFolder(checks, kafka, folder, `${name}, after ottla`);
  await check(
    checks,
    `Kafka starts again on ${name} and reads what ottla appended`,
    () => bootAndConsume(kafka, folder, options, expected),
  );
  await check(
    checks,
    `ottla opens ${name} once more`,
    () => withStore(folder, (store) => compareEndOffsets(store, expected)),
  );
}

async function withStore(
  folder: string,
  findDifferences: (store: Store) => string[] | Promise<string[]>,
): Promise<string[]> {
  const store = await openStore(folder);
  try {
    return await findDifferences(store);
  } finally {
    await closeStore(store);
  }
}

/** Topics, ids, configurations, start and end offsets. */
function compareTopics(store: Store, expected: Expected): string[] {
  const found = new Set(listTopics(store));
  const differences = expected.deletedTopics.filter((name) => found.has(name))
    .map((name) => `${name}: listed, expected it gone`);
  for (const topic of expected.topics) {
    if (!found.has(topic.name) && !topic.name.startsWith("__")) {
      differences.push(`${topic.name}: not listed`);
      continue;
    }
    const description = describeTopic(store, topic.name);
    if (description.topicId !== topic.topicId) {
      differences.push(`${topic.name}: id ${description.topicId}, expected ${topic.topicId}`);
    }
    differences.push(...compareConfigs(topic, description.config));
    differences.push(...compareOffsets(store, topic, 0));
  }
  return differences;
}

/** Compares each of a topic's own configurations, as Kafka has it, with what ottla makes of it. */
function compareConfigs(topic: ExpectedTopic, config: TopicConfig): string[] {
  const wanted = topicConfigOf(new Map(Object.entries(topic.configs)));
  return Object.entries(configTable).flatMap(([option, row]) => {
    const name = option as keyof TopicConfig;
    if (topic.configs[row.config] === undefined || config[name] === wanted[name]) return [];
    return [`${topic.name} ${option}: ${config[name]}, expected ${wanted[name]}`];
  });
}

function compareOffsets(store: Store, topic: ExpectedTopic, moreCount: number): string[] {
  const offsets = offsetsOf(store, topic.name);
  if (offsets.length !== topic.partitions.length) {
    return [`${topic.name}: ${offsets.length} partitions, expected ${topic.partitions.length}`];
  }
  return topic.partitions.flatMap(({ partition, startOffset, endOffset }) => {
    const found = offsets[partition];
    const where = `${topic.name}-${partition}`;
    const [start, end] = [found?.startOffset, found?.endOffset];
    return [
      ...(start === startOffset ? [] : [`${where} starts at ${start}, expected ${startOffset}`]),
      ...(end === endOffset + moreCount
        ? []
        : [`${where} ends at ${end}, expected ${endOffset + moreCount}`]),
    ];
  });
}

async function compareAllRecords(store: Store, expected: Expected): Promise<string[]> {
  const differences: string[] = [];
  for (const topic of expected.topics.filter(isUsers)) {
    for (const { partition, startOffset, batches } of topic.partitions) {
      const records = await readAll(store, topic.name, partition);
      const where = `${topic.name}-${partition}`;
      differences.push(...compareWithDump(where, records, batches, startOffset));
    }
  }
  for (const [topic, consumed] of expected.consumed) {
    const records = await readAll(store, topic);
    records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
    differences.push(...compareWithConsumed(topic, records.slice(0, consumed.length), consumed));
  }
  return differences;
}

async function appendToAll(store: Store, expected: Expected): Promise<string[]> {
  for (const topic of expected.topics.filter(isUsers)) {
    for (const { partition } of topic.partitions) {
      const records = makeRecords(appendedCount, `ottla-${partition}`)
        .map((record, index) => ({ ...record, key: `key-${index}`, partition }));
      await appendBatch(store, topic.name, records);
    }
  }
  return compareEndOffsets(store, expected);
}

function compareEndOffsets(store: Store, expected: Expected): string[] {
  const topics = expected.topics.filter(isUsers);
  return topics.flatMap((topic) => compareOffsets(store, topic, appendedCount));
}

/** Reads with Kafka's console consumer what the broker wrote before and ottla after it. */
async function bootAndConsume(
  kafka: Kafka,
  folder: string,
  options: KafkaFolderOptions,
  expected: Expected,
): Promise<string[]> {
  const broker = await startBroker(kafka, folder, { isStandalone: options.isStandalone === true });
  const differences: string[] = [];
  try {
    for (const topic of expected.topics.filter((topic) => expected.consumed.has(topic.name))) {
      const count = topic.partitions.reduce(
        (sum, { endOffset }) => sum + endOffset + appendedCount,
        0,
      );
      const records = await consoleConsume(broker, topic.name, count);
      if (records.length === count) continue;
      differences.push(`${topic.name}: consumed ${records.length} records, expected ${count}`);
    }
  } finally {
    await stopBroker(broker);
  }
  return differences;
}

/** Topics of users: what is in the others has schemas of Kafka's own. */
function isUsers(topic: ExpectedTopic): boolean {
  return !topic.name.startsWith("__");
}
