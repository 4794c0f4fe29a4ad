/**
 * Opening a log again: after a clean close, a crash, and damage.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog, saveActiveIndexes } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { findOffsetForTimestamp } from "../../src/log/log_reader.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  bytesReadOf,
  failNext,
  faultyDisk,
  healDisk,
  resetCounts,
} from "../support/faulty_file_system.ts";
import {
  appendNumbered,
  basesOf,
  filesOf,
  flipByte,
  logFolder,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  rangeOf,
  readLog,
  resizeFile,
  segmentPath,
  testConfig,
  valuesOf,
  writeBytes,
} from "../support/log_fixture.ts";

const config = { segmentBytes: 10 * numberedBatchBytes, indexIntervalBytes: 150 };

/** All files of the folder. */
function contentOf(fs: FileSystem): [string, Uint8Array | undefined][] {
  return filesOf(fs).map((name) => [name, readFile(fs, `${logFolder}/${name}`)]);
}

/**
 * Opens the log as after a crash, checks that a second opening gives the same, and gives the first.
 */
function recover(
  fs: FileSystem,
  recoveryPoint = 0,
  startOffset = 0,
): ReturnType<typeof openTestLog> {
  const first = openTestLog(fs, { config, recoveryPoint, startOffset });
  const seen = readLog(first.log);
  abandonLog(first.log);
  const files = contentOf(fs);
  const second = openTestLog(fs, { config, recoveryPoint, startOffset });
  assert.equal(second.tornBytes, 0);
  assert.deepEqual(readLog(second.log), seen);
  assert.deepEqual(
    contentOf(fs).filter(([name]) => !/index$/.test(name)),
    files.filter(([name]) => !/index$/.test(name)),
  );
  return { ...first, log: second.log };
}

function filled(fs: FileSystem, count: number): Log {
  const { log } = openTestLog(fs, { config });
  appendNumbered(log, count);
  return log;
}

/** Every offset and every timestamp is found. */
function assertAllFound(log: Log, count: number): void {
  assert.equal(log.endOffset, count);
  for (let offset = 0; offset < count; offset++) {
    assert.equal(readLog(log, offset).records[0]?.value, `v${offset}`);
    assert.equal(findOffsetForTimestamp(log, 1_000_000 + offset)?.offset, offset);
  }
}

describe("a clean close", () => {
  it("ends the index files with their last entries, and these are Kafka's", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config: { indexIntervalBytes: 0 } });
    assert.equal(fs.stat(segmentPath(0, "index"))?.sizeBytes, 4096);
    assert.equal(fs.stat(segmentPath(0, "timeindex"))?.sizeBytes, 4092);
    appendNumbered(log, 4);
    await closeLog(log);
    const index = new DataView(readFile(fs, segmentPath(0, "index"))!.buffer);
    const entries = rangeOf(0, index.byteLength / 8).map((entry) => [
      index.getInt32(entry * 8),
      index.getInt32(entry * 8 + 4),
    ]);
    assert.deepEqual(entries, [1, 2, 3].map((offset) => [offset, offset * numberedBatchBytes]));
    const time = new DataView(readFile(fs, segmentPath(0, "timeindex"))!.buffer);
    const times = rangeOf(0, time.byteLength / 12).map((entry) => [
      Number(time.getBigInt64(entry * 12)),
      time.getInt32(entry * 12 + 8),
    ]);
    assert.deepEqual(times, [1, 2, 3].map((offset) => [1_000_000 + offset, offset]));
  });

  it("has the largest timestamp as last entry of every time index", async () => {
    const fs = memoryFileSystem();
    const log = filled(fs, 25);
    const ends = log.segments.map((segment) => segment.endOffset);
    const bases = basesOf(log);
    await closeLog(log);
    assert.ok(bases.length > 2);
    for (const [index, base] of bases.entries()) {
      const bytes = readFile(fs, segmentPath(base, "timeindex"))!;
      const view = new DataView(bytes.buffer);
      assert.equal(Number(view.getBigInt64(bytes.length - 12)), 1_000_000 + ends[index]! - 1);
    }
  });

  it("is opened by reading the end of the last segment, however much there is", async () => {
    const readBytes = [];
    for (const count of [100, 2000]) {
      const disk = faultyDisk();
      const big = { segmentBytes: 20_000, indexIntervalBytes: 500 };
      const { log } = openTestLog(disk.fs, { config: big });
      appendNumbered(log, count);
      await closeLog(log);
      resetCounts(disk);
      const opened = openTestLog(disk.fs, { config: big });
      readBytes.push(bytesReadOf(disk, ".log"));
      assert.deepEqual([opened.scannedBytes, opened.tornBytes], [0, 0]);
      assert.equal(opened.log.endOffset, count);
      assert.equal(opened.log.commit.syncedOffset, count);
    }
    assert.ok(Math.max(...readBytes) < 1500, `${readBytes}`);
  });

  it("reopened shows what was there, and goes on", async () => {
    const fs = memoryFileSystem();
    for (let round = 0; round < 12; round++) {
      const { log } = openTestLog(fs, { config });
      assert.deepEqual(valuesOf(log), numberedValues(0, 7 * round));
      appendNumbered(log, 7);
      await closeLog(log);
    }
  });

  it("of an empty log, and of one that ends with an empty segment", async () => {
    const fs = memoryFileSystem();
    for (let round = 0; round < 3; round++) {
      const { log } = openTestLog(fs, { config });
      assert.equal(await closeLog(log), 0);
    }
    const log = filled(fs, 5);
    rollLog(log);
    await closeLog(log);
    for (const recoveryPoint of [Infinity, 0, 5]) {
      const { log: reopened } = openTestLog(fs, { config, recoveryPoint });
      assert.deepEqual(basesOf(reopened), [0, 5]);
      assert.deepEqual(valuesOf(reopened), numberedValues(0, 5));
      await closeLog(reopened);
    }
  });
});

