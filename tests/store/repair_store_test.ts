/**
 * `repairStore`: what it takes out it keeps, what is left can be used, and it tells what is lost.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  append,
  closeStore,
  createTopic,
  describeTopic,
  isOttlaError,
  listTopics,
  openStore,
  read,
  repairStore,
} from "../../mod.ts";
import type { RepairOptions, RepairReport } from "../../mod.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import { contentOf, openTestStore, recordsIn, storeFolder } from "../support/store_fixture.ts";
import {
  allProblems,
  at,
  batchesOf,
  filledStore,
  firstLog,
  kafkaStore,
  logNames,
  recordCount,
  replace,
} from "./check_fixture.ts";

function repair(fs: FileSystem, options: RepairOptions = {}): Promise<RepairReport> {
  return repairStore(storeFolder, { fileSystem: fs, ...options });
}

async function offsetsIn(fs: FileSystem): Promise<number[]> {
  const store = await openTestStore(fs);
  const records = await recordsIn(store, "orders");
  await closeStore(store);
  return records.map(({ offset }) => offset);
}

function allBut(lost: readonly number[]): number[] {
  return Array.from({ length: recordCount }, (_, offset) => offset)
    .filter((offset) => !lost.includes(offset));
}

describe("a damaged batch", () => {
  test("is taken out and kept, and what follows is where it was", async () => {
    const fs = await filledStore();
    const [, second] = batchesOf(fs, firstLog);
    const { position, sizeBytes, baseOffset } = second!;
    const damaged = position + sizeBytes - 3;
    flipByte(fs, at(firstLog), damaged);
    const before = readFile(fs, at(firstLog))!;
    const { steps, losses, keptIn, check: after } = await repair(fs);
    const message = `${sizeBytes} damaged bytes are taken out, offsets 1 to 1 are lost`;
    assert.deepEqual(steps[0], { path: firstLog, message });
    assert.deepEqual(losses, [{
      topic: "orders",
      partition: 0,
      startOffset: baseOffset,
      endOffset: baseOffset + 1,
    }]);
    assert.equal(after!.isClean, true, JSON.stringify(allProblems(after!)));
    assert.equal(keptIn, "/store.repair/1");
    const kept = readFile(fs, `/store.repair/1/${firstLog}.${position}`)!;
    assert.deepEqual(kept, before.slice(position, position + sizeBytes));
    assert.deepEqual(await offsetsIn(fs), allBut([1]));
    const [first, empty, third] = [...batchesIn(readFile(fs, at(firstLog))!)];
    assert.deepEqual([first!.lastOffset, empty!.baseOffset, empty!.lastOffset], [0, 1, 1]);
    assert.deepEqual([empty!.recordCount, empty!.sizeBytes, third!.baseOffset], [0, 61, 2]);
  });

  test("at the end does not have its offset given out again", async () => {
    const fs = await filledStore();
    const last = logNames(fs).at(-1)!;
    const { position, sizeBytes } = batchesOf(fs, last).at(-1)!;
    resizeFile(fs, at(last), position + sizeBytes - 5);
    const { losses } = await repair(fs);
    const endOffset = recordCount;
    const startOffset = recordCount - 1;
    assert.deepEqual(losses, [{ topic: "orders", partition: 0, startOffset, endOffset }]);
    const store = await openTestStore(fs);
    assert.equal((await append(store, "orders", { value: "on" })).offset, recordCount);
    await closeStore(store);
  });

  test("behind the last recorded offset of a crash is a torn end like any other", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "a" });
    await closeStore(store);
    writeBytes(fs, at(firstLog), new Uint8Array(20).fill(7));
    replace(fs, "ottla.cleanshutdown", new Uint8Array(0));
    const report = await repair(fs);
    assert.deepEqual(report.losses, []);
    assert.deepEqual(readFile(fs, `${report.keptIn}/${firstLog}.69`), new Uint8Array(20).fill(7));
    assert.deepEqual(await offsetsIn(fs), [0]);
  });
});

test("a batch at the beginning of a segment that belongs elsewhere is taken out", async () => {
  const fs = await filledStore();
  const [first, second] = logNames(fs);
  const foreign = readFile(fs, at(first!))!.slice(0, batchesOf(fs, first!)[0]!.sizeBytes);
  const whole = readFile(fs, at(second!))!;
  replace(fs, second!, Uint8Array.from([...foreign, ...whole]));
  const { losses, check: after } = await repair(fs);
  assert.deepEqual(losses, []);
  assert.equal(after!.isClean, true, JSON.stringify(allProblems(after!)));
  assert.deepEqual(readFile(fs, at(second!)), whole);
});

describe("what is gone", () => {
  test("a segment becomes a batch without records", async () => {
    const fs = await filledStore();
    const [, second, third] = logNames(fs);
    const baseOf = (name: string): number => Number(/(\d{20})/.exec(name)![1]);
    fs.remove(at(second!));
    const [startOffset, endOffset] = [baseOf(second!), baseOf(third!)];
    const { losses, check: after } = await repair(fs);
    assert.deepEqual(losses, [{ topic: "orders", partition: 0, startOffset, endOffset }]);
    assert.equal(after!.isClean, true);
    const lost = Array.from({ length: endOffset - startOffset }, (_, index) => startOffset + index);
    assert.deepEqual(await offsetsIn(fs), allBut(lost));
  });

  test("a folder is made anew, and goes on with the next offset", async () => {
    const fs = await filledStore();
    for (const { name } of fs.list(at("orders-0"))) fs.remove(at(`orders-0/${name}`));
    fs.removeFolder(at("orders-0"));
    const { losses, check: after } = await repair(fs);
    const startOffset = 0;
    assert.deepEqual(losses, [
      { topic: "orders", partition: 0, startOffset, endOffset: recordCount },
    ]);
    assert.equal(after!.isClean, true, JSON.stringify(allProblems(after!)));
    const store = await openTestStore(fs);
    assert.equal((await append(store, "orders", { value: "on" })).offset, recordCount);
    await closeStore(store);
  });

  test("meta.properties comes from the metadata, the cluster from who knows it", async () => {
    const fs = await filledStore();
    const text = new TextDecoder().decode(readFile(fs, at("meta.properties")));
    fs.remove(at("meta.properties"));
    const report = await repair(fs, { clusterId: "known-cluster" });
    assert.equal(report.check!.isClean, true);
    const wanted = text.replace(/cluster\.id=.*/, "cluster.id=known-cluster");
    assert.equal(new TextDecoder().decode(readFile(fs, at("meta.properties"))), wanted);
    fs.remove(at("meta.properties"));
    const { steps } = await repair(fs);
    assert.match(steps[0]!.message, /with a new cluster\.id, as nothing tells the old one/);
    assert.deepEqual(await offsetsIn(fs), allBut([]));
  });

  test("topics are made again from their folders, and those that can be read stay", async () => {
    const fs = await filledStore();
    const id = describeId(readFile(fs, at("orders-0/partition.metadata"))!);
    const log = "__cluster_metadata-0/00000000000000000000.log";
    resizeFile(fs, at(log), 0);
    const report = await repair(fs);
    assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
    assert.ok(
      report.steps.some(({ path, message }) =>
        path === "orders" &&
        message.startsWith("The topic is made again with settings of a new one")
      ),
    );
    const store = await openTestStore(fs);
    assert.deepEqual(listTopics(store), ["empty", "orders"]);
    assert.equal(describeTopic(store, "orders").topicId, id);
    await closeStore(store);
    assert.deepEqual(await offsetsIn(fs), allBut([]));
  });
});

