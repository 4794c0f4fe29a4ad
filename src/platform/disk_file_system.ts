/**
 * Files on a disk, over `node:fs`, which Node, Deno and Bun all implement.
 *
 * On macOS durable means `F_FULLFSYNC`: libuv's `fsync` asks for it there, its `fdatasync` does
 * too. Windows cannot open folders for syncing; its file systems journal names by themselves.
 */

import * as fs from "node:fs";
import { isDiskSyncQuick, syncDiskFile, syncDiskFileNow } from "./disk_sync.ts";
import type { FileHandle, FileStatus, FileSystem, FolderEntry, OpenMode } from "./file_system.ts";
import { hasErrorCode } from "./file_system.ts";
import { joinPath } from "./files.ts";

const openFlags = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
} as const satisfies Record<OpenMode, number>;

/**
 * The file system of this machine.
 *
 * @returns A file system over `node:fs`.
 */
export function diskFileSystem(): FileSystem {
  return {
    kind: "disk",
    open: (path, mode) => fs.openSync(path, openFlags[mode]),
    createExclusive: (path) => fs.openSync(path, "wx+"),
    read: diskRead,
    readAsync: diskReadAsync,
    write: diskWrite,
    sizeOf: (file) => fs.fstatSync(file).size,
    truncate: (file, sizeBytes) => fs.ftruncateSync(file, sizeBytes),
    syncData: syncDiskFile,
    syncDataNow: syncDiskFileNow,
    isSyncQuick: isDiskSyncQuick,
    close: (file) => fs.closeSync(file),
    rename: (source, target) => fs.renameSync(source, target),
    link: (source, target) => fs.linkSync(source, target),
    remove: (path) => fs.unlinkSync(path),
    makeFolder: (path) => void fs.mkdirSync(path, { recursive: true }),
    removeFolder: diskRemoveFolder,
    list: diskList,
    stat: diskStat,
    setModified: (path, modifiedMs) => fs.utimesSync(path, modifiedMs / 1000, modifiedMs / 1000),
    syncFolder: diskSyncFolder,
    freeBytes: diskFreeBytes,
  };
}

function diskRead(file: FileHandle, target: Uint8Array, position: number): number {
  let count = 0;
  while (count < target.length) {
    const read = fs.readSync(file, target, count, target.length - count, position + count);
    if (read === 0) break;
    count += read;
  }
  return count;
}

function diskReadAsync(file: FileHandle, target: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const readOn = (count: number): void => {
      fs.read(file, target, count, target.length - count, position + count, (error, read) => {
        if (error) reject(error);
        else if (read === 0 || count + read === target.length) resolve(count + read);
        else readOn(count + read);
      });
    };
    readOn(0);
  });
}

function diskWrite(file: FileHandle, source: Uint8Array, position: number): void {
  let count = 0;
  while (count < source.length) {
    count += fs.writeSync(file, source, count, source.length - count, position + count);
  }
}

/** A link to a folder is one, as for a broker: a partition may lie on another disk. */
function diskList(folder: string): FolderEntry[] {
  return fs.readdirSync(folder, { withFileTypes: true }).map((entry) => ({
    name: entry.name,
    isFolder: entry.isDirectory() ||
      entry.isSymbolicLink() && diskStat(joinPath(folder, entry.name))?.isFolder === true,
  }));
}

/** Of a link to a folder only the link goes. */
function diskRemoveFolder(path: string): void {
  try {
    fs.rmdirSync(path);
  } catch (error) {
    if (!fs.lstatSync(path).isSymbolicLink()) throw error;
    fs.unlinkSync(path);
  }
}

function diskStat(path: string): FileStatus | undefined {
  let status: fs.Stats | undefined;
  try {
    status = fs.statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A link that leads to itself leads nowhere.
    if (!hasErrorCode(error, "ELOOP")) throw error;
  }
  if (status === undefined) return undefined;
  return {
    sizeBytes: status.size,
    modifiedMs: Math.floor(status.mtimeMs),
    isFolder: status.isDirectory(),
  };
}

function diskSyncFolder(folder: string): void {
  let file: FileHandle;
  try {
    file = fs.openSync(folder, fs.constants.O_RDONLY);
  } catch (error) {
    // Windows refuses to open a folder, and needs no syncing of it.
    if (hasErrorCode(error, "EISDIR") || hasErrorCode(error, "EPERM")) return;
    throw error;
  }
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

function diskFreeBytes(folder: string): number {
  try {
    const status = fs.statfsSync(folder);
    return status.bavail * status.bsize;
  } catch (cause) {
    if (cause instanceof Error && "code" in cause) throw cause;
    // Deno gives this alone only to who may ask for `--allow-sys`, and its refusal has no code.
    throw Object.assign(new Error(`ENOSYS: nobody tells of ${folder}`, { cause }), {
      code: "ENOSYS",
    });
  }
}
