/** Commits of a consumer: to its group, or to an offset store of the user's own. */

import { commitGroupOffsets } from "../coordinator/group_offsets.ts";
import { ownerOf } from "../coordinator/membership.ts";
import { OttlaError } from "../errors.ts";
import { checkNumber } from "../store/store_options.ts";
import type { ConsumedOffset } from "./consumer_options.ts";
import { checkPartitionList } from "./consumer_options.ts";
import type { ConsumedPartition, ConsumerState } from "./consumer_state.ts";
import {
  findConsumed,
  getConsumed,
  isAutoCommitting,
  isGone,
  noteHandled,
} from "./consumer_state.ts";

/** How often what was handled is committed, unless the consumer says otherwise: Kafka's default. */
const autoCommitIntervalMs = 5_000;

/**
 * Checks offsets that a user wants to be committed.
 *
 * @param state The consumer.
 * @param offsets What was given.
 * @returns The offsets.
 * @throws TypeError or RangeError, OttlaError `ILLEGAL_GENERATION` for a partition that is not the
 * consumer's.
 */
export function checkedOffsets(state: ConsumerState, offsets: unknown): ConsumedOffset[] {
  checkPartitionList("offsets", offsets);
  return offsets.map((entry) => {
    const { topic, partition, offset, metadata } = entry as ConsumedOffset;
    if (offset === undefined) throw new TypeError("offsets[].offset must be a number");
    checkNumber("offsets[].offset", offset, 0, Number.MAX_SAFE_INTEGER);
    if (metadata !== undefined && typeof metadata !== "string") {
      throw new TypeError(`offsets[].metadata must be a string, got ${typeof metadata}`);
    }
    checkOwned(state, topic, partition);
    return metadata === undefined
      ? { topic, partition, offset }
      : { topic, partition, offset, metadata };
  });
}

/** Nobody commits for a partition that has gone to another member, or for one never given to it. */
function checkOwned(state: ConsumerState, topic: string, partition: number): void {
  const entry = getConsumed(state, topic, partition, "commit for");
  if (isGone(entry)) {
    throw new OttlaError(
      "UNKNOWN_TOPIC_OR_PARTITION",
      `Cannot commit for ${topic}-${partition}: the topic that was consumed was deleted`,
      { details: { topic, partition } },
    );
  }
  const { group, member } = state;
  if (group === undefined || member === undefined) return;
  if (member.state === "active" && ownerOf(group.membership, topic, partition) === member) return;
  throw new OttlaError(
    "ILLEGAL_GENERATION",
    `Cannot commit for ${topic}-${partition}: the partition has left this consumer, which was in ` +
      `generation ${member.generation} of group ${group.groupId}, now in ${group.membership.generation}`,
    { details: { topic, partition, groupId: group.groupId, generation: member.generation } },
  );
}

/**
 * What a user commits he has handled, so that what is committed later does not take it back.
 *
 * @param state The consumer.
 * @param offsets What he commits, checked.
 */
export function noteCommitted(state: ConsumerState, offsets: readonly ConsumedOffset[]): void {
  for (const { topic, partition, offset } of offsets) {
    const entry = getConsumed(state, topic, partition, "commit for");
    entry.handled = Math.max(entry.handled, Math.min(offset, entry.position));
  }
}

/**
 * Saves offsets.
 *
 * @param state The consumer.
 * @param offsets The offsets, checked.
 * @returns Resolves when they are durable.
 * @throws OttlaError `INVALID_GROUP_ID` if there is no place for them; what the group's log or the
 * user's offset store throws.
 */
export function saveOffsets(
  state: ConsumerState,
  offsets: readonly ConsumedOffset[],
): Promise<void> {
  if (offsets.length === 0) return Promise.resolve();
  const saving = startSaving(state, offsets).then(() => {
    for (const { topic, partition, offset } of offsets) {
      const entry = findConsumed(state, topic, partition);
      if (entry !== undefined) entry.committed = offset;
    }
  });
  state.saving.add(saving);
  const settled = (): void => void state.saving.delete(saving);
  saving.then(settled, settled);
  return saving;
}

