/**
 * The metadata log as the store writes and reads it (src/FORMAT.md, section 5).
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append } from "../../src/client/append.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import {
  batchesIn,
  hasValidChecksum,
  isControlBatch,
  partitionLeaderEpochOf,
  producerIdOf,
} from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { ControlRecord, MetadataRecord } from "../../src/store/metadata_records.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeControlKey,
  encodeControlRecord,
  encodeMetadataRecord,
} from "../../src/store/metadata_records.ts";
import {
  alterTopic,
  createPartitions,
  createTopic,
  deleteTopic,
  describeTopic,
  listTopics,
} from "../../src/store/topics.ts";
import { writeBytes } from "../support/log_fixture.ts";
import {
  crashStore,
  openTestStore,
  storeFolder,
  textOfFile,
  valuesIn,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";
import { internalsOf } from "../../src/store/store.ts";

const metadataFolder = joinPath(storeFolder, "__cluster_metadata-0");
const metadataFile = joinPath(metadataFolder, "00000000000000000000.log");
const topicId = "EBESExQVFhcYGRobHB0eHw";

interface SeenBatch {
  readonly baseOffset: number;
  readonly epoch: number;
  readonly records: readonly (ControlRecord | MetadataRecord)[];
}

/** The batches of the metadata log, each held against what Kafka's reader demands. */
function metadataBatches(fs: FileSystem): SeenBatch[] {
  const bytes = readFile(fs, metadataFile)!;
  const seen: SeenBatch[] = [];
  let nextOffset = 0;
  for (const batch of batchesIn(bytes)) {
    assert.ok(hasValidChecksum(batch));
    assert.equal(batch.baseOffset, nextOffset, "offsets are dense");
    assert.equal(producerIdOf(batch), -1);
    assert.equal(batch.baseTimestamp, batch.maxTimestamp, "every timestamp delta is 0");
    nextOffset = batch.lastOffset + 1;
    const records = recordsOf(batch).map((record) => {
      assert.equal(record.headers.length, 0);
      if (isControlBatch(batch)) return decodeControlRecord(record.key!, record.value!);
      assert.equal(record.key, null);
      return decodeMetadataRecord(record.value!);
    });
    seen.push({ baseOffset: batch.baseOffset, epoch: partitionLeaderEpochOf(batch), records });
  }
  return seen;
}

function typesOf(batches: readonly SeenBatch[]): string[][] {
  return batches.map(({ records }) => records.map(({ type }) => type));
}

test("a new store begins epoch 1 with a leader change and its features", async () => {
  const fs = memoryFileSystem();
  await withStore(() => Promise.resolve(), { fileSystem: fs });
  const batches = metadataBatches(fs);
  assert.deepEqual(typesOf(batches), [
    ["LeaderChangeMessage"],
    ["FeatureLevelRecord", "FeatureLevelRecord", "FeatureLevelRecord"],
  ]);
  assert.deepEqual(batches.map(({ epoch }) => epoch), [1, 1]);
  assert.deepEqual(batches[0]!.records[0], {
    type: "LeaderChangeMessage",
    version: 0,
    leaderId: 1,
    voters: [{ voterId: 1, voterDirectoryId: "AAAAAAAAAAAAAAAAAAAAAA" }],
    grantingVoters: [{ voterId: 1, voterDirectoryId: "AAAAAAAAAAAAAAAAAAAAAA" }],
  });
  assert.equal(
    textOfFile(fs, "__cluster_metadata-0/quorum-state"),
    '{"clusterId":"","leaderId":1,"leaderEpoch":1,"votedId":-1,"appliedOffset":0,' +
      '"currentVoters":[{"voterId":1}],"data_version":0}',
  );
  assert.equal(
    textOfFile(fs, "__cluster_metadata-0/partition.metadata"),
    "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
  );
});

