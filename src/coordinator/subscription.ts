/** What members subscribe to: topics by name, or all topics whose names match a pattern. */

import { checkTopicName, isInternalTopic } from "../store/topic_name.ts";
import type { Membership, MembershipOptions } from "./membership_state.ts";
import { compareText } from "./topic_partition.ts";

/** How many topics a member may name. */
export const subscribedTopicsMax = 10_000;

/** What to subscribe to: one of the two. */
export interface SubscriptionOptions {
  /** Topics by name; they need not exist yet. */
  readonly topics?: readonly string[] | undefined;
  /** All topics in whose names it matches somewhere, now and later; never Kafka's internal ones. */
  readonly pattern?: RegExp | undefined;
}

/** What one or more members subscribe to. */
export interface Subscription {
  /** Equal for equal subscriptions. */
  readonly key: string;
  /** The topics, in order and each once; undefined with a pattern. */
  readonly names: readonly string[] | undefined;
  /** The pattern; undefined with topics. */
  readonly pattern: RegExp | undefined;
  /** The topics of it that exist, in order, when last looked at. */
  topics: readonly string[];
  /** How many members share it. */
  memberCount: number;
}

/**
 * Checks what somebody wants to subscribe to.
 *
 * @param options Topics or a pattern.
 * @returns The subscription, which nobody has yet.
 * @throws {TypeError} If there are both or neither.
 * @throws {RangeError} If there are too many topics.
 * @throws {OttlaError} INVALID_TOPIC_EXCEPTION if no topic can have such a name.
 */
export function subscriptionOf({ topics, pattern }: SubscriptionOptions): Subscription {
  if ((topics === undefined) === (pattern === undefined)) {
    throw new TypeError("topics, pattern: exactly one of the two is wanted");
  }
  if (pattern !== undefined) {
    if (!(pattern instanceof RegExp)) throw new TypeError("pattern: a RegExp is wanted");
    // With "g" or "y" a match would depend on the one before.
    const flags = pattern.flags.replace(/[gy]/g, "");
    const own = new RegExp(pattern.source, flags);
    return { key: String(own), names: undefined, pattern: own, topics: [], memberCount: 0 };
  }
  if (!Array.isArray(topics)) throw new TypeError("topics: an array is wanted");
  if (topics.length > subscribedTopicsMax) {
    throw new RangeError(
      `topics: ${topics.length} are too many, the most is ${subscribedTopicsMax}`,
    );
  }
  for (const topic of topics) checkTopicName(topic);
  const names = [...new Set<string>(topics)].sort(compareText);
  // A topic's name has no comma, and a pattern's text begins with a slash.
  return { key: names.join(), names, pattern: undefined, topics: [], memberCount: 0 };
}

/**
 * Counts one more member with a subscription.
 *
 * @param membership The group.
 * @param wanted What the member subscribes to.
 * @returns The subscription that it shares with the others that want the same.
 */
export function shareSubscription(membership: Membership, wanted: Subscription): Subscription {
  const shared = membership.subscriptions.get(wanted.key) ?? wanted;
  membership.subscriptions.set(shared.key, shared);
  shared.memberCount++;
  return shared;
}

/**
 * Counts one member less with a subscription.
 *
 * @param membership The group.
 * @param subscription What the member had.
 */
export function dropSubscription(membership: Membership, subscription: Subscription): void {
  if (--subscription.memberCount === 0) membership.subscriptions.delete(subscription.key);
}

/**
 * Looks which topics there are now.
 *
 * @param membership The group, whose subscriptions are brought up to date.
 * @returns How many partitions each subscribed topic has, by topic, in order.
 */
export function countPartitions(membership: Membership): Map<string, number> {
  const { options, subscriptions } = membership;
  const topics = new Set<string>();
  for (const subscription of subscriptions.values()) {
    // Frozen, for a user's own assignor sees it.
    subscription.topics = Object.freeze(existingTopics(subscription, options));
    for (const topic of subscription.topics) topics.add(topic);
  }
  return new Map(
    [...topics].sort(compareText).map((topic) => [topic, options.partitionCountOf(topic)!]),
  );
}

function existingTopics({ names, pattern }: Subscription, options: MembershipOptions): string[] {
  const exists = (topic: string): boolean => options.partitionCountOf(topic) !== undefined;
  if (names !== undefined) return names.filter(exists);
  return [...options.topicNames()]
    .filter((topic) => !isInternalTopic(topic) && pattern!.test(topic) && exists(topic))
    .sort(compareText);
}
