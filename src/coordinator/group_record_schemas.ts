/**
 * The fields of the records in `__consumer_offsets`, version by version: the one table behind their
 * encoder, their decoder and their types (src/FORMAT.md, sections 10.1 and 10.2). Names are Kafka's.
 *
 * Kinds of record that have no row here (of share groups and of streams groups) are told by their
 * number alone, and passed over.
 */

import type { Fields } from "../store/metadata_record_codec.ts";

/** One row: a kind of record, its number, and what its key and its value are made of. */
export interface GroupRecordSchema {
  /** With this number the key begins. */
  readonly number: number;
  /** Always in version 0, which is not flexible. */
  readonly key: Fields;
  readonly value: Fields;
  /** The newest version of the value that is known. */
  readonly versionMax: number;
  /** The first version of the value in the flexible encoding. */
  readonly flexibleSince: number;
}

const int8 = { type: "int8" } as const;
const int32 = { type: "int32" } as const;
const int64 = { type: "int64" } as const;
const bytes = { type: "bytes" } as const;
const string = { type: "string" } as const;
const strings = { type: ["string"] } as const;
const nullableString = { type: "string", nullable: true } as const;

const offsetKey = { group: string, topic: string, partition: int32 } as const;
const groupKey = { group: string } as const;
const memberKey = { group: string, memberId: string } as const;

const offsetValue = {
  offset: int64,
  leaderEpoch: { type: "int32", since: 3, default: -1 },
  metadata: string,
  commitTimestamp: int64,
  expireTimestamp: { type: "int64", since: 1, until: 1, default: -1 },
  topicId: { type: "uuid", tag: 0, since: 4, default: "AAAAAAAAAAAAAAAAAAAAAA" },
} as const;

const assignedPartitions = {
  type: [{
    topicId: { type: "uuid" },
    partitions: { type: ["int32"] },
    assignmentEpochs: { type: ["int32"], tag: 0, nullable: true, default: null },
  }],
} as const;

/** The kinds of record by name, in the order of their numbers. */
export const groupRecordSchemas = {
  LegacyOffsetCommit: {
    number: 0,
    key: offsetKey,
    value: offsetValue,
    versionMax: 0,
    flexibleSince: Infinity,
  },
  OffsetCommit: {
    number: 1,
    key: offsetKey,
    value: offsetValue,
    versionMax: 4,
    flexibleSince: 4,
  },
  GroupMetadata: {
    number: 2,
    key: groupKey,
    value: {
      protocolType: string,
      generation: int32,
      protocol: nullableString,
      leader: nullableString,
      currentStateTimestamp: { type: "int64", since: 2, default: -1 },
      members: {
        type: [{
          memberId: string,
          groupInstanceId: { type: "string", since: 3, nullable: true, default: null },
          clientId: string,
          clientHost: string,
          rebalanceTimeout: { type: "int32", since: 1, default: -1 },
          sessionTimeout: int32,
          subscription: bytes,
          assignment: bytes,
        }],
      },
    },
    versionMax: 4,
    flexibleSince: 4,
  },
  ConsumerGroupMetadata: {
    number: 3,
    key: groupKey,
    // Its metadataHash (tag 0) uses all of 64 bits, more than a number holds. Nobody here asks for
    // it, so it is passed over like any tag that is not known.
    value: { epoch: int32 },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupPartitionMetadata: {
    number: 4,
    key: groupKey,
    value: {
      topics: {
        type: [{
          topicId: { type: "uuid" },
          topicName: string,
          numPartitions: int32,
          partitionMetadata: { type: [{ partition: int32, racks: strings }] },
        }],
      },
    },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupMemberMetadata: {
    number: 5,
    key: memberKey,
    value: {
      instanceId: nullableString,
      rackId: nullableString,
      clientId: string,
      clientHost: string,
      subscribedTopicNames: strings,
      subscribedTopicRegex: nullableString,
      rebalanceTimeoutMs: int32,
      serverAssignor: nullableString,
      classicMemberMetadata: {
        type: {
          sessionTimeoutMs: int32,
          supportedProtocols: { type: [{ name: string, metadata: bytes }] },
        },
        tag: 0,
        nullable: true,
        default: null,
      },
    },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupTargetAssignmentMetadata: {
    number: 6,
    key: groupKey,
    value: { assignmentEpoch: int32, assignmentTimestamp: { type: "int64", tag: 0, default: 0 } },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupTargetAssignmentMember: {
    number: 7,
    key: memberKey,
    value: {
      topicPartitions: { type: [{ topicId: { type: "uuid" }, partitions: { type: ["int32"] } }] },
    },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupCurrentMemberAssignment: {
    number: 8,
    key: memberKey,
    value: {
      memberEpoch: int32,
      previousMemberEpoch: int32,
      state: int8,
      assignedPartitions,
      partitionsPendingRevocation: assignedPartitions,
    },
    versionMax: 0,
    flexibleSince: 0,
  },
  ConsumerGroupRegularExpression: {
    number: 16,
    key: { group: string, regularExpression: string },
    // Kafka's name is `version`, which is here that of the record.
    value: { topics: strings, imageVersion: int64, timestamp: int64 },
    versionMax: 0,
    flexibleSince: 0,
  },
} as const satisfies Record<string, GroupRecordSchema>;
