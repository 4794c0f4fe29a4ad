/** Compactions that wait for one another, and who keeps them going. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { append, compactTopic, createTopic } from "../../mod.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { manualClock } from "../../src/testing/mod.ts";
import { valuesIn, withStore } from "../support/store_fixture.ts";

const compactionCheckMs = 100;

test("who waits for a compaction also keeps the one before it going", async () => {
  // A pause that keeps no process alive does not end where nothing else does.
  const manual = manualClock(1_700_000_000_000);
  let pauseCount = 0;
  const clock: Clock = {
    ...manual,
    startTimer(call, delayMs, ...rest) {
      if (delayMs === 0) pauseCount++;
      return delayMs === 0 ? undefined : manual.startTimer(call, delayMs, ...rest);
    },
  };
  const topicOverrides = { segmentBytes: 200, minCleanableDirtyRatio: 0 };
  await withStore(async (store) => {
    await createTopic(store, "prices", { cleanupPolicy: "compact" });
    for (let nth = 0; nth < 30; nth++) {
      await append(store, "prices", { key: `k${nth % 3}`, value: `v${nth}` });
    }
    await manual.advance(compactionCheckMs);
    assert.equal(pauseCount, 1, "the store compacts by itself, and has paused");
    const first = compactTopic(store, "prices");
    const second = compactTopic(store, "prices");
    assert.ok((await first).keptRecords >= 3);
    assert.ok((await second).keptRecords >= 3);
    assert.equal(pauseCount, 1, "there was no pause while somebody waited");
    assert.deepEqual(await valuesIn(store, "prices"), ["v27", "v28", "v29"]);
  }, { clock, compactionCheckMs, checkpointMs: compactionCheckMs / 2, topicOverrides });
});

test("a compaction that still waits for another one ends with its signal", async () => {
  await withStore(async (store) => {
    await createTopic(store, "prices", { cleanupPolicy: "compact" });
    for (let nth = 0; nth < 30; nth++) {
      await append(store, "prices", { key: `k${nth % 3}`, value: `v${nth}` });
    }
    const reason = new Error("enough");
    const controller = new AbortController();
    let waiting: Promise<unknown> | undefined;
    let isOver = false;
    const first = compactTopic(store, "prices", {
      onProgress() {
        if (waiting !== undefined) return;
        waiting = compactTopic(store, "prices", { signal: controller.signal })
          .catch((error) => error);
        controller.abort(reason);
      },
    }).finally(() => isOver = true);
    while (waiting === undefined) await nextTurn();
    assert.equal(await waiting, reason);
    assert.equal(isOver, false);
    assert.equal((await first).keptRecords, 3);
    assert.equal((await compactTopic(store, "prices")).readRecords, 3);
  });
});
