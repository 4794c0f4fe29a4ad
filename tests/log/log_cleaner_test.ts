/** Compacting a log: which records and batches stay, as Kafka's cleaner has it. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadXxh64 } from "../../src/bytes/xxh64.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { findOffsetForTimestamp } from "../../src/log/log_reader.ts";
import { indexesOf } from "../../src/segment/segment_load.ts";
import { advanceStart, retireBelowStart, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { deleteHorizonOf } from "../../src/record/batch_view.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import {
  appendKeys,
  appendPairs,
  cleanTestLog,
  compactAll,
  forEachBatch,
  leftOf,
  linesOf,
  sealAll,
} from "../support/compaction.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  basesOf,
  filesOf,
  flipByte,
  manualClock,
  openTestLog,
  segmentPath,
} from "../support/log_fixture.ts";
import type { ManualClock } from "../support/log_fixture.ts";

const config = { cleanupPolicy: "compact" };
const producer = { producerId: 1, producerEpoch: 0 };

function newLog(clock: ManualClock = manualClock()): Log {
  return openTestLog(memoryFileSystem(), { config, clock }).log;
}

function appendProducer(log: Log, producerId: number, keys: readonly string[]): void {
  for (const [baseSequence, key] of keys.entries()) {
    appendPairs(log, [[key, "v"]], { ...producer, producerId, baseSequence });
  }
}

function batchesOf(log: Log): BatchView[] {
  const batches: BatchView[] = [];
  forEachBatch(log, (batch) => void batches.push(batch));
  return batches;
}

before(loadXxh64);

describe("log cleaner", () => {
  it("keeps the last record of each key at its offset", async () => {
    const log = newLog();
    appendPairs(log, [["a", "1"], ["b", "2"]]);
    appendPairs(log, [["a", "3"], ["c", "4"], ["b", "5"]]);
    const { sizeBytes } = log.segments[0]!;
    const cleaned = await compactAll(log);
    assert.deepEqual(linesOf(log), ["2 a=3", "3 c=4", "4 b=5"]);
    assert.deepEqual(leftOf(log).batches, [4]);
    assert.equal(log.endOffset, 5);
    const { readBytes, keptBytes, readRecords, keptRecords, readSegments, keptSegments } = cleaned;
    assert.deepEqual(
      { readBytes, readRecords, keptRecords, readSegments, keptSegments },
      { readBytes: sizeBytes, readRecords: 5, keptRecords: 3, readSegments: 1, keptSegments: 1 },
    );
    assert.equal(keptBytes, log.segments[0]!.sizeBytes);
    assert.equal(cleaned.firstDirtyOffset, 5);
  });

  it("takes keys for the same only if all of their bytes are", async () => {
    const log = newLog();
    const keys = Array.from({ length: 3000 }, (_, index) => `key ${index}`);
    appendPairs(log, keys.map((key) => [key, "old"]));
    appendPairs(log, keys.slice(1000).map((key) => [key, "new"]));
    await compactAll(log);
    const { keys: left, offsets } = leftOf(log);
    assert.deepEqual(left, keys);
    assert.deepEqual(offsets.slice(999, 1001), [999, 3000]);
  });

  it("drops records without a key, and counts them", async () => {
    const log = newLog();
    appendPairs(log, [[null, "1"], ["a", "2"], [null, "3"]]);
    const { keylessRecords } = await compactAll(log);
    assert.equal(keylessRecords, 2);
    assert.deepEqual(linesOf(log), ["1 a=2"]);
  });

  it("leaves the active segment alone", async () => {
    const log = newLog();
    appendKeys(log, ["a", "a"]);
    await sealAll(log);
    appendKeys(log, ["a", "a"]);
    await cleanTestLog(log);
    assert.deepEqual(leftOf(log).offsets, [1, 2, 3]);
    assert.deepEqual(basesOf(log), [0, 2]);
  });

  it("keeps the last batch of what becomes one segment, with nothing in it", async () => {
    const log = newLog();
    for (const key of ["a", "b", "a"]) {
      appendKeys(log, [key, key]);
      await sealAll(log);
    }
    appendKeys(log, ["a", "b"]);
    // All but the active segment become one: nothing of it is left but where it ends.
    await sealAll(log);
    const dirty = await cleanTestLog(log, { endOffset: 8 });
    assert.equal(dirty.keptRecords, 2);
    assert.deepEqual(basesOf(log), [0, 8]);
    assert.deepEqual(leftOf(log).batches, [6, 7]);

    const other = newLog();
    for (const key of ["a", "b", "a"]) {
      appendKeys(other, [key, key]);
      await sealAll(other);
    }
    other.config = { ...other.config, segmentBytes: other.segments[0]!.sizeBytes * 2 };
    appendKeys(other, ["b", "a"]);
    await sealAll(other);
    await cleanTestLog(other);
    assert.deepEqual(basesOf(other), [0, 4, 8]);
    const batches = batchesOf(other);
    assert.deepEqual(batches.map(({ lastOffset }) => lastOffset), [3, 6, 7]);
    assert.deepEqual([batches[0]!.recordCount, batches[0]!.sizeBytes], [0, 61]);
  });

  it("goes on behind what the keys had room for", async () => {
    for (
      const [firstDirtyOffset, keys, offsets] of [
        [2, "1010", [1, 2, 3, 4]],
        [3, "010", [2, 3, 4]],
        [4, "10", [3, 4]],
      ] as const
    ) {
      const log = newLog();
      appendKeys(log, ["0", "1", "0", "1", "0"]);
      await sealAll(log);
      const mapLimits = { entriesMax: 1, keyBytesMax: 100 };
      if (firstDirtyOffset > 2) await cleanTestLog(log, { firstDirtyOffset: 2, mapLimits });
      if (firstDirtyOffset > 3) await cleanTestLog(log, { firstDirtyOffset: 3, mapLimits });
      const cleaned = await cleanTestLog(log, { firstDirtyOffset, mapLimits });
      assert.equal(cleaned.firstDirtyOffset, firstDirtyOffset + 1);
      const left = leftOf(log);
      assert.deepEqual([left.keys.join(""), left.offsets], [keys, offsets]);
    }
  });

  it("is clean up to the next segment, whatever offsets are missing before it", async () => {
    const fs = memoryFileSystem();
    const { log: filled } = openTestLog(fs, { config });
    appendKeys(filled, ["a", "b", "a"]);
    await sealAll(filled);
    abandonLog(filled);
    for (const kind of ["log", "index", "timeindex"] as const) {
      fs.rename(segmentPath(3, kind), segmentPath(15, kind));
    }
    const { log } = openTestLog(fs, { config });
    assert.equal((await cleanTestLog(log)).firstDirtyOffset, 15);
    appendKeys(log, ["a"]);
    await sealAll(log);
    assert.equal((await cleanTestLog(log, { firstDirtyOffset: 15 })).firstDirtyOffset, 16);
    assert.deepEqual(leftOf(log).offsets, [1, 15]);
  });

  it("is not stopped by what it did before", async () => {
    const log = newLog();
    for (let round = 0; round < 5; round++) {
      appendKeys(log, ["a", "b", "c"]);
      const { firstDirtyOffset } = await compactAll(log, { firstDirtyOffset: round * 3 });
      assert.equal(firstDirtyOffset, round * 3 + 3);
      assert.deepEqual(leftOf(log).offsets, [0, 1, 2].map((delta) => round * 3 + delta));
      assert.equal(log.segments.length, 2);
    }
  });

  it("refuses a damaged segment, and changes nothing", async () => {
    const log = newLog();
    appendKeys(log, ["a", "a", "a"]);
    await sealAll(log);
    flipByte(log.pool.fs, segmentPath(0), 100);
    const { sizeBytes } = log.segments[0]!;
    await assert.rejects(cleanTestLog(log), { code: "CORRUPT_MESSAGE" });
    assert.equal(log.segments[0]!.sizeBytes, sizeBytes);
    const names = log.pool.fs.list(log.folder).map(({ name }) => name);
    assert.deepEqual(names.filter((name) => /cleaned|swap|deleted/.test(name)), []);
  });

  it("goes on with a cleaned log after a clean shutdown and a crash", async () => {
    for (const isClean of [true, false]) {
      const fs = memoryFileSystem();
      const { log } = openTestLog(fs, { config });
      appendKeys(log, ["a", "b", "a"]);
      await compactAll(log);
      appendKeys(log, ["c"]);
      if (isClean) await closeLog(log);
      else abandonLog(log);
      const { log: reopened } = openTestLog(fs, {
        config,
        recoveryPoint: isClean ? Infinity : 0,
      });
      assert.deepEqual(linesOf(reopened), ["1 b=1", "2 a=2", "3 c=3"]);
      assert.equal(reopened.endOffset, 4);
      assert.deepEqual(reopened.gaps, []);
    }
  });

  it("removes the files of a few segments in one turn", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    for (let nth = 0; nth < 20; nth++) {
      appendKeys(log, [`k${nth}`]);
      await sealAll(log);
    }
    let removesBefore = disk.counts.remove;
    let removesMax = 0;
    const nextTurn = async (): Promise<void> => {
      removesMax = Math.max(removesMax, disk.counts.remove - removesBefore);
      removesBefore = disk.counts.remove;
      await Promise.resolve();
    };
    const { readSegments, keptSegments } = await cleanTestLog(log, { nextTurn });
    await nextTurn();
    assert.deepEqual([readSegments, keptSegments], [20, 1]);
    assert.ok(removesMax > 0 && removesMax <= 16, `${removesMax} files were removed at once`);
    assert.ok(!filesOf(disk.fs).some((name) => name.endsWith(".deleted")));
  });

  it("comes to its end where old files cannot be removed, which the next sweep does", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    for (let nth = 0; nth < 6; nth++) {
      appendKeys(log, ["a"]);
      await sealAll(log);
    }
    failNext(disk, { operation: "remove", code: "EIO", times: Infinity, path: "02.log.deleted" });
    const { isComplete, firstDirtyOffset } = await cleanTestLog(log);
    assert.deepEqual([isComplete, firstDirtyOffset], [true, 6]);
    assert.deepEqual(linesOf(log), ["5 a=5"]);
    const setAside = (): string[] => filesOf(disk.fs).filter((name) => name.endsWith(".deleted"));
    assert.ok(setAside().includes("00000000000000000002.log.deleted"));
    healDisk(disk);
    sweepRetired(log);
    assert.deepEqual(setAside(), []);
  });

  it("gives no horizon for which a segment would become too large", async () => {
    const log = newLog();
    appendPairs(log, [["a", "0"], ["b", null]]);
    appendPairs(log, [["c", "2"], ["d", null]]);
    await sealAll(log);
    const { sizeBytes } = log.segments[0]!;
    const horizonsIn = async (segmentBytesMax: number): Promise<boolean[]> => {
      await cleanTestLog(log, { now: 2 ** 40, segmentBytesMax });
      assert.ok(log.segments[0]!.sizeBytes <= segmentBytesMax);
      assert.deepEqual(linesOf(log), ["0 a=0", "1 b=null", "2 c=2", "3 d=null"]);
      return batchesOf(log).map((batch) => deleteHorizonOf(batch) !== undefined);
    };
    assert.deepEqual(await horizonsIn(sizeBytes), [false, false]);
    // Two records are farther from the horizon by five bytes each.
    assert.deepEqual(await horizonsIn(sizeBytes + 19), [true, false]);
    assert.deepEqual(await horizonsIn(sizeBytes + 20), [true, true]);
  });

  it("is stopped by whoever takes the turn, and leaves no files", async () => {
    const log = newLog();
    appendKeys(log, ["a", "a"]);
    await sealAll(log);
    let isSwapped = false;
    for (let turns = 0;; turns++) {
      let left = turns;
      const stop = new Error("stop");
      const nextTurn = (): Promise<void> => left-- > 0 ? Promise.resolve() : Promise.reject(stop);
      try {
        await cleanTestLog(log, { nextTurn });
        assert.ok(turns > 2, "there are turns");
        break;
      } catch (error) {
        assert.equal(error, stop);
      }
      const { offsets } = leftOf(log);
      isSwapped ||= offsets.length === 1;
      assert.deepEqual(offsets, isSwapped ? [1] : [0, 1]);
      const names = log.pool.fs.list(log.folder).map(({ name }) => name);
      assert.deepEqual(names.filter((name) => /cleaned|swap|deleted/.test(name)), []);
    }
    assert.deepEqual(leftOf(log).offsets, [1]);
  });
});

describe("indexes of a cleaned segment", () => {
  it("have no timestamp of a batch that is empty, made then or made anew", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    log.config = { ...log.config, segmentBytes: 80 };
    for (const [key, timestamp] of [["a", 5000], ["b", 7000], ["b", 6000]] as const) {
      appendPairs(log, [[key, "v"]], { timestamp });
    }
    await sealAll(log);
    log.config = { ...log.config, segmentBytes: 150 };
    await cleanTestLog(log);
    const [cleaned] = log.segments;
    assert.deepEqual(leftOf(log).batches, [0, 1, 2]);
    assert.equal(batchesOf(log)[1]!.maxTimestamp, 7000);
    assert.equal(cleaned!.maxTimestamp, 5000);
    cleaned!.indexes = undefined;
    fs.remove(segmentPath(0, "timeindex"));
    indexesOf(cleaned!, log.config);
    assert.equal(cleaned!.maxTimestamp, 5000);
    assert.deepEqual(findOffsetForTimestamp(log, 5500), { offset: 2, timestamp: 6000 });
  });
});

describe("retention in the middle of a compaction", () => {
  it("takes its segments away, and the compaction ends", async () => {
    let interruptions = 0;
    for (let turns = 0; interruptions === turns; turns++) {
      const log = newLog();
      log.config = { ...log.config, segmentBytes: 200 };
      appendKeys(log, ["a", "b", "a", "c", "a", "d", "a", "e"]);
      await sealAll(log);
      let left = turns;
      const { isComplete, firstDirtyOffset } = await cleanTestLog(log, {
        async nextTurn() {
          if (left-- !== 0) return;
          advanceStart(log, 5);
          retireBelowStart(log);
          sweepRetired(log);
          await Promise.resolve();
        },
      });
      if (!isComplete) interruptions++;
      assert.equal(firstDirtyOffset, isComplete ? 8 : 0);
      assert.ok(log.segments[0]!.baseOffset <= 5 && log.segments.length > 1);
      await cleanTestLog(log, { firstDirtyOffset: log.startOffset });
      const lines = linesOf(log).filter((line) => Number(line.split(" ")[0]) >= log.startOffset);
      const expected = ["5 d=5", "6 a=6", "7 e=7"];
      assert.deepEqual(lines, left < 0 ? expected : linesOf(log));
      assert.deepEqual(lines.slice(-3), expected);
      const names = log.pool.fs.list(log.folder).map(({ name }) => name);
      assert.deepEqual(names.filter((name) => /cleaned|swap|deleted/.test(name)), []);
    }
    assert.ok(interruptions > 5);
  });
});

describe("retention of what was compacted", () => {
  it("does not wait for a segment in which nothing is left", async () => {
    const clock = manualClock();
    const fs = memoryFileSystem(clock.now);
    const settings = { cleanupPolicy: "compact,delete", segmentBytes: 160, retentionMs: 5000 };
    const { log } = openTestLog(fs, { config: settings, clock });
    appendKeys(log, ["a", "a", "b", "a"], { timestamp: clock.nowMs });
    await sealAll(log);
    clock.nowMs += 4000;
    await cleanTestLog(log);
    assert.deepEqual(leftOf(log), {
      keys: ["b", "a"],
      offsets: [2, 3],
      batches: [1, 2, 3],
      sequences: {},
    });
    assert.deepEqual(basesOf(log), [0, 2, 4]);
    clock.nowMs += 1001;
    assert.equal(retireSegments(log, clock.nowMs), 2);
    assert.deepEqual(basesOf(log), [4]);
  });

  it("needs no time of change where there are timestamps", async () => {
    const fs = memoryFileSystem();
    const setModified = (): void => {
      throw Object.assign(new Error("EPERM: utimes"), { code: "EPERM" });
    };
    const { log } = openTestLog({ ...fs, setModified }, { config });
    appendKeys(log, ["a", "a"]);
    await compactAll(log);
    assert.deepEqual(linesOf(log), ["1 a=1"]);
  });
});

describe("tombstones", () => {
  it("stay until the horizon that the first compaction sets has come", async () => {
    const clock = manualClock(5_000_000);
    const log = newLog(clock);
    // Older than the time that tombstones stay: that does not count.
    appendPairs(log, [["a", "1"], ["b", "2"], ["a", null]], { timestamp: 1000 });
    await compactAll(log);
    assert.deepEqual(linesOf(log), ["1 b=2", "2 a=null"]);
    assert.equal(deleteHorizonOf(batchesOf(log)[0]!), 5_001_000);
    clock.nowMs += 999;
    await cleanTestLog(log, { firstDirtyOffset: 3 });
    assert.deepEqual(linesOf(log), ["1 b=2", "2 a=null"]);
    assert.equal(deleteHorizonOf(batchesOf(log)[0]!), 5_001_000);
    clock.nowMs += 1;
    await cleanTestLog(log, { firstDirtyOffset: 3 });
    assert.deepEqual(linesOf(log), ["1 b=2"]);
  });

  it("stay as long as the keys before them were not looked at", async () => {
    const clock = manualClock();
    const log = newLog(clock);
    appendPairs(log, [["a", "1"], ["b", "2"], ["a", null]]);
    await sealAll(log);
    const mapLimits = { entriesMax: 1, keyBytesMax: 100 };
    for (let firstDirtyOffset = 0; firstDirtyOffset < 2; firstDirtyOffset++) {
      const cleaned = await cleanTestLog(log, { firstDirtyOffset, mapLimits });
      assert.equal(cleaned.firstDirtyOffset, firstDirtyOffset + 1);
      assert.deepEqual(linesOf(log), ["0 a=1", "1 b=2", "2 a=null"]);
      clock.nowMs += 2000;
    }
    // Only now there is nothing left of the key before it: who has just read that must see this.
    await cleanTestLog(log, { firstDirtyOffset: 2, mapLimits });
    assert.deepEqual(linesOf(log), ["1 b=2", "2 a=null"]);
    clock.nowMs += 999;
    await cleanTestLog(log, { firstDirtyOffset: 3 });
    assert.deepEqual(linesOf(log), ["1 b=2", "2 a=null"]);
    clock.nowMs += 1;
    await cleanTestLog(log, { firstDirtyOffset: 3 });
    assert.deepEqual(linesOf(log), ["1 b=2"]);
  });

  it("that are for ever stay for ever", async () => {
    const clock = manualClock();
    const log = newLog(clock);
    appendPairs(log, [["a", "1"], ["a", null]]);
    await compactAll(log, { config: { deleteRetentionMs: Infinity } });
    clock.nowMs = 2 ** 45;
    await cleanTestLog(log);
    assert.deepEqual(linesOf(log), ["1 a=null"]);
  });
});

describe("compaction and producers", () => {
  it("keeps the last batch of each producer, so that duplicates are known", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendProducer(log, 1, ["1", "2", "3"]);
    appendProducer(log, 2, ["3", "1", "4"]);
    appendProducer(log, 3, ["1", "4"]);
    await compactAll(log);
    const expected = {
      keys: ["2", "3", "1", "4"],
      offsets: [1, 3, 6, 7],
      batches: [1, 2, 3, 5, 6, 7],
      sequences: { 1: 2, 2: 2, 3: 1 },
    };
    assert.deepEqual(leftOf(log), expected);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { config });
    appendPairs(reopened, [["3", "v"]], { ...producer, baseSequence: 2 });
    assert.equal(reopened.endOffset, 8);
    assert.deepEqual(leftOf(reopened), expected);
  });

  it("keeps the last sequence number of a producer whose records are all gone", async () => {
    const log = newLog();
    appendPairs(log, [["0", "v"], ["0", "v"]], { ...producer, producerId: 1, baseSequence: 0 });
    appendPairs(log, [["0", "v"]], { ...producer, producerId: 2, baseSequence: 0 });
    appendPairs(log, [["0", "v"]], { ...producer, producerId: 3, baseSequence: 0 });
    appendPairs(log, [["1", "v"]], { ...producer, producerId: 2, baseSequence: 1 });
    await compactAll(log);
    assert.deepEqual(leftOf(log), {
      keys: ["0", "1"],
      offsets: [3, 4],
      batches: [1, 3, 4],
      sequences: { 1: 1, 2: 1, 3: 0 },
    });
  });
});
