/**
 * Reads a partition of `__consumer_offsets` back: of every key the last value counts.
 *
 * Offsets that a broker has committed within a transaction wait for its end: a commit marker lets
 * them count, an abort marker drops them. What cannot be decoded is passed over and counted, and
 * never keeps a group from what else is there. Where an end may be lost, the offsets do not count:
 * rather are records given out again than left out.
 */

import { isOttlaError } from "../errors.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, isTransactional, producerIdOf } from "../record/batch_view.ts";
import { endTransactionMarkerOf } from "../record/control_record.ts";
import type { RecordView } from "../record/record_reader.ts";
import { forEachRecord, keyOf, valueOf } from "../record/record_reader.ts";
import type { GroupContent, PartitionOffset } from "./group.ts";
import { dropOffset, groupContent, hasContent, putOffset } from "./group.ts";
import type { GroupKey, GroupKeyOf } from "./group_records.ts";
import type { LatestValues } from "./group_latest.ts";
import { dropLatest, keepLatest, latestValues, noteKey } from "./group_latest.ts";
import { groupRecordSchemas } from "./group_record_schemas.ts";
import { decodeGroupKey, decodeGroupValue, findForeignGroupId } from "./group_records.ts";

/** What was read so far. */
export interface GroupReplay {
  /** When the reading began: members of the past are gone since then. */
  readonly now: number;
  readonly groups: Map<string, ReplayedGroup>;
  /** Offsets that are not among those of the groups yet. */
  readonly latest: LatestValues;
  /** Of transactions that have not ended, by the id of their producer. */
  readonly pending: Map<number, PendingOfGroup[]>;
  /** Ids of groups of other kinds, as far as they are taken. */
  readonly foreignIds: Set<string>;
  /** Records and batches that could not be decoded. */
  skippedCount: number;
  /** Why the first of them could not. */
  firstFault: unknown;
}

/** A group as the log has it. */
export interface ReplayedGroup extends GroupContent {
  generation: number;
  /** Whether it had members for all that is written: since when it has none is in no record. */
  hadMembers: boolean;
}

/** An offset of a transaction, and the group it is for. */
interface PendingOfGroup extends PartitionOffset {
  readonly groupId: string;
}

/** With this number begin the keys of offsets, as two bytes. */
const offsetCommitNumber = groupRecordSchemas.OffsetCommit.number;

type OffsetKey = GroupKeyOf<"LegacyOffsetCommit" | "OffsetCommit">;

/**
 * A replay at its beginning.
 *
 * @param now The present time.
 * @returns The replay.
 */
export function groupReplay(now: number): GroupReplay {
  return {
    now,
    groups: new Map(),
    latest: new Map(),
    pending: new Map(),
    foreignIds: new Set(),
    skippedCount: 0,
    firstFault: undefined,
  };
}

/**
 * Takes in a batch.
 *
 * @param replay What was read before.
 * @param batch The next batch of the partition, its checksum verified.
 * @throws OttlaError `CODEC_MISSING` if it cannot be decompressed here.
 */
export function replayGroupBatch(replay: GroupReplay, batch: BatchView): void {
  const isControl = isControlBatch(batch);
  const producerId = isTransactional(batch) ? producerIdOf(batch) : undefined;
  tolerate(replay, () => {
    forEachRecord(batch, (record) => {
      const isKept = !isControl && producerId === undefined && keepLatest(replay.latest, record);
      if (isKept) return;
      tolerate(replay, () => {
        if (isControl) replayMarker(replay, producerIdOf(batch), record);
        else replayRecord(replay, producerId, record);
      });
    });
  });
}

/**
 * Takes in that something was lost between two batches: it may have been the end of any transaction
 * that was open there, and which end nobody knows.
 *
 * @param replay What was read before.
 */
export function replayGap(replay: GroupReplay): void {
  replay.pending.clear();
}

/**
 * Ends a replay: offsets of transactions that have not ended stay with their groups.
 *
 * @param replay All that was read.
 * @returns The groups of which there is anything left.
 */
export function finishGroupReplay(replay: GroupReplay): ReplayedGroup[] {
  for (const { key, value, sizeBytes, recordOffset } of latestValues(replay.latest)) {
    const decoded = decodeGroupKey(key) as OffsetKey;
    const bytes = value.subarray(0, sizeBytes);
    replayOffset(replay, undefined, decoded, bytes, recordOffset);
  }
  replay.latest.clear();
  for (const [producerId, pending] of replay.pending) {
    for (const { groupId, topic, partition, committed } of pending) {
      const { pendingOffsets } = groupOf(replay, groupId);
      const ofProducer = pendingOffsets.get(producerId) ?? [];
      pendingOffsets.set(producerId, [...ofProducer, { topic, partition, committed }]);
    }
  }
  return [...replay.groups.values()].filter(hasContent);
}

/** Counts what cannot be decoded, and goes on behind it. */
function tolerate(replay: GroupReplay, read: () => void): void {
  try {
    read();
  } catch (error) {
    const isDamage = isOttlaError(error, "CORRUPT_MESSAGE") ||
      isOttlaError(error, "INVALID_RECORD") || isOttlaError(error, "UNSUPPORTED_VERSION");
    if (!isDamage) throw error;
    replay.skippedCount++;
    replay.firstFault ??= error;
  }
}

