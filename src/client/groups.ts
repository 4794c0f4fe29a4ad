/**
 * Groups from outside: what they have committed, how far behind they are, who is in them, and
 * changing that while nobody reads for them.
 */

import { assignorName } from "../coordinator/assignor.ts";
import { hasActiveMembers, isGroupInUse, offsetsInOrder } from "../coordinator/group.ts";
import type { Group } from "../coordinator/group.ts";
import { findGroup, getOrCreateGroup, groupCoordinator } from "../coordinator/group_coordinator.ts";
import { deleteGroupOf, getGroup } from "../coordinator/group_deletion.ts";
import type { OffsetCommit } from "../coordinator/group_offsets.ts";
import { commitFromOutside, committedOffsetOf } from "../coordinator/group_offsets.ts";
import type { Member, MembershipState } from "../coordinator/membership.ts";
import { ownedPartitions, ownerOf, stateOf } from "../coordinator/membership.ts";
import { countPartitions } from "../coordinator/subscription.ts";
import type { TopicPartition } from "../coordinator/topic_partition.ts";
import {
  compareText,
  compareTopicPartitions,
  topicPartitionName,
} from "../coordinator/topic_partition.ts";
import { OttlaError } from "../errors.ts";
import type { Ack } from "../log/log.ts";
import { readableEnd } from "../log/log_reader.ts";
import { lastStableOffset } from "../log/producer_append.ts";
import { hasFolder, logOf } from "../store/partitions.ts";
import type { Store, StoreInternals } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { checkAck, checkNumber, checkObject, checkWholeNumber } from "../store/store_options.ts";
import type { ConsumedOffset } from "./consumer_options.ts";
import { checkPartitionList } from "./consumer_options.ts";

/** How to commit. */
export interface CommitOptions {
  /** What to wait for; the store's level unless given. */
  readonly ack?: Ack | undefined;
}

/** An offset that a group has committed. */
export interface GroupOffset extends TopicPartition {
  /** The next offset to be consumed. */
  readonly offset: number;
  /** The leader epoch of the record before it, or -1 if it is not known. */
  readonly leaderEpoch: number;
  /** What the committer noted with it. */
  readonly metadata: string;
  /** When it was committed, in milliseconds since the epoch. */
  readonly commitTimestamp: number;
}

/** A group in a list. */
export interface GroupListing {
  readonly groupId: string;
  /** "Empty" if nobody reads for it. */
  readonly state: MembershipState;
  /** "consumer", or null for a group that only commits offsets. */
  readonly protocolType: string | null;
}

/** What a group is like. */
export interface GroupDescription extends GroupListing {
  /** The name of the assignor of its members; undefined without members. */
  readonly assignor: string | undefined;
  /** Grows with every change of its members or topics. */
  readonly generation: number;
  /** By member id. */
  readonly members: readonly MemberDescription[];
  /** Partitions of the topics that its members subscribe to, and which none of them owns now. */
  readonly partitionsWithoutOwner: readonly TopicPartition[];
}

/** What a member of a group is like. */
export interface MemberDescription {
  readonly memberId: string;
  /** The name under which a static member comes back. */
  readonly instanceId: string | undefined;
  readonly clientId: string;
  /** False for a static member that has left and whose place is kept. */
  readonly isActive: boolean;
  /** The topics that it subscribes to. */
  readonly topics: readonly string[];
  /** The partitions that it owns. */
  readonly partitions: readonly TopicPartition[];
}

/** How far a group is behind in a partition. */
export interface PartitionLag extends TopicPartition {
  /** Undefined if nothing was committed. */
  readonly committedOffset: number | undefined;
  /** Where the records end that committed transactions allow to be read. */
  readonly endOffset: number;
  /** How many offsets lie between the two; undefined if nothing was committed. */
  readonly lag: number | undefined;
  /** The id of the member that reads the partition. */
  readonly owner: string | undefined;
}

const noCommitOptions: CommitOptions = {};

