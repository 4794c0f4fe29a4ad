/** `checkStore`: what is whole passes, and whatever byte changes is found. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  append,
  appendBatch,
  closeStore,
  createTopic,
  describeTopic,
  isOttlaError,
} from "../../mod.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { field } from "../../src/record/batch_layout.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { checkStore } from "../../src/store/check_store.ts";
import { someTime } from "../support/batches.ts";
import { flipByte, writeBytes } from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";
import { contentOf, openTestStore, storeFolder } from "../support/store_fixture.ts";
import {
  allProblems,
  at,
  batchesOf,
  check,
  filledStore,
  firstIndex,
  firstLog,
  fixtures,
  kafkaStore,
  recordCount,
  replace,
} from "./check_fixture.ts";

describe("what is whole", () => {
  test("a closed store is clean, and its numbers are those of the store", async () => {
    const fs = await filledStore();
    const before = contentOf(fs);
    const report = await check(fs);
    assert.deepEqual(allProblems(report), []);
    assert.equal(report.isClean, true);
    assert.equal(report.isOpen, false);
    assert.deepEqual(contentOf(fs), before, "nothing was changed");
    const store = await openTestStore(fs);
    const { sizeBytes, segmentCount } = describeTopic(store, "orders").partitions[0]!;
    await closeStore(store);
    const orders = report.partitions.find(({ topic }) => topic === "orders");
    assert.deepEqual(orders, {
      topic: "orders",
      partition: 0,
      segments: segmentCount,
      batches: recordCount,
      records: recordCount,
      sizeBytes,
      startOffset: 0,
      endOffset: recordCount,
      problems: [],
    });
    assert.ok(segmentCount >= 3);
    const names = report.partitions.map(({ topic, partition }) => `${topic}-${partition}`);
    assert.deepEqual(names, ["__cluster_metadata-0", "empty-0", "empty-1", "orders-0"]);
  });

  test("every codec is clean", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    for (const compression of ["gzip", "snappy", "lz4", "zstd"] as const) {
      await createTopic(store, compression, { compression });
      const values = Array.from({ length: 200 }, (_, index) => ({ value: `value ${index}` }));
      await appendBatch(store, compression, values);
    }
    await closeStore(store);
    const report = await check(fs);
    assert.deepEqual(allProblems(report), []);
    assert.equal(report.partitions.reduce((sum, { records }) => sum + records, 0) > 800, true);
  });

  test("folders that Kafka wrote are clean", async () => {
    for (const name of ["static_4_0", "standalone_4_1"]) {
      const report = await checkStore(`${fixtures}/${name}`);
      const problems = allProblems(report);
      assert.equal(report.isClean, true, JSON.stringify(problems));
      assert.ok(problems.every(({ path }) => path.endsWith("-delete")));
      const shortened = report.partitions.find(({ topic }) => topic === "shortened");
      assert.deepEqual([shortened?.startOffset, shortened?.endOffset], [4, 10]);
    }
  });

  test("an index of Kafka 3, with an entry for an append of several batches, is clean", async () => {
    const fs = await filledStore();
    const entry = readFile(fs, at(firstIndex))!;
    // As if the batch that the entry leads to and the next one had come in one append.
    entry[3]!++;
    replace(fs, firstIndex, entry);
    assert.deepEqual(allProblems(await check(fs)), []);
  });

  test("an open store is clean, and the report says that it is open", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v" });
    const report = await check(fs);
    assert.equal(report.isOpen, true);
    assert.equal(report.isClean, true);
    assert.match(report.problems[0]!.message, /^The store is open: process \d+/);
    await closeStore(store);
    assert.equal((await check(fs)).isOpen, false);
  });

  test("a store whose process died is clean, its preallocated indexes are noted", async () => {
    const fs = await filledStore("crashed");
    const report = await check(fs);
    assert.equal(report.isClean, true, JSON.stringify(allProblems(report)));
  });

  test("a folder that is no store is an error", async () => {
    const fs = memoryFileSystem();
    await assert.rejects(check(fs), (error) => isOttlaError(error, "STORE_INVALID"));
    fs.makeFolder(storeFolder);
    await assert.rejects(check(fs), (error) => isOttlaError(error, "STORE_INVALID"));
    writeBytes(fs, at("letter.txt"), new Uint8Array(1));
    await assert.rejects(check(fs), (error) => isOttlaError(error, "STORE_INVALID"));
    await assert.rejects(checkStore(1 as never), TypeError);
  });
});

describe("more damage", () => {
  test("in a compacted topic missing offsets are none", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "orders", { cleanupPolicy: "compact" });
    for (const [index, key] of ["a", "b", "c"].entries()) {
      await append(store, "orders", { key, value: key, timestamp: someTime + index });
    }
    await closeStore(store);
    const bytes = readFile(fs, at(firstLog))!;
    const [, second, third] = batchesOf(fs, firstLog) as [BatchView, BatchView, BatchView];
    const rest = [...bytes.slice(0, second.position), ...bytes.slice(third.position)];
    replace(fs, firstLog, Uint8Array.from(rest));
    const report = await check(fs);
    assert.equal(report.isClean, true, JSON.stringify(allProblems(report)));
    assert.deepEqual(report.partitions.at(-1)!.records, 2);
  });

  test("a file that is full of damage does not fill the report", async () => {
    const fs = await filledStore();
    const entries = new Uint8Array(8 * 5000);
    const view = new DataView(entries.buffer);
    for (let entry = 0; entry < 5000; entry++) {
      view.setUint32(entry * 8, entry + 1);
      view.setUint32(entry * 8 + 4, entry * 3 + 1);
    }
    replace(fs, firstIndex, entries);
    const { problems } = (await check(fs)).partitions.find(({ topic }) => topic === "orders")!;
    assert.equal(problems.length, 1001);
    assert.match(problems.at(-1)!.message, /^There are \d{4} more problems$/);
  });

  test("any changed byte that a checksum covers is found, in all that Kafka wrote", async () => {
    const whole = kafkaStore("static_4_0");
    assert.equal((await check(whole)).isClean, true);
    const logs = readdirSync(`${fixtures}/static_4_0`, { recursive: true }).map(String)
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => /^[^/]*\d\/\d{20}\.log$/.test(name))
      .filter((name) => readFileSync(`${fixtures}/static_4_0/${name}`).length > 0);
    const property = fc.asyncProperty(
      fc.constantFrom(...logs),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      async (log, seed, mask) => {
        const fs = kafkaStore("static_4_0");
        const sizeBytes = fs.stat(at(log))!.sizeBytes;
        const position = seed % sizeBytes;
        const batch = batchesOf(fs, log).findLast((one) => one.position <= position)!;
        flipByte(fs, at(log), position, mask);
        const report = await check(fs);
        // The offset and the leader epoch stand before what the checksum covers.
        if (position - batch.position >= field.magic) {
          assert.ok(allProblems(report).some(({ severity }) => severity === "error"));
        }
      },
    );
    await assertProperty(property, { numRuns: 40 });
  });
});
