/**
 * The lock of a store: one owner a folder, whatever runtime, process or thread it is in.
 *
 * Node can take no lock that the kernel drops with the process, so a file says who holds the
 * folder, and whoever finds it looks whether that process still runs. The algorithm:
 *
 * 1. List the folder. The lock file of the highest generation g is the present lock; if it is held
 *    by a process that runs, the folder is locked.
 * 2. Write a lock of our own to a temporary file and link it to generation g + 1, which fails if
 *    there is one.
 * 3. List again, then read generation g + 1. If there is none higher, and it still is ours, the
 *    folder is ours; otherwise start over.
 * 4. Remove the lower generations, the lowest first, and what temporary files there are.
 *
 * Letting go writes "free" over the lock in place. So the highest generation never goes away, and
 * the highest number never falls. Why nobody shares the folder with an owner of generation m: if m
 * was the highest when the owner's second listing began, then whoever wants m + 1 has to read m,
 * and finds the owner running. If some k > m was there, then the listing shows it, unless k was
 * removed while the folder was being listed (a listing is no snapshot). Then it was removed by an
 * owner of h > k that linked h after m was there, hence listed m, hence removed m before k, and
 * step 3 finds m gone. This holds for as long as step 4 stops where a file cannot be removed, and
 * nobody removes a lock of his own. Why somebody wins: nothing stands in the way of
 * the one that linked the highest.
 *
 * A holder in another container or on another machine cannot be asked, nor can one whose process id
 * may have been used again (Windows does not tell when a process began). Then the time of the last
 * change decides: the holder writes its lock anew every `heartbeatMs` and counts as dead after
 * `silenceMsMax`. Both ages are measured by the clock of the file system, because clocks of two
 * machines differ. A holder that was stopped or asleep for longer can lose its folder; it notices
 * with its next heartbeat, and `isHeld` becomes false.
 *
 * Where a file system has no links (FAT, some network mounts) the lock is created under its name
 * and then written. What is found unfinished counts as held for `unfinishedMsMax`. A lock is synced
 * before it gets its name, so that a power cut leaves no name with noise behind it, which nobody
 * could tell from a file that is no lock. The name is not: after a power cut the boot id is another
 * one, and a lock whose name is gone holds nobody up.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import { checkNoBroker } from "./broker_lock.ts";
import type { Clock, Timer } from "./clock.ts";
import { systemClock } from "./clock.ts";
import type { FileHandle, FileSystem } from "./file_system.ts";
import { hasErrorCode } from "./file_system.ts";
import { joinPath, readFile } from "./files.ts";
import type { ProcessIdentity, ProcessTable } from "./process_identity.ts";
import { judgeProcess, systemProcesses, wasRebooted } from "./process_identity.ts";
import type { RandomBytes } from "./random.ts";
import { systemRandomBytes } from "./random.ts";
import type { LockContent } from "./store_lock_file.ts";
import {
  isTemporaryLockName,
  lockBytesMax,
  lockName,
  parseLock,
  parseLockName,
  printLock,
  temporaryLockName,
} from "./store_lock_file.ts";

/** How often a holder shows that it lives. */
export const heartbeatMs = 10_000;
/** After how long a silence a holder that cannot be asked counts as dead. */
export const silenceMsMax = 60_000;
/** How long a lock that is not written to its end counts as held. */
export const unfinishedMsMax = 5_000;
/** Each attempt fails only because somebody else got ahead, so few are needed. */
const attemptsMax = 16;

/** The lock of one folder. */
export interface StoreLock {
  /** The lock file. */
  readonly path: string;
  /** False once it was let go, or was lost to somebody who took its holder for dead. */
  readonly isHeld: boolean;
}

/** What a lock takes from its surroundings; all of it has a default. */
export interface StoreLockOptions {
  /** This process and those that it can see. */
  readonly processes?: ProcessTable;
  /** For the heartbeat. */
  readonly clock?: Clock;
  readonly randomBytes?: RandomBytes;
  /**
   * Called if the machine has been started anew since somebody had the folder, before the lock that
   * tells is replaced by ours.
   */
  readonly onRebooted?: () => void;
}

interface OwnLock extends StoreLock {
  isHeld: boolean;
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly content: LockContent;
  timer: Timer;
}

/**
 * Takes the lock of a folder.
 *
 * @param fs Where the folder is.
 * @param folder An existing folder.
 * @param options What to use in place of this machine's processes, clock and randomness.
 * @returns The lock, to be let go with `releaseStoreLock`; it never keeps the process alive.
 * @throws OttlaError `STORE_LOCKED` naming the process that holds it, or the Kafka broker that runs
 * on the folder; `STORE_INVALID` if something else has the name of a lock.
 */
