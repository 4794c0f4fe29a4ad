/** One partition of one topic, as groups name it, and the order in which groups list partitions. */

/** One partition of one topic. */
export interface TopicPartition {
  /** The topic's name. */
  readonly topic: string;
  /** The partition's number. */
  readonly partition: number;
}

/**
 * Compares two texts by their UTF-16 code units, as Java does: every assignor sorts with it.
 *
 * @param left A text.
 * @param right Another one.
 * @returns Less than zero, zero, or more than zero.
 */
export function compareText(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/**
 * Compares two partitions by topic, then by number.
 *
 * @param left A partition.
 * @param right Another one.
 * @returns Less than zero, zero, or more than zero.
 */
export function compareTopicPartitions(left: TopicPartition, right: TopicPartition): number {
  return compareText(left.topic, right.topic) || left.partition - right.partition;
}

/**
 * Gives the name of a partition, as it stands in messages; no two partitions share one.
 *
 * @param partition The partition.
 * @returns For example `orders-3`.
 */
export function topicPartitionName({ topic, partition }: TopicPartition): string {
  return `${topic}-${partition}`;
}
