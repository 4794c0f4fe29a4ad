/**
 * Repairs the metadata log.
 *
 * Without it nothing says which topics there are. So all records that can be read are gathered,
 * from the newest good snapshot and the batches behind it, those that contradict what is left are
 * dropped, and topics of which only a folder is left are made again with the settings of a new
 * topic. Of this a metadata log is written that begins anew at offset 0.
 */

import { OttlaError } from "../errors.ts";
import { findTopicIdOfFolder } from "../log/partition_metadata.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, partitionLeaderEpochOf } from "../record/batch_view.ts";
import { appendRecord, batchBuilder, builtBytes, finishBatch } from "../record/batch_builder.ts";
import { forEachRecord, valueOf } from "../record/record_reader.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import { listSegments, scanFile } from "./folder_view.ts";
import {
  createPartitionsRecords,
  createTopicRecords,
  initialFeatureRecords,
} from "./metadata_changes.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { findTopic, metadataImage } from "./metadata_image.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import { decodeMetadataRecord, encodeMetadataRecord } from "./metadata_records.ts";
import { applyRecord, finishReplay } from "./metadata_replay.ts";
import { parseQuorumState, quorumStateName } from "./quorum_state.ts";
import { removeKept, replaceKept } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";
import { addStep } from "./repair_report.ts";
import { configEntriesOf } from "./topic_config.ts";
import {
  isInternalTopic,
  metadataTopic,
  parsePartitionFolderName,
  partitionFolderName,
} from "./topic_name.ts";

/** What could be saved of a metadata log. */
export interface SavedMetadata {
  readonly image: MetadataImage;
  /** All records that are true together, in their order. */
  readonly records: MetadataRecord[];
  /** How many could not be saved, as far as they could be counted. */
  droppedCount: number;
  lastEpoch: number;
  lastTimestamp: number;
}

/** Whom the partitions that are made again belong to. */
export interface RepairIdentity {
  readonly nodeId: number;
  readonly directoryId: string;
  readonly newTopicId: () => string;
}

const name = partitionFolderName(metadataTopic, 0);
const snapshotName = /^(\d{20})-(\d{10})\.checkpoint$/;
const recordsMax = 10_000_000;
const batchRecordsMax = 1000;

/**
 * Gathers what can be read of a metadata log. Nothing is changed.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @returns What could be saved.
 */
export function saveMetadata(fs: FileSystem, folder: string): SavedMetadata {
  const saved: SavedMetadata = {
    image: metadataImage(),
    records: [],
    droppedCount: 0,
    lastEpoch: 0,
    lastTimestamp: 0,
  };
  const metadataFolder = joinPath(folder, name);
  if (fs.stat(metadataFolder) === undefined) return saved;
  let startOffset = 0;
  const names = fs.list(metadataFolder).map((entry) => entry.name).sort();
  const newest = names.findLast((one) => snapshotName.test(one));
  if (newest !== undefined) {
    saveFile(fs, joinPath(metadataFolder, newest), 0, saved, "snapshot");
    startOffset = Number(snapshotName.exec(newest)![1]);
  }
  for (const { path } of listSegments(fs, metadataFolder)) {
    saveFile(fs, path, startOffset, saved, "log");
  }
  // Of a transaction that has no end nothing is true.
  saved.records.push(...finishReplay(saved.image));
  return saved;
}

function saveFile(
  fs: FileSystem,
  path: string,
  startOffset: number,
  saved: SavedMetadata,
  origin: "log" | "snapshot",
): void {
  const file = fs.open(path, "read");
  try {
    const end = fs.sizeOf(file);
    for (let position = 0; position < end;) {
      const scan = scanBatches(fs, file, { start: position, end, verify: true }, (batch) => {
        saveBatch(batch, startOffset, saved, origin);
      });
      if (scan.reason === "end") return;
      const next = findNextBatch(fs, file, { start: scan.position + 1, end, verify: true }, 0);
      saved.droppedCount++;
      position = next?.position ?? end;
    }
  } finally {
    fs.close(file);
  }
}

function saveBatch(
  batch: BatchView,
  startOffset: number,
  saved: SavedMetadata,
  origin: "log" | "snapshot",
): void {
  saved.lastEpoch = Math.max(saved.lastEpoch, partitionLeaderEpochOf(batch));
  saved.lastTimestamp = Math.max(saved.lastTimestamp, batch.maxTimestamp);
  // Control records are of a quorum; the one that goes on with this log writes its own.
  if (isControlBatch(batch)) return;
  tolerate(saved, () => {
    forEachRecord(batch, (record) => {
      const value = valueOf(record);
      if (record.offset < startOffset || value === null) return;
      tolerate(saved, () => saveRecord(saved, decodeMetadataRecord(value), origin));
    });
  });
}

function saveRecord(
  saved: SavedMetadata,
  record: MetadataRecord,
  origin: "log" | "snapshot",
): void {
  if (saved.records.length >= recordsMax) throw new RangeError("the metadata log has no end");
  applyRecord(saved.image, record, origin);
  saved.records.push(record);
}

function tolerate(saved: SavedMetadata, save: () => void): void {
  try {
    save();
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    saved.droppedCount++;
  }
}

/**
 * Makes topics again of which the metadata says nothing any more, while their folders are there.
 *
 * @param repair The repair.
 * @param saved What could be saved; it gets the records of these topics.
 * @param identity Whom they belong to.
 */
