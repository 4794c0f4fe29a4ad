/**
 * What clients do to consume: members of groups that join, poll, commit and leave, and commits from
 * outside.
 *
 * Members are given what is committed, one behind the other, and no partition is two members' at
 * once.
 */

import {
  closeConsumer,
  commit,
  commitOffsets,
  committedOffsets,
  openConsumer,
  poll,
} from "../../mod.ts";
import type { ErrorCode, LogRecord, TopicPartition } from "../../mod.ts";
import {
  acknowledgeCommit,
  beginCommit,
  checkCommitted,
  commitModel,
  nothingCommitted,
  refuseCommit,
} from "./group_model.ts";
import type { CommitModel, ModelCommit } from "./group_model.ts";
import { demand } from "./invariant.ts";
import type { PartitionModel } from "./partition_model.ts";
import { noteRead } from "./partition_model.ts";
import { idOfRecord } from "./record_content.ts";
import { checkStep } from "./step_checks.ts";
import type { OpenConsumer, World } from "./world.ts";
import {
  attempt,
  isDead,
  newName,
  openStoreOf,
  pickPartition,
  start,
  topicNow,
  trace,
} from "./world.ts";

const memberGroups: readonly string[] = ["billing", "search"];
const outsideGroup = "backup";
const consumersMax = 5;
const waitMsMax = 30;

const pollCodes: readonly ErrorCode[] = ["HANDLE_CLOSED", "UNKNOWN_TOPIC_OR_PARTITION"];
/** Refused before anything is written. */
const refusedCodes: readonly ErrorCode[] = [
  "ILLEGAL_GENERATION",
  "UNKNOWN_MEMBER_ID",
  "UNKNOWN_TOPIC_OR_PARTITION",
  "OFFSET_OUT_OF_RANGE",
];

interface Commit {
  readonly model: CommitModel;
  readonly commit: ModelCommit;
}

/** A consumer joins its group. */
export function openOneConsumer(world: World): void {
  if (world.consumers.length >= consumersMax) return;
  const { random } = world;
  const groupId = random.pick(memberGroups);
  const isAutoCommitting = random.chance(0.5);
  const name = newName(world, "consumer");
  const label = `openConsumer ${name} of ${groupId}${isAutoCommitting ? ", autoCommit" : ""}`;
  const positions: OpenConsumer["positions"] = new Map();
  const owners = ownersOf(world, groupId);
  start(world, label, async () => {
    const { process } = world;
    const isMine = (): boolean => process === world.disk.process;
    const letGo = (partitions: readonly TopicPartition[]): void => {
      if (!isMine()) return;
      trace(world, `${name} lets go of ${partitionNames(partitions)}`);
      for (const { topic, partition } of partitions) {
        if (owners.get(`${topic}-${partition}`) === name) owners.delete(`${topic}-${partition}`);
        for (const model of positions.keys()) {
          if (model.topic === topic && model.partition === partition) positions.delete(model);
        }
      }
    };
    const outcome = await attempt(
      world,
      label,
      ["HANDLE_CLOSED"],
      () =>
        openConsumer(openStoreOf(world), {
          groupId,
          topics: /./,
          autoOffsetReset: "earliest",
          autoCommit: isAutoCommitting,
          autoCommitIntervalMs: 20,
          ack: "disk",
          onAssigned(partitions) {
            if (!isMine()) return;
            trace(world, `${name} is given ${partitionNames(partitions)}`);
            for (const { topic, partition } of partitions) {
              const owner = owners.get(`${topic}-${partition}`);
              demand(
                owner === undefined,
                () =>
                  `${topic}-${partition} is given to ${name} of ${groupId} while ${owner} has it`,
              );
              owners.set(`${topic}-${partition}`, name);
              const model = topicNow(world, topic)?.partitions[partition];
              if (model === undefined || !isAutoCommitting) continue;
              commitModel(world.groups, groupId, model).isAutomatic = true;
            }
          },
          onRevoked: letGo,
          onLost: letGo,
        }),
    );
    if (outcome.kind !== "done") return;
    const consumer = outcome.value;
    world.consumers.push({
      name,
      groupId,
      consumer,
      isAutoCommitting,
      isPolling: false,
      isClosing: false,
      positions,
    });
  });
}

