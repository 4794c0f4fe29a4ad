/** Opening segments: recovery, gaps, and indexes that are missing, short or wrong. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { isOttlaError } from "../../src/errors.ts";
import { closePooledFile } from "../../src/platform/file_pool.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { encodeOffsetEntries } from "../../src/segment/offset_index.ts";
import type { Segment, SegmentConfig, SegmentPlace } from "../../src/segment/segment.ts";
import { mustRoll } from "../../src/segment/segment.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import {
  indexesOf,
  offsetForTimestamp,
  openLastSegment,
  openSealedSegment,
  positionForOffset,
  readSegment,
  rebuildIndexes,
  sealSegment,
} from "../../src/segment/segment_load.ts";
import { encodeTimeEntries } from "../../src/segment/time_index.ts";
import { anyDamage, damaged } from "../support/arbitraries.ts";
import { concat, someTime } from "../support/batches.ts";
import { crashDisk, failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { hexOf } from "../support/hex.ts";
import { kafkaSegments } from "../support/kafka_segments.ts";
import { assertProperty } from "../support/properties.ts";
import type { BatchPlan } from "../support/segments.ts";
import {
  appendTo,
  batchesOfLog,
  checkLookUps,
  planBatch,
  planBatches,
  segmentFile,
  segmentPlace,
  setFile,
  smallConfig,
  writeSealed,
} from "../support/segments.ts";

await loadCrc32c();

/** The last of so many batches has the largest timestamp. */
const batchCount = 61;
const kinds = ["index", "timeindex"] as const;

type Opening = "last" | "sealed";

function open(
  place: SegmentPlace,
  baseOffset: number,
  endOffset: number,
  how: Opening,
  config: SegmentConfig = smallConfig,
): Segment {
  if (how === "sealed") return openSealedSegment(place, baseOffset, endOffset, someTime);
  const { segment, result } = openLastSegment(place, baseOffset, config, someTime, Infinity);
  assert.deepEqual([result.gaps, result.reason], [[], "end"]);
  return segment;
}

