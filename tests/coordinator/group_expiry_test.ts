/** When offsets are forgotten, by a clock that tests move. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer } from "../../src/client/consumer.ts";
import { commitOffsets, committedOffsets, listGroups } from "../../src/client/groups.ts";
import {
  getOrCreateGroup,
  groupCoordinator,
  offsetsRetentionCheckMs,
} from "../../src/coordinator/group_coordinator.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { crashStore, openTestStore, settled } from "../support/store_fixture.ts";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
/** What tests take for the retention, where it is not the default of a week. */
const hour = { offsetsRetentionMinutes: 60 };

async function open(fs: FileSystem, options: StoreOptions): Promise<Store> {
  // The other tasks of a store would only take time.
  return await openTestStore(fs, {
    retentionCheckMs: 2 ** 31 - 1,
    checkpointMs: 2 ** 31 - 1,
    ...options,
  });
}

async function makeTopic(store: Store): Promise<void> {
  await createTopic(store, "t", { partitions: 2 });
  for (const partition of [0, 1]) await append(store, "t", { value: "v", partition });
}

function commitAt(store: Store, partition: number, groupId = "g"): Promise<void> {
  return commitOffsets(store, groupId, [{ topic: "t", partition, offset: 1 }]);
}

async function partitionsIn(store: Store, groupId = "g"): Promise<number[]> {
  return (await committedOffsets(store, groupId)).map(({ partition }) => partition);
}

describe("the expiry of offsets", () => {
  it("comes a week after the commit where nobody ever joined", async () => {
    const clock = manualClock();
    const fs = memoryFileSystem();
    let store = await open(fs, { clock });
    await makeTopic(store);
    await commitAt(store, 0);
    await clock.advance(3 * dayMs);
    await commitAt(store, 1);
    await clock.advance(4 * dayMs - 1);
    assert.deepEqual(await partitionsIn(store), [0, 1]);
    await clock.advance(offsetsRetentionCheckMs);
    assert.deepEqual(await partitionsIn(store), [1]);
    await clock.advance(3 * dayMs);
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
    store = await open(fs, { clock });
    assert.deepEqual(await partitionsIn(store), []);
    await closeStore(store);
  });

  it("counts from when the last member went, not from the commit", async () => {
    const clock = manualClock();
    const fs = memoryFileSystem();
    let store = await open(fs, { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    const consumer = await openConsumer(store, { groupId: "g", topics: ["t"] });
    await clock.advance(3 * dayMs);
    assert.deepEqual(await partitionsIn(store), [0]);
    await closeConsumer(consumer);
    await clock.advance(59 * minuteMs);
    assert.deepEqual(await partitionsIn(store), [0, 1]);
    await closeStore(store);
    store = await open(fs, { clock, ...hour });
    assert.deepEqual(await partitionsIn(store), [0, 1]);
    await clock.advance(minuteMs + offsetsRetentionCheckMs);
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
  });

  it("counts from the next opening where a process died with its members, not from each", async () => {
    const clock = manualClock();
    const fs = memoryFileSystem();
    let store = await open(fs, { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    await openConsumer(store, { groupId: "g", topics: ["t"] });
    await clock.advance(3 * dayMs);
    crashStore(store, fs);
    for (let opening = 0; opening < 4; opening++) {
      store = await open(fs, { clock, ...hour });
      assert.deepEqual(await partitionsIn(store), [0]);
      await clock.advance(11 * minuteMs);
      if (opening % 2 === 0) await closeStore(store);
      else crashStore(store, fs);
    }
    await clock.advance(5 * minuteMs);
    store = await open(fs, { clock, ...hour });
    assert.deepEqual(await partitionsIn(store), [0]);
    await clock.advance(2 * offsetsRetentionCheckMs);
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
  });

  it("leaves alone what is being committed, and looks again", async () => {
    const clock = manualClock();
    const store = await open(memoryFileSystem(), { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    const coordinator = await groupCoordinator(internalsOf(store));
    const group = getOrCreateGroup(coordinator, "g");
    group.lastChange = new Promise(() => {});
    await clock.advance(dayMs);
    assert.deepEqual(await partitionsIn(store), [0]);
    group.lastChange = undefined;
    await clock.advance(offsetsRetentionCheckMs);
    assert.deepEqual(await partitionsIn(store), []);
    await closeStore(store);
  });

  it("waits for transactions of a broker", async () => {
    const clock = manualClock();
    const store = await open(memoryFileSystem(), { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    const coordinator = await groupCoordinator(internalsOf(store));
    const group = getOrCreateGroup(coordinator, "g");
    group.pendingOffsets.set(7, []);
    await clock.advance(dayMs);
    assert.deepEqual(await partitionsIn(store), [0]);
    await closeStore(store);
  });

  it("keeps to the time that a commit says itself", async () => {
    const clock = manualClock();
    const store = await open(memoryFileSystem(), { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    const group = getOrCreateGroup(await groupCoordinator(internalsOf(store)), "g");
    const ofTopic = group.offsets.get("t")!;
    ofTopic.set(0, { ...ofTopic.get(0)!, expireTimestamp: clock.now() + 2 * dayMs });
    await clock.advance(2 * dayMs - 1);
    assert.deepEqual(await partitionsIn(store), [0]);
    await clock.advance(offsetsRetentionCheckMs);
    assert.deepEqual(await partitionsIn(store), []);
    await closeStore(store);
  });

  it("is tried again when the disk did not take it", async () => {
    const clock = manualClock();
    const disk = faultyDisk();
    const store = await open(disk.fs, { clock, ...hour });
    await makeTopic(store);
    await commitAt(store, 0);
    await clock.advance(55 * minuteMs);
    failNext(disk, { operation: "write", code: "ENOSPC", path: "__consumer_offsets" });
    await clock.advance(5 * minuteMs);
    assert.deepEqual(await partitionsIn(store), [0]);
    await clock.advance(offsetsRetentionCheckMs);
    assert.deepEqual(await partitionsIn(store), []);
    await settled();
    await closeStore(store);
  });

  it("leaves nothing in memory of groups that were used once", async () => {
    const clock = manualClock();
    const store = await open(memoryFileSystem(), { clock, ...hour });
    await makeTopic(store);
    const { groups } = await groupCoordinator(internalsOf(store));
    const [first] = internalsOf(store).topics.keys();
    const partitions = [{ topic: first!, partition: 0 }];
    const kept = await openConsumer(store, { groupId: "kept", partitions });
    for (let n = 0; n < 20; n++) {
      const options = { groupId: `once-${n}`, topics: first, autoCommit: false };
      await closeConsumer(await openConsumer(store, options));
      await commitOffsets(store, `committed-${n}`, [{ ...partitions[0]!, offset: 0 }]);
    }
    assert.equal(groups.size, 41);
    await clock.advance(offsetsRetentionCheckMs);
    assert.equal(groups.size, 21);
    await clock.advance(60 * minuteMs);
    assert.deepEqual([...groups.keys()], ["kept"]);
    await commit(kept, [{ ...partitions[0]!, offset: 0 }]);
    assert.equal((await committedOffsets(store, "kept")).length, 1);
    await closeStore(store);
  });
});
