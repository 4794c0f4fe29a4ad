/** The sticky assignors: even first, then nothing moves that need not, as Kafka's tests have it. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { AssignorMember } from "../../src/coordinator/assignor.ts";
import { assigned, assignorMember as member } from "../support/assignments.ts";

const twoOfThree = { t0: 3, t1: 3 };

/** Members that know what they own after a rebalance. */
function inGeneration(
  generation: number,
  topics: string,
  owned: Readonly<Record<string, string>>,
): AssignorMember[] {
  return Object.entries(owned).map(([id, text]) => member(id, topics, { owned: text, generation }));
}

function partitionNames(topic: string, count: number): string {
  return Array.from({ length: count }, (_, partition) => `${topic}-${partition}`).join(" ");
}

describe("the sticky assignor with equal subscriptions", () => {
  it("begins like round robin", () => {
    const given = assigned(
      "sticky",
      { t1: 3, t2: 3 },
      member("c1", "t1 t2"),
      member("c2", "t1 t2"),
    );
    assert.deepEqual(given, { c1: "t1-0 t1-2 t2-1", c2: "t1-1 t2-0 t2-2" });
    const members = ["a", "b", "c"].map((id) => member(id, "t1 t2 t3"));
    assert.deepEqual(assigned("sticky", { t1: 6, t2: 7, t3: 2 }, ...members), {
      a: "t1-0 t1-3 t2-0 t2-3 t2-6",
      b: "t1-1 t1-4 t2-1 t2-4 t3-0",
      c: "t1-2 t1-5 t2-2 t2-5 t3-1",
    });
  });

  it("deals out what a member leaves behind, and takes from those with more when it is back", () => {
    const ids = ["A", "B", "C"];
    const all = assigned("sticky", twoOfThree, ...ids.map((id) => member(id, "t0 t1")));
    assert.deepEqual(all, { A: "t0-0 t1-0", B: "t0-1 t1-1", C: "t0-2 t1-2" });
    const { B: _, ...rest } = all;
    const without = assigned("sticky", twoOfThree, ...inGeneration(1, "t0 t1", rest));
    assert.deepEqual(without, { A: "t0-0 t0-1 t1-0", C: "t0-2 t1-1 t1-2" });
    const members = [...inGeneration(2, "t0 t1", without), member("B", "t0 t1")];
    // By number, then by topic: A keeps t0-0 and t1-0, C t1-1 and t0-2.
    assert.deepEqual(assigned("sticky", twoOfThree, ...members), {
      A: "t0-0 t1-0",
      B: "t0-1 t1-2",
      C: "t0-2 t1-1",
    });
  });

  it("gives a second member what the first has too many of, and all back when it leaves", () => {
    const first = member("c1", "t", { owned: "t-0 t-1 t-2" });
    const given = assigned("sticky", { t: 3 }, first, member("c2", "t"));
    assert.deepEqual(given, { c1: "t-0 t-1", c2: "t-2" });
    const left = member("c2", "t", { owned: given["c2"]! });
    assert.deepEqual(assigned("sticky", { t: 3 }, left), { c2: "t-0 t-1 t-2" });
  });

  it("leaves what is owned where it is and adds what is free", () => {
    const members = [
      member("c1", "t1 t2", { owned: "t1-0 t2-1" }),
      member("c2", "t1 t2", { owned: "t1-1 t2-2" }),
    ];
    assert.deepEqual(assigned("sticky", { t1: 2, t2: 3 }, ...members), {
      c1: "t1-0 t2-0 t2-1",
      c2: "t1-1 t2-2",
    });
  });

  it("takes from the first of those that have one more than there are places for", () => {
    const members = [
      member("c1", "t1 t2", { owned: "t1-0 t2-0" }),
      member("c2", "t1 t2", { owned: "t1-1 t2-1" }),
      member("c3", "t1 t2"),
    ];
    assert.deepEqual(assigned("sticky", { t1: 2, t2: 2 }, ...members), {
      c1: "t1-0",
      c2: "t1-1 t2-1",
      c3: "t2-0",
    });
  });

  it("fills those below the least first", () => {
    const members = [
      member("c1", "t1 t2", { owned: "t1-0" }),
      member("c2", "t1 t2", { owned: "t1-1" }),
      member("c3", "t1 t2"),
    ];
    assert.deepEqual(assigned("sticky", { t1: 2, t2: 3 }, ...members), {
      c1: "t1-0 t2-1",
      c2: "t1-1 t2-2",
      c3: "t2-0",
    });
    const fewer = [
      member("c1", "t", { owned: "t-0 t-1" }),
      member("c2", "t", { owned: "t-2" }),
      member("c3", "t"),
    ];
    assert.deepEqual(assigned("sticky", { t: 4 }, ...fewer), {
      c1: "t-0 t-1",
      c2: "t-2",
      c3: "t-3",
    });
  });

  it("believes none of two that claim a partition in the same generation", () => {
    const members = [
      member("c1", "t", { owned: "t-0 t-1" }),
      member("c2", "t", { owned: "t-0 t-2" }),
      member("c3", "t"),
    ];
    assert.deepEqual(assigned("sticky", { t: 3 }, ...members), { c1: "t-1", c2: "t-2", c3: "t-0" });
  });

  it("believes the later generation, and none least of all", () => {
    for (const generation of [9, -1]) {
      const members = [
        member("stale", "t", { owned: "t-0 t-1 t-2", generation }),
        member("fresh", "t", { owned: "t-0 t-1 t-2", generation: 10 }),
      ];
      for (const inOrder of [members, members.toReversed()]) {
        assert.deepEqual(assigned("sticky", { t: 6 }, ...inOrder), {
          fresh: "t-0 t-1 t-2",
          stale: "t-3 t-4 t-5",
        });
      }
    }
  });

  it("believes nobody who claims what is no partition", () => {
    for (const partition of [-1, 2, 0.5, NaN]) {
      const topics = ["s", "t"];
      const owned = [{ topic: "t", partition }];
      const stranger = { memberId: "b", instanceId: undefined, topics, owned, generation: 9 };
      const given = assigned("sticky", { s: 2, t: 2 }, member("a", "s t"), stranger);
      assert.deepEqual(given, { a: "s-0 t-0", b: "s-1 t-1" }, String(partition));
    }
  });

  it("does not take three claims of one generation for two", () => {
    const members = ["c1", "c2", "c3"].map((id) => member(id, "t", { owned: "t-0" }));
    assert.deepEqual(assigned("sticky", { t: 3 }, ...members), { c1: "t-0", c2: "t-1", c3: "t-2" });
  });

  it("passes over what is owned of topics that are gone, smaller or no longer wanted", () => {
    const members = [
      member("c1", "t", { owned: "gone-0 t-0 t-7" }),
      member("c2", "t", { owned: "other-0 t-1" }),
    ];
    assert.deepEqual(assigned("sticky", { t: 2, other: 1 }, ...members), { c1: "t-0", c2: "t-1" });
  });

  it("keeps every topic even while members come and go", () => {
    const counts = { t1: 12, t2: 12 };
    let owned: Record<string, string> = { c1: "" };
    for (
      const [round, ids] of [["c1"], ["c1", "c2"], ["c1", "c2", "c3", "c4"], ["c1", "c2"]].entries()
    ) {
      const before = Object.fromEntries(ids.map((id) => [id, owned[id] ?? ""]));
      owned = assigned("sticky", counts, ...inGeneration(round, "t1 t2", before));
      for (const text of Object.values(owned)) {
        const ofFirst = text.split(" ").filter((name) => name.startsWith("t1-"));
        assert.equal(ofFirst.length, 12 / ids.length);
        assert.equal(text.split(" ").length, 24 / ids.length);
      }
    }
  });
});

