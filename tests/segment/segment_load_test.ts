import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { setInt64 } from "../../src/bytes/byte_reader.ts";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { isOttlaError } from "../../src/errors.ts";
import { closePooledFile } from "../../src/platform/file_pool.ts";
import { joinPath } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { field } from "../../src/record/batch_layout.ts";
import { encodeOffsetEntries } from "../../src/segment/offset_index.ts";
import type { Segment, SegmentConfig, SegmentPlace } from "../../src/segment/segment.ts";
import { mustRoll } from "../../src/segment/segment.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import {
  createSegment,
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
import { forEachFileSystem } from "../support/file_systems.ts";
import { hexOf } from "../support/hex.ts";
import { kafkaSegments } from "../support/kafka_segments.ts";
import type { BatchPlan, FoundBatch } from "../support/segments.ts";
import {
  appendTo,
  batchesOfLog,
  planBatch,
  planBatches,
  segmentFile,
  segmentPlace,
  setFile,
  smallConfig,
} from "../support/segments.ts";

await loadCrc32c();

/** The last of so many batches has the largest timestamp. */
const batchCount = 61;
const kinds = ["index", "timeindex"] as const;

type Opening = "last" | "sealed";

/** Writes a segment and seals it, as a log that is closed does. */
function writeSealed(
  place: SegmentPlace,
  plans: readonly BatchPlan[],
  config: SegmentConfig = smallConfig,
): { baseOffset: number; found: FoundBatch[]; endOffset: number } {
  const baseOffset = plans[0]!.baseOffset;
  const segment = createSegment(place, baseOffset, config, someTime);
  for (const plan of plans) appendTo(segment, config, planBatch(plan));
  sealSegment(segment, config);
  closePooledFile(place.pool, segment.log);
  const found = batchesOfLog(segmentFile(segment, "log")!);
  return { baseOffset, found, endOffset: found.at(-1)!.lastOffset + 1 };
}

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

/** Holds every look-up against a plain walk through the log. */
function checkLookUps(
  segment: Segment,
  found: readonly FoundBatch[],
  config: SegmentConfig = smallConfig,
): void {
  const positions = new Set(found.map(({ position }) => position));
  const last = found.at(-1)!;
  for (let offset = segment.baseOffset; offset <= last.lastOffset + 1; offset++) {
    const position = positionForOffset(segment, config, offset);
    const wanted = found.find((batch) => batch.lastOffset >= offset);
    assert.ok(positions.has(position), `a batch begins at ${position}`);
    assert.ok(position <= (wanted ?? last).position, `${position} is not behind offset ${offset}`);
  }
  const timestamps = [0, ...found.flatMap((batch) => [batch.maxTimestamp, batch.maxTimestamp + 1])];
  for (const timestamp of timestamps) {
    const offset = offsetForTimestamp(segment, config, timestamp);
    const wanted = found.find((batch) => batch.maxTimestamp >= timestamp) ?? last;
    assert.ok(offset <= wanted.lastOffset, `${offset} is not behind timestamp ${timestamp}`);
  }
  const maxTimestamp = Math.max(...found.map((batch) => batch.maxTimestamp));
  assert.equal(segment.maxTimestamp, maxTimestamp);
  const first = found.find((batch) => batch.maxTimestamp === maxTimestamp)!;
  assert.equal(segment.offsetOfMaxTimestamp, first.lastOffset);
  assert.equal(segment.endOffset, last.lastOffset + 1);
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
    fc.assert(
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

/** Puts bytes where a segment's log is and recovers it, with index files of the undamaged log beside it. */
function recover(
  bytes: Uint8Array,
  plans: readonly BatchPlan[],
  trustedOffset = 0,
): ReturnType<typeof openLastSegment> {
  const place = segmentPlace();
  const { baseOffset } = writeSealed(place, plans);
  setFile(place.pool.fs, joinPath("/", segmentFileName(baseOffset, "log")), bytes);
  return openLastSegment(place, baseOffset, smallConfig, someTime, trustedOffset);
}

test("recovery keeps what stands before a torn end, wherever it is torn", () => {
  const plans = planBatches(12);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const [, beforeLast, last] = found.slice(-3) as [FoundBatch, FoundBatch, FoundBatch];
  for (let size = beforeLast.position + 1; size <= log.length; size++) {
    const kept = size === log.length
      ? log.length
      : size < last.position
      ? beforeLast.position
      : last.position;
    for (const trustedOffset of [0, beforeLast.baseOffset]) {
      const { segment, result } = recover(log.subarray(0, size), plans, trustedOffset);
      assert.equal(segment.sizeBytes, kept, `cut at ${size}`);
      assert.equal(result.reason, size === kept ? "end" : "incomplete");
      assert.deepEqual(result.gaps, []);
      checkLookUps(segment, batchesOfLog(log.subarray(0, kept)));
    }
  }
});

test("recovery keeps what stands before zeros or garbage", () => {
  const plans = planBatches(12);
  const log = concat(...plans.map(planBatch));
  const garbage = Uint8Array.from({ length: 700 }, (_, index) => index * index + 2);
  for (
    const tail of [new Uint8Array(5), new Uint8Array(100_000), garbage, garbage.subarray(0, 9)]
  ) {
    const { segment, result } = recover(concat(log, tail), plans);
    assert.equal(segment.sizeBytes, log.length);
    assert.notEqual(result.reason, "end");
    assert.deepEqual(result.gaps, []);
    checkLookUps(segment, batchesOfLog(log));
  }
});

test("a wrong bit hides its own batch and no other, whichever it is", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const broken = found[4]!;
  const after = found[5]!;
  for (let at = broken.position; at < after.position; at++) {
    for (const bit of [1, 16, 128]) {
      const bytes = log.slice();
      bytes[at]! ^= bit;
      const { segment, result } = recover(bytes, plans);
      const field = `byte ${at - broken.position} ^ ${bit}`;
      assert.equal(segment.endOffset, found.at(-1)!.lastOffset + 1, field);
      assert.equal(segment.sizeBytes, log.length, field);
      assert.equal(result.reason, "end", field);
      // No checksum covers the leader epoch, and nothing depends on it.
      if (at - broken.position >= 12 && at - broken.position < 16) {
        assert.deepEqual(result.gaps, []);
        continue;
      }
      assert.deepEqual(result.gaps, [{
        startOffset: broken.baseOffset,
        endOffset: after.baseOffset,
        startPosition: broken.position,
        endPosition: after.position,
        segmentBaseOffset: 0,
      }], field);
    }
  }
});

test("a wrong bit in the last batch takes no other with it", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const last = batchesOfLog(log).at(-1)!;
  for (let at = last.position; at < log.length; at++) {
    const bytes = log.slice();
    bytes[at]! ^= 4;
    const { segment, result } = recover(bytes, plans);
    const place = at - last.position;
    // A first offset that is larger, and a leader epoch, cannot be told from right ones here.
    if (place < 8 && segment.sizeBytes === log.length) {
      assert.ok(segment.endOffset > last.baseOffset);
      assert.ok(segment.endOffset <= 2 ** 31, "but never further than an index can count");
    } else if (place >= 12 && place < 16) {
      assert.equal(result.reason, "end");
    } else {
      assert.equal(segment.sizeBytes, last.position, `byte ${place}`);
      assert.equal(segment.endOffset, last.baseOffset);
      assert.notEqual(result.reason, "end");
    }
  }
});

