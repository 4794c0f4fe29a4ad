/** Which part of a log is to be cleaned, when that is worth it, and what becomes one segment. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadXxh64 } from "../../src/bytes/xxh64.ts";
import type { CleanableRange, GroupedSegment } from "../../src/log/compaction_range.ts";
import {
  cleanableRange,
  firstDirtyOffsetOf,
  groupSegments,
  isWorthCleaning,
} from "../../src/log/compaction_range.ts";
import type { Log } from "../../src/log/log.ts";
import { flushLog, rollLog } from "../../src/log/log.ts";
import { noteRecoveryPoint } from "../../src/log/producer_snapshots.ts";
import { advanceStart, retireBelowStart } from "../../src/log/retention.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { mustRoll } from "../../src/segment/segment.ts";
import { indexesOf } from "../../src/segment/segment_load.ts";
import { appendKeys, appendPairs, compactionConfig, sealAll } from "../support/compaction.ts";
import { faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import { manualClock, openTestLog, settle, testConfig } from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";

const now = 1_000_000;

/** Segments of two records each, with timestamps from 1,000 on, and an empty active one. */
async function newLog(segments: number): Promise<Log> {
  const { log } = openTestLog(memoryFileSystem(), { clock: manualClock(now) });
  for (let count = 0; count < segments; count++) {
    appendKeys(log, ["a", "b"], { timestamp: 1000 * (count + 1) });
    await sealAll(log);
  }
  return log;
}

function rangeOf(log: Log, firstDirtyOffset: number, config = {}): CleanableRange {
  return cleanableRange(log, firstDirtyOffset, { ...compactionConfig, ...config }, now);
}

before(loadXxh64);

describe("the dirty part of a log", () => {
  it("begins where it is recorded, or where the log does", async () => {
    const log = await newLog(10);
    assert.equal(firstDirtyOffsetOf(log, undefined), 0);
    assert.equal(firstDirtyOffsetOf(log, 15), 15);
    assert.equal(firstDirtyOffsetOf(log, 20), 20);
    assert.equal(firstDirtyOffsetOf(log, 21), 0);
    advanceStart(log, 10);
    assert.equal(firstDirtyOffsetOf(log, undefined), 10);
    assert.equal(firstDirtyOffsetOf(log, 15), 15);
    assert.equal(firstDirtyOffsetOf(log, 9), 10);
    assert.equal(firstDirtyOffsetOf(log, 25), 10);
  });

  it("is left alone while a crash may bring back what lies before the start", async () => {
    const log = await newLog(4);
    advanceStart(log, 4);
    retireBelowStart(log);
    log.isStartDue = true;
    assert.equal(firstDirtyOffsetOf(log, 2), 2);
    assert.deepEqual([rangeOf(log, 2).endOffset, rangeOf(log, 2).cleanableBytes], [0, 0]);
    log.isStartDue = false;
    assert.equal(firstDirtyOffsetOf(log, 2), 4);
    assert.equal(rangeOf(log, 4).endOffset, 8);
  });

  it("ends with the active segment", async () => {
    const log = await newLog(3);
    appendKeys(log, ["a"]);
    const range = rangeOf(log, 2);
    const [first, second, third] = log.segments.map(({ sizeBytes }) => sizeBytes);
    assert.deepEqual(range, {
      firstDirtyOffset: 2,
      endOffset: 6,
      cleanBytes: first,
      cleanableBytes: second! + third!,
      dirtyRatio: (second! + third!) / (first! + second! + third!),
      isOverdue: false,
    });
    assert.equal(rangeOf(log, 6).cleanableBytes, 0);
    assert.deepEqual([rangeOf(log, 7).endOffset, rangeOf(log, 7).cleanableBytes], [6, 0]);
  });

  it("is empty where it begins in the middle of a segment that has to wait", async () => {
    const log = await newLog(4);
    const waits = { minCompactionLagMs: now - 3999 };
    const { endOffset, cleanableBytes, dirtyRatio } = rangeOf(log, 7, waits);
    assert.deepEqual([endOffset, cleanableBytes, dirtyRatio], [6, 0, 0]);
    assert.equal(rangeOf(log, 7).cleanableBytes, log.segments[3]!.sizeBytes);
  });

  it("ends before the first segment with a record that is too young", async () => {
    const log = await newLog(4);
    assert.equal(rangeOf(log, 0, { minCompactionLagMs: now - 4000 }).endOffset, 8);
    assert.equal(rangeOf(log, 0, { minCompactionLagMs: now - 3999 }).endOffset, 6);
    assert.equal(rangeOf(log, 0, { minCompactionLagMs: now }).endOffset, 0);
    // What is clean already does not count, however young it is.
    assert.equal(rangeOf(log, 4, { minCompactionLagMs: now }).endOffset, 4);
  });

  it("ends before an open transaction", async () => {
    const { log } = openTestLog(memoryFileSystem(), { clock: manualClock(now) });
    const header = { producerId: 7, producerEpoch: 0, transactional: true, timestamp: 1000 };
    appendPairs(log, [["a", "1"]], { ...header, baseSequence: 0 });
    await sealAll(log);
    appendPairs(log, [["a", "1"]], { ...header, baseSequence: 1 });
    await sealAll(log);
    assert.equal(rangeOf(log, 0).endOffset, 0);
    endTransaction(log, "abort", { timestamp: now - 10 });
    await sealAll(log);
    assert.equal(rangeOf(log, 0).endOffset, 3);
    assert.equal(rangeOf(log, 0, { minCompactionLagMs: 100_000 }).endOffset, 2);
  });

  it("ends before what a recovery may have to read", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { clock: manualClock(now) });
    appendKeys(log, ["a", "a"]);
    await sealAll(log);
    holdSyncs(disk);
    appendKeys(log, ["a"]);
    rollLog(log);
    await settle();
    assert.equal(rangeOf(log, 0).endOffset, 2);
    while (releaseSyncs(disk) > 0) await settle();
    // It is on disk, but nobody knows yet.
    assert.deepEqual([log.commit.syncedOffset, rangeOf(log, 0).endOffset], [3, 2]);
    noteRecoveryPoint(log);
    assert.equal(rangeOf(log, 0).endOffset, 3);
  });

  it("ends before a segment of which the indexes are being synced", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { clock: manualClock(now) });
    appendKeys(log, ["a", "a"]);
    await flushLog(log);
    noteRecoveryPoint(log);
    holdSyncs(disk);
    rollLog(log);
    await settle();
    assert.deepEqual([log.snapshots.recoveryPoint, rangeOf(log, 0).endOffset], [2, 0]);
    while (releaseSyncs(disk) > 0) await settle();
    assert.equal(rangeOf(log, 0).endOffset, 2);
  });

  it("ends before what may have to be replayed to know the producers", async () => {
    const { log } = openTestLog(memoryFileSystem(), { clock: manualClock(now) });
    appendPairs(log, [["a", "1"]], { producerId: 7, producerEpoch: 0, baseSequence: 0 });
    await sealAll(log);
    appendKeys(log, ["a"]);
    rollLog(log);
    await settle();
    assert.equal(log.commit.syncedOffset, 2);
    assert.equal(rangeOf(log, 0).endOffset, 1);
    await sealAll(log);
    assert.equal(rangeOf(log, 0).endOffset, 2);
  });
});

