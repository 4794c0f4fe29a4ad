/** Power cuts at any moment: what was acknowledged at "disk" is there, in order. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { Ack, Log } from "../../src/log/log.ts";
import { abandonLog, saveActiveIndexes } from "../../src/log/log.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendValues,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  readLog,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

const config = { segmentBytes: 10 * numberedBatchBytes, indexIntervalBytes: 150 };

const steps = ["disk", "disk", "os", "memory", "turn", "checkpoint"] as const;

/**
 * What happens between an opening and the power cut, and how much of what was not synced survives
 * it.
 */
interface Life {
  readonly steps: readonly (typeof steps)[number][];
  readonly keepsNames: boolean;
  readonly keptShare: number;
}

const anyLife: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.constantFrom(...steps), { maxLength: 30 }),
  keepsNames: fc.boolean(),
  keptShare: fc.double({ min: 0, max: 1, noNaN: true }),
});

/** What a store would know after a crash, and what a test knows. */
interface History {
  disk: FaultyDisk;
  recoveryPoint: number;
  /** Offsets that were acknowledged at "disk" or were there after a recovery. */
  readonly safe: Set<number>;
}

async function liveAndCrash(history: History, life: Life): Promise<void> {
  const { log } = openTestLog(history.disk.fs, { config, recoveryPoint: history.recoveryPoint });
  const startOffset = log.endOffset;
  for (const step of life.steps) {
    if (step === "turn") await settle();
    else if (step === "checkpoint") checkpoint(history, log);
    else appendStep(history, log, startOffset, step);
  }
  abandonLog(log);
  await settle();
  history.disk = crashDisk(history.disk, {
    names: life.keepsNames,
    bytes: (unsynced) => Math.floor(life.keptShare * unsynced),
  });
}

/** What a store does now and then. */
function checkpoint(history: History, log: Log): void {
  saveActiveIndexes(log);
  history.recoveryPoint = log.commit.syncedOffset;
}

/** Appends a batch. Once it is on disk, so is all that this life has appended before it. */
function appendStep(history: History, log: Log, startOffset: number, ack: Ack): void {
  const { endOffset } = log;
  const count = 1 + endOffset % 3;
  const waiting = appendValues(log, numberedValues(endOffset, endOffset + count), ack);
  const onDisk = (): void => {
    for (const offset of rangeOf(startOffset, endOffset + count)) history.safe.add(offset);
  };
  waiting?.then(onDisk, () => {});
}

describe("a power cut", () => {
  it("at any moment loses nothing that was on disk, and reorders nothing", async () => {
    await assertProperty(
      fc.asyncProperty(fc.array(anyLife, { minLength: 1, maxLength: 4 }), async (lives) => {
        const history = { disk: faultyDisk(), recoveryPoint: Infinity, safe: new Set<number>() };
        for (const life of lives) {
          await liveAndCrash(history, life);
          // Nothing is known of a log whose first checkpoint was not reached.
          if (history.recoveryPoint === Infinity) history.recoveryPoint = 0;
          const { recoveryPoint, safe } = history;
          const { log } = openTestLog(history.disk.fs, { config, recoveryPoint });
          const { records } = readLog(log);
          const offsets = records.map((record) => record.offset);
          assert.deepEqual(offsets, [...new Set(offsets)].sort((a, b) => a - b));
          for (const { offset, value } of records) assert.equal(value, `v${offset}`);
          const lost = [...safe].filter((offset) => !offsets.includes(offset));
          assert.deepEqual(lost, []);
          safe.clear();
          for (const offset of offsets) safe.add(offset);
          abandonLog(log);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("after a recovery loses nothing that the recovery has shown", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    for (const offset of rangeOf(0, 25)) void appendValues(log, [`v${offset}`], "os");
    await settle();
    for (const offset of rangeOf(25, 28)) void appendValues(log, [`v${offset}`], "os");
    abandonLog(log);
    const { log: recovered } = openTestLog(disk.fs, { config, recoveryPoint: 0 });
    assert.deepEqual(valuesOf(recovered), numberedValues(0, 28));
    abandonLog(recovered);
    const { log: reopened } = openTestLog(crashDisk(disk).fs, { config, recoveryPoint: 0 });
    assert.deepEqual(valuesOf(reopened), numberedValues(0, 28));
  });

  const operations = ["write", "truncate", "sync", "syncFolder", "open", "rename"] as const;
  for (const operation of operations) {
    it(`after any ${operation} that failed loses nothing that was on disk`, async () => {
      for (let after = 0; after < 40; after++) {
        const disk = faultyDisk();
        const { log } = openTestLog(disk.fs, { config });
        failNext(disk, { operation, code: "EIO", after, shortBytes: after * 7 % 80 });
        const safe: string[] = [];
        for (let round = 0; round < 15; round++) {
          const value = `value ${round} ${"x".repeat(round * 3)}`;
          const { endOffset } = log;
          try {
            await appendValues(log, [value], "disk");
            safe[endOffset] = value;
          } catch {
            // Nothing was promised.
          }
        }
        abandonLog(log);
        healDisk(disk);
        for (const keepsAll of [false, true]) {
          const crashed = crashDisk(disk, {
            names: keepsAll,
            bytes: (unsynced) => keepsAll ? unsynced : 0,
          });
          const { log: reopened } = openTestLog(crashed.fs, { config, recoveryPoint: 0 });
          const values = valuesOf(reopened);
          assert.deepEqual(values.slice(0, safe.length), safe, `${operation} ${after}`);
          assert.ok(values.length <= safe.length + 1);
          abandonLog(reopened);
        }
      }
    });
  }
});
