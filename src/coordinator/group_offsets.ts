/** Committing offsets, and what is committed. */

import { zeroUuid } from "../bytes/uuid.ts";
import { OttlaError } from "../errors.ts";
import type { Ack, Log } from "../log/log.ts";
import { flushLog } from "../log/log.ts";
import { hasFolder, logOf } from "../store/partitions.ts";
import type { PartitionState, StoreInternals, TopicState } from "../store/store.ts";
import { checkOpen, getPartitionState, getTopicState } from "../store/store.ts";
import { checkNumber } from "../store/store_options.ts";
import type { CommittedOffset, Group, OffsetUnderWay } from "./group.ts";
import { putOffset } from "./group.ts";
import { changeGroup } from "./group_change.ts";
import type { GroupCoordinator } from "./group_coordinator.ts";
import type { GroupLog } from "./group_log.ts";
import { whenWritable } from "./group_log.ts";
import type { GroupRecord } from "./group_records.ts";
import type { TopicPartition } from "./topic_partition.ts";

/** An offset to be committed. */
export interface OffsetCommit extends TopicPartition {
  /** The next offset to be consumed. */
  readonly offset: number;
  /** A note of the committer's own, at most 4,096 bytes; empty unless given. */
  readonly metadata?: string | undefined;
  /** The leader epoch of the record before it; not known unless given. */
  readonly leaderEpoch?: number | undefined;
}

/** How large a note may be, in bytes: Kafka's `offset.metadata.max.bytes`. */
export const offsetMetadataBytesMax = 4096;
/** How many offsets may be committed at once. */
export const commitsMax = 100_000;

/** The version of the value, which Kafka reads since 3.5 and writes since 4.1: it has topic ids. */
const offsetVersion = 4;
const utf8 = new TextEncoder();

/**
 * Commits offsets of a group: all of them, or none if one cannot be. Who may commit is for the
 * caller to know.
 *
 * @param coordinator The coordinator.
 * @param group The group.
 * @param commits The offsets; of several for one partition the last one counts.
 * @param ack The level that the commit is to reach.
 * @returns Resolves when it has and the offsets are committed. Commits of a group become true in the
 * order of the calls.
 * @throws TypeError or RangeError. OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `OFFSET_OUT_OF_RANGE`
 * beyond the end of the log, `OFFSET_METADATA_TOO_LARGE`, `DISK_FULL`, `KAFKA_STORAGE_ERROR`,
 * `HANDLE_CLOSED`; then nothing is committed.
 */
export async function commitGroupOffsets(
  coordinator: GroupCoordinator,
  group: Group,
  commits: readonly OffsetCommit[],
  ack: Ack = "disk",
): Promise<void> {
  const { store, log } = coordinator;
  checkOpen(store);
  const checked = checkCommits(store, commits);
  if (checked.length === 0) return;
  const synced = ack === "disk" ? syncConsumed(store, checked) : undefined;
  if (synced !== undefined || group.commitTurn !== undefined) await waitForTurn(group, synced);
  await whenWritable(log, () => writeOffsets(log, group, checked, ack));
}

/**
 * As `commitGroupOffsets`, for a group without members: who joins while the commit is under way
 * begins where it says, and does not commit over it.
 *
 * @param coordinator The coordinator.
 * @param group The group.
 * @param commits The offsets.
 * @param ack The level that the commit is to reach.
 * @returns As `commitGroupOffsets`.
 * @throws As `commitGroupOffsets`.
 */
export async function commitFromOutside(
  coordinator: GroupCoordinator,
  group: Group,
  commits: readonly OffsetCommit[],
  ack: Ack = "disk",
): Promise<void> {
  const commit = commitGroupOffsets(coordinator, group, commits, ack);
  const settled: Promise<void> = Promise.allSettled([group.outsideCommits, commit]).then(() => {
    if (group.outsideCommits === settled) group.outsideCommits = undefined;
  });
  group.outsideCommits = settled;
  await commit;
}

/**
 * Brings to disk what a commit says was consumed; undefined if it is. A power cut would take it
 * otherwise, and not the commit: the group would pass over the records that come in its place.
 */
function syncConsumed(
  store: StoreInternals,
  offsets: readonly OffsetUnderWay[],
): Promise<unknown> | undefined {
  const behind = new Set<Log>();
  for (const { topic, partition, committed: { offset } } of offsets) {
    const log = store.topics.get(topic)?.partitions[partition]?.log;
    if (log !== undefined && offset > log.commit.syncedOffset) behind.add(log);
  }
  if (behind.size === 0) return undefined;
  return Promise.all(Array.from(behind, async (log) => {
    try {
      await flushLog(log);
    } catch (error) {
      // Of a topic that is deleted meanwhile nothing is committed.
      if (!log.isClosed || store.state !== "open") throw error;
    }
  }));
}

