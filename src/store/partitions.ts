/**
 * The partitions of a store: their logs, opened when first needed, and what is recorded of them.
 */

import { hexOfUuid } from "../bytes/uuid.ts";
import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import type { PartitionOffset } from "../log/checkpoint_file.ts";
import { readOffsetCheckpoint, writeOffsetCheckpoint } from "../log/checkpoint_file.ts";
import type { Log } from "../log/log.ts";
import type { OpenedLog } from "../log/log_open.ts";
import { openLog } from "../log/log_open.ts";
import { recoveryPointOf } from "../log/log_sync.ts";
import { logStats } from "../log/log_stats.ts";
import {
  findTopicIdOfFolder,
  partitionMetadataName,
  recordTopicIdOfFolder,
} from "../log/partition_metadata.ts";
import { noteRecoveryPoint } from "../log/producer_snapshots.ts";
import { trySyncTransactionIndexes } from "../log/transaction_indexes.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { MetadataImage, TopicImage } from "./metadata_image.ts";
import { brokerConfigEntries, findTopic, topicConfigEntries } from "./metadata_image.ts";
import type { PartitionState, StoreInternals, TopicState } from "./store.ts";
import { asStorageError } from "./store_errors.ts";
import { cleanerOffsetName, logStartName, recoveryPointName } from "./store_files.ts";
import type { TopicConfig } from "./topic_config.ts";
import { topicConfigOf } from "./topic_config.ts";
import {
  metadataTopic,
  parsePartitionFolderName,
  partitionFolderAsideName,
  partitionFolderName,
} from "./topic_name.ts";

/** What is recorded of partitions, by the names of their folders. */
export interface Checkpoints {
  readonly recoveryPoints: ReadonlyMap<string, number>;
  readonly startOffsets: ReadonlyMap<string, number>;
  readonly firstDirtyOffsets: ReadonlyMap<string, number>;
}

/**
 * Reads what is recorded. A file that cannot be read counts as empty, as for Kafka: then more is
 * scanned.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @returns The offsets by folder name.
 */
export function readCheckpoints(fs: FileSystem, folder: string): Checkpoints {
  const read = (name: string): Map<string, number> => {
    let entries: PartitionOffset[] = [];
    try {
      entries = readOffsetCheckpoint(fs, joinPath(folder, name));
    } catch (error) {
      if (!(error instanceof OttlaError)) throw error;
    }
    return new Map(
      entries.map(({ topic, partition, offset }) => [
        partitionFolderName(topic, partition),
        offset,
      ]),
    );
  };
  return {
    recoveryPoints: read(recoveryPointName),
    startOffsets: read(logStartName),
    firstDirtyOffsets: read(cleanerOffsetName),
  };
}

/**
 * Records below which offset each partition is on disk, which may make producer snapshots useless.
 *
 * @param store The inside of a store.
 */
export function writeRecoveryPoints(store: StoreInternals): void {
  const entries: PartitionOffset[] = [];
  const add = (topic: string, partition: number, offset: number): void => {
    if (offset > 0) entries.push({ topic, partition, offset });
  };
  const moved: Log[] = [];
  for (const { topic, partition, log, recoveryPoint } of allPartitions(store)) {
    if (log === undefined) {
      add(topic, partition, recoveryPoint);
    } else if (trySyncTransactionIndexes(log)) {
      moved.push(log);
      add(topic, partition, recoveryPointOf(log));
    } else {
      add(topic, partition, log.snapshots.recoveryPoint);
    }
  }
  add(metadataTopic, 0, store.metadata.log.commit.syncedOffset);
  writeOffsetCheckpoint(store.fs, joinPath(store.folder, recoveryPointName), entries);
  for (const log of moved) noteRecoveryPoint(log);
}

/**
 * Records where logs begin that do not begin with their first segment.
 *
 * @param store The inside of a store.
 */