for (const how of ["last", "sealed"] as const) {
  forEachFileSystem(`good index files are taken as they are (${how})`, (fs, folder) => {
    const place = segmentPlace(fs, folder);
    const { baseOffset, endOffset, found } = writeSealed(place, planBatches(batchCount, 7));
    const segment = open(place, baseOffset, endOffset, how);
    const before = kinds.map((kind) => segmentFile(segment, kind));
    const { offset, time } = indexesOf(segment, smallConfig);
    assert.deepEqual([encodeOffsetEntries(offset), encodeTimeEntries(time)], before);
    checkLookUps(segment, found);
    assert.deepEqual(kinds.map((kind) => segmentFile(segment, kind)), before);
    closePooledFile(place.pool, segment.log);
  });

  test(`missing, empty, cut or zeroed index files lead to the right places (${how})`, () => {
    const place = segmentPlace();
    const { fs } = place.pool;
    const plans = planBatches(batchCount, 7);
    const { baseOffset, endOffset, found } = writeSealed(place, plans);
    const paths = kinds.map((kind) => joinPath("/", segmentFileName(baseOffset, kind)));
    const good = kinds.map((kind) => segmentFile(openSealedSegment(place, 7, 0, 0), kind)!);
    for (const which of [0, 1]) {
      const whole = good[which]!;
      const wrongs: (Uint8Array | undefined)[] = [
        undefined,
        new Uint8Array(0),
        new Uint8Array(whole.length),
        new Uint8Array(whole.length).fill(0xff),
        concat(whole, new Uint8Array(4_096 - whole.length)),
        concat(whole, new Uint8Array(1)),
        concat(whole.subarray(0, 24), new Uint8Array(whole.length - 24)),
        concat(new Uint8Array(24), whole.subarray(24)),
        concat(whole.subarray(24), whole.subarray(0, 24)),
        good[1 - which]!,
      ];
      for (let size = 1; size < whole.length; size++) wrongs.push(whole.subarray(0, size));
      for (const wrong of wrongs) {
        for (const [index, path] of paths.entries()) setFile(fs, path, good[index]);
        setFile(fs, paths[which]!, wrong);
        checkLookUps(open(place, baseOffset, endOffset, how), found);
      }
    }
  });

  test(`the index files of another segment lead to the right places (${how})`, () => {
    const others: BatchPlan[][] = [
      planBatches(batchCount, 1_000),
      planBatches(200, 7),
      planBatches(5, 7),
      planBatches(batchCount, 7).map((plan) => ({ ...plan, valueBytes: 31 })),
      planBatches(batchCount, 7).map((plan) => ({ ...plan, timestamp: plan.timestamp! - 9_999 })),
      planBatches(batchCount, 7).map((plan) => ({ ...plan, timestamp: plan.timestamp! + 9_999 })),
    ];
    for (const other of others) {
      const elsewhere = segmentPlace();
      writeSealed(elsewhere, other);
      const stranger = openSealedSegment(elsewhere, other[0]!.baseOffset, 0, 0);
      for (const taken of [["index"], ["timeindex"], ["index", "timeindex"]] as const) {
        const place = segmentPlace();
        const { baseOffset, endOffset, found } = writeSealed(place, planBatches(batchCount, 7));
        for (const kind of taken) {
          const path = joinPath("/", segmentFileName(baseOffset, kind));
          setFile(place.pool.fs, path, segmentFile(stranger, kind));
        }
        checkLookUps(open(place, baseOffset, endOffset, how), found);
      }
    }
  });

  test(`damaged index files lead to the right places (${how})`, () => {
    const place = segmentPlace();
    const { baseOffset, endOffset, found } = writeSealed(place, planBatches(batchCount, 7));
    const good = kinds.map((kind) => segmentFile(openSealedSegment(place, 7, 0, 0), kind)!);
    assertProperty(
      fc.property(anyDamage, anyDamage, (offsetDamage, timeDamage) => {
        const wrong = [damaged(good[0]!, offsetDamage), damaged(good[1]!, timeDamage)];
        for (const [index, kind] of kinds.entries()) {
          setFile(place.pool.fs, joinPath("/", segmentFileName(baseOffset, kind)), wrong[index]);
        }
        const segment = open(place, baseOffset, endOffset, how);
        const { offset } = indexesOf(segment, smallConfig);
        assert.ok(offset.count <= offset.positions.length);
        assert.equal(segment.endOffset, endOffset);
        const positions = new Set(found.map(({ position }) => position));
        for (let at = baseOffset; at <= endOffset; at++) {
          const position = positionForOffset(segment, smallConfig, at);
          const wanted = found.find((batch) => batch.lastOffset >= at) ?? found.at(-1)!;
          assert.ok(positions.has(position) && position <= wanted.position);
        }
      }),
      { numRuns: 60 },
    );
  });
}

/** Batches of which one in the middle has the largest timestamp; those behind it are as given. */
function peakPlans(behind: (index: number) => number): BatchPlan[] {
  return planBatches(batchCount, 7).map((plan, index) => ({
    ...plan,
    timestamp: index === 30 ? someTime + 10 ** 6 : index < 30 ? someTime + index : behind(index),
  }));
}

test("a time index that has lost its largest timestamp is noticed by what is behind", () => {
  for (const how of ["last", "sealed"] as const) {
    const place = segmentPlace();
    const { endOffset, found } = writeSealed(place, peakPlans((index) => someTime + index));
    const path = joinPath("/", segmentFileName(7, "timeindex"));
    const whole = segmentFile(openSealedSegment(place, 7, 0, 0), "timeindex")!;
    setFile(place.pool.fs, path, whole.subarray(0, whole.length - 12));
    checkLookUps(open(place, 7, endOffset, how), found);
  }
});

test("a time index that ends in zeros is not believed for a closed segment", () => {
  for (const how of ["last", "sealed"] as const) {
    const place = segmentPlace();
    const { endOffset, found } = writeSealed(place, peakPlans(() => 0));
    const path = joinPath("/", segmentFileName(7, "timeindex"));
    const whole = segmentFile(openSealedSegment(place, 7, 0, 0), "timeindex")!;
    setFile(place.pool.fs, path, whole.fill(0, whole.length - 12));
    checkLookUps(open(place, 7, endOffset, how), found);
  }
});

test("a last entry that leads into the middle of a batch is not believed", () => {
  const place = segmentPlace();
  const { endOffset, found } = writeSealed(place, peakPlans(() => 0));
  const bytes = segmentFile(openSealedSegment(place, 7, 0, 0), "index")!;
  const view = new DataView(bytes.buffer);
  view.setInt32(bytes.length - 4, view.getInt32(bytes.length - 4) + 1);
  setFile(place.pool.fs, joinPath("/", segmentFileName(7, "index")), bytes);
  checkLookUps(open(place, 7, endOffset, "last"), found);
});

