/** `ottla groups`: what it shows of groups whoever has the store open, and what it changes. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Store } from "../../mod.ts";
import { append, closeStore, createTopic, deleteTopic, openStore } from "../../mod.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import { commitOffsets, committedOffsets, groupLag, listGroups } from "../../src/client/groups.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import { appendRecords, logOfGroup, offsetRecord } from "../support/group_batches.ts";
import { flipByte } from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const firstTime = Date.UTC(2026, 0, 31);
const hourMs = 3_600_000;

/** A store with the topics `orders`, of two partitions with ten records each, and `clicks`. */
async function openFilled(path: string): Promise<Store> {
  const store = await openStore(path);
  await createTopic(store, "orders", { partitions: 2, retentionHours: Infinity });
  await createTopic(store, "clicks");
  for (let index = 0; index < 20; index++) {
    const timestamp = firstTime + (index >> 1) * hourMs;
    await append(store, "orders", { value: "v", partition: index % 2, timestamp }, { ack: "os" });
  }
  return store;
}

async function fill(
  path: string,
  groups: Readonly<Record<string, readonly (readonly [string, number, number])[]>>,
): Promise<void> {
  const store = await openFilled(path);
  for (const [groupId, offsets] of Object.entries(groups)) {
    await commitOffsets(
      store,
      groupId,
      offsets.map(([topic, partition, offset]) => ({ topic, partition, offset })),
    );
  }
  await closeStore(store);
}

/** The offsets of the group `billing` in `orders`. */
async function offsetsOf(path: string): Promise<number[]> {
  const store = await openStore(path);
  const offsets = await committedOffsets(store, "billing");
  await closeStore(store);
  return offsets.filter(({ topic }) => topic === "orders").map(({ offset }) => offset);
}

async function groups(...args: string[]): Promise<string[]> {
  const { code, output, errors } = await runCommand(["groups", ...args]);
  assert.equal(code, 0, errors);
  return linesOf(output);
}

/** Takes the group `billing` to a place, for good. */
async function moved(path: string, ...place: string[]): Promise<number[]> {
  await groups("reset", path, "billing", "--topic", "orders", ...place, "--execute");
  return await offsetsOf(path);
}

test("list and describe show what groups have committed", async () => {
  await inFolder(async (path) => {
    await fill(path, {
      shipping: [["orders", 1, 10]],
      billing: [["orders", 0, 3], ["orders", 1, 10], ["clicks", 0, 0]],
    });
    assert.deepEqual(await groups("list", path), [
      "GROUP     STATE  TOPICS  PARTITIONS",
      "billing   Empty       2           3",
      "shipping  Empty       1           1",
    ]);
    assert.deepEqual((await groups("list", path, "--json")).map((line) => JSON.parse(line)), [
      { groupId: "billing", state: "Empty", protocolType: null, topicCount: 2, partitionCount: 3 },
      { groupId: "shipping", state: "Empty", protocolType: null, topicCount: 1, partitionCount: 1 },
    ]);
    assert.deepEqual(await groups("describe", path, "billing"), [
      "billing  Empty, generation 0, 3 partitions, lag 7",
      "  GROUP    TOPIC   PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID",
      "  billing  clicks          0               0               0    0  -            -     -",
      "  billing  orders          0               3              10    7  -            -     -",
      "  billing  orders          1              10              10    0  -            -     -",
      "",
    ]);
    const [first = "", second] = await groups("describe", path, "--json");
    const { groupId, partitions } = JSON.parse(first);
    assert.equal(groupId, "billing");
    const { commitTimestamp, ...entry } = partitions[1];
    assert.ok(commitTimestamp > firstTime);
    assert.deepEqual(entry, {
      topic: "orders",
      partition: 0,
      committedOffset: 3,
      endOffset: 10,
      lag: 7,
      metadata: "",
    });
    assert.equal(JSON.parse(second!).groupId, "shipping");
  });
});

test("a store without groups has none, and a group that is not there is an error", async () => {
  await inFolder(async (path) => {
    await fill(path, {});
    assert.deepEqual(await groups("list", path), []);
    assert.deepEqual(await groups("describe", path), []);
    const { code, output, errors } = await runCommand(["groups", "describe", path, "billing"]);
    assert.deepEqual([code, output], [1, ""]);
    assert.equal(errors, "ottla: Cannot describe group billing: there is no such group\n");
  });
});