export function writeStartOffsets(store: StoreInternals): void {
  const entries: PartitionOffset[] = [];
  for (const state of allPartitions(store)) {
    const { topic, partition, log } = state;
    const offset = log?.startOffset ?? state.startOffset;
    if (offset > 0) entries.push({ topic, partition, offset });
  }
  writeOffsetCheckpoint(store.fs, joinPath(store.folder, logStartName), entries);
  for (const { log } of allPartitions(store)) if (log !== undefined) log.isStartDue = false;
}

/**
 * Records up to where logs are compacted.
 *
 * @param store The inside of a store.
 */
export function writeFirstDirtyOffsets(store: StoreInternals): void {
  const entries: PartitionOffset[] = [];
  for (const { topic, partition, firstDirtyOffset } of allPartitions(store)) {
    if (firstDirtyOffset === undefined) continue;
    entries.push({ topic, partition, offset: firstDirtyOffset });
  }
  const path = joinPath(store.folder, cleanerOffsetName);
  // Where nothing is compacted there is no such file.
  if (entries.length === 0 && store.fs.stat(path) === undefined) return;
  writeOffsetCheckpoint(store.fs, path, entries);
}

/**
 * Records all that is recorded of partitions: where they begin, up to where they are on disk and
 * compacted.
 *
 * @param store The inside of a store.
 */
export function writeOffsets(store: StoreInternals): void {
  writeStartOffsets(store);
  writeRecoveryPoints(store);
  writeFirstDirtyOffsets(store);
}

/** All partitions of all topics. */
export function* allPartitions(store: StoreInternals): Generator<PartitionState> {
  for (const topic of store.topics.values()) yield* topic.partitions;
}

/**
 * The log of a partition, opened if it is not.
 *
 * @param store The inside of a store.
 * @param topic The topic.
 * @param state One of its partitions.
 * @returns The log.
 * @throws OttlaError if its files cannot be read, `UNKNOWN_TOPIC_OR_PARTITION` if the topic was
 * deleted.
 */
export function logOf(store: StoreInternals, topic: TopicState, state: PartitionState): Log {
  return state.log ?? openUsable(store, topic, state).log;
}

/** A topic that is gone, or may be, must not get a folder by someone who still knows it. */
function openUsable(store: StoreInternals, topic: TopicState, state: PartitionState): OpenedLog {
  if (topic.failure !== undefined) throw topic.failure;
  const { partition } = state;
  if (store.topics.get(topic.name) !== topic) {
    throw new OttlaError(
      "UNKNOWN_TOPIC_OR_PARTITION",
      `Cannot use ${topic.name}-${partition}: the topic was deleted`,
      { details: { topic: topic.name, partition } },
    );
  }
  try {
    return openPartition(store, topic, state);
  } catch (error) {
    throw asStorageError(`open ${topic.name}-${partition}`, error);
  }
}

/**
 * Whether a partition has been used: it has a folder from then on.
 *
 * @param store The inside of a store.
 * @param state One of its partitions.
 * @returns True if there can be records in it.
 */
export function hasFolder(
  store: Pick<StoreInternals, "fs" | "folder">,
  state: PartitionState,
): boolean {
  return state.log !== undefined || store.fs.stat(folderOfPartition(store, state)) !== undefined;
}

/**
 * Opens the log of a partition, making its folder if there is none yet.
 *
 * @param store The inside of a store.
 * @param topic The topic.
 * @param state One of its partitions, not opened.
 * @returns The log and what was done to it.
 * @throws OttlaError if its files cannot be read or belong to another topic.
 */
