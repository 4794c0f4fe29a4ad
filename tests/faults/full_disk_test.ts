/**
 * A disk of a few megabytes that fills up, with somebody else's file on it: a tmpfs where one can be
 * mounted, and the simulated disk.
 */

import assert from "node:assert/strict";
import {
  alterTopic,
  append,
  appendBatch,
  backupStore,
  checkStore,
  closeConsumer,
  closeStore,
  commit,
  committedOffsets,
  compactTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  enforceRetention,
  isOttlaError,
  listTopics,
  offsetsOf,
  openConsumer,
  openProducer,
  openStore,
  poll,
  send,
} from "../../mod.ts";
import type { Store, StoreOptions } from "../../mod.ts";
import { abandonStore } from "../../src/testing/mod.ts";
import type { SmallDisk } from "../support/small_disk.ts";
import { emptyDisk, fillDisk, forEachSmallDisk, smallDiskBytes } from "../support/small_disk.ts";
import { removeLocks, valuesIn } from "../support/store_fixture.ts";

const kibibyte = 1024;
const blockBytes = 4 * kibibyte;
const keptBytes = 1024 * kibibyte;
const smallSegments: StoreOptions = {
  topicOverrides: { segmentBytes: 16 * kibibyte, indexIntervalBytes: kibibyte },
};

function openOn({ folder, options }: SmallDisk, more: StoreOptions = {}): Promise<Store> {
  return openStore(folder, { ...options, ...smallSegments, ...more });
}

/** `0xxx…`, `1xxx…` and so on. */
function orders(start: number, end: number): string[] {
  const text = "x".repeat(kibibyte);
  return Array.from({ length: end - start }, (_, index) => `${start + index}${text}`);
}

async function appendOrders(store: Store, start: number, end: number): Promise<void> {
  for (const value of orders(start, end)) await append(store, "orders", { value, partition: 0 });
}

/** Appends until the disk is said to be full. Returns how many orders there are then. */
async function appendUntilFull(store: Store, start: number): Promise<number> {
  for (let end = start; end < smallDiskBytes / kibibyte; end++) {
    try {
      await appendOrders(store, end, end + 1);
    } catch (error) {
      assert.ok(isOttlaError(error, "DISK_FULL"), String(error));
      return end;
    }
  }
  return assert.fail("the disk was never full");
}

function isFull(error: unknown): boolean {
  return isOttlaError(error, "DISK_FULL");
}

async function checkWhole({ fs, folder }: SmallDisk): Promise<void> {
  const { isClean, problems, partitions } = await checkStore(folder, { fileSystem: fs });
  const all = [...problems, ...partitions.flatMap((partition) => partition.problems)];
  assert.deepEqual([isClean, all.filter(({ severity }) => severity !== "note")], [true, []]);
}

forEachSmallDisk("while there is room to work, only appends are refused", async (disk) => {
  const store = await openOn(disk, { diskFreeBytesMin: keptBytes });
  await createTopic(store, "orders", { retentionMs: 60_000 });
  const consumer = await openConsumer(store, {
    groupId: "readers",
    topics: "orders",
    autoCommit: false,
    autoOffsetReset: "earliest",
  });
  const count = await appendUntilFull(store, 0);
  assert.ok(disk.fs.freeBytes(disk.folder) > keptBytes * 0.9, "the room is still there");
  await assert.rejects(appendBatch(store, "orders", [{ value: orders(0, 1)[0]! }]), isFull);
  await assert.rejects(append(store, "orders", { value: orders(0, 1)[0]! }, { ack: "os" }), isFull);

  assert.deepEqual(await valuesIn(store, "orders"), orders(0, count));
  assert.equal((await poll(consumer, { recordsMax: 10 })).length, 10);
  await commit(consumer);
  assert.equal((await committedOffsets(store, "readers"))[0]!.offset, 10);
  await createTopic(store, "others");
  await createPartitions(store, "others", 2);
  await alterTopic(store, "others", { retentionMs: 1 });
  await deleteTopic(store, "others");
  assert.equal(await deleteRecords(store, "orders", 0, count - 100), count - 100);

  // There is room again, with no restart.
  const again = await appendUntilFull(store, count);
  assert.ok(again > count);
  assert.deepEqual(await valuesIn(store, "orders"), orders(count - 100, again));
  await disk.clock.advance(100_000);
  assert.ok((await enforceRetention(store)).removedSegments > 0);
  await appendOrders(store, again, again + 5);
  assert.deepEqual(await valuesIn(store, "orders"), orders(again, again + 5));
  await closeConsumer(consumer);
  await closeStore(store);
  await checkWhole(disk);
});

