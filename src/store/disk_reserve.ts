/**
 * A file that only takes room: `ottla.reserve`. When others have filled the disk it is given back,
 * so that there is room for the few files that have to be written before something can be freed: a
 * lock, a checkpoint, the record of a deletion. It is made again when there is room again.
 *
 * It stays in the folder when the store is closed, and so lets a store be opened on a full disk.
 */

import type { FileSystem } from "../platform/file_system.ts";
import { isDiskFull } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { DiskSpace } from "./disk_space.ts";
import { findFreeBytes } from "./disk_space.ts";

const reserveName = "ottla.reserve";
/** A disk deals in blocks of 4 KiB: there is room for sixteen small files. */
const reserveBytes = 64 * 1024;
/** Where there is no limit there is nothing to reserve. */
const unlimitedBytes = Number.MAX_SAFE_INTEGER;

/**
 * Takes the reserve, or as much of it as there is room for; nothing if the store keeps nothing free.
 * Never throws for what the disk says: what cannot be reserved now is tried again later.
 *
 * @param space The room on the disk of an open store.
 */
export function takeReserve({ fs, folder, freeBytesMin }: DiskSpace): void {
  if (freeBytesMin === 0) return;
  const path = joinPath(folder, reserveName);
  try {
    const takenBytes = fs.stat(path)?.sizeBytes ?? 0;
    if (takenBytes >= reserveBytes) return;
    const freeBytes = fs.freeBytes(folder);
    if (freeBytes >= unlimitedBytes) return;
    const sizeBytes = Math.min(reserveBytes, takenBytes + freeBytes);
    if (sizeBytes > takenBytes) writeReserve(fs, path, sizeBytes);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/**
 * Runs what frees something: with the reserve given back if there is less room than it takes, and
 * taken again afterwards.
 *
 * @param space The room on the disk of an open store.
 * @param task What frees something.
 * @returns What it returns.
 * @throws What it throws.
 */
export function lendingReserve<T>(space: DiskSpace, task: () => T): T {
  giveReserveIfFull(space.fs, space.folder);
  try {
    return task();
  } finally {
    takeReserve(space);
  }
}

/**
 * Gives the reserve back if there is less room than it takes, for somebody who has to write before
 * he can free something.
 *
 * @param fs Where the store is.
 * @param folder Its folder.
 */
export function giveReserveIfFull(fs: FileSystem, folder: string): void {
  const freeBytes = findFreeBytes(fs, folder);
  if (freeBytes !== undefined && freeBytes < reserveBytes) giveReserve(fs, folder);
}

/**
 * Gives the reserve back.
 *
 * @param fs Where the store is.
 * @param folder Its folder.
 * @returns Whether there was one.
 */
export function giveReserve(fs: FileSystem, folder: string): boolean {
  try {
    fs.remove(joinPath(folder, reserveName));
    return true;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return false;
  }
}

/**
 * Runs what fails on a full disk, and once more if giving the reserve back may help.
 *
 * @param fs Where the store is.
 * @param folder Its folder.
 * @param task Changes nothing if it fails.
 * @returns What it returns.
 * @throws What it throws.
 */
export function withReserve<T>(fs: FileSystem, folder: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (!isDiskFull(error) || !giveReserve(fs, folder)) throw error;
    return task();
  }
}

/** Bytes that no disk can store in fewer: some leave out zeros, and compress what repeats itself. */
function writeReserve(fs: FileSystem, path: string, sizeBytes: number): void {
  const bytes = new Uint8Array(sizeBytes);
  let state = 1;
  for (let index = 0; index < sizeBytes; index++) {
    // The generator of Numerical Recipes; its low bits repeat themselves soon, its high ones do not.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  const file = fs.open(path, "create");
  try {
    fs.write(file, bytes, 0);
  } finally {
    fs.close(file);
  }
}
