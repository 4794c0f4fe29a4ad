/**
 * A log folder that a real Kafka broker wrote, with everything in it that ottla must be able to
 * open.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { formatFolder, killBroker, startBroker, stopBroker, warningsOf } from "./kafka_broker.ts";
import type { Broker, BrokerOptions } from "./kafka_broker.ts";
import {
  alterKafkaConfigs,
  consoleConsume,
  consoleProduce,
  createKafkaPartitions,
  createKafkaTopic,
  deleteKafkaRecords,
  deleteKafkaTopic,
  perfProduce,
  startPerfProducer,
} from "./kafka_commands.ts";
import type { Codec, ConsoleRecord, ConsumedRecord } from "./kafka_commands.ts";
import { readKafkaLogs, readKafkaMetadata } from "./folder_dump.ts";
import type { KafkaMetadata } from "./folder_dump.ts";
import type { DumpedBatch } from "./kafka_dump.ts";
import { waitForExit } from "./kafka_tools.ts";
import type { Kafka } from "./kafka_tools.ts";

/** Every codec of Kafka's producers. */
export const codecs: readonly Codec[] = ["none", "gzip", "snappy", "lz4", "zstd"];

/** The cluster id of every folder made here. */
const clusterId = "4L6g3nShT-eMCtK--X86sw";
const waitTimeoutMs = 30_000;

/** Which folder to make. */
export interface KafkaFolderOptions {
  /** Few records and small segments, for files that are kept; else enough for indexes to matter. */
  readonly isSmall?: boolean;
  /** The quorum's voters lie in the folder, and snapshots of the metadata log are taken. */
  readonly isStandalone?: boolean;
  /** The Kafka release whose features the folder gets; the newest by default. */
  readonly releaseVersion?: string;
  /** The broker is killed at the end instead of stopped. */
  readonly isKilled?: boolean;
}

/** One partition as Kafka's dump tool reads it. */
export interface ExpectedPartition {
  readonly partition: number;
  readonly startOffset: number;
  readonly endOffset: number;
  /** All batches of all segments. */
  readonly batches: readonly DumpedBatch[];
}

/** One topic as the folder holds it. */
export interface ExpectedTopic {
  readonly name: string;
  readonly topicId: string;
  /** The configurations that the topic has of its own. */
  readonly configs: Readonly<Record<string, string>>;
  readonly partitions: readonly ExpectedPartition[];
}

/** What a reader of the folder must find in it. */
export interface Expected {
  readonly clusterId: string;
  readonly topics: readonly ExpectedTopic[];
  /** Names of topics that were deleted and not made again. */
  readonly deletedTopics: readonly string[];
  /** By topic, the records as Kafka's console consumer read them; not of every topic. */
  readonly consumed: ReadonlyMap<string, readonly ConsumedRecord[]>;
  /** What the broker warned of while it ran. */
  readonly warnings: readonly string[];
}

type Configs = Readonly<Record<string, string>>;

/** Segments that end early: by time where few records are wanted, else by size. */
const segmentsConfigs = (isSmall: boolean): Configs =>
  isSmall
    ? { "segment.ms": "1", "index.interval.bytes": "0" }
    : { "segment.bytes": "1048576", "index.interval.bytes": "2048" };

const compactedConfigs: Configs = {
  "cleanup.policy": "compact",
  "min.cleanable.dirty.ratio": "0.9",
  "delete.retention.ms": "60000",
  "max.message.bytes": "100000",
};

/**
 * Formats a folder, runs a broker on it, fills it through Kafka's own tools and stops the broker.
 *
 * @param kafka Kafka.
 * @param folder The log folder; must not exist.
 * @param options Which folder.
 * @returns What a reader must find in it.
 * @throws Error If a tool fails.
 */
