/**
 * Members of a group that do everything at once: they poll, commit, pause, handle and close in each
 * other's turns, with listeners that take their time or throw, while the topic grows and is made
 * anew. Nobody reads a partition of another one, nothing is committed that nobody has handled, every
 * record comes to somebody, and in the end nothing is left behind.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { append } from "../../src/client/append.ts";
import { consumeEach } from "../../src/client/consume_each.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import { assignmentOf, pause, resume } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { findGroup, groupCoordinator } from "../../src/coordinator/group_coordinator.ts";
import { committedOffsetOf } from "../../src/coordinator/group_offsets.ts";
import { isOttlaError } from "../../src/errors.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createPartitions, createTopic, deleteTopic } from "../../src/store/topics.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { assertProperty } from "../support/properties.ts";
import { openTestStore, settled, textOf } from "../support/store_fixture.ts";

const topic = "orders";
const groupId = "billing";
const partitionsMax = 5;
const membersMax = 3;
/** More are not needed, unless somebody waits for what never comes. */
const roundsMax = 2_000;

/** What an actor does, after so many turns. */
interface Step {
  readonly turns: number;
  readonly kind: StepKind;
  readonly number: number;
}

type StepKind =
  | "poll"
  | "wait"
  | "each"
  | "iterate"
  | "commit"
  | "pause"
  | "resume"
  | "close"
  | "open"
  | "append"
  | "grow"
  | "renew"
  | "tick";

/** A member at a time, and what it has in its hands. */
interface Hands {
  readonly consumer: Consumer;
  inHand: string[];
  /** Ends what it waits for. */
  stop: AbortController;
  /** How many polls are under way: one, and those that are refused. */
  polling: number;
  /** What such a poll has found may be committed, for somebody closes or commits meanwhile. */
  isEnding: boolean;
}

/** Everything that happens to one store. */
interface World {
  readonly store: Store;
  readonly clock: ManualClock;
  partitionCount: number;
  /** The ends of what was appended, by life of the topic and by partition. */
  readonly ends: Map<string, number[]>;
  /** Records by life, partition and offset. */
  readonly given: Set<string>;
  readonly handled: Set<string>;
  readonly members: (Hands | undefined)[];
  /** Places of those who are being opened. */
  readonly opening: Set<number>;
  /** Turns that listeners take, in order, over and over. */
  readonly listenerTurns: readonly number[];
  listenerCalls: number;
}

/** The topic's id: another one each time that it is made. */
function lifeOf(store: Store): string | undefined {
  return internalsOf(store).topics.get(topic)?.topicId;
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
}

function nameOf({ partition, offset, value }: LogRecord): string {
  return `${textOf(value)}/${partition}/${offset}`;
}

/** Nobody has a partition of another one, and what is committed was handled. */
async function check(world: World): Promise<void> {
  const owned = new Set<number>();
  for (const hands of world.members) {
    for (const { partition } of hands === undefined ? [] : assignmentOf(hands.consumer)) {
      assert.ok(!owned.has(partition), `partition ${partition} has two owners`);
      owned.add(partition);
    }
  }
  const group = findGroup(await groupCoordinator(internalsOf(world.store)), groupId);
  const life = lifeOf(world.store);
  if (group === undefined || life === undefined) return;
  if (world.members.some((hands) => hands?.isEnding)) return;
  for (let partition = 0; partition < partitionsMax; partition++) {
    const committed = committedOffsetOf(group, topic, partition)?.offset ?? 0;
    for (let offset = 0; offset < committed; offset++) {
      const name = `${life}/${partition}/${offset}`;
      assert.ok(world.handled.has(name), `${name} is committed and was not handled`);
    }
  }
}

function take(world: World, hands: Hands, records: readonly LogRecord[]): void {
  for (const record of records) {
    const name = nameOf(record);
    world.given.add(name);
    hands.inHand.push(name);
  }
}

/** What is in hand is through: more is asked for, or it is committed. */
function finish(world: World, hands: Hands): void {
  for (const name of hands.inHand) world.handled.add(name);
  hands.inHand = [];
}

async function openMember(world: World): Promise<Hands> {
  const listener = (isThrowing: boolean) => async (): Promise<void> => {
    const call = world.listenerCalls++;
    await turns(world.listenerTurns[call % world.listenerTurns.length]!);
    if (isThrowing && call % 7 === 3) throw new Error("a listener's own");
  };
  const consumer = await openConsumer(world.store, {
    groupId,
    topics: [topic],
    autoOffsetReset: "earliest",
    autoCommitIntervalMs: 10,
    onAssigned: listener(false),
    onRevoked: listener(true),
    onLost: listener(true),
  });
  return { consumer, inHand: [], stop: new AbortController(), polling: 0, isEnding: false };
}