describe("indexes", () => {
  it("that are gone are made again after a crash", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 200));
    for (const name of filesOf(fs)) if (/index$/.test(name)) fs.remove(`${logFolder}/${name}`);
    assertAllFound(recover(fs).log, 200);
  });

  const bytes = (count: number, seed: number): Uint8Array =>
    Uint8Array.from({ length: count }, (_, index) => (index * 31 + seed * 17) % 251);
  const harms: Readonly<Record<string, (fs: FileSystem, path: string) => void>> = {
    gone: (fs, path) => fs.remove(path),
    empty: (fs, path) => resizeFile(fs, path, 0),
    short: (fs, path) => resizeFile(fs, path, fs.stat(path)!.sizeBytes >> 1),
    zeros: (fs, path) => writeBytes(fs, path, new Uint8Array(fs.stat(path)!.sizeBytes), 0),
    longer: (fs, path) => writeBytes(fs, path, bytes(48, 1)),
    "filled with anything": (fs, path) => writeBytes(fs, path, bytes(480, 2), 0),
    "of no whole entries": (fs, path) => writeBytes(fs, path, bytes(5, 3)),
    "with a wrong entry": (fs, path) => {
      const position = fs.stat(path)!.sizeBytes - 1;
      if (position > 0) flipByte(fs, path, position, 0x03);
    },
    "preallocated": (fs, path) => resizeFile(fs, path, 4096 - 4096 % 24),
  };
  for (const [name, harm] of Object.entries(harms)) {
    for (const kind of ["index", "timeindex"] as const) {
      it(`that are ${name} (${kind}) change nothing that is read`, async () => {
        for (const recoveryPoint of [Infinity, 0, 30, 52]) {
          const fs = memoryFileSystem();
          const log = filled(fs, 55);
          await closeLog(log);
          for (const base of basesOf(log)) harm(fs, segmentPath(base, kind));
          const { log: reopened } = openTestLog(fs, { config, recoveryPoint });
          assertAllFound(reopened, 55);
          appendNumbered(reopened, 1);
          assertAllFound(reopened, 56);
        }
      });
    }
  }
});

/** The size of the batches that `appendNumbered` writes from one offset up to another. */
function bytesOfNumbered(startOffset: number, endOffset: number): number {
  return rangeOf(startOffset, endOffset)
    .reduce((sum, offset) => sum + numberedBatchBytes - 1 + String(offset).length, 0);
}

