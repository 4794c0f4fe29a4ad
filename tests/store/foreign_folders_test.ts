/**
 * Folders that cannot be opened: each is refused with a sentence, and not one byte in it is
 * changed.
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { appendBatch } from "../../src/client/append.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import type { MetadataRecord } from "../../src/store/metadata_records.ts";
import { encodeMetadataRecord } from "../../src/store/metadata_records.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import {
  contentOf,
  crashStore,
  isNoLock,
  numbered,
  openTestStore,
  removeLocks,
  storeFolder,
  withFolder,
  writeFile,
} from "../support/store_fixture.ts";
import { internalsOf } from "../../src/store/store.ts";

const metadataFile = joinPath(storeFolder, "__cluster_metadata-0/00000000000000000000.log");
const clusterId = "cluster.id=J7s9e8PPTKOO47PxzI39VA\n";

/** A store that was closed properly, as a broker would have left it: without a lock. */
async function closedStore(): Promise<FileSystem> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders", { partitions: 2, partitioner: "murmur2" });
  await createTopic(store, "invoices");
  await appendBatch(store, "orders", numbered(0, 3));
  await closeStore(store);
  removeLocks(fs);
  return fs;
}

function folderWith(files: Readonly<Record<string, string>>): Promise<FileSystem> {
  const fs = memoryFileSystem();
  fs.makeFolder(storeFolder);
  for (const [name, text] of Object.entries(files)) {
    writeFile(fs, joinPath(storeFolder, name), text);
  }
  return Promise.resolve(fs);
}

async function changedStore(change: (fs: FileSystem) => void): Promise<FileSystem> {
  const fs = await closedStore();
  change(fs);
  return fs;
}

/** Appends a batch of metadata behind what is there. */
async function withMetadata(...records: MetadataRecord[]): Promise<FileSystem> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  const { endOffset } = internalsOf(store).metadata.log;
  await closeStore(store);
  removeLocks(fs);
  const builder = batchBuilder();
  for (const record of records) appendRecord(builder, 0, null, encodeMetadataRecord(record));
  finishBatch(builder, { baseOffset: endOffset, partitionLeaderEpoch: 1 });
  writeBytes(fs, metadataFile, builtBytes(builder));
  return fs;
}

const refusals: Readonly<
  Record<string, readonly [() => Promise<FileSystem>, ErrorCode, RegExp]>