test("meta.properties has what Kafka wants of it, and the partitions name its directory", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 2 });
  }, { fileSystem: fs });
  const lines = textOfFile(fs, "meta.properties")!.trim().split("\n").sort();
  assert.deepEqual(lines.map((line) => line.split("=")[0]), [
    "cluster.id",
    "directory.id",
    "node.id",
    "version",
  ]);
  const [clusterId = "", directoryId = "", nodeId, version] = lines.map((line) =>
    line.slice(line.indexOf("=") + 1)
  );
  assert.deepEqual([clusterId.length, directoryId.length, nodeId, version], [22, 22, "1", "1"]);
  const [, topicBatch] = metadataBatches(fs).slice(-2);
  assert.deepEqual(topicBatch!.records.map(({ type }) => type), [
    "TopicRecord",
    "ConfigRecord",
    "ConfigRecord",
    "ConfigRecord",
    "PartitionRecord",
    "PartitionRecord",
  ]);
  for (const record of topicBatch!.records) {
    if (record.type !== "PartitionRecord") continue;
    assert.deepEqual(
      [record.version, record.replicas, record.isr, record.leader, record.leaderEpoch],
      [2, [1], [1], 1, 0],
    );
    assert.deepEqual(record.directories, [directoryId]);
  }
});

test("a new topic states its retention, so that no broker's default deletes it", async () => {
  const fs = memoryFileSystem();
  await withStore(async (store) => {
    await createTopic(store, "orders", { retentionMs: -1 });
  }, { fileSystem: fs });
  const configs = metadataBatches(fs).flatMap(({ records }) => records)
    .flatMap((record) => record.type === "ConfigRecord" ? [[record.name, record.value]] : []);
  assert.deepEqual(Object.fromEntries(configs), {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
  });
});

test("every opening that changes something has an epoch of its own; one that does not leaves the log alone", async () => {
  const fs = memoryFileSystem();
  await withStore((store) => createTopic(store, "a").then(() => {}), { fileSystem: fs });
  const before = readFile(fs, metadataFile)!;
  await withStore(async (store) => {
    await append(store, "a", { value: "v" });
  }, { fileSystem: fs });
  assert.deepEqual(readFile(fs, metadataFile), before);
  await withStore(async (store) => {
    await createTopic(store, "b");
    await deleteTopic(store, "b");
  }, { fileSystem: fs });
  const batches = metadataBatches(fs).slice(-3);
  assert.deepEqual(batches.map(({ epoch }) => epoch), [2, 2, 2]);
  assert.deepEqual(batches.map(({ records }) => records[0]!.type), [
    "LeaderChangeMessage",
    "TopicRecord",
    "RemoveTopicRecord",
  ]);
  assert.match(textOfFile(fs, "__cluster_metadata-0/quorum-state")!, /"leaderEpoch":2/);
});

test("an epoch is higher than that of quorum-state, which may be ahead of the log", async () => {
  const fs = memoryFileSystem();
  await withStore(() => Promise.resolve(), { fileSystem: fs });
  const path = joinPath(metadataFolder, "quorum-state");
  writeFile(
    fs,
    path,
    textOfFile(fs, "__cluster_metadata-0/quorum-state")!.replace(':1,"voted', ':9,"voted'),
  );
  await withStore((store) => createTopic(store, "a").then(() => {}), { fileSystem: fs });
  assert.equal(metadataBatches(fs).at(-1)!.epoch, 10);
});

test("configurations and partitions are the same after closing and after a crash", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders", { retentionHours: 1, compression: "gzip" });
  await alterTopic(store, "orders", {
    retentionHours: 2,
    compression: null,
    segmentBytes: 2 ** 21,
  });
  const described = await createPartitions(store, "orders", 3);
  const shown = ({ config, partitions, topicId }: typeof described): unknown => [
    config,
    partitions.length,
    topicId,
  ];
  assert.equal(described.config.retentionMs, 7_200_000);
  assert.equal(described.config.compression, "producer");
  crashStore(store, fs);
  for (let opening = 0; opening < 2; opening++) {
    await withStore((reopened) => {
      assert.deepEqual(shown(describeTopic(reopened, "orders")), shown(described));
      return Promise.resolve();
    }, { fileSystem: fs });
  }
});

