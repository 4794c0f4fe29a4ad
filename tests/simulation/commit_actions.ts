/** What is committed: by members, by somebody from outside, and what somebody finds who looks. */

import { commit, commitOffsets, committedOffsets } from "../../mod.ts";
import { pickConsumer, refusedCodes } from "./consumer_actions.ts";
import {
  acknowledgeCommit,
  beginCommit,
  checkCommitted,
  commitModel,
  groupIds,
  handlingGroup,
  outsideGroup,
  refuseCommit,
} from "./group_model.ts";
import type { CommitModel, ModelCommit } from "./group_model.ts";
import type { PartitionModel } from "./partition_model.ts";
import type { World } from "./world.ts";
import { attempt, deathOf, openStoreOf, pickPartition, start, topicNow } from "./world.ts";

interface Commit {
  readonly model: CommitModel;
  readonly commit: ModelCommit;
}

/** A consumer commits what it was given. */
export function commitOne(world: World): void {
  const open = pickConsumer(world, () => true);
  if (open === undefined || open.positions.size === 0) return;
  // Where it was moved to it goes on, though a poll is under way.
  const given = Array.from(
    open.positions,
    ([model, offset]) => [model, open.sought.get(model)?.at(-1) ?? offset] as const,
  );
  const chosen = world.random.chance(0.5) ? given : [world.random.pick(given)];
  const offsets = chosen.map(([{ topic, partition }, offset]) => ({ topic, partition, offset }));
  const label = `commit ${open.name} ${JSON.stringify(offsets)}`;
  start(world, label, async () => {
    const commits = beginCommits(world, open.groupId, chosen);
    await settleCommits(world, label, commits, () => commit(open.consumer, offsets));
  });
}

/** Somebody who is no member commits. */
export function commitOutside(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const offset = model.startOffset +
    world.random.below(model.highWatermark - model.startOffset + 1);
  const label = `commitOffsets ${outsideGroup} ${model.name} ${offset}`;
  start(world, label, async () => {
    const commits = beginCommits(world, outsideGroup, [[model, offset]]);
    const { topic, partition } = model;
    await settleCommits(
      world,
      label,
      commits,
      () => commitOffsets(openStoreOf(world), outsideGroup, [{ topic, partition, offset }]),
    );
  });
}

/** Somebody looks at what is committed. */
export function askForCommitted(world: World): void {
  const groupId = world.random.pick([...groupIds, handlingGroup]);
  const label = `committedOffsets ${groupId}`;
  start(world, label, async () => {
    await attempt(world, label, ["HANDLE_CLOSED"], async () => {
      const isDead = deathOf(world);
      const found = await committedOffsets(openStoreOf(world), groupId);
      if (isDead()) return;
      for (const { topic, partition, offset } of found) {
        const model = topicNow(world, topic)?.partitions[partition];
        if (model !== undefined) checkCommitted(commitModel(world.groups, groupId, model), offset);
      }
    });
  });
}

function beginCommits(
  world: World,
  groupId: string,
  offsets: readonly (readonly [PartitionModel, number])[],
): Commit[] {
  return offsets.map(([partition, offset]) => {
    const model = commitModel(world.groups, groupId, partition);
    return { model, commit: beginCommit(world.groups, model, offset) };
  });
}

async function settleCommits(
  world: World,
  label: string,
  commits: readonly Commit[],
  call: () => Promise<void>,
): Promise<void> {
  const outcome = await attempt(world, label, ["HANDLE_CLOSED", ...refusedCodes], call);
  for (const { model, commit } of commits) {
    if (outcome.kind === "done") acknowledgeCommit(model, commit);
    else if (outcome.kind === "failed" && refusedCodes.includes(outcome.code)) {
      refuseCommit(model, commit);
    }
  }
}
