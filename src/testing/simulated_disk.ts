/**
 * A disk to crash-test with: it forgets by seed what was not synced, fails where it is told to, and
 * tells what is left.
 *
 * What a process writes is at once what every process reads, and on the disk only when it was
 * synced: bytes and size of a file with the file, names with their folder. What a power cut makes of
 * the rest is told in `simulated_file.ts` (writes) and `simulated_folders.ts` (names).
 *
 * A crash of either kind ends the process that uses the disk: what was under way fails with `EIO`,
 * so does whatever the dead process still calls, and its timers are never called. `disk.process` is
 * the next one then. All of it comes from the seed and from the order of calls: the same program
 * finds the same faults and the same remains again.
 */

import type { Clock } from "../platform/clock.ts";
import type { FileSystem } from "../platform/file_system.ts";
import type { RandomBytes } from "../platform/random.ts";
import { checkNumber, checkObject } from "../store/store_options.ts";
import type { DiskFaults } from "./disk_faults.ts";
import { checkFaults } from "./disk_faults.ts";
import type { DiskState } from "./disk_state.ts";
import { stateOf } from "./disk_state.ts";
import type { ManualClock } from "./manual_clock.ts";
import { manualClock } from "./manual_clock.ts";
import { rebootDisk, replaceProcess, startProcess } from "./process_life.ts";
import { seededRandom } from "./seeded_random.ts";
import type { Unsynced } from "./simulated_file.ts";
import { simulatedTree } from "./simulated_folders.ts";
import { pageBytes } from "./sparse_bytes.ts";

/** How long a machine is off, as far as the times of its files tell. */
const offMsDefault = 60_000;

/** What `simulatedDisk` may be told. */
export interface SimulatedDiskOptions {
  /** Decides over faults and over what crashes leave: a whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Stamps files and drives syncs that take time; one of the disk's own unless given. */
  readonly clock?: ManualClock;
  /** What goes wrong, until `setFaults`; nothing unless given. */
  readonly faults?: DiskFaults;
  /**
   * How many bytes fit, in blocks of 4,096: more is `ENOSPC`. Names take no room. No limit unless
   * given. A store keeps `diskFreeBytesMin` of it free, 16 MiB unless it is told otherwise.
   */
  readonly capacityBytes?: number;
}

/** A disk, and the machine around it. */
export interface SimulatedDisk {
  /** What it was made with, to be named when a test fails. */
  readonly seed: number;
  /** Stamps files and drives slow syncs, and every process while it lives. */
  readonly clock: ManualClock;
  /** What the process has that runs now. After a crash it is another one. */
  readonly process: SimulatedProcess;
  /** That of `process`. */
  readonly fileSystem: FileSystem;
  /** Not for users. */
  readonly internals: unknown;
}

/** What a process has of its machine: options for `openStore`. */
export interface SimulatedProcess {
  /** The disk's files; every call fails with `EIO` once the process has died. */
  readonly fileSystem: FileSystem;
  /** The disk's clock; timers started here are never called once the process has died. */
  readonly clock: Clock;
  /** Random bytes by the disk's seed. */
  readonly randomBytes: RandomBytes;
}

/** What `powerCut` may be told. */
export interface PowerCutOptions {
  /**
   * What becomes of what was not synced: "any" of what a disk may do, by seed; "lost", which is the
   * least that it may keep; or "kept", all but what failed syncs dropped. "any" unless given.
   */
  readonly unsynced?: Unsynced;
  /**
   * How much older the times of files that were not synced are taken to be, as if the machine had
   * been off for that long, in milliseconds; 60,000 unless given.
   */
  readonly offMs?: number;
}

/**
 * A disk that holds nothing yet.
 *
 * @param options The seed, and what else is wanted.
 * @returns The disk. Nothing of it needs closing.
 * @throws TypeError or RangeError naming the option that is wrong.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, openStore } from "ottla";
 * import { openHandlesOf, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1, capacityBytes: 64 * 1024 * 1024 });
 * const store = await openStore("/data", disk.process);
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "one" });
 * await closeStore(store);
 * console.log(openHandlesOf(disk).length); // 0
 * ```
 */
