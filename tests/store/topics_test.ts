/**
 * Topics: what may be created, what happens to files and readers when one goes, and what a crash in
 * the middle leaves.
 */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { closeRange, openRange } from "../../src/client/range.ts";
import { read } from "../../src/client/read.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  listTopics,
} from "../../src/store/topics.ts";
import { failNext, faultyDisk, holdSyncs } from "../support/faulty_file_system.ts";
import {
  crashStore,
  dyingFileSystem,
  numbered,
  numberedText,
  openTestStore,
  removeLocks,
  rootNames,
  storeFolder,
  textOfFile,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

test("a created topic is described, with defaults where nothing was said", async () => {
  await withStore(async (store) => {
    const created = await createTopic(store, "orders", { partitions: 2, retentionHours: 3 });
    assert.equal(created.name, "orders");
    assert.equal(created.topicId.length, 22);
    assert.equal(created.config.retentionMs, 3 * 3_600_000);
    assert.equal(created.config.maxMessageBytes, 1_048_588);
    assert.equal(created.partitioner, "xxh64");
    assert.deepEqual(created.partitions.map(({ partition, endOffset }) => [partition, endOffset]), [
      [0, 0],
      [1, 0],
    ]);
    assert.deepEqual(describeTopic(store, "orders"), created);
    assert.deepEqual(listTopics(store), ["orders"]);
  });
});

test("a description counts what is in the partitions", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    await appendBatch(store, "orders", numbered(0, 4).map((one) => ({ ...one, partition: 1 })));
    const [first, second] = describeTopic(store, "orders").partitions;
    assert.deepEqual([first!.endOffset, first!.sizeBytes], [0, 0]);
    assert.deepEqual([second!.startOffset, second!.endOffset, second!.segmentCount], [0, 4, 1]);
    assert.equal(second!.sizeBytes, 61 + 4 * 9);
  });
});

test("names that are illegal, taken, or collide are refused, and nothing is there then", async () => {
  await withStore(async (store, fs) => {
    await createTopic(store, "a.b");
    const before = rootNames(fs);
    for (const name of ["", ".", "..", "a b", "a/b", "ä", "a".repeat(250), "__cluster_metadata"]) {
      await assert.rejects(createTopic(store, name), hasCode("INVALID_TOPIC_EXCEPTION"), name);
    }
    await assert.rejects(createTopic(store, "a_b"), hasCode("INVALID_TOPIC_EXCEPTION"));
    await assert.rejects(createTopic(store, "a.b"), hasCode("TOPIC_ALREADY_EXISTS"));
    assert.deepEqual(rootNames(fs), before);
    assert.deepEqual(listTopics(store), ["a.b"]);
    await createTopic(store, "a".repeat(249));
  });
});

test("of creations of one name at the same time one wins, with `ifNotExists` all do", async () => {
  await withStore(async (store) => {
    const rivals = await Promise.allSettled(
      [1, 2, 3].map((partitions) => createTopic(store, "orders", { partitions })),
    );
    const won = rivals.filter(({ status }) => status === "fulfilled");
    assert.equal(won.length, 1);
    for (const rival of rivals) {
      if (rival.status === "rejected") {
        assert.ok(isOttlaError(rival.reason, "TOPIC_ALREADY_EXISTS"));
      }
    }
    const friends = await Promise.all(
      [4, 5].map((partitions) => createTopic(store, "invoices", { partitions, ifNotExists: true })),
    );
    assert.equal(friends[0]!.topicId, friends[1]!.topicId);
    assert.deepEqual(friends.map(({ partitions }) => partitions.length), [4, 4]);
  });
});

