/**
 * The records that make a change: a folder's first ones, a topic created, altered, grown or
 * deleted. Nothing is changed here; whoever asks appends the records to the metadata log, as one
 * batch, and then applies them.
 *
 * One node leads every partition and is its only replica (src/FORMAT.md, sections 5.3 and 5.4).
 */

import { OttlaError } from "../errors.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { getTopic, resourceTypes, topicConfigEntries } from "./metadata_image.ts";
import type { MetadataRecord, MetadataRecordOf } from "./metadata_records.ts";
import { checkTopicName, collisionFormOf, metadataTopic } from "./topic_name.ts";

/** The most partitions that a topic may have; Kafka's limit for one creation. */
export const partitionCountMax = 10_000;

/** The features of a new folder: `metadata.version` 4.0-IV3, which every Kafka 4 accepts. */
const initialFeatures: ReadonlyMap<string, number> = new Map([
  ["metadata.version", 25],
  ["group.version", 1],
  ["transaction.version", 2],
]);

/** Who stores a partition. */
export interface ReplicaPlace {
  /** The only replica and leader. */
  readonly nodeId: number;
  /** The id of the log directory, as `meta.properties` has it. */
  readonly directoryId: string;
}

/** What a topic to be created is like. */
export interface NewTopic extends ReplicaPlace {
  readonly name: string;
  readonly topicId: string;
  readonly partitionCount: number;
  /** Values by Kafka's configuration name. */
  readonly configs: ReadonlyMap<string, string>;
}

/**
 * Makes the first records of a new folder's metadata log: its features, `metadata.version` before
 * all.
 *
 * @returns The records.
 */
export function initialFeatureRecords(): MetadataRecord[] {
  return [...initialFeatures].map(([name, featureLevel]) => {
    return { type: "FeatureLevelRecord", version: 0, name, featureLevel };
  });
}

/**
 * Makes the records that create a topic, in Kafka's order: topic, configurations, partitions.
 *
 * @param image What the metadata log says now.
 * @param topic What the topic is to be like.
 * @returns The records.
 * @throws {OttlaError} INVALID_TOPIC_EXCEPTION for a name that is illegal or collides,
 *   TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS.
 */
export function createTopicRecords(image: MetadataImage, topic: NewTopic): MetadataRecord[] {
  const { name, topicId, partitionCount } = topic;
  checkNewTopicName(image, name);
  checkPartitionCount(name, partitionCount, 1);
  return [
    { type: "TopicRecord", version: 0, name, topicId },
    ...[...topic.configs].map(([key, value]) => configRecord(name, key, value)),
    ...partitionRecords(image, topic, 0),
  ];
}

/**
 * Makes the records that delete a topic, its partitions and its configurations.
 *
 * @param image What the metadata log says now.
 * @param name The topic's name.
 * @returns The records.
 * @throws {OttlaError} UNKNOWN_TOPIC_OR_PARTITION if there is no such topic.
 */
export function deleteTopicRecords(image: MetadataImage, name: string): MetadataRecord[] {
  return [{ type: "RemoveTopicRecord", version: 0, topicId: getTopic(image, name).topicId }];
}

/**
 * Makes the records that change a topic's configuration.
 *
 * @param image What the metadata log says now.
 * @param name The topic's name.
 * @param changes Values by Kafka's configuration name; null takes an entry away.
 * @returns The records; none for entries that are so already.
 * @throws {OttlaError} UNKNOWN_TOPIC_OR_PARTITION if there is no such topic.
 */
export function alterConfigRecords(
  image: MetadataImage,
  name: string,
  changes: ReadonlyMap<string, string | null>,
): MetadataRecord[] {
  getTopic(image, name);
  const before = topicConfigEntries(image, name);
  return [...changes]
    .filter(([key, value]) => value !== (before.get(key) ?? null))
    .map(([key, value]) => configRecord(name, key, value));
}

/**
 * Makes the records that give a topic more partitions.
 *
 * @param image What the metadata log says now.
 * @param name The topic's name.
 * @param partitionCount How many it is to have in all.
 * @param place Who stores the new ones.
 * @returns The records.
 * @throws {OttlaError} UNKNOWN_TOPIC_OR_PARTITION if there is no such topic, INVALID_PARTITIONS if
 *   it has as many already.
 */
export function createPartitionsRecords(
  image: MetadataImage,
  name: string,
  partitionCount: number,
  place: ReplicaPlace,
): MetadataRecord[] {
  const { topicId, partitions } = getTopic(image, name);
  checkPartitionCount(name, partitionCount, partitions.size + 1);
  const { nodeId, directoryId } = place;
  return partitionRecords(image, { topicId, partitionCount, nodeId, directoryId }, partitions.size);
}

function checkNewTopicName(image: MetadataImage, name: string): void {
  checkTopicName(name);
  const details = { topic: name };
  if (name === metadataTopic) {
    const message = `Cannot create topic ${name}: it is the metadata log's own name`;
    throw new OttlaError("INVALID_TOPIC_EXCEPTION", message, { details });
  }
  if (image.topicsByName.has(name)) {
    throw new OttlaError("TOPIC_ALREADY_EXISTS", `Cannot create topic ${name}: it exists`, {
      details,
    });
  }
  const other = image.namesByCollisionForm.get(collisionFormOf(name));
  if (other !== undefined) {
    const message =
      `Cannot create topic ${name}: it collides with ${other}, which differs only in . and _`;
    throw new OttlaError("INVALID_TOPIC_EXCEPTION", message, { details });
  }
}

function checkPartitionCount(name: string, partitionCount: number, min: number): void {
  if (
    Number.isInteger(partitionCount) && partitionCount >= min && partitionCount <= partitionCountMax
  ) {
    return;
  }
  throw new OttlaError(
    "INVALID_PARTITIONS",
    `Cannot give topic ${name} ${partitionCount} partitions: wanted ${min} to ${partitionCountMax}`,
    { details: { topic: name, partitionCount, min, max: partitionCountMax } },
  );
}

function configRecord(topic: string, name: string, value: string | null): MetadataRecord {
  return {
    type: "ConfigRecord",
    version: 0,
    resourceType: resourceTypes.topic,
    resourceName: topic,
    name,
    value,
  };
}

function partitionRecords(
  image: MetadataImage,
  topic: ReplicaPlace & { readonly topicId: string; readonly partitionCount: number },
  start: number,
): MetadataRecord[] {
  const version = partitionRecordVersion(image.features.get("metadata.version") ?? 0);
  const nodes = [topic.nodeId];
  const records: MetadataRecordOf<"PartitionRecord">[] = [];
  for (let partitionId = start; partitionId < topic.partitionCount; partitionId += 1) {
    records.push({
      type: "PartitionRecord",
      version,
      partitionId,
      topicId: topic.topicId,
      replicas: nodes,
      isr: nodes,
      removingReplicas: [],
      addingReplicas: [],
      leader: topic.nodeId,
      leaderRecoveryState: 0,
      leaderEpoch: 0,
      partitionEpoch: 0,
      directories: version >= 1 ? [topic.directoryId] : [],
      eligibleLeaderReplicas: null,
      lastKnownElr: null,
    });
  }
  return records;
}

/** The version in which Kafka writes a PartitionRecord at a `metadata.version`. */
function partitionRecordVersion(metadataVersion: number): number {
  if (metadataVersion >= 23) return 2;
  return metadataVersion >= 17 ? 1 : 0;
}
