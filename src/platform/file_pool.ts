/**
 * Keeps a bounded number of files open: ten thousand partitions under a limit of a thousand open
 * files.
 *
 * A pooled file is opened when its handle is asked for and may be closed whenever another one is;
 * so a handle is used at once or its file is pinned. Who goes first is decided by second chance: a
 * file that was used since the last look stays.
 */

import type { FileHandle, FileSystem } from "./file_system.ts";

/** A file that is open or can be opened again. */
export interface PooledFile {
  readonly path: string;
  /** -1 while it is closed. */
  handle: FileHandle;
  /** How many users need the handle to stay open. */
  pins: number;
  wasUsed: boolean;
}

/** The files of one store. */
export interface FilePool {
  readonly fs: FileSystem;
  readonly openMax: number;
  /** The open ones, the oldest first. */
  readonly open: Set<PooledFile>;
  /** How often a file was opened: again and again if `openMax` is small. */
  openings: number;
}

/**
 * A pool without files.
 *
 * @param fs Where the files are.
 * @param openMax How many may be open at once; more are where more are pinned.
 * @returns The pool.
 */
export function filePool(fs: FileSystem, openMax: number): FilePool {
  return { fs, openMax, open: new Set(), openings: 0 };
}

/**
 * A file that is not open yet.
 *
 * @param path Of an existing file.
 * @returns The file.
 */
export function pooledFile(path: string): PooledFile {
  return { path, handle: -1, pins: 0, wasUsed: false };
}

/**
 * The handle of a file, opened for reading and writing if it was not.
 *
 * @param pool The pool that the file belongs to.
 * @param file The file.
 * @returns A handle to be used at once; pin the file to keep it.
 */
export function handleOf(pool: FilePool, file: PooledFile): FileHandle {
  file.wasUsed = true;
  if (file.handle < 0) handleOfClosed(pool, file);
  return file.handle;
}

/**
 * Keeps a file open until `unpinFile`.
 *
 * @param pool The pool that the file belongs to.
 * @param file The file.
 * @returns Its handle.
 */
export function pinFile(pool: FilePool, file: PooledFile): FileHandle {
  const handle = handleOf(pool, file);
  file.pins++;
  return handle;
}

/** Takes back one `pinFile`. */
export function unpinFile(file: PooledFile): void {
  file.pins--;
}

/**
 * Closes a file that is open; it can be opened again.
 *
 * @param pool The pool that the file belongs to.
 * @param file The file.
 */
export function closePooledFile(pool: FilePool, file: PooledFile): void {
  if (file.handle < 0) return;
  const { handle } = file;
  file.handle = -1;
  pool.open.delete(file);
  pool.fs.close(handle);
}

function handleOfClosed(pool: FilePool, file: PooledFile): void {
  // More than one is over the limit when many were pinned and no longer are.
  while (pool.open.size >= pool.openMax && closeOldest(pool));
  file.handle = pool.fs.open(file.path, "write");
  pool.open.add(file);
  pool.openings++;
}

/** Closes the file that was not used for longest; returns false if all are pinned. */
function closeOldest(pool: FilePool): boolean {
  // Twice around: the first time may only take away second chances.
  let looks = 2 * pool.open.size;
  for (const file of pool.open) {
    if (looks-- === 0) return false;
    if (file.pins === 0 && !file.wasUsed) {
      closePooledFile(pool, file);
      return true;
    }
    file.wasUsed = false;
    pool.open.delete(file);
    pool.open.add(file);
  }
  return false;
}
