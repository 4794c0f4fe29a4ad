/**
 * The marks of a clean shutdown: when they are believed, and that nobody finds one who must not.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { encodeMetadataRecord } from "../../src/store/metadata_records.ts";
import { createTopic, listTopics } from "../../src/store/topics.ts";
import { writeBytes } from "../support/log_fixture.ts";
import {
  crashStore,
  numbered,
  numberedText,
  openTestStore,
  rootNames,
  storeFolder,
  textOfFile,
  valuesIn,
  withStore,
  writeFile,
} from "../support/store_fixture.ts";
import { internalsOf } from "../../src/store/store.ts";

const metadataFile = joinPath(storeFolder, "__cluster_metadata-0/00000000000000000000.log");
const dataFile = joinPath(storeFolder, "orders-0/00000000000000000000.log");

/** A closed store with some records, and the end offset of its metadata log. */
async function closedStore(): Promise<{ fs: FileSystem; metadataEnd: number }> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await appendBatch(store, "orders", numbered(0, 3));
  const metadataEnd = internalsOf(store).metadata.log.endOffset;
  await closeStore(store);
  return { fs, metadataEnd };
}

/** What a broker's controller does all the time while it runs. */
function appendNoOp(fs: FileSystem, baseOffset: number): void {
  const builder = batchBuilder();
  appendRecord(builder, 0, null, encodeMetadataRecord({ type: "NoOpRecord", version: 0 }));
  finishBatch(builder, { baseOffset, partitionLeaderEpoch: 2 });
  writeBytes(fs, metadataFile, builtBytes(builder));
}

/** Damage that only somebody finds who scans. */
function tearDataLog(fs: FileSystem): void {
  writeBytes(fs, dataFile, new Uint8Array(20).fill(7));
}

test("the mark is there while the store is closed and gone while it is open", async () => {
  const { fs } = await closedStore();
  assert.match(textOfFile(fs, "ottla.cleanshutdown")!, /"metadataEndOffset":\d+/);
  const store = await openTestStore(fs);
  assert.equal(textOfFile(fs, "ottla.cleanshutdown"), undefined);
  crashStore(store, fs);
  await withStore((reopened) => {
    assert.equal(reopened.recovery.wasClean, false);
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("a mark that is older than the metadata log is not believed: a broker was there", async () => {
  const { fs, metadataEnd } = await closedStore();
  appendNoOp(fs, metadataEnd);
  tearDataLog(fs);
  await withStore(async (store) => {
    const { wasClean, tornBytes } = store.recovery;
    assert.deepEqual([wasClean, tornBytes], [false, 20]);
    assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 3));
  }, { fileSystem: fs });
});

test("a mark is not believed either if only a torn batch is behind the metadata", async () => {
  const { fs } = await closedStore();
  writeBytes(fs, metadataFile, new Uint8Array(30).fill(1));
  tearDataLog(fs);
  await withStore((store) => {
    assert.equal(store.recovery.wasClean, false);
    assert.equal(store.recovery.tornBytes, 20);
    assert.deepEqual(listTopics(store), ["orders"]);
    return Promise.resolve();
  }, { fileSystem: fs });
});

test("a broker's own mark is believed where there is none of ours, and is taken away", async () => {
  const { fs } = await closedStore();
  fs.remove(joinPath(storeFolder, "ottla.cleanshutdown"));
  writeFile(fs, joinPath(storeFolder, ".kafka_cleanshutdown"), '{"version":0,"brokerEpoch":7}');
  const store = await openTestStore(fs);
  assert.ok(store.recovery.wasClean);
  assert.ok(!rootNames(fs).includes(".kafka_cleanshutdown"));
  await append(store, "orders", { value: "v3" }, { ack: "os" });
  crashStore(store, fs);
  assert.ok(!rootNames(fs).includes(".kafka_cleanshutdown"));
  await withStore(async (reopened) => {
    assert.equal(reopened.recovery.wasClean, false);
    assert.deepEqual(await valuesIn(reopened, "orders"), numberedText(0, 4));
  }, { fileSystem: fs });
});

test("a broker's mark beside a stale one of ours is not believed", async () => {
  const { fs, metadataEnd } = await closedStore();
  appendNoOp(fs, metadataEnd);
  writeFile(fs, joinPath(storeFolder, ".kafka_cleanshutdown"), '{"version":0,"brokerEpoch":7}');
  await withStore((store) => {
    assert.equal(store.recovery.wasClean, false);
    return Promise.resolve();
  }, { fileSystem: fs });
  assert.ok(!rootNames(fs).includes(".kafka_cleanshutdown"), "closing leaves our own mark alone");
});

test("a mark that cannot be read is no mark", async () => {
  for (
    const text of [
      "",
      "{",
      "null",
      "[]",
      "7",
      '{"version":1}',
      '{"version":2,"metadataEndOffset":4}',
    ]
  ) {
    const { fs } = await closedStore();
    writeFile(fs, joinPath(storeFolder, "ottla.cleanshutdown"), text);
    await withStore(async (store) => {
      assert.equal(store.recovery.wasClean, false, JSON.stringify(text));
      assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 3));
    }, { fileSystem: fs });
  }
});

test("metadata that was acknowledged and is gone is not passed over in silence", async () => {
  const { fs } = await closedStore();
  const bytes = readFile(fs, metadataFile)!;
  writeFile(fs, metadataFile, bytes.subarray(0, bytes.length - 5));
  await assert.rejects(openTestStore(fs), (error) => {
    return isOttlaError(error, "STORE_INVALID") && /metadata log .* is damaged/.test(error.message);
  });
});
