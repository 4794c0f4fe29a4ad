/**
 * Finds the Kafka broker that runs on a folder.
 *
 * A broker holds a POSIX write lock on `.lock` in each of its log directories for as long as it
 * runs. Node can neither take nor test such a lock, but Linux lists all of them in `/proc/locks`,
 * except those of processes in other containers. Elsewhere a running broker is not noticed.
 */

import { readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { OttlaError } from "../errors.ts";
import type { FileSystem } from "./file_system.ts";
import { joinPath } from "./files.ts";

/** One POSIX write lock that somebody holds. */
export interface PosixLock {
  readonly pid: number;
  /** The device that the file is on, as `stat` gives it. */
  readonly device: bigint;
  readonly inode: bigint;
}

/**
 * Makes sure that no Kafka broker runs on a folder.
 *
 * @param fs Where the folder is; only on a disk can there be a broker.
 * @param folder A log directory.
 * @throws OttlaError `STORE_LOCKED` naming the broker's process.
 */
export function checkNoBroker(fs: FileSystem, folder: string): void {
  if (fs.kind !== "disk") return;
  const path = joinPath(folder, ".lock");
  const pid = findLockHolder(readLocks(), path);
  if (pid === undefined) return;
  throw new OttlaError(
    "STORE_LOCKED",
    `Cannot open ${folder}: a Kafka broker, process ${pid}, runs on it`,
    { details: { folder, pid } },
  );
}

/**
 * Finds who holds a write lock on a file.
 *
 * @param locks All locks that are held.
 * @param path The file.
 * @returns The process id; undefined if nobody does, or if there is no such file.
 */
export function findLockHolder(locks: readonly PosixLock[], path: string): number | undefined {
  const status = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (status === undefined) return undefined;
  return locks.find(({ pid, device, inode }) =>
    inode === status.ino && (device === status.dev || hasOpen(pid, path))
  )?.pid;
}

/**
 * Reads `/proc/locks`.
 *
 * @param text Its content, a line a lock.
 * @returns The POSIX write locks that are held; not those that somebody waits for.
 */
export function parseLocks(text: string): PosixLock[] {
  const pattern = /^\d+: POSIX +\w+ +WRITE (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /gm;
  return Array.from(text.matchAll(pattern), ([, pid, major, minor, inode]) => ({
    pid: Number(pid),
    device: deviceOf(BigInt(`0x${major}`), BigInt(`0x${minor}`)),
    inode: BigInt(inode!),
  }));
}

function readLocks(): PosixLock[] {
  try {
    return parseLocks(readFileSync("/proc/locks", "utf8"));
  } catch {
    // No Linux, or no permission: then there is nothing to be learned.
    return [];
  }
}

/** How Linux puts the two parts of a device number into one. */
function deviceOf(major: bigint, minor: bigint): bigint {
  return (minor & 0xffn) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n) |
    ((major & ~0xfffn) << 32n);
}

/** On file systems with volumes inside (btrfs) `stat` and `/proc/locks` name different devices. */
function hasOpen(pid: number, path: string): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    const target = realpathSync(path);
    return readdirSync(folder).some((name) => readlinkSync(joinPath(folder, name)) === target);
  } catch {
    return false;
  }
}
