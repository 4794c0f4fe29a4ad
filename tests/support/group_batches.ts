/** Batches of `__consumer_offsets`, for the tests of groups. */

import { zeroUuid } from "../../src/bytes/uuid.ts";
import { findOffsetsTopic, partitionOfGroup } from "../../src/coordinator/group_log.ts";
import type { GroupKey, GroupRecord } from "../../src/coordinator/group_records.ts";
import { encodeGroupRecord } from "../../src/coordinator/group_records.ts";
import type { GroupReplay } from "../../src/coordinator/group_replay.ts";
import { replayGroupBatch } from "../../src/coordinator/group_replay.ts";
import type { Log } from "../../src/log/log.ts";
import { appendBuilt } from "../../src/log/log.ts";
import { logCursor, nextBatch } from "../../src/log/log_reader.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { buildEndTransactionMarker } from "../../src/record/control_record.ts";
import type { RecordInput } from "../../src/record/record.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { buildBatch, someTime, viewOf } from "./batches.ts";

/** The batches in the partition of `__consumer_offsets` that a group is kept in. */
export function offsetsLogOf(store: Store, groupId: string): BatchView[] {
  const log = logOfGroup(store, groupId);
  const cursor = logCursor(log, log.startOffset, { readBytes: 1024, reusesBuffer: false });
  const batches: BatchView[] = [];
  for (;;) {
    const batch = nextBatch(cursor, log.endOffset);
    if (batch === undefined) return batches;
    batches.push(batch);
  }
}

/** The log that a group is kept in. */
export function logOfGroup(store: Store, groupId: string): Log {
  const internals = internalsOf(store);
  const topic = findOffsetsTopic(internals)!;
  return logOf(internals, topic, topic.partitions[partitionOfGroup(topic, groupId)]!);
}

/** Appends records behind the coordinator's back, as a broker does before the store is opened. */
export function appendRecords(
  log: Log,
  records: readonly GroupRecord[],
  producerId = -1,
): void {
  appendRaw(log, records.map(encodeGroupRecord), producerId);
}

/** Appends records of any bytes, of a transaction if there is a producer. */
export function appendRaw(
  log: Log,
  records: readonly { key: Uint8Array; value: Uint8Array | null }[],
  producerId = -1,
): void {
  const builder = batchBuilder();
  for (const { key, value } of records) appendRecord(builder, 1, key, value);
  finishBatch(builder, {
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    ...(producerId < 0
      ? {}
      : { producerId, producerEpoch: 0, baseSequence: 0, transactional: true }),
  });
  appendBuilt(log, builder, log.endOffset + records.length, "os");
}

/** The record of an offset of group "g", topic "t". */
export function offsetRecord(
  partition: number,
  offset: number,
  more: { group?: string; topic?: string; metadata?: string; version?: number } = {},
): GroupRecord {
  const { group = "g", topic = "t", metadata = "", version = 4 } = more;
  return {
    key: { type: "OffsetCommit", group, topic, partition },
    value: {
      version,
      offset,
      leaderEpoch: -1,
      metadata,
      commitTimestamp: someTime,
      expireTimestamp: -1,
      topicId: zeroUuid,
    },
  };
}

/** The record of a group without members. */
export function metadataRecord(
  group: string,
  generation: number,
  currentStateTimestamp = someTime,
): GroupRecord {
  return {
    key: { type: "GroupMetadata", group },
    value: {
      version: 3,
      protocolType: "consumer",
      generation,
      protocol: null,
      leader: null,
      currentStateTimestamp,
      members: [],
    },
  };
}

/** The record that takes back what a key stands for. */
export function tombstone(key: GroupKey): GroupRecord {
  return { key, value: null } as GroupRecord;
}

/** A record of any bytes, or one of a group. */
type Input = GroupRecord | RecordInput;

/** Takes in a batch of records, of a transaction if there is a producer. */
export function replayRecords(
  replay: GroupReplay,
  baseOffset: number,
  records: readonly Input[],
  producerId?: number,
): void {
  const inputs = records.map((record) =>
    isGroupRecord(record) ? encodeGroupRecord(record) : record
  ) as RecordInput[];
  const bytes = buildBatch(
    inputs,
    producerId === undefined
      ? { baseOffset }
      : { baseOffset, producerId, producerEpoch: 0, baseSequence: 0, transactional: true },
  );
  replayGroupBatch(replay, viewOf(bytes));
}

function isGroupRecord(record: Input): record is GroupRecord {
  const { key } = record;
  return typeof key === "object" && key !== null && "type" in key;
}

/** Takes in the marker that ends a transaction. */
export function replayMarker(
  replay: GroupReplay,
  baseOffset: number,
  type: "abort" | "commit",
  producerId: number,
): void {
  const builder = batchBuilder();
  const coordinatorEpoch = 0;
  const timestamp = someTime;
  buildEndTransactionMarker(builder, {
    type,
    baseOffset,
    producerId,
    producerEpoch: 0,
    coordinatorEpoch,
    timestamp,
  });
  replayGroupBatch(replay, viewOf(builtBytes(builder).slice()));
}
