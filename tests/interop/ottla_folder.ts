/**
 * Log folders that ottla writes, with all that topics and records can have, for Kafka to judge.
 */
import {
  alterTopic,
  append,
  appendBatch,
  closeStore,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  enforceRetention,
  openStore,
} from "../../mod.ts";
import type { AppendRecord, Store } from "../../mod.ts";
import { codecs } from "./kafka_folder.ts";

/** By topic of one partition: what was appended to it, in order; offsets count from 0. */
export type Appended = ReadonlyMap<string, readonly AppendRecord[]>;

/** Kafka 4 refuses smaller segments. */
const segmentBytes = 1024 * 1024;
const firstTimestamp = 1_700_000_000_000;
/** The records are old: without this a broker that runs for half a minute would take them away. */
const keptForEver = { retentionMs: -1 } as const;

/** What the metadata log must say of some topics, by Kafka's names. */
export const wantedConfigs: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "configured": {
    "cleanup.policy": "delete",
    "max.message.bytes": "500000",
    "retention.bytes": "1073741824",
    "retention.ms": "7200000",
    "segment.bytes": "2097152",
  },
  "compacted": { "cleanup.policy": "compact" },
  "append-time": { "message.timestamp.type": "LogAppendTime" },
};

/** The names of topics that were deleted and not made again. */
export const goneTopics: readonly string[] = ["deleted"];

/**
 * Records of every shape, in ascending order of time.
 *
 * @param count How many.
 * @param prefix What keys and values start with.
 * @returns The records; no part of them holds a tab or a newline, so that Kafka's console can show
 * them.
 */
export function makeRecords(count: number, prefix: string): AppendRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    key: index % 4 === 1 ? null : `${prefix}-key-${index % 13}`,
    value: index % 6 === 2 ? null : index % 6 === 3 ? "" : `${prefix} Wert ${index} ✓`,
    headers: index % 3 === 0
      ? [{ key: "trace", value: `${index}` }, { key: "none", value: null }, {
        key: "trace",
        value: "",
      }]
      : [],
    timestamp: firstTimestamp + index * 7,
  }));
}

/**
 * Makes a store with topics of every kind, fills it and closes it.
 *
 * @param folder The store's folder; must not exist.
 * @returns What was appended to the topics of one partition.
 */
export async function makeOttlaFolder(folder: string): Promise<Appended> {
  const appended = new Map<string, AppendRecord[]>();
  const store = await openStore(folder);
  await fillCodecs(store, appended);
  await fillSegments(store, appended);
  await fillConfigured(store, appended);
  await fillPartitions(store);
  await fillDeleted(store, appended);
  await closeStore(store);
  return appended;
}

/**
 * Makes a store with one topic of which retention takes the first segments, and closes it.
 *
 * @param folder The store's folder; must not exist.
 */
export async function makeRetainedFolder(folder: string): Promise<void> {
  const store = await openStore(folder);
  await createTopic(store, "retained", {
    ...keptForEver,
    segmentBytes,
    retentionBytes: 2 * segmentBytes,
  });
  for (let batch = 0; batch < 50; batch++) {
    await appendBatch(store, "retained", makeLargeRecords(100, batch), { ack: "os" });
  }
  await enforceRetention(store);
  await closeStore(store);
}

async function fillCodecs(store: Store, appended: Map<string, AppendRecord[]>): Promise<void> {
  for (const codec of codecs) {
    const topic = `codec-${codec}`;
    await createTopic(store, topic, {
      partitions: 1,
      compression: codec === "none" ? "uncompressed" : codec,
    });
    const records = makeRecords(300, codec);
    await appendBatch(store, topic, records.slice(0, 200));
    await appendBatch(store, topic, records.slice(200, 299), { ack: "os" });
    for (const record of records.slice(299)) await append(store, topic, record);
    appended.set(topic, records);
  }
}

/** Several segments with dense indexes. */
async function fillSegments(store: Store, appended: Map<string, AppendRecord[]>): Promise<void> {
  await createTopic(store, "segments", { ...keptForEver, segmentBytes, indexIntervalBytes: 1024 });
  const all: AppendRecord[] = [];
  for (let batch = 0; batch < 60; batch++) {
    const records = makeLargeRecords(100, batch);
    await appendBatch(store, "segments", records, { ack: "os" });
    all.push(...records);
  }
  appended.set("segments", all);
}

async function fillConfigured(store: Store, appended: Map<string, AppendRecord[]>): Promise<void> {
  await createTopic(store, "configured", {
    retentionHours: 1,
    retentionBytes: 1_073_741_824,
    maxMessageBytes: 400_000,
    segmentBytes: 2 * segmentBytes,
  });
  await alterTopic(store, "configured", { retentionMs: 7_200_000, maxMessageBytes: 500_000 });
  await createTopic(store, "append-time", { ...keptForEver, timestampType: "LogAppendTime" });
  await createTopic(store, "compacted", { ...keptForEver, cleanupPolicy: "compact" });
  await createTopic(store, "empty_topic.with-dots");
  const keyed = makeRecords(40, "c").filter((record) => record.key !== null);
  for (const topic of ["append-time", "compacted"]) {
    await appendBatch(store, topic, keyed);
    appended.set(topic, keyed);
  }
}

async function fillPartitions(store: Store): Promise<void> {
  const keyed = makeRecords(120, "p").filter((record) => record.key !== null);
  await createTopic(store, "partitions", { ...keptForEver, partitions: 2 });
  await appendBatch(store, "partitions", keyed);
  await createPartitions(store, "partitions", 4);
  await appendBatch(store, "partitions", keyed);
}

async function fillDeleted(store: Store, appended: Map<string, AppendRecord[]>): Promise<void> {
  for (const topic of ["shortened", "recreated", "deleted"]) {
    await createTopic(store, topic, keptForEver);
    await appendBatch(store, topic, makeRecords(10, topic));
  }
  await deleteRecords(store, "shortened", 0, 4);
  await deleteTopic(store, "deleted");
  await deleteTopic(store, "recreated");
  await createTopic(store, "recreated", keptForEver);
  const records = makeRecords(3, "again");
  await appendBatch(store, "recreated", records);
  appended.set("recreated", records);
}

function makeLargeRecords(count: number, batch: number): AppendRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    key: `key-${index}`,
    value: `${batch}:${index} `.padEnd(900, "0123456789"),
    timestamp: firstTimestamp + batch * 1000 + index,
  }));
}
