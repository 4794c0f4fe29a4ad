/** Producers: where records go, in which order and batches, and what is refused. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { AppendRecord } from "../../src/client/append.ts";
import { appendBatch } from "../../src/client/append.ts";
import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { ProducerOptions, SendOptions } from "../../src/client/producer_options.ts";
import type { Producer } from "../../src/client/producer_state.ts";
import { readBatches } from "../../src/client/read.ts";
import { json, utf8 } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { compressionOfBatch } from "../../src/record/batch_view.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import {
  numbered,
  numberedText,
  recordsIn,
  valuesIn,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

/** How many records each batch of a partition has. */
async function batchSizes(store: Store, topic: string, partition = 0): Promise<number[]> {
  const sizes: number[] = [];
  for await (const batch of readBatches(store, topic, { partition })) sizes.push(batch.recordCount);
  return sizes;
}

function failsWith(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

describe("sending", () => {
  for (const kind of ["disk", "memory"] as const) {
    it(`stores records in the order of send, at every level (${kind})`, async () => {
      await withFolder(async (folder) => {
        const store = await openStore(kind === "disk" ? folder : ":memory:");
        await createTopic(store, "orders");
        const producer = openProducer(store);
        const acks = [undefined, "os", "memory", "disk"] as const;
        const sent = numbered(0, 200).map((record, index) =>
          send(producer, "orders", record, { ack: acks[(index >> 2) % 4] })
        );
        const offsets = (await Promise.all(sent)).map(({ offset }) => offset);
        assert.deepEqual(offsets, Array.from({ length: 200 }, (_, index) => index));
        assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 200));
        await closeStore(store);
      });
    });
  }

  it("puts everything of one turn into a batch, and what comes later into another", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store);
      const sent = [send(producer, "orders", { value: "a" })];
      await Promise.resolve();
      sent.push(send(producer, "orders", { value: "b" }), send(producer, "orders", { value: "c" }));
      await Promise.all(sent);
      await send(producer, "orders", { value: "d" });
      assert.deepEqual(await batchSizes(store, "orders"), [3, 1]);
    });
  });

  it("begins another batch when one is full or another level is asked for", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store, { batchBytes: 200 });
      const value = "x".repeat(50);
      for (let n = 0; n < 4; n++) send(producer, "orders", { value });
      await flushProducer(producer);
      assert.deepEqual(await batchSizes(store, "orders"), [2, 2]);
      for (const ack of ["os", "memory", "memory"] as const) {
        send(producer, "orders", { value: "y" }, { ack });
      }
      await flushProducer(producer);
      assert.deepEqual(await batchSizes(store, "orders"), [2, 2, 1, 2]);
    });
  });

  it("writes full batches at once, so that a long turn takes no more than its batches", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store, { ack: "os", batchBytes: 1000, bufferBytes: 20_000 });
      await send(producer, "orders", { value: "first" });
      for (let n = 0; n < 1000; n++) send(producer, "orders", { value: "x".repeat(100) });
      await flushProducer(producer);
      assert.equal((await recordsIn(store, "orders")).length, 1001);
    });
  });

  it("keeps headers, timestamps and explicit partitions", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 3 });
      const producer = openProducer(store);
      const headers = [{ key: "h", value: "one" }, { key: "h", value: null }];
      const placed = await send(producer, "orders", {
        key: "k",
        value: null,
        headers,
        timestamp: new Date(1_700_000_000_000),
        partition: 2,
      });
      const timestamp = 1_700_000_000_000;
      assert.deepEqual(placed, { topic: "orders", partition: 2, offset: 0, timestamp });
      const [record] = await recordsIn(store, "orders", { partition: 2 });
      assert.equal(record!.timestamp, timestamp);
      assert.deepEqual(
        record!.headers.map(({ value }) => value === null ? null : utf8.deserialize(value)),
        ["one", null],
      );
    });
  });

  it("gives the time of appending where the topic stamps records with it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { timestampType: "LogAppendTime" });
      const producer = openProducer(store);
      const { timestamp } = await send(producer, "orders", { value: "a", timestamp: 5 });
      assert.ok(timestamp > 1_700_000_000_000);
      assert.equal((await recordsIn(store, "orders"))[0]!.timestamp, timestamp);
    });
  });

  it("takes topics with types", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const orders = topicOf<string, { amount: number }>("orders", { key: utf8, value: json() });
      const producer = openProducer(store);
      await send(producer, orders, { key: "ann", value: { amount: 3 } });
      assert.deepEqual(await valuesIn(store, "orders"), ['{"amount":3}']);
      // @ts-expect-error: a text is no value of this topic
      const wrong = send(producer, orders, { key: "ann", value: "3" });
      await wrong;
    });
  });

  it("compresses as the producer says, or else the topic", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { compression: "gzip" });
      const value = "x".repeat(500);
      await send(openProducer(store), "orders", { value });
      await send(openProducer(store, { compression: "zstd" }), "orders", { value });
      await send(openProducer(store, { compression: "none" }), "orders", { value });
      const found: string[] = [];
      for await (const batch of readBatches(store, "orders")) found.push(compressionOfBatch(batch));
      assert.deepEqual(found, ["gzip", "zstd", "none"]);
      assert.deepEqual(await valuesIn(store, "orders"), [value, value, value]);
    });
  });
});