/**
 * Commits offsets of a group that nobody reads for: all of them, or none if one cannot be.
 *
 * @param store The store.
 * @param groupId The group; it need not exist.
 * @param offsets The next offset to be consumed of each partition.
 * @param options What to wait for.
 * @returns Resolves when the commit has reached its level.
 * @throws TypeError or RangeError. OttlaError `UNKNOWN_MEMBER_ID` if the group has members, for whom
 * `commit` is, `INVALID_GROUP_ID`, `UNKNOWN_TOPIC_OR_PARTITION`, `OFFSET_OUT_OF_RANGE` beyond the
 * end of the log, `OFFSET_METADATA_TOO_LARGE`, `DISK_FULL`, `KAFKA_STORAGE_ERROR`.
 * @example
 * ```ts
 * import { append, closeStore, commitOffsets, createTopic, openStore } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "orders");
 * const { offset } = await append(store, "orders", { value: "3 apples" });
 * await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset: offset + 1 }]);
 * await closeStore(store);
 * ```
 */
export async function commitOffsets(
  store: Store,
  groupId: string,
  offsets: readonly ConsumedOffset[],
  options: CommitOptions = noCommitOptions,
): Promise<void> {
  const internals = openInternals(store);
  checkObject("options", options);
  const { ack = internals.options.ack } = options;
  checkAck(ack);
  const checked = checkedOffsets(offsets);
  const coordinator = await groupCoordinator(internals);
  const group = getOrCreateGroup(coordinator, groupId);
  checkNoMembers(group);
  await commitFromOutside(coordinator, group, checked, ack);
}

/**
 * The offsets that a group has committed.
 *
 * @param store The store.
 * @param groupId The group.
 * @returns Resolves with the offsets by topic and partition; none for a group that there is not.
 * @throws TypeError. OttlaError `INVALID_GROUP_ID`, or what keeps the groups from being read.
 */
export async function committedOffsets(store: Store, groupId: string): Promise<GroupOffset[]> {
  const coordinator = await groupCoordinator(openInternals(store));
  const group = findGroup(coordinator, groupId);
  if (group === undefined) return [];
  return offsetsInOrder(group).map(({ topic, partition, committed }) => {
    const { offset, leaderEpoch, metadata, commitTimestamp } = committed;
    return { topic, partition, offset, leaderEpoch, metadata, commitTimestamp };
  });
}

/**
 * All groups: those that have members, and those of which something was committed.
 *
 * @param store The store.
 * @returns Resolves with the groups by id.
 * @throws OttlaError `HANDLE_CLOSED`.
 */
export async function listGroups(store: Store): Promise<GroupListing[]> {
  const { groups } = await groupCoordinator(openInternals(store));
  return [...groups.values()].filter(isGroupInUse).map(listingOf)
    .sort((a, b) => compareText(a.groupId, b.groupId));
}

/**
 * What a group is like: its state, its members and what they own.
 *
 * @param store The store.
 * @param groupId The group.
 * @returns Resolves with the description.
 * @throws TypeError. OttlaError `GROUP_ID_NOT_FOUND`, `INVALID_GROUP_ID`.
 */
export async function describeGroup(store: Store, groupId: string): Promise<GroupDescription> {
  const coordinator = await groupCoordinator(openInternals(store));
  const group = getGroup(coordinator, groupId, "describe");
  const { membership } = group;
  const [first] = membership.members.values();
  return {
    ...listingOf(group),
    assignor: first && assignorName(first.assignor),
    generation: membership.generation,
    members: [...membership.members.values()].map(describeMember)
      .sort((a, b) => compareText(a.memberId, b.memberId)),
    partitionsWithoutOwner: subscribedPartitions(group).filter(({ topic, partition }) =>
      ownerOf(membership, topic, partition) === undefined
    ),
  };
}

/**
 * Deletes a group that nobody reads for, with all of its offsets.
 *
 * @param store The store.
 * @param groupId The group.
 * @returns Resolves when the deletion is on disk.
 * @throws TypeError. OttlaError `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`, `INVALID_GROUP_ID`,
 * `DISK_FULL`, `KAFKA_STORAGE_ERROR`; then nothing is deleted.
 */
