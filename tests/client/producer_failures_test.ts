/** What a producer does when disks fail, records do not fit, and topics go. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { append } from "../../src/client/append.ts";
import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { ProducerOptions } from "../../src/client/producer_options.ts";
import { producerInternals } from "../../src/client/producer_state.ts";
import { readBatches } from "../../src/client/read.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { releaseStoreLock } from "../../src/platform/store_lock.ts";
import { baseSequenceOf, producerEpochOf, producerIdOf } from "../../src/record/batch_view.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { alterTopic, createTopic, deleteTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import {
  failNext,
  faultyDisk,
  healDisk,
  holdSyncs,
  releaseSyncs,
} from "../support/faulty_file_system.ts";
import type { ProducerFixture } from "../support/producer_fixture.ts";
import { withProducerOn } from "../support/producer_fixture.ts";
import {
  crashStore,
  numbered,
  numberedText,
  settled,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

function withProducer(
  options: ProducerOptions,
  run: (fixture: ProducerFixture) => Promise<void>,
  store: StoreOptions = {},
): Promise<void> {
  const producer = { partitioner: () => 0, ...options };
  return withProducerOn({ clock: manualClock(), producer, partitions: 2, store }, run);
}

function failsWith(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

/** The numbers of each batch: its producer id and epoch, its first sequence, and its records. */
async function numbersIn(store: Store, topic: string): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of readBatches(store, topic, { partition: 0 })) {
    const { recordCount } = batch;
    found.push(
      `${producerIdOf(batch)}/${producerEpochOf(batch)}: ${baseSequenceOf(batch)}+${recordCount}`,
    );
  }
  return found;
}

const full = { operation: "write", code: "ENOSPC", path: "orders-0" } as const;

