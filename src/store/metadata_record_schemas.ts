/**
 * The fields of Kafka's metadata records and control records, version by version: the one table
 * behind their encoder, their decoder and their types (src/FORMAT.md, sections 5.2 and 5.3).
 * Names are Kafka's.
 */

import type { Fields } from "./metadata_record_codec.ts";

/** One row: a message, its number, and the newest version known. */
export interface MessageSchema {
  /** The api key of a metadata record, the type of a control record. */
  readonly key: number;
  readonly versionMax: number;
  readonly fields: Fields;
}

const bool = { type: "bool" } as const;
const int8 = { type: "int8" } as const;
const int16 = { type: "int16" } as const;
const uint16 = { type: "uint16" } as const;
const int32 = { type: "int32" } as const;
const int64 = { type: "int64" } as const;
const float64 = { type: "float64" } as const;
const bytes = { type: "bytes" } as const;
const string = { type: "string" } as const;
const nullableString = { type: "string", nullable: true } as const;
const uuid = { type: "uuid" } as const;
const int32s = { type: ["int32"] } as const;
const strings = { type: ["string"] } as const;

/** A tagged field that is null unless it is there. */
const taggedInt32s = (tag: number, since: number) =>
  ({ type: ["int32"], tag, since, nullable: true, default: null }) as const;
const taggedUuids = (tag: number, since: number) =>
  ({ type: ["uuid"], tag, since, nullable: true, default: null }) as const;

const endPoints = {
  type: [{ name: string, host: string, port: uint16, securityProtocol: int16 }],
} as const;
const features = {
  type: [{ name: string, minSupportedVersion: int16, maxSupportedVersion: int16 }],
} as const;

