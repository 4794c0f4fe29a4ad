/** Groups over a store: what of them outlives the process, topics that go, disks that fail. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { committedOffsets, deleteGroup, listGroups } from "../../src/client/groups.ts";
import type { GroupCoordinator } from "../../src/coordinator/group_coordinator.ts";
import {
  findGroup,
  getOrCreateGroup,
  groupCoordinator,
  groupIdBytesMax,
} from "../../src/coordinator/group_coordinator.ts";
import type { OffsetCommit } from "../../src/coordinator/group_offsets.ts";
import {
  commitGroupOffsets,
  commitsMax,
  committedOffsetOf,
  offsetMetadataBytesMax,
} from "../../src/coordinator/group_offsets.ts";
import { joinMembership, leaveMembership, stateOf } from "../../src/coordinator/membership.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { decodeGroupKey } from "../../src/coordinator/group_records.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteTopic, listTopics } from "../../src/store/topics.ts";
import { failNext, faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { offsetsLogOf } from "../support/group_batches.ts";
import {
  crashStore,
  numbered,
  openTestStore,
  rootNames,
  settled,
  storeFolder,
  withStore,
} from "../support/store_fixture.ts";

function coordinatorOf(store: Store): Promise<GroupCoordinator> {
  return groupCoordinator(internalsOf(store));
}

async function commitIn(
  store: Store,
  commits: readonly OffsetCommit[],
  groupId = "billing",
): Promise<void> {
  const coordinator = await coordinatorOf(store);
  await commitGroupOffsets(coordinator, getOrCreateGroup(coordinator, groupId), commits);
}

/** Makes topic "orders" with some records in each partition. */
async function makeOrders(store: Store, partitions = 1, count = 10): Promise<void> {
  await createTopic(store, "orders", { partitions });
  for (let partition = 0; partition < partitions; partition++) {
    const records = numbered(0, count).map((record) => ({ ...record, partition }));
    await appendBatch(store, "orders", records);
  }
}

/** Makes topic "orders", and a commit for it that has more bytes than a batch of clients may have. */
async function makeLargeCommit(store: Store): Promise<OffsetCommit[]> {
  await createTopic(store, "orders", { partitions: 400 });
  const metadata = "x".repeat(offsetMetadataBytesMax);
  return Array.from({ length: 400 }, (_, partition) => ({ ...order(partition, 0), metadata }));
}

function order(partition: number, offset: number): OffsetCommit {
  return { topic: "orders", partition, offset };
}

/** What group "billing" has committed, as `partition: offset`. */
async function committedIn(store: Store): Promise<string[]> {
  const offsets = await committedOffsets(store, "billing");
  return offsets.map(({ partition, offset }) => `${partition}: ${offset}`);
}

/** What the log of group "billing" says of offsets, in order; `-` marks what it takes back. */
function keysAndTombstones(store: Store): string[] {
  return offsetsLogOf(store, "billing").flatMap((batch) => recordsOf(batch))
    .flatMap(({ key, value }) => {
      const decoded = decodeGroupKey(key!);
      if (decoded?.type !== "OffsetCommit") return [];
      return [`${value === null ? "-" : ""}${decoded.topic}-${decoded.partition}`];
    });
}

