/**
 * Producer snapshots in the folder of a log: when there are any, what an opening makes of them, and
 * of those that are missing, damaged, or know more than the log.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { lastStableOffset } from "../../src/log/producer_append.ts";
import type { ProducerSnapshotEntry } from "../../src/log/producer_snapshot_file.ts";
import {
  parseProducerSnapshot,
  printProducerSnapshot,
} from "../../src/log/producer_snapshot_file.ts";
import { noteRecoveryPoint, takeSnapshotIfUsed } from "../../src/log/producer_snapshots.ts";
import { producerIdExpirationMs } from "../../src/log/producer_state.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import {
  bytesReadOf,
  crashDisk,
  failNext,
  faultyDisk,
  resetCounts,
} from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import type { LogOptions } from "../support/log_fixture.ts";
import {
  appendNumbered,
  appendValues,
  basesOf,
  filesOf,
  flipByte,
  logFolder,
  manualClock,
  openTestLog,
  resizeFile,
  segmentPath,
  valuesOf,
  writeBytes,
} from "../support/log_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";

const small = { segmentBytes: 300 };

function open(fs: FileSystem, options: LogOptions = {}): Log {
  return openTestLog(fs, { config: small, ...options }).log;
}

/** The offsets of the snapshots in the folder, which are those that the log knows. */
function snapshotsOf(log: Log): number[] {
  const names = filesOf(log.pool.fs, log.folder).filter((name) => name.endsWith(".snapshot"));
  const offsets = names.map((name) => Number(name.slice(0, 20)));
  assert.deepEqual(log.snapshots.offsets, offsets);
  return offsets;
}

function entriesOf(fs: FileSystem, offset: number): ProducerSnapshotEntry[] {
  const path = segmentPath(offset, "snapshot");
  return parseProducerSnapshot(readFile(fs, path)!, path);
}

function produceMany(log: Log, start: number, end: number): void {
  for (let sequence = start; sequence < end; sequence++) produce(log, sequence);
}

/** Replaces a snapshot by one that says that its producer is at a sequence number. */
function writeSnapshot(fs: FileSystem, offset: number, lastSequence: number): void {
  const entry = {
    producerId: 7,
    producerEpoch: 0,
    lastSequence,
    lastOffset: Math.max(0, offset - 1),
    offsetDelta: 0,
    timestamp: producedTime,
    coordinatorEpoch: -1,
    currentTransactionFirstOffset: -1,
  };
  writeBytes(fs, segmentPath(offset, "snapshot"), printProducerSnapshot([entry]), 0);
}

describe("a log without producers", () => {
  it("has no snapshots, and nothing more is read or written for it", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    appendNumbered(log, 30);
    takeSnapshotIfUsed(log);
    await closeLog(log);
    assert.ok(basesOf(log).length > 5);
    assert.deepEqual(snapshotsOf(log), []);
    resetCounts(disk);
    const clean = open(disk.fs);
    assert.equal(disk.counts.write + disk.counts.sync + disk.counts.syncFolder, 0);
    abandonLog(clean);
    resetCounts(disk);
    const { log: recovered } = openTestLog(disk.fs, { config: small, recoveryPoint: 0 });
    // The recovery's own.
    assert.equal(disk.counts.syncFolder, 1);
    assert.deepEqual(snapshotsOf(recovered), []);
  });
});

