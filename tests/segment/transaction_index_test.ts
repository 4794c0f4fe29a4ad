/** The transaction index: Kafka's own cases, and files that are missing, cut short or wrong. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import { filePool } from "../../src/platform/file_pool.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import type { Segment } from "../../src/segment/segment.ts";
import { removeSegmentFiles, segmentAt } from "../../src/segment/segment.ts";
import {
  appendTransactionEntries,
  collectAborted,
  readTransactionIndex,
  replaceTransactionIndex,
  syncTransactionIndex,
  transactionIndexPath,
} from "../../src/segment/transaction_index.ts";
import type { AbortedTransaction } from "../../src/segment/txn_index_file.ts";
import { crashDisk, failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { hexOf } from "../support/hex.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";

function entry(
  producerId: number,
  firstOffset: number,
  lastOffset: number,
  lastStableOffset: number,
): AbortedTransaction {
  return { version: 0, producerId, firstOffset, lastOffset, lastStableOffset };
}

/** Kafka's own example. */
const four = [entry(0, 0, 10, 11), entry(1, 5, 15, 13), entry(2, 18, 35, 25), entry(3, 32, 50, 40)];

function segmentIn(fs: FileSystem, folder: string, baseOffset = 0, endOffset = 100): Segment {
  const place = { pool: filePool(fs, 4), folder, source: { topic: "orders", partition: 0 } };
  const segment = segmentAt(place, baseOffset, 0);
  segment.endOffset = endOffset;
  return segment;
}

function sizeOf(segment: Segment): number | undefined {
  return segment.pool.fs.stat(transactionIndexPath(segment))?.sizeBytes;
}

function isUnusable(error: unknown): boolean {
  return isOttlaError(error, "KAFKA_STORAGE_ERROR");
}

/** What a look-up in one segment finds: the producers, and whether that is all. */
function collected(from: number, upperBound: number): [number[], boolean] {
  const found: AbortedTransaction[] = [];
  const isComplete = collectAborted(four, from, upperBound, found);
  return [found.map(({ producerId }) => producerId), isComplete];
}

test("a look-up finds what reaches into the range and knows whether that is all", () => {
  assert.deepEqual(collected(0, 100), [[0, 1, 2, 3], false]);
  assert.deepEqual(collected(0, 32), [[0, 1, 2], true]);
  assert.deepEqual(collected(0, 35), [[0, 1, 2, 3], true]);
  assert.deepEqual(collected(10, 35), [[0, 1, 2, 3], true]);
  assert.deepEqual(collected(11, 35), [[1, 2, 3], true]);
  assert.deepEqual(collected(20, 41), [[2, 3], false]);
  assert.deepEqual(collected(51, 100), [[], false]);
});

forEachFileSystem("an index is read as it was written, also after a reopening", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  for (const one of four.slice(0, 2)) appendTransactionEntries(segment, [one]);
  const reopened = segmentIn(fs, folder);
  appendTransactionEntries(reopened, four.slice(2));
  assert.deepEqual(readTransactionIndex(reopened), four);
  assert.equal(sizeOf(segment), 4 * 34);
});

forEachFileSystem("an entry is 34 bytes", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  appendTransactionEntries(segment, [entry(1000, 30, 42, 43)]);
  assert.equal(
    hexOf(readFile(fs, transactionIndexPath(segment))!),
    "0000" + "00000000000003e8" + "000000000000001e" + "000000000000002a" + "000000000000002b",
  );
});

forEachFileSystem("an entry that does not lie behind the last one is refused", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  appendTransactionEntries(segment, four.slice(0, 2));
  for (const lastOffset of [15, 14, 10, 0]) {
    assert.throws(
      () => appendTransactionEntries(segment, [entry(5, 0, lastOffset, 16)]),
      RangeError,
    );
  }
  assert.throws(
    () => appendTransactionEntries(segment, [entry(5, 16, 20, 21), entry(6, 16, 20, 21)]),
    RangeError,
  );
  assert.deepEqual(readTransactionIndex(segment), four.slice(0, 2));
});

forEachFileSystem("an index of other offsets than the segment's is refused", (fs, folder) => {
  appendTransactionEntries(segmentIn(fs, folder), four);
  fs.rename(
    transactionIndexPath(segmentIn(fs, folder)),
    transactionIndexPath(segmentIn(fs, folder, 100)),
  );
  assert.throws(() => readTransactionIndex(segmentIn(fs, folder, 100, 200)), isUnusable);
  fs.rename(
    transactionIndexPath(segmentIn(fs, folder, 100)),
    transactionIndexPath(segmentIn(fs, folder)),
  );
  assert.throws(() => readTransactionIndex(segmentIn(fs, folder, 0, 50)), isUnusable);
  assert.deepEqual(readTransactionIndex(segmentIn(fs, folder, 0, 51)), four);
});

