/**
 * Forgetting the offsets of topics that are gone, as Kafka does: those that were committed, those
 * that are being committed, and those of transactions that have not ended. Whatever is written of a
 * name later is of another topic.
 */

import type { StoreInternals } from "../store/store.ts";
import type { Group, PartitionOffset } from "./group.ts";
import { dropOffset } from "./group.ts";
import { writeOffsetTombstones } from "./group_change.ts";
import type { GroupLog } from "./group_log.ts";
import { isOffsetOfTopic } from "./group_offsets.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { topicPartitionName } from "./topic_partition.ts";

/**
 * Forgets the offsets of a group for topics that there are no more.
 *
 * @param log The log of the groups.
 * @param group The group.
 */
export function forgetGoneTopics(log: GroupLog, group: Group): void {
  const { store } = log;
  const gone = new Map<string, TopicPartition>();
  const note = ({ topic, partition }: TopicPartition): void =>
    void gone.set(topicPartitionName({ topic, partition }), { topic, partition });
  for (const entry of goneCommitted(store, group)) {
    dropOffset(group, entry.topic, entry.partition);
    note(entry);
  }
  for (const entry of group.offsetsUnderWay) {
    if (isOffsetOfTopic(store, entry.topic, entry.committed)) continue;
    // Its tombstone is written once: what comes behind may be of the next topic of the name.
    group.offsetsUnderWay.delete(entry);
    note(entry);
  }
  for (const entry of dropGonePending(store, group)) note(entry);
  if (gone.size === 0) return;
  for (const entry of stillThere(group)) gone.delete(topicPartitionName(entry));
  if (gone.size > 0) writeOffsetTombstones(log, group, [...gone.values()]);
}

function goneCommitted(store: StoreInternals, { offsets }: Group): TopicPartition[] {
  const gone: TopicPartition[] = [];
  for (const [topic, ofTopic] of offsets) {
    for (const [partition, committed] of ofTopic) {
      if (!isOffsetOfTopic(store, topic, committed)) gone.push({ topic, partition });
    }
  }
  return gone;
}

function dropGonePending(store: StoreInternals, { pendingOffsets }: Group): TopicPartition[] {
  const gone: TopicPartition[] = [];
  for (const [producerId, pending] of pendingOffsets) {
    const isKept = ({ topic, committed }: PartitionOffset): boolean =>
      isOffsetOfTopic(store, topic, committed);
    gone.push(...pending.filter((entry) => !isKept(entry)));
    const kept = pending.filter(isKept);
    if (kept.length > 0) pendingOffsets.set(producerId, kept);
    else pendingOffsets.delete(producerId);
  }
  return gone;
}

/** Partitions whose keys stand for offsets that count or may count: no tombstone may take them. */
function* stillThere(
  { offsets, offsetsUnderWay, pendingOffsets }: Group,
): Generator<TopicPartition> {
  for (const [topic, ofTopic] of offsets) {
    for (const partition of ofTopic.keys()) yield { topic, partition };
  }
  yield* offsetsUnderWay;
  for (const pending of pendingOffsets.values()) yield* pending;
}
