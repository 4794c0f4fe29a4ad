/** What reading `__consumer_offsets` back makes of it. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { offsetsInOrder } from "../../src/coordinator/group.ts";
import { encodeGroupRecord } from "../../src/coordinator/group_records.ts";
import type { GroupReplay, ReplayedGroup } from "../../src/coordinator/group_replay.ts";
import {
  finishGroupReplay,
  groupReplay,
  replayGap,
  replayGroupBatch,
} from "../../src/coordinator/group_replay.ts";
import { buildBatch, rawBatch, someTime, viewOf } from "../support/batches.ts";
import { bytesOfHex } from "../support/hex.ts";
import {
  metadataRecord,
  offsetRecord,
  replayMarker,
  replayRecords,
  tombstone,
} from "../support/group_batches.ts";
import { assertProperty } from "../support/properties.ts";

const now = someTime + 60_000;

function finished(replay: GroupReplay): Map<string, ReplayedGroup> {
  return new Map([...finishGroupReplay(replay)].map((group) => [group.groupId, group]));
}

/** The offsets of group "g", topic "t", by partition. */
function offsetsOf(replay: GroupReplay): [number, number][] {
  const group = finished(replay).get("g");
  if (group === undefined) return [];
  return offsetsInOrder(group).map(({ partition, committed }) => [partition, committed.offset]);
}

describe("replaying groups", () => {
  before(loadCrc32c);

  it("lets the last value of a key count, and nothing that was taken back", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 1), offsetRecord(1, 5), offsetRecord(0, 3)]);
    replayRecords(replay, 3, [
      tombstone({ type: "OffsetCommit", group: "g", topic: "t", partition: 1 }),
      offsetRecord(2, 9),
    ]);
    assert.deepEqual(offsetsOf(replay), [[0, 3], [2, 9]]);
  });

  it("reads the oldest form of an offset too", () => {
    const replay = groupReplay(now);
    const { key, value } = encodeGroupRecord(offsetRecord(0, 4, { version: 0 }));
    key[1] = 0;
    replayRecords(replay, 0, [{ key, value }]);
    assert.deepEqual(offsetsOf(replay), [[0, 4]]);
  });

  it("takes an offset back by the oldest form of its key", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 4), offsetRecord(0, 5), offsetRecord(1, 6)]);
    const { key } = encodeGroupRecord(offsetRecord(0, 4));
    key[1] = 0;
    replayRecords(replay, 3, [{ key, value: null }]);
    assert.deepEqual(offsetsOf(replay), [[1, 6]]);
  });

  it("agrees with a map from keys to values", () => {
    const change = fc.record({
      partition: fc.nat({ max: 3 }),
      offset: fc.option(fc.nat({ max: 100 }), { nil: null }),
      metadata: fc.constantFrom("", "", "note"),
      version: fc.constantFrom(1, 3, 4),
    });
    assertProperty(
      fc.property(fc.array(fc.array(change, { minLength: 1, maxLength: 5 })), (batches) => {
        const replay = groupReplay(now);
        const expected = new Map<number, number>();
        let baseOffset = 0;
        for (const changes of batches) {
          const records = changes.map(({ partition, offset, ...more }) => {
            if (offset !== null) return offsetRecord(partition, offset, more);
            return tombstone({ type: "OffsetCommit", group: "g", topic: "t", partition });
          });
          replayRecords(replay, baseOffset, records);
          baseOffset += records.length;
          for (const { partition, offset } of changes) {
            if (offset === null) expected.delete(partition);
            else expected.set(partition, offset);
          }
        }
        assert.deepEqual(offsetsOf(replay), [...expected].sort(([a], [b]) => a - b));
      }),
    );
  });
});

