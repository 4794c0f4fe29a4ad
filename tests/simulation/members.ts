/**
 * Members of groups: how they join, and which of them has which partition. No partition is two
 * members' at once, and whoever is given one begins with what counts as committed then.
 */

import { openConsumer } from "../../mod.ts";
import type { TopicPartition } from "../../mod.ts";
import { acknowledgeCommit, beginCommit, commitModel, nothingCommitted } from "./group_model.ts";
import { demand } from "./invariant.ts";
import type { OpenConsumer, World } from "./world.ts";
import { attempt, deadLetterTopic, newName, openStoreOf, topicNow, trace } from "./world.ts";

/** All that clients make. */
const consumedTopics = new RegExp(`^(?!${deadLetterTopic}$)`);

/** A member that is being opened. */
type Member = Omit<OpenConsumer, "consumer">;

/**
 * Opens a member of a group, and keeps account of which partitions it has.
 *
 * @param world The simulation.
 * @param groupId The group.
 * @param isAutoCommitting Whether it commits by itself.
 * @returns Resolves with the member; undefined if it could not be opened.
 */
export async function joinGroup(
  world: World,
  groupId: string,
  isAutoCommitting: boolean,
): Promise<OpenConsumer | undefined> {
  const { process } = world;
  const name = newName(world, "consumer");
  const open: Member = {
    name,
    groupId,
    isAutoCommitting,
    isPolling: false,
    pollCount: 0,
    isClosing: false,
    positions: new Map(),
    begins: new Map(),
    sought: new Map(),
    paused: new Map(),
  };
  const listener = (
    take: (partitions: readonly TopicPartition[]) => void,
  ): (partitions: readonly TopicPartition[]) => void =>
  (partitions) => {
    if (process === world.disk.process) take(partitions);
  };
  const letGo = listener((partitions) => letGoOf(world, open, partitions));
  const handOver = listener((partitions) => {
    noteHandedOver(world, open, partitions);
    letGoOf(world, open, partitions);
  });
  const outcome = await attempt(
    world,
    `openConsumer ${name}`,
    ["HANDLE_CLOSED"],
    () =>
      openConsumer(openStoreOf(world), {
        groupId,
        topics: consumedTopics,
        autoOffsetReset: "earliest",
        autoCommit: isAutoCommitting,
        autoCommitIntervalMs: 20,
        ack: "disk",
        onAssigned: listener((partitions) => takeOver(world, open, partitions)),
        onRevoked: handOver,
        onLost: letGo,
      }),
  );
  return outcome.kind === "done" ? Object.assign(open, { consumer: outcome.value }) : undefined;
}

function takeOver(
  world: World,
  { name, groupId, isAutoCommitting, begins }: Member,
  partitions: readonly TopicPartition[],
): void {
  trace(world, `${name} is given ${partitionNames(partitions)}`);
  const owners = ownersOf(world, groupId);
  for (const { topic, partition } of partitions) {
    const owner = owners.get(`${topic}-${partition}`);
    demand(
      owner === undefined,
      () => `${topic}-${partition} is given to ${name} of ${groupId} while ${owner} has it`,
    );
    owners.set(`${topic}-${partition}`, name);
    const model = topicNow(world, topic)?.partitions[partition];
    if (model === undefined) continue;
    const known = commitModel(world.groups, groupId, model);
    known.isAutomatic ||= isAutoCommitting;
    begins.set(model, known.commits.map(({ offset }) => offset));
    // A commit from outside may have become true after the member was told where to begin.
    for (const { offset } of isAutoCommitting ? known.commits.slice(0, -1) : []) {
      const begin = offset === nothingCommitted ? model.startOffset : offset;
      beginCommit(world.groups, known, begin);
    }
  }
}

/** What earlier polls gave is handled when a poll gives partitions up, and is committed then. */
function noteHandedOver(
  world: World,
  { groupId, isAutoCommitting, isPolling, isClosing, positions, sought }: Member,
  partitions: readonly TopicPartition[],
): void {
  const isCommitted = isAutoCommitting && isPolling && !isClosing && !world.isClosing;
  if (!isCommitted || world.hasFaults) return;
  for (const [model, position] of positions) {
    const isGiven = partitions.some(({ topic, partition }) =>
      topic === model.topic && partition === model.partition
    );
    if (!isGiven || sought.has(model)) continue;
    const known = commitModel(world.groups, groupId, model);
    const commit = known.commits.findLast(({ offset }) => offset === position);
    if (commit !== undefined) acknowledgeCommit(known, commit);
  }
}

function letGoOf(
  world: World,
  { name, groupId, positions, begins, sought, paused }: Member,
  partitions: readonly TopicPartition[],
): void {
  trace(world, `${name} lets go of ${partitionNames(partitions)}`);
  const owners = ownersOf(world, groupId);
  for (const { topic, partition } of partitions) {
    if (owners.get(`${topic}-${partition}`) === name) owners.delete(`${topic}-${partition}`);
    for (const models of [positions, begins, sought, paused]) {
      for (const model of models.keys()) {
        if (model.topic === topic && model.partition === partition) models.delete(model);
      }
    }
  }
}

/** Which member has which partition. */
function ownersOf({ owners }: World, groupId: string): Map<string, string> {
  let ofGroup = owners.get(groupId);
  if (ofGroup === undefined) {
    ofGroup = new Map();
    owners.set(groupId, ofGroup);
  }
  return ofGroup;
}

function partitionNames(partitions: readonly TopicPartition[]): string {
  return partitions.map(({ topic, partition }) => `${topic}-${partition}`).join(", ");
}
