/** Names of topics and of partition folders, with the cases of Kafka's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import {
  checkTopicName,
  collisionFormOf,
  isInternalTopic,
  isTopicName,
  parsePartitionFolderName,
  partitionFolderAsideName,
  partitionFolderName,
} from "../../src/store/topic_name.ts";
import { assertProperty } from "../support/properties.ts";

const hex = "0123456789abcdef0123456789abcdef";

test("legal topic names are accepted", () => {
  const names = ["valid", "TOPIC", "nAmEs", "ar6", "VaL1d", "_0-9_.", "...", "a".repeat(249)];
  for (const name of names) {
    checkTopicName(name);
    assert.equal(isTopicName(name), true, name);
  }
});

test("illegal topic names are refused with INVALID_TOPIC_EXCEPTION", () => {
  const names = ["", ".", "..", "foo bar", "foo:bar", "foo=bar", "a".repeat(250), "é", "foo\n"];
  const characters = [
    "/",
    "\\",
    ",",
    "\0",
    ":",
    '"',
    "'",
    ";",
    "*",
    "?",
    " ",
    "\t",
    "\r",
    "\n",
    "=",
  ];
  for (const name of [...names, ...characters, ...characters.map((one) => `Is${one}illegal`)]) {
    assert.equal(isTopicName(name), false, name);
    assert.throws(
      () => checkTopicName(name),
      (error) => isOttlaError(error, "INVALID_TOPIC_EXCEPTION"),
    );
  }
});

test("the message of an illegal name is one short line", () => {
  assert.throws(() => checkTopicName("a\n".repeat(1000)), (error: Error) => {
    return error.message.length < 250 && !error.message.includes("\n");
  });
});

test("names collide that differ only in dots and underscores", () => {
  assert.equal(collisionFormOf("topic"), "topic");
  assert.equal(collisionFormOf(".topic"), "_topic");
  assert.equal(collisionFormOf("_.topic"), "__topic");
  assert.equal(collisionFormOf("to.pic"), collisionFormOf("to_pic"));
  assert.notEqual(collisionFormOf("topic."), collisionFormOf(".topic"));
});

test("Kafka's own topics are internal", () => {
  assert.equal(isInternalTopic("__consumer_offsets"), true);
  assert.equal(isInternalTopic("__transaction_state"), true);
  assert.equal(isInternalTopic("__share_group_state"), true);
  assert.equal(isInternalTopic("__consumer-offsets"), false);
});

test("a partition's folder bears topic and number", () => {
  assert.equal(partitionFolderName("test_topic", 143), "test_topic-143");
  assert.deepEqual(parsePartitionFolderName("test_topic-143"), {
    topic: "test_topic",
    partition: 143,
    state: "live",
  });
  assert.deepEqual(parsePartitionFolderName("__cluster_metadata-0"), {
    topic: "__cluster_metadata",
    partition: 0,
    state: "live",
  });
  for (const state of ["delete", "future", "stray"]) {
    assert.deepEqual(parsePartitionFolderName(`foo.bar-testtopic-42.${hex}-${state}`), {
      topic: "foo.bar-testtopic",
      partition: 42,
      state,
    });
  }
});

test("a folder of another name is refused with STORE_INVALID", () => {
  const names = ["", "nodash", "-1", "topic-", "topic-1999a", "non_kafka_dir", "a b-1"];
  const more = [
    "non_kafka_dir-delete",
    `topic.${hex}-delete`,
    "topic-1-delete",
    `-1.${hex}-delete`,
  ];
  // Kafka never writes these numbers, and they would make a folder of another name.
  const numbers = ["topic-01", "topic-+1", "topic-2147483648", "topic-99999999999"];
  for (const name of [...names, ...more, ...numbers]) {
    assert.throws(
      () => parsePartitionFolderName(name),
      (error) => isOttlaError(error, "STORE_INVALID"),
      name,
    );
  }
});

test("a folder being deleted has a name of at most 255 characters", () => {
  assert.match(partitionFolderAsideName("foo", 3, hex, "delete"), /^foo-3\.[0-9a-z]{32}-delete$/);
  const longest = partitionFolderAsideName("n".repeat(249), 3, hex, "delete");
  assert.equal(longest.length, 255);
  assert.equal(parsePartitionFolderName(longest).topic, "n".repeat(213));
});

test("every folder name that is made can be parsed", () => {
  const topics = fc.stringMatching(/^[a-zA-Z0-9._-]{1,249}$/).filter(isTopicName);
  assertProperty(fc.property(topics, fc.nat(0x7fff_ffff), (topic, partition) => {
    // Kafka takes such a live name for one that is being deleted; it has the same trouble.
    fc.pre(!/\.\S+-(delete|future|stray)$/.test(`${topic}-${partition}`));
    assert.deepEqual(parsePartitionFolderName(partitionFolderName(topic, partition)), {
      topic,
      partition,
      state: "live",
    });
    const name = partitionFolderAsideName(topic, partition, hex, "delete");
    const parsed = parsePartitionFolderName(name);
    assert.equal(parsed.partition, partition);
    assert.equal(topic.startsWith(parsed.topic), true);
  }));
});
