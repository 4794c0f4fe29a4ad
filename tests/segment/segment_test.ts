/** One segment: appending, indexing, rolling, cutting. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { joinPath } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { Segment, SegmentConfig } from "../../src/segment/segment.ts";
import { mustRoll, removeSegmentFiles, truncateSegment } from "../../src/segment/segment.ts";
import { createSegment, indexesOf, positionForOffset } from "../../src/segment/segment_load.ts";
import { concat, someTime } from "../support/batches.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import type { BatchPlan } from "../support/segments.ts";
import {
  appendTo,
  batchesOfLog,
  planBatch,
  planBatches,
  segmentFile,
  segmentPlace,
  smallConfig,
} from "../support/segments.ts";

await loadCrc32c();

const hour = 3_600_000;
const everyBatch: SegmentConfig = { ...smallConfig, indexIntervalBytes: 0 };

/** A segment in memory with batches appended one at a time. */
function segmentWith(
  plans: readonly BatchPlan[],
  config = smallConfig,
  baseOffset = plans[0]?.baseOffset ?? 0,
): Segment {
  const segment = createSegment(segmentPlace(), baseOffset, config, someTime);
  for (const plan of plans) appendTo(segment, config, planBatch(plan));
  return segment;
}

function offsetEntries(segment: Segment): [number, number][] {
  const { offset } = segment.indexes!;
  return Array.from({ length: offset.count }, (_, entry) => [
    offset.baseOffset + offset.relativeOffsets[entry]!,
    offset.positions[entry]!,
  ]);
}

function timeEntries(segment: Segment): [number, number][] {
  const { time } = segment.indexes!;
  return Array.from({ length: time.count }, (_, entry) => [
    time.timestamps[entry]!,
    time.baseOffset + time.relativeOffsets[entry]!,
  ]);
}

/** Asks as the log does before an append of one record. */
function rolls(
  segment: Segment,
  config: SegmentConfig,
  batch: { bytes?: number; timestamp?: number; lastOffset?: number; now?: number } = {},
): boolean {
  const { bytes = 100, timestamp = -1, lastOffset = segment.endOffset, now = someTime } = batch;
  const indexes = indexesOf(segment, config);
  return mustRoll(segment, indexes, config, bytes, timestamp, lastOffset, now);
}

forEachFileSystem("what is appended stands in the log file as it is", (fs, folder) => {
  const segment = createSegment(segmentPlace(fs, folder), 40, smallConfig, someTime);
  const batches = planBatches(30, 40).map(planBatch);
  appendTo(segment, smallConfig, concat(...batches.slice(0, 10)));
  for (const batch of batches.slice(10)) appendTo(segment, smallConfig, batch);
  assert.deepEqual(segmentFile(segment, "log"), concat(...batches));
  assert.equal(segment.sizeBytes, concat(...batches).length);
  const last = batchesOfLog(concat(...batches)).at(-1)!;
  assert.equal(segment.endOffset, last.lastOffset + 1);
  segment.pool.fs.close(segment.log.handle);
});

test("a new segment is empty and its index files are preallocated to whole entries", () => {
  const config = { ...smallConfig, segmentIndexBytes: 4_100 };
  const segment = segmentWith([], config, 40);
  assert.equal(segment.sizeBytes, 0);
  assert.equal(segment.endOffset, 40);
  assert.equal(segmentFile(segment, "log")?.length, 0);
  assert.equal(segmentFile(segment, "index")?.length, 4_096);
  assert.equal(segmentFile(segment, "timeindex")?.length, 4_092);
  assert.equal(positionForOffset(segment, config, 1_000), 0);
});

test("the first batch of a segment gets no entry, each one later does at interval 0", () => {
  const plans = [0, 1, 2].map((baseOffset) => ({ baseOffset, timestamp: baseOffset }));
  const segment = createSegment(segmentPlace(), 0, everyBatch, someTime);
  // Two batches in one append, then one alone.
  appendTo(segment, everyBatch, concat(...plans.slice(0, 2).map(planBatch)));
  appendTo(segment, everyBatch, planBatch(plans[2]!));
  assert.deepEqual(offsetEntries(segment).map(([offset]) => offset), [1, 2]);
  assert.deepEqual(timeEntries(segment), [[1, 1], [2, 2]]);
});

