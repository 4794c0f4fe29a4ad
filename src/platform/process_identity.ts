/**
 * Which process this is, and whether a process that left its identity behind still runs.
 *
 * A process id alone tells little: it is used again after the process has ended, and it means
 * something only on one machine, between two boots of it, and within one namespace of process ids
 * (each container has its own). So an identity says all of that, as far as the machine can tell;
 * what it cannot tell is undefined. What the runtime does not permit to be read (Deno without
 * `--allow-all`) counts as something the machine cannot tell.
 */

import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import process from "node:process";
import { hasErrorCode } from "./file_system.ts";

/** How long `ps` may take before its answer counts as unknown. */
const psMsMax = 5_000;

/** What tells one process from any other. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it began, to be compared only: no two processes of the same id have the same. */
  readonly startTime: string | undefined;
  /** Names the time between two boots of the machine. */
  readonly bootId: string | undefined;
  /** Names the set of processes that the id is counted in. */
  readonly pidNamespace: string | undefined;
  /** Names the installed system, for machines that have the same host name. */
  readonly machineId: string | undefined;
  /** The machine's name, empty if it is unknown. */
  readonly host: string;
  /** When it began by the clock on the wall, in milliseconds since the epoch, for people. */
  readonly beganMs: number;
}

/** What can be seen of another process. */
export interface ProcessStatus {
  /** As in `ProcessIdentity`; undefined if it cannot be seen. */
  readonly startTime: string | undefined;
}

/** This process and those that it can see. */
export interface ProcessTable {
  readonly own: ProcessIdentity;
  /** Finds a running process; undefined if there is none. */
  find(pid: number): ProcessStatus | undefined;
}

/** What is known of a holder: `unknown` if it cannot be asked from here. */
export type Liveness = "alive" | "dead" | "unknown";

let ownIdentity: ProcessIdentity | undefined;

/**
 * The processes of this machine.
 *
 * @returns This process and a way to look for others.
 */
export function systemProcesses(): ProcessTable {
  return { own: ownIdentity ??= readOwnIdentity(), find: findSystemProcess };
}

/**
 * Judges whether the process that an identity was taken from still runs.
 *
 * @param holder The identity that it left behind.
 * @param processes This process and those that it can see.
 * @returns `unknown` if the holder is where nobody can be asked from here.
 */
export function judgeProcess(holder: ProcessIdentity, processes: ProcessTable): Liveness {
  const { own } = processes;
  if (wasRebooted(holder, own)) return "dead";
  if (!sharesProcessIds(holder, own)) return "unknown";
  const found = processes.find(holder.pid);
  if (found === undefined) return "dead";
  if (found.startTime === undefined || holder.startTime === undefined) return "unknown";
  return found.startTime === holder.startTime ? "alive" : "dead";
}

/**
 * Reads `/proc/<pid>/stat`.
 *
 * @param text Its content.
 * @returns When the process began, in clock ticks since the boot; undefined if it has ended and
 * only waits for its parent to notice.
 */
export function parseProcessStat(text: string): ProcessStatus | undefined {
  // The name in parentheses may hold spaces and parentheses itself; what follows it may not.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, threadCount, startTime] = [fields[0], Number(fields[17]), fields[19]];
  // A killed process some of whose threads are still inside a call could yet finish a write.
  if (state === "X" || (state === "Z" && threadCount <= 1)) return undefined;
  return { startTime };
}

/**
 * Reads what `ps -o stat= -o lstart=` prints.
 *
 * @param text One line: the state, then the time when the process began.
 * @returns That time; undefined if the process has ended and only waits for its parent to notice.
 */
export function parsePsLine(text: string): ProcessStatus | undefined {
  const [state = "", ...time] = text.trim().split(/\s+/);
  if (state.startsWith("Z")) return undefined;
  return { startTime: time.length === 0 ? undefined : time.join(" ") };
}

/**
 * Whether the machine has been started anew since the process of an identity ran on it.
 *
 * @param holder The identity that the process left behind.
 * @param own This process.
 * @returns True if the boot ids are of the same machine and differ; false also where nobody knows.
 */
export function wasRebooted(holder: ProcessIdentity, own: ProcessIdentity): boolean {
  return holder.bootId !== undefined && own.bootId !== undefined &&
    holder.bootId !== own.bootId && isSameMachine(holder, own);
}

function sharesProcessIds(holder: ProcessIdentity, own: ProcessIdentity): boolean {
  if (holder.bootId !== own.bootId || holder.pidNamespace !== own.pidNamespace) return false;
  return own.bootId !== undefined || isSameMachine(holder, own);
}

function isSameMachine(holder: ProcessIdentity, own: ProcessIdentity): boolean {
  return own.host !== "" && holder.host === own.host && holder.machineId === own.machineId;
}

function readOwnIdentity(): ProcessIdentity {
  return {
    pid: process.pid,
    startTime: readStatus(process.pid)?.startTime,
    bootId: findText("/proc/sys/kernel/random/boot_id"),
    pidNamespace: tryOrUndefined(() => readlinkSync("/proc/self/ns/pid")),
    machineId: findText("/etc/machine-id"),
    host: tryOrUndefined(hostname) ?? "",
    // Not before the epoch, should the clock not be set yet.
    beganMs: Math.max(0, Math.round(Date.now() - process.uptime() * 1000)),
  };
}

function findSystemProcess(pid: number): ProcessStatus | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (hasErrorCode(error, "ESRCH")) return undefined;
    // Somebody else's process, or one that may not be asked for.
  }
  return readStatus(pid);
}

function readStatus(pid: number): ProcessStatus | undefined {
  if (process.platform === "win32") return { startTime: undefined };
  const stat = findText(`/proc/${pid}/stat`);
  if (stat !== undefined) return parseProcessStat(stat);
  // Where others' processes are hidden, `ps` reads the same hidden files.
  if (process.platform === "linux") return { startTime: undefined };
  const line = tryOrUndefined(() => runPs(pid));
  return line === undefined ? { startTime: undefined } : parsePsLine(line);
}

function runPs(pid: number): string {
  return execFileSync("ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)], {
    encoding: "utf8",
    // The time must come out the same whatever the language and time zone of who asks.
    env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
    stdio: ["ignore", "pipe", "ignore"],
    timeout: psMsMax,
  });
}

/** The text of a file; undefined if it is empty, as `/etc/machine-id` is in images of systems. */
function findText(path: string): string | undefined {
  return tryOrUndefined(() => readFileSync(path, "utf8").trim()) || undefined;
}

/** What cannot be read is not known, whatever the reason: there is a way to go on without it. */
function tryOrUndefined<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