describe("a log with producers", () => {
  it("that was closed is opened from its last snapshot, and no batch is read", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 10);
    await closeLog(log);
    const bases = basesOf(log);
    assert.deepEqual(snapshotsOf(log), [...bases, 10]);
    const plain = faultyDisk();
    const other = open(plain.fs);
    for (let count = 0; count < 10; count++) void appendValues(other, [`s${count}`]);
    await closeLog(other);
    resetCounts(disk);
    resetCounts(plain);
    const reopened = open(disk.fs);
    abandonLog(open(plain.fs));
    assert.equal(bytesReadOf(disk, ".log"), bytesReadOf(plain, ".log"));
    assert.equal(bytesReadOf(disk, ".snapshot"), 56);
    assert.equal(disk.counts.write + disk.counts.sync + disk.counts.remove, 0);
    assert.equal(produce(reopened, 9).baseOffset, 9);
    assert.equal(produce(reopened, 10).baseOffset, 10);
  });

  it("begins with an empty one before its first batch", () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    void appendValues(log, ["a", "b", "c"]);
    produce(log, 0);
    assert.deepEqual(snapshotsOf(log), [3]);
    assert.deepEqual(entriesOf(disk.fs, 3), []);
  });

  it("gets one at every roll, and loses it with the segment", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await flushLog(log);
    assert.deepEqual(snapshotsOf(log), basesOf(log));
    const [, second] = basesOf(log);
    assert.equal(entriesOf(disk.fs, second!)[0]!.lastSequence, second! - 1);
    noteRecoveryPoint(log);
    log.config = { ...log.config, retentionBytes: 400 };
    retireSegments(log, 0);
    sweepRetired(log);
    assert.ok(basesOf(log).length < 4);
    assert.deepEqual(snapshotsOf(log), basesOf(log));
    log.config = { ...log.config, retentionMs: 0 };
    retireSegments(log, producedTime + 1);
    sweepRetired(log);
    assert.deepEqual(basesOf(log), [12]);
    assert.deepEqual(snapshotsOf(log), [12], "the new one was on disk before the segments went");
    await closeLog(log);
    assert.deepEqual(snapshotsOf(log), [12]);
    assert.equal(produce(open(disk.fs), 11).isDuplicate, true);
  });

  it("is poisoned if the sync before its segments go fails, and keeps them all", async () => {
    for (const operation of ["sync", "syncFolder"] as const) {
      const disk = faultyDisk();
      const log = open(disk.fs);
      produceMany(log, 0, 12);
      await flushLog(log);
      log.config = { ...log.config, retentionMs: 0 };
      retireSegments(log, producedTime + 1);
      failNext(disk, { operation, code: "EIO", path: "orders-0" });
      const before = filesOf(disk.fs);
      const isPoison = (error: unknown): boolean => isOttlaError(error, "KAFKA_STORAGE_ERROR");
      assert.throws(() => sweepRetired(log), isPoison);
      // A disk that is asked again says that all is well, whatever is there.
      sweepRetired(log);
      assert.deepEqual(filesOf(disk.fs), before);
      assert.throws(() => produce(log, 12), isPoison);
      await assert.rejects(closeLog(log), isPoison);
      assert.deepEqual(filesOf(disk.fs), before);
      const reopened = open(disk.fs, { recoveryPoint: 0 });
      assert.equal(produce(reopened, 11).isDuplicate, true);
    }
  });

  it("keeps between rolls only what a recovery needs and the newest", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    void appendValues(log, ["a"]);
    for (let sequence = 0; sequence < 5; sequence++) {
      produce(log, sequence);
      takeSnapshotIfUsed(log);
    }
    assert.deepEqual(snapshotsOf(log), [1, 6], "nothing is on disk yet");
    await flushLog(log);
    assert.deepEqual(snapshotsOf(log), [1, 6], "nothing is recorded yet");
    noteRecoveryPoint(log);
    assert.deepEqual(snapshotsOf(log), [6]);
    produce(log, 5);
    takeSnapshotIfUsed(log);
    takeSnapshotIfUsed(log);
    assert.deepEqual(snapshotsOf(log), [6, 7]);
  });

  it("says in them what Kafka says", () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    produce(log, 2 ** 31 - 2, { producerId: 1, epoch: 3, values: ["a", "b", "c"], timestamp: 5 });
    produce(log, 0, { producerId: 2, transactional: true, timestamp: 6 });
    produce(log, 1, { producerId: 2, transactional: true, timestamp: 7 });
    endTransaction(log, "abort", { producerId: 3, epoch: 9, coordinatorEpoch: 4, timestamp: 8 });
    rollLog(log);
    const shared = { coordinatorEpoch: -1, currentTransactionFirstOffset: -1 };
    assert.deepEqual(entriesOf(disk.fs, 6), [
      {
        ...shared,
        producerId: 1,
        producerEpoch: 3,
        lastSequence: 0,
        lastOffset: 2,
        offsetDelta: 2,
        timestamp: 5,
      },
      {
        ...shared,
        producerId: 2,
        producerEpoch: 0,
        lastSequence: 1,
        lastOffset: 4,
        offsetDelta: 0,
        timestamp: 7,
        currentTransactionFirstOffset: 3,
      },
      {
        ...shared,
        producerId: 3,
        producerEpoch: 9,
        lastSequence: -1,
        lastOffset: -1,
        offsetDelta: 0,
        timestamp: 8,
        coordinatorEpoch: 4,
      },
    ]);
  });

  for (const ending of ["a restart", "a crash"] as const) {
    it(`knows transactions and markers after ${ending}`, async () => {
      const disk = faultyDisk();
      const log = open(disk.fs);
      produce(log, 0, { producerId: 1, transactional: true });
      endTransaction(log, "commit", { producerId: 1, coordinatorEpoch: 5 });
      produce(log, 0, { producerId: 2, transactional: true });
      produce(log, 0, { producerId: 3, transactional: true });
      endTransaction(log, "abort", { producerId: 2 });
      endTransaction(log, "abort", { producerId: 4, epoch: 2 });
      if (ending === "a crash") abandonLog(log);
      else await closeLog(log);
      const recoveryPoint = ending === "a crash" ? 0 : Infinity;
      const reopened = open(disk.fs, { recoveryPoint });
      assert.equal(lastStableOffset(reopened), 3);
      assert.deepEqual(reopened.producers.ended, []);
      const stale = { producerId: 1, coordinatorEpoch: 4 };
      assert.throws(() => endTransaction(reopened, "commit", stale), /epoch 5 took over/);
      assert.throws(() => produce(reopened, 1, { producerId: 3 }), /open since offset 3/);
      assert.throws(() => produce(reopened, 0, { producerId: 4, epoch: 1 }), /epoch 2/);
      endTransaction(reopened, "commit", { producerId: 3 });
      assert.equal(lastStableOffset(reopened), 7);
    });
  }

  it("forgets at an opening who was idle for a day, but for open transactions", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produce(log, 0, { producerId: 1 });
    produce(log, 0, { producerId: 2, transactional: true });
    produce(log, 0, { producerId: 3, timestamp: producedTime + 1 });
    await closeLog(log);
    const clock = manualClock(producedTime + producerIdExpirationMs);
    const reopened = open(disk.fs, { clock });
    assert.deepEqual([...reopened.producers.byId.keys()].sort(), [2, 3]);
    assert.equal(produce(reopened, 9, { producerId: 1 }).baseOffset, 3);
  });
});