test("a time entry holds the largest timestamp so far and the offset where it first stood", () => {
  const timestamps = [1, 0, 2];
  const plans = timestamps.map((timestamp, baseOffset) => ({ baseOffset, timestamp }));
  assert.deepEqual(timeEntries(segmentWith(plans, everyBatch)), [[1, 0], [2, 2]]);
  const falling = [9, 8, 7, 6].map((timestamp, baseOffset) => ({ baseOffset, timestamp }));
  const segment = segmentWith(falling, everyBatch);
  assert.deepEqual(timeEntries(segment), [[9, 0]]);
  assert.deepEqual([segment.maxTimestamp, segment.offsetOfMaxTimestamp], [9, 0]);
  const equal = segmentWith([0, 1, 2].map((baseOffset) => ({ baseOffset, timestamp: 5 })));
  assert.deepEqual([equal.maxTimestamp, equal.offsetOfMaxTimestamp], [5, 0]);
});

test("an entry is due only when more than the interval lies behind the last one", () => {
  const plans = Array.from({ length: 30 }, (_, index) => ({
    baseOffset: 40 + index,
    timestamp: (40 + index) * 10,
  }));
  const sizeBytes = planBatch(plans[0]!).length;
  const entriesAt = (indexIntervalBytes: number): number =>
    segmentWith(plans, { ...smallConfig, indexIntervalBytes }).indexes!.offset.count;
  // Strictly more: at exactly two batches it takes a third.
  assert.equal(entriesAt(2 * sizeBytes - 1), 14);
  assert.equal(entriesAt(2 * sizeBytes), 9);
  const segment = segmentWith(plans, { ...smallConfig, indexIntervalBytes: 2 * sizeBytes - 1 });
  assert.equal(timeEntries(segment).length, 14);
  assert.deepEqual(offsetEntries(segment)[0], [42, 2 * sizeBytes]);
});

test("an entry leads to the batch that ends with its offset", () => {
  const plans = planBatches(60, 7);
  const segment = segmentWith(plans);
  const found = batchesOfLog(segmentFile(segment, "log")!);
  assert.ok(segment.indexes!.offset.count > 10);
  for (const [offset, position] of offsetEntries(segment)) {
    const batch = found.find((candidate) => candidate.position === position);
    assert.equal(batch?.lastOffset, offset);
  }
});

test("batches without timestamps leave the time index empty", () => {
  const plans = [0, 1, 2].map((baseOffset) => ({ baseOffset, timestamp: -1 }));
  const segment = segmentWith(plans, everyBatch);
  assert.deepEqual(timeEntries(segment), []);
  assert.equal(segment.maxTimestamp, -1);
  assert.equal(segment.firstTimestamp, -1);
});

test("a failed write leaves the segment as it was", () => {
  const memory = memoryFileSystem();
  let isFull = false;
  const fs: FileSystem = {
    ...memory,
    write: (file, source, position) => {
      if (isFull) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      memory.write(file, source, position);
    },
  };
  const segment = createSegment(segmentPlace(fs), 0, everyBatch, someTime);
  appendTo(segment, everyBatch, planBatch({ baseOffset: 0 }));
  appendTo(segment, everyBatch, planBatch({ baseOffset: 1 }));
  const { indexes, ...before } = { ...segment };
  isFull = true;
  const append = (): void => appendTo(segment, everyBatch, planBatch({ baseOffset: 2 }));
  assert.throws(append, (error) => hasErrorCode(error, "ENOSPC"));
  assert.deepEqual({ ...segment, indexes: undefined }, { ...before, indexes: undefined });
  assert.equal(indexes?.offset.count, 1);
  isFull = false;
  append();
  assert.equal(segment.endOffset, 3);
});

test("a segment rolls when an append would bring it beyond its size", () => {
  const sizeBytes = planBatch({ baseOffset: 0 }).length;
  const plans = Array.from({ length: 9 }, (_, baseOffset) => ({ baseOffset }));
  const config = { ...smallConfig, segmentBytes: 10 * sizeBytes };
  const segment = segmentWith(plans, config);
  assert.equal(rolls(segment, config, { bytes: sizeBytes }), false);
  assert.equal(rolls(segment, config, { bytes: sizeBytes + 1 }), true);
});

test("a segment rolls by the timestamps of its records, not by the clock", () => {
  const config = { ...smallConfig, segmentMs: hour };
  const segment = segmentWith([{ baseOffset: 0, timestamp: someTime }], config);
  const later = someTime + 10 * hour;
  assert.equal(rolls(segment, config, { timestamp: someTime, now: later }), false);
  assert.equal(rolls(segment, config, { timestamp: someTime + hour, now: later }), false);
  assert.equal(rolls(segment, config, { timestamp: someTime + hour + 1, now: someTime }), true);
  assert.equal(rolls(segment, config, { timestamp: -1, now: later }), false);
});

