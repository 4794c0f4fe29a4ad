/**
 * Who should own what: found out when somebody asks, however much has changed since the last time.
 */

import { OttlaError } from "../errors.ts";
import type { AssignorMember } from "./assignor.ts";
import { assign } from "./assignor.ts";
import type { Member, Membership } from "./membership_state.ts";
import { settleRevocation, slotOf } from "./membership_state.ts";
import { countPartitions } from "./subscription.ts";
import type { TopicPartition } from "./topic_partition.ts";

/**
 * Gives out the partitions anew if anything has changed. If the assignor fails, that is kept as the
 * group's `failure`, and everybody should own what they should have owned before.
 *
 * @param membership The group.
 * @returns True if there is a new assignment.
 */
export function refreshTarget(membership: Membership): boolean {
  if (!membership.isStale) return false;
  membership.failure = undefined;
  membership.partitionCounts = countPartitions(membership);
  const assignment = findAssignment(membership);
  membership.isStale = false;
  if (assignment === undefined) return false;
  applyAssignment(membership, assignment);
  forgetSlots(membership);
  return true;
}

function findAssignment(membership: Membership): Map<string, TopicPartition[]> | undefined {
  const [first] = membership.members.values();
  if (first === undefined) return new Map();
  const members = [...membership.members.values()].map(assignorMemberOf);
  membership.isAssigning = true;
  try {
    return assign(first.assignor, members, membership.partitionCounts);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    membership.failure = error;
    return undefined;
  } finally {
    membership.isAssigning = false;
  }
}

function assignorMemberOf(member: Member): AssignorMember {
  const { memberId, instanceId, subscription, generation } = member;
  const owned: TopicPartition[] = [];
  for (const { topic, partition, isGone } of member.owned) {
    if (!isGone) owned.push({ topic, partition });
  }
  return { memberId, instanceId, topics: subscription.topics, owned, generation };
}

function applyAssignment(
  membership: Membership,
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): void {
  const { members, slots, options } = membership;
  for (const ofTopic of slots.values()) {
    for (const slot of ofTopic) slot.target = undefined;
  }
  for (const member of members.values()) {
    member.meant.clear();
    member.free.clear();
    for (const { topic, partition } of assignment.get(member.memberId) ?? []) {
      const slot = slotOf(membership, topic, partition);
      slot.target = member;
      member.meant.add(slot);
      if (slot.owner === undefined) member.free.add(slot);
    }
  }
  const nowMs = options.clock.now();
  for (const member of members.values()) {
    for (const slot of member.owned) settleRevocation(slot, nowMs);
  }
}

/** Forgets partitions that are nobody's and should be nobody's: topics come and go. */
function forgetSlots({ slots, partitionCounts }: Membership): void {
  for (const [topic, ofTopic] of slots) {
    const count = partitionCounts.get(topic) ?? 0;
    while (ofTopic.length > count && ofTopic.at(-1)!.owner === undefined) ofTopic.pop();
    if (ofTopic.length === 0) slots.delete(topic);
  }
}
