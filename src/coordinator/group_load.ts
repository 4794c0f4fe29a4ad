/** Reads what `__consumer_offsets` says of all groups, partition by partition. */

import { OttlaError } from "../errors.ts";
import { warn } from "../platform/warning.ts";
import type { PartitionState, StoreInternals, TopicState } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { partitionFolderName } from "../store/topic_name.ts";
import { findOffsetsTopic, partitionOfGroup, readGroupBatches } from "./group_log.ts";
import type { GroupReplay, ReplayedGroup } from "./group_replay.ts";
import { finishGroupReplay, groupReplay, replayGap, replayGroupBatch } from "./group_replay.ts";

/** What was read of the groups. */
export interface LoadedGroups {
  readonly groups: ReplayedGroup[];
  /** Of groups of other kinds. */
  readonly foreignIds: Set<string>;
  /** Why partitions could not be read, by their numbers. */
  readonly failures: Map<number, unknown>;
  /** Records and stretches of damage that were passed over. */
  skippedCount: number;
}

/**
 * Reads the groups of a store. What is damaged is passed over with a warning.
 *
 * @param store The inside of a store.
 * @returns Resolves with the groups.
 */
export async function loadGroups(store: StoreInternals): Promise<LoadedGroups> {
  const loaded: LoadedGroups = {
    groups: [],
    foreignIds: new Set(),
    failures: new Map(),
    skippedCount: 0,
  };
  const topic = findOffsetsTopic(store);
  if (topic === undefined) return loaded;
  for (const state of topic.partitions) {
    try {
      const replay = await replayPartition(store, topic, state);
      // A broker that was given more partitions leaves groups behind where nobody looks for them.
      const isHere = (groupId: string): boolean =>
        partitionOfGroup(topic, groupId) === state.partition;
      for (const group of finishGroupReplay(replay)) {
        if (isHere(group.groupId)) loaded.groups.push(group);
      }
      for (const groupId of replay.foreignIds) if (isHere(groupId)) loaded.foreignIds.add(groupId);
      loaded.skippedCount += replay.skippedCount;
    } catch (cause) {
      const name = partitionFolderName(state.topic, state.partition);
      const error = asStorageError(`read the groups in ${name}`, cause);
      if (!(error instanceof OttlaError) || error.code === "HANDLE_CLOSED") throw error;
      loaded.failures.set(state.partition, error);
    }
  }
  return loaded;
}

async function replayPartition(
  store: StoreInternals,
  topic: TopicState,
  state: PartitionState,
): Promise<GroupReplay> {
  const replay = groupReplay(store.clock.now());
  await readGroupBatches(
    store,
    topic,
    state,
    (batch) => replayGroupBatch(replay, batch),
    (error) => {
      replay.skippedCount++;
      replay.firstFault ??= error;
      replayGap(replay);
    },
  );
  if (replay.skippedCount > 0) {
    const name = partitionFolderName(state.topic, state.partition);
    warn(
      `Groups in ${name}: passed over ${replay.skippedCount} records or damaged batches`,
      replay.firstFault,
    );
  }
  return replay;
}