test("a torn batch at the end of the metadata is cut, and the next change goes where it was", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  crashStore(store, fs);
  const whole = readFile(fs, metadataFile)!;
  writeBytes(fs, metadataFile, whole.subarray(0, 70));
  await withStore(async (reopened) => {
    assert.deepEqual(listTopics(reopened), ["orders"]);
    await createTopic(reopened, "invoices");
  }, { fileSystem: fs });
  assert.deepEqual(readFile(fs, metadataFile)!.subarray(0, whole.length), whole);
  await withStore((reopened) => {
    assert.deepEqual(listTopics(reopened), ["invoices", "orders"]);
    return Promise.resolve();
  }, { fileSystem: fs });
});

/** Writes metadata behind what is there, as a controller would. */
function appendMetadata(fs: FileSystem, baseOffset: number, records: MetadataRecord[]): number {
  const builder = batchBuilder();
  for (const record of records) appendRecord(builder, 0, null, encodeMetadataRecord(record));
  finishBatch(builder, { baseOffset, partitionLeaderEpoch: 1 });
  writeBytes(fs, metadataFile, builtBytes(builder));
  return baseOffset + records.length;
}

test("a transaction that was left open is dropped, and ended before anything else is written", async () => {
  const fs = memoryFileSystem();
  let end = 0;
  await withStore((store) => {
    end = internalsOf(store).metadata.log.endOffset;
    return Promise.resolve();
  }, { fileSystem: fs });
  appendMetadata(fs, end, [
    { type: "BeginTransactionRecord", version: 0, name: "half" },
    { type: "TopicRecord", version: 0, name: "half", topicId },
  ]);
  await withStore(async (store) => {
    assert.deepEqual(listTopics(store), []);
    await createTopic(store, "whole");
  }, { fileSystem: fs });
  assert.equal(metadataBatches(fs).at(-1)!.records[0]!.type, "AbortTransactionRecord");
  await withStore((store) => {
    assert.deepEqual(listTopics(store), ["whole"]);
    return Promise.resolve();
  }, { fileSystem: fs });
});

/** A snapshot as a broker leaves it: header, records, footer. */
function snapshotBytes(records: MetadataRecord[]): Uint8Array {
  const builder = batchBuilder();
  const control = (
    record: ControlRecord & { type: "SnapshotHeaderRecord" | "SnapshotFooterRecord" },
    offset: number,
  ): void => {
    appendRecord(builder, 0, encodeControlKey(record.type), encodeControlRecord(record));
    finishBatch(builder, { baseOffset: offset, partitionLeaderEpoch: 3, control: true });
  };
  control({ type: "SnapshotHeaderRecord", version: 0, lastContainedLogTimestamp: 0 }, 0);
  for (const record of records) appendRecord(builder, 0, null, encodeMetadataRecord(record));
  finishBatch(builder, { baseOffset: 1, partitionLeaderEpoch: 3 });
  control({ type: "SnapshotFooterRecord", version: 0 }, 1 + records.length);
  return builtBytes(builder).slice();
}

const snapshotRecords: MetadataRecord[] = [
  { type: "FeatureLevelRecord", version: 0, name: "metadata.version", featureLevel: 21 },
  { type: "TopicRecord", version: 0, name: "old", topicId },
  {
    type: "PartitionRecord",
    version: 1,
    partitionId: 0,
    topicId,
    replicas: [1],
    isr: [1],
    removingReplicas: [],
    addingReplicas: [],
    leader: 1,
    leaderRecoveryState: 0,
    leaderEpoch: 5,
    partitionEpoch: 5,
    directories: [topicId],
    eligibleLeaderReplicas: null,
    lastKnownElr: null,
  },
];

