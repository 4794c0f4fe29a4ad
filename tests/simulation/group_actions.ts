/** What somebody does to groups that nobody reads for: moving and deleting them. */

import { deleteGroup, resetOffsets } from "../../mod.ts";
import type { ErrorCode, OffsetReset, ResetOffset } from "../../mod.ts";
import {
  acknowledgeCommit,
  anyOffset,
  beginCommit,
  beginDeletion,
  commitModel,
  groupIds,
  nothingCommitted,
  refuseCommit,
} from "./group_model.ts";
import { demand } from "./invariant.ts";
import { pickOffset } from "./read_actions.ts";
import { checkStep } from "./step_checks.ts";
import type { World } from "./world.ts";
import { attempt, openStoreOf, pickPartition, start, topicNow, topicsNow } from "./world.ts";

/** Refused before anything is written. */
const resetRefusals: readonly ErrorCode[] = [
  "NON_EMPTY_GROUP",
  "NO_OFFSET_FOR_PARTITION",
  "UNKNOWN_TOPIC_OR_PARTITION",
];
const deletionRefusals: readonly ErrorCode[] = ["NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND"];
const shiftMax = 10;

/** Moves a group in all partitions of a topic. */
export function resetOne(world: World): void {
  const { random, groups } = world;
  const model = pickPartition(world);
  const topic = model && topicNow(world, model.topic);
  if (model === undefined || topic === undefined) return;
  const groupId = random.pick(groupIds);
  const to = random.pick<OffsetReset["to"]>([
    "earliest",
    "latest",
    pickOffset(world, model),
    { shiftBy: random.below(2 * shiftMax) - shiftMax },
    new Date(world.disk.clock.now() - random.below(1_000)),
  ]);
  const dryRun = random.chance(0.2);
  const label = `resetOffsets ${groupId} in ${topic.name} to ${JSON.stringify(to)}` +
    (dryRun ? ", dry run" : "");
  start(world, label, async () => {
    const models = topic.partitions.map((partition) => commitModel(groups, groupId, partition));
    const commits = dryRun ? [] : models.map((commits) => beginCommit(groups, commits, anyOffset));
    const codes: readonly ErrorCode[] = ["HANDLE_CLOSED", ...resetRefusals];
    const outcome = await attempt(
      world,
      label,
      codes,
      () => resetOffsets(openStoreOf(world), groupId, { topic: topic.name, to, dryRun }),
    );
    if (outcome.kind === "done") {
      if (topicNow(world, topic.name) !== topic) return;
      checkReset(world, label, outcome.value);
      for (const [index, commit] of commits.entries()) {
        commit.offset = outcome.value[index]!.offset;
        acknowledgeCommit(models[index]!, commit);
      }
    } else if (outcome.kind === "failed" && resetRefusals.includes(outcome.code)) {
      for (const [index, commit] of commits.entries()) refuseCommit(models[index]!, commit);
    }
  });
}

/** Deletes a group. */
export function deleteOneGroup(world: World): void {
  const { groups } = world;
  const groupId = world.random.pick(groupIds);
  const label = `deleteGroup ${groupId}`;
  start(world, label, async () => {
    // What is committed meanwhile may go too.
    for (const { partitions } of topicsNow(world)) {
      for (const partition of partitions) commitModel(groups, groupId, partition);
    }
    const models = [...groups.byName.values()].filter((model) => model.groupId === groupId);
    const deletions = models.map((model) => beginDeletion(groups, model));
    const codes: readonly ErrorCode[] = ["HANDLE_CLOSED", ...deletionRefusals];
    const outcome = await attempt(
      world,
      label,
      codes,
      () => deleteGroup(openStoreOf(world), groupId),
    );
    if (outcome.kind === "dead") return;
    for (const [index, model] of models.entries()) {
      const deletion = deletions[index]!;
      deletion.isUnordered = false;
      if (outcome.kind === "done") acknowledgeCommit(model, deletion);
      else if (deletionRefusals.includes(outcome.code)) refuseCommit(model, deletion);
    }
  });
}

/** A group goes on between the start and the end of each log. */
function checkReset(world: World, label: string, offsets: readonly ResetOffset[]): void {
  checkStep(world);
  for (const { topic, partition, offset } of offsets) {
    const model = topicNow(world, topic)?.partitions[partition];
    demand(
      model !== undefined && offset !== nothingCommitted && offset <= model.endOffset,
      () => `${label} moved it to ${offset} of ${topic}-${partition}`,
    );
  }
}
