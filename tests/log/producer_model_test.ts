/**
 * What a log knows of its producers against a model in plain arrays: random sequences of batches
 * that are right, sent twice, skip ahead, come from other epochs; of rolls, retention, checkpoints,
 * restarts, crashes and power cuts; and of snapshots that were damaged meanwhile or could not be
 * written.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Ack, Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { logCursor, nextBatch, readableEnd } from "../../src/log/log_reader.ts";
import type { ProducedBatch } from "../../src/log/producer_append.ts";
import { lastStableOffset } from "../../src/log/producer_append.ts";
import {
  noteRecoveryPoint,
  syncSnapshots,
  takeSnapshotIfUsed,
} from "../../src/log/producer_snapshots.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendValues,
  filesOf,
  flipByte,
  logFolder,
  manualClock,
  openTestLog,
  settle,
} from "../support/log_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";
import { assertProperty } from "../support/properties.ts";

const config = { segmentBytes: 700, indexIntervalBytes: 100 };
const epochMax = 20;

/** A batch or marker that was appended, as the model remembers it. */
interface Entry {
  readonly isMarker: boolean;
  readonly epoch: number;
  readonly baseSequence: number;
  readonly count: number;
  readonly baseOffset: number;
  readonly transactional: boolean;
  readonly coordinatorEpoch: number;
  /** Whether the last restart has left only what came after it. */
  isForgotten: boolean;
}

/** All that each producer appended, and what would survive a crash. */
interface Model {
  disk: FaultyDisk;
  log: Log;
  recoveryPoint: number;
  producers: Map<number, Entry[]>;
}

const anySend = fc.record({
  step: fc.constant("send" as const),
  producerId: fc.integer({ min: 1, max: 3 }),
  kind: fc.constantFrom(
    ...(["next", "next", "next", "again", "gap", "overlap", "older", "newer", "newerGap"] as const),
  ),
  back: fc.nat(6),
  count: fc.integer({ min: 1, max: 3 }),
  transactional: fc.boolean(),
  ack: fc.constantFrom<Ack>("disk", "os", "os", "memory"),
});

const anyMarker = fc.record({
  step: fc.constant("marker" as const),
  producerId: fc.integer({ min: 1, max: 3 }),
  type: fc.constantFrom("abort" as const, "commit" as const),
  newer: fc.boolean(),
  fenced: fc.boolean(),
});

