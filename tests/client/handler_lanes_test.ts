/** Handlers side by side: order within a key, room, and the offset below which all is done. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { HandlerLanes, Task } from "../../src/client/handler_lanes.ts";
import {
  addTask,
  drainLanes,
  finishLanes,
  handlerLanes,
  nextEnd,
  oldestOffset,
  restartPartition,
  roomIn,
  startTasks,
  takenMax,
} from "../../src/client/handler_lanes.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { assertProperty } from "../support/properties.ts";
import { settled } from "../support/store_fixture.ts";

/** Lanes whose tasks end when the test says so. */
interface HeldLanes {
  readonly lanes: HandlerLanes;
  /** The offsets that run, in the order in which they began. */
  readonly running: number[];
  end(offset: number, isDone?: boolean): Promise<void>;
}

function heldLanes(concurrency: number): HeldLanes {
  const running: number[] = [];
  const ends = new Map<number, (isDone: boolean) => void>();
  const lanes = handlerLanes(concurrency, ({ record }: Task) => {
    running.push(record.offset);
    return new Promise((resolve) => ends.set(record.offset, resolve));
  });
  return {
    lanes,
    running,
    async end(offset, isDone = true) {
      running.splice(running.indexOf(offset), 1);
      ends.get(offset)!(isDone);
      await settled();
    },
  };
}

function add(lanes: HandlerLanes, offset: number, key: string | null, name = "orders/0"): void {
  const bytes = key === null ? null : new TextEncoder().encode(key);
  const record: LogRecord = {
    topic: "orders",
    partition: 0,
    offset,
    timestamp: 0,
    key: bytes,
    value: null,
    headers: [],
  };
  addTask(lanes, name, record, bytes);
  startTasks(lanes);
}

