/**
 * Which topics there must be, may be and must not be.
 *
 * A topic is the one with its id: another one of the same name has nothing of it.
 */

import { demand } from "./invariant.ts";
import type { PartitionModel, RemovalRules } from "./partition_model.ts";
import { partitionModel } from "./partition_model.ts";

/** What of a topic's records goes: none, old ones, the first ones, those with a later one. */
export type TopicKind = "kept" | "timed" | "sized" | "compacted";

/** What topics of a name are created with. */
export interface TopicProfile {
  readonly kind: TopicKind;
  readonly retentionMs: number;
  readonly retentionBytes: number;
}

/** A topic. */
export interface TopicModel {
  readonly name: string;
  readonly topicId: string;
  readonly kind: TopicKind;
  readonly rules: RemovalRules;
  readonly partitions: PartitionModel[];
  /** How many partitions were acknowledged; there may be more. */
  partitionCount: number;
  /** Whether its creation was acknowledged, or an opening has found it. */
  isCreated: boolean;
  /** Whether its deletion was begun; and whether it was acknowledged. */
  isDeleting: boolean;
  isGone: boolean;
}

/** A name that topics may have. */
export interface TopicName extends TopicProfile {
  /** Shared by all of them: a change may come to the next one of the name. */
  readonly rules: RemovalRules;
  /** Deletions that were begun in this life of the store and have not been answered for sure. */
  deletions: number;
}

/** All topics that there ever were. */
export interface TopicModels {
  readonly all: TopicModel[];
  /** The names that there may be. */
  readonly names: ReadonlyMap<string, TopicName>;
}

/** No topics, and the names that they may have. */
export function topicModels(profiles: ReadonlyMap<string, TopicProfile>): TopicModels {
  const names = Array.from(profiles, ([name, profile]): [string, TopicName] => {
    const { kind, retentionMs, retentionBytes } = profile;
    const rules = { isCompacted: kind === "compacted", retentionMs, retentionBytes };
    return [name, { ...profile, rules, deletions: 0 }];
  });
  return { all: [], names: new Map(names) };
}

/** The topic with an id; it is new to the model if nobody has asked for it before. */
export function topicWithId(
  { all, names }: TopicModels,
  name: string,
  topicId: string,
  partitionCount: number,
): TopicModel {
  let topic = all.find((known) => known.topicId === topicId);
  if (topic === undefined) {
    const known = names.get(name);
    demand(known !== undefined, () => `there is a topic ${name} that nobody has created`);
    topic = {
      name,
      topicId,
      kind: known.kind,
      rules: known.rules,
      partitions: [],
      partitionCount,
      isCreated: false,
      isDeleting: known.deletions > 0,
      isGone: false,
    };
    all.push(topic);
  }
  for (let partition = topic.partitions.length; partition < partitionCount; partition++) {
    topic.partitions.push(partitionModel(name, topicId, partition, topic.rules));
  }
  return topic;
}
