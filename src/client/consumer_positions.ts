/** Where a consumer is, and moving it: seek, pause, resume, assign. */

import type { TopicPartition } from "../coordinator/topic_partition.ts";
import { isolatedEnd } from "../log/committed_reader.ts";
import { readableEnd } from "../log/log_reader.ts";
import { logOf } from "../store/partitions.ts";
import { getPartitionState, getTopicState } from "../store/store.ts";
import { checkNumber } from "../store/store_options.ts";
import { saveOffsets, uncommittedHandled } from "./consumer_commit.ts";
import { placeEntry } from "./consumer_fetch.ts";
import { checkPartitionList } from "./consumer_options.ts";
import { addEntries, partitionOf, placeUnplaced, removeEntries } from "./consumer_rebalance.ts";
import type { ConsumedPartition, Consumer, ConsumerState } from "./consumer_state.ts";
import {
  checkExists,
  getConsumed,
  isAutoCommitting,
  nameOfPartition,
  noteHandled,
  openState,
  stateOf,
  wakeConsumer,
} from "./consumer_state.ts";
import { offsetOfTime } from "./offsets.ts";

/**
 * Moves a consumer to another place in a partition; the next poll goes on from there.
 *
 * @param consumer The consumer.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @param to An offset, an end, or the first record of a time or later.
 * @throws TypeError or RangeError. OttlaError `ILLEGAL_GENERATION` if the partition is not the
 * consumer's, `OFFSET_OUT_OF_RANGE`, `HANDLE_CLOSED`.
 */
export function seek<K, V>(
  consumer: Consumer<K, V>,
  topic: string,
  partition: number,
  to: number | "earliest" | "latest" | Date,
): void {
  const state = openState(consumer);
  const entry = getConsumed(state, topic, partition, "seek in");
  placeEntry(state, entry, offsetOfSeek(state, entry, to));
  state.tracker?.forget([entry]);
  state.unplaced.delete(entry);
  wakeConsumer(state);
}

function offsetOfSeek(state: ConsumerState, entry: ConsumedPartition, to: unknown): number {
  const topic = getTopicState(state.store, entry.topic);
  const log = logOf(state.store, topic, getPartitionState(topic, entry.partition));
  if (to === "earliest") return log.startOffset;
  if (to === "latest") return isolatedEnd(log, state.options.isolation);
  if (to instanceof Date) {
    const time = to.getTime();
    if (Number.isNaN(time)) throw new RangeError("to is a Date without a time");
    return offsetOfTime(log, time) ?? readableEnd(log);
  }
  if (typeof to !== "number") {
    throw new TypeError(`to must be an offset, "earliest", "latest" or a Date, got ${String(to)}`);
  }
  checkNumber("to", to, 0, Number.MAX_SAFE_INTEGER);
  return to;
}

/**
 * Stops giving out records of partitions, which stay the consumer's.
 *
 * @param consumer The consumer.
 * @param partitions The partitions; all of its present ones unless given.
 * @throws TypeError, OttlaError `ILLEGAL_GENERATION` if one is not the consumer's, `HANDLE_CLOSED`.
 */
export function pause<K, V>(
  consumer: Consumer<K, V>,
  partitions?: readonly TopicPartition[],
): void {
  setPaused(openState(consumer), partitions, true);
}

/**
 * Gives out records of paused partitions again.
 *
 * @param consumer The consumer.
 * @param partitions The partitions; all of its present ones unless given.
 * @throws As `pause`.
 */
export function resume<K, V>(
  consumer: Consumer<K, V>,
  partitions?: readonly TopicPartition[],
): void {
  setPaused(openState(consumer), partitions, false);
}

function setPaused(
  state: ConsumerState,
  partitions: readonly TopicPartition[] | undefined,
  isPaused: boolean,
): void {
  if (partitions !== undefined) checkPartitionList("partitions", partitions);
  const entries = (partitions ?? state.partitions).map(({ topic, partition }) =>
    getConsumed(state, topic, partition, isPaused ? "pause" : "resume")
  );
  for (const entry of entries) entry.isPaused = isPaused;
  wakeConsumer(state);
}

/**
 * The partitions that a consumer has now.
 *
 * @param consumer The consumer, open or closed.
 * @returns The partitions, by topic and number.
 */
export function assignmentOf<K, V>(consumer: Consumer<K, V>): TopicPartition[] {
  return stateOf(consumer).partitions.map(partitionOf).sort((a, b) =>
    a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition
  );
}

/**
 * The next offset that a consumer will give out of a partition.
 *
 * @param consumer The consumer.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns The offset, or undefined if it is not known yet.
 * @throws OttlaError `ILLEGAL_GENERATION` if the partition is not the consumer's, `HANDLE_CLOSED`.
 */
export function positionOf<K, V>(
  consumer: Consumer<K, V>,
  topic: string,
  partition: number,
): number | undefined {
  const { position } = getConsumed(openState(consumer), topic, partition, "tell the position in");
  return position < 0 ? undefined : position;
}

/**
 * Gives a consumer that was opened with `partitions` others in their place; those it keeps go on
 * where they were. With `autoCommit`, what was handled of those it leaves is committed; that what
 * the last poll gave is handled shows only with the next one.
 *
 * @param consumer The consumer.
 * @param partitions Its partitions from now on.
 * @returns Resolves when their positions are known.
 * @throws TypeError or RangeError, or TypeError for a consumer that shares a group's topics.
 * OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `HANDLE_CLOSED`; what the commit or the offset store
 * throws, after the partitions are the consumer's.
 */
export async function assign<K, V>(
  consumer: Consumer<K, V>,
  partitions: readonly TopicPartition[],
): Promise<void> {
  const state = openState(consumer);
  checkPartitionList("partitions", partitions);
  if (state.member !== undefined) {
    throw new TypeError("Cannot assign partitions to a consumer of topics: its group does that");
  }
  for (const entry of partitions) checkExists(state.store, entry);
  const wanted = new Set(
    partitions.map(({ topic, partition }) => nameOfPartition(topic, partition)),
  );
  const left = state.partitions.filter(({ topic, partition }) =>
    !wanted.has(nameOfPartition(topic, partition))
  );
  if (state.tracker !== undefined) noteHandled(state);
  const saving = isAutoCommitting(state)
    ? saveOffsets(state, uncommittedHandled(state, left))
    : undefined;
  removeEntries(state, left);
  addEntries(state, partitions);
  wakeConsumer(state);
  try {
    await placeUnplaced(state);
    await saving;
  } finally {
    // A poll that waits has not seen them while they had no positions.
    wakeConsumer(state);
  }
}