export function acquireStoreLock(
  fs: FileSystem,
  folder: string,
  options: StoreLockOptions = {},
): StoreLock {
  const { processes = fs.processes ?? systemProcesses(), clock = systemClock() } = options;
  const { randomBytes = systemRandomBytes } = options;
  checkNoBroker(fs, folder);
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    // A new token each time: what an earlier attempt left behind must not look like ours.
    const token = tokenOf(randomBytes(8));
    const content: LockContent = { state: "held", token, holder: processes.own };
    const free = findFreeGeneration(fs, folder, token, processes);
    if (free === undefined) continue;
    const { generation, lastHolder } = free;
    if (lastHolder !== undefined && wasRebooted(lastHolder, processes.own)) options.onRebooted?.();
    const path = joinPath(folder, lockName(generation));
    const lock: OwnLock = { path, isHeld: true, fs, clock, content, timer: undefined };
    if (!takeGeneration(lock, folder, generation)) continue;
    startHeartbeat(lock);
    return lock;
  }
  throw new OttlaError(
    "STORE_LOCKED",
    `Cannot open ${folder}: others took its lock ${attemptsMax} times while it was asked for`,
    { details: { folder, attempts: attemptsMax } },
  );
}

/**
 * Lets go of a folder. Doing so twice is fine.
 *
 * @param lock What `acquireStoreLock` returned.
 * @throws What the file system throws; then the folder stays locked while this process runs.
 */
export function releaseStoreLock(lock: StoreLock): void {
  const own = lock as OwnLock;
  if (!own.isHeld) return;
  own.isHeld = false;
  own.clock.stopTimer(own.timer);
  rewriteLock(own, "free");
}

/** A generation that can be taken, and who had the one before. */
interface FreeGeneration {
  readonly generation: number;
  readonly lastHolder: ProcessIdentity | undefined;
}

/** The generation to take; undefined if the present one vanished while it was looked at. */
function findFreeGeneration(
  fs: FileSystem,
  folder: string,
  token: string,
  processes: ProcessTable,
): FreeGeneration | undefined {
  const generation = Math.max(0, ...listGenerations(fs, folder));
  if (generation === 0) return { generation: 1, lastHolder: undefined };
  const path = joinPath(folder, lockName(generation));
  const bytes = readLockFile(fs, path);
  if (bytes === undefined) return undefined;
  const content = parseLock(path, bytes);
  const free: FreeGeneration = { generation: generation + 1, lastHolder: content?.holder };
  if (content?.state === "free") return free;

  const liveness = content === undefined ? "unknown" : judgeProcess(content.holder, processes);
  if (liveness === "dead") return free;
  if (content !== undefined && liveness === "alive") throw heldBy(folder, content.holder, "");
  const ageMs = findAge(fs, path, joinPath(folder, temporaryLockName(token)));
  if (ageMs === undefined) return undefined;
  // A time that lies ahead is from before the clock was set back: who lives has written since.
  if (Math.abs(ageMs) > (content === undefined ? unfinishedMsMax : silenceMsMax)) return free;
  if (content === undefined) throw beingTaken(folder, path);
  const reason =
    `; it cannot be asked from here, was heard ${Math.abs(Math.round(ageMs / 1000))} s ago ` +
    `and counts as gone after ${silenceMsMax / 1000} s`;
  throw heldBy(folder, content.holder, reason);
}

/** How long ago a file was changed, by its file system's clock; undefined if it has vanished. */
function findAge(fs: FileSystem, path: string, probe: string): number | undefined {
  const modifiedMs = fs.stat(path)?.modifiedMs;
  fs.close(fs.createExclusive(probe));
  const nowMs = fs.stat(probe)?.modifiedMs;
  removeIfThere(fs, probe);
  return modifiedMs === undefined || nowMs === undefined ? undefined : nowMs - modifiedMs;
}

/** Steps 2 to 4. False if somebody else got ahead. */
function takeGeneration(lock: OwnLock, folder: string, generation: number): boolean {
  const { fs, path, content } = lock;
  const bytes = printLock(content);
  const temporary = joinPath(folder, temporaryLockName(content.token));
  try {
    writeNew(fs, temporary, bytes);
    linkLock(fs, temporary, path, bytes);
    removeIfThere(fs, temporary);
    const generations = listGenerations(fs, folder);
    if (generations.some((other) => other > generation)) return false;
    // Last, because only this tells that no higher one came and went during the listing.
    const present = readLockFile(fs, path);
    if (present === undefined || !isSame(present, bytes)) return false;
    removeLeftovers(fs, folder, generations.filter((other) => other < generation));
    return true;
  } catch (error) {
    takeGenerationUndo(lock, temporary);
    throw error;
  }
}

