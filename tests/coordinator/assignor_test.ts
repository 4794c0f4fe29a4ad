/** The range and round robin assignors: who gets what, as Kafka's own tests have it. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { assignorName, assignorNames, defaultAssignor } from "../../src/coordinator/assignor.ts";
import { assigned, assignorMember as member } from "../support/assignments.ts";

const twoOfThree = { t0: 3, t1: 3 };
const stairs = { t0: 1, t1: 2, t2: 3 };

describe("every assignor", () => {
  it("is known by its name, and one is the default", () => {
    assert.deepEqual(assignorNames, ["range", "roundRobin", "sticky", "cooperativeSticky"]);
    assert.equal(defaultAssignor, "cooperativeSticky");
    assert.equal(assignorName("range"), "range");
    assert.equal(
      assignorName(function mine() {
        return new Map();
      }),
      "function mine",
    );
    assert.equal(assignorName(() => new Map()), "a function");
  });

  for (const assignor of ["range", "roundRobin", "sticky", "cooperativeSticky"] as const) {
    it(`gives nothing where there is nothing: ${assignor}`, () => {
      assert.deepEqual(assigned(assignor, { t0: 3 }), {});
      assert.deepEqual(assigned(assignor, {}, member("a", "")), { a: "" });
      assert.deepEqual(assigned(assignor, {}, member("a", "t0")), { a: "" });
      assert.deepEqual(assigned(assignor, { t0: 0 }, member("a", "t0")), { a: "" });
      assert.deepEqual(assigned(assignor, { t0: 3 }, member("a", "t1")), { a: "" });
    });

    it(`does not count a topic twice that a member names twice: ${assignor}`, () => {
      const given = assigned(assignor, { t0: 2 }, member("a", "t0 t0"), member("b", "t0"));
      assert.deepEqual(given, { a: "t0-0", b: "t0-1" });
    });

    it(`does not depend on the order of the members: ${assignor}`, () => {
      const members = [
        member("c", "t0 t1"),
        member("a", "t1", { owned: "t1-2" }),
        member("b", "t0", { instanceId: "i" }),
      ];
      assert.deepEqual(
        assigned(assignor, twoOfThree, ...members),
        assigned(assignor, twoOfThree, ...members.toReversed()),
      );
    });
  }

  it("gives one partition to one of two members", () => {
    const members = [member("c1", "t1"), member("c2", "t1")];
    for (const assignor of ["range", "roundRobin", "sticky", "cooperativeSticky"] as const) {
      assert.deepEqual(assigned(assignor, { t1: 1 }, ...members), { c1: "t1-0", c2: "" });
    }
  });
});

describe("the range assignor", () => {
  it("cuts every topic into ranges, the first ones longer", () => {
    assert.deepEqual(assigned("range", twoOfThree, member("A", "t0 t1"), member("B", "t0 t1")), {
      A: "t0-0 t0-1 t1-0 t1-1",
      B: "t0-2 t1-2",
    });
  });

  it("gives a lone member everything", () => {
    assert.deepEqual(assigned("range", { t1: 3 }, member("c1", "t1")), { c1: "t1-0 t1-1 t1-2" });
  });

  it("cuts a topic only for those that subscribe to it", () => {
    const given = assigned(
      "range",
      { t1: 3, t2: 2 },
      member("c1", "t1"),
      member("c2", "t1 t2"),
      member("c3", "t1"),
    );
    assert.deepEqual(given, { c1: "t1-0", c2: "t1-1 t2-0 t2-1", c3: "t1-2" });
  });

  it("puts static members first, and lets a new dynamic one take an old one's place", () => {
    const statics = [
      member("c1", "t1 t2", { instanceId: "i1" }),
      member("c2", "t1 t2", { instanceId: "i2" }),
      member("c3", "t1 t2", { instanceId: "i3" }),
    ];
    const before = assigned("range", { t1: 5, t2: 4 }, ...statics, member("c4", "t1 t2"));
    assert.deepEqual(before, {
      c1: "t1-0 t1-1 t2-0",
      c2: "t1-2 t2-1",
      c3: "t1-3 t2-2",
      c4: "t1-4 t2-3",
    });
    const { c4, ...rest } = before;
    const after = assigned("range", { t1: 5, t2: 4 }, ...statics, member("c5", "t1 t2"));
    assert.deepEqual(after, { ...rest, c5: c4 });
  });

  it("sorts static members by their instance, whatever their member ids are", () => {
    const dynamic = member("consumer-a", "t1");
    for (const memberId of ["consumer-b", "consumer-0"]) {
      const given = assigned(
        "range",
        { t1: 3 },
        dynamic,
        member(memberId, "t1", { instanceId: "instance1" }),
      );
      assert.deepEqual(given, { [memberId]: "t1-0 t1-1", "consumer-a": "t1-2" });
    }
    const byInstance = assigned(
      "range",
      { t1: 3 },
      member("a", "t1", { instanceId: "instance2" }),
      member("b", "t1", { instanceId: "instance1" }),
    );
    assert.deepEqual(byInstance, { a: "t1-2", b: "t1-0 t1-1" });
  });

  it("gives the first members more of every topic", () => {
    const members = ["c1", "c2", "c3"].map((id) => member(id, "t1 t2 t3"));
    assert.deepEqual(assigned("range", { t1: 6, t2: 7, t3: 2 }, ...members), {
      c1: "t1-0 t1-1 t2-0 t2-1 t2-2 t3-0",
      c2: "t1-2 t1-3 t2-3 t2-4 t3-1",
      c3: "t1-4 t1-5 t2-5 t2-6",
    });
  });

  it("keeps partitions of the same number together", () => {
    const members = ["a", "b", "c"].map((id) => member(id, "left right"));
    for (const text of Object.values(assigned("range", { left: 8, right: 8 }, ...members))) {
      const numbers = (topic: string): string[] =>
        text.split(" ").filter((name) => name.startsWith(topic)).map((name) => name.slice(-1));
      assert.deepEqual(numbers("left"), numbers("right"));
    }
  });
});

describe("the round robin assignor", () => {
  it("deals all partitions around", () => {
    const given = assigned("roundRobin", twoOfThree, member("A", "t0 t1"), member("B", "t0 t1"));
    assert.deepEqual(given, { A: "t0-0 t0-2 t1-1", B: "t0-1 t1-0 t1-2" });
  });

  it("passes over those that do not subscribe", () => {
    assert.deepEqual(
      assigned(
        "roundRobin",
        stairs,
        member("A", "t0"),
        member("B", "t0 t1"),
        member("C", "t0 t1 t2"),
      ),
      { A: "t0-0", B: "t1-0", C: "t1-1 t2-0 t2-1 t2-2" },
    );
    assert.deepEqual(
      assigned(
        "roundRobin",
        { t1: 3, t2: 2 },
        member("c1", "t1"),
        member("c2", "t1 t2"),
        member("c3", "t1"),
      ),
      { c1: "t1-0", c2: "t1-1 t2-0 t2-1", c3: "t1-2" },
    );
  });

  it("puts static members first, and gives a new dynamic one the same place", () => {
    const statics = [
      member("c1", "t1 t2", { instanceId: "i1" }),
      member("c2", "t1 t2", { instanceId: "i2" }),
      member("c3", "t1 t2", { instanceId: "i3" }),
    ];
    const places = { c1: "t1-0 t2-1", c2: "t1-1 t2-2", c3: "t1-2" };
    const counts = { t1: 3, t2: 3 };
    assert.deepEqual(assigned("roundRobin", counts, ...statics, member("c4", "t1 t2")), {
      ...places,
      c4: "t2-0",
    });
    assert.deepEqual(assigned("roundRobin", counts, ...statics, member("b5", "t1 t2")), {
      b5: "t2-0",
      ...places,
    });
  });
});
