/**
 * The durability stage: who waits for which bytes to be on disk. All who wait share one fsync.
 *
 * A commit that is under way covers what was written before it began; whoever comes later waits for
 * the next one, which begins as soon as the first is done. The first of a turn of the event loop
 * begins its commit at the end of the turn, so that all appends of the turn share it.
 *
 * A commit that failed leaves nobody knowing what is on disk, and asking again would lie. So the
 * first failure is the last word: everyone who waits gets it, and everyone who comes.
 */

/** Waits until everything below an offset is on disk. */
interface Waiter {
  readonly endOffset: number;
  /** Whether the sync that is under way, which began before, is not the one that it waits for. */
  needsNewSync: boolean;
  /** Since when, if anybody wants to know how long; else -1. */
  readonly sinceMs: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** The durability of one partition's log. */
export interface GroupCommit {
  /** Everything below it is on disk. */
  syncedOffset: number;
  /** Batches that may not be seen before they are on disk, in the order of their offsets. */
  readonly hidden: { readonly baseOffset: number; readonly endOffset: number }[];
  readonly waiters: Waiter[];
  isSyncing: boolean;
  /** Set by the first commit that failed. */
  failure: Error | undefined;
  /**
   * Begins to sync all that is written and tells up to which offset that is; `done` is undefined if
   * it is done.
   */
  readonly sync: () => { readonly endOffset: number; readonly done: Promise<void> | undefined };
  /** Called when `syncedOffset` has moved, before those who wait are told. */
  readonly onSynced: () => void;
  /**
   * Turns what a file system threw into the error that everyone gets, the first if there are
   * several.
   */
  readonly onFailed: (cause: unknown) => Error;
}

/**
 * The durability of a log.
 *
 * @param syncedOffset Everything below it is on disk.
 * @param sync Begins to sync all that is written and tells up to which offset that is.
 * @param onSynced Called when `syncedOffset` has moved, before those who wait are told.
 * @param onFailed Called once, when a sync has failed.
 * @returns The stage.
 */
export function groupCommit(
  syncedOffset: number,
  sync: GroupCommit["sync"],
  onSynced: () => void,
  onFailed: (cause: unknown) => Error,
): GroupCommit {
  return {
    syncedOffset,
    hidden: [],
    waiters: [],
    isSyncing: false,
    failure: undefined,
    sync,
    onSynced,
    onFailed,
  };
}

/**
 * Hides a batch from readers until it is on disk.
 *
 * @param commit The stage.
 * @param baseOffset Of its first record.
 * @param endOffset Behind its last record.
 */
export function hideUntilSynced(commit: GroupCommit, baseOffset: number, endOffset: number): void {
  commit.hidden.push({ baseOffset, endOffset });
}

/**
 * Up to where readers may see.
 *
 * @param commit The stage.
 * @param endOffset The end of the log.
 * @returns The first hidden offset, or the end.
 */
export function visibleEnd(commit: GroupCommit, endOffset: number): number {
  return commit.hidden[0]?.baseOffset ?? endOffset;
}

/**
 * Waits until everything below an offset is on disk, and sees to it.
 *
 * @param commit The stage.
 * @param endOffset Behind what must be on disk.
 * @param sinceMs What time it is, if it is to be told how long this takes.
 * @returns Resolves when it is.
 */
export function waitUntilSynced(
  commit: GroupCommit,
  endOffset: number,
  sinceMs = -1,
): Promise<void> {
  if (commit.failure !== undefined) return Promise.reject(commit.failure);
  if (endOffset <= commit.syncedOffset) return Promise.resolve();
  return waitForSync(commit, endOffset, sinceMs, false);
}

/**
 * Waits for a sync that begins from now on, even if everything below the offset is on disk.
 *
 * @param commit The stage.
 * @param endOffset Behind what must be on disk.
 * @returns Resolves when it is done.
 */
export function waitForNewSync(commit: GroupCommit, endOffset: number): Promise<void> {
  return waitForSync(commit, endOffset, -1, true);
}

function waitForSync(
  commit: GroupCommit,
  endOffset: number,
  sinceMs: number,
  needsNewSync: boolean,
): Promise<void> {
  if (commit.failure !== undefined) return Promise.reject(commit.failure);
  return new Promise((resolve, reject) => {
    commit.waiters.push({ endOffset, needsNewSync, sinceMs, resolve, reject });
    if (commit.isSyncing) return;
    commit.isSyncing = true;
    queueMicrotask(() => void syncUntilNobodyWaits(commit));
  });
}

/**
 * Tells all who wait that nothing will come of it.
 *
 * @param commit The stage.
 * @param error What they get.
 */
export function rejectWaiters(commit: GroupCommit, error: Error): void {
  for (const waiter of commit.waiters.splice(0)) waiter.reject(error);
}

async function syncUntilNobodyWaits(commit: GroupCommit): Promise<void> {
  try {
    while (commit.waiters.length > 0) {
      for (const waiter of commit.waiters) waiter.needsNewSync = false;
      const { endOffset, done } = commit.sync();
      if (done !== undefined) await done;
      noteSynced(commit, endOffset);
    }
  } catch (cause) {
    commit.failure = commit.onFailed(cause);
    rejectWaiters(commit, commit.failure);
  } finally {
    commit.isSyncing = false;
  }
}

function noteSynced(commit: GroupCommit, endOffset: number): void {
  commit.syncedOffset = endOffset;
  const { hidden, waiters } = commit;
  let seen = 0;
  while (seen < hidden.length && hidden[seen]!.endOffset <= endOffset) seen++;
  hidden.splice(0, seen);
  commit.onSynced();
  // Those who wait are in order of their offsets, but for `flush`, which waits for what is there
  // already.
  let kept = 0;
  for (const waiter of waiters) {
    if (waiter.endOffset <= endOffset && !waiter.needsNewSync) waiter.resolve();
    else waiters[kept++] = waiter;
  }
  waiters.length = kept;
}