describe("a torn end", () => {
  it("is cut wherever it is torn, and what was cut is kept aside", () => {
    const whole = bytesOfNumbered(0, 3);
    for (let size = whole - numberedBatchBytes + 1; size < whole; size++) {
      const fs = memoryFileSystem();
      abandonLog(filled(fs, 3));
      const torn = readFile(fs, segmentPath(0))!.subarray(2 * numberedBatchBytes, size);
      resizeFile(fs, segmentPath(0), size);
      const { log, tornBytes } = recover(fs);
      assert.equal(tornBytes, torn.length);
      assert.deepEqual(valuesOf(log), numberedValues(0, 2));
      const name = `00000000000000000000-${2 * numberedBatchBytes}.torn`;
      assert.deepEqual(readFile(fs, `${logFolder}/${name}`), torn);
      assert.equal(fs.stat(segmentPath(0))?.sizeBytes, 2 * numberedBatchBytes);
      appendNumbered(log, 2);
      abandonLog(log);
      assert.deepEqual(valuesOf(recover(fs).log), numberedValues(0, 4));
    }
  });

  it("of anything behind the last batch is cut, in the log and in the index", () => {
    for (const garbage of [[0], [0, 0, 0, 0, 0, 0], rangeOf(0, 100), Array<number>(500).fill(0)]) {
      const fs = memoryFileSystem();
      const before = filled(fs, 58);
      const last = basesOf(before).at(-1)!;
      abandonLog(before);
      writeBytes(fs, segmentPath(last), Uint8Array.from(garbage));
      writeBytes(fs, segmentPath(last, "index"), Uint8Array.from(garbage), 0);
      const { log, tornBytes } = recover(fs, 50);
      assert.equal(tornBytes, garbage.length);
      assertAllFound(log, 58);
    }
  });

  it("at the same place twice keeps the bytes of the second time", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 2));
    for (const garbage of [rangeOf(0, 100), [1, 2, 3]]) {
      writeBytes(fs, segmentPath(0), Uint8Array.from(garbage));
      abandonLog(recover(fs).log);
      const name = `00000000000000000000-${2 * numberedBatchBytes}.torn`;
      assert.deepEqual(readFile(fs, `${logFolder}/${name}`), Uint8Array.from(garbage));
    }
  });

  it("is cut on a full disk too, though nothing can be kept aside", () => {
    const disk = faultyDisk();
    abandonLog(filled(disk.fs, 12));
    const last = segmentPath(10);
    resizeFile(disk.fs, last, disk.fs.stat(last)!.sizeBytes - 5);
    failNext(disk, { operation: "write", code: "ENOSPC", times: Infinity });
    const { log } = openTestLog(disk.fs, { config, recoveryPoint: 0 });
    assert.deepEqual(valuesOf(log), numberedValues(0, 11));
    healDisk(disk);
    appendNumbered(log, 1);
    abandonLog(log);
    assert.deepEqual(valuesOf(recover(disk.fs).log), numberedValues(0, 12));
  });

  it("of a segment with a successor is a gap", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 25));
    const size = fs.stat(segmentPath(10))!.sizeBytes;
    resizeFile(fs, segmentPath(10), size - 30);
    const { log, tornBytes } = recover(fs);
    assert.equal(tornBytes, 0);
    const { records, lost } = readLog(log);
    const end = log.segments[2]!.baseOffset;
    assert.deepEqual(lost, [{ startOffset: end - 1, endOffset: end }]);
    assert.equal(records.length, 24);
    assert.equal(log.gaps.length, 1);
    assert.deepEqual(
      [log.gaps[0]!.startOffset, log.gaps[0]!.endOffset, log.gaps[0]!.segmentBaseOffset],
      [end - 1, end, 10],
    );
    appendNumbered(log, 1);
    assert.equal(log.endOffset, 26);
  });
});

describe("damage in the middle", () => {
  it("of any one byte is a gap of one batch, and what follows is there", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 6));
    const pristine = readFile(fs, segmentPath(0))!;
    for (let position = 0; position < 5 * numberedBatchBytes; position++) {
      writeBytes(fs, segmentPath(0), pristine, 0);
      flipByte(fs, segmentPath(0), position);
      const { log } = openTestLog(fs, { config, recoveryPoint: 0 });
      const { records, lost } = readLog(log);
      abandonLog(log);
      const damaged = Math.floor(position / numberedBatchBytes);
      const isEpoch = position % numberedBatchBytes >= 12 && position % numberedBatchBytes < 16;
      const expected = rangeOf(0, 6).filter((offset) => isEpoch || offset !== damaged);
      assert.deepEqual(records.map(({ offset }) => offset), expected, `byte ${position}`);
      for (const { offset, value } of records) assert.equal(value, `v${offset}`);
      assert.deepEqual(lost.length, isEpoch ? 0 : 1, `byte ${position}`);
    }
  });

  it("keeps the bytes, and the log goes on behind", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 27));
    flipByte(fs, segmentPath(19), 3 * (numberedBatchBytes + 1) + 65);
    const size = fs.stat(segmentPath(19))?.sizeBytes;
    const { log, tornBytes } = recover(fs);
    assert.equal(tornBytes, 0);
    assert.equal(fs.stat(segmentPath(19))?.sizeBytes, size);
    assert.equal(log.endOffset, 27);
    assert.deepEqual(log.gaps.map(({ startOffset, endOffset }) => [startOffset, endOffset]), [
      [22, 23],
    ]);
    appendNumbered(log, 2);
    assert.deepEqual(
      readLog(log).records.map(({ offset }) => offset),
      rangeOf(0, 29).filter((offset) => offset !== 22),
    );
  });
});