/** A lock that was linked must not keep others out when its process has given up. */
function takeGenerationUndo(lock: OwnLock, temporary: string): void {
  try {
    removeIfThere(lock.fs, temporary);
    rewriteLock(lock, "free");
  } catch {
    // The caller throws what went wrong first.
  }
}

/** Whether it worked is seen by what stands at `path` then: an answer can get lost on a network. */
function linkLock(fs: FileSystem, temporary: string, path: string, bytes: Uint8Array): void {
  try {
    fs.link(temporary, path);
  } catch (error) {
    // Somebody has that generation, or an owner has cleared away the temporary file.
    if (hasErrorCode(error, "EEXIST") || hasErrorCode(error, "ENOENT")) return;
    linkLockFallback(fs, path, bytes);
  }
}

/** Links fail with one of many codes where there are none; what else is wrong shows here again. */
function linkLockFallback(fs: FileSystem, path: string, bytes: Uint8Array): void {
  try {
    writeNew(fs, path, bytes);
  } catch (error) {
    if (!hasErrorCode(error, "EEXIST")) throw error;
  }
}

function removeLeftovers(fs: FileSystem, folder: string, generations: readonly number[]): void {
  const lower = generations.toSorted((left, right) => left - right).map(lockName);
  try {
    // A power cut that spared the removal alone would leave no trace of who was here.
    if (lower.length > 0) fs.syncFolder(folder);
    for (const name of lower) removeIfThere(fs, joinPath(folder, name));
    for (const { name } of fs.list(folder)) {
      if (isTemporaryLockName(name)) removeIfThere(fs, joinPath(folder, name));
    }
  } catch {
    // What is left does no harm and is removed by the next owner; the folder is ours all the same.
  }
}

function startHeartbeat(lock: OwnLock): void {
  lock.timer = lock.clock.startTimer(() => {
    try {
      lock.isHeld = rewriteLock(lock, "held");
    } catch {
      // Nobody waits here; after six failures in a row others may take over.
    }
    if (lock.isHeld) startHeartbeat(lock);
  }, heartbeatMs);
}

/** Writes a lock anew, in place, as both states are of the same length. False if it is not ours. */
function rewriteLock(lock: OwnLock, state: LockContent["state"]): boolean {
  const { fs, path, content } = lock;
  const held = printLock(content);
  let file: FileHandle;
  try {
    file = fs.open(path, "write");
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return false;
    throw error;
  }
  try {
    // Bits that were read wrong once must not take the folder from who holds it.
    if (!readsAs(fs, file, held) && !readsAs(fs, file, held)) return false;
    fs.write(file, printLock({ ...content, state }), 0);
    return true;
  } finally {
    fs.close(file);
  }
}

function listGenerations(fs: FileSystem, folder: string): number[] {
  return fs.list(folder).flatMap(({ name }) => parseLockName(name) ?? []);
}

function readLockFile(fs: FileSystem, path: string): Uint8Array | undefined {
  try {
    return readFile(fs, path, lockBytesMax);
  } catch (cause) {
    if (!isOttlaError(cause, "KAFKA_STORAGE_ERROR")) throw cause;
    throw new OttlaError("STORE_INVALID", cause.message, { details: { path }, cause });
  }
}

function writeNew(fs: FileSystem, path: string, bytes: Uint8Array): void {
  const file = fs.createExclusive(path);
  try {
    fs.write(file, bytes, 0);
    fs.syncDataNow(file);
  } finally {
    fs.close(file);
  }
}

function removeIfThere(fs: FileSystem, path: string): void {
  try {
    fs.remove(path);
  } catch (error) {
    if (!hasErrorCode(error, "ENOENT")) throw error;
  }
}

function readsAs(fs: FileSystem, file: FileHandle, bytes: Uint8Array): boolean {
  const present = new Uint8Array(bytes.length);
  fs.read(file, present, 0);
  return isSame(present, bytes);
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

function tokenOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function heldBy(folder: string, holder: ProcessIdentity, reason: string): OttlaError {
  const { pid, host, beganMs } = holder;
  const began = new Date(beganMs).toISOString();
  const where = host === "" ? "" : ` on ${host}`;
  return new OttlaError(
    "STORE_LOCKED",
    `Cannot open ${folder}: process ${pid}${where}, which began ${began}, has it open${reason}`,
    { details: { folder, pid, host, beganMs } },
  );
}

function beingTaken(folder: string, path: string): OttlaError {
  return new OttlaError(
    "STORE_LOCKED",
    `Cannot open ${folder}: somebody is about to take its lock, ${path} is not written to its end`,
    { details: { folder, path } },
  );
}
