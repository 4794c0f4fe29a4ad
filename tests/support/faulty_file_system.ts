/**
 * A file system that fails on demand, counts what is done to it, and forgets what was not synced.
 *
 * It stands before any other file system. What it calls durable is the harshest a disk may do: of a
 * file its bytes at the last sync, of a folder its names at the last sync of the folder.
 */

import type { FileHandle, FileSystem, OpenMode } from "../../src/platform/file_system.ts";
import { folderOf, joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";

/** What can be made to fail. */
export type FaultyOperation =
  | "open"
  | "read"
  | "write"
  | "truncate"
  | "sync"
  | "syncFolder"
  | "rename"
  | "remove";

/** A failure that is to come. */
export interface Fault {
  readonly operation: FaultyOperation;
  /** For example `ENOSPC`. */
  readonly code: string;
  /** How many calls go well before. */
  readonly after?: number;
  /** How many calls fail then; one if not given. */
  readonly times?: number;
  /** Of a write that fails: how many bytes reach the file all the same. */
  readonly shortBytes?: number;
  /** Only calls on paths that contain this count. */
  readonly path?: string;
}

/** A file system with faults, and what was done to it. */
export interface FaultyDisk {
  readonly fs: FileSystem;
  /** The same files, without faults and counts. */
  readonly inner: FileSystem;
  readonly counts: Record<FaultyOperation, number>;
  /** How many bytes were read of each path, since `resetCounts`. */
  readonly bytesRead: Map<string, number>;
  /** The handles that are open, and their paths. */
  readonly handles: Map<FileHandle, string>;
  readonly faults: (Fault & { passed: number; failed: number })[];
  /** The syncs that wait to be let go; undefined where they are not held. */
  heldSyncs: (() => void)[] | undefined;
  /** What a crash leaves of each folder: its names and their files. */
  readonly durableNames: Map<string, Map<string, TrackedFile>>;
  readonly files: Map<string, TrackedFile>;
}

interface TrackedFile {
  durable: Uint8Array;
}

/**
 * A disk without faults so far.
 *
 * @param inner Where the files are.
 * @returns The disk.
 */
export function faultyDisk(inner: FileSystem = memoryFileSystem()): FaultyDisk {
  const disk: FaultyDisk = {
    fs: {
      ...inner,
      kind: "simulated",
      open: (path, mode) => openFile(disk, inner, path, mode),
      createExclusive(path) {
        beforeCall(disk, "open", path);
        const file = inner.createExclusive(path);
        disk.files.set(path, { durable: new Uint8Array(0) });
        disk.handles.set(file, path);
        return file;
      },
      read(file, target, position) {
        const path = pathOf(disk, file);
        beforeCall(disk, "read", path);
        const count = inner.read(file, target, position);
        disk.bytesRead.set(path, (disk.bytesRead.get(path) ?? 0) + count);
        return count;
      },
      write: (file, source, position) => writeFile(disk, inner, file, source, position),
      truncate(file, sizeBytes) {
        beforeCall(disk, "truncate", pathOf(disk, file));
        inner.truncate(file, sizeBytes);
      },
      syncData: (file) => syncFile(disk, inner, file),
      syncDataNow(file) {
        beforeCall(disk, "sync", pathOf(disk, file));
        inner.syncDataNow(file);
        fileOf(disk, file).durable = contentOf(inner, file);
      },
      isSyncQuick: () => false,
      close(file) {
        pathOf(disk, file);
        disk.handles.delete(file);
        inner.close(file);
      },
      rename(source, target) {
        beforeCall(disk, "rename", source);
        inner.rename(source, target);
        const file = disk.files.get(source);
        disk.files.delete(source);
        if (file !== undefined) disk.files.set(target, file);
        else moveFolder(disk, source, target);
      },
      remove(path) {
        beforeCall(disk, "remove", path);
        inner.remove(path);
        disk.files.delete(path);
      },
      syncFolder(folder) {
        beforeCall(disk, "syncFolder", folder);
        inner.syncFolder(folder);
        disk.durableNames.set(folder, namesIn(disk, folder));
      },
    },
    inner,
    counts: noCounts(),
    bytesRead: new Map(),
    handles: new Map(),
    faults: [],
    heldSyncs: undefined,
    durableNames: new Map(),
    files: new Map(),
  };
  return disk;
}

/** Lets a coming call fail. */
export function failNext(disk: FaultyDisk, fault: Fault): void {
  disk.faults.push({ ...fault, passed: 0, failed: 0 });
}

/** Takes all faults back. */
export function healDisk(disk: FaultyDisk): void {
  disk.faults.length = 0;
}

/** Begins to count anew. */
export function resetCounts(disk: FaultyDisk): void {
  Object.assign(disk.counts, noCounts());
  disk.bytesRead.clear();
}

/** How many bytes were read of files with this end of their path. */
export function bytesReadOf(disk: FaultyDisk, suffix: string): number {
  let sum = 0;
  for (const [path, count] of disk.bytesRead) if (path.endsWith(suffix)) sum += count;
  return sum;
}

/** From now on syncs wait for `releaseSyncs`. */
export function holdSyncs(disk: FaultyDisk): void {
  disk.heldSyncs = [];
}

/** Lets the syncs go that wait; those to come wait again. Returns how many there were. */
export function releaseSyncs(disk: FaultyDisk): number {
  const held = disk.heldSyncs?.splice(0) ?? [];
  for (const release of held) release();
  return held.length;
}

/**
 * What a power cut leaves: the names and bytes that were synced.
 *
 * @param disk The disk; it must not be used any more.
 * @param kept How much more survives: all names that there are, and of the bytes behind the synced
 * size of each file a number that the function gives, which gets their count.
 * @returns A new disk in memory.
 */
export function crashDisk(
  disk: FaultyDisk,
  kept: { readonly names?: boolean; readonly bytes?: (unsynced: number, path: string) => number } =
    {},
): FaultyDisk {
  const after = memoryFileSystem();
  const next = faultyDisk(after);
  const folders = new Set([...disk.durableNames.keys(), ...[...disk.files.keys()].map(folderOf)]);
  for (const folder of folders) {
    after.makeFolder(folder);
    const durable = new Map<string, TrackedFile>();
    next.durableNames.set(folder, durable);
    const names = kept.names === true
      ? namesIn(disk, folder)
      : disk.durableNames.get(folder) ?? new Map<string, TrackedFile>();
    for (const [name, file] of names) {
      const path = joinPath(folder, name);
      const current = currentContent(disk, file);
      const unsynced = Math.max(0, (current?.length ?? 0) - file.durable.length);
      const more = Math.min(unsynced, kept.bytes?.(unsynced, path) ?? 0);
      const handle = after.open(path, "create");
      after.write(handle, file.durable, 0);
      const size = file.durable.length;
      if (more > 0) after.write(handle, current!.subarray(size, size + more), size);
      const tracked = { durable: contentOf(after, handle) };
      next.files.set(path, tracked);
      durable.set(name, tracked);
      after.close(handle);
    }
  }
  return next;
}

/** Else the files of a folder that is made anew would be taken for those of the old one. */
function moveFolder(disk: FaultyDisk, source: string, target: string): void {
  for (const [path, file] of [...disk.files]) {
    if (folderOf(path) !== source) continue;
    disk.files.delete(path);
    disk.files.set(joinPath(target, path.slice(source.length + 1)), file);
  }
  const names = disk.durableNames.get(source);
  disk.durableNames.delete(source);
  if (names !== undefined) disk.durableNames.set(target, names);
}

function noCounts(): Record<FaultyOperation, number> {
  return { open: 0, read: 0, write: 0, truncate: 0, sync: 0, syncFolder: 0, rename: 0, remove: 0 };
}

/** Counts a call, and throws if it is to fail. */
function beforeCall(disk: FaultyDisk, operation: FaultyOperation, path: string): void {
  disk.counts[operation]++;
  const fault = findFault(disk, operation, path);
  if (fault !== undefined) throw faultError(fault, path);
}

function findFault(disk: FaultyDisk, operation: FaultyOperation, path: string): Fault | undefined {
  for (const fault of disk.faults) {
    if (fault.operation !== operation || !path.includes(fault.path ?? "")) continue;
    if (fault.passed < (fault.after ?? 0)) {
      fault.passed++;
    } else if (fault.failed < (fault.times ?? 1)) {
      fault.failed++;
      return fault;
    }
  }
  return undefined;
}

function faultError(fault: Fault, path: string): Error {
  return Object.assign(new Error(`${fault.code}: ${fault.operation} ${path}`), {
    code: fault.code,
  });
}

function openFile(
  disk: FaultyDisk,
  inner: FileSystem,
  path: string,
  mode: OpenMode,
): FileHandle {
  beforeCall(disk, "open", path);
  const isNew = inner.stat(path) === undefined;
  const file = inner.open(path, mode);
  disk.handles.set(file, path);
  if (!disk.files.has(path)) {
    // What was there before is taken as durable.
    const tracked = { durable: isNew ? new Uint8Array(0) : contentOf(inner, file) };
    disk.files.set(path, tracked);
    const folder = folderOf(path);
    if (!disk.durableNames.has(folder)) disk.durableNames.set(folder, new Map());
    if (!isNew) disk.durableNames.get(folder)!.set(path.slice(folder.length + 1), tracked);
  }
  return file;
}

function writeFile(
  disk: FaultyDisk,
  inner: FileSystem,
  file: FileHandle,
  source: Uint8Array,
  position: number,
): void {
  const path = pathOf(disk, file);
  disk.counts.write++;
  const fault = findFault(disk, "write", path);
  if (fault === undefined) return inner.write(file, source, position);
  inner.write(file, source.subarray(0, fault.shortBytes ?? 0), position);
  throw faultError(fault, path);
}

async function syncFile(disk: FaultyDisk, inner: FileSystem, file: FileHandle): Promise<void> {
  const path = pathOf(disk, file);
  disk.counts.sync++;
  const fault = findFault(disk, "sync", path);
  const tracked = fileOf(disk, file);
  const content = contentOf(inner, file);
  const { heldSyncs } = disk;
  if (heldSyncs !== undefined) await new Promise<void>((resolve) => heldSyncs.push(resolve));
  if (fault !== undefined) throw faultError(fault, path);
  await inner.syncData(file);
  tracked.durable = content;
}

function pathOf(disk: FaultyDisk, file: FileHandle): string {
  const path = disk.handles.get(file);
  if (path === undefined) throw Object.assign(new Error(`EBADF: ${file}`), { code: "EBADF" });
  return path;
}

function fileOf(disk: FaultyDisk, file: FileHandle): TrackedFile {
  const path = pathOf(disk, file);
  const tracked = disk.files.get(path);
  // A file that was removed while it is open: nothing of it will be there after a crash.
  return tracked ?? { durable: new Uint8Array(0) };
}

function contentOf(inner: FileSystem, file: FileHandle): Uint8Array {
  const bytes = new Uint8Array(inner.sizeOf(file));
  inner.read(file, bytes, 0);
  return bytes;
}

function currentContent(disk: FaultyDisk, file: TrackedFile): Uint8Array | undefined {
  for (const [path, tracked] of disk.files) {
    if (tracked === file) return readFile(disk.inner, path);
  }
  return undefined;
}

function namesIn(disk: FaultyDisk, folder: string): Map<string, TrackedFile> {
  const names = new Map<string, TrackedFile>();
  for (const [path, file] of disk.files) {
    if (folderOf(path) === folder) names.set(path.slice(folder.length + 1), file);
  }
  return names;
}
