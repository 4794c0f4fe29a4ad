/** Any group, whatever happens to it: no partition has two readers, and in the end each has one. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { Assignor, AssignorFunction } from "../../src/coordinator/assignor.ts";
import { assign } from "../../src/coordinator/assignor.ts";
import type { Member, MemberOptions } from "../../src/coordinator/membership.ts";
import {
  heartbeat,
  leaveMembership,
  loseMember,
  ownedPartitions,
  ownerOf,
  releasePartitions,
  revocationsOf,
  stateOf,
  subscribe,
  takePartitions,
  unownedPartitions,
} from "../../src/coordinator/membership.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import { topicPartitionName } from "../../src/coordinator/topic_partition.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { TestGroup } from "../support/membership_fixture.ts";
import { changeTopics, join, testGroup } from "../support/membership_fixture.ts";
import { assertProperty } from "../support/properties.ts";

const topicNames = ["t1", "t2", "u1"];
const asksMax = 1_000;

type Subscribed = Pick<MemberOptions, "topics" | "pattern">;

type Step =
  | { kind: "join"; wanted: Subscribed; instance: number; timeoutMs: number | undefined }
  | { kind: "leave" | "lose" | "heartbeat"; who: number; keepsPlace: boolean }
  | { kind: "subscribe"; who: number; wanted: Subscribed }
  | { kind: "topic"; topic: string; count: number }
  | { kind: "ask"; who: number; releases: "all" | "first" | "none"; takes: boolean }
  | { kind: "wait"; ms: number }
  | { kind: "fail"; isFailing: boolean };

const anyWanted: fc.Arbitrary<Subscribed> = fc.oneof(
  fc.subarray(topicNames).map((topics) => ({ topics })),
  fc.constantFrom({ pattern: /^t/ }, { pattern: /1$/ }),
);
const who = fc.nat({ max: 30 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("join" as const),
      wanted: anyWanted,
      instance: fc.nat({ max: 4 }),
      timeoutMs: fc.constantFrom(undefined, undefined, 50),
    }),
  },
  fc.record({
    kind: fc.constantFrom("leave" as const, "lose" as const, "heartbeat" as const),
    who,
    keepsPlace: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("subscribe" as const), who, wanted: anyWanted }),
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("topic" as const),
      topic: fc.constantFrom(...topicNames),
      count: fc.nat({ max: 5 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      who,
      releases: fc.constantFrom("all" as const, "all" as const, "first" as const, "none" as const),
      takes: fc.boolean(),
    }),
  },
  fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: 40 }) }),
  fc.record({ kind: fc.constant("fail" as const), isFailing: fc.boolean() }),
);

/** A member as whoever runs it sees it. */
interface Reader {
  readonly member: Member;
  /** What it reads: it took it, and has not let go. */
  readonly reading: Set<string>;
  /** What it reads of topics that were deleted since. */
  readonly outdated: Set<string>;
  /** It has something to ask. */
  isDue: boolean;
  /** It was told, and has not asked since. */
  isTold: boolean;
}

interface World {
  readonly group: TestGroup;
  readonly assignor: Assignor;
  readonly readers: Reader[];
  readonly failing: { isFailing: boolean };
}

function worldWith(name: string): World {
  const failing = { isFailing: false };
  const own: AssignorFunction = (members, counts) => {
    if (failing.isFailing) throw new Error("not now");
    return assign("roundRobin", members, counts);
  };
  return {
    group: testGroup({ t1: 3, t2: 2 }),
    assignor: name === "own" ? own : name as Assignor,
    readers: [],
    failing,
  };
}

function activeReaders({ readers }: World): Reader[] {
  return readers.filter(({ member }) => member.state === "active");
}

function joinReader(world: World, { wanted, instance, timeoutMs }: Step & { kind: "join" }): void {
  const options: MemberOptions = {
    ...wanted,
    assignor: world.assignor,
    instanceId: instance < 2 ? `i${instance}` : undefined,
    sessionTimeoutMs: timeoutMs,
    rebalanceTimeoutMs: timeoutMs,
    onChange() {
      assert.ok(!reader.isTold, "told twice");
      reader.isTold = true;
      reader.isDue = true;
    },
  };
  const member = join(world.group, `m${world.readers.length}`, options);
  // Before its first question it is not told of anything.
  const reader: Reader = {
    member,
    reading: new Set(),
    outdated: new Set(),
    isDue: true,
    isTold: true,
  };
  world.readers.push(reader);
}

function askAs(
  world: World,
  reader: Reader,
  releases: "all" | "first" | "none",
  takes: boolean,
): void {
  const { membership } = world.group;
  reader.isTold = false;
  try {
    const revoked = revocationsOf(membership, reader.member);
    const released = releases === "all" ? revoked : revoked.slice(0, releases === "first" ? 1 : 0);
    for (const partition of revoked) {
      assert.ok(reader.reading.has(topicPartitionName(partition)), "it was never told of it");
    }
    for (const partition of released) {
      reader.reading.delete(topicPartitionName(partition));
      reader.outdated.delete(topicPartitionName(partition));
    }
    reader.isDue = released.length < revoked.length || !takes;
    releasePartitions(membership, reader.member, released);
    if (takes) takeAs(world, reader);
  } catch (error) {
    if (!isOttlaError(error, "UNSUPPORTED_ASSIGNOR")) throw error;
    reader.isDue = true;
  }
}

