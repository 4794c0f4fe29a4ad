/**
 * Replaying the metadata log: what each of its records does to the image, and the rules that
 * Kafka's controller holds a log to (src/FORMAT.md, section 5.5). A record that
 * breaks a rule changes nothing, but of a transaction's records those before it are applied: the
 * image is then of no more use.
 */

import { OttlaError } from "../errors.ts";
import type { BrokerImage, MetadataImage, TopicImage } from "./metadata_image.ts";
import { configResource, resourceTypes } from "./metadata_image.ts";
import type { ControlRecord, MetadataRecord, MetadataRecordOf } from "./metadata_records.ts";
import { collisionFormOf, isTopicName } from "./topic_name.ts";
import { isReservedTopicId } from "./uuid.ts";

/** The levels of `metadata.version` that are understood: 3.3-IV3, Kafka 4's oldest, to 4.3-IV0. */
export const metadataVersionRange = { min: 7, max: 30 } as const;

/** The most records of one transaction; with more, the log counts as damaged. */
const transactionRecordsMax = 1_000_000;

/**
 * Replays one record of a data batch. Records of a transaction are held back until it ends.
 *
 * @param image The image, which is changed.
 * @param record The record that follows all that were applied before.
 * @param origin Where it stands; a snapshot cannot hold transactions.
 * @throws {OttlaError} STORE_INVALID if it breaks a rule of the metadata log, UNSUPPORTED_VERSION
 *   if the folder's `metadata.version` is not one that is understood.
 */
export function applyRecord(
  image: MetadataImage,
  record: MetadataRecord,
  origin: "log" | "snapshot" = "log",
): void {
  const open = image.openTransaction;
  switch (record.type) {
    case "BeginTransactionRecord":
      if (origin === "snapshot") throw fault(record, "a snapshot cannot hold transactions");
      if (open !== undefined) throw fault(record, "a transaction is open already");
      image.openTransaction = [];
      return;
    case "EndTransactionRecord":
    case "AbortTransactionRecord":
      if (open === undefined) throw fault(record, "no transaction is open");
      image.openTransaction = undefined;
      if (record.type === "AbortTransactionRecord") return;
      for (const held of open) replay(image, held);
      return;
    default:
      if (open === undefined) return replay(image, record);
      if (open.length >= transactionRecordsMax) {
        throw fault(record, `its transaction holds ${transactionRecordsMax} records already`);
      }
      open.push(record);
  }
}

/**
 * Replays one record of a control batch.
 *
 * @param image The image, which is changed.
 * @param record The record; one that says nothing about the state is passed over.
 */
export function applyControlRecord(image: MetadataImage, record: ControlRecord): void {
  if (record.type === "KRaftVersionRecord") image.kraftVersion = record.kRaftVersion;
  if (record.type === "VotersRecord") image.voters = record.voters;
}

/**
 * Ends the replay of a log: a transaction that is still open is dropped, as the next controller
 * would do.
 *
 * @param image The image, which is changed.
 * @returns The records that must be appended before any other, or they would fall into that
 *   transaction.
 */
export function finishReplay(image: MetadataImage): readonly MetadataRecord[] {
  if (image.openTransaction === undefined) return [];
  image.openTransaction = undefined;
  return [{ type: "AbortTransactionRecord", version: 0, reason: "left open at the log's end" }];
}

