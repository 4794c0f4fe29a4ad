/** Groups of a thousand: what they cost, counted in calls of the assignor. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { AssignorFunction } from "../../src/coordinator/assignor.ts";
import { assign } from "../../src/coordinator/assignor.ts";
import type { Member } from "../../src/coordinator/membership.ts";
import {
  leaveMembership,
  loseMember,
  ownedPartitions,
  stateOf,
} from "../../src/coordinator/membership.ts";
import { subscribedTopicsMax } from "../../src/coordinator/subscription.ts";
import { changeTopics, join, reconcile, settle, testGroup } from "../support/membership_fixture.ts";

const memberCount = 1_000;
const partitionCount = 1_000;

/** The sticky assignor, which counts its calls. */
function countingAssignor(): { assignor: AssignorFunction; counter: { calls: number } } {
  const counter = { calls: 0 };
  return {
    counter,
    assignor(members, counts) {
      counter.calls++;
      return assign("sticky", members, counts);
    },
  };
}

function sizes(members: readonly Member[]): number[] {
  return [...new Set(members.map((member) => ownedPartitions(member).length))].sort();
}

describe("a thousand members", () => {
  it("that come at once, and go by halves, cost one assignment each time", () => {
    const { assignor, counter } = countingAssignor();
    const group = testGroup({ t: partitionCount });
    const members = Array.from(
      { length: memberCount },
      (_, index) => join(group, `m${index}`, { assignor, onChange() {} }),
    );
    settle(group);
    assert.equal(counter.calls, 1);
    assert.deepEqual(sizes(members), [1]);
    for (const member of members.slice(0, 250)) leaveMembership(group.membership, member);
    for (const member of members.slice(250, 500)) loseMember(group.membership, member);
    settle(group);
    assert.equal(counter.calls, 2);
    assert.deepEqual(sizes(members.slice(500)), [2]);
    changeTopics(group, { t: 2 * partitionCount });
    settle(group);
    assert.equal(counter.calls, 3);
    assert.deepEqual(sizes(members.slice(500)), [4]);
  });

  it("that come one after another and take at once cost one assignment each", () => {
    const { assignor, counter } = countingAssignor();
    const group = testGroup({ t: partitionCount });
    const members: Member[] = [];
    for (let index = 0; index < memberCount / 4; index++) {
      const member = join(group, `m${index}`, { assignor });
      reconcile(group, member);
      members.push(member);
    }
    assert.equal(counter.calls, members.length);
    settle(group);
    assert.equal(counter.calls, members.length);
    assert.deepEqual(sizes(members), [4]);
  });

  it("with mixed subscriptions are as even as single moves can make them", () => {
    const topics = Object.fromEntries(
      Array.from({ length: 50 }, (_, index) => [`t${index}`, 40] as const),
    );
    const group = testGroup(topics);
    const members = Array.from({ length: memberCount }, (_, index) =>
      join(group, `m${index}`, {
        topics: Object.keys(topics).filter((_, topic) => (index * 7 + topic * 11) % 10 < 3),
      }));
    settle(group);
    assert.deepEqual(sizes(members), [1, 2, 3]);
    for (const member of members.slice(0, 500)) leaveMembership(group.membership, member);
    settle(group);
    const after = sizes(members.slice(500));
    assert.ok(after.at(-1)! - after[0]! <= 2 && after.includes(4), String(after));
  });

  it("may subscribe to as many topics as there may be", () => {
    const names = Array.from({ length: subscribedTopicsMax }, (_, index) => `t${index}`);
    const group = testGroup(Object.fromEntries(names.map((name) => [name, 1] as const)));
    const members = ["a", "b"].map((id) => join(group, id, { topics: names }));
    settle(group);
    assert.equal(stateOf(group.membership), "Stable");
    assert.deepEqual(sizes(members), [subscribedTopicsMax / 2]);
  });
});
