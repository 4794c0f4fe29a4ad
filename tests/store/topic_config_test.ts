/** Options and configuration entries, with the cases of Kafka's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { TopicConfigOptions } from "../../src/store/topic_config.ts";
import {
  checkTopicConfig,
  configChangesOf,
  configEntriesOf,
  describeConfig,
  topicConfigOf,
} from "../../src/store/topic_config.ts";

const noLimit = "9223372036854775807";

function assertInvalid(run: () => unknown, config: string): void {
  assert.throws(
    run,
    (error) => isOttlaError(error, "INVALID_CONFIG") && error.message.includes(config),
    config,
  );
}

test("without entries every setting has Kafka's default", () => {
  assert.deepEqual(topicConfigOf(new Map()), {
    cleanupPolicy: "delete",
    retentionMs: 604_800_000,
    retentionBytes: -1,
    segmentBytes: 1_073_741_824,
    segmentMs: 604_800_000,
    segmentJitterMs: 0,
    segmentIndexBytes: 10_485_760,
    indexIntervalBytes: 4096,
    preallocate: false,
    fileDeleteDelayMs: 60_000,
    maxMessageBytes: 1_048_588,
    compression: "producer",
    compressionGzipLevel: -1,
    compressionLz4Level: 9,
    compressionZstdLevel: 3,
    timestampType: "CreateTime",
    messageTimestampBeforeMaxMs: Infinity,
    messageTimestampAfterMaxMs: 3_600_000,
    flushMessages: Infinity,
    flushMs: Infinity,
    minCleanableDirtyRatio: 0.5,
    deleteRetentionMs: 86_400_000,
    minCompactionLagMs: 0,
    maxCompactionLagMs: Infinity,
    minInsyncReplicas: 1,
  });
});

test("a new topic always states what decides when records are deleted", () => {
  assert.deepEqual([...configEntriesOf({})], [
    ["cleanup.policy", "delete"],
    ["retention.ms", "604800000"],
    ["retention.bytes", "-1"],
  ]);
  const entries = configEntriesOf({ retentionMs: -1, cleanupPolicy: "compact", segmentMs: 5 });
  assert.deepEqual(Object.fromEntries(entries), {
    "cleanup.policy": "compact",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "segment.ms": "5",
  });
});

test("options become Kafka's text and read back as they were", () => {
  const options: TopicConfigOptions = {
    cleanupPolicy: "compact,delete",
    retentionMs: 5,
    retentionBytes: 6,
    segmentBytes: 1024 * 1024,
    segmentMs: 8,
    segmentJitterMs: 9,
    segmentIndexBytes: 10,
    indexIntervalBytes: 11,
    preallocate: true,
    fileDeleteDelayMs: 12,
    maxMessageBytes: 13,
    compression: "zstd",
    compressionGzipLevel: 9,
    compressionLz4Level: 1,
    compressionZstdLevel: -131072,
    timestampType: "LogAppendTime",
    messageTimestampBeforeMaxMs: 14,
    messageTimestampAfterMaxMs: Infinity,
    flushMessages: 15,
    flushMs: 16,
    minCleanableDirtyRatio: 0.25,
    deleteRetentionMs: 17,
    minCompactionLagMs: 18,
    maxCompactionLagMs: 19,
    minInsyncReplicas: 2,
  };
  const entries = configEntriesOf(options);
  assert.deepEqual(topicConfigOf(entries), options);
  assert.equal(entries.get("message.timestamp.after.max.ms"), noLimit);
  assert.equal(entries.get("min.cleanable.dirty.ratio"), "0.25");
  assert.equal(entries.get("preallocate"), "true");
  assert.equal(entries.get("cleanup.policy"), "compact,delete");
});

test("retentionHours is retentionMs in hours", () => {
  assert.equal(configEntriesOf({ retentionHours: 960 }).get("retention.ms"), "3456000000");
  assert.equal(configEntriesOf({ retentionHours: 0.5 }).get("retention.ms"), "1800000");
  assert.equal(configEntriesOf({ retentionHours: -1 }).get("retention.ms"), "-1");
  assert.equal(configEntriesOf({ retentionHours: Infinity }).get("retention.ms"), noLimit);
  assert.throws(() => configEntriesOf({ retentionHours: 1, retentionMs: 1 }), TypeError);
  assert.throws(() => configEntriesOf({ retentionHours: NaN }), TypeError);
  assertInvalid(() => configEntriesOf({ retentionHours: -2 }), "retentionHours");
});

test("a wrong type is a TypeError that names the option", () => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ["retentionMs", "5"],
    ["retentionMs", 1.5],
    ["retentionMs", NaN],
    ["retentionMs", 5n],
    ["segmentBytes", {}],
    ["retentionHours", "1"],
    ["preallocate", "true"],
    ["preallocate", 1],
    ["cleanupPolicy", ["delete"]],
    ["compression", 4],
    ["minCleanableDirtyRatio", NaN],
    ["retentionMS", 5],
    ["partitions", 3],
    ["constructor", 1],
    ["__proto__ ", 1],
  ];
  for (const [name, value] of wrong) {
    assert.throws(
      () => configEntriesOf({ [name]: value }),
      (error) => error instanceof TypeError && error.message.includes(name),
      name,
    );
  }
});

test("a value outside of Kafka's range is INVALID_CONFIG and named", () => {
  const wrong: readonly (readonly [keyof TopicConfigOptions, unknown, string])[] = [
    ["retentionMs", -2, "retention.ms"],
    ["retentionBytes", -2, "retention.bytes"],
    ["segmentBytes", 1024 * 1024 - 1, "segment.bytes"],
    ["segmentBytes", 2 ** 31, "segment.bytes"],
    ["segmentBytes", Infinity, "segment.bytes"],
    ["segmentMs", 0, "segment.ms"],
    ["segmentIndexBytes", 3, "segment.index.bytes"],
    ["flushMessages", 0, "flush.messages"],
    ["flushMs", -1, "flush.ms"],
    ["flushMs", 2 ** 60, "flush.ms"],
    ["minCleanableDirtyRatio", -0.1, "min.cleanable.dirty.ratio"],
    ["minCleanableDirtyRatio", 1.2, "min.cleanable.dirty.ratio"],
    ["minInsyncReplicas", 0, "min.insync.replicas"],
    ["minInsyncReplicas", -1, "min.insync.replicas"],
    ["compressionGzipLevel", -2, "compression.gzip.level"],
    ["compressionGzipLevel", 0, "compression.gzip.level"],
    ["compressionLz4Level", -1, "compression.lz4.level"],
    ["compressionZstdLevel", 23, "compression.zstd.level"],
    ["cleanupPolicy", "true", "cleanup.policy"],
    ["cleanupPolicy", "", "cleanup.policy"],
    ["compression", "none", "compression.type"],
    ["timestampType", "createtime", "message.timestamp.type"],
    ["maxCompactionLagMs", 0, "max.compaction.lag.ms"],
  ];
  for (const [name, value, config] of wrong) {
    assertInvalid(() => configEntriesOf({ [name]: value }), config);
  }
  assertInvalid(
    () => configEntriesOf({ minCompactionLagMs: 6, maxCompactionLagMs: 5 }),
    "max.compaction.lag.ms",
  );
});

test("every numeric entry refuses text and, but for retention, -1", () => {
  const texts = describeConfig(new Map()).filter(({ value }) => /^-?[\d.]+$/.test(value));
  assert.equal(texts.length, 21);
  const minusOne = [
    "retention.ms",
    "retention.bytes",
    "compression.gzip.level",
    "compression.zstd.level",
  ];
  for (const { name } of texts) {
    for (const text of ["not_a_number", "", "0x10", "1_000", "12345678901234567890"]) {
      assertInvalid(() => topicConfigOf(new Map([[name, text]])), name);
    }
    if (minusOne.includes(name)) topicConfigOf(new Map([[name, "-1"]]));
    else assertInvalid(() => topicConfigOf(new Map([[name, "-1"]])), name);
  }
});

test("changes name only what changes, and null goes back to the default", () => {
  assert.deepEqual(
    [...configChangesOf({
      segmentMs: null,
      flushMs: 3,
      retentionMs: null,
      retentionHours: undefined as never,
    })],
    [["segment.ms", null], ["flush.ms", "3"], ["retention.ms", "604800000"]],
  );
  assert.deepEqual([...configChangesOf({ retentionHours: null })], [["retention.ms", "604800000"]]);
  assert.deepEqual([...configChangesOf({})], []);
});

test("entries that Kafka wrote are read as Kafka reads them", () => {
  const config = topicConfigOf(
    new Map([
      ["cleanup.policy", "delete, compact"],
      ["retention.ms", " +9223372036854775807 "],
      ["retention.bytes", "-5"],
      ["segment.bytes", "14"],
      ["preallocate", "TRUE"],
      ["min.cleanable.dirty.ratio", "1e-1"],
      ["remote.storage.enable", "false"],
      ["a.newer.kafka", "unheard of"],
    ]),
  );
  assert.equal(config.cleanupPolicy, "compact,delete");
  assert.equal(config.retentionMs, Infinity);
  assert.equal(config.retentionBytes, -5);
  assert.equal(config.segmentBytes, 14);
  assert.equal(config.preallocate, true);
  assert.equal(config.minCleanableDirtyRatio, 0.1);
  assert.equal(topicConfigOf(new Map([["cleanup.policy", ""]])).cleanupPolicy, "");
});

test("entries that contradict each other are read, and refused when they are changed", () => {
  const entries = new Map([["min.compaction.lag.ms", "6"], ["max.compaction.lag.ms", "5"]]);
  const config = topicConfigOf(entries);
  assert.equal(config.maxCompactionLagMs, 5);
  assertInvalid(() => checkTopicConfig(config), "max.compaction.lag.ms");
});

test("Kafka's hidden entry for small segments is followed", () => {
  const entries = new Map([["segment.bytes", "2000000"], ["internal.segment.bytes", "500"]]);
  assert.equal(topicConfigOf(entries).segmentBytes, 500);
});

test("the brokers' entries stand behind the topic's", () => {
  const topic = new Map([["retention.ms", "1"], ["a.newer.kafka", "x"]]);
  const broker = new Map([["log.retention.ms", "2"], ["log.roll.ms", "3"], ["segment.ms", "4"]]);
  const config = topicConfigOf(topic, broker);
  assert.equal(config.retentionMs, 1);
  assert.equal(config.segmentMs, 3);
  const described = new Map(describeConfig(topic, broker).map((one) => [one.name, one]));
  assert.deepEqual(described.get("retention.ms"), {
    name: "retention.ms",
    value: "1",
    source: "topic",
  });
  assert.deepEqual(described.get("segment.ms"), {
    name: "segment.ms",
    value: "3",
    source: "broker",
  });
  assert.deepEqual(described.get("flush.ms"), {
    name: "flush.ms",
    value: noLimit,
    source: "default",
  });
  assert.deepEqual(described.get("a.newer.kafka"), {
    name: "a.newer.kafka",
    value: "x",
    source: "topic",
  });
});
