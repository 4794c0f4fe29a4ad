/** The simulation, for a bounded number of seeds; `npm run sim` runs more. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { SimulatedDisk } from "../../src/testing/mod.ts";
import { keptSeeds } from "./kept_seeds.ts";
import { simulate } from "./simulation.ts";
import type { SimulationOptions } from "./simulation.ts";
import { features } from "./world.ts";

const seedCount = 40;
const timeout = 300_000;
/** All that there is to do, as the trace calls it. */
const calls: readonly string[] = [
  "alterTopic",
  "append",
  "appendBatch",
  "backupStore",
  "closeConsumer",
  "closeHandling",
  "closeProducer",
  "closeStore",
  "commit",
  "commitOffsets",
  "committedOffsets",
  "compactTopic",
  "consumeEach",
  "createPartitions",
  "createTopic",
  "deleteGroup",
  "deleteRecords",
  "deleteTopic",
  "enforceRetention",
  "flush",
  "flushProducer",
  "killProcess",
  "offsetForTimestamp",
  "openConsumer",
  "openRange",
  "pause",
  "poll",
  "powerCut",
  "produce",
  "read",
  "readBatches",
  "resetOffsets",
  "resume",
  "seek",
  "send",
  "sendRange",
  "statsOf",
  "stopHandling",
];

/** Those that no feature stands for. */
const plainCalls: readonly string[] = [
  "append",
  "appendBatch",
  "closeStore",
  "createTopic",
  "flush",
  "offsetForTimestamp",
  "read",
  "readBatches",
  "statsOf",
];

async function mustHold(options: SimulationOptions): Promise<readonly string[]> {
  const { failure, trace } = await simulate(options);
  assert.equal(failure, undefined, failure);
  return trace;
}

/** What was called, once each, in order. */
function callsIn(trace: readonly string[]): string[] {
  const found = trace.flatMap((line) =>
    / #\d+ (\w+)/.exec(line)?.[1] ?? / (closeStore|powerCut|killProcess)$/.exec(line)?.[1] ?? []
  );
  return [...new Set(found)].sort();
}

describe("the simulation", () => {
  it(`does all that it can and finds nothing in ${seedCount} seeds`, { timeout }, async () => {
    const done: string[] = [];
    for (let seed = 0; seed < seedCount; seed++) done.push(...callsIn(await mustHold({ seed })));
    assert.deepEqual([...new Set(done)].sort(), calls);
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

  it("leaves out what it is told to leave out", { timeout }, async () => {
    const found = callsIn(await mustHold({ seed: 5, without: features }));
    assert.deepEqual(found.filter((call) => !plainCalls.includes(call)), []);
    assert.ok(found.includes("append"));
  });

  it("finds records that are gone, and says how to see that again", { timeout }, async () => {
    const { failure } = await simulate({ seed: 3, stepsMax: 40, beforeOpening: loseRecords });
    assert.match(String(failure), /^seed 3, life \d+, step \d+: .+ was promised$/m);
    assert.match(String(failure), /npm run sim -- --seed 3 --steps 40 --trace$/);
  });
});

/** Cuts the logs of users, as no disk does that keeps what was synced. */
function loseRecords({ fileSystem }: SimulatedDisk): void {
  if (fileSystem.stat("/data") === undefined) return;
  for (const { name, isFolder } of fileSystem.list("/data")) {
    if (!isFolder || name.startsWith("__")) continue;
    for (const { name: file } of fileSystem.list(`/data/${name}`)) {
      if (!file.endsWith(".log")) continue;
      const handle = fileSystem.open(`/data/${name}/${file}`, "write");
      fileSystem.truncate(handle, 0);
      fileSystem.close(handle);
    }
  }
}
