/** What a producer waits for: more records, room, the disk; and how it ends. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { ProducerOptions } from "../../src/client/producer_options.ts";
import { producerInternals } from "../../src/client/producer_state.ts";
import { readBatches } from "../../src/client/read.ts";
import type { Serde } from "../../src/client/serde.ts";
import { topicOf } from "../../src/client/topic.ts";
import { waitingCount, waitingSendsMax } from "../../src/client/send_queue.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Clock, Timer } from "../../src/platform/clock.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { abandonStore, closeStore } from "../../src/store/open_store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import {
  failNext,
  faultyDisk,
  healDisk,
  holdSyncs,
  releaseSyncs,
} from "../support/faulty_file_system.ts";
import type { ProducerFixture } from "../support/producer_fixture.ts";
import { withProducerOn } from "../support/producer_fixture.ts";
import { numbered, numberedText, settled, valuesIn, withStore } from "../support/store_fixture.ts";

/** A clock that knows which timers run. */
function countedClock(): ManualClock & { readonly running: Set<Timer> } {
  const inner = manualClock();
  const running = new Set<Timer>();
  const startTimer: Clock["startTimer"] = (callback, delayMs) => {
    const timer = inner.startTimer(() => {
      running.delete(timer);
      callback();
    }, delayMs);
    running.add(timer);
    return timer;
  };
  const stopTimer = (timer: Timer): void => {
    running.delete(timer);
    inner.stopTimer(timer);
  };
  return { ...inner, startTimer, stopTimer, running };
}

function withProducer(
  options: ProducerOptions,
  run: (fixture: ProducerFixture<ReturnType<typeof countedClock>>) => Promise<void>,
): Promise<void> {
  return withProducerOn({ clock: countedClock(), producer: options }, run);
}

function refusesAs(code: "BUFFER_EXHAUSTED" | "HANDLE_CLOSED" | "REQUEST_TIMED_OUT") {
  return (error: unknown): boolean => isOttlaError(error, code);
}

/** Holds no syncs any more. */
function letSyncsGo(disk: FaultyDisk): void {
  releaseSyncs(disk);
  disk.heldSyncs = undefined;
}

/** Whether a promise has an outcome by now. */
async function isDone(promise: Promise<unknown>): Promise<boolean> {
  const pending = {};
  const first = await Promise.race([promise.catch(() => {}), settled().then(() => pending)]);
  return first !== pending;
}

