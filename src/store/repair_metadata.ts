/**
 * Repairs the metadata log.
 *
 * Without it nothing says which topics there are. So all records that can be read are gathered,
 * from the newest whole snapshot and the batches behind it, or from the log alone if it has all of
 * them, or from whatever there is; those that contradict what is left are dropped, and topics of
 * which only a folder is left are made again with the settings of a new topic. Of this a metadata
 * log is written that begins anew, at that snapshot or at offset 0.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import { findTopicIdOfFolder } from "../log/partition_metadata.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, partitionLeaderEpochOf } from "../record/batch_view.ts";
import { appendRecord, batchBuilder, builtBytes, finishBatch } from "../record/batch_builder.ts";
import { forEachRecord, valueOf } from "../record/record_reader.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import type { SegmentFile } from "./folder_view.ts";
import { listSegments, scanFile } from "./folder_view.ts";
import {
  createPartitionsRecords,
  createTopicRecords,
  initialFeatureRecords,
  partitionCountMax,
} from "./metadata_changes.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { findTopic, metadataImage } from "./metadata_image.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import { decodeMetadataRecord, encodeMetadataRecord } from "./metadata_records.ts";
import { replaySnapshot } from "./metadata_reader.ts";
import { applyRecord } from "./metadata_replay.ts";
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
  /** All records that are true together, in their order, without the marks of transactions. */
  readonly records: MetadataRecord[];
  /** Those of a transaction whose end has not come yet. */
  held: MetadataRecord[] | undefined;
  /** The snapshot that the others follow, if one is whole; it stays. */
  snapshot: SnapshotFile | undefined;
  /** How many of the records are in it. */
  snapshotCount: number;
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

/** A snapshot of the metadata. */
export interface SnapshotFile {
  readonly name: string;
  /** Behind the last record that it stands for. */
  readonly offset: number;
}

/**
 * Gathers what can be read of a metadata log. Nothing is changed.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @returns What could be saved.
 */
export function saveMetadata(fs: FileSystem, folder: string): SavedMetadata {
  const metadataFolder = joinPath(folder, name);
  const segments = listSegments(fs, metadataFolder);
  const snapshots = newestSnapshots(fs, metadataFolder);
  const whole = snapshots.find((one) => isWhole(fs, metadataFolder, one));
  if (whole !== undefined) {
    const saved = emptyMetadata();
    saveFile(fs, joinPath(metadataFolder, whole.name), wholeFile, saved, "snapshot");
    saved.snapshot = whole;
    saved.snapshotCount = saved.records.length;
    return saveLog(fs, segments, whole.offset, saved);
  }
  const logged = saveLog(fs, segments, 0, emptyMetadata());
  const hasAll = segments[0]?.baseOffset === 0 && logged.droppedCount === 0;
  const [damaged] = snapshots;
  if (hasAll || damaged === undefined) return logged;
  const saved = emptyMetadata();
  saveFile(fs, joinPath(metadataFolder, damaged.name), wholeFile, saved, "snapshot");
  return saveLog(fs, segments, 0, saved);
}

function newestSnapshots(fs: FileSystem, metadataFolder: string): SnapshotFile[] {
  if (fs.stat(metadataFolder) === undefined) return [];
  const names = fs.list(metadataFolder).map((entry) => entry.name).sort().reverse();
  return names.flatMap((one) => {
    const match = snapshotName.exec(one);
    return match === null ? [] : [{ name: one, offset: Number(match[1]) }];
  });
}

function isWhole(fs: FileSystem, metadataFolder: string, snapshot: SnapshotFile): boolean {
  try {
    replaySnapshot(fs, joinPath(metadataFolder, snapshot.name), metadataImage());
    return true;
  } catch (error) {
    if (isOttlaError(error, "STORE_INVALID")) return false;
    throw error;
  }
}

function saveLog(
  fs: FileSystem,
  segments: readonly SegmentFile[],
  startOffset: number,
  saved: SavedMetadata,
): SavedMetadata {
  for (const { path, baseOffset } of segments) {
    saveFile(fs, path, { startOffset, baseOffset }, saved, "log");
  }
  // Of a transaction that has no end nothing is true.
  saved.held = undefined;
  return saved;
}

function emptyMetadata(): SavedMetadata {
  return {
    image: metadataImage(),
    records: [],
    held: undefined,
    snapshot: undefined,
    snapshotCount: 0,
    droppedCount: 0,
    lastEpoch: 0,
    lastTimestamp: 0,
  };
}

/** From which offset on records are wanted of a file, and with which one it begins. */
const wholeFile = { startOffset: 0, baseOffset: 0 };

