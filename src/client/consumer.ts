/**
 * Consumers: they read the partitions that their group gives them, or those they were told, and
 * commit how far they have come.
 *
 * In one process a member of a group is there as long as its handle is open: no heartbeat, no session
 * that times out. A partition moves when its owner next polls, waits in a poll, or closes.
 */

import type { GroupCoordinator } from "../coordinator/group_coordinator.ts";
import { getOrCreateGroup, groupCoordinator } from "../coordinator/group_coordinator.ts";
import { warn } from "../platform/warning.ts";
import type { LogRecord } from "../record/record.ts";
import type { Store } from "../store/store.ts";
import { openInternals } from "../store/store.ts";
import {
  checkedOffsets,
  noteCommitted,
  saveOffsets,
  uncommitted,
  uncommittedHandled,
} from "./consumer_commit.ts";
import type { ConsumedOffset, ConsumerOptions, PollOptions } from "./consumer_options.ts";
import { checkConsumerOptions, checkPollOptions } from "./consumer_options.ts";
import { openPartitions, recordIterator, startPoll } from "./consumer_poll.ts";
import { addEntries, joinGroup, leaveGroup } from "./consumer_rebalance.ts";
import type { Consumer, ConsumerState } from "./consumer_state.ts";
import { checkExists, noteHandled, openState, stateOf, wakeConsumer } from "./consumer_state.ts";
import { throwAll } from "./throw_all.ts";

const noPollOptions: PollOptions = {};
/** After how long a closing that waits for the user's functions says so. */
const closingWarnMs = 30_000;

/**
 * Opens a consumer. It joins its group and takes the partitions that are free; it never waits for
 * other members.
 *
 * @param store The store.
 * @param options Its group and topics, or its partitions.
 * @returns Resolves with the consumer. It must be closed with `closeConsumer`, or be declared with
 * `await using`; `closeStore` closes those that are open.
 * @throws TypeError or RangeError for options of the wrong kind. OttlaError `INVALID_GROUP_ID`,
 * `INCONSISTENT_GROUP_PROTOCOL`, and for given partitions `UNKNOWN_TOPIC_OR_PARTITION`.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, openConsumer, openStore, poll } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "orders");
 * const consumer = await openConsumer(store, { groupId: "billing", topics: ["orders"] });
 * await append(store, "orders", { value: "3 apples" });
 * for (const { offset } of await poll(consumer)) console.log(offset);
 * await closeStore(store);
 * ```
 */
export async function openConsumer<K = Uint8Array | null, V = Uint8Array | null>(
  store: Store,
  options: ConsumerOptions<K, V>,
): Promise<Consumer<K, V>> {
  const internals = openInternals(store);
  const untyped = options as unknown as ConsumerOptions<unknown, unknown>;
  checkConsumerOptions(untyped);
  for (const entry of options.partitions ?? []) checkExists(internals, entry);
  const { groupId } = options;
  const coordinator = groupId === undefined ? undefined : await groupCoordinator(internals);
  openInternals(store);
  const state = consumerState(store, untyped, coordinator);
  joinGroup(state);
  if (state.group !== undefined) state.group.holderCount++;
  if (options.partitions !== undefined) addEntries(state, options.partitions);
  const consumer = consumerHandle<K, V>(state);
  const close = (): Promise<void> => closeState(state);
  const abandon = (): void => abandonState(state);
  internals.closers.add(close);
  internals.abandoners.add(abandon);
  state.onClosed = () => {
    internals.closers.delete(close);
    internals.abandoners.delete(abandon);
    if (state.group !== undefined) state.group.holderCount--;
  };
  try {
    await openPartitions(state);
  } catch (error) {
    const errors = [error];
    await closeState(state).catch((closingError) => errors.push(closingError));
    throwAll(errors);
  }
  return consumer;
}

function consumerState(
  handle: Store,
  options: ConsumerOptions<unknown, unknown>,
  coordinator: GroupCoordinator | undefined,
): ConsumerState {
  const store = openInternals(handle);
  const { groupId } = options;
  return {
    handle,
    store,
    options,
    coordinator,
    group: coordinator && groupId !== undefined
      ? getOrCreateGroup(coordinator, groupId)
      : undefined,
    member: undefined,
    partitions: [],
    byName: new Map(),
    current: 0,
    unplaced: new Set(),
    isReconcileDue: false,
    isInHand: false,
    failures: new Map(),
    polling: undefined,
    wake: undefined,
    saving: new Set(),
    isAutoSaving: false,
    tracker: undefined,
    lastAutoCommitMs: store.clock.now(),
    bytesSinceTurn: 0,
    phase: "open",
    closing: undefined,
    onClosed: undefined,
  };
}

function consumerHandle<K, V>(state: ConsumerState): Consumer<K, V> {
  const consumer: Consumer<K, V> = {
    groupId: state.options.groupId,
    internals: state,
    [Symbol.asyncDispose]: () => closeState(state),
    [Symbol.asyncIterator]: () => recordIterator<K, V>(state),
  };
  return consumer;
}

