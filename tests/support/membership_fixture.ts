/** Groups of members without a store: topics are numbers, members do what their group wants. */

import assert from "node:assert/strict";

import type { Member, MemberOptions, Membership } from "../../src/coordinator/membership.ts";
import {
  createMembership,
  joinMembership,
  ownedPartitions,
  releasePartitions,
  revocationsOf,
  stateOf,
  takePartitions,
  topicsChanged,
} from "../../src/coordinator/membership.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { textOfPartitions } from "./assignments.ts";

/** How often everybody is asked before a group counts as one that does not settle. */
const roundsMax = 10;

/** A group and what it is made of. */
export interface TestGroup {
  readonly membership: Membership;
  readonly clock: ManualClock;
  /** How many partitions each topic has; change it with `changeTopics`. */
  readonly topics: Map<string, number>;
  /** "first" and "emptied", as the group has called them. */
  readonly calls: string[];
}

/**
 * Makes a group without members.
 *
 * @param topics How many partitions each topic has.
 * @param generation The generation to go on from.
 * @returns The group.
 */
export function testGroup(
  topics: Readonly<Record<string, number>>,
  generation?: number,
): TestGroup {
  const counts = new Map(Object.entries(topics));
  const clock = manualClock();
  const calls: string[] = [];
  let randomCount = 0;
  const membership = createMembership({
    groupId: "g",
    clock,
    randomBytes: (byteCount) => new Uint8Array(byteCount).fill(randomCount++),
    generation,
    partitionCountOf: (topic) => counts.get(topic),
    topicNames: () => counts.keys(),
    onEmptied: () => void calls.push("emptied"),
    onFirstMember: () => void calls.push("first"),
  });
  return { membership, clock, topics: counts, calls };
}

/**
 * Joins.
 *
 * @param group The group.
 * @param memberId The member's id.
 * @param options What else there is to it; it subscribes to topic `t` unless it says something.
 * @returns The member.
 */
export function join(
  { membership }: TestGroup,
  memberId: string,
  options: MemberOptions = {},
): Member {
  const wanted = options.pattern === undefined ? { topics: ["t"], ...options } : options;
  return joinMembership(membership, { memberId, ...wanted });
}

/**
 * Changes topics and tells the group.
 *
 * @param group The group.
 * @param counts How many partitions they have now; 0 deletes a topic.
 */
export function changeTopics(group: TestGroup, counts: Readonly<Record<string, number>>): void {
  for (const [topic, count] of Object.entries(counts)) {
    if (count === 0) group.topics.delete(topic);
    else group.topics.set(topic, count);
  }
  topicsChanged(group.membership);
}

/**
 * Does what the group wants of a member: gives up, then takes.
 *
 * @param group The group.
 * @param member The member.
 * @returns What it has taken.
 */
export function reconcile({ membership }: TestGroup, member: Member): string {
  const revoked = revocationsOf(membership, member);
  if (revoked.length > 0) releasePartitions(membership, member, revoked);
  return textOfPartitions(takePartitions(membership, member));
}

/**
 * Has every member do what the group wants, until it is stable.
 *
 * @param group The group.
 */
export function settle(group: TestGroup): void {
  for (let round = 0; round < roundsMax; round++) {
    for (const member of [...group.membership.members.values()]) {
      if (member.state === "active") reconcile(group, member);
    }
    if (["Stable", "Empty"].includes(stateOf(group.membership))) return;
  }
  assert.fail(`group is still ${stateOf(group.membership)}`);
}

/**
 * Tells what members own.
 *
 * @param members The members.
 * @returns Partitions as texts, by member id.
 */
export function ownedBy(...members: readonly Member[]): Record<string, string> {
  return Object.fromEntries(
    members.map((member) => [member.memberId, textOfPartitions(ownedPartitions(member))]),
  );
}

/**
 * Gives the partitions of topic `t`.
 *
 * @param numbers Their numbers.
 * @returns The partitions.
 */
export function ofT(...numbers: readonly number[]): TopicPartition[] {
  return numbers.map((partition) => ({ topic: "t", partition }));
}
