/**
 * Appending the batch of an idempotent or transactional producer: stored once, however often it is
 * sent (src/FORMAT.md, section 6.8).
 *
 * The rules are asked first, then the batch is appended as any other, and only then it counts: a
 * write that fails leaves what is known of the producer as it was, so it may send the same batch
 * again. At level "memory" a batch counts from when it is accepted, since the offsets behind it are
 * given out from then on.
 */

import { strict as assert } from "node:assert";
import type { BatchBuilder } from "../record/batch_builder.ts";
import type { BatchView } from "../record/batch_view.ts";
import { producerIdOf, viewBatch } from "../record/batch_view.ts";
import type { Ack, Log } from "./log.ts";
import { activeSegment, appendBuilt, checkUsable, writeAccepted } from "./log.ts";
import { waitUntilSynced } from "./group_commit.ts";
import { writeUnwritten } from "./log_sync.ts";
import { takeSnapshot } from "./producer_snapshots.ts";
import {
  checkBatch,
  firstUnstableOffset,
  forgetEnded,
  headerOf,
  noteBatch,
} from "./producer_state.ts";
import { noteAborted } from "./transaction_indexes.ts";

/** Where the batch of a producer is stored. */
export interface ProducedBatch {
  readonly baseOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
  /** In milliseconds since the epoch. */
  readonly maxTimestamp: number;
  /** Whether it was there already; then this is where. */
  readonly isDuplicate: boolean;
  /** Resolves when the level is reached; undefined if it is reached already. */
  readonly done: Promise<void> | undefined;
}

/**
 * Appends the finished batch of a builder, unless its producer has sent it before.
 *
 * @param log The log.
 * @param builder Holds the one batch, which must begin with the log's end offset; it may be used
 * again as soon as this returns.
 * @param endOffset Behind its last record.
 * @param ack What to wait for; for a duplicate it is the original that must reach it.
 * @param origin "coordinator" for what a coordinator writes itself in a producer's name: such
 * batches are held to no sequence and are never duplicates.
 * @returns Where the batch is.
 * @throws OttlaError `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER`, `INVALID_TXN_STATE`,
 * `TRANSACTION_COORDINATOR_FENCED`, `BUFFER_EXHAUSTED`, or as `appendBuilt`; then nothing was
 * appended.
 */
export function appendProduced(
  log: Log,
  builder: BatchBuilder,
  endOffset: number,
  ack: Ack,
  origin: "client" | "coordinator" = "client",
): ProducedBatch {
  checkUsable(log);
  const batch = onlyBatchOf(log, builder);
  if (producerIdOf(batch) < 0) return appended(batch, appendBuilt(log, builder, endOffset, ack));
  const { producers, snapshots } = log;
  const header = headerOf(batch);
  const original = checkBatch(producers, header, origin);
  if (original !== undefined) {
    const { baseOffset, lastOffset, maxTimestamp } = original;
    const done = waitForOriginal(log, lastOffset, ack);
    return { baseOffset, lastOffset, maxTimestamp, isDuplicate: true, done };
  }
  if (snapshots.offsets.length === 0) {
    writeAccepted(log);
    takeSnapshot(log);
  }
  const done = appendBuilt(log, builder, endOffset, ack);
  forgetEnded(producers, log.highWatermark);
  const aborted = noteBatch(producers, header, log.clock.now());
  if (aborted !== undefined) noteAborted(log, aborted);
  return appended(batch, done);
}

/**
 * Up to where it is certain which transactions were committed.
 *
 * @param log The log.
 * @returns The offset; readers of committed transactions see what is below.
 */
export function lastStableOffset(log: Log): number {
  const { highWatermark, startOffset } = log;
  const unstable = firstUnstableOffset(log.producers, highWatermark);
  if (unstable === undefined || unstable >= highWatermark) return highWatermark;
  return Math.max(unstable, startOffset);
}

function onlyBatchOf(log: Log, builder: BatchBuilder): BatchView {
  const batch = viewBatch(builder.bytes, 0, builder.batchStart, log.source, builder.view);
  assert(batch !== undefined && batch.sizeBytes === builder.batchStart, "there is one batch");
  return batch;
}

function appended(batch: BatchView, done: Promise<void> | undefined): ProducedBatch {
  const { baseOffset, lastOffset, maxTimestamp } = batch;
  return { baseOffset, lastOffset, maxTimestamp, isDuplicate: false, done };
}

/** The original may have been sent at a lower level than the duplicate. */
function waitForOriginal(log: Log, lastOffset: number, ack: Ack): Promise<void> | undefined {
  if (ack === "memory") return undefined;
  if (lastOffset >= activeSegment(log).endOffset) writeAccepted(log);
  if (ack === "os" || lastOffset < log.commit.syncedOffset) return undefined;
  writeUnwritten(log);
  return waitUntilSynced(log.commit, lastOffset + 1);
}