forEachSmallDisk("a copy of the store takes nothing of the room that is kept", async (disk) => {
  const store = await openOn(disk, { diskFreeBytesMin: keptBytes, ack: "os" });
  await createTopic(store, "orders");
  const count = Math.floor(smallDiskBytes / kibibyte / 3);
  await appendOrders(store, 0, count);
  const target = `${disk.folder}-copy`;
  let leastBytes = Infinity;
  const onProgress = (): void => {
    leastBytes = Math.min(leastBytes, disk.fs.freeBytes(disk.folder));
  };
  await assert.rejects(backupStore(store, target, { links: false, onProgress }), (error) => {
    const isNamed = /Cannot back up to .*-copy: its disk has \d+ bytes free/.test(String(error));
    return isFull(error) && isNamed;
  });
  assert.equal(disk.fs.stat(target), undefined);
  const keptShare = leastBytes / keptBytes;
  assert.ok(keptShare > 0.9 && keptShare < 1.2, `${keptShare}`);
  // What is shared takes no room.
  await backupStore(store, target);
  await closeStore(store);
  const copy = await openStore(target, { ...disk.options, ...smallSegments });
  assert.equal(copy.recovery.wasClean, true);
  assert.deepEqual(await valuesIn(copy, "orders"), orders(0, count));
  await closeStore(copy);
});

forEachSmallDisk("when others have taken all room, what is there can be read", async (disk) => {
  const store = await openOn(disk, { diskFreeBytesMin: 0 });
  await createTopic(store, "orders");
  await appendOrders(store, 0, 50);
  const producer = openProducer(store, { lingerMs: 0, retryBackoffMs: 10 });
  const consumer = await openConsumer(store, {
    groupId: "readers",
    topics: "orders",
    autoCommit: false,
    autoOffsetReset: "earliest",
  });
  assert.equal((await poll(consumer, { recordsMax: 10 })).length, 10);
  await commit(consumer);
  fillDisk(disk);
  const count = await appendUntilFull(store, 50);
  await assert.rejects(append(store, "orders", { value: orders(0, 1)[0]! }, { ack: "os" }), isFull);
  const sent = orders(count, count + 3).map((value) => send(producer, "orders", { value }));
  await disk.clock.advance(1_000);

  assert.deepEqual(await valuesIn(store, "orders"), orders(0, count));
  assert.equal((await poll(consumer, { recordsMax: 10 })).length, 10);
  // A commit that fails has committed nothing, and is committed by the next one.
  for (let commits = 0;; commits++) {
    assert.ok(commits < 100, "the last block is full some time");
    const failure = await commit(consumer).catch((error) => error as Error);
    if (failure === undefined) {
      if ((await poll(consumer, { recordsMax: 1 })).length === 0) break;
      continue;
    }
    assert.ok(isFull(failure), String(failure));
    break;
  }

  emptyDisk(disk);
  await disk.clock.advance(5_000);
  assert.deepEqual((await Promise.all(sent)).map(({ offset }) => offset), [
    count,
    count + 1,
    count + 2,
  ]);
  await appendOrders(store, count + 3, count + 10);
  assert.deepEqual(await valuesIn(store, "orders"), orders(0, count + 10));
  await commit(consumer);
  const { offset } = (await committedOffsets(store, "readers"))[0]!;
  assert.ok(offset >= 20 && offset <= count);
  await closeStore(store);
  await checkWhole(disk);
  const reopened = await openOn(disk);
  assert.equal(reopened.recovery.wasClean, true);
  assert.equal((await committedOffsets(reopened, "readers"))[0]!.offset, offset);
  await closeStore(reopened);
});

forEachSmallDisk("a consumer that commits by itself polls on without room", async (disk) => {
  const store = await openOn(disk, { diskFreeBytesMin: 0 });
  await createTopic(store, "orders");
  await appendOrders(store, 0, 300);
  const consumer = await openConsumer(store, {
    groupId: "readers",
    topics: "orders",
    autoCommitIntervalMs: 10,
    autoOffsetReset: "earliest",
  });
  assert.equal((await poll(consumer, { recordsMax: 1 })).length, 1);
  await commit(consumer);
  fillDisk(disk);
  for (let count = 1; count < 300; count++) {
    // As many commits as fill a block, and more.
    await disk.clock.advance(20);
    assert.equal((await poll(consumer, { recordsMax: 1 }))[0]!.offset, count);
  }
  assert.equal(disk.fs.freeBytes(disk.folder), 0);
  const offset = async (): Promise<number> =>
    (await committedOffsets(store, "readers"))[0]?.offset ?? -1;
  assert.ok(await offset() < 100, "the disk took only some of the commits");
  emptyDisk(disk);
  await closeConsumer(consumer);
  assert.equal(await offset(), 300);
  await closeStore(store);
  await checkWhole(disk);
});