test("create, delete and create again, all asked for at once, come in their order", async () => {
  await withStore(async (store) => {
    const first = await createTopic(store, "orders");
    await append(store, "orders", { value: "old" });
    const [, second] = await Promise.all([
      deleteTopic(store, "orders"),
      createTopic(store, "orders", { partitions: 2 }),
    ]);
    assert.notEqual(second.topicId, first.topicId);
    assert.deepEqual(await valuesIn(store, "orders"), []);
    assert.deepEqual(offsetsOf(store, "orders").map(({ endOffset }) => endOffset), [0, 0]);
    const gone = await Promise.allSettled([
      deleteTopic(store, "orders"),
      deleteTopic(store, "orders"),
      alterTopic(store, "orders", { retentionMs: 1 }),
      createPartitions(store, "orders", 5),
    ]);
    assert.deepEqual(gone.map(({ status }) => status), ["fulfilled", ...Array(3).fill("rejected")]);
    for (const result of gone.slice(1)) {
      assert.ok(
        result.status === "rejected" && isOttlaError(result.reason, "UNKNOWN_TOPIC_OR_PARTITION"),
      );
    }
  });
});

test("deleting takes the files, and tells readers and writers; an open range stays readable", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    await append(store, "orders", { value: "v0", partition: 0 });
    const reader = read(store, "orders", { live: true, partition: 0 });
    assert.equal((await reader.next()).value!.offset, 0);
    const waiting = assert.rejects(reader.next(), hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
    const range = openRange(store, "orders", 0, { from: 0 });
    await deleteTopic(store, "orders");
    await waiting;
    assert.deepEqual(rootNames(disk.fs).filter((name) => name.startsWith("orders")), []);
    assert.throws(() => read(store, "orders"), hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
    await assert.rejects(
      append(store, "orders", { value: "v" }),
      hasCode("UNKNOWN_TOPIC_OR_PARTITION"),
    );
    assert.equal([...disk.handles.values()].filter((path) => path.includes("orders")).length, 1);
    closeRange(range);
    assert.equal([...disk.handles.values()].filter((path) => path.includes("orders")).length, 0);
  }, { fileSystem: disk.fs });
});

test("an append that waits for the disk when its topic is deleted is not acknowledged", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await createTopic(store, "other");
    holdSyncs(disk);
    const appended = append(store, "orders", { value: "v0" });
    const refused = assert.rejects(appended, hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
    const deleting = deleteTopic(store, "orders");
    let isDone = false;
    deleting.then(() => isDone = true);
    // The sync of the metadata is let go, that of the topic is not.
    while (!isDone) {
      await new Promise((done) => setTimeout(done, 0));
      disk.heldSyncs!.pop()?.();
    }
    await refused;
    const held = disk.heldSyncs!;
    disk.heldSyncs = undefined;
    for (const release of held) release();
    await append(store, "other", { value: "v0" });
  }, { fileSystem: disk.fs });
});

test("a topic of the name of a deleted one begins at 0, after a crash too", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 100));
  await deleteRecords(store, "orders", 0, 90);
  await deleteTopic(store, "orders");
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 5));
  crashStore(store, fs);
  await withStore(async (reopened) => {
    assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 5));
  }, { fileSystem: fs });
});

test("a deletion that crashed at any step leaves nothing to a new topic of that name", async () => {
  let isDeleted = false;
  for (let changesMax = 0; !isDeleted; changesMax++) {
    assert.ok(changesMax < 200);
    const inner = memoryFileSystem();
    const first = await openTestStore(inner);
    await createTopic(first, "orders");
    await appendBatch(first, "orders", numbered(0, 100));
    await deleteRecords(first, "orders", 0, 90);
    crashStore(first, inner);
    const dying = dyingFileSystem(inner, Infinity);
    const store = await openTestStore(dying.fs);
    Object.assign(dying.fs, dyingFileSystem(inner, changesMax).fs);
    isDeleted = await deleteTopic(store, "orders").then(() => true, () => false);
    crashStore(store, inner);
    const second = await openTestStore(inner);
    await createTopic(second, "orders", { ifNotExists: true });
    const values = await valuesIn(second, "orders");
    await appendBatch(second, "orders", numbered(100, 105));
    crashStore(second, inner);
    await withStore(async (reopened) => {
      const wanted = [...values, ...numberedText(100, 105)];
      assert.deepEqual(await valuesIn(reopened, "orders"), wanted, `after ${changesMax} changes`);
    }, { fileSystem: inner });
  }
});

