/** What a store has done besides what its topics count (`log/log_stats.ts`). */

import type { LogStats } from "../log/log_stats.ts";
import { logStats } from "../log/log_stats.ts";
import type { Clock } from "../platform/clock.ts";
import { preciseNow } from "../platform/clock.ts";
import { recoveryChannel } from "../platform/diagnostics.ts";
import type { StoreInternals } from "./store.ts";

/** What a store has done besides what its topics count. */
export interface StoreCounters {
  /** When it was opened, in milliseconds since the epoch. */
  openedMs: number;
  /** How long that took, in milliseconds, recovery included. */
  openTookMs: number;
  /** What the logs of topics did that were deleted since. */
  readonly deletedTopics: LogStats;
}

/**
 * The counters of a store that is being opened.
 *
 * @returns Nothing counted yet.
 */
export function storeCounters(): StoreCounters {
  return { openedMs: 0, openTookMs: 0, deletedTopics: logStats() };
}

/**
 * Opens a store, takes note of how long that took, and tells who listens.
 *
 * @param clock What time it is.
 * @param open Opens it.
 * @returns Resolves with the inside of the store.
 * @throws What `open` throws.
 */
export async function timedOpening(
  clock: Clock,
  open: () => Promise<StoreInternals>,
): Promise<StoreInternals> {
  const startMs = preciseNow(clock);
  const internals = await open();
  const { folder, recovery, stats } = internals;
  const tookMs = Math.max(0, preciseNow(clock) - startMs);
  stats.openedMs = clock.now();
  stats.openTookMs = tookMs;
  if (recoveryChannel.hasSubscribers) recoveryChannel.publish({ folder, tookMs, ...recovery });
  return internals;
}
