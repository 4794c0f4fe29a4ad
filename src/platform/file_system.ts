/**
 * The one interface through which ottla touches files.
 *
 * Calls are synchronous, because a write into the page cache costs less than a trip through a
 * thread pool; only what may wait for a device (`syncData`) or feeds a socket (`readAsync`) returns
 * a promise. There is one implementation for disks and one in memory, and everything above runs on
 * either without knowing which.
 *
 * Failures are the errors of `node:fs`: an `Error` with a `code` such as `ENOENT`, `EEXIST` or
 * `ENOSPC`.
 */

import type { ProcessTable } from "./process_identity.ts";

/** An open file. Only the file system that gave it knows what the number means. */
export type FileHandle = number;

/**
 * How a file is opened: `read` an existing file, `write` to (and read) an existing file, or
 * `create`, which is `write` that makes the file if there is none.
 */
export type OpenMode = "read" | "write" | "create";

/** One entry of a folder. */
export interface FolderEntry {
  readonly name: string;
  readonly isFolder: boolean;
}

/** What is known of a path without opening it. */
export interface FileStatus {
  readonly sizeBytes: number;
  /** When the content was last changed, in milliseconds since the epoch. */
  readonly modifiedMs: number;
  readonly isFolder: boolean;
}

/** A place that holds files in folders. */
export interface FileSystem {
  readonly kind: "disk" | "memory" | "simulated";
  /** The processes that use it, if they are not those of this machine. */
  readonly processes?: ProcessTable;
  open(path: string, mode: OpenMode): FileHandle;
  /** Makes a file that must not exist yet (`EEXIST`), open for writing. */
  createExclusive(path: string): FileHandle;
  /** Reads up to `target.length` bytes; fewer only where the file ends. Returns how many. */
  read(file: FileHandle, target: Uint8Array, position: number): number;
  /** As `read`, off the event loop. */
  readAsync(file: FileHandle, target: Uint8Array, position: number): Promise<number>;
  /** Writes all of `source` or throws; after an error any part of it may have been written. */
  write(file: FileHandle, source: Uint8Array, position: number): void;
  sizeOf(file: FileHandle): number;
  /** Cuts the file, or extends it with zeros that need no space. */
  truncate(file: FileHandle, sizeBytes: number): void;
  /** Resolves when the file's bytes and its size would survive a power cut. */
  syncData(file: FileHandle): Promise<void>;
  /** As `syncData`, waiting on the spot. */
  syncDataNow(file: FileHandle): void;
  /** Whether `syncDataNow` is the quicker one at this moment and nobody has to wait long for it. */
  isSyncQuick(): boolean;
  close(file: FileHandle): void;
  /** Renames within this file system, replacing a file at `target`. */
  rename(source: string, target: string): void;
  /** Gives a file a second name that must not exist yet (`EEXIST`). */
  link(source: string, target: string): void;
  remove(path: string): void;
  /** Makes a folder and those above it; an existing one is fine. */
  makeFolder(path: string): void;
  /** Removes an empty folder. */
  removeFolder(path: string): void;
  /** Lists a folder in no particular order; `ENOENT` if there is none. */
  list(folder: string): FolderEntry[];
  stat(path: string): FileStatus | undefined;
  /** Says when a file was last changed, in milliseconds since the epoch; a power cut may take that. */
  setModified(path: string, modifiedMs: number): void;
  /** Makes creations, renames and removals inside a folder survive a power cut. */
  syncFolder(folder: string): void;
  /** Bytes that can still be written. */
  freeBytes(folder: string): number;
}

/**
 * Tells whether an error of a file system has the given code.
 *
 * @param error What was caught.
 * @param code For example `ENOENT`.
 * @returns True if it has.
 */
export function hasErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/**
 * Tells whether there was no room: on the disk, or in the user's share of it.
 *
 * @param error What was caught.
 * @returns True if so.
 */
export function isDiskFull(error: unknown): boolean {
  return hasErrorCode(error, "ENOSPC") || hasErrorCode(error, "EDQUOT");
}