describe("the recovery point", () => {
  it("spares what is before: segments below it are not read", () => {
    const disk = faultyDisk();
    abandonLog(filled(disk.fs, 101));
    const bases = basesOf(filled(disk.fs, 0));
    for (const recoveryPoint of [0, 35, 60, 100, 101]) {
      resetCounts(disk);
      const { log, scannedBytes } = openTestLog(disk.fs, { config, recoveryPoint });
      assert.equal(log.endOffset, 101);
      for (const [index, base] of bases.entries()) {
        const read = disk.bytesRead.get(segmentPath(base)) ?? 0;
        const isBelow = (bases[index + 1] ?? Infinity) <= recoveryPoint;
        assert.equal(read === 0, isBelow, `segment ${base} of ${recoveryPoint}`);
      }
      assert.ok(scannedBytes >= bytesOfNumbered(Math.max(recoveryPoint, bases.at(-1)!), 101));
      assert.ok(scannedBytes <= bytesReadOf(disk, ".log"));
      abandonLog(log);
    }
  });

  it("inside the active segment spares what lies before its last saved index entry", async () => {
    const disk = faultyDisk();
    const big = { segmentBytes: 1_000_000, indexIntervalBytes: 1000 };
    const { log } = openTestLog(disk.fs, { config: big });
    appendNumbered(log, 2000);
    await flushLog(log);
    saveActiveIndexes(log);
    const recoveryPoint = log.commit.syncedOffset;
    appendNumbered(log, 50);
    abandonLog(log);
    resetCounts(disk);
    const opened = openTestLog(disk.fs, { config: big, recoveryPoint });
    assert.equal(opened.log.endOffset, 2050);
    const tail = bytesOfNumbered(2000, 2050);
    assert.ok(opened.scannedBytes >= tail && opened.scannedBytes < tail + 1300);
    // Once to verify it and once to write it again.
    assert.ok(bytesReadOf(disk, ".log") < 2 * tail + 3000);
    assert.deepEqual(valuesOf(opened.log).length, 2050);
  });

  it("beyond the end, as of a file that was cut by hand, changes nothing", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 25));
    assert.deepEqual(valuesOf(recover(fs, 1000).log), numberedValues(0, 25));
  });
});

describe("a log that ends before its start", () => {
  it("begins anew at its start", () => {
    for (const recoveryPoint of [0, Infinity]) {
      const fs = memoryFileSystem();
      abandonLog(filled(fs, 15));
      const { log } = openTestLog(fs, { config, recoveryPoint, startOffset: 40 });
      assert.deepEqual(basesOf(log), [40]);
      assert.deepEqual([log.startOffset, log.endOffset, log.highWatermark], [40, 40, 40]);
      assert.deepEqual(filesOf(fs).filter((name) => name.endsWith(".log")).length, 1);
      appendNumbered(log, 1);
      assert.deepEqual(valuesOf(log), ["v40"]);
    }
  });
});

describe("the leader epochs", () => {
  it("that cannot be read keep no log from being opened", () => {
    const fs = memoryFileSystem();
    abandonLog(filled(fs, 5));
    writeBytes(fs, `${logFolder}/leader-epoch-checkpoint`, rangeAsBytes(30), 0);
    const { log } = recover(fs);
    assert.deepEqual(valuesOf(log), numberedValues(0, 5));
    appendNumbered(log, 1);
    assert.deepEqual(log.epochs.entries, [{ epoch: 0, startOffset: 5 }]);
  });
});

function rangeAsBytes(count: number): Uint8Array {
  return Uint8Array.from(rangeOf(0, count));
}

describe("an opening that fails", () => {
  it("says which partition it is, and the next one succeeds", () => {
    const disk = faultyDisk();
    abandonLog(filled(disk.fs, 5));
    failNext(disk, { operation: "read", code: "EIO", path: ".log" });
    assert.throws(
      () => openTestLog(disk.fs, { config, recoveryPoint: 0 }),
      /Cannot open orders-0 in \/store\/orders-0: .*EIO/,
    );
    assert.equal(disk.handles.size, 0);
    assert.deepEqual(valuesOf(recover(disk.fs).log), numberedValues(0, 5));
  });
});

describe("larger indexes than configured", () => {
  it("are read whole", async () => {
    const fs = memoryFileSystem();
    const large = { indexIntervalBytes: 0, segmentIndexBytes: 64 * 1024 };
    const { log } = openTestLog(fs, { config: large });
    appendNumbered(log, 1000);
    await closeLog(log);
    const { log: reopened } = openTestLog(fs, { config: { ...testConfig, indexIntervalBytes: 0 } });
    assertAllFound(reopened, 1000);
    appendNumbered(reopened, 1);
    assert.deepEqual(readLog(reopened, 999).records.map(({ offset }) => offset), [999, 1000]);
  });
});
