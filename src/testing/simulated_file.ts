/**
 * One file of a simulated disk: what a process reads, what is on the disk, and the changes between
 * the two.
 *
 * The page cache (`cache`) has every change at once. The disk (`durable`) has a change when it was
 * synced. A write is kept as the whole sectors that it touched, as they were then: a kernel writes
 * pages and not calls, so whatever of a later write is on the disk brings along what earlier ones
 * left in the same sectors. A power cut decides over each pending change:
 *
 * - Sizes and cuts are metadata, and a journal keeps metadata in order. So of all pending changes
 *   of size the first few have happened, none to all.
 * - Each write is on the disk, or not, or sector by sector, in any order of writes. Where it made
 *   the file longer the sectors may also be zeros, or noise: the size was written, the data was
 *   not, and an earlier file had the blocks (ext4 with `data=writeback`, and xfs of old).
 * - Bytes that were synced and not written since are never harmed: all of a sector is the old one or
 *   the new one, as SQLite, too, assumes of disks.
 * - What was written behind a cut that has not happened went to blocks that nobody refers to.
 */

import type { SeededRandom } from "./seeded_random.ts";
import type { SparseBytes } from "./sparse_bytes.ts";
import { copySparse, readSparse, resizeSparse, sparseBytes, writeSparse } from "./sparse_bytes.ts";

/** What a disk writes whole or not at all. */
export const sectorBytes = 512;
/** With more pending, the oldest change goes to the disk, as a kernel writes back by itself. */
const changesMax = 1_024;
/** As `changesMax`, for bytes. */
const changeBytesMax = 16 * 1024 * 1024;

/** What becomes of what was not synced: all of it lost, all of it kept, or any of both by seed. */
export type Unsynced = "any" | "lost" | "kept";

/** A file. */
export interface SimulatedFile {
  readonly isFolder: false;
  /** What processes read. */
  cache: SparseBytes;
  /** What was synced. */
  durable: SparseBytes;
  /** What was done since, oldest first. */
  readonly pending: FileChange[];
  pendingBytes: number;
  /** The number of the next change. */
  nextChange: number;
  /** Whether a failed sync dropped changes, so that the cache has what is not on the disk. */
  hasDropped: boolean;
  modifiedMs: number;
  /** How many names it has. */
  links: number;
  /** How many handles of it are open. */
  handles: number;
}

interface FileChange {
  readonly number: number;
  /** The sectors that were written; undefined for a change of size. */
  readonly sectors: Uint8Array | undefined;
  /** Where the sectors are. */
  readonly position: number;
  /** What was written of them. */
  readonly startPosition: number;
  readonly endPosition: number;
  /** The size afterwards. */
  readonly sizeBytes: number;
}

/**
 * A new file, of which nothing is on the disk.
 *
 * @param nowMs The time that it is stamped with.
 * @returns The file.
 */
export function simulatedFile(nowMs: number): SimulatedFile {
  return {
    isFolder: false,
    cache: sparseBytes(),
    durable: sparseBytes(),
    pending: [],
    pendingBytes: 0,
    nextChange: 0,
    hasDropped: false,
    modifiedMs: nowMs,
    links: 0,
    handles: 0,
  };
}

/**
 * Writes into the page cache.
 *
 * @param file The file.
 * @param source What to write.
 * @param position Where.
 */
export function writeCached(file: SimulatedFile, source: Uint8Array, position: number): void {
  if (source.length === 0) return;
  const { cache } = file;
  const endPosition = position + source.length;
  writeSparse(cache, source, position);
  cache.sizeBytes = Math.max(cache.sizeBytes, endPosition);
  const start = position - position % sectorBytes;
  const sectors = new Uint8Array(Math.ceil((endPosition - start) / sectorBytes) * sectorBytes);
  readSparse(cache, sectors, start);
  addChange(file, sectors, start, position, endPosition);
}

/**
 * Cuts or extends the file in the page cache.
 *
 * @param file The file.
 * @param sizeBytes Its new size.
 */
export function resizeCached(file: SimulatedFile, sizeBytes: number): void {
  if (sizeBytes === file.cache.sizeBytes) return;
  resizeSparse(file.cache, sizeBytes);
  addChange(file, undefined, 0, 0, 0);
}

/**
 * Brings changes to the disk.
 *
 * @param file The file.
 * @param endChange Only changes with a lower number; all of them unless given.
 */
export function syncChanges(file: SimulatedFile, endChange: number = file.nextChange): void {
  const changes = takeChanges(file, endChange);
  for (const change of changes) applyWhole(file.durable, change);
}

/**
 * A sync that fails, as on Linux: the pages count as clean from then on, so a later sync succeeds
 * without writing them. Some may have been written. Sizes and cuts are in the journal and stay
 * true, but for a size whose data was never written.
 *
 * @param file The file.
 * @param endChange Only changes with a lower number are dropped.
 * @param random Decides what was written.
 */
