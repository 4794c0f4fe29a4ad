/**
 * The transaction indexes of a log: written with the markers, on disk before a recovery point moves
 * beyond them, and made anew from the log where they were lost.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { lastStableOffset } from "../../src/log/producer_append.ts";
import { noteRecoveryPoint, takeSnapshotIfUsed } from "../../src/log/producer_snapshots.ts";
import { advanceStart, retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import {
  abortedTransactions,
  syncTransactionIndexes,
  trySyncTransactionIndexes,
} from "../../src/log/transaction_indexes.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { parseTxnIndex } from "../../src/segment/txn_index_file.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import {
  crashDisk,
  failNext,
  faultyDisk,
  healDisk,
  resetCounts,
} from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import type { LogOptions } from "../support/log_fixture.ts";
import {
  appendValues,
  basesOf,
  filesOf,
  flipByte,
  openTestLog,
  resizeFile,
  segmentPath,
  writeBytes,
} from "../support/log_fixture.ts";
import { endTransaction, produce } from "../support/produced.ts";

/** Producer, first offset, marker, last stable offset. */
type Row = readonly [number, number, number, number];

function open(fs: FileSystem, options: LogOptions = {}): Log {
  return openTestLog(fs, options).log;
}

/** The entries in the file of a segment; undefined if there is none. */
function rowsIn(fs: FileSystem, baseOffset: number, folder?: string): Row[] | undefined {
  const path = segmentPath(baseOffset, "txnindex", folder);
  const bytes = readFile(fs, path);
  if (bytes === undefined) return undefined;
  return parseTxnIndex(bytes, path).map((entry) => [
    entry.producerId,
    entry.firstOffset,
    entry.lastOffset,
    entry.lastStableOffset,
  ]);
}

function lookedUp(log: Log, fetchOffset: number, upperBound: number): Row[] {
  return abortedTransactions(log, fetchOffset, upperBound).map((entry) => [
    entry.producerId,
    entry.firstOffset,
    entry.lastOffset,
    entry.lastStableOffset,
  ]);
}

/** Appends transactional records, one batch. */
function send(log: Log, producerId: number, count: number): void {
  const values = Array.from({ length: count }, () => `p${producerId}`);
  const batches = log.producers.byId.get(producerId)?.batches ?? [];
  const baseSequence = (batches.at(-1)?.lastSequence ?? -1) + 1;
  produce(log, baseSequence, { producerId, values, transactional: true });
}

function plain(log: Log, count: number): void {
  void appendValues(log, Array.from({ length: count }, () => "plain"));
}

function abort(log: Log, producerId: number): void {
  endTransaction(log, "abort", { producerId });
}

function commit(log: Log, producerId: number): void {
  endTransaction(log, "commit", { producerId });
}

/** Kafka's own example. */
function interleave(log: Log): void {
  send(log, 1, 5);
  plain(log, 3);
  send(log, 2, 2);
  send(log, 1, 4);
  send(log, 3, 3);
  plain(log, 2);
  send(log, 1, 10);
  abort(log, 1);
  send(log, 2, 6);
  send(log, 4, 3);
  plain(log, 10);
  send(log, 3, 9);
  commit(log, 3);
  send(log, 4, 8);
  send(log, 2, 7);
  abort(log, 2);
  send(log, 4, 4);
  plain(log, 10);
  commit(log, 4);
}

const interleaved: Row[] = [[1, 0, 29, 8], [2, 8, 74, 36]];

/** Does what a checkpoint of the store does, and returns the recovery point. */
async function checkpoint(log: Log): Promise<number> {
  await flushLog(log);
  takeSnapshotIfUsed(log);
  syncTransactionIndexes(log);
  noteRecoveryPoint(log);
  return log.commit.syncedOffset;
}