describe("retrying", () => {
  it("stores a batch once and in its place when the disk has room again", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      // A part of the batch, or all of it, reaches the file before the write fails.
      failNext(disk, { ...full, times: 2, shortBytes: 20 });
      failNext(disk, { ...full, shortBytes: 100_000 });
      const first = send(producer, "orders", { value: "v0" });
      await nextTurn();
      const second = send(producer, "orders", { value: "v1" });
      const elsewhere = send(producer, "orders", { value: "other", partition: 1 });
      assert.equal((await elsewhere).partition, 1);
      await clock.advance(100 * 1.2 + 200 * 1.2 + 400 * 1.2);
      assert.deepEqual([(await first).offset, (await second).offset], [1, 2]);
      const values = await valuesIn(store, "orders", { partition: 0 });
      assert.deepEqual(values, ["first", "v0", "v1"]);
      assert.deepEqual(await numbersIn(store, "orders"), ["0/0: 0+1", "0/0: 1+1", "0/0: 2+1"]);
    });
  });

  it("waits longer each time, up to a limit", async () => {
    const options = { retryBackoffMs: 100, retryBackoffMaxMs: 300 };
    await withProducer(options, async ({ clock, disk, producer }) => {
      const triedAt: number[] = [];
      failNext(disk, { ...full, times: 5 });
      const start = clock.now();
      const sent = send(producer, "orders", { value: "v0" });
      await nextTurn();
      for (let attempts = 1; clock.now() < start + 2000; await clock.advance(1)) {
        const batch = [...producerInternals(producer).unsettled][0];
        if (batch !== undefined && batch.attempts >= attempts) {
          attempts = batch.attempts + 1;
          triedAt.push(clock.now());
        }
      }
      await sent;
      const waits = triedAt.slice(1).map((at, index) => at - triedAt[index]!);
      for (const [index, wanted] of [100, 200, 300, 300].entries()) {
        assert.ok(
          waits[index]! >= wanted * 0.8 - 1 && waits[index]! <= wanted * 1.2 + 1,
          `${waits}`,
        );
      }
    });
  });

  it("goes on without a pause for as often as it takes", async () => {
    await withProducer({ retryBackoffMs: 0 }, async ({ clock, disk, producer }) => {
      failNext(disk, { ...full, times: 2000 });
      const sent = send(producer, "orders", { value: "v0" });
      await nextTurn();
      await clock.advance(1);
      assert.equal((await sent).offset, 1);
    });
  });

  it("ends after as many times as are allowed; what follows begins a new epoch", async () => {
    await withProducer({ retries: 1 }, async ({ store, clock, disk, producer }) => {
      failNext(disk, { ...full, times: 2 });
      const sent = send(producer, "orders", { value: "lost" });
      const failed = assert.rejects(sent, failsWith("DISK_FULL"));
      await nextTurn();
      await clock.advance(200);
      await failed;
      await send(producer, "orders", { value: "v0" });
      await send(producer, "orders", { value: "v1" });
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "v0", "v1"]);
      assert.deepEqual(await numbersIn(store, "orders"), ["0/0: 0+1", "0/1: 0+1", "0/1: 1+1"]);
    });
  });

  it("ends after deliveryTimeoutMs, for what is behind as well", async () => {
    const options = { deliveryTimeoutMs: 1000 };
    await withProducer(options, async ({ store, clock, disk, producer }) => {
      failNext(disk, { ...full, times: 1000 });
      const sent = [send(producer, "orders", { value: "a" })];
      await nextTurn();
      sent.push(send(producer, "orders", { value: "b" }, { ack: "os" }));
      const results = Promise.allSettled(sent);
      await clock.advance(500);
      const later = send(producer, "orders", { value: "c" });
      await clock.advance(500);
      for (const result of await results) {
        const reason: unknown = result.status === "rejected" ? result.reason : undefined;
        assert.ok(isOttlaError(reason, "REQUEST_TIMED_OUT"));
        assert.match(reason.message, /to orders-0 within 1000 ms .*: it was not written$/);
      }
      assert.ok(isOttlaError((await sent[0]!.catch((error) => error)).cause, "DISK_FULL"));
      healDisk(disk);
      await clock.advance(499);
      assert.equal((await later).offset, 1);
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "c"]);
    });
  });

  it("ends for each batch in its own time", async () => {
    await withProducer({ deliveryTimeoutMs: 1000 }, async ({ clock, disk, producer }) => {
      failNext(disk, { ...full, path: "orders-", times: 1000 });
      const start = clock.now();
      const failedAfterMs: number[] = [];
      const failing: Promise<void>[] = [];
      for (let waitedMs = 0; waitedMs < 2000; waitedMs += 100) {
        if (waitedMs === 0 || waitedMs === 400) {
          const sent = send(producer, "orders", { value: "v", partition: failing.length });
          const failed = assert.rejects(sent, failsWith("REQUEST_TIMED_OUT"));
          failing.push(failed.then(() => void failedAfterMs.push(clock.now() - start)));
        }
        await nextTurn();
        await clock.advance(100);
        await settled();
      }
      await Promise.all(failing);
      assert.deepEqual(failedAfterMs, [1000, 1400]);
      healDisk(disk);
    });
  });

  it("puts a batch behind what others appended meanwhile", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, full);
      const sent = send(producer, "orders", { value: "v0" });
      await nextTurn();
      await append(store, "orders", { value: "other", partition: 0 });
      await clock.advance(200);
      assert.equal((await sent).offset, 2);
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "other", "v0"]);
    });
  });

  it("takes a new id where the last epoch was used up", async () => {
    await withProducer({ retries: 0 }, async ({ store, disk, producer }) => {
      const internals = producerInternals(producer);
      const { producerId } = internals.identity!;
      internals.identity = { producerId, producerEpoch: 32_766 };
      await send(producer, "orders", { value: "v0" });
      failNext(disk, full);
      await assert.rejects(send(producer, "orders", { value: "lost" }), failsWith("DISK_FULL"));
      await send(producer, "orders", { value: "v1" });
      assert.deepEqual(await numbersIn(store, "orders"), [
        `${producerId}/0: 0+1`,
        `${producerId}/32766: 0+1`,
        `${producerId + 1}/0: 0+1`,
      ]);
    });
  });

  it("ends at once when the folder is somebody else's", async () => {
    const lost = withProducer({}, async ({ store, clock, disk, producer }) => {
      failNext(disk, { ...full, times: 1000 });
      const sent = send(producer, "orders", { value: "v0" });
      const failed = assert.rejects(sent, failsWith("STORE_LOCKED"));
      await nextTurn();
      releaseStoreLock(internalsOf(store).lock);
      await clock.advance(200);
      await failed;
      await assert.rejects(
        send(producer, "orders", { value: "v1" }),
        failsWith("STORE_LOCKED"),
      );
    });
    await assert.rejects(lost, failsWith("STORE_LOCKED"));
  });

  it("ends for what waits for the disk, which says that it is written", async () => {
    await withProducer({ deliveryTimeoutMs: 1000 }, async ({ store, clock, disk, producer }) => {
      holdSyncs(disk);
      const sent = send(producer, "orders", { value: "v0" });
      const failed = assert.rejects(sent, /within 1000 ms .*: it is written, but not known to be/);
      await nextTurn();
      await clock.advance(1000);
      await failed;
      releaseSyncs(disk);
      disk.heldSyncs = undefined;
      await send(producer, "orders", { value: "v1" });
      assert.deepEqual(await valuesIn(store, "orders"), ["first", "v0", "v1"]);
      assert.deepEqual(await numbersIn(store, "orders"), ["0/0: 0+1", "0/0: 1+1", "0/0: 2+1"]);
    });
  });

  it("does not try again what a failed sync has left unknown", async () => {
    await withProducer({}, async ({ disk, producer }) => {
      failNext(disk, { operation: "sync", code: "EIO", path: "orders-0" });
      const sent = [0, 1].map((n) => send(producer, "orders", { value: `v${n}` }));
      const results = await Promise.allSettled([...sent, flushProducer(producer)]);
      assert.deepEqual(results.map(({ status }) => status), ["rejected", "rejected", "fulfilled"]);
      await assert.rejects(
        send(producer, "orders", { value: "x" }),
        failsWith("KAFKA_STORAGE_ERROR"),
      );
      assert.equal((await send(producer, "orders", { value: "y", partition: 1 })).offset, 0);
    }).catch((error) => {
      // The store says at its close what the disk has lost.
      if (!isOttlaError(error, "KAFKA_STORAGE_ERROR")) throw error;
    });
  });

  it("goes for the producer's id as well", async () => {
    const clock = manualClock();
    const disk = faultyDisk();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      const path = "__cluster_metadata-0";
      failNext(disk, { operation: "write", code: "ENOSPC", path, times: 2 });
      const producer = openProducer(store, { retryBackoffMs: 10 });
      const sent = numbered(0, 3).map((record) => send(producer, "orders", record));
      for (let n = 0; n < 10; n++) {
        await nextTurn();
        await clock.advance(10);
      }
      await Promise.all(sent);
      assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 3));

      failNext(disk, { operation: "write", code: "ENOSPC", path, times: 1 });
      // The next id needs a new block.
      const { producerIds } = internalsOf(store);
      producerIds.next = producerIds.end;
      const hopeless = openProducer(store, { retries: 0 });
      await assert.rejects(send(hopeless, "orders", { value: "x" }), failsWith("DISK_FULL"));
      await send(hopeless, "orders", { value: "v3" });
    }, { clock, fileSystem: disk.fs });
  });

  it("for the id ends with the last batch that waits for it", async () => {
    const clock = manualClock();
    const disk = faultyDisk();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      failNext(disk, {
        operation: "write",
        code: "ENOSPC",
        path: "__cluster_metadata-0",
        times: 1000,
      });
      const producer = openProducer(store, { deliveryTimeoutMs: 300 });
      const sent = send(producer, "orders", { value: "lost" });
      const failed = assert.rejects(sent, failsWith("REQUEST_TIMED_OUT"));
      for (let n = 0; n < 20; n++) {
        await nextTurn();
        await clock.advance(100);
      }
      await failed;
      assert.equal(producerInternals(producer).identityTimer, undefined);
      const { failed: askedCount } = disk.faults[0]!;
      assert.ok(askedCount > 1);
      await clock.advance(10_000);
      await nextTurn();
      assert.equal(disk.faults[0]!.failed, askedCount, "nobody asks any more");
      healDisk(disk);
      assert.equal((await send(producer, "orders", { value: "v0" })).offset, 0);
    }, { clock, fileSystem: disk.fs });
  });

  it("for the id ends at once where the metadata log takes nothing any more", async () => {
    const clock = manualClock();
    const disk = faultyDisk();
    const poisoned = withStore(async (store) => {
      await createTopic(store, "orders");
      failNext(disk, { operation: "sync", code: "EIO", path: "__cluster_metadata-0" });
      const producer = openProducer(store);
      for (const value of ["a", "b"]) {
        await assert.rejects(
          send(producer, "orders", { value }),
          failsWith("KAFKA_STORAGE_ERROR"),
        );
      }
      const plain = openProducer(store, { idempotent: false });
      assert.equal((await send(plain, "orders", { value: "v0" })).offset, 0);
    }, { clock, fileSystem: disk.fs });
    await assert.rejects(poisoned, failsWith("KAFKA_STORAGE_ERROR"));
  });

  it("ends at once when the store is closed", async () => {
    await withProducer({}, async ({ store, disk, producer }) => {
      failNext(disk, { ...full, times: 2 });
      const sent = send(producer, "orders", { value: "v0" });
      const failed = assert.rejects(sent, failsWith("DISK_FULL"));
      await nextTurn();
      await closeStore(store);
      await failed;
    });
  });
});

