/**
 * What recovery makes of a log after the machine has stopped: what is there is a prefix of what was
 * appended, whatever the disk kept of the rest, and it stays there.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  append,
  appendBatch,
  closeStore,
  createTopic,
  flush,
  isOttlaError,
  openStore,
  read,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import {
  filesOf,
  historyOf,
  killProcess,
  operationCountOf,
  powerCut,
  setFaults,
  simulatedDisk,
} from "../../src/testing/mod.ts";
import type { SimulatedDisk } from "../../src/testing/mod.ts";

const seedCount = 150;
/** With these the power cut leaves a hole, and good batches behind it. */
const holeSeeds = [9, 13, 23, 33, 35, 36];

function openOrders(disk: SimulatedDisk): Promise<Store> {
  return openStore("/data", {
    ...disk.process,
    diskFreeBytesMin: 0,
    topicOverrides: { segmentBytes: 3_000, indexIntervalBytes: 200 },
  });
}

/** Values of many sizes, so that batches begin and end anywhere in a sector. */
function valueOf(index: number): string {
  return `v${index} ${"x".repeat(index * 37 % 300)}`;
}

/** Some that are flushed, and some that are not. */
async function appendOrders(store: Store, flushedCount: number, count: number): Promise<void> {
  await createTopic(store, "orders", { retentionMs: -1 });
  for (let index = 0; index < count; index++) {
    await append(store, "orders", { value: valueOf(index) }, { ack: "os" });
    if (index === flushedCount - 1) await flush(store);
  }
}

/** Makes sure that a log is a prefix; returns how long it is. */
async function prefixOf(store: Store): Promise<number> {
  let count = 0;
  for await (const { offset, value } of read(store, "orders")) {
    assert.equal(offset, count);
    assert.equal(new TextDecoder().decode(value!), valueOf(offset));
    count++;
  }
  return count;
}

async function withSeeds(run: (disk: SimulatedDisk) => Promise<void>): Promise<void> {
  for (let seed = 0; seed < seedCount; seed++) {
    const disk = simulatedDisk({ seed });
    try {
      await run(disk);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error}\n${historyOf(disk).join("\n")}`, { cause: error });
    }
  }
}

describe("after a power cut", () => {
  it("a log ends at its first hole, and what lay behind is put aside", async () => {
    let asideCount = 0;
    await withSeeds(async (disk) => {
      await appendOrders(await openOrders(disk), 5, 20);
      powerCut(disk);
      const store = await openOrders(disk);
      const count = await prefixOf(store);
      assert.ok(count >= 5, `${count} of 5 are left`);
      const aside = filesOf(disk).filter(({ path }) => path.endsWith(".torn"));
      asideCount += aside.length;
      assert.equal(store.recovery.tornBytes > 0, aside.length > 0);
      await append(store, "orders", { value: valueOf(count) });
      powerCut(disk);
      const again = await openOrders(disk);
      assert.equal(await prefixOf(again), count + 1, "what recovery has shown stays");
      await closeStore(again);
    });
    assert.ok(asideCount > 10, `${asideCount} files put aside are too few for a test`);
  });

  it("a recovery that is killed at any operation is taken up by the next", async () => {
    for (const seed of holeSeeds) {
      for (let crashAt = 1;; crashAt++) {
        const disk = simulatedDisk({ seed });
        await appendOrders(await openOrders(disk), 5, 20);
        powerCut(disk);
        const start = operationCountOf(disk);
        setFaults(disk, {
          rule: ({ number }) => number === start + crashAt ? { crash: "killProcess" } : undefined,
        });
        const wasKilled = await openOrders(disk).then(() => false, () => true);
        setFaults(disk);
        if (!wasKilled) break;
        const store = await openOrders(disk);
        const count = await prefixOf(store);
        assert.ok(count >= 5, `seed ${seed}, operation ${crashAt}: ${count} of 5 are left`);
        powerCut(disk);
        const again = await openOrders(disk);
        assert.equal(await prefixOf(again), count, `seed ${seed}, operation ${crashAt}`);
        await closeStore(again);
      }
    }
  });
});

describe("after a failed sync", () => {
  it("what the next process shows survives a power cut", async () => {
    await withSeeds(async (disk) => {
      const store = await openOrders(disk);
      await appendOrders(store, 5, 8);
      setFaults(disk, {
        rule: ({ kind, path }) =>
          kind === "sync" && path.includes("orders-0") ? { code: "EIO" } : undefined,
      });
      await assert.rejects(
        appendBatch(store, "orders", [{ value: valueOf(8) }, { value: valueOf(9) }]),
        (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
      );
      setFaults(disk);
      killProcess(disk);
      const next = await openOrders(disk);
      assert.equal(await prefixOf(next), 10);
      powerCut(disk);
      const last = await openOrders(disk);
      assert.equal(await prefixOf(last), 10);
      await closeStore(last);
    });
  });
});
