/** `repairStore` and the metadata log: which topics there are afterwards, and what they are like. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  append,
  closeStore,
  commitOffsets,
  createTopic,
  describeTopic,
  isOttlaError,
  listTopics,
  repairStore,
} from "../../mod.ts";
import type { RepairReport } from "../../mod.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import { createTopicRecords, initialFeatureRecords } from "../../src/store/metadata_changes.ts";
import { metadataImage } from "../../src/store/metadata_image.ts";
import type { MetadataRecord } from "../../src/store/metadata_records.ts";
import { encodeMetadataRecord } from "../../src/store/metadata_records.ts";
import { saveMetadata } from "../../src/store/repair_metadata.ts";
import { internalsOf } from "../../src/store/store.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import {
  crashStore,
  dyingFileSystem,
  openTestStore,
  removeLocks,
  storeFolder,
  textOfFile,
} from "../support/store_fixture.ts";
import { allProblems, at, check, filledStore, kafkaStore, replace } from "./check_fixture.ts";

const metadataLog = "__cluster_metadata-0/00000000000000000000.log";
const snapshots = [0, 61, 115, 174].map((offset) => {
  const epoch = offset === 0 ? 0 : 1;
  const [digits, epochDigits] = [String(offset).padStart(20, "0"), String(epoch).padStart(10, "0")];
  return `__cluster_metadata-0/${digits}-${epochDigits}.checkpoint`;
});
const newest = snapshots.at(-1)!;

const repair = (fs: FileSystem): Promise<RepairReport> =>
  repairStore(storeFolder, { fileSystem: fs });

/** Names, ids, settings and numbers of partitions. */
async function topicsOf(fs: FileSystem): Promise<unknown[]> {
  const store = await openTestStore(fs);
  const topics = listTopics(store, { includesInternal: true }).map((name) => {
    const { topicId, config, partitions } = describeTopic(store, name);
    return [name, topicId, config, partitions.length];
  });
  await closeStore(store);
  return topics;
}

function flipMiddle(fs: FileSystem, path: string): void {
  flipByte(fs, at(path), Math.floor(fs.stat(at(path))!.sizeBytes / 2));
}

describe("with Kafka's snapshots", () => {
  for (const path of [...snapshots, metadataLog]) {
    test(`all topics are as they were when ${path} is damaged`, async () => {
      const fs = kafkaStore("standalone_4_1");
      flipMiddle(fs, path);
      const { check: after } = await repair(fs);
      assert.equal(after!.isClean, true, JSON.stringify(allProblems(after!)));
      assert.deepEqual(await topicsOf(fs), await topicsOf(kafkaStore("standalone_4_1")));
      assert.deepEqual((await repair(fs)).steps, []);
    });
  }

  for (const path of [newest, metadataLog]) {
    test(`a repair of ${path} that was interrupted loses no topic`, async () => {
      const topics = await topicsOf(kafkaStore("standalone_4_1"));
      let isDone = false;
      for (let changes = 0; !isDone; changes += 7) {
        assert.ok(changes < 2000, "the repair comes to an end");
        const fs = kafkaStore("standalone_4_1");
        flipMiddle(fs, path);
        const dying = dyingFileSystem(fs, changes);
        await repair(dying.fs).then(() => isDone = true, (error) => {
          if (dying.changeCount() <= changes) throw error;
        });
        removeLocks(fs);
        assert.equal((await repair(fs)).check!.isClean, true);
        assert.deepEqual(await topicsOf(fs), topics, `after ${changes} changes`);
      }
    });
  }

  test("one that is cut is not taken for a folder without topics", async () => {
    const fs = kafkaStore("standalone_4_1");
    resizeFile(fs, at(newest), 0);
    const found = allProblems(await check(fs)).find(({ path }) => path === newest);
    assert.match(found!.message, /its end is missing$/);
    await assert.rejects(openTestStore(fs), (error) => isOttlaError(error, "STORE_INVALID"));
    await repair(fs);
    assert.deepEqual(await topicsOf(fs), await topicsOf(kafkaStore("standalone_4_1")));
  });
});

test("behind a transaction whose end is damaged nothing is lost", () => {
  const fs = memoryFileSystem();
  fs.makeFolder(at("__cluster_metadata-0"));
  const topic = (name: string, number: number): MetadataRecord[] =>
    createTopicRecords(metadataImage(), {
      name,
      topicId: `${number}`.repeat(21) + "A",
      partitionCount: 1,
      configs: new Map(),
      nodeId: 1,
      directoryId: "5CgWtJvFQImQA2SboGsv0g",
    });
  const begin: MetadataRecord = { type: "BeginTransactionRecord", version: 0, name: "t" };
  const end: MetadataRecord = { type: "EndTransactionRecord", version: 0 };
  const batches = [initialFeatureRecords(), [begin, ...topic("held", 1)], [end], topic("free", 2)];
  const bytes = logBytes(batches);
  writeBytes(fs, at(metadataLog), bytes, 0);
  const endPosition = logBytes(batches.slice(0, 2)).length;
  flipByte(fs, at(metadataLog), endPosition + 65);
  const saved = saveMetadata(fs, storeFolder);
  assert.deepEqual([...saved.image.topicsByName.keys()], ["held", "free"]);
  assert.equal(saved.droppedCount, 1);
  assert.ok(saved.records.every(({ type }) => !type.includes("Transaction")));
});

test("a folder with a number that no partition has takes no topic away", async () => {
  const fs = await filledStore();
  resizeFile(fs, at(metadataLog), 0);
  fs.makeFolder(at("orders-20260101"));
  const { check: after } = await repair(fs);
  assert.equal(after!.isClean, true, JSON.stringify(allProblems(after!)));
  const store = await openTestStore(fs);
  assert.equal(describeTopic(store, "orders").partitions.length, 1);
  assert.equal(describeTopic(store, "orders").partitions[0]!.endOffset, 60);
  await closeStore(store);
});

test("the topic of committed offsets gets as many partitions as it had, folders or not", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  for (const value of ["a", "b"]) await append(store, "orders", { value });
  await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset: 1 }]);
  const { length } = internalsOf(store).topics.get("__consumer_offsets")!.partitions;
  await closeStore(store);
  resizeFile(fs, at(metadataLog), 0);
  await repair(fs);
  const again = await openTestStore(fs);
  const { partitions } = internalsOf(again).topics.get("__consumer_offsets")!;
  assert.equal(partitions.length, length);
  await closeStore(again);
});

test("a number that is wrong in one of two files keeps nobody from opening a store", async () => {
  const changes: readonly [string, RegExp, string][] = [
    ["recovery-point-offset-checkpoint", /__cluster_metadata 0 \d+/, "__cluster_metadata 0 99"],
    ["ottla.cleanshutdown", /"metadataEndOffset":\d+/, '"metadataEndOffset":99'],
  ];
  for (const [name, pattern, text] of changes) {
    const fs = await filledStore();
    const before = textOfFile(fs, name)!;
    assert.match(before, pattern);
    replace(fs, name, new TextEncoder().encode(before.replace(pattern, text)));
    const store = await openTestStore(fs);
    assert.deepEqual(listTopics(store), ["empty", "orders"]);
    crashStore(store, fs);
  }
});

function logBytes(batches: readonly (readonly MetadataRecord[])[]): Uint8Array {
  const builder = batchBuilder();
  let baseOffset = 0;
  for (const records of batches) {
    for (const record of records) appendRecord(builder, 0, null, encodeMetadataRecord(record));
    finishBatch(builder, { baseOffset, partitionLeaderEpoch: 1 });
    baseOffset += records.length;
  }
  return builtBytes(builder).slice();
}
