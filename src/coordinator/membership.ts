/**
 * Who is in a group and who reads which partition: a state machine without waiting, of one process.
 *
 * It works like Kafka's newer protocol (KIP-848). Every change (a member comes, goes, or subscribes
 * to something else; topics come, go or grow) makes a new generation, in which each partition is
 * meant for one member. Who reads now gives up what is no longer meant for it, when it comes to
 * that (`revocationsOf`, `releasePartitions`), and takes what is meant for it once it is free
 * (`takePartitions`). So a partition has one owner at most, and nobody waits for anybody to join.
 *
 * Who is meant to own what is computed when somebody asks, so a thousand members that join at once
 * cost one computation.
 */

import { OttlaError } from "../errors.ts";
import { createMember } from "./member.ts";
import { checkActive, checkMayChange, isActive } from "./member_checks.ts";
import { dropMember, removeMember, takeOver } from "./member_departure.ts";
import { noteChange, noteNews, tellAll } from "./membership_notices.ts";
import type {
  Member,
  MemberOptions,
  Membership,
  MembershipOptions,
  PartitionSlot,
} from "./membership_state.ts";
import { setOwner } from "./membership_state.ts";
import {
  extendSession,
  keepPlace,
  memberDeadline,
  resetTimer,
  watchDeadline,
} from "./membership_timer.ts";
import type { SubscriptionOptions } from "./subscription.ts";
import {
  countPartitions,
  dropSubscription,
  shareSubscription,
  subscriptionOf,
} from "./subscription.ts";
import { refreshTarget } from "./target_assignment.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { compareTopicPartitions } from "./topic_partition.ts";

export type { Member, MemberOptions, Membership, MembershipOptions } from "./membership_state.ts";

/** What a group is doing, in Kafka's words. */
export type MembershipState = "Empty" | "Assigning" | "Reconciling" | "Stable";

/**
 * Makes the membership of a group that has no members.
 *
 * @param options What it is made of.
 * @returns The membership.
 */
export function createMembership(options: MembershipOptions): Membership {
  return {
    groupId: options.groupId,
    options,
    generation: options.generation ?? 0,
    members: new Map(),
    instances: new Map(),
    subscriptions: new Map(),
    slots: new Map(),
    partitionCounts: new Map(),
    isStale: false,
    isAssigning: false,
    failure: undefined,
    listeners: new Set(),
    notices: [],
    isTelling: false,
    timer: undefined,
    timerDueMs: 0,
  };
}

/**
 * Joins a group. Nobody waits for anybody; a new member owns nothing until it takes partitions.
 *
 * A static member whose instance id is there already takes over that place: it owns the same
 * partitions at once, and the others notice nothing unless it subscribes to something else. The
 * member before it, if it is still active, is lost and fenced.
 *
 * @param membership The group.
 * @param options Who joins and what it wants.
 * @returns The member.
 * @throws {TypeError} If an option has the wrong type.
 * @throws {RangeError} If an option is out of range, or the member id is taken.
 * @throws {OttlaError} INCONSISTENT_GROUP_PROTOCOL if the others use another assignor,
 *   GROUP_MAX_SIZE_REACHED, INVALID_TOPIC_EXCEPTION.
 */
export function joinMembership(membership: Membership, options: MemberOptions): Member {
  checkMayChange(membership);
  const { members, instances } = membership;
  const replaced = options.instanceId === undefined ? undefined : instances.get(options.instanceId);
  const member = createMember(membership, options, replaced);
  const { onFirstMember } = membership.options;
  if (members.size === 0 && onFirstMember !== undefined) membership.notices.push(onFirstMember);
  member.subscription = shareSubscription(membership, member.subscription);
  let isChange = true;
  if (replaced !== undefined) {
    isChange = replaced.assignor !== member.assignor ||
      replaced.subscription !== member.subscription;
    takeOver(membership, member, replaced);
  }
  members.set(member.memberId, member);
  if (member.instanceId !== undefined) instances.set(member.instanceId, member);
  if (isChange) noteChange(membership);
  watchDeadline(membership, member, () => loseLate(membership));
  tellAll(membership);
  return member;
}

/**
 * Leaves a group, letting go of everything at once. Leaving twice, or after having been lost, does
 * nothing.
 *
 * @param membership The group.
 * @param member The member.
 * @param options With `keepsPlace`, a static member's place and partitions are kept until a member
 *   with its instance id joins, its session times out (after `keptPlaceMs` if it has none), or
 *   `loseMember` gives the place up.
 */
export function leaveMembership(
  membership: Membership,
  member: Member,
  options: { readonly keepsPlace?: boolean | undefined } = {},
): void {
  if (!isActive(membership, member)) return;
  checkMayChange(membership);
  member.state = "left";
  if (options.keepsPlace === true && member.instanceId !== undefined) {
    for (const slot of member.revoking) release(membership, slot);
    membership.listeners.delete(member);
    keepPlace(membership, member);
    watchDeadline(membership, member, () => loseLate(membership));
  } else {
    removeMember(membership, member);
  }
  tellAll(membership);
}

