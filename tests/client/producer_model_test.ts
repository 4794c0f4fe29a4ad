/**
 * What producers promise, whatever happens: a record that was acknowledged is there once, at its
 * offset and in the order of `send`; one that was refused is not there, or its error says that it
 * may be; every send has an outcome, and no memory is kept.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { ProducerOptions } from "../../src/client/producer_options.ts";
import type { Producer } from "../../src/client/producer_state.ts";
import { producerInternals } from "../../src/client/producer_state.ts";
import type { RecordMetadata } from "../../src/client/append.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { Ack } from "../../src/log/log.ts";
import { expireProducers } from "../../src/log/producer_state.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { enforceRetention, writeCheckpoints } from "../../src/store/maintenance.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { allPartitions } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { alterTopic, createTopic, deleteRecords, describeTopic } from "../../src/store/topics.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import type { FaultyDisk, FaultyOperation } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { assertProperty } from "../support/properties.ts";
import {
  crashStore,
  openTestStore,
  recordsIn,
  removeLocks,
  textOf,
} from "../support/store_fixture.ts";

const partitionCount = 2;

interface Sent {
  readonly value: string;
  readonly partition: number;
  readonly ack: Ack;
  outcome: RecordMetadata | undefined;
  error: unknown;
  isSettled: boolean;
}

interface World {
  readonly clock: ManualClock;
  readonly disk: FaultyDisk;
  readonly store: Store;
  readonly producer: Producer;
  readonly sent: Sent[];
}

type Step = (world: World) => void | Promise<unknown>;

const anySend: fc.Arbitrary<Step> = fc.record({
  partition: fc.nat({ max: partitionCount - 1 }),
  ack: fc.constantFrom<Ack>("disk", "disk", "os", "memory"),
  size: fc.oneof(fc.nat({ max: 40 }), fc.constantFrom(200, 900, 3000)),
  count: fc.constantFrom(1, 1, 3, 20),
  isAborted: fc.constantFrom(false, false, false, true),
}).map(({ partition, ack, size, count, isAborted }) => ({ producer, sent }) => {
  for (let left = count; left > 0; left--) {
    const value = `${sent.length}:`.padEnd(size, "x");
    const one: Sent = {
      value,
      partition,
      ack,
      outcome: undefined,
      error: undefined,
      isSettled: false,
    };
    sent.push(one);
    const controller = new AbortController();
    const record = { key: "k", value, partition };
    send(producer, "orders", record, isAborted ? { ack, signal: controller.signal } : { ack }).then(
      (outcome) => Object.assign(one, { outcome, isSettled: true }),
      (error) => Object.assign(one, { error, isSettled: true }),
    );
    controller.abort(new Error("the caller does not wait: it may be stored"));
  }
});

const anyFault: fc.Arbitrary<Step> = fc.record({
  operation: fc.constantFrom<FaultyOperation>(
    "write",
    "write",
    "write",
    "open",
    "rename",
    "truncate",
    "sync",
    "syncFolder",
    "remove",
  ),
  code: fc.constantFrom("ENOSPC", "EIO"),
  after: fc.nat({ max: 3 }),
  times: fc.constantFrom(1, 1, 3, 50),
  shortBytes: fc.constantFrom(0, 30, 100_000),
  path: fc.constantFrom("orders-0", "orders-1", "orders-", ".snapshot", "__cluster_metadata"),
}).map((fault) => ({ disk }) => failNext(disk, fault));

/** What the store does, or is told, between the sends; any of it may fail with the disk. */
const anyWork: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom<Step>(
    () => nextTurn(),
    () => nextTurn(),
    ({ disk }) => healDisk(disk),
    ({ clock }) => clock.advance(5),
    ({ clock }) => clock.advance(150),
    ({ clock }) => clock.advance(1_500),
    ({ store }) => enforceRetention(store),
    ({ store }) => writeCheckpoints(internalsOf(store)),
    ({ producer }) => void flushProducer(producer).catch(() => {}),
    ({ store }) => void forgetProducers(store),
    ({ store }) => deleteRecords(store, "orders", 0, -1),
    ({ store }) => alterTopic(store, "orders", { cleanupPolicy: "delete", retentionBytes: 2_000 }),
  ),
  fc.constantFrom(100, 300, 5_000).map((maxMessageBytes): Step => ({ store }) =>
    alterTopic(store, "orders", { maxMessageBytes })
  ),
);

function forgetProducers(store: Store): void {
  for (const { log } of allPartitions(internalsOf(store))) {
    if (log !== undefined) expireProducers(log.producers, Infinity);
  }
}

const anyOptions: fc.Arbitrary<ProducerOptions> = fc.record({
  lingerMs: fc.constantFrom(0, 5),
  batchBytes: fc.constantFrom(1, 300, 5_000),
  bufferBytes: fc.constantFrom(6_000, 1_000_000),
  blockMs: fc.constantFrom(0, 1_000),
  deliveryTimeoutMs: fc.constantFrom(50, 1_000, 100_000),
  retries: fc.constantFrom(0, 1, 1_000),
  idempotent: fc.boolean(),
  compression: fc.constantFrom("none" as const, "gzip" as const),
});

