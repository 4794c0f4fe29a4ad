/** What can be seen of a simulated disk from outside, without being noticed by its process. */

import type { FileHandle } from "../platform/file_system.ts";
import type { DiskOperation } from "./disk_faults.ts";
import type { DiskEvent } from "./disk_state.ts";
import { historyMax, stateOf } from "./disk_state.ts";
import type { SimulatedDisk } from "./simulated_disk.ts";
import { walkTree } from "./simulated_folders.ts";
import { findNode } from "./simulated_paths.ts";
import { readSparse } from "./sparse_bytes.ts";

/** A file or folder of a disk. */
export interface DiskEntry {
  /** From the root, which is `/`. */
  readonly path: string;
  /** False for a file. */
  readonly isFolder: boolean;
  /** 0 for a folder. */
  readonly sizeBytes: number;
  /** How many of its writes and truncations were not synced; 0 for a folder. */
  readonly unsyncedCount: number;
}

/** A handle that was not closed. */
export interface OpenHandle {
  /** What `open` or `createExclusive` returned. */
  readonly handle: FileHandle;
  /** What the file was called when it was opened. */
  readonly path: string;
}

/**
 * Lists all files and folders.
 *
 * @param disk The disk.
 * @param view Whether as processes see them, or as they were synced; as processes see them unless
 * given.
 * @returns All there is, in the order of the paths.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { closeStore, openStore } from "ottla";
 * import { filesOf, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * await closeStore(await openStore("/data", disk.process));
 * console.log(filesOf(disk).some(({ path }) => path === "/data/meta.properties")); // true
 * ```
 */
export function filesOf(disk: SimulatedDisk, view: "seen" | "synced" = "seen"): DiskEntry[] {
  const { tree } = stateOf(disk);
  const found: DiskEntry[] = [];
  walkTree(tree.root, view === "seen" ? "entries" : "durable", (path, node) => {
    if (node.isFolder) {
      return void found.push({ path, isFolder: true, sizeBytes: 0, unsyncedCount: 0 });
    }
    const { sizeBytes } = view === "seen" ? node.cache : node.durable;
    found.push({ path, isFolder: false, sizeBytes, unsyncedCount: node.pending.length });
  });
  return found.sort((left, right) => left.path < right.path ? -1 : 1);
}

/**
 * Reads what of a file was synced, name and bytes: what the harshest power cut would leave.
 *
 * @param disk The disk.
 * @param path The file's path.
 * @returns Its bytes; undefined if no file of that path is sure to be there.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { simulatedDisk, syncedContentOf } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * const { fileSystem } = disk;
 * const file = fileSystem.open("/notes", "create");
 * fileSystem.write(file, Uint8Array.of(1, 2, 3), 0);
 * fileSystem.syncDataNow(file);
 * console.log(syncedContentOf(disk, "/notes")); // undefined
 * fileSystem.syncFolder("/");
 * console.log(syncedContentOf(disk, "/notes")?.length); // 3
 * fileSystem.close(file);
 * ```
 */
export function syncedContentOf(disk: SimulatedDisk, path: string): Uint8Array | undefined {
  const node = findNode(stateOf(disk).tree, path, "durable");
  if (node === undefined || node.isFolder) return undefined;
  const bytes = new Uint8Array(node.durable.sizeBytes);
  readSparse(node.durable, bytes, 0);
  return bytes;
}

/**
 * Lists the handles that are open.
 *
 * @param disk The disk.
 * @returns Those of the process that runs now, in the order in which they were opened.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { openHandlesOf, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * disk.fileSystem.createExclusive("/notes");
 * console.log(openHandlesOf(disk)); // [ { handle: 1, path: "/notes" } ]
 * ```
 */
export function openHandlesOf(disk: SimulatedDisk): OpenHandle[] {
  const { process: caller } = stateOf(disk);
  if (caller === undefined) return [];
  return Array.from(caller.handles, ([handle, { path }]) => ({ handle, path }));
}

/**
 * Tells what was done last, to be printed when a test fails.
 *
 * @param disk The disk.
 * @returns The last 128 operations and crashes, a line each, oldest first.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { historyOf, powerCut, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * disk.fileSystem.makeFolder("/data");
 * powerCut(disk);
 * console.log(historyOf(disk)); // [ "1 makeFolder /data", "power cut" ]
 * ```
 */
export function historyOf(disk: SimulatedDisk): string[] {
  const { eventCount, history } = stateOf(disk);
  const start = eventCount % historyMax;
  const events = eventCount <= historyMax
    ? history
    : [...history.slice(start), ...history.slice(0, start)];
  return events.map(printEvent);
}

/**
 * How many operations there were. A rule that crashes the disk at the n-th of them visits every
 * moment of a program that a crash can come in, n from 1 to this.
 *
 * @param disk The disk.
 * @returns The number of the last operation; 0 if there was none.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { openStore } from "ottla";
 * import { operationCountOf, simulatedDisk } from "ottla/testing";
 *
 * const whole = simulatedDisk({ seed: 1 });
 * await openStore("/data", whole.process);
 * for (let last = 1; last <= operationCountOf(whole); last++) {
 *   const disk = simulatedDisk({
 *     seed: last,
 *     faults: { rule: ({ number }) => number === last ? { crash: "powerCut" } : undefined },
 *   });
 *   await openStore("/data", disk.process).catch(() => {}); // dies
 *   await openStore("/data", disk.process); // and is opened by the next process
 * }
 * ```
 */
export function operationCountOf(disk: SimulatedDisk): number {
  return stateOf(disk).operationCount;
}

function printEvent({ operation, outcome }: DiskEvent): string {
  if (operation === undefined) return outcome ?? "";
  return printOperation(operation) + (outcome === undefined ? "" : `: ${outcome}`);
}

function printOperation(
  { number, kind, path, targetPath, position, sizeBytes }: DiskOperation,
): string {
  const target = targetPath === undefined ? "" : ` to ${targetPath}`;
  const size = sizeBytes === undefined ? "" : ` ${sizeBytes} bytes`;
  const place = position === undefined ? "" : ` at ${position}`;
  return `${number} ${kind} ${path}${target}${size}${place}`;
}