/** Applies a record that is no mark of a transaction. Checks first, changes after. */
function replay(image: MetadataImage, record: MetadataRecord): void {
  switch (record.type) {
    case "TopicRecord":
      return replayTopic(image, record);
    case "PartitionRecord":
      return replayPartition(image, record);
    case "PartitionChangeRecord":
      return replayPartitionChange(image, record);
    case "RemoveTopicRecord":
      return replayRemoveTopic(image, record);
    case "ClearElrRecord":
      return replayClearElr(image, record);
    case "ConfigRecord":
      return replayConfig(image, record);
    case "FeatureLevelRecord":
      return replayFeatureLevel(image, record);
    case "ProducerIdsRecord":
      if (record.nextProducerId <= image.nextProducerId) {
        throw fault(record, `next producer id ${record.nextProducerId} is not above the last one`);
      }
      image.nextProducerId = record.nextProducerId;
      return;
    case "RegisterBrokerRecord":
      image.brokers.set(record.brokerId, {
        epoch: record.brokerEpoch,
        incarnationId: record.incarnationId,
        fenced: record.fenced,
        inControlledShutdown: record.inControlledShutdown,
        logDirs: record.logDirs,
      });
      return;
    case "UnregisterBrokerRecord":
      registeredBroker(image, record, record.brokerId, record.brokerEpoch);
      image.brokers.delete(record.brokerId);
      return;
    case "FenceBrokerRecord":
    case "UnfenceBrokerRecord":
      image.brokers.set(record.id, {
        ...registeredBroker(image, record, record.id, record.epoch),
        fenced: record.type === "FenceBrokerRecord",
      });
      return;
    case "BrokerRegistrationChangeRecord":
      return replayBrokerChange(image, record);
  }
}

function replayTopic(image: MetadataImage, record: MetadataRecordOf<"TopicRecord">): void {
  const { name, topicId } = record;
  // A name becomes a folder's name, so an illegal one must not get any further.
  if (!isTopicName(name)) throw fault(record, "its name is not a legal one");
  if (isReservedTopicId(topicId)) throw fault(record, `topic id ${topicId} is a reserved one`);
  if (image.topicsByName.has(name)) throw fault(record, "a topic of that name exists");
  if (image.topicsById.has(topicId)) throw fault(record, `topic id ${topicId} is taken`);
  const topic: TopicImage = { name, topicId, partitions: new Map() };
  image.topicsByName.set(name, topic);
  image.topicsById.set(topicId, topic);
  image.namesByCollisionForm.set(collisionFormOf(name), name);
}

function replayRemoveTopic(
  image: MetadataImage,
  record: MetadataRecordOf<"RemoveTopicRecord">,
): void {
  const { name, topicId } = topicOfRecord(image, record);
  image.topicsByName.delete(name);
  image.topicsById.delete(topicId);
  image.configs.delete(configResource(resourceTypes.topic, name));
  const form = collisionFormOf(name);
  if (image.namesByCollisionForm.get(form) === name) image.namesByCollisionForm.delete(form);
}

function replayPartition(image: MetadataImage, record: MetadataRecordOf<"PartitionRecord">): void {
  const topic = topicOfRecord(image, record);
  if (record.partitionId < 0) throw fault(record, "its partition is negative");
  checkDirectoryCount(record, record.directories, record.replicas);
  topic.partitions.set(record.partitionId, {
    partition: record.partitionId,
    replicas: record.replicas,
    isr: record.isr,
    removingReplicas: record.removingReplicas,
    addingReplicas: record.addingReplicas,
    leader: record.leader,
    leaderRecoveryState: record.leaderRecoveryState,
    leaderEpoch: record.leaderEpoch,
    partitionEpoch: record.partitionEpoch,
    directories: record.directories,
    eligibleLeaderReplicas: record.eligibleLeaderReplicas ?? [],
    lastKnownElr: record.lastKnownElr ?? [],
  });
}

function replayPartitionChange(
  image: MetadataImage,
  record: MetadataRecordOf<"PartitionChangeRecord">,
): void {
  const { partitions } = topicOfRecord(image, record);
  const before = partitions.get(record.partitionId);
  if (before === undefined) throw fault(record, "the partition does not exist");
  const replicas = record.replicas ?? before.replicas;
  const directories = record.directories ?? before.directories;
  if (record.directories !== null) checkDirectoryCount(record, directories, replicas);
  const hasLeaderChange = record.leader !== -2;
  partitions.set(record.partitionId, {
    partition: before.partition,
    replicas,
    isr: record.isr ?? before.isr,
    removingReplicas: record.removingReplicas ?? before.removingReplicas,
    addingReplicas: record.addingReplicas ?? before.addingReplicas,
    leader: hasLeaderChange ? record.leader : before.leader,
    leaderRecoveryState: record.leaderRecoveryState === -1
      ? before.leaderRecoveryState
      : record.leaderRecoveryState,
    // Naming a leader begins an epoch, even if it is the same leader.
    leaderEpoch: before.leaderEpoch + (hasLeaderChange ? 1 : 0),
    partitionEpoch: before.partitionEpoch + 1,
    directories,
    eligibleLeaderReplicas: record.eligibleLeaderReplicas ?? before.eligibleLeaderReplicas,
    lastKnownElr: record.lastKnownElr ?? before.lastKnownElr,
  });
}