/**
 * Drops a member from its group: what it owned is free at once, whether it has noticed or not. It
 * is told through `onChange`. A place that was kept for a member that had left is given up.
 *
 * @param membership The group.
 * @param member The member; dropping it twice does nothing.
 */
export function loseMember(membership: Membership, member: Member): void {
  checkMayChange(membership);
  dropMember(membership, member);
  tellAll(membership);
}

/**
 * Ends a group: every member is lost, and no timer runs any more.
 *
 * @param membership The group.
 */
export function closeMembership(membership: Membership): void {
  checkMayChange(membership);
  for (const member of [...membership.members.values()]) dropMember(membership, member);
  tellAll(membership);
}

/**
 * Shows that a member is alive, so that its session goes on.
 *
 * @param membership The group.
 * @param member The member.
 * @throws {OttlaError} UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID if it is no longer in the group.
 */
export function heartbeat(membership: Membership, member: Member): void {
  checkActive(membership, member, "heartbeat");
  extendSession(membership, member);
}

/**
 * Changes what a member subscribes to. The same subscription again changes nothing.
 *
 * @param membership The group.
 * @param member The member.
 * @param subscription Topics or a pattern.
 * @throws {TypeError} If there are both or neither.
 * @throws {OttlaError} UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID if the member is no longer in the
 *   group, INVALID_TOPIC_EXCEPTION.
 */
export function subscribe(
  membership: Membership,
  member: Member,
  subscription: SubscriptionOptions,
): void {
  checkMayChange(membership);
  checkActive(membership, member, "subscribe");
  const wanted = subscriptionOf(subscription);
  if (wanted.key === member.subscription.key) return;
  dropSubscription(membership, member.subscription);
  member.subscription = shareSubscription(membership, wanted);
  noteChange(membership);
  tellAll(membership);
}

/**
 * Tells a group that topics came, went or grew. If none of them concerns it, nothing changes.
 *
 * @param membership The group.
 */
export function topicsChanged(membership: Membership): void {
  checkMayChange(membership);
  const { options, slots } = membership;
  for (const [topic, ofTopic] of slots) {
    const count = options.partitionCountOf(topic) ?? 0;
    for (const slot of ofTopic.slice(count)) slot.isGone = slot.owner !== undefined;
  }
  // What is stale is looked at anew in any case, and everybody knows that there is news.
  if (membership.isStale) return;
  const counts = countPartitions(membership);
  const known = membership.partitionCounts;
  const isSame = counts.size === known.size &&
    [...counts].every(([topic, count]) => known.get(topic) === count);
  if (isSame) return;
  noteChange(membership);
  tellAll(membership);
}

/**
 * Tells what a member has to give up: what it owns that is no longer meant for it, and partitions
 * of deleted topics.
 *
 * @param membership The group.
 * @param member The member.
 * @returns The partitions, in order.
 * @throws {OttlaError} UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID if it is no longer in the group;
 *   UNSUPPORTED_ASSIGNOR as long as the group's own assignor fails.
 */
export function revocationsOf(membership: Membership, member: Member): TopicPartition[] {
  ask(membership, member, "give up partitions");
  return partitionsOf(member.revoking);
}

/**
 * Lets go of partitions: they are free for whom they are meant for. What the member does not own is
 * passed over, so it may let go of partitions that it has lost meanwhile.
 *
 * @param membership The group.
 * @param member The member.
 * @param partitions Which.
 */
export function releasePartitions(
  membership: Membership,
  member: Member,
  partitions: readonly TopicPartition[],
): void {
  checkMayChange(membership);
  for (const { topic, partition } of partitions) {
    const slot = membership.slots.get(topic)?.[partition];
    if (slot === undefined || slot.owner !== member) continue;
    release(membership, slot);
  }
  tellAll(membership);
}

/**
 * Takes what is meant for a member and free. It owns that from here on, and has arrived in the
 * group's generation.
 *
 * @param membership The group.
 * @param member The member.
 * @returns The partitions that it did not own before, in order; the first time also what it has
 *   taken over from the member whose place it took.
 * @throws {OttlaError} UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID if it is no longer in the group;
 *   UNSUPPORTED_ASSIGNOR as long as the group's own assignor fails.
 */
export function takePartitions(membership: Membership, member: Member): TopicPartition[] {
  ask(membership, member, "take partitions");
  member.generation = membership.generation;
  if (member.free.size === 0 && member.inherited.size === 0) return [];
  const taken = [...member.free];
  for (const slot of taken) setOwner(slot, member);
  taken.push(...member.inherited);
  member.inherited.clear();
  return partitionsOf(taken);
}