> = {
  "a folder of another program": [
    () => folderWith({ "notes.txt": "mine" }),
    "STORE_INVALID",
    /other files and no meta.properties/,
  ],
  "a folder of another program with a folder in it": [
    () =>
      changedStore((fs) => {
        fs.remove(joinPath(storeFolder, "meta.properties"));
      }),
    "STORE_INVALID",
    /other files and no meta.properties/,
  ],
  "meta.properties of version 2": [
    () => folderWith({ "meta.properties": `version=2\n${clusterId}node.id=1\n` }),
    "UNSUPPORTED_VERSION",
    /version "2", wanted 0 or 1, a newer Kafka wrote the folder/,
  ],
  "meta.properties of the time of ZooKeeper": [
    () => folderWith({ "meta.properties": "version=0\nbroker.id=0\n" }),
    "STORE_INVALID",
    /ZooKeeper/,
  ],
  "meta.properties that is none": [
    () => folderWith({ "meta.properties": "\u0000\u0001\u0002" }),
    "STORE_INVALID",
    /cluster.id/,
  ],
  "an empty meta.properties": [
    () => folderWith({ "meta.properties": "" }),
    "STORE_INVALID",
    /cluster.id/,
  ],
  "a folder that is no partition's": [
    () => changedStore((fs) => fs.makeFolder(joinPath(storeFolder, "private"))),
    "STORE_INVALID",
    /"private", which is no partition's/,
  ],
  "a metadata log that is damaged in the middle": [
    () => changedStore((fs) => flipByte(fs, metadataFile, 100)),
    "STORE_INVALID",
    /metadata log .* is damaged/,
  ],
  "a metadata log whose last batch is damaged": [
    () => changedStore((fs) => flipByte(fs, metadataFile, fs.stat(metadataFile)!.sizeBytes - 3)),
    "STORE_INVALID",
    /metadata log .* is damaged/,
  ],
  "a metadata log whose last batch has another offset": [
    () =>
      withMetadata({ type: "NoOpRecord", version: 0 }).then((fs) => {
        flipByte(fs, metadataFile, fs.stat(metadataFile)!.sizeBytes - 73 + 7, 8);
        return fs;
      }),
    "STORE_INVALID",
    /metadata log .* is damaged/,
  ],
  "a metadata log of which nothing is left": [
    () => changedStore((fs) => resizeFile(fs, metadataFile, 0)),
    "STORE_INVALID",
    /metadata log .* is damaged/,
  ],
  "a metadata log that begins late, without a snapshot": [
    () =>
      changedStore((fs) => fs.rename(metadataFile, metadataFile.replace("00000.log", "00007.log"))),
    "STORE_INVALID",
    /begins at offset 7/,
  ],
  "a snapshot that is damaged": [
    () =>
      changedStore((fs) =>
        writeFile(
          fs,
          joinPath(storeFolder, "__cluster_metadata-0/00000000000000000002-0000000001.checkpoint"),
          new Uint8Array(100),
        )
      ),
    "STORE_INVALID",
    /snapshot/,
  ],
  "a metadata.version that is not known yet": [
    () =>
      withMetadata({
        type: "FeatureLevelRecord",
        version: 0,
        name: "metadata.version",
        featureLevel: 31,
      }),
    "UNSUPPORTED_VERSION",
    /metadata.version 31: wanted 7 to 30/,
  ],
  "metadata that breaks its own rules": [
    () =>
      withMetadata({ type: "RemoveTopicRecord", version: 0, topicId: "EBESExQVFhcYGRobHB0eHw" }),
    "STORE_INVALID",
    /topic id is not known/,
  ],
  "a configuration that cannot be read": [
    () =>
      withMetadata({
        type: "ConfigRecord",
        version: 0,
        resourceType: 2,
        resourceName: "orders",
        name: "retention.ms",
        value: "soon",
      }),
    "INVALID_CONFIG",
    /retention.ms/,
  ],
  "a quorum-state of a newer Kafka": [
    () =>
      changedStore((fs) =>
        writeFile(
          fs,
          joinPath(storeFolder, "__cluster_metadata-0/quorum-state"),
          '{"leaderId":1,"leaderEpoch":1,"votedId":-1,"data_version":2}',
        )
      ),
    "UNSUPPORTED_VERSION",
    /data_version 2/,
  ],
  "partitioners of a newer version": [
    () =>
      changedStore((fs) =>
        writeFile(fs, joinPath(storeFolder, "ottla.partitioners"), '{"version":2}')
      ),
    "UNSUPPORTED_VERSION",
    /version 2, at most 1 is known; a newer ottla wrote the folder/,
  ],
  "partitioners that are none": [
    () => changedStore((fs) => writeFile(fs, joinPath(storeFolder, "ottla.partitioners"), "null")),
    "STORE_INVALID",
    /not a JSON object/,
  ],
  "a bootstrap.checkpoint that is damaged": [
    () =>
      folderWith({
        "meta.properties": `version=1\n${clusterId}node.id=1\n`,
        "bootstrap.checkpoint": "not a batch, by far",
      }),
    "STORE_INVALID",
    /snapshot .*bootstrap.checkpoint/,
  ],
};

for (const [what, [make, code, message]] of Object.entries(refusals)) {
  test(`${what} is refused, and nothing is changed`, async () => {
    const fs = await make();
    const before = contentOf(fs);
    await assert.rejects(openTestStore(fs), (error) => {
      assert.ok(isOttlaError(error, code), String(error));
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(contentOf(fs), before);
  });
}

test("where ottla has been before, a refusal changes no more than its lock", async () => {
  const fs = await closedStore();
  await closeStore(await openTestStore(fs));
  flipByte(fs, metadataFile, 100);
  const before = contentOf(fs, storeFolder, isNoLock);
  await assert.rejects(openTestStore(fs), (error) => isOttlaError(error, "STORE_INVALID"));
  assert.deepEqual(contentOf(fs, storeFolder, isNoLock), before);
  flipByte(fs, metadataFile, 100);
  const store = await openTestStore(fs);
  assert.ok(store.recovery.wasClean, "mended, it is as it was");
  await closeStore(store);
});

test("a refusal after a crash leaves the name that hides the folder from a broker", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  crashStore(store, fs);
  flipByte(fs, metadataFile, 100);
  const before = contentOf(fs);
  await assert.rejects(openTestStore(fs), (error) => isOttlaError(error, "STORE_INVALID"));
  assert.deepEqual(contentOf(fs), before);
});

test("a file in place of a folder is refused and left alone", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    const isInvalid = (error: unknown): boolean => {
      return isOttlaError(error, "STORE_INVALID") && error.message.includes("it is a file");
    };
    await assert.rejects(openStore(path), isInvalid);
    await assert.rejects(openStore(join(path, "below")), isInvalid);
    assert.equal(readFileSync(path, "utf8"), "");
  });
});

test("a folder with nothing but lost+found, as a new disk has it, becomes a store", async () => {
  const fs = memoryFileSystem();
  fs.makeFolder(joinPath(storeFolder, "lost+found"));
  await closeStore(await openTestStore(fs));
  await closeStore(await openTestStore(fs));
  assert.ok(fs.stat(joinPath(storeFolder, "lost+found"))?.isFolder);
});
