/** Groups that a broker has written, damage in their log, and ids that belong to others. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { appendBatch } from "../../src/client/append.ts";
import { deleteTopic as deleteTopicWithOffsets } from "../../src/client/delete_topic.ts";
import {
  commitOffsets,
  committedOffsets,
  deleteGroup,
  describeGroup,
  listGroups,
} from "../../src/client/groups.ts";
import {
  findGroup,
  getOrCreateGroup,
  groupCoordinator,
} from "../../src/coordinator/group_coordinator.ts";
import { findOffsetsTopic, partitionOfGroup } from "../../src/coordinator/group_log.ts";
import type { GroupRecord } from "../../src/coordinator/group_records.ts";
import {
  decodeGroupKey,
  decodeGroupValue,
  encodeGroupRecord,
} from "../../src/coordinator/group_records.ts";
import { joinMembership, leaveMembership } from "../../src/coordinator/membership.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { bytesOfHex } from "../support/hex.ts";
import {
  appendRaw,
  appendRecords,
  logOfGroup,
  metadataRecord,
  offsetRecord,
  offsetsLogOf,
} from "../support/group_batches.ts";
import { flipByte } from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";
import { copyFolder, numbered, openTestStore, storeFolder } from "../support/store_fixture.ts";

/** A store whose group "g" has committed offset 1 of "t". */
async function storeWithGroup(fs: FileSystem): Promise<Store> {
  const store = await openTestStore(fs);
  await createTopic(store, "t", { partitions: 3 });
  await appendBatch(store, "t", numbered(0, 10).map((record) => ({ ...record, partition: 0 })));
  await commitOffsets(store, "g", [{ topic: "t", partition: 0, offset: 1 }]);
  return store;
}

/** Ids of groups that are kept in the same partition as another group. */
function neighboursOf(store: Store, groupId: string): string[] {
  const topic = findOffsetsTopic(internalsOf(store))!;
  const partition = partitionOfGroup(topic, groupId);
  return Array.from({ length: 500 }, (_, index) => `other-${index}`)
    .filter((id) => partitionOfGroup(topic, id) === partition);
}

async function reopened(store: Store, fs: FileSystem): Promise<Store> {
  await closeStore(store);
  return await openTestStore(fs);
}

async function committedIn(store: Store, groupId = "g"): Promise<string[]> {
  const offsets = await committedOffsets(store, groupId);
  return offsets.map(({ partition, offset }) => `${partition}: ${offset}`);
}

/** The keys in the log of a group from an offset on, tombstones marked. */
function keysIn(store: Store, groupId: string, from: number): string[] {
  return offsetsLogOf(store, groupId).flatMap((batch) => recordsOf(batch))
    .filter(({ offset }) => offset >= from)
    .map(({ key, value }) => `${value === null ? "-" : ""}${decodeGroupKey(key!)?.type}`);
}