function saveFile(
  fs: FileSystem,
  path: string,
  { startOffset, baseOffset }: Readonly<typeof wholeFile>,
  saved: SavedMetadata,
  origin: "log" | "snapshot",
): void {
  const file = fs.open(path, "read");
  try {
    const end = fs.sizeOf(file);
    let offset = baseOffset;
    for (let position = 0; position < end;) {
      const scan = scanBatches(fs, file, { start: position, end, verify: true }, (batch) => {
        // The first offset is in no checksum; there are no gaps, so it is known.
        saveBatch(batch, startOffset + batch.baseOffset - offset, saved, origin);
        offset += batch.lastOffset - batch.baseOffset + 1;
      });
      if (scan.reason === "end") return;
      const next = findNextBatch(fs, file, { start: scan.position + 1, end, verify: true }, offset);
      saved.droppedCount++;
      if (next === undefined) return;
      // Its end may have been there: rather too much is saved than all behind it lost.
      endTransaction(saved, origin);
      ({ position, baseOffset: offset } = next);
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
  const heldCount = saved.held?.length ?? 0;
  if (saved.records.length + heldCount >= recordsMax) {
    throw new RangeError("the metadata log has no end");
  }
  switch (record.type) {
    case "BeginTransactionRecord":
      endTransaction(saved, origin);
      saved.held = [];
      return;
    case "EndTransactionRecord":
      return endTransaction(saved, origin);
    case "AbortTransactionRecord":
      saved.held = undefined;
      return;
  }
  if (saved.held !== undefined) {
    saved.held.push(record);
    return;
  }
  applyRecord(saved.image, record, origin);
  saved.records.push(record);
}

/** What was held back is true, but for what contradicts the rest. */
function endTransaction(saved: SavedMetadata, origin: "log" | "snapshot"): void {
  const held = saved.held ?? [];
  saved.held = undefined;
  for (const record of held) tolerate(saved, () => saveRecord(saved, record, origin));
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
    // A number beyond what a topic can have is none that a partition was given.
    const isPartition = found !== undefined && found.topic !== metadataTopic &&
      found.partition < partitionCountMax;
    if (!isPartition) continue;
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
 * The folders of partitions that the metadata does not know.
 *
 * @param repair The repair.
 * @param image What the metadata says.
 * @returns Their names.
 */
export function unknownPartitions({ fs, folder }: Repair, image: MetadataImage): string[] {
  return fs.list(folder).flatMap((entry) => {
    const found = entry.isFolder ? findPartition(entry.name) : undefined;
    const isUnknown = found !== undefined && found.topic !== metadataTopic &&
      findTopic(image, found.topic)?.partitions.has(found.partition) !== true;
    return isUnknown ? [entry.name] : [];
  });
}

/**
 * Whether records of the metadata are lost without the log being damaged for a reader: there are
 * partitions that it does not know, and it is empty or ends in bytes that are none of its batches.
 *
 * @param repair The repair.
 * @param image What the metadata says.
 * @returns True if topics should be looked for.
 */
export function hasLostTopics(repair: Repair, image: MetadataImage): boolean {
  if (unknownPartitions(repair, image).length === 0) return false;
  const { fs, folder } = repair;
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
        partitionCount: isInternalTopic(topic)
          ? Math.max(partitionCount, internalPartitions)
          : partitionCount,
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

/** As many as Kafka makes: which one is a group's depends on their number, folders or not. */
const internalPartitions = 50;
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
 * Writes a metadata log of what could be saved, in the place of the one that is there: one segment,
 * behind the snapshot that is whole if there is one. It is written before anything else goes:
 * whatever a crash leaves beside it says no more than is in it.
 *
 * @param repair The repair.
 * @param saved What could be saved.
 */
export function rewriteMetadata(repair: Repair, saved: SavedMetadata): void {
  const { fs, folder, isDryRun } = repair;
  const { records, droppedCount, snapshot } = saved;
  const metadataFolder = joinPath(folder, name);
  if (!isDryRun) fs.makeFolder(metadataFolder);
  else if (fs.stat(metadataFolder) === undefined) repair.changes.set(metadataFolder, "folder");
  const first = segmentFileName(snapshot?.offset ?? 0, "log");
  const message = `The metadata log is written anew with ${records.length} records that could be ` +
    `saved; ${droppedCount} records or stretches could not`;
  replaceKept(repair, joinPath(name, first), metadataBytes(saved), message);
  const others = fs.list(metadataFolder).map((entry) => entry.name).sort().reverse();
  for (const other of others) {
    const isOld = other !== first && other !== snapshot?.name && /^\d{20}/.test(other);
    if (isOld) removeKept(repair, joinPath(name, other), "What it says is in the new log");
  }
}

/**
 * Removes snapshots that cannot be read, while what counts can be.
 *
 * @param repair The repair.
 */
export function removeDamagedSnapshots(repair: Repair): void {
  const { fs, folder } = repair;
  const metadataFolder = joinPath(folder, name);
  for (const snapshot of newestSnapshots(fs, metadataFolder)) {
    if (isWhole(fs, metadataFolder, snapshot)) continue;
    const message = "It cannot be read, and a newer one or the log has what it said";
    removeKept(repair, joinPath(name, snapshot.name), message);
  }
}

function metadataBytes(saved: SavedMetadata): Uint8Array {
  const { lastEpoch, lastTimestamp, snapshot, snapshotCount } = saved;
  const records = saved.records.slice(snapshotCount);
  const baseOffset = snapshot?.offset ?? 0;
  const builder = batchBuilder();
  for (let start = 0; start < records.length; start += batchRecordsMax) {
    for (const record of records.slice(start, start + batchRecordsMax)) {
      appendRecord(builder, lastTimestamp, null, encodeMetadataRecord(record));
    }
    finishBatch(builder, { baseOffset: baseOffset + start, partitionLeaderEpoch: lastEpoch });
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
  try {
    const bytes = readFile(repair.fs, joinPath(repair.folder, path));
    if (bytes !== undefined && bytes.length > 0) parseQuorumState(bytes, path);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    removeKept(repair, path, "It cannot be read; the next change of a topic writes it");
  }
}
