/** Waiting that a signal can end. */

/**
 * Waits for a promise, or for the signal that says not to.
 *
 * @param waiting What to wait for; nothing stops it.
 * @param signal Ends the waiting.
 * @returns What the promise resolves to.
 * @throws The signal's reason if that comes first, or what the promise rejects with.
 */
export async function untilAborted<T>(waiting: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    // The records' own code may have aborted it since it was looked at.
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([waiting, stopped]);
  } finally {
    signal.removeEventListener("abort", stop);
    // If the signal won nobody waits any more, and a failure later on poisons the log, which tells
    // everyone.
    waiting.catch(() => {});
  }
}
