/** `onChange`: who is told, when, and how often. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Member, MemberOptions } from "../../src/coordinator/membership.ts";
import {
  closeMembership,
  leaveMembership,
  loseMember,
  releasePartitions,
  revocationsOf,
  stateOf,
  subscribe,
  takePartitions,
} from "../../src/coordinator/membership.ts";
import type { TestGroup } from "../support/membership_fixture.ts";
import {
  changeTopics,
  join,
  ofT,
  ownedBy,
  reconcile,
  settle,
  testGroup,
} from "../support/membership_fixture.ts";

/** Joins a member that writes down when it is told. */
function joinListening(
  group: TestGroup,
  memberId: string,
  told: string[],
  options: MemberOptions = {},
): Member {
  return join(group, memberId, { ...options, onChange: () => void told.push(memberId) });
}

describe("onChange", () => {
  it("is called once until the member asks again, and not before it has asked at all", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a = joinListening(group, "a", told);
    changeTopics(group, { t: 3 });
    assert.deepEqual(told, []);
    takePartitions(group.membership, a);
    changeTopics(group, { t: 4 });
    changeTopics(group, { t: 5 });
    assert.deepEqual(told, ["a"]);
    revocationsOf(group.membership, a);
    changeTopics(group, { t: 6 });
    assert.deepEqual(told, ["a", "a"]);
  });

  it("tells of every kind of change", () => {
    const group = testGroup({ t: 4 });
    const told: string[] = [];
    const a = joinListening(group, "a", told);
    const news = (change: () => void): string[] => {
      settle(group);
      told.length = 0;
      change();
      return told;
    };
    const b = news(() => void join(group, "b")) && group.membership.members.get("b")!;
    assert.deepEqual(told, ["a"]);
    assert.deepEqual(news(() => subscribe(group.membership, b, { topics: ["u"] })), ["a"]);
    assert.deepEqual(news(() => changeTopics(group, { u: 1 })), ["a"]);
    assert.deepEqual(news(() => leaveMembership(group.membership, b)), ["a"]);
    const c = join(group, "c");
    assert.deepEqual(news(() => loseMember(group.membership, c)), ["a"]);
    assert.deepEqual(news(() => subscribe(group.membership, a, { topics: ["t", "u"] })), ["a"]);
    assert.deepEqual(news(() => changeTopics(group, { t: 0 })), ["a"]);
  });

  it("tells whoever waits for a partition when it is free", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a = joinListening(group, "a", told);
    settle(group);
    const b = joinListening(group, "b", told);
    assert.equal(reconcile(group, b), "");
    assert.deepEqual(told, ["a"]);
    assert.deepEqual(revocationsOf(group.membership, a), ofT(1));
    releasePartitions(group.membership, a, ofT(1));
    assert.deepEqual(told, ["a", "b"]);
    assert.equal(reconcile(group, b), "t-1");
  });

  it("is not called by what changes nothing", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a = joinListening(group, "a", told);
    settle(group);
    subscribe(group.membership, a, { topics: ["t"] });
    changeTopics(group, { other: 1 });
    settle(group);
    assert.deepEqual(told, []);
  });

  it("tells a member that it was lost, and never that it has left", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const states: string[] = [];
    const a = join(group, "a", { onChange: () => void states.push(a.state) });
    const b = joinListening(group, "b", told);
    settle(group);
    loseMember(group.membership, a);
    assert.deepEqual(states, ["lost"]);
    settle(group);
    told.length = 0;
    leaveMembership(group.membership, b);
    assert.deepEqual(told, []);
    const c = joinListening(group, "c", told);
    settle(group);
    closeMembership(group.membership);
    assert.equal(c.state, "lost");
    assert.deepEqual(told, ["c"]);
  });

  it("may use the group, and finds it changed", () => {
    const group = testGroup({ t: 4 });
    const { membership } = group;
    const a: Member = join(group, "a", { onChange: () => void reconcile(group, a) });
    reconcile(group, a);
    const b: Member = join(group, "b", { onChange: () => void reconcile(group, b) });
    reconcile(group, b);
    assert.deepEqual(ownedBy(a, b), { a: "t-0 t-1", b: "t-2 t-3" });
    assert.equal(stateOf(membership), "Stable");
    changeTopics(group, { t: 6 });
    assert.equal(stateOf(membership), "Stable");
    leaveMembership(membership, a);
    assert.deepEqual(ownedBy(b), { b: "t-0 t-1 t-2 t-3 t-4 t-5" });
  });

  it("may join and leave in turn; everybody is told in the end", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a: Member = join(group, "a", {
      onChange: () => {
        told.push("a");
        leaveMembership(group.membership, a);
        joinListening(group, "late", told);
      },
    });
    joinListening(group, "b", told);
    settle(group);
    told.length = 0;
    changeTopics(group, { t: 3 });
    assert.deepEqual(told, ["a", "b"]);
    settle(group);
    assert.equal(group.membership.members.size, 2);
  });

  it("that throws keeps nobody else from being told, and the group usable", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const onChange = (): void => {
      throw new Error("bad listener");
    };
    join(group, "a", { onChange });
    joinListening(group, "b", told);
    settle(group);
    told.length = 0;
    assert.throws(() => changeTopics(group, { t: 3 }), /^Error: bad listener$/);
    assert.deepEqual(told, ["b"]);
    settle(group);
    assert.equal(stateOf(group.membership), "Stable");
  });
});
