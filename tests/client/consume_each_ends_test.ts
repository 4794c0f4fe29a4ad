/** How `consumeEach` ends, and what happens to it: nothing is lost, and nobody waits for ever. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import type { ConsumeEachOptions } from "../../src/client/consume_each.ts";
import { consumeEach } from "../../src/client/consume_each.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import { assign, positionOf, seek } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { stateOf } from "../../src/client/consumer_state.ts";
import { json } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import { isOttlaError } from "../../src/errors.ts";
import { abandonStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTopic, deleteRecords, deleteTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { damageFirstBatch } from "../support/damage.ts";
import { numbered, recordsIn, settled, textOf, withStore } from "../support/store_fixture.ts";
import { committedTexts, worker } from "../support/workers.ts";

/** A consumer of topic `jobs`, whose values are numbers. */
function jsonWorker(store: Store): Promise<Consumer<string | null, number | null>> {
  return openConsumer(store, {
    groupId: "workers",
    topics: topicOf<string, number>("jobs", { value: json() }),
    autoOffsetReset: "earliest",
  });
}

describe("the end of consumeEach", () => {
  it("commits what was handled, though the consumer does not by itself", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 5));
      const consumer = await worker(store, { autoCommit: false });
      const stop = new AbortController();
      await consumeEach(consumer, ({ offset }) => {
        if (offset === 2) stop.abort();
      }, { concurrency: 1, signal: stop.signal });
      assert.deepEqual(await committedTexts(store), ["jobs 3"]);
      assert.deepEqual((await poll(consumer, { waitMs: 0 })).map(({ offset }) => offset), [3, 4]);
    });
  });

  it("tells if the last commit fails, and the consumer can be used", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 3));
      const consumer = await worker(store, {
        offsetStore: {
          load: () => [],
          save: () => Promise.reject(new Error("the database is down")),
        },
      });
      const stop = new AbortController();
      const handling = consumeEach(consumer, () => stop.abort(), {
        concurrency: 1,
        signal: stop.signal,
      });
      await assert.rejects(handling, /database is down/);
      assert.equal((await poll(consumer, { waitMs: 0 })).length, 2);
    });
  });

  it("gives out again what was not handled, though another topic was deleted", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "chores");
      await appendBatch(store, "jobs", numbered(0, 5));
      await appendBatch(store, "chores", numbered(0, 5));
      const consumer = await openConsumer(store, {
        groupId: "workers",
        partitions: ["jobs", "chores"].map((topic) => ({ topic, partition: 0 })),
        autoOffsetReset: "earliest",
      });
      let go = (): void => {};
      const stop = new AbortController();
      const handling = consumeEach(consumer, () => new Promise<void>((resolve) => go = resolve), {
        concurrency: 1,
        signal: stop.signal,
      });
      await settled();
      const state = stateOf(consumer);
      assert.deepEqual(state.partitions.map(({ position }) => position), [5, 5]);
      await deleteTopic(store, "jobs");
      stop.abort();
      go();
      await assert.rejects(handling, (error) => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION"));
      await assign(consumer, [{ topic: "chores", partition: 0 }]);
      const rest = await poll(consumer, { waitMs: 0 });
      assert.ok(rest.length >= 4, `only ${rest.length} come again`);
      assert.equal(rest.at(-1)!.offset, 4);
    });
  });

  it("comes when the store has crashed, whatever handlers wait for", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 40));
      let attempts = 0;
      const handling = consumeEach(await worker(store), ({ offset }, { signal }) => {
        attempts++;
        if (offset === 0) throw new Error("again");
        return new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      }, { concurrency: 2 });
      await settled();
      assert.equal(attempts, 2);
      abandonStore(store);
      await handling;
      await clock.advance(60_000);
      assert.equal(attempts, 2);
    }, { clock });
  });

  it("tells of damage each time it is begun, until somebody has sought behind it", async () => {
    await withStore(async (store, fs) => {
      await createTopic(store, "jobs");
      await createTopic(store, "chores");
      await append(store, "jobs", { value: "lost" });
      await appendBatch(store, "jobs", numbered(1, 3));
      await append(store, "chores", { value: "too" });
      damageFirstBatch(fs, "jobs");
      damageFirstBatch(fs, "chores");
      const consumer = await worker(store);
      const seen: string[] = [];
      const isDamage = (error: unknown): boolean => isOttlaError(error, "CORRUPT_MESSAGE");
      const each = (options: ConsumeEachOptions = {}): Promise<void> =>
        consumeEach(consumer, ({ value }) => void seen.push(textOf(value)), options);
      for (let times = 0; times < 4; times++) await assert.rejects(each(), isDamage);
      seek(consumer, "jobs", 0, 1);
      seek(consumer, "chores", 0, 1);
      const stop = new AbortController();
      const handling = each({ signal: stop.signal });
      // What failed at once leaves a turn of the event loop to others before it is tried again.
      await new Promise<void>((done) => setImmediate(done));
      await settled();
      stop.abort();
      await handling;
      assert.deepEqual(seen, ["v1", "v2"]);
      assert.deepEqual(await committedTexts(store), ["chores 1", "jobs 3"]);
    });
  });

  it("tells what cannot be read when all that lies before it was handled", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      for (const value of ["0", "1", "2", "{broken", "4"]) await append(store, "jobs", { value });
      const consumer = await jsonWorker(store);
      const seen: unknown[] = [];
      const ends: (() => void)[] = [];
      const each = (): Promise<void> =>
        consumeEach(consumer, ({ value }) => {
          seen.push(value);
          return new Promise((resolve) => ends.push(resolve));
        }, { concurrency: 1 });
      let isOver = false;
      const handling = each().finally(() => isOver = true);
      for (let count = 1; count <= 3; count++) {
        await settled();
        assert.deepEqual([seen.length, isOver], [count, false]);
        ends.pop()!();
      }
      await assert.rejects(handling, /offset 3 of jobs-0: .* to go on behind it, seek to 4$/);
      assert.deepEqual([seen, await committedTexts(store)], [[0, 1, 2], ["jobs 3"]]);
    });
  });

  it("by a signal leaves what was found further ahead to be told in its turn", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      for (const value of ["0", "1", "2", "{broken"]) await append(store, "jobs", { value });
      const consumer = await jsonWorker(store);
      const stop = new AbortController();
      const { signal } = stop;
      await consumeEach(consumer, () => stop.abort(), { concurrency: 1, signal });
      const seen: unknown[] = [];
      const handling = consumeEach(consumer, ({ value }) => void seen.push(value));
      await assert.rejects(handling, /seek to 4$/);
      assert.deepEqual(seen, [1, 2]);
    });
  });

  it("tells first of the handler that fails before what cannot be read", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      for (const value of ["0", "1", "{broken"]) await append(store, "jobs", { value });
      const consumer = await jsonWorker(store);
      const handling = consumeEach(consumer, async ({ value }) => {
        await settled();
        if (value === 1) throw new Error("no such job");
      }, { concurrency: 1, retriesMax: 0 });
      await assert.rejects(handling, /no such job/);
      assert.equal(positionOf(consumer, "jobs", 0), 1);
    });
  });

  it("leaves nothing behind the last record uncommitted that is nothing to handle", async () => {
    const clock = manualClock();
    await withStore(async (store, fs) => {
      await createTopic(store, "jobs");
      await append(store, "jobs", { value: "lost" });
      damageFirstBatch(fs, "jobs");
      const gaps: number[] = [];
      const consumer = await worker(store, {
        autoCommitIntervalMs: 1000,
        onGap: ({ endOffset }) => void gaps.push(endOffset),
      });
      const handling = consumeEach(consumer, () => {});
      await settled();
      await clock.advance(1000);
      await settled();
      assert.deepEqual(gaps, [1]);
      assert.deepEqual(await committedTexts(store), ["jobs 1"]);
      await closeConsumer(consumer);
      await handling;
    }, { clock });
  });
});

