/**
 * Groups seen from outside: what `__consumer_offsets` says of them, without the store's lock and
 * without changing a byte, whoever has the store open.
 *
 * Members are written nowhere: who they are is known to the process that they live in alone, and
 * here only that there are some.
 */

import { javaHashPartition } from "../bytes/java_hash.ts";
import { zeroUuid } from "../bytes/uuid.ts";
import { isOttlaError } from "../errors.ts";
import type { CommittedOffset } from "../coordinator/group.ts";
import { offsetsInOrder } from "../coordinator/group.ts";
import { offsetsTopic } from "../coordinator/group_records.ts";
import type { GroupReplay, ReplayedGroup } from "../coordinator/group_replay.ts";
import {
  finishGroupReplay,
  groupReplay,
  replayGap,
  replayGroupBatch,
} from "../coordinator/group_replay.ts";
import { compareText } from "../coordinator/topic_partition.ts";
import { findStoreHolder } from "../platform/store_holder.ts";
import { findEndOffset, viewPartition } from "../store/folder_view.ts";
import { messageOf } from "./command.ts";
import { advanceTail, partitionTail, tailGapMessage } from "./partition_tail.ts";
import { viewStore } from "./store_access.ts";
import type { StoreView } from "./store_access.ts";

/** What can be seen of a group. */
export interface GroupView {
  readonly groupId: string;
  /** Stable if it has members, as far as is written. */
  readonly state: "Empty" | "Stable";
  /** "consumer", or null for a group that only commits offsets. */
  readonly protocolType: string | null;
  readonly generation: number;
  /** Those of which something was committed, in order. */
  readonly partitions: readonly GroupPartitionView[];
}

/** How far a group is in a partition. */
export interface GroupPartitionView {
  readonly topic: string;
  readonly partition: number;
  readonly committed: CommittedOffset;
}

/** What can be seen of all groups. */
export interface GroupsView {
  readonly store: StoreView;
  /** By id. */
  readonly groups: readonly GroupView[];
  /** What could not be read, in words. */
  readonly faults: readonly string[];
}

/** Since when groups are empty is not shown. */
const unknownTime = 0;

/**
 * Looks at the groups of a store without opening it.
 *
 * @param path The store's folder.
 * @returns Resolves with the groups. What is damaged is passed over.
 * @throws OttlaError `STORE_INVALID` if the folder is no store.
 */
export async function viewGroups(path: string): Promise<GroupsView> {
  const store = await viewStore(path);
  const faults: string[] = [];
  const numbers = [...store.image.topicsByName.get(offsetsTopic)?.partitions.keys() ?? []];
  const isHeld = findStoreHolder(store.fs, store.folder) !== undefined;
  const groups = numbers.sort((a, b) => a - b)
    .flatMap((partition) =>
      // What lies elsewhere is of a group that was moved by the number of partitions.
      replayPartition(store, partition, faults).filter(({ groupId }) =>
        javaHashPartition(groupId, numbers.length) === partition
      )
    )
    .map((group) => groupView(store, group, isHeld))
    .filter((group) => group !== undefined)
    .sort((a, b) => compareText(a.groupId, b.groupId));
  return { store, groups, faults };
}

/**
 * Where the log of a partition ends.
 *
 * @param store The store.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns The offset behind its last record.
 */
export function viewEndOffset(store: StoreView, topic: string, partition: number): number {
  return findEndOffset(store.fs, viewPartition(store.fs, store.folder, topic, partition));
}

function replayPartition(store: StoreView, partition: number, faults: string[]): ReplayedGroup[] {
  const replay = groupReplay(unknownTime);
  const view = viewPartition(store.fs, store.folder, offsetsTopic, partition);
  advanceTail(partitionTail(store.fs, view, view.startOffset), {
    batch: (batch) => {
      if (batch.lastOffset < view.startOffset) return true;
      try {
        replayGroupBatch(replay, batch);
      } catch (error) {
        if (!isOttlaError(error)) throw error;
        faults.push(messageOf(error));
      }
      return true;
    },
    gap: (gap) => {
      faults.push(tailGapMessage(gap));
      replayGap(replay);
    },
  });
  noteSkipped(replay, partition, faults);
  return [...finishGroupReplay(replay)];
}

function noteSkipped(
  { skippedCount, firstFault }: GroupReplay,
  partition: number,
  faults: string[],
): void {
  if (skippedCount === 0) return;
  const reason = firstFault === undefined ? "" : `: ${messageOf(firstFault)}`;
  faults.push(`Cannot read ${skippedCount} records of ${offsetsTopic}-${partition}${reason}`);
}

/** Undefined if there is nothing of it any more. */
function groupView(
  { image }: StoreView,
  group: ReplayedGroup,
  isHeld: boolean,
): GroupView | undefined {
  const { groupId, protocolType, generation, hasMetadata, brokerKeys, hadMembers } = group;
  const partitions = offsetsInOrder(group).filter(({ topic, partition, committed }) => {
    // Offsets of a topic that was deleted are forgotten when the store is next opened.
    const found = image.topicsByName.get(topic);
    const { topicId } = committed;
    return found?.partitions.has(partition) && (topicId === zeroUuid || topicId === found.topicId);
  });
  const isKnown = hasMetadata || brokerKeys.size > 0;
  if (!isKnown && partitions.length === 0 && group.pendingOffsets.size === 0) return undefined;
  const state = hadMembers && isHeld ? "Stable" : "Empty";
  return { groupId, state, protocolType, generation, partitions };
}