/** Commits that wait for records to be on disk, and those behind them, are written in their order. */
async function waitForTurn(group: Group, synced: Promise<unknown> | undefined): Promise<void> {
  const turn: Promise<void> = Promise.allSettled([group.commitTurn, synced]).then(() => {});
  group.commitTurn = turn;
  // Whoever changes the group otherwise waits for it as for a change.
  const change: Promise<void> = Promise.allSettled([group.lastChange, turn]).then(() => {
    if (group.lastChange === change) group.lastChange = undefined;
  });
  group.lastChange = change;
  await turn;
  if (group.commitTurn === turn) group.commitTurn = undefined;
  await synced;
}

function writeOffsets(
  log: GroupLog,
  group: Group,
  checked: readonly OffsetUnderWay[],
  ack: Ack,
): Promise<void> {
  const { groupId, offsetsUnderWay } = group;
  const isThere = ({ topic, committed }: OffsetUnderWay): boolean =>
    isOffsetOfTopic(log.store, topic, committed);
  // A topic may be deleted while the log is made, and while its records are on their way to disk.
  const offsets = checked.filter(isThere);
  const records = offsets.map((offset) => offsetRecord(groupId, offset));
  const forget = (): void => offsets.forEach((offset) => offsetsUnderWay.delete(offset));
  for (const offset of offsets) offsetsUnderWay.add(offset);
  try {
    const written = changeGroup(log, group, records, ack, (baseOffset) => {
      forget();
      for (const [index, offset] of offsets.entries()) {
        if (!isThere(offset)) continue;
        const { topic, partition, committed } = offset;
        putOffset(group, topic, partition, { ...committed, recordOffset: baseOffset + index });
      }
    });
    written.catch(forget);
    return written;
  } catch (error) {
    forget();
    throw error;
  }
}

/**
 * The offset that a group has committed for a partition.
 *
 * @param group The group.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns The offset, or undefined if there is none.
 */
export function committedOffsetOf(
  group: Group,
  topic: string,
  partition: number,
): CommittedOffset | undefined {
  return group.offsets.get(topic)?.get(partition);
}

/**
 * Tells whether an offset was committed for the topic that bears the name now.
 *
 * @param store The inside of a store.
 * @param topic The topic's name.
 * @param committed What was committed; without a topic id the name is all there is to go by.
 * @returns True if it was.
 */
export function isOffsetOfTopic(
  store: StoreInternals,
  topic: string,
  { topicId }: Pick<CommittedOffset, "topicId">,
): boolean {
  const state = store.topics.get(topic);
  return state !== undefined && (topicId === zeroUuid || topicId === state.topicId);
}

function checkCommits(store: StoreInternals, commits: readonly OffsetCommit[]): OffsetUnderWay[] {
  if (commits.length > commitsMax) {
    throw new RangeError(
      `offsets has ${commits.length} entries, at most ${commitsMax} can be committed at once`,
    );
  }
  const commitTimestamp = store.clock.now();
  return commits.map(({ topic, partition, offset, metadata = "", leaderEpoch = -1 }) => {
    const state = getTopicState(store, topic);
    checkOffset(store, state, getPartitionState(state, partition), offset);
    checkMetadata(topic, partition, metadata);
    checkNumber("leaderEpoch", leaderEpoch, -1, 2 ** 31 - 1);
    const committed = {
      offset,
      leaderEpoch,
      // As it comes back from the log, where half a character has no place.
      metadata: metadata.replace(/\p{Surrogate}/gu, "\ufffd"),
      commitTimestamp,
      expireTimestamp: -1,
      topicId: state.topicId,
    };
    return { topic, partition, committed };
  });
}

function checkOffset(
  store: StoreInternals,
  topic: TopicState,
  state: PartitionState,
  offset: number,
): void {
  checkNumber("offset", offset, 0, Number.MAX_SAFE_INTEGER);
  const endOffset = hasFolder(store, state)
    ? logOf(store, topic, state).endOffset
    : state.startOffset;
  if (offset <= endOffset) return;
  const { partition } = state;
  throw new OttlaError(
    "OFFSET_OUT_OF_RANGE",
    `Cannot commit offset ${offset} of ${topic.name}-${partition}: the log ends at ${endOffset}`,
    { details: { topic: topic.name, partition, offset, endOffset } },
  );
}

function checkMetadata(topic: string, partition: number, metadata: unknown): void {
  if (typeof metadata !== "string") {
    throw new TypeError(`metadata must be a string, got ${typeof metadata}`);
  }
  // No text has more than three bytes for each of its code units.
  if (metadata.length * 3 <= offsetMetadataBytesMax) return;
  const sizeBytes = utf8.encode(metadata).length;
  if (sizeBytes <= offsetMetadataBytesMax) return;
  throw new OttlaError(
    "OFFSET_METADATA_TOO_LARGE",
    `Cannot commit an offset of ${topic}-${partition}: its metadata has ${sizeBytes} bytes, the ` +
      `most is ${offsetMetadataBytesMax}`,
    { details: { topic, partition, sizeBytes } },
  );
}

function offsetRecord(
  groupId: string,
  { topic, partition, committed }: OffsetUnderWay,
): GroupRecord {
  return {
    key: { type: "OffsetCommit", group: groupId, topic, partition },
    value: { version: offsetVersion, ...committed },
  };
}