describe("what does not fit", () => {
  it("fails alone", async () => {
    await withProducer({}, async ({ store, producer }) => {
      await alterTopic(store, "orders", { maxMessageBytes: 1000 });
      const sent = [
        send(producer, "orders", { value: "v0" }),
        send(producer, "orders", { value: "x".repeat(2000) }),
        send(producer, "orders", { value: "v1" }),
      ];
      await assert.rejects(sent[1]!, failsWith("MESSAGE_TOO_LARGE"));
      assert.deepEqual([(await sent[0]!).offset, (await sent[2]!).offset], [1, 2]);
      assert.deepEqual(await numbersIn(store, "orders"), ["0/0: 0+1", "0/0: 1+1", "0/0: 2+1"]);
    });
  });

  it("is split if it is many records: the topic's limit has been lowered meanwhile", async () => {
    await withProducer({ lingerMs: 100 }, async ({ store, clock, disk, producer }) => {
      const sent = numbered(0, 50).map((record) =>
        send(producer, "orders", { ...record, headers: [{ key: "h", value: "1" }] })
      );
      const large = send(producer, "orders", { value: "x".repeat(500) });
      const failed = assert.rejects(large, failsWith("MESSAGE_TOO_LARGE"));
      await alterTopic(store, "orders", { maxMessageBytes: 300 });
      holdSyncs(disk);
      await clock.advance(100);
      await failed;
      let isFlushed = false;
      const flushing = flushProducer(producer).then(() => void (isFlushed = true));
      await settled();
      assert.equal(isFlushed, false, "the parts are not on disk");
      while (releaseSyncs(disk) > 0) await nextTurn();
      disk.heldSyncs = undefined;
      await flushing;
      const offsets = (await Promise.all(sent)).map(({ offset }) => offset);
      assert.deepEqual(offsets, Array.from({ length: 50 }, (_, index) => index + 1));
      assert.ok(isFlushed);
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), numberedText(0, 50));
      assert.equal(producerInternals(producer).usedBytes, 0);
    });
  });

  it("is not known before it is compressed", async () => {
    await withProducer({ compression: "gzip" }, async ({ store, producer }) => {
      await alterTopic(store, "orders", { maxMessageBytes: 1000 });
      const value = "x".repeat(5000);
      await send(producer, "orders", { value });
      assert.deepEqual((await valuesIn(store, "orders")).slice(1), [value]);
    });
  });
});

