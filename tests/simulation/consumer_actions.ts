/**
 * What clients do to consume: members of groups that come, poll and go. They are given what is
 * committed, one behind the other.
 */

import { closeConsumer, poll } from "../../mod.ts";
import type { ErrorCode, LogRecord } from "../../mod.ts";
import {
  anyOffset,
  beginCommit,
  commitModel,
  memberGroups,
  nothingCommitted,
} from "./group_model.ts";
import { demand } from "./invariant.ts";
import { joinGroup } from "./members.ts";
import type { PartitionModel } from "./partition_model.ts";
import { noteRead } from "./partition_model.ts";
import { idOfRecord } from "./record_content.ts";
import { checkStep } from "./step_checks.ts";
import type { OpenConsumer, World } from "./world.ts";
import { attempt, start, trace } from "./world.ts";

const consumersMax = 5;
const waitMsMax = 30;

/** The consumer may be closed meanwhile, or a topic be deleted. */
export const pollCodes: readonly ErrorCode[] = ["HANDLE_CLOSED", "UNKNOWN_TOPIC_OR_PARTITION"];
/** Refused before anything is written. */
export const refusedCodes: readonly ErrorCode[] = [
  "ILLEGAL_GENERATION",
  "UNKNOWN_MEMBER_ID",
  "UNKNOWN_TOPIC_OR_PARTITION",
  "OFFSET_OUT_OF_RANGE",
];

/** A consumer joins its group. */
export function openOneConsumer(world: World): void {
  if (world.consumers.length >= consumersMax) return;
  const { random } = world;
  const groupId = random.pick(memberGroups);
  const isAutoCommitting = random.chance(0.5);
  start(world, `openConsumer of ${groupId}${isAutoCommitting ? ", autoCommit" : ""}`, async () => {
    const open = await joinGroup(world, groupId, isAutoCommitting);
    if (open !== undefined) world.consumers.push(open);
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
  const number = ++open.pollCount;
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
    if (outcome.kind === "done") takeRecords(world, open, outcome.value, number);
    if (outcome.kind !== "dead") settleSought(open);
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

/** A consumer that nobody has closed. */
export function pickConsumer(
  { consumers, random }: World,
  accepts: (open: OpenConsumer) => boolean,
): OpenConsumer | undefined {
  const allowed = consumers.filter((open) => !open.isClosing && accepts(open));
  return allowed.length === 0 ? undefined : random.pick(allowed);
}

/** What a poll gave is one stretch of each partition, and begins where the group is. */
function takeRecords(
  world: World,
  open: OpenConsumer,
  found: readonly LogRecord[],
  pollNumber: number,
): void {
  const { name, groupId, positions, paused } = open;
  // Retention may have passed by since the last step.
  checkStep(world);
  const ends = new Map<PartitionModel, number>();
  for (const record of found) {
    const { model } = world.records[idOfRecord(record)]!;
    noteRead(model, world.records, record);
    const pausedBefore = paused.get(model);
    demand(
      pausedBefore === undefined || pausedBefore >= pollNumber,
      () => `${name} of ${groupId} got offset ${record.offset} of ${model.name}, which is paused`,
    );
    if (!ends.has(model)) beginSought(open, model, record.offset);
    const next = positions.get(model);
    if (next === undefined) checkFirst(world, open, model, record.offset);
    else {
      demand(
        mayFollow(model, next, record.offset),
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

/** Whether a record may be the one that a consumer gets which was to go on with `next`. */
function mayFollow(model: PartitionModel, next: number, offset: number): boolean {
  const mayJump = model.rules.isCompacted || next < model.startOffsetMax;
  return mayJump ? offset >= next : offset === next;
}

/** A poll gives what it has taken before the consumer was moved, or what it has found there. */
function beginSought(
  { positions, sought }: OpenConsumer,
  model: PartitionModel,
  offset: number,
): void {
  const moves = sought.get(model);
  const before = positions.get(model);
  if (moves === undefined || (before !== undefined && mayFollow(model, before, offset))) return;
  const found = moves.findIndex((position) => mayFollow(model, position, offset));
  if (found < 0) return;
  positions.set(model, moves[found]!);
  if (found + 1 === moves.length) sought.delete(model);
  else sought.set(model, moves.slice(found + 1));
}

/** Nobody can tell whether the poll has given what lay at the same place before or after the move. */
function settleSought({ positions, begins, sought }: OpenConsumer): void {
  for (const [model, moves] of sought) {
    const position = moves.at(-1)!;
    begins.set(model, [position, positions.get(model) ?? position]);
    positions.delete(model);
  }
  sought.clear();
}

/** A member begins with what was committed; where there is nothing, with the first record. */
function checkFirst(
  world: World,
  { groupId, begins: known }: OpenConsumer,
  model: PartitionModel,
  offset: number,
): void {
  const { startOffset, startOffsetMax, rules } = model;
  const committed = commitModel(world.groups, groupId, model).commits.map((commit) =>
    commit.offset
  );
  const begins = [...known.get(model) ?? [], ...committed].map((begin) =>
    begin === nothingCommitted ? startOffset : begin
  );
  const isRight = begins.some((begin) =>
    offset === begin || begin === anyOffset ||
    (offset >= begin && (rules.isCompacted || begin < startOffsetMax))
  );
  demand(
    isRight,
    () =>
      `group ${groupId} begins with offset ${offset} of ${model.name}, but has committed ` +
      `${begins.join(" or ")}`,
  );
}