for (const logFiles of ["of which the log is gone", "with an empty log behind it"]) {
  test(`a snapshot ${logFiles} is where the metadata begins`, async () => {
    const fs = memoryFileSystem();
    await withStore(() => Promise.resolve(), { fileSystem: fs });
    for (const { name } of fs.list(metadataFolder)) fs.remove(joinPath(metadataFolder, name));
    fs.remove(joinPath(storeFolder, "ottla.cleanshutdown"));
    const snapshot = "00000000000000000040-0000000003.checkpoint";
    writeFile(fs, joinPath(metadataFolder, snapshot), snapshotBytes(snapshotRecords));
    if (logFiles.startsWith("with")) {
      writeFile(fs, joinPath(metadataFolder, "00000000000000000040.log"), "");
    }
    const store = await openTestStore(fs);
    assert.deepEqual(listTopics(store), ["old"]);
    assert.equal(internalsOf(store).metadata.log.endOffset, 40);
    await append(store, "old", { value: "v0" });
    await createTopic(store, "new");
    const log = readFile(fs, joinPath(metadataFolder, "00000000000000000040.log"))!;
    const [first, second] = [...batchesIn(log)];
    assert.deepEqual([first!.baseOffset, partitionLeaderEpochOf(first!)], [40, 4]);
    const [record] = recordsOf(second!).map(({ value }) => decodeMetadataRecord(value!))
      .filter(({ type }) => type === "PartitionRecord");
    assert.equal(record!.version, 1, "records are of the version that the folder's level has");
    crashStore(store, fs);
    await withStore(async (reopened) => {
      assert.deepEqual(listTopics(reopened), ["new", "old"]);
      assert.deepEqual(await valuesIn(reopened, "old"), ["v0"]);
    }, { fileSystem: fs });
    const data = readFile(fs, joinPath(storeFolder, "old-0/00000000000000000000.log"))!;
    assert.equal(partitionLeaderEpochOf([...batchesIn(data)][0]!), 5);
  });
}

test("a folder that Kafka formatted and never started on gets the features it was formatted with", async () => {
  const fs = memoryFileSystem();
  fs.makeFolder(storeFolder);
  const clusterId = "J7s9e8PPTKOO47PxzI39VA";
  const meta = `cluster.id=${clusterId}\ndirectory.id=${topicId}\nnode.id=3\nversion=1\n`;
  writeFile(fs, joinPath(storeFolder, "meta.properties"), meta);
  const bootstrap = snapshotBytes(
    [{ type: "FeatureLevelRecord", version: 0, name: "metadata.version", featureLevel: 27 }],
  );
  writeFile(fs, joinPath(storeFolder, "bootstrap.checkpoint"), bootstrap);
  await withStore(async (store) => {
    assert.equal(internalsOf(store).image.features.get("metadata.version"), 27);
    assert.equal(internalsOf(store).clusterId, clusterId);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v0" });
  }, { fileSystem: fs });
  assert.equal(textOfFile(fs, "meta.properties"), meta);
  const batches = metadataBatches(fs);
  assert.deepEqual(typesOf(batches).slice(0, 2), [["LeaderChangeMessage"], ["FeatureLevelRecord"]]);
  const partition = batches.at(-1)!.records.at(-1)!;
  assert.ok(partition.type === "PartitionRecord");
  assert.deepEqual([partition.replicas, partition.directories], [[3], [topicId]]);
});

test("a folder of version 0 or without a directory id gets one", async () => {
  const fs = memoryFileSystem();
  fs.makeFolder(storeFolder);
  const text = "version=0\nbroker.id=4\ncluster.id=J7s9e8PPTKOO47PxzI39VA\n";
  writeFile(fs, joinPath(storeFolder, "meta.properties"), text);
  const store = await openTestStore(fs);
  const { directoryId } = internalsOf(store);
  await closeStore(store);
  assert.equal(
    textOfFile(fs, "meta.properties"),
    `cluster.id=J7s9e8PPTKOO47PxzI39VA\ndirectory.id=${directoryId}\nnode.id=4\nversion=1\n`,
  );
});
