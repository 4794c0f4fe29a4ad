/**
 * What a topic is like, for whoever asks. A partition that cannot be opened is described by what is
 * recorded of it and by why: the others, and a change that was made, are told of all the same.
 */

import type { OttlaError } from "../errors.ts";
import { isOttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { Partitioner } from "./partitioner.ts";
import { logOf } from "./partitions.ts";
import type { PartitionState, StoreInternals, TopicState } from "./store.ts";
import type { TopicConfig } from "./topic_config.ts";

/** What a topic is like. */
export interface TopicDescription {
  readonly name: string;
  /** 22 characters. */
  readonly topicId: string;
  readonly partitions: readonly PartitionDescription[];
  /** Every setting, defaults included. */
  readonly config: TopicConfig;
  readonly partitioner: Partitioner | "custom";
}

/** What a partition is like. */
export interface PartitionDescription {
  readonly partition: number;
  readonly startOffset: number;
  readonly endOffset: number;
  readonly segmentCount: number;
  readonly sizeBytes: number;
  /**
   * Why the partition cannot be used; there only if it cannot. Its offsets are the start that was
   * last recorded then, its sizes 0.
   */
  readonly failure?: OttlaError;
}

/**
 * Describes a topic; its partitions are opened if they are not.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 * @returns What it is like now.
 */
export function descriptionOf(internals: StoreInternals, topic: TopicState): TopicDescription {
  return {
    name: topic.name,
    topicId: topic.topicId,
    config: topic.config,
    partitioner: internals.partitioners.get(topic.topicId) ?? internals.options.partitioner,
    partitions: topic.partitions.map((state) => describePartition(internals, topic, state)),
  };
}

function describePartition(
  internals: StoreInternals,
  topic: TopicState,
  state: PartitionState,
): PartitionDescription {
  const { partition, startOffset } = state;
  let log: Log;
  try {
    log = logOf(internals, topic, state);
  } catch (failure) {
    if (!isOttlaError(failure)) throw failure;
    const endOffset = startOffset;
    return { partition, startOffset, endOffset, segmentCount: 0, sizeBytes: 0, failure };
  }
  return {
    partition,
    startOffset: log.startOffset,
    endOffset: log.endOffset,
    segmentCount: log.segments.length,
    sizeBytes: log.segments.reduce((sum, segment) => sum + segment.sizeBytes, 0),
  };
}
