/** Groups from outside: committing and resetting, describing, deleting, and how far behind they are. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import type { ResetTarget } from "../../src/client/group_reset.ts";
import { resetOffsets } from "../../src/client/group_reset.ts";
import {
  commitOffsets,
  committedOffsets,
  deleteGroup,
  describeGroup,
  groupLag,
  listGroups,
} from "../../src/client/groups.ts";
import { topicOf } from "../../src/client/topic.ts";
import { utf8 } from "../../src/client/serde.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, createTopicIn, deleteRecords } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { failNext, faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import {
  numbered,
  openTestStore,
  rootNames,
  settled,
  withStore,
} from "../support/store_fixture.ts";

/** Makes topic "orders" with ten records in each partition. */
async function makeOrders(store: Store, partitions = 1): Promise<void> {
  await createTopic(store, "orders", { partitions });
  for (let partition = 0; partition < partitions; partition++) {
    await appendBatch(
      store,
      "orders",
      numbered(0, 10).map((record) => ({ ...record, partition })),
    );
  }
}

function commitOrder(store: Store, partition: number, offset: number): Promise<void> {
  return commitOffsets(store, "billing", [{ topic: "orders", partition, offset }]);
}

async function committedIn(store: Store): Promise<string[]> {
  const offsets = await committedOffsets(store, "billing");
  return offsets.map(({ partition, offset }) => `${partition}: ${offset}`);
}