test("list and describe work while the store is open; the others say who has it", async () => {
  await inFolder(async (path) => {
    const store = await openFilled(path);
    const consumer = await openConsumer(store, {
      groupId: "billing",
      topics: "orders",
      autoOffsetReset: "earliest",
    });
    await poll(consumer, { recordsMax: 7, waitMs: 0 });
    await commit(consumer);
    assert.deepEqual(await groups("list", path), [
      "GROUP    STATE   TOPICS  PARTITIONS",
      "billing  Stable       1           2",
    ]);
    const [line = ""] = await groups("describe", path, "--json");
    const lags = (await groupLag(store, "billing")).map((entry) => entry.lag);
    assert.deepEqual(JSON.parse(line).partitions.map(({ lag }: { lag: number }) => lag), lags);
    for (
      const args of [
        ["reset", path, "billing", "--topic", "orders", "--to-latest"],
        ["delete", path, "billing"],
      ]
    ) {
      const { code, errors } = await runCommand(["groups", ...args]);
      assert.equal(code, 1);
      assert.match(errors, /^ottla: Cannot open [^\n]+ process \d+[^\n]+\n$/);
    }
    await closeConsumer(consumer);
    assert.match((await groups("list", path))[1]!, /^billing {2}Empty /);
    await closeStore(store);
    assert.match((await groups("list", path))[1]!, /^billing {2}Empty /);
  });
});

test("offsets of a topic that was deleted are not shown", async () => {
  await inFolder(async (path) => {
    await fill(path, {
      billing: [["orders", 0, 3], ["clicks", 0, 0]],
      clicker: [["clicks", 0, 0]],
    });
    const store = await openStore(path);
    await deleteTopic(store, "clicks");
    await createTopic(store, "clicks");
    await closeStore(store);
    assert.deepEqual(await groups("list", path), [
      "GROUP    STATE  TOPICS  PARTITIONS",
      "billing  Empty       1           1",
    ]);
  });
});

test("reset tells where a group would go on, and moves it with --execute", async () => {
  await inFolder(async (path) => {
    await fill(path, { billing: [["orders", 0, 3], ["orders", 1, 5]] });
    const args = ["groups", "reset", path, "billing", "--topic", "orders", "--shift-by", "-4"];
    const told = await runCommand(args);
    const table = [
      "GROUP    TOPIC   PARTITION  NEW-OFFSET",
      "billing  orders          0           0",
      "billing  orders          1           1",
    ];
    assert.deepEqual([told.code, linesOf(told.output)], [0, table]);
    assert.equal(told.errors, "Nothing was changed: that takes --execute\n");
    assert.deepEqual(await offsetsOf(path), [3, 5]);
    const done = await runCommand([...args, "--execute"]);
    assert.deepEqual([done.code, done.errors, linesOf(done.output)], [0, "", table]);
    assert.deepEqual(await offsetsOf(path), [0, 1]);
    const json = await groups(...args.slice(1), "--partition", "1", "--json");
    assert.deepEqual(json.map((line) => JSON.parse(line)), [
      { groupId: "billing", topic: "orders", partition: 1, offset: 0 },
    ]);
  });
});

test("reset knows every place, and keeps within the partitions", async () => {
  await inFolder(async (path) => {
    await fill(path, { billing: [["orders", 0, 3], ["orders", 1, 5]] });
    assert.deepEqual(await moved(path, "--to-latest"), [10, 10]);
    assert.deepEqual(await moved(path, "--to-earliest", "--partition", "1"), [10, 0]);
    assert.deepEqual(await moved(path, "--to-offset", "4"), [4, 4]);
    assert.deepEqual(await moved(path, "--to-offset", "400"), [10, 10]);
    assert.deepEqual(await moved(path, "--shift-by=-2"), [8, 8]);
    assert.deepEqual(
      await moved(path, "--shift-by", "1", "--partition", "0", "--partition", "1"),
      [9, 9],
    );
    assert.deepEqual(await moved(path, "--to-datetime", "2026-01-31T02:30:00Z"), [3, 3]);
    assert.deepEqual(await moved(path, "--to-datetime", "2030-01-01T00:00:00Z"), [10, 10]);
    assert.deepEqual(await moved(path, "--to-earliest"), [0, 0]);
    const { output } = await runCommand(["consume", path, "orders", "--group", "billing"]);
    assert.equal(linesOf(output).length, 20);
  });
});

test("reset makes a group, but shifts none that has no offset", async () => {
  await inFolder(async (path) => {
    await fill(path, {});
    const args = ["groups", "reset", path, "billing", "--topic", "orders", "--execute"];
    const shifted = await runCommand([...args, "--shift-by", "1"]);
    assert.equal(shifted.code, 1);
    assert.match(shifted.errors, /^ottla: Cannot shift the offset of group billing [^\n]+\n$/);
    assert.deepEqual(await moved(path, "--to-offset", "2"), [2, 2]);
    const missing = await runCommand(["groups", "reset", path, "g", "--topic", "x", "--to-latest"]);
    assert.equal(missing.code, 1);
    assert.match(missing.errors, /^ottla: Cannot find topic "x"[^\n]*\n$/);
  });
});

test("delete deletes the groups it names", async () => {
  await inFolder(async (path) => {
    await fill(path, {
      a: [["orders", 0, 1]],
      b: [["orders", 0, 1]],
      c: [["orders", 0, 1]],
    });
    const { code, output, errors } = await runCommand(["groups", "delete", path, "a", "c"]);
    assert.deepEqual([code, output, errors], [0, "", "Deleted a\nDeleted c\n"]);
    assert.match((await groups("list", path))[1]!, /^b /);
    const again = await runCommand(["groups", "delete", path, "a"]);
    assert.equal(again.code, 1);
    assert.equal(again.errors, "ottla: Cannot delete group a: there is no such group\n");
    const store = await openStore(path);
    assert.deepEqual((await listGroups(store)).map(({ groupId }) => groupId), ["b"]);
    await closeStore(store);
  });
});