describe("the transaction indexes of a log", () => {
  forEachFileSystem("have an entry for each transaction that was aborted", (fs, folder) => {
    const log = open(fs, { folder });
    interleave(log);
    assert.deepEqual(rowsIn(fs, 0, folder), interleaved);
    assert.equal(lastStableOffset(log), log.endOffset);
  });

  forEachFileSystem("are files of the segments with the markers", async (fs, folder) => {
    const log = open(fs, { folder });
    send(log, 1, 1);
    send(log, 2, 1);
    rollLog(log);
    plain(log, 1);
    rollLog(log);
    abort(log, 1);
    commit(log, 2);
    send(log, 2, 2);
    rollLog(log);
    abort(log, 2);
    plain(log, 1);
    assert.deepEqual(basesOf(log), [0, 2, 3, 7]);
    const inFiles = (): unknown[] => [0, 2, 3, 7].map((base) => rowsIn(fs, base, folder));
    const expected = [undefined, undefined, [[1, 0, 3, 1]], [[2, 5, 7, 8]]];
    assert.deepEqual(inFiles(), expected);
    assert.deepEqual(lookedUp(log, 0, 9), [[1, 0, 3, 1], [2, 5, 7, 8]]);
    assert.deepEqual(lookedUp(log, 0, 1), [[1, 0, 3, 1]]);
    assert.deepEqual(lookedUp(log, 4, 9), [[2, 5, 7, 8]]);
    assert.deepEqual(lookedUp(log, 8, 9), []);
    await closeLog(log);
    assert.deepEqual(inFiles(), expected);
    assert.deepEqual(lookedUp(open(fs, { folder }), 1, 9), [[1, 0, 3, 1], [2, 5, 7, 8]]);
  });

  it("have none for a marker without a transaction, nor for a commit", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    abort(log, 1);
    send(log, 1, 1);
    commit(log, 1);
    abort(log, 1);
    assert.equal(rowsIn(disk.fs, 0), undefined);
    assert.equal(log.transactionIndexes, undefined);
    send(log, 1, 1);
    abort(log, 1);
    abort(log, 1);
    assert.deepEqual(rowsIn(disk.fs, 0), [[1, 4, 5, 6]]);
  });

  it("cost a log without transactions nothing", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    plain(log, 3);
    const opens = disk.counts.open;
    assert.deepEqual(abortedTransactions(log, 0, 3), []);
    assert.ok(trySyncTransactionIndexes(log));
    assert.equal(log.transactionIndexes, undefined);
    assert.equal(disk.counts.open, opens);
    await closeLog(log);
    assert.equal(open(disk.fs).transactionIndexes, undefined);
    abandonLog(log);
    assert.equal(open(disk.fs, { recoveryPoint: 0 }).transactionIndexes, undefined);
  });

  it("are not looked at when a log is opened that was closed", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    interleave(log);
    await closeLog(log);
    resetCounts(disk);
    open(disk.fs);
    assert.ok(![...disk.bytesRead.keys()].some((path) => path.endsWith(".txnindex")));
  });

  it("get the entries of markers that were only accepted when these are written", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    produce(log, 0, { transactional: true });
    endTransaction(log, "abort", { ack: "memory" });
    assert.equal(rowsIn(disk.fs, 0), undefined);
    assert.deepEqual(lookedUp(log, 0, 2), [[7, 0, 1, 2]]);
    await flushLog(log);
    syncTransactionIndexes(log);
    assert.deepEqual(rowsIn(disk.fs, 0), [[7, 0, 1, 2]]);
  });

  it("go with their segments", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs, { config: { retentionBytes: 0 } });
    interleave(log);
    rollLog(log);
    send(log, 1, 1);
    rollLog(log);
    abort(log, 1);
    await flushLog(log);
    retireSegments(log, 0);
    sweepRetired(log);
    assert.deepEqual(basesOf(log), [log.endOffset]);
    assert.ok(!filesOf(disk.fs).some((name) => name.endsWith(".txnindex")));
    syncTransactionIndexes(log);
    assert.deepEqual(lookedUp(log, log.endOffset, log.endOffset + 1), []);
    await closeLog(log);
  });
});