describe("groups that Kafka wrote", () => {
  for (const folder of ["static_4_0", "standalone_4_1"]) {
    it(`are there: ${folder}`, async () => {
      const fs = memoryFileSystem();
      copyFolder(diskFileSystem(), `tests/fixtures/kafka_4_1_1/${folder}`, fs, storeFolder);
      const store = await openTestStore(fs);
      const groups = await listGroups(store);
      assert.equal(groups.length, 7);
      assert(groups.every(({ state }) => state === "Empty"));
      const [offset] = await committedOffsets(store, "committed");
      assert.equal(offset?.topic, "transactions");
      assert.equal(offset.offset, 59);
      assert.equal(offset.leaderEpoch, 0);
      assert.equal((await describeGroup(store, "committed")).generation, 2);
      await closeStore(store);
    });
  }

  it("have their offsets of transactions when these were committed", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    const log = logOfGroup(store, "g");
    appendRecords(log, [offsetRecord(0, 5)], 7);
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    const coordinator = await groupCoordinator(internalsOf(store));
    assert.deepEqual([...findGroup(coordinator, "g")!.pendingOffsets.keys()], [7]);
    endTransaction(logOfGroup(store, "g"), "commit");
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 5"]);
    await closeStore(store);
  });

  it("are deleted with the offsets of transactions that have not ended", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    appendRecords(logOfGroup(store, "g"), [offsetRecord(2, 0)], 7);
    store = await reopened(store, fs);
    await deleteGroup(store, "g");
    endTransaction(logOfGroup(store, "g"), "commit");
    store = await reopened(store, fs);
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
  });

  it("lose the offsets of transactions for topics that are deleted", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    await createTopic(store, "kept");
    appendRecords(logOfGroup(store, "g"), [
      offsetRecord(2, 9),
      offsetRecord(0, 0, { topic: "kept" }),
    ], 7);
    store = await reopened(store, fs);
    const { groups } = await groupCoordinator(internalsOf(store));
    await deleteTopic(store, "t");
    await createTopic(store, "t", { partitions: 3 });
    const pending = groups.get("g")!.pendingOffsets.get(7)!;
    assert.deepEqual(pending.map(({ topic }) => topic), ["kept"]);
    endTransaction(logOfGroup(store, "g"), "commit");
    store = await reopened(store, fs);
    const offsets = await committedOffsets(store, "g");
    assert.deepEqual(offsets.map(({ topic, offset }) => `${topic}: ${offset}`), ["kept: 0"]);
    await closeStore(store);
  });

  it("lose the offsets of a topic that is deleted before anybody asks for groups", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    await createTopic(store, "kept");
    // As a broker does, without the id of the topic.
    appendRecords(logOfGroup(store, "g"), [
      offsetRecord(0, 5),
      offsetRecord(0, 0, { topic: "kept" }),
    ]);
    store = await reopened(store, fs);
    await deleteTopicWithOffsets(store, "t");
    await createTopic(store, "t", { partitions: 3 });
    store = await reopened(store, fs);
    const offsets = await committedOffsets(store, "g");
    assert.deepEqual(offsets.map(({ topic }) => topic), ["kept"]);
    await assert.rejects(deleteTopicWithOffsets(store, "none"), {
      code: "UNKNOWN_TOPIC_OR_PARTITION",
    });
    await assert.rejects(deleteTopicWithOffsets(store, "__consumer_offsets"), {
      code: "INVALID_TOPIC_EXCEPTION",
    });
    await closeStore(store);
  });

  it("keep the offset of a transaction where one of an earlier topic goes", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    const { key, value } = offsetRecord(1, 3);
    const log = logOfGroup(store, "g");
    appendRecords(log, [
      { key, value: { ...value, topicId: "AQIDBAUGBwgJCgsMDQ4PEA" } } as GroupRecord,
    ]);
    appendRecords(log, [offsetRecord(1, 0)], 7);
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    endTransaction(logOfGroup(store, "g"), "commit");
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 1", "1: 0"]);
    await closeStore(store);
  });

  it("are empty from the first opening on if they had members, and stay what they are", async () => {
    const fs = memoryFileSystem();
    const clock = manualClock();
    let store = await storeWithGroup(fs);
    const { key, value } = metadataRecord("g", 5, -1);
    appendRecords(logOfGroup(store, "g"), [
      { key, value: { ...value, protocolType: "connect" } } as GroupRecord,
    ]);
    await closeStore(store);
    store = await openTestStore(fs, { clock });
    await listGroups(store);
    await closeStore(store);
    const openedMs = clock.now();
    await clock.advance(1000);
    store = await openTestStore(fs, { clock });
    const group = findGroup(await groupCoordinator(internalsOf(store)), "g")!;
    assert.equal(group.emptySinceMs, openedMs);
    assert.equal(group.membership.generation, 5);
    assert.equal(group.protocolType, "connect");
    await closeStore(store);
  });

  it("count where their id belongs, not where another number of partitions has left them", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    await commitOffsets(store, "test", [{ topic: "t", partition: 0, offset: 2 }]);
    appendRecords(logOfGroup(store, "test"), [
      offsetRecord(0, 7),
      offsetRecord(0, 8, { group: "elsewhere" }),
    ]);
    appendRaw(logOfGroup(store, "test"), [
      { key: bytesOfHex("000b 0001 78"), value: bytesOfHex("0000 00000001 00") },
    ]);
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    assert.deepEqual(await committedIn(store, "test"), ["0: 2"]);
    await commitOffsets(store, "x", [{ topic: "t", partition: 0, offset: 2 }]);
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["g", "test", "x"]);
    await closeStore(store);
  });

  it("are taken over from the consumer protocol when they get members here", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    const group = "g";
    const member = { group, memberId: "m" };
    const value = { version: 0 };
    appendRecords(logOfGroup(store, "g"), [
      {
        key: { type: "ConsumerGroupMetadata", group },
        value: { ...value, epoch: 8 },
      },
      {
        key: { type: "ConsumerGroupMemberMetadata", ...member },
        value: {
          ...value,
          instanceId: null,
          rackId: null,
          clientId: "c",
          clientHost: "h",
          subscribedTopicNames: ["t"],
          subscribedTopicRegex: null,
          rebalanceTimeoutMs: 1,
          serverAssignor: null,
          classicMemberMetadata: null,
        },
      },
      {
        key: { type: "ConsumerGroupTargetAssignmentMetadata", group },
        value: { ...value, assignmentEpoch: 8, assignmentTimestamp: 0 },
      },
      {
        key: { type: "ConsumerGroupTargetAssignmentMember", ...member },
        value: { ...value, topicPartitions: [] },
      },
      {
        key: { type: "ConsumerGroupCurrentMemberAssignment", ...member },
        value: {
          ...value,
          memberEpoch: 8,
          previousMemberEpoch: 8,
          state: 0,
          assignedPartitions: [],
          partitionsPendingRevocation: [],
        },
      },
    ]);
    store = await reopened(store, fs);
    const { endOffset } = logOfGroup(store, "g");
    const coordinator = await groupCoordinator(internalsOf(store));
    const { membership } = getOrCreateGroup(coordinator, "g");
    assert.equal(membership.generation, 8);
    assert.equal((await listGroups(store))[0]?.protocolType, "consumer");
    const joined = joinMembership(membership, { topics: ["t"] });
    assert.deepEqual(keysIn(store, "g", endOffset), [
      "-ConsumerGroupCurrentMemberAssignment",
      "-ConsumerGroupTargetAssignmentMember",
      "-ConsumerGroupTargetAssignmentMetadata",
      "-ConsumerGroupMemberMetadata",
      "-ConsumerGroupMetadata",
      "GroupMetadata",
    ]);
    leaveMembership(membership, joined);
    assert.deepEqual(keysIn(store, "g", endOffset + 6), ["GroupMetadata"]);
    store = await reopened(store, fs);
    assert((await describeGroup(store, "g")).generation >= 9);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    await closeStore(store);
  });
});

