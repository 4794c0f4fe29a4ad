/**
 * A small store with every kind of file, as plain bytes that a test can damage and open again.
 */

import { commitOffsets } from "../../src/client/groups.ts";
import { append, appendBatch } from "../../src/client/append.ts";
import { compactTopic } from "../../src/client/compact_topic.ts";
import { abortedTransactions } from "../../src/log/transaction_indexes.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchesIn, isControlBatch, verifyChecksum } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { getTopicState, internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import { createTopicIn } from "../../src/store/topics.ts";
import { manualClock } from "../support/log_fixture.ts";
import { endTransaction, produce } from "../support/produced.ts";
import { crashStore, openTestStore, storeFolder } from "../support/store_fixture.ts";

/** How the process that had the store open ended. */
export type Ending = "closed" | "crashed";

/** The files of a store by their paths from its folder on. */
export type StoreImage = ReadonlyMap<string, Uint8Array>;

/** One batch of the store as it was written. */
export interface OriginalBatch {
  /** The log file, from the store's folder on. */
  readonly path: string;
  readonly startPosition: number;
  readonly endPosition: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** What its records are, in a form that can be compared, by their offsets; none of a marker. */
  readonly records: ReadonlyMap<number, string>;
}

/** One partition as it was written. */
export interface OriginalPartition {
  readonly topic: string;
  readonly partition: number;
  readonly isCompacted: boolean;
  readonly startOffset: number;
  readonly endOffset: number;
  readonly batches: readonly OriginalBatch[];
}

/** A store as it was left, and what is in it. */
export interface OriginalStore {
  readonly ending: Ending;
  readonly image: StoreImage;
  /** By the names of their folders. */
  readonly partitions: ReadonlyMap<string, OriginalPartition>;
}

/** What a group of the store has committed, and had committed before. */
export const committedBefore = 1;
export const committedLast = 7;
/** Where orders-0 begins: what is before it was deleted on request. */
export const ordersStart = 3;

/** Segments of a few batches, and index files that are no megabytes. */
export const rottenOptions: StoreOptions = {
  topicOverrides: { segmentBytes: 460, segmentIndexBytes: 240, indexIntervalBytes: 120 },
};

const startMs = 1_750_000_000_000;

/**
 * Opens a store of these tests.
 *
 * @param fs Where it is.
 * @returns Resolves with the store.
 */
export function openRotten(fs: FileSystem): Promise<Store> {
  return openTestStore(fs, { ...rottenOptions, clock: manualClock(startMs + 1000) });
}

/**
 * Fills a store and lets go of it.
 *
 * @param ending How.
 * @returns Resolves with its files and what is in them.
 */
export async function originalStore(ending: Ending): Promise<OriginalStore> {
  const fs = memoryFileSystem();
  // A first opening that is closed leaves the files of a clean shutdown to be opened with.
  const store = await openRotten(fs);
  await fillOrders(store);
  await fillLedger(store);
  await fillProfiles(store);
  await commitOf(store, committedBefore);
  await commitOf(store, committedLast);
  if (ending === "closed") await closeStore(store);
  else crashStore(store, fs);
  const image = withoutSpareBytes(imageOf(fs));
  return { ending, image, partitions: partitionsIn(image) };
}

/** Two partitions of plain records, of which one has several segments and a start of its own. */
async function fillOrders(store: Store): Promise<void> {
  await createTopic(store, "orders", { partitions: 2, partitioner: "murmur2" });
  for (let index = 0; index < 9; index++) {
    const records = Array.from({ length: 1 + index % 3 }, (_, at) => ({
      partition: 0,
      key: `k${index}`,
      value: `order ${index}.${at} `.repeat(1 + index % 4),
      timestamp: startMs + index * 10,
    }));
    await appendBatch(store, "orders", records);
  }
  await append(store, "orders", { partition: 1, key: "p", value: null, timestamp: startMs });
  await append(store, "orders", { partition: 1, value: "other", timestamp: startMs + 1 });
  await deleteRecords(store, "orders", 0, ordersStart);
}

/** Records of producers: with sequence numbers, committed and aborted. */
async function fillLedger(store: Store): Promise<void> {
  await createTopic(store, "ledger", { compression: "producer" });
  const internals = internalsOf(store);
  const topic = getTopicState(internals, "ledger");
  const log = logOf(internals, topic, topic.partitions[0]!);
  const timestamp = startMs;
  await produce(log, 0, { timestamp, transactional: true, ack: "disk" }).done;
  await produce(log, 0, { producerId: 8, timestamp, ack: "disk", values: ["a", "b"] }).done;
  await endTransaction(log, "abort", { timestamp, ack: "disk" }).done;
  await produce(log, 1, { timestamp, transactional: true, ack: "disk" }).done;
  await endTransaction(log, "commit", { timestamp, ack: "disk" }).done;
  await append(store, "ledger", { key: "plain", value: "x".repeat(300), timestamp });
  await produce(log, 2, { producerId: 8, timestamp, ack: "disk" }).done;
  if (abortedTransactions(log, 0, log.endOffset).length !== 1) throw new Error("none was aborted");
}

