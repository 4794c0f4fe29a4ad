/**
 * What a consumer does when its group wants a partition from it or has one for it.
 *
 * The order is what makes it safe: what was handled is committed, the user's `onRevoked` has
 * returned and its commits are done before the partition is let go; it is the next owner's only
 * then, and he begins with what was committed. A listener that throws stops nothing of it: its error
 * is thrown by the poll when all is in order, together with what else has failed meanwhile.
 */

import { committedOffsetOf } from "../coordinator/group_offsets.ts";
import type { Member } from "../coordinator/membership.ts";
import {
  joinMembership,
  leaveMembership,
  releasePartitions,
  revocationsOf,
  takePartitions,
} from "../coordinator/membership.ts";
import type { TopicPartition } from "../coordinator/topic_partition.ts";
import { OttlaError } from "../errors.ts";
import { checkNumber } from "../store/store_options.ts";
import { saveOffsets, settleCommits, uncommittedHandled } from "./consumer_commit.ts";
import { placeEntry, placeLater, resetPosition } from "./consumer_fetch.ts";
import type { ConsumedOffset, PartitionsListener } from "./consumer_options.ts";
import { checkPartitionList, topicListOf } from "./consumer_options.ts";
import type { ConsumedPartition, ConsumerState, Deserializer } from "./consumer_state.ts";
import {
  findConsumed,
  isAutoCommitting,
  isGone,
  nameOfPartition,
  noteHandled,
  wakeConsumer,
} from "./consumer_state.ts";
import { throwAll } from "./throw_all.ts";
import { nameOfTopic } from "./topic.ts";

/**
 * Joins the group.
 *
 * @param state The consumer; its first poll gets partitions.
 * @throws OttlaError `INCONSISTENT_GROUP_PROTOCOL` if its assignor is not the group's.
 */
export function joinGroup(state: ConsumerState): void {
  const { group, options } = state;
  const { topics, assignor, instanceId, clientId } = options;
  if (group === undefined || topics === undefined) return;
  const subscription = topics instanceof RegExp
    ? { pattern: topics }
    : { topics: topicListOf(topics).map(nameOfTopic) };
  state.member = joinMembership(group.membership, {
    ...subscription,
    ...(assignor === undefined ? {} : { assignor }),
    ...(instanceId === undefined ? {} : { instanceId }),
    ...(clientId === undefined ? {} : { clientId }),
    onChange() {
      state.isReconcileDue = true;
      wakeConsumer(state);
    },
  });
  state.isReconcileDue = true;
}

/**
 * Gives up and takes partitions until the group wants nothing more of the consumer.
 *
 * @param state The consumer.
 * @throws What a listener, a commit or the group's assignor threw, an AggregateError if several did;
 * the consumer and its group are usable.
 */
export async function reconcile(state: ConsumerState): Promise<void> {
  const errors: unknown[] = [];
  while (state.isReconcileDue && state.phase === "open") {
    state.isReconcileDue = false;
    const member = state.member;
    if (member === undefined || state.group === undefined) break;
    try {
      if (isLost(member)) {
        await loseAll(state, errors);
        rejoin(state, member);
        continue;
      }
      await giveUp(state, revocationsOf(state.group.membership, member), errors);
      // A listener may have waited, and another consumer have taken the place meanwhile, or somebody
      // have closed this one: then what it could take goes to others at once.
      if (!isLost(member) && !isEnding(state)) {
        await begin(state, takePartitions(state.group.membership, member), errors);
      }
    } catch (error) {
      state.isReconcileDue = true;
      errors.push(error);
      break;
    }
  }
  throwAll(errors);
}

function isLost({ state }: Member): boolean {
  return state === "lost";
}

function isEnding({ phase }: ConsumerState): boolean {
  return phase !== "open";
}

