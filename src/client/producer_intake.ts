/**
 * Takes records in: at once if the buffer has room, or when it has, in the order of `send`.
 */

import type { Ack } from "../log/log.ts";
import { isMachineTime } from "../platform/clock.ts";
import type { HeaderInput } from "../record/record.ts";
import type { AppendRecord, RecordMetadata } from "./append.ts";
import { checkHeaders, checkTimestamp, keyMissingError } from "./append_checks.ts";
import { beyondBufferError, bufferExhaustedError } from "./producer_errors.ts";
import { scheduleBatch, scheduleTurn } from "./producer_schedule.ts";
import { failedWith, notifyProgress } from "./producer_sender.ts";
import type { ProducerInternals, Settle, TopicRoute } from "./producer_state.ts";
import { producerClosedError } from "./producer_state.ts";
import { addRecord, hasRoom, routeOf, sizeBoundOf } from "./record_accumulator.ts";
import type { PendingSend } from "./send_queue.ts";
import {
  addWaiting,
  firstWaiting,
  removeFirst,
  removeWaiting,
  waitingCount,
  waitingSendsMax,
} from "./send_queue.ts";
import type { TopicArgument } from "./topic.ts";
import { contentOf, nameOfTopic } from "./topic.ts";

const noHeaders: readonly HeaderInput[] = [];

/**
 * How many sends of one turn of the event loop have the same time: asking the machine for it takes a
 * tenth of what a send takes.
 */
const sendsPerTime = 8;
const noSettle: Settle = () => {};

/**
 * Where `takeSettle` leaves what settles the promise that is being made. A function of its own for
 * each promise would cost more than encoding a record of 100 bytes.
 */
let takenSettle: Settle = noSettle;
const takeSettle = (resolve: Settle): void => {
  takenSettle = resolve;
};

/**
 * Takes a record in.
 *
 * @param producer The inside of a producer.
 * @param argument The topic.
 * @param record The record.
 * @param ack What to wait for.
 * @param signal If it is aborted while the record waits for room, the record is not sent.
 * @returns Resolves when the record has reached its level.
 * @throws TypeError, RangeError or OttlaError if it cannot be taken; then nothing of it is sent.
 */
export function takeRecord(
  producer: ProducerInternals,
  argument: TopicArgument,
  record: AppendRecord,
  ack: Ack,
  signal: AbortSignal | undefined,
): Promise<RecordMetadata> {
  if (typeof record !== "object" || record === null) {
    throw new TypeError(`record must be an object with a key and a value, got ${String(record)}`);
  }
  const route = routeOf(producer, nameOfTopic(argument));
  const { config } = route.topic;
  const { key = null, value = null } = record;
  const headers = record.headers === undefined ? noHeaders : checkHeaders(record.headers);
  const now = timeOf(producer);
  const timestamp = record.timestamp === undefined
    ? now
    : checkTimestamp(record.timestamp, config, now);
  if (key === null && config.cleanupPolicy.includes("compact")) throw keyMissingError(route.topic);
  const pending = producer.sparePending ?? newPending(route, argument);
  // A serde or a partitioner may send as well while this one is being taken.
  producer.sparePending = undefined;
  pending.route = route;
  pending.topic = argument;
  pending.key = key;
  pending.value = value;
  pending.headers = headers;
  pending.timestamp = timestamp;
  pending.partition = record.partition;
  pending.ack = ack;
  pending.signal = signal;
  pending.send = producer.sendCount;
  pending.sizeBytes = -1;
  const sent = new Promise<RecordMetadata>(takeSettle);
  pending.settle = takenSettle;
  const isTaken = waitingCount(producer.waiting) === 0 && takeIfRoom(producer, pending);
  if (isTaken) producer.sparePending = withoutContent(pending);
  else waitForRoom(producer, pending, now);
  producer.sendCount++;
  return sent;
}

/** Else the last record, which may be large, would stay in memory for as long as the producer. */
function withoutContent(pending: PendingSend): PendingSend {
  pending.key = null;
  pending.value = null;
  pending.storedKey = null;
  pending.storedValue = null;
  pending.headers = noHeaders;
  pending.signal = undefined;
  return pending;
}

/** The time for a record. A clock of a user's own may move in the middle of a turn. */
function timeOf(producer: ProducerInternals): number {
  const { store } = producer;
  if (producer.isTurnDue && producer.timeSharersLeft-- > 0) return producer.sharedTimeMs;
  const now = store.clock.now();
  producer.sharedTimeMs = now;
  producer.timeSharersLeft = isMachineTime(store.clock) ? sendsPerTime - 1 : 0;
  return now;
}

function newPending(route: TopicRoute, topic: TopicArgument): PendingSend {
  return {
    route,
    topic,
    key: null,
    value: null,
    headers: noHeaders,
    timestamp: 0,
    partition: undefined,
    ack: "disk",
    signal: undefined,
    send: 0,
    deadlineMs: 0,
    settle: noSettle,
    sizeBytes: -1,
    storedKey: null,
    storedValue: null,
  };
}

