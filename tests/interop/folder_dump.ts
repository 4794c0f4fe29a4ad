/**
 * What Kafka's dump tool finds in a log folder that nobody has open: topics, configurations,
 * batches.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { dumpLogSegments, metadataRecordsOf } from "./kafka_dump.ts";
import type { DumpedBatch } from "./kafka_dump.ts";
import type { Kafka } from "./kafka_tools.ts";

/** The type of a configuration record that is about a topic. */
const topicResourceType = 2;

/** Topic ids and configurations by topic. */
export interface KafkaMetadata {
  readonly topicIds: Map<string, string>;
  readonly configs: Map<string, Record<string, string>>;
}

/**
 * Replays what the metadata log says of topics, as Kafka's dump tool decodes it.
 *
 * @param kafka Kafka.
 * @param folder A log folder whose metadata log starts at offset 0.
 * @returns The topics that exist at its end.
 * @throws Error If the tool complains.
 */
export async function readKafkaMetadata(kafka: Kafka, folder: string): Promise<KafkaMetadata> {
  const topicIds = new Map<string, string>();
  const configs = new Map<string, Record<string, string>>();
  for (const { type, data } of await readKafkaMetadataRecords(kafka, folder)) {
    if (type === "TOPIC_RECORD") topicIds.set(String(data["name"]), String(data["topicId"]));
    if (type === "REMOVE_TOPIC_RECORD") {
      const topic = [...topicIds].find(([, topicId]) => topicId === data["topicId"])?.[0] ?? "";
      topicIds.delete(topic);
      configs.delete(topic);
    }
    if (type === "CONFIG_RECORD" && data["resourceType"] === topicResourceType) {
      const topicConfigs = configs.get(String(data["resourceName"])) ?? {};
      if (data["value"] === null) delete topicConfigs[String(data["name"])];
      else topicConfigs[String(data["name"])] = String(data["value"]);
      configs.set(String(data["resourceName"]), topicConfigs);
    }
  }
  return { topicIds, configs };
}

/**
 * The records of the metadata log, as Kafka's dump tool decodes them.
 *
 * @param kafka Kafka.
 * @param folder A log folder.
 * @returns The type and the fields of every record, in order.
 * @throws Error If the tool complains.
 */
export async function readKafkaMetadataRecords(
  kafka: Kafka,
  folder: string,
): Promise<ReturnType<typeof metadataRecordsOf>> {
  const metadataFolder = join(folder, "__cluster_metadata-0");
  const names = (await readdir(metadataFolder)).filter((name) => name.endsWith(".log")).sort();
  const paths = names.map((name) => join(metadataFolder, name));
  const dump = await dumpLogSegments(kafka, paths, { decoder: "metadata" });
  if (dump.complaints.length > 0) throw new Error(dump.complaints.join("\n"));
  return dump.files.flatMap(metadataRecordsOf);
}

/** One partition as Kafka's dump tool reads it. */
export interface DumpedPartition {
  readonly topic: string;
  readonly partition: number;
  /** The base offset of its first segment. */
  readonly baseOffset: number;
  /** All batches of all segments. */
  readonly batches: readonly DumpedBatch[];
}

/**
 * Dumps every log of a folder, without the metadata log and without deleted partitions.
 *
 * @param kafka Kafka.
 * @param folder The log folder.
 * @returns One entry a partition, sorted by topic and partition.
 * @throws Error If the tool complains.
 */
export async function readKafkaLogs(kafka: Kafka, folder: string): Promise<DumpedPartition[]> {
  const logs = await findPartitionLogs(folder);
  const dump = await dumpLogSegments(kafka, logs.flatMap((log) => log.paths));
  if (dump.complaints.length > 0) throw new Error(dump.complaints.join("\n"));
  const filesByPath = new Map(dump.files.map((file) => [file.path, file]));
  return logs.map(({ topic, partition, paths }) => ({
    topic,
    partition,
    baseOffset: Number(/(\d{20})\.log$/.exec(paths[0] ?? "")?.[1] ?? 0),
    batches: paths.flatMap((path) => filesByPath.get(path)?.batches ?? []),
  }));
}

/** One partition's log files in order. */
export interface PartitionLogs {
  readonly topic: string;
  readonly partition: number;
  readonly paths: readonly string[];
}

/**
 * Finds the logs of a folder, without the metadata log and without deleted partitions.
 *
 * @param folder The log folder.
 * @returns One entry a partition, sorted by topic and partition.
 */
export async function findPartitionLogs(folder: string): Promise<PartitionLogs[]> {
  const logs: PartitionLogs[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const name = /^(.+)-(\d+)$/.exec(entry.name);
    if (!entry.isDirectory() || name === null || name[1] === "__cluster_metadata") continue;
    const files = (await readdir(join(folder, entry.name))).filter((file) => file.endsWith(".log"));
    const paths = files.sort().map((file) => join(folder, entry.name, file));
    logs.push({ topic: name[1] ?? "", partition: Number(name[2]), paths });
  }
  return logs.sort((a, b) =>
    a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1
  );
}
