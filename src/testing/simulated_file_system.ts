/** The file system of a simulated disk as one process has it. */

import type { FileHandle, FileSystem, OpenMode } from "../platform/file_system.ts";
import type { ProcessTable } from "../platform/process_identity.ts";
import type { DiskFault, DiskOperationKind } from "./disk_faults.ts";
import { findFault } from "./disk_faults.ts";
import type { DiskWait, OpenFile, ProcessState } from "./disk_state.ts";
import { checkAlive, diedError, freeIfUnused, noteEvent } from "./disk_state.ts";
import {
  linkName,
  makeFolders,
  makeName,
  removeEmptyFolder,
  removeName,
  renameName,
} from "./simulated_names.ts";
import { diskError, findNode, getFile, getFolder } from "./simulated_paths.ts";
import type { SimulatedFile } from "./simulated_file.ts";
import {
  dropChanges,
  resizeCached,
  simulatedFile,
  syncChanges,
  writeCached,
} from "./simulated_file.ts";
import { syncNames } from "./simulated_folders.ts";
import { fittingBytes, pageBytes, readSparse } from "./sparse_bytes.ts";

/** How many files may be open at once, a limit that Linux gives by default to few. */
const handlesMax = 65_536;
const sizeBytesMax = 2 ** 40;
/** What leaves no trace, or none that is certain, if the process dies in the middle of it. */
const unchanging: ReadonlySet<DiskOperationKind> = new Set(["read", "list", "sync", "syncFolder"]);

/**
 * The file system of a process.
 *
 * @param caller The process.
 * @param processes Which process it is, for the lock of a store.
 * @returns The file system; once the process has died every call fails with `EIO`.
 */
export function simulatedFileSystem(caller: ProcessState, processes: ProcessTable): FileSystem {
  const { disk } = caller;
  const { tree } = disk;
  const onFolder = (kind: DiskOperationKind, run: (path: string) => void) => (path: string): void =>
    perform(caller, { kind, path }, () => run(path));
  const onTwo =
    (kind: DiskOperationKind, run: (source: string, target: string) => void) =>
    (source: string, targetPath: string): void =>
      perform(caller, { kind, path: source, targetPath }, () => run(source, targetPath));
  return {
    kind: "simulated",
    processes,
    open: (path, mode) => openFile(caller, path, mode),
    createExclusive: (path) => createFile(caller, path),
    read: (handle, target, position) => onRead(caller, handle, target, position, (run) => run()),
    readAsync: (handle, target, position) =>
      asPromise(() =>
        onRead(caller, handle, target, position, (run, fault) => wait(caller, fault, run))
      ),
    write: (handle, source, position) => writeFile(caller, handle, source, position),
    sizeOf: (handle) => getOpen(caller, handle, "sizeOf").file.cache.sizeBytes,
    truncate: (handle, sizeBytes) => truncateFile(caller, handle, sizeBytes),
    syncData: (handle) =>
      asPromise(() => onSync(caller, handle, (run, fault) => wait(caller, fault, run))),
    syncDataNow: (handle) => onSync(caller, handle, (run) => run()),
    isSyncQuick: () => caller.isSyncQuick && (disk.faults.syncMsMax ?? 0) === 0,
    close: (handle) => closeFile(caller, handle),
    rename: onTwo("rename", (source, target) => renameName(disk, source, target)),
    link: onTwo("link", (source, target) => linkName(disk, source, target)),
    remove: onFolder("remove", (path) => removeName(disk, path)),
    makeFolder: onFolder("makeFolder", (path) => makeFolders(disk, path)),
    removeFolder: onFolder("removeFolder", (path) => removeEmptyFolder(disk, path)),
    list: (path) =>
      perform(caller, { kind: "list", path }, () => {
        const { entries } = getFolder(tree, path);
        return Array.from(entries, ([name, { isFolder }]) => ({ name, isFolder }));
      }),
    stat(path) {
      checkAlive(caller, `stat ${path}`);
      const node = findNode(tree, path);
      if (node === undefined) return undefined;
      if (node.isFolder) return { sizeBytes: 0, modifiedMs: 0, isFolder: true };
      return { sizeBytes: node.cache.sizeBytes, modifiedMs: node.modifiedMs, isFolder: false };
    },
    setModified(path, modifiedMs) {
      checkAlive(caller, `setModified ${path}`);
      getFile(tree, path).modifiedMs = modifiedMs;
    },
    syncFolder: onFolder("syncFolder", (path) => syncNames(tree, getFolder(tree, path))),
    freeBytes(path) {
      checkAlive(caller, `freeBytes ${path}`);
      if (disk.pagesMax === Infinity) return Number.MAX_SAFE_INTEGER;
      return Math.max(0, disk.pagesMax - disk.pagesUsed) * pageBytes;
    },
  };
}

