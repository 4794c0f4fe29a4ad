/** How much of a disk is kept from appends, and how often the disk is asked. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  append,
  appendBatch,
  closeStore,
  createTopic,
  isOttlaError,
  offsetsOf,
  openProducer,
  openStore,
  send,
} from "../../mod.ts";
import type { Ack, Store, StoreOptions } from "../../mod.ts";
import { systemClock } from "../../src/platform/clock.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { diskAskMs, diskFreeBytesMinDefault } from "../../src/store/disk_space.ts";
import type { ManualClock } from "../../src/testing/mod.ts";
import { manualClock } from "../../src/testing/mod.ts";
import { numbered, valuesIn } from "../support/store_fixture.ts";

const mebibyte = 1024 * 1024;
const kibibyteText = "x".repeat(1024);

/** A disk that has as much room as the test says, and counts how often it is asked. */
interface AskedDisk {
  readonly fs: FileSystem;
  readonly clock: ManualClock;
  freeBytes: number;
  askCount: number;
}

function askedDisk(freeBytes: number): AskedDisk {
  const disk: AskedDisk = {
    fs: {
      ...memoryFileSystem(),
      freeBytes() {
        disk.askCount++;
        return disk.freeBytes;
      },
    },
    clock: manualClock(),
    freeBytes,
    askCount: 0,
  };
  return disk;
}

/** Runs with a store on a disk that has a topic, and has not been asked yet. */
async function withOrders(
  disk: AskedDisk,
  options: StoreOptions,
  run: (store: Store) => Promise<void>,
): Promise<void> {
  const store = await openStore("/store", { fileSystem: disk.fs, clock: disk.clock, ...options });
  try {
    await createTopic(store, "orders", { partitions: 2 });
    disk.askCount = 0;
    await run(store);
  } finally {
    await closeStore(store);
  }
}

function isRefused(error: unknown): boolean {
  return isOttlaError(error, "DISK_FULL") && error.details["diskFreeBytesMin"] !== undefined;
}