describe("committed offsets", () => {
  forEachFileSystem("are there again after closing and after a crash", async (fs, folder) => {
    let store = await openStore(folder, { fileSystem: fs });
    await makeOrders(store, 2);
    await commitIn(store, [{ ...order(0, 3), metadata: "nötig" }, order(1, 4)]);
    await closeStore(store);
    store = await openStore(folder, { fileSystem: fs });
    assert.deepEqual(await committedIn(store), ["0: 3", "1: 4"]);
    await commitIn(store, [order(1, 9)]);
    crashStore(store, fs);
    for (const { name } of fs.list(folder)) {
      if (name.startsWith("ottla.lock.")) fs.remove(`${folder}/${name}`);
    }
    store = await openStore(folder, { fileSystem: fs });
    const [first, second] = await committedOffsets(store, "billing");
    assert.equal(first?.metadata, "nötig");
    assert.equal(second?.offset, 9);
    await closeStore(store);
  });

  it("makes the topic with the first commit, as Kafka does, and one folder for the group", async () => {
    await withStore(async (store, fs) => {
      await makeOrders(store);
      const before = rootNames(fs);
      assert.deepEqual(await committedIn(store), []);
      const coordinator = await coordinatorOf(store);
      assert.equal(findGroup(coordinator, "billing"), undefined);
      getOrCreateGroup(coordinator, "billing");
      assert.deepEqual(await listGroups(store), []);
      assert.deepEqual(rootNames(fs), before);
      await commitIn(store, [order(0, 3)]);
      assert.deepEqual(
        rootNames(fs).filter((name) => !before.includes(name)),
        ["__consumer_offsets-9"],
      );
      assert.deepEqual(listTopics(store), ["orders"]);
      const { config, partitions } = internalsOf(store).topics.get("__consumer_offsets")!;
      assert.equal(partitions.length, 50);
      assert.equal(config.cleanupPolicy, "compact");
      assert.equal(config.compression, "producer");
      assert.equal(config.segmentBytes, 104_857_600);
    });
  });

  it("writes a thousand partitions in one batch", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 1000 });
      const commits = Array.from({ length: 1000 }, (_, partition) => order(partition, 0));
      await commitIn(store, commits);
      const batches = offsetsLogOf(store, "billing");
      assert.equal(batches.length, 1);
      assert.equal(batches[0]!.recordCount, 1000);
      assert.equal((await committedIn(store)).length, 1000);
    });
  });

  it("are one batch also where clients may not produce one as large, so none is there alone", async () => {
    await withStore(async (store, fs) => {
      const commits = await makeLargeCommit(store);
      await commitIn(store, commits);
      const [batch, ...others] = offsetsLogOf(store, "billing");
      assert.equal(others.length, 0);
      const { maxMessageBytes } = internalsOf(store).topics.get("__consumer_offsets")!.config;
      assert(batch!.sizeBytes > maxMessageBytes);
      crashStore(store, fs);
      const again = await openTestStore(fs);
      assert.equal((await committedIn(again)).length, commits.length);
      await closeStore(again);
    });
  });

  it("are several batches where a segment does not hold them, in one write", async () => {
    await withStore(async (store, fs) => {
      const commits = await makeLargeCommit(store);
      await commitIn(store, commits);
      assert.equal(offsetsLogOf(store, "billing").length, 2);
      crashStore(store, fs);
      const again = await openTestStore(fs);
      assert.equal((await committedIn(again)).length, commits.length);
      await closeStore(again);
    }, { topicOverrides: { segmentBytes: 1024 * 1024 } });
  });

  it("are there as a whole or not at all after the disk was full and the process died", async () => {
    for (const shortBytes of [0, 1, 100_000, 1_200_000]) {
      const disk = faultyDisk();
      const store = await openTestStore(disk.fs);
      const commits = await makeLargeCommit(store);
      await commitIn(store, [order(0, 0)]);
      failNext(disk, {
        operation: "write",
        code: "ENOSPC",
        path: "__consumer_offsets",
        shortBytes,
      });
      // The process dies before it can take back what was written.
      failNext(disk, { operation: "truncate", code: "EIO", path: "__consumer_offsets" });
      await assert.rejects(commitIn(store, commits), { name: "OttlaError" });
      crashStore(store, disk.fs);
      const again = await openTestStore(disk.inner);
      assert.deepEqual(await committedIn(again), ["0: 0"]);
      await commitIn(again, commits);
      await closeStore(again);
    }
  });

  it("become true in the order of the calls, the first ones without a topic included", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      const coordinator = await coordinatorOf(store);
      const group = getOrCreateGroup(coordinator, "billing");
      const first = Array.from(
        { length: 5 },
        (_, index) => commitGroupOffsets(coordinator, group, [order(0, index)]),
      );
      await Promise.all(first);
      assert.equal(committedOffsetOf(group, "orders", 0)?.offset, 4);
      holdSyncs(disk);
      const seen: number[] = [];
      const note = (): number => seen.push(committedOffsetOf(group, "orders", 0)!.offset);
      const slow = commitGroupOffsets(coordinator, group, [order(0, 7)], "disk").then(note);
      const quick = commitGroupOffsets(coordinator, group, [order(0, 2)], "os").then(note);
      await settled();
      assert.equal(committedOffsetOf(group, "orders", 0)?.offset, 4);
      releaseSyncs(disk);
      await Promise.all([slow, quick]);
      assert.deepEqual(seen, [7, 2]);
      const offsets = group.offsets.get("orders")!.get(0)!;
      assert.equal(offsets.offset, 2);
      disk.heldSyncs = undefined;
    }, { fileSystem: disk.fs });
  });

  it("lets the last of several for one partition count", async () => {
    await withStore(async (store) => {
      await makeOrders(store);
      await commitIn(store, [order(0, 8), order(0, 2)]);
      assert.deepEqual(await committedIn(store), ["0: 2"]);
    });
  });

  it("commits nothing of what cannot be committed as a whole", async () => {
    await withStore(async (store) => {
      await makeOrders(store, 2);
      await commitIn(store, [order(0, 1)]);
      const codes: [OffsetCommit, object][] = [
        [{ topic: "nothing", partition: 0, offset: 0 }, { code: "UNKNOWN_TOPIC_OR_PARTITION" }],
        [order(2, 0), { code: "UNKNOWN_TOPIC_OR_PARTITION" }],
        [order(1, 11), { code: "OFFSET_OUT_OF_RANGE" }],
        [order(1, -1), { name: "RangeError" }],
        [order(1, 1.5), { name: "RangeError" }],
        [
          { ...order(1, 1), metadata: "é".repeat(offsetMetadataBytesMax / 2 + 1) },
          { code: "OFFSET_METADATA_TOO_LARGE" },
        ],
      ];
      for (const [wrong, error] of codes) {
        await assert.rejects(commitIn(store, [order(0, 5), wrong]), error);
        assert.deepEqual(await committedIn(store), ["0: 1"]);
      }
      const tooMany = Array.from({ length: commitsMax + 1 }, () => order(0, 1));
      await assert.rejects(commitIn(store, tooMany), RangeError);
      await commitIn(store, [
        order(1, 10),
        { ...order(0, 2), metadata: "é".repeat(offsetMetadataBytesMax / 2) },
      ]);
      assert.deepEqual(await committedIn(store), ["0: 2", "1: 10"]);
    });
  });

  it("stays where it was on a full disk, and goes on when there is room", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await commitIn(store, [order(0, 1)]);
      failNext(disk, { operation: "write", code: "ENOSPC", path: "__consumer_offsets" });
      await assert.rejects(commitIn(store, [order(0, 5)]), { code: "DISK_FULL" });
      assert.deepEqual(await committedIn(store), ["0: 1"]);
      const { offsetsUnderWay } = findGroup(await coordinatorOf(store), "billing")!;
      assert.equal(offsetsUnderWay.size, 0);
      await commitIn(store, [order(0, 6)]);
      assert.deepEqual(await committedIn(store), ["0: 6"]);
    }, { fileSystem: disk.fs });
  });

  it("tells a failed sync, and does not count what may not be on disk", async () => {
    const disk = faultyDisk();
    const store = await openTestStore(disk.fs);
    await makeOrders(store);
    await commitIn(store, [order(0, 1)]);
    failNext(disk, { operation: "sync", code: "EIO", path: "__consumer_offsets" });
    await assert.rejects(commitIn(store, [order(0, 5)]), { code: "KAFKA_STORAGE_ERROR" });
    await assert.rejects(commitIn(store, [order(0, 6)]), { code: "KAFKA_STORAGE_ERROR" });
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    // Topics and other groups are not touched by it.
    await append(store, "orders", { value: "more" });
    await commitIn(store, [order(0, 7)], "shipping");
    await assert.rejects(closeStore(store));
  });

  it("tries again to make the topic", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata" });
      await assert.rejects(commitIn(store, [order(0, 1)]), { code: "DISK_FULL" });
      assert.deepEqual(await committedIn(store), []);
      await commitIn(store, [order(0, 2)]);
      assert.deepEqual(await committedIn(store), ["0: 2"]);
    }, { fileSystem: disk.fs });
  });

  it("is waited for when the store closes", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await makeOrders(store);
    const committing = commitIn(store, [order(0, 4)]);
    await settled();
    await closeStore(store);
    await committing;
    await assert.rejects(coordinatorOf(store), { code: "HANDLE_CLOSED" });
    const again = await openTestStore(fs);
    assert.deepEqual(await committedIn(again), ["0: 4"]);
    await closeStore(again);
  });
});