function takeAs(world: World, reader: Reader): void {
  reader.isTold = false;
  const taken = takePartitions(world.group.membership, reader.member);
  for (const partition of taken) {
    const name = topicPartitionName(partition);
    for (const { reading } of activeReaders(world)) assert.ok(!reading.has(name), "two readers");
    reader.reading.add(name);
  }
}

function changeTopic(world: World, topic: string, count: number): void {
  for (const { reading, outdated } of world.readers) {
    for (let partition = count; partition < (world.group.topics.get(topic) ?? 0); partition++) {
      const name = topicPartitionName({ topic, partition });
      if (reading.has(name)) outdated.add(name);
    }
  }
  changeTopics(world.group, { [topic]: count });
}

async function run(world: World, step: Step): Promise<void> {
  const { group, failing } = world;
  const active = activeReaders(world);
  const reader = "who" in step ? active[step.who % active.length] : undefined;
  if (step.kind === "join") joinReader(world, step);
  else if (step.kind === "topic") changeTopic(world, step.topic, step.count);
  else if (step.kind === "wait") await group.clock.advance(step.ms);
  else if (step.kind === "fail") failing.isFailing = step.isFailing;
  if (reader === undefined) return;
  if (step.kind === "ask") askAs(world, reader, step.releases, step.takes);
  else if (step.kind === "leave") leaveMembership(group.membership, reader.member, step);
  else if (step.kind === "lose") loseMember(group.membership, reader.member);
  else if (step.kind === "heartbeat") heartbeat(group.membership, reader.member);
  else if (step.kind === "subscribe") subscribe(group.membership, reader.member, step.wanted);
}

/** What holds after every step. */
function check(world: World): void {
  const { membership } = world.group;
  const owned = new Map<string, Member>();
  for (const member of membership.members.values()) {
    for (const partition of ownedPartitions(member)) {
      const name = topicPartitionName(partition);
      assert.ok(!owned.has(name), "two owners");
      owned.set(name, member);
      assert.equal(ownerOf(membership, partition.topic, partition.partition), member);
    }
    for (const slot of member.meant) assert.equal(slot.target, member);
    for (const slot of member.free) assert.ok(slot.owner === undefined && member.meant.has(slot));
    for (const slot of member.revoking) assert.equal(slot.owner, member);
    for (const slot of member.inherited) assert.equal(slot.owner, member);
  }
  for (const { member, reading, outdated } of world.readers) {
    if (member.state === "active") {
      for (const name of reading) assert.equal(owned.get(name), member);
      assert.equal(reading.size, member.owned.size - member.inherited.size);
    } else {
      reading.clear();
      outdated.clear();
      if (membership.members.get(member.memberId) !== member) assert.equal(member.owned.size, 0);
    }
  }
  const subscribers = [...membership.subscriptions.values()];
  const shares = subscribers.reduce((sum, { memberCount }) => sum + memberCount, 0);
  assert.equal(shares, membership.members.size);
}

/** Asks only for those that were told, as consumers do, until nobody has anything to ask. */
async function settleByNotices(world: World): Promise<void> {
  const { group, failing } = world;
  failing.isFailing = false;
  await group.clock.advance(1_000_000);
  check(world);
  // Whatever failed before has a change to recover by.
  joinReader(world, {
    kind: "join",
    wanted: { topics: topicNames },
    instance: 9,
    timeoutMs: undefined,
  });
  for (let asks = 0; asks < asksMax; asks++) {
    const due = activeReaders(world).find(({ isDue }) => isDue);
    if (due === undefined) return;
    askAs(world, due, "all", true);
    check(world);
  }
  assert.fail("members tell one another of changes for ever");
}

function missing(world: World): TopicPartition[] {
  const { membership, topics } = world.group;
  return [...topics].flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  ).filter(({ topic, partition }) => ownerOf(membership, topic, partition) === undefined);
}

describe("any group", () => {
  for (const name of ["range", "roundRobin", "sticky", "cooperativeSticky", "own"]) {
    it(`gives a partition to one reader at most, and in the end to one: ${name}`, async () => {
      await assertProperty(
        fc.asyncProperty(fc.array(anyStep, { maxLength: 60, size: "max" }), async (steps) => {
          const world = worldWith(name);
          for (const step of steps) {
            await run(world, step);
            check(world);
          }
          await settleByNotices(world);
          assert.equal(stateOf(world.group.membership), "Stable");
          assert.deepEqual(missing(world), []);
          for (const { outdated } of world.readers) assert.equal(outdated.size, 0);
          assert.deepEqual(unownedPartitions(world.group.membership), []);
        }),
        { numRuns: 150 },
      );
    });
  }
});