describe("nothing is changed", () => {
  test("in a dry run, which tells the same", async () => {
    const fs = await filledStore();
    flipByte(fs, at(firstLog), 70);
    flipByte(fs, at("meta.properties"), 0);
    const before = contentOf(fs, "/");
    const planned = await repair(fs, { dryRun: true });
    assert.deepEqual(contentOf(fs, "/"), before);
    assert.deepEqual([planned.isDryRun, planned.keptIn], [true, undefined]);
    assert.equal(planned.check!.isClean, false);
    const done = await repair(fs);
    assert.deepEqual(planned.losses, done.losses);
    assert.deepEqual(planned.steps, done.steps);
  });

  test("of a store that is whole, of Kafka's too", async () => {
    const fs = await filledStore();
    const before = contentOf(fs, storeFolder, (name) => !name.startsWith("ottla.lock."));
    const { steps, losses, keptIn, check: after } = await repair(fs);
    assert.deepEqual([steps, losses, keptIn], [[], [], undefined]);
    assert.equal(after!.isClean, true);
    assert.deepEqual(contentOf(fs, storeFolder, (name) => !name.startsWith("ottla.lock.")), before);
    for (const name of ["static_4_0", "standalone_4_1"]) {
      const report = await repair(kafkaStore(name));
      assert.deepEqual([report.steps, report.losses], [[], []]);
    }
  });

  test("of a store that is open, or of a folder that is none", async () => {
    const fs = await filledStore();
    const store = await openTestStore(fs);
    await assert.rejects(repair(fs), (error) => isOttlaError(error, "STORE_LOCKED"));
    await closeStore(store);
    const isInvalid = (error: unknown): boolean => isOttlaError(error, "STORE_INVALID");
    await assert.rejects(repairStore("/nothing", { fileSystem: fs }), isInvalid);
    fs.makeFolder("/letters");
    writeBytes(fs, "/letters/a.txt", new Uint8Array(1));
    await assert.rejects(repairStore("/letters", { fileSystem: fs }), isInvalid);
    await assert.rejects(repairStore(1 as never), TypeError);
    await assert.rejects(repair(fs, { dryRun: 1 as never }), TypeError);
    await assert.rejects(repair(fs, { clusterId: 1 as never }), TypeError);
    await assert.rejects(repair(fs, { asideFolder: at("kept") }), RangeError);
  });
});

