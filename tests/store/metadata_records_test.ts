/** Metadata and control records by their golden bytes: src/FORMAT.md, section 5.3. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { ControlRecord, MetadataRecord } from "../../src/store/metadata_records.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeControlKey,
  encodeControlRecord,
  encodeMetadataRecord,
} from "../../src/store/metadata_records.ts";

const topicId = "EBESExQVFhcYGRobHB0eHw";
const directoryId = "AAECAwQFBgcICQoLDA0ODw";
const noChange = {
  isr: null,
  leader: -2,
  replicas: null,
  removingReplicas: null,
  addingReplicas: null,
  leaderRecoveryState: -1,
  eligibleLeaderReplicas: null,
  lastKnownElr: null,
  directories: null,
} as const;

function feature(name: string, featureLevel: number): MetadataRecord {
  return { type: "FeatureLevelRecord", version: 0, name, featureLevel };
}

function config(value: string | null): MetadataRecord {
  const name = "retention.ms";
  return { type: "ConfigRecord", version: 0, resourceType: 2, resourceName: "foo", name, value };
}

/** The values of src/FORMAT.md, section 5.3. */
const metadataVectors: readonly (readonly [string, MetadataRecord])[] = [
  ["010c00116d657461646174612e76657273696f6e001900", feature("metadata.version", 25)],
  ["010c000e67726f75702e76657273696f6e000100", feature("group.version", 1)],
  ["010c00147472616e73616374696f6e2e76657273696f6e000200", feature("transaction.version", 2)],
  [
    "01020004666f6f101112131415161718191a1b1c1d1e1f00",
    { type: "TopicRecord", version: 0, name: "foo", topicId },
  ],
  [
    "01030200000000101112131415161718191a1b1c1d1e1f020000000102000000010101000000010000000000000000" +
    "02000102030405060708090a0b0c0d0e0f00",
    {
      type: "PartitionRecord",
      version: 2,
      partitionId: 0,
      topicId,
      replicas: [1],
      isr: [1],
      removingReplicas: [],
      addingReplicas: [],
      leader: 1,
      leaderRecoveryState: 0,
      leaderEpoch: 0,
      partitionEpoch: 0,
      directories: [directoryId],
      eligibleLeaderReplicas: null,
      lastKnownElr: null,
    },
  ],
  [
    "01050200000000101112131415161718191a1b1c1d1e1f01010400000001",
    { type: "PartitionChangeRecord", version: 2, partitionId: 0, topicId, ...noChange, leader: 1 },
  ],
  ["0104000204666f6f0d726574656e74696f6e2e6d73032d3100", config("-1")],
  ["0104000204666f6f0d726574656e74696f6e2e6d730000", config(null)],
  ["010900101112131415161718191a1b1c1d1e1f00", { type: "RemoveTopicRecord", version: 0, topicId }],
  [
    "010f0000000001ffffffffffffffff00000000000003e800",
    { type: "ProducerIdsRecord", version: 0, brokerId: 1, brokerEpoch: -1, nextProducerId: 1000 },
  ],
  [
    "010e0002057573657200001370726f64756365725f627974655f7261746540900000000000000000",
    {
      type: "ClientQuotaRecord",
      version: 0,
      entity: [{ entityType: "user", entityName: null }],
      key: "producer_byte_rate",
      value: 1024,
      remove: false,
    },
  ],
  ["0117000100020278", { type: "BeginTransactionRecord", version: 0, name: "x" }],
  ["01180000", { type: "EndTransactionRecord", version: 0 }],
  ["01140000", { type: "NoOpRecord", version: 0 }],
];

