/**
 * What groups have committed: of each partition the commits that may be the one that counts.
 *
 * Commits of a group become true in the order of their calls. So one that is acknowledged replaces
 * all that were begun before it; those behind it, answered with an error or not at all, may count
 * now, after the next opening, or never. What an opening finds counts from then on.
 */

import { demand } from "./invariant.ts";
import type { PartitionModel } from "./partition_model.ts";

/** What stands for "nothing was committed". */
export const nothingCommitted = -1;
/** What stands for an offset that nobody knows until the commit is acknowledged. */
export const anyOffset = -2;
/** The group whose members handle records one by one: see `handling_actions.ts`. */
export const handlingGroup = "shipping";
/** Groups whose members poll, and one that has none. */
export const memberGroups: readonly string[] = ["billing", "search"];
export const outsideGroup = "backup";
/** All groups that somebody may move or delete. */
export const groupIds: readonly string[] = [...memberGroups, outsideGroup];

/** One commit of one partition. */
export interface ModelCommit {
  offset: number;
  readonly number: number;
  /** Whether commits that come later may become true before it, as with a deletion of the group. */
  isUnordered: boolean;
}

/** What a group has committed for one partition. */
export interface CommitModel {
  readonly groupId: string;
  readonly partition: PartitionModel;
  /** Those that may count, in the order of their calls. */
  commits: ModelCommit[];
  /** Whether there was a member that commits by itself. */
  isAutomatic: boolean;
}

/** All groups. */
export interface GroupModels {
  /** By group and partition. */
  readonly byName: Map<string, CommitModel>;
  nextNumber: number;
}

/** No groups. */
export function groupModels(): GroupModels {
  return { byName: new Map(), nextNumber: 1 };
}

/** What a group has committed for a partition. */
export function commitModel(
  groups: GroupModels,
  groupId: string,
  partition: PartitionModel,
): CommitModel {
  const key = `${groupId} ${partition.name}`;
  let model = groups.byName.get(key);
  if (model === undefined) {
    model = {
      groupId,
      partition,
      commits: [{ offset: nothingCommitted, number: 0, isUnordered: false }],
      isAutomatic: false,
    };
    groups.byName.set(key, model);
  }
  return model;
}

/** A commit begins. */
export function beginCommit(groups: GroupModels, model: CommitModel, offset: number): ModelCommit {
  const commit = { offset, number: groups.nextNumber++, isUnordered: false };
  model.commits.push(commit);
  return commit;
}

/** The group is being deleted: with what was committed before, and maybe with what is meanwhile. */
export function beginDeletion(groups: GroupModels, model: CommitModel): ModelCommit {
  const deletion = beginCommit(groups, model, nothingCommitted);
  deletion.isUnordered = true;
  return deletion;
}

/** A commit was acknowledged. */
export function acknowledgeCommit(model: CommitModel, commit: ModelCommit): void {
  model.commits = model.commits.filter(({ number, isUnordered }) =>
    number >= commit.number || isUnordered
  );
}

/** A commit was refused before anything of it was written. */
export function refuseCommit(model: CommitModel, commit: ModelCommit): void {
  model.commits = model.commits.filter((other) => other !== commit);
}

/**
 * What is committed, as it was seen in a store that is open. A member that commits by itself may have
 * gone over offsets without a record: to the start of the log, because nothing was committed or it
 * was no longer there, or over what compaction has taken.
 */
export function checkCommitted(model: CommitModel, offset: number): void {
  if (model.groupId === handlingGroup) return checkHandled(model, offset);
  const { commits, isAutomatic, partition } = model;
  const offsets = commits.map((commit) => commit.offset);
  const passedEnd = partition.rules.isCompacted ? partition.endOffset : partition.startOffsetMax;
  const isPassed = isAutomatic && offset <= passedEnd && offset > offsets[0]!;
  demand(
    isPassed || offsets.includes(offset) || offsets.includes(anyOffset),
    () =>
      `group ${model.groupId} has committed ${offset} of ${model.partition.name}, but only ` +
      `${[...new Set(offsets)].join(", ")} can count`,
  );
}

/** What is committed, as an opening found it. */
export function settleCommitted(groups: GroupModels, model: CommitModel, offset: number): void {
  const { groupId, partition } = model;
  checkCommitted(model, offset);
  demand(
    offset <= partition.endOffset,
    () =>
      `group ${groupId} has committed ${offset} of ${partition.name}, which ends at ` +
      partition.endOffset,
  );
  model.commits = [{ offset, number: groups.nextNumber++, isUnordered: false }];
}

/** Whatever lies before what is committed was handled, or is where nobody can do anything with it. */
function checkHandled(model: CommitModel, offset: number): void {
  const { groupId, partition } = model;
  const { name, placed, rules, startOffsetMax } = partition;
  const [last] = model.commits;
  demand(
    offset >= last!.offset,
    () => `group ${groupId} has committed ${offset} of ${name}, and ${last!.offset} before`,
  );
  last!.offset = offset;
  for (let before = startOffsetMax; before < offset; before++) {
    const record = placed[before];
    const isDone = record === undefined || record.isHandled || record.isGivenUp;
    demand(
      isDone || rules.isCompacted,
      () => `group ${groupId} has committed ${offset} of ${name}, but ${before} was not handled`,
    );
  }
}
