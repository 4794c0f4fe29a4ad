/** Handling records side by side: order, commits, retries, dead letters, and the ends of it. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { append, appendBatch } from "../../src/client/append.ts";
import type { ConsumeEachOptions, RecordHandler } from "../../src/client/consume_each.ts";
import { consumeEach } from "../../src/client/consume_each.ts";
import { closeConsumer, openConsumer, poll } from "../../src/client/consumer.ts";
import { pause, resume, seek } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { stateOf } from "../../src/client/consumer_state.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import { json } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import { isOttlaError } from "../../src/errors.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { assertProperty } from "../support/properties.ts";
import {
  crashStore,
  numbered,
  openTestStore,
  recordsIn,
  settled,
  textOf,
  withStore,
} from "../support/store_fixture.ts";
import { committed, worker } from "../support/workers.ts";

/** A handler whose records end when the test says so. */
function heldHandler(): {
  readonly handler: RecordHandler;
  readonly running: string[];
  end(value: string, error?: Error): Promise<void>;
} {
  const running: string[] = [];
  const ends = new Map<string, (error: Error | undefined) => void>();
  return {
    running,
    handler({ value }) {
      const name = textOf(value);
      running.push(name);
      return new Promise((resolve, reject) =>
        ends.set(name, (error) => error === undefined ? resolve() : reject(error))
      );
    },
    async end(value, error) {
      running.splice(running.indexOf(value), 1);
      ends.get(value)!(error);
      await settled();
    },
  };
}

/** Handles until so many records were handled, then closes the consumer. */
async function handleUntil(
  consumer: Consumer,
  count: number,
  handler: RecordHandler,
  options: ConsumeEachOptions = {},
): Promise<void> {
  let handled = 0;
  let closing: Promise<void> | undefined;
  await consumeEach(consumer, async (record, context) => {
    await handler(record, context);
    if (++handled === count) closing = closeConsumer(consumer);
  }, options);
  await closing;
}

function headersOf({ headers }: LogRecord): Record<string, string> {
  return Object.fromEntries(headers.map(({ key, value }) => [key, textOf(value)]));
}

