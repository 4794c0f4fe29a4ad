/** What both sticky algorithms work on: partitions and members as numbers, and who owns what. */

import type { AssignorMember } from "./assignor.ts";
import type { SubscribedTopic } from "./assignor_input.ts";
import { subscribedTopics } from "./assignor_input.ts";

/** Nobody's place in the list of members. */
export const nobody = -1;

/** Several members claim to own it in the same generation, so none is believed. */
const contested = -2;

/** The partitions of the subscribed topics, counted through. */
export interface StickyInput {
  /** How many members there are. */
  readonly memberCount: number;
  /** The topics by name. */
  readonly topics: readonly SubscribedTopic[];
  /** Where the count of each topic's partitions begins. */
  readonly starts: readonly number[];
  /** The owner of every partition, or `nobody`. */
  readonly owners: Int32Array;
}

/**
 * Counts members and partitions through and finds out who owns what.
 *
 * A partition that several members claim belongs to the one with the highest generation; if those
 * are several, to nobody.
 *
 * @param members The members in order.
 * @param partitionCounts How many partitions each topic has.
 * @returns What the two algorithms work on.
 */
export function stickyInput(
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): StickyInput {
  const topics = subscribedTopics(members, partitionCounts);
  const starts: number[] = [];
  let count = 0;
  for (const { partitionCount } of topics) {
    starts.push(count);
    count += partitionCount;
  }
  const owners = new Int32Array(count).fill(nobody);
  const generations = new Float64Array(count).fill(-Infinity);
  const indexes = new Map(topics.map(({ topic }, index) => [topic, index]));
  members.forEach((member, place) => {
    if (member.owned.length === 0) return;
    const subscribed = new Set(member.topics);
    const generation = Math.max(member.generation, -1);
    for (const { topic, partition } of member.owned) {
      const index = indexes.get(topic);
      if (index === undefined || !subscribed.has(topic)) continue;
      // What a client says it owns may be anything.
      if (!Number.isInteger(partition) || partition < 0) continue;
      if (partition >= topics[index]!.partitionCount) continue;
      const slot = starts[index]! + partition;
      if (generation < generations[slot]!) continue;
      const isTie = generation === generations[slot] && owners[slot] !== place;
      owners[slot] = isTie ? contested : place;
      generations[slot] = generation;
    }
  });
  for (let slot = 0; slot < count; slot++) if (owners[slot] === contested) owners[slot] = nobody;
  return { memberCount: members.length, topics, starts, owners };
}
