/**
 * The sticky assignor: as even as can be, and within that, members keep what they own.
 *
 * Inside, partitions and members are numbers: all partitions of the subscribed topics, by topic and
 * number, are counted through, and members are counted by their ids. There are two algorithms, one
 * for members that all subscribe to the same topics and one for all others.
 */

import type { AssignorMember } from "./assignor.ts";
import { assignEqualSubscriptions } from "./sticky_equal.ts";
import { stickyInput } from "./sticky_input.ts";
import { assignMixedSubscriptions } from "./sticky_mixed.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { compareText } from "./topic_partition.ts";

/**
 * Assigns evenly and stickily.
 *
 * @param members The members.
 * @param partitionCounts How many partitions each topic has.
 * @returns Partitions by member id, for every member.
 */
export function assignSticky(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  const sorted = [...members].sort((left, right) => compareText(left.memberId, right.memberId));
  const input = stickyInput(sorted, partitionCounts);
  const { topics, starts, memberCount } = input;
  const isEqual = topics.every(({ subscribers }) => subscribers.length === memberCount);
  const owners = isEqual ? assignEqualSubscriptions(input) : assignMixedSubscriptions(input);
  const given: TopicPartition[][] = sorted.map(() => []);
  topics.forEach(({ topic, partitionCount }, index) => {
    for (let partition = 0; partition < partitionCount; partition++) {
      given[owners[starts[index]! + partition]!]!.push({ topic, partition });
    }
  });
  return new Map(sorted.map(({ memberId }, place) => [memberId, given[place]!]));
}
