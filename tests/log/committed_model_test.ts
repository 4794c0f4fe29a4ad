/**
 * Readers of what was committed, and the transaction indexes, against a model in plain arrays: random
 * interleavings of plain and transactional batches, commits and aborts; of rolls, checkpoints,
 * deletions, restarts, crashes and power cuts; and of indexes that were damaged meanwhile.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import type { Ack, Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import {
  isLookingAhead,
  isolatedCursor,
  isolatedEnd,
  nextVisibleBatch,
} from "../../src/log/committed_reader.ts";
import type { LogCursor } from "../../src/log/log_cursor.ts";
import { noteRecoveryPoint, takeSnapshotIfUsed } from "../../src/log/producer_snapshots.ts";
import { advanceStart, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import {
  abortedTransactions,
  trySyncTransactionIndexes,
} from "../../src/log/transaction_indexes.ts";
import { readFile } from "../../src/platform/files.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendValues,
  filesOf,
  flipByte,
  logFolder,
  manualClock,
  openTestLog,
  resizeFile,
  segmentPath,
  settle,
} from "../support/log_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";
import { assertProperty } from "../support/properties.ts";

const config = { segmentBytes: 700, indexIntervalBytes: 100 };

/** A batch that was appended, as the model remembers it. */
interface Item {
  readonly kind: "plain" | "data" | "commit" | "abort";
  readonly producerId: number;
  readonly offset: number;
  readonly count: number;
}

/** An aborted transaction: producer, first offset, marker, last stable offset. */
type Row = readonly [number, number, number, number];

interface Model {
  disk: FaultyDisk;
  log: Log;
  recoveryPoint: number;
  items: Item[];
  /** Reads on through all that happens, as far as it was not deleted. */
  tail: LogCursor | undefined;
  tailSeen: number[];
}

type Step =
  | { step: "send"; producerId: number; count: number; ack: Ack }
  | { step: "end"; producerId: number; type: "commit" | "abort"; ack: Ack }
  | { step: "plain"; count: number; ack: Ack }
  | { step: "roll" | "checkpoint" | "flush" | "fail" | "restart" | "crash" }
  | { step: "delete"; share: number; retains: boolean }
  | { step: "powerCut"; share: number; keepsNames: boolean }
  | { step: "damage"; at: number; how: "flip" | "cut" | "remove" };

const ack = fc.constantFrom<Ack>("os", "os", "disk", "memory");
const producerId = fc.integer({ min: 1, max: 4 });
const share = fc.double({ min: 0, max: 1, noNaN: true });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      step: fc.constant("send" as const),
      producerId,
      count: fc.integer({ min: 1, max: 3 }),
      ack,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      step: fc.constant("end" as const),
      producerId,
      type: fc.constantFrom("commit" as const, "abort" as const),
      ack,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      step: fc.constant("plain" as const),
      count: fc.integer({ min: 1, max: 3 }),
      ack,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      step: fc.constantFrom(
        ...(["roll", "checkpoint", "flush", "fail", "restart", "crash"] as const),
      ),
    }),
  },
  fc.record({ step: fc.constant("delete" as const), share, retains: fc.boolean() }),
  fc.record({ step: fc.constant("powerCut" as const), share, keepsNames: fc.boolean() }),
  fc.record({
    step: fc.constant("damage" as const),
    at: fc.nat(10_000),
    how: fc.constantFrom("flip" as const, "cut" as const, "remove" as const),
  }),
);

/** Where the transaction that a producer has open at an offset began, or -1. */
function openSince(items: readonly Item[], id: number, offset: number): number {
  let first = -1;
  for (const item of items) {
    if (item.offset >= offset) break;
    if (item.producerId !== id) continue;
    if (item.kind === "data") first = first < 0 ? item.offset : first;
    else first = -1;
  }
  return first;
}

function firstOpen(items: readonly Item[], offset: number, but = -1): number {
  let first = Infinity;
  for (const id of [1, 2, 3, 4]) {
    const since = id === but ? -1 : openSince(items, id, offset);
    if (since >= 0) first = Math.min(first, since);
  }
  return first;
}

/** The offsets of the records that were committed, from an offset on. */
function committedOffsets({ items, log }: Model, from: number): number[] {
  const end = Math.min(log.highWatermark, Math.max(log.startOffset, stableOf(items, log)));
  const offsets: number[] = [];
  for (const { kind, producerId: id, offset, count } of items) {
    if (offset >= end || kind === "commit" || kind === "abort") continue;
    const marker = items.find((item) =>
      item.offset > offset && item.producerId === id && item.kind !== "data"
    );
    if (kind === "data" && marker?.kind !== "commit") continue;
    for (let at = Math.max(offset, from); at < Math.min(offset + count, end); at++) {
      offsets.push(at);
    }
  }
  return offsets;
}

/** The first offset of a transaction that is open, or whose marker cannot be seen. */
function stableOf(items: readonly Item[], log: Log): number {
  let stable = firstOpen(items, Infinity);
  for (const { kind, producerId: id, offset } of items) {
    if ((kind !== "commit" && kind !== "abort") || offset < log.highWatermark) continue;
    const since = openSince(items, id, offset);
    if (since >= 0) stable = Math.min(stable, since);
  }
  return stable;
}