export async function makeKafkaFolder(
  kafka: Kafka,
  folder: string,
  options: KafkaFolderOptions = {},
): Promise<Expected> {
  await mkdir(folder, { recursive: true });
  const brokerOptions = makeKafkaFolderBrokerOptions(options);
  const { releaseVersion } = options;
  const format = releaseVersion === undefined
    ? brokerOptions
    : { ...brokerOptions, releaseVersion };
  await formatFolder(kafka, folder, clusterId, format);
  const broker = await startBroker(kafka, folder, brokerOptions);
  const consumed = new Map<string, ConsumedRecord[]>();
  try {
    // Side by side: nearly all of the time goes into starting Java.
    await Promise.all([
      fillCodecs(broker, options.isSmall === true ? 20 : 2000, consumed),
      fillSegments(broker, options.isSmall === true).then(() => fillPartitions(broker, consumed)),
      fillSpecialTopics(broker).then(() => fillTransactions(broker)),
      fillDeleted(broker),
    ]);
  } finally {
    await (options.isKilled === true ? killBroker(broker) : stopBroker(broker));
  }
  const metadata = await readKafkaMetadata(kafka, folder);
  const topics = await findExpectedTopics(kafka, folder, metadata);
  return { clusterId, topics, deletedTopics: ["deleted"], consumed, warnings: warningsOf(broker) };
}

/**
 * Records with every combination of key, value and headers that the console can write.
 *
 * @param count How many.
 * @param prefix What keys and values start with.
 * @returns The records.
 */
export function makeConsoleRecords(count: number, prefix: string): ConsoleRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    key: index % 4 === 1 ? null : `${prefix}-key-${index % 7}`,
    value: index % 5 === 3 && index % 4 !== 1 ? null : `${prefix} värde ${index} ✓`,
    headers: index % 3 === 0
      ? [{ key: "trace", value: `${index}` }, { key: "none", value: null }, {
        key: "trace",
        value: "",
      }]
      : [],
  }));
}

function makeKafkaFolderBrokerOptions(options: KafkaFolderOptions): BrokerOptions {
  const isStandalone = options.isStandalone === true;
  const overrides: Record<string, string | number> = {
    // A topic deleted shortly before the end leaves its renamed folder behind.
    "log.segment.delete.delay.ms": 600_000,
  };
  if (isStandalone) overrides["metadata.log.max.record.bytes.between.snapshots"] = 4000;
  return { isStandalone, overrides };
}

/** One topic a codec: all shapes of records, then a batch or more of plain ones. */
async function fillCodecs(
  broker: Broker,
  count: number,
  consumed: Map<string, ConsumedRecord[]>,
): Promise<void> {
  for (const codec of codecs) {
    const topic = `codec-${codec}`;
    const records = makeConsoleRecords(10, codec);
    await createKafkaTopic(broker, topic, 1);
    await consoleProduce(broker, topic, records, codec);
    await perfProduce(broker, topic, { count, valueBytes: 100, codec });
    const groupId = `group-${codec}`;
    consumed.set(topic, await consoleConsume(broker, topic, records.length, { groupId }));
  }
}

/** One partition of several segments, one of them ended by size or by time. */
async function fillSegments(broker: Broker, isSmall: boolean): Promise<void> {
  await createKafkaTopic(broker, "segments", 1, segmentsConfigs(isSmall));
  if (isSmall) {
    for (const prefix of ["first", "second", "third"]) {
      await consoleProduce(broker, "segments", makeConsoleRecords(6, prefix));
    }
    return;
  }
  await perfProduce(broker, "segments", { count: 4000, valueBytes: 1000 });
  await perfProduce(broker, "segments", { count: 20_000, valueBytes: 100, codec: "lz4" });
}

/** Keyed records over partitions that became more meanwhile. */
async function fillPartitions(
  broker: Broker,
  consumed: Map<string, ConsumedRecord[]>,
): Promise<void> {
  const records = makeConsoleRecords(40, "p").map((record, index) => ({
    ...record,
    key: `key-${index}`,
  }));
  await createKafkaTopic(broker, "partitions", 2);
  await consoleProduce(broker, "partitions", records);
  await createKafkaPartitions(broker, "partitions", 4);
  await consoleProduce(broker, "partitions", records, "gzip");
  consumed.set("partitions", await consoleConsume(broker, "partitions", 2 * records.length));
  const topic = { type: "topics", name: "partitions" } as const;
  await alterKafkaConfigs(broker, topic, {
    add: { "retention.bytes": "1073741824", "retention.ms": "3600000" },
  });
  await alterKafkaConfigs(broker, topic, { remove: ["retention.ms"] });
}