describe("handling side by side", () => {
  it("handles every record once, those of one key in order, and commits all of it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs", { partitions: 3 });
      const records = Array.from({ length: 200 }, (_, n) => ({ key: `k${n % 7}`, value: `v${n}` }));
      await appendBatch(store, "jobs", records);
      const byKey = new Map<string, string[]>();
      let running = 0;
      let runningMax = 0;
      await handleUntil(await worker(store), 200, async ({ key, value }) => {
        runningMax = Math.max(runningMax, ++running);
        await settled();
        const name = textOf(key);
        byKey.set(name, [...(byKey.get(name) ?? []), textOf(value)]);
        running--;
      }, { concurrency: 5 });
      assert.equal(runningMax, 5);
      for (let key = 0; key < 7; key++) {
        const wanted = records.filter((record) => record.key === `k${key}`);
        assert.deepEqual(byKey.get(`k${key}`), wanted.map(({ value }) => value));
      }
      const offsets = await committedOffsets(store, "workers");
      assert.equal(offsets.reduce((sum, { offset }) => sum + offset, 0), 200);
    });
  });

  it("never commits beyond the oldest record that is not handled", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 4));
      const consumer = await worker(store, { autoCommitIntervalMs: 1000 });
      const { handler, running, end } = heldHandler();
      const handling = consumeEach(consumer, handler, { concurrency: 4 });
      await settled();
      assert.deepEqual(running, ["v0", "v1", "v2", "v3"]);
      await end("v3");
      await end("v1");
      await clock.advance(1000);
      await settled();
      assert.equal(await committed(store), 0);
      await end("v0");
      await clock.advance(1000);
      await settled();
      assert.equal(await committed(store), 2);
      await end("v2");
      await clock.advance(1000);
      await settled();
      assert.equal(await committed(store), 4);
      await closeConsumer(consumer);
      await handling;
    }, { clock });
  });

  it("after a crash what was not handled comes again", async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await createTopic(store, "jobs");
    await appendBatch(store, "jobs", numbered(0, 5));
    const consumer = await worker(store, { autoCommitIntervalMs: 1 });
    const { handler, end } = heldHandler();
    const handling = consumeEach(consumer, handler, { concurrency: 2 });
    handling.catch(() => {});
    await settled();
    await end("v1");
    await end("v2");
    await settled();
    crashStore(store, fs);
    const again = await openTestStore(fs);
    const seen: string[] = [];
    await handleUntil(await worker(again), 5, ({ value }) => void seen.push(textOf(value)));
    assert.deepEqual(seen, ["v0", "v1", "v2", "v3", "v4"]);
    await closeStore(again);
  });

  it("closing handles what was taken in to its end and takes nothing more", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 40));
      const consumer = await worker(store);
      const { handler, running, end } = heldHandler();
      const handling = consumeEach(consumer, handler, { concurrency: 1 });
      await settled();
      const closing = closeConsumer(consumer);
      let count = 0;
      while (running.length > 0) {
        assert.equal(await committed(store), undefined);
        count++;
        await end(running[0]!);
      }
      await Promise.all([closing, handling]);
      // One that ran, and those that waited for it.
      assert.equal(count, 17);
      assert.equal(await committed(store), count);
    });
  });

  it("a signal ends it after those that run, and the consumer goes on from there", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 5));
      const consumer = await worker(store);
      const stop = new AbortController();
      const { handler, end } = heldHandler();
      let isAborted = false;
      const handling = consumeEach(consumer, (record, context) => {
        context.signal.addEventListener("abort", () => isAborted = true);
        return handler(record, context);
      }, { concurrency: 2, signal: stop.signal });
      await settled();
      stop.abort();
      assert.equal(isAborted, true);
      await end("v1");
      await end("v0");
      await handling;
      const rest = await poll(consumer, { waitMs: 0 });
      assert.deepEqual(rest.map(({ offset }) => offset), [2, 3, 4]);
    });
  });

  it("what was polled before counts as handled", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 2));
      const consumer = await worker(store);
      await poll(consumer, { waitMs: 0 });
      const stop = new AbortController();
      const handling = consumeEach(consumer, () => {}, { signal: stop.signal });
      await settled();
      stop.abort();
      await handling;
      await closeConsumer(consumer);
      assert.equal(await committed(store), 2);
    });
  });

  it("goes where it is told by a seek in the middle", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 3));
      const consumer = await worker(store);
      const seen: string[] = [];
      await handleUntil(consumer, 5, ({ value }) => {
        seen.push(textOf(value));
        if (seen.length === 3) seek(consumer, "jobs", 0, 1);
      }, { concurrency: 1 });
      assert.deepEqual(seen, ["v0", "v1", "v2", "v1", "v2"]);
      assert.equal(await committed(store), 3);
    });
  });

  it("what is handled again after a seek is not committed before it is", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 3));
      const consumer = await worker(store, { autoCommitIntervalMs: 1000 });
      const { handler, running, end } = heldHandler();
      const handling = consumeEach(consumer, handler);
      await settled();
      for (const value of ["v0", "v1", "v2"]) await end(value);
      pause(consumer);
      seek(consumer, "jobs", 0, 1);
      await clock.advance(1000);
      await settled();
      assert.equal(await committed(store), 1);
      resume(consumer);
      await settled();
      assert.deepEqual(running, ["v1", "v2"]);
      await end("v1");
      await end("v2");
      await closeConsumer(consumer);
      await handling;
      assert.equal(await committed(store), 3);
    }, { clock });
  });

  it("whenever it is closed, a record is handled here or by the next one, and never by both", async () => {
    for (let turns = 0; turns < 40; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "jobs");
        const consumer = await worker(store);
        const seen: string[] = [];
        const handling = consumeEach(consumer, ({ value }) => void seen.push(textOf(value)));
        await settled();
        const appending = appendBatch(store, "jobs", numbered(0, 3), { ack: "os" });
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        await closeConsumer(consumer);
        await Promise.all([appending, handling]);
        const rest = await poll(await worker(store), { waitMs: 0 });
        seen.push(...rest.map(({ value }) => textOf(value)));
        assert.deepEqual(seen, ["v0", "v1", "v2"], `closed after ${turns} turns`);
      });
    }
  });

  it("a partition that goes to another member is handed over when its handlers are through", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs", { partitions: 2 });
      for (const partition of [0, 1]) {
        await appendBatch(
          store,
          "jobs",
          numbered(0, 3).map(({ value }) => ({ value: `${partition}:${value}`, partition })),
        );
      }
      const first = await worker(store, { autoCommitIntervalMs: 1_000_000 });
      const { handler, running, end } = heldHandler();
      const handling = consumeEach(first, handler, { concurrency: 2 });
      await settled();
      assert.equal(running.length, 2);
      const second = await worker(store);
      assert.deepEqual(await poll(second, { waitMs: 0 }), []);
      while (stateOf(first).partitions.length > 1) {
        assert.ok(running.length > 0);
        await end(running[0]!);
      }
      const moved = await poll(second, { waitMs: 0 });
      const partition = moved[0]!.partition;
      assert.equal(await committed(store, partition), moved[0]!.offset);
      assert.deepEqual(moved.at(-1)!.offset, 2);
      const closing = closeConsumer(first);
      while (running.length > 0) await end(running[0]!);
      await Promise.all([closing, handling]);
    });
  });
});