/** Another consumer of this name has taken the place, or the member was dropped from its group. */
function rejoin(state: ConsumerState, lost: Member): void {
  if (lost.instanceId !== undefined) {
    throw new OttlaError(
      "FENCED_INSTANCE_ID",
      `Cannot consume with group ${
        state.group!.groupId
      }: another consumer has taken the place of ` +
        `instance ${lost.instanceId}`,
      { details: { groupId: state.group!.groupId, instanceId: lost.instanceId } },
    );
  }
  joinGroup(state);
}

async function loseAll(state: ConsumerState, errors: unknown[]): Promise<void> {
  const lost = state.partitions.map(partitionOf);
  removeEntries(state, lost);
  await tell(state.options.onLost, lost, errors);
}

async function giveUp(
  state: ConsumerState,
  partitions: readonly TopicPartition[],
  errors: unknown[],
): Promise<void> {
  if (partitions.length === 0) return;
  await letGo(state, partitions, errors);
  const { group, member } = state;
  if (group !== undefined && member !== undefined && member.state === "active") {
    releasePartitions(group.membership, member, partitions);
  }
}

/** Lets go of partitions: those of topics that are gone are lost, the others are handed over. */
async function letGo(
  state: ConsumerState,
  partitions: readonly TopicPartition[],
  errors: unknown[],
): Promise<void> {
  const isLeft = ({ topic, partition }: TopicPartition): boolean => {
    const entry = findConsumed(state, topic, partition);
    return state.store.topics.get(topic)?.partitions[partition] !== undefined &&
      (entry === undefined || !isGone(entry));
  };
  const revoked = partitions.filter(isLeft);
  const lost = partitions.filter((entry) => !isLeft(entry));
  removeEntries(state, lost);
  await handOver(state, revoked, errors);
  await tell(state.options.onLost, lost, errors);
}

/** Commits what was handled, tells the listener, and forgets the partitions. */
async function handOver(
  state: ConsumerState,
  revoked: readonly TopicPartition[],
  errors: unknown[],
): Promise<void> {
  if (revoked.length === 0) return;
  const entries = entriesOf(state, revoked);
  await state.tracker?.drain(revoked);
  if (state.tracker !== undefined || !state.isInHand) noteHandled(state);
  if (isAutoCommitting(state)) {
    // In the order of the calls, so that what the listener commits counts.
    await saveOffsets(state, uncommittedHandled(state, entries))
      .catch((error) => errors.push(error));
  }
  await tell(state.options.onRevoked, revoked, errors);
  await settleCommits(state);
  removeEntries(state, revoked);
}

/** Begins to read partitions where their offsets say. */
async function begin(
  state: ConsumerState,
  taken: readonly TopicPartition[],
  errors: unknown[],
): Promise<void> {
  if (taken.length === 0) return;
  addEntries(state, taken);
  await placeUnplaced(state).catch((error) => errors.push(error));
  await tell(state.options.onAssigned, taken, errors);
}

/**
 * Adds partitions to those of the consumer, each once, without positions yet.
 *
 * @param state The consumer.
 * @param partitions The partitions.
 */
export function addEntries(state: ConsumerState, partitions: readonly TopicPartition[]): void {
  for (const { topic, partition } of partitions) {
    if (findConsumed(state, topic, partition) !== undefined) continue;
    const entry: ConsumedPartition = {
      topic,
      partition,
      ...serdesOf(state, topic),
      log: undefined,
      cursor: undefined,
      records: [],
      index: 0,
      position: -1,
      handled: -1,
      committed: -1,
      isPaused: false,
    };
    state.partitions.push(entry);
    state.byName.set(nameOfPartition(topic, partition), entry);
    state.unplaced.add(entry);
  }
}

/**
 * Gives positions to the partitions that have none yet: what was committed for them.
 *
 * @param state The consumer.
 * @throws What the user's offset store throws, TypeError or RangeError if it gives something else
 * than offsets; then the next poll tries again.
 */
