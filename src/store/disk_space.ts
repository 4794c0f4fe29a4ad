/**
 * Keeps some room on the disk: appends are refused while there is still enough for what a store has
 * to write to go on, and to come out of it again.
 *
 * Only what users append is refused. Commits of groups, changes of topics, checkpoints and what
 * retention and compaction write are small, or free more than they take: for them the room is kept.
 *
 * Asking a disk takes 2 to 3 µs, which is much beside an append in the page cache. So it is asked
 * once a second, and whenever more was appended than a sixteenth of what is kept; in between, what
 * is appended is counted. An append is only refused upon a fresh answer, so appends go on with the
 * first one after there is room again.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";

/** What is kept free unless somebody says otherwise. */
export const diskFreeBytesMinDefault: number = 16 * 1024 * 1024;
/** How long an answer of the disk holds, in milliseconds. */
export const diskAskMs = 1_000;
/** The disk is asked after this part of what is kept, or after this many bytes. */
const askShare = 16;
const askBytesMin = 64 * 1024;

/** What is known of the room on the disk of a store. */
export interface DiskSpace {
  readonly fs: FileSystem;
  readonly folder: string;
  /** What is kept free; 0 if nothing is. */
  readonly freeBytesMin: number;
  /** What the disk answered, less what was appended since. */
  freeBytes: number;
  /** After how many more bytes it is asked again. */
  askBytes: number;
  /** When it was asked, in milliseconds since the epoch. */
  askedMs: number;
}

/** What is appended to: a partition, or several of a topic at once. */
export interface SpaceTarget {
  readonly topic: string;
  readonly partition?: number;
}

/**
 * The room on the disk of a store, of which nothing is known yet.
 *
 * @param fs Where the store is.
 * @param folder Its folder.
 * @param freeBytesMin What is to be kept free.
 * @returns The room; the disk is asked by the first append.
 */
export function diskSpace(fs: FileSystem, folder: string, freeBytesMin: number): DiskSpace {
  return { fs, folder, freeBytesMin, freeBytes: 0, askBytes: 0, askedMs: -Infinity };
}

/**
 * How many bytes are free.
 *
 * @param fs Where to look.
 * @param folder A folder there.
 * @returns The number; undefined where the file system does not tell, as on some network mounts.
 */
export function findFreeBytes(fs: FileSystem, folder: string): number | undefined {
  try {
    return fs.freeBytes(folder);
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/**
 * Counts bytes that are about to be appended, if there is room for them.
 *
 * @param space The room.
 * @param target What they are for.
 * @param sizeBytes How many.
 * @param now In milliseconds since the epoch.
 * @throws OttlaError `DISK_FULL` if fewer would stay free than are to be kept.
 */
export function claimSpace(
  space: DiskSpace,
  target: SpaceTarget,
  sizeBytes: number,
  now: number,
): void {
  if (tryClaimSpace(space, sizeBytes, now)) return;
  throw noSpaceError(space, target, sizeBytes);
}

/**
 * Counts bytes that are about to be written, if there is room for them.
 *
 * @param space The room.
 * @param sizeBytes How many.
 * @param now In milliseconds since the epoch.
 * @returns False if fewer would stay free than are to be kept.
 */
export function tryClaimSpace(space: DiskSpace, sizeBytes: number, now: number): boolean {
  const { freeBytesMin } = space;
  if (freeBytesMin === 0) return true;
  const isStale = sizeBytes > space.askBytes || now - space.askedMs >= diskAskMs ||
    now < space.askedMs;
  if (isStale || space.freeBytes - sizeBytes < freeBytesMin) askDisk(space, now);
  if (space.freeBytes - sizeBytes < freeBytesMin) return false;
  space.freeBytes -= sizeBytes;
  space.askBytes -= sizeBytes;
  return true;
}

function askDisk(space: DiskSpace, now: number): void {
  const { fs, folder, freeBytesMin } = space;
  // Where nobody tells, the disk itself says when it is full.
  space.freeBytes = findFreeBytes(fs, folder) ?? Number.MAX_SAFE_INTEGER;
  space.askBytes = Math.max(askBytesMin, Math.floor(freeBytesMin / askShare));
  space.askedMs = now;
}

function noSpaceError(space: DiskSpace, target: SpaceTarget, sizeBytes: number): OttlaError {
  const { folder, freeBytes, freeBytesMin } = space;
  const { topic, partition } = target;
  const name = partition === undefined ? topic : `${topic}-${partition}`;
  return new OttlaError(
    "DISK_FULL",
    `Cannot append ${sizeBytes} bytes to ${name}: the disk of ${folder} has ${freeBytes} bytes ` +
      `free, of which diskFreeBytesMin keeps ${freeBytesMin}`,
    { details: { topic, partition, sizeBytes, freeBytes, diskFreeBytesMin: freeBytesMin } },
  );
}
