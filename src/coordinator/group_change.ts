/**
 * Changes of a group: written to its log, and true when they have reached their level, in the order
 * in which they lie in the log.
 *
 * With the change that somebody waits for goes what is due of the group: its GroupMetadata, and
 * tombstones that could not be written before.
 */

import type { Ack } from "../log/log.ts";
import { isOttlaError } from "../errors.ts";
import type { Group } from "./group.ts";
import { hasMembers } from "./group.ts";
import type { AppendedRecords, GroupLog } from "./group_log.ts";
import { appendGroupRecords, findOffsetsTopic } from "./group_log.ts";
import type { GroupKey, GroupRecord } from "./group_records.ts";
import type { TopicPartition } from "./topic_partition.ts";

/** Generations are signed 32-bit numbers on disk. */
const generationMax = 0x7fff_ffff;

/** The newest version that Kafka writes. */
const metadataVersion = 3;

/**
 * The order in which Kafka takes back what it keeps of a group under the consumer protocol: a
 * member goes before its group, what it was assigned before the member.
 */
const brokerKeyOrder: readonly GroupKey["type"][] = [
  "ConsumerGroupCurrentMemberAssignment",
  "ConsumerGroupTargetAssignmentMember",
  "ConsumerGroupTargetAssignmentMetadata",
  "ConsumerGroupMemberMetadata",
  "ConsumerGroupPartitionMetadata",
  "ConsumerGroupRegularExpression",
  "ConsumerGroupMetadata",
];

/**
 * Writes records of a group, and what is due of it before them.
 *
 * @param log The log; the topic must exist.
 * @param group The group.
 * @param records The records.
 * @param ack The level that they are to reach.
 * @param apply Called when they have reached it and all changes before them have been applied or
 * have failed, with the offset of the first of the records.
 * @returns Resolves then.
 * @throws OttlaError as `appendGroupRecords`; nothing has changed then.
 */
export function changeGroup(
  log: GroupLog,
  group: Group,
  records: readonly GroupRecord[],
  ack: Ack,
  apply: (baseOffset: number) => void,
): Promise<void> {
  const due = dueRecords(group);
  if (due.length + records.length === 0) return Promise.resolve();
  const appended = appendGroupRecords(log, group.groupId, [...due, ...records], ack);
  noteDueWritten(group);
  return applyInOrder(group, appended, () => apply(appended.baseOffset + due.length));
}

/**
 * Writes what is due of a group, if there is a topic to write it to. Nobody waits for it: what a
 * full or failing disk does not take stays due.
 *
 * @param log The log.
 * @param group The group.
 */
export function writeDue(log: GroupLog, group: Group): void {
  writeUnwaited(log, group, []);
}

/**
 * Takes offsets back that have been forgotten. Nobody waits for it: what a full or failing disk does
 * not take stays due.
 *
 * @param log The log.
 * @param group The group.
 * @param partitions Whose offsets.
 */
export function writeOffsetTombstones(
  log: GroupLog,
  group: Group,
  partitions: readonly TopicPartition[],
): void {
  group.dueTombstones = [...group.dueTombstones, ...partitions];
  writeUnwaited(log, group, []);
}

/**
 * Writes records of a group at the level "os" that nobody waits for.
 *
 * @param log The log.
 * @param group The group.
 * @param records The records.
 * @returns False if the disk did not take them.
 */
export function writeUnwaited(
  log: GroupLog,
  group: Group,
  records: readonly GroupRecord[],
): boolean {
  const { store } = log;
  if (store.state !== "open" || !store.lock.isHeld) return false;
  if (findOffsetsTopic(store) === undefined) return false;
  const all = [...dueRecords(group), ...records];
  if (all.length === 0) return true;
  try {
    appendGroupRecords(log, group.groupId, all, "os");
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    return false;
  }
  noteDueWritten(group);
  return true;
}

/**
 * The tombstones of what is in the log of a group beside its offsets.
 *
 * @param group The group.
 * @returns The records, in the order in which Kafka would write them.
 */
export function groupTombstones({ groupId, brokerKeys, hasMetadata }: Group): GroupRecord[] {
  const keys = [...brokerKeys.values()].sort((a, b) =>
    brokerKeyOrder.indexOf(a.type) - brokerKeyOrder.indexOf(b.type)
  );
  if (hasMetadata) keys.push({ type: "GroupMetadata", group: groupId });
  return keys.map(tombstone);
}

/**
 * The tombstone of a committed offset.
 *
 * @param groupId The group.
 * @param partition The partition that it was committed for.
 * @returns The record.
 */
export function offsetTombstone(
  groupId: string,
  { topic, partition }: TopicPartition,
): GroupRecord {
  return tombstone({ type: "OffsetCommit", group: groupId, topic, partition });
}

function tombstone(key: GroupKey): GroupRecord {
  return { key, value: null } as GroupRecord;
}

function dueRecords(group: Group): GroupRecord[] {
  const { groupId, dueTombstones, isMetadataDue } = group;
  const records = dueTombstones.map((partition) => offsetTombstone(groupId, partition));
  if (!isMetadataDue) return records;
  // The members that a broker knew are gone; a group of members of ours is a classic one to it.
  const taken = groupTombstones({ ...group, hasMetadata: false });
  return [...records, ...taken, metadataRecord(group)];
}

/**
 * What the log is to say of a group of consumers. Who its members are is not in it. While it has
 * some it was empty at no time that is known, so that a crash does not let its offsets expire.
 */
function metadataRecord(group: Group): GroupRecord {
  const { groupId, membership, emptySinceMs, protocolType } = group;
  return {
    key: { type: "GroupMetadata", group: groupId },
    value: {
      version: metadataVersion,
      protocolType: protocolType ?? "consumer",
      generation: Math.min(membership.generation, generationMax),
      protocol: null,
      leader: null,
      currentStateTimestamp: hasMembers(group) ? -1 : emptySinceMs,
      members: [],
    },
  };
}

function noteDueWritten(group: Group): void {
  group.dueTombstones = [];
  if (!group.isMetadataDue) return;
  group.isMetadataDue = false;
  group.hasMetadata = true;
  group.brokerKeys.clear();
}

function applyInOrder(group: Group, { done }: AppendedRecords, apply: () => void): Promise<void> {
  const before = group.lastChange;
  if (before === undefined && done === undefined) {
    apply();
    return Promise.resolve();
  }
  const change = applyWhenDone(before, done, apply);
  group.lastChange = change;
  const forget = (): void => {
    if (group.lastChange === change) group.lastChange = undefined;
  };
  change.then(forget, forget);
  return change;
}

async function applyWhenDone(
  before: Promise<void> | undefined,
  done: Promise<void> | undefined,
  apply: () => void,
): Promise<void> {
  const [, own] = await Promise.allSettled([before, done]);
  if (own.status === "rejected") throw own.reason;
  apply();
}