describe("partitioners", () => {
  async function partitionsOf(
    options: ProducerOptions,
    records: readonly AppendRecord[],
    store: Store,
  ): Promise<number[]> {
    const producer = openProducer(store, { ack: "os", ...options });
    const placed = await Promise.all(records.map((record) => send(producer, "orders", record)));
    return placed.map(({ partition }) => partition);
  }

  it("agree with appendBatch and with Kafka's Java clients where they go by keys", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 10 });
      const keyed = ["a", "ab", "key", "0"].map((key) => ({ key, value: "v" }));
      assert.deepEqual(await partitionsOf({ partitioner: "murmur2" }, keyed, store), [4, 4, 1, 6]);
      const own = await partitionsOf({}, keyed, store);
      for (const [index, record] of keyed.entries()) {
        const [placed] = await appendBatch(store, "orders", [record]);
        assert.equal(own[index], placed!.partition);
      }
    });
  });

  it("stay with a partition, go around, choose by chance or ask a function", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 4 });
      const small = Array.from({ length: 12 }, () => ({ value: "v" }));
      assert.equal(new Set(await partitionsOf({}, small, store)).size, 1);
      const large = Array.from({ length: 12 }, () => ({ key: "k", value: "v".repeat(20_000) }));
      assert.ok(new Set(await partitionsOf({ partitioner: "sticky" }, large, store)).size > 1);
      const around = await partitionsOf({ partitioner: "roundRobin" }, small.slice(0, 5), store);
      assert.deepEqual(around, [0, 1, 2, 3, 0]);
      const many = Array.from({ length: 200 }, () => ({ key: "k", value: "v" }));
      assert.equal(new Set(await partitionsOf({ partitioner: "random" }, many, store)).size, 4);
      const byLength = (key: Uint8Array | null): number => key?.length ?? 0;
      const keyed = [{ key: "ab" }, { key: "" }, { value: "x" }];
      assert.deepEqual(await partitionsOf({ partitioner: byLength }, keyed, store), [2, 0, 0]);
    });
  });

  it("that give no partition make only that send fail", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      const producer = openProducer(store, { partitioner: (key) => key?.length ?? 0 });
      const sent = [
        send(producer, "orders", { key: "a" }),
        send(producer, "orders", { key: "abcdef" }),
        send(producer, "orders", { key: "b" }),
      ];
      await assert.rejects(sent[1]!, RangeError);
      assert.deepEqual((await Promise.all([sent[0]!, sent[2]!])).map((each) => each.offset), [
        0,
        1,
      ]);
    });
  });

  it("may send in the middle of a send", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const nested: Promise<unknown>[] = [];
      const producer: Producer = openProducer(store, {
        partitioner: (key) => {
          const text = key === null ? "" : utf8.deserialize(key);
          if (text === "outer") nested.push(send(producer, "orders", { key: "inner" }));
          return 0;
        },
      });
      await send(producer, "orders", { key: "outer" });
      await Promise.all(nested);
      const keys = (await recordsIn(store, "orders")).map(({ key }) => utf8.deserialize(key!));
      assert.deepEqual(keys, ["inner", "outer"]);
    });
  });
});

