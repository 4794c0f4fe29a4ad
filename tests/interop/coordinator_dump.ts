/**
 * What Kafka's dump tool finds of groups and producers in a log folder that nobody has open.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { compareLines } from "./coordinator_state.ts";
import type { CommittedOffset } from "./coordinator_state.ts";
import { findPartitionLogs, readKafkaLogs, readKafkaMetadataRecords } from "./folder_dump.ts";
import { dumpLogSegments, shortPath } from "./kafka_dump.ts";
import type { DumpedBatch, DumpedRecord } from "./kafka_dump.ts";
import type { Kafka } from "./kafka_tools.ts";

/** The topic that groups are kept in. */
const offsetsTopic = "__consumer_offsets";
const offsetCommitType = "1";
/** The keys that stand for a group: of the classic protocol, and of the newer one. */
const groupTypes = ["2", "3"];

/** What the log of groups says. */
export interface DumpedGroups {
  readonly committed: readonly CommittedOffset[];
  /** Ids of the groups of which more than offsets is recorded. */
  readonly groupIds: readonly string[];
}

interface DumpedKey {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * Replays `__consumer_offsets` as the dump tool's decoder for offsets prints it.
 *
 * @param kafka Kafka.
 * @param folder The log folder.
 * @returns The offsets and groups that count at its end.
 * @throws Error If the tool complains.
 */
export async function readKafkaGroups(kafka: Kafka, folder: string): Promise<DumpedGroups> {
  const logs = (await findPartitionLogs(folder)).filter(({ topic }) => topic === offsetsTopic);
  const paths = logs.flatMap((log) => log.paths);
  const dump = await dumpLogSegments(kafka, paths, { decoder: "offsets" });
  if (dump.complaints.length > 0) throw new Error(dump.complaints.join("\n"));
  const committed = new Map<string, CommittedOffset>();
  const groupIds = new Set<string>();
  for (const record of countedRecords(dump.files.flatMap((file) => file.batches))) {
    const [keyText = "", ...rest] = record.content.replace(/^key: /, "").split(" payload: ");
    const key = JSON.parse(keyText) as DumpedKey;
    const groupId = String(key.data["group"] ?? key.data["groupId"]);
    const isTombstone = record.valueSize < 0;
    if (groupTypes.includes(key.type)) {
      if (isTombstone) groupIds.delete(groupId);
      else groupIds.add(groupId);
    }
    if (key.type !== offsetCommitType) continue;
    if (isTombstone) {
      committed.delete(keyText);
      continue;
    }
    const { data } = JSON.parse(rest.join(" payload: ")) as DumpedKey;
    committed.set(keyText, {
      groupId,
      topic: String(key.data["topic"]),
      partition: Number(key.data["partition"]),
      offset: Number(data["offset"]),
      metadata: String(data["metadata"]),
    });
  }
  return { committed: [...committed.values()], groupIds: [...groupIds] };
}

/** Records in the order in which they count: those of a transaction when it is committed. */
function countedRecords(batches: readonly DumpedBatch[]): DumpedRecord[] {
  const counted: DumpedRecord[] = [];
  const open = new Map<number, DumpedRecord[]>();
  for (const { isControl, isTransactional, producerId, records } of batches) {
    if (isControl) {
      const isCommit = records[0]?.content.includes("COMMIT") === true;
      if (isCommit) counted.push(...open.get(producerId) ?? []);
      open.delete(producerId);
    } else if (isTransactional) {
      open.set(producerId, [...open.get(producerId) ?? [], ...records]);
    } else {
      counted.push(...records);
    }
  }
  return counted;
}

/**
 * Holds every producer snapshot of a folder, as the dump tool prints it, to the batches that the
 * tool finds in front of it; logs with transactions are left out.
 *
 * @param kafka Kafka.
 * @param folder A log folder of which no records were deleted and no producers have expired.
 * @returns One line a difference, also for a log with producers that has no snapshot at its end.
 * @throws Error If the tool complains.
 */
export async function compareSnapshots(kafka: Kafka, folder: string): Promise<string[]> {
  const logs = (await readKafkaLogs(kafka, folder))
    .filter(({ batches }) => batches.every(({ isTransactional }) => !isTransactional));
  const batchesOf = new Map(logs.map((log) => [`${log.topic}-${log.partition}`, log.batches]));
  const paths = await findSnapshots(folder, [...batchesOf.keys()]);
  const dump = await dumpLogSegments(kafka, paths);
  const differences = [...dump.complaints];
  for (const { path, lines } of dump.files) {
    const name = shortPath(folder, path);
    const endOffset = Number(/(\d{20})\.snapshot$/.exec(name)?.[1]);
    const batches = batchesOf.get(name.split("/")[0] ?? "") ?? [];
    const wanted = producerLinesAt(batches, endOffset);
    differences.push(...compareLines(name, lines.map((line) => line.trim()), wanted));
  }
  for (const [name, batches] of batchesOf) {
    const last = batches.at(-1);
    if (batches.every(({ producerId }) => producerId < 0) || last === undefined) continue;
    const wanted = `${name}/${String(last.lastOffset + 1).padStart(20, "0")}.snapshot`;
    if (!paths.includes(join(folder, wanted))) differences.push(`${wanted}: not there`);
  }
  return differences;
}

async function findSnapshots(folder: string, names: readonly string[]): Promise<string[]> {
  const paths = await Promise.all(names.map(async (name) => {
    const files = (await readdir(join(folder, name))).filter((file) => file.endsWith(".snapshot"));
    return files.sort().map((file) => join(folder, name, file));
  }));
  return paths.flat();
}

/** What a snapshot must say, in the words of the dump tool. */
function producerLinesAt(batches: readonly DumpedBatch[], endOffset: number): string[] {
  const lines = new Map<number, string>();
  for (const batch of batches) {
    const { producerId, producerEpoch, baseOffset, lastOffset, timestamp } = batch;
    if (producerId < 0 || lastOffset >= endOffset) continue;
    lines.set(
      producerId,
      `producerId: ${producerId} producerEpoch: ${producerEpoch} coordinatorEpoch: -1 ` +
        `currentTxnFirstOffset: OptionalLong.empty lastTimestamp: ${timestamp} ` +
        `firstSequence: ${batch.baseSequence} lastSequence: ${batch.lastSequence} ` +
        `lastOffset: ${lastOffset} offsetDelta: ${lastOffset - baseOffset} timestamp: ${timestamp}`,
    );
  }
  return [...lines.values()];
}

/**
 * Where the next block of producer ids begins, as the dump tool decodes the metadata log.
 *
 * @param kafka Kafka.
 * @param folder A log folder whose metadata log starts at offset 0.
 * @returns The id; 0 if no block was ever taken.
 * @throws Error If the tool complains.
 */
export async function readKafkaNextProducerId(kafka: Kafka, folder: string): Promise<number> {
  const records = await readKafkaMetadataRecords(kafka, folder);
  const blocks = records.filter(({ type }) => type === "PRODUCER_IDS_RECORD");
  return Number(blocks.at(-1)?.data["nextProducerId"] ?? 0);
}