export function simulatedDisk(options: SimulatedDiskOptions): SimulatedDisk {
  checkObject("options", options);
  const { seed, clock = manualClock(), faults = {}, capacityBytes } = options;
  const random = seededRandom(seed);
  checkFaults(faults);
  if (capacityBytes !== undefined) {
    checkNumber("capacityBytes", capacityBytes, 0, Number.MAX_SAFE_INTEGER);
  }
  const state: DiskState = {
    seed,
    clock,
    tree: simulatedTree(),
    pagesMax: capacityBytes === undefined ? Infinity : Math.floor(capacityBytes / pageBytes),
    pagesUsed: 0,
    faults,
    faultRandom: random.fork("faults"),
    crashRandom: random.fork("crashes"),
    operationCount: 0,
    history: [],
    eventCount: 0,
    nextHandle: 1,
    bootCount: 0,
    processCount: 0,
    process: undefined,
    crash(kind) {
      if (kind === "powerCut") rebootDisk(state, "any", offMsDefault);
      else replaceProcess(state);
    },
  };
  return {
    seed,
    clock,
    get process() {
      return (state.process ??= startProcess(state)).surroundings;
    },
    get fileSystem() {
      return this.process.fileSystem;
    },
    internals: state,
  };
}

/**
 * Cuts the power. Of what was not synced any part may be lost, and what a failed sync dropped is.
 * Then the machine starts again, and `disk.process` is its first process. The store of the dead one
 * needs no closing, and cannot be closed.
 *
 * @param disk The disk.
 * @param options What is lost.
 * @throws TypeError or RangeError naming the argument that is wrong.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, offsetsOf, openStore } from "ottla";
 * import { powerCut, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * const store = await openStore("/data", disk.process);
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "one" }); // acknowledged: it is on disk
 * await append(store, "orders", { value: "two" }, { ack: "os" }); // in the page cache
 * powerCut(disk);
 *
 * const again = await openStore("/data", disk.process);
 * const { endOffset = 0 } = offsetsOf(again, "orders")[0] ?? {};
 * console.log(endOffset >= 1); // true; whether it is 1 or 2 is the seed's choice
 * await closeStore(again);
 * ```
 */
export function powerCut(disk: SimulatedDisk, options: PowerCutOptions = {}): void {
  const state = stateOf(disk);
  checkObject("options", options);
  const { unsynced = "any", offMs = offMsDefault } = options;
  if (unsynced !== "any" && unsynced !== "lost" && unsynced !== "kept") {
    throw new TypeError(`unsynced must be "any", "lost" or "kept", got ${String(unsynced)}`);
  }
  checkNumber("offMs", offMs, 0, Number.MAX_SAFE_INTEGER);
  rebootDisk(state, unsynced, offMs);
}

/**
 * Kills the process that uses the disk. What it wrote stays in the page cache, for the next process
 * to read and for a later power cut to decide over.
 *
 * @param disk The disk.
 * @throws TypeError if it is no disk.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, offsetsOf, openStore } from "ottla";
 * import { killProcess, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * const store = await openStore("/data", { ...disk.process, ack: "os" });
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "one" });
 * killProcess(disk);
 *
 * const again = await openStore("/data", disk.process);
 * console.log(offsetsOf(again, "orders")[0]?.endOffset); // 1
 * await closeStore(again);
 * ```
 */
export function killProcess(disk: SimulatedDisk): void {
  replaceProcess(stateOf(disk));
}

/**
 * Says what goes wrong from now on, in place of what was said before.
 *
 * @param disk The disk.
 * @param faults What goes wrong; nothing if it is left out.
 * @throws TypeError or RangeError naming what is wrong with the faults.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, isOttlaError, openStore } from "ottla";
 * import { setFaults, simulatedDisk } from "ottla/testing";
 *
 * const disk = simulatedDisk({ seed: 1 });
 * const store = await openStore("/data", disk.process);
 * await createTopic(store, "orders");
 * setFaults(disk, {
 *   rule: ({ kind, path }) =>
 *     kind === "write" && path.endsWith(".log") ? { code: "ENOSPC" } : undefined,
 * });
 * await append(store, "orders", { value: "one" })
 *   .catch((error) => console.log(isOttlaError(error, "DISK_FULL"))); // true
 * setFaults(disk);
 * await append(store, "orders", { value: "one" });
 * await closeStore(store);
 * ```
 */
export function setFaults(disk: SimulatedDisk, faults: DiskFaults = {}): void {
  const state = stateOf(disk);
  checkFaults(faults);
  state.faults = faults;
}