describe("a topic that is deleted", () => {
  it("makes what is under way fail; one of the same name begins anew", async () => {
    const options = { lingerMs: 1000, bufferBytes: 12_000, batchBytes: 1000 };
    const clock = manualClock();
    const disk = faultyDisk();
    await withStore(async (store) => {
      await createTopic(store, "orders");
      await createTopic(store, "others");
      const producer = openProducer(store, options);
      holdSyncs(disk);
      const sent = numbered(0, 100).map((record) => send(producer, "orders", record));
      const other = send(producer, "others", { value: "o" });
      const results = Promise.allSettled(sent);
      await nextTurn();
      disk.heldSyncs!.splice(0).forEach((release) => release());
      disk.heldSyncs = undefined;
      await deleteTopic(store, "orders");
      for (const result of await results) {
        if (result.status === "fulfilled") continue;
        assert.ok(isOttlaError(result.reason, "UNKNOWN_TOPIC_OR_PARTITION"), `${result.reason}`);
      }
      await assert.rejects(
        send(producer, "orders", { value: "x" }),
        failsWith("UNKNOWN_TOPIC_OR_PARTITION"),
      );
      await createTopic(store, "orders");
      const again = send(producer, "orders", { value: "again" });
      await flushProducer(producer);
      assert.equal((await again).offset, 0);
      assert.equal((await other).offset, 0);
      await closeProducer(producer);
      assert.equal(producerInternals(producer).usedBytes, 0);
    }, { clock, fileSystem: disk.fs });
  });
});