export async function placeUnplaced(state: ConsumerState): Promise<void> {
  if (state.unplaced.size === 0) return;
  // A partition that was left and is back begins with what is being committed.
  await settleCommits(state);
  await state.group?.outsideCommits;
  const entries = [...state.unplaced];
  const { offsetStore } = state.options;
  const loaded = await offsetStore?.load(entries.map(partitionOf));
  if (offsetStore !== undefined) checkLoaded(loaded);
  for (const entry of entries) {
    // It may have been taken away, or been given a position by a seek, in the meantime.
    if (!state.unplaced.delete(entry) || entry.position >= 0) continue;
    const { topic, partition } = entry;
    const committed = offsetStore === undefined
      ? state.group && committedOffsetOf(state.group, topic, partition)?.offset
      : loaded?.find((known) => known.topic === topic && known.partition === partition)?.offset;
    entry.committed = committed ?? -1;
    placeAtFirst(state, entry, committed);
  }
}

/** What is wrong here would otherwise be a place where nobody wanted to begin. */
function checkLoaded(loaded: unknown): asserts loaded is readonly ConsumedOffset[] {
  const name = "what offsetStore.load() gives";
  checkPartitionList(name, loaded);
  for (const entry of loaded) {
    const { offset } = entry as Partial<ConsumedOffset>;
    checkNumber(`${name}[].offset`, offset, 0, Number.MAX_SAFE_INTEGER);
  }
}

function placeAtFirst(
  state: ConsumerState,
  entry: ConsumedPartition,
  committed: number | undefined,
): void {
  try {
    if (committed === undefined) resetPosition(state, entry);
    else placeEntry(state, entry, committed);
  } catch {
    // The next look at it resets the position, or says what keeps it from being read.
    if (committed !== undefined) placeLater(state, entry, committed);
  }
}

/**
 * Hands over all partitions and leaves the group; what a consumer does in the end.
 *
 * @param state The consumer.
 * @throws What a commit or a listener threw, an AggregateError if several did; the group is left all
 * the same.
 */
export async function leaveGroup(state: ConsumerState): Promise<void> {
  const errors: unknown[] = [];
  const { group, member } = state;
  if (member !== undefined && isLost(member)) await loseAll(state, errors);
  else await letGo(state, state.partitions.map(partitionOf), errors);
  // Of partitions that were let go of before.
  await settleCommits(state);
  if (group !== undefined && member !== undefined && member.state === "active") {
    leaveMembership(group.membership, member, { keepsPlace: member.instanceId !== undefined });
  }
  throwAll(errors);
}

/** A partition's name without what the consumer knows of it. */
export function partitionOf({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition };
}

function entriesOf(
  state: ConsumerState,
  partitions: readonly TopicPartition[],
): ConsumedPartition[] {
  return partitions.flatMap(({ topic, partition }) => findConsumed(state, topic, partition) ?? []);
}

/**
 * Takes partitions from those of the consumer.
 *
 * @param state The consumer.
 * @param partitions The partitions.
 */
export function removeEntries(state: ConsumerState, partitions: readonly TopicPartition[]): void {
  const removed = new Set(entriesOf(state, partitions));
  if (removed.size === 0) return;
  for (const entry of removed) {
    state.unplaced.delete(entry);
    state.failures.delete(entry);
    state.byName.delete(nameOfPartition(entry.topic, entry.partition));
  }
  state.tracker?.forget([...removed]);
  state.partitions = state.partitions.filter((entry) => !removed.has(entry));
  state.current = 0;
}

async function tell(
  listener: PartitionsListener | undefined,
  partitions: readonly TopicPartition[],
  errors: unknown[],
): Promise<void> {
  if (listener === undefined || partitions.length === 0) return;
  try {
    await listener(partitions);
  } catch (error) {
    errors.push(error);
  }
}

function serdesOf(
  { options }: ConsumerState,
  topic: string,
): { keySerde: Deserializer | undefined; valueSerde: Deserializer | undefined } {
  const { topics } = options;
  const typed = topics === undefined || topics instanceof RegExp
    ? undefined
    : topicListOf(topics).find((entry) => typeof entry === "object" && entry.name === topic);
  return typeof typed === "object"
    ? { keySerde: typed.key, valueSerde: typed.value }
    : { keySerde: undefined, valueSerde: undefined };
}
