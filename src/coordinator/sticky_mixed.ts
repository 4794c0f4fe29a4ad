/**
 * The sticky assignor where members subscribe to different topics.
 *
 * It first decides how many partitions of each topic each member gets, and only then which: members
 * begin with what they own, free partitions go to the subscriber with the fewest, and then single
 * partitions move from a member to one that has at least two fewer, until no such move is left. At
 * first only partitions move that would change hands anyway. With the numbers fixed, every member
 * keeps as many as it can of what it owns, so no two members swap partitions of a topic.
 *
 * It costs, for each pass over the topics, the sum of their subscribers, and the logarithm of that
 * number for each partition dealt or moved.
 */

import type { NumberHeap } from "./number_heap.ts";
import { popNumber, pushNumber } from "./number_heap.ts";
import type { StickyInput } from "./sticky_input.ts";
import { nobody } from "./sticky_input.ts";

/** How often all topics are gone through; what is uneven after that stays so. */
const passesMax = 1_000;

/** How many partitions of one topic its subscribers own now and get. */
interface TopicShares {
  /** The topic's index. */
  readonly index: number;
  /** The subscribers' places in the list of members. */
  readonly subscribers: readonly number[];
  /** How many each subscriber owns now. */
  readonly owned: Int32Array;
  /** How many each subscriber gets. */
  readonly given: Int32Array;
  /** How many have no owner now. */
  readonly freeCount: number;
}

/**
 * Finds an owner for every partition.
 *
 * @param input The partitions and who owns them now.
 * @returns The place of each partition's owner.
 */
export function assignMixedSubscriptions(input: StickyInput): Int32Array {
  const loads = new Int32Array(input.memberCount);
  const topics = topicShares(input, loads);
  // Topics with the least choice come first.
  topics.sort((left, right) =>
    left.subscribers.length - right.subscribers.length || left.index - right.index
  );
  for (const topic of topics) dealFree(topic, loads);
  evenOut(topics, loads, false);
  evenOut(topics, loads, true);
  return choosePartitions(input, topics);
}

function topicShares({ topics, starts, owners }: StickyInput, loads: Int32Array): TopicShares[] {
  const turns = new Int32Array(loads.length);
  return topics.map(({ partitionCount, subscribers }, index) => {
    subscribers.forEach((place, turn) => turns[place] = turn);
    const owned = new Int32Array(subscribers.length);
    let freeCount = 0;
    for (let partition = 0; partition < partitionCount; partition++) {
      const owner = owners[starts[index]! + partition]!;
      if (owner === nobody) {
        freeCount++;
      } else {
        owned[turns[owner]!]!++;
        loads[owner]!++;
      }
    }
    return { index, subscribers, owned, given: owned.slice(), freeCount };
  });
}

/** Gives each partition without an owner to the first of those with the fewest. */
function dealFree({ subscribers, given, freeCount }: TopicShares, loads: Int32Array): void {
  if (freeCount === 0) return;
  const takers = queueOf(subscribers.length, (turn) => loads[subscribers[turn]!]!);
  for (let count = 0; count < freeCount; count++) {
    const taker = firstOf(takers)!;
    given[taker]!++;
    loads[subscribers[taker]!]!++;
    enqueue(takers, taker);
  }
}

/** Moves partitions until none can move; only ones without an owner unless `mayTake`. */
function evenOut(topics: readonly TopicShares[], loads: Int32Array, mayTake: boolean): void {
  let hasMoved = true;
  for (let pass = 0; pass < passesMax && hasMoved; pass++) {
    hasMoved = false;
    for (const topic of topics) {
      if (evenOutTopic(topic, loads, mayTake)) hasMoved = true;
    }
  }
}

/** Moves partitions of one topic from who has most to who has fewest, as long as it helps. */
function evenOutTopic(topic: TopicShares, loads: Int32Array, mayTake: boolean): boolean {
  const { subscribers, owned, given } = topic;
  const loadOf = (turn: number): number => loads[subscribers[turn]!]!;
  const isLoose = (turn: number): boolean => given[turn]! > owned[turn]!;
  const mayGive = (turn: number): boolean => isLoose(turn) || (mayTake && given[turn]! > 0);
  let most = 0;
  let fewest = Infinity;
  for (let turn = 0; turn < subscribers.length; turn++) {
    if (mayGive(turn)) most = Math.max(most, loadOf(turn));
    fewest = Math.min(fewest, loadOf(turn));
  }
  if (most - fewest < 2) return false;
  // Of several with as many, those go first whose partition changes hands anyway.
  const givers = queueOf(
    subscribers.length,
    (turn) => mayGive(turn) ? 2 * (most - loadOf(turn)) + (isLoose(turn) ? 0 : 1) : Infinity,
  );
  const takers = queueOf(subscribers.length, loadOf);
  for (;;) {
    const giver = firstOf(givers);
    const taker = firstOf(takers)!;
    // Each move makes the sum of the squared loads smaller, so there is a last one.
    if (giver === undefined || loadOf(giver) - loadOf(taker) < 2) return true;
    given[giver]!--;
    given[taker]!++;
    loads[subscribers[giver]!]!--;
    loads[subscribers[taker]!]!++;
    for (const turn of [giver, taker]) {
      enqueue(givers, turn);
      enqueue(takers, turn);
    }
  }
}

/** Subscribers by a rank that changes; among equals, the first in their list goes first. */
interface RankedQueue {
  readonly count: number;
  /** The lowest goes first; Infinity if the subscriber does not stand in the queue. */
  readonly rankOf: (turn: number) => number;
  /** Ranks and subscribers in one number each; those whose rank has changed since are void. */
  readonly heap: NumberHeap;
}

function queueOf(count: number, rankOf: (turn: number) => number): RankedQueue {
  const queue: RankedQueue = { count, rankOf, heap: [] };
  for (let turn = 0; turn < count; turn++) enqueue(queue, turn);
  return queue;
}

/** Puts a subscriber in its place after its rank has changed. */
function enqueue({ count, rankOf, heap }: RankedQueue, turn: number): void {
  const rank = rankOf(turn);
  if (rank < Infinity) pushNumber(heap, rank * count + turn);
}

function firstOf({ count, rankOf, heap }: RankedQueue): number | undefined {
  while (heap.length > 0) {
    const turn = heap[0]! % count;
    if (rankOf(turn) * count + turn === heap[0]) return turn;
    popNumber(heap);
  }
  return undefined;
}

/** Turns numbers into partitions: what a member may keep it keeps, the rest is dealt around. */
function choosePartitions(input: StickyInput, topics: readonly TopicShares[]): Int32Array {
  const assigned = new Int32Array(input.owners.length).fill(nobody);
  const turns = new Int32Array(input.memberCount);
  for (const { index, subscribers, given } of topics) {
    subscribers.forEach((place, turn) => turns[place] = turn);
    const start = input.starts[index]!;
    const end = start + input.topics[index]!.partitionCount;
    const left = given.slice();
    for (let slot = start; slot < end; slot++) {
      const owner = input.owners[slot]!;
      if (owner === nobody || left[turns[owner]!] === 0) continue;
      assigned[slot] = owner;
      left[turns[owner]!]!--;
    }
    let turn = 0;
    for (let slot = start; slot < end; slot++) {
      if (assigned[slot] !== nobody) continue;
      while (left[turn] === 0) turn = (turn + 1) % subscribers.length;
      assigned[slot] = subscribers[turn]!;
      left[turn]!--;
      turn = (turn + 1) % subscribers.length;
    }
  }
  return assigned;
}
