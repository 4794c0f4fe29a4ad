/** What holds for every assignment, however odd the group. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { AssignorMember } from "../../src/coordinator/assignor.ts";
import { assign } from "../../src/coordinator/assignor.ts";
import { popNumber, pushNumber } from "../../src/coordinator/number_heap.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import { topicPartitionName } from "../../src/coordinator/topic_partition.ts";
import { assertProperty } from "../support/properties.ts";

type Assignment = ReadonlyMap<string, readonly TopicPartition[]>;

/** A group, and how many partitions each topic has. */
interface Case {
  readonly counts: ReadonlyMap<string, number>;
  readonly members: readonly AssignorMember[];
}

const topicNames = ["t1", "t2", "t3", "t4"] as const;
const memberIds = ["a", "b", "c", "d", "e", "f", "g"] as const;
const assignors = ["range", "roundRobin", "sticky", "cooperativeSticky"] as const;

const anyCounts = fc.tuple(...topicNames.map(() => fc.nat({ max: 9 }))).map((counts) =>
  new Map(topicNames.map((topic, index) => [topic, counts[index]!]))
);
const anyTopics = fc.subarray([...topicNames, "unknown"]);
const anyIds = fc.subarray([...memberIds], { minLength: 1 });

/** Members with claims of any kind: two may claim the same, of topics they do not want. */
function anyCase(haveEqualTopics: boolean): fc.Arbitrary<Case> {
  return fc.tuple(anyCounts, anyIds, anyTopics).chain(([counts, ids, topics]) => {
    const all = partitionsOfTopics(counts, topicNames);
    const anyMember = (memberId: string): fc.Arbitrary<AssignorMember> =>
      fc.record({
        memberId: fc.constant(memberId),
        instanceId: fc.constantFrom(undefined, `${memberId}-instance`),
        topics: haveEqualTopics ? fc.constant(topics) : anyTopics,
        owned: fc.subarray(all),
        generation: fc.integer({ min: -1, max: 3 }),
      });
    return fc.record({
      counts: fc.constant(counts),
      members: fc.tuple(...ids.map(anyMember)),
    });
  });
}

function partitionsOfTopics(
  counts: ReadonlyMap<string, number>,
  topics: readonly string[],
): TopicPartition[] {
  return topics.flatMap((topic) =>
    Array.from({ length: counts.get(topic) ?? 0 }, (_, partition) => ({ topic, partition }))
  );
}

/** The same members, each owning what it was given. */
function inNextGeneration(
  members: readonly AssignorMember[],
  assignment: Assignment,
): AssignorMember[] {
  return members.map((member) => ({
    ...member,
    owned: assignment.get(member.memberId) ?? [],
    generation: 9,
  }));
}

function namesOf(partitions: readonly TopicPartition[] | undefined): Set<string> {
  return new Set((partitions ?? []).map(topicPartitionName));
}

function sizesOf(assignment: Assignment): number[] {
  return [...assignment.values()].map(({ length }) => length);
}

function spread(numbers: readonly number[]): number {
  return numbers.length === 0 ? 0 : Math.max(...numbers) - Math.min(...numbers);
}

describe("any assignment", () => {
  for (const assignor of assignors) {
    it(`gives every partition to one member that subscribes to its topic: ${assignor}`, () => {
      assertProperty(fc.property(fc.boolean().chain(anyCase), ({ counts, members }) => {
        const assignment = assign(assignor, members, counts);
        assert.deepEqual(
          [...assignment.keys()].sort(),
          members.map(({ memberId }) => memberId).sort(),
        );
        const wanted = topicNames.filter((topic) =>
          members.some(({ topics }) => topics.includes(topic))
        );
        const given = [...assignment.values()].flat().map(topicPartitionName).sort();
        assert.deepEqual(given, partitionsOfTopics(counts, wanted).map(topicPartitionName).sort());
        for (const { memberId, topics } of members) {
          for (const { topic } of assignment.get(memberId)!) assert.ok(topics.includes(topic));
        }
        assert.deepEqual(new Map(assign(assignor, members.toReversed(), counts)), assignment);
      }));
    });
  }

  it("is even where all subscribe to the same topics", () => {
    assertProperty(fc.property(anyCase(true), ({ counts, members }) => {
      for (const assignor of ["roundRobin", "sticky", "cooperativeSticky"] as const) {
        assert.ok(spread(sizesOf(assign(assignor, members, counts))) <= 1);
      }
    }));
  });

  it("is of ranges, even in every topic, with the range assignor", () => {
    assertProperty(fc.property(anyCase(false), ({ counts, members }) => {
      const assignment = assign("range", members, counts);
      for (const topic of topicNames) {
        const ranges = members.filter(({ topics }) => topics.includes(topic)).map(({ memberId }) =>
          assignment.get(memberId)!.filter((given) => given.topic === topic)
            .map(({ partition }) => partition)
        );
        assert.ok(spread(ranges.map(({ length }) => length)) <= 1);
        for (const range of ranges) {
          assert.equal(spread(range), Math.max(0, range.length - 1));
        }
      }
    }));
  });
});

