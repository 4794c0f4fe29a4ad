/** What is inside a simulated disk: its files, what goes wrong with it, and the process using it. */

import type { Timer } from "../platform/clock.ts";
import type { FileHandle } from "../platform/file_system.ts";
import type { DiskFault, DiskFaults, DiskOperation } from "./disk_faults.ts";
import type { ManualClock } from "./manual_clock.ts";
import type { SeededRandom } from "./seeded_random.ts";
import type { SimulatedFile } from "./simulated_file.ts";
import type { SimulatedTree } from "./simulated_folders.ts";
import { diskError } from "./simulated_paths.ts";
import type { SimulatedDisk, SimulatedProcess } from "./simulated_disk.ts";

/** How many events are kept to be printed at a failure. */
export const historyMax = 128;

/** The inside of a disk. */
export interface DiskState {
  readonly seed: number;
  readonly clock: ManualClock;
  readonly tree: SimulatedTree;
  /** How many pages there is room for. */
  readonly pagesMax: number;
  /** How many pages the files take that have a name or are open. */
  pagesUsed: number;
  faults: DiskFaults;
  /** Decides what goes wrong. */
  readonly faultRandom: SeededRandom;
  /** Decides what a crash leaves. */
  readonly crashRandom: SeededRandom;
  operationCount: number;
  /** The last events, in a ring: the next one goes to `eventCount % historyMax`. */
  readonly history: DiskEvent[];
  eventCount: number;
  nextHandle: FileHandle;
  bootCount: number;
  processCount: number;
  /** Undefined until it is first asked for. */
  process: ProcessState | undefined;
  /** Crashes from within an operation. */
  readonly crash: (kind: NonNullable<DiskFault["crash"]>) => void;
}

/** Something that happened. */
export interface DiskEvent {
  /** Undefined for a crash. */
  readonly operation: DiskOperation | undefined;
  /** What came of it: a code, or what kind of crash it was; undefined if all went well. */
  outcome: string | undefined;
}

/** The process that uses a disk, or one that has died. */
export interface ProcessState {
  readonly disk: DiskState;
  /** What a store gets. */
  readonly surroundings: SimulatedProcess;
  readonly handles: Map<FileHandle, OpenFile>;
  /** Syncs and reads under way. */
  readonly waits: Set<DiskWait>;
  readonly timers: Set<Timer>;
  /** Whether the store is told that a sync on the spot is quicker than one it waits for. */
  readonly isSyncQuick: boolean;
  isDead: boolean;
}

/** A file that a process has open. */
export interface OpenFile {
  readonly file: SimulatedFile;
  readonly path: string;
  readonly isWritable: boolean;
}

/** What a process waits for. */
export interface DiskWait {
  timer: Timer | undefined;
  readonly reject: (error: Error) => void;
}

/**
 * What is inside a disk.
 *
 * @param disk What a caller gave as a disk.
 * @returns Its inside.
 * @throws TypeError if it is no disk.
 */
export function stateOf(disk: SimulatedDisk): DiskState {
  const state = (disk as SimulatedDisk | undefined)?.internals;
  if (state === undefined) throw new TypeError("disk must be what simulatedDisk() returned");
  return state as DiskState;
}

/**
 * Keeps an event in the history.
 *
 * @param disk The disk.
 * @param operation The operation; undefined for a crash.
 * @param outcome What came of it, as far as it is known.
 * @returns The event.
 */
export function noteEvent(
  disk: DiskState,
  operation: DiskOperation | undefined,
  outcome: string | undefined,
): DiskEvent {
  const event: DiskEvent = { operation, outcome };
  disk.history[disk.eventCount++ % historyMax] = event;
  return event;
}

/**
 * What every call of a dead process gets.
 *
 * @param what What was called.
 * @returns The error.
 */
export function diedError(what: string): Error {
  return diskError(
    "EIO",
    `${what}: the process that called has died; the next one is disk.process`,
  );
}

/**
 * Makes sure that a process may call.
 *
 * @param caller The process.
 * @param what What it calls.
 * @throws `EIO` if it has died.
 */
export function checkAlive(caller: ProcessState, what: string): void {
  if (caller.isDead) throw diedError(what);
}

/**
 * Frees the room of a file that nobody can reach any more.
 *
 * @param disk The disk.
 * @param file A file that has lost a name or a handle.
 */
export function freeIfUnused(disk: DiskState, file: SimulatedFile): void {
  if (file.links === 0 && file.handles === 0) disk.pagesUsed -= file.cache.pageCount;
}