forEachFileSystem("an index gets other entries", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  replaceTransactionIndex(segment, four);
  assert.deepEqual(readTransactionIndex(segment), four);
  replaceTransactionIndex(segment, four.slice(1, 3));
  assert.deepEqual(readTransactionIndex(segment), four.slice(1, 3));
  appendTransactionEntries(segment, [entry(4, 40, 60, 61)]);
  assert.equal(readTransactionIndex(segment).length, 3);
  replaceTransactionIndex(segment, []);
  assert.deepEqual(fs.list(folder), [], "without an entry there is no file");
});

test("a power cut leaves the old entries of an index or the new ones, wherever it comes", () => {
  for (let steps = 0; steps < 6; steps++) {
    for (const names of [true, false]) {
      const disk = faultyDisk();
      disk.fs.makeFolder("/test");
      const segment = segmentIn(disk.fs, "/test");
      appendTransactionEntries(segment, four.slice(0, 2));
      syncTransactionIndex(segment);
      disk.fs.syncFolder("/test");
      const operations = ["open", "write", "sync", "rename", "syncFolder"] as const;
      const operation = operations[steps];
      if (operation !== undefined) failNext(disk, { operation, code: "EIO" });
      const replace = () => replaceTransactionIndex(segment, four);
      if (operation === undefined) replace();
      else assert.throws(replace, { code: "EIO" });
      const left = readTransactionIndex(segmentIn(crashDisk(disk, { names }).fs, "/test"));
      const isNew = operation === undefined || (operation === "syncFolder" && names);
      assert.deepEqual(left, isNew ? four : four.slice(0, 2), `${operation} ${names}`);
    }
  }
});

forEachFileSystem("without an entry there is no file", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  syncTransactionIndex(segment);
  replaceTransactionIndex(segment, []);
  appendTransactionEntries(segment, []);
  assert.deepEqual(readTransactionIndex(segment), []);
  assert.deepEqual(fs.list(folder), []);
  appendTransactionEntries(segment, four.slice(0, 1));
  syncTransactionIndex(segment);
  assert.equal(readTransactionIndex(segment).length, 1);
  replaceTransactionIndex(segment, []);
  assert.deepEqual(fs.list(folder), []);
});

forEachFileSystem("the index goes where its folder goes, and with its segment", (fs, folder) => {
  appendTransactionEntries(segmentIn(fs, folder), four.slice(0, 2));
  fs.makeFolder(`${folder}/new`);
  const moved = segmentIn(fs, `${folder}/new`);
  fs.rename(transactionIndexPath(segmentIn(fs, folder)), transactionIndexPath(moved));
  appendTransactionEntries(moved, four.slice(2));
  assert.deepEqual(readTransactionIndex(moved), four);
  assert.equal(sizeOf(segmentIn(fs, folder)), undefined);
  removeSegmentFiles(moved);
  assert.deepEqual(fs.list(`${folder}/new`), []);
});

forEachFileSystem(
  "an entry that was cut short does not count and is written over",
  (fs, folder) => {
    const segment = segmentIn(fs, folder);
    appendTransactionEntries(segment, four.slice(0, 3));
    resizeFile(fs, transactionIndexPath(segment), 3 * 34 - 1);
    assert.deepEqual(readTransactionIndex(segment), four.slice(0, 2));
    appendTransactionEntries(segment, four.slice(2));
    assert.deepEqual(readTransactionIndex(segment), four);
    resizeFile(fs, transactionIndexPath(segment), 34 - 1);
    assert.deepEqual(readTransactionIndex(segment), []);
  },
);

forEachFileSystem("what can be no index is refused", (fs, folder) => {
  const segment = segmentIn(fs, folder);
  const path = transactionIndexPath(segment);
  const damages: (() => void)[] = [
    () => flipByte(fs, path, 1),
    () => flipByte(fs, path, 34 + 10, 0x80),
    () => flipByte(fs, path, 34 + 17, 0x40),
    () => flipByte(fs, path, 34 + 25, 0x08),
    () => writeBytes(fs, path, new Uint8Array(34)),
  ];
  for (const damage of damages) {
    replaceTransactionIndex(segment, four.slice(0, 2));
    damage();
    assert.throws(() => readTransactionIndex(segment), isUnusable);
  }
  flipByte(fs, path, 2 * 34 + 1);
  assert.throws(() => appendTransactionEntries(segment, four.slice(2)), isUnusable);
});

test("no file stays open when something fails", () => {
  const disk = faultyDisk();
  disk.fs.makeFolder("/test");
  const segment = segmentIn(disk.fs, "/test");
  failNext(disk, { operation: "write", code: "ENOSPC" });
  assert.throws(() => appendTransactionEntries(segment, four), { code: "ENOSPC" });
  appendTransactionEntries(segment, four);
  failNext(disk, { operation: "sync", code: "EIO" });
  assert.throws(() => syncTransactionIndex(segment), { code: "EIO" });
  failNext(disk, { operation: "remove", code: "EBUSY" });
  assert.throws(() => replaceTransactionIndex(segment, []), { code: "EBUSY" });
  assert.deepEqual(readTransactionIndex(segment), four);
  assert.equal(disk.handles.size, 0);
});
