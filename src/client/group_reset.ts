/** Moving a group to another place in a topic, as `kafka-consumer-groups --reset-offsets` does. */

import type { Group } from "../coordinator/group.ts";
import { getOrCreateGroup, groupCoordinator } from "../coordinator/group_coordinator.ts";
import { checkInactive } from "../coordinator/group_deletion.ts";
import { commitFromOutside, committedOffsetOf } from "../coordinator/group_offsets.ts";
import type { TopicPartition } from "../coordinator/topic_partition.ts";
import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { readableEnd } from "../log/log_reader.ts";
import { hasFolder, logOf } from "../store/partitions.ts";
import type { PartitionState, Store, StoreInternals, TopicState } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { checkNumber, checkObject } from "../store/store_options.ts";
import { offsetOfTime } from "./offsets.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** Where a group is to go on: an end, a time, an offset, or some records from where it is. */
export type ResetTarget = "earliest" | "latest" | Date | number | { readonly shiftBy: number };

/** Which partitions of a topic a group is to be moved in, and where to. */
export interface OffsetReset {
  /** The topic's name, or a topic with types. */
  readonly topic: string | { readonly name: string };
  /** Their numbers; all unless given. */
  readonly partitions?: readonly number[] | undefined;
  /**
   * What lies before the start or behind the end of a log becomes its start or its end; a time that
   * is later than all records is its end.
   */
  readonly to: ResetTarget;
  /** Whether only to tell where the group would go on; false unless given. */
  readonly dryRun?: boolean | undefined;
}

/** Where a group goes on in a partition. */
export interface ResetOffset extends TopicPartition {
  readonly offset: number;
}

/** Where the records of a partition are. */
interface LogExtent extends TopicPartition {
  /** Undefined for one that was never used. */
  readonly log: Log | undefined;
  readonly startOffset: number;
  readonly endOffset: number;
}

/**
 * Moves a group that nobody reads for to another place in a topic: in all of the partitions, or in
 * none if that cannot be.
 *
 * @param store The store.
 * @param groupId The group; it need not exist.
 * @param reset Which partitions, and where to.
 * @returns Resolves with the new offsets, by partition, when they are on disk.
 * @throws TypeError or RangeError. OttlaError `NON_EMPTY_GROUP`, `INVALID_GROUP_ID`,
 * `UNKNOWN_TOPIC_OR_PARTITION`, `NO_OFFSET_FOR_PARTITION` if there is nothing to shift,
 * `CORRUPT_MESSAGE`, `DISK_FULL`, `KAFKA_STORAGE_ERROR`.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, openStore, resetOffsets } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "3 apples" });
 * await resetOffsets(store, "billing", { topic: "orders", to: "latest" });
 * await closeStore(store);
 * ```
 */
export async function resetOffsets(
  store: Store,
  groupId: string,
  reset: OffsetReset,
): Promise<ResetOffset[]> {
  const internals = openInternals(store);
  checkReset(reset);
  // Of the call: what the caller changes while the groups are read does not count.
  const name = nameOfTopic(reset.topic as TopicArgument);
  const { partitions, to, dryRun } = { ...reset, partitions: reset.partitions?.slice() };
  const coordinator = await groupCoordinator(internals);
  const group = getOrCreateGroup(coordinator, groupId);
  checkInactive(group, "reset the offsets of");
  const topic = getTopicState(internals, name);
  const numbers = partitions ?? topic.partitions.map(({ partition }) => partition);
  const offsets = [...new Set(numbers)].sort((a, b) => a - b).map((partition) => {
    const extent = extentOf(internals, topic, getPartitionState(topic, partition));
    const wanted = wantedOffset(group, extent, to);
    const offset = Math.min(Math.max(wanted, extent.startOffset), extent.endOffset);
    return { topic: name, partition, offset };
  });
  if (!dryRun) await commitFromOutside(coordinator, group, offsets);
  return offsets;
}

/** Looking at a partition that was never used leaves no folder. */
function extentOf(store: StoreInternals, topic: TopicState, state: PartitionState): LogExtent {
  const { startOffset, partition } = state;
  const place = { topic: topic.name, partition };
  if (!hasFolder(store, state)) {
    return { ...place, log: undefined, startOffset, endOffset: startOffset };
  }
  const log = logOf(store, topic, state);
  return { ...place, log, startOffset: log.startOffset, endOffset: readableEnd(log) };
}

function wantedOffset(group: Group, extent: LogExtent, to: ResetTarget): number {
  const { topic, partition, log, startOffset, endOffset } = extent;
  if (to === "earliest") return startOffset;
  if (to === "latest") return endOffset;
  if (typeof to === "number") return to;
  if (to instanceof Date) {
    const found = log === undefined ? undefined : offsetOfTime(log, to.getTime());
    return found ?? endOffset;
  }
  const committed = committedOffsetOf(group, topic, partition);
  if (committed !== undefined) return committed.offset + to.shiftBy;
  throw new OttlaError(
    "NO_OFFSET_FOR_PARTITION",
    `Cannot shift the offset of group ${group.groupId} in ${topic}-${partition}: nothing was ` +
      `committed`,
    { details: { groupId: group.groupId, topic, partition } },
  );
}

function checkReset(reset: OffsetReset): void {
  checkObject("reset", reset);
  const { partitions, to, dryRun } = reset;
  if (dryRun !== undefined && typeof dryRun !== "boolean") {
    throw new TypeError(`dryRun must be true or false, got ${typeof dryRun}`);
  }
  if (partitions !== undefined) {
    if (!Array.isArray(partitions)) throw new TypeError("partitions must be an array of numbers");
    for (const partition of partitions) {
      checkNumber("partitions[]", partition, 0, 2 ** 31 - 1);
    }
  }
  if (to === "earliest" || to === "latest") return;
  if (typeof to === "number") return checkNumber("to", to, 0, Number.MAX_SAFE_INTEGER);
  if (to instanceof Date) {
    if (Number.isNaN(to.getTime())) throw new RangeError("to is a Date without a time");
    return;
  }
  if (typeof to !== "object" || to === null) {
    throw new TypeError(
      `to must be an offset, "earliest", "latest", a Date or { shiftBy }, got ${String(to)}`,
    );
  }
  checkNumber("to.shiftBy", to.shiftBy, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
}