test("what a failed deletion left in the folder is not taken for a new topic's", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "old" });
    failNext(disk, { operation: "rename", code: "EBUSY", path: "orders-0" });
    await assert.rejects(deleteTopic(store, "orders"));
    assert.deepEqual(listTopics(store), []);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "new" });
    assert.deepEqual(await valuesIn(store, "orders"), ["new"]);
    assert.equal(rootNames(disk.fs).filter((name) => name.endsWith("-stray")).length, 1);
  }, { fileSystem: disk.fs });
});

test("configurations can be changed and set back, and take effect at once", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { maxMessageBytes: 200 });
    const large = { value: "x".repeat(500) };
    await assert.rejects(append(store, "orders", large), hasCode("MESSAGE_TOO_LARGE"));
    const altered = await alterTopic(store, "orders", { maxMessageBytes: null, retentionMs: 5 });
    assert.deepEqual([altered.config.maxMessageBytes, altered.config.retentionMs], [1_048_588, 5]);
    await append(store, "orders", large);
    await assert.rejects(
      alterTopic(store, "orders", { minCompactionLagMs: 10, maxCompactionLagMs: 5 }),
      hasCode("INVALID_CONFIG"),
    );
    assert.deepEqual(describeTopic(store, "orders").config, altered.config);
  });
});

test("a topic can be given more partitions and no fewer", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
    await append(store, "orders", { value: "v0", partition: 0 });
    const grown = await createPartitions(store, "orders", 4);
    assert.deepEqual(grown.partitions.map(({ partition }) => partition), [0, 1, 2, 3]);
    await append(store, "orders", { value: "v3", partition: 3 });
    for (const count of [4, 3, 0, -1, 1.5, 10_001]) {
      const growing = createPartitions(store, "orders", count);
      await assert.rejects(growing, hasCode("INVALID_PARTITIONS"), `${count}`);
    }
  }, { fileSystem: fs });
  await withStore(async (store) => {
    assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v3"]);
    assert.equal(describeTopic(store, "orders").partitions.length, 4);
  }, { fileSystem: fs });
});