describe("committing from outside", () => {
  it("is what the group goes on from", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await makeOrders(store);
      const offset = { topic: "orders", partition: 0, offset: 7, metadata: "by hand" };
      await commitOffsets(store, "billing", [offset], { ack: "os" });
      assert.deepEqual(await committedOffsets(store, "billing"), [
        { ...offset, leaderEpoch: -1, commitTimestamp: clock.now() },
      ]);
      const consumer = await openConsumer(store, { groupId: "billing", topics: "orders" });
      const records = await poll(consumer, { waitMs: 0 });
      assert.deepEqual(records.map((record) => record.offset), [7, 8, 9]);
      await closeConsumer(consumer);
    }, { clock });
  });

  it("is refused while somebody reads, and possible again afterwards", async () => {
    await withStore(async (store) => {
      await makeOrders(store);
      await commitOrder(store, 0, 2);
      const consumer = await openConsumer(store, { groupId: "billing", topics: "orders" });
      await assert.rejects(commitOrder(store, 0, 5), { code: "UNKNOWN_MEMBER_ID" });
      await assert.rejects(resetOffsets(store, "billing", { topic: "orders", to: 5 }), {
        code: "NON_EMPTY_GROUP",
      });
      await assert.rejects(deleteGroup(store, "billing"), { code: "NON_EMPTY_GROUP" });
      assert.deepEqual(await committedIn(store), ["0: 2"]);
      await closeConsumer(consumer);
      await commitOrder(store, 0, 5);
      assert.deepEqual(await committedIn(store), ["0: 5"]);
    });
  });

  it("takes the kept place of a static member for nobody", async () => {
    await withStore(async (store) => {
      await makeOrders(store);
      const options = { groupId: "billing", topics: "orders", instanceId: "one" };
      await closeConsumer(await openConsumer(store, options));
      await commitOrder(store, 0, 5);
      const { state, members } = await describeGroup(store, "billing");
      assert.equal(state, "Empty");
      assert.deepEqual(members.map(({ instanceId, isActive }) => [instanceId, isActive]), [
        ["one", false],
      ]);
      await deleteGroup(store, "billing");
      assert.deepEqual(await listGroups(store), []);
    });
  });

  it("commits what it was called with, whatever becomes of the list meanwhile", async () => {
    await withStore(async (store) => {
      await makeOrders(store, 2);
      const offsets = [{ topic: "orders", partition: 0, offset: 3 }];
      const committing = commitOffsets(store, "billing", offsets);
      offsets[0]!.offset = -7;
      offsets.length = 0;
      await committing;
      assert.deepEqual(await committedIn(store), ["0: 3"]);
      const partitions = [1];
      const resetting = resetOffsets(store, "billing", { topic: "orders", partitions, to: 4 });
      partitions[0] = 0;
      await resetting;
      assert.deepEqual(await committedIn(store), ["0: 3", "1: 4"]);
    });
  });

  it("is what a consumer begins with that joins while it is under way", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await commitOrder(store, 0, 2);
      for (
        const [offset, move] of [
          [7, () => resetOffsets(store, "billing", { topic: "orders", to: 7 })],
          [4, () => commitOrder(store, 0, 4)],
        ] as const
      ) {
        holdSyncs(disk);
        const moving = move();
        await settled();
        const opening = openConsumer(store, { groupId: "billing", topics: "orders" });
        const polling = opening.then((consumer) => poll(consumer));
        let isDone = false;
        Promise.allSettled([moving, polling]).then(() => isDone = true);
        while (!isDone) {
          await settled();
          releaseSyncs(disk);
          await new Promise((done) => setTimeout(done, 0));
        }
        disk.heldSyncs = undefined;
        await moving;
        assert.equal((await polling)[0]!.offset, offset);
        await closeConsumer(await opening);
      }
    }, { fileSystem: disk.fs });
  });

  it("counts in the order of the calls, though some wait for what was consumed", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await commitOrder(store, 0, 1);
      await appendBatch(store, "orders", numbered(10, 12), { ack: "os" });
      holdSyncs(disk);
      // The first has to wait until its records are on disk, those behind it have not.
      const commits = [12, 0, 3].map((offset) => commitOrder(store, 0, offset));
      let isDone = false;
      Promise.allSettled(commits).then(() => isDone = true);
      while (!isDone) {
        await settled();
        releaseSyncs(disk);
        await new Promise((done) => setTimeout(done, 0));
      }
      disk.heldSyncs = undefined;
      await Promise.all(commits);
      const [committed] = await committedOffsets(store, "billing");
      assert.equal(committed!.offset, 3);
    }, { fileSystem: disk.fs });
  });

  it("shows at once what the next opening will", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await makeOrders(store, 2);
    const order = { topic: "orders", partition: 0, offset: 3, leaderEpoch: 0 };
    await commitOffsets(store, "billing", [{ ...order, metadata: "half \ud83d a rocket" }]);
    const before = await committedOffsets(store, "billing");
    assert.equal(before[0]!.metadata, "half \ufffd a rocket");
    assert.equal(before[0]!.leaderEpoch, 0);
    // What was committed may be committed for another group.
    await commitOffsets(store, "copy", before);
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual(await committedOffsets(store, "billing"), before);
    const [copy] = await committedOffsets(store, "copy");
    assert.deepEqual(copy, { ...before[0]!, commitTimestamp: copy!.commitTimestamp });
    await closeStore(store);
  });

  it("refuses what is of the wrong kind", async () => {
    await withStore(async (store, fs) => {
      await makeOrders(store);
      const before = rootNames(fs);
      const order = { topic: "orders", partition: 0, offset: 1 };
      const wrong: [unknown, unknown, object][] = [
        ["billing", "all", TypeError],
        ["billing", [null], TypeError],
        ["billing", [{ ...order, topic: 1 }], TypeError],
        ["billing", [{ ...order, offset: undefined }], TypeError],
        ["billing", [{ ...order, offset: -1 }], RangeError],
        ["billing", [{ ...order, partition: 0.5 }], RangeError],
        ["billing", [{ ...order, metadata: 1 }], TypeError],
        ["billing", [{ ...order, leaderEpoch: "0" }], TypeError],
        ["billing", [{ ...order, leaderEpoch: 2 ** 31 }], RangeError],
        [undefined, [order], TypeError],
        ["", [order], { code: "INVALID_GROUP_ID" }],
        ["billing", [{ ...order, topic: "none" }], { code: "UNKNOWN_TOPIC_OR_PARTITION" }],
        ["billing", [{ ...order, offset: 11 }], { code: "OFFSET_OUT_OF_RANGE" }],
      ];
      for (const [groupId, offsets, error] of wrong) {
        await assert.rejects(commitOffsets(store, groupId as string, offsets as []), error);
      }
      await assert.rejects(commitOffsets(store, "billing", [], { ack: "all" as "os" }), TypeError);
      assert.deepEqual(await listGroups(store), []);
      assert.deepEqual(rootNames(fs), before);
      await commitOffsets(store, "billing", []);
      assert.deepEqual(rootNames(fs), before);
    });
  });
});

