/**
 * Creates, describes, changes and deletes topics. Every change is in the metadata log and on disk
 * before it is true.
 */

import { OttlaError } from "../errors.ts";
import { addLogStats } from "../log/log_stats.ts";
import { advanceStart, retireBelowStart } from "../log/retention.ts";
import { sweepRetired } from "../log/retired_segments.ts";
import { giveReserveIfFull, lendingReserve, takeReserve } from "./disk_reserve.ts";
import {
  alterConfigRecords,
  createPartitionsRecords,
  createTopicRecords,
  deleteTopicRecords,
} from "./metadata_changes.ts";
import { getTopic, topicConfigEntries } from "./metadata_image.ts";
import { changeMetadata } from "./metadata_log.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import type { Partitioner } from "./partitioner.ts";
import {
  configOf,
  failTopic,
  logOf,
  newPartitions,
  topicState,
  writeStartOffsets,
} from "./partitions.ts";
import type { Store, StoreInternals, TopicState } from "./store.ts";
import { checkOpen, getPartitionState, getTopicState, openInternals } from "./store.ts";
import { asStorageError } from "./store_errors.ts";
import { writePartitioners } from "./store_files.ts";
import { checkNumber, checkObject, checkPartitioner } from "./store_options.ts";
import type { TopicConfigChanges, TopicConfigOptions } from "./topic_config.ts";
import {
  checkTopicConfig,
  configChangesOf,
  configEntriesOf,
  topicConfigOf,
} from "./topic_config.ts";
import type { TopicDescription } from "./topic_description.ts";
import { descriptionOf } from "./topic_description.ts";
import { prepareFolders, removeTopicFolders } from "./topic_folders.ts";
import { checkNotInternal, isInternalTopic } from "./topic_name.ts";
import { randomUuid } from "./uuid.ts";

/** What a topic is to be like. */
export type TopicOptions = TopicConfigOptions & {
  /** How many partitions; 1 unless given. */
  readonly partitions?: number;
  /**
   * How records find their partition; the store's unless given. A function must be given again at
   * every opening, here with `ifNotExists` or to `alterTopic`.
   */
  readonly partitioner?: Partitioner;
};

/** What of a topic is to change; null sets an entry back to its default. */
export type TopicChanges = TopicConfigChanges & { readonly partitioner?: Partitioner };

/**
 * Creates a topic.
 *
 * @param store The store.
 * @param name 1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`.
 * @param options Its partitions and configuration; `ifNotExists` makes an existing topic a success.
 * @returns Resolves with the topic when it is on disk.
 * @throws TypeError or RangeError for options of the wrong kind. OttlaError `TOPIC_ALREADY_EXISTS`,
 * `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`, `INVALID_CONFIG`.
 */
export async function createTopic(
  store: Store,
  name: string,
  options: TopicOptions & { readonly ifNotExists?: boolean } = {},
): Promise<TopicDescription> {
  const internals = openInternals(store);
  let description: TopicDescription | undefined;
  await createTopicIn(internals, name, options, (topic) => {
    description = descriptionOf(internals, topic);
  });
  return description!;
}

/**
 * Creates a topic as `createTopic` does, without a look at its partitions, whose folders are
 * made when they are first used.
 *
 * @param internals The inside of an open store.
 * @param name Its name.
 * @param options Its partitions and configuration.
 * @param onCreated Called with the topic before anybody else's change of the metadata.
 * @returns Resolves when the topic is on disk.
 * @throws As `createTopic`.
 */
