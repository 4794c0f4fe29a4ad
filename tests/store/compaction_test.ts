/** Compacting topics: at once, by itself, and while others read, append, close and delete. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { compactTopic } from "../../src/client/compact_topic.ts";
import type { CompactionProgress } from "../../src/client/compact_topic.ts";
import { commitOffsets, committedOffsets } from "../../src/client/groups.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { closeProducer, openProducer, send } from "../../src/client/producer.ts";
import { closeRange, openRange, sendRange } from "../../src/client/range.ts";
import { read } from "../../src/client/read.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import { checkStore } from "../../src/store/check_store.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import {
  alterTopic,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
} from "../../src/store/topics.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { flipByte, manualClock, ringTimers } from "../support/log_fixture.ts";
import type { ManualClock } from "../support/log_fixture.ts";
import {
  crashStore,
  openTestStore,
  recordsIn,
  settled,
  storeFolder,
  textOf,
  textOfFile,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

const small: StoreOptions = { topicOverrides: { segmentBytes: 1000 } };

/** Appends values to the keys `k0`, `k1` and so on, each key in turn. */
async function fill(store: Store, topic: string, count: number, keyCount = 3): Promise<void> {
  for (let nth = 0; nth < count; nth++) {
    await append(store, topic, { key: `k${nth % keyCount}`, value: `v${nth}` });
  }
}

async function linesIn(store: Store, topic: string): Promise<string[]> {
  const records = await recordsIn(store, topic);
  return records.map(({ offset, key, value }) => `${offset} ${textOf(key)}=${textOf(value)}`);
}

/** Lets the background work go on until nothing is left to do. */
async function workInBackground(clock: ManualClock): Promise<void> {
  for (let turn = 0; turn < 300; turn++) {
    clock.nowMs += 20_000;
    ringTimers(clock);
    await settled();
  }
}

