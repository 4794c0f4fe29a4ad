/**
 * Batches of one record that are appended at "disk" in one turn of the event loop, and written
 * together at its end.
 *
 * Nobody hears of such a batch before it is synced, so nobody can tell when it was written. 64
 * writes of 170 bytes take as long as the sync behind them; one write of all takes a thirtieth.
 */

import type { BatchBuilder } from "../record/batch_builder.ts";
import { batchBuilder, copyBuilt, placeBuilt, resetBuilder } from "../record/batch_builder.ts";
import { waitUntilSynced } from "./group_commit.ts";
import type { Log } from "./log.ts";
import { appendBuilt } from "./log.ts";

/** What became of batches that were gathered. */
export interface GatheredOutcome {
  /** The offset of the first record. */
  readonly baseOffset: number;
  /** How many records, from the first on, are in the log and on disk. */
  readonly storedCount: number;
  /** Why the others are not in the log. */
  readonly failure: unknown;
}

/** Batches that wait for the end of their turn. */
export interface GatheredAppends {
  readonly builder: BatchBuilder;
  recordCount: number;
  /** Resolves when what could be written is on disk; rejects if it could not be synced. */
  readonly outcome: Promise<GatheredOutcome>;
  /** Writes them now. */
  readonly write: () => void;
}

/** The place of one record among those that were gathered. */
export interface GatheredPlace {
  /** How many records are before it. */
  readonly index: number;
  readonly outcome: Promise<GatheredOutcome>;
}

/** How much is written at once. */
const gatheredBytesMax = 1024 * 1024;
/** A larger batch gains less from sharing a write than it loses by being copied. */
const batchBytesMax = 16 * 1024;
/** What is kept for later turns. */
const sparesMax = 16;
const spareBytesMax = 64 * 1024;
const spares: BatchBuilder[] = [];

/**
 * Whether a batch gains from being gathered.
 *
 * @param builder Holds it, finished.
 * @returns False if it should be written by itself.
 */
export function isWorthGathering(builder: BatchBuilder): boolean {
  return builder.batchStart <= batchBytesMax;
}

/**
 * Appends a batch of one record at "disk", at the end of this turn.
 *
 * @param log The log.
 * @param builder Holds the batch, finished; it may be used again as soon as this returns.
 * @returns Where it will be: at `index` behind the first of the outcome if that many are stored.
 */
export function gatherAppend(log: Log, builder: BatchBuilder): GatheredPlace {
  const open = log.gathered;
  if (open !== undefined && open.builder.batchStart + builder.batchStart > gatheredBytesMax) {
    open.write();
  }
  log.gathered ??= openGathered(log);
  const { gathered } = log;
  copyBuilt(gathered.builder, builder);
  return { index: gathered.recordCount++, outcome: gathered.outcome };
}

function openGathered(log: Log): GatheredAppends {
  const builder = spares.pop() ?? batchBuilder();
  let settle: (outcome: GatheredOutcome | Promise<GatheredOutcome>) => void;
  const gathered: GatheredAppends = {
    builder,
    recordCount: 0,
    outcome: new Promise((resolve) => settle = resolve),
    write() {
      if (log.gathered !== gathered) return;
      log.gathered = undefined;
      settle(writeGathered(log, builder));
      resetBuilder(builder);
      if (spares.length < sparesMax && builder.bytes.length <= spareBytesMax) spares.push(builder);
    },
  };
  queueMicrotask(gathered.write);
  return gathered;
}

function writeGathered(
  log: Log,
  builder: BatchBuilder,
): GatheredOutcome | Promise<GatheredOutcome> {
  const baseOffset = log.endOffset;
  let failure: unknown;
  let synced: Promise<void> | undefined;
  try {
    synced = appendBuilt(log, builder, placeBuilt(builder, baseOffset, log.leaderEpoch), "disk");
  } catch (error) {
    failure = error;
    // Of several runs the first may be written and the next one not.
    if (log.endOffset > baseOffset) synced = waitUntilSynced(log.commit, log.endOffset);
  }
  const outcome = { baseOffset, storedCount: log.endOffset - baseOffset, failure };
  return synced === undefined ? outcome : synced.then(() => outcome);
}