export async function createTopicIn(
  internals: StoreInternals,
  name: string,
  options: TopicOptions & { readonly ifNotExists?: boolean },
  onCreated: (topic: TopicState) => void = () => {},
): Promise<void> {
  if (typeof name !== "string") throw new TypeError(`name must be a string, got ${typeof name}`);
  checkObject("options", options);
  const { partitions = 1, partitioner, ifNotExists = false, ...config } = options;
  if (typeof partitions !== "number") {
    throw new TypeError(`partitions must be a number, got ${typeof partitions}`);
  }
  if (typeof ifNotExists !== "boolean") {
    throw new TypeError(`ifNotExists must be true or false, got ${typeof ifNotExists}`);
  }
  if (partitioner !== undefined) checkPartitioner(partitioner);
  const configs = configEntriesOf(config);
  checkTopicConfig(topicConfigOf(configs));
  const topicId = randomUuid(internals.randomBytes);
  const { image, nodeId, directoryId, topicOverrides } = internals;
  const change = (): MetadataRecord[] => {
    checkOpen(internals);
    if (ifNotExists && internals.topics.has(name)) return [];
    const topic = { name, topicId, partitionCount: partitions, configs, nodeId, directoryId };
    const records = createTopicRecords(image, topic);
    prepareFolders(internals, name, 0, partitions);
    // Before the topic is there: without its partitioner keys would come to other partitions.
    if (partitioner !== undefined) recordPartitioner(internals, topicId, partitioner);
    return records;
  };
  const applied = (): void => {
    if (!internals.topics.has(name)) {
      const topic = topicState(image, getTopic(image, name), nodeId, topicOverrides);
      internals.topics.set(name, topic);
      notifyTopicWatchers(internals);
    }
    const topic = getTopicState(internals, name);
    const isGivenAgain = typeof partitioner === "function" &&
      findPartitioner(internals, topic) === undefined;
    if (isGivenAgain) internals.partitioners.set(topic.topicId, partitioner);
    onCreated(topic);
  };
  try {
    await changeMetadata(internals.metadata, change, applied);
  } finally {
    if (!image.topicsById.has(topicId)) internals.partitioners.delete(topicId);
  }
}

/**
 * Deletes a topic and all of its records. Who is reading it gets an error; open ranges stay
 * readable.
 *
 * @param store The store.
 * @param name The topic's name.
 * @returns Resolves when the deletion is on disk and the files are gone.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_TOPIC_EXCEPTION` if the state of groups
 * or of transactions is kept in it. `KAFKA_STORAGE_ERROR` or `DISK_FULL` if the deletion could not
 * be recorded, or the topic is gone and not all of its files are. If nobody knows whether it is
 * recorded, because a sync failed, the topic cannot be used until the store is opened again.
 */
export async function deleteTopic(store: Store, name: string): Promise<void> {
  const internals = openInternals(store);
  getTopicState(internals, name);
  checkNotInternal(name, "delete");
  const change = (): MetadataRecord[] => {
    openInternals(store);
    giveReserveIfFull(internals.fs, internals.folder);
    return deleteTopicRecords(internals.image, name);
  };
  const applied = (): void => {
    const topic = getTopicState(internals, name);
    internals.topics.delete(name);
    addLogStats(internals.stats.deletedTopics, topic.stats);
    // It is gone, whatever is left of its folders.
    try {
      removeTopicFolders(internals, topic);
      if (internals.partitioners.delete(topic.topicId)) savePartitioners(internals);
    } finally {
      takeReserve(internals.diskSpace);
      notifyTopicWatchers(internals);
    }
  };
  const failed = (cause: unknown, isUncertain: boolean): void => {
    if (!isUncertain) return;
    const topic = getTopicState(internals, name);
    failTopic(topic, cause);
    wakeReaders(topic);
  };
  await changeMetadata(internals.metadata, change, applied, failed);
}

/**
 * The names of all topics, in order.
 *
 * @param store The store.
 * @param options `includesInternal` adds the topics in which the state of groups and of transactions
 * is kept, such as `__consumer_offsets`.
 * @returns The names.
 * @throws TypeError if an option is of the wrong kind.
 */
export function listTopics(
  store: Store,
  options: { readonly includesInternal?: boolean } = {},
): string[] {
  const { topics } = openInternals(store);
  checkObject("options", options);
  const { includesInternal = false } = options;
  if (typeof includesInternal !== "boolean") {
    throw new TypeError(`includesInternal must be true or false, got ${typeof includesInternal}`);
  }
  return [...topics.keys()].filter((name) => includesInternal || !isInternalTopic(name)).sort();
}

