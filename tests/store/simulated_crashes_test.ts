/** What the simulation has found about crashes and failing disks, each as a plain test. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  append,
  closeRange,
  closeStore,
  commitOffsets,
  committedOffsets,
  compactTopic,
  createTopic,
  deleteTopic,
  enforceRetention,
  isOttlaError,
  offsetForTimestamp,
  offsetsOf,
  openRange,
  openStore,
  read,
  sendRange,
} from "../../mod.ts";
import type { Store, StoreOptions } from "../../mod.ts";
import type { DiskOperation, SimulatedDisk } from "../../src/testing/mod.ts";
import {
  filesOf,
  historyOf,
  killProcess,
  powerCut,
  setFaults,
  simulatedDisk,
  syncedContentOf,
} from "../../src/testing/mod.ts";
import { withRunningClock } from "../support/simulated_disk_fixture.ts";

const partition = 0;
/** One record a segment. */
const segmentBytes = 150;

async function openOn(disk: SimulatedDisk, options: StoreOptions = {}): Promise<Store> {
  return await openStore("/data", {
    ...disk.process,
    diskFreeBytesMin: 0,
    topicOverrides: { segmentBytes, indexIntervalBytes: 0 },
    ...options,
  });
}

function value(text: string): string {
  return text.padEnd(60, ".");
}

async function valuesIn(store: Store, topic = "orders"): Promise<string[]> {
  const values: string[] = [];
  for await (const record of read(store, topic, { partition })) {
    values.push(new TextDecoder().decode(record.value!).replaceAll(".", ""));
  }
  return values;
}

/** Fails what a test names, once. */
function failOnce(
  disk: SimulatedDisk,
  code: string,
  isIt: (operation: DiskOperation) => boolean,
): void {
  let isDone = false;
  setFaults(disk, {
    rule(operation) {
      if (isDone || !isIt(operation)) return undefined;
      isDone = true;
      return { code };
    },
  });
}

describe("a power cut", () => {
  it("takes no records that a group has committed as consumed", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "one" }, { ack: "os" });
    const commit = commitOffsets(store, "billing", [{ topic: "orders", partition, offset: 1 }]);
    await withRunningClock(disk, commit);
    powerCut(disk, { unsynced: "lost" });
    const again = await openOn(disk);
    assert.equal((await committedOffsets(again, "billing"))[0]?.offset, 1);
    assert.equal(offsetsOf(again, "orders")[partition]?.endOffset, 1);
    await closeStore(again);
  });

  it("takes no store whose folder a process had made that was killed", async () => {
    for (const path of ["/data", "/deep/er/data"]) {
      for (let killedAt = 1; killedAt < 20; killedAt++) {
        const disk = simulatedDisk({ seed: 1 });
        setFaults(disk, {
          rule: ({ number }) => number === killedAt ? { crash: "killProcess" } : undefined,
        });
        await assert.rejects(openStore(path, disk.process), `operation ${killedAt}`);
        setFaults(disk);
        const store = await openStore(path, disk.process);
        await createTopic(store, "orders");
        await append(store, "orders", { value: "one" });
        powerCut(disk, { unsynced: "lost" });
        const again = await openStore(path, disk.process);
        assert.deepEqual(await valuesIn(again), ["one"], `${path}, killed at ${killedAt}`);
        await closeStore(again);
      }
    }
  });

  it("takes nothing of a segment whose making failed once", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    await append(store, "orders", { value: value("one") });
    failOnce(disk, "EIO", ({ kind, path }) => kind === "create" && path.endsWith("1.index"));
    await assert.rejects(append(store, "orders", { value: value("two") }));
    await closeStore(store);
    const next = await openOn(disk);
    await append(next, "orders", { value: value("three") });
    powerCut(disk, { unsynced: "lost" });
    const again = await openOn(disk);
    assert.deepEqual(await valuesIn(again), ["one", "three"]);
    await closeStore(again);
  });

  it("that brings back what retention has removed takes nothing of what stayed", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const disk = simulatedDisk({ seed });
      const store = await openOn(disk);
      await createTopic(store, "orders", { retentionMs: 1_000 });
      for (const text of ["one", "two", "three"]) {
        await append(store, "orders", { value: value(text) }, { ack: "os" });
      }
      await disk.clock.advance(2_000);
      assert.equal((await enforceRetention(store)).removedSegments, 3);
      await append(store, "orders", { value: value("four") });
      powerCut(disk);
      const again = await openOn(disk);
      assert.deepEqual(await valuesIn(again), ["four"], `seed ${seed}`);
      await closeStore(again);
    }
  });

  it("leaves one of two locks at least, which tells of it", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const disk = simulatedDisk({ seed });
      await closeStore(await openOn(disk));
      await openOn(disk);
      powerCut(disk);
      const locks = filesOf(disk).filter(({ path }) => /\/ottla\.lock\.\d+$/.test(path));
      assert.ok(locks.length > 0, `seed ${seed}`);
    }
  });

  it("leaves what was cut off from a segment cut off once the next one is in use", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "one" });
    const path = "/data/orders-0/00000000000000000000.log";
    const sizeBytes = syncedContentOf(disk, path)!.length;
    failOnce(disk, "EIO", ({ kind, path: other }) => kind === "write" && other === path);
    await assert.rejects(append(store, "orders", { value: "two" }));
    await append(store, "orders", { value: value("three") });
    await disk.clock.advance(100);
    powerCut(disk, { unsynced: "lost" });
    assert.equal(syncedContentOf(disk, path)!.length, sizeBytes);
    const again = await openOn(disk);
    assert.deepEqual(await valuesIn(again), ["one", "three"]);
    await closeStore(again);
  });

  it("takes no index of a segment that is sealed", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    await append(store, "orders", { value: value("one") });
    await append(store, "orders", { value: value("two") });
    await disk.clock.advance(100);
    powerCut(disk, { unsynced: "lost" });
    const path = "/data/orders-0/00000000000000000000.timeindex";
    assert.equal(syncedContentOf(disk, path)?.length, 12);
  });
});