describe("room on a disk", () => {
  for (const ack of ["disk", "os", "memory"] as const satisfies Ack[]) {
    it(`refuses appends at ${ack} that would leave too little, until there is more`, async () => {
      const disk = askedDisk(mebibyte + 2_000);
      await withOrders(disk, { diskFreeBytesMin: mebibyte, ack }, async (store) => {
        const record = { value: kibibyteText, partition: 0 };
        await append(store, "orders", record);
        disk.freeBytes = mebibyte + 900;
        await assert.rejects(append(store, "orders", record), {
          code: "DISK_FULL",
          retriable: true,
          message:
            "Cannot append 1094 bytes to orders-0: the disk of /store has 1049476 bytes free, " +
            "of which diskFreeBytesMin keeps 1048576",
        });
        assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 1);
        await append(store, "orders", { value: "a small one", partition: 0 });
        disk.freeBytes = mebibyte + 2_000;
        assert.equal((await append(store, "orders", record)).offset, 2);
      });
    });
  }

  it("refuses many records at once as a whole", async () => {
    const disk = askedDisk(mebibyte + 3_000);
    await withOrders(disk, { diskFreeBytesMin: mebibyte }, async (store) => {
      const records = [0, 0, 1, 1].map((partition) => ({ value: kibibyteText, partition }));
      await assert.rejects(
        appendBatch(store, "orders", records),
        /^OttlaError: Cannot append \d+ bytes to orders: /,
      );
      assert.deepEqual(await valuesIn(store, "orders"), []);
      await appendBatch(store, "orders", records.slice(0, 2));
      assert.equal((await valuesIn(store, "orders")).length, 2);
    });
  });

  it("lets producers wait for it, and stores what they sent once and in order", async () => {
    const disk = askedDisk(mebibyte);
    await withOrders(disk, { diskFreeBytesMin: mebibyte }, async (store) => {
      const producer = openProducer(store, { lingerMs: 0, retryBackoffMs: 10 });
      const sent = numbered(0, 5).map((record) =>
        send(producer, "orders", { ...record, partition: 0 })
      );
      await disk.clock.advance(5_000);
      assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 0);
      disk.freeBytes = 2 * mebibyte;
      await disk.clock.advance(5_000);
      assert.deepEqual((await Promise.all(sent)).map(({ offset }) => offset), [0, 1, 2, 3, 4]);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1", "v2", "v3", "v4"]);
    });
  });

  it("fails sends whose time is over with what was in their way", async () => {
    const disk = askedDisk(0);
    await withOrders(disk, { diskFreeBytesMin: mebibyte }, async (store) => {
      const producer = openProducer(store, { lingerMs: 0, deliveryTimeoutMs: 1_000 });
      const sent = send(producer, "orders", { value: "v0" });
      const failed = assert.rejects(sent, (error) =>
        isRefused(error) ||
        (isOttlaError(error, "REQUEST_TIMED_OUT") && isRefused(error.cause)));
      await disk.clock.advance(2_000);
      await failed;
    });
  });

  it("is asked for once a second, whoever else takes of it", async () => {
    const disk = askedDisk(100 * mebibyte);
    await withOrders(disk, { diskFreeBytesMin: mebibyte, ack: "os" }, async (store) => {
      for (let count = 0; count < 20; count++) await append(store, "orders", { value: "v" });
      assert.equal(disk.askCount, 1);
      disk.freeBytes = 0;
      await disk.clock.advance(diskAskMs - 1);
      await append(store, "orders", { value: "v" });
      assert.equal(disk.askCount, 1);
      await disk.clock.advance(1);
      await assert.rejects(append(store, "orders", { value: "v" }), isRefused);
    });
  });

  it("is asked for again when the clock was set back", async () => {
    const disk = askedDisk(100 * mebibyte);
    const clock = { ...systemClock(), nowMs: 10_000_000, now: (): number => clock.nowMs };
    await withOrders(disk, { diskFreeBytesMin: mebibyte, clock }, async (store) => {
      await append(store, "orders", { value: "v" });
      disk.freeBytes = 0;
      clock.nowMs = 5_000_000;
      await assert.rejects(append(store, "orders", { value: "v" }), isRefused);
    });
  });

  it("is asked for after a sixteenth of what is kept", async () => {
    const disk = askedDisk(100 * mebibyte);
    await withOrders(disk, { diskFreeBytesMin: 16 * mebibyte, ack: "os" }, async (store) => {
      const value = "x".repeat(100_000);
      for (let count = 0; count < 105; count++) await append(store, "orders", { value });
      // The first one, and ten at every 1,048,576 bytes.
      assert.equal(disk.askCount, 11);
    });
  });

  it("is counted between two answers", async () => {
    const disk = askedDisk(mebibyte + 3_000);
    await withOrders(disk, { diskFreeBytesMin: mebibyte, ack: "os" }, async (store) => {
      const record = { value: kibibyteText, partition: 0 };
      await append(store, "orders", record);
      await append(store, "orders", record);
      assert.equal(disk.askCount, 1);
      disk.freeBytes = mebibyte + 3_000 - 2_194;
      await assert.rejects(append(store, "orders", record), isRefused);
      assert.equal(disk.askCount, 2);
    });
  });

  it("is 16 MiB unless another size is given, and none for 0", async () => {
    assert.equal(diskFreeBytesMinDefault, 16 * mebibyte);
    const disk = askedDisk(diskFreeBytesMinDefault);
    await withOrders(disk, {}, async (store) => {
      await assert.rejects(append(store, "orders", { value: "v" }), isRefused);
    });
    await withOrders(askedDisk(0), { diskFreeBytesMin: 0 }, async (store) => {
      await append(store, "orders", { value: "v" });
      assert.deepEqual(await valuesIn(store, "orders"), ["v"]);
    });
  });

  it("is not missed where the disk does not tell", async () => {
    const disk = askedDisk(0);
    const freeBytes = (): number => {
      throw Object.assign(new Error("ENOSYS: function not implemented"), { code: "ENOSYS" });
    };
    const fileSystem = { ...disk.fs, freeBytes };
    await withOrders(disk, { fileSystem }, async (store) => {
      await append(store, "orders", { value: "v" });
      assert.deepEqual(await valuesIn(store, "orders"), ["v"]);
    });
  });

  it("is unlimited in memory", async () => {
    const store = await openStore(":memory:", { diskFreeBytesMin: Number.MAX_SAFE_INTEGER - 1e12 });
    await createTopic(store, "orders");
    await append(store, "orders", { value: "v" });
    await closeStore(store);
  });

  for (const [wrong, name] of [[-1, RangeError], [0.5, RangeError], ["1", TypeError]] as const) {
    it(`cannot be ${JSON.stringify(wrong)}`, async () => {
      const options = { diskFreeBytesMin: wrong } as StoreOptions;
      await assert.rejects(
        openStore(":memory:", options),
        (error) => error instanceof name && /^diskFreeBytesMin must be/.test(error.message),
      );
    });
  }
});