const controlVectors: readonly (readonly [string, string, ControlRecord])[] = [
  [
    "00000002",
    "00000000000102000000010002000000010000",
    {
      type: "LeaderChangeMessage",
      version: 0,
      leaderId: 1,
      voters: [{ voterId: 1, voterDirectoryId: "AAAAAAAAAAAAAAAAAAAAAA" }],
      grantingVoters: [{ voterId: 1, voterDirectoryId: "AAAAAAAAAAAAAAAAAAAAAA" }],
    },
  ],
  [
    "00000003",
    "0000000000000000000000",
    { type: "SnapshotHeaderRecord", version: 0, lastContainedLogTimestamp: 0 },
  ],
  ["00000004", "000000", { type: "SnapshotFooterRecord", version: 0 }],
  ["00000005", "0000000100", { type: "KRaftVersionRecord", version: 0, kRaftVersion: 1 }],
  [
    "00000006",
    "00000200000001000102030405060708090a0b0c0d0e0f020b434f4e54524f4c4c45520a6c6f63616c686f7374" +
    "23850000000001000000",
    {
      type: "VotersRecord",
      version: 0,
      voters: [{
        voterId: 1,
        voterDirectoryId: directoryId,
        endpoints: [{ name: "CONTROLLER", host: "localhost", port: 9093 }],
        kRaftVersionFeature: { minSupportedVersion: 0, maxSupportedVersion: 1 },
      }],
    },
  ],
];

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function assertRefused(hex: string, code: "CORRUPT_MESSAGE" | "UNSUPPORTED_VERSION"): Error {
  try {
    decodeMetadataRecord(bytesOf(hex));
  } catch (error) {
    assert.equal(isOttlaError(error, code), true, `${hex}: ${String(error)}`);
    return error as Error;
  }
  assert.fail(`${hex} was decoded`);
}

test("metadata records have Kafka's bytes, both ways", () => {
  for (const [hex, record] of metadataVectors) {
    assert.equal(hexOf(encodeMetadataRecord(record)), hex);
    assert.deepEqual(decodeMetadataRecord(bytesOf(hex)), record);
  }
});

test("control records have Kafka's bytes, both ways", () => {
  for (const [key, value, record] of controlVectors) {
    assert.equal(hexOf(encodeControlKey(record.type)), key);
    assert.equal(hexOf(encodeControlRecord(record)), value);
    assert.deepEqual(decodeControlRecord(bytesOf(key), bytesOf(value)), record);
  }
});