/**
 * Describes a topic: its partitions with their offsets and sizes, and its configuration.
 *
 * @param store The store.
 * @param name The topic's name.
 * @returns What it is like now; a partition that cannot be opened with its `failure`.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION`.
 */
export function describeTopic(store: Store, name: string): TopicDescription {
  const internals = openInternals(store);
  return descriptionOf(internals, getTopicState(internals, name));
}

/**
 * Changes the configuration of a topic.
 *
 * @param store The store.
 * @param name The topic's name.
 * @param changes The settings that change; null sets one back to its default.
 * @returns Resolves with the topic when the change is on disk.
 * @throws TypeError for an unknown setting or a value of the wrong kind. OttlaError
 * `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_CONFIG`.
 */
export async function alterTopic(
  store: Store,
  name: string,
  changes: TopicChanges,
): Promise<TopicDescription> {
  const internals = openInternals(store);
  const { image, nodeId, topicOverrides } = internals;
  getTopicState(internals, name);
  checkObject("changes", changes);
  const { partitioner, ...configChanges } = changes;
  if (partitioner !== undefined) checkPartitioner(partitioner);
  const entries = configChangesOf(configChanges);
  let description: TopicDescription | undefined;
  let undo = (): void => {};
  const change = (): MetadataRecord[] => {
    openInternals(store);
    getTopic(image, name);
    const after = new Map(topicConfigEntries(image, name));
    for (const [key, value] of entries) {
      if (value === null) after.delete(key);
      else after.set(key, value);
    }
    checkTopicConfig(topicConfigOf(after));
    const records = alterConfigRecords(image, name, entries);
    // Before the rest is true: if this fails, nothing has changed.
    const { topicId } = getTopicState(internals, name);
    if (partitioner !== undefined) undo = recordPartitioner(internals, topicId, partitioner);
    return records;
  };
  const applied = (): void => {
    const topic = getTopicState(internals, name);
    topic.config = configOf(image, name, nodeId, topicOverrides);
    for (const { log } of topic.partitions) if (log !== undefined) log.config = topic.config;
    description = descriptionOf(internals, topic);
  };
  await changeMetadata(internals.metadata, change, applied, () => undo());
  return description!;
}

/**
 * Gives a topic more partitions. Keys may come to other partitions from then on.
 *
 * @param store The store.
 * @param name The topic's name.
 * @param partitionCount How many it is to have, more than it has.
 * @returns Resolves with the topic when the change is on disk.
 * @throws TypeError, or OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_PARTITIONS`,
 * `INVALID_TOPIC_EXCEPTION`.
 */
export async function createPartitions(
  store: Store,
  name: string,
  partitionCount: number,
): Promise<TopicDescription> {
  const internals = openInternals(store);
  const { image, nodeId, directoryId } = internals;
  getTopicState(internals, name);
  if (typeof partitionCount !== "number") {
    throw new TypeError(`partitionCount must be a number, got ${typeof partitionCount}`);
  }
  // Whose state is where depends on the count.
  checkNotInternal(name, "add partitions to");
  let description: TopicDescription | undefined;
  const change = (): MetadataRecord[] => {
    openInternals(store);
    const records = createPartitionsRecords(image, name, partitionCount, { nodeId, directoryId });
    const { partitions } = getTopicState(internals, name);
    prepareFolders(internals, name, partitions.length, partitionCount);
    return records;
  };
  await changeMetadata(internals.metadata, change, () => {
    const topic = getTopicState(internals, name);
    topic.partitions.push(...newPartitions(getTopic(image, name), topic.partitions.length));
    wakeReaders(topic);
    notifyTopicWatchers(internals);
    description = descriptionOf(internals, topic);
  });
  return description!;
}