/** The metadata records by name, in the order of their api keys. */
export const metadataRecordSchemas = {
  RegisterBrokerRecord: {
    key: 0,
    versionMax: 4,
    fields: {
      brokerId: int32,
      isMigratingZkBroker: { type: "bool", since: 2, default: false },
      incarnationId: uuid,
      brokerEpoch: int64,
      endPoints,
      features,
      rack: nullableString,
      fenced: bool,
      inControlledShutdown: { type: "bool", since: 1, default: false },
      logDirs: { type: ["uuid"], tag: 0, since: 3, default: [] },
      cordonedLogDirs: taggedUuids(1, 4),
    },
  },
  UnregisterBrokerRecord: {
    key: 1,
    versionMax: 0,
    fields: { brokerId: int32, brokerEpoch: int64 },
  },
  TopicRecord: { key: 2, versionMax: 0, fields: { name: string, topicId: uuid } },
  PartitionRecord: {
    key: 3,
    versionMax: 2,
    fields: {
      partitionId: int32,
      topicId: uuid,
      replicas: int32s,
      isr: int32s,
      removingReplicas: int32s,
      addingReplicas: int32s,
      leader: int32,
      leaderRecoveryState: { type: "int8", tag: 0, default: 0 },
      leaderEpoch: int32,
      partitionEpoch: int32,
      directories: { type: ["uuid"], since: 1, default: [] },
      eligibleLeaderReplicas: taggedInt32s(1, 2),
      lastKnownElr: taggedInt32s(2, 2),
    },
  },
  ConfigRecord: {
    key: 4,
    versionMax: 0,
    fields: { resourceType: int8, resourceName: string, name: string, value: nullableString },
  },
  PartitionChangeRecord: {
    key: 5,
    versionMax: 2,
    fields: {
      partitionId: int32,
      topicId: uuid,
      isr: taggedInt32s(0, 0),
      leader: { type: "int32", tag: 1, default: -2 },
      replicas: taggedInt32s(2, 0),
      removingReplicas: taggedInt32s(3, 0),
      addingReplicas: taggedInt32s(4, 0),
      leaderRecoveryState: { type: "int8", tag: 5, default: -1 },
      eligibleLeaderReplicas: taggedInt32s(6, 2),
      lastKnownElr: taggedInt32s(7, 2),
      directories: taggedUuids(8, 1),
    },
  },
  FenceBrokerRecord: { key: 7, versionMax: 0, fields: { id: int32, epoch: int64 } },
  UnfenceBrokerRecord: { key: 8, versionMax: 0, fields: { id: int32, epoch: int64 } },
  RemoveTopicRecord: { key: 9, versionMax: 0, fields: { topicId: uuid } },
  DelegationTokenRecord: {
    key: 10,
    versionMax: 0,
    fields: {
      owner: string,
      requester: string,
      renewers: strings,
      issueTimestamp: int64,
      maxTimestamp: int64,
      expirationTimestamp: int64,
      tokenId: string,
    },
  },
  UserScramCredentialRecord: {
    key: 11,
    versionMax: 0,
    fields: {
      name: string,
      mechanism: int8,
      salt: bytes,
      storedKey: bytes,
      serverKey: bytes,
      iterations: int32,
    },
  },
  FeatureLevelRecord: { key: 12, versionMax: 0, fields: { name: string, featureLevel: int16 } },
  ClientQuotaRecord: {
    key: 14,
    versionMax: 0,
    fields: {
      entity: { type: [{ entityType: string, entityName: nullableString }] },
      key: string,
      value: float64,
      remove: bool,
    },
  },
  ProducerIdsRecord: {
    key: 15,
    versionMax: 0,
    fields: { brokerId: int32, brokerEpoch: int64, nextProducerId: int64 },
  },
  BrokerRegistrationChangeRecord: {
    key: 17,
    versionMax: 3,
    fields: {
      brokerId: int32,
      brokerEpoch: int64,
      fenced: { type: "int8", tag: 0, default: 0 },
      inControlledShutdown: { type: "int8", tag: 1, since: 1, default: 0 },
      logDirs: { type: ["uuid"], tag: 2, since: 2, default: [] },
      cordonedLogDirs: taggedUuids(3, 3),
    },
  },
  AccessControlEntryRecord: {
    key: 18,
    versionMax: 0,
    fields: {
      id: uuid,
      resourceType: int8,
      resourceName: string,
      patternType: int8,
      principal: string,
      host: string,
      operation: int8,
      permissionType: int8,
    },
  },
  RemoveAccessControlEntryRecord: { key: 19, versionMax: 0, fields: { id: uuid } },
  NoOpRecord: { key: 20, versionMax: 0, fields: {} },
  ZkMigrationStateRecord: { key: 21, versionMax: 0, fields: { zkMigrationState: int8 } },
  RemoveUserScramCredentialRecord: {
    key: 22,
    versionMax: 0,
    fields: { name: string, mechanism: int8 },
  },
  BeginTransactionRecord: {
    key: 23,
    versionMax: 0,
    fields: { name: { type: "string", tag: 0, nullable: true, default: null } },
  },
  EndTransactionRecord: { key: 24, versionMax: 0, fields: {} },
  AbortTransactionRecord: {
    key: 25,
    versionMax: 0,
    fields: { reason: { type: "string", tag: 0, nullable: true, default: null } },
  },
  RemoveDelegationTokenRecord: { key: 26, versionMax: 0, fields: { tokenId: string } },
  RegisterControllerRecord: {
    key: 27,
    versionMax: 0,
    fields: {
      controllerId: int32,
      incarnationId: uuid,
      zkMigrationReady: bool,
      endPoints,
      features,
    },
  },
  ClearElrRecord: { key: 28, versionMax: 0, fields: { topicName: string } },
} as const satisfies Record<string, MessageSchema>;

const voterIds = {
  type: [{
    voterId: int32,
    voterDirectoryId: { type: "uuid", since: 1, default: "AAAAAAAAAAAAAAAAAAAAAA" },
  }],
} as const;

/** The control records of the metadata log by name; the version each begins with is not here. */
export const controlRecordSchemas = {
  LeaderChangeMessage: {
    key: 2,
    versionMax: 1,
    fields: { leaderId: int32, voters: voterIds, grantingVoters: voterIds },
  },
  SnapshotHeaderRecord: { key: 3, versionMax: 0, fields: { lastContainedLogTimestamp: int64 } },
  SnapshotFooterRecord: { key: 4, versionMax: 0, fields: {} },
  KRaftVersionRecord: { key: 5, versionMax: 0, fields: { kRaftVersion: int16 } },
  VotersRecord: {
    key: 6,
    versionMax: 0,
    fields: {
      voters: {
        type: [{
          voterId: int32,
          voterDirectoryId: uuid,
          endpoints: { type: [{ name: string, host: string, port: uint16 }] },
          kRaftVersionFeature: {
            type: { minSupportedVersion: int16, maxSupportedVersion: int16 },
          },
        }],
      },
    },
  },
} as const satisfies Record<string, MessageSchema>;
