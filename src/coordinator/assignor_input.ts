/** What every assignor begins with: members in their order, topics in theirs. */

import type { AssignorMember } from "./assignor.ts";
import { compareText } from "./topic_partition.ts";

/** A topic that exists, and who reads it. */
export interface SubscribedTopic {
  /** Its name. */
  readonly topic: string;
  /** How many partitions it has. */
  readonly partitionCount: number;
  /** Its subscribers by their place in the list of members, ascending. */
  readonly subscribers: readonly number[];
}

/**
 * Puts members in Kafka's order: static ones first, by their instance id, then the others by their
 * member id. So a static member that comes back under another member id finds its place again.
 *
 * @param members The members.
 * @returns The same members in a list of its own.
 */
export function sortMembers(members: readonly AssignorMember[]): AssignorMember[] {
  return [...members].sort((left, right) => {
    if (left.instanceId === undefined || right.instanceId === undefined) {
      if (left.instanceId !== right.instanceId) return left.instanceId === undefined ? 1 : -1;
      return compareText(left.memberId, right.memberId);
    }
    return compareText(left.instanceId, right.instanceId) ||
      compareText(left.memberId, right.memberId);
  });
}

/**
 * Lists the topics that exist and that somebody subscribes to.
 *
 * @param members The members, in the order that `subscribers` counts in.
 * @param partitionCounts How many partitions each topic has.
 * @returns The topics by name.
 */
export function subscribedTopics(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): SubscribedTopic[] {
  const subscribersOf = new Map<string, number[]>();
  members.forEach(({ topics }, place) => {
    for (const topic of topics) {
      const subscribers = subscribersOf.get(topic);
      if (subscribers === undefined) subscribersOf.set(topic, [place]);
      // A topic named twice by one member counts once.
      else if (subscribers.at(-1) !== place) subscribers.push(place);
    }
  });
  return [...subscribersOf.keys()]
    .filter((topic) => (partitionCounts.get(topic) ?? 0) > 0)
    .sort(compareText)
    .map((topic) => ({
      topic,
      partitionCount: partitionCounts.get(topic)!,
      subscribers: subscribersOf.get(topic)!,
    }));
}