describe("a disk that does not take an entry", () => {
  it("keeps no marker away, and takes the entry later", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    send(log, 1, 2);
    failNext(disk, {
      operation: "write",
      code: "ENOSPC",
      path: ".txnindex",
      times: 3,
      shortBytes: 9,
    });
    abort(log, 1);
    assert.equal(lastStableOffset(log), 3);
    assert.deepEqual(rowsOrPart(disk), "9 bytes");
    assert.deepEqual(lookedUp(log, 0, 3), [[1, 0, 2, 3]], "what is not saved is known");
    assert.equal(trySyncTransactionIndexes(log), false, "so no recovery point may move");
    send(log, 1, 1);
    abort(log, 1);
    assert.deepEqual(rowsIn(disk.fs, 0), [[1, 0, 2, 3], [1, 3, 4, 5]]);
    assert.ok(trySyncTransactionIndexes(log));
    await closeLog(log);
  });

  it("keeps a log from being closed cleanly", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    send(log, 1, 2);
    failNext(disk, { operation: "open", code: "EIO", path: ".txnindex", times: 9 });
    abort(log, 1);
    await assert.rejects(closeLog(log), { code: "EIO" });
    healDisk(disk);
    open(disk.fs, { recoveryPoint: 0 });
    assert.deepEqual(rowsIn(disk.fs, 0), [[1, 0, 2, 3]]);
  });

  function rowsOrPart(disk: FaultyDisk): string {
    return `${disk.fs.stat(segmentPath(0, "txnindex"))?.sizeBytes} bytes`;
  }
});

describe("after a crash", () => {
  const damages: Readonly<Record<string, (fs: FileSystem, path: string) => void>> = {
    "is missing": (fs, path) => fs.remove(path),
    "is empty": (fs, path) => resizeFile(fs, path, 0),
    "ends in an entry": (fs, path) => resizeFile(fs, path, 50),
    "has lost an entry": (fs, path) => resizeFile(fs, path, 34),
    "is of zeros": (fs, path) => writeBytes(fs, path, new Uint8Array(68), 0),
    "names another producer": (fs, path) => flipByte(fs, path, 9),
    "names another first offset": (fs, path) => flipByte(fs, path, 34 + 17, 0x0f),
    "names another last offset": (fs, path) => flipByte(fs, path, 34 + 25, 0x01),
    "has another version": (fs, path) => flipByte(fs, path, 34),
    "has an entry that nobody wrote": (fs, path) => {
      const bytes = readFile(fs, path)!.subarray(34, 68);
      bytes[25] = 80;
      writeBytes(fs, path, bytes);
    },
    "is as it was": () => {},
  };
  for (const [what, damage] of Object.entries(damages)) {
    forEachFileSystem(`an index that ${what} is made from the log`, (fs, folder) => {
      const log = open(fs, { folder });
      interleave(log);
      abandonLog(log);
      damage(fs, segmentPath(0, "txnindex", folder));
      const { log: reopened } = openTestLog(fs, { folder, recoveryPoint: 0 });
      assert.deepEqual(rowsIn(fs, 0, folder), interleaved);
      assert.deepEqual(lookedUp(reopened, 0, reopened.endOffset), interleaved);
      send(reopened, 1, 1);
      abort(reopened, 1);
      assert.equal(rowsIn(fs, 0, folder)!.length, 3);
    });
  }

  it("an index that is right is not written", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    interleave(log);
    abandonLog(log);
    failNext(disk, { operation: "write", code: "EIO", path: ".txnindex", times: 9 });
    failNext(disk, { operation: "truncate", code: "EIO", path: ".txnindex", times: 9 });
    const { transactionIndexes } = open(disk.fs, { recoveryPoint: 0 });
    assert.equal(transactionIndexes!.stale.size, 0);
    assert.equal(transactionIndexes!.unsynced.size, 1, "though it may not be on disk");
  });

  it("entries below the recovery point stay, those above are made anew", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    send(log, 1, 2);
    abort(log, 1);
    send(log, 2, 1);
    const recoveryPoint = await checkpoint(log);
    abort(log, 2);
    send(log, 1, 1);
    abort(log, 1);
    await flushLog(log);
    abandonLog(log);
    const after = crashDisk(disk, { names: true });
    assert.deepEqual(rowsIn(after.fs, 0), [[1, 0, 2, 3]], "only that one was synced");
    open(after.fs, { recoveryPoint });
    assert.deepEqual(rowsIn(after.fs, 0), [[1, 0, 2, 3], [2, 3, 4, 5], [1, 5, 6, 7]]);
  });

  it("an index that cannot be believed below the recovery point is made anew in full", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    send(log, 3, 1);
    rollLog(log);
    send(log, 1, 2);
    abort(log, 3);
    const recoveryPoint = await checkpoint(log);
    abort(log, 1);
    abandonLog(log);
    flipByte(disk.inner, segmentPath(1, "txnindex"), 1);
    open(disk.fs, { recoveryPoint });
    assert.deepEqual(rowsIn(disk.fs, 1), [[3, 0, 3, 1], [1, 1, 4, 5]]);
  });

  it("entries of markers that are gone go as well", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    plain(log, 1);
    await flushLog(log);
    send(log, 1, 1);
    abort(log, 1);
    syncTransactionIndexes(log);
    abandonLog(log);
    const after = crashDisk(disk, { names: true });
    after.fs.remove(segmentPath(1, "snapshot"));
    const reopened = open(after.fs, { recoveryPoint: 1 });
    assert.equal(reopened.endOffset, 1);
    assert.equal(rowsIn(after.fs, 0), undefined);
  });

  it("a full disk keeps no log from being opened", () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    interleave(log);
    abandonLog(log);
    flipByte(disk.inner, segmentPath(0, "txnindex"), 9);
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".txnindex", times: 2 });
    const reopened = open(disk.fs, { recoveryPoint: 0 });
    assert.deepEqual(lookedUp(reopened, 0, reopened.endOffset), interleaved);
    healDisk(disk);
    syncTransactionIndexes(reopened);
    assert.deepEqual(rowsIn(disk.fs, 0), interleaved);
  });
});

