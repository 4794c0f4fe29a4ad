/** Reading what was committed, held against what a test knows to be committed. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { Log } from "../../src/log/log.ts";
import { appendBuilt, rollLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import {
  isLookingAhead,
  isolatedCursor,
  isolatedEnd,
  nextVisibleBatch,
} from "../../src/log/committed_reader.ts";
import type { LogCursor } from "../../src/log/log_cursor.ts";
import { releaseBuffer } from "../../src/log/log_cursor.ts";
import { advanceStart } from "../../src/log/retention.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { bytesReadOf, faultyDisk, resetCounts } from "../support/faulty_file_system.ts";
import { appendValues, flipByte, openTestLog, segmentPath } from "../support/log_fixture.ts";
import { endTransaction, produce } from "../support/produced.ts";

const options = { readBytes: 4096, reusesBuffer: true };

interface Limits {
  readonly markersMax?: number;
  readonly turnBytes?: number;
}

function committedCursor(log: Log, offset = log.startOffset, limits: Limits = {}): LogCursor {
  const cursor = isolatedCursor(log, offset, options, "readCommitted");
  cursor.outcomes = { ...cursor.outcomes!, ...limits };
  return cursor;
}

/** What a cursor sees up to the last stable offset, and how often it had to be asked again. */
function seen(cursor: LogCursor): { values: string[]; turns: number } {
  const values: string[] = [];
  for (let turns = 0; turns < 10_000;) {
    const batch = nextVisibleBatch(cursor, isolatedEnd(cursor.log, "readCommitted"));
    if (batch !== undefined) {
      for (const { value } of recordsOf(batch)) values.push(new TextDecoder().decode(value!));
    } else if (isLookingAhead(cursor)) turns++;
    else return { values, turns };
  }
  assert.fail("the reader comes to an end");
}

function committed(log: Log, offset?: number, limits?: Limits): string[] {
  return seen(committedCursor(log, offset, limits)).values;
}

/** One transactional record with its offset as its value. */
function send(log: Log, producerId: number, size = 0): void {
  const batches = log.producers.byId.get(producerId)?.batches ?? [];
  const value = `${producerId}@${log.endOffset}${".".repeat(size)}`;
  const values = [value];
  produce(log, (batches.at(-1)?.lastSequence ?? -1) + 1, {
    producerId,
    values,
    transactional: true,
  });
}

function end(log: Log, producerId: number, type: "commit" | "abort"): void {
  endTransaction(log, type, { producerId });
}

function plain(log: Log): void {
  void appendValues(log, [`plain@${log.endOffset}`]);
}

function newLog(): Log {
  return openTestLog(faultyDisk().fs).log;
}