export function openPartition(
  store: Pick<StoreInternals, "fs" | "folder" | "pool" | "clock">,
  topic: TopicState,
  state: PartitionState,
): OpenedLog {
  const { fs } = store;
  const folder = folderOfPartition(store, state);
  fs.makeFolder(folder);
  // It is made in a folder that is on disk: one without it, as a failure leaves it, may not be.
  if (fs.stat(joinPath(folder, partitionMetadataName)) === undefined) fs.syncFolder(store.folder);
  recordTopicIdOfFolder(fs, folder, topic.topicId);
  const opened = openLog({
    pool: store.pool,
    clock: store.clock,
    folder,
    source: { topic: state.topic, partition: state.partition },
    config: topic.config,
    leaderEpoch: Math.max(0, state.leaderEpoch),
    recoveryPoint: state.isClean ? Infinity : state.recoveryPoint,
    startOffset: state.startOffset,
    reachedOffset: state.recoveryPoint,
    wasBrokers: state.wasBrokers,
    lostPower: state.lostPower,
    stats: topic.stats,
  });
  state.log = opened.log;
  return opened;
}

/** How a folder was left. */
export interface FolderPast {
  readonly checkpoints: Checkpoints;
  /** Whether it was closed properly and nobody has been there since: all of every log is on disk. */
  readonly isClean: boolean;
  /** Whether it is a broker that was there last, and did not close it properly. */
  readonly wasBrokers: boolean;
  /** Whether the machine has stopped since it was last open and not closed properly. */
  readonly lostPower: boolean;
}

/**
 * The topics of the metadata as a store works with them.
 *
 * @param image The metadata.
 * @param nodeId The id that the folder belongs to.
 * @param past How the folder was left.
 * @param overrides Settings that are not recorded.
 * @returns The topics by name.
 */
export function topicStates(
  image: MetadataImage,
  nodeId: number,
  { checkpoints, isClean, wasBrokers, lostPower }: FolderPast,
  overrides: Partial<TopicConfig>,
): Map<string, TopicState> {
  const topics = new Map<string, TopicState>();
  for (const topic of image.topicsByName.values()) {
    const state = topicState(image, topic, nodeId, overrides);
    for (const partition of state.partitions) {
      const name = partitionFolderName(partition.topic, partition.partition);
      partition.recoveryPoint = checkpoints.recoveryPoints.get(name) ?? 0;
      partition.isClean = isClean;
      partition.wasBrokers = wasBrokers;
      partition.lostPower = lostPower;
      partition.startOffset = checkpoints.startOffsets.get(name) ?? 0;
      partition.firstDirtyOffset = checkpoints.firstDirtyOffsets.get(name);
    }
    topics.set(topic.name, state);
  }
  return topics;
}

/**
 * A topic of the metadata, its partitions new.
 *
 * @param image The metadata.
 * @param topic One of its topics.
 * @param nodeId The id that the folder belongs to.
 * @param overrides Settings that are not recorded.
 * @returns The topic, no log opened.
 */
export function topicState(
  image: MetadataImage,
  topic: TopicImage,
  nodeId: number,
  overrides: Partial<TopicConfig>,
): TopicState {
  return {
    name: topic.name,
    topicId: topic.topicId,
    config: configOf(image, topic.name, nodeId, overrides),
    partitions: newPartitions(topic, 0),
    partitionerState: { partition: -1, bytes: 0 },
    stats: logStats(),
    failure: undefined,
  };
}

/**
 * Makes a topic unusable until the store is opened again: nobody knows whether its deletion is on
 * disk, so what would be appended to it now might be gone then. Whoever waits for its records is to
 * be woken.
 *
 * @param topic The topic.
 * @param cause Why nobody knows.
 */
