/** Deadlines of members: heartbeats and revocations that do not come in time. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  closeMembership,
  createMembership,
  heartbeat,
  leaveMembership,
  loseMember,
  ownerOf,
  releasePartitions,
  revocationsOf,
} from "../../src/coordinator/membership.ts";
import { keptPlaceMs } from "../../src/coordinator/membership_timer.ts";
import type { TestGroup } from "../support/membership_fixture.ts";
import { join, ofT, ownedBy, reconcile, settle, testGroup } from "../support/membership_fixture.ts";

describe("a session", () => {
  it("ends without heartbeats: the member is lost and told", async () => {
    const group = testGroup({ t: 2 });
    const told: string[] = [];
    const a = join(group, "a", { sessionTimeoutMs: 100, onChange: () => void told.push(a.state) });
    const b = join(group, "b", { onChange: () => void told.push("b") });
    settle(group);
    told.length = 0;
    await group.clock.advance(99);
    assert.equal(a.state, "active");
    await group.clock.advance(1);
    assert.equal(a.state, "lost");
    assert.deepEqual(told, ["lost", "b"]);
    assert.equal(ownerOf(group.membership, "t", 0), undefined);
    assert.equal(reconcile(group, b), "t-0");
  });

  it("goes on with every heartbeat", async () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a", { sessionTimeoutMs: 100 });
    for (let count = 0; count < 5; count++) {
      await group.clock.advance(99);
      heartbeat(group.membership, a);
    }
    assert.equal(a.state, "active");
    await group.clock.advance(100);
    assert.equal(a.state, "lost");
  });

  it("is not something that members of this process have", async () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a");
    heartbeat(group.membership, a);
    await group.clock.advance(1_000_000_000);
    assert.equal(a.state, "active");
    assert.equal(group.membership.timer, undefined);
  });

  it("has a length of its own for each member", async () => {
    const group = testGroup({ t: 1 });
    const slow = join(group, "slow", { sessionTimeoutMs: 300 });
    const quick = join(group, "quick", { sessionTimeoutMs: 100 });
    const middle = join(group, "middle", { sessionTimeoutMs: 200 });
    const states = (): string =>
      [quick, middle, slow].map(({ state }) => state === "lost" ? "-" : "+").join("");
    await group.clock.advance(100);
    assert.equal(states(), "-++");
    heartbeat(group.membership, middle);
    await group.clock.advance(199);
    assert.equal(states(), "-++");
    await group.clock.advance(1);
    assert.equal(states(), "---");
    assert.deepEqual(group.calls, ["first", "emptied"]);
    assert.equal(group.membership.timer, undefined);
  });

  it("lasts for a kept place as well", async () => {
    const group = testGroup({ t: 1 });
    const a = join(group, "a", { sessionTimeoutMs: 100, instanceId: "i" });
    settle(group);
    await group.clock.advance(60);
    leaveMembership(group.membership, a, { keepsPlace: true });
    await group.clock.advance(99);
    assert.equal(ownerOf(group.membership, "t", 0), a);
    await group.clock.advance(1);
    assert.equal(group.membership.members.size, 0);
  });

  it("is that of the member that took the place over", async () => {
    const group = testGroup({ t: 1 });
    join(group, "a", { sessionTimeoutMs: 100, instanceId: "i" });
    const again = join(group, "a2", { sessionTimeoutMs: 500, instanceId: "i" });
    await group.clock.advance(499);
    assert.equal(again.state, "active");
    await group.clock.advance(1);
    assert.equal(again.state, "lost");
  });
});

describe("a revocation", () => {
  it("that takes too long loses the member", async () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a", { rebalanceTimeoutMs: 100 });
    settle(group);
    const b = join(group, "b");
    await group.clock.advance(1_000);
    assert.equal(a.state, "active", "nobody has asked it for anything yet");
    assert.equal(reconcile(group, b), "");
    await group.clock.advance(99);
    assert.equal(a.state, "active");
    await group.clock.advance(1);
    assert.equal(a.state, "lost");
    assert.equal(reconcile(group, b), "t-0 t-1");
  });

  it("that comes in time costs nothing", async () => {
    const group = testGroup({ t: 3 });
    const a = join(group, "a", { rebalanceTimeoutMs: 100 });
    settle(group);
    const b = join(group, "b");
    reconcile(group, b);
    await group.clock.advance(99);
    releasePartitions(group.membership, a, revocationsOf(group.membership, a));
    await group.clock.advance(1_000);
    assert.equal(a.state, "active");
    assert.equal(group.membership.timer, undefined);
  });

  it("is timed from when its first partition was asked for", async () => {
    const group = testGroup({ t: 4 });
    const a = join(group, "a", { rebalanceTimeoutMs: 100 });
    settle(group);
    join(group, "b");
    assert.deepEqual(revocationsOf(group.membership, a), ofT(2, 3));
    await group.clock.advance(60);
    join(group, "c");
    assert.deepEqual(revocationsOf(group.membership, a), ofT(2, 3));
    releasePartitions(group.membership, a, ofT(3));
    await group.clock.advance(39);
    assert.equal(a.state, "active");
    await group.clock.advance(1);
    assert.equal(a.state, "lost");
  });

  it("may take for ever in this process", async () => {
    const group = testGroup({ t: 2 });
    const a = join(group, "a");
    settle(group);
    reconcile(group, join(group, "b"));
    await group.clock.advance(1_000_000_000);
    assert.deepEqual(ownedBy(a), { a: "t-0 t-1" });
  });

  it("is timed beside the session, and the earlier of the two counts", async () => {
    for (const [sessionTimeoutMs, rebalanceTimeoutMs] of [[100, 500], [500, 100]] as const) {
      const group = testGroup({ t: 2 });
      const a = join(group, "a", { sessionTimeoutMs, rebalanceTimeoutMs });
      settle(group);
      reconcile(group, join(group, "b"));
      await group.clock.advance(99);
      assert.equal(a.state, "active");
      await group.clock.advance(1);
      assert.equal(a.state, "lost");
    }
  });
});

describe("the timer", () => {
  it("is gone when the members are", async () => {
    for (const end of ["leave", "lose", "close"]) {
      const group = testGroup({ t: 2 });
      const a = join(group, "a", { sessionTimeoutMs: 100 });
      assert.notEqual(group.membership.timer, undefined);
      if (end === "leave") leaveMembership(group.membership, a);
      else if (end === "lose") loseMember(group.membership, a);
      else closeMembership(group.membership);
      assert.equal(group.membership.timer, undefined);
      await group.clock.advance(1_000);
    }
  });
});

/** A group whose clock was set back, as soon as it is told; timers run by the time that passes. */
function unsteadyGroup(): { readonly group: TestGroup; setBack(ms: number): void } {
  const steady = testGroup({ t: 2 });
  let behindMs = 0;
  const clock = { ...steady.clock, now: () => steady.clock.now() - behindMs };
  const membership = createMembership({ ...steady.membership.options, clock });
  return { group: { ...steady, membership }, setBack: (ms) => void (behindMs = ms) };
}