/** How it ends: properly, soon, with the store, or not at all. */
const anyEnd = fc.constantFrom("close", "timeout", "store", "crash", "powerCut");

/** Moves time on until a promise has an outcome. */
async function driven<T>(clock: ManualClock, promise: Promise<T>): Promise<T> {
  let isDone = false;
  const watched = promise.finally(() => void (isDone = true));
  watched.catch(() => {});
  for (let turn = 0; !isDone; turn++) {
    assert.ok(turn < 10_000, "nothing hangs");
    await nextTurn();
    await clock.advance(100);
  }
  return await watched;
}

/** Runs a step; what a failing disk makes of it is no matter. */
async function take(world: World, step: Step): Promise<void> {
  try {
    await step(world);
  } catch (error) {
    const isOfDisk = error instanceof Error && "code" in error && error.code !== "ERR_ASSERTION";
    if (!isOfDisk) throw error;
  }
}

const expectedCodes: readonly (ErrorCode | undefined)[] = [
  "DISK_FULL",
  "KAFKA_STORAGE_ERROR",
  "REQUEST_TIMED_OUT",
  "BUFFER_EXHAUSTED",
  "HANDLE_CLOSED",
  "MESSAGE_TOO_LARGE",
];

/** A disk, a limit or the caller's own signal, and never a number that does not follow. */
function isExpected(error: unknown): boolean {
  if (isOttlaError(error)) return expectedCodes.includes(error.code);
  return error instanceof Error && error.message.startsWith("the caller");
}

/** Whether an error allows for the record to be there. */
function mayBeThere(error: unknown): boolean {
  const text = String(error);
  return /is written, but not|was written, but not|may not be on disk|it may be stored/.test(text);
}

/** Holds what is in the log against what was promised. */
async function checkRecords(
  { sent }: World,
  store: Store,
  isKept: (one: Sent) => boolean,
): Promise<void> {
  const { partitions } = describeTopic(store, "orders");
  for (const { partition, startOffset, failure } of partitions) {
    assert.equal(failure, undefined);
    const records = await recordsIn(store, "orders", { partition });
    const offsets = new Map(records.map(({ value, offset }) => [textOf(value), offset]));
    assert.equal(offsets.size, records.length, "no record is there twice");
    const order = records.map(({ value }) => Number(textOf(value).split(":")[0]));
    assert.deepEqual(order, order.toSorted((a, b) => a - b), "they are in the order of send");
    for (const one of sent) {
      if (one.partition !== partition) continue;
      const offset = offsets.get(one.value);
      if (one.outcome !== undefined) {
        const isGone = one.outcome.offset < startOffset || !isKept(one);
        if (!isGone) assert.equal(offset, one.outcome.offset, `${one.value} is where it was put`);
      } else if (offset !== undefined) {
        assert.ok(mayBeThere(one.error), `${one.value} is there, but: ${one.error}`);
      }
    }
  }
}

async function runModel(
  options: ProducerOptions,
  steps: readonly Step[],
  end: string,
): Promise<void> {
  const clock = manualClock();
  const disk = faultyDisk();
  const overrides = { topicOverrides: { segmentBytes: 4_096 }, clock };
  const store = await openTestStore(disk.fs, overrides);
  await createTopic(store, "orders", { partitions: partitionCount, maxMessageBytes: 5_000 });
  const producer = openProducer(store, options);
  const world: World = { clock, disk, store, producer, sent: [] };
  for (const step of steps) await take(world, step);
  let left = disk;
  if (end === "close") await driven(clock, closeProducer(producer));
  if (end === "timeout") await driven(clock, closeProducer(producer, { timeoutMs: 200 }));
  if (end === "powerCut") left = crashDisk(disk);
  if (end === "crash" || end === "powerCut") {
    crashStore(store, disk.inner);
    await nextTurn();
  } else {
    if (end !== "store") healDisk(disk);
    await driven(clock, closeStore(store)).catch((error) => assert.ok(isOttlaError(error), error));
    crashStore(store, disk.inner);
  }
  for (const { value, isSettled, outcome, error } of world.sent) {
    assert.ok(isSettled, `${value} has an outcome`);
    if (outcome === undefined) assert.ok(isExpected(error), `${value} got ${error}`);
  }
  assert.equal(producerInternals(producer).usedBytes, 0);
  assert.equal(producerInternals(producer).unsettled.size, 0);

  healDisk(left);
  removeLocks(left.fs);
  const reopened = await openTestStore(left.fs, overrides);
  // A power cut takes what nobody has waited for; so does the end of a process with its memory.
  const isCut = end === "powerCut";
  await checkRecords(world, reopened, ({ ack }) => ack === "disk" || (ack === "os" && !isCut));
  await closeStore(reopened);
}

describe("a producer, whatever happens", () => {
  it("keeps what it promises", async () => {
    await assertProperty(
      fc.asyncProperty(
        anyOptions,
        fc.array(fc.oneof({ weight: 4, arbitrary: anySend }, anyFault, anyWork), { maxLength: 50 }),
        anyEnd,
        runModel,
      ),
      { numRuns: 100 },
    );
  });
});
