/** The lives of a store: opened, maybe in several tries; used; and ended in one way or another. */

import { closeStore, openStore } from "../../mod.ts";
import type { ErrorCode } from "../../mod.ts";
import { killProcess, operationCountOf, powerCut } from "../../src/testing/mod.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { checkBackups } from "./backup_actions.ts";
import { checkRotten } from "./bit_rot.ts";
import { checkClosed, checkNothingOpen, checkOpened, contentOf } from "./full_check.ts";
import { spoilIndexes } from "./index_damage.ts";
import { demand } from "./invariant.ts";
import { noteSynced, placedEnd } from "./partition_model.ts";
import { closeRanges } from "./range_actions.ts";
import { loseAnswers } from "./remote_actions.ts";
import { checkStep } from "./step_checks.ts";
import { beginOpeningWeather, beginWeather, endWeather, freeRoom, pickCrash } from "./weather.ts";
import { act } from "./workload.ts";
import type { World } from "./world.ts";
import {
  attempt,
  isDead,
  noteCrash,
  openStoreOf,
  quickWaits,
  settled,
  trace,
  waitMs,
  waitsMax,
} from "./world.ts";

/** After so many openings that crash the next ones do not. */
const crashingOpeningsMax = 6;
const openingsMax = 10;

/** What came of an opening: the process may have died, and the disk or the lock refused it. */
type Opening = "open" | "dead" | "failed" | "locked";

/**
 * Opens the store and compares it with the model, through crashes in the middle of it.
 *
 * @param world The simulation.
 */
export async function beginLife(world: World): Promise<void> {
  const { disk, harm, random, without } = world;
  world.process = disk.process;
  if (!without.has("damage") && random.chance(0.3)) spoilIndexes(world);
  await checkBackups(world);
  if (!without.has("damage") && harm !== "powerCut" && random.chance(0.2)) await checkRotten(world);
  let outcome: Opening = "dead";
  for (let opening = 1;; opening++) {
    demand(opening < openingsMax, () => `the store is not open after ${opening} tries`);
    if (opening < crashingOpeningsMax) beginOpeningWeather(world);
    outcome = await openInWeather(world, outcome);
    if (outcome !== "open") continue;
    const crash = opening < crashingOpeningsMax ? pickCrash(world, 0.2) : undefined;
    if (crash === undefined) return;
    await checkSecondOpening(world, crash);
    crashNow(world, crash);
  }
}

/** Opens the store, whatever the disk does meanwhile, and compares it with the model. */
async function openInWeather(world: World, before: Opening): Promise<Opening> {
  // A lock that a failing disk has not let go of is held until the process ends.
  const outcome = await openOnce(world, before === "failed" ? ["STORE_LOCKED"] : []);
  endWeather(world);
  freeRoom(world);
  if (outcome === "failed") checkNothingOpen(world);
  const isUsable = outcome === "open" &&
    (!world.hasFaults || openStoreOf(world).recovery.failedPartitions.length === 0);
  if (outcome === "locked" || (outcome === "open" && !isUsable)) {
    crashNow(world, "killProcess");
    return "dead";
  }
  if (!isUsable) return outcome;
  world.hadFaults = world.hasFaults;
  world.hasFaults = false;
  await checkOpened(world);
  return "open";
}

/** What one recovery has shown the next one finds, whatever comes in between. */
async function checkSecondOpening(world: World, crash: "powerCut" | "killProcess"): Promise<void> {
  const content = await contentOf(world);
  crashNow(world, crash);
  demand(await openOnce(world) === "open", () => "the second opening failed");
  const again = await contentOf(world);
  const lines = new Set(content.split("\n"));
  demand(
    content === again,
    () =>
      "a second recovery finds something else than the first, such as " +
      (again.split("\n").find((line) => !lines.has(line)) ??
        `without ${[...lines].find((line) => !again.includes(line))}`),
  );
}

/** Uses the store for some steps, or until it dies. */
export async function live(world: World, stepCount: number): Promise<void> {
  beginWeather(world);
  for (world.step = 1; world.step <= stepCount && !isDead(world); world.step++) {
    actUnlessDead(world);
    await pass(world);
    throwFailure(world);
    if (!isDead(world)) checkStep(world);
  }
}

/** What is done at once, such as filling the disk, may be what the crash comes in. */
function actUnlessDead(world: World): void {
  try {
    act(world);
  } catch (error) {
    if (!isDead(world)) throw error;
  }
}

