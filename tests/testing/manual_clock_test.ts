/** The clock that a test moves: order and times of timers, durations, what is left running. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { closeStore, createTopic, openConsumer, openProducer, openStore } from "../../mod.ts";
import { manualClock } from "../../src/testing/mod.ts";

describe("manual clock", () => {
  it("stands still until it is moved", async () => {
    const clock = manualClock(1_000);
    assert.equal(clock.now(), 1_000);
    await clock.advance(5);
    assert.equal(clock.now(), 1_005);
    await clock.advance(0);
    assert.equal(clock.now(), 1_005);
  });

  it("takes durations as people write them", async () => {
    const durations: [string, number][] = [
      ["250ms", 250],
      ["30s", 30_000],
      ["15m", 900_000],
      ["1h", 3_600_000],
      ["7d", 604_800_000],
      ["0s", 0],
    ];
    for (const [duration, ms] of durations) {
      const clock = manualClock(0);
      await clock.advance(duration);
      assert.equal(clock.now(), ms, duration);
    }
  });

  it("refuses what is no duration, and stays where it is", async () => {
    const clock = manualClock(0);
    const wrong = ["", "1", "h", "1 h", "1.5h", "-1s", "1H", "1w", "1h30m", "9".repeat(15) + "d"];
    for (const duration of [...wrong, -1, NaN, Infinity]) {
      await assert.rejects(
        clock.advance(duration),
        /^RangeError: duration must be /,
        `${duration}`,
      );
    }
    await assert.rejects(clock.advance("1 hour"), /such as "30s", got "1 hour"$/);
    for (const duration of [undefined, null, {}, 1n]) {
      await assert.rejects(
        clock.advance(duration as unknown as number),
        /^TypeError: duration must be a number or a string, got /,
      );
    }
    assert.equal(clock.now(), 0);
  });

  it("calls timers in the order in which they are due, each at its time", async () => {
    const clock = manualClock(0);
    const calls: string[] = [];
    const start = (name: string, delayMs: number): unknown =>
      clock.startTimer(() => calls.push(`${name} ${clock.now()}`), delayMs);
    start("late", 20);
    start("first of two", 10);
    start("second of two", 10);
    clock.stopTimer(start("stopped", 5));
    start("after", 21);
    await clock.advance(20);
    assert.deepEqual(calls, ["first of two 10", "second of two 10", "late 20"]);
    assert.equal(clock.timerCount(), 1);
    await clock.advance(1);
    assert.deepEqual(calls.slice(3), ["after 21"]);
    assert.equal(clock.timerCount(), 0);
  });

  it("calls what timers start on the way, after all that hung on the timer before", async () => {
    const clock = manualClock(0);
    const times: number[] = [];
    const again = async (): Promise<void> => {
      // As many turns of promises as a long chain of calls may take.
      for (let turn = 0; turn < 50; turn++) await undefined;
      times.push(clock.now());
      clock.startTimer(() => void again(), 10);
    };
    clock.startTimer(() => void again(), 10);
    await clock.advance(35);
    assert.deepEqual(times, [10, 20, 30]);
    assert.equal(clock.now(), 35);
  });

  it("lets what is under way happen before time moves", async () => {
    const clock = manualClock(0);
    let calledMs = -1;
    void Promise.resolve().then(() => clock.startTimer(() => calledMs = clock.now(), 5));
    await clock.advance(10);
    assert.equal(calledMs, 5);
  });

  it("never goes back when it is moved while it is being moved", async () => {
    const clock = manualClock(0);
    clock.startTimer(() => {}, 1);
    const first = clock.advance(100);
    await clock.advance(1_000);
    await first;
    assert.equal(clock.now(), 1_000);
  });

  it("cuts delays as setTimeout would have to", async () => {
    const clock = manualClock(0);
    let calledMs = -1;
    clock.startTimer(() => calledMs = clock.now(), 2 ** 40);
    await clock.advance("30d");
    assert.equal(calledMs, 2 ** 31 - 1);
  });

  it("drives a store, which leaves no timer behind when it is closed", async () => {
    const clock = manualClock();
    const store = await openStore(":memory:", { clock });
    await createTopic(store, "orders");
    openProducer(store);
    await openConsumer(store, { groupId: "billing", topics: "orders" });
    assert.ok(clock.timerCount() > 0);
    await clock.advance("1h");
    await closeStore(store);
    assert.equal(clock.timerCount(), 0);
  });
});