forEachFileSystem("a crash loses no producer", (fs, folder) => {
  const options = { folder: `${folder}/orders-0`, config: small };
  const { log } = openTestLog(fs, options);
  void appendValues(log, ["plain"]);
  produceMany(log, 0, 12);
  abandonLog(log);
  const afterCrash = { ...options, recoveryPoint: 5 };
  const { log: crashed } = openTestLog(fs, afterCrash);
  assert.deepEqual(crashed.producers.byId.get(7)!.batches.map((batch) => batch.lastSequence), [
    7,
    8,
    9,
    10,
    11,
  ]);
  assert.equal(produce(crashed, 11).isDuplicate, true);
  assert.equal(produce(crashed, 12).baseOffset, 13);
  assert.equal(snapshotsOf(crashed).at(-1), 13);
  abandonLog(crashed);
  assert.equal(produce(openTestLog(fs, afterCrash).log, 13).baseOffset, 14);
});

describe("after a crash", () => {
  it("a log whose snapshots were lost with it is read, as far as it was recovered", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 3);
    abandonLog(log);
    disk.inner.remove(segmentPath(0, "snapshot"));
    const recovered = open(disk.fs, { recoveryPoint: 0 });
    assert.equal(produce(recovered, 2).isDuplicate, true);
    assert.deepEqual(snapshotsOf(recovered), [3]);
  });

  it("snapshots beyond the recovery point do not count", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 9);
    abandonLog(log);
    for (const base of basesOf(log).slice(1)) writeSnapshot(disk.inner, base, 50);
    writeSnapshot(disk.inner, 9, 60);
    const recovered = open(disk.fs, { recoveryPoint: 0 });
    assert.equal(produce(recovered, 9).baseOffset, 9);
    assert.equal(produce(recovered, 8).isDuplicate, true);
  });

  it("the snapshots behind a torn end are removed for good", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    produceMany(log, 0, 6);
    await closeLog(log);
    const cut = disk.inner.stat(segmentPath(0))!.sizeBytes - 10;
    resizeFile(disk.inner, segmentPath(0), cut);
    writeSnapshot(disk.inner, 17, 40);
    const recovered = open(disk.fs, { config: {}, recoveryPoint: 0 });
    assert.deepEqual(valuesOf(recovered), ["s0", "s1", "s2", "s3", "s4"]);
    assert.deepEqual(snapshotsOf(recovered), [0, 5]);
    assert.equal(produce(recovered, 5).isDuplicate, false);
    // A power cut does not bring them back.
    assert.deepEqual(filesOf(crashDisk(disk).fs).filter((name) => name.endsWith(".snapshot")), [
      "00000000000000000000.snapshot",
      "00000000000000000005.snapshot",
    ]);
  });

  it("a log that ends before its start begins anew, without producers", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 8);
    await closeLog(log);
    const reset = open(disk.fs, { startOffset: 20, recoveryPoint: 0 });
    assert.deepEqual(snapshotsOf(reset), []);
    assert.equal(reset.producers.byId.size, 0);
    assert.equal(produce(reset, 44).baseOffset, 20);
    assert.deepEqual(snapshotsOf(reset), [20]);
  });

  it("damage in the middle hides its batches, and those behind it count", () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    produceMany(log, 0, 9);
    const batchBytes = log.segments[0]!.sizeBytes / 9;
    abandonLog(log);
    flipByte(disk.inner, segmentPath(0), 7 * batchBytes + 65);
    const recovered = open(disk.fs, { config: {}, recoveryPoint: 0 });
    const { batches } = recovered.producers.byId.get(7)!;
    assert.deepEqual(batches.map((batch) => batch.lastSequence), [3, 4, 5, 6, 8]);
    assert.equal(produce(recovered, 9).baseOffset, 9);
  });
});