describe("a log is worth cleaning", () => {
  it("if more of it is dirty than the ratio says", async () => {
    const log = await newLog(4);
    const half = rangeOf(log, 4);
    assert.equal(half.dirtyRatio, 0.5);
    assert.equal(isWorthCleaning(half, compactionConfig), false);
    assert.ok(isWorthCleaning(half, { ...compactionConfig, minCleanableDirtyRatio: 0.49 }));
    assert.equal(
      isWorthCleaning(rangeOf(log, 8), { ...compactionConfig, minCleanableDirtyRatio: 0 }),
      false,
    );
  });

  it("if a record has waited for too long", async () => {
    const log = await newLog(4);
    const config = { ...compactionConfig, minCleanableDirtyRatio: 1 };
    const isOverdue = (firstDirtyOffset: number, maxCompactionLagMs: number): boolean =>
      isWorthCleaning(rangeOf(log, firstDirtyOffset, { maxCompactionLagMs }), config);
    assert.ok(isOverdue(0, now - 1001));
    assert.equal(isOverdue(0, now - 1000), false);
    assert.equal(isOverdue(2, now - 2000), false);
    assert.ok(isOverdue(2, now - 2001));
    assert.equal(isOverdue(8, 0), false);
  });

  it("and a segment is rolled in time for that", () => {
    const { log } = openTestLog(memoryFileSystem(), { clock: manualClock(now) });
    appendKeys(log, ["a"], { timestamp: 1000 });
    const [segment] = log.segments;
    const indexes = indexesOf(segment!, testConfig);
    const rolls = (cleanupPolicy: string, maxCompactionLagMs: number, timestamp: number): boolean =>
      mustRoll(
        segment!,
        indexes,
        { ...testConfig, cleanupPolicy, maxCompactionLagMs },
        100,
        timestamp,
        2,
        now,
      );
    assert.equal(rolls("compact", 500, 1500), false);
    assert.ok(rolls("compact", 500, 1501));
    assert.ok(rolls("compact,delete", 500, 1501));
    assert.equal(rolls("delete", 500, 1501), false);
    assert.ok(rolls("compact", Infinity, 1001 + testConfig.segmentMs));
  });
});

describe("segments become one", () => {
  const segment = (baseOffset: number, endOffset: number, change = {}): GroupedSegment => ({
    baseOffset,
    endOffset,
    sizeBytes: 100,
    indexBytes: 16,
    timeIndexBytes: 24,
    ...change,
  });
  const four = [segment(0, 10), segment(10, 20), segment(20, 30), segment(30, 40)];
  const basesOf = (segments: readonly GroupedSegment[], limits = {}): number[][] =>
    groupSegments(segments, { segmentBytes: 10_000, segmentIndexBytes: 10_000, ...limits })
      .map((group) => group.map(({ baseOffset }) => baseOffset));

  it("as long as they fit", () => {
    assert.deepEqual(basesOf([]), []);
    assert.deepEqual(basesOf(four), [[0, 10, 20, 30]]);
    assert.deepEqual(basesOf(four, { segmentBytes: 200 }), [[0, 10], [20, 30]]);
    assert.deepEqual(basesOf(four, { segmentBytes: 399 }), [[0, 10, 20], [30]]);
    assert.deepEqual(basesOf(four, { segmentIndexBytes: 48 }), [[0, 10], [20, 30]]);
    assert.deepEqual(basesOf(four, { segmentBytes: 1 }), [[0], [10], [20], [30]]);
    assert.deepEqual(basesOf(four, { segmentIndexBytes: 1 }), [[0], [10], [20], [30]]);
  });

  it("as long as their offsets are not too far apart", () => {
    const max = 2 ** 31 - 1;
    assert.deepEqual(basesOf([segment(0, 10), segment(10, max + 1)]), [[0, 10]]);
    assert.deepEqual(basesOf([segment(0, 10), segment(10, max + 2)]), [[0], [10]]);
    const empty = segment(10, max + 2, { sizeBytes: 0, indexBytes: 0, timeIndexBytes: 0 });
    assert.deepEqual(basesOf([segment(0, 10), empty]), [[0, 10]]);
  });
});
