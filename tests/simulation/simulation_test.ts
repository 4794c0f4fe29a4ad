/** The simulation, for a bounded number of seeds; `npm run sim` runs more. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { keptSeeds } from "./kept_seeds.ts";
import { simulate } from "./simulation.ts";
import type { SimulationOptions } from "./simulation.ts";
import { features } from "./world.ts";

const seedCount = 60;
const timeout = 120_000;

async function mustHold(options: SimulationOptions): Promise<readonly string[]> {
  const { failure, trace } = await simulate(options);
  assert.equal(failure, undefined, failure);
  return trace;
}

describe("the simulation", () => {
  it(`finds nothing in the first ${seedCount} seeds`, { timeout }, async () => {
    for (let seed = 0; seed < seedCount; seed++) await mustHold({ seed });
  });

  it("finds nothing in seeds that have failed before", { timeout }, async () => {
    for (const { found: _, ...options } of keptSeeds) await mustHold(options);
  });

  it("does the same again for the same seed", { timeout }, async () => {
    for (const seed of [1, 2, 3]) {
      const first = await mustHold({ seed, tracesDisk: true });
      assert.deepEqual(await mustHold({ seed, tracesDisk: true }), first);
    }
  });

  it("does all that it can do within a few seeds", { timeout }, async () => {
    const done = new Set<string>();
    for (let seed = 0; seed < 15; seed++) {
      for (const line of await mustHold({ seed })) {
        const call = / #\d+ (\w+)/.exec(line)?.[1] ??
          / (closeStore|powerCut|killProcess)/.exec(line)?.[1];
        if (call !== undefined) done.add(call);
      }
    }
    assert.deepEqual([...done].sort(), [
      "alterTopic",
      "append",
      "appendBatch",
      "closeConsumer",
      "closeProducer",
      "closeStore",
      "commit",
      "commitOffsets",
      "committedOffsets",
      "compactTopic",
      "createPartitions",
      "createTopic",
      "deleteRecords",
      "deleteTopic",
      "enforceRetention",
      "flush",
      "flushProducer",
      "killProcess",
      "offsetForTimestamp",
      "openConsumer",
      "openRange",
      "poll",
      "powerCut",
      "read",
      "send",
      "sendRange",
    ]);
  });

  it("leaves out what it is told to leave out", { timeout }, async () => {
    const trace = await mustHold({ seed: 5, without: features });
    const calls = trace.flatMap((line) => / #\d+ (\w+)/.exec(line)?.[1] ?? []);
    assert.ok(calls.includes("append"));
    for (const call of ["send", "poll", "openRange", "deleteTopic", "compactTopic"]) {
      assert.ok(!calls.includes(call), call);
    }
    assert.ok(!trace.some((line) => /powerCut|killProcess/.test(line)));
  });
});
