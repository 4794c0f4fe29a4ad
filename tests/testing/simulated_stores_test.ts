/** Stores on a simulated disk: what was acknowledged is there after every crash, by many seeds. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  append,
  closeStore,
  commitOffsets,
  committedOffsets,
  createTopic,
  deleteTopic,
  flush,
  listTopics,
  offsetsOf,
  openStore,
  read,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import type { SeededRandom, SimulatedDisk } from "../../src/testing/mod.ts";
import {
  filesOf,
  historyOf,
  killProcess,
  openHandlesOf,
  operationCountOf,
  powerCut,
  seededRandom,
  setFaults,
  simulatedDisk,
} from "../../src/testing/mod.ts";
import { filled, syncWhole, withRunningClock, writeAt } from "../support/simulated_disk_fixture.ts";

const livesMax = 3;

/** What a program knows to be true of its store. */
interface Known {
  /** Values that were acknowledged, by partition, or found after a crash. */
  readonly values: readonly Set<string>[];
  committedOffset: number;
}

function nothingKnown(): Known {
  return { values: [new Set(), new Set()], committedOffset: -1 };
}

async function openOrders(disk: SimulatedDisk, ack: "disk" | "os"): Promise<Store> {
  const store = await openStore("/data", {
    ...disk.process,
    ack,
    diskFreeBytesMin: 0,
    topicOverrides: { segmentBytes: 2_000, indexIntervalBytes: 200 },
  });
  await createTopic(store, "orders", { partitions: 2, ifNotExists: true });
  return store;
}

/** Appends one after the other, several at once, and commits offsets, until something fails. */
async function live(store: Store, known: Known, random: SeededRandom, name: string): Promise<void> {
  const stepCount = random.below(25);
  for (let step = 0; step < stepCount; step++) {
    if (random.chance(0.1)) {
      const { endOffset = 0 } = offsetsOf(store, "orders")[0] ?? {};
      const offset = Math.min(known.committedOffset + 1, endOffset);
      await commitOffsets(store, "billing", [{ topic: "orders", partition: 0, offset }]);
      known.committedOffset = offset;
      continue;
    }
    const sent = Array.from({ length: 1 + random.below(3) }, async (_, index) => {
      const partition = random.below(2);
      const value = `${name}.${step}.${index} ${"x".repeat(random.below(700))}`;
      await append(store, "orders", { partition, value });
      known.values[partition]!.add(value);
    });
    await Promise.all(sent);
  }
}

/** Reads a partition: its offsets leave nothing out. */
async function valuesOf(store: Store, partition: number): Promise<string[]> {
  const values: string[] = [];
  for await (const { offset, value } of read(store, "orders", { partition })) {
    assert.equal(offset, values.length);
    values.push(new TextDecoder().decode(value!));
  }
  return values;
}

/** Reads everything, and makes sure that nothing is missing and nothing is there twice. */
async function check(store: Store, known: Known): Promise<void> {
  for (const [partition, values] of known.values.entries()) {
    const list = await valuesOf(store, partition);
    const found = new Set(list);
    assert.equal(found.size, list.length);
    const lost = [...values].filter((value) => !found.has(value));
    assert.deepEqual(lost.map((value) => value.slice(0, 12)), []);
    for (const value of found) values.add(value);
  }
  const [committed] = await committedOffsets(store, "billing");
  assert.ok((committed?.offset ?? -1) >= known.committedOffset);
  known.committedOffset = committed?.offset ?? -1;
}

/** Runs, and adds to an error what is needed to see it again. */
async function withHistory(disk: SimulatedDisk, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const { seed } = disk;
    throw new Error(`seed ${seed}: ${error}\n${historyOf(disk).join("\n")}`, { cause: error });
  }
}

async function surviveCrashes(
  seed: number,
  ack: "disk" | "os",
  crash: (disk: SimulatedDisk) => void,
): Promise<void> {
  const disk = simulatedDisk({ seed });
  await withHistory(disk, async () => {
    const random = seededRandom(seed).fork("program");
    const known = nothingKnown();
    for (let life = 0; life < livesMax; life++) {
      const store = await openOrders(disk, ack);
      await check(store, known);
      const crashAt = operationCountOf(disk) + 1 + random.below(120);
      setFaults(disk, {
        // Half of the disks are slow.
        syncMsMax: 4 * (seed % 2),
        rule: ({ number }) => void (number === crashAt && crash(disk)),
      });
      const living = live(store, known, random, String(life)).then(() => true, () => false);
      const isDone = await withRunningClock(disk, living);
      setFaults(disk);
      if (isDone && random.chance(0.3)) {
        await withRunningClock(disk, closeStore(store).catch(() => {}));
      }
      crash(disk);
    }
    const store = await openOrders(disk, ack);
    await check(store, known);
    await closeStore(store);
    assert.deepEqual(openHandlesOf(disk), []);
    assert.equal(disk.clock.timerCount(), 0);
    assert.deepEqual(filesOf(disk).filter(({ path }) => path.includes("lock.tmp")), []);
  });
}

