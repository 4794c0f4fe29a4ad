/**
 * A log on a simulated disk against a model: lives of random steps, each ended by a close, a death
 * of the process or a power cut, in the middle of any operation, with syncs and writes that fail.
 *
 * The model remembers of every batch how much was promised: nothing, that it survives the death of
 * the process, or a power cut. Each opening must show what was promised, nothing that an opening
 * before has not shown, every offset once, and the producers of what is there and of what was
 * deleted. What it shows is promised from then on, and what a second opening shows is the same.
 */

import assert from "node:assert/strict";
import { before, it } from "node:test";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { gatherAppend } from "../../src/log/gathered_appends.ts";
import type { Ack, Log, LogConfig } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { openLog } from "../../src/log/log_open.ts";
import { readableEnd } from "../../src/log/log_reader.ts";
import { recoveryPointOf } from "../../src/log/log_sync.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import {
  loadSnapshot,
  noteRecoveryPoint,
  takeSnapshotIfUsed,
  trustedOffset,
} from "../../src/log/producer_snapshots.ts";
import { producerStates } from "../../src/log/producer_state.ts";
import {
  advanceStart,
  largestTimestamp,
  retireBelowStart,
  retireSegments,
} from "../../src/log/retention.ts";
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
const failingKinds = [
  ...["sync", "sync", "write", "truncate", "syncFolder", "rename"] as const,
  ...["open", "create", "remove", "list"] as const,
];

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
  /** Where the log began anew, behind an end that a power cut had taken: no producer is known. */
  resetOffset: number;
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
    resetOffset: 0,
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
  const kind = random.pick(failingKinds);
  const code = kind === "write" ? random.pick(["EIO", "ENOSPC"]) : "EIO";
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
      // A snapshot that cannot be read is made up for by the log, without what was deleted of it.
      const isSnapshotRead = kind === "open" && operation.path.endsWith(".snapshot");
      return fails && !isSnapshotRead ? { code } : undefined;
    },
  });
}

/** Opens the log, and now and then once more: what a recovery has done is done. */
function openWorld(world: World): void {
  const { disk, random } = world;
  tryOpenWorld(world);
  while (random.chance(0.2)) {
    const { startOffset, endOffset } = world.log;
    const end = random.pick(["abandon", "killProcess", "powerCut"] as const);
    if (end === "abandon") abandonLog(world.log);
    else crashWorld(world, end);
    setFaults(disk);
    tryOpenWorld(world, 0);
    assert.deepEqual([world.log.startOffset, world.log.endOffset], [startOffset, endOffset]);
  }
}

/** Opens the log, however often it takes: the first openings may fail or crash. */
function tryOpenWorld(world: World, failuresMax = 3): void {
  const { config, disk, random } = world;
  for (let failures = 0;; failures++) {
    if (failures < failuresMax && random.chance(0.4)) armDisk(world, 60);
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
        wasBrokers: !isClean && random.chance(0.1),
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
    for (const attempt of attempts) {
      if (!attempt.isGone || attempt.promised > 0) continue;
      attempt.isGone = false;
      attempt.baseOffset = -1;
    }
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
    attempt.isGone ||= !found.has(attempt) && !(isBelow && promised >= wanted);
    attempt.promised = promises.disk;
  }
  if (world.lostPower && log.startOffset === log.endOffset) world.resetOffset = log.startOffset;
  checkProducers(world, found);
  checkSnapshots(world);
  for (const segment of log.segments) {
    const inSegment = [...found].filter(({ baseOffset }) =>
      baseOffset >= segment.baseOffset && baseOffset < segment.endOffset
    );
    if (inSegment.length === 0 || segment.baseOffset < log.startOffset) continue;
    const times = inSegment.map(({ timestamp }) => timestamp);
    assert.equal(largestTimestamp(log, segment), Math.max(...times));
  }
}

function checkProducers(world: World, found: ReadonlySet<Attempt>): void {
  const { log, nextSequences } = world;
  for (const producerId of producerIds) {
    const last = [...found].findLast((attempt) => attempt.producerId === producerId);
    const known = log.producers.byId.get(producerId)?.batches.at(-1);
    if (last !== undefined) {
      assert.equal(known?.baseOffset, last.baseOffset, `the last batch of ${producerId} is known`);
      assert.equal(known?.baseSequence, last.baseSequence);
    }
    const knownOffset = known?.baseOffset ?? -1;
    const wantedOffset = producedOffset(world, producerId);
    assert.ok(knownOffset >= wantedOffset, `${producerId} is known by ${knownOffset}`);
    nextSequences.set(producerId, known === undefined ? 0 : known.lastSequence + 1);
  }
}

/** Where the last batch lies by which a producer must be known below an offset; -1 for none. */
function producedOffset(world: World, producerId: number, endOffset = Infinity): number {
  const last = world.attempts.findLast((attempt) =>
    attempt.producerId === producerId && !attempt.isGone && attempt.promised === promises.disk &&
    attempt.baseOffset >= world.resetOffset && attempt.baseOffset + attempt.count <= endOffset
  );
  return last?.baseOffset ?? -1;
}

/** Each snapshot that a recovery would begin with knows what the log before it tells. */
function checkSnapshots(world: World): void {
  const { log } = world;
  const { offsets, isDue } = log.snapshots;
  for (const offset of offsets.filter((offset) => offset <= trustedOffset(log))) {
    const states = producerStates(log.source);
    const isRead = loadSnapshot(log, offset, states);
    assert.ok(isRead || isDue || offset < offsets.at(-1)!, `the snapshot at ${offset} can be read`);
    for (const producerId of isRead ? producerIds : []) {
      const wantedOffset = producedOffset(world, producerId, offset);
      const known = states.byId.get(producerId)?.batches.at(-1);
      assert.ok((known?.lastOffset ?? -1) < offset, `the snapshot at ${offset} is not ahead`);
      assert.ok((known?.baseOffset ?? -1) >= wantedOffset, `the snapshot at ${offset} knows all`);
    }
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

function deleteStep(world: World): void {
  const { log, random } = world;
  advanceStart(log, log.startOffset + random.below(log.highWatermark - log.startOffset + 1));
  if (hasDied(world)) return;
  world.startOffset = log.startOffset;
  // What waits to be written may be deleted too, and then a crash leaves a start behind the end.
  if (log.accepted.sizeBytes > 0) world.resetOffset = log.startOffset;
  log.isStartDue = false;
  retireBelowStart(log);
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
  deleteStep,
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
  if (crash !== "none" && crash !== "abandon") crashWorld(world, crash);
}

function crashWorld(world: World, crash: "killProcess" | "powerCut"): void {
  const { disk, random } = world;
  world.crash = crash;
  world.lostPower ||= crash === "powerCut";
  if (crash === "killProcess") killProcess(disk);
  else powerCut(disk, { unsynced: random.pick(["any", "any", "lost", "kept"] as const) });
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
