/** Deleting a group: its offsets, and what else the log says of it. */

import { OttlaError } from "../errors.ts";
import type { Group } from "./group.ts";
import { hasActiveMembers, isGroupInUse } from "./group.ts";
import { changeGroup, groupTombstones, offsetTombstone } from "./group_change.ts";
import type { GroupCoordinator } from "./group_coordinator.ts";
import { findGroup } from "./group_coordinator.ts";
import { forgetRecords } from "./group_expiry.ts";
import type { GroupRecord } from "./group_records.ts";
import { closeMembership } from "./membership.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { topicPartitionName } from "./topic_partition.ts";

/**
 * Deletes a group that nobody reads for. Places that are kept for members are given up.
 *
 * @param coordinator The coordinator.
 * @param groupId The group.
 * @returns Resolves when the deletion is on disk.
 * @throws OttlaError `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`, `INVALID_GROUP_ID`, `DISK_FULL`,
 * `KAFKA_STORAGE_ERROR`; then nothing is deleted.
 */
export async function deleteGroupOf(
  coordinator: GroupCoordinator,
  groupId: string,
): Promise<void> {
  let group = getGroup(coordinator, groupId, "delete");
  checkInactive(group, "delete");
  // What is being committed is deleted too.
  while (group.lastChange !== undefined) await group.lastChange.catch(() => {});
  group = getGroup(coordinator, groupId, "delete");
  checkInactive(group, "delete");
  closeMembership(group.membership);
  const tombstones: GroupRecord[] = [
    ...partitionsWithOffsets(group).map((partition) => offsetTombstone(groupId, partition)),
    ...groupTombstones(group),
  ];
  await writeDeletion(coordinator, group, tombstones);
}

function writeDeletion(
  { log }: GroupCoordinator,
  group: Group,
  tombstones: readonly GroupRecord[],
): Promise<void> {
  const { isMetadataDue } = group;
  group.isMetadataDue = false;
  try {
    const written = changeGroup(log, group, tombstones, "disk", () => {
      group.offsets.clear();
      group.pendingOffsets.clear();
    });
    // At once: who joins from now on begins anew.
    forgetRecords(group);
    return written;
  } catch (error) {
    group.isMetadataDue = isMetadataDue;
    throw error;
  }
}

/**
 * A group of which there is something.
 *
 * @param coordinator The coordinator.
 * @param groupId The group's id.
 * @param action What is to be done with it, for the message.
 * @returns The group.
 * @throws OttlaError `GROUP_ID_NOT_FOUND`, `INVALID_GROUP_ID`.
 */
export function getGroup(coordinator: GroupCoordinator, groupId: string, action: string): Group {
  const group = findGroup(coordinator, groupId);
  if (group !== undefined && isGroupInUse(group)) return group;
  throw new OttlaError(
    "GROUP_ID_NOT_FOUND",
    `Cannot ${action} group ${groupId}: there is no such group`,
    { details: { groupId } },
  );
}

/**
 * Makes sure that nobody reads for a group.
 *
 * @param group The group.
 * @param action What is to be done with it, for the message.
 * @throws OttlaError `NON_EMPTY_GROUP`.
 */
export function checkInactive(group: Group, action: string): void {
  if (!hasActiveMembers(group)) return;
  const { groupId, membership } = group;
  throw new OttlaError(
    "NON_EMPTY_GROUP",
    `Cannot ${action} group ${groupId}: it has ${membership.members.size} members`,
    { details: { groupId, memberCount: membership.members.size } },
  );
}

/** Those of transactions that have not ended included. */
function partitionsWithOffsets({ offsets, pendingOffsets }: Group): TopicPartition[] {
  const partitions = new Map<string, TopicPartition>();
  const add = (entry: TopicPartition): void =>
    void partitions.set(topicPartitionName(entry), entry);
  for (const [topic, ofTopic] of offsets) {
    for (const partition of ofTopic.keys()) add({ topic, partition });
  }
  for (const pending of pendingOffsets.values()) pending.forEach(add);
  return [...partitions.values()];
}
