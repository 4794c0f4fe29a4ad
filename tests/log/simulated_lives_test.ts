/**
 * A log on a simulated disk against a model: lives of random steps, each ended by a close, a death
 * of the process or a power cut, in the middle of any operation, with syncs and writes that fail.
 *
 * The model remembers of every batch how much was promised: nothing, that it survives the death of
 * the process, or a power cut. Each opening must show what was promised, nothing that an opening
 * before has not shown, every offset once, and the producers of what is there. What it shows is
 * promised from then on.
 */

import assert from "node:assert/strict";
import { before, it } from "node:test";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { isOttlaError } from "../../src/errors.ts";
import { gatherAppend } from "../../src/log/gathered_appends.ts";
import type { Ack, Log, LogConfig } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { openLog } from "../../src/log/log_open.ts";
import { readableEnd } from "../../src/log/log_reader.ts";
import { recoveryPointOf } from "../../src/log/log_sync.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import { noteRecoveryPoint, takeSnapshotIfUsed } from "../../src/log/producer_snapshots.ts";
import { largestTimestamp, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { filePool } from "../../src/platform/file_pool.ts";
import { makeFolderSynced } from "../../src/platform/files.ts";
import type { BatchBuilder } from "../../src/record/batch_builder.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import type { SeededRandom, SimulatedDisk, SimulatedProcess } from "../../src/testing/mod.ts";
import {
  historyOf,
  killProcess,
  openHandlesOf,
  operationCountOf,
  powerCut,
  seededRandom,
  setFaults,
  simulatedDisk,
} from "../../src/testing/mod.ts";
import { logFolder, readLog, settle, testConfig } from "../support/log_fixture.ts";
import { withRunningClock } from "../support/simulated_disk_fixture.ts";

/** Tens of thousands have been run clean. */
const seedCount = 250;
const producerIds = [1, 2];

/** What survives: nothing is promised, the death of the process, a power cut. */
const promises = { none: 0, os: 1, disk: 2 } as const;
type Promised = typeof promises[keyof typeof promises];

/** A batch that somebody wanted to append. */
interface Attempt {
  readonly ack: Ack;
  readonly count: number;
  readonly producerId: number;
  readonly baseSequence: number;
  readonly timestamp: number;
  /** -1 while nobody knows. */
  baseOffset: number;
  promised: Promised;
  /** Set when the log said that nothing of it is there, and when an opening did not show it. */
  isGone: boolean;
}

/** A disk, what a store would know of the log on it, and the model. */
interface World {
  readonly disk: SimulatedDisk;
  readonly random: SeededRandom;
  readonly config: LogConfig;
  readonly openMax: number;
  /** Every batch, by the number in its values. */
  readonly attempts: Attempt[];
  readonly nextSequences: Map<number, number>;
  log: Log;
  /** The process that has the log open. */
  process: SimulatedProcess;
  recoveryPoint: number;
  startOffset: number;
  isClean: boolean;
  lostPower: boolean;
  /** How the last life ended. */
  crash: "none" | "killProcess" | "powerCut";
}

function makeWorld(seed: number): World {
  const random = seededRandom(seed).fork("lives");
  const disk = simulatedDisk({ seed });
  makeFolderSynced(disk.fileSystem, logFolder);
  return {
    disk,
    random,
    config: {
      ...testConfig,
      segmentBytes: random.pick([700, 1500, 5000]),
      indexIntervalBytes: random.pick([0, 100, 400]),
      flushMessages: random.pick([4, Number.MAX_SAFE_INTEGER]),
    },
    openMax: random.pick([1, 2, 16]),
    attempts: [],
    nextSequences: new Map(),
    log: undefined as unknown as Log,
    process: disk.process,
    recoveryPoint: 0,
    startOffset: 0,
    isClean: true,
    lostPower: false,
    crash: "none",
  };
}

function hasDied({ disk, process }: World): boolean {
  return disk.process !== process;
}

/** Failures of the disk are what this is about; anything else is a defect. */
function checkIsFailure(error: unknown): void {
  if (!(error instanceof Error && "code" in error)) throw error;
}

/** Lets things go wrong at some of the operations to come, and perhaps everything end at one. */
function armDisk(world: World, operationCount: number): void {
  const { disk, random } = world;
  const first = operationCountOf(disk) + 1;
  const anyNumber = (): number => first + random.below(operationCount);
  const crashAt = random.chance(0.5) ? anyNumber() : -1;
  const crash = random.pick(["killProcess", "powerCut"] as const);
  const kind = random.pick(["sync", "sync", "write", "truncate", "syncFolder", "rename"] as const);
  const failFrom = random.chance(0.6) ? anyNumber() : Infinity;
  const failTo = failFrom + random.pick([0, 2, 20]);
  setFaults(disk, {
    syncMsMax: random.pick([0, 0, 3]),
    rule(operation) {
      const { number } = operation;
      if (number === crashAt) {
        // What a power cut has taken stays taken.
        if (world.crash !== "powerCut") world.crash = crash;
        return { crash };
      }
      const fails = number >= failFrom && number <= failTo && operation.kind === kind;
      return fails ? { code: "EIO" } : undefined;
    },
  });
}

/** Opens the log, however often it takes: the first openings may fail or crash. */
function openWorld(world: World): void {
  const { config, disk, random } = world;
  for (let failures = 0;; failures++) {
    if (failures < 3 && random.chance(0.4)) armDisk(world, 60);
    else setFaults(disk);
    const { fileSystem, clock } = world.process = disk.process;
    const { isClean, recoveryPoint, startOffset, lostPower } = world;
    world.isClean = false;
    try {
      world.log = openLog({
        pool: filePool(fileSystem, world.openMax),
        clock,
        folder: logFolder,
        source: { topic: "orders", partition: 0 },
        config,
        leaderEpoch: 0,
        recoveryPoint: isClean ? Infinity : recoveryPoint,
        startOffset,
        lostPower: !isClean && lostPower,
      }).log;
      // A snapshot that cannot be written keeps no log from being opened, not even a dead one.
      if (!hasDied(world)) break;
    } catch (error) {
      checkIsFailure(error);
    }
    world.lostPower ||= world.crash === "powerCut";
  }
  setFaults(disk);
  checkOpened(world);
  world.crash = "none";
  // Where another partition cannot be recovered, the mark of the power cut stays.
  if (random.chance(0.9)) world.lostPower = false;
}

/** Reads all that can be read, and gives the batches that are there. */
function foundIn({ attempts, log }: World): Set<Attempt> {
  const found = new Set<Attempt>();
  const { records, lost } = readLog(log);
  assert.deepEqual(lost, []);
  let nextOffset = log.startOffset;
  for (const { offset, value } of records) {
    const [number, index] = value.split(" ").map(Number);
    const attempt = attempts[number!]!;
    if (attempt.baseOffset < 0) attempt.baseOffset = offset - index!;
    assert.equal(offset, nextOffset++, "every offset is there once");
    assert.equal(offset, attempt.baseOffset + index!, `${value} is where it was`);
    assert.ok(!attempt.isGone, `${value} at ${offset} was not there before`);
    found.add(attempt);
  }
  return found;
}

/** Holds what an opening shows against what was promised, and promises it. */
function checkOpened(world: World): void {
  const { attempts, crash, log } = world;
  assert.equal(log.startOffset, world.startOffset);
  assert.equal(log.highWatermark, log.endOffset);
  // A power cut may bring back a write that was taken back.
  if (crash === "powerCut") {
    for (const attempt of attempts) attempt.isGone &&= attempt.promised > 0;
  }
  const found = foundIn(world);
  const wanted = crash === "powerCut" ? promises.disk : promises.os;
  for (const attempt of attempts) {
    const { baseOffset, count, promised } = attempt;
    const isBelow = baseOffset >= 0 && baseOffset + count <= log.startOffset;
    if (promised >= wanted && !attempt.isGone) {
      assert.ok(found.has(attempt) || isBelow, `${baseOffset} is there after ${crash}`);
      assert.ok(log.endOffset >= baseOffset + count, `${baseOffset} is not given out again`);
    }
    attempt.isGone ||= !found.has(attempt) && !isBelow;
    attempt.promised = promises.disk;
  }
  checkProducers(world, found);
  for (const segment of log.segments) {
    const inSegment = [...found].filter(({ baseOffset }) =>
      baseOffset >= segment.baseOffset && baseOffset < segment.endOffset
    );
    if (inSegment.length === 0 || segment.baseOffset < log.startOffset) continue;
    const times = inSegment.map(({ timestamp }) => timestamp);
    assert.equal(largestTimestamp(log, segment), Math.max(...times));
  }
}

function checkProducers({ log, nextSequences }: World, found: ReadonlySet<Attempt>): void {
  for (const producerId of producerIds) {
    const last = [...found].findLast((attempt) => attempt.producerId === producerId);
    const known = log.producers.byId.get(producerId)?.batches.at(-1);
    if (last !== undefined) {
      assert.equal(known?.baseOffset, last.baseOffset, `the last batch of ${producerId} is known`);
      assert.equal(known?.baseSequence, last.baseSequence);
    }
    nextSequences.set(producerId, known === undefined ? 0 : known.lastSequence + 1);
  }
}

/** Promises all batches that end at an offset or before it. */
function promise(world: World, endOffset: number, promised: Promised): void {
  if (hasDied(world)) return;
  for (const attempt of world.attempts) {
    const { baseOffset, count } = attempt;
    const isIn = baseOffset >= 0 && baseOffset + count <= endOffset && !attempt.isGone;
    if (isIn && attempt.promised < promised) attempt.promised = promised;
  }
}

function newAttempt(world: World, ack: Ack, count: number, producerId: number): Attempt {
  const attempt = {
    ack,
    count,
    producerId,
    baseSequence: world.nextSequences.get(producerId) ?? -1,
    timestamp: 1_700_000_000_000 + world.random.below(1000),
    baseOffset: -1,
    promised: promises.none,
    isGone: false,
  };
  world.attempts.push(attempt);
  return attempt;
}

function buildAttempt(world: World, attempt: Attempt): BatchBuilder {
  const { count, producerId, baseSequence, timestamp } = attempt;
  const number = world.attempts.length - 1;
  const filling = " ".repeat(world.random.pick([0, 0, 3, 60, 200]));
  const builder = batchBuilder();
  for (let index = 0; index < count; index++) {
    appendRecord(builder, timestamp, null, `${number} ${index}${filling}`);
  }
  const producer = producerId === 0 ? {} : { producerId, producerEpoch: 0, baseSequence };
  const { endOffset } = world.log;
  finishBatch(builder, { baseOffset: endOffset, partitionLeaderEpoch: 0, ...producer });
  return builder;
}

function appendStep(world: World): void {
  const { log, random } = world;
  const ack = random.pick<Ack>(["disk", "disk", "os", "os", "memory"]);
  const attempt = newAttempt(world, ack, 1 + random.below(3), random.pick([0, 0, ...producerIds]));
  const builder = buildAttempt(world, attempt);
  const endOffset = log.endOffset + attempt.count;
  attempt.baseOffset = log.endOffset;
  try {
    const done = appendProduced(log, builder, endOffset, ack).done;
    done?.then(() => world.log === log && promise(world, endOffset, promises.disk), checkIsFailure);
    const { producerId, baseSequence, count } = attempt;
    if (producerId > 0) world.nextSequences.set(producerId, baseSequence + count);
    if (ack === "os") promise(world, endOffset, promises.os);
  } catch (error) {
    checkIsFailure(error);
    // After a failure that poisons the log, and after a crash, nobody knows what is there.
    if (hasDied(world) || log.commit.failure !== undefined) attempt.baseOffset = -1;
    else attempt.isGone = true;
  }
}

function gatherStep(world: World): void {
  const { log } = world;
  const attempt = newAttempt(world, "disk", 1, 0);
  const { index, outcome } = gatherAppend(log, buildAttempt(world, attempt));
  outcome.then(({ baseOffset, storedCount }) => {
    if (hasDied(world) || world.log !== log || index >= storedCount) return;
    attempt.baseOffset = baseOffset + index;
    promise(world, attempt.baseOffset + 1, promises.disk);
  }, checkIsFailure);
}

function retryStep(world: World): void {
  const { log, random } = world;
  const producerId = random.pick(producerIds);
  const last = log.producers.byId.get(producerId)?.batches.at(-1);
  if (last === undefined) return;
  const builder = batchBuilder();
  const { baseSequence, lastSequence, baseOffset, lastOffset } = last;
  for (let left = lastSequence - baseSequence; left >= 0; left--) {
    appendRecord(builder, 0, null, "again");
  }
  const { endOffset } = log;
  finishBatch(builder, {
    baseOffset: endOffset,
    partitionLeaderEpoch: 0,
    producerId,
    producerEpoch: 0,
    baseSequence,
  });
  const again = appendProduced(log, builder, endOffset + lastOffset - baseOffset + 1, "os");
  assert.deepEqual([again.isDuplicate, again.baseOffset], [true, baseOffset]);
  assert.equal(log.endOffset, endOffset);
  promise(world, lastOffset + 1, promises.os);
}

/** As a store does it now and then; its files are replaced at once or not at all. */
function checkpointStep(world: World): void {
  const { log } = world;
  saveActiveIndexes(log);
  takeSnapshotIfUsed(log);
  if (hasDied(world)) return;
  world.recoveryPoint = recoveryPointOf(log);
  noteRecoveryPoint(log);
}

function retainStep(world: World): void {
  const { log, random } = world;
  log.config = { ...log.config, retentionBytes: random.pick([0, 500, 1500]) };
  log.isStartDue = retireSegments(log, 0) > 0 || log.isStartDue;
  if (hasDied(world) || random.chance(0.1)) return;
  world.startOffset = log.startOffset;
  log.isStartDue = false;
  sweepRetired(log);
}

async function flushStep(world: World): Promise<void> {
  const { log } = world;
  const { endOffset } = log;
  await withRunningClock(world.disk, flushLog(log));
  promise(world, endOffset, promises.disk);
}

function readStep(world: World): void {
  const end = readableEnd(world.log);
  foundIn(world);
  promise(world, end, promises.os);
}

/** Every step, as often as its name stands here. */
const steps: readonly ((world: World) => void | Promise<void>)[] = [
  ...Array<typeof appendStep>(12).fill(appendStep),
  gatherStep,
  gatherStep,
  retryStep,
  settle,
  settle,
  (world) => world.disk.clock.advance(world.random.below(4)),
  flushStep,
  checkpointStep,
  checkpointStep,
  (world) => rollLog(world.log),
  retainStep,
  readStep,
];

async function live(world: World): Promise<void> {
  const { disk, log, random } = world;
  if (random.chance(0.8)) armDisk(world, random.pick([20, 60, 150]));
  for (let left = random.below(30); left >= 0 && !hasDied(world); left--) {
    if (log.commit.failure !== undefined) break;
    try {
      await random.pick(steps)(world);
    } catch (error) {
      checkIsFailure(error);
    }
    // Whoever reads "disk" batches has been promised that they stay.
    const seen = world.attempts.filter(({ ack, baseOffset, count, isGone }) =>
      ack === "disk" && !isGone && baseOffset >= 0 && baseOffset + count <= log.highWatermark
    );
    promise(world, seen.at(-1)?.baseOffset ?? 0, promises.disk);
  }
  if (!hasDied(world)) await endLife(world);
  world.lostPower ||= world.crash === "powerCut";
  setFaults(disk);
  await settle();
}

async function endLife(world: World): Promise<void> {
  const { disk, log, random } = world;
  const end = random.pick(["close", "close", "abandon", "killProcess", "powerCut"] as const);
  if (end === "close") await closeWorld(world);
  if (end === "abandon") abandonLog(log);
  // Syncs that were under way end.
  await disk.clock.advance(50);
  if (hasDied(world)) return;
  if (end === "close") assert.deepEqual(openHandlesOf(disk), []);
  const crash = end === "close" ? random.pick(["none", "killProcess", "powerCut"] as const) : end;
  if (crash === "none" || crash === "abandon") return;
  world.crash = crash;
  if (crash === "powerCut") powerCut(disk);
  else killProcess(disk);
}

async function closeWorld(world: World): Promise<void> {
  const { disk, log } = world;
  try {
    const endOffset = await withRunningClock(disk, closeLog(log));
    if (hasDied(world)) return;
    assert.equal(endOffset, log.endOffset);
    world.recoveryPoint = endOffset;
    world.startOffset = log.startOffset;
    world.isClean = true;
    promise(world, endOffset, promises.disk);
  } catch (error) {
    assert.ok(isOttlaError(error) || hasDied(world) || error instanceof Error);
    checkIsFailure(error);
  }
}

before(() => loadCrc32c());

it("keeps what it promised, however its lives end", async () => {
  for (let seed = 0; seed < seedCount; seed++) {
    const world = makeWorld(seed);
    try {
      openWorld(world);
      for (let lives = 1 + world.random.below(6); lives > 0; lives--) {
        await live(world);
        openWorld(world);
      }
      abandonLog(world.log);
    } catch (error) {
      const history = historyOf(world.disk).join("\n");
      throw new Error(`seed ${seed}: ${error}\n${history}`, { cause: error });
    }
  }
});