/**
 * Gives the next records, waiting for some if there are none. Whatever earlier polls gave counts as
 * handled from now on, and is what `autoCommit` commits.
 *
 * @param consumer The consumer.
 * @param options How many, and how long to wait.
 * @returns Resolves with the records, in order within each partition; with none if the time is over.
 * While it waits the process stays alive.
 * @throws TypeError or RangeError, or TypeError if another poll is under way. OttlaError
 * `HANDLE_CLOSED`, `NO_OFFSET_FOR_PARTITION`, `OFFSET_OUT_OF_RANGE` if there is to be no reset,
 * `KAFKA_STORAGE_ERROR`, `FENCED_INSTANCE_ID`. `CORRUPT_MESSAGE` for a batch that is damaged,
 * `CODEC_MISSING` or `UNSUPPORTED_COMPRESSION_TYPE` for one that cannot be decompressed, with
 * `startOffset` and `endOffset`, `INVALID_RECORD` with `offset` if a serde failed: the consumer
 * stays in front of these and later polls try again, until it is moved with `seek`. What a listener,
 * an assignor or a commit threw while partitions moved, an `AggregateError` if several did; the
 * signal's reason.
 */
export async function poll<K, V>(
  consumer: Consumer<K, V>,
  options: PollOptions = noPollOptions,
): Promise<LogRecord<K, V>[]> {
  const state = openState(consumer);
  checkPollOptions(options);
  options.signal?.throwIfAborted();
  const records = await startPoll(state, options);
  state.isInHand = false;
  return records as LogRecord<K, V>[];
}

/**
 * Commits how far the consumer has come.
 *
 * @param consumer The consumer.
 * @param offsets What to commit: the next offset to be consumed of each partition. Unless given,
 * everything that was given out so far, or, while `consumeEach` is at work, that was handled.
 * @returns Resolves when it is durable. Commits that are not awaited keep their order.
 * @throws TypeError or RangeError. OttlaError `ILLEGAL_GENERATION` for a partition that is not the
 * consumer's, `OFFSET_OUT_OF_RANGE` beyond the end of the log, `OFFSET_METADATA_TOO_LARGE`,
 * `INVALID_GROUP_ID` if it has neither group nor offset store, `DISK_FULL`, `KAFKA_STORAGE_ERROR`,
 * `HANDLE_CLOSED`; what the offset store throws.
 */
export async function commit<K, V>(
  consumer: Consumer<K, V>,
  offsets?: readonly ConsumedOffset[],
): Promise<void> {
  const state = openState(consumer);
  const checked = checkedOffsets(state, offsets ?? offsetsGivenOut(state));
  noteCommitted(state, checked);
  await saveOffsets(state, checked);
}

function offsetsGivenOut(state: ConsumerState): ConsumedOffset[] {
  if (state.tracker !== undefined) {
    noteHandled(state);
    return uncommittedHandled(state);
  }
  // What a poll under way has found nobody has got yet.
  return uncommitted(state.partitions, state.polling === undefined ? "position" : "handled");
}

/**
 * Ends a consumer: a poll that waits gets nothing, what was given out is committed if `autoCommit`
 * is on, `onRevoked` is awaited, and the partitions go to the other members at once. Of an iteration
 * that was left in the middle, the last record does not count as handled, nor does what a poll had
 * found that was under way.
 *
 * @param consumer The consumer. Closing it twice is fine. A listener or a handler must not wait for
 * it, for it waits for them; after 30 seconds a warning says so.
 * @returns Resolves when all is done.
 * @throws What the last commit or a listener threw, an `AggregateError` if several did; the consumer
 * is closed all the same.
 */
export function closeConsumer<K, V>(consumer: Consumer<K, V>): Promise<void> {
  return closeState(stateOf(consumer));
}

function closeState(state: ConsumerState): Promise<void> {
  state.closing ??= endState(state);
  return state.closing;
}

async function endState(state: ConsumerState): Promise<void> {
  if (state.phase === "closed") return;
  const { clock } = state.store;
  const timer = clock.startTimer(() => warnOfClosing(state), closingWarnMs);
  state.phase = "closing";
  wakeConsumer(state);
  const found = await state.polling?.catch(() => undefined);
  // Who polled gets it only now.
  if (found !== undefined && found.length > 0) state.isInHand = true;
  try {
    await leaveGroup(state);
  } finally {
    clock.stopTimer(timer);
    state.phase = "closed";
    state.onClosed?.();
  }
}

function warnOfClosing({ options }: ConsumerState): void {
  const name = options.groupId === undefined ? "without a group" : `of group ${options.groupId}`;
  warn(
    `closeConsumer has waited ${closingWarnMs / 1000} seconds for a consumer ${name}`,
    "its handlers, its listeners or its commits are not through; none of them may wait for " +
      "closeConsumer or closeStore, which wait for them",
  );
}

/** The store was abandoned, as by a crash: nothing is written any more. */
function abandonState(state: ConsumerState): void {
  if (state.phase === "closed") return;
  state.phase = "closed";
  wakeConsumer(state);
  state.tracker?.abandon();
}
