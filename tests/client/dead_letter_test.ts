/** Dead letters that cannot be what the record was, or come into trouble: no record is lost with them. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { consumeEach } from "../../src/client/consume_each.ts";
import { closeConsumer } from "../../src/client/consumer.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { powerCut, simulatedDisk } from "../../src/testing/mod.ts";
import { failNext, faultyDisk } from "../support/faulty_file_system.ts";
import { recordsIn, settled, textOf, withStore } from "../support/store_fixture.ts";
import { committed, worker } from "../support/workers.ts";

function headersOf({ headers }: LogRecord): Record<string, string> {
  return Object.fromEntries(headers.map(({ key, value }) => [key, textOf(value)]));
}

/** Handles until so many records are in the dead letter topic. */
async function failEach(
  store: Store,
  consumer: Consumer,
  count: number,
  error: unknown,
): Promise<void> {
  const options = { retriesMax: 0, deadLetterTopic: "dead" };
  const handling = consumeEach(consumer, () => Promise.reject(error), options);
  let isOver = false;
  handling.finally(() => isOver = true).catch(() => {});
  while (!isOver && (await recordsIn(store, "dead")).length < count) await settled();
  await closeConsumer(consumer);
  await handling;
}

describe("a record that is too large for the dead letter topic", () => {
  const headers = [{ key: "trace", value: "t".repeat(1_000) }];
  for (
    const [what, record] of [
      ["by its value", { value: "x".repeat(1_000) }],
      ["by its key", { key: "k".repeat(1_000), value: "x" }],
      ["by its headers", { value: "x", headers }],
    ] as const
  ) {
    it(`${what} is named there, and those behind it are handled`, async () => {
      await withStore(async (store) => {
        await createTopic(store, "jobs");
        await createTopic(store, "dead", { maxMessageBytes: 1_000 });
        await append(store, "jobs", record);
        await append(store, "jobs", { key: "b", value: "small" });
        await failEach(store, await worker(store), 2, new Error("no"));
        const letters = await recordsIn(store, "dead");
        const [large, small] = letters.sort((a, b) => a.headers.length < b.headers.length ? 1 : -1);
        assert.deepEqual([large!.key, large!.value, textOf(small!.value)], [null, null, "small"]);
        const { "dlt.omitted": omitted, ...rest } = headersOf(large!);
        assert.match(omitted!, /^Cannot append a record to dead-0: .* at most 1000 are allowed/);
        assert.deepEqual(Object.keys(rest), Object.keys(headersOf(small!)));
        assert.deepEqual([rest["dlt.topic"], rest["dlt.offset"]], ["jobs", "0"]);
        assert.equal(await committed(store), 2);
      });
    });
  }
});

describe("a dead letter", () => {
  it("tells of an error as much as has room", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead");
      await append(store, "jobs", { value: "x" });
      const error = new Error("m".repeat(2_000_000));
      error.name = "n".repeat(2_000_000);
      await failEach(store, await worker(store), 1, error);
      const [letter] = await recordsIn(store, "dead");
      const { "dlt.error.name": name, "dlt.error.message": message } = headersOf(letter!);
      assert.deepEqual([textOf(letter!.value), name, message], [
        "x",
        "n".repeat(4_096),
        "m".repeat(4_096),
      ]);
    });
  });

  it("that the disk does not take ends it, and the record is not passed over", async () => {
    const disk = faultyDisk();
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead");
      await append(store, "jobs", { value: "x" });
      failNext(disk, { operation: "write", code: "ENOSPC", path: "/dead-0/" });
      const failing = failEach(store, await worker(store), 1, new Error("no"));
      await assert.rejects(failing, { code: "DISK_FULL" });
      assert.equal(await committed(store) ?? 0, 0);
      await failEach(store, await worker(store), 1, new Error("no"));
      assert.equal(await committed(store), 1);
    }, { fileSystem: disk.fs, diskFreeBytesMin: 0 });
  });

  it("is on disk before the commit behind its record is", async () => {
    const disk = simulatedDisk({ seed: 3 });
    const options: StoreOptions = { ...disk.process, diskFreeBytesMin: 0, ack: "memory" };
    let store = await openStore("/data", options);
    await createTopic(store, "jobs");
    await createTopic(store, "dead");
    await append(store, "jobs", { value: "x" }, { ack: "disk" });
    await failEach(store, await worker(store, { ack: "disk" }), 1, new Error("no"));
    powerCut(disk);
    store = await openStore("/data", { ...disk.process, diskFreeBytesMin: 0 });
    assert.deepEqual([await committed(store), (await recordsIn(store, "dead")).length], [1, 1]);
    await closeStore(store);
  });
});
