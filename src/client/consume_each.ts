/**
 * Handles the records of a consumer with many handlers at once, those of one key in order.
 *
 * What is committed is never ahead of the oldest record that is not handled, so a crash repeats some
 * records and loses none. A handler that throws is tried again, later and later; then its record
 * goes to the dead letter topic, and where there is none consuming ends with the error.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { Timer } from "../platform/clock.ts";
import type { HeaderInput, LogRecord } from "../record/record.ts";
import { getTopicState } from "../store/store.ts";
import { checkObject, checkSignal, checkWholeNumber } from "../store/store_options.ts";
import { append } from "./append.ts";
import { saveOffsets, uncommittedHandled } from "./consumer_commit.ts";
import { placeLater } from "./consumer_fetch.ts";
import { startPoll } from "./consumer_poll.ts";
import type { Consumer, ConsumerState, HandlingTracker, StoredContent } from "./consumer_state.ts";
import { isAutoCommitting, nameOfPartition, noteHandled, openState } from "./consumer_state.ts";
import type { HandlerLanes, Task } from "./handler_lanes.ts";
import {
  addTask,
  drainLanes,
  finishLanes,
  handlerLanes,
  nextEnd,
  oldestOffset,
  restartPartition,
  roomIn,
  startTasks,
  wakeLanes,
} from "./handler_lanes.ts";
import { textOfThrown } from "./thrown_text.ts";

/** What a handler gets beside the record. */
export interface HandlerContext {
  /** 1 the first time. */
  readonly attempt: number;
  /**
   * Is aborted when the handler had better stop: what it does then counts if it returns; if it
   * throws, the record comes again.
   */
  readonly signal: AbortSignal;
}

/** Handles one record; it is handled when this resolves. */
export type RecordHandler<K = Uint8Array | null, V = Uint8Array | null> = (
  record: LogRecord<K, V>,
  context: HandlerContext,
) => Promise<void> | void;

/** How to handle. */
export interface ConsumeEachOptions {
  /** How many handlers run at once; 16 unless given. */
  readonly concurrency?: number | undefined;
  /** How often a handler that throws is tried again; 5 unless given. */
  readonly retriesMax?: number | undefined;
  /** How long to wait before the first retry, in milliseconds; twice as long each time; 100. */
  readonly backoffMs?: number | undefined;
  /** The longest wait before a retry, in milliseconds; 10,000 unless given. */
  readonly backoffMsMax?: number | undefined;
  /**
   * Where records go that could not be handled; it must exist. Headers `dlt.topic`, `dlt.partition`
   * and `dlt.offset` say which record it is, others why it is there. Of a record that is too large
   * for the topic only these go there, with a header `dlt.omitted` that says so: what is in it has
   * to be read where it lies, before retention removes it.
   */
  readonly deadLetterTopic?: string | undefined;
  /** Ends the handling: what runs is waited for. The consumer stays open. */
  readonly signal?: AbortSignal | undefined;
}

/** One call of `consumeEach`. */
interface Handling {
  readonly state: ConsumerState;
  readonly handler: RecordHandler<unknown, unknown>;
  readonly options: ConsumeEachOptions;
  readonly lanes: HandlerLanes;
  /** Ends polls, retries and, if they listen to it, handlers. */
  readonly stop: AbortController;
  /** Errors of serdes, by record. */
  readonly undeserializable: WeakMap<object, unknown>;
  /** What ended it. */
  failure: { readonly error: unknown } | undefined;
}

const concurrencyDefault = 16;
const concurrencyMax = 10_000;
const retriesMaxDefault = 5;
const backoffMsDefault = 100;
const backoffMsMaxDefault = 10_000;
/** How many records wait for their handlers, for each one that runs. */
const waitingPerHandler = 16;
/** How much of an error's name and message a dead letter tells, in characters. */
const errorTextMax = 4_096;
const noOptions: ConsumeEachOptions = {};

/**
 * Handles every record of a consumer, many at once, those of one key in order.
 *
 * When the consumer is closed, what was taken in (16 records for each handler that may run, at
 * most) is handled to its end and committed. When the signal ends it, or a partition goes to another
 * member, only the handlers that run are waited for, what is handled is committed, whether
 * `autoCommit` is on or not, and the rest is given out again. An error of a poll, such as damage or
 * a record that no serde reads, is told when all that was taken in before is handled. While one
 * record takes its time, 100,000 behind it may be handled before the others wait for it.
 *
 * @param consumer The consumer; it cannot be polled meanwhile.
 * @param handler Handles a record. Until it resolves the record's offset is not committed. It must
 * not wait for `closeConsumer` or `closeStore`, which wait for it.
 * @param options How many at once, and what to do with records that fail.
 * @returns Resolves when the consumer is closed or the signal has ended it, and nothing is under way
 * any more.
 * @throws TypeError or RangeError. What the handler threw last if there is no dead letter topic, or
 * what that topic throws, such as `DISK_FULL`; what `poll` throws, damage included, or the last
 * commit. Then what was not handled will be given out again.
 */