/** What may be thrown in the middle of all that. */
function isExpected(error: unknown): boolean {
  return isOttlaError(error, "HANDLE_CLOSED") || isOttlaError(error, "ILLEGAL_GENERATION") ||
    isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION") ||
    isOttlaError(error, "TOPIC_ALREADY_EXISTS") || isOttlaError(error, "INVALID_PARTITIONS") ||
    (error instanceof Error && /a listener's own|abort|Cannot (poll|handle):/i.test(error.message));
}

function checkExpected(error: unknown): void {
  assert.ok(isExpected(error), String(error));
}

async function pollOnce(world: World, hands: Hands, step: Step): Promise<void> {
  const stop = new AbortController();
  const polling = poll(hands.consumer, {
    recordsMax: step.number + 1,
    waitMs: step.kind === "wait" ? Infinity : 0,
    signal: stop.signal,
  });
  const { stop: before } = hands;
  hands.stop = stop;
  hands.polling++;
  try {
    take(world, hands, await polling);
  } catch (error) {
    if (error instanceof TypeError) hands.stop = before;
    throw error;
  } finally {
    endPolling(world, hands);
  }
}

async function iterate(world: World, hands: Hands, { number }: Step): Promise<void> {
  let count = 0;
  hands.polling++;
  try {
    for await (const record of hands.consumer) {
      take(world, hands, [record]);
      if (++count > number) break;
      finish(world, hands);
    }
  } finally {
    endPolling(world, hands);
  }
}

function endPolling(world: World, hands: Hands): void {
  hands.polling--;
  if (hands.isEnding) finish(world, hands);
  if (hands.polling === 0) hands.isEnding = false;
}

/** What is in hand is through, and what is on its way counts as that. */
function finishAll(world: World, hands: Hands): void {
  finish(world, hands);
  hands.isEnding = hands.polling > 0;
}

async function handle(world: World, { consumer, stop }: Hands, { number }: Step): Promise<void> {
  let count = 0;
  await consumeEach(consumer, async (record) => {
    world.given.add(nameOf(record));
    await turns(record.offset % 4);
    if (++count % 5 === 4) throw new Error("tried again");
    world.handled.add(nameOf(record));
    if (count > number * 3) stop.abort();
  }, { concurrency: number + 1, backoffMs: 0, signal: stop.signal });
}

async function doStep(world: World, slot: number, step: Step): Promise<void> {
  const { store, members } = world;
  const hands = members[slot];
  switch (step.kind) {
    case "open":
      if (hands !== undefined || world.opening.has(slot)) break;
      world.opening.add(slot);
      try {
        members[slot] = await openMember(world);
      } finally {
        world.opening.delete(slot);
      }
      break;
    case "close":
      if (hands === undefined) break;
      finishAll(world, hands);
      await closeConsumer(hands.consumer);
      if (members[slot] === hands) members[slot] = undefined;
      break;
    case "poll":
    case "wait":
      if (hands === undefined) break;
      finishAll(world, hands);
      await pollOnce(world, hands, step);
      break;
    case "each":
      if (hands === undefined) break;
      finishAll(world, hands);
      hands.stop = new AbortController();
      await handle(world, hands, step);
      break;
    case "iterate":
      if (hands === undefined) break;
      finishAll(world, hands);
      await iterate(world, hands, step);
      break;
    case "commit":
      if (hands === undefined) break;
      finishAll(world, hands);
      await commit(hands.consumer);
      break;
    case "pause":
      if (hands !== undefined) pause(hands.consumer);
      break;
    case "resume":
      if (hands !== undefined) resume(hands.consumer);
      break;
    case "append":
      await appendSome(world, step.number);
      break;
    case "grow":
      if (world.partitionCount < partitionsMax) {
        await createPartitions(store, topic, ++world.partitionCount);
      }
      break;
    case "renew":
      await renewTopic(world);
      break;
    case "tick":
      await world.clock.advance(step.number * 5);
  }
}

async function appendSome({ store, ends }: World, number: number): Promise<void> {
  for (let count = 0; count <= number; count++) {
    const state = internalsOf(store).topics.get(topic);
    if (state === undefined) return;
    const { topicId, partitions } = state;
    const partition = (number + count) % partitions.length;
    const { offset } = await append(store, topic, { value: topicId, partition });
    const ofLife = ends.get(topicId) ?? [];
    ofLife[partition] = Math.max(ofLife[partition] ?? 0, offset + 1);
    ends.set(topicId, ofLife);
  }
}

async function renewTopic(world: World): Promise<void> {
  world.partitionCount = 2;
  await deleteTopic(world.store, topic);
  await createTopic(world.store, topic, { partitions: 2 });
}

/** One who takes its steps one after the other, with the members that all share. */
async function act(world: World, steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    await turns(step.turns);
    try {
      await doStep(world, step.turns % membersMax, step);
    } catch (error) {
      if (!isExpected(error)) throw error;
    }
    await check(world);
  }
}