describe("replaying transactions", () => {
  before(loadCrc32c);

  it("lets offsets count when their transaction was committed, not when it was aborted", () => {
    for (const type of ["commit", "abort"] as const) {
      const replay = groupReplay(now);
      replayRecords(replay, 0, [offsetRecord(0, 1)]);
      replayRecords(replay, 1, [offsetRecord(0, 7), offsetRecord(1, 8)], 42);
      replayMarker(replay, 3, "commit", 43);
      replayMarker(replay, 4, type, 42);
      assert.deepEqual(offsetsOf(replay), type === "commit" ? [[0, 7], [1, 8]] : [[0, 1]]);
    }
  });

  it("takes no other control record for the end of a transaction", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 7)], 42);
    const other = buildBatch([{ key: bytesOfHex("0000 0063"), value: bytesOfHex("0000") }], {
      baseOffset: 1,
      producerId: 42,
      producerEpoch: 0,
      transactional: true,
      control: true,
    });
    replayGroupBatch(replay, viewOf(other));
    replayMarker(replay, 2, "commit", 42);
    assert.deepEqual(offsetsOf(replay), [[0, 7]]);
  });

  it("keeps those of a transaction that has not ended with their group", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 7)], 42);
    const group = finished(replay).get("g")!;
    assert.equal(group.offsets.size, 0);
    assert.deepEqual([...group.pendingOffsets.keys()], [42]);
    assert.equal(group.pendingOffsets.get(42)![0]!.committed.offset, 7);
  });

  it("does not let a transaction go back behind what was committed after it", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 7)], 42);
    replayRecords(replay, 1, [offsetRecord(0, 9)]);
    replayMarker(replay, 2, "commit", 42);
    assert.deepEqual(offsetsOf(replay), [[0, 9]]);
  });

  it("does not bring back what was taken back in the middle of a transaction", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 7), offsetRecord(1, 8)], 42);
    replayRecords(replay, 2, [
      tombstone({ type: "OffsetCommit", group: "g", topic: "t", partition: 0 }),
    ]);
    replayMarker(replay, 3, "commit", 42);
    assert.deepEqual(offsetsOf(replay), [[1, 8]]);
  });
});

describe("replaying what groups are", () => {
  before(loadCrc32c);

  it("goes on from the generation, and knows since when a group is empty", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [metadataRecord("g", 5), metadataRecord("alive", 2, -1)]);
    const groups = finished(replay);
    const { generation, emptySinceMs, protocolType, hasMetadata } = groups.get("g")!;
    assert.deepEqual(
      { generation, emptySinceMs, protocolType, hasMetadata },
      { generation: 5, emptySinceMs: someTime, protocolType: "consumer", hasMetadata: true },
    );
    assert.equal(groups.get("alive")!.emptySinceMs, now);
  });

  it("takes members of the past as gone from now on", () => {
    const replay = groupReplay(now);
    const record = metadataRecord("g", 5);
    const members = [{
      memberId: "m",
      groupInstanceId: null,
      clientId: "c",
      clientHost: "/127.0.0.1",
      rebalanceTimeout: 1,
      sessionTimeout: 1,
      subscription: new Uint8Array(0),
      assignment: new Uint8Array(0),
    }];
    replayRecords(replay, 0, [{ ...record, value: { ...record.value, members } } as never]);
    assert.equal(finished(replay).get("g")!.emptySinceMs, now);
  });

  it("forgets a group that was deleted", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [
      metadataRecord("g", 5),
      tombstone({ type: "GroupMetadata", group: "g" }),
      tombstone({ type: "GroupMetadata", group: "never there" }),
    ]);
    assert.deepEqual([...finished(replay).keys()], []);
  });

  it("keeps the keys of the consumer protocol, and goes on from its epoch", () => {
    const replay = groupReplay(now);
    const target = { type: "ConsumerGroupTargetAssignmentMember", group: "g", memberId: "m" };
    replayRecords(replay, 0, [
      {
        key: { type: "ConsumerGroupMetadata", group: "g" },
        value: { version: 0, epoch: 8 },
      },
      { key: target, value: { version: 0, topicPartitions: [] } } as never,
      {
        key: { type: "ConsumerGroupTargetAssignmentMetadata", group: "g" },
        value: { version: 0, assignmentEpoch: 8, assignmentTimestamp: 0 },
      },
      tombstone(target as never),
    ]);
    const group = finished(replay).get("g")!;
    assert.deepEqual([...group.brokerKeys.values()].map(({ type }) => type), [
      "ConsumerGroupMetadata",
      "ConsumerGroupTargetAssignmentMetadata",
    ]);
    assert.equal(group.generation, 8);
    assert.equal(group.emptySinceMs, now);
  });

  it("forgets what a group was under the consumer protocol when that is taken back", () => {
    const replay = groupReplay(now);
    const key = { type: "ConsumerGroupMetadata", group: "g" } as const;
    replayRecords(replay, 0, [
      { key, value: { version: 0, epoch: 8 } },
      tombstone(key),
      offsetRecord(0, 1),
    ]);
    const { protocolType, generation, hadMembers, brokerKeys } = finished(replay).get("g")!;
    assert.deepEqual({ protocolType, generation, hadMembers, brokerKeys: brokerKeys.size }, {
      protocolType: null,
      generation: 0,
      hadMembers: false,
      brokerKeys: 0,
    });
  });

  it("keeps what a group is when the other protocol is taken back", () => {
    const replay = groupReplay(now);
    const key = { type: "ConsumerGroupMetadata", group: "g" } as const;
    replayRecords(replay, 0, [metadataRecord("g", 5), tombstone(key)]);
    const { protocolType, generation } = finished(replay).get("g")!;
    assert.deepEqual({ protocolType, generation }, { protocolType: "consumer", generation: 5 });
  });

  it("tells which groups had members for all that is written", () => {
    const replay = groupReplay(now);
    const simple = metadataRecord("simple", 0, -1);
    replayRecords(replay, 0, [
      metadataRecord("empty", 5),
      metadataRecord("alive", 5, -1),
      { ...simple, value: { ...simple.value, protocolType: "" } } as never,
      offsetRecord(0, 1, { group: "alone" }),
      {
        key: { type: "ConsumerGroupMetadata", group: "broker" },
        value: { version: 0, epoch: 8 },
      },
    ]);
    const alive = [...finished(replay).values()].filter(({ hadMembers }) => hadMembers);
    assert.deepEqual(alive.map(({ groupId }) => groupId), ["alive", "broker"]);
  });

  it("notes which ids belong to groups of other kinds", () => {
    const replay = groupReplay(now);
    const share = bytesOfHex("000b 0005 7368617265");
    const streams = bytesOfHex("0011 0002 7373");
    replayRecords(replay, 0, [
      { key: share, value: bytesOfHex("0000 00000001 00") },
      { key: streams, value: bytesOfHex("0000 00000001 00") },
      { key: streams, value: null },
    ]);
    assert.deepEqual([...replay.foreignIds], ["share"]);
    assert.deepEqual([...finished(replay).keys()], []);
    assert.equal(replay.skippedCount, 0);
  });
});

