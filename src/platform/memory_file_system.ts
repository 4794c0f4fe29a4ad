/**
 * Files in memory: what `openStore(":memory:")` stands on.
 *
 * A file is a list of pages that are made when first written, so a file that was extended with
 * `truncate` costs nothing until it is used, as a sparse file on a disk. Nothing here survives the
 * process, so syncing is free.
 */

import type { FileHandle, FileStatus, FileSystem, FolderEntry, OpenMode } from "./file_system.ts";

const pageSizeBytes = 16 * 1024;
const sizeBytesMax = 2 ** 40;

interface MemoryFile {
  readonly isFolder: false;
  readonly pages: (Uint8Array | undefined)[];
  sizeBytes: number;
  modifiedMs: number;
}

interface MemoryFolder {
  readonly isFolder: true;
  readonly entries: Map<string, MemoryFile | MemoryFolder>;
}

/**
 * A new, empty file system in memory.
 *
 * @param now Gives the time that files are stamped with, in milliseconds since the epoch.
 * @returns A file system that holds nothing yet.
 */
export function memoryFileSystem(now: () => number = Date.now): FileSystem {
  const root: MemoryFolder = { isFolder: true, entries: new Map() };
  const openFiles = new Map<FileHandle, MemoryFile>();
  const readOnlyHandles = new Set<FileHandle>();
  let nextHandle = 1;

  const fileOf = (handle: FileHandle): MemoryFile => {
    const file = openFiles.get(handle);
    if (file === undefined) throw memoryError("EBADF", `file ${handle} is not open`);
    return file;
  };
  const writableFileOf = (handle: FileHandle): MemoryFile => {
    if (readOnlyHandles.has(handle)) throw memoryError("EBADF", `file ${handle} is only read`);
    return fileOf(handle);
  };
  const openNode = (file: MemoryFile): FileHandle => {
    const handle = nextHandle++;
    openFiles.set(handle, file);
    return handle;
  };
  const newFile = (path: string): MemoryFile => {
    const file: MemoryFile = { isFolder: false, pages: [], sizeBytes: 0, modifiedMs: now() };
    folderOf(root, path).entries.set(nameOf(path), file);
    return file;
  };
  const read = (handle: FileHandle, target: Uint8Array, position: number): number =>
    memoryRead(fileOf(handle), target, position);

  return {
    kind: "memory",
    open(path: string, mode: OpenMode): FileHandle {
      const node = findNode(root, path);
      if (node === undefined && mode === "create") return openNode(newFile(path));
      const handle = openNode(existingFile(node, path));
      if (mode === "read") readOnlyHandles.add(handle);
      return handle;
    },
    createExclusive(path) {
      if (findNode(root, path) !== undefined) throw memoryError("EEXIST", path);
      return openNode(newFile(path));
    },
    read,
    readAsync: (handle, target, position) => Promise.resolve(read(handle, target, position)),
    write(handle, source, position) {
      const file = writableFileOf(handle);
      memoryWrite(file, source, position);
      file.modifiedMs = now();
    },
    sizeOf: (handle) => fileOf(handle).sizeBytes,
    truncate(handle, sizeBytes) {
      const file = writableFileOf(handle);
      memoryTruncate(file, sizeBytes);
      file.modifiedMs = now();
    },
    syncData: (handle) => Promise.resolve(void fileOf(handle)),
    syncDataNow: (handle) => void fileOf(handle),
    isSyncQuick: () => false,
    close(handle) {
      fileOf(handle);
      openFiles.delete(handle);
      readOnlyHandles.delete(handle);
    },
    rename(source, target) {
      const node = findNode(root, source);
      if (node === undefined) throw memoryError("ENOENT", source);
      // The target is looked at first: a rename that fails leaves everything where it was.
      const { entries } = folderOf(root, target);
      renameCheck(node, findNode(root, target), target);
      folderOf(root, source).entries.delete(nameOf(source));
      entries.set(nameOf(target), node);
    },
    link(source, target) {
      const file = existingFile(findNode(root, source), source);
      if (findNode(root, target) !== undefined) throw memoryError("EEXIST", target);
      folderOf(root, target).entries.set(nameOf(target), file);
    },
    remove(path) {
      existingFile(findNode(root, path), path);
      folderOf(root, path).entries.delete(nameOf(path));
    },
    makeFolder: (path) => makeFolder(root, path),
    removeFolder(path) {
      if (existingFolder(findNode(root, path), path).entries.size > 0) {
        throw memoryError("ENOTEMPTY", path);
      }
      folderOf(root, path).entries.delete(nameOf(path));
    },
    list(path): FolderEntry[] {
      const { entries } = existingFolder(findNode(root, path), path);
      return Array.from(entries, ([name, node]) => ({ name, isFolder: node.isFolder }));
    },
    stat(path): FileStatus | undefined {
      const node = findNode(root, path);
      if (node === undefined) return undefined;
      if (node.isFolder) return { sizeBytes: 0, modifiedMs: 0, isFolder: true };
      return { sizeBytes: node.sizeBytes, modifiedMs: node.modifiedMs, isFolder: false };
    },
    setModified(path, modifiedMs) {
      existingFile(findNode(root, path), path).modifiedMs = modifiedMs;
    },
    syncFolder: (path) => void existingFolder(findNode(root, path), path),
    freeBytes: () => Number.MAX_SAFE_INTEGER,
  };
}

