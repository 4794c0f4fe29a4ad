/**
 * What a crash may leave in a partition's folder, and what is made of it.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { abandonLog } from "../../src/log/log.ts";
import { settleLogFolder } from "../../src/log/log_folder.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchBuilder, builtBytes } from "../../src/record/batch_builder.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import {
  appendNumbered,
  buildBatch,
  filesOf,
  logFolder,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  readLog,
  segmentPath,
  valuesOf,
  writeBytes,
} from "../support/log_fixture.ts";

const config = { segmentBytes: 5 * numberedBatchBytes };

/** A log with segments at 0, 5, 10, 14 and 18, of 20 records in all. */
function fillFolder(fs: FileSystem): void {
  const { log } = openTestLog(fs, { config });
  appendNumbered(log, 20);
  assert.deepEqual(log.segments.map((segment) => segment.baseOffset), [0, 5, 10, 14, 18]);
  abandonLog(log);
}

/** The bytes of a compacted segment: one batch for each of these offsets, with the value `new7`. */
function compacted(offsets: readonly number[]): Uint8Array {
  const builder = batchBuilder();
  for (const offset of offsets) buildBatch(builder, offset, [`new${offset}`]);
  return builtBytes(builder).slice();
}

/** Lays the files of a swapped segment into the folder. */
function addSegment(
  fs: FileSystem,
  baseOffset: number,
  offsets: readonly number[],
  suffix: "cleaned" | "swap",
): void {
  writeBytes(fs, `${segmentPath(baseOffset)}.${suffix}`, compacted(offsets));
  writeBytes(fs, `${segmentPath(baseOffset, "index")}.${suffix}`, new Uint8Array(0));
  writeBytes(fs, `${segmentPath(baseOffset, "timeindex")}.${suffix}`, new Uint8Array(0));
}

/** The values of the log that the folder holds, and no file that does not belong to it. */
function settledValues(fs: FileSystem): string[] {
  const { log } = openTestLog(fs, { config, recoveryPoint: 0 });
  const { records, lost } = readLog(log);
  abandonLog(log);
  assert.deepEqual(lost, []);
  assert.deepEqual(filesOf(fs).filter((name) => /\.(deleted|cleaned|swap)$/.test(name)), []);
  return records.map((record) => record.value);
}

/** What `numberedValues` has from an offset on, behind some other values. */
function thenNumbered(values: readonly string[], startOffset: number): string[] {
  return [...values, ...numberedValues(startOffset, 20)];
}