function abortedRows(items: readonly Item[], from: number, upperBound: number): Row[] {
  const rows: Row[] = [];
  for (const { kind, producerId: id, offset } of items) {
    const first = kind === "abort" ? openSince(items, id, offset) : -1;
    if (first < 0 || offset < from || first >= upperBound) continue;
    rows.push([id, first, offset, Math.min(offset + 1, firstOpen(items, offset, id))]);
  }
  return rows;
}

/** The offsets that a cursor sees now. */
function seenBy(cursor: LogCursor, from: number): number[] {
  const offsets: number[] = [];
  for (let calls = 0; calls < 100_000; calls++) {
    try {
      const batch = nextVisibleBatch(cursor, isolatedEnd(cursor.log, "readCommitted"));
      if (batch === undefined && !isLookingAhead(cursor)) return offsets;
      if (batch === undefined) continue;
      for (const { offset } of recordsOf(batch)) if (offset >= from) offsets.push(offset);
    } catch (error) {
      // What a power cut took from the middle of a log.
      if (!isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
    }
  }
  assert.fail("the reader comes to an end");
}

function cursorAt(log: Log, from: number, markersMax: number, turnBytes: number): LogCursor {
  const options = { readBytes: 256, reusesBuffer: true };
  const cursor = isolatedCursor(log, from, options, "readCommitted");
  cursor.outcomes = { ...cursor.outcomes!, markersMax, turnBytes };
  return cursor;
}

type Append = Extract<Step, { ack: Ack }>;

function append(model: Model, step: Append): void {
  const { log, items } = model;
  const offset = log.endOffset;
  if (step.step === "plain") {
    const { count } = step;
    const done = appendValues(log, Array.from({ length: count }, () => "plain"), step.ack);
    done?.catch(() => {});
    items.push({ kind: "plain", producerId: -1, offset, count });
  } else if (step.step === "send") {
    const { producerId: id, count } = step;
    const last = log.producers.byId.get(id)?.batches.at(-1)?.lastSequence ?? -1;
    const values = Array.from({ length: count }, () => "data");
    const plan = { producerId: id, values, transactional: true, ack: step.ack };
    produce(log, last + 1, plan).done?.catch(() => {});
    items.push({ kind: "data", producerId: id, offset, count });
  } else {
    const { producerId: id, type } = step;
    endTransaction(log, type, { producerId: id, ack: step.ack }).done?.catch(() => {});
    items.push({ kind: type, producerId: id, offset, count: 1 });
  }
}

function checkpoint(model: Model): void {
  const { log } = model;
  saveActiveIndexes(log);
  takeSnapshotIfUsed(log);
  if (!trySyncTransactionIndexes(log)) return;
  model.recoveryPoint = log.commit.syncedOffset;
  noteRecoveryPoint(log);
}

async function remove(model: Model, step: Step & { step: "delete" }): Promise<void> {
  const { log, disk } = model;
  healDisk(disk);
  await flushLog(log);
  checkpoint(model);
  advanceStart(log, Math.floor(step.share * log.highWatermark));
  if (!step.retains) return;
  retireSegments(log, log.clock.now());
  sweepRetired(log);
}

function damage(disk: FaultyDisk, { at, how }: Step & { step: "damage" }): void {
  const names = filesOf(disk.inner).filter((name) => name.endsWith(".txnindex"));
  if (names.length === 0) return;
  const path = `${logFolder}/${names[at % names.length]!}`;
  const sizeBytes = disk.inner.stat(path)!.sizeBytes;
  if (how === "remove") disk.fs.remove(path);
  else if (how === "cut") resizeFile(disk.inner, path, at % sizeBytes);
  else if (sizeBytes > 0) flipByte(disk.inner, path, at % sizeBytes, 1 + at % 255);
}

/** The first offsets of the batches that are in the files of a log. */
function offsetsIn(log: Log): Set<number> {
  const offsets = new Set<number>();
  for (const { baseOffset, pool } of log.segments) {
    const bytes = readFile(pool.fs, segmentPath(baseOffset))!;
    try {
      for (const batch of batchesIn(bytes)) offsets.add(batch.baseOffset);
    } catch (error) {
      // Behind what is whole.
      if (!isOttlaError(error)) throw error;
    }
  }
  return offsets;
}

async function restart(model: Model, step: Step): Promise<void> {
  const { log, disk } = model;
  let { recoveryPoint } = model;
  if (step.step === "restart") {
    healDisk(disk);
    model.recoveryPoint = await closeLog(log);
    recoveryPoint = Infinity;
  } else {
    abandonLog(log);
    await settle();
    if (step.step === "powerCut") {
      const bytes = (unsynced: number): number => Math.floor(step.share * unsynced);
      model.disk = crashDisk(disk, { names: step.keepsNames, bytes });
    }
  }
  const clock = manualClock(producedTime);
  const { startOffset } = log;
  model.log = openTestLog(model.disk.fs, { config, clock, recoveryPoint, startOffset }).log;
  // A power cut may take what lies before something that it leaves.
  const first = model.log.segments[0]!.baseOffset;
  const found = offsetsIn(model.log);
  model.items = model.items.filter(({ offset }) => offset < first || found.has(offset));
  model.tail = undefined;
}

function compare(model: Model, seed: number, hasDamage: boolean): void {
  const { log, items } = model;
  const { startOffset, highWatermark } = log;
  const from = startOffset + seed % (highWatermark - startOffset + 1);
  const cursor = cursorAt(log, from, seed % 4, 1 + seed % 400);
  assert.deepEqual(seenBy(cursor, from), committedOffsets(model, from));
  if (model.tail === undefined || model.tail.offset < startOffset) {
    model.tail = cursorAt(log, startOffset, 100, 100_000);
    model.tailSeen = [];
  }
  model.tailSeen.push(...seenBy(model.tail, startOffset));
  const tailSeen = model.tailSeen.filter((offset) => offset >= startOffset);
  assert.deepEqual(tailSeen, committedOffsets(model, startOffset));
  if (hasDamage) return;
  const upperBound = from + seed % 7;
  const rows = abortedTransactions(log, from, upperBound).map((entry): Row => [
    entry.producerId,
    entry.firstOffset,
    entry.lastOffset,
    entry.lastStableOffset,
  ]);
  // An index that is made again from what is left knows no beginnings that were deleted.
  const inLog = ([id, first, last, stable]: Row): Row => [
    id,
    Math.max(first, startOffset),
    last,
    Math.max(stable, startOffset),
  ];
  assert.deepEqual(rows.map(inLog), abortedRows(items, from, upperBound).map(inLog));
}

async function run(steps: readonly Step[], seed: number, hasDamage: boolean): Promise<void> {
  const disk = faultyDisk();
  const { log } = openTestLog(disk.fs, { config, clock: manualClock(producedTime) });
  log.config = { ...log.config, cleanupPolicy: "" };
  const model: Model = {
    disk,
    log,
    recoveryPoint: 0,
    items: [],
    tail: undefined,
    tailSeen: [],
  };
  for (const [index, step] of steps.entries()) {
    if ("ack" in step) append(model, step);
    else if (step.step === "roll") rollLog(model.log);
    else if (step.step === "flush") await settle();
    else if (step.step === "checkpoint") checkpoint(model);
    else if (step.step === "delete") await remove(model, step);
    else if (step.step === "fail") {
      failNext(model.disk, { operation: "write", code: "EIO", path: ".txnindex", shortBytes: 20 });
    } else if (step.step === "damage") {
      if (hasDamage) damage(model.disk, step);
    } else await restart(model, step);
    compare(model, (seed + 31 * index) % 10_007, hasDamage);
  }
  abandonLog(model.log);
}

/** A snapshot that a crash of the process leaves, and that is all that knows of a transaction. */
function unsyncedSnapshot(): Step[] {
  const send = (producerId: number, count = 1): Step => ({
    step: "send",
    producerId,
    count,
    ack: "os",
  });
  const end: Step = { step: "end", producerId: 1, type: "commit", ack: "os" };
  const crash: Step = { step: "crash" };
  return [
    ...[send(1), end, send(1, 2), send(1, 3), end, send(1), send(2, 2), send(1), end, crash],
    ...[send(1), { step: "delete", share: 6 / 7, retains: true } as const, send(1), send(1), end],
    ...[send(1), end, send(1), end, end, crash],
  ];
}

/** A transaction that retention took from the log, and that a power cut must not take as well. */
function transactionOutOfLog(): Step[] {
  const send = (count: number): Step => ({ step: "send", producerId: 1, count, ack: "os" });
  const plain = (count: number): Step => ({ step: "plain", count, ack: "os" });
  const end: Step = { step: "end", producerId: 1, type: "commit", ack: "os" };
  return [
    ...[end, end, send(1), end, plain(2), end, send(1), send(2)],
    { step: "end", producerId: 2, type: "commit", ack: "memory" },
    plain(1),
    { step: "delete", share: 5 / 6, retains: true },
    { step: "powerCut", share: 0, keepsNames: true },
  ];
}

/** An index that a recovery makes anew, and that the next power cut must not take. */
function indexMadeAnew(): Step[] {
  const aborted = (producerId: number): Step[] => [
    { step: "send", producerId, count: 1, ack: "os" },
    { step: "end", producerId, type: "abort", ack: "os" },
  ];
  return [
    ...aborted(1),
    { step: "restart" },
    ...aborted(3),
    { step: "checkpoint" },
    { step: "powerCut", share: 0, keepsNames: false },
    { step: "powerCut", share: 0, keepsNames: true },
  ];
}

describe("a reader of what was committed", () => {
  it("sees what a model in plain arrays says, whatever happens", async () => {
    const steps = fc.array(anyStep, { maxLength: 80, size: "max" });
    await assertProperty(fc.asyncProperty(steps, fc.nat(10_000), fc.boolean(), run), {
      numRuns: 300,
      examples: [
        [unsyncedSnapshot(), 0, false],
        [transactionOutOfLog(), 0, false],
        [indexMadeAnew(), 0, false],
      ],
    });
  });
});
