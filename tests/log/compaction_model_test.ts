/**
 * Any appends, transactions, rolls, compactions, deletions and restarts, held against a plain list:
 * of each key the last record is there, and nothing that was never appended, at no other offset.
 */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";

import { loadXxh64 } from "../../src/bytes/xxh64.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { pinSlices, unpinSlices } from "../../src/log/log_reader.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { handleOf } from "../../src/platform/file_pool.ts";
import { isControlBatch } from "../../src/record/batch_view.ts";
import type { Compression } from "../../src/record/compression.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { appendPairs, cleanTestLog, forEachBatch, sealAll } from "../support/compaction.ts";
import type { Pair } from "../support/compaction.ts";
import { manualClock, openTestLog } from "../support/log_fixture.ts";
import type { ManualClock } from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";
import { assertProperty } from "../support/properties.ts";

type Step =
  | { readonly kind: "append"; readonly keys: readonly number[]; readonly codec: Compression }
  | { readonly kind: "transact"; readonly keys: readonly number[]; readonly isCommitted: boolean }
  | { readonly kind: "seal" }
  | { readonly kind: "compact"; readonly entriesMax: number; readonly turns: number }
  | { readonly kind: "wait" }
  | { readonly kind: "pin" }
  | { readonly kind: "reopen"; readonly isClean: boolean };

/** What was appended: one line a record, by its offset, and the aborted ones. */
interface Model {
  readonly lines: Map<number, string>;
  readonly aborted: Set<number>;
  /** The last line of each key, as it was committed; the first half of a line is the key. */
  readonly table: Map<string, string>;
}

const config = { segmentBytes: 600, cleanupPolicy: "compact" };
const keys = fc.array(fc.integer({ min: -6, max: 6 }), { minLength: 1, maxLength: 4 });
const codec = fc.constantFrom<Compression>("none", "none", "gzip");
const step = fc.oneof(
  fc.record({ kind: fc.constant("append" as const), keys, codec }),
  fc.record({ kind: fc.constant("append" as const), keys, codec }),
  fc.record({ kind: fc.constant("transact" as const), keys, isCommitted: fc.boolean() }),
  fc.record({ kind: fc.constant("seal" as const) }),
  fc.record({
    kind: fc.constant("compact" as const),
    entriesMax: fc.integer({ min: 1, max: 10 }),
    turns: fc.oneof(fc.constant(Infinity), fc.nat({ max: 30 })),
  }),
  fc.constant<Step>({ kind: "wait" }),
  fc.constant<Step>({ kind: "pin" }),
  fc.record({ kind: fc.constant("reopen" as const), isClean: fc.boolean() }),
);

/** A number stands for a key, a negative one for its tombstone. */
function pairsOf(numbers: readonly number[], baseOffset: number): Pair[] {
  return numbers.map((number, index) => [
    `k${Math.abs(number)}`,
    number < 0 ? null : `v${baseOffset + index}`,
  ]);
}

function note(model: Model, pairs: readonly Pair[], baseOffset: number, isAborted: boolean): void {
  for (const [index, [key, value]] of pairs.entries()) {
    const line = `${key}=${value}`;
    model.lines.set(baseOffset + index, line);
    if (isAborted) model.aborted.add(baseOffset + index);
    else model.table.set(key!, line);
  }
}

function checkLog(log: Log, model: Model): void {
  const found = new Map<string, string>();
  let before = -1;
  forEachBatch(log, (batch) => {
    assert.ok(batch.baseOffset > before);
    if (!isControlBatch(batch)) {
      for (const { offset, key, value } of recordsOf(batch)) {
        const text = new TextDecoder().decode(key!);
        const line = `${text}=${value === null ? null : new TextDecoder().decode(value)}`;
        assert.ok(offset > before);
        before = offset;
        assert.equal(model.lines.get(offset), line, `offset ${offset}`);
        if (!model.aborted.has(offset)) found.set(text, line);
      }
    }
    before = batch.lastOffset;
  });
  for (const [key, line] of model.table) {
    const isTombstone = line.endsWith("=null");
    // A tombstone may be gone, and then nothing of its key is left.
    if (!isTombstone || found.has(key)) assert.equal(found.get(key), line);
  }
}

/** A log, its model, and what somebody holds of it. */
interface Run {
  readonly fs: FileSystem;
  readonly clock: ManualClock;
  readonly model: Model;
  log: Log;
  firstDirtyOffset: number;
  sequence: number;
  readonly pins: (() => void)[];
}