describe("compactTopic", () => {
  it("keeps the last record of each key, and says what it did", async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      const before = describeTopic(store, "prices").partitions[0]!;
      assert.ok(before.segmentCount > 2);
      const report = await compactTopic(store, "prices");
      assert.deepEqual(await linesIn(store, "prices"), ["37 k1=v37", "38 k2=v38", "39 k0=v39"]);
      const after = describeTopic(store, "prices").partitions[0]!;
      assert.deepEqual(report, {
        readBytes: before.sizeBytes,
        keptBytes: after.sizeBytes,
        readRecords: 40,
        keptRecords: 3,
        keylessRecords: 0,
      });
      assert.deepEqual([after.startOffset, after.endOffset], [0, 40]);
      assert.equal(textOfFile(fs, "cleaner-offset-checkpoint"), "0\n1\nprices 0 40\n");
      assert.equal((await append(store, "prices", { key: "k0", value: "v40" })).offset, 40);
      // The segments were too large to become one; now they are not.
      await compactTopic(store, "prices");
      assert.deepEqual(await linesIn(store, "prices"), ["37 k1=v37", "38 k2=v38", "40 k0=v40"]);
      assert.equal(describeTopic(store, "prices").partitions[0]!.segmentCount, 2);
    }, small);
  });

  it("goes on where it was after the store was closed, or crashed", async () => {
    for (const isClean of [true, false]) {
      const fs = memoryFileSystem();
      const store = await openTestStore(fs, small);
      await createTopic(store, "prices", { cleanupPolicy: "compact", partitions: 2 });
      for (let nth = 0; nth < 30; nth++) {
        await append(store, "prices", { key: `k${nth % 3}`, value: "v", partition: nth % 2 });
      }
      await compactTopic(store, "prices");
      const lines = await linesIn(store, "prices");
      assert.equal(lines.length, 6);
      if (isClean) await closeStore(store);
      else crashStore(store, fs);
      const reopened = await openTestStore(fs, small);
      assert.deepEqual(await linesIn(reopened, "prices"), lines);
      const offsets = internalsOf(reopened).topics.get("prices")!.partitions
        .map(({ firstDirtyOffset }) => firstDirtyOffset);
      assert.deepEqual(offsets, [15, 15]);
      assert.equal(offsetsOf(reopened, "prices")[0]!.endOffset, 15);
      await closeStore(reopened);
      const report = await checkStore(storeFolder, { fileSystem: fs });
      assert.deepEqual(report.partitions.flatMap(({ problems }) => problems), []);
      assert.deepEqual(report.problems, []);
    }
  });

  it("does all of it on a disk", async () => {
    await withFolder(async (folder) => {
      const path = `${folder}/store`;
      const store = await openStore(path, small);
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      const range = openRange(store, "prices", 0, { from: 0 });
      await compactTopic(store, "prices");
      await compactTopic(store, "prices");
      closeRange(range);
      const lines = ["37 k1=v37", "38 k2=v38", "39 k0=v39"];
      assert.deepEqual(await linesIn(store, "prices"), lines);
      await closeStore(store);
      assert.ok((await checkStore(path)).isClean);
      const reopened = await openStore(path, small);
      assert.deepEqual(await linesIn(reopened, "prices"), lines);
      await closeStore(reopened);
    });
  });

  it("drops tombstones when their time has come, whether there is anything new or not", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact", deleteRetentionMs: 5000 });
      await fill(store, "prices", 3);
      await append(store, "prices", { key: "k0", value: null });
      await compactTopic(store, "prices");
      assert.deepEqual(await linesIn(store, "prices"), ["1 k1=v1", "2 k2=v2", "3 k0=null"]);
      clock.nowMs += 4999;
      await compactTopic(store, "prices");
      assert.equal((await linesIn(store, "prices")).length, 3);
      clock.nowMs += 1;
      await compactTopic(store, "prices");
      assert.deepEqual(await linesIn(store, "prices"), ["1 k1=v1", "2 k2=v2"]);
      assert.equal(offsetsOf(store, "prices")[0]!.endOffset, 4);
    }, { ...small, clock });
  });

  it("lets records wait that are younger than the lag", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact", minCompactionLagMs: 1000 });
      await fill(store, "prices", 10);
      await compactTopic(store, "prices");
      assert.equal((await linesIn(store, "prices")).length, 10);
      clock.nowMs += 1000;
      await compactTopic(store, "prices");
      assert.equal((await linesIn(store, "prices")).length, 3);
    }, { ...small, clock });
  });

  it("tells of its progress, and ends when it is told to", async () => {
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      const lines = await linesIn(store, "prices");
      const reason = new Error("enough");
      const controller = new AbortController();
      let calls = 0;
      const onProgress = (progress: CompactionProgress): void => {
        assert.deepEqual([progress.topic, progress.partition], ["prices", 0]);
        assert.ok(progress.bytesDone > 0 && progress.bytesDone <= progress.bytesTotal);
        if (++calls === 2) controller.abort(reason);
      };
      const { signal } = controller;
      await assert.rejects(compactTopic(store, "prices", { onProgress, signal }), reason);
      assert.deepEqual(await linesIn(store, "prices"), lines);
      await assert.rejects(compactTopic(store, "prices", { signal }), reason);
      const last: CompactionProgress[] = [];
      await compactTopic(store, "prices", { onProgress: (progress) => void last.push(progress) });
      assert.equal(last.at(-1)!.bytesDone, last.at(-1)!.bytesTotal);
      const rising = last.every(({ bytesDone }, nth) =>
        bytesDone >= (last[nth - 1]?.bytesDone ?? 0)
      );
      assert.ok(rising);
      assert.equal((await linesIn(store, "prices")).length, 3);
    }, small);
  });

  it("compacts what producers have sent that number their batches", async () => {
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      const producer = openProducer(store, { idempotent: true });
      for (let nth = 0; nth < 10; nth++) {
        await send(producer, "prices", { key: "k", value: `v${nth}` });
      }
      await compactTopic(store, "prices");
      assert.deepEqual(await linesIn(store, "prices"), ["9 k=v9"]);
      await send(producer, "prices", { key: "k", value: "v10" });
      await closeProducer(producer);
      assert.deepEqual(await linesIn(store, "prices"), ["9 k=v9", "10 k=v10"]);
    }, small);
  });

  it("refuses what cannot be compacted, and what is no option", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const missing = { code: "UNKNOWN_TOPIC_OR_PARTITION" };
      await assert.rejects(compactTopic(store, "orders"), { code: "INVALID_CONFIG" });
      await assert.rejects(compactTopic(store, "none"), missing);
      await createTopic(store, "prices", { cleanupPolicy: "compact,delete" });
      assert.equal((await compactTopic(store, "prices")).readRecords, 0);
      await assert.rejects(compactTopic(store, "prices", null as never), TypeError);
      await assert.rejects(compactTopic(store, "prices", { signal: 1 as never }), TypeError);
      await assert.rejects(compactTopic(store, "prices", { onProgress: 1 as never }), TypeError);
    });
  });

  it("takes nothing away below who reads", async () => {
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      const range = openRange(store, "prices", 0, { from: 0 });
      const values: string[] = [];
      for await (const { offset, value } of read(store, "prices")) {
        values.push(textOf(value));
        // What comes next is the next record that there is.
        if (offset === 4) await compactTopic(store, "prices");
      }
      assert.deepEqual(values.slice(0, 5), ["v0", "v1", "v2", "v3", "v4"]);
      assert.deepEqual(values.slice(-3), ["v37", "v38", "v39"]);
      assert.ok(values.length < 40);
      const chunks: Uint8Array[] = [];
      await sendRange(
        range,
        new WritableStream({ write: (chunk) => void chunks.push(chunk.slice()) }),
      );
      closeRange(range);
      const bytes = Buffer.concat(chunks);
      assert.equal([...batchesIn(bytes)].length, 40);
      const { fs } = internalsOf(store);
      const names = fs.list(`${storeFolder}/prices-0`).map(({ name }) => name);
      assert.deepEqual(names.filter((name) => name.endsWith(".deleted")), []);
    }, small);
  });

  it("ends when the store is closed, and when its topic is deleted or kept", async () => {
    const codes = {
      close: "HANDLE_CLOSED",
      delete: "UNKNOWN_TOPIC_OR_PARTITION",
      alter: "INVALID_CONFIG",
    };
    for (const end of ["close", "delete", "alter"] as const) {
      const fs = memoryFileSystem();
      const store = await openTestStore(fs, small);
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      let ended: Promise<unknown> | undefined;
      const compacting = compactTopic(store, "prices", {
        onProgress() {
          ended ??= end === "close"
            ? closeStore(store)
            : end === "delete"
            ? deleteTopic(store, "prices")
            : alterTopic(store, "prices", { cleanupPolicy: "delete" });
        },
      });
      await assert.rejects(compacting, { code: codes[end] });
      await ended;
      await closeStore(store);
      const reopened = await openTestStore(fs, small);
      if (end !== "delete") assert.equal((await linesIn(reopened, "prices")).length, 40);
      await closeStore(reopened);
    }
  });

  it("has taken out no offset that a check misses, whenever its topic is no longer compacted", async () => {
    for (let alterAt = 1; alterAt < 20; alterAt++) {
      const fs = memoryFileSystem();
      const store = await openTestStore(fs, small);
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 100);
      let altered: Promise<unknown> | undefined;
      const compacting = compactTopic(store, "prices", {
        onProgress({ bytesDone, bytesTotal }) {
          if (bytesDone / bytesTotal < alterAt / 20) return;
          altered ??= alterTopic(store, "prices", { cleanupPolicy: "delete" });
        },
      });
      await assert.rejects(compacting, { code: "INVALID_CONFIG" });
      await altered;
      await closeStore(store);
      const { partitions } = await checkStore(storeFolder, { fileSystem: fs });
      assert.deepEqual(partitions.flatMap(({ problems }) => problems), []);
    }
  });

  it("waits for a compaction that is under way", async () => {
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      const reports = await Promise.all([
        compactTopic(store, "prices"),
        compactTopic(store, "prices"),
      ]);
      assert.deepEqual(reports.map(({ readRecords }) => readRecords), [40, 3]);
      assert.equal((await linesIn(store, "prices")).length, 3);
    }, small);
  });

  it("appends go on while it works", async () => {
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 60);
      const appends: Promise<unknown>[] = [];
      await compactTopic(store, "prices", {
        onProgress: () => void appends.push(append(store, "prices", { key: "k0", value: "new" })),
      });
      await Promise.all(appends);
      assert.ok(appends.length > 3);
      const lines = await linesIn(store, "prices");
      assert.deepEqual(lines.slice(-1), [`${59 + appends.length} k0=new`]);
      await compactTopic(store, "prices");
      assert.deepEqual(
        (await linesIn(store, "prices")).map((line) => line.replace(/^\d+ /, "")).sort(),
        ["k0=new", "k1=v58", "k2=v59"],
      );
    }, small);
  });

  it("fails with the disk, loses nothing, and does all of it later", async () => {
    for (const operation of ["write", "sync", "rename"] as const) {
      for (let after = 0; after < 4; after++) {
        const disk = faultyDisk();
        await withStore(async (store) => {
          await createTopic(store, "prices", { cleanupPolicy: "compact" });
          await fill(store, "prices", 30);
          failNext(disk, { operation, code: "EIO", after, times: 1, path: ".cleaned" });
          const error = await compactTopic(store, "prices").then(() => undefined, (one) => one);
          if (error !== undefined) assert.equal(error.code, "KAFKA_STORAGE_ERROR");
          else assert.ok(after > 0);
          healDisk(disk);
          await compactTopic(store, "prices");
          assert.deepEqual(await linesIn(store, "prices"), ["27 k0=v27", "28 k1=v28", "29 k2=v29"]);
        }, { ...small, fileSystem: disk.fs });
      }
    }
  });

  it("keeps what the consumers of a group have committed last", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await appendBatch(store, "orders", Array.from({ length: 20 }, () => ({ value: "v" })));
      for (let offset = 1; offset <= 20; offset++) {
        await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset }]);
      }
      const report = await compactTopic(store, "__consumer_offsets");
      assert.equal(report.readRecords, 20);
      assert.equal(report.keptRecords, 1);
      assert.equal((await committedOffsets(store, "billing"))[0]!.offset, 20);
    });
  });
});

