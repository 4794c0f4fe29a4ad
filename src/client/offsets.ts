/** The offsets of a topic's partitions, and the offset of a time. */

import type { Log } from "../log/log.ts";
import { findOffsetForTimestamp, readableEnd } from "../log/log_reader.ts";
import { lastStableOffset } from "../log/producer_append.ts";
import { logOf } from "../store/partitions.ts";
import type { Store } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { checkNumber } from "../store/store_options.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** Where a partition begins and ends. */
export interface PartitionOffsets {
  readonly topic: string;
  readonly partition: number;
  /** The first offset that can be read. */
  readonly startOffset: number;
  /** The offset that the next record gets. */
  readonly endOffset: number;
  /** Readers see what is below. */
  readonly highWatermark: number;
  /** Readers of committed transactions see what is below. */
  readonly lastStableOffset: number;
}

/**
 * The offsets of all partitions of a topic.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types.
 * @returns One entry a partition, in their order.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION`.
 */
export function offsetsOf(store: Store, topic: TopicArgument): PartitionOffsets[] {
  const internals = openInternals(store);
  const state = getTopicState(internals, nameOfTopic(topic));
  return state.partitions.map((partition) => {
    const log = logOf(internals, state, partition);
    const highWatermark = readableEnd(log);
    return {
      topic: state.name,
      partition: partition.partition,
      startOffset: log.startOffset,
      endOffset: log.endOffset,
      highWatermark,
      lastStableOffset: lastStableOffset(log),
    };
  });
}

/**
 * The offset of the first record of a time or later.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types.
 * @param partition The partition's number.
 * @param timestamp In milliseconds since the epoch, or a `Date`.
 * @returns The offset, or undefined if every record is older. Times may go back and forth: later
 * records may be older.
 * @throws TypeError or RangeError, OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `CORRUPT_MESSAGE`,
 * `KAFKA_STORAGE_ERROR`.
 */
export function offsetForTimestamp(
  store: Store,
  topic: TopicArgument,
  partition: number,
  timestamp: number | Date,
): number | undefined {
  const internals = openInternals(store);
  const state = getTopicState(internals, nameOfTopic(topic));
  const partitionState = getPartitionState(state, partition);
  const time = timestamp instanceof Date ? timestamp.getTime() : timestamp;
  checkNumber("timestamp", time, 0, Number.MAX_SAFE_INTEGER);
  return offsetOfTime(logOf(internals, state, partitionState), time);
}

/**
 * As `offsetForTimestamp`, in a log.
 *
 * @param log The log.
 * @param time In milliseconds since the epoch.
 * @returns The offset, or undefined if every record is older.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the log cannot be read, `CORRUPT_MESSAGE`.
 */
export function offsetOfTime(log: Log, time: number): number | undefined {
  try {
    return findOffsetForTimestamp(log, time)?.offset;
  } catch (error) {
    const { topic, partition } = log.source;
    throw asStorageError(`find a time in ${topic}-${partition}`, error);
  }
}