describe("while consumeEach is at work", () => {
  it("nobody else polls or iterates, and it does not begin in the middle of a poll", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 300));
      const consumer = await worker(store);
      const waiting = poll(consumer, { waitMs: Infinity, bytesMin: 1_000_000 });
      await assert.rejects(consumeEach(consumer, () => {}), /^TypeError: Cannot handle: a poll/);
      await closeConsumer(consumer);
      assert.equal((await waiting).length, 300);
      let go = (): void => {};
      const held = new Promise<void>((resolve) => go = resolve);
      const next = await worker(store);
      const handling = consumeEach(next, () => held, { concurrency: 1 });
      await settled();
      await assert.rejects(poll(next), /^TypeError: Cannot poll: consumeEach/);
      const iterator = next[Symbol.asyncIterator]();
      await assert.rejects(iterator.next(), /^TypeError: Cannot poll: consumeEach/);
      const closing = closeConsumer(next);
      go();
      await Promise.all([closing, handling]);
    });
  });

  it("a commit without offsets commits what is handled, not what was taken in", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 5));
      const consumer = await worker(store);
      const seen: string[][] = [];
      const stop = new AbortController();
      await consumeEach(consumer, async ({ offset }) => {
        await commit(consumer);
        seen.push(await committedTexts(store));
        if (offset === 2) stop.abort();
      }, { concurrency: 1, signal: stop.signal });
      assert.deepEqual(seen, [["jobs 0"], ["jobs 1"], ["jobs 2"]]);
    });
  });

  it("a seek counts at whatever turn it comes, by a handler or by somebody else", async () => {
    for (let turns = 0; turns < 30; turns++) {
      await withStore(async (store) => {
        await createTopic(store, "jobs");
        await appendBatch(store, "jobs", numbered(0, 3));
        const consumer = await worker(store);
        const stop = new AbortController();
        const seen: number[] = [];
        let waiting: (() => void)[] = [];
        const handling = consumeEach(consumer, ({ offset }) => {
          seen.push(offset);
          return new Promise<void>((resolve) => waiting.push(resolve));
        }, { signal: stop.signal });
        await settled();
        const appending = appendBatch(store, "jobs", numbered(3, 6));
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        seek(consumer, "jobs", 0, 0);
        await appending;
        for (let times = 0; times < 10; times++) {
          await settled();
          const ending = waiting;
          waiting = [];
          for (const end of ending) end();
        }
        stop.abort();
        await handling;
        assert.deepEqual(seen.slice(-6), [0, 1, 2, 3, 4, 5], `after ${turns} turns`);
        assert.deepEqual(await committedTexts(store), ["jobs 6"]);
      });
    }
  });

  it("a handler that seeks at once is given what lies there, and nothing from before", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 6));
      const consumer = await worker(store);
      const seen: number[] = [];
      let closing: Promise<void> | undefined;
      await consumeEach(consumer, ({ offset }) => {
        seen.push(offset);
        if (offset === 0) seek(consumer, "jobs", 0, 4);
        if (offset === 5) closing = closeConsumer(consumer);
      });
      await closing;
      assert.deepEqual(seen, [0, 4, 5]);
      assert.deepEqual(await committedTexts(store), ["jobs 6"]);
    });
  });

  it("what was taken in is handled though the log has let go of it", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 40));
      const consumer = await worker(store);
      const seen: number[] = [];
      let go = (): void => {};
      const held = new Promise<void>((resolve) => go = resolve);
      const handling = consumeEach(consumer, async ({ offset }) => {
        await held;
        seen.push(offset);
      }, { concurrency: 1 });
      await settled();
      await deleteRecords(store, "jobs", 0, 30);
      go();
      await settled();
      await settled();
      await closeConsumer(consumer);
      await handling;
      const taken = Array.from({ length: 16 }, (_, offset) => offset);
      assert.deepEqual(seen.slice(0, 16), taken);
      assert.deepEqual(seen.slice(-10), Array.from({ length: 10 }, (_, n) => n + 30));
      assert.deepEqual(await committedTexts(store), ["jobs 40"]);
    });
  });

  it("a partition that goes and comes back is handled and committed like any other", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs", { partitions: 2 });
      for (let n = 0; n < 40; n++) await append(store, "jobs", { value: "v", partition: n % 2 });
      const first = await worker(store);
      const seen = new Set<string>();
      const gates: (() => void)[] = [];
      let isFree = false;
      const handling = consumeEach(first, async ({ partition, offset }) => {
        if (!isFree) await new Promise<void>((resolve) => gates.push(resolve));
        seen.add(`${partition} ${offset}`);
      }, { concurrency: 1 });
      await settled();
      const second = await worker(store, { autoCommit: false });
      for (let n = 0; n < 40 && stateOf(first).partitions.length === 2; n++) {
        gates.shift()?.();
        await settled();
      }
      assert.equal(stateOf(first).partitions.length, 1);
      await poll(second, { waitMs: 0 });
      await closeConsumer(second);
      isFree = true;
      gates.shift()?.();
      for (let n = 0; n < 100 && seen.size < 40; n++) await settled();
      await closeConsumer(first);
      await handling;
      assert.deepEqual(await committedTexts(store), ["jobs 20", "jobs 20"]);
      assert.equal(seen.size, 40);
    });
  });

  it("what waits for its handler goes with its topic, when that is made anew", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 17));
      const consumer = await worker(store, {
        topics: undefined,
        partitions: [{ topic: "jobs", partition: 0 }],
      });
      const seen: string[] = [];
      let go = (): void => {};
      const held = new Promise<void>((resolve) => go = resolve);
      const handling = consumeEach(consumer, async ({ value }) => {
        seen.push(textOf(value));
        await held;
      }, { concurrency: 1 });
      await settled();
      await deleteTopic(store, "jobs");
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(100, 102));
      go();
      await settled();
      await settled();
      await closeConsumer(consumer);
      await handling;
      assert.deepEqual(seen.slice(-2), ["v100", "v101"]);
      assert.ok(seen.length < 10, seen.join());
      assert.deepEqual(await committedTexts(store), ["jobs 2"]);
    });
  });

  it("a handler that fails while its partition goes is not tried again here", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs", { partitions: 2 });
      for (const partition of [0, 1]) await append(store, "jobs", { value: "v", partition });
      const first = await worker(store);
      const stop = new AbortController();
      const fails: (() => void)[] = [];
      const handling = consumeEach(
        first,
        () => new Promise<void>((_, reject) => fails.push(() => reject(new Error("no")))),
        {
          signal: stop.signal,
          backoffMs: 1000,
        },
      );
      await settled();
      const second = await worker(store);
      await settled();
      assert.equal(stateOf(first).partitions.length, 2);
      for (const fail of fails) fail();
      await settled();
      assert.equal(stateOf(first).partitions.length, 1);
      assert.equal((await poll(second, { waitMs: 0 })).length, 1);
      stop.abort();
      await handling;
    }, { clock: manualClock() });
  });

  it("of several handlers that fail at once the first one's error is told", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await appendBatch(store, "jobs", numbered(0, 3));
      const consumer = await worker(store);
      const handling = consumeEach(consumer, async ({ value }) => {
        await settled();
        throw new Error(`bad ${textOf(value)}`);
      }, { retriesMax: 0 });
      await assert.rejects(handling, /bad v0/);
    });
  });

  it("what is thrown may be anything", async () => {
    await withStore(async (store) => {
      await createTopic(store, "jobs");
      await createTopic(store, "dead");
      const thrown: unknown[] = [
        undefined,
        null,
        Symbol("odd"),
        Object.create(null),
        Object.assign(new Error(), { message: { toString: null }, name: 5 }),
      ];
      await appendBatch(store, "jobs", numbered(0, thrown.length));
      const consumer = await worker(store);
      const stop = new AbortController();
      const handling = consumeEach(consumer, ({ offset }) => {
        throw thrown[offset];
      }, { retriesMax: 0, deadLetterTopic: "dead", signal: stop.signal });
      while ((await recordsIn(store, "dead")).length < thrown.length) await settled();
      stop.abort();
      await handling;
      assert.deepEqual(await committedTexts(store), [`jobs ${thrown.length}`]);
    });
  });
});
