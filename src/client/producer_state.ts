/** The handle of a producer, and what is inside it. */

import { OttlaError } from "../errors.ts";
import type { Ack } from "../log/log.ts";
import type { Timer } from "../platform/clock.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import type { PartitionerState } from "../store/partitioner.ts";
import type { PartitionState, StoreInternals, TopicState } from "../store/store.ts";
import type { RecordMetadata } from "./append.ts";
import type { BuilderPool } from "./builder_pool.ts";
import type { ProducerSettings } from "./producer_options.ts";
import type { PendingSend, SendQueue } from "./send_queue.ts";

/** A producer. Opaque: pass it to the functions of this package. */
export interface Producer extends AsyncDisposable {
  /** Not for users: `producerInternals` knows what it is. */
  readonly internals: unknown;
}

/** Settles the promise of one send; a rejected promise makes it fail. */
export type Settle = (outcome: RecordMetadata | Promise<never>) => void;

/** What numbers a producer's batches: one object for as long as the numbers go on. */
export interface ProducerIdentity {
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** A topic that a producer sends to. */
export interface TopicRoute {
  readonly topic: TopicState;
  readonly partitionerState: PartitionerState;
  /** By partition. */
  readonly queues: (PartitionQueue | undefined)[];
}

/**
 * What goes to one partition, in the order of `send`: batches that are complete, and one that takes
 * records.
 */
export interface PartitionQueue {
  readonly route: TopicRoute;
  readonly state: PartitionState;
  readonly ready: ProducerBatch[];
  open: ProducerBatch | undefined;
  /** Whether the producer's list of queues with batches has it. */
  isListed: boolean;
  /** Runs while the first batch waits to be tried again; nothing of the queue is written then. */
  retryTimer: Timer | undefined;
  /** The numbers under which the last batch was finished. */
  identity: ProducerIdentity | undefined;
  /** Of the next batch that is finished. */
  nextSequence: number;
}

/** Some records of one partition that are written together. */
export interface ProducerBatch {
  readonly queue: PartitionQueue;
  readonly ack: Ack;
  /** The number of its first send. */
  readonly firstSend: number;
  /** When it got its first record, in milliseconds since the epoch. */
  createdMs: number;
  /** Holds the batch until it is written. */
  builder: BatchBuilder | undefined;
  /** What the producer's count of used bytes has for it. */
  reservedBytes: number;
  /** How large the builder was when that was last counted. */
  capacityBytes: number;
  /** One a record. */
  readonly settles: Settle[];
  /** One a record. */
  readonly timestamps: number[];
  /** Whether all of its records have keys, as compacted topics want them. */
  isKeyed: boolean;
  /** Whether it has its header: then it is never changed any more, so that a retry is the same. */
  isFinished: boolean;
  /** The time of appending, if that is what the topic stamps records with. */
  appendTime: number | undefined;
  /** How often writing it has failed. */
  attempts: number;
  /** Why it failed last. */
  failure: unknown;
  /** Whether its sends have their outcome. */
  isSettled: boolean;
}

/** What is inside a producer. */
export interface ProducerInternals {
  readonly store: StoreInternals;
  readonly settings: ProducerSettings;
  /** By topic. */
  readonly routes: Map<string, TopicRoute>;
  readonly pool: BuilderPool;
  /** Queues that have batches which are not written. */
  listed: PartitionQueue[];
  /** Batches whose sends have no outcome yet. */
  readonly unsettled: Set<ProducerBatch>;
  /** What of `bufferBytes` is used. */
  usedBytes: number;
  /** How many sends there were that were neither refused nor failed at once. */
  sendCount: number;
  /** Sends with smaller numbers do not wait for others any more. */
  flushedCount: number;
  /** Sends that wait for room. */
  readonly waiting: SendQueue;
  /** The time that the last send had, and how many more of the same turn have it too. */
  sharedTimeMs: number;
  timeSharersLeft: number;
  /** For the next send. */
  sparePending: PendingSend | undefined;
  /** What sends get for which there is no room among those: one error, however many they are. */
  refusal: OttlaError | undefined;
  /** Called once, when something was written or settled. */
  readonly progressWatchers: (() => void)[];
  /** Undefined until it is there, and again when a new one is needed. */
  identity: ProducerIdentity | undefined;
  isIdentityDue: boolean;
  identityAttempts: number;
  identityTimer: Timer | undefined;
  /** Whether the end of this turn writes what there is. */
  isTurnDue: boolean;
  /** Whether waiting sends are let in at the next progress. */
  isRoomDue: boolean;
  lingerTimer: Timer | undefined;
  deliveryTimer: Timer | undefined;
  blockTimer: Timer | undefined;
  closeTimer: Timer | undefined;
  /** When the timer of the close ends, in milliseconds since the epoch. */
  closeDeadlineMs: number;
  /** Whether nothing is tried again any more, because the store is being closed. */
  isLastTry: boolean;
  state: "open" | "closing" | "closed";
  closing: Promise<void> | undefined;
  /** Tells the store that there is nothing left to close. */
  onClosed: (() => void) | undefined;
}

/**
 * What is inside a producer, open or closed.
 *
 * @param producer What a caller gave as a producer.
 * @returns Its inside.
 * @throws TypeError if it is no producer.
 */
export function producerInternals(producer: Producer): ProducerInternals {
  const internals = (producer as Producer | null | undefined)?.internals;
  const isProducer = typeof internals === "object" && internals !== null && "settings" in internals;
  if (!isProducer) throw new TypeError("producer must be what openProducer() returned");
  return internals as ProducerInternals;
}

/**
 * For whoever uses a producer that is closed.
 *
 * @returns `HANDLE_CLOSED`.
 */
export function producerClosedError(): OttlaError {
  return new OttlaError("HANDLE_CLOSED", "Cannot use the producer: it is closed");
}