/**
 * Deletes the records of a partition before an offset. Their space is given back segment by
 * segment.
 *
 * @param store The store.
 * @param topicName The topic's name.
 * @param partition The partition's number.
 * @param beforeOffset The first offset to keep; -1 deletes all that can be read now.
 * @returns Resolves with the new start offset when it is on disk.
 * @throws TypeError or RangeError, OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `OFFSET_OUT_OF_RANGE`
 * beyond the high watermark.
 */
export function deleteRecords(
  store: Store,
  topicName: string,
  partition: number,
  beforeOffset: number,
): Promise<number> {
  return Promise.resolve().then(() => {
    const internals = openInternals(store);
    const topic = getTopicState(internals, topicName);
    checkNotInternal(topicName, "delete records of");
    const log = logOf(internals, topic, getPartitionState(topic, partition));
    checkNumber("beforeOffset", beforeOffset, -1, Number.MAX_SAFE_INTEGER);
    return lendingReserve(internals.diskSpace, () => {
      const before = log.startOffset;
      const startOffset = advanceStart(log, beforeOffset);
      try {
        writeStartOffsets(internals);
      } catch (error) {
        // What is not recorded is not deleted: the next opening would show it again.
        log.startOffset = before;
        throw error;
      }
      retireBelowStart(log);
      sweepRetired(log);
      return startOffset;
    });
  }).catch((error) => {
    throw asStorageError(`delete records of ${topicName}-${partition}`, error);
  });
}

/**
 * Finds the partitioner of a topic.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 * @returns The partitioner, or undefined if it was a function and has not been given again since
 * the store was opened.
 */
export function findPartitioner(
  internals: StoreInternals,
  topic: TopicState,
): Partitioner | undefined {
  const partitioner = internals.partitioners.get(topic.topicId) ?? internals.options.partitioner;
  return partitioner === "custom" ? undefined : partitioner;
}

/**
 * Gets the partitioner of a topic.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 * @returns The partitioner.
 * @throws OttlaError `INVALID_CONFIG` if it was a function and has not been given again since the
 * store was opened.
 */
export function getPartitioner(internals: StoreInternals, topic: TopicState): Partitioner {
  const partitioner = findPartitioner(internals, topic);
  if (partitioner !== undefined) return partitioner;
  throw new OttlaError(
    "INVALID_CONFIG",
    `Cannot choose a partition of ${topic.name}: its partitioner is a function, which must be given ` +
      `again with alterTopic(store, ${JSON.stringify(topic.name)}, { partitioner })`,
    { details: { topic: topic.name } },
  );
}

/** Returns what takes it back; if it fails, nothing has changed. */
function recordPartitioner(
  internals: StoreInternals,
  topicId: string,
  partitioner: Partitioner,
): () => void {
  const { partitioners } = internals;
  const before = partitioners.get(topicId);
  const forget = (): void => {
    if (before === undefined) partitioners.delete(topicId);
    else partitioners.set(topicId, before);
  };
  partitioners.set(topicId, partitioner);
  try {
    savePartitioners(internals);
  } catch (error) {
    forget();
    throw error;
  }
  return () => {
    forget();
    try {
      savePartitioners(internals);
    } catch (error) {
      // A disk that has just refused more: what is recorded of others next records this too.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
  };
}

function savePartitioners(internals: StoreInternals): void {
  const names = new Map<string, string>();
  for (const [topicId, partitioner] of internals.partitioners) {
    names.set(topicId, typeof partitioner === "function" ? "custom" : partitioner);
  }
  writePartitioners(internals.fs, internals.folder, names);
}

function notifyTopicWatchers({ topicWatchers }: StoreInternals): void {
  for (const watcher of [...topicWatchers]) watcher();
}

/** Who waits for records of the topic looks again, and sees its new partitions or its failure. */
function wakeReaders(topic: TopicState): void {
  for (const { log } of topic.partitions) {
    const watchers = [...log?.watchers ?? []];
    log?.watchers.clear();
    for (const watcher of watchers) watcher();
  }
}
