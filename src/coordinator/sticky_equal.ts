/**
 * The sticky assignor where all members subscribe to the same topics.
 *
 * Of N partitions, each of m members gets floor(N / m) or, N mod m of them, one more. So it is
 * known beforehand how much a member may keep, and nothing moves that need not.
 */

import type { StickyInput } from "./sticky_input.ts";
import { nobody } from "./sticky_input.ts";

/**
 * Finds an owner for every partition.
 *
 * @param input The partitions and who owns them now.
 * @returns The place of each partition's owner.
 */
export function assignEqualSubscriptions(input: StickyInput): Int32Array {
  const { memberCount, owners } = input;
  const assigned = new Int32Array(owners.length).fill(nobody);
  const quotaMin = Math.floor(owners.length / memberCount);
  let longer = owners.length % memberCount;
  const held = heldPartitions(input);
  const counts: number[] = [];
  // From the last member to the first, as Kafka's tests have it. It matters only where more members
  // hold one more than the least than may: the last ones keep it.
  for (let place = memberCount - 1; place >= 0; place--) {
    const partitions = held[place]!;
    const mayKeepMore = partitions.length > quotaMin && longer > 0;
    if (mayKeepMore) longer--;
    const kept = Math.min(partitions.length, mayKeepMore ? quotaMin + 1 : quotaMin);
    for (let index = 0; index < kept; index++) assigned[partitions[index]!] = place;
    counts[place] = kept;
  }
  dealUnassigned(assigned, counts, quotaMin);
  return assigned;
}

/** What each member owns, by partition number, so that it keeps some of every topic. */
function heldPartitions({ memberCount, topics, starts, owners }: StickyInput): number[][] {
  const held: number[][] = Array.from({ length: memberCount }, () => []);
  const numbers = new Int32Array(owners.length);
  topics.forEach(({ partitionCount }, index) => {
    for (let partition = 0; partition < partitionCount; partition++) {
      const slot = starts[index]! + partition;
      numbers[slot] = partition;
      const owner = owners[slot]!;
      if (owner !== nobody) held[owner]!.push(slot);
    }
  });
  for (const partitions of held) {
    partitions.sort((left, right) => numbers[left]! - numbers[right]! || left - right);
  }
  return held;
}

/** Deals what is left: around and around to those below the least, then one each to the others. */
function dealUnassigned(assigned: Int32Array, counts: number[], quotaMin: number): void {
  const places = [...counts.keys()];
  let below = places.filter((place) => counts[place]! < quotaMin);
  const atLeast = places.filter((place) => counts[place] === quotaMin);
  let turn = 0;
  let nextAtLeast = 0;
  for (let slot = 0; slot < assigned.length; slot++) {
    if (assigned[slot] !== nobody) continue;
    if (turn === below.length) {
      below = below.filter((place) => counts[place]! < quotaMin);
      turn = 0;
    }
    if (below.length === 0) {
      assigned[slot] = atLeast[nextAtLeast++]!;
      continue;
    }
    const place = below[turn++]!;
    assigned[slot] = place;
    if (++counts[place]! === quotaMin) atLeast.push(place);
  }
}
