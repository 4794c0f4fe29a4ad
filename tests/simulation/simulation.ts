/** One simulation: everything that a seed does, and what is told when it fails. */

import { closeStore, createTopic, openStore } from "../../mod.ts";
import { historyOf, seededRandom, simulatedDisk } from "../../src/testing/mod.ts";
import type { SimulatedDisk } from "../../src/testing/mod.ts";
import { groupModels } from "./group_model.ts";
import { beginLife, closeLife, endLife, live } from "./lives.ts";
import type { TopicProfile } from "./topic_model.ts";
import { topicModels } from "./topic_model.ts";
import { capacityBytes } from "./weather.ts";
import type { Feature, World } from "./world.ts";

const livesMax = 6;
const traceLines = 60;
export const stepsMaxDefault = 120;

/** What a simulation may be told. */
export interface SimulationOptions {
  readonly seed: number;
  /** How many steps each life of the store has at most. */
  readonly stepsMax?: number;
  /** What it is to leave out. */
  readonly without?: readonly Feature[];
  /** Whether the trace is to have what the disk did. */
  readonly tracesDisk?: boolean;
  /** Done to the disk before every life of the store: what the simulation is to find. */
  readonly beforeOpening?: (disk: SimulatedDisk) => void;
}

/** What came of a simulation. */
export interface SimulationResult {
  readonly seed: number;
  /** All that was done and answered. */
  readonly trace: readonly string[];
  /** What did not hold, for people; undefined if all held. */
  readonly failure: string | undefined;
}

/**
 * Runs a seed.
 *
 * @param options The seed, and what it is to do.
 * @returns What came of it.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { seed, stepsMax = stepsMaxDefault } = options;
  await warmUp();
  const world = newWorld(options);
  let failure: string | undefined;
  try {
    const lifeCount = 1 + world.random.below(livesMax);
    for (let life = 0; life < lifeCount; life++) {
      options.beforeOpening?.(world.disk);
      await beginLife(world);
      await live(world, 1 + world.random.below(stepsMax));
      await endLife(world);
    }
    options.beforeOpening?.(world.disk);
    await beginLife(world);
    await closeLife(world);
  } catch (error) {
    failure = describeFailure(world, options, error);
  }
  return { seed, trace: world.trace, failure };
}

/** What a store loads once for a process takes turns of the event loop: not in a simulation. */
async function warmUp(): Promise<void> {
  const store = await openStore(":memory:");
  await createTopic(store, "warm");
  await closeStore(store);
}

function newWorld(options: SimulationOptions): World {
  const { seed, tracesDisk = false } = options;
  const without = new Set(options.without);
  const random = seededRandom(seed).fork("workload");
  const disk = simulatedDisk({ seed, capacityBytes });
  return {
    seed,
    random,
    disk,
    without,
    trace: [],
    tracesDisk,
    topics: topicModels(profilesOf(without)),
    groups: groupModels(),
    records: [],
    segmentBytes: random.pick([600, 1_200, 4_000]),
    life: 0,
    step: 0,
    store: undefined,
    process: undefined,
    hasFaults: false,
    hadFaults: false,
    hasFlips: false,
    isClosing: false,
    isFilling: false,
    harm: "none",
    underWay: new Set(),
    producers: [],
    remotes: [],
    consumers: [],
    handlings: [],
    lanes: new Map(),
    ranges: [],
    backups: [],
    counts: new Map(),
    owners: new Map(),
    nextName: 0,
    failure: undefined,
  };
}

function profilesOf(without: ReadonlySet<Feature>): Map<string, TopicProfile> {
  const profiles = new Map<string, TopicProfile>([
    ["orders", { kind: "kept", retentionMs: -1, retentionBytes: -1 }],
    ["events", { kind: "kept", retentionMs: -1, retentionBytes: -1 }],
  ]);
  if (!without.has("retention")) {
    profiles.set("clicks", { kind: "timed", retentionMs: 2_000, retentionBytes: -1 });
    profiles.set("audit", { kind: "sized", retentionMs: -1, retentionBytes: 3_000 });
  }
  if (!without.has("compaction")) {
    profiles.set("prices", { kind: "compacted", retentionMs: -1, retentionBytes: -1 });
  }
  return profiles;
}

function describeFailure(world: World, options: SimulationOptions, error: unknown): string {
  const { seed, life, step, trace, disk } = world;
  const sentence = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? String(error.stack) : "";
  return [
    `seed ${seed}, life ${life}, step ${step}: ${sentence}`,
    "",
    "What was done last:",
    ...trace.slice(-traceLines).map((line) => `  ${line}`),
    "",
    "What the disk did last:",
    ...diskLines(disk).map((line) => `  ${line}`),
    "",
    stack,
    "",
    `To see it again: ${commandOf(options)} --trace`,
  ].join("\n");
}

function diskLines(disk: SimulatedDisk): string[] {
  return historyOf(disk).slice(-traceLines);
}

function commandOf({ seed, stepsMax, without = [] }: SimulationOptions): string {
  const steps = stepsMax === undefined ? "" : ` --steps ${stepsMax}`;
  return `npm run sim -- --seed ${seed}${steps}${
    without.map((name) => ` --without ${name}`).join("")
  }`;
}
