/** Every order in which processes can touch the folder leaves one owner: not two, and not none. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { assertProperty } from "../support/properties.ts";
import type { InterleavedProcess, World } from "./interleaved_process.ts";
import { beginRelease, startProcess, stepProcess } from "./interleaved_process.ts";

const slotCount = 4;
const runCount = 150;
/** No process makes more calls than this before it has an answer. */
const callsMax = 5_000;

/** What happens next to the process of a slot; `steps` is how many calls it makes. */
interface Turn {
  readonly slot: number;
  readonly steps: number;
  readonly end: "none" | "release" | "kill";
}

const turn = fc.record({
  slot: fc.nat(slotCount - 1),
  steps: fc.nat(12),
  end: fc.constantFrom<Turn["end"]>("none", "none", "none", "release", "release", "kill"),
});

function newWorld(salt: number, hasLinks = true): World {
  const fs = memoryFileSystem(() => 0);
  fs.makeFolder("/store");
  const isEarly = (name: string): boolean => ((Number(name.split(".")[2]) || 0) ^ salt) % 2 === 0;
  return { fs, folder: "/store", hasLinks, isEarly, processes: [] };
}

function ownersOf({ processes }: World): InterleavedProcess[] {
  return processes.filter(({ isAlive, state }) => isAlive && state === "owner");
}

function finish(world: World, current: InterleavedProcess): void {
  for (let calls = 0; current.state !== "owner" && current.state !== "done"; calls++) {
    assert.ok(calls < callsMax, "the lock asks without end");
    stepProcess(world, current);
  }
}

function stepUntil(world: World, current: InterleavedProcess, isReached: () => boolean): void {
  for (let calls = 0; calls < callsMax && !isReached(); calls++) stepProcess(world, current);
}

function take(world: World, slots: InterleavedProcess[], { slot, steps, end }: Turn): void {
  let current = slots[slot] ??= startProcess(world);
  if (!current.isAlive || current.state === "done") current = slots[slot] = startProcess(world);
  for (let step = 0; step < steps; step++) {
    stepProcess(world, current);
    assert.ok(ownersOf(world).length <= 1, "two owners");
  }
  if (end === "release") beginRelease(current);
  if (end === "kill") current.isAlive = false;
}

describe("store lock, interleaved", () => {
  it("there are never two owners, whoever pauses, releases or is killed at whatever call", () => {
    const turns = fc.array(turn, { minLength: 10, maxLength: 80, size: "max" });
    assertProperty(
      fc.property(turns, fc.nat(1), (turns, salt) => {
        const world = newWorld(salt);
        const slots: InterleavedProcess[] = [];
        for (const turn of turns) take(world, slots, turn);

        // All others die where they are; whether a new process gets the lock depends on the owner
        // alone.
        const [owner] = ownersOf(world);
        for (const other of world.processes) other.isAlive = other === owner;
        const last = startProcess(world);
        finish(world, last);
        if (owner === undefined) {
          assert.equal(last.state, "owner", String(last.error));
        } else {
          assert.ok(isOttlaError(last.error, "STORE_LOCKED"), String(last.error));
          assert.equal(last.error.details["pid"], owner.pid);
        }
      }),
      { numRuns: runCount },
    );
  });

  for (const hasLinks of [true, false]) {
    it(`of many that race, one wins${hasLinks ? "" : ", without links too"}`, () => {
      const order = fc.array(fc.nat(), { maxLength: 400, size: "max" });
      const former = fc.constantFrom("none", "released", "dead");
      assertProperty(
        fc.property(order, fc.integer({ min: 2, max: 8 }), former, (order, count, former) => {
          const world = newWorld(0, hasLinks);
          if (former !== "none") leaveLock(world, former === "released");
          const racers = Array.from({ length: count }, () => startProcess(world));
          for (const index of order) stepProcess(world, racers[index % count]!);
          for (const racer of racers) finish(world, racer);
          assert.equal(racers.filter(({ state }) => state === "owner").length, 1);
          for (const { state, error } of racers) {
            assert.ok(state === "owner" || isOttlaError(error, "STORE_LOCKED"), String(error));
          }
        }),
        { numRuns: runCount },
      );
    });
  }

  it("a listing that passes over locks that come and go deceives nobody", () => {
    let reachedCount = 0;
    for (let pausedAt = 0; pausedAt < 12; pausedAt++) {
      const world = newWorld(0);
      const has = (generation: number): boolean =>
        world.fs.stat(`/store/ottla.lock.${generation}`) !== undefined;
      leaveLock(world, true);
      // The slow one decides to take generation 2, and does so when 3 has come and gone already.
      const slow = startProcess(world);
      for (let step = 0; step < pausedAt; step++) stepProcess(world, slow);
      leaveLock(world, true);
      leaveLock(world, true);
      stepUntil(world, slow, () => has(2));
      if (has(2)) reachedCount++;
      // It removes its temporary file and sees the half of the folder that 4 will be in.
      for (let step = 0; step < 2; step++) stepProcess(world, slow);
      // The fast one takes 4 and removes 3, which was to be in the other half.
      const fast = startProcess(world);
      stepUntil(world, fast, () => !has(3));
      finish(world, slow);
      finish(world, fast);
      assert.equal(ownersOf(world).length, 1);
    }
    assert.ok(reachedCount > 0);
  });

  it("fifty that take turns call by call come to one owner", () => {
    const world = newWorld(0);
    const racers = Array.from({ length: 50 }, () => startProcess(world));
    for (let round = 0; racers.some(({ state }) => state === "acquiring"); round++) {
      assert.ok(round < callsMax, "the lock asks without end");
      for (const racer of racers) stepProcess(world, racer);
    }
    assert.equal(ownersOf(world).length, 1);
    assert.equal(world.fs.list("/store").length, 1);
  });
});

function leaveLock(world: World, isReleased: boolean): void {
  const former = startProcess(world);
  finish(world, former);
  if (isReleased) {
    beginRelease(former);
    finish(world, former);
  }
  former.isAlive = false;
}
