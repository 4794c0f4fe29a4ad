/** Members of a group: who comes, who goes, and how partitions move between them. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  checkMember,
  closeMembership,
  heartbeat,
  joinMembership,
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
import { isOttlaError } from "../../src/errors.ts";
import {
  changeTopics,
  join,
  ofT,
  ownedBy,
  reconcile,
  settle,
  testGroup,
} from "../support/membership_fixture.ts";

describe("a group", () => {
  it("is empty, assigning, reconciling and stable", () => {
    const group = testGroup({ t: 2 });
    const { membership } = group;
    assert.equal(stateOf(membership), "Empty");
    const a = join(group, "a");
    assert.equal(stateOf(membership), "Assigning");
    assert.deepEqual(revocationsOf(membership, a), []);
    assert.equal(stateOf(membership), "Reconciling");
    assert.deepEqual(takePartitions(membership, a), ofT(0, 1));
    assert.equal(stateOf(membership), "Stable");
    leaveMembership(membership, a);
    assert.equal(stateOf(membership), "Empty");
  });

  it("tells of its first member and of its last one's leaving", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    const b = join(group, "b");
    leaveMembership(group.membership, a);
    assert.deepEqual(group.calls, ["first"]);
    loseMember(group.membership, b);
    assert.deepEqual(group.calls, ["first", "emptied"]);
    join(group, "c");
    closeMembership(group.membership);
    assert.deepEqual(group.calls, ["first", "emptied", "first", "emptied"]);
  });

  it("goes on from the generation it is given, and grows it with every change", () => {
    const group = testGroup({ t: 2 }, 41);
    const { membership } = group;
    const a = join(group, "a");
    assert.equal(membership.generation, 42);
    assert.equal(a.generation, -1);
    takePartitions(membership, a);
    assert.equal(a.generation, 42);
    const b = join(group, "b");
    subscribe(membership, b, { topics: ["u"] });
    leaveMembership(membership, b);
    assert.equal(membership.generation, 45);
    assert.equal(a.generation, 42);
    changeTopics(group, { t: 3 });
    changeTopics(group, { t: 4, other: 1 });
    assert.equal(membership.generation, 45, "nobody has asked since the last change");
    revocationsOf(membership, a);
    assert.equal(a.generation, 42, "a member arrives when it takes");
    takePartitions(membership, a);
    assert.equal(a.generation, membership.generation);
    assert.equal(stateOf(membership), "Stable");
  });

  it("makes member ids as Kafka does", () => {
    const { membership } = testGroup({});
    const topics = ["t"];
    const ids = [
      joinMembership(membership, { topics }),
      joinMembership(membership, { topics, clientId: "app" }),
      joinMembership(membership, { topics, clientId: "app", instanceId: "i" }),
    ].map(({ memberId }) => memberId);
    assert.deepEqual(ids, [
      "ottla-00000000-0000-4000-8000-000000000000",
      "app-01010101-0101-4101-8101-010101010101",
      "i-02020202-0202-4202-8202-020202020202",
    ]);
  });

  it("can be closed: everybody is lost", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    settle(group);
    closeMembership(group.membership);
    assert.equal(a.state, "lost");
    assert.deepEqual(ownedPartitions(a), []);
    assert.equal(stateOf(group.membership), "Empty");
  });
});

describe("partitions", () => {
  it("move when their owner lets go, not before", () => {
    const group = testGroup({ t: 4 });
    const { membership } = group;
    const a = join(group, "a");
    settle(group);
    const b = join(group, "b");
    assert.equal(reconcile(group, b), "");
    assert.equal(ownerOf(membership, "t", 3), a);
    assert.deepEqual(revocationsOf(membership, a), ofT(2, 3));
    assert.deepEqual(takePartitions(membership, a), []);
    assert.equal(stateOf(membership), "Reconciling");
    releasePartitions(membership, a, ofT(3));
    assert.equal(ownerOf(membership, "t", 3), undefined);
    assert.equal(reconcile(group, b), "t-3");
    assert.equal(stateOf(membership), "Reconciling");
    releasePartitions(membership, a, ofT(2));
    assert.equal(reconcile(group, b), "t-2");
    assert.equal(stateOf(membership), "Stable");
    assert.deepEqual(ownedBy(a, b), { a: "t-0 t-1", b: "t-2 t-3" });
  });

  it("stay if the change is taken back before their owner has let go", () => {
    const group = testGroup({ t: 4 });
    const a = join(group, "a");
    settle(group);
    const b = join(group, "b");
    assert.deepEqual(revocationsOf(group.membership, a), ofT(2, 3));
    leaveMembership(group.membership, b);
    assert.deepEqual(revocationsOf(group.membership, a), []);
    assert.deepEqual(takePartitions(group.membership, a), []);
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("are free at once when their owner leaves or is lost", () => {
    for (const go of [leaveMembership, loseMember]) {
      const group = testGroup({ t: 4 });
      const a = join(group, "a");
      const b = join(group, "b");
      settle(group);
      go(group.membership, a);
      assert.deepEqual(ownedBy(a), { a: "" });
      assert.equal(ownerOf(group.membership, "t", 0), undefined);
      assert.equal(reconcile(group, b), "t-0 t-2");
      assert.equal(stateOf(group.membership), "Stable");
    }
  });

  it("that a member lets go of without need come back to it", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    settle(group);
    releasePartitions(group.membership, a, ofT(1));
    assert.equal(stateOf(group.membership), "Reconciling");
    assert.equal(reconcile(group, a), "t-1");
  });

  it("that a member does not own are passed over when it lets go", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    const b = join(group, "b");
    settle(group);
    releasePartitions(group.membership, a, [...ofT(1, 7), { topic: "none", partition: 0 }]);
    assert.deepEqual(ownedBy(a, b), { a: "t-0", b: "t-1" });
    loseMember(group.membership, a);
    releasePartitions(group.membership, a, ofT(0, 1));
    assert.equal(ownerOf(group.membership, "t", 1), b);
  });

  it("of unknown topics are nobody's", () => {
    const group = testGroup({ t: 1 });
    join(group, "a", { topics: ["t", "later"] });
    settle(group);
    assert.equal(ownerOf(group.membership, "later", 0), undefined);
    assert.equal(ownerOf(group.membership, "t", 5), undefined);
    assert.deepEqual(unownedPartitions(group.membership), []);
  });

  it("are spread by every assignor there is", () => {
    for (const assignor of ["range", "roundRobin", "sticky", "cooperativeSticky"] as const) {
      const group = testGroup({ t: 3, u: 3 });
      const topics = ["t", "u"];
      const a = join(group, "a", { topics, assignor });
      settle(group);
      const b = join(group, "b", { topics, assignor });
      settle(group);
      assert.deepEqual(
        ownedBy(a, b),
        assignor === "range"
          ? { a: "t-0 t-1 u-0 u-1", b: "t-2 u-2" }
          : assignor === "roundRobin"
          ? { a: "t-0 t-2 u-1", b: "t-1 u-0 u-2" }
          : { a: "t-0 t-1 u-0", b: "t-2 u-1 u-2" },
      );
    }
  });
});

describe("topics", () => {
  it("that come, grow and go are noticed", () => {
    const group = testGroup({});
    const a = join(group, "a");
    settle(group);
    assert.equal(stateOf(group.membership), "Stable");
    changeTopics(group, { t: 1 });
    assert.equal(reconcile(group, a), "t-0");
    changeTopics(group, { t: 3 });
    assert.equal(reconcile(group, a), "t-1 t-2");
    changeTopics(group, { t: 0 });
    assert.deepEqual(revocationsOf(group.membership, a), ofT(0, 1, 2));
    assert.equal(reconcile(group, a), "");
    assert.deepEqual(ownedBy(a), { a: "" });
    assert.equal(stateOf(group.membership), "Stable");
    changeTopics(group, { t: 1 });
    assert.equal(reconcile(group, a), "t-0");
    assert.equal(group.membership.slots.get("t")?.length, 1, "the others are forgotten");
  });

  it("that nobody subscribes to change nothing", () => {
    const group = testGroup({ t: 1 });
    join(group, "a");
    settle(group);
    const { generation } = group.membership;
    changeTopics(group, { other: 3 });
    changeTopics(group, { other: 0 });
    assert.equal(group.membership.generation, generation);
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("that are deleted and made anew are other topics", () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    settle(group);
    changeTopics(group, { t: 0 });
    changeTopics(group, { t: 2 });
    assert.deepEqual(revocationsOf(group.membership, a), ofT(0, 1));
    assert.deepEqual(takePartitions(group.membership, a), []);
    releasePartitions(group.membership, a, ofT(0, 1));
    assert.deepEqual(takePartitions(group.membership, a), ofT(0, 1));
    changeTopics(group, { t: 3 });
    assert.deepEqual(revocationsOf(group.membership, a), []);
    assert.equal(reconcile(group, a), "t-2");
    assert.equal(stateOf(group.membership), "Stable");
  });

  it("that match a pattern are read, Kafka's own never", () => {
    const group = testGroup({ "orders.eu": 1, invoices: 1, "__consumer_offsets": 50 });
    const a = join(group, "a", { pattern: /orders|_/g });
    settle(group);
    assert.deepEqual(ownedBy(a), { a: "orders.eu-0" });
    changeTopics(group, { "orders.us": 2 });
    assert.equal(reconcile(group, a), "orders.us-0 orders.us-1");
    subscribe(group.membership, a, { pattern: /^invoices$/ });
    settle(group);
    assert.deepEqual(ownedBy(a), { a: "invoices-0" });
  });

  it("that a member no longer subscribes to move to others", () => {
    const group = testGroup({ t: 2, u: 2 });
    const a = join(group, "a", { topics: ["t", "u"] });
    const b = join(group, "b", { topics: ["t", "u"] });
    settle(group);
    const { generation } = group.membership;
    subscribe(group.membership, a, { topics: ["u", "t", "t"] });
    assert.equal(group.membership.generation, generation, "it is the same subscription");
    subscribe(group.membership, a, { topics: ["u"] });
    settle(group);
    assert.deepEqual(ownedBy(a, b), { a: "u-0 u-1", b: "t-0 t-1" });
    subscribe(group.membership, b, { topics: [] });
    settle(group);
    assert.deepEqual(ownedBy(a, b), { a: "u-0 u-1", b: "" });
    assert.deepEqual([...group.membership.partitionCounts], [["u", 2]]);
  });
});

describe("a member that has gone", () => {
  const actions = { heartbeat, revocationsOf, takePartitions };

  it("is left or lost, and refused", () => {
    const group = testGroup({ t: 1 });
    const left = join(group, "left");
    const lost = join(group, "lost");
    leaveMembership(group.membership, left);
    loseMember(group.membership, lost);
    assert.equal(left.state, "left");
    assert.equal(lost.state, "lost");
    for (const act of Object.values(actions)) {
      assert.throws(
        () => act(group.membership, left),
        (error) =>
          isOttlaError(error, "UNKNOWN_MEMBER_ID") &&
          /as member left of group g: it has left$/.test(error.message),
      );
      assert.throws(() => act(group.membership, lost), /as member lost of group g: it was lost$/);
    }
    assert.throws(() => subscribe(group.membership, lost, { topics: [] }), /Cannot subscribe as/);
  });

  it("may go again without effect", () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a");
    const b = join(group, "b");
    leaveMembership(group.membership, a);
    const { generation } = group.membership;
    leaveMembership(group.membership, a);
    loseMember(group.membership, a);
    loseMember(group.membership, b);
    leaveMembership(group.membership, b);
    assert.deepEqual([a.state, b.state], ["left", "lost"]);
    assert.equal(group.membership.generation, generation + 1);
    assert.deepEqual(group.calls, ["first", "emptied"]);
  });

  it("may come back under the same id as another member", () => {
    const group = testGroup({ t: 1 });
    const before = join(group, "a");
    settle(group);
    loseMember(group.membership, before);
    const after = join(group, "a");
    settle(group);
    assert.deepEqual(ownedPartitions(after), ofT(0));
    leaveMembership(group.membership, before);
    loseMember(group.membership, before);
    assert.equal(after.state, "active");
    assert.throws(() => heartbeat(group.membership, before), /it was lost$/);
  });

  it("is not one of another group", () => {
    const a = join(testGroup({ t: 1 }), "a");
    const other = testGroup({ t: 1 });
    join(other, "a");
    assert.throws(() => takePartitions(other.membership, a), /it is a member of another group$/);
    leaveMembership(other.membership, a);
    loseMember(other.membership, a);
    assert.equal(a.state, "active");
  });
});

describe("checkMember", () => {
  it("finds a member in the generation in which it last took", () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a", { instanceId: "i" });
    assert.equal(checkMember(group.membership, "a", -1), a);
    settle(group);
    assert.equal(checkMember(group.membership, "a", 1), a);
    assert.equal(checkMember(group.membership, "a", 1, "i"), a);
    join(group, "b");
    assert.equal(checkMember(group.membership, "a", 1), a, "it has not heard of the next one yet");
  });

  it("refuses who is not there, or somewhere else in time", () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a", { instanceId: "i" });
    settle(group);
    const codeOf = (...claim: [string, number, string?]): unknown => {
      try {
        return checkMember(group.membership, ...claim).memberId;
      } catch (error) {
        return isOttlaError(error) && error.code;
      }
    };
    assert.equal(codeOf("a", 0), "ILLEGAL_GENERATION");
    assert.equal(codeOf("a", 2), "ILLEGAL_GENERATION");
    assert.equal(codeOf("b", 1), "UNKNOWN_MEMBER_ID");
    assert.equal(codeOf("b", 1, "i"), "FENCED_INSTANCE_ID");
    assert.equal(codeOf("a", 1, "unknown"), "UNKNOWN_MEMBER_ID");
    leaveMembership(group.membership, a, { keepsPlace: true });
    assert.equal(codeOf("a", 1), "UNKNOWN_MEMBER_ID");
    join(group, "a2", { instanceId: "i" });
    assert.equal(codeOf("a", 1, "i"), "FENCED_INSTANCE_ID");
    assert.equal(codeOf("a", 1), "UNKNOWN_MEMBER_ID");
  });
});