describe("compaction in the background", () => {
  it("compacts the dirtiest first, and what is clean enough not at all", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store, fs) => {
      for (const name of ["slow", "fast", "kept"]) {
        await createTopic(store, name, { cleanupPolicy: name === "kept" ? "delete" : "compact" });
        await fill(store, name, name === "fast" ? 60 : 40);
      }
      await createTopic(store, "late", { cleanupPolicy: "compact", minCleanableDirtyRatio: 1 });
      await fill(store, "late", 30);
      await workInBackground(clock);
      // The active segments are not touched.
      assert.ok((await linesIn(store, "slow")).length < 20);
      assert.ok((await linesIn(store, "fast")).length < 20);
      assert.equal((await linesIn(store, "kept")).length, 40);
      assert.equal((await linesIn(store, "late")).length, 30);
      const checkpoint = textOfFile(fs, "cleaner-offset-checkpoint")!;
      assert.match(checkpoint, /^0\n2\nslow 0 \d+\nfast 0 \d+\n$/);
    }, { ...small, clock });
  });

  it("begins with the log that has the largest dirty part", async () => {
    const clock = manualClock(1_700_000_000_000);
    const inner = memoryFileSystem();
    const swapped: string[] = [];
    const fs = {
      ...inner,
      rename(source: string, target: string): void {
        if (source.endsWith(".log.swap")) swapped.push(target.split("/").at(-2)!);
        inner.rename(source, target);
      },
    };
    await withStore(async (store) => {
      const names = ["first", "second", "third"];
      for (const name of names) {
        await createTopic(store, name, { cleanupPolicy: "compact", minCleanableDirtyRatio: 0.1 });
        await fill(store, name, 60, 60);
        await compactTopic(store, name);
      }
      swapped.length = 0;
      await fill(store, "first", 60);
      await fill(store, "second", 240);
      await fill(store, "third", 120);
      await workInBackground(clock);
      assert.deepEqual([...new Set(swapped)], ["second-0", "third-0", "first-0"]);
    }, { ...small, clock, fileSystem: fs });
  });

  it("leaves a damaged log alone, and compacts the others", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store, fs) => {
      for (const name of ["bad", "good"]) {
        await createTopic(store, name, { cleanupPolicy: "compact" });
        await fill(store, name, 40);
      }
      flipByte(fs, `${storeFolder}/bad-0/00000000000000000000.log`, 100);
      await workInBackground(clock);
      assert.ok((await linesIn(store, "good")).length < 20);
      assert.ok(describeTopic(store, "bad").partitions[0]!.segmentCount > 2);
      await assert.rejects(compactTopic(store, "bad"), { code: "CORRUPT_MESSAGE" });
    }, { ...small, clock });
  });

  it("leaves a log at rest that begins in the middle of a segment that has to wait", async () => {
    const clock = manualClock(1_700_000_000_000);
    const disk = faultyDisk();
    await withStore(async (store) => {
      const minCompactionLagMs = 86_400_000;
      await createTopic(store, "prices", { cleanupPolicy: "compact", minCompactionLagMs });
      await fill(store, "prices", 40);
      await deleteRecords(store, "prices", 0, 5);
      failNext(disk, { operation: "open", code: "EIO", times: Infinity, path: ".cleaned" });
      await workInBackground(clock);
      assert.deepEqual(disk.faults.map(({ failed }) => failed), [0]);
    }, { ...small, clock, fileSystem: disk.fs });
  });

  it("goes by what is overdue, though little is dirty", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store) => {
      await createTopic(store, "prices", {
        cleanupPolicy: "compact",
        minCleanableDirtyRatio: 1,
        maxCompactionLagMs: 60_000,
      });
      await fill(store, "prices", 40);
      await workInBackground(clock);
      assert.ok((await linesIn(store, "prices")).length < 20);
    }, { ...small, clock });
  });

  it("is over when the store is closed or has crashed", async () => {
    for (const isCrash of [false, true]) {
      const clock = manualClock(1_700_000_000_000);
      const fs = memoryFileSystem();
      const store = await openTestStore(fs, { ...small, clock });
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 40);
      clock.nowMs += 20_000;
      ringTimers(clock);
      await settled();
      if (isCrash) crashStore(store, fs);
      else await closeStore(store);
      const reopened = await openTestStore(fs, small);
      assert.equal((await linesIn(reopened, "prices")).length, 40);
      await closeStore(reopened);
    }
  });

  it("deletes by time and size where the policy says both", async () => {
    const clock = manualClock(1_700_000_000_000);
    await withStore(async (store) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact,delete", retentionMs: 100_000 });
      await createTopic(store, "kept", { cleanupPolicy: "compact", retentionMs: 100_000 });
      await fill(store, "prices", 40);
      await fill(store, "kept", 40);
      await workInBackground(clock);
      assert.deepEqual(await linesIn(store, "prices"), []);
      assert.ok((await linesIn(store, "kept")).length >= 3);
    }, { ...small, clock });
  });
});