function replayClearElr(image: MetadataImage, record: MetadataRecordOf<"ClearElrRecord">): void {
  for (const topic of image.topicsByName.values()) {
    if (record.topicName !== "" && record.topicName !== topic.name) continue;
    for (const [partition, before] of topic.partitions) {
      topic.partitions.set(partition, { ...before, eligibleLeaderReplicas: [], lastKnownElr: [] });
    }
  }
}

function replayConfig(image: MetadataImage, record: MetadataRecordOf<"ConfigRecord">): void {
  const resource = configResource(record.resourceType, record.resourceName);
  const entries = image.configs.get(resource) ?? new Map<string, string>();
  if (record.value === null) entries.delete(record.name);
  else entries.set(record.name, record.value);
  if (entries.size === 0) image.configs.delete(resource);
  else image.configs.set(resource, entries);
}

function replayFeatureLevel(
  image: MetadataImage,
  record: MetadataRecordOf<"FeatureLevelRecord">,
): void {
  const { name, featureLevel } = record;
  const { min, max } = metadataVersionRange;
  if (name === "metadata.version" && !(featureLevel >= min && featureLevel <= max)) {
    throw new OttlaError(
      "UNSUPPORTED_VERSION",
      `Cannot open a folder of metadata.version ${featureLevel}: wanted ${min} to ${max}`,
      { details: { metadataVersion: featureLevel } },
    );
  }
  if (featureLevel === 0) image.features.delete(name);
  else image.features.set(name, featureLevel);
}

function replayBrokerChange(
  image: MetadataImage,
  record: MetadataRecordOf<"BrokerRegistrationChangeRecord">,
): void {
  const before = registeredBroker(image, record, record.brokerId, record.brokerEpoch);
  image.brokers.set(record.brokerId, {
    ...before,
    fenced: record.fenced === 0 ? before.fenced : record.fenced > 0,
    inControlledShutdown: before.inControlledShutdown || record.inControlledShutdown > 0,
    logDirs: record.logDirs.length > 0 ? record.logDirs : before.logDirs,
  });
}

function registeredBroker(
  image: MetadataImage,
  record: MetadataRecord,
  brokerId: number,
  epoch: number,
): BrokerImage {
  const broker = image.brokers.get(brokerId);
  if (broker === undefined) throw fault(record, `broker ${brokerId} is not registered`);
  if (broker.epoch !== epoch) {
    throw fault(record, `broker ${brokerId} has epoch ${broker.epoch}, not ${epoch}`);
  }
  return broker;
}

function topicOfRecord(
  image: MetadataImage,
  record: MetadataRecordOf<"PartitionRecord" | "PartitionChangeRecord" | "RemoveTopicRecord">,
): TopicImage {
  const topic = image.topicsById.get(record.topicId);
  if (topic === undefined) throw fault(record, "its topic id is not known");
  return topic;
}

function checkDirectoryCount(
  record: MetadataRecord,
  directories: readonly string[],
  replicas: readonly number[],
): void {
  if (directories.length === 0 || directories.length === replicas.length) return;
  throw fault(record, `${directories.length} directories do not fit ${replicas.length} replicas`);
}

/** The error for a record that breaks a rule; it names the record. */
function fault(record: MetadataRecord, reason: string): OttlaError {
  let what: string = record.type;
  if ("name" in record && record.name !== null) what += ` ${JSON.stringify(record.name)}`;
  if ("topicId" in record) what += ` of topic id ${record.topicId}`;
  if ("partitionId" in record) what += ` partition ${record.partitionId}`;
  return new OttlaError("STORE_INVALID", `Cannot replay ${what}: ${reason}`, {
    details: { type: record.type },
  });
}