/** Broker's timestamps, compaction, an empty topic, and defaults for the whole cluster. */
async function fillSpecialTopics(broker: Broker): Promise<void> {
  await createKafkaTopic(broker, "append-time", 1, { "message.timestamp.type": "LogAppendTime" });
  await consoleProduce(broker, "append-time", makeConsoleRecords(5, "plain"));
  await consoleProduce(broker, "append-time", makeConsoleRecords(5, "packed"), "gzip");
  await createKafkaTopic(broker, "compacted", 2, compactedConfigs);
  const keyed = makeConsoleRecords(30, "c").filter((record) => record.key !== null);
  await consoleProduce(broker, "compacted", keyed);
  await createKafkaTopic(broker, "empty_topic.with-dots", 1);
  const cluster = { type: "brokers", name: undefined } as const;
  await alterKafkaConfigs(broker, cluster, { add: { "message.max.bytes": "2000000" } });
}

/** Committed transactions, then one whose producer died and that its successor aborts. */
async function fillTransactions(broker: Broker): Promise<void> {
  const topic = "transactions";
  await createKafkaTopic(broker, topic, 1);
  const transactionalId = "perf";
  await perfProduce(broker, topic, { count: 30, valueBytes: 20, transactionalId });
  const logPath = join(broker.folder, `${topic}-0`, "00000000000000000000.log");
  const sizeBefore = (await stat(logPath)).size;
  const dying = startPerfProducer(broker, topic, {
    count: 100_000,
    valueBytes: 20,
    rate: 200,
    transactionalId,
    transactionMs: 600_000,
  });
  await waitUntil(async () => (await stat(logPath)).size > sizeBefore, "an open transaction");
  dying.kill("SIGKILL");
  await waitForExit(dying, waitTimeoutMs);
  await perfProduce(broker, topic, { count: 10, valueBytes: 20, transactionalId });
  await consoleConsume(broker, topic, 40, { groupId: "committed", isCommitted: true });
}

/**
 * A topic that is gone, one made again under its old name, and one whose first records are gone.
 */
async function fillDeleted(broker: Broker): Promise<void> {
  for (const topic of ["shortened", "recreated", "deleted"]) {
    await createKafkaTopic(broker, topic, 1);
    await consoleProduce(broker, topic, makeConsoleRecords(10, topic));
  }
  await deleteKafkaRecords(broker, "shortened", 0, 4, `${broker.folder}.offsets.json`);
  await deleteKafkaTopic(broker, "deleted");
  await deleteKafkaTopic(broker, "recreated");
  const oldFolder = join(broker.folder, "recreated-0");
  await waitUntil(() => Promise.resolve(!existsSync(oldFolder)), "the topic's deletion");
  await createKafkaTopic(broker, "recreated", 1);
  await consoleProduce(broker, "recreated", makeConsoleRecords(3, "again"));
}

async function waitUntil(isReached: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + waitTimeoutMs;
  while (!await isReached()) {
    if (performance.now() > endMs) throw new Error(`Cannot wait for ${what}: ${waitTimeoutMs} ms`);
    await delay(20);
  }
}

/** Reads the stopped folder's topics with Kafka's dump tool. */
async function findExpectedTopics(
  kafka: Kafka,
  folder: string,
  metadata: KafkaMetadata,
): Promise<ExpectedTopic[]> {
  const startOffsets = await readCheckpoint(join(folder, "log-start-offset-checkpoint"));
  const topics = new Map<string, ExpectedPartition[]>();
  const logs = await readKafkaLogs(kafka, folder);
  for (const { topic, partition, baseOffset, batches } of logs) {
    const startOffset = startOffsets.get(`${topic} ${partition}`) ?? baseOffset;
    const endOffset = (batches.at(-1)?.lastOffset ?? startOffset - 1) + 1;
    const partitions = topics.get(topic) ?? [];
    partitions.push({ partition, startOffset, endOffset, batches });
    topics.set(topic, partitions);
  }
  return [...topics].map(([name, partitions]) => ({
    name,
    topicId: metadata.topicIds.get(name) ?? "",
    configs: metadata.configs.get(name) ?? {},
    partitions,
  }));
}

/** Reads a checkpoint of offsets by `topic partition`. */
async function readCheckpoint(path: string): Promise<Map<string, number>> {
  if (!existsSync(path)) return new Map();
  const lines = (await readFile(path, "utf8")).split("\n").slice(2).filter((line) => line !== "");
  return new Map(lines.map((line) => {
    const [topic = "", partition = "", offset = ""] = line.split(" ");
    return [`${topic} ${partition}`, Number(offset)];
  }));
}