export function recoverTopics(
  repair: Repair,
  saved: SavedMetadata,
  identity: RepairIdentity,
): void {
  const counts = new Map<string, { count: number; topicId: string | undefined }>();
  for (const entry of repair.fs.list(repair.folder)) {
    const found = entry.isFolder ? findPartition(entry.name) : undefined;
    if (found === undefined || found.topic === metadataTopic) continue;
    const before = counts.get(found.topic);
    counts.set(found.topic, {
      count: Math.max(before?.count ?? 0, found.partition + 1),
      topicId: before?.topicId ?? findTopicId(repair, entry.name),
    });
  }
  if (!saved.image.features.has("metadata.version")) {
    for (const record of initialFeatureRecords()) saveRecord(saved, record, "log");
  }
  for (const [topic, { count, topicId }] of counts) {
    recoverTopic(repair, saved, identity, topic, count, topicId);
  }
}

/**
 * Whether records of the metadata are lost without the log being damaged for a reader: there are
 * partitions that it does not know, and it is empty or ends in bytes that are none of its batches.
 *
 * @param repair The repair.
 * @param image What the metadata says.
 * @returns True if topics should be looked for.
 */
export function hasLostTopics({ fs, folder }: Repair, image: MetadataImage): boolean {
  const isUnknown = fs.list(folder).some((entry) => {
    const found = entry.isFolder ? findPartition(entry.name) : undefined;
    return found !== undefined && found.topic !== metadataTopic &&
      findTopic(image, found.topic)?.partitions.has(found.partition) !== true;
  });
  if (!isUnknown) return false;
  const last = listSegments(fs, joinPath(folder, name)).at(-1);
  if (last === undefined || !image.features.has("metadata.version")) return true;
  return scanFile(fs, last.path, { verify: true }, () => {}).reason !== "end";
}

function recoverTopic(
  repair: Repair,
  saved: SavedMetadata,
  { nodeId, directoryId, newTopicId }: RepairIdentity,
  topic: string,
  partitionCount: number,
  topicId: string | undefined,
): void {
  const { image } = saved;
  const known = findTopic(image, topic);
  if (known !== undefined && known.partitions.size >= partitionCount) return;
  const isFree = topicId !== undefined && !image.topicsById.has(topicId);
  let records: MetadataRecord[] = [];
  tolerate(saved, () => {
    records = known === undefined
      ? createTopicRecords(image, {
        name: topic,
        topicId: isFree ? topicId : newTopicId(),
        partitionCount,
        configs: configEntriesOf(isInternalTopic(topic) ? internalOptions : {}),
        nodeId,
        directoryId,
      })
      : createPartitionsRecords(image, topic, partitionCount, { nodeId, directoryId });
  });
  for (const record of records) saveRecord(saved, record, "log");
  if (records.length === 0) return;
  const message = known === undefined
    ? "The topic is made again with settings of a new one, its folders are there"
    : `Its partitions up to ${partitionCount - 1} are made again, their folders are there`;
  addStep(repair, topic, message);
}

const internalOptions = { cleanupPolicy: "compact", compression: "producer" } as const;

function findPartition(folder: string): { topic: string; partition: number } | undefined {
  try {
    const parsed = parsePartitionFolderName(folder);
    return parsed.state === "live" ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function findTopicId({ fs, folder }: Repair, partitionFolder: string): string | undefined {
  try {
    return findTopicIdOfFolder(fs, joinPath(folder, partitionFolder));
  } catch (error) {
    if (error instanceof OttlaError) return undefined;
    throw error;
  }
}

/**
 * Writes a metadata log of what could be saved, in the place of the one that is there. Its first
 * segment is replaced first: whatever a crash leaves behind it says less, not something else.
 *
 * @param repair The repair.
 * @param saved What could be saved.
 */
export function rewriteMetadata(repair: Repair, saved: SavedMetadata): void {
  const { fs, folder, isDryRun } = repair;
  const { records, droppedCount } = saved;
  const metadataFolder = joinPath(folder, name);
  if (!isDryRun) fs.makeFolder(metadataFolder);
  const first = segmentFileName(0, "log");
  const message = `The metadata log is written anew with ${records.length} records that could be ` +
    `saved; ${droppedCount} records or stretches could not`;
  replaceKept(repair, joinPath(name, first), metadataBytes(saved), message);
  if (fs.stat(metadataFolder) === undefined) return;
  const others = fs.list(metadataFolder).map((entry) => entry.name).sort().reverse();
  for (const other of others) {
    const isOld = other !== first && /^\d{20}/.test(other);
    if (isOld) removeKept(repair, joinPath(name, other), "What it says is in the new log");
  }
}

function metadataBytes({ records, lastEpoch, lastTimestamp }: SavedMetadata): Uint8Array {
  const builder = batchBuilder();
  for (let start = 0; start < records.length; start += batchRecordsMax) {
    for (const record of records.slice(start, start + batchRecordsMax)) {
      appendRecord(builder, lastTimestamp, null, encodeMetadataRecord(record));
    }
    finishBatch(builder, { baseOffset: start, partitionLeaderEpoch: lastEpoch });
  }
  return builtBytes(builder);
}

/**
 * Removes the state of the quorum if it cannot be read: the next change of the metadata begins an
 * epoch of its own.
 *
 * @param repair The repair.
 */
export function repairQuorumState(repair: Repair): void {
  const path = joinPath(name, quorumStateName);
  const bytes = readFile(repair.fs, joinPath(repair.folder, path));
  if (bytes === undefined || bytes.length === 0) return;
  try {
    parseQuorumState(bytes, path);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    removeKept(repair, path, "It cannot be read; the next change of a topic writes it");
  }
}