describe("a store", () => {
  it(`loses nothing acknowledged at "disk" in 500 runs of power cuts`, async () => {
    for (let seed = 0; seed < 500; seed++) await surviveCrashes(seed, "disk", powerCut);
  });

  it(`loses nothing acknowledged at "os" in 200 runs of killed processes`, async () => {
    for (let seed = 0; seed < 200; seed++) await surviveCrashes(seed, "os", killProcess);
  });

  for (const [ended, end] of [["closed properly", closeStore], ["flushed", flush]] as const) {
    it(`${ended} has everything after a power cut, whatever it was acknowledged at`, async () => {
      for (let seed = 0; seed < 100; seed++) {
        const disk = simulatedDisk({ seed });
        await withHistory(disk, async () => {
          const known = nothingKnown();
          const store = await openOrders(disk, "os");
          await live(store, known, seededRandom(seed), "first");
          await end(store);
          powerCut(disk);
          const again = await openOrders(disk, "os");
          assert.equal(again.recovery.wasClean, end === closeStore);
          await check(again, known);
          await closeStore(again);
        });
      }
    });
  }

  it("keeps what it acknowledged when the disk fails on the way", async () => {
    for (let seed = 0; seed < 200; seed++) {
      const disk = simulatedDisk({ seed });
      await withHistory(disk, async () => {
        const random = seededRandom(seed).fork("program");
        const known = nothingKnown();
        for (let life = 0; life < livesMax; life++) {
          const store = await openOrders(disk, "disk");
          await check(store, known);
          setFaults(disk, {
            probabilities: {
              write: 0.05,
              sync: 0.05,
              truncate: 0.02,
              open: 0.02,
              syncFolder: 0.05,
            },
          });
          await live(store, known, random, String(life)).catch(() => {});
          setFaults(disk);
          powerCut(disk);
        }
        const store = await openOrders(disk, "disk");
        await check(store, known);
        await closeStore(store);
      });
    }
  });

  it("keeps what it acknowledged when the disk is full, and goes on when there is room", async () => {
    for (let seed = 0; seed < 50; seed++) {
      const disk = simulatedDisk({ seed, capacityBytes: 120_000 });
      await withHistory(disk, async () => {
        const random = seededRandom(seed).fork("program");
        const known = nothingKnown();
        const store = await openOrders(disk, "disk");
        writeAt(disk.fileSystem, "/others", filled(40_000, 1));
        syncWhole(disk.fileSystem, "/others");
        for (let round = 0; round < 40; round++) {
          await live(store, known, random, String(round)).catch(() => {});
        }
        assert.equal(disk.fileSystem.freeBytes("/") < 8_192, true);
        await check(store, known);
        powerCut(disk);
        // An opening writes a few files.
        disk.fileSystem.remove("/others");
        const again = await openOrders(disk, "disk");
        await check(again, known);
        await deleteTopic(again, "orders");
        await createTopic(again, "orders");
        await append(again, "orders", { value: "room again" });
        await closeStore(again);
      });
    }
  });
});

describe("topics", () => {
  /** Each of these has happened when it has resolved. */
  async function changeTopics(store: Store, settled: Set<string>): Promise<void> {
    await createTopic(store, "first");
    settled.add("first");
    await append(store, "first", { value: "one" });
    await createTopic(store, "second", { partitions: 2 });
    settled.add("second");
    await append(store, "second", { value: "one" });
    settled.delete("first");
    await deleteTopic(store, "first");
    settled.add("no first");
    settled.delete("no first");
    await createTopic(store, "first");
    settled.add("first");
    await append(store, "first", { value: "again" });
    await closeStore(store);
  }

  for (const crash of ["powerCut", "killProcess"] as const) {
    it(`are there or not, as they were acknowledged, at every operation (${crash})`, async () => {
      const whole = simulatedDisk({ seed: 0 });
      await changeTopics(await openStore("/data", whole.process), new Set());
      const operationCount = operationCountOf(whole);
      assert.ok(operationCount > 100);
      for (let crashAt = 1; crashAt <= operationCount; crashAt++) {
        for (const seed of [crashAt, crashAt + 10_000]) await crashAndCheck(seed, crashAt, crash);
      }
    });
  }

  async function crashAndCheck(
    seed: number,
    crashAt: number,
    crash: "powerCut" | "killProcess",
  ): Promise<void> {
    const disk = simulatedDisk({
      seed,
      faults: { rule: ({ number }) => number === crashAt ? { crash } : undefined },
    });
    await withHistory(disk, async () => {
      const settled = new Set<string>();
      await openStore("/data", disk.process)
        .then((store) => changeTopics(store, settled))
        .catch(() => {});
      setFaults(disk);
      const store = await openStore("/data", disk.process);
      const names = new Set((await listTopics(store)).map((topic) => String(nameOf(topic))));
      for (const name of ["first", "second"]) {
        if (settled.has(name)) assert.ok(names.has(name), name);
      }
      if (settled.has("no first")) assert.ok(!names.has("first"));
      await createTopic(store, "first", { ifNotExists: true });
      await append(store, "first", { value: "afterwards" });
      const values: string[] = [];
      for await (const { value } of read(store, "first")) {
        values.push(new TextDecoder().decode(value!));
      }
      assert.equal(values.at(-1), "afterwards");
      assert.ok(
        !(values.includes("one") && values.includes("again")),
        "nothing of a deleted topic",
      );
      await closeStore(store);
      assert.deepEqual(openHandlesOf(disk), []);
    });
  }

  function nameOf(topic: unknown): unknown {
    return typeof topic === "string" ? topic : (topic as { name: string }).name;
  }
});