/** What is to be done, as far as it is known before it is done. */
interface Call {
  readonly kind: DiskOperationKind;
  readonly path: string;
  readonly targetPath?: string;
  readonly position?: number;
  readonly sizeBytes?: number;
}

/**
 * Notes an operation, lets happen to it what is to happen, and runs it. Writes and syncs fail by
 * themselves, as they fail in part.
 */
function perform<Result>(
  caller: ProcessState,
  call: Call,
  run: (fault: DiskFault | undefined) => Result,
): Result {
  const { disk } = caller;
  const { kind, path, targetPath, position, sizeBytes } = call;
  checkAlive(caller, `${kind} ${path}`);
  const number = ++disk.operationCount;
  const operation = { number, kind, path, targetPath, position, sizeBytes };
  const event = noteEvent(disk, operation, undefined);
  const fault = findFault(disk.faults, operation, disk.faultRandom);
  // A rule may have crashed the disk.
  checkAlive(caller, `${kind} ${path}`);
  if (fault === undefined) return performNoted(event, run, undefined);
  event.outcome = fault.crash ?? fault.code;
  if (fault.crash !== undefined) return performCrash(caller, call, fault, run);
  if (fault.code !== undefined && kind !== "write" && kind !== "sync") {
    throw diskError(fault.code, `${kind} ${path}`);
  }
  return performNoted(event, run, fault);
}

function performNoted<Result>(
  event: { outcome: string | undefined },
  run: (fault: DiskFault | undefined) => Result,
  fault: DiskFault | undefined,
): Result {
  try {
    return run(fault);
  } catch (error) {
    if (error instanceof Error && "code" in error) event.outcome = String(error.code);
    throw error;
  }
}

/**
 * A change is left to the power cut, which decides what is on the disk of it, and a process dies
 * before or after it. What was to be synced is not.
 */
function performCrash(
  caller: ProcessState,
  { kind, path }: Call,
  fault: DiskFault,
  run: (fault: DiskFault) => unknown,
): never {
  const { disk } = caller;
  const crash = fault.crash!;
  const isBegun = !unchanging.has(kind) && (crash === "powerCut" || disk.crashRandom.chance(0.5));
  try {
    if (isBegun) run(fault);
  } finally {
    disk.crash(crash);
  }
  throw diedError(`${kind} ${path}`);
}

function asPromise<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return run();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Runs something later, on the disk's clock or at the end of this turn, unless the process dies. */
function wait<Result>(
  caller: ProcessState,
  fault: DiskFault | undefined,
  run: () => Result,
): Promise<Result> {
  const { clock } = caller.disk;
  const delayMs = fault?.delayMs ?? 0;
  return new Promise((resolve, reject) => {
    const waiting: DiskWait = { timer: undefined, reject };
    const end = (): void => {
      if (!caller.waits.delete(waiting)) return;
      try {
        resolve(run());
      } catch (error) {
        reject(error);
      }
    };
    caller.waits.add(waiting);
    if (delayMs > 0) waiting.timer = clock.startTimer(end, delayMs);
    else queueMicrotask(end);
  });
}

function openFile(caller: ProcessState, path: string, mode: OpenMode): FileHandle {
  const { tree } = caller.disk;
  if (mode === "create" && findNode(tree, path) === undefined) return createFile(caller, path);
  return perform(
    caller,
    { kind: "open", path },
    () => openNode(caller, getFile(tree, path), path, mode !== "read"),
  );
}

function createFile(caller: ProcessState, path: string): FileHandle {
  const { disk } = caller;
  return perform(caller, { kind: "create", path }, () => {
    checkHandles(caller, path);
    const file = simulatedFile(Math.floor(disk.clock.now()));
    makeName(disk, path, file);
    return openNode(caller, file, path, true);
  });
}

