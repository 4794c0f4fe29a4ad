/**
 * Writes the batches of a producer, each partition's in the order of `send`.
 *
 * The first batch of a queue is finished, with its sequence numbers, when it is its turn to be
 * written. If writing fails with an error that may pass, it is tried again later as it is and the
 * batches behind it wait. Appending is synchronous, so at most one batch of a partition is finished
 * and not in its log; those that are there may wait for the disk together.
 */

import { isOttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { appendBuilt } from "../log/log.ts";
import { countFailedAppend } from "../log/log_stats.ts";
import type { ProducedBatch } from "../log/producer_append.ts";
import { appendProduced } from "../log/producer_append.ts";
import { assignOffsets, finishBatch } from "../record/batch_builder.ts";
import { decrementSequence, incrementSequence } from "../record/batch_view.ts";
import { claimSpace } from "../store/disk_space.ts";
import { logOf } from "../store/partitions.ts";
import { checkLock } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { keyMissingError } from "./append_checks.ts";
import { batchBytesMaxOf, checkBatchSize, compressionOf, levelOf } from "./batch_limits.ts";
import { splitBatch } from "./batch_split.ts";
import {
  adoptIdentity,
  replaceIdentity,
  requestIdentity,
  retryDelayMs,
} from "./producer_identity.ts";
import type { PartitionQueue, ProducerBatch, ProducerInternals } from "./producer_state.ts";
import { producerClosedError } from "./producer_state.ts";
import { releaseBuilder, sealBatch } from "./record_accumulator.ts";
import { waitingCount } from "./send_queue.ts";
import { asTopicDeleted } from "./topic.ts";

/**
 * Writes what is due of all partitions: batches that are complete, and those that have waited for
 * more records for long enough, or are not to wait.
 *
 * @param producer The inside of a producer.
 */
export function drainProducer(producer: ProducerInternals): void {
  const { listed, store } = producer;
  const now = store.clock.now();
  producer.listed = [];
  for (const queue of listed) {
    drainDue(producer, queue, now);
    queue.isListed = false;
    listQueue(producer, queue);
  }
}

/** As `drainQueue`, and the batch that takes records as well if it is due. */
function drainDue(producer: ProducerInternals, queue: PartitionQueue, now: number): void {
  // Behind a batch that has to wait, the open one goes on taking records.
  drainQueue(producer, queue);
  if (queue.ready.length > 0 || queue.open === undefined) return;
  if (!isDue(producer, queue.open, now)) return;
  sealBatch(queue);
  drainQueue(producer, queue);
}

function isDue(producer: ProducerInternals, batch: ProducerBatch, now: number): boolean {
  const { flushedCount, settings, state, waiting } = producer;
  const ageMs = now - batch.createdMs;
  // A clock that was set back must not make it wait for longer.
  return ageMs >= settings.lingerMs || ageMs < 0 || batch.firstSend < flushedCount ||
    state !== "open" || waitingCount(waiting) > 0;
}

/**
 * Writes the batches of a partition that are complete, as far as they can be written now.
 *
 * @param producer The inside of a producer.
 * @param queue The partition's queue.
 */
export function drainQueue(producer: ProducerInternals, queue: PartitionQueue): void {
  while (queue.retryTimer === undefined) {
    const batch = queue.ready[0];
    if (batch === undefined || !sendBatch(producer, batch)) break;
  }
}

/**
 * Has a queue on the producer's list for as long as it has batches.
 *
 * @param producer The inside of a producer.
 * @param queue The queue.
 */
export function listQueue(producer: ProducerInternals, queue: PartitionQueue): void {
  if (queue.isListed || (queue.ready.length === 0 && queue.open === undefined)) return;
  queue.isListed = true;
  producer.listed.push(queue);
}

/**
 * Gives up a batch: its sends fail, and the batches behind it are next.
 *
 * @param producer The inside of a producer.
 * @param batch The batch.
 * @param error What its sends get.
 */
export function giveUpBatch(
  producer: ProducerInternals,
  batch: ProducerBatch,
  error: unknown,
): void {
  // What is in the log has its place in the sequence, whatever becomes of it.
  const isLost = batch.isFinished && batch.builder !== undefined;
  if (isLost) replaceIdentity(producer, batch.queue, error);
  forgetBatch(producer, batch, error);
}

/**
 * Gives up a batch after which nothing is numbered any more: its sends fail.
 *
 * @param producer The inside of a producer.
 * @param batch The batch.
 * @param error What its sends get.
 */
export function forgetBatch(
  producer: ProducerInternals,
  batch: ProducerBatch,
  error: unknown,
): void {
  const { queue } = batch;
  if (queue.open === batch) queue.open = undefined;
  const index = queue.ready.indexOf(batch);
  if (index >= 0) queue.ready.splice(index, 1);
  if (index === 0) stopRetry(producer, queue);
  failBatch(producer, batch, error);
}

/** Writes the first batch of a queue; false if it stays where it is. */
function sendBatch(producer: ProducerInternals, batch: ProducerBatch): boolean {
  const { queue } = batch;
  const { store, settings } = producer;
  if (settings.isIdempotent && !batch.isFinished && producer.identity === undefined) {
    requestIdentity(
      producer,
      () => drainProducer(producer),
      (error) => giveUpUnnumbered(producer, error),
    );
    return false;
  }
  let appended: Pick<ProducedBatch, "baseOffset" | "done">;
  try {
    if (store.state === "closed") throw producerClosedError();
    checkLock(store);
    const log = logOf(store, queue.route.topic, queue.state);
    if (!batch.isFinished) finish(producer, batch, log);
    if (!isTaken(producer, batch, log)) return true;
    claimSpace(store.diskSpace, log.source, batch.builder!.batchStart, store.clock.now());
    appended = appendFinished(producer, batch, log);
  } catch (error) {
    return sendBatchFailed(producer, batch, error);
  }
  queue.ready.shift();
  releaseBuilder(producer, batch);
  const { baseOffset, done } = appended;
  if (done === undefined) completeBatch(producer, batch, baseOffset);
  else waitForDisk(producer, batch, baseOffset, done);
  return true;
}

/** Gives a batch its header, and the numbers that are next. */
function finish(producer: ProducerInternals, batch: ProducerBatch, log: Log): void {
  const { queue } = batch;
  const { config } = queue.route.topic;
  const identity = adoptIdentity(producer, queue);
  const compression = producer.settings.compression ?? compressionOf(config);
  const now = producer.store.clock.now();
  batch.appendTime = config.timestampType === "LogAppendTime" ? now : undefined;
  finishBatch(batch.builder!, {
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    compression,
    compressionLevel: levelOf(config, compression),
    logAppendTime: batch.appendTime,
    producerId: identity?.producerId,
    producerEpoch: identity?.producerEpoch,
    baseSequence: identity === undefined ? undefined : queue.nextSequence,
  });
  batch.isFinished = true;
  queue.nextSequence = incrementSequence(queue.nextSequence, batch.settles.length);
}

/**
 * Whether the topic takes a finished batch; false if it was split instead. It is asked at every try:
 * the topic may have been altered since the records were taken in, or since the last one.
 */
function isTaken(producer: ProducerInternals, batch: ProducerBatch, log: Log): boolean {
  const { queue, settles } = batch;
  const { topic } = queue.route;
  const sizeBytes = batch.builder!.batchStart;
  const isTooLarge = sizeBytes > batchBytesMaxOf(topic.config);
  const isKeyMissing = !batch.isKeyed && topic.config.cleanupPolicy.includes("compact");
  if (!isTooLarge && !isKeyMissing) return true;
  // Nothing of it is in the log, so what comes in its place can have its numbers.
  batch.isFinished = false;
  queue.nextSequence = decrementSequence(queue.nextSequence, settles.length);
  if (settles.length > 1) {
    replaceByParts(producer, batch);
    return false;
  }
  if (isKeyMissing) throw keyMissingError(topic);
  checkBatchSize(log, topic.config, sizeBytes);
  return true;
}

function replaceByParts(producer: ProducerInternals, batch: ProducerBatch): void {
  const parts = splitBatch(producer, batch);
  batch.queue.ready.splice(0, 1, ...parts);
  for (const part of parts) producer.unsettled.add(part);
  settleBatch(producer, batch);
}

function appendFinished(
  producer: ProducerInternals,
  batch: ProducerBatch,
  log: Log,
): Pick<ProducedBatch, "baseOffset" | "done"> {
  const builder = batch.builder!;
  const baseOffset = log.endOffset;
  const endOffset = baseOffset + batch.settles.length;
  assignOffsets(builder.view, 0, baseOffset, log.leaderEpoch);
  if (producer.settings.isIdempotent) return appendProduced(log, builder, endOffset, batch.ack);
  return { baseOffset, done: appendBuilt(log, builder, endOffset, batch.ack) };
}

function waitForDisk(
  producer: ProducerInternals,
  batch: ProducerBatch,
  baseOffset: number,
  done: Promise<void>,
): void {
  notifyProgress(producer);
  done.then(
    () => completeBatch(producer, batch, baseOffset),
    // Nobody knows what a failed sync has left, and asking again would be answered alike.
    (error: unknown) => giveUpBatch(producer, batch, errorOf(producer, batch.queue, error)),
  );
}

/** Tries the batch again later, or gives it up; false if it stays where it is. */
function sendBatchFailed(
  producer: ProducerInternals,
  batch: ProducerBatch,
  thrown: unknown,
): boolean {
  const { queue } = batch;
  const error = errorOf(producer, queue, thrown);
  countFailedAppend(queue.route.topic.stats, error);
  if (!mayPass(producer, batch, error)) {
    giveUpBatch(producer, batch, error);
    return true;
  }
  batch.failure = error;
  const delayMs = retryDelayMs(producer, batch.attempts++);
  const { clock } = producer.store;
  queue.retryTimer = clock.startTimer(
    () => {
      queue.retryTimer = undefined;
      // This queue alone: on a full disk there may be thousands, each with a timer of its own.
      drainDue(producer, queue, clock.now());
    },
    delayMs,
    true,
  );
  return false;
}

function mayPass(producer: ProducerInternals, batch: ProducerBatch, error: unknown): boolean {
  if (!isOttlaError(error) || !error.retriable || producer.isLastTry) return false;
  // What is gone does not come back while the store is open: a topic, its lock, a poisoned log.
  const isGone = error.code === "UNKNOWN_TOPIC_OR_PARTITION" || error.code === "STORE_LOCKED" ||
    batch.queue.state.log?.commit.failure !== undefined;
  return !isGone && batch.attempts < producer.settings.retries;
}

function errorOf(producer: ProducerInternals, queue: PartitionQueue, thrown: unknown): unknown {
  const { topic, partition } = queue.state;
  const error = asStorageError(`send to ${topic}-${partition}`, thrown);
  return asTopicDeleted(producer.store, queue.route.topic, error);
}

/** There will be no id for the batches that have none. */
function giveUpUnnumbered(producer: ProducerInternals, error: unknown): void {
  for (const batch of [...producer.unsettled]) {
    if (!batch.isFinished) giveUpBatch(producer, batch, error);
  }
}

function completeBatch(
  producer: ProducerInternals,
  batch: ProducerBatch,
  baseOffset: number,
): void {
  if (batch.isSettled) return;
  const { settles, timestamps, appendTime } = batch;
  const { topic, partition } = batch.queue.state;
  for (let index = 0; index < settles.length; index++) {
    settles[index]!({
      topic,
      partition,
      offset: baseOffset + index,
      timestamp: appendTime ?? timestamps[index]!,
    });
  }
  settleBatch(producer, batch);
}

function failBatch(producer: ProducerInternals, batch: ProducerBatch, error: unknown): void {
  if (batch.isSettled) return;
  const failed = failedWith(error);
  for (const settle of batch.settles) settle(failed);
  settleBatch(producer, batch);
}

/**
 * What makes sends fail that it settles.
 *
 * @param error Why.
 * @returns A rejected promise that counts as handled.
 */
export function failedWith(error: unknown): Promise<never> {
  const failed = Promise.reject(error);
  failed.catch(() => {});
  return failed;
}

function settleBatch(producer: ProducerInternals, batch: ProducerBatch): void {
  batch.isSettled = true;
  producer.unsettled.delete(batch);
  // Nothing lingers any more, so nothing is to keep the process alive.
  if (producer.unsettled.size === 0) stopLinger(producer);
  releaseBuilder(producer, batch);
  producer.usedBytes -= batch.reservedBytes;
  batch.reservedBytes = 0;
  notifyProgress(producer);
}

function stopLinger(producer: ProducerInternals): void {
  if (producer.lingerTimer === undefined) return;
  producer.store.clock.stopTimer(producer.lingerTimer);
  producer.lingerTimer = undefined;
}

/**
 * Tells those who wait for something to be written or settled.
 *
 * @param producer The inside of a producer.
 */
export function notifyProgress({ progressWatchers }: ProducerInternals): void {
  if (progressWatchers.length === 0) return;
  for (const watcher of progressWatchers.splice(0)) watcher();
}

/**
 * Has the first batch of a partition not wait any longer until it is tried again.
 *
 * @param producer The inside of a producer.
 * @param queue The partition's queue.
 */
export function stopRetry(producer: ProducerInternals, queue: PartitionQueue): void {
  if (queue.retryTimer === undefined) return;
  producer.store.clock.stopTimer(queue.retryTimer);
  queue.retryTimer = undefined;
}
