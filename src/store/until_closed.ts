/** Long work on a store, which closing the store ends first. */

import { OttlaError } from "../errors.ts";
import { nextTurn } from "../platform/clock.ts";
import type { StoreInternals } from "./store.ts";

/**
 * Runs until the store is closed at the latest, which waits for the end.
 *
 * @param internals The inside of an open store.
 * @param action What is under way, for the message: "backing up".
 * @param task Gets a signal that tells when it is to end.
 * @returns What it resolves to.
 * @throws What it throws.
 */
export async function untilClosed<T>(
  internals: StoreInternals,
  action: string,
  task: (closing: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(
      new OttlaError("HANDLE_CLOSED", `Cannot go on ${action} ${internals.folder}: it is closed`),
    );
  const run = task(controller.signal);
  const isOver = run.then(() => {}, () => {});
  const close = (): Promise<void> => {
    abort();
    return isOver;
  };
  internals.closers.add(close);
  internals.abandoners.add(abort);
  try {
    return await run;
  } finally {
    internals.closers.delete(close);
    internals.abandoners.delete(abort);
  }
}

/**
 * A turn of the event loop for somebody who waits for the end.
 *
 * @param signals Throws the reason of the first that is aborted.
 * @returns Resolves in the next turn.
 */
export async function waitedTurn(signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  for (const signal of signals) signal?.throwIfAborted();
  await nextTurn();
  for (const signal of signals) signal?.throwIfAborted();
}