describe("a store that is abandoned", () => {
  it("fails what is being committed, and writes nothing more", async () => {
    const disk = faultyDisk();
    const store = await openTestStore(disk.fs);
    await makeOrders(store);
    await commitIn(store, [order(0, 1)]);
    const coordinator = await coordinatorOf(store);
    const group = getOrCreateGroup(coordinator, "billing");
    joinMembership(group.membership, { topics: ["orders"] });
    holdSyncs(disk);
    const committing = commitIn(store, [order(0, 5)]);
    await settled();
    const logPath = joinPath(storeFolder, "__consumer_offsets-9/00000000000000000000.log");
    const sizeBytes = readFile(disk.inner, logPath)!.length;
    crashStore(store, disk.fs);
    await assert.rejects(committing, { code: "HANDLE_CLOSED" });
    assert.equal(committedOffsetOf(group, "orders", 0)?.offset, 1);
    await assert.rejects(commitGroupOffsets(coordinator, group, [order(0, 2)]), {
      code: "HANDLE_CLOSED",
    });
    assert.equal(readFile(disk.inner, logPath)!.length, sizeBytes);
    releaseSyncs(disk);
    disk.heldSyncs = undefined;
  });
});

describe("the ids of groups", () => {
  it("must be texts that come back as they are", async () => {
    await withStore(async (store) => {
      const coordinator = await coordinatorOf(store);
      for (const groupId of ["", "\ud800", "g".repeat(groupIdBytesMax + 1), "é".repeat(16_384)]) {
        assert.throws(() => getOrCreateGroup(coordinator, groupId), { code: "INVALID_GROUP_ID" });
        assert.throws(() => findGroup(coordinator, groupId), { code: "INVALID_GROUP_ID" });
      }
      assert.throws(() => getOrCreateGroup(coordinator, 3 as never), TypeError);
    });
  });

  it("may be long, and of any characters", async () => {
    const fs = memoryFileSystem();
    const ids = ["g".repeat(groupIdBytesMax), "a b/c\0", "\u{1f680}é"];
    let store = await openTestStore(fs);
    await makeOrders(store);
    for (const groupId of ids) await commitIn(store, [order(0, 1)], groupId);
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ids.sort());
    await closeStore(store);
  });
});

