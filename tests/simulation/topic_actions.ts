/** What clients do to topics: create, alter, delete, give partitions; and what maintenance does. */

import {
  alterTopic,
  compactTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  enforceRetention,
} from "../../mod.ts";
import type { ErrorCode, TopicChanges, TopicConfig, TopicOptions } from "../../mod.ts";
import { demand } from "./invariant.ts";
import { tombstoneMs } from "./partition_model.ts";
import { checkStart } from "./step_checks.ts";
import type { TopicModel, TopicProfile } from "./topic_model.ts";
import { topicWithId } from "./topic_model.ts";
import type { World } from "./world.ts";
import { attempt, openStoreOf, pickPartition, start, topicNow, topicsNow } from "./world.ts";

const partitionsMax = 4;
const changeCodes: readonly ErrorCode[] = ["UNKNOWN_TOPIC_OR_PARTITION"];
/** Its policy may have been changed. */
const compactCodes: readonly ErrorCode[] = [...changeCodes, "INVALID_CONFIG"];

/** Creates one of the topics that there may be, if there is none of its name. */
export function createOne(world: World): void {
  const { random, topics } = world;
  const missing = [...topics.names.keys()].filter((name) => topicNow(world, name) === undefined);
  if (missing.length === 0) return;
  const name = random.pick(missing);
  const partitions = 1 + random.below(2);
  const label = `createTopic ${name} with ${partitions} partitions`;
  start(world, label, async () => {
    const options = { ...optionsOf(topics.names.get(name)!), partitions };
    const outcome = await attempt(
      world,
      label,
      ["TOPIC_ALREADY_EXISTS"],
      () => createTopic(openStoreOf(world), name, options),
    );
    if (outcome.kind !== "done") return;
    const { topicId } = outcome.value;
    topicWithId(topics, name, topicId, outcome.value.partitions.length).isCreated = true;
  });
}

/** Deletes a topic. */
export function deleteOne(world: World): void {
  const topic = pickTopic(world);
  if (topic === undefined) return;
  const label = `deleteTopic ${topic.name} (${topic.topicId.slice(0, 4)})`;
  const known = world.topics.names.get(topic.name)!;
  topic.isDeleting = true;
  known.deletions++;
  start(world, label, async () => {
    const outcome = await attempt(
      world,
      label,
      changeCodes,
      () => deleteTopic(openStoreOf(world), topic.name),
    );
    // Another deletion may have been first, and this one for the next topic of the name.
    const isGone = outcome.kind === "done" && topicNow(world, topic.name) !== topic;
    if (isGone) topic.isGone = true;
    if (outcome.kind === "done") {
      known.deletions--;
      demand(isGone, () => `${label} succeeded, and the topic is there`);
    }
  });
}

/** Gives a topic one more partition. */
export function addPartition(world: World): void {
  const topic = pickTopic(world);
  if (topic === undefined || topic.partitions.length >= partitionsMax) return;
  const count = topic.partitions.length + 1;
  const label = `createPartitions ${topic.name} ${count}`;
  start(world, label, async () => {
    const codes: readonly ErrorCode[] = [...changeCodes, "INVALID_PARTITIONS"];
    const outcome = await attempt(
      world,
      label,
      codes,
      () => createPartitions(openStoreOf(world), topic.name, count),
    );
    if (outcome.kind !== "done" || outcome.value.topicId !== topic.topicId) return;
    topic.partitionCount = Math.max(topic.partitionCount, count);
    topicWithId(world.topics, topic.name, topic.topicId, count);
  });
}

/** Changes how long or how much a topic keeps, how, and in which form. */
export function alterOne(world: World): void {
  const topic = pickTopic(world);
  if (topic === undefined) return;
  const changes = changesOf(world, topic);
  const label = `alterTopic ${topic.name} to ${JSON.stringify(changes)}`;
  start(world, label, async () => {
    const outcome = await attempt(
      world,
      label,
      changeCodes,
      () => alterTopic(openStoreOf(world), topic.name, changes),
    );
    if (outcome.kind !== "done" || outcome.value.topicId !== topic.topicId) return;
    const { config } = outcome.value;
    for (const [name, value] of Object.entries(changes)) {
      const found = config[name as keyof TopicConfig];
      demand(found === value, () => `${label} made ${name} ${found}`);
    }
  });
}

/** What is kept for a shorter time counts from the call on: nobody tells since when. */
function changesOf({ random }: World, { kind, rules }: TopicModel): TopicChanges {
  switch (kind) {
    case "kept":
      return { compression: random.pick(["gzip", "producer"]) };
    case "timed": {
      const retentionMs = 1 + random.below(5_000);
      rules.retentionMs = Math.min(rules.retentionMs, retentionMs);
      return { retentionMs };
    }
    case "sized": {
      const retentionBytes = 1 + random.below(8_000);
      rules.retentionBytes = Math.min(rules.retentionBytes, retentionBytes);
      return { retentionBytes };
    }
    case "compacted":
      return { cleanupPolicy: random.pick(["compact", "delete", "compact,delete"]) };
  }
}

/** Deletes the records of a partition before an offset. */
export function deleteSomeRecords(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const { startOffset, highWatermark } = model;
  const beforeOffset = startOffset + world.random.below(highWatermark - startOffset + 1);
  const label = `deleteRecords ${model.name} before ${beforeOffset}`;
  start(world, label, async () => {
    model.startOffsetMax = Math.max(model.startOffsetMax, beforeOffset);
    const codes: readonly ErrorCode[] = [...changeCodes, "OFFSET_OUT_OF_RANGE"];
    const outcome = await attempt(
      world,
      label,
      codes,
      () => deleteRecords(openStoreOf(world), model.topic, model.partition, beforeOffset),
    );
    if (outcome.kind !== "done" || topicNow(world, model.topic)?.topicId !== model.topicId) return;
    demand(
      outcome.value >= beforeOffset,
      () => `${label} has the log begin at ${outcome.value}`,
    );
    checkStart(world, model, outcome.value);
    model.startOffset = Math.max(model.startOffset, beforeOffset);
  });
}

/** Has retention look at all topics. */
export function retain(world: World): void {
  start(world, "enforceRetention", async () => {
    await attempt(world, "enforceRetention", [], () => enforceRetention(openStoreOf(world)));
  });
}

/** Compacts a topic. */
export function compactOne(world: World): void {
  const topic = pickTopic(world, ({ kind }) => kind === "compacted");
  if (topic === undefined) return;
  const label = `compactTopic ${topic.name}`;
  start(world, label, async () => {
    await attempt(world, label, compactCodes, () => compactTopic(openStoreOf(world), topic.name));
  });
}

/** What a topic is created with. */
export function optionsOf({ kind, retentionMs, retentionBytes }: TopicProfile): TopicOptions {
  switch (kind) {
    case "kept":
      return { retentionMs: -1 };
    case "timed":
      return { retentionMs, segmentMs: 1_000 };
    case "sized":
      return { retentionMs: -1, retentionBytes };
    case "compacted":
      return {
        cleanupPolicy: "compact",
        minCleanableDirtyRatio: 0.1,
        deleteRetentionMs: tombstoneMs,
      };
  }
}

function pickTopic(
  world: World,
  accepts: (topic: TopicModel) => boolean = () => true,
): TopicModel | undefined {
  const topics = topicsNow(world).filter(accepts);
  return topics.length === 0 ? undefined : world.random.pick(topics);
}