test("a batch too far from the first is damage, with a right checksum too", () => {
  const plans = planBatches(9);
  const far = planBatch({ baseOffset: 2 ** 31 + 5 });
  const behind = planBatch({ baseOffset: 100 });
  const log = concat(...plans.map(planBatch));
  const alone = recover(concat(log, far), plans);
  assert.equal(alone.segment.sizeBytes, log.length);
  const followed = recover(concat(log, far, behind), plans);
  assert.equal(followed.segment.endOffset, 101);
  assert.equal(followed.result.gaps.length, 1);
});

test("gaps that the log has had from the beginning are none", () => {
  const plans = planBatches(20).filter((_, index) => index % 3 !== 1);
  const log = concat(...plans.map(planBatch));
  const { segment, result } = recover(log, plans);
  assert.deepEqual([result.gaps, result.reason], [[], "end"]);
  checkLookUps(segment, batchesOfLog(log));
});

test("damage of any kind and place leaves a log that can be read", () => {
  const plans = planBatches(25);
  const log = concat(...plans.map(planBatch));
  const offsets = new Set(plans.map(({ baseOffset }) => baseOffset));
  const trust = fc.constantFrom(0, 10, 30, Infinity);
  fc.assert(
    fc.property(anyDamage, trust, (damage, trustedOffset) => {
      const bytes = damaged(log, damage);
      const { segment, result } = recover(bytes, plans, trustedOffset);
      assert.ok(segment.sizeBytes <= bytes.length);
      let before = -1;
      for (const gap of result.gaps) {
        assert.ok(gap.startPosition > before && gap.endPosition > gap.startPosition);
        assert.ok(gap.endOffset >= gap.startOffset && offsets.has(gap.endOffset));
        before = gap.startPosition;
      }
      for (let offset = 0; offset < 60; offset++) {
        assert.ok(positionForOffset(segment, smallConfig, offset) <= bytes.length);
        assert.ok(offsetForTimestamp(segment, smallConfig, someTime + offset * 5) >= 0);
      }
    }),
    { numRuns: 200 },
  );
});

test("only what is not trusted is verified", () => {
  const plans = planBatches(40);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  const broken = log.slice();
  broken[found[5]!.position + 70]! ^= 1;
  const trusted = recover(broken, plans, found[30]!.baseOffset).result;
  assert.deepEqual(trusted.gaps, []);
  assert.ok(trusted.scannedBytes < log.length / 2);
  assert.equal(recover(broken, plans, 0).result.gaps.length, 1);
  assert.equal(recover(broken, plans, 0).result.scannedBytes, log.length);
  assert.deepEqual(recover(broken, plans, Infinity).result.gaps, []);
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

test("a first offset that is too large does not swallow the batches behind it", () => {
  const plans = planBatches(9);
  const log = concat(...plans.map(planBatch));
  const found = batchesOfLog(log);
  for (const offset of [found[4]!.baseOffset + 1, 1_000, 2 ** 30, 2 ** 40, 2 ** 52]) {
    const bytes = log.slice();
    setInt64(new DataView(bytes.buffer), found[4]!.position + field.baseOffset, offset);
    const { segment, result } = recover(bytes, plans);
    assert.equal(segment.endOffset, found.at(-1)!.lastOffset + 1);
    assert.deepEqual(result.gaps.map((gap) => [gap.startOffset, gap.endOffset]), [
      [found[4]!.baseOffset, found[5]!.baseOffset],
    ]);
  }
});