/** Ends the life of a store in one way or another. */
export async function endLife(world: World): Promise<void> {
  const crash = isDead(world) ? undefined : pickCrash(world, 0.5);
  if (crash !== undefined) crashNow(world, crash);
  else if (isDead(world)) bury(world);
  else await closeLife(world);
}

/** Closes the store: all that was acknowledged is on disk then, and nobody waits any more. */
export async function closeLife(world: World): Promise<void> {
  const { random } = world;
  if (random.chance(0.5)) endWeather(world);
  trace(world, "closeStore");
  world.isClosing = true;
  if (random.chance(0.5)) await closeRanges(world);
  const areRangesHeld = world.ranges.length > 0;
  const closing = attempt(world, "closeStore", [], () => closeStore(openStoreOf(world)));
  const outcome = await settled(world, closing);
  if (!isDead(world)) await settled(world, closeRanges(world));
  await settleAll(world);
  if (isDead(world)) return bury(world);
  throwFailure(world);
  endWeather(world);
  freeRoom(world);
  if (outcome?.kind === "done") {
    for (const { partitions, isGone } of world.topics.all) {
      if (!isGone) { for (const model of partitions) noteSynced(model, placedEnd(model)); }
    }
    // What still syncs the files of a deleted topic lets go of them when it is done.
    await world.disk.clock.advance(waitMs);
    await checkClosed(world, areRangesHeld);
  } else {
    // A lock that could not be let go of is held until the process ends.
    return crashNow(world, "killProcess");
  }
  forget(world);
}

/** Opens the store once. */
async function openOnce(
  world: World,
  codes: readonly ErrorCode[] = [],
): Promise<Opening> {
  const { disk, segmentBytes } = world;
  world.process = disk.process;
  trace(world, `openStore, operation ${operationCountOf(disk) + 1}`);
  const opening = attempt(world, "openStore", codes, () =>
    openStore("/data", {
      ...disk.process,
      diskFreeBytesMin: 0,
      retentionCheckMs: 2_000,
      compactionCheckMs: 3_000,
      checkpointMs: 700,
      topicOverrides: { segmentBytes, indexIntervalBytes: 64 },
    }));
  const outcome = await settled(world, opening);
  if (outcome === undefined || outcome.kind === "dead" || isDead(world)) {
    bury(world);
    return "dead";
  }
  if (outcome.kind === "failed") return outcome.code === "STORE_LOCKED" ? "locked" : "failed";
  world.store = outcome.value;
  return "open";
}

/** Lets something happen between two steps: nothing, a turn of the event loop, or time. */
async function pass({ disk, random }: World): Promise<void> {
  const kind = random.below(10);
  if (kind < 3) return;
  if (kind < 5) await Promise.resolve();
  else if (kind < 7) await nextTurn();
  else if (kind < 9) await disk.clock.advance(1 + random.below(20));
  else await disk.clock.advance(random.pick([50, 300, 1_500]));
}

/** Waits until every call of the life has been answered. */
async function settleAll(world: World): Promise<void> {
  for (let waits = 0; world.underWay.size > 0 && !isDead(world); waits++) {
    demand(
      waits < waitsMax,
      () => `these calls were never answered: ${[...world.underWay].join(", ")}`,
    );
    await world.disk.clock.advance(waits < quickWaits ? 1 : waitMs);
  }
}

/** Crashes the machine or the process between two operations of the disk. */
function crashNow(world: World, crash: "powerCut" | "killProcess"): void {
  trace(world, crash);
  noteCrash(world, crash);
  if (crash === "powerCut") powerCut(world.disk);
  else killProcess(world.disk);
  bury(world);
}

/** What a dead process had is gone with it. */
function bury(world: World): void {
  endWeather(world);
  freeRoom(world);
  trace(world, `died: ${world.harm}`);
  throwFailure(world);
  forget(world);
}

function forget(world: World): void {
  world.store = undefined;
  world.underWay.clear();
  world.producers = [];
  world.consumers = [];
  world.handlings = [];
  world.lanes.clear();
  world.ranges = [];
  world.owners.clear();
  world.counts.clear();
  loseAnswers(world);
  world.isClosing = false;
  world.hasFaults = false;
  world.hasFlips = false;
  world.isFilling = false;
  world.life++;
  world.step = 0;
}

function throwFailure({ failure }: World): void {
  if (failure !== undefined) throw failure;
}