describe("a topic whose deletion fails in the middle", () => {
  it("is gone for producers as well, and one of the same name begins anew", async () => {
    await withProducer({ lingerMs: 1000 }, async ({ store, clock, disk, producer }) => {
      const sent = send(producer, "orders", { value: "lost" });
      const failed = assert.rejects(sent, failsWith("UNKNOWN_TOPIC_OR_PARTITION"));
      failNext(disk, { operation: "rename", code: "EBUSY", path: "orders-0" });
      await assert.rejects(deleteTopic(store, "orders"));
      await failed;
      assert.equal(producerInternals(producer).routes.size, 0);
      await createTopic(store, "orders");
      const again = send(producer, "orders", { value: "again" });
      await clock.advance(1000);
      assert.equal((await again).offset, 0);
    });
  });
});

describe("a topic that becomes compacted", () => {
  it("takes none of the records without keys that wait to be written", async () => {
    await withProducer({ lingerMs: 100 }, async ({ store, clock, producer }) => {
      const keys = ["a", null, "b", "c", null, null, "d"];
      const sent = keys.map((key) => send(producer, "orders", { key, value: `v-${key}` }));
      const results = Promise.allSettled(sent);
      await alterTopic(store, "orders", { cleanupPolicy: "compact" });
      await clock.advance(100);
      for (const [index, result] of (await results).entries()) {
        if (result.status === "fulfilled") assert.notEqual(keys[index], null);
        else assert.ok(isOttlaError(result.reason, "INVALID_RECORD"), String(result.reason));
      }
      const values = ["first", "v-a", "v-b", "v-c", "v-d"];
      assert.deepEqual(await valuesIn(store, "orders"), values);
      const last = send(producer, "orders", { key: "e" });
      await clock.advance(100);
      assert.equal((await last).offset, 5);
      const batches = await numbersIn(store, "orders");
      assert.equal(batches.at(-1), "0/0: 5+1");
      assert.equal(producerInternals(producer).usedBytes, 0);
    });
  });
});

describe("a crash", () => {
  it("leaves what was acknowledged at disk", async () => {
    await withProducer({}, async ({ store, clock, disk, producer }) => {
      await Promise.all(numbered(0, 20).map((record) => send(producer, "orders", record)));
      crashStore(store, disk.fs);
      await withStore(async (reopened) => {
        assert.deepEqual((await valuesIn(reopened, "orders")).slice(1), numberedText(0, 20));
      }, { clock, fileSystem: disk.fs });
    });
  });
});
