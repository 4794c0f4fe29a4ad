/**
 * Forgetting offsets that nobody has used for long, as Kafka does: those of a group without members,
 * when the store's retention has passed since it has none and since they were committed. A group
 * without offsets is forgotten itself.
 *
 * Where a transaction of a broker is open on a group, all of it stays until that has ended; where a
 * commit is under way, until the next look.
 */

import type { CommittedOffset, Group, PartitionOffset } from "./group.ts";
import { dropOffset, hasMembers, offsetsInOrder } from "./group.ts";
import { groupTombstones, offsetTombstone, writeUnwaited } from "./group_change.ts";
import type { GroupLog } from "./group_log.ts";

const minuteMs = 60_000;

/**
 * Forgets what of a group has expired. What the disk does not take is looked at again the next time.
 *
 * @param log The log of the groups.
 * @param group The group.
 */
export function expireGroup(log: GroupLog, group: Group): void {
  const isBusy = hasMembers(group) || group.lastChange !== undefined ||
    group.pendingOffsets.size > 0;
  if (isBusy) return;
  const { clock, options } = log.store;
  const now = clock.now();
  const retentionMs = options.offsetsRetentionMinutes * minuteMs;
  const offsets = offsetsInOrder(group);
  const expired = offsets.filter(({ committed }) => isExpired(group, committed, retentionMs, now));
  if (expired.length === offsets.length) forgetGroup(log, group, expired);
  else if (expired.length > 0) forgetOffsets(log, group, expired);
}

function isExpired(
  { protocolType, emptySinceMs }: Group,
  { commitTimestamp, expireTimestamp }: CommittedOffset,
  retentionMs: number,
  now: number,
): boolean {
  if (expireTimestamp >= 0) return now >= expireTimestamp;
  const unusedSinceMs = protocolType === null
    ? commitTimestamp
    : Math.max(emptySinceMs, commitTimestamp);
  return now - unusedSinceMs >= retentionMs;
}

function forgetOffsets(log: GroupLog, group: Group, expired: readonly PartitionOffset[]): void {
  const tombstones = expired.map((entry) => offsetTombstone(group.groupId, entry));
  if (!writeUnwaited(log, group, tombstones)) return;
  for (const { topic, partition } of expired) dropOffset(group, topic, partition);
}

function forgetGroup(log: GroupLog, group: Group, expired: readonly PartitionOffset[]): void {
  const tombstones = [
    ...expired.map((entry) => offsetTombstone(group.groupId, entry)),
    ...groupTombstones(group),
  ];
  if (tombstones.length === 0) return;
  const isMetadataDue = group.isMetadataDue;
  group.isMetadataDue = false;
  if (writeUnwaited(log, group, tombstones)) {
    group.offsets.clear();
    forgetRecords(group);
  } else {
    group.isMetadataDue = isMetadataDue;
  }
}

/**
 * Notes that nothing is in the log of a group any more but its offsets.
 *
 * @param group The group.
 */
export function forgetRecords(group: Group): void {
  group.brokerKeys.clear();
  group.hasMetadata = false;
  group.isMetadataDue = false;
  group.protocolType = null;
}
