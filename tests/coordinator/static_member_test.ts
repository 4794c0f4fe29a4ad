/** Static members: they come back to their place, and the one before is fenced. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Member } from "../../src/coordinator/membership.ts";
import {
  heartbeat,
  leaveMembership,
  loseMember,
  ownerOf,
  releasePartitions,
  revocationsOf,
  stateOf,
  takePartitions,
} from "../../src/coordinator/membership.ts";
import { keptPlaceMs } from "../../src/coordinator/membership_timer.ts";
import { isOttlaError } from "../../src/errors.ts";
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

/** A static and another member, stable. */
function pair(): { group: TestGroup; a: Member; b: Member; told: string[] } {
  const group = testGroup({ t: 4 });
  const told: string[] = [];
  const a = join(group, "a", { instanceId: "i", onChange: () => void told.push("a") });
  const b = join(group, "b", { onChange: () => void told.push("b") });
  settle(group);
  told.length = 0;
  return { group, a, b, told };
}

describe("a static member that comes twice", () => {
  it("takes over what the one before had, and nobody else notices", () => {
    const { group, a, b, told } = pair();
    const { generation } = group.membership;
    const again = join(group, "a2", { instanceId: "i" });
    assert.deepEqual(ownedBy(a, again, b), { a: "", a2: "t-0 t-2", b: "t-1 t-3" });
    assert.equal(group.membership.generation, generation);
    assert.deepEqual(told, ["a"]);
    assert.equal(stateOf(group.membership), "Reconciling");
    assert.equal(reconcile(group, again), "t-0 t-2");
    assert.equal(reconcile(group, again), "");
    assert.equal(stateOf(group.membership), "Stable");
    assert.equal(group.membership.members.size, 2);
  });

  it("fences the one before", () => {
    const { group, a } = pair();
    join(group, "a2", { instanceId: "i" });
    assert.equal(a.state, "lost");
    for (const act of [heartbeat, revocationsOf, takePartitions]) {
      assert.throws(
        () => act(group.membership, a),
        (error) =>
          isOttlaError(error, "FENCED_INSTANCE_ID") &&
          error.message.endsWith("group g: another member has taken over instance i"),
      );
    }
    releasePartitions(group.membership, a, ofT(0, 2));
    leaveMembership(group.membership, a);
    loseMember(group.membership, a);
    assert.equal(ownerOf(group.membership, "t", 0)?.memberId, "a2");
  });

  it("may subscribe to something else, which all others notice", () => {
    const { group, b, told } = pair();
    group.topics.set("u", 2);
    const again = join(group, "a2", { instanceId: "i", topics: ["u"] });
    assert.deepEqual(told, ["a", "b"]);
    settle(group);
    assert.deepEqual(ownedBy(again, b), { a2: "u-0 u-1", b: "t-0 t-1 t-2 t-3" });
  });

  it("may take over again before it was told of anything", () => {
    const { group, told } = pair();
    join(group, "a2", { instanceId: "i" });
    const third = join(group, "a3", { instanceId: "i" });
    assert.deepEqual(told, ["a"]);
    assert.equal(reconcile(group, third), "t-0 t-2");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("is not given what the one before was about to give up", () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a = join(group, "a", { instanceId: "i" });
    settle(group);
    const b = join(group, "b", { onChange: () => void told.push("b") });
    assert.deepEqual(revocationsOf(group.membership, a), ofT(1));
    assert.equal(reconcile(group, b), "");
    const again = join(group, "a2", { instanceId: "i" });
    assert.deepEqual(told, ["b"]);
    assert.equal(reconcile(group, b), "t-1");
    assert.deepEqual(revocationsOf(group.membership, again), []);
    assert.equal(reconcile(group, again), "t-0");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("need not give up what it was never told of", () => {
    const group = testGroup({ t: 2 });
    join(group, "a", { instanceId: "i" });
    settle(group);
    const again = join(group, "a2", { instanceId: "i" });
    const b = join(group, "b");
    assert.equal(reconcile(group, b), "t-1");
    assert.deepEqual(revocationsOf(group.membership, again), []);
    assert.equal(reconcile(group, again), "t-0");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("takes what was free for the one before", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a", { instanceId: "i" });
    assert.deepEqual(revocationsOf(group.membership, a), []);
    const again = join(group, "a2", { instanceId: "i" });
    assert.equal(reconcile(group, again), "t-0 t-1");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("begins anew with topics that were made anew", () => {
    const group = testGroup({ t: 1 });
    join(group, "a", { instanceId: "i" });
    settle(group);
    changeTopics(group, { t: 0 });
    changeTopics(group, { t: 1 });
    const again = join(group, "a2", { instanceId: "i" });
    assert.deepEqual(revocationsOf(group.membership, again), []);
    assert.equal(reconcile(group, again), "t-0");
    assert.equal(stateOf(group.membership), "Stable");
  });
});

describe("a place that is kept", () => {
  it("waits for its member, which finds its partitions again", () => {
    const { group, a, b, told } = pair();
    leaveMembership(group.membership, a, { keepsPlace: true });
    assert.equal(a.state, "left");
    assert.equal(ownerOf(group.membership, "t", 0), a);
    assert.equal(reconcile(group, b), "");
    assert.equal(stateOf(group.membership), "Stable");
    assert.throws(() => heartbeat(group.membership, a), /it has left$/);
    const again = join(group, "a2", { instanceId: "i" });
    assert.deepEqual(told, []);
    assert.equal(a.state, "left");
    assert.throws(() => heartbeat(group.membership, a), /has taken over instance i$/);
    assert.equal(reconcile(group, again), "t-0 t-2");
  });

  it("is only kept for a static member", () => {
    const { group, a, b } = pair();
    leaveMembership(group.membership, b, { keepsPlace: true });
    assert.equal(group.membership.members.size, 1);
    assert.equal(reconcile(group, a), "t-1 t-3");
  });

  it("can be given up", () => {
    const { group, a, b, told } = pair();
    leaveMembership(group.membership, a, { keepsPlace: true });
    leaveMembership(group.membership, a);
    assert.equal(group.membership.members.size, 2, "leaving twice does nothing");
    loseMember(group.membership, a);
    assert.equal(a.state, "left");
    assert.deepEqual(told, ["b"]);
    assert.equal(reconcile(group, b), "t-0 t-2");
  });

  it("holds no partition that is meant for another member", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a", { instanceId: "i" });
    settle(group);
    leaveMembership(group.membership, a, { keepsPlace: true });
    const b = join(group, "b");
    assert.equal(reconcile(group, b), "t-1");
    assert.equal(stateOf(group.membership), "Stable");
    assert.deepEqual(ownedBy(a), { a: "t-0" });
  });

  it("does not keep what its member was about to give up", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a", { instanceId: "i" });
    settle(group);
    const b = join(group, "b");
    assert.deepEqual(revocationsOf(group.membership, a), ofT(1));
    leaveMembership(group.membership, a, { keepsPlace: true });
    assert.equal(reconcile(group, b), "t-1");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("is lost after as long as Kafka's default if the member has no session", async () => {
    const { group, a, b, told } = pair();
    leaveMembership(group.membership, a, { keepsPlace: true });
    await group.clock.advance(keptPlaceMs - 1);
    assert.equal(ownerOf(group.membership, "t", 0), a);
    await group.clock.advance(1);
    assert.equal(ownerOf(group.membership, "t", 0), undefined);
    assert.deepEqual(told, ["b"]);
    assert.equal(reconcile(group, b), "t-0 t-2");
  });

  it("keeps a group from being empty, as long as it lasts", async () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a", { instanceId: "i" });
    settle(group);
    leaveMembership(group.membership, a, { keepsPlace: true });
    assert.deepEqual(group.calls, ["first"]);
    await group.clock.advance(keptPlaceMs);
    assert.deepEqual(group.calls, ["first", "emptied"]);
    assert.equal(stateOf(group.membership), "Empty");
  });
});
