/** Processes on a simulated disk: how they begin, and how they die. */

import type { Clock } from "../platform/clock.ts";
import type { ProcessTable } from "../platform/process_identity.ts";
import type { DiskState, ProcessState } from "./disk_state.ts";
import { diedError, freeIfUnused, noteEvent } from "./disk_state.ts";
import { seededRandom } from "./seeded_random.ts";
import type { SimulatedFile, Unsynced } from "./simulated_file.ts";
import { cutPower } from "./simulated_file.ts";
import { simulatedFileSystem } from "./simulated_file_system.ts";
import { cutNames, walkTree } from "./simulated_folders.ts";

/** Process ids begin here, as those below belong to a system. */
const firstPid = 1_000;

/**
 * Begins a process.
 *
 * @param disk The disk that it uses.
 * @returns The process.
 */
export function startProcess(disk: DiskState): ProcessState {
  const number = disk.processCount++;
  const random = seededRandom(disk.seed).fork(`process ${number}`);
  const caller: ProcessState = {
    disk,
    // Both are made from the process, so they come after it.
    surroundings: {
      get fileSystem() {
        return fileSystem;
      },
      get clock() {
        return clock;
      },
      randomBytes: random.bytes,
    },
    handles: new Map(),
    waits: new Set(),
    timers: new Set(),
    // Both ways to sync are ways to be caught by a crash.
    isSyncQuick: random.chance(0.5),
    isDead: false,
  };
  const fileSystem = simulatedFileSystem(caller, processTable(caller, number));
  const clock = processClock(caller);
  return caller;
}

/**
 * Kills the process and begins the next one. All that was written stays.
 *
 * @param disk The disk.
 */
export function replaceProcess(disk: DiskState): void {
  if (disk.process !== undefined) endProcess(disk.process);
  noteEvent(disk, undefined, "process killed");
  disk.process = startProcess(disk);
}

/**
 * Cuts the power, and begins the first process afterwards.
 *
 * @param disk The disk.
 * @param unsynced What becomes of what was not synced.
 * @param offMs How much older the times of files that were not synced are taken to be.
 */
export function rebootDisk(disk: DiskState, unsynced: Unsynced, offMs: number): void {
  const { tree, crashRandom } = disk;
  if (disk.process !== undefined) endProcess(disk.process);
  noteEvent(disk, undefined, "power cut");
  cutNames(tree, unsynced, crashRandom);
  const files = new Set<SimulatedFile>();
  disk.pagesUsed = 0;
  walkTree(tree.root, "entries", (_path, node) => {
    if (node.isFolder) return;
    if (!files.has(node)) {
      files.add(node);
      node.links = 0;
      if (cutPower(node, unsynced, crashRandom)) {
        node.modifiedMs = Math.max(0, node.modifiedMs - offMs);
      }
      disk.pagesUsed += node.cache.pageCount;
    }
    node.links++;
  });
  disk.bootCount++;
  disk.process = startProcess(disk);
}

/** What was under way fails; whatever the process still calls fails too. */
function endProcess(caller: ProcessState): void {
  const { disk, handles, timers, waits } = caller;
  caller.isDead = true;
  for (const timer of timers) disk.clock.stopTimer(timer);
  timers.clear();
  for (const { timer, reject } of waits) {
    if (timer !== undefined) disk.clock.stopTimer(timer);
    reject(diedError("sync or read"));
  }
  waits.clear();
  for (const { file } of handles.values()) {
    file.handles--;
    freeIfUnused(disk, file);
  }
  handles.clear();
}

/** The disk's clock, whose timers die with the process. */
function processClock(caller: ProcessState): Clock {
  const { disk, timers } = caller;
  return {
    now: () => disk.clock.now(),
    startTimer(callback, delayMs) {
      if (caller.isDead) return undefined;
      const timer = disk.clock.startTimer(() => {
        timers.delete(timer);
        callback();
      }, delayMs);
      timers.add(timer);
      return timer;
    },
    stopTimer(timer) {
      timers.delete(timer);
      disk.clock.stopTimer(timer);
    },
  };
}

/** Which process this is: so that a store knows the lock of one that has died. */
function processTable(caller: ProcessState, number: number): ProcessTable {
  const { disk } = caller;
  const startTime = String(number);
  return {
    own: {
      pid: firstPid + number,
      startTime,
      bootId: `boot-${disk.bootCount}`,
      pidNamespace: "simulated",
      machineId: `simulated-${disk.seed}`,
      host: "simulated",
      beganMs: Math.max(0, Math.floor(disk.clock.now())),
    },
    find: (pid) => !caller.isDead && pid === firstPid + number ? { startTime } : undefined,
  };
}