/**
 * Tells what a member owns.
 *
 * @param member The member.
 * @returns The partitions, in order; none once it has left or was lost.
 */
export function ownedPartitions(member: Member): TopicPartition[] {
  return partitionsOf(member.owned);
}

/**
 * Tells who owns a partition.
 *
 * @param membership The group.
 * @param topic The topic.
 * @param partition The partition's number.
 * @returns The member, which may have left if its place is kept; undefined if nobody does.
 */
export function ownerOf(
  membership: Membership,
  topic: string,
  partition: number,
): Member | undefined {
  return membership.slots.get(topic)?.[partition]?.owner;
}

/**
 * Lists the partitions of subscribed topics that are meant for nobody, which is so only while the
 * group's own assignor fails.
 *
 * @param membership The group.
 * @returns The partitions, in order.
 */
export function unownedPartitions(membership: Membership): TopicPartition[] {
  refresh(membership);
  const unowned: TopicPartition[] = [];
  for (const [topic, count] of membership.partitionCounts) {
    const slots = membership.slots.get(topic);
    for (let partition = 0; partition < count; partition++) {
      if (slots?.[partition]?.target === undefined) unowned.push({ topic, partition });
    }
  }
  return unowned;
}

/**
 * Tells what a group is doing.
 *
 * @param membership The group.
 * @returns "Empty" without members; "Assigning" if who should own what is not known; "Reconciling"
 *   until every member has arrived in the group's generation and owns what it should.
 */
export function stateOf(membership: Membership): MembershipState {
  const { members, generation, isStale, failure } = membership;
  if (members.size === 0) return "Empty";
  if (isStale || failure !== undefined) return "Assigning";
  for (const member of members.values()) {
    if (member.revoking.size > 0) return "Reconciling";
    if (member.state !== "active") continue;
    const hasArrived = member.generation === generation && member.owned.size === member.meant.size;
    if (!hasArrived) return "Reconciling";
  }
  return "Stable";
}

/**
 * Finds the member that somebody claims to be, for example to commit offsets.
 *
 * @param membership The group.
 * @param memberId Its id.
 * @param generation The generation it believes to be in: that of its last `takePartitions`.
 * @param instanceId Its instance id if it is a static member.
 * @returns The member.
 * @throws {OttlaError} FENCED_INSTANCE_ID if another member has its instance id; UNKNOWN_MEMBER_ID;
 *   ILLEGAL_GENERATION.
 */
export function checkMember(
  membership: Membership,
  memberId: string,
  generation: number,
  instanceId?: string,
): Member {
  const { groupId, members, instances } = membership;
  const holder = instanceId === undefined ? undefined : instances.get(instanceId);
  const details = { groupId, memberId, generation };
  if (holder !== undefined && holder.memberId !== memberId) {
    throw new OttlaError(
      "FENCED_INSTANCE_ID",
      `Cannot act as member ${memberId} of group ${groupId}: ${holder.memberId} has taken over ` +
        `instance ${instanceId}`,
      { details },
    );
  }
  const member = members.get(memberId);
  const isInstance = instanceId === undefined || holder !== undefined;
  if (member === undefined || member.state !== "active" || !isInstance) {
    throw new OttlaError(
      "UNKNOWN_MEMBER_ID",
      `Cannot act as member ${memberId} of group ${groupId}: there is no such member`,
      { details },
    );
  }
  if (generation === member.generation) return member;
  throw new OttlaError(
    "ILLEGAL_GENERATION",
    `Cannot act as member ${memberId} of group ${groupId} in generation ${generation}: it is in ` +
      `generation ${member.generation}`,
    { details: { ...details, memberGeneration: member.generation } },
  );
}

/** What a member's every question begins with: finding out who should own what. */
function ask(membership: Membership, member: Member, action: string): void {
  checkMayChange(membership);
  checkActive(membership, member, action);
  refresh(membership);
  membership.listeners.add(member);
  if (membership.failure !== undefined) throw membership.failure;
}

function refresh(membership: Membership): void {
  checkMayChange(membership);
  // What has to be given up from now on may be the earliest thing to wait for.
  if (refreshTarget(membership)) resetTimer(membership, () => loseLate(membership));
}

function release(membership: Membership, slot: PartitionSlot): void {
  setOwner(slot, undefined);
  if (slot.target !== undefined) noteNews(membership, slot.target);
}

function loseLate(membership: Membership): void {
  const nowMs = membership.options.clock.now();
  for (const member of [...membership.members.values()]) {
    const deadline = memberDeadline(member);
    if (deadline !== undefined && deadline <= nowMs) dropMember(membership, member);
  }
  resetTimer(membership, () => loseLate(membership));
  tellAll(membership);
}

function partitionsOf(slots: Iterable<PartitionSlot>): TopicPartition[] {
  return [...slots].sort(compareTopicPartitions)
    .map(({ topic, partition }) => ({ topic, partition }));
}
