/** Keys and values of `__consumer_offsets`, byte for byte. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { javaHash, javaHashPartition } from "../../src/bytes/java_hash.ts";
import { zeroUuid } from "../../src/bytes/uuid.ts";
import { groupValueJson } from "../../src/cli/group_json.ts";
import type { GroupRecord, GroupRecordType } from "../../src/coordinator/group_records.ts";
import {
  decodeGroupKey,
  decodeGroupValue,
  encodeGroupRecord,
  findForeignGroupId,
} from "../../src/coordinator/group_records.ts";
import { groupRecordSchemas } from "../../src/coordinator/group_record_schemas.ts";
import { OttlaError } from "../../src/errors.ts";
import { viewBatch } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const fixtures = "tests/fixtures/kafka_4_1_1";

/** Group "g1", topic "t", partition 3. */
const offsetKey = "0001 0002 6731 0001 74 00000003";
const timestamp = 1_700_000_000_000;
const timestampHex = "0000018bcfe56800";

const offsetValue = {
  offset: 5,
  leaderEpoch: -1,
  metadata: "hi",
  commitTimestamp: timestamp,
  expireTimestamp: -1,
  topicId: zeroUuid,
};

/** Versions of an offset with what they say, and their bytes as Kafka's schema has them. */
const offsetVersions: readonly [number, Partial<typeof offsetValue>, string][] = [
  [0, {}, `0000 0000000000000005 0002 6869 ${timestampHex}`],
  [
    1,
    { expireTimestamp: timestamp },
    `0001 0000000000000005 0002 6869 ${timestampHex} ${timestampHex}`,
  ],
  [2, {}, `0002 0000000000000005 0002 6869 ${timestampHex}`],
  [3, { leaderEpoch: 7 }, `0003 0000000000000005 00000007 0002 6869 ${timestampHex}`],
  [4, {}, `0004 0000000000000005 ffffffff 03 6869 ${timestampHex} 00`],
  [
    4,
    { topicId: "AQIDBAUGBwgJCgsMDQ4PEA" },
    `0004 0000000000000005 ffffffff 03 6869 ${timestampHex}
     01 00 10 0102030405060708090a0b0c0d0e0f10`,
  ],
];