function replayMarker(replay: GroupReplay, producerId: number, record: RecordView): void {
  const pending = replay.pending.get(producerId) ?? [];
  // With a marker that cannot be read the transaction has ended too, and nobody knows how.
  replay.pending.delete(producerId);
  const marker = endTransactionMarkerOf(record);
  if (marker === undefined && pending.length > 0) replay.pending.set(producerId, pending);
  if (marker?.type !== "commit") return;
  for (const { groupId, topic, partition, committed } of pending) {
    putOffset(groupOf(replay, groupId), topic, partition, committed);
  }
}

function replayRecord(
  replay: GroupReplay,
  producerId: number | undefined,
  record: RecordView,
): void {
  const keyBytes = keyOf(record);
  if (keyBytes === null) {
    replay.skippedCount++;
    return;
  }
  const key = decodeGroupKey(keyBytes);
  const value = valueOf(record);
  if (key === undefined) {
    replayForeignRecord(replay, keyBytes, value);
    return;
  }
  switch (key.type) {
    case "LegacyOffsetCommit":
    case "OffsetCommit":
      noteKey(replay.latest, keyBytes);
      if (value === null) dropLatest(replay.latest, keyOfToday(keyBytes));
      return replayOffset(replay, producerId, key, value, record.offset);
    case "GroupMetadata":
      return replayMetadata(replay, key, value);
    default:
      return replayBrokerRecord(replay, key, value);
  }
}

/** What groups of other kinds are made of is left alone, but their ids are taken. */
function replayForeignRecord(
  replay: GroupReplay,
  key: Uint8Array,
  value: Uint8Array | null,
): void {
  const groupId = findForeignGroupId(key);
  if (groupId === undefined) return;
  if (value === null) replay.foreignIds.delete(groupId);
  else replay.foreignIds.add(groupId);
}

function replayOffset(
  replay: GroupReplay,
  producerId: number | undefined,
  key: OffsetKey,
  value: Uint8Array | null,
  recordOffset: number,
): void {
  const { group: groupId, topic, partition } = key;
  if (value === null) {
    const group = replay.groups.get(groupId);
    if (group !== undefined) dropOffset(group, topic, partition);
    dropPending(replay, key);
    return;
  }
  const { offset, leaderEpoch, metadata, commitTimestamp, expireTimestamp, topicId } =
    decodeGroupValue(key.type, value);
  if (offset < 0) {
    replay.skippedCount++;
    return;
  }
  const committed = {
    offset,
    leaderEpoch,
    metadata,
    commitTimestamp,
    expireTimestamp,
    topicId,
    recordOffset,
  };
  if (producerId === undefined) {
    putOffset(groupOf(replay, groupId), topic, partition, committed);
    return;
  }
  let pending = replay.pending.get(producerId);
  if (pending === undefined) replay.pending.set(producerId, pending = []);
  pending.push({ groupId, topic, partition, committed });
}

/** A key of old stands for the same offset as one of today. */
function keyOfToday(key: Uint8Array): Uint8Array {
  const today = key.slice();
  today[1] = offsetCommitNumber;
  return today;
}

/** As for Kafka: what was taken back does not come back by the end of a transaction. */
function dropPending({ pending }: GroupReplay, { group, topic, partition }: OffsetKey): void {
  for (const [producerId, ofProducer] of pending) {
    const kept = ofProducer.filter((entry) =>
      entry.groupId !== group || entry.topic !== topic || entry.partition !== partition
    );
    if (kept.length > 0) pending.set(producerId, kept);
    else pending.delete(producerId);
  }
}

function replayMetadata(
  replay: GroupReplay,
  { group: groupId }: GroupKeyOf<"GroupMetadata">,
  value: Uint8Array | null,
): void {
  if (value === null) {
    const group = replay.groups.get(groupId);
    if (group === undefined) return;
    group.hasMetadata = false;
    forgetMembers(group);
    return;
  }
  const { protocolType, generation, currentStateTimestamp, members } = decodeGroupValue(
    "GroupMetadata",
    value,
  );
  const group = groupOf(replay, groupId);
  group.hasMetadata = true;
  group.protocolType = protocolType === "" ? null : protocolType;
  group.generation = Math.max(0, generation);
  // Whoever was in it went when its process did, which was now for all that can be known.
  const wasEmpty = members.length === 0 && currentStateTimestamp >= 0;
  group.emptySinceMs = wasEmpty ? currentStateTimestamp : replay.now;
  group.hadMembers = !wasEmpty && group.protocolType !== null;
}

/** What a broker keeps of a group's members: they are gone, its epoch is gone on from. */
function replayBrokerRecord(replay: GroupReplay, key: GroupKey, value: Uint8Array | null): void {
  const name = JSON.stringify(key);
  if (value === null) {
    const group = replay.groups.get(key.group);
    if (group === undefined) return;
    group.brokerKeys.delete(name);
    if (key.type === "ConsumerGroupMetadata" && !group.hasMetadata) forgetMembers(group);
    return;
  }
  const group = groupOf(replay, key.group);
  group.brokerKeys.set(name, key);
  if (key.type !== "ConsumerGroupMetadata") return;
  group.protocolType = "consumer";
  group.emptySinceMs = replay.now;
  group.hadMembers = true;
  group.generation = Math.max(0, decodeGroupValue(key.type, value).epoch);
}

/** Nobody is known to have been in a group: what it has committed from now on is all it is. */
function forgetMembers(group: ReplayedGroup): void {
  group.protocolType = null;
  group.hadMembers = false;
  group.generation = 0;
}

function groupOf({ groups, now }: GroupReplay, groupId: string): ReplayedGroup {
  let group = groups.get(groupId);
  if (group === undefined) {
    group = { ...groupContent(groupId, now), generation: 0, hadMembers: false };
    groups.set(groupId, group);
  }
  return group;
}