describe("a snapshot that cannot be read", () => {
  const damages: Record<string, (fs: FileSystem, path: string) => void> = {
    "is empty": (fs, path) => resizeFile(fs, path, 0),
    "has half a header": (fs, path) => resizeFile(fs, path, 7),
    "is cut off": (fs, path) => resizeFile(fs, path, 40),
    "is too long": (fs, path) => writeBytes(fs, path, new Uint8Array(46)),
    "has a wrong checksum": (fs, path) => flipByte(fs, path, 30),
    "is of another version": (fs, path) => flipByte(fs, path, 1, 3),
    "has a count that is not true": (fs, path) => flipByte(fs, path, 9, 4),
  };
  for (const [name, damage] of Object.entries(damages)) {
    it(`since it ${name} is made up for by the one before`, async () => {
      const disk = faultyDisk();
      const log = open(disk.fs);
      produceMany(log, 0, 12);
      await closeLog(log);
      const bases = basesOf(log);
      damage(disk.inner, segmentPath(12, "snapshot"));
      damage(disk.inner, segmentPath(bases.at(-1)!, "snapshot"));
      resetCounts(disk);
      const reopened = open(disk.fs);
      assert.deepEqual(snapshotsOf(reopened), [...bases, 12]);
      assert.ok(bytesReadOf(disk, "00000000000000000000.log") === 0);
      assert.equal(entriesOf(disk.fs, 12)[0]!.lastSequence, 11);
      assert.equal(produce(reopened, 11).isDuplicate, true);
      assert.equal(produce(reopened, 12).baseOffset, 12);
    });
  }

  it("as none can be has the whole log read", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    for (const offset of snapshotsOf(log)) {
      resizeFile(disk.inner, segmentPath(offset, "snapshot"), 0);
    }
    const reopened = open(disk.fs);
    assert.equal(reopened.producers.byId.get(7)!.batches.length, 5);
    await closeLog(reopened);
    assert.equal(entriesOf(disk.fs, 12)[0]!.lastSequence, 11);
  });

  it("since the disk does not give it back is made up for too", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    failNext(disk, { operation: "read", code: "EIO", path: ".snapshot" });
    assert.equal(produce(open(disk.fs), 12).baseOffset, 12);
  });

  it("stays while the disk takes no better one", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: {} });
    produceMany(log, 0, 3);
    await closeLog(log);
    disk.inner.remove(segmentPath(3, "snapshot"));
    resizeFile(disk.inner, segmentPath(0, "snapshot"), 3);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".snapshot", times: 9 });
    const full = open(disk.fs, { config: {} });
    assert.equal(produce(full, 2).isDuplicate, true);
    await closeLog(full);
    assert.ok(filesOf(disk.inner).some((name) => name.endsWith(".snapshot")));
    disk.faults.length = 0;
    assert.equal(produce(open(disk.fs, { config: {} }), 2).isDuplicate, true);
  });

  it("is neither one that is a folder, nor one that is about to be removed", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 3);
    await closeLog(log);
    disk.inner.makeFolder(`${logFolder}/00000000000000000002.snapshot`);
    writeBytes(disk.inner, `${logFolder}/00000000000000000001.snapshot.deleted`, new Uint8Array(9));
    const reopened = open(disk.fs);
    assert.deepEqual(reopened.snapshots.offsets, [0, 3]);
    assert.ok(!filesOf(disk.fs).includes("00000000000000000001.snapshot.deleted"));
  });
});

describe("a folder that a broker left", () => {
  it("with a snapshot at each segment and one at the end is taken over as it is", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    const before = filesOf(disk.fs);
    const reopened = open(disk.fs);
    assert.deepEqual(filesOf(disk.fs), before);
    await closeLog(reopened);
    assert.deepEqual(filesOf(disk.fs), before);
  });

  it("loses the snapshots that stand nowhere", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    const bases = basesOf(log);
    for (const stray of [1, 11]) writeSnapshot(disk.inner, stray, 99);
    assert.deepEqual(snapshotsOf(open(disk.fs)), [...bases, 12]);
  });

  it("without a snapshot at the end is read from the last one on", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    disk.inner.remove(segmentPath(12, "snapshot"));
    const reopened = open(disk.fs);
    assert.deepEqual(snapshotsOf(reopened), [...basesOf(log), 12]);
    assert.equal(produce(reopened, 12).baseOffset, 12);
  });

  it("without any and cleanly closed has no producers, as a broker takes it", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produceMany(log, 0, 12);
    await closeLog(log);
    for (const offset of snapshotsOf(log)) disk.inner.remove(segmentPath(offset, "snapshot"));
    assert.equal(produce(open(disk.fs), 99).baseOffset, 12);
  });
});
