/** `partition.metadata`, as Kafka's own tests have it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import {
  findTopicIdOfFolder,
  parsePartitionMetadata,
  printPartitionMetadata,
  recordTopicIdOfFolder,
} from "../../src/log/partition_metadata.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";

const topicId = "AAECAwQFBgcICQoLDA0ODw";
const otherId = "EBESExQVFhcYGRobHB0eHw";
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

test("the file has two lines, the second without an end", () => {
  assert.deepEqual(printPartitionMetadata(topicId), bytesOf(`version: 0\ntopic_id: ${topicId}`));
  assert.equal(parsePartitionMetadata(printPartitionMetadata(topicId), "p"), topicId);
  assert.equal(
    parsePartitionMetadata(bytesOf(`version: 0\r\ntopic_id: ${topicId}\n`), "p"),
    topicId,
  );
});

test("a folder keeps the topic id that was recorded first", () => {
  const fs = memoryFileSystem();
  fs.makeFolder("/d");
  assert.equal(findTopicIdOfFolder(fs, "/d"), undefined);
  recordTopicIdOfFolder(fs, "/d", topicId);
  recordTopicIdOfFolder(fs, "/d", topicId);
  assert.equal(findTopicIdOfFolder(fs, "/d"), topicId);
  assert.throws(
    () => recordTopicIdOfFolder(fs, "/d", otherId),
    (error) => isOttlaError(error, "INCONSISTENT_TOPIC_ID"),
  );
  assert.equal(findTopicIdOfFolder(fs, "/d"), topicId);
});

test("no file is written for what is not a topic's id", () => {
  const fs = memoryFileSystem();
  fs.makeFolder("/d");
  for (const wrong of ["", "AAAAAAAAAAAAAAAAAAAAAA", `${topicId}==`, "short"]) {
    assert.throws(() => recordTopicIdOfFolder(fs, "/d", wrong), RangeError);
  }
  assert.deepEqual(fs.list("/d"), []);
});

test("a malformed file is refused", () => {
  const texts = [
    "",
    "version: 0",
    `version: 1\ntopic_id: ${topicId}`,
    `version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA`,
    `version: 0\ntopic_id: short`,
    `version:0\ntopic_id: ${topicId}`,
    `version: 0\ntopic_id: ${topicId}\nmore: 1`,
    `topic_id: ${topicId}\nversion: 0`,
  ];
  for (const text of texts) {
    assert.throws(
      () => parsePartitionMetadata(bytesOf(text), "p"),
      (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
      text,
    );
  }
});