describe("records of groups", () => {
  for (const [version, fields, hex] of offsetVersions) {
    const named = Object.keys(fields).join();
    it(`has the bytes of an offset in version ${version} ${named}`, () => {
      const key = { type: "OffsetCommit", group: "g1", topic: "t", partition: 3 } as const;
      const value = { version, ...offsetValue, ...fields };
      const encoded = encodeGroupRecord({ key, value });
      assert.equal(hexOf(encoded.key), hexOf(bytesOfHex(offsetKey)));
      assert.equal(hexOf(encoded.value!), hexOf(bytesOfHex(hex)));
      assert.deepEqual(decodeGroupKey(bytesOfHex(offsetKey)), key);
      assert.deepEqual(decodeGroupValue("OffsetCommit", bytesOfHex(hex)), value);
    });
  }

  it("has the bytes of an empty group", () => {
    const hex = `0003 0008 636f6e73756d6572 00000002 ffff ffff ${timestampHex} 00000000`;
    const { key, value } = encodeGroupRecord({
      key: { type: "GroupMetadata", group: "g1" },
      value: {
        version: 3,
        protocolType: "consumer",
        generation: 2,
        protocol: null,
        leader: null,
        currentStateTimestamp: timestamp,
        members: [],
      },
    });
    assert.equal(hexOf(key), "000200026731");
    assert.equal(hexOf(value!), hexOf(bytesOfHex(hex)));
  });

  it("has the bytes of a group under the consumer protocol", () => {
    const key = { type: "ConsumerGroupMetadata", group: "g1" } as const;
    const plain = encodeGroupRecord({ key, value: { version: 0, epoch: 9 } });
    assert.equal(hexOf(plain.key), "000300026731");
    assert.equal(hexOf(plain.value!), "00000000000900");
  });

  it("passes over the hash of a group under the consumer protocol, whatever it is", () => {
    for (const hash of ["0000000000000001", "a43239c5a1b2c3d4", "7fffffffffffffff"]) {
      const value = bytesOfHex(`0000 00000009 01 00 08 ${hash}`);
      assert.deepEqual(decodeGroupValue("ConsumerGroupMetadata", value), { version: 0, epoch: 9 });
    }
  });

  it("tells an assignment with epochs from one without", () => {
    const one = { topicId: "AQIDBAUGBwgJCgsMDQ4PEA", partitions: [1, 2] };
    for (const assignmentEpochs of [null, [3, 4]]) {
      const record: GroupRecord = {
        key: { type: "ConsumerGroupCurrentMemberAssignment", group: "g", memberId: "m" },
        value: {
          version: 0,
          memberEpoch: 3,
          previousMemberEpoch: 2,
          state: 0,
          assignedPartitions: [{ ...one, assignmentEpochs }],
          partitionsPendingRevocation: [],
        },
      };
      const { value } = encodeGroupRecord(record);
      assert.deepEqual(decodeGroupValue(record.key.type, value!), record.value);
    }
  });

  for (const folder of ["static_4_0", "standalone_4_1"]) {
    it(`reads what Kafka wrote and writes the same bytes: ${folder}`, async () => {
      await loadCrc32c();
      const name = `${fixtures}/${folder}/__consumer_offsets-0/00000000000000000000.log`;
      const bytes = Uint8Array.from(readFileSync(name));
      let count = 0;
      for (let at = 0; at < bytes.length;) {
        const batch = viewBatch(bytes, at)!;
        for (const { key, value } of recordsOf(batch)) {
          const decoded = decodeGroupKey(key!)!;
          const again = encodeGroupRecord(
            {
              key: decoded,
              value: value && decodeGroupValue(decoded.type, value),
            } as GroupRecord,
          );
          assert.equal(hexOf(again.key), hexOf(key!));
          assert.equal(hexOf(again.value!), hexOf(value!));
          count++;
        }
        at += batch.sizeBytes;
      }
      assert.equal(count, 27);
    });
  }

  it("leaves kinds alone that it does not know, and knows whose id is taken", () => {
    for (const number of [9, 10, 11, 15, 17, 99]) {
      const key = bytesOfHex(`00${number.toString(16).padStart(2, "0")} 0002 6731`);
      assert.equal(decodeGroupKey(key), undefined);
      const isTaken = number === 11 || number === 17;
      assert.equal(findForeignGroupId(key), isTaken ? "g1" : undefined);
    }
  });

  it("refuses versions that it does not know", () => {
    for (const [type, { versionMax }] of Object.entries(groupRecordSchemas)) {
      const version = new Uint8Array([0, versionMax + 1, 0, 0, 0, 0]);
      assert.throws(() => decodeGroupValue(type as GroupRecordType, version), {
        code: "UNSUPPORTED_VERSION",
      });
    }
    assert.throws(() => decodeGroupValue("OffsetCommit", bytesOfHex("ffff 00")), {
      code: "UNSUPPORTED_VERSION",
    });
  });

  it("finds bytes that are missing or left over", () => {
    const value = bytesOfHex(offsetVersions[3]![2]);
    for (let length = 0; length < value.length; length++) {
      assert.throws(() => decodeGroupValue("OffsetCommit", value.slice(0, length)), {
        code: "CORRUPT_MESSAGE",
      });
    }
    assert.throws(() => decodeGroupKey(bytesOfHex(`${offsetKey} 00`)), {
      code: "CORRUPT_MESSAGE",
    });
  });

  it("finds any bytes readable or not, and nothing else", () => {
    const types = Object.keys(groupRecordSchemas) as GroupRecordType[];
    assertProperty(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(...types), (bytes, type) => {
        for (
          const decode of [
            () => decodeGroupKey(bytes),
            () => findForeignGroupId(bytes),
            () => decodeGroupValue(type, new Uint8Array([0, 0, ...bytes])),
          ]
        ) {
          try {
            decode();
          } catch (error) {
            assert(error instanceof OttlaError, String(error));
          }
        }
      }),
    );
  });

  it("keep the version of a record and that of the metadata it was made from apart", () => {
    const key = {
      type: "ConsumerGroupRegularExpression",
      group: "g1",
      regularExpression: "a.*",
    } as const;
    const value = { version: 0, topics: ["a1"], imageVersion: 2 ** 47, timestamp: 5 };
    const encoded = encodeGroupRecord({ key, value });
    assert.deepEqual(decodeGroupKey(encoded.key), key);
    assert.deepEqual(decodeGroupValue(key.type, encoded.value!), value);
    const shown = { topics: ["a1"], version: 2 ** 47, timestamp: 5 };
    assert.deepEqual(groupValueJson(key.type, value), { version: "0", data: shown });
  });
});

describe("the partition of a group", () => {
  it("is the one that Kafka chooses", () => {
    const vectors: readonly [string, number, number][] = [
      ["my-group", -1906497762, 12],
      ["group1", -1237460590, 40],
      ["test", 3556498, 48],
      ["console-consumer-1", 35782224, 24],
      ["", 0, 0],
      ["polygenelubricants", -2147483648, 0],
    ];
    for (const [groupId, hash, partition] of vectors) {
      assert.equal(javaHash(groupId), hash);
      assert.equal(javaHashPartition(groupId, 50), partition);
    }
  });
});
