/** Segments for tests. */

import { getInt64 } from "../../src/bytes/byte_reader.ts";
import assert from "node:assert/strict";
import { closePooledFile, filePool } from "../../src/platform/file_pool.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { field } from "../../src/record/batch_layout.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import type { Segment, SegmentConfig, SegmentPlace } from "../../src/segment/segment.ts";
import { appendToSegment } from "../../src/segment/segment.ts";
import { segmentFileName } from "../../src/segment/segment_file_name.ts";
import type { SegmentFileKind } from "../../src/segment/segment_file_name.ts";
import {
  createSegment,
  indexesOf,
  offsetForTimestamp,
  positionForOffset,
  sealSegment,
} from "../../src/segment/segment_load.ts";
import { buildBatch, someTime } from "./batches.ts";

/** Small enough that a few batches fill an index. */
export const smallConfig: SegmentConfig = {
  segmentBytes: 1024 * 1024,
  segmentMs: 7 * 24 * 3_600_000,
  segmentIndexBytes: 4_096,
  indexIntervalBytes: 200,
};

/**
 * A place for segments.
 *
 * @param fs Where; memory if nothing is given.
 * @param folder A folder in it.
 * @returns The place.
 */
export function segmentPlace(fs: FileSystem = memoryFileSystem(), folder = "/"): SegmentPlace {
  return { pool: filePool(fs, 4), folder, source: { topic: "orders", partition: 0 } };
}

/** What a batch in a test segment is made from. */
export interface BatchPlan {
  readonly baseOffset: number;
  readonly recordCount?: number;
  readonly timestamp?: number;
  readonly valueBytes?: number;
}

/**
 * The bytes of a batch.
 *
 * @param plan Its offsets, timestamp and size.
 * @returns The bytes.
 */
export function planBatch(plan: BatchPlan): Uint8Array {
  const { baseOffset, recordCount = 1, timestamp = someTime, valueBytes = 30 } = plan;
  const value = Uint8Array.from({ length: valueBytes }, (_, index) => baseOffset + index);
  const records = Array.from({ length: recordCount }, () => ({ timestamp, key: "k", value }));
  return buildBatch(records, { baseOffset, partitionLeaderEpoch: 0 });
}

/**
 * Batches with one offset after the other.
 *
 * @param count How many.
 * @param baseOffset The first offset.
 * @returns The plans: of one to three records each, of several sizes, with timestamps that rise and
 * fall.
 */
export function planBatches(count: number, baseOffset = 0): BatchPlan[] {
  const plans: BatchPlan[] = [];
  let offset = baseOffset;
  for (let index = 0; index < count; index++) {
    const recordCount = 1 + index % 3;
    plans.push({
      baseOffset: offset,
      recordCount,
      timestamp: someTime + index * 10 - index % 4 * 25,
      valueBytes: 10 + index * 37 % 90,
    });
    offset += recordCount;
  }
  return plans;
}

/**
 * Appends bytes that are whole batches to a segment.
 *
 * @param segment The active segment.
 * @param config Its configuration.
 * @param bytes The batches.
 */
export function appendTo(segment: Segment, config: SegmentConfig, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  appendToSegment(segment, indexesOf(segment, config), bytes, view, config);
}

/**
 * The bytes of a file of a segment.
 *
 * @param segment The segment.
 * @param kind Which file.
 * @returns Its bytes, or undefined if there is none.
 */
export function segmentFile(segment: Segment, kind: SegmentFileKind): Uint8Array | undefined {
  const path = joinPath(segment.folder, segmentFileName(segment.baseOffset, kind));
  return readFile(segment.pool.fs, path);
}

/**
 * Replaces the bytes of a file.
 *
 * @param fs Where it is.
 * @param path Its path.
 * @param bytes What it holds from now on, or undefined to remove it.
 */
export function setFile(fs: FileSystem, path: string, bytes: Uint8Array | undefined): void {
  if (bytes === undefined) {
    if (fs.stat(path) !== undefined) fs.remove(path);
    return;
  }
  const file = fs.open(path, "create");
  fs.truncate(file, 0);
  fs.write(file, bytes, 0);
  fs.close(file);
}

/** A batch as a plain walk through a log finds it. */
export interface FoundBatch {
  readonly position: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly maxTimestamp: number;
}

/**
 * All batches of a log, found without any index.
 *
 * @param log The bytes of the log.
 * @returns The batches in order.
 */
export function batchesOfLog(log: Uint8Array): FoundBatch[] {
  return Array.from(batchesIn(log), (batch) => ({
    position: batch.position,
    baseOffset: batch.baseOffset,
    lastOffset: batch.lastOffset,
    maxTimestamp: getInt64(batch.view, batch.position + field.maxTimestamp),
  }));
}

/**
 * Writes a segment and seals it, as a log that is closed does.
 *
 * @param place Where.
 * @param plans Its batches.
 * @param config Its configuration.
 * @returns Its first offset, what a plain walk finds in it, and the offset behind it.
 */
export function writeSealed(
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

/**
 * Holds every look-up against a plain walk through the log.
 *
 * @param segment The segment.
 * @param found What the walk found.
 * @param config The segment's configuration.
 */
export function checkLookUps(
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