export async function consumeEach<K, V>(
  consumer: Consumer<K, V>,
  handler: RecordHandler<K, V>,
  options: ConsumeEachOptions = noOptions,
): Promise<void> {
  const state = openState(consumer);
  checkConsumeEach(state, handler, options);
  const lanes = handlerLanes(
    options.concurrency ?? concurrencyDefault,
    (task) => handleTask(handling, task),
  );
  const handling: Handling = {
    state,
    handler: handler as RecordHandler<unknown, unknown>,
    options,
    lanes,
    stop: new AbortController(),
    undeserializable: new WeakMap(),
    failure: undefined,
  };
  const abort = (): void => handling.stop.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  if (options.signal?.aborted === true) abort();
  // What was polled before counts as handled now, as with the next poll.
  noteHandled(state);
  state.isInHand = false;
  const tracker = trackerOf(handling);
  state.tracker = tracker;
  try {
    await pollAndHandle(handling, tracker);
    if (state.phase === "closing") await finishLanes(lanes);
  } catch (error) {
    // Whoever is told to seek behind a record finds all handled that lies before it.
    await finishLanes(lanes);
    handling.failure ??= { error };
  }
  options.signal?.removeEventListener("abort", abort);
  handling.stop.abort();
  await endHandling(handling);
  if (handling.failure !== undefined) throw handling.failure.error;
}

function checkConsumeEach(
  state: ConsumerState,
  handler: unknown,
  options: ConsumeEachOptions,
): void {
  if (typeof handler !== "function") {
    throw new TypeError(`handler must be a function, got ${typeof handler}`);
  }
  checkObject("options", options);
  checkWholeNumber("concurrency", options.concurrency, 1, concurrencyMax);
  checkWholeNumber("retriesMax", options.retriesMax, 0, Number.MAX_SAFE_INTEGER);
  checkWholeNumber("backoffMs", options.backoffMs, 0, 2 ** 31 - 1);
  checkWholeNumber("backoffMsMax", options.backoffMsMax, 0, 2 ** 31 - 1);
  checkSignal(options.signal);
  if (options.deadLetterTopic !== undefined) getTopicState(state.store, options.deadLetterTopic);
  if (state.tracker !== undefined) {
    throw new TypeError("Cannot handle: another consumeEach of this consumer is under way");
  }
  if (state.polling !== undefined) {
    throw new TypeError("Cannot handle: a poll of this consumer is under way");
  }
}

function trackerOf(handling: Handling): HandlingTracker {
  const { lanes } = handling;
  const stored: HandlingTracker["stored"] = new WeakMap();
  return {
    stored,
    takeIn(records) {
      for (const record of records) {
        const { key } = stored.get(record) ?? record;
        addTask(lanes, nameOfPartition(record.topic, record.partition), record, key);
      }
      startTasks(lanes);
    },
    handledOf: ({ topic, partition, position }) =>
      oldestOffset(lanes, nameOfPartition(topic, partition)) ?? position,
    drain: (partitions) =>
      handling.state.phase === "closing" ? finishLanes(lanes) : drainLanes(
        lanes,
        partitions.map(({ topic, partition }) => nameOfPartition(topic, partition)),
      ),
    forget(partitions) {
      for (const { topic, partition } of partitions) {
        restartPartition(lanes, nameOfPartition(topic, partition));
      }
    },
    takeUndeserializable(record, error) {
      if (handling.options.deadLetterTopic === undefined) return false;
      handling.undeserializable.set(record, error);
      return true;
    },
    abandon: () => handling.stop.abort(),
  };
}

async function pollAndHandle(handling: Handling, tracker: HandlingTracker): Promise<void> {
  const { state, lanes, stop } = handling;
  const waitingMax = lanes.concurrency * waitingPerHandler;
  while (state.phase === "open" && !stop.signal.aborted) {
    const recordsMax = roomIn(lanes, waitingMax);
    // Without room a poll takes nothing, but gives up the partitions that its group wants.
    if (recordsMax > 0 || state.isReconcileDue) {
      await pollUntilStopped(handling, tracker, recordsMax);
    } else {
      await waitForNews(handling);
    }
  }
}

/** Waits until a handler is through, or the group wants something. */
async function waitForNews({ state, lanes }: Handling): Promise<void> {
  state.wake = () => wakeLanes(lanes);
  await nextEnd(lanes);
  state.wake = undefined;
}

async function pollUntilStopped(
  { state, stop }: Handling,
  tracker: HandlingTracker,
  recordsMax: number,
): Promise<void> {
  const { signal } = stop;
  try {
    await startPoll(state, { recordsMax, waitMs: Infinity, signal }, tracker);
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  }
}