test("a wrong entry in the middle of an index is noticed when it is used", () => {
  for (const how of ["last", "sealed"] as const) {
    for (const kind of kinds) {
      const place = segmentPlace();
      const plans = planBatches(batchCount, 7).map((plan, index) => ({
        ...plan,
        timestamp: someTime + index,
      }));
      const { endOffset, found } = writeSealed(place, plans);
      const bytes = segmentFile(openSealedSegment(place, 7, 0, 0), kind)!;
      const view = new DataView(bytes.buffer);
      const entry = 6;
      if (kind === "index") {
        // The batch behind the right one: it is a batch, and its offsets are too large.
        const right = found.findIndex(({ position }) => position === view.getInt32(entry * 8 + 4));
        view.setInt32(entry * 8 + 4, found[right + 1]!.position);
      } else {
        // The offset of the next entry: it is there, and too far behind.
        view.setInt32(entry * 12 + 8, view.getInt32((entry + 1) * 12 + 8));
      }
      setFile(place.pool.fs, joinPath("/", segmentFileName(7, kind)), bytes);
      checkLookUps(open(place, 7, endOffset, how), found);
    }
  }
});

test("an index that was made anew is saved, and believed the next time", () => {
  const place = segmentPlace();
  const { baseOffset, endOffset } = writeSealed(place, planBatches(batchCount));
  const good = kinds.map((kind) => segmentFile(openSealedSegment(place, 0, 0, 0), kind));
  for (const kind of kinds) place.pool.fs.remove(joinPath("/", segmentFileName(0, kind)));
  indexesOf(open(place, baseOffset, endOffset, "sealed"), smallConfig);
  assert.deepEqual(
    kinds.map((kind) => segmentFile(openSealedSegment(place, 0, 0, 0), kind)),
    good,
  );
});

test("Kafka's index files are what ours would be, byte for byte", () => {
  const config = { ...smallConfig, segmentIndexBytes: 10_485_760, indexIntervalBytes: 4_096 };
  let entryCount = 0;
  for (const { path, read } of kafkaSegments()) {
    const baseOffset = Number(/\d{20}$/.exec(path)![0]);
    const fs = memoryFileSystem();
    const place = segmentPlace(fs);
    for (const kind of ["log", ...kinds] as const) {
      setFile(fs, joinPath("/", segmentFileName(baseOffset, kind)), read(kind));
    }
    const found = batchesOfLog(read("log"));
    const segment = open(place, baseOffset, found.at(-1)!.lastOffset + 1, "last", config);
    assert.equal(segment.endOffset, found.at(-1)!.lastOffset + 1, path);
    rebuildIndexes(segment, config);
    const { offset, time } = segment.indexes!;
    assert.equal(hexOf(encodeOffsetEntries(offset)), hexOf(read("index")), path);
    // A folder of a topic that is being deleted may not have been closed.
    if (!path.includes("-delete/")) {
      assert.equal(hexOf(encodeTimeEntries(time)), hexOf(read("timeindex")), path);
    }
    entryCount += offset.count;
  }
  assert.ok(entryCount > 0);
});

test("opening a closed segment reads its end, however much it holds", () => {
  const logBytesRead = (count: number): number => {
    const memory = memoryFileSystem();
    const logs = new Set<number>();
    let total = 0;
    const fs: FileSystem = {
      ...memory,
      open: (path, mode) => {
        const file = memory.open(path, mode);
        if (path.endsWith(".log")) logs.add(file);
        return file;
      },
      read: (file, target, position) => {
        const read = memory.read(file, target, position);
        if (logs.has(file)) total += read;
        return read;
      },
    };
    const plans = Array.from({ length: count }, (_, baseOffset) => ({
      baseOffset,
      timestamp: someTime + baseOffset,
    }));
    writeSealed(segmentPlace(fs), plans);
    total = 0;
    openLastSegment(segmentPlace(fs), 0, smallConfig, someTime, Infinity);
    return total;
  };
  const few = logBytesRead(100);
  assert.ok(few > 0);
  assert.ok(logBytesRead(600) < few + 500);
});

