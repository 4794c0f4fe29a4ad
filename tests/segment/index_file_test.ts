/** Index files: saved, preallocated, trimmed, and read with suspicion. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { readIndexFiles, saveIndexFiles } from "../../src/segment/index_file.ts";
import { encodeOffsetEntries } from "../../src/segment/offset_index.ts";
import type { Segment, SegmentIndexes } from "../../src/segment/segment.ts";
import { createSegment } from "../../src/segment/segment_load.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import { encodeTimeEntries } from "../../src/segment/time_index.ts";
import { concat, someTime } from "../support/batches.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import {
  appendTo,
  planBatch,
  planBatches,
  segmentFile,
  segmentPlace,
  setFile,
  smallConfig,
} from "../support/segments.ts";

await loadCrc32c();

const everyBatch = { ...smallConfig, indexIntervalBytes: 0 };

function segmentOf(count: number, place = segmentPlace()): Segment {
  const segment = createSegment(place, 0, everyBatch, someTime);
  for (const plan of planBatches(count)) appendTo(segment, everyBatch, planBatch(plan));
  return segment;
}

function read(
  segment: Segment,
  limits: { logBytes?: number; endOffset?: number } = {},
): SegmentIndexes & { isWhole: boolean } {
  const { logBytes = segment.sizeBytes, endOffset = segment.endOffset } = limits;
  const { indexes, isTimeIndexWhole } = readIndexFiles(segment, 4_096, logBytes, endOffset);
  return { ...indexes, isWhole: isTimeIndexWhole };
}

/** The entries of both indexes as they lie in files. */
function bytesOf({ offset, time }: SegmentIndexes): [Uint8Array, Uint8Array] {
  return [encodeOffsetEntries(offset), encodeTimeEntries(time)];
}

forEachFileSystem("saved indexes are read again", (fs, folder) => {
  const segment = segmentOf(30, segmentPlace(fs, folder));
  saveIndexFiles(segment, segment.indexes!, undefined);
  assert.deepEqual(bytesOf(read(segment)), bytesOf(segment.indexes!));
  assert.equal(read(segment).isWhole, true);
  assert.deepEqual(segmentFile(segment, "index"), bytesOf(segment.indexes!)[0]);
  fs.close(segment.log.handle);
});

test("a preallocated file has zeros behind its entries, which are none", () => {
  const segment = segmentOf(30);
  saveIndexFiles(segment, segment.indexes!, 10_485_760);
  assert.equal(segmentFile(segment, "index")?.length, 10_485_760);
  assert.equal(segmentFile(segment, "timeindex")?.length, 10_485_756);
  const indexes = read(segment);
  assert.deepEqual(bytesOf(indexes), bytesOf(segment.indexes!));
  assert.equal(indexes.isWhole, false);
});

test("only what is new is written, and what stood behind it goes", () => {
  const segment = segmentOf(10);
  saveIndexFiles(segment, segment.indexes!, 4_096);
  const before = segmentFile(segment, "index")!;
  for (const plan of planBatches(20).slice(10)) appendTo(segment, everyBatch, planBatch(plan));
  const { fs } = segment.pool;
  const path = joinPath(segment.folder, segmentFileName(0, "index"));
  // Bytes behind what was saved, and one changed within it: the first are cut off, the second
  // stays.
  setFile(fs, path, concat(before.subarray(0, 72), new Uint8Array(500).fill(9)));
  saveIndexFiles(segment, segment.indexes!, undefined);
  assert.deepEqual(segmentFile(segment, "index"), bytesOf(segment.indexes!)[0]);
  assert.equal(segment.indexes!.offsetEntriesSaved, 19);
  assert.equal(segment.indexes!.timeEntriesSaved, segment.indexes!.time.count);
});

test("missing files are indexes without entries", () => {
  const segment = segmentOf(10);
  for (const kind of ["index", "timeindex"] as const) {
    segment.pool.fs.remove(joinPath(segment.folder, segmentFileName(0, kind)));
  }
  const indexes = read(segment);
  assert.deepEqual([indexes.offset.count, indexes.time.count, indexes.isWhole], [0, 0, false]);
});

test("a file that is no whole number of entries counts as far as it goes, or not at all", () => {
  const segment = segmentOf(30);
  const { fs } = segment.pool;
  saveIndexFiles(segment, segment.indexes!, undefined);
  for (const kind of ["index", "timeindex"] as const) {
    const path = joinPath(segment.folder, segmentFileName(0, kind));
    const whole = segmentFile(segment, kind)!;
    setFile(fs, path, whole.subarray(0, whole.length - 1));
    const indexes = read(segment);
    assert.equal(indexes[kind === "index" ? "offset" : "time"].count, 0);
    assert.equal(indexes.isWhole, kind === "index");
    setFile(fs, path, whole);
  }
});

test("entries beyond the log or the end offset are not taken", () => {
  const segment = segmentOf(30);
  saveIndexFiles(segment, segment.indexes!, undefined);
  const half = read(segment, { logBytes: Math.floor(segment.sizeBytes / 2) });
  assert.ok(half.offset.count > 10 && half.offset.count < 20);
  const early = read(segment, { endOffset: 20 });
  assert.ok(early.offset.count > 5);
  for (const { relativeOffsets, count } of [early.offset, early.time]) {
    assert.ok(relativeOffsets.subarray(0, count).every((offset) => offset < 20));
  }
});

test("an index that is larger than the configuration allows is read whole and is full", () => {
  const segment = segmentOf(200);
  saveIndexFiles(segment, segment.indexes!, undefined);
  const { count } = segment.indexes!.offset;
  const { indexes } = readIndexFiles(segment, 80, segment.sizeBytes, segment.endOffset);
  assert.equal(indexes.offset.count, count);
  assert.equal(indexes.offset.entriesMax, 10);
  assert.equal(indexes.time.entriesMax, 6);
});

test("an index of more than one chunk is read whole", () => {
  const fs = memoryFileSystem();
  const segment = createSegment(segmentPlace(fs), 0, everyBatch, someTime);
  const count = 30_000;
  const offsets = new Uint8Array(count * 8);
  const times = new Uint8Array(count * 12);
  const offsetView = new DataView(offsets.buffer);
  const timeView = new DataView(times.buffer);
  for (let entry = 0; entry < count; entry++) {
    offsetView.setInt32(entry * 8, entry + 1);
    offsetView.setInt32(entry * 8 + 4, (entry + 1) * 100);
    timeView.setInt32(entry * 12 + 4, entry + 1);
    timeView.setInt32(entry * 12 + 8, entry + 1);
  }
  setFile(fs, joinPath("/", segmentFileName(0, "index")), offsets);
  setFile(fs, joinPath("/", segmentFileName(0, "timeindex")), times);
  const indexes = read(segment, { logBytes: 2 ** 31 - 1, endOffset: 2 ** 31 });
  assert.deepEqual(bytesOf(indexes), [offsets, times]);
  assert.equal(indexes.isWhole, true);
});