describe("resetting", () => {
  const day = 24 * 3_600_000;
  const first = 1_700_000_000_000;
  const targets: [string, ResetTarget, number][] = [
    ["to the start", "earliest", 2],
    ["to the end", "latest", 10],
    ["to an offset", 6, 6],
    ["to an offset before the start", 0, 2],
    ["to an offset behind the end", 999, 10],
    ["to a time", new Date(first + 4 * day - 1), 4],
    ["to a time before the start", new Date(first), 2],
    ["to a time later than all", new Date(first + 99 * day), 10],
    ["back", { shiftBy: -2 }, 3],
    ["back before the start", { shiftBy: -9 }, 2],
    ["forward", { shiftBy: 3 }, 8],
    ["forward behind the end", { shiftBy: 99 }, 10],
    ["by nothing", { shiftBy: 0 }, 5],
  ];
  for (const [name, to, offset] of targets) {
    it(`moves the group ${name}`, async () => {
      const clock = manualClock(first + 50 * day);
      await withStore(async (store) => {
        await createTopic(store, "orders", {
          messageTimestampBeforeMaxMs: Number.MAX_SAFE_INTEGER,
        });
        for (let index = 0; index < 10; index++) {
          await append(store, "orders", { value: `v${index}`, timestamp: first + index * day });
        }
        await commitOrder(store, 0, 5);
        await deleteRecords(store, "orders", 0, 2);
        assert.deepEqual(await resetOffsets(store, "billing", { topic: "orders", to }), [
          { topic: "orders", partition: 0, offset },
        ]);
        assert.deepEqual(await committedIn(store), [`0: ${offset}`]);
      }, { clock });
    });
  }

  it("moves the partitions that are named, of a topic with types, also of a new group", async () => {
    await withStore(async (store) => {
      await makeOrders(store, 3);
      const topic = topicOf("orders", { value: utf8 });
      const moved = await resetOffsets(store, "billing", {
        topic,
        partitions: [2, 0, 2],
        to: "latest",
      });
      assert.deepEqual(moved.map(({ partition }) => partition), [0, 2]);
      assert.deepEqual(await committedIn(store), ["0: 10", "2: 10"]);
    });
  });

  it("leaves no folder of partitions that were never used when it only tells", async () => {
    await withStore(async (store, fs) => {
      await createTopicIn(internalsOf(store), "unused", { partitions: 2 });
      const before = rootNames(fs);
      for (const to of ["earliest", "latest", 7, new Date(0)] as const) {
        const reset = { topic: "unused", to, dryRun: true };
        const offsets = await resetOffsets(store, "billing", reset);
        assert.deepEqual(offsets.map(({ offset }) => offset), [0, 0]);
      }
      assert.deepEqual(rootNames(fs), before);
      assert.deepEqual(await listGroups(store), []);
    });
  });

  it("moves nothing if one partition cannot be moved", async () => {
    await withStore(async (store) => {
      await makeOrders(store, 2);
      await commitOrder(store, 0, 5);
      const reset = { topic: "orders", to: { shiftBy: 1 } };
      await assert.rejects(resetOffsets(store, "billing", reset), {
        code: "NO_OFFSET_FOR_PARTITION",
      });
      await assert.rejects(
        resetOffsets(store, "billing", { topic: "orders", partitions: [0, 2], to: "latest" }),
        { code: "UNKNOWN_TOPIC_OR_PARTITION" },
      );
      await assert.rejects(resetOffsets(store, "billing", { topic: "none", to: "latest" }), {
        code: "UNKNOWN_TOPIC_OR_PARTITION",
      });
      for (const to of ["middle", null, {}, -1, 0.5, { shiftBy: 0.5 }, new Date(Number.NaN)]) {
        await assert.rejects(
          resetOffsets(store, "billing", { topic: "orders", to: to as ResetTarget }),
          (error: Error) => error instanceof TypeError || error instanceof RangeError,
        );
      }
      await assert.rejects(
        resetOffsets(store, "billing", { topic: "orders", partitions: 0 as never, to: 0 }),
        TypeError,
      );
      assert.deepEqual(await committedIn(store), ["0: 5"]);
    });
  });
});

