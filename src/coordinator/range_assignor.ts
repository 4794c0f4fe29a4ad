/**
 * The range assignor: every topic by itself is cut into contiguous ranges, one a subscriber, the
 * first ones longer by one where it does not come out even. Topics of the same size with the same
 * subscribers are cut alike, so partitions of the same number come together.
 */

import type { AssignorMember } from "./assignor.ts";
import { sortMembers, subscribedTopics } from "./assignor_input.ts";
import type { TopicPartition } from "./topic_partition.ts";

/**
 * Assigns by ranges.
 *
 * @param members The members.
 * @param partitionCounts How many partitions each topic has.
 * @returns Partitions by member id, for every member.
 */
export function assignRange(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  const sorted = sortMembers(members);
  const given: TopicPartition[][] = sorted.map(() => []);
  for (const { topic, partitionCount, subscribers } of subscribedTopics(sorted, partitionCounts)) {
    const share = Math.floor(partitionCount / subscribers.length);
    const longer = partitionCount % subscribers.length;
    let partition = 0;
    subscribers.forEach((place, turn) => {
      const end = partition + share + (turn < longer ? 1 : 0);
      for (; partition < end; partition++) given[place]!.push({ topic, partition });
    });
  }
  return new Map(sorted.map(({ memberId }, place) => [memberId, given[place]!]));
}