/** A consumer polls. */
export function pollOne(world: World): void {
  const open = pickConsumer(world, ({ isPolling }) => !isPolling);
  if (open === undefined) return openOneConsumer(world);
  const recordsMax = 1 + world.random.below(20);
  const waitMs = world.random.below(waitMsMax);
  const label = `poll ${open.name} for ${recordsMax} within ${waitMs} ms`;
  open.isPolling = true;
  start(world, label, async () => {
    const outcome = await attempt(
      world,
      label,
      pollCodes,
      () => poll(open.consumer, { recordsMax, waitMs }),
    );
    open.isPolling = false;
    if (outcome.kind === "done" && outcome.value.length > 0) {
      const names = outcome.value.map(({ topic, partition, offset }) =>
        `${topic}-${partition}:${offset}`
      );
      trace(world, `${open.name} gets ${names.join(" ")}`);
    }
    if (outcome.kind === "done") takeRecords(world, open, outcome.value);
  });
}

/** A consumer commits what it was given. */
export function commitOne(world: World): void {
  const open = pickConsumer(world, () => true);
  if (open === undefined || open.positions.size === 0) return;
  const given = [...open.positions];
  const chosen = world.random.chance(0.5) ? given : [world.random.pick(given)];
  const offsets = chosen.map(([{ topic, partition }, offset]) => ({ topic, partition, offset }));
  const label = `commit ${open.name} ${JSON.stringify(offsets)}`;
  start(world, label, async () => {
    const commits = beginCommits(world, open.groupId, chosen);
    await settleCommits(world, label, commits, () => commit(open.consumer, offsets));
  });
}

/** A consumer leaves its group. */
export function closeOneConsumer(world: World): void {
  const open = pickConsumer(world, () => true);
  if (open === undefined) return;
  open.isClosing = true;
  world.consumers = world.consumers.filter((other) => other !== open);
  const label = `closeConsumer ${open.name}`;
  start(world, label, async () => {
    await attempt(
      world,
      label,
      ["HANDLE_CLOSED", ...refusedCodes],
      () => closeConsumer(open.consumer),
    );
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
  const groupId = world.random.pick([...memberGroups, outsideGroup]);
  const label = `committedOffsets ${groupId}`;
  start(world, label, async () => {
    await attempt(world, label, ["HANDLE_CLOSED"], async () => {
      const found = await committedOffsets(openStoreOf(world), groupId);
      if (isDead(world)) return;
      for (const { topic, partition, offset } of found) {
        const model = topicNow(world, topic)?.partitions[partition];
        if (model !== undefined) checkCommitted(commitModel(world.groups, groupId, model), offset);
      }
    });
  });
}

/** Which member has which partition. */
export function ownersOf({ owners }: World, groupId: string): Map<string, string> {
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

function pickConsumer(
  { consumers, random }: World,
  accepts: (open: OpenConsumer) => boolean,
): OpenConsumer | undefined {
  const allowed = consumers.filter((open) => !open.isClosing && accepts(open));
  return allowed.length === 0 ? undefined : random.pick(allowed);
}

/** What a poll gave is one stretch of each partition, and begins where the group is. */
function takeRecords(world: World, open: OpenConsumer, found: readonly LogRecord[]): void {
  const { name, groupId, positions } = open;
  // Retention may have passed by since the last step.
  checkStep(world);
  const ends = new Map<PartitionModel, number>();
  for (const record of found) {
    const { model } = world.records[idOfRecord(record)]!;
    noteRead(model, world.records, record);
    const next = positions.get(model);
    if (next === undefined) checkFirst(world, groupId, model, record.offset);
    else {
      const mayJump = model.rules.isCompacted || next < model.startOffsetMax;
      demand(
        mayJump ? record.offset >= next : record.offset === next,
        () => `${name} of ${groupId} got offset ${record.offset} of ${model.name}, not ${next}`,
      );
    }
    positions.set(model, record.offset + 1);
    ends.set(model, record.offset + 1);
  }
  if (!open.isAutoCommitting) return;
  // From the next poll on it may be committed at any time.
  for (const [model, offset] of ends) {
    beginCommit(world.groups, commitModel(world.groups, groupId, model), offset);
  }
}

/** A member begins with what was committed; where there is nothing, with the first record. */
function checkFirst(world: World, groupId: string, model: PartitionModel, offset: number): void {
  const { startOffset, startOffsetMax, rules } = model;
  const begins = commitModel(world.groups, groupId, model).commits.map((commit) =>
    commit.offset === nothingCommitted ? startOffset : commit.offset
  );
  const isRight = begins.some((begin) =>
    offset === begin || (offset >= begin && (rules.isCompacted || begin < startOffsetMax))
  );
  demand(
    isRight,
    () =>
      `group ${groupId} begins with offset ${offset} of ${model.name}, but has committed ` +
      `${begins.join(" or ")}`,
  );
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