test("a thousand topics are created, found again and deleted", async () => {
  const fs = memoryFileSystem();
  const names = Array.from(
    { length: 1000 },
    (_, index) => `topic-${String(index).padStart(3, "0")}`,
  );
  await withStore(async (store) => {
    await Promise.all(names.map((name) => createTopic(store, name)));
    assert.deepEqual(listTopics(store), names);
    await append(store, "topic-777", { value: "v" });
  }, { fileSystem: fs });
  await withStore(async (store) => {
    assert.ok(internalsOf(store).recovery.wasClean);
    assert.deepEqual(listTopics(store), names);
    assert.deepEqual(await valuesIn(store, "topic-777"), ["v"]);
    await Promise.all(names.map((name) => deleteTopic(store, name)));
  }, { fileSystem: fs });
  await withStore((store) => {
    assert.deepEqual(listTopics(store), []);
    assert.ok(!rootNames(fs).some((name) => name.startsWith("topic-")));
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("names that JavaScript's objects have are topics like others", async () => {
  await withStore(async (store) => {
    for (const name of ["__proto__", "constructor", "toString", "length"]) {
      assert.throws(() => describeTopic(store, name), hasCode("UNKNOWN_TOPIC_OR_PARTITION"));
      await createTopic(store, name, { partitioner: "murmur2" });
      await append(store, name, { key: name, value: name });
      assert.deepEqual(await valuesIn(store, name), [name]);
    }
  });
});

/** The changes of a topic's life; each leaves the topic as `check` demands or does not happen. */
const changes: Readonly<
  Record<
    string,
    { prepare: (store: Store) => Promise<unknown>; change: (store: Store) => Promise<unknown> }
  >
> = {
  create: {
    prepare: () => Promise.resolve(),
    change: (store) =>
      createTopic(store, "orders", { partitions: 2, partitioner: "murmur2", retentionMs: 7 }),
  },
  delete: {
    prepare: (store) => createTopic(store, "orders", { partitions: 2, partitioner: "murmur2" }),
    change: (store) => deleteTopic(store, "orders"),
  },
  alter: {
    prepare: (store) => createTopic(store, "orders", { partitions: 2 }),
    change: (store) => alterTopic(store, "orders", { retentionMs: 7, segmentMs: 8 }),
  },
  grow: {
    prepare: (store) => createTopic(store, "orders", { partitions: 2 }),
    change: (store) => createPartitions(store, "orders", 4),
  },
};

/** What can be seen of the topic, without what is different in every store. */
function shownTopic(store: Store): unknown {
  if (!listTopics(store).includes("orders")) return "none";
  const { config, partitioner, partitions } = describeTopic(store, "orders");
  return { config, partitioner, partitionCount: partitions.length };
}

for (const [name, { prepare, change }] of Object.entries(changes)) {
  test(`a crash at any step of a change happens wholly or not at all: ${name}`, async () => {
    let deathCount = 0;
    for (let changesMax = 0;; changesMax++) {
      assert.ok(changesMax < 500);
      const inner = memoryFileSystem();
      const before = await openTestStore(inner);
      await prepare(before);
      const shownBefore = shownTopic(before);
      crashStore(before, inner);
      const dying = dyingFileSystem(inner, Infinity);
      const store = await openTestStore(dying.fs);
      Object.assign(dying.fs, dyingFileSystem(inner, changesMax).fs);
      const isDone = await change(store).then(() => true, () => false);
      if (!isDone) deathCount++;
      crashStore(store, inner);
      removeLocks(inner);
      const reopened = await openTestStore(inner);
      const shown = shownTopic(reopened);
      const wasChanged = JSON.stringify(shown) !== JSON.stringify(shownBefore);
      if (isDone) assert.ok(wasChanged, "what was acknowledged is there");
      if (listTopics(reopened).length === 0) {
        await createTopic(reopened, "orders", { partitions: 2 });
      }
      const { partitions } = describeTopic(reopened, "orders");
      for (const { partition } of partitions) {
        assert.equal((await append(reopened, "orders", { value: "v", partition })).offset, 0);
      }
      assert.equal((await valuesIn(reopened, "orders")).length, partitions.length);
      const left = rootNames(inner).filter((entry) => entry.endsWith("-delete"));
      assert.deepEqual(left, [], "what is half deleted is gone");
      if (wasChanged && name === "create") {
        const description = describeTopic(reopened, "orders");
        assert.deepEqual(
          [description.partitioner, description.config.retentionMs, partitions.length],
          ["murmur2", 7, 2],
        );
      }
      if (wasChanged && name === "alter") {
        const { config } = describeTopic(reopened, "orders");
        assert.deepEqual([config.retentionMs, config.segmentMs], [7, 8]);
      }
      crashStore(reopened, inner);
      if (isDone) break;
    }
    assert.ok(deathCount >= 5, `died ${deathCount} times`);
  });
}

test("a creation that the disk refuses leaves no topic, and can be tried again", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata-0" });
    await assert.rejects(createTopic(store, "orders"), hasCode("DISK_FULL"));
    assert.deepEqual(listTopics(store), []);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
    assert.deepEqual(await valuesIn(store, "orders"), ["v0"]);
  }, { fileSystem: disk.fs });
  await withStore((store) => {
    assert.deepEqual(listTopics(store), ["orders"]);
    return Promise.resolve();
  }, { fileSystem: disk.fs });
});

test("the partitioner of a topic is remembered, a function as one that must be given again", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "a", { partitions: 4, partitioner: "murmur2" });
    await createTopic(store, "b", { partitions: 4, partitioner: () => 3 });
    assert.equal((await append(store, "b", { key: "k", value: "v" })).partition, 3);
  }, { fileSystem: fs });
  await withStore(async (store) => {
    assert.equal(describeTopic(store, "a").partitioner, "murmur2");
    assert.equal(describeTopic(store, "b").partitioner, "custom");
    await assert.rejects(
      append(store, "b", { key: "k", value: "v" }),
      (error) => isOttlaError(error, "INVALID_CONFIG") && error.message.includes("alterTopic"),
    );
    assert.equal((await append(store, "b", { value: "v", partition: 1 })).partition, 1);
    await alterTopic(store, "b", { partitioner: () => 2 });
    assert.equal((await append(store, "b", { key: "k", value: "v" })).partition, 2);
    await alterTopic(store, "b", { partitioner: "roundRobin" });
    await deleteTopic(store, "a");
  }, { fileSystem: fs });
  assert.match(
    textOfFile(fs, "ottla.partitioners")!,
    /^\{"version":1,"partitioners":\{"\S{22}":"roundRobin"\}\}$/,
  );
  await withStore(async (store) => {
    const partitions: number[] = [];
    for (let index = 0; index < 5; index++) {
      partitions.push((await append(store, "b", { key: "k", value: "v" })).partition);
    }
    assert.deepEqual(partitions, [0, 1, 2, 3, 0]);
  }, { fileSystem: fs });
});

