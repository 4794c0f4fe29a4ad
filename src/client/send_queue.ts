/**
 * Sends that wait for room in the buffer of their producer: who came first gets in first.
 *
 * What waits is held as its caller gave it. Only the first is serialized, to see whether it has room:
 * so a thousand large values that wait take no memory of their own.
 */

import type { Ack } from "../log/log.ts";
import type { Content, HeaderInput } from "../record/record.ts";
import type { Settle, TopicRoute } from "./producer_state.ts";
import type { TopicArgument } from "./topic.ts";

/**
 * A send that is not in a batch yet. Its producer uses the object again for the next send, unless it
 * has to wait: one more object a send would cost a tenth of its speed.
 */
export interface PendingSend {
  route: TopicRoute;
  /** As its caller gave it: with the serdes. */
  topic: TopicArgument;
  key: unknown;
  value: unknown;
  headers: readonly HeaderInput[];
  /** In milliseconds since the epoch. */
  timestamp: number;
  /** Undefined if it is to be chosen. */
  partition: number | undefined;
  ack: Ack;
  signal: AbortSignal | undefined;
  /** Its number among the sends of the producer. */
  send: number;
  /** Until when it waits for room. */
  deadlineMs: number;
  settle: Settle;
  /** How much of the buffer it takes, or -1 as long as it is not serialized. */
  sizeBytes: number;
  /** The key as it is stored. */
  storedKey: Content;
  /** The value as it is stored. */
  storedValue: Content;
}

/** Those that wait, in their order. */
export interface SendQueue {
  /** Those before `start` have gone. */
  entries: (PendingSend | undefined)[];
  start: number;
}

/** How many may wait; whoever comes then is refused. Each takes some 500 bytes. */
export const waitingSendsMax = 32_768;

/**
 * A queue in which nobody waits.
 *
 * @returns The queue.
 */
export function sendQueue(): SendQueue {
  return { entries: [], start: 0 };
}

/**
 * How many wait.
 *
 * @param queue Those that wait.
 * @returns Their number.
 */
export function waitingCount(queue: SendQueue): number {
  return queue.entries.length - queue.start;
}

/**
 * Who is next.
 *
 * @param queue Those that wait.
 * @returns The first, or undefined.
 */
export function firstWaiting(queue: SendQueue): PendingSend | undefined {
  return queue.entries[queue.start];
}

/**
 * Puts one at the end.
 *
 * @param queue Those that wait.
 * @param send One more.
 */
export function addWaiting(queue: SendQueue, send: PendingSend): void {
  queue.entries.push(send);
}

/**
 * Takes the first away.
 *
 * @param queue Those that wait.
 */
export function removeFirst(queue: SendQueue): void {
  queue.entries[queue.start++] = undefined;
  // Moving up when half have gone costs each of them one move.
  if (queue.start * 2 < queue.entries.length) return;
  queue.entries = queue.entries.slice(queue.start);
  queue.start = 0;
}

/**
 * Takes away all that a function picks.
 *
 * @param queue Those that wait.
 * @param isWanted Picks.
 * @returns Those that were taken, in their order.
 */
export function removeWaiting(
  queue: SendQueue,
  isWanted: (send: PendingSend) => boolean,
): PendingSend[] {
  const kept: PendingSend[] = [];
  const removed: PendingSend[] = [];
  for (let index = queue.start; index < queue.entries.length; index++) {
    const send = queue.entries[index]!;
    (isWanted(send) ? removed : kept).push(send);
  }
  queue.entries = kept;
  queue.start = 0;
  return removed;
}
