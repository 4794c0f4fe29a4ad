/** Appending the batches of producers: stored once, acknowledged as asked, and nothing half done. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Ack, Log } from "../../src/log/log.ts";
import { abandonLog, flushLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { appendProduced, lastStableOffset } from "../../src/log/producer_append.ts";
import { advanceStart } from "../../src/log/retention.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchBuilder } from "../../src/record/batch_builder.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import {
  failNext,
  faultyDisk,
  healDisk,
  holdSyncs,
  releaseSyncs,
} from "../support/faulty_file_system.ts";
import type { LogOptions } from "../support/log_fixture.ts";
import {
  appendValues,
  basesOf,
  buildBatch,
  filesOf,
  manualClock,
  openTestLog,
  ringTimers,
  segmentPath,
  settle,
  valuesOf,
} from "../support/log_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";

function openOn(disk: FaultyDisk = faultyDisk(), options: LogOptions = {}): Log {
  return openTestLog(disk.fs, options).log;
}

/** Holds that something is refused and that nothing is appended by that. */
function refused(log: Log, code: ErrorCode, call: () => unknown): void {
  const { endOffset } = log;
  assert.throws(call, (error: unknown) => isOttlaError(error, code));
  assert.equal(log.endOffset, endOffset);
}

/** Whether a promise is settled by now. */
async function isDone(promise: Promise<void> | undefined): Promise<boolean> {
  let done = promise === undefined;
  void promise?.then(() => void (done = true));
  await settle();
  return done;
}

describe("a batch of a producer", () => {
  it("is stored, and says where", () => {
    const log = openOn();
    void appendValues(log, ["a", "b"]);
    const produced = produce(log, 0, { values: ["c", "d", "e"], timestamp: 77 });
    assert.deepEqual(produced, {
      baseOffset: 2,
      lastOffset: 4,
      maxTimestamp: 77,
      isDuplicate: false,
      done: undefined,
    });
    assert.deepEqual(valuesOf(log), ["a", "b", "c", "d", "e"]);
  });

  for (const ack of ["os", "memory", "disk"] as const) {
    it(`that is sent again is not stored again (${ack})`, async () => {
      const log = openOn();
      for (let sequence = 0; sequence < 5; sequence++) void produce(log, sequence, { ack });
      for (let sequence = 0; sequence < 5; sequence++) {
        const { done, ...produced } = produce(log, sequence, { ack, values: ["anything"] });
        assert.deepEqual(produced, {
          baseOffset: sequence,
          lastOffset: sequence,
          maxTimestamp: producedTime,
          isDuplicate: true,
        });
        await done;
      }
      produce(log, 5);
      refused(log, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => produce(log, 0));
      await flushLog(log);
      assert.deepEqual(valuesOf(log), ["s0", "s1", "s2", "s3", "s4", "s5"]);
    });
  }

  it("without a producer id is appended as any other", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    const builder = batchBuilder();
    const endOffset = buildBatch(builder, 0, ["a", "b"]);
    const { done, ...produced } = appendProduced(log, builder, endOffset, "disk");
    assert.deepEqual(produced, {
      baseOffset: 0,
      lastOffset: 1,
      maxTimestamp: 1_000_000,
      isDuplicate: false,
    });
    await done;
    assert.equal(log.producers.byId.size, 0);
    assert.ok(!filesOf(disk.fs).some((name) => name.endsWith(".snapshot")));
  });

  it("is not taken by a log that is closed or whose disk has failed", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    produce(log, 0);
    failNext(disk, { operation: "sync", code: "EIO" });
    await assert.rejects(async () => await produce(log, 1, { ack: "disk" }).done);
    // Not even told that it is there: nobody knows.
    refused(log, "KAFKA_STORAGE_ERROR", () => produce(log, 1));
    abandonLog(log);
    refused(log, "HANDLE_CLOSED", () => produce(log, 1));
  });

  it("that could not be written may be sent again", () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    produce(log, 0);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".log", shortBytes: 30 });
    refused(log, "DISK_FULL", () => produce(log, 1));
    refused(log, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => produce(log, 2));
    assert.equal(produce(log, 1).isDuplicate, false);
    assert.deepEqual(valuesOf(log), ["s0", "s1"]);
  });

  it("that is too large for a segment is refused and not known", () => {
    const log = openOn(faultyDisk(), { config: { segmentBytes: 200 } });
    const values = ["x".repeat(300)];
    refused(log, "RECORD_LIST_TOO_LARGE", () => produce(log, 0, { values }));
    assert.equal(log.producers.byId.size, 0);
    assert.equal(produce(log, 0).baseOffset, 0);
  });

  it("opens segments as any other, and is known across them", () => {
    const log = openOn(faultyDisk(), { config: { segmentBytes: 200 } });
    for (let sequence = 0; sequence < 9; sequence++) produce(log, sequence);
    assert.ok(basesOf(log).length > 3);
    assert.equal(produce(log, 4).baseOffset, 4);
    assert.equal(produce(log, 4).isDuplicate, true);
  });

  it("is known though it was deleted", () => {
    const log = openOn();
    produce(log, 0);
    produce(log, 1);
    advanceStart(log, 2);
    assert.equal(produce(log, 0).baseOffset, 0);
    assert.equal(produce(log, 2).baseOffset, 2);
  });
});

