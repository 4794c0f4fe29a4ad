/**
 * Processes of a model that take a lock step by step, a step a call that touches anything shared.
 *
 * The code under test is synchronous, so it cannot pause. It is run again from its beginning for
 * each step instead: calls made before answer what they answered then, the next one is made, and
 * the one after that throws. A listing takes two steps, each of which sees half of the names,
 * because on a real disk it is no snapshot.
 */

import type { FileHandle, FileSystem } from "../../src/platform/file_system.ts";
import type { ProcessTable } from "../../src/platform/process_identity.ts";
import type { StoreLock } from "../../src/platform/store_lock.ts";
import { acquireStoreLock, releaseStoreLock } from "../../src/platform/store_lock.ts";

/** What all processes share. */
export interface World {
  readonly fs: FileSystem;
  readonly folder: string;
  /** Whether the file system has links. */
  readonly hasLinks: boolean;
  /** Which names the first half of a listing sees. */
  readonly isEarly: (name: string) => boolean;
  readonly processes: InterleavedProcess[];
}

/** One process. */
export interface InterleavedProcess {
  readonly pid: number;
  isAlive: boolean;
  /** Between these two, `owner` lasts for as long as the process likes. */
  state: "acquiring" | "owner" | "releasing" | "done";
  /** Why it was refused. */
  error: unknown;
  lock: StoreLock | undefined;
  /** How each call of the present run ended. */
  outcomes: Outcome[];
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** What the pausing call throws; whatever the code makes of it is thrown away. */
const pause = new Error("paused");

/**
 * Starts a process that acquires the lock of the world's folder.
 *
 * @param world What it shares.
 * @returns The process, before its first step.
 */
export function startProcess(world: World): InterleavedProcess {
  const pid = world.processes.length + 1;
  const started: InterleavedProcess = {
    pid,
    isAlive: true,
    state: "acquiring",
    error: undefined,
    lock: undefined,
    outcomes: [],
  };
  world.processes.push(started);
  return started;
}

/**
 * Lets a process make its next call. A process that owns the lock, or is done or dead, makes none.
 *
 * @param world What it shares.
 * @param current The process.
 */
export function stepProcess(world: World, current: InterleavedProcess): void {
  if (!current.isAlive || current.state === "owner" || current.state === "done") return;
  const run = { made: 0, isPaused: false, hasStepped: false };
  const call = <T>(make: () => T): T => {
    if (run.isPaused) throw pause;
    const known = current.outcomes[run.made];
    if (known === undefined && run.hasStepped) {
      run.isPaused = true;
      throw pause;
    }
    const outcome = known ?? outcomeOf(make);
    run.hasStepped ||= known === undefined;
    current.outcomes[run.made++] = outcome;
    if ("error" in outcome) throw outcome.error;
    return outcome.value as T;
  };
  const fs = interleavedFileSystem(world, call);
  let lock: StoreLock | undefined;
  let error: unknown;
  try {
    if (current.state === "acquiring") lock = acquireIn(world, current.pid, fs, call);
    else releaseStoreLock({ ...current.lock!, fs, isHeld: true } as StoreLock);
  } catch (caught) {
    error = caught;
  }
  if (run.isPaused) return;
  current.error = error;
  current.lock = lock;
  current.outcomes = [];
  current.state = lock === undefined ? "done" : "owner";
}

/** Lets an owner begin to release. */
export function beginRelease(owner: InterleavedProcess): void {
  if (owner.state === "owner") owner.state = "releasing";
}

function acquireIn(
  world: World,
  pid: number,
  fs: FileSystem,
  call: <T>(make: () => T) => T,
): StoreLock {
  let randomByte = 0;
  const processes: ProcessTable = {
    own: {
      pid,
      startTime: "1",
      bootId: "boot",
      pidNamespace: "pids",
      machineId: undefined,
      host: "host",
      beganMs: 0,
    },
    find: (other) =>
      call(() => world.processes[other - 1]?.isAlive ? { startTime: "1" } : undefined),
  };
  return acquireStoreLock(fs, world.folder, {
    processes,
    clock: { now: () => 0, startTimer: () => undefined, stopTimer: () => {} },
    randomBytes: (count) => new Uint8Array(count).fill(pid).fill(randomByte++, count - 1),
  });
}

function outcomeOf(make: () => unknown): Outcome {
  try {
    return { value: make() };
  } catch (error) {
    return { error };
  }
}

/** The calls that a lock makes; what only touches a file's own handle is a step as well. */
function interleavedFileSystem(world: World, call: <T>(make: () => T) => T): FileSystem {
  const { fs, isEarly, hasLinks } = world;
  return {
    ...fs,
    open: (path, mode) => call(() => fs.open(path, mode)),
    createExclusive: (path) => call(() => fs.createExclusive(path)),
    read: (file, target, position) => {
      const bytes = call(() => readCopy(fs, file, target.length, position));
      target.set(bytes);
      return bytes.length;
    },
    write: (file, source, position) => call(() => fs.write(file, source, position)),
    syncDataNow: (file) => call(() => fs.syncDataNow(file)),
    sizeOf: (file) => call(() => fs.sizeOf(file)),
    close: (file) => call(() => fs.close(file)),
    rename: (source, target) => call(() => fs.rename(source, target)),
    link: (source, target) =>
      call(() => {
        if (!hasLinks) throw Object.assign(new Error("EPERM: no links"), { code: "EPERM" });
        fs.link(source, target);
      }),
    remove: (path) => call(() => fs.remove(path)),
    list: (folder) => [
      ...call(() => fs.list(folder).filter(({ name }) => isEarly(name))),
      ...call(() => fs.list(folder).filter(({ name }) => !isEarly(name))),
    ],
    stat: (path) => call(() => fs.stat(path)),
  };
}

function readCopy(fs: FileSystem, file: FileHandle, length: number, position: number): Uint8Array {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, fs.read(file, bytes, position));
}