describe("replaying damage", () => {
  before(loadCrc32c);

  it("does not let offsets count whose transaction may have been aborted in what is lost", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 1)]);
    replayRecords(replay, 1, [offsetRecord(0, 70), offsetRecord(1, 80)], 42);
    replayGap(replay);
    replayRecords(replay, 4, [offsetRecord(2, 3)], 42);
    replayMarker(replay, 5, "commit", 42);
    assert.deepEqual(offsetsOf(replay), [[0, 1], [2, 3]]);
    assert.deepEqual(finished(replay).get("g")?.pendingOffsets.size, 0);
  });

  it("does not let offsets count whose marker cannot be read, those of others do", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, 70)], 42);
    replayRecords(replay, 1, [offsetRecord(1, 80)], 43);
    const marker = buildBatch([{ key: bytesOfHex("0000 0000"), value: null }], {
      baseOffset: 2,
      producerId: 42,
      producerEpoch: 0,
      transactional: true,
      control: true,
    });
    replayGroupBatch(replay, viewOf(marker));
    assert.equal(replay.skippedCount, 1);
    replayMarker(replay, 3, "commit", 42);
    replayMarker(replay, 4, "commit", 43);
    assert.deepEqual(offsetsOf(replay), [[1, 80]]);
  });

  it("passes over records that cannot be read, and takes in those around them", () => {
    const replay = groupReplay(now);
    const { key, value } = encodeGroupRecord(offsetRecord(0, 50));
    replayRecords(replay, 0, [
      offsetRecord(0, 3),
      { key, value: value!.slice(0, 9) },
      { key: key.slice(0, 5), value },
      { key: null, value },
      { key: new Uint8Array(0), value },
      { key, value: Uint8Array.of(0, 99, ...value!) },
      offsetRecord(1, 4),
    ]);
    assert.equal(replay.skippedCount, 5);
    assert.notEqual(replay.firstFault, undefined);
    assert.deepEqual(offsetsOf(replay), [[0, 3], [1, 4]]);
  });

  it("passes over a batch whose records are not what its header says", () => {
    const replay = groupReplay(now);
    replayGroupBatch(replay, viewOf(rawBatch({ body: Uint8Array.of(1, 2, 3), recordCount: 2 })));
    replayRecords(replay, 2, [offsetRecord(1, 4)]);
    assert.equal(replay.skippedCount, 1);
    assert.deepEqual(offsetsOf(replay), [[1, 4]]);
  });

  it("takes offsets below zero for damage", () => {
    const replay = groupReplay(now);
    replayRecords(replay, 0, [offsetRecord(0, -1)]);
    assert.equal(replay.skippedCount, 1);
    assert.deepEqual(offsetsOf(replay), []);
  });
});
