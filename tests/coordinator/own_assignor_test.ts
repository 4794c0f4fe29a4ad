/** Assignors that a user brings: what they give is checked, and the group outlives their faults. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { AssignorFunction, AssignorMember } from "../../src/coordinator/assignor.ts";
import { assign } from "../../src/coordinator/assignor.ts";
import type { Membership } from "../../src/coordinator/membership.ts";
import {
  leaveMembership,
  releasePartitions,
  revocationsOf,
  stateOf,
  subscribe,
  takePartitions,
  unownedPartitions,
} from "../../src/coordinator/membership.ts";
import { isOttlaError } from "../../src/errors.ts";
import { assignorMember, partitionsIn } from "../support/assignments.ts";
import {
  changeTopics,
  join,
  ofT,
  ownedBy,
  reconcile,
  settle,
  testGroup,
} from "../support/membership_fixture.ts";

/** Gives everything to the first member; what a user's own assignor may look like. */
const allToFirst: AssignorFunction = (members, counts) => {
  const all = [...counts].flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  );
  return new Map([[members[0]!.memberId, all]]);
};

/** What a function without types may give. */
function unchecked(value: unknown): AssignorFunction {
  return function mine() {
    return value as ReturnType<AssignorFunction>;
  };
}

const members: readonly AssignorMember[] = [assignorMember("a", "t"), assignorMember("b", "t u")];
const counts: ReadonlyMap<string, number> = new Map([["t", 2], ["u", 1]]);

const faults: readonly [string, unknown, string][] = [
  ["nothing", undefined, "it gave undefined, a Map was wanted"],
  ["null", null, "it gave null, a Map was wanted"],
  ["an object", {}, "it gave object, a Map was wanted"],
  ["a promise", Promise.resolve(new Map()), "it gave a promise, a Map was wanted"],
  ["an unknown member", new Map([["c", []]]), "it names c, which is not a member"],
  ["a number for a member", new Map([[7, []]]), "it names 7, which is not a member"],
  [
    "an object for a member",
    new Map([[Object.create(null), []]]),
    "it names an object, which is not a member",
  ],
  ["a text for partitions", new Map([["a", "t-0"]]), "it gives a something else than an array"],
  ["nothing for a partition", new Map([["a", [undefined]]]), "it gives a undefined, {"],
  ["a name for a partition", new Map([["a", ["t-0"]]]), "it gives a t-0, { topic, partition }"],
  ["half a partition", new Map([["a", [{ topic: "t" }]]]), "it gives a an object, {"],
  ["an unknown topic", new Map([["a", partitionsIn("x-0")]]), "it gives x-0 to a, which does not"],
  ["an unknown partition", new Map([["a", partitionsIn("t-2")]]), "it gives t-2 to a, which does"],
  [
    "a partition below zero",
    new Map([["a", [{ topic: "t", partition: -1 }]]]),
    "it gives t--1 to a, which does not exist",
  ],
  [
    "half a number",
    new Map([["a", [{ topic: "t", partition: 0.5 }]]]),
    "it gives t-0.5 to a, which does not exist",
  ],
  [
    "a topic that the member does not want",
    new Map([["a", partitionsIn("u-0")]]),
    "it gives u-0 to a, which does not subscribe to u",
  ],
  [
    "a partition to two members",
    new Map([["a", partitionsIn("t-0")], ["b", partitionsIn("t-0")]]),
    "it gives t-0 to a and b",
  ],
  ["a partition twice", new Map([["b", partitionsIn("u-0 u-0")]]), "it gives u-0 twice to b"],
  [
    "too little",
    new Map([["a", partitionsIn("t-0")], ["b", partitionsIn("u-0")]]),
    "it leaves t-1 without an owner",
  ],
];

describe("an assignor of one's own", () => {
  for (const [name, given, message] of faults) {
    it(`must not give ${name}`, () => {
      assert.throws(() => assign(unchecked(given), members, counts), (error) => {
        assert.ok(isOttlaError(error, "UNSUPPORTED_ASSIGNOR"));
        const wanted = `Cannot assign partitions with function mine: ${message}`;
        assert.equal(error.message.slice(0, wanted.length), wanted);
        return true;
      });
    });
  }

  it("must not throw", () => {
    const cause = new Error("no idea");
    const throwing = (thrown: unknown): AssignorFunction => () => {
      throw thrown;
    };
    assert.throws(
      () => assign(throwing(cause), members, counts),
      (error) =>
        isOttlaError(error, "UNSUPPORTED_ASSIGNOR") && error.cause === cause &&
        error.message === 'Cannot assign partitions with a function: it threw "no idea"',
    );
    assert.throws(() => assign(throwing("text"), members, counts), /: it threw "text"$/);
    assert.throws(() => assign(throwing(Object.create(null)), members, counts), /"an object"$/);
  });

  it("may leave members out, and give partitions in any order", () => {
    const given = assign(
      () => new Map([["b", partitionsIn("t-1 u-0 t-0")]]),
      members,
      counts,
    );
    assert.deepEqual([...given], [["a", []], ["b", partitionsIn("t-1 u-0 t-0")]]);
  });

  it("may use up what it is given", () => {
    const given = assign(
      (list, left) => {
        const first = (list as AssignorMember[]).pop()!;
        (list as AssignorMember[]).length = 0;
        (left as Map<string, number>).clear();
        return new Map([[first.memberId, partitionsIn("t-0 t-1 u-0")]]);
      },
      members,
      counts,
    );
    assert.equal(given.get("b")?.length, 3);
    assert.equal(members.length, 2);
    assert.equal(counts.size, 2);
  });

  it("is told of members, of what they own, and of the topics that exist", () => {
    const told: unknown[] = [];
    const spy: AssignorFunction = (list, partitionCounts) => {
      told.push([list, [...partitionCounts]]);
      return allToFirst(list, partitionCounts);
    };
    const group = testGroup({ t: 1 });
    const options = { topics: ["t", "later"], assignor: spy };
    join(group, "a", { ...options, instanceId: "i" });
    settle(group);
    join(group, "b", options);
    settle(group);
    const a = { memberId: "a", instanceId: "i", topics: ["t"] };
    const b = { memberId: "b", instanceId: undefined, topics: ["t"] };
    assert.deepEqual(told, [
      [[{ ...a, owned: [], generation: -1 }], [["t", 1]]],
      [[{ ...a, owned: ofT(0), generation: 1 }, { ...b, owned: [], generation: -1 }], [["t", 1]]],
    ]);
  });
});

