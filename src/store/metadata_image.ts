/**
 * What the metadata log says: topics, configurations, features, brokers, producer ids. Plain maps
 * and the questions that are put to them; `metadata_replay.ts` alone changes them.
 *
 * Quotas, credentials, access rules, delegation tokens and controllers are not here: they say
 * nothing about topics, and they stay where they are, in the log.
 */

import { OttlaError } from "../errors.ts";
import type { ControlRecordOf, MetadataRecord } from "./metadata_records.ts";

/** What configurations belong to. */
export const resourceTypes = { topic: 2, broker: 4 } as const;

/** One partition as the metadata log has it. */
export interface PartitionImage {
  readonly partition: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  readonly removingReplicas: readonly number[];
  readonly addingReplicas: readonly number[];
  /** The leader's node id, or -1. */
  readonly leader: number;
  readonly leaderRecoveryState: number;
  /** What the partition's batches are stamped with. */
  readonly leaderEpoch: number;
  readonly partitionEpoch: number;
  /** Parallel to `replicas`; empty where none are known. */
  readonly directories: readonly string[];
  readonly eligibleLeaderReplicas: readonly number[];
  readonly lastKnownElr: readonly number[];
}

/** One topic. */
export interface TopicImage {
  readonly name: string;
  readonly topicId: string;
  /** By number. */
  readonly partitions: Map<number, PartitionImage>;
}

/** One registered broker. */
export interface BrokerImage {
  readonly epoch: number;
  readonly incarnationId: string;
  readonly fenced: boolean;
  readonly inControlledShutdown: boolean;
  readonly logDirs: readonly string[];
}

/** The state of a folder's metadata. */
export interface MetadataImage {
  readonly topicsByName: Map<string, TopicImage>;
  readonly topicsById: Map<string, TopicImage>;
  /** The name that took each collision form. */
  readonly namesByCollisionForm: Map<string, string>;
  /** By resource, as `configResource` names it: the configuration's entries. */
  readonly configs: Map<string, Map<string, string>>;
  /** Level by name; an absent one is 0. */
  readonly features: Map<string, number>;
  readonly brokers: Map<number, BrokerImage>;
  /** The first producer id that no block covers yet. */
  nextProducerId: number;
  /** The level of `kraft.version`, which control records carry. */
  kraftVersion: number;
  /** The voters by control record, where the quorum is a dynamic one. */
  voters: ControlRecordOf<"VotersRecord">["voters"] | undefined;
  /** The records of a transaction that has not ended yet. */
  openTransaction: MetadataRecord[] | undefined;
}

/**
 * Makes the image of an empty metadata log.
 *
 * @returns The image.
 */
export function metadataImage(): MetadataImage {
  return {
    topicsByName: new Map(),
    topicsById: new Map(),
    namesByCollisionForm: new Map(),
    configs: new Map(),
    features: new Map(),
    brokers: new Map(),
    nextProducerId: 0,
    kraftVersion: 0,
    voters: undefined,
    openTransaction: undefined,
  };
}

/**
 * Finds a topic.
 *
 * @param image The image.
 * @param name The topic's name.
 * @returns The topic, or undefined.
 */
export function findTopic(image: MetadataImage, name: string): TopicImage | undefined {
  return image.topicsByName.get(name);
}

/**
 * Gets a topic.
 *
 * @param image The image.
 * @param name The topic's name.
 * @returns The topic.
 * @throws {OttlaError} UNKNOWN_TOPIC_OR_PARTITION if there is none.
 */
export function getTopic(image: MetadataImage, name: string): TopicImage {
  const topic = image.topicsByName.get(name);
  if (topic !== undefined) return topic;
  throw new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot find topic ${JSON.stringify(name)}: the store has no topic of that name`,
    { details: { topic: name } },
  );
}

/**
 * Names a resource that has configurations.
 *
 * @param resourceType One of `resourceTypes`, or another number of Kafka's.
 * @param resourceName A topic's name, a broker's id, or "" for all brokers.
 * @returns The key of `configs`.
 */
export function configResource(resourceType: number, resourceName: string): string {
  return `${resourceType}:${resourceName}`;
}

/**
 * Gives the configuration entries that the metadata log holds for a topic itself.
 *
 * @param image The image.
 * @param name The topic's name.
 * @returns Values by configuration name.
 */
export function topicConfigEntries(
  image: MetadataImage,
  name: string,
): ReadonlyMap<string, string> {
  return image.configs.get(configResource(resourceTypes.topic, name)) ?? new Map();
}

/**
 * Gives the configuration entries that the metadata log holds for a broker: its own over those of
 * all brokers.
 *
 * @param image The image.
 * @param nodeId The broker's id.
 * @returns Values by configuration name, the broker's names (`log.retention.ms`).
 */
export function brokerConfigEntries(
  image: MetadataImage,
  nodeId: number,
): ReadonlyMap<string, string> {
  return new Map([
    ...image.configs.get(configResource(resourceTypes.broker, "")) ?? [],
    ...image.configs.get(configResource(resourceTypes.broker, `${nodeId}`)) ?? [],
  ]);
}