describe("lingering", () => {
  it("waits for more records, for so long and no longer", async () => {
    await withProducer({ lingerMs: 10 }, async ({ store, clock, producer }) => {
      const first = send(producer, "orders", { value: "v0" });
      await nextTurn();
      await clock.advance(9);
      const second = send(producer, "orders", { value: "v1" });
      await nextTurn();
      assert.equal(await isDone(first), false);
      await clock.advance(1);
      await Promise.all([first, second]);
      const third = send(producer, "orders", { value: "v2" });
      await clock.advance(10);
      await third;
      const counts: number[] = [];
      for await (const { recordCount } of readBatches(store, "orders")) counts.push(recordCount);
      assert.deepEqual(counts, [1, 2, 1]);
    });
  });

  it("is not made longer by a clock that is set back", async () => {
    const inner = manualClock();
    let setBackMs = 0;
    const clock = { ...inner, now: () => inner.now() - setBackMs };
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const producer = openProducer(store, { lingerMs: 10 });
      const sent = send(producer, "orders", { value: "v0" });
      setBackMs = 3_600_000;
      await inner.advance(10);
      await sent;
    }, { clock });
  });

  it("is over with the last batch, so that it keeps no process alive", async () => {
    await withProducer({ lingerMs: 10_000 }, async ({ clock, producer }) => {
      const { startTimer } = clock;
      let keepingCount = 0;
      clock.startTimer = (callback, delayMs, keepsAlive) => {
        if (keepsAlive === true) keepingCount++;
        return startTimer(callback, delayMs, keepsAlive);
      };
      const before = clock.running.size;
      const sent = send(producer, "orders", { value: "v0" });
      assert.equal(keepingCount, 1);
      assert.notEqual(producerInternals(producer).lingerTimer, undefined);
      await flushProducer(producer);
      await sent;
      assert.equal(producerInternals(producer).lingerTimer, undefined);
      assert.equal(clock.running.size, before);
      const next = send(producer, "orders", { value: "v1" });
      await clock.advance(10_000);
      await next;
    });
  });

  it("gives each partition its own time", async () => {
    const clock = manualClock();
    await withStore(async (store) => {
      await createTopic(store, "orders", { partitions: 2 });
      const producer = openProducer(store, { lingerMs: 10 });
      const first = send(producer, "orders", { value: "a", partition: 0 });
      await clock.advance(6);
      const second = send(producer, "orders", { value: "b", partition: 1 });
      await clock.advance(4);
      await first;
      await nextTurn();
      assert.equal(await isDone(second), false);
      await clock.advance(6);
      await second;
    }, { clock });
  });

  it("ends when a batch is full, at a flush and at the close", async () => {
    const options = { lingerMs: 10_000, batchBytes: 200 };
    await withProducer(options, async ({ producer }) => {
      const value = "x".repeat(50);
      const sent = Array.from({ length: 3 }, () => send(producer, "orders", { value }));
      await Promise.all(sent.slice(0, 2));
      assert.equal(await isDone(sent[2]!), false);
      await flushProducer(producer);
      await sent[2];
      const last = send(producer, "orders", { value });
      await closeProducer(producer);
      await last;
    });
  });
});