forEachSmallDisk("when others have taken all room, something can be freed", async (disk) => {
  const options = { diskFreeBytesMin: keptBytes / 4 };
  const store = await openOn(disk, options);
  await createTopic(store, "orders", { retentionMs: 60_000 });
  await createTopic(store, "last");
  await createTopic(store, "old");
  await appendBatch(store, "old", orders(0, 100).map((value) => ({ value })));
  await appendOrders(store, 0, 200);

  // Not a byte is left but the reserve, and each of these gets it back.
  fillDisk(disk);
  assert.equal(await deleteRecords(store, "orders", 0, 10), 10);
  fillDisk(disk);
  assert.equal(await deleteRecords(store, "orders", 0, 100), 100);
  fillDisk(disk);
  await deleteTopic(store, "old");
  assert.deepEqual(listTopics(store), ["last", "orders"]);
  assert.ok(disk.fs.freeBytes(disk.folder) > 64 * kibibyte);
  fillDisk(disk);
  await disk.clock.advance(50_000);
  await assert.rejects(appendOrders(store, 200, 201), isFull);
  await disk.clock.advance(50_000);
  assert.ok((await enforceRetention(store)).removedSegments > 0);
  assert.deepEqual(await valuesIn(store, "orders"), []);
  fillDisk(disk);
  await closeStore(store);

  const again = await openOn(disk, options);
  assert.equal(again.recovery.wasClean, true);
  fillDisk(disk);
  // The first change of an opening has to write more than others.
  await deleteTopic(again, "last");
  emptyDisk(disk);
  await appendOrders(again, 200, 203);
  assert.deepEqual(await valuesIn(again, "orders"), orders(200, 203));
  await closeStore(again);
  await checkWhole(disk);
});

/** How a store was left, and how many blocks the disk had left then. */
const pasts = [["closed", 0], ["crashed", 0], ["crashed", 1], ["torn", 0], ["torn", 2]] as const;
const tornBytes = 5 * blockBytes;

for (const [how, leftBlocks] of pasts) {
  forEachSmallDisk(`a store found full is opened: ${how}, ${leftBlocks} blocks`, async (disk) => {
    const options = { diskFreeBytesMin: keptBytes / 4 };
    const store = await openOn(disk, options);
    await createTopic(store, "orders", { partitions: 2 });
    await appendOrders(store, 0, 100);
    if (how === "closed") {
      await closeStore(store);
    } else {
      abandonStore(store);
      removeLocks(disk.fs, disk.folder);
    }
    if (how === "torn") tearEnd(disk);
    fillDisk(disk, leftBlocks * blockBytes);

    const found = await openOn(disk, options);
    assert.equal(found.recovery.wasClean, how === "closed");
    assert.equal(found.recovery.tornBytes, how === "torn" ? tornBytes : 0);
    if (how === "torn") assert.equal(keptTornBytes(disk), tornBytes);
    assert.deepEqual(found.recovery.failedPartitions, []);
    assert.deepEqual(found.recovery.unwrittenFiles, []);
    assert.deepEqual(await valuesIn(found, "orders"), orders(0, 100));
    await assert.rejects(appendOrders(found, 100, 101), isFull);
    assert.equal(await deleteRecords(found, "orders", 0, 90), 90);
    emptyDisk(disk);
    await appendOrders(found, 100, 105);
    await closeStore(found);
    const last = await openOn(disk, options);
    assert.deepEqual(await valuesIn(last, "orders"), orders(90, 105));
    await closeStore(last);
    await checkWhole(disk);
  });
}

/** Half a batch at the end of the orders, as a write leaves it that a full disk cut off. */
function tearEnd({ fs, folder }: SmallDisk): void {
  const names = fs.list(`${folder}/orders-0`).map(({ name }) => name);
  const last = names.filter((name) => name.endsWith(".log")).sort().at(-1);
  const file = fs.open(`${folder}/orders-0/${last}`, "write");
  fs.write(file, new Uint8Array(tornBytes).fill(1), fs.sizeOf(file));
  fs.close(file);
}

/** How much of a torn end was put aside. */
function keptTornBytes({ fs, folder }: SmallDisk): number {
  const names = fs.list(`${folder}/orders-0`).map(({ name }) => name);
  const torn = names.filter((name) => name.endsWith(".torn"));
  return torn.reduce((sum, name) => sum + fs.stat(`${folder}/orders-0/${name}`)!.sizeBytes, 0);
}

/** A change, and what is told of it and of anything else before it and behind it. */
interface Change {
  readonly run: (store: Store, disk: SmallDisk) => Promise<unknown>;
  /** Whether there is anything that it needs room for, however little there is to write. */
  readonly needsRoom: boolean;
  /** Where the orders begin when it is done; 0 unless given. */
  readonly startOffset?: number;
}