describe("what is recorded of compactions", () => {
  it("goes with the topic", async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 10);
      await compactTopic(store, "prices");
      assert.match(textOfFile(fs, "cleaner-offset-checkpoint")!, /prices 0 10/);
      await deleteTopic(store, "prices");
      assert.equal(textOfFile(fs, "cleaner-offset-checkpoint"), "0\n0\n");
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 20);
      await compactTopic(store, "prices");
      assert.equal((await linesIn(store, "prices")).length, 3);
    }, small);
  });

  it("does not go beyond what a crash may bring back", async () => {
    const disk = faultyDisk();
    await withStore(async (store, fs) => {
      const options = { cleanupPolicy: "compact,delete", retentionBytes: 1000 } as const;
      await createTopic(store, "prices", options);
      await fill(store, "prices", 40);
      failNext(disk, {
        operation: "write",
        code: "EIO",
        times: Infinity,
        path: "log-start-offset",
      });
      await assert.rejects(enforceRetention(store), { code: "KAFKA_STORAGE_ERROR" });
      await assert.rejects(compactTopic(store, "prices"), { code: "KAFKA_STORAGE_ERROR" });
      assert.equal(textOfFile(fs, "cleaner-offset-checkpoint"), undefined);
      healDisk(disk);
      await compactTopic(store, "prices");
      assert.equal((await linesIn(store, "prices")).length, 3);
    }, { ...small, fileSystem: disk.fs });
  });

  it("is put right where the log begins later", async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "prices", { cleanupPolicy: "compact" });
      await fill(store, "prices", 10);
      await compactTopic(store, "prices");
      await fill(store, "prices", 20);
      await deleteRecords(store, "prices", 0, 25);
      await compactTopic(store, "prices");
      assert.equal(textOfFile(fs, "cleaner-offset-checkpoint"), "0\n1\nprices 0 30\n");
      assert.deepEqual(await linesIn(store, "prices"), ["27 k2=v17", "28 k0=v18", "29 k1=v19"]);
      assert.equal(offsetsOf(store, "prices")[0]!.startOffset, 25);
    }, small);
  });
});