test("each repair keeps what it takes out in a folder of its own", async () => {
  const fs = await filledStore();
  for (const run of [1, 2]) {
    flipByte(fs, at(firstLog), batchesOf(fs, firstLog).at(-run)!.position + 70);
    const report = await repair(fs, { asideFolder: "/kept" });
    assert.equal(report.keptIn, `/kept/${run}`);
  }
});

test("a lock that is none keeps nobody out once nobody writes it", async () => {
  const fs = await filledStore();
  const lock = fs.list(storeFolder).find(({ name }) => name.startsWith("ottla.lock."))!.name;
  flipByte(fs, at(lock), 0);
  await assert.rejects(repair(fs), (error) => isOttlaError(error, "STORE_LOCKED"));
  const modifiedMs = fs.stat(at(lock))!.modifiedMs;
  const older: FileSystem = {
    ...fs,
    stat: (path) => {
      const status = fs.stat(path);
      return status?.modifiedMs === modifiedMs ? { ...status, modifiedMs: 0 } : status;
    },
  };
  assert.deepEqual((await repair(older)).steps[0]!.path, lock);
  assert.deepEqual(await offsetsIn(fs), allBut([]));
});

forEachFileSystem("a store is repaired wherever it lies", async (fileSystem, folder) => {
  const path = `${folder}/store`;
  const store = await openStore(path, { fileSystem });
  await createTopic(store, "orders");
  for (const value of ["a", "b", "c"]) await append(store, "orders", { value });
  await closeStore(store);
  flipByte(fileSystem, `${path}/${firstLog}`, 69 + 65);
  const { losses, keptIn, check: after } = await repairStore(path, { fileSystem });
  assert.deepEqual(losses, [{ topic: "orders", partition: 0, startOffset: 1, endOffset: 2 }]);
  assert.equal(keptIn, `${path}.repair/1`);
  assert.equal(after!.isClean, true);
  const again = await openStore(path, { fileSystem });
  const values: string[] = [];
  for await (const { value } of read(again, "orders")) {
    values.push(new TextDecoder().decode(value!));
  }
  assert.deepEqual(values, ["a", "c"]);
  await closeStore(again);
});

function describeId(bytes: Uint8Array): string {
  return /topic_id: (\S+)/.exec(new TextDecoder().decode(bytes))![1]!;
}