describe("records that cannot be handled", () => {
  it("are tried again, later and later, while other keys go on", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", [{ key: "a", value: "bad" }, { key: "b", value: "good" }]);
      const attempts: [number, number][] = [];
      const startMs = clock.now();
      const handling = handleUntil(await worker(store), 2, ({ value }, { attempt }) => {
        if (textOf(value) === "good") return;
        attempts.push([attempt, clock.now() - startMs]);
        if (attempt < 5) throw new Error("not yet");
      }, { backoffMs: 100, backoffMsMax: 300 });
      for (let n = 0; n < 40; n++) {
        await settled();
        await clock.advance(100);
      }
      await handling;
      assert.deepEqual(attempts, [[1, 0], [2, 100], [3, 300], [4, 600], [5, 900]]);
      assert.equal(await committed(store), 2);
    }, { clock });
  });

  it("go to the dead letter topic with where from and why", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead");
      await append(store, "jobs", { value: "fine" });
      await append(store, "jobs", {
        key: "a",
        value: "bad",
        timestamp: 42,
        headers: [{ key: "trace", value: "t1" }],
      });
      await append(store, "jobs", { key: "a", value: "next" });
      const seen: string[] = [];
      await handleUntil(await worker(store), 2, ({ value }) => {
        if (textOf(value) === "bad") throw new TypeError("no such account");
        seen.push(textOf(value));
      }, { retriesMax: 1, backoffMs: 0, deadLetterTopic: "dead" });
      assert.deepEqual(seen, ["fine", "next"]);
      assert.equal(await committed(store), 3);
      const [dead] = await recordsIn(store, "dead");
      assert.equal(textOf(dead!.key), "a");
      assert.equal(textOf(dead!.value), "bad");
      assert.deepEqual(headersOf(dead!), {
        "trace": "t1",
        "dlt.topic": "jobs",
        "dlt.partition": "0",
        "dlt.offset": "1",
        "dlt.timestamp": "42",
        "dlt.group": "workers",
        "dlt.attempts": "2",
        "dlt.error.name": "TypeError",
        "dlt.error.message": "no such account",
      });
    });
  });

  it("end it without such a topic, and come again", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 3));
      const consumer = await worker(store);
      const handling = consumeEach(consumer, ({ value }) => {
        if (textOf(value) === "v1") throw new Error("broken for good");
      }, { concurrency: 1, retriesMax: 0 });
      await assert.rejects(handling, /broken for good/);
      const again = await poll(consumer, { waitMs: 0 });
      assert.deepEqual(again.map(({ offset }) => offset), [1, 2]);
      seek(consumer, "jobs", 0, 1);
      await closeConsumer(consumer);
      assert.equal(await committed(store), 1);
    });
  });

  it("of a key, none behind one that failed is handled", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(
        store,
        "jobs",
        numbered(0, 4).map(({ value }) => ({ key: "a", value })),
      );
      const consumer = await worker(store);
      const seen: string[] = [];
      const handling = consumeEach(consumer, ({ value }) => {
        seen.push(textOf(value));
        if (textOf(value) === "v1") throw new Error("broken for good");
      }, { retriesMax: 0 });
      await assert.rejects(handling, /broken for good/);
      assert.deepEqual(seen, ["v0", "v1"]);
    });
  });

  it("that no serde reads go to the dead letter topic as they are", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead");
      await append(store, "jobs", { key: "a", value: "{broken" });
      await append(store, "jobs", { key: "a", value: '{"ok":true}' });
      const jobs = topicOf("jobs", { value: json<{ ok: boolean }>() });
      const consumer = await openConsumer(store, {
        groupId: "workers",
        topics: [jobs],
        autoOffsetReset: "earliest",
      });
      const seen: unknown[] = [];
      let closing: Promise<void> | undefined;
      await consumeEach(consumer, ({ value }) => {
        seen.push(value);
        closing = closeConsumer(consumer);
      }, { deadLetterTopic: "dead" });
      await closing;
      assert.deepEqual(seen, [{ ok: true }]);
      const [dead] = await recordsIn(store, "dead");
      assert.equal(textOf(dead!.value), "{broken");
      const headers = headersOf(dead!);
      assert.equal(headers["dlt.attempts"], "0");
      assert.equal(headers["dlt.error.code"], "INVALID_RECORD");
      assert.equal(await committed(store), 2);
    });
  });

  it("whose dead letter cannot be written end it, and come again", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead", { maxMessageBytes: 100 });
      await append(store, "jobs", { value: "x".repeat(200) });
      const consumer = await worker(store);
      const handling = consumeEach(consumer, () => {
        throw new Error("no");
      }, { retriesMax: 0, deadLetterTopic: "dead" });
      await assert.rejects(handling, (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"));
      assert.equal((await poll(consumer, { waitMs: 0 })).length, 1);
    });
  });
});

