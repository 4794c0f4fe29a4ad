/**
 * What the tests of stores share: stores in memory that can be reopened, what is in a folder byte
 * for byte, and what a reader sees.
 */

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { read } from "../../src/client/read.ts";
import type { ReadOptions } from "../../src/client/read_options.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { systemClock } from "../../src/platform/clock.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { LogRecord } from "../../src/record/record.ts";
import { abandonStore, closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";

/** Where the stores of the tests lie in a file system in memory. */
export const storeFolder = "/store";

/** Opens the store of a test. */
export function openTestStore(fs: FileSystem, options: StoreOptions = {}): Promise<Store> {
  return openStore(storeFolder, { fileSystem: fs, ...options });
}

/** Runs with a new store in memory, which is closed afterwards. */
export async function withStore(
  run: (store: Store, fs: FileSystem) => Promise<void>,
  options: StoreOptions = {},
): Promise<void> {
  const fs = options.fileSystem ?? memoryFileSystem();
  const store = await openTestStore(fs, options);
  try {
    await run(store, fs);
  } finally {
    if (internalsOf(store).state === "open") await closeStore(store);
  }
}

/** Ends a store as the death of its process would, its lock included. */
export function crashStore(store: Store, fs: FileSystem): void {
  try {
    abandonStore(store);
  } catch (error) {
    // A file system that has died takes no lock back.
    if (!hasErrorCode(error, "EIO")) throw error;
  }
  removeLocks(fs);
}

/** Forgets that anybody had the store open, as the lock of a dead process is. */
export function removeLocks(fs: FileSystem, folder: string = storeFolder): void {
  if (fs.stat(folder) === undefined) return;
  for (const { name } of fs.list(folder)) {
    if (name.startsWith("ottla.lock.")) fs.remove(joinPath(folder, name));
  }
}

/** Every file and folder below a folder with its bytes, but for those that a filter leaves out. */
export function contentOf(
  fs: FileSystem,
  folder: string = storeFolder,
  isWanted: (name: string) => boolean = () => true,
): Record<string, string> {
  const content: Record<string, string> = {};
  const visit = (path: string, shown: string): void => {
    for (const { name, isFolder } of fs.list(path)) {
      if (!isWanted(name)) continue;
      const child = joinPath(path, name);
      if (isFolder) {
        content[`${shown}${name}/`] = "";
        visit(child, `${shown}${name}/`);
      } else {
        content[shown + name] = shownBytes(readFile(fs, child)!);
      }
    }
  };
  visit(folder, "");
  return Object.fromEntries(Object.entries(content).sort());
}

/** Not the lock, which tells who had the store open. */
export function isNoLock(name: string): boolean {
  return !name.startsWith("ottla.lock.");
}

/** Copies all files below one folder to another. */
export function copyFolder(
  from: FileSystem,
  source: string,
  to: FileSystem,
  target: string = storeFolder,
): void {
  to.makeFolder(target);
  for (const { name, isFolder } of from.list(source)) {
    const path = joinPath(source, name);
    if (isFolder) copyFolder(from, path, to, joinPath(target, name));
    else writeFile(to, joinPath(target, name), readFile(from, path)!);
  }
}

/** Writes a file whole. */
export function writeFile(fs: FileSystem, path: string, content: string | Uint8Array): void {
  const file = fs.open(path, "create");
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  fs.truncate(file, 0);
  fs.write(file, bytes, 0);
  fs.close(file);
}

/** The text of a file, or undefined. */
export function textOfFile(fs: FileSystem, name: string): string | undefined {
  const bytes = readFile(fs, joinPath(storeFolder, name));
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

/** The names in the root of the store, sorted, locks left out. */
export function rootNames(fs: FileSystem): string[] {
  return fs.list(storeFolder).map(({ name }) => name).filter(isNoLock).sort();
}

/** Reads all records that there are. */
export async function recordsIn(
  store: Store,
  topic: string,
  options: ReadOptions = {},
): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of read(store, topic, options)) records.push(record);
  return records;
}

/** The values of all records that there are, as text. */
export async function valuesIn(
  store: Store,
  topic: string,
  options: ReadOptions = {},
): Promise<string[]> {
  return (await recordsIn(store, topic, options)).map(({ value }) => textOf(value));
}

/** Bytes as text; "null" for null. */
export function textOf(value: Uint8Array | null): string {
  return value === null ? "null" : new TextDecoder().decode(value);
}

/** `v0`, `v1` and so on as records to append. */
export function numbered(start: number, end: number): { value: string }[] {
  return Array.from({ length: end - start }, (_, index) => ({ value: `v${start + index}` }));
}

/** What `numbered` is read as. */
export function numberedText(start: number, end: number): string[] {
  return numbered(start, end).map(({ value }) => value);
}

/** A clock that a test sets; its timers are those of the machine. */
export function settableClock(nowMs: number): Clock & { nowMs: number } {
  const clock = { ...systemClock(), nowMs, now: () => clock.nowMs };
  return clock;
}

/** A file system on which every change fails from the n-th on, as if the process had died there. */
export interface DyingFileSystem {
  readonly fs: FileSystem;
  /** How many changes were asked for. */
  readonly changeCount: () => number;
}

/** Lets the first changes through and no more. */
export function dyingFileSystem(inner: FileSystem, changesMax: number): DyingFileSystem {
  let count = 0;
  const change = <Args extends unknown[], Result>(
    call: (...args: Args) => Result,
  ): (...args: Args) => Result =>
  (...args) => {
    if (++count > changesMax) {
      throw Object.assign(new Error("EIO: the process died"), { code: "EIO" });
    }
    return call(...args);
  };
  const fs: FileSystem = {
    ...inner,
    kind: "simulated",
    open: (path, mode) => {
      const isNew = mode === "create" && inner.stat(path) === undefined;
      return isNew ? change(inner.open)(path, mode) : inner.open(path, mode);
    },
    createExclusive: change(inner.createExclusive),
    write: change(inner.write),
    truncate: change(inner.truncate),
    syncData: (file) => Promise.resolve().then(() => change(inner.syncData)(file)),
    syncDataNow: change(inner.syncDataNow),
    isSyncQuick: () => false,
    rename: change(inner.rename),
    link: change(inner.link),
    remove: change(inner.remove),
    makeFolder: change(inner.makeFolder),
    removeFolder: change(inner.removeFolder),
    syncFolder: change(inner.syncFolder),
  };
  return { fs, changeCount: () => count };
}

/** Runs with a folder on the disk that is removed afterwards. */
export async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Lets everything happen that only waits for its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}

/** Short files as they are; the indexes of an open segment have megabytes. */
function shownBytes(bytes: Uint8Array): string {
  if (bytes.length > 4096) return createHash("sha256").update(bytes).digest("hex");
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