describe("what the log of a group says while it lives", () => {
  it("does not say since when it is empty while it is not", async () => {
    const fs = memoryFileSystem();
    const store = await storeWithGroup(fs);
    const coordinator = await groupCoordinator(internalsOf(store));
    const { membership } = getOrCreateGroup(coordinator, "g");
    const member = joinMembership(membership, { topics: ["t"] });
    leaveMembership(membership, member);
    const values = offsetsLogOf(store, "g").flatMap((batch) => recordsOf(batch))
      .filter(({ key }) => decodeGroupKey(key!)?.type === "GroupMetadata")
      .map(({ value }) => decodeGroupValue("GroupMetadata", value!));
    assert.equal(values.length, 2);
    assert.equal(values[0]!.currentStateTimestamp, -1);
    assert(values[1]!.currentStateTimestamp > 0);
    assert.equal(values[1]!.protocolType, "consumer");
    await closeStore(store);
  });
});

describe("groups that are not groups of consumers", () => {
  it("keep their ids to themselves", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    await commitOffsets(store, "share", [{ topic: "t", partition: 0, offset: 1 }]);
    await deleteGroup(store, "share");
    const value = bytesOfHex("0000 00000001 00");
    appendRaw(logOfGroup(store, "share"), [{ key: bytesOfHex("000b 0005 7368617265"), value }]);
    store = await reopened(store, fs);
    await assert.rejects(commitOffsets(store, "share", []), {
      code: "INCONSISTENT_GROUP_PROTOCOL",
    });
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["g"]);
    await closeStore(store);
  });
});