describe("a reader of what was committed", () => {
  it("sees a log without transactions as any reader, and looks nowhere ahead", () => {
    const log = newLog();
    for (let count = 0; count < 3; count++) plain(log);
    produce(log, 0, { values: ["idempotent"] });
    const cursor = committedCursor(log);
    assert.deepEqual(seen(cursor).values, ["plain@0", "plain@1", "plain@2", "idempotent"]);
    assert.equal(cursor.outcomes!.ahead, undefined);
  });

  it("sees what was committed, nothing that was aborted, and no marker", () => {
    const log = newLog();
    send(log, 1);
    send(log, 2);
    plain(log);
    send(log, 1);
    end(log, 1, "commit");
    send(log, 1);
    end(log, 2, "abort");
    send(log, 2);
    end(log, 1, "abort");
    end(log, 2, "commit");
    assert.deepEqual(committed(log), ["1@0", "plain@2", "1@3", "2@7"]);
    for (let offset = 0; offset <= log.endOffset; offset++) {
      const expected = ["1@0", "plain@2", "1@3", "2@7"].filter((value) =>
        Number(value.split("@")[1]) >= offset
      );
      assert.deepEqual(committed(log, offset), expected, `from ${offset}`);
    }
  });

  it("sees nothing behind the first open transaction until that is decided", () => {
    const log = newLog();
    const cursor = committedCursor(log);
    plain(log);
    send(log, 1);
    send(log, 2);
    end(log, 2, "commit");
    plain(log);
    assert.equal(isolatedEnd(log, "readCommitted"), 1);
    assert.deepEqual(seen(cursor).values, ["plain@0"]);
    end(log, 1, "abort");
    assert.deepEqual(seen(cursor).values, ["2@2", "plain@4"]);
    send(log, 1);
    end(log, 1, "commit");
    assert.deepEqual(seen(cursor).values, ["1@6"]);
    assert.equal(isolatedEnd(log, "readUncommitted"), log.endOffset);
  });

  it("finds markers in later segments, and after a restart", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    send(log, 1);
    send(log, 2);
    for (let count = 0; count < 3; count++) {
      rollLog(log);
      plain(log);
    }
    rollLog(log);
    end(log, 1, "abort");
    rollLog(log);
    end(log, 2, "commit");
    const expected = ["2@1", "plain@2", "plain@3", "plain@4"];
    assert.deepEqual(committed(log), expected);
    await closeLog(log);
    // Nobody asks it.
    disk.fs.remove(segmentPath(5, "txnindex"));
    assert.deepEqual(committed(openTestLog(disk.fs).log), expected);
  });

  it("is told about damage, and does not take for committed what lost its marker", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    send(log, 1);
    const position = log.segments[0]!.sizeBytes;
    end(log, 1, "commit");
    plain(log);
    await closeLog(log);
    flipByte(disk.inner, segmentPath(0), position + 70);
    const { log: reopened } = openTestLog(disk.fs);
    const cursor = committedCursor(reopened);
    assert.throws(
      () => seen(cursor),
      (error: unknown) =>
        isOttlaError(error, "CORRUPT_MESSAGE") && error.details["startOffset"] === 1,
    );
    assert.deepEqual(seen(cursor).values, ["plain@2"]);
  });

  it("passes over markers that it does not understand, and batches of no producer", () => {
    const log = newLog();
    send(log, 1);
    const builder = batchBuilder();
    appendRecord(builder, 0, new Uint8Array([0, 0, 0, 99]), new Uint8Array(6));
    const header = { producerId: 1, producerEpoch: 0, transactional: true, control: true };
    finishBatch(builder, { baseOffset: log.endOffset, ...header });
    appendBuilt(log, builder, log.endOffset + 1, "os");
    const malformed = batchBuilder();
    appendRecord(malformed, 0, new Uint8Array([0, 0]), new Uint8Array(6));
    finishBatch(malformed, { baseOffset: log.endOffset, ...header });
    appendBuilt(log, malformed, log.endOffset + 1, "os");
    end(log, 1, "commit");
    assert.deepEqual(committed(log), ["1@0"]);
  });

  it("keeps its own place while it looks ahead, and others have their turns", () => {
    const log = newLog();
    send(log, 1);
    for (let count = 0; count < 20; count++) {
      send(log, 2, 50);
      end(log, 2, count % 3 === 0 ? "abort" : "commit");
    }
    end(log, 1, "commit");
    const expected = committed(log);
    assert.equal(expected.length, 1 + 13);
    const { values, turns } = seen(committedCursor(log, 0, { turnBytes: 300 }));
    assert.deepEqual(values, expected);
    assert.ok(turns > 5);
    const cursor = committedCursor(log, 0, { turnBytes: 1 });
    assert.equal(nextVisibleBatch(cursor, log.endOffset), undefined);
    assert.ok(isLookingAhead(cursor));
    assert.equal(cursor.offset, 0);
    releaseBuffer(cursor);
    assert.equal(cursor.outcomes!.ahead!.filled, 0);
    assert.deepEqual(seen(cursor).values, expected);
  });

  it("is told when what it was about to see is deleted", () => {
    const log = newLog();
    send(log, 1);
    plain(log);
    end(log, 1, "commit");
    plain(log);
    const cursor = committedCursor(log, 0, { turnBytes: 1 });
    assert.equal(nextVisibleBatch(cursor, log.endOffset), undefined);
    advanceStart(log, 2);
    assert.throws(
      () => nextVisibleBatch(cursor, log.endOffset),
      (error: unknown) => isOttlaError(error, "OFFSET_OUT_OF_RANGE"),
    );
  });

  it("sees a transaction from where the log was cut in its middle", () => {
    const log = newLog();
    for (let count = 0; count < 4; count++) send(log, count % 2);
    plain(log);
    advanceStart(log, 2);
    assert.equal(isolatedEnd(log, "readCommitted"), 2);
    end(log, 0, "abort");
    end(log, 1, "commit");
    assert.deepEqual(committed(log), ["1@3", "plain@4"]);
    advanceStart(log, 6);
    assert.deepEqual(committed(log), []);
    send(log, 1);
    plain(log);
    advanceStart(log, 8);
    assert.equal(isolatedEnd(log, "readCommitted"), 8);
  });

  it("gets by with few markers in mind", () => {
    const log = newLog();
    for (let producerId = 1; producerId <= 8; producerId++) send(log, producerId);
    for (let round = 0; round < 4; round++) {
      for (let producerId = 8; producerId >= 2; producerId--) {
        end(log, producerId, (producerId + round) % 2 === 0 ? "abort" : "commit");
        send(log, producerId);
      }
    }
    for (let producerId = 8; producerId >= 1; producerId--) end(log, producerId, "commit");
    const expected = committed(log);
    assert.ok(expected.length > 15);
    for (const markersMax of [0, 1, 2, 5, 13]) {
      for (const turnBytes of [1, 100, 1000]) {
        assert.deepEqual(committed(log, 0, { markersMax, turnBytes }), expected);
      }
    }
  });

  it("keeps one marker in mind of a producer whose transactions all end alike", () => {
    const log = newLog();
    send(log, 1);
    for (let count = 0; count < 50; count++) {
      send(log, 2);
      end(log, 2, count < 30 ? "commit" : "abort");
    }
    end(log, 1, "commit");
    const cursor = committedCursor(log);
    nextVisibleBatch(cursor, log.endOffset);
    assert.equal(cursor.outcomes!.markerCount, 3);
    assert.equal(seen(cursor).values.length, 30);
  });

  it("looks only as far ahead as it must, and at nothing twice", () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs);
    for (let count = 0; count < 100; count++) {
      for (let records = 0; records < 5; records++) send(log, 1 + count % 2, 100);
      end(log, 1 + count % 2, "commit");
    }
    const { sizeBytes } = log.segments[0]!;
    resetCounts(disk);
    assert.equal(committed(log).length, 500);
    const readBytes = bytesReadOf(disk, ".log");
    assert.ok(readBytes < 2.3 * sizeBytes, `${readBytes} of ${sizeBytes}`);
    resetCounts(disk);
    const cursor = committedCursor(log, log.endOffset - 6);
    assert.equal(seen(cursor).values.length, 5);
    assert.ok(bytesReadOf(disk, ".log") < 32 * 1024);
  });
});
