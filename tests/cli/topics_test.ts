/** `ottla topics`: what it changes, and what it shows of a store whoever has it open. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  append,
  closeStore,
  createTopic,
  describeTopic,
  listTopics,
  openStore,
} from "../../mod.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const kafkaFolder = "tests/fixtures/kafka_4_1_1/static_4_0";

test("create makes a store and a topic with settings by either name", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "new", "store");
    const { code, output, errors } = await runCommand([
      "topics",
      "create",
      path,
      "orders",
      "--partitions=3",
      "--config=retention.ms=1000",
      "--config=segmentBytes=2000000",
      "--config=max.compaction.lag.ms=9223372036854775807",
      "--partitioner=murmur2",
    ]);
    assert.deepEqual([code, output], [0, ""]);
    assert.match(errors, /^orders: 3 partitions, id \S{22}\n$/);
    const store = await openStore(path, { create: false });
    const { partitions, config, partitioner } = describeTopic(store, "orders");
    assert.equal(partitions.length, 3);
    assert.equal(partitioner, "murmur2");
    assert.equal(config.retentionMs, 1000);
    assert.equal(config.segmentBytes, 2_000_000);
    assert.equal(config.maxCompactionLagMs, Infinity);
    await closeStore(store);
  });
});

test("create fails for a topic that is there, unless that is fine", async () => {
  await inFolder(async (path) => {
    const create = ["topics", "create", path, "a", "--json"];
    const first = await runCommand(create);
    const second = await runCommand(create);
    assert.equal(second.code, 1);
    assert.match(second.errors, /^ottla: Cannot create topic "?a"?[^\n]*\n$/);
    const third = await runCommand([...create, "--if-not-exists"]);
    assert.equal(third.code, 0);
    assert.deepEqual(JSON.parse(third.output), JSON.parse(first.output));
    assert.equal(JSON.parse(first.output).partitionCount, 1);
  });
});

test("a setting out of range fails and creates nothing", async () => {
  await inFolder(async (path) => {
    const { code, errors } = await runCommand([
      "topics",
      "create",
      path,
      "a",
      "--config",
      "segment.bytes=few",
    ]);
    assert.equal(code, 1);
    assert.match(errors, /^ottla: Cannot set segment\.bytes to "few": wanted [^\n]*\n$/);
    assert.equal(existsSync(join(path, "meta.properties")), false);
  });
});

test("alter adds partitions, changes settings and sets them back", async () => {
  await inFolder(async (path) => {
    await runCommand(["topics", "create", path, "a", "--config", "segment.ms=60000"]);
    const { code } = await runCommand([
      "topics",
      "alter",
      path,
      "a",
      "--partitions",
      "4",
      "--config",
      "retentionHours=2",
      "--delete-config",
      "segment.ms",
    ]);
    assert.equal(code, 0);
    const { output } = await runCommand(["topics", "describe", path, "a", "--json"]);
    const { partitions, config } = JSON.parse(output);
    assert.equal(partitions.length, 4);
    const entry = (wanted: string): unknown =>
      config.find(({ name }: { name: string }) => name === wanted);
    assert.deepEqual(entry("retention.ms"), {
      name: "retention.ms",
      value: "7200000",
      source: "topic",
    });
    assert.deepEqual(entry("segment.ms"), {
      name: "segment.ms",
      value: "604800000",
      source: "default",
    });
  });
});

test("delete deletes the topics it names", async () => {
  await inFolder(async (path) => {
    for (const name of ["a", "b", "c"]) await runCommand(["topics", "create", path, name]);
    assert.equal((await runCommand(["topics", "delete", path, "a", "c"])).code, 0);
    assert.equal((await runCommand(["topics", "list", path])).output, "b\n");
    assert.equal((await runCommand(["topics", "delete", path, "a"])).code, 1);
    const store = await openStore(path);
    assert.deepEqual(listTopics(store), ["b"]);
    await closeStore(store);
  });
});

test("list and describe work while the store is open, the others say who has it", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "a", { partitions: 2 });
    for (let index = 0; index < 5; index++) await append(store, "a", { value: "v", partition: 1 });
    assert.equal((await runCommand(["topics", "list", path])).output, "a\n");
    const { output } = await runCommand(["topics", "describe", path, "--json"]);
    const { name, topicId, partitions } = JSON.parse(output);
    const described = describeTopic(store, "a");
    assert.deepEqual({ name, topicId }, { name: "a", topicId: described.topicId });
    assert.equal(partitions[1].endOffset, 5);
    assert.equal(partitions[1].sizeBytes, described.partitions[1]!.sizeBytes);
    const { code, errors } = await runCommand(["topics", "delete", path, "a"]);
    assert.equal(code, 1);
    assert.match(errors, /^ottla: Cannot open [^\n]+ process \d+[^\n]+\n$/);
    await closeStore(store);
  });
});

test("a folder that Kafka wrote is listed and described", async () => {
  const { output } = await runCommand(["topics", "list", kafkaFolder]);
  const names = linesOf(output);
  assert.ok(names.includes("empty_topic.with-dots") && names.includes("recreated"));
  assert.ok(!names.includes("deleted"));
  const described = await runCommand(["topics", "describe", kafkaFolder, "shortened", "segments"]);
  assert.match(described.output, /^shortened {2}1 partition, id \S{22}$/m);
  assert.match(described.output, /^ {10}0 {12}4 {9}10 {9}1 {2}498 bytes$/m);
  assert.match(described.output, /^ {2}index\.interval\.bytes {2}0$/m);
  assert.equal((await runCommand(["topics", "describe", kafkaFolder, "none"])).code, 1);
});