describe("looking at groups", () => {
  it("shows who owns what, and what nobody owns", async () => {
    await withStore(async (store) => {
      await makeOrders(store, 3);
      const options = { groupId: "billing", topics: "orders", assignor: "range" } as const;
      const one = await openConsumer(store, { ...options, clientId: "one" });
      assert.equal((await describeGroup(store, "billing")).state, "Stable");
      const two = await openConsumer(store, { ...options, clientId: "two" });
      assert.equal((await describeGroup(store, "billing")).state, "Reconciling");
      for (let round = 0; round < 2; round++) {
        for (const consumer of [one, two]) await poll(consumer, { waitMs: 0 });
      }
      const description = await describeGroup(store, "billing");
      assert.equal(description.state, "Stable");
      assert.equal(description.assignor, "range");
      assert.equal(description.protocolType, "consumer");
      assert(description.generation > 0);
      assert.deepEqual(description.partitionsWithoutOwner, []);
      assert.deepEqual(description.members.map(({ clientId }) => clientId).sort(), ["one", "two"]);
      const owned = description.members.flatMap(({ partitions }) => partitions);
      assert.deepEqual(owned.map(({ partition }) => partition).sort(), [0, 1, 2]);
      assert(description.members.every(({ isActive, topics }) => isActive && topics.length === 1));
      assert.deepEqual(await listGroups(store), [
        { groupId: "billing", state: "Stable", protocolType: "consumer" },
      ]);
      await closeConsumer(one);
      const { partitionsWithoutOwner, members } = await describeGroup(store, "billing");
      assert.equal(members.length, 1);
      assert.equal(partitionsWithoutOwner.length + members[0]!.partitions.length, 3);
      await closeConsumer(two);
      assert.equal((await describeGroup(store, "billing")).state, "Empty");
    });
  });

  it("finds no group where there is none", async () => {
    await withStore(async (store, fs) => {
      const before = rootNames(fs);
      assert.deepEqual(await listGroups(store), []);
      assert.deepEqual(await committedOffsets(store, "billing"), []);
      assert.deepEqual(await groupLag(store, "billing"), []);
      await assert.rejects(describeGroup(store, "billing"), { code: "GROUP_ID_NOT_FOUND" });
      await assert.rejects(deleteGroup(store, "billing"), { code: "GROUP_ID_NOT_FOUND" });
      await assert.rejects(committedOffsets(store, ""), { code: "INVALID_GROUP_ID" });
      await assert.rejects(describeGroup(store, 1 as never), TypeError);
      assert.deepEqual(rootNames(fs), before);
    });
  });

  it("counts what a group has yet to read", async () => {
    await withStore(async (store, fs) => {
      await makeOrders(store, 2);
      await createTopicIn(internalsOf(store), "unused", {});
      await commitOrder(store, 1, 4);
      assert.deepEqual(await groupLag(store, "billing"), [{
        topic: "orders",
        partition: 1,
        committedOffset: 4,
        endOffset: 10,
        lag: 6,
        owner: undefined,
      }]);
      const consumer = await openConsumer(store, {
        groupId: "billing",
        topics: ["orders", "unused"],
        autoOffsetReset: "earliest",
      });
      const { members } = await describeGroup(store, "billing");
      const owner = members[0]!.memberId;
      const before = rootNames(fs);
      const lags = await groupLag(store, "billing");
      assert.deepEqual(
        lags.map(({ topic, partition, committedOffset, lag }) => [
          topic,
          partition,
          committedOffset,
          lag,
        ]),
        [
          ["orders", 0, undefined, undefined],
          ["orders", 1, 4, 6],
          ["unused", 0, undefined, undefined],
        ],
      );
      assert(lags.every((entry) => entry.owner === owner));
      assert.deepEqual(rootNames(fs), before);
      while ((await poll(consumer, { waitMs: 0 })).length > 0);
      await commit(consumer);
      const after = (await groupLag(store, "billing")).filter(({ topic }) => topic === "orders");
      assert.deepEqual(after.map(({ lag }) => lag), [0, 0]);
      await closeConsumer(consumer);
    });
  });
});

describe("deleting groups", () => {
  it("leaves nothing of them, also for the next opening", async () => {
    const fs = memoryFileSystem();
    let store = await openTestStore(fs);
    await makeOrders(store);
    await commitOrder(store, 0, 5);
    await closeConsumer(await openConsumer(store, { groupId: "billing", topics: "orders" }));
    await commitOffsets(store, "kept", [{ topic: "orders", partition: 0, offset: 1 }]);
    await deleteGroup(store, "billing");
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["kept"]);
    await closeStore(store);
    store = await openTestStore(fs);
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["kept"]);
    assert.deepEqual(await committedIn(store), []);
    await commitOrder(store, 0, 3);
    assert.deepEqual(await committedIn(store), ["0: 3"]);
    await closeStore(store);
  });

  it("includes what is being committed", async () => {
    await withStore(async (store) => {
      await makeOrders(store);
      await commitOrder(store, 0, 1);
      const committing = commitOrder(store, 0, 5);
      await deleteGroup(store, "billing");
      await committing;
      assert.deepEqual(await committedIn(store), []);
      await assert.rejects(deleteGroup(store, "billing"), { code: "GROUP_ID_NOT_FOUND" });
    });
  });

  it("deletes nothing on a full disk", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await makeOrders(store);
      await commitOrder(store, 0, 1);
      failNext(disk, { operation: "write", code: "ENOSPC", path: "__consumer_offsets" });
      await assert.rejects(deleteGroup(store, "billing"), { code: "DISK_FULL" });
      assert.deepEqual(await committedIn(store), ["0: 1"]);
      await deleteGroup(store, "billing");
      assert.deepEqual(await committedIn(store), []);
    }, { fileSystem: disk.fs });
  });
});
