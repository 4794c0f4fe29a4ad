/**
 * What is checked of a whole store: after every opening all topics, records and committed offsets
 * against the model; after every clean closing that nothing was left behind.
 */

import {
  checkStore,
  committedOffsets,
  describeTopic,
  listTopics,
  offsetsOf,
  read,
} from "../../mod.ts";
import type { LogRecord, ReadGap, Store } from "../../mod.ts";
import { filesOf, openHandlesOf } from "../../src/testing/mod.ts";
import { readDeadLetters } from "./handling_actions.ts";
import { nothingCommitted, settleCommitted } from "./group_model.ts";
import { demand } from "./invariant.ts";
import type { FoundPartition, PartitionModel } from "./partition_model.ts";
import { checkFound } from "./partition_model.ts";
import { contentText } from "./record_content.ts";
import { checkStart } from "./step_checks.ts";
import type { TopicModel } from "./topic_model.ts";
import type { World } from "./world.ts";
import { openStoreOf, topicNow } from "./world.ts";

/** Names that no store leaves behind once it was opened or closed. */
const leftovers = /\.(tmp|deleted|cleaned|swap)$|-delete$/;

/**
 * Compares all that is in an opened store with the model, and takes it as what is true.
 *
 * @param world The simulation, whose store was just opened.
 * @throws AssertionError if an invariant does not hold.
 */
export async function checkOpened(world: World): Promise<void> {
  const { failedPartitions } = openStoreOf(world).recovery;
  demand(
    failedPartitions.length === 0,
    () => `the opening could not open ${failedPartitions.join(", ")}`,
  );
  checkTopics(world);
  for (const topic of world.topics.all) {
    if (topic.isGone) continue;
    for (const model of topic.partitions) await checkPartition(world, model);
  }
  await readDeadLetters(world);
  await checkGroups(world);
  checkLeftovers(world);
  world.harm = "none";
}

/**
 * Everything that is there and must stay, for comparing it with what another opening finds. It may
 * complete a compaction that the first one did not find.
 */
export async function contentOf(world: World): Promise<string> {
  const lines: string[] = [];
  for (const name of listTopics(openStoreOf(world))) {
    const { topicId, partitions } = describeTopic(openStoreOf(world), name);
    lines.push(`${name} ${topicId}`);
    if (world.topics.names.get(name)?.rules.isCompacted) continue;
    for (const { partition } of partitions) {
      const { startOffset, endOffset, records } = await readAll(
        openStoreOf(world),
        name,
        partition,
      );
      lines.push(`${name}-${partition} from ${startOffset} to ${endOffset}`);
      for (const record of records) {
        lines.push(`${name}-${partition} ${record.offset} ${contentText(record)}`);
      }
    }
  }
  return lines.join("\n");
}

/** A store that was closed properly has let go of everything, and every byte of it is right. */
export async function checkClosed(world: World, wereRangesHeld: boolean): Promise<void> {
  const { disk } = world;
  checkNothingOpen(world);
  // What a failing disk did not let go of, and what was held too long, goes with the next opening.
  if (!world.hasFaults && !wereRangesHeld) checkLeftovers(world);
  const report = await checkStore("/data", { fileSystem: disk.fileSystem });
  const problems = [...report.problems, ...report.partitions.flatMap((part) => part.problems)]
    .filter(({ severity }) => severity === "error");
  demand(
    problems.length === 0,
    () =>
      `checkStore found ${problems.map(({ path, message }) => `${path}: ${message}`).join("; ")}`,
  );
}

/** Neither a store that was closed nor one that could not be opened holds on to anything. */
export function checkNothingOpen({ disk }: World): void {
  const handles = openHandlesOf(disk).map(({ path }) => path);
  demand(handles.length === 0, () => `these files were left open: ${handles.join(", ")}`);
  const timers = disk.clock.timerCount();
  demand(timers === 0, () => `${timers} timers were left`);
}

