/**
 * What a producer numbers its batches with: an id from the store, an epoch of that id, and for each
 * partition a sequence.
 *
 * When a log refuses a number, or a numbered batch is given up, the numbers of that partition no
 * longer follow on each other. Then the epoch goes up and every partition, at its next batch,
 * begins again with sequence 0.
 */

import { isOttlaError } from "../errors.ts";
import type { RandomBytes } from "../platform/random.ts";
import { nextProducerId } from "../store/producer_ids.ts";
import type { PartitionQueue, ProducerIdentity, ProducerInternals } from "./producer_state.ts";

/** Kafka's: the largest number is kept for fencing. */
const producerEpochMax = 32_766;
const backoffFactor = 2;
/** More than any limit needs: without one, a delay of 0 would become no number in the end. */
const doublingsMax = 31;
/** How far a delay may be off by chance, so that producers that failed together part. */
const backoffJitter = 0.2;

/**
 * Asks for an id, unless it is being asked for.
 *
 * @param producer The inside of a producer.
 * @param onIdentity Called when it is there.
 * @param onFailed Called when there will be none, with the reason.
 */
export function requestIdentity(
  producer: ProducerInternals,
  onIdentity: () => void,
  onFailed: (error: unknown) => void,
): void {
  if (producer.isIdentityDue || producer.identityTimer !== undefined) return;
  producer.isIdentityDue = true;
  nextProducerId(producer.store).then((producerId) => {
    producer.isIdentityDue = false;
    producer.identityAttempts = 0;
    if (producer.state === "closed") return;
    producer.identity = { producerId, producerEpoch: 0 };
    onIdentity();
  }, (error: unknown) => {
    producer.isIdentityDue = false;
    if (producer.state === "closed") return;
    if (!mayPass(producer, error)) {
      producer.identityAttempts = 0;
      return onFailed(error);
    }
    const delayMs = retryDelayMs(producer, producer.identityAttempts++);
    producer.identityTimer = producer.store.clock.startTimer(
      () => {
        producer.identityTimer = undefined;
        // Else a disk that stays full would keep the process alive, for nobody.
        if (producer.unsettled.size === 0) producer.identityAttempts = 0;
        else requestIdentity(producer, onIdentity, onFailed);
      },
      delayMs,
      true,
    );
  });
}

function mayPass(producer: ProducerInternals, error: unknown): boolean {
  const { identityAttempts, isLastTry, settings, store } = producer;
  if (!isOttlaError(error) || !error.retriable || isLastTry) return false;
  // Neither a lock that was lost comes back while the store is open, nor a poisoned metadata log.
  const isGone = error.code === "STORE_LOCKED" || store.metadata.log.commit.failure !== undefined;
  return !isGone && identityAttempts < settings.retries;
}

/**
 * The numbers for the next batch of a partition.
 *
 * @param producer The inside of a producer that has an identity.
 * @param queue The partition's queue: it begins again where the producer did.
 * @returns The identity; the sequence is the queue's.
 */
export function adoptIdentity(
  producer: ProducerInternals,
  queue: PartitionQueue,
): ProducerIdentity | undefined {
  const { identity } = producer;
  if (queue.identity !== identity) {
    queue.identity = identity;
    queue.nextSequence = 0;
  }
  return identity;
}

/**
 * Makes sure that batches to come are not held against one that is lost.
 *
 * @param producer The inside of a producer.
 * @param queue Where a batch was refused or given up; it had the queue's identity.
 * @param error Why.
 */
export function replaceIdentity(
  producer: ProducerInternals,
  queue: PartitionQueue,
  error: unknown,
): void {
  const { identity } = producer;
  // Another partition has had it replaced already.
  if (identity === undefined || queue.identity !== identity) return;
  const { producerId, producerEpoch } = identity;
  const isFenced = isOttlaError(error, "INVALID_PRODUCER_EPOCH");
  producer.identity = isFenced || producerEpoch >= producerEpochMax
    ? undefined
    : { producerId, producerEpoch: producerEpoch + 1 };
}

/**
 * How long to wait before trying again.
 *
 * @param producer The inside of a producer.
 * @param attempts How often it has been waited already.
 * @returns Milliseconds: more each time, to a limit, and somewhat by chance.
 */
export function retryDelayMs(producer: ProducerInternals, attempts: number): number {
  const { retryBackoffMs, retryBackoffMaxMs } = producer.settings;
  const exact = retryBackoffMs * backoffFactor ** Math.min(attempts, doublingsMax);
  const jitter = 1 + backoffJitter * (2 * randomFraction(producer.store.randomBytes) - 1);
  return Math.min(retryBackoffMaxMs, Math.round(exact * jitter));
}

function randomFraction(randomBytes: RandomBytes): number {
  const bytes = randomBytes(4);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) / 2 ** 32;
}