/** What changes more than a partition; each fails with `DISK_FULL` or is done. */
const changes: Record<string, Change> = {
  "creating a topic": {
    run: (store) => createTopic(store, "new", { partitions: 3, partitioner: "murmur2" }),
    needsRoom: true,
  },
  "altering a topic": {
    run: (store) => alterTopic(store, "orders", { retentionMs: 7, partitioner: "sticky" }),
    needsRoom: true,
  },
  "creating partitions": { run: (store) => createPartitions(store, "orders", 4), needsRoom: false },
  "deleting a topic": { run: (store) => deleteTopic(store, "old"), needsRoom: false },
  "deleting records": {
    run: (store) => deleteRecords(store, "orders", 0, 45),
    needsRoom: true,
    startOffset: 45,
  },
  "compacting a topic": { run: (store) => compactTopic(store, "latest"), needsRoom: true },
  "recording checkpoints": { run: (_, disk) => disk.clock.advance(60_000), needsRoom: false },
};

/** All that a change may change but for what compaction takes, for comparison. */
async function stateOf(store: Store): Promise<Record<string, unknown>> {
  const state: Record<string, unknown> = { topics: listTopics(store) };
  for (const topic of listTopics(store)) {
    const { config, partitions } = describeTopic(store, topic);
    const { retentionMs } = config;
    const starts = offsetsOf(store, topic).map(({ startOffset }) => startOffset);
    const values = topic === "latest" ? [] : await valuesIn(store, topic);
    state[topic] = { retentionMs, count: partitions.length, starts, values };
  }
  return state;
}

/** A store that is in use. */
async function openUsed(disk: SmallDisk): Promise<Store> {
  const store = await openOn(disk, { diskFreeBytesMin: 0, ack: "os" });
  await createTopic(store, "orders", { partitions: 2 });
  await createTopic(store, "old");
  await createTopic(store, "latest", { cleanupPolicy: "compact" });
  await appendOrders(store, 0, 50);
  for (const topic of ["old", "latest"]) {
    for (const [index, value] of orders(0, 20).entries()) {
      await append(store, topic, { key: `${index % 2}`, value });
    }
  }
  return store;
}

async function checkReopened(disk: SmallDisk, startOffset: number, end: number): Promise<void> {
  const store = await openOn(disk);
  assert.deepEqual(await valuesIn(store, "orders"), orders(startOffset, end));
  assert.deepEqual((await valuesIn(store, "latest")).slice(-2), orders(18, 20));
  await closeStore(store);
  await checkWhole(disk);
  removeStore(disk);
}

/** From no block to what is enough for anything. */
const blocksMax = 16;

for (const [name, { run, needsRoom, startOffset = 0 }] of Object.entries(changes)) {
  forEachSmallDisk(`${name} is done or not, however little room there is`, async (disk) => {
    let refusedCount = 0;
    for (let blocks = 0; blocks < blocksMax; blocks++) {
      const place = { ...disk, folder: `${disk.folder}-${blocks}` };
      const store = await openUsed(place);
      const before = await stateOf(store);
      fillDisk(place, blocks * blockBytes);
      const failure = await run(store, place).then(() => undefined, (error) => error as Error);
      emptyDisk(place);
      if (failure !== undefined) {
        assert.ok(isFull(failure), String(failure));
        assert.deepEqual(await stateOf(store), before, `${blocks} blocks: nothing has changed`);
        refusedCount++;
        await run(store, place);
      }
      await appendOrders(store, 50, 52);
      await closeStore(store);
      await checkReopened(place, startOffset, 52);
    }
    assert.ok(refusedCount < blocksMax, "there was room enough some time");
    if (needsRoom) assert.ok(refusedCount > 0, "there was too little room some time");
  });
}

forEachSmallDisk("closing a store loses nothing, however little room there is", async (disk) => {
  let refusedCount = 0;
  for (let blocks = 0; blocks < blocksMax; blocks++) {
    const place = { ...disk, folder: `${disk.folder}-${blocks}` };
    const store = await openUsed(place);
    fillDisk(place, blocks * blockBytes);
    const failure = await closeStore(store).then(() => undefined, (error) => error as Error);
    if (failure !== undefined) {
      assert.ok(isFull(failure), String(failure));
      refusedCount++;
    }
    emptyDisk(place);
    await checkReopened(place, 0, 50);
  }
  assert.ok(refusedCount > 0 && refusedCount < blocksMax);
});

function removeStore({ fs, folder }: Pick<SmallDisk, "fs" | "folder">): void {
  for (const { name, isFolder } of fs.list(folder)) {
    const path = `${folder}/${name}`;
    if (isFolder) removeStore({ fs, folder: path });
    else fs.remove(path);
  }
  fs.removeFolder(folder);
}