/** Keys of which the older records were compacted away. */
async function fillProfiles(store: Store): Promise<void> {
  await createTopic(store, "profiles", { cleanupPolicy: "compact" });
  for (let index = 0; index < 8; index++) {
    const value = `profile ${index} `.repeat(8);
    await append(store, "profiles", { key: `k${index % 3}`, value, timestamp: startMs + index });
  }
  await compactTopic(store, "profiles");
}

async function commitOf(store: Store, offset: number): Promise<void> {
  // Fifty partitions would make the metadata log ten times as large.
  await createTopicIn(internalsOf(store), "__consumer_offsets", {
    partitions: 2,
    cleanupPolicy: "compact",
    ifNotExists: true,
  });
  await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset }]);
}

/** The metadata log's indexes are preallocated with megabytes of zeros while it is open. */
function withoutSpareBytes(image: StoreImage): StoreImage {
  const isIndex = (path: string): boolean => /\.(time)?index$/.test(path);
  return new Map([...image].map(([path, bytes]) => [
    path,
    isIndex(path) ? bytes.subarray(0, 240) : bytes,
  ]));
}

/** All files below the folder of a store. */
export function imageOf(fs: FileSystem): StoreImage {
  const files = new Map<string, Uint8Array>();
  const visit = (folder: string, shown: string): void => {
    for (const { name, isFolder } of fs.list(folder)) {
      if (isFolder) visit(joinPath(folder, name), `${shown}${name}/`);
      else files.set(shown + name, readFile(fs, joinPath(folder, name))!);
    }
  };
  visit(storeFolder, "");
  return new Map([...files].sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Puts files into a new file system in memory.
 *
 * @param image The files.
 * @param changes What is different: other bytes, or undefined for a file that is not there.
 * @returns The file system.
 */
export function restoreImage(
  image: StoreImage,
  changes: ReadonlyMap<string, Uint8Array | undefined> = new Map(),
): FileSystem {
  const fs = memoryFileSystem(() => startMs);
  fs.makeFolder(storeFolder);
  for (const [path, whole] of image) {
    const slash = path.lastIndexOf("/");
    if (slash > 0) fs.makeFolder(joinPath(storeFolder, path.slice(0, slash)));
    const bytes = changes.has(path) ? changes.get(path) : whole;
    if (bytes === undefined) continue;
    const file = fs.open(joinPath(storeFolder, path), "create");
    fs.write(file, bytes, 0);
    fs.close(file);
  }
  return fs;
}

function partitionsIn(image: StoreImage): Map<string, OriginalPartition> {
  const partitions = new Map<string, OriginalPartition & { batches: OriginalBatch[] }>();
  for (const [path, bytes] of image) {
    const match = /^(.*)-(\d+)\/(\d{20})\.log$/.exec(path);
    const [, topic = "", number = "", base = ""] = match ?? [];
    if (match === null || topic === "__cluster_metadata") continue;
    const name = `${topic}-${number}`;
    const before = partitions.get(name);
    const batches = [...before?.batches ?? [], ...originalBatches(path, bytes)];
    partitions.set(name, {
      topic,
      partition: Number(number),
      isCompacted: topic === "profiles" || topic.startsWith("__"),
      startOffset: name === "orders-0" ? ordersStart : 0,
      endOffset: (batches.at(-1)?.lastOffset ?? Number(base) - 1) + 1,
      batches,
    });
  }
  return partitions;
}

function originalBatches(path: string, bytes: Uint8Array): OriginalBatch[] {
  return Array.from(batchesIn(bytes), (batch) => {
    verifyChecksum(batch);
    const records = isControlBatch(batch) ? [] : recordsOf(batch);
    return {
      path,
      startPosition: batch.position,
      endPosition: batch.position + batch.sizeBytes,
      baseOffset: batch.baseOffset,
      lastOffset: batch.lastOffset,
      records: new Map(records.map((record) => [record.offset, shownRecord(record)])),
    };
  });
}

/** All of a record in a form that can be compared. */
export function shownRecord({ offset, timestamp, key, value, headers }: LogRecord): string {
  const text = (bytes: Uint8Array | null): string | null =>
    bytes === null ? null : Array.from(bytes, (byte) => byte.toString(16)).join(" ");
  const shownHeaders = headers.map((header) => [header.key, text(header.value)]);
  return JSON.stringify([offset, timestamp, text(key), text(value), shownHeaders]);
}