describe("a clock that is set back", () => {
  for (const setBackMs of [30, 100, 3_600_000]) {
    it(`by ${setBackMs} ms gives a session no more than twice its time`, async () => {
      const { group, setBack } = unsteadyGroup();
      const silent = join(group, "silent", { sessionTimeoutMs: 100 });
      const alive = join(group, "alive", { sessionTimeoutMs: 100 });
      setBack(setBackMs);
      for (let passedMs = 0; passedMs < 200; passedMs += 50) {
        heartbeat(group.membership, alive);
        await group.clock.advance(50);
      }
      assert.deepEqual([silent.state, alive.state], ["lost", "active"]);
    });

    it(`by ${setBackMs} ms keeps a place no longer than twice its time`, async () => {
      const { group, setBack } = unsteadyGroup();
      const a = join(group, "a", { instanceId: "i" });
      const b = join(group, "b");
      settle(group);
      leaveMembership(group.membership, a, { keepsPlace: true });
      setBack(setBackMs);
      await group.clock.advance(2 * keptPlaceMs);
      settle(group);
      assert.deepEqual(ownedBy(b), { b: "t-0 t-1" });
      assert.equal(group.membership.timer, undefined);
    });

    it(`by ${setBackMs} ms gives who has to let go no more than twice his time`, async () => {
      const { group, setBack } = unsteadyGroup();
      const slow = join(group, "slow", { rebalanceTimeoutMs: 100 });
      settle(group);
      reconcile(group, join(group, "b"));
      setBack(setBackMs);
      await group.clock.advance(200);
      assert.equal(slow.state, "lost");
    });
  }
});
