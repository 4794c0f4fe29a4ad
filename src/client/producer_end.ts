/** Waiting for sends, and the end of a producer: what was sent is stored, or fails; nothing hangs. */

import { closedBeforeError, topicDeletedError } from "./producer_errors.ts";
import { failWaiting } from "./producer_intake.ts";
import { stopTimers } from "./producer_schedule.ts";
import { drainProducer, forgetBatch, notifyProgress, stopRetry } from "./producer_sender.ts";
import type { ProducerInternals, TopicRoute } from "./producer_state.ts";
import { waitingCount } from "./send_queue.ts";

/** How a producer ends. */
export interface ProducerEnd {
  /** Whether everything is tried just once more, because the store is being closed. */
  readonly isLastTry: boolean;
  /** When to give up on the rest, in milliseconds; without it never. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Waits until the sends so far have their outcomes.
 *
 * @param producer The inside of a producer.
 * @returns Resolves when they have.
 */
export async function settleSends(producer: ProducerInternals): Promise<void> {
  const { sendCount } = producer;
  producer.flushedCount = sendCount;
  // Every round waits for progress; each send makes some at most twice: written, and settled.
  while (isUnsettled(producer, sendCount)) {
    const progress = new Promise<void>((resolve) => producer.progressWatchers.push(resolve));
    drainProducer(producer);
    await progress;
  }
}

/**
 * Ends a producer: stores what was sent, then lets go of everything.
 *
 * @param producer The inside of a producer; ending it twice is fine.
 * @param end How.
 * @returns Resolves when it is closed.
 */
export function endProducer(producer: ProducerInternals, end: ProducerEnd): Promise<void> {
  if (end.isLastTry) tryOnceMore(producer);
  if (end.timeoutMs !== undefined) abandonAfter(producer, end.timeoutMs);
  producer.closing ??= closeWhenSettled(producer);
  return producer.closing;
}

/**
 * Ends a producer as it is: what is not stored fails, and nothing is written any more.
 *
 * @param producer The inside of a producer.
 */
export function abandonProducer(producer: ProducerInternals): void {
  if (producer.state === "closed") return;
  producer.state = "closed";
  stopTimers(producer);
  failWaiting(producer, () => true, ({ route }) => closedBeforeError(route, false));
  for (const batch of [...producer.unsettled]) {
    const isWritten = batch.builder === undefined;
    forgetBatch(producer, batch, closedBeforeError(batch.queue.route, isWritten));
  }
  letGo(producer);
}

/**
 * Forgets the topics that are no more; what was to be sent to them fails.
 *
 * @param producer The inside of a producer.
 */
export function dropDeletedTopics(producer: ProducerInternals): void {
  const { routes, store, unsettled } = producer;
  for (const [name, route] of [...routes]) {
    if (store.topics.get(name) === route.topic) continue;
    routes.delete(name);
    const isOfTopic = (other: { readonly route: TopicRoute }): boolean => other.route === route;
    for (const batch of [...unsettled]) {
      if (isOfTopic(batch.queue)) forgetBatch(producer, batch, topicDeletedError(route));
    }
    failWaiting(producer, isOfTopic, () => topicDeletedError(route));
  }
}

async function closeWhenSettled(producer: ProducerInternals): Promise<void> {
  if (producer.state === "closed") return;
  producer.state = "closing";
  do await settleSends(producer); while (
    // A serde may have closed the producer in the middle of a send.
    producer.unsettled.size > 0 || waitingCount(producer.waiting) > 0
  );
  if (isClosed(producer)) return;
  producer.state = "closed";
  stopTimers(producer);
  letGo(producer);
}

/** In a function of its own, for while waiting anyone may have closed it. */
function isClosed(producer: ProducerInternals): boolean {
  return producer.state === "closed";
}

/** Tries at once what waits to be tried again, for the last time. */
function tryOnceMore(producer: ProducerInternals): void {
  if (producer.state === "closed") return;
  producer.isLastTry = true;
  if (producer.identityTimer !== undefined) producer.store.clock.stopTimer(producer.identityTimer);
  producer.identityTimer = undefined;
  for (const { queues } of producer.routes.values()) {
    for (const queue of queues) if (queue !== undefined) stopRetry(producer, queue);
  }
  drainProducer(producer);
}

function abandonAfter(producer: ProducerInternals, timeoutMs: number): void {
  if (producer.state === "closed") return;
  const { clock } = producer.store;
  const deadlineMs = clock.now() + timeoutMs;
  // Of several who close it, who waits for the shortest time decides.
  if (producer.closeTimer !== undefined && producer.closeDeadlineMs <= deadlineMs) return;
  if (producer.closeTimer !== undefined) clock.stopTimer(producer.closeTimer);
  producer.closeDeadlineMs = deadlineMs;
  producer.closeTimer = clock.startTimer(() => {
    producer.closeTimer = undefined;
    abandonProducer(producer);
  }, timeoutMs);
}

function isUnsettled({ unsettled, waiting }: ProducerInternals, sendCount: number): boolean {
  const next = waiting.entries[waiting.start];
  if (waitingCount(waiting) > 0 && next !== undefined && next.send < sendCount) return true;
  for (const batch of unsettled) if (batch.firstSend < sendCount) return true;
  return false;
}

function letGo(producer: ProducerInternals): void {
  producer.routes.clear();
  producer.pool.spares.length = 0;
  producer.listed = [];
  notifyProgress(producer);
  producer.onClosed?.();
}