export function dropChanges(file: SimulatedFile, endChange: number, random: SeededRandom): void {
  const changes = takeChanges(file, endChange);
  if (changes.length === 0) return;
  file.hasDropped = true;
  const hasCut = changes.some(({ sectors }) => sectors === undefined);
  const metadataEnd = hasCut || random.chance(0.5) ? changes.length : pickEnd(changes, random);
  scatterChanges(file.durable, changes, metadataEnd, pickShare(random), random);
}

/**
 * What a power cut leaves of the file, which is then all there is.
 *
 * @param file The file.
 * @param unsynced What becomes of the pending changes.
 * @param random Decides where that is "any".
 * @returns Whether there was anything to decide.
 */
export function cutPower(file: SimulatedFile, unsynced: Unsynced, random: SeededRandom): boolean {
  const isPending = file.pending.length > 0;
  if (!isPending && !file.hasDropped) return false;
  if (unsynced === "kept") {
    syncChanges(file);
  } else {
    const changes = takeChanges(file, file.nextChange);
    if (unsynced === "any" && isPending) {
      scatterChanges(file.durable, changes, pickEnd(changes, random), pickShare(random), random);
    }
  }
  file.cache = copySparse(file.durable);
  file.hasDropped = false;
  return true;
}

function addChange(
  file: SimulatedFile,
  sectors: Uint8Array | undefined,
  position: number,
  startPosition: number,
  endPosition: number,
): void {
  const number = file.nextChange++;
  const { sizeBytes } = file.cache;
  file.pending.push({ number, sectors, position, startPosition, endPosition, sizeBytes });
  file.pendingBytes += sectors?.length ?? 0;
  while (file.pending.length > changesMax || file.pendingBytes > changeBytesMax) {
    syncChanges(file, file.pending[0]!.number + 1);
  }
}

function takeChanges(file: SimulatedFile, endChange: number): FileChange[] {
  const { pending } = file;
  let count = 0;
  while (count < pending.length && pending[count]!.number < endChange) {
    file.pendingBytes -= pending[count]!.sectors?.length ?? 0;
    count++;
  }
  return pending.splice(0, count);
}

function applyWhole(durable: SparseBytes, change: FileChange): void {
  if (change.sectors !== undefined) writeSparse(durable, change.sectors, change.position);
  applySize(durable, change);
}

/** Only a change of size can make a file shorter, and only then there may be pages to free. */
function applySize(durable: SparseBytes, change: FileChange): void {
  if (change.sectors === undefined) resizeSparse(durable, change.sizeBytes);
  else durable.sizeBytes = change.sizeBytes;
}

/** How many of the changes of size have happened: often all or none. */
function pickEnd(changes: readonly FileChange[], random: SeededRandom): number {
  return random.pick([0, changes.length, random.below(changes.length + 1)]);
}

/** How likely a write is on the disk: in the middle alone, long runs of one kind would be rare. */
function pickShare(random: SeededRandom): number {
  return random.pick([0, 0.1, 0.5, 0.9, 1]);
}

function scatterChanges(
  durable: SparseBytes,
  changes: readonly FileChange[],
  metadataEnd: number,
  share: number,
  random: SeededRandom,
): void {
  const syncedBytes = durable.sizeBytes;
  let { sizeBytes } = durable;
  // From here on sectors belong to blocks that only a cut that has not happened would have made.
  let lostPosition = Infinity;
  for (const [index, change] of changes.entries()) {
    if (change.sectors !== undefined) {
      scatterWrite(durable, change, lostPosition, syncedBytes, share, random);
      if (index < metadataEnd) sizeBytes = change.sizeBytes;
    } else if (index < metadataEnd) {
      sizeBytes = change.sizeBytes;
      resizeSparse(durable, sizeBytes);
    } else {
      const endSector = Math.ceil(change.sizeBytes / sectorBytes) * sectorBytes;
      lostPosition = Math.min(lostPosition, endSector);
    }
  }
  resizeSparse(durable, sizeBytes);
}

function scatterWrite(
  durable: SparseBytes,
  change: FileChange,
  lostPosition: number,
  syncedBytes: number,
  share: number,
  random: SeededRandom,
): void {
  const sectors = change.sectors!;
  const fate = random.chance(share) ? "whole" : random.pick(["lost", "lost", "torn", "garbage"]);
  if (fate === "lost") return;
  for (let at = 0; at < sectors.length; at += sectorBytes) {
    const position = change.position + at;
    if (position >= lostPosition) return;
    const isWritten = fate === "whole" || random.chance(0.5);
    if (isWritten) writeSparse(durable, sectors.subarray(at, at + sectorBytes), position);
    else if (fate === "garbage") spoilSector(durable, change, position, syncedBytes, random);
  }
}

/** Zeros or noise where the write made the file longer than what was synced. */
function spoilSector(
  durable: SparseBytes,
  change: FileChange,
  position: number,
  syncedBytes: number,
  random: SeededRandom,
): void {
  const start = Math.max(position, change.startPosition, syncedBytes);
  const end = Math.min(position + sectorBytes, change.endPosition);
  if (start >= end) return;
  const isNoise = random.chance(0.5);
  writeSparse(durable, isNoise ? random.bytes(end - start) : new Uint8Array(end - start), start);
}
