/** Waiting that a signal can end: who wins, and that nothing is left on the signal. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { untilAborted } from "../../src/client/until_aborted.ts";

/** A signal that counts who listens. */
function countedSignal(stop: AbortController): { signal: AbortSignal; count: () => number } {
  const { signal } = stop;
  let count = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    count++;
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    count--;
    removeEventListener.apply(signal, args);
  };
  return { signal, count: () => count };
}

test("what comes first decides, and nobody listens any more then", async () => {
  const stop = new AbortController();
  const { signal, count } = countedSignal(stop);
  assert.equal(await untilAborted(Promise.resolve(5), signal), 5);
  await assert.rejects(untilAborted(Promise.reject(new Error("no")), signal), /no/);
  const endless = untilAborted(new Promise(() => {}), signal);
  assert.equal(count(), 1);
  stop.abort(new Error("enough"));
  await assert.rejects(endless, /enough/);
  assert.equal(count(), 0);
});

test("a signal that was aborted before ends it, and a failure later on hurts nobody", async () => {
  const stop = new AbortController();
  stop.abort(new Error("enough"));
  let fail = (_: Error): void => {};
  const waiting = new Promise((_, reject) => (fail = reject));
  await assert.rejects(untilAborted(waiting, stop.signal), /enough/);
  fail(new Error("unheard"));
});

test("many who wait with one signal share a listener, and each has its own end", async () => {
  const stop = new AbortController();
  const { signal, count } = countedSignal(stop);
  let finish = (): void => {};
  const finished = untilAborted(new Promise<void>((resolve) => (finish = resolve)), signal);
  const endless = Array.from({ length: 1000 }, () => untilAborted(new Promise(() => {}), signal));
  assert.equal(count(), 1);
  finish();
  await finished;
  assert.equal(count(), 1, "the others still wait");
  const reasons = Promise.all(endless.map((one) => one.catch((error: Error) => error.message)));
  stop.abort(new Error("enough"));
  assert.deepEqual(new Set(await reasons), new Set(["enough"]));
  assert.equal(count(), 0);
  await assert.rejects(untilAborted(new Promise(() => {}), signal), /enough/);
  assert.equal(count(), 0);
});