function checkLeftovers(world: World): void {
  if (world.hadFaults) return;
  const left = filesOf(world.disk).map(({ path }) => path)
    .filter((path) => path.startsWith("/data/") && leftovers.test(path) && !isStray(world, path));
  demand(left.length === 0, () => `these files were left behind: ${left.join(", ")}`);
}

/**
 * Whether a file lies in a folder of no topic, where a deletion that failed has left it. An opening
 * sets such a folder aside as it is.
 */
function isStray(world: World, path: string): boolean {
  if (path.includes("-stray/")) return true;
  const [, topic] = /^\/data\/(.+)-\d+\//.exec(path) ?? [];
  return topic !== undefined && !topic.startsWith("__") && topicNow(world, topic) === undefined;
}

function checkTopics(world: World): void {
  for (const name of listTopics(openStoreOf(world))) topicNow(world, name);
  for (const topic of world.topics.all) {
    const { name, topicId } = topic;
    const isThere = topicNow(world, name) === topic;
    demand(!(isThere && topic.isGone), () => `topic ${name} (${topicId}) was deleted, and is back`);
    const mayBeGone = topic.isGone || topic.isDeleting || !topic.isCreated;
    demand(isThere || mayBeGone, () => `topic ${name} (${topicId}) is gone`);
    topic.isGone = !isThere;
    topic.isCreated ||= isThere;
    topic.isDeleting = false;
    if (isThere) checkPartitionCount(world, topic);
  }
  for (const known of world.topics.names.values()) known.deletions = 0;
}

function checkPartitionCount(world: World, topic: TopicModel): void {
  const { name, partitionCount } = topic;
  const { partitions } = describeTopic(openStoreOf(world), name);
  demand(
    partitions.length >= partitionCount,
    () => `topic ${name} has ${partitions.length} partitions, ${partitionCount} were acknowledged`,
  );
  topic.partitionCount = partitions.length;
  // What nobody was promised may be gone with the partition.
  topic.partitions.length = partitions.length;
}

async function checkPartition(world: World, model: PartitionModel): Promise<void> {
  const { diskEnd, processEnd, topic, partition } = model;
  const requiredEnd = world.harm === "powerCut" ? diskEnd : Math.max(diskEnd, processEnd);
  const found = await readAll(openStoreOf(world), topic, partition);
  checkStart(world, model, found.startOffset);
  checkFound(model, world.records, found, requiredEnd, world.disk.clock.now());
}

/** All that is in a partition of a store that was just opened. */
export async function readAll(
  store: Store,
  topic: string,
  partition: number,
  onGap?: (gap: ReadGap) => void,
): Promise<FoundPartition> {
  const records: LogRecord[] = [];
  for await (const record of read(store, topic, { partition, onGap })) records.push(record);
  const { startOffset, endOffset, highWatermark } = offsetsOf(store, topic)[partition]!;
  demand(
    highWatermark === endOffset,
    () => `${topic}-${partition} was just opened and ends at ${endOffset}, not ${highWatermark}`,
  );
  return { startOffset, endOffset, records };
}

async function checkGroups(world: World): Promise<void> {
  const store = openStoreOf(world);
  const found = new Map<string, number>();
  const groupIds = new Set(Array.from(world.groups.byName.values(), ({ groupId }) => groupId));
  for (const groupId of groupIds) {
    for (const { topic, partition, offset } of await committedOffsets(store, groupId)) {
      const model = topicNow(world, topic)?.partitions[partition];
      demand(model !== undefined, () => `group ${groupId} has committed ${topic}-${partition}`);
      found.set(`${groupId} ${model.name}`, offset);
    }
  }
  for (const [key, model] of world.groups.byName) {
    if (model.partition.topicId !== topicNow(world, model.partition.topic)?.topicId) continue;
    settleCommitted(world.groups, model, found.get(key) ?? nothingCommitted);
  }
}