describe("a disk that fails", () => {
  it("keeps the files of removed segments until the new start is recorded", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders", { retentionMs: 1_000 });
    for (const text of ["one", "two"]) await append(store, "orders", { value: value(text) });
    const range = openRange(store, "orders", partition, { from: 0 });
    await disk.clock.advance(2_000);
    failOnce(disk, "EIO", ({ kind, path }) => kind === "write" && path.includes("log-start"));
    await assert.rejects(enforceRetention(store));
    closeRange(range);
    const logs = (): number =>
      filesOf(disk).filter(({ path }) => /orders-0\/0+[01]\.log$/.test(path)).length;
    assert.equal(logs(), 2);
    await enforceRetention(store);
    assert.equal(logs(), 0);
    await closeStore(store);
  });

  it("is told as an error of the store by whatever reads", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    for (const text of ["one", "two"]) await append(store, "orders", { value: value(text) });
    await closeStore(store);
    const again = await openOn(disk);
    offsetsOf(again, "orders");
    setFaults(disk, { rule: ({ kind }) => kind === "read" ? { code: "EIO" } : undefined });
    const isStorageError = (error: unknown): boolean => isOttlaError(error, "KAFKA_STORAGE_ERROR");
    await assert.rejects(valuesIn(again), isStorageError);
    assert.throws(() => offsetForTimestamp(again, "orders", partition, 1), isStorageError);
    assert.throws(() => openRange(again, "orders", partition, { from: 0 }), isStorageError);
    setFaults(disk);
    const range = openRange(again, "orders", partition, { from: 0 });
    setFaults(disk, { rule: ({ kind }) => kind === "read" ? { code: "EIO" } : undefined });
    await assert.rejects(sendRange(range, new WritableStream()), isStorageError);
    setFaults(disk);
    closeRange(range);
    await closeStore(again);
  });

  it("does not give a range of a deleted topic the bytes of the next one", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    await createTopic(store, "orders");
    await append(store, "orders", { value: "of the first" });
    const range = openRange(store, "orders", partition, { from: 0 });
    await deleteTopic(store, "orders");
    failOnce(
      disk,
      "EIO",
      ({ kind, path }) =>
        kind === "create" && path.endsWith("/orders-0/00000000000000000000.index"),
    );
    await createTopic(store, "orders");
    await append(store, "orders", { value: "of the second" }).catch(() => {});
    await append(store, "orders", { value: "of the second" });
    const chunks: string[] = [];
    const sink = new WritableStream<Uint8Array>({
      write: (chunk) => void chunks.push(new TextDecoder().decode(chunk)),
    });
    await sendRange(range, sink);
    assert.match(chunks.join(""), /of the first/);
    closeRange(range);
    await closeStore(store);
  });
});

describe("the next opening", () => {
  it("removes what a crash has left of files that were being replaced", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk);
    setFaults(disk, {
      rule: ({ kind, path }) =>
        kind === "sync" && path.endsWith("cleanshutdown.tmp")
          ? { crash: "killProcess" }
          : undefined,
    });
    await assert.rejects(closeStore(store));
    setFaults(disk);
    assert.ok(filesOf(disk).some(({ path }) => path.endsWith(".tmp")));
    await closeStore(await openOn(disk));
    assert.ok(!filesOf(disk).some(({ path }) => path.endsWith(".tmp")), historyOf(disk).join("\n"));
  });

  it("has the times of a log whose time index was lost in part", async () => {
    const disk = simulatedDisk({ seed: 1 });
    const store = await openOn(disk, {
      checkpointMs: 10,
      topicOverrides: { segmentBytes: 10_000, indexIntervalBytes: 0 },
    });
    await createTopic(store, "orders");
    const times = [1_000, 2_000, 9_000, 3_000];
    for (const timestamp of times) {
      await append(store, "orders", { value: value("some"), timestamp });
      await disk.clock.advance(20);
    }
    const path = "/data/orders-0/00000000000000000000.timeindex";
    killProcess(disk);
    const file = disk.fileSystem.open(path, "write");
    disk.fileSystem.truncate(file, 12);
    disk.fileSystem.close(file);
    powerCut(disk, { unsynced: "kept" });
    const again = await openOn(disk);
    assert.equal(offsetForTimestamp(again, "orders", partition, 5_000), 2);
    await closeStore(again);
  });
});

it("compacting a topic that is deleted meanwhile tells that it was", async () => {
  const disk = simulatedDisk({ seed: 1 });
  const store = await openOn(disk);
  await createTopic(store, "prices", { cleanupPolicy: "compact" });
  for (let number = 0; number < 5; number++) {
    await append(store, "prices", { key: "tea", value: value(String(number)) });
  }
  const compaction = compactTopic(store, "prices").then(() => undefined, (error) => error);
  await withRunningClock(disk, deleteTopic(store, "prices"));
  const error = await withRunningClock(disk, compaction);
  if (error !== undefined) assert.ok(isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION"), error);
  assert.notEqual(error, undefined);
  await closeStore(store);
});
