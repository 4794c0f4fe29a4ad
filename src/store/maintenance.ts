/**
 * What a store does by itself: retention every `retentionCheckMs`, compaction every
 * `compactionCheckMs`, recovery points every `checkpointMs`, forgetting idle producers every ten
 * minutes. None of it keeps the process alive.
 */

import { OttlaError } from "../errors.ts";
import { saveActiveIndexes } from "../log/log.ts";
import { takeSnapshotIfUsed } from "../log/producer_snapshots.ts";
import { expireProducers } from "../log/producer_state.ts";
import { retireSegments } from "../log/retention.ts";
import { sweepRetired } from "../log/retired_segments.ts";
import { cleanInBackground } from "./cleaner.ts";
import { lendingReserve, takeReserve } from "./disk_reserve.ts";
import type { Segment } from "../segment/segment.ts";
import {
  allPartitions,
  hasFolder,
  logOf,
  writeRecoveryPoints,
  writeStartOffsets,
} from "./partitions.ts";
import type { PartitionState, Store, StoreInternals, TopicState } from "./store.ts";
import { openInternals } from "./store.ts";
import { asStorageError } from "./store_errors.ts";

/** How often idle producers are looked for; Kafka's number. */
export const producerIdExpirationCheckMs = 600_000;

/** What `enforceRetention` did. */
export interface RetentionReport {
  readonly removedSegments: number;
  readonly removedBytes: number;
}

/**
 * Removes what the retention of every topic no longer keeps, now instead of at the next check.
 *
 * @param store The store.
 * @returns What was removed.
 * @throws OttlaError if a log cannot be read, or the disk takes no checkpoint.
 */
export function enforceRetention(store: Store): Promise<RetentionReport> {
  return Promise.resolve().then(() => enforceRetentionOf(openInternals(store))).catch((error) => {
    throw asStorageError("enforce retention", error);
  });
}

/**
 * Begins the timers of a store.
 *
 * @param internals The inside of a store.
 */
export function startMaintenance(internals: StoreInternals): void {
  const { clock, options } = internals;
  const every = (
    index: number,
    delayMs: number,
    task: (internals: StoreInternals) => void,
  ): void => {
    internals.timers[index] = clock.startTimer(() => {
      if (internals.state !== "open" || !internals.lock.isHeld) return;
      every(index, delayMs, task);
      try {
        task(internals);
      } catch (error) {
        // A full or failing disk: the next appends say so to somebody who can act on it, and the
        // next round tries again.
        if (!(error instanceof OttlaError) && !(error instanceof Error && "code" in error)) {
          throw error;
        }
      }
    }, delayMs);
  };
  every(0, options.retentionCheckMs, enforceRetentionOf);
  every(1, options.checkpointMs, writeCheckpoints);
  every(2, producerIdExpirationCheckMs, expireProducersOf);
  every(3, options.compactionCheckMs, cleanInBackground);
}

/**
 * Stops the timers of a store.
 *
 * @param internals The inside of a store.
 */
export function stopMaintenance(internals: StoreInternals): void {
  for (const timer of internals.timers) internals.clock.stopTimer(timer);
  internals.timers = [];
}

/**
 * Records how far every log is on disk, with its indexes and producers saved up to there.
 *
 * @param internals The inside of a store.
 */
export function writeCheckpoints(internals: StoreInternals): void {
  const errors: unknown[] = [];
  for (const { log } of allPartitions(internals)) {
    const isUsable = log !== undefined && !log.isClosed && log.commit.failure === undefined;
    if (!isUsable) continue;
    try {
      saveActiveIndexes(log);
    } catch (error) {
      // Where an index ends too early a recovery reads more of that log, and not of the others.
      errors.push(error);
    }
    takeSnapshotIfUsed(log);
  }
  writeRecoveryPoints(internals);
  takeReserve(internals.diskSpace);
  if (errors.length > 0) throw errors[0];
}

function expireProducersOf({ clock, topics }: StoreInternals): void {
  const now = clock.now();
  for (const { partitions } of topics.values()) {
    for (const { log } of partitions) if (log !== undefined) expireProducers(log.producers, now);
  }
}

function enforceRetentionOf(internals: StoreInternals): RetentionReport {
  return lendingReserve(internals.diskSpace, () => enforceRetentionNow(internals));
}

function enforceRetentionNow(internals: StoreInternals): RetentionReport {
  const now = internals.clock.now();
  const errors: unknown[] = [];
  let removedSegments = 0;
  let removedBytes = 0;
  for (const topic of internals.topics.values()) {
    for (const state of topic.partitions) {
      try {
        const retired = retirePartition(internals, topic, state, now);
        removedSegments += retired.length;
        for (const segment of retired) removedBytes += segment.sizeBytes;
      } catch (error) {
        // One partition that cannot be read must not keep the others from being cut.
        errors.push(error);
      }
    }
  }
  const logs = [...allPartitions(internals)].flatMap(({ log }) => log ?? []);
  // Also where an earlier round could not record the start of what it took out.
  if (logs.some(({ doomed }) => doomed.length > 0)) writeStartOffsets(internals);
  for (const log of logs) {
    try {
      sweepRetired(log);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return { removedSegments, removedBytes };
}

function retirePartition(
  internals: StoreInternals,
  topic: TopicState,
  state: PartitionState,
  now: number,
): Segment[] {
  if (!hasFolder(internals, state)) return [];
  const log = logOf(internals, topic, state);
  if (log.commit.failure !== undefined) return [];
  const before = log.doomed.length;
  retireSegments(log, now);
  const retired = log.doomed.slice(before);
  log.isStartDue ||= retired.length > 0;
  return retired;
}