function openNode(
  caller: ProcessState,
  file: SimulatedFile,
  path: string,
  isWritable: boolean,
): FileHandle {
  checkHandles(caller, path);
  const handle = caller.disk.nextHandle++;
  caller.handles.set(handle, { file, path, isWritable });
  file.handles++;
  return handle;
}

function checkHandles({ handles }: ProcessState, path: string): void {
  if (handles.size >= handlesMax) throw diskError("EMFILE", path);
}

function getOpen(caller: ProcessState, handle: FileHandle, what: string): OpenFile {
  const open = caller.handles.get(handle);
  if (open !== undefined) return open;
  checkAlive(caller, `${what} ${handle}`);
  throw diskError("EBADF", `${what} ${handle}: no such handle is open`);
}

function getWritable(caller: ProcessState, handle: FileHandle, what: string): OpenFile {
  const open = getOpen(caller, handle, what);
  if (open.isWritable) return open;
  throw diskError("EBADF", `${what} ${open.path}: it is open for reading`);
}

function closeFile(caller: ProcessState, handle: FileHandle): void {
  const { file } = getOpen(caller, handle, "close");
  caller.handles.delete(handle);
  file.handles--;
  freeIfUnused(caller.disk, file);
}

function onRead<Result>(
  caller: ProcessState,
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  start: (run: () => number, fault: DiskFault | undefined) => Result,
): Result {
  const { file, path } = getOpen(caller, handle, "read");
  const { faultRandom } = caller.disk;
  const call = { kind: "read", path, position, sizeBytes: target.length } as const;
  const run = (fault: DiskFault | undefined) => (): number => {
    const count = readSparse(file.cache, target, position);
    for (let flips = fault?.flippedBits ?? 0; flips > 0 && count > 0; flips--) {
      const at = faultRandom.below(count);
      target[at] = target[at]! ^ (1 << faultRandom.below(8));
    }
    return count;
  };
  return perform(caller, call, (fault) => start(run(fault), fault));
}

function writeFile(
  caller: ProcessState,
  handle: FileHandle,
  source: Uint8Array,
  position: number,
): void {
  const { disk } = caller;
  const { file, path } = getWritable(caller, handle, "write");
  const call = { kind: "write", path, position, sizeBytes: source.length } as const;
  perform(caller, call, (fault) => {
    if (position + source.length > sizeBytesMax) throw diskError("EFBIG", path);
    let code = fault?.code;
    let length = source.length;
    if (code !== undefined || fault?.crash !== undefined) {
      length = Math.min(length, fault?.writtenBytes ?? disk.faultRandom.below(length + 1));
    }
    const fitting = disk.pagesMax === Infinity
      ? length
      : fittingBytes(file.cache, position, length, disk.pagesMax - disk.pagesUsed);
    if (fitting < length) code ??= "ENOSPC";
    changeFile(caller, file, () => writeCached(file, source.subarray(0, fitting), position));
    if (code !== undefined) throw diskError(code, `write ${path}: ${fitting} bytes were written`);
  });
}

function truncateFile(caller: ProcessState, handle: FileHandle, sizeBytes: number): void {
  const { file, path } = getWritable(caller, handle, "truncate");
  perform(caller, { kind: "truncate", path, sizeBytes }, () => {
    if (sizeBytes > sizeBytesMax) throw diskError("EFBIG", path);
    changeFile(caller, file, () => resizeCached(file, sizeBytes));
  });
}

function changeFile({ disk }: ProcessState, file: SimulatedFile, change: () => void): void {
  const { pageCount } = file.cache;
  change();
  disk.pagesUsed += file.cache.pageCount - pageCount;
  file.modifiedMs = Math.floor(disk.clock.now());
}

function onSync<Result>(
  caller: ProcessState,
  handle: FileHandle,
  start: (run: () => void, fault: DiskFault | undefined) => Result,
): Result {
  const { file, path } = getOpen(caller, handle, "sync");
  const { faultRandom } = caller.disk;
  // What is written while it is under way waits for the next sync.
  const endChange = file.nextChange;
  const run = (fault: DiskFault | undefined) => (): void => {
    if (fault?.code === undefined) return syncChanges(file, endChange);
    dropChanges(file, endChange, faultRandom);
    throw diskError(fault.code, `sync ${path}`);
  };
  return perform(caller, { kind: "sync", path }, (fault) => start(run(fault), fault));
}