describe("a batch that is sent again", () => {
  const weaker: readonly Ack[] = ["os", "memory"];
  for (const first of weaker) {
    it(`waits until the first one, of level "${first}", is on disk`, async () => {
      const disk = faultyDisk();
      const log = openOn(disk);
      produce(log, 0, { ack: first });
      holdSyncs(disk);
      const again = produce(log, 0, { ack: "disk" });
      assert.equal(again.isDuplicate, true);
      assert.equal(await isDone(again.done), false);
      releaseSyncs(disk);
      await again.done;
      assert.ok(log.commit.syncedOffset >= 1);
      assert.equal(produce(log, 0, { ack: "disk" }).done, undefined, "it is there already");
    });
  }

  it("waits with the first one, which is under way", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    holdSyncs(disk);
    const original = produce(log, 0, { ack: "disk" });
    const again = produce(log, 0, { ack: "disk" });
    assert.equal(await isDone(again.done), false);
    assert.equal(produce(log, 0, { ack: "os" }).done, undefined);
    releaseSyncs(disk);
    await Promise.all([original.done, again.done]);
  });

  it("is written first if it was only accepted", () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    produce(log, 0, { ack: "memory" });
    assert.equal(produce(log, 0, { ack: "memory" }).done, undefined);
    assert.equal(disk.inner.stat(segmentPath(0))?.sizeBytes, 0);
    failNext(disk, { operation: "write", code: "ENOSPC" });
    refused(log, "DISK_FULL", () => produce(log, 0, { ack: "os" }));
    assert.equal(produce(log, 0, { ack: "os" }).isDuplicate, true);
    assert.ok(disk.inner.stat(segmentPath(0))!.sizeBytes > 0);
  });

  it("fails as the first one did", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    produce(log, 0);
    holdSyncs(disk);
    failNext(disk, { operation: "sync", code: "EIO", path: ".log" });
    const original = produce(log, 1, { ack: "disk" });
    const again = produce(log, 1, { ack: "disk" });
    const failures = Promise.allSettled([original.done, again.done]);
    await settle();
    releaseSyncs(disk);
    assert.deepEqual((await failures).map(({ status }) => status), ["rejected", "rejected"]);
  });
});

describe("batches that are only accepted", () => {
  it("count from then on, and are in the snapshot that is taken when they are written", async () => {
    const disk = faultyDisk();
    const clock = manualClock();
    const log = openOn(disk, { clock, config: { segmentBytes: 200 } });
    for (let sequence = 0; sequence < 7; sequence++) produce(log, sequence, { ack: "memory" });
    refused(log, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => produce(log, 8, { ack: "memory" }));
    ringTimers(clock);
    assert.ok(basesOf(log).length > 2);
    assert.equal(log.snapshots.isDue, false);
    assert.equal(log.snapshots.offsets.at(-1), 7);
    await closeLog(log);
    const { log: reopened } = openTestLog(disk.fs);
    assert.equal(produce(reopened, 6).isDuplicate, true);
    assert.equal(produce(reopened, 7).baseOffset, 7);
  });

  it("before the first batch of a producer are written first", () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    void appendValues(log, ["a", "b"], "memory");
    produce(log, 0, { ack: "memory" });
    assert.deepEqual(log.snapshots.offsets, [2]);
    assert.deepEqual(valuesOf(log), ["a", "b", "s0"]);
  });
});

