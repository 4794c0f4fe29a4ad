/** The records that create, alter, grow and delete topics. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";

import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { NewTopic } from "../../src/store/metadata_changes.ts";
import {
  alterConfigRecords,
  createPartitionsRecords,
  createTopicRecords,
  deleteTopicRecords,
  initialFeatureRecords,
  partitionCountMax,
} from "../../src/store/metadata_changes.ts";
import type { MetadataImage } from "../../src/store/metadata_image.ts";
import { getTopic, metadataImage, topicConfigEntries } from "../../src/store/metadata_image.ts";
import type { MetadataRecord } from "../../src/store/metadata_records.ts";
import { encodeMetadataRecord } from "../../src/store/metadata_records.ts";
import { applyRecord } from "../../src/store/metadata_replay.ts";

const foo: NewTopic = {
  name: "foo",
  topicId: "EBESExQVFhcYGRobHB0eHw",
  partitionCount: 2,
  configs: new Map([["retention.ms", "-1"]]),
  nodeId: 1,
  directoryId: "AAECAwQFBgcICQoLDA0ODw",
};

function apply(image: MetadataImage, records: readonly MetadataRecord[]): void {
  for (const record of records) applyRecord(image, record);
}

/** The image of a new folder at a `metadata.version`. */
function newImage(metadataVersion = 25): MetadataImage {
  const image = metadataImage();
  apply(image, initialFeatureRecords());
  image.features.set("metadata.version", metadataVersion);
  return image;
}

function hexOf(records: readonly MetadataRecord[]): string[] {
  return records.map((record) => Buffer.from(encodeMetadataRecord(record)).toString("hex"));
}

function assertRefused(run: () => unknown, code: ErrorCode, text: RegExp): void {
  assert.throws(run, (error) => isOttlaError(error, code) && text.test(error.message));
}

test("a new folder states the features that every Kafka 4 accepts", () => {
  assert.deepEqual(hexOf(initialFeatureRecords()), [
    "010c00116d657461646174612e76657273696f6e001900",
    "010c000e67726f75702e76657273696f6e000100",
    "010c00147472616e73616374696f6e2e76657273696f6e000200",
  ]);
});

test("a topic is created by Kafka's records in Kafka's order", () => {
  const records = createTopicRecords(newImage(), foo);
  const partition = (number: string): string =>
    `010302${number}101112131415161718191a1b1c1d1e1f020000000102000000010101000000010000000000000000` +
    "02000102030405060708090a0b0c0d0e0f00";
  assert.deepEqual(hexOf(records), [
    "01020004666f6f101112131415161718191a1b1c1d1e1f00",
    "0104000204666f6f0d726574656e74696f6e2e6d73032d3100",
    partition("00000000"),
    partition("00000001"),
  ]);
});

test("partitions are written in the version of the folder", () => {
  const wanted = [[7, 0, 0], [16, 0, 0], [17, 1, 1], [22, 1, 1], [23, 2, 1], [30, 2, 1]];
  for (const [metadataVersion = 0, version, directoryCount] of wanted) {
    const record = createTopicRecords(newImage(metadataVersion), foo).at(-1);
    assert.equal(record?.type, "PartitionRecord");
    assert.equal(record.version, version);
    assert.equal(record.directories.length, directoryCount);
    assert.equal(encodeMetadataRecord(record).length > 0, true);
  }
});

test("what is created can be grown, altered and deleted", () => {
  const image = newImage();
  apply(image, createTopicRecords(image, foo));
  apply(image, createPartitionsRecords(image, "foo", 5, foo));
  assert.deepEqual([...getTopic(image, "foo").partitions.keys()], [0, 1, 2, 3, 4]);
  assert.deepEqual(getTopic(image, "foo").partitions.get(4)?.directories, [foo.directoryId]);
  const changes = new Map([["retention.ms", null], ["segment.ms", "7"]]);
  apply(image, alterConfigRecords(image, "foo", changes));
  assert.deepEqual([...topicConfigEntries(image, "foo")], [["segment.ms", "7"]]);
  apply(image, deleteTopicRecords(image, "foo"));
  assert.deepEqual(image, newImage());
});

test("a change that changes nothing makes no records", () => {
  const image = newImage();
  apply(image, createTopicRecords(image, foo));
  const changes = new Map([["retention.ms", "-1"], ["segment.ms", null]]);
  assert.deepEqual(alterConfigRecords(image, "foo", changes), []);
});

test("a name that exists, collides or is not allowed is refused", () => {
  const image = newImage();
  apply(image, createTopicRecords(image, { ...foo, name: "a.b" }));
  const create = (name: string) => () => createTopicRecords(image, { ...foo, name });
  assertRefused(create("a.b"), "TOPIC_ALREADY_EXISTS", /a\.b/);
  assertRefused(create("a_b"), "INVALID_TOPIC_EXCEPTION", /collides with a\.b/);
  assertRefused(create("a b"), "INVALID_TOPIC_EXCEPTION", /"a b"/);
  assertRefused(create("__cluster_metadata"), "INVALID_TOPIC_EXCEPTION", /metadata log/);
  apply(image, deleteTopicRecords(image, "a.b"));
  assert.equal(create("a_b")().length > 0, true);
});

test("a count of partitions outside of the limits is refused", () => {
  const image = newImage();
  for (const partitionCount of [0, -1, 1.5, NaN, partitionCountMax + 1]) {
    const create = () => createTopicRecords(image, { ...foo, partitionCount });
    assertRefused(create, "INVALID_PARTITIONS", /wanted 1 to 10000/);
  }
  apply(image, createTopicRecords(image, foo));
  for (const partitionCount of [2, 1, 0, NaN]) {
    const grow = () => createPartitionsRecords(image, "foo", partitionCount, foo);
    assertRefused(grow, "INVALID_PARTITIONS", /wanted 3 to 10000/);
  }
});

test("a topic that is not there cannot be changed", () => {
  const image = newImage();
  const code = "UNKNOWN_TOPIC_OR_PARTITION";
  assertRefused(() => deleteTopicRecords(image, "foo"), code, /foo/);
  assertRefused(() => alterConfigRecords(image, "foo", new Map()), code, /foo/);
  assertRefused(() => createPartitionsRecords(image, "foo", 3, foo), code, /foo/);
});
