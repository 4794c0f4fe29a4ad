/**
 * A group: who is in it now, and what `__consumer_offsets` says of it.
 *
 * Its members live in this process and are written nowhere: when the process ends they are gone. Its
 * offsets and its generation outlive them.
 */

import type { GroupKey } from "./group_records.ts";
import type { Membership } from "./membership.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { compareTopicPartitions } from "./topic_partition.ts";

/** The offset from which a group goes on in a partition. */
export interface CommittedOffset {
  /** The next one to be read. */
  readonly offset: number;
  /** The leader epoch of the record before it, or -1 if that is not known. */
  readonly leaderEpoch: number;
  /** What the committer noted with it. */
  readonly metadata: string;
  /** When it was committed, in milliseconds since the epoch. */
  readonly commitTimestamp: number;
  /** When it is to be forgotten, or -1 if the store's retention decides. */
  readonly expireTimestamp: number;
  /**
   * Of the topic that it was committed for, or the id of zeros if that is not known: a topic that
   * was deleted and made again is another one.
   */
  readonly topicId: string;
  /** Of the record in `__consumer_offsets` that says so: of two commits the later one counts. */
  readonly recordOffset: number;
}

/** A partition and the offset that was committed for it. */
export interface PartitionOffset extends TopicPartition {
  readonly committed: CommittedOffset;
}

/** A partition and the offset that is being committed for it. */
export interface OffsetUnderWay extends TopicPartition {
  readonly committed: Omit<CommittedOffset, "recordOffset">;
}

/** What the log says of a group. */
export interface GroupContent {
  readonly groupId: string;
  /** By topic and partition. */
  readonly offsets: Map<string, Map<number, CommittedOffset>>;
  /**
   * Of transactions that a broker has not ended, by the id of their producer: they count when it
   * does.
   */
  readonly pendingOffsets: Map<number, PartitionOffset[]>;
  /**
   * What a broker has written of the group's members under the consumer protocol (KIP-848): keys
   * that must be taken back before the group is somebody else's.
   */
  readonly brokerKeys: Map<string, GroupKey>;
  /** Whether there is a GroupMetadata record of it. */
  hasMetadata: boolean;
  /** "consumer" once it had members; null for a group that only commits. */
  protocolType: string | null;
  /** Since when it has no members, in milliseconds since the epoch. */
  emptySinceMs: number;
}

/** A group of an open store. */
export interface Group extends GroupContent {
  readonly membership: Membership;
  /** How many consumers have it in their hands, members or not. */
  holderCount: number;
  /** Whether its GroupMetadata record is behind what is true. */
  isMetadataDue: boolean;
  /** Offsets that are gone and whose tombstones could not be written yet. */
  dueTombstones: TopicPartition[];
  /** In the log, and not true yet. */
  readonly offsetsUnderWay: Set<OffsetUnderWay>;
  /** The last change on its way to its level; changes count in the order of their records. */
  lastChange: Promise<void> | undefined;
  /** The last commit that waits for what was consumed to be on disk; those behind it wait too. */
  commitTurn: Promise<void> | undefined;
  /** Resolves when no commit from outside is under way; consumers begin behind it. */
  outsideCommits: Promise<void> | undefined;
}

/**
 * What is known of a group before anything was read.
 *
 * @param groupId The group's id.
 * @param now The present time.
 * @returns A group without offsets.
 */
export function groupContent(groupId: string, now: number): GroupContent {
  return {
    groupId,
    offsets: new Map(),
    pendingOffsets: new Map(),
    brokerKeys: new Map(),
    hasMetadata: false,
    protocolType: null,
    emptySinceMs: now,
  };
}

/**
 * Tells whether there is anything of a group, in the log or alive. One that was only asked for is as
 * good as none.
 *
 * @param group The group.
 * @returns True if there is.
 */
export function isGroupInUse(group: Group): boolean {
  return hasMembers(group) || hasContent(group);
}

/** Whether there is anything of a group in the log. */
export function hasContent(content: GroupContent): boolean {
  const { hasMetadata, offsets, brokerKeys, pendingOffsets } = content;
  return hasMetadata || offsets.size > 0 || brokerKeys.size > 0 || pendingOffsets.size > 0;
}

/** Whether a group has members now. */
export function hasMembers({ membership }: Group): boolean {
  return membership.members.size > 0;
}

/** Whether somebody reads for a group now; a place that is kept for a member is nobody. */
export function hasActiveMembers({ membership }: Group): boolean {
  for (const { state } of membership.members.values()) if (state === "active") return true;
  return false;
}

/**
 * Notes an offset, if none was committed behind it.
 *
 * @param group The group.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @param committed The offset.
 */
export function putOffset(
  group: GroupContent,
  topic: string,
  partition: number,
  committed: CommittedOffset,
): void {
  let ofTopic = group.offsets.get(topic);
  if (ofTopic === undefined) group.offsets.set(topic, ofTopic = new Map());
  const before = ofTopic.get(partition);
  if (before !== undefined && before.recordOffset > committed.recordOffset) return;
  ofTopic.set(partition, committed);
}

/**
 * Forgets an offset.
 *
 * @param group The group.
 * @param topic The topic's name.
 * @param partition The partition's number.
 */
export function dropOffset(group: GroupContent, topic: string, partition: number): void {
  const ofTopic = group.offsets.get(topic);
  if (ofTopic === undefined) return;
  ofTopic.delete(partition);
  if (ofTopic.size === 0) group.offsets.delete(topic);
}

/**
 * The partitions that a group has offsets of.
 *
 * @param group The group.
 * @returns Them with their offsets, by topic and partition.
 */
export function offsetsInOrder(group: GroupContent): PartitionOffset[] {
  const all = [...group.offsets].flatMap(([topic, ofTopic]) =>
    [...ofTopic].map(([partition, committed]) => ({ topic, partition, committed }))
  );
  return all.sort(compareTopicPartitions);
}
