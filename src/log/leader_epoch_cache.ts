/**
 * Which leader epoch began at which offset of one partition (src/FORMAT.md, section 4.2). Pure
 * data: whoever changes it writes the `leader-epoch-checkpoint` file when a function here answers
 * that something changed.
 */

/** One epoch and the first offset that was written in it. */
export interface EpochEntry {
  readonly epoch: number;
  /** Inclusive. */
  readonly startOffset: number;
}

/** The epochs of one partition; entries strictly increasing in both numbers. */
export interface LeaderEpochCache {
  entries: readonly EpochEntry[];
}

/** An epoch and the offset at which it ended, exclusive; both -1 where nothing is known. */
export interface EpochEndOffset {
  readonly epoch: number;
  readonly endOffset: number;
}

const unknownEnd: EpochEndOffset = { epoch: -1, endOffset: -1 };

/**
 * Makes a cache.
 *
 * @param entries What the checkpoint file held; an entry that contradicts a later one is dropped.
 * @returns The cache.
 */
export function leaderEpochCache(entries: Iterable<EpochEntry> = []): LeaderEpochCache {
  const cache: LeaderEpochCache = { entries: [] };
  for (const entry of entries) assignEpoch(cache, entry.epoch, entry.startOffset);
  return cache;
}

/**
 * Notes that an epoch began at an offset. Entries that contradict it, by epoch or by offset, are
 * dropped.
 *
 * @param cache The partition's epochs.
 * @param epoch The leader epoch, 0 or more.
 * @param startOffset The first offset written in it.
 * @returns True if the cache changed.
 */
export function assignEpoch(cache: LeaderEpochCache, epoch: number, startOffset: number): boolean {
  if (!(epoch >= 0 && startOffset >= 0)) {
    throw new RangeError(`Cannot begin epoch ${epoch} at offset ${startOffset}: wanted 0 or more`);
  }
  const latest = cache.entries.at(-1);
  if (latest !== undefined && epoch === latest.epoch && startOffset >= latest.startOffset) {
    return false;
  }
  let end = cache.entries.length;
  while (end > 0) {
    const last = entryAt(cache, end - 1);
    if (last.epoch < epoch && last.startOffset < startOffset) break;
    end -= 1;
  }
  cache.entries = [...cache.entries.slice(0, end), { epoch, startOffset }];
  return true;
}

/**
 * Tells which epoch is the newest.
 *
 * @param cache The partition's epochs.
 * @returns The epoch, or undefined if there is none.
 */
export function findLatestEpoch(cache: LeaderEpochCache): number | undefined {
  return cache.entries.at(-1)?.epoch;
}

/**
 * Tells where an epoch ended, as OffsetForLeaderEpoch asks.
 *
 * @param cache The partition's epochs.
 * @param epoch The epoch asked for.
 * @param logEndOffset Where the newest epoch ends so far.
 * @returns The largest known epoch that is not above the one asked for, and the offset where the
 *   next began; the epoch itself and the first offset if it is below all; -1 and -1 if it is -1 or
 *   above all.
 */
export function endOffsetForEpoch(
  cache: LeaderEpochCache,
  epoch: number,
  logEndOffset: number,
): EpochEndOffset {
  const first = cache.entries[0];
  const latest = cache.entries.at(-1);
  if (epoch === -1 || first === undefined || latest === undefined) return unknownEnd;
  if (epoch === latest.epoch) return { epoch, endOffset: logEndOffset };
  if (epoch > latest.epoch) return unknownEnd;
  if (epoch < first.epoch) return { epoch, endOffset: first.startOffset };
  const next = findIndexBehindEpoch(cache, epoch);
  return {
    epoch: entryAt(cache, next - 1).epoch,
    endOffset: entryAt(cache, next).startOffset,
  };
}

/**
 * Forgets the epochs that began at an offset or behind it, because the log was cut there.
 *
 * @param cache The partition's epochs.
 * @param endOffset The log's new end; a negative one changes nothing.
 * @returns True if the cache changed.
 */
export function truncateEpochsFromEnd(cache: LeaderEpochCache, endOffset: number): boolean {
  if (endOffset < 0) return false;
  const kept = cache.entries.filter((entry) => entry.startOffset < endOffset);
  if (kept.length === cache.entries.length) return false;
  cache.entries = kept;
  return true;
}

/**
 * Forgets the epochs that ended before an offset, because the log now starts there.
 *
 * @param cache The partition's epochs.
 * @param startOffset The log's new start; the epoch that covers it is kept and begins there.
 * @returns True if the cache changed.
 */
export function truncateEpochsFromStart(cache: LeaderEpochCache, startOffset: number): boolean {
  const kept = cache.entries.filter((entry) => entry.startOffset > startOffset);
  const covering = cache.entries[cache.entries.length - kept.length - 1];
  if (covering === undefined) return false;
  if (covering === cache.entries[0] && covering.startOffset === startOffset) return false;
  cache.entries = [{ epoch: covering.epoch, startOffset }, ...kept];
  return true;
}

/**
 * Tells in which epoch an offset was written.
 *
 * @param cache The partition's epochs.
 * @param offset Any offset.
 * @returns The epoch, or undefined for an offset before the first epoch.
 */
export function findEpochOfOffset(cache: LeaderEpochCache, offset: number): number | undefined {
  return cache.entries.findLast((entry) => entry.startOffset <= offset)?.epoch;
}

/**
 * Tells which known epoch came before another.
 *
 * @param cache The partition's epochs.
 * @param epoch The epoch, itself known or not.
 * @returns The largest epoch below it, or undefined.
 */
export function findPreviousEpoch(cache: LeaderEpochCache, epoch: number): number | undefined {
  return cache.entries.findLast((entry) => entry.epoch < epoch)?.epoch;
}

/**
 * Tells which known epoch came after another.
 *
 * @param cache The partition's epochs.
 * @param epoch The epoch, itself known or not.
 * @returns The smallest epoch above it, or undefined.
 */
export function findNextEpoch(cache: LeaderEpochCache, epoch: number): number | undefined {
  return cache.entries[findIndexBehindEpoch(cache, epoch)]?.epoch;
}

/** The index of the first entry whose epoch is above; the entry count if there is none. */
function findIndexBehindEpoch(cache: LeaderEpochCache, epoch: number): number {
  const index = cache.entries.findIndex((entry) => entry.epoch > epoch);
  return index < 0 ? cache.entries.length : index;
}

function entryAt(cache: LeaderEpochCache, index: number): EpochEntry {
  const entry = cache.entries[index];
  if (entry === undefined) throw new RangeError(`No epoch entry at index ${index}`);
  return entry;
}