function newRun(): Run {
  const fs = memoryFileSystem();
  const clock = manualClock();
  return {
    fs,
    clock,
    model: { lines: new Map(), aborted: new Set(), table: new Map() },
    log: openTestLog(fs, { config, clock }).log,
    firstDirtyOffset: 0,
    sequence: 0,
    pins: [],
  };
}

async function take(run: Run, step: Step): Promise<void> {
  const { log, model, clock } = run;
  switch (step.kind) {
    case "append": {
      const pairs = pairsOf(step.keys, log.endOffset);
      note(model, pairs, log.endOffset, false);
      return appendPairs(log, pairs, { compression: step.codec });
    }
    case "transact": {
      const pairs = pairsOf(step.keys, log.endOffset);
      note(model, pairs, log.endOffset, !step.isCommitted);
      const header = { producerId: 7, producerEpoch: 0, transactional: true };
      appendPairs(log, pairs, { ...header, baseSequence: run.sequence });
      run.sequence += pairs.length;
      return void endTransaction(log, step.isCommitted ? "commit" : "abort");
    }
    case "seal":
      return await sealAll(log);
    case "wait":
      clock.nowMs += 700;
      return;
    case "pin":
      return pinAll(run);
    case "compact":
      return await compact(run, step.entriesMax, step.turns);
    case "reopen":
      if (step.isClean) await closeLog(log);
      else abandonLog(log);
      run.log = openTestLog(run.fs, {
        config,
        clock,
        recoveryPoint: step.isClean ? Infinity : log.snapshots.recoveryPoint,
      }).log;
      for (const unpin of run.pins.splice(0)) unpin();
  }
}

async function compact(run: Run, entriesMax: number, turns: number): Promise<void> {
  const { firstDirtyOffset } = run;
  const stop = new Error("enough");
  let left = turns;
  try {
    const cleaned = await cleanTestLog(run.log, {
      firstDirtyOffset,
      mapLimits: { entriesMax, keyBytesMax: 1000 },
      nextTurn: () => left-- > 0 ? Promise.resolve() : Promise.reject(stop),
    });
    assert.ok(cleaned.isComplete);
    run.firstDirtyOffset = cleaned.firstDirtyOffset;
  } catch (error) {
    assert.equal(error, stop);
  }
}

/** Holds all bytes of the log; when it lets go they must be what they were. */
function pinAll({ log, fs, pins }: Run): void {
  const slices = pinSlices(log, log.startOffset, log.endOffset, Infinity);
  const read = (): string =>
    slices.map(({ segment, startPosition, endPosition }) => {
      const bytes = new Uint8Array(endPosition - startPosition);
      assert.equal(fs.read(handleOf(log.pool, segment.log), bytes, startPosition), bytes.length);
      return new TextDecoder("latin1").decode(bytes);
    }).join("");
  const bytes = read();
  pins.push(() => {
    assert.equal(read(), bytes);
    unpinSlices(log, slices);
  });
}

before(loadXxh64);

describe("compaction", () => {
  it("keeps the last record of each key, whatever happens in which order", async () => {
    await assertProperty(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
        const run = newRun();
        for (const one of steps) {
          const { endOffset } = run.log;
          await take(run, one);
          assert.ok(run.log.endOffset >= endOffset);
          checkLog(run.log, run.model);
        }
        for (const unpin of run.pins.splice(0)) unpin();
        // In the end each key is there once, and what was deleted is not.
        await sealAll(run.log);
        await compact(run, 100, Infinity);
        run.clock.nowMs += 2000;
        await compact(run, 100, Infinity);
        checkLog(run.log, run.model);
        const seen: string[] = [];
        forEachBatch(run.log, (batch) => {
          if (!isControlBatch(batch)) {
            for (const { key } of recordsOf(batch)) seen.push(`${key}`);
          }
        });
        assert.equal(new Set(seen).size, seen.length);
        const live = [...run.model.table.values()].filter((line) => !line.endsWith("=null"));
        assert.equal(seen.length, live.length);
        const left = run.fs.list(run.log.folder).map(({ name }) => name);
        assert.deepEqual(left.filter((name) => /cleaned|swap|deleted/.test(name)), []);
      }),
      { numRuns: 150 },
    );
  });
});
