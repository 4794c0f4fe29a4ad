/**
 * Kafka's command-line tools against a running broker.
 */
import type { ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import type { Broker } from "./kafka_broker.ts";
import { runTool, startTool } from "./kafka_tools.ts";

/** The codecs that Kafka's producers can be told to use. */
export type Codec = "none" | "gzip" | "snappy" | "lz4" | "zstd";

/** How a consumer of Kafka's becomes a member of its group. */
export type GroupProtocol = "classic" | "consumer";

/**
 * One record as Kafka's console producer and consumer write it; no part may hold a tab or a
 * newline.
 */
export interface ConsoleRecord {
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly { readonly key: string; readonly value: string | null }[];
}

/** One record as Kafka's console consumer printed it. */
export interface ConsumedRecord extends ConsoleRecord {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
}

/** How to run Kafka's perf producer. */
export interface PerfOptions {
  readonly count: number;
  /** The size of each value in bytes; undefined: the values are ascending numbers. */
  readonly valueBytes?: number;
  readonly codec?: Codec;
  /** Records a second; unlimited by default. */
  readonly rate?: number;
  readonly transactionalId?: string;
  /** Commit after this many milliseconds. */
  readonly transactionMs?: number;
  /** More settings of the producer, such as `batch.size`. */
  readonly properties?: Readonly<Record<string, string | number>>;
}

/** Stands for a null key, value or header value on the console. */
const nullMarker = "-null-";

/** Creates a topic; `configs` are written into its metadata. */
export async function createKafkaTopic(
  broker: Broker,
  name: string,
  partitionCount: number,
  configs: Readonly<Record<string, string | number>> = {},
): Promise<void> {
  const pairs = Object.entries(configs).flatMap(([key, value]) => ["--config", `${key}=${value}`]);
  const shape = ["--topic", name, "--partitions", String(partitionCount), ...pairs];
  await runCommand(broker, "org.apache.kafka.tools.TopicCommand", ["--create", ...shape]);
}

/** Gives a topic more partitions. */
export async function createKafkaPartitions(
  broker: Broker,
  name: string,
  partitionCount: number,
): Promise<void> {
  const shape = ["--topic", name, "--partitions", String(partitionCount)];
  await runCommand(broker, "org.apache.kafka.tools.TopicCommand", ["--alter", ...shape]);
}

/** Deletes a topic. */
export async function deleteKafkaTopic(broker: Broker, name: string): Promise<void> {
  const parameters = ["--delete", "--topic", name];
  await runCommand(broker, "org.apache.kafka.tools.TopicCommand", parameters);
}

/** Describes every topic; the tool's own text. */
export async function describeKafkaTopics(broker: Broker): Promise<string> {
  return await runCommand(broker, "org.apache.kafka.tools.TopicCommand", ["--describe"]);
}

/** Adds and removes configurations of a topic, a broker, or (name undefined) all brokers. */
export async function alterKafkaConfigs(
  broker: Broker,
  entity: { readonly type: "topics" | "brokers"; readonly name: string | undefined },
  changes: {
    readonly add?: Readonly<Record<string, string | number>>;
    readonly remove?: readonly string[];
  },
): Promise<void> {
  const added = Object.entries(changes.add ?? {}).map(([key, value]) => `${key}=[${value}]`);
  await runCommand(broker, "kafka.admin.ConfigCommand", [
    "--alter",
    "--entity-type",
    entity.type,
    ...(entity.name === undefined ? ["--entity-default"] : ["--entity-name", entity.name]),
    ...(added.length === 0 ? [] : ["--add-config", added.join(",")]),
    ...(changes.remove === undefined ? [] : ["--delete-config", changes.remove.join(",")]),
  ]);
}

/** The offset that a group has committed for one partition, or undefined if it has none. */
export async function findKafkaCommittedOffset(
  broker: Broker,
  groupId: string,
  topic: string,
  partition: number,
): Promise<number | undefined> {
  const mainClass = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
  const text = await runCommand(broker, mainClass, ["--describe", "--group", groupId]);
  const rows = text.split("\n").map((line) => line.trim().split(/\s+/));
  const row = rows.find((cells) => cells[1] === topic && cells[2] === String(partition));
  return row === undefined ? undefined : Number(row[3]);
}

/**
 * Deletes the records of one partition in front of an offset; `scratchPath` is a file it may write.
 */
export async function deleteKafkaRecords(
  broker: Broker,
  topic: string,
  partition: number,
  beforeOffset: number,
  scratchPath: string,
): Promise<void> {
  const partitions = [{ topic, partition, offset: beforeOffset }];
  await writeFile(scratchPath, JSON.stringify({ partitions, version: 1 }));
  const parameters = ["--offset-json-file", scratchPath];
  await runCommand(broker, "org.apache.kafka.tools.DeleteRecordsCommand", parameters);
}

/** Produces records with Kafka's console producer; nothing lost, order kept. */
export async function consoleProduce(
  broker: Broker,
  topic: string,
  records: readonly ConsoleRecord[],
  codec: Codec = "none",
): Promise<void> {
  const lines = records.map((record) => {
    const headers = record.headers.map(({ key, value }) => `${key}:${value ?? nullMarker}`);
    // A whole section without headers is the marker: an empty one would be a header without a name.
    const section = headers.length === 0 ? nullMarker : headers.join(",");
    return `${section}\t${record.key ?? nullMarker}\t${record.value ?? nullMarker}\n`;
  });
  const properties = ["parse.key=true", "parse.headers=true", `null.marker=${nullMarker}`];
  await runCommand(broker, "org.apache.kafka.tools.ConsoleProducer", [
    "--topic",
    topic,
    "--compression-codec",
    codec,
    // The default of 1,500 ms is short for a busy machine, and a retry would show in the sequences.
    "--request-timeout-ms",
    "30000",
    ...properties.flatMap((property) => ["--property", property]),
  ], lines.join(""));
}

/**
 * Reads the first `count` records of a topic with Kafka's console consumer, in partition order. It
 * gives up when no record comes for `waitMs`, 20,000 by default.
 */
export async function consoleConsume(
  broker: Broker,
  topic: string,
  count: number,
  options: {
    readonly groupId?: string;
    readonly protocol?: GroupProtocol;
    readonly isCommitted?: boolean;
    readonly waitMs?: number;
  } = {},
): Promise<ConsumedRecord[]> {
  const shown = ["key", "headers", "timestamp", "offset", "partition"];
  const stdout = await runCommand(broker, "org.apache.kafka.tools.consumer.ConsoleConsumer", [
    "--topic",
    topic,
    "--from-beginning",
    "--max-messages",
    String(count),
    "--timeout-ms",
    String(options.waitMs ?? 20_000),
    "--isolation-level",
    options.isCommitted === true ? "read_committed" : "read_uncommitted",
    ...(options.groupId === undefined ? [] : ["--group", options.groupId]),
    ...(options.protocol === undefined
      ? []
      : ["--consumer-property", `group.protocol=${options.protocol}`]),
    ...shown.flatMap((part) => ["--property", `print.${part}=true`]),
    "--property",
    `null.literal=${nullMarker}`,
  ]);
  // Kafka 4.2 also says there that some of these options will have other names.
  const lines = stdout.split("\n").filter((line) => /^\w+Time:\d+\t/.test(line));
  const records = lines.map(parseConsumed);
  return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
}

/** Produces with Kafka's perf producer to its end. */
export async function perfProduce(
  broker: Broker,
  topic: string,
  options: PerfOptions,
): Promise<void> {
  const parameters = perfParameters(broker, topic, options);
  await runTool(broker.kafka, "org.apache.kafka.tools.ProducerPerformance", parameters);
}

/** Starts Kafka's perf producer and leaves it running. */
export function startPerfProducer(
  broker: Broker,
  topic: string,
  options: PerfOptions,
): ChildProcess {
  const parameters = perfParameters(broker, topic, options);
  return startTool(broker.kafka, "org.apache.kafka.tools.ProducerPerformance", parameters);
}

function perfParameters(broker: Broker, topic: string, options: PerfOptions): string[] {
  const properties: Record<string, string | number> = {
    "bootstrap.servers": broker.address,
    "compression.type": options.codec ?? "none",
    ...options.properties,
  };
  return [
    "--topic",
    topic,
    "--num-records",
    String(options.count),
    "--throughput",
    String(options.rate ?? -1),
    ...(options.valueBytes === undefined
      ? ["--payload-monotonic"]
      : ["--record-size", String(options.valueBytes)]),
    ...(options.transactionalId === undefined
      ? []
      : ["--transactional-id", options.transactionalId]),
    ...(options.transactionMs === undefined
      ? []
      : ["--transaction-duration-ms", String(options.transactionMs)]),
    "--producer-props",
    ...Object.entries(properties).map(([key, value]) => `${key}=${value}`),
  ];
}

/**
 * Runs one of the tools that take a broker's address.
 *
 * @param broker The broker.
 * @param mainClass The tool.
 * @param parameters What follows on its command line.
 * @param input What it reads.
 * @returns What it printed.
 * @throws Error If it fails.
 */
export async function runCommand(
  broker: Broker,
  mainClass: string,
  parameters: readonly string[],
  input = "",
): Promise<string> {
  const target = ["--bootstrap-server", broker.address, ...parameters];
  const result = await runTool(broker.kafka, mainClass, target, { input });
  return result.stdout;
}

/** `CreateTime:1	Partition:0	Offset:7	h1:v1,h2:-null-	key	value`. */
function parseConsumed(line: string): ConsumedRecord {
  const [time = "", partition = "", offset = "", headers = "", key = "", ...rest] = line.split(
    "\t",
  );
  const orNull = (text: string): string | null => text === nullMarker ? null : text;
  return {
    partition: Number(partition.slice("Partition:".length)),
    offset: Number(offset.slice("Offset:".length)),
    timestamp: Number(time.slice(time.indexOf(":") + 1)),
    key: orNull(key),
    value: orNull(rest.join("\t")),
    headers: headers === "NO_HEADERS" ? [] : headers.split(",").map((pair) => {
      const colon = pair.indexOf(":");
      return { key: pair.slice(0, colon), value: orNull(pair.slice(colon + 1)) };
    }),
  };
}