describe("what consumeEach is given", () => {
  it("is checked", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      const consumer = await worker(store);
      const handler = (): void => {};
      const each = (options: unknown): Promise<void> =>
        consumeEach(consumer, handler, options as ConsumeEachOptions);
      await assert.rejects(
        consumeEach(consumer, 5 as unknown as RecordHandler),
        /^TypeError: handler/,
      );
      await assert.rejects(each(5), /^TypeError: options/);
      await assert.rejects(each({ concurrency: 0 }), /^RangeError: concurrency/);
      await assert.rejects(each({ retriesMax: -1 }), /^RangeError: retriesMax/);
      await assert.rejects(each({ backoffMs: 0.5 }), /^RangeError: backoffMs/);
      await assert.rejects(each({ signal: 1 }), /^TypeError: signal/);
      await assert.rejects(
        each({ deadLetterTopic: "nowhere" }),
        (error) => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION"),
      );
      const stop = new AbortController();
      const handling = each({ signal: stop.signal });
      await settled();
      await assert.rejects(each({}), /another consumeEach/);
      stop.abort();
      await handling;
      await closeConsumer(consumer);
      await assert.rejects(each({}), (error) => isOttlaError(error, "HANDLE_CLOSED"));
    });
  });
});

describe("whatever fails and crashes", () => {
  it("every record is handled, and none of a key before one in front of it", async () => {
    const scenario = fc.record({
      keys: fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 30 }),
      failing: fc.uniqueArray(fc.nat(29), { maxLength: 5 }),
      crashAfter: fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 3 }),
      concurrency: fc.integer({ min: 1, max: 5 }),
    });
    await assertProperty(
      fc.asyncProperty(scenario, async ({ keys, failing, crashAfter, concurrency }) => {
        const fs = memoryFileSystem();
        const handled = new Set<number>();
        const fails = new Set(failing);
        let store = await openTestStore(fs);
        await createTopic(store, "jobs");
        await appendBatch(store, "jobs", keys.map((key) => ({ key, value: "v" })));
        for (const endAfter of [...crashAfter, Infinity]) {
          const consumer = await worker(store, { autoCommitIntervalMs: 1 });
          const stop = new AbortController();
          let count = 0;
          if (handled.size === keys.length) stop.abort();
          await consumeEach(consumer, async ({ offset }) => {
            for (let before = 0; before < offset; before++) {
              if (keys[before] === keys[offset]) assert.ok(handled.has(before));
            }
            for (let turn = 0; turn < offset % 3; turn++) await Promise.resolve();
            if (fails.delete(offset)) throw new Error("once");
            handled.add(offset);
            if (++count === endAfter || handled.size === keys.length) stop.abort();
          }, { concurrency, backoffMs: 0, signal: stop.signal });
          if (endAfter !== Infinity) {
            crashStore(store, fs);
            store = await openTestStore(fs);
          }
        }
        assert.equal(handled.size, keys.length);
        await closeStore(store);
      }),
      { numRuns: 40 },
    );
  });
});
