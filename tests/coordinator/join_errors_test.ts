/** Whom a group does not take, and why; it stays as it was. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Assignor } from "../../src/coordinator/assignor.ts";
import type { MemberOptions } from "../../src/coordinator/membership.ts";
import { joinMembership, leaveMembership, subscribe } from "../../src/coordinator/membership.ts";
import { membersMax } from "../../src/coordinator/membership_state.ts";
import { subscribedTopicsMax } from "../../src/coordinator/subscription.ts";
import { isOttlaError } from "../../src/errors.ts";
import { join, ownedBy, settle, testGroup } from "../support/membership_fixture.ts";

/** What a caller without types may hand over. */
function unchecked(value: unknown): MemberOptions {
  return value as MemberOptions;
}

const wrongOptions: readonly [string, unknown, "TypeError" | "RangeError", RegExp][] = [
  ["neither topics nor pattern", {}, "TypeError", /^topics, pattern: exactly one/],
  ["both", { topics: ["t"], pattern: /t/ }, "TypeError", /^topics, pattern: exactly one/],
  ["a text for topics", { topics: "t" }, "TypeError", /^topics: an array is wanted$/],
  ["a text for a pattern", { pattern: "t" }, "TypeError", /^pattern: a RegExp is wanted$/],
  [
    "too many topics",
    { topics: Array.from({ length: subscribedTopicsMax + 1 }, (_, index) => `t${index}`) },
    "RangeError",
    /^topics: 10001 are too many, the most is 10000$/,
  ],
  [
    "an unknown assignor",
    { topics: [], assignor: "uniform" },
    "RangeError",
    /^assignor: "uniform"/,
  ],
  ["no assignor at all", { topics: [], assignor: 7 }, "TypeError", /^assignor: the name of one/],
  [
    "an empty instance id",
    { topics: [], instanceId: "" },
    "RangeError",
    /^instanceId: it is empty/,
  ],
  ["a number for an id", { topics: [], memberId: 7 }, "TypeError", /^memberId: a text is wanted$/],
  ["no time", { topics: [], sessionTimeoutMs: 0 }, "RangeError", /^sessionTimeoutMs: 0 is not/],
  ["half a millisecond", { topics: [], rebalanceTimeoutMs: 0.5 }, "RangeError", /^rebalanceTim/],
];

describe("joining", () => {
  for (const [name, options, kind, message] of wrongOptions) {
    it(`refuses ${name}`, () => {
      const group = testGroup({ t: 1 });
      assert.throws(() => joinMembership(group.membership, unchecked(options)), {
        name: kind,
        message,
      });
      assert.equal(group.membership.members.size, 0);
      assert.equal(group.membership.subscriptions.size, 0);
      assert.deepEqual(group.calls, []);
    });
  }

  it("refuses names that no topic can have", () => {
    const { membership } = testGroup({});
    for (const topic of ["", "a b", "..", "x".repeat(250)]) {
      assert.throws(
        () => joinMembership(membership, { topics: [topic] }),
        (error) => isOttlaError(error, "INVALID_TOPIC_EXCEPTION"),
      );
    }
  });

  it("refuses a member id that is taken, unless it takes that member's place", () => {
    const group = testGroup({ t: 1 });
    join(group, "a", { instanceId: "i" });
    assert.throws(() => join(group, "a"), {
      name: "RangeError",
      message: "memberId: group g has a member a already",
    });
    assert.throws(() => join(group, "a", { instanceId: "j" }), /has a member a already/);
    const again = join(group, "a", { instanceId: "i" });
    settle(group);
    assert.deepEqual(ownedBy(again), { a: "t-0" });
  });

  it("refuses another assignor than that of the others", () => {
    const group = testGroup({ t: 1 });
    const own: Assignor = () => new Map();
    const a = join(group, "a");
    assert.throws(
      () => join(group, "b", { assignor: "range" }),
      (error) =>
        isOttlaError(error, "INCONSISTENT_GROUP_PROTOCOL") && error.message ===
          "Cannot join group g with assignor range: its members use cooperativeSticky",
    );
    assert.throws(() => join(group, "b", { assignor: own }), /with assignor function own/);
    leaveMembership(group.membership, a);
    join(group, "b", { assignor: "range" });
    assert.throws(() => join(group, "c"), /its members use range$/);
  });

  it("lets a static member change the assignor if there is nobody else", () => {
    const group = testGroup({ t: 3 });
    join(group, "a", { instanceId: "i" });
    const alone = join(group, "b", { instanceId: "i", assignor: "range" });
    settle(group);
    assert.deepEqual(ownedBy(alone), { b: "t-0 t-1 t-2" });
    join(group, "c", { assignor: "range" });
    assert.throws(() => join(group, "d", { instanceId: "i" }), /its members use range$/);
    assert.equal(alone.state, "active");
  });

  it("refuses one member too many, but not who takes another's place", () => {
    const group = testGroup({ t: 1 });
    join(group, "static", { instanceId: "i" });
    for (let count = 1; count < membersMax; count++) join(group, `m${count}`);
    assert.throws(
      () => join(group, "last"),
      (error) =>
        isOttlaError(error, "GROUP_MAX_SIZE_REACHED") &&
        error.message === "Cannot join group g: it has 10000 members, the most is 10000",
    );
    join(group, "again", { instanceId: "i" });
    assert.equal(group.membership.members.size, membersMax);
  });

  it("leaves a subscription as it is if the next one is wrong", () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a");
    settle(group);
    assert.throws(() => subscribe(group.membership, a, { topics: ["a/b"] }));
    assert.throws(() => subscribe(group.membership, a, {}), TypeError);
    settle(group);
    assert.deepEqual(ownedBy(a), { a: "t-0" });
  });
});
