/** What sends fail with, beside the errors of the logs they are for. */

import { OttlaError } from "../errors.ts";
import type { ProducerBatch, TopicRoute } from "./producer_state.ts";

/**
 * For sends whose batch has not reached its level in time.
 *
 * @param batch The batch.
 * @param deliveryTimeoutMs How long it had.
 * @returns `REQUEST_TIMED_OUT`; its cause is why the batch could not be written, if that was tried.
 */
export function deliveryTimeoutError(batch: ProducerBatch, deliveryTimeoutMs: number): OttlaError {
  const { topic, partition } = batch.queue.state;
  const isWritten = batch.builder === undefined;
  const outcome = isWritten ? "it is written, but not known to be on disk" : "it was not written";
  return new OttlaError(
    "REQUEST_TIMED_OUT",
    `Cannot send a batch to ${topic}-${partition} within ${deliveryTimeoutMs} ms ` +
      `(deliveryTimeoutMs): ${outcome}`,
    {
      details: { topic, partition, deliveryTimeoutMs },
      ...(batch.failure === undefined ? {} : { cause: batch.failure }),
    },
  );
}

/**
 * For sends that found no room in the buffer.
 *
 * @param route The topic that they were for.
 * @param bufferBytes The size of the buffer.
 * @param reason What else is the case, for the message.
 * @returns `BUFFER_EXHAUSTED`.
 */
export function bufferExhaustedError(
  route: TopicRoute,
  bufferBytes: number,
  reason: string,
): OttlaError {
  const topic = route.topic.name;
  return new OttlaError(
    "BUFFER_EXHAUSTED",
    `Cannot send a record to ${topic}: the producer's buffer of ${bufferBytes} bytes is full and ` +
      reason,
    { details: { topic, bufferBytes } },
  );
}

/**
 * For a record that the buffer could never take.
 *
 * @param route The topic that it was for.
 * @param sizeBytes What it may take.
 * @param bufferBytes The size of the buffer.
 * @returns `MESSAGE_TOO_LARGE`.
 */
export function beyondBufferError(
  route: TopicRoute,
  sizeBytes: number,
  bufferBytes: number,
): OttlaError {
  const topic = route.topic.name;
  return new OttlaError(
    "MESSAGE_TOO_LARGE",
    `Cannot send a record to ${topic}: it may take ${sizeBytes} bytes, the producer's buffer has ` +
      `${bufferBytes} (bufferBytes)`,
    { details: { topic, sizeBytes, bufferBytes } },
  );
}

/**
 * For sends to a topic that was deleted before they were acknowledged.
 *
 * @param route The topic.
 * @returns `UNKNOWN_TOPIC_OR_PARTITION`.
 */
export function topicDeletedError(route: TopicRoute): OttlaError {
  const topic = route.topic.name;
  return new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot send to ${topic}: the topic was deleted`,
    { details: { topic } },
  );
}

/**
 * For sends that were not acknowledged when their producer was closed.
 *
 * @param route The topic that they were for.
 * @param isWritten Whether they are in the log.
 * @returns `HANDLE_CLOSED`.
 */
export function closedBeforeError(route: TopicRoute, isWritten: boolean): OttlaError {
  const topic = route.topic.name;
  const outcome = isWritten ? "was written, but not known to be on disk" : "was not written";
  return new OttlaError(
    "HANDLE_CLOSED",
    `Cannot send to ${topic}: the record ${outcome} when the producer was closed`,
    { details: { topic } },
  );
}