test("a record that ends at any earlier byte, or goes on, is CORRUPT_MESSAGE", () => {
  for (const [hex] of metadataVectors) {
    for (let end = 0; end < hex.length; end += 2) {
      assertRefused(hex.slice(0, end), "CORRUPT_MESSAGE");
    }
    assert.match(assertRefused(hex + "00", "CORRUPT_MESSAGE").message, /1 bytes are left over/);
  }
  for (const [key, value] of controlVectors) {
    for (const wrong of [value.slice(0, -2), value + "00", ""]) {
      assert.throws(
        () => decodeControlRecord(bytesOf(key), bytesOf(wrong)),
        (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
      );
    }
  }
});

test("an unknown record or version is refused by both numbers, as a newer Kafka's", () => {
  const unknownKey = assertRefused("011d0300", "UNSUPPORTED_VERSION");
  assert.match(unknownKey.message, /api key 29 version 3 .*newer Kafka/);
  const newerVersion = assertRefused("01020104666f6f", "UNSUPPORTED_VERSION");
  assert.match(newerVersion.message, /api key 2 \(TopicRecord\) version 1/);
  // 6 and 13 are gaps in the table.
  assertRefused("01060000", "UNSUPPORTED_VERSION");
  assertRefused("010d0000", "UNSUPPORTED_VERSION");
  assert.match(assertRefused("02140000", "UNSUPPORTED_VERSION").message, /frame version 2/);
});

test("an unknown control record is refused", () => {
  const wrong = [["00000000", "000000"], ["00000007", "000000"], ["00010002", "000000"]];
  for (const [key = "", value = ""] of [...wrong, ["00000005", "0001000100"]]) {
    assert.throws(
      () => decodeControlRecord(bytesOf(key), bytesOf(value)),
      (error) => isOttlaError(error, "UNSUPPORTED_VERSION"),
    );
  }
  assert.throws(
    () => decodeControlRecord(bytesOf("000000"), bytesOf("000000")),
    (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
  );
});

test("the newer form of LeaderChange is read", () => {
  const value = "0001000000010200000001000102030405060708090a0b0c0d0e0f000100";
  const record = decodeControlRecord(bytesOf("00000002"), bytesOf(value));
  assert.deepEqual(record, {
    type: "LeaderChangeMessage",
    version: 1,
    leaderId: 1,
    voters: [{ voterId: 1, voterDirectoryId: directoryId }],
    grantingVoters: [],
  });
});

test("a tag that is not known is skipped", () => {
  assert.deepEqual(decodeMetadataRecord(bytesOf("01140001630301ff02")), {
    type: "NoOpRecord",
    version: 0,
  });
  // Tag 1 of a PartitionRecord came with version 2: in version 0 it is not known.
  const version0 =
    "01030000000000101112131415161718191a1b1c1d1e1f010101010000000100000000000000000101050200000001";
  const record = decodeMetadataRecord(bytesOf(version0));
  assert.equal(record.type === "PartitionRecord" && record.eligibleLeaderReplicas, null);
});

test("tagged fields that contradict themselves are CORRUPT_MESSAGE", () => {
  const change = "01050200000000101112131415161718191a1b1c1d1e1f";
  const leader = "010400000001";
  assertRefused(change + "02" + leader + leader, "CORRUPT_MESSAGE");
  assertRefused(change + "02" + leader + "000100", "CORRUPT_MESSAGE");
  const tooSmall = assertRefused(change + "01010300000001", "CORRUPT_MESSAGE");
  assert.match(tooSmall.message, /leader has 4 bytes, its tag says 3/);
  assertRefused(change + "01010500000001", "CORRUPT_MESSAGE");
  assertRefused(change + "0101050000000100", "CORRUPT_MESSAGE");
  assertRefused(change + "ffffffff0f", "CORRUPT_MESSAGE");
});

test("lengths beyond the input are refused before anything is allocated by them", () => {
  // An array of 2^32 - 2 elements, a string of 2^31 - 2 bytes, a string of 32768 bytes.
  const array = "01030200000000101112131415161718191a1b1c1d1e1fffffffff0f";
  assert.match(
    assertRefused(array, "CORRUPT_MESSAGE").message,
    /replicas has 4294967294 elements, but 0 bytes follow/,
  );
  assertRefused("010200ffffffff0761", "CORRUPT_MESSAGE");
  assertRefused("010200818002" + "61".repeat(32768) + "00".repeat(17), "CORRUPT_MESSAGE");
});

test("null where there must be a value and text that is not UTF-8 are CORRUPT_MESSAGE", () => {
  assertRefused("01020000101112131415161718191a1b1c1d1e1f00", "CORRUPT_MESSAGE");
  assertRefused("01020002ff101112131415161718191a1b1c1d1e1f00", "CORRUPT_MESSAGE");
  assertRefused("010200", "CORRUPT_MESSAGE");
});

test("a number beyond the safe integers is CORRUPT_MESSAGE", () => {
  assertRefused("010f0000000001ffffffffffffffff7fffffffffffffff00", "CORRUPT_MESSAGE");
});

test("a value that does not fit its field is not encoded", () => {
  const level = { type: "FeatureLevelRecord", version: 0, name: "a" } as const;
  for (const featureLevel of [32768, -32769, 1.5, NaN]) {
    assert.throws(() => encodeMetadataRecord({ ...level, featureLevel }), RangeError);
  }
  const topic = { type: "TopicRecord", version: 0, topicId } as const;
  assert.throws(() => encodeMetadataRecord({ ...topic, name: "a".repeat(32768) }), RangeError);
  assert.throws(() => encodeMetadataRecord({ ...topic, name: "a", topicId: "x" }), RangeError);
  assert.throws(() => encodeMetadataRecord({ ...topic, name: "a", version: 1 }), RangeError);
  assert.throws(() => encodeMetadataRecord({ ...topic, name: "a", version: -1 }), RangeError);
});

test("a field that the version does not have must hold its default", () => {
  const change = { type: "PartitionChangeRecord", partitionId: 0, topicId, ...noChange } as const;
  assert.throws(
    () => encodeMetadataRecord({ ...change, version: 1, lastKnownElr: [1] }),
    /lastKnownElr exists since version 2, not in 1/,
  );
  const partition = metadataVectors[4]?.[1];
  assert.equal(partition?.type, "PartitionRecord");
  assert.throws(
    () => encodeMetadataRecord({ ...partition, version: 0 }),
    /directories exists since/,
  );
  const bytes = encodeMetadataRecord({ ...partition, version: 0, directories: [] });
  assert.deepEqual(decodeMetadataRecord(bytes), { ...partition, version: 0, directories: [] });
});