const anyStep = fc.oneof(
  { weight: 12, arbitrary: anySend },
  { weight: 3, arbitrary: anyMarker },
  {
    weight: 6,
    arbitrary: fc.record({
      step: fc.constantFrom("plain", "turn", "roll", "checkpoint", "retain", "damage", "fail"),
      at: fc.nat(100),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      step: fc.constantFrom("restart", "crash", "powerCut"),
      keepsNames: fc.boolean(),
      keepsSnapshots: fc.boolean(),
      keptShare: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
);

type Step = typeof anyStep extends fc.Arbitrary<infer T> ? T : never;
type Send = typeof anySend extends fc.Arbitrary<infer T> ? T : never;

/** The last five batches of the producer's epoch. */
function lastOf(entries: readonly Entry[]): Entry[] {
  const last = entries.at(-1);
  const other = entries.findLastIndex((entry) => entry.epoch !== last?.epoch);
  return entries.slice(other + 1).filter((entry) => !entry.isMarker).slice(-5);
}

/** Those of them that a duplicate is told by. */
function knownOf(entries: readonly Entry[]): Entry[] {
  return lastOf(entries).filter((entry) => !entry.isForgotten);
}

function transactionOf(entries: readonly Entry[]): number {
  let first = -1;
  for (const entry of entries) {
    if (entry.isMarker) first = -1;
    else if (entry.transactional && first < 0) first = entry.baseOffset;
  }
  return first;
}

function coordinatorEpochOf(entries: readonly Entry[]): number {
  return entries.findLast((entry) => entry.isMarker)?.coordinatorEpoch ?? -1;
}

/** What a batch of that kind looks like. */
function planOf(entries: readonly Entry[], send: Send): Entry {
  const known = knownOf(entries);
  const last = known.at(-1);
  const epoch = entries.at(-1)?.epoch ?? 0;
  const next = last === undefined ? 0 : last.baseSequence + last.count;
  const original = known.at(-1 - send.back) ?? entries.find((entry) => !entry.isMarker);
  const plan = {
    isMarker: false,
    epoch,
    baseSequence: next,
    count: send.count,
    baseOffset: -1,
    transactional: send.transactional,
    coordinatorEpoch: -1,
    isForgotten: false,
  };
  switch (send.kind) {
    case "next":
      return plan;
    case "again":
      return original === undefined ? plan : { ...plan, ...original, isForgotten: false };
    case "gap":
      return { ...plan, baseSequence: next + 1 + send.back };
    case "overlap":
      return { ...plan, baseSequence: Math.max(0, next - 1), count: 3 };
    case "older":
      return { ...plan, epoch: Math.max(0, epoch - 1) };
    case "newer":
      return { ...plan, epoch: Math.min(epochMax, epoch + 1), baseSequence: 0 };
    case "newerGap":
      return { ...plan, epoch: epoch + 1, baseSequence: 1 + send.back };
  }
}

/** What the log must say to it: the original, an error, or nothing. */
function verdictOn(entries: readonly Entry[], plan: Entry): Entry | ErrorCode | undefined {
  const state = entries.at(-1);
  if (state === undefined) return undefined;
  const known = knownOf(entries);
  const { epoch, baseSequence, count } = plan;
  if (epoch === state.epoch) {
    const original = known.find((one) => one.baseSequence === baseSequence && one.count === count);
    if (original !== undefined) return original;
  }
  if (epoch < state.epoch) return "INVALID_PRODUCER_EPOCH";
  const last = epoch === state.epoch ? known.at(-1) : undefined;
  const wanted = last === undefined ? 0 : last.baseSequence + last.count;
  if (baseSequence !== wanted) return "OUT_OF_ORDER_SEQUENCE_NUMBER";
  const isOutside = transactionOf(entries) >= 0 && !plan.transactional;
  return isOutside ? "INVALID_TXN_STATE" : undefined;
}

function attempt(call: () => ProducedBatch): ProducedBatch | ErrorCode {
  try {
    const produced = call();
    produced.done?.catch(() => {});
    return produced;
  } catch (error) {
    assert.ok(isOttlaError(error), String(error));
    return error.code;
  }
}

/** Whether that is all that a snapshot may do that cannot be written: keep a first batch away. */
function isRefusedFirst(log: Log, found: ProducedBatch | ErrorCode): boolean {
  if (found !== "KAFKA_STORAGE_ERROR") return false;
  assert.equal(log.snapshots.offsets.length, 0);
  return true;
}

function sendStep({ log, producers }: Model, send: Send): void {
  const { producerId, ack } = send;
  const entries = producers.get(producerId) ?? [];
  const plan = planOf(entries, send);
  const expected = verdictOn(entries, plan);
  const { endOffset } = log;
  const values = Array.from({ length: plan.count }, (_, index) => `${plan.baseSequence + index}`);
  const { epoch, transactional } = plan;
  const found = attempt(() =>
    produce(log, plan.baseSequence, { producerId, epoch, values, transactional, ack })
  );
  if (expected === undefined && isRefusedFirst(log, found)) {
    return assert.equal(log.endOffset, endOffset);
  } else if (typeof expected === "string" || typeof found === "string") {
    assert.equal(found, expected);
  } else {
    const baseOffset = expected?.baseOffset ?? endOffset;
    assert.equal(found.baseOffset, baseOffset);
    assert.equal(found.lastOffset, baseOffset + plan.count - 1);
    assert.equal(found.maxTimestamp, producedTime);
    assert.equal(found.isDuplicate, expected !== undefined);
  }
  const isAppended = expected === undefined;
  assert.equal(log.endOffset, isAppended ? endOffset + plan.count : endOffset);
  if (isAppended) producers.set(producerId, [...entries, { ...plan, baseOffset: endOffset }]);
}

function markerStep(model: Model, step: Step & { step: "marker" }): void {
  const { log, producers } = model;
  const { producerId, newer, fenced } = step;
  const entries = producers.get(producerId) ?? [];
  const last = coordinatorEpochOf(entries);
  const epoch = Math.min(epochMax, (entries.at(-1)?.epoch ?? 0) + (newer ? 1 : 0));
  const coordinatorEpoch = fenced ? Math.max(0, last - 1) : last + 1;
  const { endOffset } = log;
  const found = attempt(() =>
    endTransaction(log, step.type, { producerId, epoch, coordinatorEpoch })
  );
  if (coordinatorEpoch < last) {
    assert.equal(found, "TRANSACTION_COORDINATOR_FENCED");
    return;
  }
  if (isRefusedFirst(log, found)) return;
  assert.ok(typeof found !== "string");
  const entry: Entry = {
    isMarker: true,
    epoch,
    baseSequence: -1,
    count: 1,
    baseOffset: endOffset,
    transactional: true,
    coordinatorEpoch,
    isForgotten: false,
  };
  producers.set(producerId, [...entries, entry]);
}

function checkpoint(model: Model): void {
  const { log } = model;
  saveActiveIndexes(log);
  takeSnapshotIfUsed(log);
  model.recoveryPoint = log.commit.syncedOffset;
  noteRecoveryPoint(log);
}

/** What was said only by what goes must be in a snapshot that stays, so all is recorded first. */
async function retain(model: Model): Promise<void> {
  const { disk, log } = model;
  healDisk(disk);
  await flushLog(log);
  checkpoint(model);
  await syncSnapshots(log);
  log.config = { ...log.config, retentionBytes: 1500 };
  retireSegments(log, log.clock.now());
  sweepRetired(log);
}

function damage(disk: FaultyDisk, at: number): void {
  const names = filesOf(disk.fs).filter((name) => name.endsWith(".snapshot"));
  const name = names[at % Math.max(1, names.length)];
  if (name !== undefined) flipByte(disk.inner, `${logFolder}/${name}`, at % 10);
}

/** The first offsets of the batches that are in the log. */
function batchesIn(log: Log): Set<number> {
  const cursor = logCursor(log, log.startOffset, { readBytes: 4096, reusesBuffer: true });
  const endOffset = readableEnd(log);
  const offsets = new Set<number>();
  for (;;) {
    try {
      const batch = nextBatch(cursor, endOffset);
      if (batch === undefined) return offsets;
      offsets.add(batch.baseOffset);
    } catch (error) {
      if (!isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
    }
  }
}

function reopen(model: Model, recoveryPoint: number): void {
  const { log } = openTestLog(model.disk.fs, {
    config,
    recoveryPoint,
    clock: manualClock(producedTime),
  });
  model.log = log;
  const first = log.segments[0]!.baseOffset;
  const found = batchesIn(log);
  for (const [producerId, entries] of model.producers) {
    // What retention has taken is still known.
    const left = entries.filter(({ baseOffset }) => baseOffset < first || found.has(baseOffset));
    if (left.length > 0) model.producers.set(producerId, left);
    else model.producers.delete(producerId);
  }
}

/** Holds the log's states against the model's; after a restart fewer duplicates may be known. */
function compare({ log, producers }: Model, isRestart: boolean): void {
  const { byId } = log.producers;
  assert.deepEqual([...byId.keys()].sort(), [...producers.keys()].sort());
  let unstable = Infinity;
  for (const [producerId, entries] of producers) {
    const state = byId.get(producerId)!;
    const transaction = transactionOf(entries);
    if (transaction >= 0) unstable = Math.min(unstable, transaction);
    assert.equal(state.epoch, entries.at(-1)!.epoch);
    assert.equal(state.currentTransactionFirstOffset, transaction);
    assert.equal(state.coordinatorEpoch, coordinatorEpochOf(entries));
    const known = state.batches.map((batch) => batch.baseOffset);
    if (isRestart) {
      const last = lastOf(entries);
      assert.equal(known.length > 0, last.length > 0);
      for (const entry of last) entry.isForgotten = !known.includes(entry.baseOffset);
    }
    assert.deepEqual(known, knownOf(entries).map((entry) => entry.baseOffset));
  }
  assert.deepEqual([...log.producers.open.values()][0] ?? Infinity, unstable);
  const stable = lastStableOffset(log);
  assert.ok(stable <= Math.max(log.startOffset, Math.min(unstable, log.highWatermark)));
  if (isRestart) assert.equal(stable, Math.max(log.startOffset, Math.min(unstable, log.endOffset)));
}

async function restartStep(model: Model, step: Step): Promise<void> {
  assert.ok("keptShare" in step);
  const { keepsNames, keepsSnapshots, keptShare } = step;
  if (step.step === "restart") {
    model.recoveryPoint = await closeLog(model.log);
    return reopen(model, Infinity);
  }
  abandonLog(model.log);
  await settle();
  if (step.step === "powerCut") {
    const bytes = (unsynced: number, path: string): number =>
      keepsSnapshots && path.endsWith(".snapshot") ? unsynced : Math.floor(keptShare * unsynced);
    model.disk = crashDisk(model.disk, { names: keepsNames, bytes });
  }
  reopen(model, model.recoveryPoint);
}

async function run(steps: readonly Step[], retains: boolean): Promise<void> {
  const disk = faultyDisk();
  const clock = manualClock(producedTime);
  const { log } = openTestLog(disk.fs, { config, clock });
  const model: Model = { disk, log, recoveryPoint: 0, producers: new Map() };
  for (const step of steps) {
    const isRestart = "keptShare" in step;
    if (step.step === "send") sendStep(model, step as Send);
    else if (step.step === "marker") markerStep(model, step as Step & { step: "marker" });
    else if (step.step === "plain") void appendValues(model.log, ["plain"]);
    else if (step.step === "turn") await settle();
    else if (step.step === "roll") rollLog(model.log);
    else if (step.step === "checkpoint") checkpoint(model);
    // Damaged snapshots are made up for by the log, as far as it is still there.
    else if (step.step === "retain" && retains) await retain(model);
    else if (step.step === "damage" && !retains && "at" in step) damage(model.disk, step.at);
    else if (step.step === "fail") {
      failNext(model.disk, { operation: "write", code: "EIO", path: ".snapshot", shortBytes: 20 });
    } else if (isRestart) await restartStep(model, step);
    compare(model, isRestart);
  }
  abandonLog(model.log);
}

describe("the producers of a log", () => {
  it("are those of a model in plain arrays, whatever happens", async () => {
    await assertProperty(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 80, size: "max" }), fc.boolean(), run),
      { numRuns: 300 },
    );
  });
});