test("groups that Kafka wrote are listed and described", async () => {
  const folder = "tests/fixtures/kafka_4_1_1/standalone_4_1";
  assert.ok(
    (await groups("list", folder)).includes("group-zstd              Empty       1           1"),
  );
  const [line = ""] = await groups("describe", folder, "committed", "--json");
  const { state, protocolType, partitions } = JSON.parse(line);
  const [{ topic, partition, committedOffset, endOffset, lag }] = partitions;
  assert.deepEqual([state, protocolType], ["Empty", "consumer"]);
  assert.deepEqual(
    [topic, partition, committedOffset, endOffset, lag],
    ["transactions", 0, 59, 59, 0],
  );
});

test("damage is told of; the groups beside it are shown", async () => {
  await inFolder(async (path) => {
    await fill(path, { billing: [["orders", 0, 3]], shipping: [["orders", 1, 4]] });
    const [folder = ""] = readdirSync(path)
      .filter((name) => name.startsWith("__consumer_offsets-"))
      .filter((name) => statSync(join(path, name, "00000000000000000000.log")).size > 0);
    const log = join(path, folder, "00000000000000000000.log");
    const bytes = readFileSync(log);
    const sizeBytes = bytes.readInt32BE(8) + 12;
    bytes[sizeBytes - 1]! ^= 1;
    // A good batch behind it: the same again, as a later one.
    const next = Buffer.from(readFileSync(log).subarray(0, sizeBytes));
    next.writeBigInt64BE(9n, 0);
    writeFileSync(log, Buffer.concat([bytes, next]));
    const { code, errors, output } = await runCommand(["groups", "list", path]);
    assert.equal(code, 1);
    assert.match(errors, /^ottla: Cannot read offsets 0 to \d+: [^\n]+ at position 0\n/);
    assert.equal(linesOf(output).length, 3);
  });
});

test("what makes no sense is wrong usage", async () => {
  const reset = ["reset", "a", "g", "--topic", "t"];
  const wrong = [
    [],
    ["rename"],
    ["list"],
    ["list", "a", "b"],
    ["delete", "a"],
    ["reset", "a", "g", "--to-latest"],
    reset,
    [...reset, "--to-latest", "--to-earliest"],
    [...reset, "--to-offset", "-1"],
    [...reset, "--to-offset", "end"],
    [...reset, "--to-datetime", "yesterday"],
    [...reset, "--shift-by", "far"],
    [...reset, "--to-latest", "--partition", "one"],
  ];
  for (const args of wrong) {
    const { code, output, errors } = await runCommand(["groups", ...args]);
    assert.equal(code, 2, `${args.join(" ")}: ${errors}`);
    assert.equal(output, "");
    assert.match(errors, /^ottla: [^\n]+; try ottla groups --help\n$/);
  }
});

test("list and describe show what the store would, whatever a broker or damage has left", async () => {
  await inFolder(async (path) => {
    await fill(path, { g: [["orders", 0, 3]], test: [["orders", 0, 2]] });
    const store = await openStore(path);
    const log = logOfGroup(store, "g");
    appendRecords(log, [offsetRecord(1, 9, { topic: "orders" })], 7);
    endTransaction(log, "abort");
    const position = log.segments[0]!.sizeBytes - 3;
    appendRecords(log, [offsetRecord(0, 4, { topic: "orders" })], 7);
    endTransaction(log, "commit");
    // Of another number of partitions.
    appendRecords(logOfGroup(store, "test"), [offsetRecord(0, 8, { topic: "orders" })]);
    await closeStore(store);
    flipByte(diskFileSystem(), log.segments[0]!.log.path, position);
    const { code, output, errors } = await runCommand(["groups", "describe", path, "--json"]);
    assert.equal(code, 1);
    assert.match(errors, /^ottla: Cannot read offsets 2 to 2: [^\n]+\n$/);
    type Group = { groupId: string; partitions: { partition: number; committedOffset: number }[] };
    const shown = linesOf(output).map((line) => JSON.parse(line) as Group);
    assert.deepEqual(
      shown.map(({ groupId, partitions }) => [
        groupId,
        partitions.map(({ partition, committedOffset }) => [partition, committedOffset]),
      ]),
      [["g", [[0, 4]]], ["test", [[0, 2]]]],
    );
    const again = await openStore(path);
    for (const { groupId, partitions } of shown) {
      assert.deepEqual(
        (await committedOffsets(again, groupId)).map(({ offset }) => offset),
        partitions.map(({ committedOffset }) => committedOffset),
      );
    }
    await closeStore(again);
  });
});
