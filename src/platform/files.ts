/** Whole small files: read at once, replaced so that a crash leaves the old content or the new. */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "./file_system.ts";
import { hasErrorCode } from "./file_system.ts";

/** No file that is read whole is larger, unless its reader says so. */
const wholeFileBytesMax = 64 * 1024 * 1024;

/**
 * Reads a file from beginning to end.
 *
 * @param fs Where the file is.
 * @param path Its path.
 * @param sizeBytesMax How many bytes it may have.
 * @returns Its bytes, or undefined if there is no such file.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if it is larger: it is none of a store's.
 */
export function readFile(
  fs: FileSystem,
  path: string,
  sizeBytesMax: number = wholeFileBytesMax,
): Uint8Array | undefined {
  let file;
  try {
    file = fs.open(path, "read");
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    const sizeBytes = fs.sizeOf(file);
    if (sizeBytes > sizeBytesMax) {
      throw new OttlaError(
        "KAFKA_STORAGE_ERROR",
        `Cannot read ${path}: it has ${sizeBytes} bytes, at most ${sizeBytesMax} were expected`,
        { details: { path, sizeBytes, sizeBytesMax } },
      );
    }
    const bytes = new Uint8Array(sizeBytes);
    return bytes.subarray(0, fs.read(file, bytes, 0));
  } finally {
    fs.close(file);
  }
}

/** What a file is called as long as it is not whole. */
export const temporarySuffix = ".tmp";

/**
 * Replaces a file: written under the name with `.tmp` behind it, synced, renamed, and the folder
 * synced.
 *
 * @param fs Where the file is.
 * @param path Its path.
 * @param bytes All of its new content.
 */
export function replaceFile(fs: FileSystem, path: string, bytes: Uint8Array): void {
  const temporary = path + temporarySuffix;
  const file = fs.open(temporary, "create");
  try {
    fs.truncate(file, 0);
    fs.write(file, bytes, 0);
    fs.syncDataNow(file);
  } finally {
    fs.close(file);
  }
  fs.rename(temporary, path);
  fs.syncFolder(folderOf(path));
}

/**
 * Makes a folder and those above it, so that they survive a power cut.
 *
 * @param fs Where to make it.
 * @param folder The folder; one that is there already is fine.
 * @returns The folders that were made, the deepest first.
 */
export function makeFolderSynced(fs: FileSystem, folder: string): string[] {
  const missing: string[] = [];
  let present = folder;
  while (fs.stat(present) === undefined && folderOf(present) !== present) {
    missing.push(present);
    present = folderOf(present);
  }
  syncIfAllowed(fs, folderOf(present));
  for (const path of missing.toReversed()) {
    fs.makeFolder(path);
    fs.syncFolder(folderOf(path));
  }
  return missing;
}

/**
 * What lies in the folder may have been made by a process that died before it was on disk. But not by
 * one that may not read the folder.
 */
function syncIfAllowed(fs: FileSystem, folder: string): void {
  try {
    fs.syncFolder(folder);
  } catch (error) {
    const isDenied = error instanceof Error && error.name === "NotCapable";
    if (!isDenied && !hasErrorCode(error, "EACCES")) throw error;
  }
}

/**
 * The folder that a path lies in.
 *
 * @param path A path with `/` or, on Windows, `\` between its parts.
 * @returns The path of the folder, without the separator.
 */
export function folderOf(path: string): string {
  const end = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return end <= 0 ? (end === 0 ? "/" : ".") : path.slice(0, end);
}

/**
 * Joins a folder and a name in it.
 *
 * @param folder The folder's path.
 * @param name The name.
 * @returns The path of that name.
 */
export function joinPath(folder: string, name: string): string {
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}