test("it is the first batch's timestamp that counts", () => {
  const config = { ...smallConfig, segmentMs: hour };
  const plans = [someTime + 5 * hour, someTime].map((timestamp, baseOffset) => ({
    baseOffset,
    timestamp,
  }));
  const segment = segmentWith(plans, config);
  assert.equal(rolls(segment, config, { timestamp: someTime + 6 * hour }), false);
  assert.equal(rolls(segment, config, { timestamp: someTime + 6 * hour + 1 }), true);
});

test("without timestamps a segment rolls by the clock, but never while it is empty", () => {
  const config = { ...smallConfig, segmentMs: hour };
  const segment = segmentWith([], config);
  const now = someTime + hour + 1;
  assert.equal(rolls(segment, config, { now }), false);
  appendTo(segment, config, planBatch({ baseOffset: 0, timestamp: -1 }));
  assert.equal(rolls(segment, config, { now: someTime + hour }), false);
  assert.equal(rolls(segment, config, { now }), true);
});

test("a segment rolls when one of its indexes is full", () => {
  const plans = Array.from({ length: 8 }, (_, baseOffset) => ({
    baseOffset,
    timestamp: someTime + baseOffset,
  }));
  // Nine slots for offsets, six for timestamps of which one is kept.
  const byTime = { ...everyBatch, segmentIndexBytes: 72 };
  for (const [count, isFull] of [[5, false], [6, true], [7, true]] as const) {
    const segment = segmentWith(plans.slice(0, count), byTime);
    assert.equal(rolls(segment, byTime), isFull, `${count} batches`);
  }
  const constant = plans.map(({ baseOffset }) => ({ baseOffset }));
  const byOffset = { ...everyBatch, segmentIndexBytes: 40 };
  assert.equal(rolls(segmentWith(constant.slice(0, 5), byOffset), byOffset), false);
  const segment = segmentWith(constant.slice(0, 6), byOffset);
  assert.equal(rolls(segment, byOffset), true);
  // What is appended all the same is in the log, only not in the index.
  appendTo(segment, byOffset, planBatch({ baseOffset: 6 }));
  assert.equal(segment.indexes!.offset.count, 5);
  assert.equal(segment.endOffset, 7);
});

test("a segment rolls when an offset is too far from its first", () => {
  const max = 2 ** 31 - 1;
  for (const plans of [[], [{ baseOffset: 40 }]]) {
    const segment = segmentWith(plans, smallConfig, 40);
    assert.equal(rolls(segment, smallConfig, { lastOffset: 40 + max }), false);
    assert.equal(rolls(segment, smallConfig, { lastOffset: 40 + max + 1 }), true);
  }
});

test("offsets beyond 2^32 are as good as others", () => {
  const baseOffset = 2 ** 52;
  const segment = segmentWith(planBatches(40, baseOffset));
  const found = batchesOfLog(segmentFile(segment, "log")!);
  assert.equal(found[0]!.baseOffset, baseOffset);
  for (const batch of found) {
    const position = positionForOffset(segment, smallConfig, batch.lastOffset);
    assert.ok(position <= batch.position && batch.position - position < 500);
  }
});

test("truncating cuts the file and the entries behind", () => {
  const segment = segmentWith(planBatches(40), everyBatch);
  const found = batchesOfLog(segmentFile(segment, "log")!);
  const { position, lastOffset } = found[20]!;
  truncateSegment(segment, segment.indexes!, position, found[20]!.baseOffset);
  assert.equal(segmentFile(segment, "log")?.length, position);
  assert.equal(segment.endOffset, found[20]!.baseOffset);
  assert.ok(offsetEntries(segment).every(([offset]) => offset < lastOffset));
  assert.ok(timeEntries(segment).every(([, offset]) => offset < lastOffset));
  truncateSegment(segment, segment.indexes!, 0, 0);
  assert.deepEqual([offsetEntries(segment), timeEntries(segment)], [[], []]);
});

forEachFileSystem("removing a segment removes all of its files and no others", (fs, folder) => {
  const place = segmentPlace(fs, folder);
  const segment = createSegment(place, 0, smallConfig, someTime);
  const other = createSegment(place, 10, smallConfig, someTime);
  appendTo(segment, smallConfig, planBatch({ baseOffset: 0 }));
  for (const name of ["00000000000000000000.snapshot", "00000000000000000000.txnindex"]) {
    fs.close(fs.open(joinPath(folder, name), "create"));
  }
  removeSegmentFiles(segment);
  removeSegmentFiles(segment);
  assert.deepEqual(fs.list(folder).map(({ name }) => name).sort(), [
    "00000000000000000000.snapshot",
    "00000000000000000010.index",
    "00000000000000000010.log",
    "00000000000000000010.timeindex",
  ]);
  assert.equal(place.pool.open.size, 0);
  assert.equal(other.sizeBytes, 0);
});
