/** Appending one record: what is stored, what is answered, and when. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { read, readBatches } from "../../src/client/read.ts";
import { topicOf } from "../../src/client/topic.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { isLogAppendTime } from "../../src/record/batch_view.ts";
import { flush } from "../../src/store/open_store.ts";
import { alterTopic, createTopic } from "../../src/store/topics.ts";
import { faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";
import {
  numberedText,
  recordsIn,
  settableClock,
  settled,
  textOf,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

const now = 1_750_000_000_000;

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

test("a record is stored whole: key, value, headers, timestamp", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions: 3 });
    const headers = [
      { key: "a", value: "text" },
      { key: "a", value: new Uint8Array([0, 255]) },
      { key: "", value: null },
    ];
    const placed = await append(store, "orders", {
      key: "ann",
      value: new Uint8Array([1, 2]),
      headers,
      timestamp: now - 5,
      partition: 2,
    });
    assert.deepEqual(placed, { topic: "orders", partition: 2, offset: 0, timestamp: now - 5 });
    const [record] = await recordsIn(store, "orders");
    assert.deepEqual(record, {
      topic: "orders",
      partition: 2,
      offset: 0,
      timestamp: now - 5,
      key: new TextEncoder().encode("ann"),
      value: new Uint8Array([1, 2]),
      headers: [
        { key: "a", value: new TextEncoder().encode("text") },
        { key: "a", value: new Uint8Array([0, 255]) },
        { key: "", value: null },
      ],
    });
  }, { clock: settableClock(now) });
});

test("what is left out is null, and the time is now", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    for (
      const record of [{}, { key: null, value: null, headers: [] }, {
        key: undefined,
        value: undefined,
      }]
    ) {
      assert.equal((await append(store, "orders", record)).timestamp, now);
    }
    await append(store, "orders", { key: "", value: new Uint8Array(0) });
    const seen = (await recordsIn(store, "orders")).map((
      { key, value },
    ) => [key?.length, value?.length]);
    assert.deepEqual(seen, [
      [undefined, undefined],
      [undefined, undefined],
      [undefined, undefined],
      [0, 0],
    ]);
  }, { clock: settableClock(now) });
});

test("records of one partition get offsets in the order of the calls", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const appends = numberedText(0, 200).map((value, index) =>
      append(store, "orders", { value }, { ack: (["disk", "os", "memory"] as const)[index % 3]! })
    );
    const offsets = (await Promise.all(appends)).map(({ offset }) => offset);
    assert.deepEqual(offsets, offsets.map((_, index) => index));
    assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 200));
  });
});

test("a record shows when its level is reached, and never before those in front of it", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    holdSyncs(disk);
    let isAcknowledged = false;
    const first = append(store, "orders", { value: "disk" });
    first.then(() => isAcknowledged = true);
    await append(store, "orders", { value: "os" }, { ack: "os" });
    await append(store, "orders", { value: "memory" }, { ack: "memory" });
    await settled();
    assert.equal(isAcknowledged, false);
    const [before] = offsetsOf(store, "orders");
    assert.deepEqual([before!.highWatermark, before!.endOffset], [0, 3]);
    assert.deepEqual(await valuesIn(store, "orders"), []);
    while (!isAcknowledged) {
      releaseSyncs(disk);
      await new Promise((done) => setTimeout(done, 0));
    }
    assert.deepEqual(await valuesIn(store, "orders"), ["disk", "os", "memory"]);
    disk.heldSyncs = undefined;
  }, { fileSystem: disk.fs });
});

test("the store's own level counts where none is given", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    holdSyncs(disk);
    assert.equal((await append(store, "orders", { value: "v0" })).offset, 0);
    assert.equal(releaseSyncs(disk), 0);
    disk.heldSyncs = undefined;
    await flush(store);
  }, { fileSystem: disk.fs, ack: "os" });
});

test("a signal that is aborted already appends nothing", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const reason = new Error("enough");
    const signal = AbortSignal.abort(reason);
    await assert.rejects(
      append(store, "orders", { value: "v" }, { signal }),
      (error) => error === reason,
    );
    await assert.rejects(
      appendBatch(store, "orders", [{ value: "v" }], { signal }),
      (error) => error === reason,
    );
    assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 0);
  });
});

test("a signal ends the waiting; what is appended stays appended", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    holdSyncs(disk);
    const controller = new AbortController();
    const waiting = append(store, "orders", { value: "v0" }, { signal: controller.signal });
    await settled();
    controller.abort();
    await assert.rejects(waiting, { name: "AbortError" });
    releaseSyncs(disk);
    disk.heldSyncs = undefined;
    await append(store, "orders", { value: "v1" }, { signal: new AbortController().signal });
    assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1"]);
  }, { fileSystem: disk.fs });
});

test("a signal that the records' own code aborts ends the waiting too", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    holdSyncs(disk);
    const controller = new AbortController();
    function* records(): Generator<{ value: string }> {
      yield { value: "v0" };
      controller.abort();
    }
    const waiting = appendBatch(store, "orders", records(), { signal: controller.signal });
    await assert.rejects(waiting, { name: "AbortError" });
    await settled();
    releaseSyncs(disk);
    disk.heldSyncs = undefined;
  }, { fileSystem: disk.fs });
});

test("timestamps: a Date, none, and how far from now they may be", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", {
      messageTimestampBeforeMaxMs: 1000,
      messageTimestampAfterMaxMs: 2000,
    });
    const stampOf = async (timestamp: number | Date): Promise<number> =>
      (await append(store, "orders", { value: "v", timestamp })).timestamp;
    assert.equal(await stampOf(new Date(now)), now);
    assert.equal(await stampOf(-1), -1);
    assert.equal(await stampOf(now - 1000), now - 1000);
    assert.equal(await stampOf(now + 2000), now + 2000);
    for (const timestamp of [0, now - 1001, now + 2001, new Date(0)]) {
      await assert.rejects(stampOf(timestamp), hasCode("INVALID_TIMESTAMP"), String(timestamp));
    }
    assert.equal(offsetsOf(store, "orders")[0]!.endOffset, 4);
  }, { clock: settableClock(now) });
});

test("a topic may stamp records itself, whatever time they claim", async () => {
  const clock = settableClock(now);
  await withStore(async (store) => {
    await createTopic(store, "orders", {
      timestampType: "LogAppendTime",
      messageTimestampAfterMaxMs: 0,
    });
    assert.equal((await append(store, "orders", { value: "v", timestamp: 5 })).timestamp, now);
    clock.nowMs += 10;
    const [batch] = await appendBatch(store, "orders", [
      { value: "v", timestamp: now + 99_999_999 },
      { value: "v" },
    ]);
    assert.equal(batch!.maxTimestamp, now + 10);
    const stamps = (await recordsIn(store, "orders")).map(({ timestamp }) => timestamp);
    assert.deepEqual(stamps, [now, now + 10, now + 10]);
    for await (const view of readBatches(store, "orders")) assert.ok(isLogAppendTime(view));
  }, { clock });
});

test("a compacted topic takes no record without a key, and a null value is a tombstone", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { cleanupPolicy: "compact" });
    await assert.rejects(append(store, "orders", { value: "v" }), hasCode("INVALID_RECORD"));
    await assert.rejects(
      appendBatch(store, "orders", [{ key: "a", value: "v" }, { value: "v" }]),
      hasCode("INVALID_RECORD"),
    );
    assert.equal((await append(store, "orders", { key: "a", value: null })).offset, 0);
  });
});

test("a record that is too large is refused, whatever else fits", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders", { maxMessageBytes: 1000 });
    await append(store, "orders", { value: "x".repeat(900) });
    const error = await append(store, "orders", { value: "x".repeat(1000) }).catch((error) =>
      error
    );
    assert.ok(isOttlaError(error, "MESSAGE_TOO_LARGE"));
    assert.equal(error.kafkaCode, 10);
    assert.equal(error.details.maxMessageBytes, 1000);
    await append(store, "orders", { value: "x" });
    assert.deepEqual((await valuesIn(store, "orders")).map((value) => value.length), [900, 1]);
    await alterTopic(store, "orders", { compression: "gzip" });
    await append(store, "orders", { value: "x".repeat(5000) });
  });
});

test("topics with types store what their serdes make of keys and values", async () => {
  const orders = topicOf<string, { amount: number }>("orders");
  await withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, orders, { key: "ann", value: { amount: 3 } });
    await append(store, orders, { key: null, value: null });
    await appendBatch(store, orders, [{ key: "bob", value: { amount: 4 } }]);
    const seen: unknown[] = [];
    for await (const { key, value } of read(store, orders)) seen.push([key, value]);
    assert.deepEqual(seen, [["ann", { amount: 3 }], [null, null], ["bob", { amount: 4 }]]);
  });
});

test("a serde that appends to the same topic does not get into the record it is making", async () => {
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const inner: Promise<unknown>[] = [];
    const value = {
      name: "recursive",
      serialize(text: string): Uint8Array {
        if (text.length < 3) inner.push(append(store, topic, { value: `${text}+` }, { ack: "os" }));
        return new TextEncoder().encode(text);
      },
      deserialize: (bytes: Uint8Array): string => textOf(bytes),
    };
    const topic = topicOf<null, string>("orders", { value });
    const outer = await append(store, topic, { value: "a" }, { ack: "os" });
    await Promise.all(inner);
    assert.equal(outer.offset, 2);
    assert.deepEqual(await valuesIn(store, "orders"), ["a++", "a+", "a"]);
  });
});