describe("any sticky assignment", () => {
  /** A case in which all members really own what they claim. */
  const anySettled = (haveEqualTopics: boolean): fc.Arbitrary<Case> =>
    anyCase(haveEqualTopics).map(({ counts, members }) => {
      const owners = new Set<string>();
      const owned = new Map(members.map(({ memberId, topics, owned }) => [
        memberId,
        owned.filter((partition) => {
          const name = topicPartitionName(partition);
          const isNew = topics.includes(partition.topic) && !owners.has(name);
          return isNew && owners.add(name);
        }),
      ]));
      return { counts, members: inNextGeneration(members, owned) };
    });

  it("takes away no more than it must where all subscribe to the same topics", () => {
    assertProperty(fc.property(anySettled(true), ({ counts, members }) => {
      const assignment = assign("sticky", members, counts);
      const total = sizesOf(assignment).reduce((sum, size) => sum + size, 0);
      const least = Math.floor(total / members.length);
      const longer = total % members.length;
      let keptCount = 0;
      for (const { memberId, owned } of members) {
        const given = namesOf(assignment.get(memberId));
        const kept = owned.filter((partition) => given.has(topicPartitionName(partition)));
        assert.ok(kept.length >= Math.min(owned.length, least));
        keptCount += kept.length;
      }
      const over = members.filter(({ owned }) => owned.length > least).length;
      const most = members.reduce((sum, { owned }) => sum + Math.min(owned.length, least), 0);
      assert.equal(keptCount, most + Math.min(over, longer));
    }));
  });

  it("takes nothing from those that stay when a member leaves", () => {
    assertProperty(fc.property(anyCase(true), ({ counts, members }) => {
      const before = inNextGeneration(members, assign("sticky", members, counts));
      const after = assign("sticky", before.slice(1), counts);
      for (const { memberId, owned } of before.slice(1)) {
        const given = namesOf(after.get(memberId));
        for (const partition of owned) assert.ok(given.has(topicPartitionName(partition)));
      }
    }));
  });

  it("gives nothing of what others own to any but the one that joins", () => {
    assertProperty(fc.property(anyCase(true), ({ counts, members }) => {
      const before = inNextGeneration(members, assign("sticky", members, counts));
      const { topics } = members[0]!;
      const joining = { memberId: "z", instanceId: undefined, topics, owned: [], generation: -1 };
      const after = assign("sticky", [...before, joining], counts);
      for (const { memberId, owned } of before) {
        const names = namesOf(owned);
        for (const partition of after.get(memberId)!) {
          assert.ok(names.has(topicPartitionName(partition)));
        }
      }
    }));
  });

  it("stays as it is once it is there", () => {
    assertProperty(fc.property(fc.boolean().chain(anyCase), ({ counts, members }) => {
      const assignment = assign("sticky", members, counts);
      assert.deepEqual(assign("sticky", inNextGeneration(members, assignment), counts), assignment);
    }));
  });

  it("cannot be made more even by moving one partition", () => {
    assertProperty(fc.property(fc.boolean().chain(anySettled), ({ counts, members }) => {
      const assignment = assign("sticky", members, counts);
      for (const partitions of assignment.values()) {
        for (const { topic } of partitions) {
          for (const { memberId, topics } of members) {
            if (!topics.includes(topic)) continue;
            assert.ok(partitions.length - assignment.get(memberId)!.length < 2);
          }
        }
      }
    }));
  });

  it("lets no two members swap partitions of a topic", () => {
    assertProperty(fc.property(fc.boolean().chain(anySettled), ({ counts, members }) => {
      const assignment = assign("sticky", members, counts);
      const moved = new Set<string>();
      for (const target of members) {
        const given = namesOf(assignment.get(target.memberId));
        for (const source of members) {
          if (source === target) continue;
          for (const partition of source.owned) {
            if (!given.has(topicPartitionName(partition))) continue;
            moved.add(`${partition.topic} ${source.memberId} ${target.memberId}`);
          }
        }
      }
      for (const move of moved) {
        const [topic, source, target] = move.split(" ");
        assert.ok(!moved.has(`${topic} ${target} ${source}`), move);
      }
    }));
  });
});

describe("a heap of numbers", () => {
  it("gives back in order what was put in", () => {
    assertProperty(fc.property(fc.array(fc.option(fc.integer())), (steps) => {
      const heap: number[] = [];
      const sorted: number[] = [];
      for (const step of steps) {
        if (step === null) {
          assert.equal(popNumber(heap), sorted.shift());
        } else {
          pushNumber(heap, step);
          sorted.push(step);
          sorted.sort((left, right) => left - right);
        }
      }
      for (const value of sorted) assert.equal(popNumber(heap), value);
      assert.equal(popNumber(heap), undefined);
    }));
  });
});