test("after opening it is still the first batch's timestamp that rolls a segment", () => {
  const place = segmentPlace();
  const config = { ...smallConfig, segmentMs: 3_600_000 };
  writeSealed(place, planBatches(batchCount), config);
  const { segment } = openLastSegment(place, 0, config, someTime + 10 ** 9, Infinity);
  const { firstTimestamp } = segment;
  assert.equal(firstTimestamp, planBatches(1)[0]!.timestamp);
  const rolls = (timestamp: number): boolean =>
    mustRoll(segment, segment.indexes!, config, 1, timestamp, segment.endOffset, someTime);
  assert.equal(rolls(firstTimestamp! + 3_600_000), false);
  assert.equal(rolls(firstTimestamp! + 3_600_001), true);
});

test("appending goes on where a segment was opened, with entries where they were due", () => {
  const plans = planBatches(batchCount + 40);
  const place = segmentPlace();
  writeSealed(place, plans.slice(0, batchCount));
  const { segment } = openLastSegment(place, 0, smallConfig, someTime, Infinity);
  for (const plan of plans.slice(batchCount)) appendTo(segment, smallConfig, planBatch(plan));
  sealSegment(segment, smallConfig);
  checkLookUps(segment, batchesOfLog(segmentFile(segment, "log")!));
  const reopened = openLastSegment(place, 0, smallConfig, someTime, Infinity).segment;
  assert.deepEqual(
    encodeOffsetEntries(reopened.indexes!.offset),
    encodeOffsetEntries(segment.indexes!.offset),
  );
});

test("an index that is fuller than allowed rolls the segment and can still be sealed", () => {
  const place = segmentPlace();
  const { found } = writeSealed(place, planBatches(batchCount));
  const config = { ...smallConfig, segmentIndexBytes: 40 };
  const { segment } = openLastSegment(place, 0, config, someTime, Infinity);
  assert.ok(mustRoll(segment, segment.indexes!, config, 1, someTime, segment.endOffset, someTime));
  checkLookUps(segment, found, config);
  const plan = { baseOffset: segment.endOffset, timestamp: someTime + 10 ** 6 };
  appendTo(segment, config, planBatch(plan));
  sealSegment(segment, config);
  const reopened = openSealedSegment(place, 0, segment.endOffset, someTime);
  checkLookUps(reopened, batchesOfLog(segmentFile(segment, "log")!), config);
});

test("a disk that takes no index can still be read", () => {
  const memory = memoryFileSystem();
  const { baseOffset, endOffset, found } = writeSealed(
    segmentPlace(memory),
    planBatches(batchCount),
  );
  memory.remove(joinPath("/", segmentFileName(0, "index")));
  const full = (): never => {
    throw Object.assign(new Error("no space"), { code: "ENOSPC" });
  };
  const place = segmentPlace({ ...memory, write: full, truncate: full });
  checkLookUps(open(place, baseOffset, endOffset, "sealed"), found);
});

test("a disk that fails while an index is made leaves no half index behind", () => {
  const memory = memoryFileSystem();
  const { endOffset, found } = writeSealed(segmentPlace(memory), planBatches(batchCount));
  memory.remove(joinPath("/", segmentFileName(0, "index")));
  let fails = true;
  const fs: FileSystem = {
    ...memory,
    read: (file, target, position) => {
      // Small reads are of headers: this one is of the log.
      if (fails && target.length > 1_000) throw Object.assign(new Error("bad"), { code: "EIO" });
      return memory.read(file, target, position);
    },
  };
  const place = segmentPlace(fs);
  const segment = open(place, 0, endOffset, "sealed");
  assert.throws(() => indexesOf(segment, smallConfig), (error) => hasErrorCode(error, "EIO"));
  assert.equal(segment.indexes, undefined);
  assert.equal(segment.log.pins, 0);
  fails = false;
  checkLookUps(segment, found);
});

test("a file larger than a segment can be is refused", () => {
  const place = segmentPlace();
  setFile(place.pool.fs, joinPath("/", segmentFileName(0, "log")), new Uint8Array(0));
  const file = place.pool.fs.open(joinPath("/", segmentFileName(0, "log")), "write");
  place.pool.fs.truncate(file, 2 ** 31);
  const isRefused = (error: unknown): boolean => isOttlaError(error, "STORE_INVALID");
  assert.throws(() => openSealedSegment(place, 0, 9, someTime), isRefused);
  assert.throws(() => openLastSegment(place, 0, smallConfig, someTime, Infinity), isRefused);
  assert.equal(place.pool.open.size, 1);
});