describe("the last stable offset", () => {
  it("is the high watermark without transactions", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    void appendValues(log, ["a", "b"]);
    produce(log, 0);
    assert.equal(lastStableOffset(log), 3);
    holdSyncs(disk);
    const waiting = appendValues(log, ["c"], "disk");
    assert.equal(lastStableOffset(log), 3);
    await settle();
    releaseSyncs(disk);
    await waiting;
    assert.equal(lastStableOffset(log), 4);
  });

  for (const type of ["commit", "abort"] as const) {
    it(`stands at the first open transaction until its ${type} can be seen`, async () => {
      const disk = faultyDisk();
      const log = openOn(disk);
      void appendValues(log, ["plain"]);
      produce(log, 0, { producerId: 1, transactional: true });
      produce(log, 0, { producerId: 2, transactional: true });
      void appendValues(log, ["plain"]);
      assert.equal(lastStableOffset(log), 1);
      holdSyncs(disk);
      const marker = endTransaction(log, type, { producerId: 1, ack: "disk" });
      await settle();
      assert.equal(lastStableOffset(log), 1);
      releaseSyncs(disk);
      await marker.done;
      assert.equal(lastStableOffset(log), 2);
      endTransaction(log, type, { producerId: 2 });
      assert.equal(lastStableOffset(log), 6);
    });
  }

  it("is never below the start, nor above the high watermark", () => {
    const log = openOn(faultyDisk(memoryFileSystem()));
    produce(log, 0, { transactional: true });
    for (let count = 0; count < 5; count++) void appendValues(log, ["plain"]);
    advanceStart(log, 3);
    assert.equal(lastStableOffset(log), 3);
    // Hidden from here on.
    void produce(log, 0, { producerId: 1, transactional: true, ack: "disk" }).done;
    endTransaction(log, "abort");
    assert.equal(log.highWatermark, 6);
    assert.equal(lastStableOffset(log), 3, "the marker cannot be seen yet");
  });
});

describe("a disk that takes no snapshot", () => {
  it("keeps the first batch of a log's first producer away, and no other", async () => {
    const disk = faultyDisk();
    const log = openOn(disk, { config: { segmentBytes: 200 } });
    failNext(disk, { operation: "write", code: "EIO", path: ".snapshot", shortBytes: 3 });
    refused(log, "KAFKA_STORAGE_ERROR", () => produce(log, 0));
    assert.ok(!filesOf(disk.fs).some((name) => name.endsWith(".snapshot")));
    void appendValues(log, ["plain"]);
    produce(log, 0);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".snapshot", times: 100 });
    for (let sequence = 1; sequence < 9; sequence++) {
      await produce(log, sequence, { ack: "disk" }).done;
    }
    assert.ok(basesOf(log).length > 3);
    assert.deepEqual(log.snapshots.offsets, [1]);
    assert.equal(log.snapshots.isDue, true);
    await closeLog(log);
    healDisk(disk);
    const reopened = openOn(disk, { config: { segmentBytes: 200 } });
    assert.equal(produce(reopened, 8).isDuplicate, true);
    assert.equal(produce(reopened, 4).isDuplicate, true, "the log was read again");
    assert.equal(produce(reopened, 9).baseOffset, 10);
  });

  it("any more is none that a batch at a later occasion minds", () => {
    const disk = faultyDisk();
    const log = openOn(disk, { config: { segmentBytes: 200 } });
    produce(log, 0);
    failNext(disk, { operation: "open", code: "EIO", path: ".snapshot" });
    let sequence = 1;
    while (basesOf(log).length < 3) produce(log, sequence++);
    assert.deepEqual(log.snapshots.offsets, [0, basesOf(log)[2]]);
  });

  it("to its platters fails as any sync", async () => {
    const disk = faultyDisk();
    const log = openOn(disk);
    failNext(disk, { operation: "sync", code: "EIO", path: ".snapshot" });
    await assert.rejects(async () => await produce(log, 0, { ack: "disk" }).done);
    refused(log, "KAFKA_STORAGE_ERROR", () => produce(log, 1));
  });
});