describe("bad input", () => {
  it("of openProducer names the option", async () => {
    await withStore((store) => {
      const cases: readonly [object, RegExp][] = [
        [{ ack: "all" }, /^TypeError: ack/],
        [{ lingerMs: -1 }, /^RangeError: lingerMs/],
        [{ batchBytes: 0 }, /^RangeError: batchBytes/],
        [{ bufferBytes: 1.5 }, /^RangeError: bufferBytes/],
        [{ blockMs: "1" }, /^TypeError: blockMs/],
        [{ deliveryTimeoutMs: 0 }, /^RangeError: deliveryTimeoutMs/],
        [{ deliveryTimeoutMs: 5, lingerMs: 5 }, /^RangeError: deliveryTimeoutMs .* lingerMs/],
        [{ lingerMs: 200_000 }, /^RangeError: deliveryTimeoutMs .* 200000: got 120000/],
        [{ retries: -1 }, /^RangeError: retries/],
        [{ retryBackoffMs: NaN }, /^TypeError: retryBackoffMs/],
        [{ retryBackoffMaxMs: Infinity }, /^RangeError: retryBackoffMaxMs/],
        [{ compression: "zip" }, /^TypeError: compression/],
        [{ partitioner: "best" }, /^TypeError: partitioner/],
        [{ idempotent: 1 }, /^TypeError: idempotent/],
        [{ interceptors: {} }, /^TypeError: interceptors/],
        [{ interceptors: [null] }, /^TypeError: each of interceptors/],
        [{ interceptors: [{ onSend: 1 }] }, /^TypeError: onSend/],
        [{ onInterceptorError: 1 }, /^TypeError: onInterceptorError/],
      ];
      for (const [options, pattern] of cases) {
        assert.throws(() => openProducer(store, options as ProducerOptions), pattern);
      }
      assert.throws(() => openProducer(store, null as never), /^TypeError: options/);
      assert.throws(() => openProducer({} as Store), /^TypeError: store/);
      return Promise.resolve();
    });
  });

  it("of send rejects, names the argument, and leaves what else is sent alone", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store);
      const before = send(producer, "orders", { value: "v0" });
      const cases: readonly [unknown, unknown, RegExp][] = [
        [5, { value: "x" }, /^TypeError: topic/],
        ["orders", null, /^TypeError: record/],
        ["orders", { value: 5 }, /^TypeError: value/],
        ["orders", { key: {} }, /^TypeError: key/],
        ["orders", { headers: {} }, /^TypeError: headers/],
        ["orders", { headers: [{ key: 1 }] }, /^TypeError: a header/],
        ["orders", { timestamp: "now" }, /^TypeError: timestamp/],
        ["orders", { timestamp: 1.5 }, /^RangeError: timestamp/],
        ["orders", { partition: "0" }, /^TypeError: partition/],
        ["orders", { partition: "length" }, /^TypeError: partition/],
        ["orders", { partition: 0.5 }, /^TypeError: partition/],
      ];
      for (const [topic, record, pattern] of cases) {
        await assert.rejects(send(producer, topic as string, record as AppendRecord), pattern);
      }
      const badOptions: readonly [unknown, RegExp][] = [
        [null, /^TypeError: options/],
        [{ ack: 1 }, /^TypeError: ack/],
        [{ signal: {} }, /^TypeError: signal/],
      ];
      for (const [options, pattern] of badOptions) {
        const sent = send(producer, "orders", { value: "x" }, options as SendOptions);
        await assert.rejects(sent, pattern);
      }
      await assert.rejects(
        send(producer, "orders", { value: "x", partition: 1 }),
        failsWith("UNKNOWN_TOPIC_OR_PARTITION"),
      );
      await assert.rejects(
        send(producer, "nobody", { value: "x" }),
        failsWith("UNKNOWN_TOPIC_OR_PARTITION"),
      );
      await before;
      await send(producer, "orders", { value: "v1" });
      assert.deepEqual(await valuesIn(store, "orders"), ["v0", "v1"]);
    });
  });

  it("of the rest is a TypeError", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      for (const wrong of [null, {}, store] as unknown as Producer[]) {
        await assert.rejects(send(wrong, "orders", { value: "x" }), /^TypeError: producer/);
        await assert.rejects(flushProducer(wrong), /^TypeError: producer/);
        await assert.rejects(closeProducer(wrong), /^TypeError: producer/);
      }
      const producer = openProducer(store);
      await assert.rejects(closeProducer(producer, { timeoutMs: -1 }), /^RangeError: timeoutMs/);
      await assert.rejects(closeProducer(producer, null as never), /^TypeError: options/);
    });
  });

  it("is a topic of the store's own, or no key for a compacted one", async () => {
    await withStore(async (store) => {
      await createTopic(store, "table", { cleanupPolicy: "compact" });
      const producer = openProducer(store);
      await assert.rejects(send(producer, "table", { value: "x" }), failsWith("INVALID_RECORD"));
      await createTopic(store, "__consumer_offsets");
      await assert.rejects(
        send(producer, "__consumer_offsets", { key: "k", value: "x" }),
        failsWith("INVALID_TOPIC_EXCEPTION"),
      );
    });
  });
});

describe("a signal", () => {
  it("refuses at once, or ends the waiting and leaves the record where it is", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store);
      const stop = new AbortController();
      const sent = send(producer, "orders", { value: "v0" }, { signal: stop.signal });
      stop.abort(new Error("enough"));
      await assert.rejects(sent, /enough/);
      await assert.rejects(
        send(producer, "orders", { value: "v1" }, { signal: stop.signal }),
        /enough/,
      );
      await flushProducer(producer);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0"]);
      await nextTurn();
    });
  });
});