/** Whether one may take the place of the other, as POSIX has it. */
function renameCheck(
  node: MemoryFile | MemoryFolder,
  replaced: MemoryFile | MemoryFolder | undefined,
  target: string,
): void {
  if (replaced === undefined || replaced === node) return;
  if (!replaced.isFolder && node.isFolder) throw memoryError("ENOTDIR", target);
  if (replaced.isFolder && !node.isFolder) throw memoryError("EISDIR", target);
  if (replaced.isFolder && replaced.entries.size > 0) throw memoryError("ENOTEMPTY", target);
}

function memoryRead(file: MemoryFile, target: Uint8Array, position: number): number {
  const endPosition = Math.min(file.sizeBytes, position + target.length);
  for (let at = position; at < endPosition;) {
    const offset = at % pageSizeBytes;
    const length = Math.min(pageSizeBytes - offset, endPosition - at);
    const page = file.pages[(at - offset) / pageSizeBytes];
    if (page === undefined) target.fill(0, at - position, at - position + length);
    else target.set(page.subarray(offset, offset + length), at - position);
    at += length;
  }
  return Math.max(0, endPosition - position);
}

function memoryWrite(file: MemoryFile, source: Uint8Array, position: number): void {
  // As on a disk, writing nothing behind the end does not move the end.
  if (source.length === 0) return;
  const endPosition = position + source.length;
  if (endPosition > sizeBytesMax) throw memoryError("EFBIG", `${endPosition} bytes`);
  for (let at = position; at < endPosition;) {
    const offset = at % pageSizeBytes;
    const length = Math.min(pageSizeBytes - offset, endPosition - at);
    const index = (at - offset) / pageSizeBytes;
    const page = file.pages[index] ??= new Uint8Array(pageSizeBytes);
    page.set(source.subarray(at - position, at - position + length), offset);
    at += length;
  }
  file.sizeBytes = Math.max(file.sizeBytes, endPosition);
}

function memoryTruncate(file: MemoryFile, sizeBytes: number): void {
  if (sizeBytes > sizeBytesMax) throw memoryError("EFBIG", `${sizeBytes} bytes`);
  if (sizeBytes < file.sizeBytes) {
    const pageCount = Math.ceil(sizeBytes / pageSizeBytes);
    file.pages.length = Math.min(file.pages.length, pageCount);
    // What lies behind the cut must read as zeros if the file grows again.
    const offset = sizeBytes % pageSizeBytes;
    if (offset > 0) file.pages[pageCount - 1]?.fill(0, offset);
  }
  file.sizeBytes = sizeBytes;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function nameOf(path: string): string {
  return partsOf(path).at(-1) ?? "";
}

function findNode(root: MemoryFolder, path: string): MemoryFile | MemoryFolder | undefined {
  let node: MemoryFile | MemoryFolder = root;
  for (const part of partsOf(path)) {
    const next: MemoryFile | MemoryFolder | undefined = node.isFolder
      ? node.entries.get(part)
      : undefined;
    if (next === undefined) return undefined;
    node = next;
  }
  return node;
}

function folderOf(root: MemoryFolder, path: string): MemoryFolder {
  const parent = partsOf(path).slice(0, -1).join("/");
  return existingFolder(findNode(root, parent), path);
}

function existingFile(node: MemoryFile | MemoryFolder | undefined, path: string): MemoryFile {
  if (node === undefined) throw memoryError("ENOENT", path);
  if (node.isFolder) throw memoryError("EISDIR", path);
  return node;
}

function existingFolder(node: MemoryFile | MemoryFolder | undefined, path: string): MemoryFolder {
  if (node === undefined) throw memoryError("ENOENT", path);
  if (!node.isFolder) throw memoryError("ENOTDIR", path);
  return node;
}

function makeFolder(root: MemoryFolder, path: string): void {
  if (findNode(root, path)?.isFolder === false) throw memoryError("EEXIST", path);
  let folder = root;
  for (const part of partsOf(path)) {
    const next = folder.entries.get(part);
    if (next === undefined) {
      const made: MemoryFolder = { isFolder: true, entries: new Map() };
      folder.entries.set(part, made);
      folder = made;
    } else {
      folder = existingFolder(next, path);
    }
  }
}

function memoryError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}