test("an empty file is a segment without batches", () => {
  for (const trustedOffset of [0, 40, Infinity]) {
    const place = segmentPlace();
    setFile(place.pool.fs, joinPath("/", segmentFileName(40, "log")), new Uint8Array(0));
    const opened = openLastSegment(place, 40, smallConfig, someTime, trustedOffset);
    const { segment, result } = opened;
    assert.deepEqual([segment.sizeBytes, segment.endOffset, result.reason], [0, 40, "end"]);
    assert.equal(positionForOffset(segment, smallConfig, 99), 0);
    assert.equal(offsetForTimestamp(segment, smallConfig, someTime), 40);
  }
});

test("a log that is damaged where its index leads is still found around the damage", () => {
  const place = segmentPlace();
  const { baseOffset, endOffset, found } = writeSealed(place, planBatches(batchCount));
  const path = joinPath("/", segmentFileName(baseOffset, "log"));
  const log = segmentFile(openSealedSegment(place, 0, 0, 0), "log")!;
  for (const how of ["last", "sealed"] as const) {
    const segment = open(place, baseOffset, endOffset, how);
    const { offset } = indexesOf(segment, smallConfig);
    const position = offset.positions[5]!;
    const bytes = log.slice();
    bytes.fill(0xee, position, position + 30);
    setFile(place.pool.fs, path, bytes);
    const left = found.filter((batch) => batch.position !== position);
    for (let at = baseOffset; at < endOffset; at++) {
      const looked = positionForOffset(segment, smallConfig, at);
      const wanted = left.find((batch) => batch.lastOffset >= at)!;
      assert.ok(looked !== position && looked <= wanted.position);
    }
    assert.equal(segment.sizeBytes, log.length);
    assert.equal(segment.endOffset, endOffset);
    setFile(place.pool.fs, path, log);
    closePooledFile(place.pool, segment.log);
  }
});

test("reading a segment gives the bytes of its file", () => {
  const place = segmentPlace();
  const { found, endOffset } = writeSealed(place, planBatches(5));
  const segment = open(place, 0, endOffset, "sealed");
  const target = new Uint8Array(100);
  const { position } = found[2]!;
  assert.equal(readSegment(segment, target, position), 100);
  const log = segmentFile(segment, "log")!;
  assert.deepEqual(target, log.slice(position, position + 100));
  assert.equal(readSegment(segment, target, log.length - 10), 10);
  assert.equal(readSegment(segment, target, log.length), 0);
});

test("a power cut while index files are made anew leaves what leads to the right places", () => {
  // The largest timestamp lies in the middle, so nothing at the end tells of it.
  const plans = planBatches(batchCount).map((plan, index) => ({
    ...plan,
    timestamp: someTime + (index < 40 ? index * 10 : index),
  }));
  for (const operation of ["write", "sync", "rename", "syncFolder"] as const) {
    for (const after of [0, 1, 2, 3]) {
      for (const share of [0, 0.5, 1]) {
        const disk = faultyDisk();
        disk.fs.makeFolder("/test");
        const place = segmentPlace(disk.fs, "/test");
        const { endOffset, found } = writeSealed(place, plans);
        const paths = kinds.map((kind) => joinPath("/test", segmentFileName(0, kind)));
        for (const path of paths) setFile(disk.fs, path, readFile(disk.fs, path)!.subarray(0, 48));
        for (const name of ["log", ...kinds] as const) {
          const file = disk.fs.open(joinPath("/test", segmentFileName(0, name)), "write");
          disk.fs.syncDataNow(file);
          disk.fs.close(file);
        }
        disk.fs.syncFolder("/test");
        failNext(disk, { operation, code: "EIO", after, times: 100, shortBytes: 36 });
        indexesOf(open(place, 0, endOffset, "sealed"), smallConfig);
        const bytes = (unsynced: number): number => Math.floor(share * unsynced);
        const left = crashDisk(disk, { names: true, bytes });
        checkLookUps(open(segmentPlace(left.fs, "/test"), 0, endOffset, "sealed"), found);
      }
    }
  }
});