describe("an index that cannot be read", () => {
  it("is made anew when it is looked at", async () => {
    const disk = faultyDisk();
    let log = open(disk.fs);
    send(log, 9, 1);
    rollLog(log);
    interleave(log);
    abort(log, 9);
    const expected = rowsIn(disk.fs, 1)!;
    assert.equal(expected.length, 3);
    await closeLog(log);
    flipByte(disk.inner, segmentPath(1, "txnindex"), 1);
    log = open(disk.fs);
    assert.deepEqual(lookedUp(log, 0, log.endOffset), expected);
    assert.deepEqual(rowsIn(disk.fs, 1), expected);
    send(log, 1, 1);
    flipByte(disk.inner, segmentPath(1, "txnindex"), 34 * 2);
    abort(log, 1);
    assert.equal(lookedUp(log, 0, log.endOffset).length, 4);
    assert.equal(rowsIn(disk.fs, 1)!.length, 4);
    await closeLog(log);
  });

  it("is made anew when its last entry claims to lie behind the next", async () => {
    const disk = faultyDisk();
    const log = open(disk.fs);
    send(log, 1, 1);
    abort(log, 1);
    flipByte(disk.inner, segmentPath(0, "txnindex"), 20);
    send(log, 2, 1);
    abort(log, 2);
    assert.deepEqual(lookedUp(log, 0, log.endOffset), [[1, 0, 1, 2], [2, 2, 3, 4]]);
    assert.deepEqual(rowsIn(disk.fs, 0), [[1, 0, 1, 2], [2, 2, 3, 4]]);
    await closeLog(log);
  });

  it("knows transactions that began where the log has been cut", async () => {
    const disk = faultyDisk();
    let log = open(disk.fs);
    send(log, 1, 2);
    rollLog(log);
    send(log, 1, 2);
    abort(log, 1);
    rollLog(log);
    plain(log, 1);
    await flushLog(log);
    advanceStart(log, 2);
    log.config = { ...log.config, cleanupPolicy: "" };
    retireSegments(log, 0);
    sweepRetired(log);
    await closeLog(log);
    flipByte(disk.inner, segmentPath(2, "txnindex"), 1);
    log = open(disk.fs, { startOffset: 2 });
    assert.deepEqual(basesOf(log), [2, 5]);
    assert.deepEqual(lookedUp(log, 2, 6), [[1, 0, 4, 5]]);
  });
});