describe("a group whose assignor fails", () => {
  /** Two members, whose assignor can be made to fail. */
  function failingGroup() {
    const state = { isFailing: false, calls: 0 };
    const assignor: AssignorFunction = (list, partitionCounts) => {
      state.calls++;
      if (state.isFailing) throw new Error("not now");
      return allToFirst(list, partitionCounts);
    };
    const group = testGroup({ t: 2 });
    const a = join(group, "a", { assignor });
    const b = join(group, "b", { assignor });
    settle(group);
    return { group, membership: group.membership, state, assignor, a, b };
  }

  it("moves nothing, and says why to everybody who asks", () => {
    const { group, membership, state, assignor, a, b } = failingGroup();
    state.isFailing = true;
    state.calls = 0;
    const c = join(group, "c", { assignor });
    for (const member of [a, b, c]) {
      for (const act of [revocationsOf, takePartitions]) {
        assert.throws(
          () => act(membership, member),
          (error) =>
            isOttlaError(error, "UNSUPPORTED_ASSIGNOR") && /"not now"$/.test(error.message),
        );
      }
    }
    assert.equal(state.calls, 1);
    assert.equal(stateOf(membership), "Assigning");
    assert.deepEqual(ownedBy(a, b, c), { a: "t-0 t-1", b: "", c: "" });
    assert.deepEqual(unownedPartitions(membership), []);
  });

  it("goes on with the next change that it can deal with", () => {
    const { group, membership, state, a, b } = failingGroup();
    state.isFailing = true;
    changeTopics(group, { t: 3 });
    assert.throws(() => takePartitions(membership, a), /not now/);
    assert.deepEqual(unownedPartitions(membership), ofT(2));
    leaveMembership(membership, a);
    assert.deepEqual(unownedPartitions(membership), ofT(0, 1, 2));
    state.isFailing = false;
    assert.throws(() => takePartitions(membership, b), /not now/);
    subscribe(membership, b, { topics: ["t", "u"] });
    settle(group);
    assert.deepEqual(ownedBy(b), { b: "t-0 t-1 t-2" });
    assert.deepEqual(unownedPartitions(membership), []);
  });

  it("tells its members when it may go on", () => {
    const { group, membership, state, assignor, a } = failingGroup();
    let told = 0;
    const c = join(group, "c", { assignor, onChange: () => void told++ });
    state.isFailing = true;
    assert.throws(() => takePartitions(membership, c), /not now/);
    leaveMembership(membership, a);
    assert.equal(told, 1);
  });

  it("lets go what its members let go", () => {
    const { group, membership, state, a } = failingGroup();
    state.isFailing = true;
    changeTopics(group, { t: 3 });
    assert.throws(() => revocationsOf(membership, a), /not now/);
    releasePartitions(membership, a, ofT(0));
    assert.deepEqual(ownedBy(a), { a: "t-1" });
    state.isFailing = false;
    changeTopics(group, { t: 4 });
    assert.equal(reconcile(group, a), "t-0 t-2 t-3");
  });

  it("does not let the assignor use the group", () => {
    const uses: readonly ((membership: Membership) => void)[] = [
      (membership) => void unownedPartitions(membership),
      (membership) => void takePartitions(membership, [...membership.members.values()][0]!),
      (membership) => leaveMembership(membership, [...membership.members.values()][0]!),
    ];
    for (const use of uses) {
      const group = testGroup({ t: 1 });
      const assignor: AssignorFunction = (list, partitionCounts) => {
        use(group.membership);
        return allToFirst(list, partitionCounts);
      };
      const a = join(group, "a", { assignor });
      const wanted = /it threw "Cannot use group g inside its own assignor"$/;
      assert.throws(() => takePartitions(group.membership, a), wanted);
      assert.equal(a.state, "active");
      leaveMembership(group.membership, a);
      const b = join(group, "b");
      settle(group);
      assert.deepEqual(ownedBy(b), { b: "t-0" });
    }
  });

  it("does not let the assignor change a subscription", () => {
    const group = testGroup({ t: 1 });
    const assignor: AssignorFunction = (list, partitionCounts) => {
      (list[0]!.topics as string[]).pop();
      return allToFirst(list, partitionCounts);
    };
    const a = join(group, "a", { assignor });
    assert.throws(() => takePartitions(group.membership, a), /Cannot assign partitions/);
    assert.deepEqual(a.subscription.topics, ["t"]);
  });
});