describe("log folder", () => {
  it("loses what was about to be removed, and indexes without a log", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    const names = filesOf(fs);
    for (const kind of ["index", "timeindex", "txnindex"] as const) {
      writeBytes(fs, segmentPath(40, kind), new Uint8Array(24));
      writeBytes(fs, `${segmentPath(5, kind)}.deleted`, new Uint8Array(24));
    }
    writeBytes(fs, `${segmentPath(2)}.deleted`, new Uint8Array(24));
    writeBytes(fs, `${segmentPath(2, "snapshot")}.deleted`, new Uint8Array(24));
    assert.deepEqual(settleLogFolder(fs, logFolder).bases, [0, 5, 10, 14, 18]);
    assert.deepEqual(filesOf(fs), names);
  });

  it("keeps the files of others, and producer snapshots", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    const others = [
      "notes.txt",
      "5.log",
      "00000000000000000007.log.bak",
      "0000000000000000000x.log",
    ];
    for (const name of others) writeBytes(fs, `${logFolder}/${name}`, new Uint8Array(1));
    writeBytes(fs, segmentPath(7, "snapshot"), new Uint8Array(1));
    fs.makeFolder(segmentPath(99));
    const names = filesOf(fs);
    assert.deepEqual(settleLogFolder(fs, logFolder).bases, [0, 5, 10, 14, 18]);
    assert.deepEqual(filesOf(fs), names);
  });

  it("drops a compaction that had not begun to swap in", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 0, [3, 9], "cleaned");
    assert.deepEqual(settledValues(fs), numberedValues(0, 20));
  });

  it("completes one whose segment replaces several", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 0, [3, 12], "swap");
    assert.deepEqual(settledValues(fs), thenNumbered(["new3", "new12"], 14));
    const logs = filesOf(fs).filter((name) => name.endsWith(".log"));
    assert.deepEqual(logs.map((name) => Number(name.slice(0, 20))), [0, 14, 18]);
  });

  it("completes one of several segments", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 0, [3, 9], "swap");
    addSegment(fs, 10, [10, 17], "swap");
    assert.deepEqual(settledValues(fs), thenNumbered(["new3", "new9", "new10", "new17"], 18));
  });

  it("drops the segments from the first on that is not ready, and completes those before", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 10, [17], "swap");
    addSegment(fs, 5, [9], "cleaned");
    assert.deepEqual(settledValues(fs), numberedValues(0, 20));
    addSegment(fs, 0, [4], "swap");
    addSegment(fs, 5, [9], "cleaned");
    addSegment(fs, 10, [17], "swap");
    assert.deepEqual(settledValues(fs), thenNumbered(["new4"], 5));
  });

  it("keeps a log that has its name already when only its indexes do not", () => {
    for (const left of [["index", "timeindex"], ["timeindex"], ["index"]] as const) {
      const fs = memoryFileSystem();
      fillFolder(fs);
      for (const kind of left) writeBytes(fs, `${segmentPath(5, kind)}.swap`, new Uint8Array(0));
      assert.deepEqual(settledValues(fs), numberedValues(0, 20));
    }
  });

  it("completes one whose old segments were being removed", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 0, [12], "swap");
    for (const kind of ["log", "index", "timeindex"] as const) {
      fs.rename(segmentPath(5, kind), `${segmentPath(5, kind)}.deleted`);
    }
    fs.rename(segmentPath(0), `${segmentPath(0)}.deleted`);
    assert.deepEqual(settledValues(fs), thenNumbered(["new12"], 14));
  });

  it("has what it completed on disk before the next compaction begins", () => {
    const disk = faultyDisk();
    fillFolder(disk.fs);
    addSegment(disk.fs, 5, [9], "swap");
    disk.fs.syncFolder(logFolder);
    settleLogFolder(disk.fs, logFolder);
    // Beside the files of the next compaction a swap that came back would be dropped.
    assert.deepEqual(filesOf(crashDisk(disk).fs), filesOf(disk.fs));
    assert.ok(!filesOf(disk.fs).some((name) => name.endsWith(".swap")));
  });

  it("comes to the same if it is interrupted anywhere", () => {
    const prepared = (): FaultyDisk => {
      const disk = faultyDisk();
      fillFolder(disk.fs);
      addSegment(disk.fs, 5, [9], "swap");
      addSegment(disk.fs, 0, [3, 4], "swap");
      addSegment(disk.fs, 10, [10, 12], "swap");
      addSegment(disk.fs, 18, [19], "cleaned");
      writeBytes(disk.fs, `${segmentPath(2)}.deleted`, new Uint8Array(24));
      for (const path of disk.files.keys()) {
        const file = disk.fs.open(path, "write");
        disk.fs.syncDataNow(file);
        disk.fs.close(file);
      }
      disk.fs.syncFolder(logFolder);
      return disk;
    };
    const expected = thenNumbered(["new3", "new4", "new9", "new10", "new12"], 14);
    assert.deepEqual(settledValues(prepared().fs), expected);
    let failures = 0;
    for (const operation of ["remove", "rename", "syncFolder"] as const) {
      for (const keepsNames of [true, false]) {
        for (let after = 0; after < 30; after++) {
          const disk = prepared();
          failNext(disk, { operation, code: "EIO", after });
          try {
            settleLogFolder(disk.fs, logFolder);
            break;
          } catch {
            failures++;
          }
          healDisk(disk);
          const crashed = crashDisk(disk, { names: keepsNames });
          assert.deepEqual(settledValues(crashed.fs), expected, `${operation} ${after}`);
        }
      }
    }
    assert.ok(failures > 20);
  });

  it("is left alone when it is settled again", () => {
    const fs = memoryFileSystem();
    fillFolder(fs);
    addSegment(fs, 0, [3, 12], "swap");
    settleLogFolder(fs, logFolder);
    const before = filesOf(fs).map((name) => [name, readFile(fs, `${logFolder}/${name}`)]);
    assert.deepEqual(settleLogFolder(fs, logFolder).bases, [0, 14, 18]);
    assert.deepEqual(
      filesOf(fs).map((name) => [name, readFile(fs, `${logFolder}/${name}`)]),
      before,
    );
  });

  it("of an empty partition gets its first segment", () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { startOffset: 42 });
    assert.deepEqual(filesOf(fs), [
      "00000000000000000042.index",
      "00000000000000000042.log",
      "00000000000000000042.timeindex",
    ]);
    assert.deepEqual([log.startOffset, log.endOffset, log.highWatermark], [42, 42, 42]);
    assert.deepEqual(valuesOf(log), []);
  });
});