describe("handler lanes", () => {
  it("runs different keys at once and one key in order", async () => {
    const { lanes, running, end } = heldLanes(8);
    for (const [offset, key] of ["a", "b", "a", "a", "c"].entries()) add(lanes, offset, key);
    assert.deepEqual(running, [0, 1, 4]);
    await end(0);
    assert.deepEqual(running, [1, 4, 2]);
    await end(2);
    assert.deepEqual(running, [1, 4, 3]);
    for (const offset of [1, 4, 3]) await end(offset);
    assert.equal(lanes.lanes.size, 0);
  });

  it("records without a key wait for none, and the same key elsewhere is another one", () => {
    const { lanes, running } = heldLanes(8);
    add(lanes, 0, null);
    add(lanes, 1, null);
    add(lanes, 2, "a", "orders/0");
    add(lanes, 3, "a", "orders/1");
    assert.deepEqual(running, [0, 1, 2, 3]);
  });

  it("takes keys for the same that have the same bytes, text or not", () => {
    const { lanes, running } = heldLanes(8);
    const record = (offset: number, key: Uint8Array): void => {
      const content = { timestamp: 0, key, value: null, headers: [] };
      addTask(lanes, "orders/0", { topic: "orders", partition: 0, offset, ...content }, key);
      startTasks(lanes);
    };
    record(0, Uint8Array.of(0xff, 0xfe));
    record(1, Uint8Array.of(0xff, 0xfd));
    record(2, Uint8Array.of(0xff, 0xfe));
    assert.deepEqual(running, [0, 1]);
  });

  it("never runs more at once than it may", async () => {
    const { lanes, running, end } = heldLanes(2);
    for (let offset = 0; offset < 5; offset++) add(lanes, offset, null);
    assert.deepEqual(running, [0, 1]);
    assert.equal(lanes.waiting, 3);
    assert.equal(roomIn(lanes, 3), 0);
    const ending = nextEnd(lanes);
    await end(1);
    await ending;
    assert.deepEqual(running, [0, 2]);
    assert.equal(roomIn(lanes, 3), 1);
  });

  it("all is done up to the oldest record that is not", async () => {
    const { lanes, end } = heldLanes(8);
    assert.equal(oldestOffset(lanes, "orders/0"), undefined);
    for (const offset of [10, 11, 15]) add(lanes, offset, null);
    assert.equal(oldestOffset(lanes, "orders/0"), 10);
    await end(15);
    await end(11);
    assert.equal(oldestOffset(lanes, "orders/0"), 10);
    await end(10);
    assert.equal(oldestOffset(lanes, "orders/0"), undefined);
  });

  it("a record that was not handled holds the offset", async () => {
    const { lanes, end } = heldLanes(8);
    for (const offset of [0, 1, 2]) add(lanes, offset, null);
    await end(0);
    await end(1, false);
    await end(2);
    assert.equal(oldestOffset(lanes, "orders/0"), 1);
  });

  it("draining a partition drops what has not begun and waits for what has", async () => {
    const { lanes, running, end } = heldLanes(2);
    add(lanes, 0, "a");
    add(lanes, 1, "a");
    add(lanes, 2, "b", "orders/1");
    add(lanes, 3, "c");
    add(lanes, 4, "b", "orders/1");
    let isDrained = false;
    const drained = drainLanes(lanes, ["orders/0"]).then(() => isDrained = true);
    await end(2);
    assert.deepEqual(running, [0, 4]);
    assert.equal(isDrained, false);
    await end(0);
    await drained;
    assert.deepEqual(running, [4]);
    assert.equal(lanes.waiting, 0);
    assert.equal(oldestOffset(lanes, "orders/0"), 1);
    assert.equal(oldestOffset(lanes, "orders/1"), 4);
  });

  it("finishing waits for everything", async () => {
    const { lanes, end } = heldLanes(1);
    for (const offset of [0, 1, 2]) add(lanes, offset, "a");
    let isFinished = false;
    const finished = finishLanes(lanes).then(() => isFinished = true);
    await end(0);
    await end(1);
    assert.equal(isFinished, false);
    await end(2);
    await finished;
    assert.equal(oldestOffset(lanes, "orders/0"), undefined);
  });

  it("a partition that is read from elsewhere begins anew, and its keys keep their order", async () => {
    const { lanes, running, end } = heldLanes(8);
    add(lanes, 5, "a");
    add(lanes, 6, "a");
    restartPartition(lanes, "orders/0");
    assert.equal(oldestOffset(lanes, "orders/0"), undefined);
    add(lanes, 2, "a");
    assert.deepEqual(running, [5]);
    assert.equal(oldestOffset(lanes, "orders/0"), 2);
    await end(5);
    assert.deepEqual(running, [2]);
    await end(2);
    assert.equal(oldestOffset(lanes, "orders/0"), undefined);
    assert.equal(lanes.waiting, 0);
  });

  it("a partition that begins anew keeps nothing of what was dropped", async () => {
    const { lanes, running, end } = heldLanes(1);
    add(lanes, 0, "a");
    add(lanes, 1, "b");
    add(lanes, 2, "b");
    const draining = drainLanes(lanes, ["orders/0"]);
    assert.equal(lanes.partitions.get("orders/0")!.isDraining, true);
    restartPartition(lanes, "orders/0");
    assert.deepEqual([lanes.taken, lanes.waiting], [0, 0]);
    assert.equal(lanes.partitions.get("orders/0")!.isDraining, false);
    add(lanes, 1, "b");
    await end(0);
    assert.deepEqual(running, [1]);
    await end(1);
    await draining;
    assert.deepEqual([lanes.taken, lanes.lanes.size], [0, 0]);
  });

  it("has no room while too many behind one that is not done have been handled", async () => {
    let endFirst = (_: boolean): void => {};
    const lanes = handlerLanes(
      2,
      ({ record }: Task) =>
        record.offset === 0 ? new Promise((resolve) => endFirst = resolve) : Promise.resolve(true),
    );
    for (let offset = 0; offset < takenMax; offset++) {
      add(lanes, offset, null);
      if (offset % 100 === 0) await settled();
    }
    while (lanes.waiting > 0) await settled();
    assert.equal(oldestOffset(lanes, "orders/0"), 0);
    assert.equal(roomIn(lanes, 5), 0);
    const ending = nextEnd(lanes);
    endFirst(true);
    await ending;
    assert.equal(roomIn(lanes, 5), 5);
    assert.equal(lanes.taken, 0);
  });

  it("whatever ends when, keys keep their order and nothing is left", async () => {
    const task = fc.record({
      key: fc.constantFrom("a", "b", "c", null),
      partition: fc.constantFrom("orders/0", "orders/1"),
    });
    const picks = fc.infiniteStream(fc.nat());
    await assertProperty(
      fc.asyncProperty(
        fc.array(task, { maxLength: 30 }),
        fc.integer({ min: 1, max: 4 }),
        picks,
        async (tasks, concurrency, pick) => {
          const { lanes, running, end } = heldLanes(concurrency);
          const ended: number[] = [];
          for (const [offset, { key, partition }] of tasks.entries()) {
            add(lanes, offset, key, partition);
          }
          while (running.length > 0) {
            assert.ok(running.length <= concurrency);
            const offset = running[pick.next().value! % running.length]!;
            const laneOf = (at: number): string | null =>
              tasks[at]!.key && tasks[at]!.partition + tasks[at]!.key;
            const lane = laneOf(offset);
            for (let before = 0; lane !== null && before < offset; before++) {
              if (laneOf(before) === lane) assert.ok(ended.includes(before));
            }
            ended.push(offset);
            await end(offset);
            for (const name of ["orders/0", "orders/1"]) {
              const left = tasks.findIndex(({ partition }, at) =>
                partition === name && !ended.includes(at)
              );
              assert.equal(oldestOffset(lanes, name), left < 0 ? undefined : left);
            }
          }
          assert.equal(ended.length, tasks.length);
          assert.equal(lanes.waiting + lanes.running + lanes.taken + lanes.lanes.size, 0);
        },
      ),
      { numRuns: 50 },
    );
  });
});