/**
 * Makes sends fail that wait for room.
 *
 * @param producer The inside of a producer.
 * @param isWanted Picks them.
 * @param errorOf Why they fail; the same for all of a topic.
 */
export function failWaiting(
  producer: ProducerInternals,
  isWanted: (pending: PendingSend) => boolean,
  errorOf: (pending: PendingSend) => unknown,
): void {
  if (waitingCount(producer.waiting) === 0) return;
  let failed: Promise<never> | undefined;
  let route: TopicRoute | undefined;
  for (const pending of removeWaiting(producer.waiting, isWanted)) {
    // Thousands may fail at once, and the stack of an error takes a kilobyte.
    if (failed === undefined || pending.route !== route) failed = failedWith(errorOf(pending));
    route = pending.route;
    pending.settle(failed);
  }
  notifyProgress(producer);
}

/** Puts a record into a batch if the buffer has room for it; false if it has none. */
function takeIfRoom(producer: ProducerInternals, pending: PendingSend): boolean {
  if (pending.sizeBytes < 0) serialize(producer, pending);
  if (!hasRoom(producer, pending.sizeBytes)) return false;
  scheduleBatch(producer, addRecord(producer, pending));
  return true;
}

function serialize(producer: ProducerInternals, pending: PendingSend): void {
  const { topic, headers } = pending;
  const isTyped = typeof topic === "object";
  pending.storedKey = contentOf("key", pending.key, isTyped ? topic.key : undefined);
  pending.storedValue = contentOf("value", pending.value, isTyped ? topic.value : undefined);
  pending.sizeBytes = sizeBoundOf(pending.storedKey, pending.storedValue, headers);
  const { bufferBytes } = producer.settings;
  if (pending.sizeBytes > bufferBytes) {
    throw beyondBufferError(pending.route, pending.sizeBytes, bufferBytes);
  }
}

function waitForRoom(producer: ProducerInternals, pending: PendingSend, now: number): void {
  const { waiting, settings } = producer;
  const { blockMs, bufferBytes } = settings;
  // A serde is a user's code: it may do anything.
  if (producer.state === "closed") throw producerClosedError();
  if (waitingCount(waiting) >= waitingSendsMax) {
    const reason = `${waitingSendsMax} sends wait for room already`;
    producer.refusal ??= bufferExhaustedError(pending.route, bufferBytes, reason);
    throw producer.refusal;
  }
  pending.deadlineMs = now + blockMs;
  addWaiting(waiting, pending);
  if (producer.blockTimer === undefined) startBlock(producer, blockMs);
  // There is room as soon as something is written, so nothing waits for more records.
  scheduleTurn(producer);
  letInLater(producer);
}

/** Lets in those who wait, once there has been progress. */
function letInLater(producer: ProducerInternals): void {
  if (producer.isRoomDue) return;
  producer.isRoomDue = true;
  producer.progressWatchers.push(() =>
    // What makes progress is in the middle of its work.
    queueMicrotask(() => {
      producer.isRoomDue = false;
      letIn(producer);
    })
  );
}

function letIn(producer: ProducerInternals): void {
  const { waiting } = producer;
  const countBefore = waitingCount(waiting);
  for (let pending = firstWaiting(waiting); pending !== undefined;) {
    try {
      pending.signal?.throwIfAborted();
      if (!takeIfRoom(producer, pending)) break;
    } catch (error) {
      pending.settle(failedWith(error));
    }
    // A serde or a partitioner may have had all of them fail.
    if (firstWaiting(waiting) === pending) removeFirst(waiting);
    pending = firstWaiting(waiting);
  }
  if (waitingCount(waiting) !== countBefore) {
    producer.refusal = undefined;
    scheduleTurn(producer);
    notifyProgress(producer);
  }
  if (waitingCount(waiting) > 0) letInLater(producer);
}

function startBlock(producer: ProducerInternals, delayMs: number): void {
  const { clock } = producer.store;
  producer.blockTimer = clock.startTimer(() => {
    producer.blockTimer = undefined;
    const now = clock.now();
    const { blockMs, bufferBytes } = producer.settings;
    noteSetBack(producer, now + blockMs);
    failWaiting(
      producer,
      ({ deadlineMs }) => deadlineMs <= now,
      ({ route }) =>
        bufferExhaustedError(route, bufferBytes, `has had no room for ${blockMs} ms (blockMs)`),
    );
    const next = firstWaiting(producer.waiting);
    if (next !== undefined) startBlock(producer, Math.min(blockMs, next.deadlineMs - now));
  }, delayMs);
}

/** If the clock was set back, nobody waits until that time comes again. */
function noteSetBack({ waiting }: ProducerInternals, deadlineMsMax: number): void {
  for (let index = waiting.start; index < waiting.entries.length; index++) {
    const pending = waiting.entries[index]!;
    pending.deadlineMs = Math.min(pending.deadlineMs, deadlineMsMax);
  }
}