export async function deleteGroup(store: Store, groupId: string): Promise<void> {
  await deleteGroupOf(await groupCoordinator(openInternals(store)), groupId);
}

/**
 * How far a group is behind, in every partition that it has committed an offset of or subscribes to.
 *
 * @param store The store.
 * @param groupId The group.
 * @returns Resolves with one entry a partition, in order; none for a group that there is not.
 * @throws TypeError. OttlaError `INVALID_GROUP_ID`, or if a log cannot be read.
 */
export async function groupLag(store: Store, groupId: string): Promise<PartitionLag[]> {
  const internals = openInternals(store);
  const coordinator = await groupCoordinator(internals);
  const group = findGroup(coordinator, groupId);
  if (group === undefined) return [];
  const partitions = new Map<string, TopicPartition>();
  for (const { topic, partition } of [...offsetsInOrder(group), ...subscribedPartitions(group)]) {
    const entry = { topic, partition };
    // Offsets of partitions that there are not may have been committed elsewhere.
    if (internals.topics.get(topic)?.partitions[partition] === undefined) continue;
    partitions.set(topicPartitionName(entry), entry);
  }
  return [...partitions.values()].sort(compareTopicPartitions).map(({ topic, partition }) => {
    const committedOffset = committedOffsetOf(group, topic, partition)?.offset;
    const endOffset = stableEndOf(internals, topic, partition);
    return {
      topic,
      partition,
      committedOffset,
      endOffset,
      lag: committedOffset === undefined ? undefined : Math.max(0, endOffset - committedOffset),
      owner: ownerOf(group.membership, topic, partition)?.memberId,
    };
  });
}

/** Looking at a partition that was never used leaves no folder. */
function stableEndOf(internals: StoreInternals, topicName: string, partition: number): number {
  const topic = getTopicState(internals, topicName);
  const state = getPartitionState(topic, partition);
  if (!hasFolder(internals, state)) return state.startOffset;
  const log = logOf(internals, topic, state);
  return Math.min(readableEnd(log), lastStableOffset(log));
}

function subscribedPartitions({ membership }: Group): TopicPartition[] {
  return [...countPartitions(membership)].flatMap(([topic, count]) =>
    Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  );
}

function listingOf(group: Group): GroupListing {
  const { groupId, membership, protocolType } = group;
  return {
    groupId,
    state: hasActiveMembers(group) ? stateOf(membership) : "Empty",
    protocolType,
  };
}

function describeMember(member: Member): MemberDescription {
  const { memberId, instanceId, clientId, state, subscription } = member;
  return {
    memberId,
    instanceId,
    clientId,
    isActive: state === "active",
    topics: subscription.topics,
    partitions: ownedPartitions(member),
  };
}

/** The offsets of the call: what the caller changes while the groups are read does not count. */
function checkedOffsets(offsets: unknown): OffsetCommit[] {
  checkPartitionList("offsets", offsets);
  return offsets.map((entry) => {
    const { topic, partition, offset, metadata, leaderEpoch } = entry as OffsetCommit;
    checkNumber("offsets[].offset", offset, 0, Number.MAX_SAFE_INTEGER);
    if (metadata !== undefined && typeof metadata !== "string") {
      throw new TypeError(`offsets[].metadata must be a string, got ${typeof metadata}`);
    }
    checkWholeNumber("offsets[].leaderEpoch", leaderEpoch, -1, 2 ** 31 - 1);
    return { topic, partition, offset, metadata, leaderEpoch };
  });
}

function checkNoMembers(group: Group): void {
  if (!hasActiveMembers(group)) return;
  const { groupId, membership } = group;
  throw new OttlaError(
    "UNKNOWN_MEMBER_ID",
    `Cannot commit offsets of group ${groupId} from outside: it has ${membership.members.size} ` +
      `members, who commit for themselves`,
    { details: { groupId, memberCount: membership.members.size } },
  );
}