test("folders of deleted partitions that could not be removed are removed by the next opening", async () => {
  const fs = memoryFileSystem();
  await withStore((store) => createTopic(store, "orders").then(() => {}), { fileSystem: fs });
  const folder = joinPath(storeFolder, `gone-0.${"a".repeat(32)}-delete`);
  fs.makeFolder(folder);
  fs.close(fs.open(joinPath(folder, "00000000000000000000.log"), "create"));
  await withStore((store) => {
    assert.ok(internalsOf(store).recovery.wasClean);
    assert.equal(fs.stat(folder), undefined);
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("deleting records moves the start, now and after reopening", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 10));
  assert.equal(await deleteRecords(store, "orders", 0, 4), 4);
  assert.equal(await deleteRecords(store, "orders", 0, 2), 4, "the start never goes back");
  assert.deepEqual(await valuesIn(store, "orders"), numberedText(4, 10));
  await assert.rejects(deleteRecords(store, "orders", 0, 11), hasCode("OFFSET_OUT_OF_RANGE"));
  crashStore(store, fs);
  const reopened = await openTestStore(fs);
  assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(4, 10));
  assert.equal(await deleteRecords(reopened, "orders", 0, -1), 10);
  crashStore(reopened, fs);
  await withStore(async (again) => {
    assert.deepEqual(await valuesIn(again, "orders"), []);
    assert.equal((await append(again, "orders", { value: "v10" })).offset, 10);
  }, { fileSystem: fs });
});

test("a function may be given again when a topic is made sure of", async () => {
  const fs = memoryFileSystem();
  const options = { partitions: 3, partitioner: () => 2, ifNotExists: true };
  for (let opening = 0; opening < 2; opening++) {
    await withStore(async (store) => {
      await createTopic(store, "orders", options);
      const { partition, offset } = await append(store, "orders", { key: "k", value: "v" });
      assert.deepEqual([partition, offset], [2, opening]);
      await createTopic(store, "orders", { ...options, partitioner: () => 0 });
      assert.equal(typeof describeTopic(store, "orders").partitioner, "function");
    }, { fileSystem: fs });
  }
});

test("a creation that fails leaves no partitioner behind", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    failNext(disk, { operation: "write", code: "ENOSPC", path: "__cluster_metadata-0" });
    await assert.rejects(createTopic(store, "orders", { partitioner: "murmur2" }));
    assert.equal(internalsOf(store).partitioners.size, 0);
  }, { fileSystem: disk.fs });
  await withStore(async (store) => {
    await createTopic(store, "other", { partitioner: "sticky" });
  }, { fileSystem: disk.fs });
  assert.match(textOfFile(disk.fs, "ottla.partitioners")!, /^\{[^{]*\{"\S{22}":"sticky"\}\}$/);
});

test("folders of the longest names can be set aside and deleted on a disk", async () => {
  await withFolder(async (folder) => {
    const name = "n".repeat(249);
    const store = await openStore(folder);
    await createTopic(store, name);
    await append(store, name, { value: "v0" });
    await deleteTopic(store, name);
    mkdirSync(join(folder, `${name}-0`));
    await createTopic(store, name);
    await append(store, name, { value: "v1" });
    assert.deepEqual(await valuesIn(store, name), ["v1"]);
    await closeStore(store);
    const strays = readdirSync(folder).filter((entry) => entry.endsWith("-stray"));
    assert.deepEqual(strays.map((entry) => entry.length), [255]);
    await closeStore(await openStore(folder));
  });
});