describe("the sticky assignor with mixed subscriptions", () => {
  it("gives the topics with the least choice out first", () => {
    const given = assigned(
      "sticky",
      { t0: 1, t1: 2, t2: 3 },
      member("A", "t0"),
      member("B", "t0 t1"),
      member("C", "t0 t1 t2"),
    );
    assert.deepEqual(given, { A: "t0-0", B: "t1-0 t1-1", C: "t2-0 t2-1 t2-2" });
  });

  it("is even over all topics", () => {
    const given = assigned(
      "sticky",
      { t1: 3, t2: 2 },
      member("c1", "t1"),
      member("c2", "t1 t2"),
      member("c3", "t1"),
    );
    assert.deepEqual(given, { c1: "t1-0 t1-2", c2: "t2-0 t2-1", c3: "t1-1" });
  });

  it("takes from who has most, and only as much as evens it out", () => {
    const members = [
      member("a", "t", { owned: "t-0 t-1 t-2 t-3 t-4 t-5" }),
      member("b", "t other", { owned: "other-0 other-1" }),
    ];
    assert.deepEqual(assigned("sticky", { t: 6, other: 2 }, ...members), {
      a: "t-0 t-1 t-2 t-3",
      b: "other-0 other-1 t-4 t-5",
    });
  });

  it("takes a topic from a member that no longer subscribes to it", () => {
    const members = [member("a", "t1", { owned: "t1-0 t2-0" }), member("b", "t1 t2")];
    assert.deepEqual(assigned("sticky", { t1: 1, t2: 1 }, ...members), { a: "t1-0", b: "t2-0" });
  });

  it("moves the partition without an owner rather than one that has one", () => {
    const members = [
      member("a", "t1 t2", { owned: "t1-0 t1-1" }),
      member("b", "t1", {}),
      member("c", "t2", { owned: "t2-0" }),
    ];
    const given = assigned("sticky", { t1: 3, t2: 1 }, ...members);
    assert.deepEqual(given, { a: "t1-0 t1-1", b: "t1-2", c: "t2-0" });
  });

  it("rather moves on what changes hands anyway", () => {
    const members = [
      member("a", "t2 t3", { owned: "t2-0 t2-1 t3-0" }),
      member("b", "t2 t3"),
      member("c", "t2"),
    ];
    const given = assigned("sticky", { t2: 3, t3: 1 }, ...members);
    assert.deepEqual(given, { a: "t2-0 t2-1", b: "t3-0", c: "t2-2" });
  });

  it("evens out what two members have too much of", () => {
    const ids = Array.from({ length: 20 }, (_, index) => `m${index}`);
    const members = ids.map((id, index) =>
      member(id, index % 2 === 0 ? "t1" : "t1 t2", {
        owned: index === 0 ? partitionNames("t1", 60) : index === 1 ? partitionNames("t2", 20) : "",
      })
    );
    const given = assigned("sticky", { t1: 60, t2: 20 }, ...members);
    assert.deepEqual(Object.values(given).map((text) => text.split(" ").length), ids.map(() => 4));
    assert.equal(given["m0"], "t1-0 t1-1 t1-2 t1-3");
  });
});