describe("the buffer", () => {
  const small = { bufferBytes: 12_000, batchBytes: 1000, blockMs: 100 };

  it("makes sends wait, lets them in in order, and fails them after blockMs", async () => {
    await withProducer(small, async ({ store, clock, disk, producer }) => {
      holdSyncs(disk);
      const sent = numbered(0, 100).map((record) => send(producer, "orders", record));
      const results = Promise.allSettled(sent);
      // What is written makes room; from then on there is none.
      for (let turn = 0; turn < 10; turn++) await nextTurn();
      const waiting = waitingCount(producerInternals(producer).waiting);
      assert.ok(waiting > 10 && waiting < 90, `${waiting} wait`);
      await clock.advance(99);
      assert.equal(await isDone(sent.at(-1)!), false);
      await clock.advance(1);
      assert.ok(await isDone(sent.at(-1)!));
      letSyncsGo(disk);
      const kept = 100 - waiting;
      for (const [index, result] of (await results).entries()) {
        assert.equal(result.status === "fulfilled", index < kept);
        if (result.status === "rejected") {
          assert.ok(isOttlaError(result.reason, "BUFFER_EXHAUSTED"));
          assert.match(result.reason.message, /orders: the producer's buffer of 12000 bytes/);
        }
      }
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, kept));
    });
  });

  it("gives each send its own blockMs", async () => {
    await withProducer(small, async ({ clock, disk, producer }) => {
      holdSyncs(disk);
      const results = Promise.allSettled(
        Array.from({ length: 100 }, () => send(producer, "orders", { value: "v" })),
      );
      // What is written makes room; from then on there is none.
      for (let turn = 0; turn < 10; turn++) await nextTurn();
      await clock.advance(60);
      const later = send(producer, "orders", { value: "later" });
      const refused = assert.rejects(later, refusesAs("BUFFER_EXHAUSTED"));
      await clock.advance(99);
      assert.equal(await isDone(later), false);
      await clock.advance(1);
      await refused;
      letSyncsGo(disk);
      await results;
    });
  });

  it("counts all that batches take, and nothing of what could not be encoded", async () => {
    const options = { lingerMs: 1000, batchBytes: 1_000_000 };
    await withProducer(options, async ({ clock, producer }) => {
      const internals = producerInternals(producer);
      let calls = 0;
      // Longer each time that it is looked at.
      const header = {
        key: "h",
        get value(): string {
          return "x".repeat(10 * calls++);
        },
      };
      const wrong = send(producer, "orders", { value: "v", headers: [header] });
      await assert.rejects(wrong, /^(Type|Range)Error/);
      assert.equal(internals.usedBytes, 0);
      const value = "x".repeat(1000);
      const sent = Array.from({ length: 50 }, () => send(producer, "orders", { value }));
      assert.ok(internals.usedBytes > 50_000, `${internals.usedBytes} of 50,000 bytes`);
      await clock.advance(1000);
      await Promise.all(sent);
      assert.equal(internals.usedBytes, 0);
    });
  });

  it("lets sends in when there is room, in the order of send", async () => {
    await withProducer({ ...small, lingerMs: 1000 }, async ({ store, clock, disk, producer }) => {
      holdSyncs(disk);
      const sent = numbered(0, 300).map((record) => send(producer, "orders", record));
      await nextTurn();
      letSyncsGo(disk);
      // Only the last batch waits for more, when nobody waits for room any more.
      while (waitingCount(producerInternals(producer).waiting) > 0) await nextTurn();
      await clock.advance(1000);
      await Promise.all(sent);
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 300));
      assert.equal(producerInternals(producer).usedBytes, 0);
    });
  });

  it("leaves out a send that was aborted while it waited, and one that cannot be stored", async () => {
    await withProducer(small, async ({ store, disk, producer }) => {
      holdSyncs(disk);
      const stop = new AbortController();
      const sent = numbered(0, 50).map((record) => send(producer, "orders", record));
      const aborted = send(producer, "orders", { value: "aborted" }, { signal: stop.signal });
      const wrong = send(producer, "orders", { value: 5 as never });
      const last = send(producer, "orders", { value: "v50" });
      const outcomes = Promise.allSettled([aborted, wrong]);
      stop.abort(new Error("enough"));
      letSyncsGo(disk);
      await Promise.all([...sent, last]);
      const [first, second] = await outcomes;
      assert.match(String(first.status === "rejected" && first.reason), /enough/);
      assert.match(String(second.status === "rejected" && second.reason), /TypeError: value/);
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 51));
    });
  });

  it("serializes what waits when its turn comes", async () => {
    await withProducer(small, async ({ disk, producer }) => {
      let count = 0;
      const counting: Serde<string> = {
        name: "counting",
        serialize: () => new Uint8Array(10 + 0 * count++),
        deserialize: String,
      };
      const topic = topicOf<string, string>("orders", { key: counting, value: counting });
      holdSyncs(disk);
      const sent = Array.from({ length: 200 }, () => send(producer, topic, { value: "x" }));
      await nextTurn();
      assert.ok(count < 60, `${count} serialized`);
      letSyncsGo(disk);
      await Promise.all(sent);
      assert.equal(count, 200);
    });
  });

  it("refuses a record that it could never take, and sends beyond those that may wait", async () => {
    await withProducer(small, async ({ clock, disk, producer }) => {
      await assert.rejects(
        send(producer, "orders", { value: new Uint8Array(13_000) }),
        (error) => isOttlaError(error, "MESSAGE_TOO_LARGE") && /bufferBytes/.test(error.message),
      );
      holdSyncs(disk);
      const sent: Promise<unknown>[] = [];
      while (waitingCount(producerInternals(producer).waiting) < waitingSendsMax) {
        sent.push(send(producer, "orders", { value: null }));
      }
      const refused = send(producer, "orders", { value: null });
      await assert.rejects(refused, refusesAs("BUFFER_EXHAUSTED"));
      const results = Promise.allSettled(sent);
      const closing = closeProducer(producer, { timeoutMs: 1 });
      await clock.advance(1);
      await Promise.all([closing, results]);
      letSyncsGo(disk);
    });
  });
});