describe("damage in the log of groups", () => {
  it("hides what it hit and nothing else", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    const { endOffset } = logOfGroup(store, "g");
    await commitOffsets(store, "g", [{ topic: "t", partition: 1, offset: 0 }]);
    await commitOffsets(store, "g", [{ topic: "t", partition: 2, offset: 0 }]);
    const log = logOfGroup(store, "g");
    const path = log.segments[0]!.log.path;
    const [, damaged] = offsetsLogOf(store, "g");
    assert.equal(damaged?.baseOffset, endOffset);
    const position = offsetsLogOf(store, "g")[0]!.sizeBytes + damaged.sizeBytes - 3;
    await closeStore(store);
    flipByte(fs, path, position);
    store = await openTestStore(fs);
    assert.deepEqual(await committedIn(store), ["0: 1", "2: 0"]);
    const { skippedCount } = await groupCoordinator(internalsOf(store));
    assert.equal(skippedCount, 1);
    await commitOffsets(store, "g", [{ topic: "t", partition: 1, offset: 0 }]);
    assert.deepEqual(await committedIn(store), ["0: 1", "1: 0", "2: 0"]);
    await closeStore(store);
  });

  it("does not let an aborted transaction count whose end it hit", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    appendRecords(logOfGroup(store, "g"), [offsetRecord(0, 9)], 7);
    const log = logOfGroup(store, "g");
    const path = log.segments[0]!.log.path;
    endTransaction(log, "abort");
    const position = log.segments[0]!.sizeBytes - 3;
    appendRecords(log, [offsetRecord(1, 0)], 7);
    endTransaction(log, "commit");
    await closeStore(store);
    flipByte(fs, path, position);
    store = await openTestStore(fs);
    assert.deepEqual(await committedIn(store), ["0: 1", "1: 0"]);
    await closeStore(store);
  });

  it("leaves records alone that it does not understand", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    const newer = encodeGroupRecord(offsetRecord(0, 9));
    newer.value![1] = 77;
    const [neighbour] = neighboursOf(store, "g");
    appendRaw(logOfGroup(store, "g"), [
      newer,
      { key: bytesOfHex("0063 0001 67"), value: bytesOfHex("0000") },
      encodeGroupRecord(metadataRecord(neighbour!, 1)),
    ]);
    store = await reopened(store, fs);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["g", neighbour]);
    await closeStore(store);
  });

  it("keeps the groups of a partition that cannot be opened from being used, and no others", async () => {
    const fs = memoryFileSystem();
    let store = await storeWithGroup(fs);
    await commitOffsets(store, "test", [{ topic: "t", partition: 0, offset: 2 }]);
    const path = `${logOfGroup(store, "g").folder}/partition.metadata`;
    await closeStore(store);
    const file = fs.open(path, "create");
    fs.truncate(file, 0);
    fs.write(file, new TextEncoder().encode("version: 0\ntopic_id: AQIDBAUGBwgJCgsMDQ4PEA"), 0);
    fs.close(file);
    store = await openTestStore(fs);
    assert.deepEqual(await committedIn(store, "test"), ["0: 2"]);
    await assert.rejects(committedOffsets(store, "g"), { name: "OttlaError" });
    await assert.rejects(
      commitOffsets(store, "g", [{ topic: "t", partition: 0, offset: 2 }]),
      { name: "OttlaError" },
    );
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["test"]);
    await closeStore(store);
  });
});
