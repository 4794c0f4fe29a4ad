/**
 * The round robin assignor: all partitions in order are dealt to the members in order, one each,
 * around and around. Members that do not subscribe to a partition's topic are passed over.
 */

import type { AssignorMember } from "./assignor.ts";
import { sortMembers, subscribedTopics } from "./assignor_input.ts";
import type { TopicPartition } from "./topic_partition.ts";

/**
 * Assigns one by one, around and around.
 *
 * @param members The members.
 * @param partitionCounts How many partitions each topic has.
 * @returns Partitions by member id, for every member.
 */
export function assignRoundRobin(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  const sorted = sortMembers(members);
  const given: TopicPartition[][] = sorted.map(() => []);
  /** Whose turn it is; the number of members means the first again. */
  let turn = 0;
  for (const { topic, partitionCount, subscribers } of subscribedTopics(sorted, partitionCounts)) {
    let next = subscribers.findIndex((place) => place >= turn);
    if (next === -1) next = 0;
    for (let partition = 0; partition < partitionCount; partition++) {
      const place = subscribers[next]!;
      given[place]!.push({ topic, partition });
      turn = (place + 1) % sorted.length;
      next = (next + 1) % subscribers.length;
    }
  }
  return new Map(sorted.map(({ memberId }, place) => [memberId, given[place]!]));
}