describe("a clock that is set back", () => {
  it("keeps nobody waiting until the old time comes again", async () => {
    const inner = manualClock();
    const hourMs = 3_600_000;
    let setBackMs = 0;
    const clock = { ...inner, now: () => inner.now() - setBackMs };
    const disk = faultyDisk();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const options = { bufferBytes: 12_000, blockMs: 500, deliveryTimeoutMs: 1_000 };
      const producer = openProducer(store, options);
      const first = send(producer, "orders", { value: "first" });
      await flushProducer(producer);
      await first;
      failNext(disk, { operation: "write", code: "ENOSPC", path: "orders-0", times: 10_000 });
      const sent = numbered(0, 100).map((record) => send(producer, "orders", record));
      const results = Promise.allSettled(sent);
      await nextTurn();
      assert.ok(waitingCount(producerInternals(producer).waiting) > 10);
      setBackMs = hourMs;
      await inner.advance(499);
      assert.equal(await isDone(Promise.race(sent)), false);
      for (let n = 0; n < 25; n++) {
        await nextTurn();
        await inner.advance(100);
      }
      assert.equal(await isDone(results), true);
      for (const result of await results) assert.equal(result.status, "rejected");
      healDisk(disk);
    }, { clock, fileSystem: disk.fs });
  });
});

describe("the time of a send", () => {
  it("is not that of one long before, which failed when it had asked for it", async () => {
    const machineTime = Date.now;
    let nowMs = machineTime();
    Date.now = () => nowMs;
    try {
      const disk = faultyDisk();
      await withStore(async (store) => {
        await createTopic(store, "orders");
        const producer = openProducer(store, { bufferBytes: 5000, batchBytes: 1000 });
        await send(producer, "orders", { value: "first" });
        holdSyncs(disk);
        const sent = Array.from({ length: 30 }, () => send(producer, "orders", { value: "v" }));
        while (producerInternals(producer).isTurnDue) await nextTurn();
        const wrong = send(producer, "orders", { value: "x", timestamp: NaN });
        await assert.rejects(wrong, /^RangeError: timestamp/);
        nowMs += 60_000;
        // As soon as those who wait are let in, in the same turn.
        const last = sent[0]!.then(settled).then(() => send(producer, "orders", { value: "l" }));
        letSyncsGo(disk);
        assert.equal((await last).timestamp, nowMs);
        await Promise.all(sent);
      }, { fileSystem: disk.fs });
    } finally {
      Date.now = machineTime;
    }
  });
});

describe("flushing", () => {
  it("waits for what was sent before, waiting sends included, and not for what comes later", async () => {
    const options = { lingerMs: 1000, bufferBytes: 12_000, batchBytes: 1000 };
    await withProducer(options, async ({ store, disk, producer }) => {
      holdSyncs(disk);
      const sent = Promise.all(numbered(0, 100).map((each) => send(producer, "orders", each)));
      const flushing = flushProducer(producer);
      await nextTurn();
      assert.equal(await isDone(flushing), false);
      letSyncsGo(disk);
      await flushing;
      await sent;
      const later = send(producer, "orders", { value: "v100" });
      await flushProducer(producer);
      await later;
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 101));
    });
  });

  it("is done at once when there is nothing, and refused when closed", async () => {
    await withProducer({}, async ({ producer }) => {
      await flushProducer(producer);
      await closeProducer(producer);
      await assert.rejects(flushProducer(producer), refusesAs("HANDLE_CLOSED"));
    });
  });
});

