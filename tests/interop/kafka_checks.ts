/**
 * Folders that a real broker wrote, opened by ottla; and back again.
 */
import { join } from "node:path";
import {
  alterTopic,
  appendBatch,
  closeStore,
  createTopic,
  deleteTopic,
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
import type { Broker } from "./kafka_broker.ts";
import {
  consoleConsume,
  describeKafkaTopics,
  findKafkaCommittedOffset,
  perfProduce,
} from "./kafka_commands.ts";
import type { DumpedBatch } from "./kafka_dump.ts";
import { makeKafkaFolder } from "./kafka_folder.ts";
import type { Expected, ExpectedTopic, KafkaFolderOptions } from "./kafka_folder.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";
import { makeRecords } from "./ottla_folder.ts";

/** The kinds of folders: what a broker can leave behind. */
const kinds: Readonly<Record<string, KafkaFolderOptions>> = {
  "Kafka's folder": { releaseVersion: "4.0" },
  "the folder of a killed broker, with the newest features and its voters in it": {
    isSmall: true,
    isStandalone: true,
    isKilled: true,
  },
};

/** What ottla appends to each topic. */
const appendedCount = 12;
/** A topic that ottla adds, and one of the broker's that it deletes. */
const ottlaTopic = "made-by-ottla";
const ottlaDeletedTopic = "recreated";
/** A topic of transactions, and how many records the broker adds to it in one more. */
const transactionsTopic = "transactions";
const transactionCount = 5;

/**
 * Makes folders with a broker, opens and extends them with ottla, and starts a broker on them
 * again.
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
    `ottla appends to ${name} and changes its topics`,
    () => withStore(folder, (store) => extend(store, expected)),
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
    // Behind the broker's own records stands the marker that commits them.
    () => withStore(folder, (store) => compareEndOffsets(store, expected, transactionCount + 1)),
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

async function extend(store: Store, expected: Expected): Promise<string[]> {
  for (const topic of expected.topics.filter(isUsers)) {
    for (const { partition } of topic.partitions) {
      const records = makeRecords(appendedCount, `ottla-${partition}`)
        .map(({ value, headers }, index) => ({ key: `key-${index}`, value, headers, partition }));
      await appendBatch(store, topic.name, records);
    }
  }
  await createTopic(store, ottlaTopic, { partitions: 2, maxMessageBytes: 123_456 });
  await alterTopic(store, "codec-none", { retentionMs: 86_400_000 });
  await deleteTopic(store, ottlaDeletedTopic);
  return compareEndOffsets(store, expected);
}

/** Where the partitions end; `brokerCount`: what a broker added to the topic of transactions. */
function compareEndOffsets(store: Store, expected: Expected, brokerCount = 0): string[] {
  const topics = expected.topics.filter(isUsers).filter(({ name }) => name !== ottlaDeletedTopic);
  return topics.flatMap((topic) => {
    const moreCount = topic.name === transactionsTopic ? brokerCount : 0;
    return compareOffsets(store, topic, appendedCount + moreCount);
  });
}

/**
 * Starts a broker on the folder again: it must know all that it knew, and what ottla did meanwhile.
 */
async function bootAndConsume(
  kafka: Kafka,
  folder: string,
  options: KafkaFolderOptions,
  expected: Expected,
): Promise<string[]> {
  const broker = await startBroker(kafka, folder, { isStandalone: options.isStandalone === true });
  try {
    const counts = await Promise.all(
      expected.topics.filter((topic) => expected.consumed.has(topic.name))
        .map((topic) => compareCount(broker, topic)),
    );
    return [
      ...counts.flat(),
      ...await compareTransactions(broker, expected),
      ...await compareGroups(broker, expected),
      ...compareDescription(await describeKafkaTopics(broker)),
    ];
  } finally {
    await stopBroker(broker);
  }
}

/** Whether the console consumer gets all records of a topic. */
async function compareCount(broker: Broker, topic: ExpectedTopic): Promise<string[]> {
  const count = topic.partitions.reduce((sum, { endOffset }) => sum + endOffset + appendedCount, 0);
  const records = await consoleConsume(broker, topic.name, count);
  return records.length === count
    ? []
    : [`${topic.name}: consumed ${records.length} records, expected ${count}`];
}

/**
 * Whether aborted records stay out of sight, and a producer can go on under its transactional id.
 */
async function compareTransactions(broker: Broker, expected: Expected): Promise<string[]> {
  const topic = transactionsTopic;
  const batches = expected.topics.find(({ name }) => name === topic)?.partitions[0]?.batches ?? [];
  const transaction = { count: transactionCount, valueBytes: 20, transactionalId: "perf" };
  await perfProduce(broker, topic, transaction);
  const count = committedCountOf(batches) + appendedCount + transactionCount;
  // One more is asked for than must be there: an aborted record would be seen.
  const options = { isCommitted: true, waitMs: 5000 };
  const records = await consoleConsume(broker, topic, count + 1, options);
  return records.length === count
    ? []
    : [`${topic}: consumed ${records.length} committed records, expected ${count}`];
}

/** Whether the groups' committed offsets are still there. */
async function compareGroups(broker: Broker, expected: Expected): Promise<string[]> {
  const topic = "codec-none";
  const wanted = expected.consumed.get(topic)?.length;
  const found = await findKafkaCommittedOffset(broker, "group-none", topic, 0);
  return found === wanted ? [] : [`group-none of ${topic}: ${found}, expected ${wanted}`];
}

/** Whether the broker describes the topics as ottla left them. */
function compareDescription(text: string): string[] {
  const wanted: [RegExp, boolean][] = [
    [new RegExp(`Topic: ${ottlaTopic}\\s.*PartitionCount: 2\\s.*max.message.bytes=123456`), true],
    [/Topic: codec-none\s.*Configs: .*retention.ms=86400000/, true],
    [new RegExp(`Topic: ${ottlaDeletedTopic}\\s`), false],
    [/Leader: none/, false],
  ];
  return wanted.filter(([pattern, isWanted]) => pattern.test(text) !== isWanted)
    .map(([pattern, isWanted]) => `${pattern} ${isWanted ? "is missing in" : "is in"}\n${text}`);
}

/** How many records of a log belong to no transaction or to a committed one. */
function committedCountOf(batches: readonly DumpedBatch[]): number {
  const open = new Map<number, number>();
  let count = 0;
  for (const batch of batches) {
    const { producerId } = batch;
    if (batch.isControl) {
      const isCommit = batch.records[0]?.content.includes("COMMIT") === true;
      if (isCommit) count += open.get(producerId) ?? 0;
      open.delete(producerId);
    } else if (batch.isTransactional) {
      open.set(producerId, (open.get(producerId) ?? 0) + batch.count);
    } else {
      count += batch.count;
    }
  }
  return count;
}

/** Topics of users: what is in the others has schemas of Kafka's own. */
function isUsers(topic: ExpectedTopic): boolean {
  return !topic.name.startsWith("__");
}
