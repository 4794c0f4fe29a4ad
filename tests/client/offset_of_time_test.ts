/** Looking for a time on a disk that fails: whoever asks gets an error of the store. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  append,
  closeStore,
  createTopic,
  offsetForTimestamp,
  openConsumer,
  openStore,
  read,
  resetOffsets,
  seek,
} from "../../mod.ts";
import type { Consumer, Store } from "../../mod.ts";
import { setFaults, simulatedDisk } from "../../src/testing/mod.ts";

const now = 1_700_000_000_000;
const time = new Date(now - 5);
const partitions = [{ topic: "orders", partition: 0 }];

interface Asked {
  readonly store: Store;
  readonly consumer: Consumer;
}

const asking: readonly [string, (asked: Asked) => unknown][] = [
  ["offsetForTimestamp", ({ store }) => offsetForTimestamp(store, "orders", 0, time)],
  ["read from a time", ({ store }) => read(store, "orders", { partition: 0, from: time })],
  ["read to a time", ({ store }) => read(store, "orders", { partition: 0, to: time })],
  ["seek", ({ consumer }) => seek(consumer, "orders", 0, time)],
  ["resetOffsets", ({ store }) => resetOffsets(store, "search", { topic: "orders", to: time })],
];

describe("a time on a disk that fails", () => {
  for (const [name, ask] of asking) {
    it(`has ${name} fail with an error of the store, and is found when the disk is well`, async () => {
      const disk = simulatedDisk({ seed: 1 });
      const store = await openStore("/data", { ...disk.process, diskFreeBytesMin: 0 });
      await createTopic(store, "orders");
      for (let age = 10; age > 0; age--) {
        await append(store, "orders", { value: "one", timestamp: now - age });
      }
      const consumer = await openConsumer(store, { partitions });
      const asked = { store, consumer };
      setFaults(disk, { rule: ({ kind }) => kind === "read" ? { code: "EIO" } : undefined });
      await assert.rejects(async () => await ask(asked), {
        name: "OttlaError",
        code: "KAFKA_STORAGE_ERROR",
        message:
          "Cannot find a time in orders-0: EIO: read /data/orders-0/00000000000000000000.log",
      });
      setFaults(disk);
      await ask(asked);
      assert.equal(offsetForTimestamp(store, "orders", 0, time), 5);
      await closeStore(store);
    });
  }
});