describe("closing", () => {
  it("stores what was sent, refuses what comes, and leaves no timer", async () => {
    const options = { lingerMs: 5000, bufferBytes: 12_000, batchBytes: 1000 };
    await withProducer(options, async ({ store, clock, disk, producer }) => {
      const timersBefore = new Set(clock.running);
      timersBefore.delete(producerInternals(producer).deliveryTimer);
      holdSyncs(disk);
      const sent = Promise.all(numbered(0, 100).map((each) => send(producer, "orders", each)));
      const closing = closeProducer(producer, { timeoutMs: 10_000 });
      await assert.rejects(
        send(producer, "orders", { value: "late" }),
        refusesAs("HANDLE_CLOSED"),
      );
      letSyncsGo(disk);
      await Promise.all([closing, closeProducer(producer)]);
      await sent;
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 100));
      assert.deepEqual([...clock.running].filter((timer) => !timersBefore.has(timer)), []);
      const { closers, abandoners, topicWatchers } = internalsOf(store);
      assert.equal(closers.size + abandoners.size + topicWatchers.size, 0);
    });
  });

  it("gives up after the time, and says what was written", async () => {
    const options = { bufferBytes: 12_000, batchBytes: 1000 };
    await withProducer(options, async ({ clock, disk, producer }) => {
      holdSyncs(disk);
      const results = Promise.allSettled(
        numbered(0, 100).map((each) => send(producer, "orders", each)),
      );
      const closing = closeProducer(producer, { timeoutMs: 50 });
      await nextTurn();
      await clock.advance(50);
      await closing;
      const messages = (await results).map((result) =>
        result.status === "rejected" ? String(result.reason.message) : "fulfilled"
      );
      assert.match(messages[0]!, /was written, but not known to be on disk when/);
      assert.match(messages[99]!, /was not written when the producer was closed/);
      letSyncsGo(disk);
    });
  });

  it("gives up after the shortest time that anyone gave", async () => {
    await withProducer({}, async ({ clock, disk, producer }) => {
      holdSyncs(disk);
      const sent = send(producer, "orders", { value: "v0" });
      const failed = assert.rejects(sent, refusesAs("HANDLE_CLOSED"));
      const closings = [{ timeoutMs: 1000 }, { timeoutMs: 50 }, { timeoutMs: 500 }, {}].map(
        (options) => closeProducer(producer, options),
      );
      await nextTurn();
      await clock.advance(49);
      assert.equal(await isDone(closings[1]!), false);
      await clock.advance(1);
      await Promise.all([failed, ...closings]);
      letSyncsGo(disk);
    });
  });

  it("of the store stores what was sent", async () => {
    await withProducer({ lingerMs: 5000 }, async ({ store, producer }) => {
      const sent = send(producer, "orders", { value: "v0" });
      await closeStore(store);
      assert.equal((await sent).offset, 1);
      await assert.rejects(
        send(producer, "orders", { value: "late" }),
        refusesAs("HANDLE_CLOSED"),
      );
      await closeProducer(producer);
    });
  });

  it("of the store as a crash fails everything at once", async () => {
    const options = { lingerMs: 5000, bufferBytes: 12_000, batchBytes: 1000 };
    await withProducer(options, async ({ store, clock, producer }) => {
      const sent = numbered(0, 100).map((each) => send(producer, "orders", each));
      const flushing = flushProducer(producer);
      const results = Promise.allSettled(sent);
      abandonStore(store);
      for (const result of await results) {
        assert.ok(result.status === "rejected" && isOttlaError(result.reason, "HANDLE_CLOSED"));
      }
      await flushing;
      const { lingerTimer, deliveryTimer, blockTimer } = producerInternals(producer);
      assert.deepEqual([lingerTimer, deliveryTimer, blockTimer], [undefined, undefined, undefined]);
      await clock.advance(1_000_000);
    });
  });

  it("in the middle of a send makes it fail", async () => {
    await withProducer({}, async ({ store }) => {
      const producer = openProducer(store, {
        partitioner() {
          abandonStore(store);
          return 0;
        },
      });
      const sent = send(producer, "orders", { key: "k" });
      await assert.rejects(sent, refusesAs("HANDLE_CLOSED"));
      assert.equal(producerInternals(producer).usedBytes, 0);
      assert.equal(producerInternals(producer).unsettled.size, 0);
    });
  });

  it("comes with the end of a block", async () => {
    await withProducer({}, async ({ store }) => {
      const producer = openProducer(store, { lingerMs: 1000 });
      const sent = send(producer, "orders", { value: "v0" });
      await producer[Symbol.asyncDispose]();
      await sent;
    });
  });
});