function startSaving(state: ConsumerState, offsets: readonly ConsumedOffset[]): Promise<void> {
  const { coordinator, group, options, store } = state;
  const { offsetStore } = options;
  if (offsetStore !== undefined) {
    // Of two saves at once the first might end last.
    const before = [...state.saving].at(-1);
    return Promise.allSettled([before]).then(() => offsetStore.save(offsets));
  }
  if (coordinator === undefined || group === undefined) {
    return Promise.reject(
      new OttlaError(
        "INVALID_GROUP_ID",
        "Cannot commit: the consumer has neither a groupId nor an offsetStore",
      ),
    );
  }
  try {
    return commitGroupOffsets(coordinator, group, offsets, options.ack ?? store.options.ack);
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * The offsets to commit for some partitions.
 *
 * @param partitions The partitions.
 * @param which Up to where.
 * @returns Those that are not committed yet.
 */
export function uncommitted(
  partitions: readonly ConsumedPartition[],
  which: "position" | "handled",
): ConsumedOffset[] {
  return partitions
    .filter((entry) => entry[which] >= 0 && entry[which] !== entry.committed)
    .map((entry) => ({ topic: entry.topic, partition: entry.partition, offset: entry[which] }));
}

/**
 * What may be committed without being asked: what was handled, but for deleted topics, and nothing
 * once the consumer's place in its group is another's.
 *
 * @param state The consumer.
 * @param partitions Of which partitions; all of its own unless given.
 * @returns The offsets that are not committed yet.
 */
export function uncommittedHandled(
  state: ConsumerState,
  partitions: readonly ConsumedPartition[] = state.partitions,
): ConsumedOffset[] {
  return uncommitted(committable(state, partitions), "handled");
}

function committable(
  { member }: ConsumerState,
  partitions: readonly ConsumedPartition[],
): readonly ConsumedPartition[] {
  if (member !== undefined && member.state !== "active") return [];
  return partitions.filter((entry) => !isGone(entry));
}

/**
 * Commits what was handled if it is time for it. Nobody waits; what fails is tried again the next
 * time, and told by the commit when the consumer is closed.
 *
 * @param state The consumer.
 */
export function autoCommitIfDue(state: ConsumerState): void {
  if (!isAutoCommitting(state)) return;
  const now = state.store.clock.now();
  const intervalMs = state.options.autoCommitIntervalMs ?? autoCommitIntervalMs;
  if (now - state.lastAutoCommitMs < intervalMs && now >= state.lastAutoCommitMs) return;
  state.lastAutoCommitMs = now;
  // Where saving takes longer than the interval, commits must not pile up.
  if (state.isAutoSaving) return;
  if (state.tracker !== undefined) noteHandled(state);
  const offsets = uncommittedHandled(state);
  if (offsets.length === 0) return;
  state.isAutoSaving = true;
  saveOffsets(state, offsets).catch(() => {}).finally(() => state.isAutoSaving = false);
}

/**
 * How long a wait may last until something has to be committed.
 *
 * @param state The consumer.
 * @returns In milliseconds; Infinity if there is nothing to commit.
 */
export function autoCommitDelay(state: ConsumerState): number {
  if (!isAutoCommitting(state)) return Infinity;
  // Handlers may get through what was given out while nobody polls.
  const which = state.tracker === undefined ? "handled" : "position";
  if (uncommitted(committable(state, state.partitions), which).length === 0) return Infinity;
  const intervalMs = state.options.autoCommitIntervalMs ?? autoCommitIntervalMs;
  return Math.max(0, state.lastAutoCommitMs + intervalMs - state.store.clock.now());
}

/**
 * Waits for the commits that are under way, whether they succeed or not.
 *
 * @param state The consumer.
 */
export async function settleCommits(state: ConsumerState): Promise<void> {
  while (state.saving.size > 0) await Promise.allSettled(state.saving);
}
