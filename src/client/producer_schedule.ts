/**
 * When a producer does what: batches are written at the end of a turn of the event loop or when they
 * have waited for `lingerMs`, and given up after `deliveryTimeoutMs`.
 *
 * Of each kind there is one timer at most; one that rings for nothing is not started again. Only
 * those for what would be lost if the process ended keep it alive.
 */

import { nextTurn } from "../platform/clock.ts";
import { deliveryTimeoutError } from "./producer_errors.ts";
import { drainProducer, drainQueue, giveUpBatch, listQueue } from "./producer_sender.ts";
import type { ProducerBatch, ProducerInternals } from "./producer_state.ts";

/**
 * Sees to it that a batch is written in time.
 *
 * @param producer The inside of a producer.
 * @param batch A batch that has got one more record.
 */
export function scheduleBatch(producer: ProducerInternals, batch: ProducerBatch): void {
  const { queue } = batch;
  if (batch.settles.length === 1) beginBatch(producer, batch);
  if (queue.ready.length > 0) drainQueue(producer, queue);
}

/**
 * Has everything that is due written at the end of this turn of the event loop.
 *
 * @param producer The inside of a producer.
 */
export function scheduleTurn(producer: ProducerInternals): void {
  if (producer.isTurnDue) return;
  producer.isTurnDue = true;
  // Whoever asked for the time last did so before this turn, which progress of a disk may begin.
  producer.timeSharersLeft = 0;
  nextTurn().then(() => {
    producer.isTurnDue = false;
    if (producer.state !== "closed") drainProducer(producer);
  });
}

/**
 * Stops all timers.
 *
 * @param producer The inside of a producer.
 */
export function stopTimers(producer: ProducerInternals): void {
  const { clock } = producer.store;
  const { lingerTimer, deliveryTimer, blockTimer, identityTimer, closeTimer } = producer;
  for (const timer of [lingerTimer, deliveryTimer, blockTimer, identityTimer, closeTimer]) {
    if (timer !== undefined) clock.stopTimer(timer);
  }
  producer.lingerTimer = undefined;
  producer.deliveryTimer = undefined;
  producer.blockTimer = undefined;
  producer.identityTimer = undefined;
  producer.closeTimer = undefined;
}

function beginBatch(producer: ProducerInternals, batch: ProducerBatch): void {
  const { lingerMs, deliveryTimeoutMs } = producer.settings;
  producer.unsettled.add(batch);
  listQueue(producer, batch.queue);
  if (producer.deliveryTimer === undefined) startDelivery(producer, deliveryTimeoutMs);
  if (lingerMs === 0 || producer.state !== "open") scheduleTurn(producer);
  else if (producer.lingerTimer === undefined) startLinger(producer, lingerMs);
}

function startLinger(producer: ProducerInternals, delayMs: number): void {
  producer.lingerTimer = producer.store.clock.startTimer(
    () => {
      producer.lingerTimer = undefined;
      drainProducer(producer);
      const { lingerMs } = producer.settings;
      let waitMs = Infinity;
      for (const { open } of producer.listed) {
        if (open !== undefined) waitMs = Math.min(waitMs, remainingMs(producer, open, lingerMs));
      }
      // One that is due and still open waits behind a batch that is tried again.
      if (waitMs < Infinity) startLinger(producer, waitMs === 0 ? lingerMs : waitMs);
    },
    delayMs,
    true,
  );
}

function startDelivery(producer: ProducerInternals, delayMs: number): void {
  producer.deliveryTimer = producer.store.clock.startTimer(() => {
    producer.deliveryTimer = undefined;
    const { deliveryTimeoutMs } = producer.settings;
    const now = producer.store.clock.now();
    let waitMs = Infinity;
    for (const batch of [...producer.unsettled]) {
      // The clock was set back: it does not wait until that time comes again.
      if (batch.createdMs > now) batch.createdMs = now;
      const leftMs = remainingMs(producer, batch, deliveryTimeoutMs);
      if (leftMs > 0) waitMs = Math.min(waitMs, leftMs);
      else giveUpBatch(producer, batch, deliveryTimeoutError(batch, deliveryTimeoutMs));
    }
    // What was behind them does not wait for their next try any more.
    drainProducer(producer);
    if (waitMs < Infinity) startDelivery(producer, waitMs);
  }, delayMs);
}

/** How much of a time a batch has left; of a clock that was set back no more than all of it. */
function remainingMs(producer: ProducerInternals, batch: ProducerBatch, wholeMs: number): number {
  const ageMs = Math.max(0, producer.store.clock.now() - batch.createdMs);
  return Math.max(0, wholeMs - ageMs);
}