/** Lets all act; who waits is given something, is stopped, and in the end is closed. */
async function actAll(world: World, scripts: readonly (readonly Step[])[]): Promise<void> {
  let isOver = false;
  const acting = Promise.all(scripts.map((steps) => act(world, steps)))
    .finally(() => isOver = true);
  acting.catch(() => {});
  for (let round = 0; !isOver; round++) {
    assert.ok(round < roundsMax, "somebody waits for ever");
    await settled();
    await nextTurn();
    await world.clock.advance(1);
    if (round % 3 === 0) await appendSome(world, 4).catch(checkExpected);
    for (const hands of world.members) {
      if (round % 3 === 1) hands?.stop.abort();
      if (round % 20 === 19 && hands !== undefined) {
        finishAll(world, hands);
        closeConsumer(hands.consumer).catch(checkExpected);
      }
    }
  }
  await acting;
}

/** Closes all, reads what is left, and looks for what should not be there. */
async function end(world: World): Promise<void> {
  for (const hands of world.members) {
    if (hands === undefined) continue;
    finish(world, hands);
    await closeConsumer(hands.consumer).catch(checkExpected);
  }
  world.members.length = 0;
  const last = await openMember(world);
  for (let quiet = 0; quiet < 2;) {
    try {
      const records = await poll(last.consumer, { waitMs: 0 });
      take(world, last, records);
      quiet = records.length === 0 ? quiet + 1 : 0;
    } catch (error) {
      checkExpected(error);
    }
  }
  finish(world, last);
  await closeConsumer(last.consumer).catch(checkExpected);
  const life = lifeOf(world.store)!;
  for (const [partition, endOffset = 0] of (world.ends.get(life) ?? []).entries()) {
    for (let offset = 0; offset < endOffset; offset++) {
      const name = `${life}/${partition}/${offset}`;
      assert.ok(world.given.has(name), `${name} came to nobody`);
    }
  }
  await check(world);
  await checkNothingIsLeft(world.store);
  await closeStore(world.store);
}

async function checkNothingIsLeft(store: Store): Promise<void> {
  const internals = internalsOf(store);
  const coordinator = await groupCoordinator(internals);
  assert.deepEqual([internals.closers.size, internals.abandoners.size], [1, 1]);
  for (const { membership, holderCount, lastChange } of coordinator.groups.values()) {
    const { members, listeners, subscriptions, instances } = membership;
    const left = [members, listeners, subscriptions, instances].map(({ size }) => size);
    assert.deepEqual([...left, holderCount, lastChange], [0, 0, 0, 0, 0, undefined]);
  }
  for (const { log } of internals.topics.get(topic)!.partitions) {
    assert.equal(log?.watchers.size ?? 0, 0);
  }
}

async function run(
  scripts: readonly (readonly Step[])[],
  listenerTurns: readonly number[],
): Promise<void> {
  const clock = manualClock();
  const store = await openTestStore(memoryFileSystem(), { clock });
  await createTopic(store, topic, { partitions: 2 });
  const world: World = {
    store,
    clock,
    partitionCount: 2,
    ends: new Map(),
    given: new Set(),
    handled: new Set(),
    members: [],
    opening: new Set(),
    listenerTurns,
    listenerCalls: 0,
  };
  await actAll(world, scripts);
  await end(world);
}

function stepOf(kinds: Partial<Record<StepKind, number>>): fc.Arbitrary<Step> {
  return fc.record({
    turns: fc.nat(30),
    kind: fc.oneof(
      ...Object.entries(kinds).map(([kind, weight]) => ({
        weight,
        arbitrary: fc.constant(kind as StepKind),
      })),
    ),
    number: fc.nat(4),
  });
}

const memberStep = stepOf({
  poll: 6,
  wait: 4,
  each: 2,
  iterate: 2,
  commit: 2,
  pause: 1,
  resume: 1,
  close: 2,
  open: 4,
});
const otherStep = stepOf({ append: 8, tick: 3, grow: 1, renew: 1 });
const script = (step: fc.Arbitrary<Step>): fc.Arbitrary<Step[]> =>
  fc.array(step, { minLength: 5, maxLength: 25 });

describe("members that do everything at once", () => {
  it("lose nothing, commit nothing too early, share nothing and leave nothing", async () => {
    await assertProperty(
      fc.asyncProperty(
        fc.array(script(memberStep), { minLength: 2, maxLength: 4 }),
        script(otherStep),
        fc.array(fc.nat(12), { minLength: 1, maxLength: 8 }),
        (members, others, listenerTurns) => run([...members, others], listenerTurns),
      ),
      { numRuns: 60 },
    );
  });
});
