/** What the tests of compaction share: logs with keys, cleaning them, and what is left. */

import assert from "node:assert/strict";

import { cleanableRange, firstDirtyOffsetOf } from "../../src/log/compaction_range.ts";
import type { CompactionConfig } from "../../src/log/compaction_range.ts";
import type { Ack, Log } from "../../src/log/log.ts";
import { activeSegment, appendBuilt, flushLog, rollLog } from "../../src/log/log.ts";
import type { LogCleaned, LogCleaning } from "../../src/log/log_cleaner.ts";
import { cleanLog } from "../../src/log/log_cleaner.ts";
import { logCursor, nextBatch, readableEnd } from "../../src/log/log_reader.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import { noteRecoveryPoint, syncSnapshots } from "../../src/log/producer_snapshots.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import type { BatchOptions } from "../../src/record/batch_builder.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { isControlBatch, lastSequenceOf, producerIdOf } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";

/** A key and a value; null is a tombstone, and a key that is null is none. */
export type Pair = readonly [key: string | null, value: string | null];

/** Tombstones and markers stay for a second, and nothing waits. */
export const compactionConfig: CompactionConfig = {
  minCleanableDirtyRatio: 0.5,
  minCompactionLagMs: 0,
  maxCompactionLagMs: Infinity,
  deleteRetentionMs: 1000,
};

/** What of a batch may differ from one test to the next. */
export interface PairOptions extends Partial<BatchOptions> {
  readonly ack?: Ack;
  readonly timestamp?: number;
}

/** Appends pairs as one batch; of a producer if the options say so. */
export function appendPairs(log: Log, pairs: readonly Pair[], options: PairOptions = {}): void {
  const { ack = "os", timestamp = 1_000_000, ...header } = options;
  const builder = batchBuilder();
  for (const [key, value] of pairs) appendRecord(builder, timestamp, key, value);
  const baseOffset = log.endOffset;
  finishBatch(builder, { baseOffset, partitionLeaderEpoch: log.leaderEpoch, ...header });
  const endOffset = baseOffset + pairs.length;
  if (header.producerId === undefined) void appendBuilt(log, builder, endOffset, ack);
  else appendProduced(log, builder, endOffset, ack);
}

/** Appends each key in a batch of its own, with its offset as its value. */
export function appendKeys(log: Log, keys: readonly string[], options: PairOptions = {}): void {
  for (const key of keys) appendPairs(log, [[key, String(log.endOffset)]], options);
}

/** Seals the active segment, and brings all of the log to disk, as a checkpoint knows it. */
export async function sealAll(log: Log): Promise<void> {
  if (activeSegment(log).sizeBytes > 0) rollLog(log);
  await flushLog(log);
  await syncSnapshots(log);
  noteRecoveryPoint(log);
}

/** What a test may say of a cleaning. */
export type TestCleaning = Partial<LogCleaning> & { readonly config?: Partial<CompactionConfig> };

/** Cleans all that can be cleaned; from the start on unless a test says otherwise. */
export function cleanTestLog(log: Log, options: TestCleaning = {}): Promise<LogCleaned> {
  const { config: changes, ...cleaning } = options;
  const config = { ...compactionConfig, ...changes };
  const now = options.now ?? log.clock.now();
  const firstDirtyOffset = firstDirtyOffsetOf(log, options.firstDirtyOffset);
  const { endOffset } = cleanableRange(log, firstDirtyOffset, config, now);
  return cleanLog(log, {
    endOffset,
    now,
    deleteRetentionMs: config.deleteRetentionMs,
    seed: 7n,
    nextTurn: () => Promise.resolve(),
    ...cleaning,
    firstDirtyOffset,
  });
}

/** Seals and cleans the whole log. */
export async function compactAll(log: Log, options: TestCleaning = {}): Promise<LogCleaned> {
  await sealAll(log);
  return await cleanTestLog(log, options);
}

/** Visits the batches of a log; there must be no damage. */
export function forEachBatch(log: Log, visit: (batch: BatchView) => void): void {
  const cursor = logCursor(log, log.startOffset, { readBytes: 4096, reusesBuffer: false });
  const endOffset = readableEnd(log);
  for (let count = 0;; count++) {
    assert.ok(count < 100_000, "the reader comes to an end");
    const batch = nextBatch(cursor, endOffset);
    if (batch === undefined) return;
    visit(batch);
  }
}

/** What is left of a log. */
export interface LeftOver {
  /** Of the records that users see. */
  readonly keys: string[];
  /** Of all records, markers included. */
  readonly offsets: number[];
  /** The last offset of each batch. */
  readonly batches: number[];
  /** The last sequence number of each producer. */
  readonly sequences: Record<number, number>;
}

/** What is left of a log. */
export function leftOf(log: Log): LeftOver {
  const left: LeftOver = { keys: [], offsets: [], batches: [], sequences: {} };
  forEachBatch(log, (batch) => {
    left.batches.push(batch.lastOffset);
    if (producerIdOf(batch) >= 0 && !isControlBatch(batch)) {
      left.sequences[producerIdOf(batch)] = lastSequenceOf(batch);
    }
    for (const record of recordsOf(batch)) {
      left.offsets.push(record.offset);
      if (!isControlBatch(batch)) left.keys.push(new TextDecoder().decode(record.key!));
    }
  });
  return left;
}

/** The values by their keys, as a reader of the whole log has them in the end. */
export function tableOf(log: Log): Map<string, string | null> {
  const table = new Map<string, string | null>();
  forEachBatch(log, (batch) => {
    for (const { key, value } of recordsOf(batch)) {
      table.set(decode(key)!, decode(value));
    }
  });
  return table;
}

/** The keys and values with their offsets, one line a record. */
export function linesOf(log: Log): string[] {
  const lines: string[] = [];
  forEachBatch(log, (batch) => {
    for (const { offset, key, value } of recordsOf(batch)) {
      lines.push(`${offset} ${decode(key)}=${decode(value)}`);
    }
  });
  return lines;
}

function decode(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : new TextDecoder().decode(bytes);
}