describe("topics that go", () => {
  it("take the offsets with them, also for a topic of the same name", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await makeOrders(store);
    await createTopic(store, "kept");
    await commitIn(store, [order(0, 5), { topic: "kept", partition: 0, offset: 0 }]);
    await deleteTopic(store, "orders");
    const left = async (): Promise<string[]> =>
      (await committedOffsets(store, "billing")).map(({ topic }) => topic);
    assert.deepEqual(await left(), ["kept"]);
    await makeOrders(store);
    assert.deepEqual(await left(), ["kept"]);
    crashStore(store, fs);
    store = await openTestStore(fs);
    assert.deepEqual(await left(), ["kept"]);
    await closeStore(store);
  });

  it("take them also where no group was asked for", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await makeOrders(store);
    await commitIn(store, [order(0, 5)]);
    await closeStore(store);
    store = await openTestStore(fs);
    await deleteTopic(store, "orders");
    await makeOrders(store);
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual(await committedIn(store), []);
    await commitIn(store, [order(0, 1)]);
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual(await committedIn(store), ["0: 1"]);
    await closeStore(store);
  });

  it("take what is being committed too", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await commitIn(store, [order(0, 1)]);
      holdSyncs(disk);
      const committing = commitIn(store, [order(0, 5)]);
      await settled();
      const held = disk.heldSyncs!.splice(0);
      disk.heldSyncs = undefined;
      await deleteTopic(store, "orders");
      await makeOrders(store);
      for (const release of held) release();
      await committing;
      assert.deepEqual(await committedIn(store), []);
    }, { fileSystem: disk.fs });
  });

  it("take the first commit too, once, so that a later one of the same name counts", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await createTopic(store, "other");
      await commitIn(store, [{ topic: "other", partition: 0, offset: 0 }]);
      holdSyncs(disk);
      const first = commitIn(store, [order(0, 5)]);
      await settled();
      const held = disk.heldSyncs!.splice(0);
      disk.heldSyncs = undefined;
      await deleteTopic(store, "orders");
      await makeOrders(store);
      const second = commitIn(store, [order(0, 6)]);
      await deleteTopic(store, "other");
      for (const release of held) release();
      await Promise.all([first, second]);
      assert.deepEqual(await committedIn(store), ["0: 6"]);
      const { offsetsUnderWay } = findGroup(await coordinatorOf(store), "billing")!;
      assert.equal(offsetsUnderWay.size, 0);
      assert.deepEqual(keysAndTombstones(store), [
        "other-0",
        "orders-0",
        "-orders-0",
        "orders-0",
        "-other-0",
      ]);
    }, { fileSystem: disk.fs });
  });

  it("leave nothing of a commit that waits for the log to be made", async () => {
    await withStore(async (store) => {
      await makeOrders(store);
      await createTopic(store, "kept");
      const coordinator = await coordinatorOf(store);
      const deleting = deleteTopic(store, "orders");
      const kept = { topic: "kept", partition: 0, offset: 0 };
      const committing = commitGroupOffsets(coordinator, getOrCreateGroup(coordinator, "billing"), [
        order(0, 5),
        kept,
      ]);
      await Promise.all([deleting, committing]);
      assert.deepEqual(keysAndTombstones(store), ["kept-0"]);
      assert.deepEqual((await committedOffsets(store, "billing")).map(({ topic }) => topic), [
        "kept",
      ]);
    });
  });
});

describe("the generation of a group", () => {
  it("outlives its members, their process and a crash", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await makeOrders(store);
    let coordinator = await coordinatorOf(store);
    let { membership } = getOrCreateGroup(coordinator, "billing");
    const member = joinMembership(membership, { topics: ["orders"] });
    await commitGroupOffsets(coordinator, getOrCreateGroup(coordinator, "billing"), [order(0, 2)]);
    leaveMembership(membership, member);
    const { generation } = membership;
    assert(generation > 0);
    crashStore(store, fs);
    store = await openTestStore(fs);
    coordinator = await coordinatorOf(store);
    ({ membership } = findGroup(coordinator, "billing")!);
    assert.equal(membership.generation, generation);
    assert.equal(stateOf(membership), "Empty");
    await deleteGroup(store, "billing");
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
  });

  it("is not worth a record as long as nothing was committed", async () => {
    await withStore(async (store, fs) => {
      await makeOrders(store);
      const before = rootNames(fs);
      const coordinator = await coordinatorOf(store);
      const { membership } = getOrCreateGroup(coordinator, "billing");
      leaveMembership(membership, joinMembership(membership, { topics: ["orders"] }));
      await settled();
      assert.deepEqual(rootNames(fs), before);
    });
  });
});