export function failTopic(topic: TopicState, cause: unknown): void {
  const failure = new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot use topic ${topic.name}: its deletion failed and may be on disk all the same; open the ` +
      "store again to see whether it is there",
    { cause, details: { topic: topic.name } },
  );
  topic.failure = failure;
  for (const { log } of topic.partitions) if (log !== undefined) log.commit.failure ??= failure;
}

/** The partitions of a topic from a number on, as new as can be. */
export function newPartitions(topic: TopicImage, from: number): PartitionState[] {
  const partitions: PartitionState[] = [];
  for (let partition = from; partition < topic.partitions.size; partition++) {
    partitions.push({
      topic: topic.name,
      partition,
      log: undefined,
      recoveryPoint: 0,
      isClean: true,
      wasBrokers: false,
      lostPower: false,
      startOffset: 0,
      firstDirtyOffset: undefined,
      leaderEpoch: topic.partitions.get(partition)?.leaderEpoch ?? 0,
    });
  }
  return partitions;
}

/** The configuration of a topic: its own, over the broker's, over Kafka's defaults. */
export function configOf(
  image: MetadataImage,
  topic: string,
  nodeId: number,
  overrides: Partial<TopicConfig>,
): TopicConfig {
  const entries = topicConfigEntries(image, topic);
  const config = topicConfigOf(entries, brokerConfigEntries(image, nodeId));
  // A folder that Kafka wrote may allow larger batches than ottla reads: it must not write them.
  const maxMessageBytes = Math.min(config.maxMessageBytes, batchBytesMax);
  return { ...config, maxMessageBytes, ...overrides };
}

/**
 * Sets folders aside that belong to no topic: what a deletion left is removed, anything else is
 * renamed as Kafka renames it.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param image The metadata.
 * @param isClean Whether the store was closed properly; then there is nothing but what could not be
 * removed before.
 * @param newId Gives an id for a name.
 */
export function settleFolders(
  fs: FileSystem,
  folder: string,
  image: MetadataImage,
  isClean: boolean,
  newId: () => string,
): void {
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder || name === partitionFolderName(metadataTopic, 0)) continue;
    let parsed;
    try {
      parsed = parsePartitionFolderName(name);
    } catch {
      continue;
    }
    const path = joinPath(folder, name);
    if (parsed.state === "delete") removeFolderWithFiles(fs, path);
    if (parsed.state !== "live" || isClean) continue;
    const topic = findTopic(image, parsed.topic);
    const id = findReadableTopicId(fs, path);
    const isKnown = topic !== undefined && topic.partitions.has(parsed.partition) &&
      (id === undefined || id === topic.topicId);
    if (!isKnown) setFolderAside(fs, folder, parsed.topic, parsed.partition, hexOfUuid(newId()));
  }
}

/**
 * The topic id of a folder, or undefined if it cannot be told: then its name counts, and whoever
 * uses the partition is told what is wrong with it.
 */
function findReadableTopicId(fs: FileSystem, path: string): string | undefined {
  try {
    return findTopicIdOfFolder(fs, path);
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/**
 * Renames the folder of a partition that is nobody's as Kafka renames it; what is in it stays.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param topic The topic that the folder's name says.
 * @param partition The partition that it says.
 * @param uniqueId 32 hexadecimal digits.
 */
export function setFolderAside(
  fs: FileSystem,
  folder: string,
  topic: string,
  partition: number,
  uniqueId: string,
): void {
  const source = joinPath(folder, partitionFolderName(topic, partition));
  fs.rename(
    source,
    joinPath(folder, partitionFolderAsideName(topic, partition, uniqueId, "stray")),
  );
}

/**
 * Removes a folder and the files in it, as far as they can be removed now.
 *
 * @param fs Where it is.
 * @param path The folder.
 */
export function removeFolderWithFiles(fs: FileSystem, path: string): void {
  try {
    for (const { name } of fs.list(path)) fs.remove(joinPath(path, name));
    fs.removeFolder(path);
  } catch (error) {
    // On Windows a file that is still read cannot be removed: the next opening removes what is
    // left.
    if (!hasErrorCode(error, "EBUSY") && !hasErrorCode(error, "EPERM")) throw error;
  }
}

function folderOfPartition(store: Pick<StoreInternals, "folder">, state: PartitionState): string {
  return joinPath(store.folder, partitionFolderName(state.topic, state.partition));
}
