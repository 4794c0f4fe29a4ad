/** Interceptors: what they may change, what they hear, and what their failures do. */

import assert from "node:assert/strict";
import { once } from "node:events";
import process from "node:process";
import { describe, it } from "node:test";

import type { ProducerInterceptor } from "../../src/client/interceptors.ts";
import { closeProducer, openProducer, send } from "../../src/client/producer.ts";
import { json } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import { isOttlaError } from "../../src/errors.ts";
import { createTopic } from "../../src/store/topics.ts";
import { recordsIn, textOf, valuesIn, withStore } from "../support/store_fixture.ts";

describe("interceptors", () => {
  it("change a record one after the other, before serdes and partitioners", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 3 });
      const append = (text: string): ProducerInterceptor => ({
        onSend: (record, topic) => ({
          ...record,
          value: { text: `${(record.value as { text: string }).text}${text}${topic}` },
          headers: [...record.headers ?? [], { key: text, value: null }],
          partition: 2,
        }),
      });
      const watching: ProducerInterceptor = { onSend() {} };
      const orders = topicOf<string, { text: string }>("orders", { value: json() });
      const interceptors = [append("-a-"), watching, append("-b-")];
      const producer = openProducer(store, { interceptors });
      const { partition } = await send(producer, orders, { value: { text: "v" } });
      assert.equal(partition, 2);
      const [record] = await recordsIn(store, "orders");
      assert.equal(textOf(record!.value), '{"text":"v-a-orders-b-orders"}');
      assert.deepEqual(record!.headers.map(({ key }) => key), ["-a-", "-b-"]);
    });
  });

  it("hear of every outcome before who awaits the send", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const heard: string[] = [];
      const interceptor: ProducerInterceptor = {
        onAcknowledgement(metadata, error, record) {
          const outcome = metadata?.offset ?? (isOttlaError(error) ? error.code : String(error));
          heard.push(`${String(record.value)}: ${outcome}`);
        },
      };
      const producer = openProducer(store, { interceptors: [interceptor] });
      await send(producer, "orders", { value: "v0" });
      assert.deepEqual(heard.splice(0), ["v0: 0"]);
      await assert.rejects(send(producer, "orders", { value: "v1", partition: 4 }));
      await assert.rejects(send(producer, "nobody", { value: "v2" }));
      assert.deepEqual(heard.splice(0), [
        "v1: UNKNOWN_TOPIC_OR_PARTITION",
        "v2: UNKNOWN_TOPIC_OR_PARTITION",
      ]);
      const stop = new AbortController();
      const sent = send(producer, "orders", { value: "v3" }, { signal: stop.signal });
      stop.abort(new Error("enough"));
      await assert.rejects(sent, /enough/);
      await closeProducer(producer);
      assert.deepEqual(heard, ["v3: 1"]);
    });
  });

  it("that throw are reported and skipped, and so are listeners that throw", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const reports: string[] = [];
      const bad: ProducerInterceptor = {
        name: "bad",
        onSend() {
          throw new Error("no send");
        },
        onAcknowledgement() {
          throw new Error("no acknowledgement");
        },
      };
      const good: ProducerInterceptor = {
        onSend: (record) => ({ ...record, value: `${String(record.value)}!` }),
      };
      const producer = openProducer(store, {
        interceptors: [bad, good],
        onInterceptorError: (error, { name }) =>
          reports.push(`${name}: ${(error as Error).message}`),
      });
      await send(producer, "orders", { value: "v0" });
      assert.deepEqual(reports, ["bad: no send", "bad: no acknowledgement"]);

      const warned = once(process, "warning");
      const silent = openProducer(store, {
        interceptors: [{ ...bad, onAcknowledgement: undefined }],
        onInterceptorError() {
          throw new Error("no report");
        },
      });
      await send(silent, "orders", { value: "v1" });
      const [warning] = await warned as [Error];
      assert.match(warning.message, /^Interceptor bad failed and was skipped: no report$/);
      assert.deepEqual(await valuesIn(store, "orders"), ["v0!", "v1"]);
    });
  });

  it("that give something else than a record make the send fail, whatever the next makes of it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const heard: unknown[] = [];
      const copying: ProducerInterceptor = {
        onSend: (record) => ({ ...record }),
        onAcknowledgement: (_, error, { value }) => heard.push(`${value}: ${String(error)}`),
      };
      const wrong: readonly [unknown, string][] = [
        [5, "got 5 from an interceptor"],
        ["text", "got text from an interceptor"],
        [Promise.resolve({ value: "later" }), "got a promise from an interceptor"],
        [Promise.reject(new Error("never heard of")), "got a promise from an interceptor"],
      ];
      for (const [given, message] of wrong) {
        const interceptors = [{ onSend: () => given as never }, copying];
        const producer = openProducer(store, { interceptors });
        await assert.rejects(send(producer, "orders", { value: "v0" }), /^TypeError: record/);
        assert.match(String(heard.splice(0)), new RegExp(`^v0: TypeError: record .*${message}$`));
        await assert.rejects(send(producer, "orders", null as never), /^TypeError: record/);
      }
      assert.deepEqual(await valuesIn(store, "orders"), []);
    });
  });

  it("whose promises reject are reported", async () => {
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const reported = new Promise<unknown>((resolve) => {
        const producer = openProducer(store, {
          interceptors: [{ onAcknowledgement: () => Promise.reject(new Error("too late")) }],
          onInterceptorError: resolve,
        });
        void send(producer, "orders", { value: "v0" });
      });
      assert.match(String(await reported), /too late/);
    });
  });
});