/** Waits for what runs, puts the consumer back to what was not handled, and commits the rest. */
async function endHandling(handling: Handling): Promise<void> {
  const { state, lanes } = handling;
  await drainLanes(lanes, [...lanes.partitions.keys()]);
  if (state.phase !== "open") {
    await state.closing?.catch(() => {});
    state.tracker = undefined;
    return;
  }
  noteHandled(state);
  const offsets = isAutoCommitting(state) ? uncommittedHandled(state) : [];
  state.tracker = undefined;
  for (const entry of state.partitions) {
    if (entry.handled >= 0 && entry.handled < entry.position) {
      placeLater(state, entry, entry.handled);
    }
  }
  await saveOffsets(state, offsets).catch((error) => handling.failure ??= { error });
}

/** Handles a record, with retries, or sends it to the dead letter topic. */
async function handleTask(handling: Handling, { record, partition }: Task): Promise<boolean> {
  const { handler, options, stop, undeserializable } = handling;
  const { retriesMax = retriesMaxDefault } = options;
  if (stop.signal.aborted) return false;
  if (undeserializable.has(record)) {
    return await giveUpOn(handling, record, 0, undeserializable.get(record));
  }
  for (let attempt = 1;; attempt++) {
    try {
      await handler(record, { attempt, signal: stop.signal });
      return true;
    } catch (error) {
      // It may have failed because it was told to stop; then the record comes again.
      if (stop.signal.aborted) return false;
      if (attempt > retriesMax) return await giveUpOn(handling, record, attempt, error);
    }
    const isEnding = (): boolean => stop.signal.aborted || partition.isDraining;
    if (!isEnding()) await backOff(handling, attempt);
    if (isEnding()) return false;
  }
}

/** Waits before a retry. */
function backOff({ state, options, stop }: Handling, attempt: number): Promise<void> {
  const { backoffMs = backoffMsDefault, backoffMsMax = backoffMsMaxDefault } = options;
  const delayMs = Math.min(backoffMsMax, backoffMs * 2 ** Math.min(attempt - 1, 31));
  const { clock } = state.store;
  return new Promise((resolve) => {
    const end = (): void => {
      clock.stopTimer(timer);
      stop.signal.removeEventListener("abort", end);
      resolve();
    };
    const timer: Timer = clock.startTimer(end, delayMs, true);
    stop.signal.addEventListener("abort", end, { once: true });
  });
}

async function giveUpOn(
  handling: Handling,
  record: LogRecord<unknown, unknown>,
  attempts: number,
  error: unknown,
): Promise<boolean> {
  const { state, options, stop } = handling;
  try {
    if (options.deadLetterTopic === undefined) throw error;
    await sendDeadLetter(state, options.deadLetterTopic, record, attempts, error);
    return true;
  } catch (last) {
    handling.failure ??= { error: last };
    stop.abort(last);
    return false;
  }
}

async function sendDeadLetter(
  state: ConsumerState,
  topic: string,
  record: LogRecord<unknown, unknown>,
  attempts: number,
  error: unknown,
): Promise<void> {
  const { key, value } = state.tracker?.stored.get(record) ?? (record as StoredContent);
  const headers = deadLetterHeaders(state, record, attempts, error);
  // On disk before the commit that is behind the record, or a power cut could take both.
  const { ack } = state.options;
  try {
    const letter = { key, value, headers: [...record.headers, ...headers] };
    await append(state.handle, topic, letter, { ack });
  } catch (refusal) {
    if (!isTooLarge(refusal)) throw refusal;
    const omitted = { key: "dlt.omitted", value: textOfThrown(refusal) };
    await append(state.handle, topic, { headers: [...headers, omitted] }, { ack });
  }
}

function isTooLarge(error: unknown): boolean {
  return isOttlaError(error, "MESSAGE_TOO_LARGE") || isOttlaError(error, "RECORD_LIST_TOO_LARGE");
}

/** Where a record came from and why it is here. */
function deadLetterHeaders(
  { options }: ConsumerState,
  record: LogRecord<unknown, unknown>,
  attempts: number,
  error: unknown,
): HeaderInput[] {
  const { groupId } = options;
  const name = error instanceof Error ? textOfThrown(error.name) : typeof error;
  const code = error instanceof OttlaError ? [{ key: "dlt.error.code", value: error.code }] : [];
  return [
    { key: "dlt.topic", value: record.topic },
    { key: "dlt.partition", value: String(record.partition) },
    { key: "dlt.offset", value: String(record.offset) },
    { key: "dlt.timestamp", value: String(record.timestamp) },
    ...(groupId === undefined ? [] : [{ key: "dlt.group", value: groupId }]),
    { key: "dlt.attempts", value: String(attempts) },
    { key: "dlt.error.name", value: name.slice(0, errorTextMax) },
    ...code,
    { key: "dlt.error.message", value: textOfThrown(error).slice(0, errorTextMax) },
  ];
}
