/**
 * Keeps what a repair takes out of a store: nothing is changed or removed before its bytes are on
 * disk somewhere else. Each repair has a folder of its own, `<aside>/1`, `<aside>/2` and so on, in
 * which files have the paths that they had in the store; a stretch of a file has the position where
 * it began behind its name.
 */

import type { FileHandle } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { folderOf, joinPath, makeFolderSynced, replaceFile } from "../platform/files.ts";
import type { Repair } from "./repair_report.ts";
import { addStep } from "./repair_report.ts";

const copyBytes = 1024 * 1024;
const runsMax = 1_000_000;

/**
 * Keeps a stretch of a file.
 *
 * @param repair The repair.
 * @param path The file, from the store's folder on.
 * @param start Where the stretch begins.
 * @param end Where it ends.
 */
export function keepStretch(repair: Repair, path: string, start: number, end: number): void {
  if (!repair.isDryRun && end > start) copyAside(repair, path, `${path}.${start}`, start, end);
}

/**
 * Keeps a file whole.
 *
 * @param repair The repair.
 * @param path The file, from the store's folder on; one that is not there is passed over.
 */
export function keepFile(repair: Repair, path: string): void {
  const sizeBytes = repair.fs.stat(joinPath(repair.folder, path))?.sizeBytes;
  if (repair.isDryRun || sizeBytes === undefined) return;
  copyAside(repair, path, path, 0, sizeBytes);
}

/**
 * Replaces a file by another content, and keeps what it was.
 *
 * @param repair The repair.
 * @param path The file, from the store's folder on.
 * @param bytes All of its new content.
 * @param message What is being done.
 */
export function replaceKept(
  repair: Repair,
  path: string,
  bytes: Uint8Array,
  message: string,
): void {
  addStep(repair, path, message);
  const whole = joinPath(repair.folder, path);
  if (repair.isDryRun) {
    repair.changes.set(whole, bytes);
    return;
  }
  keepFile(repair, path);
  replaceFile(repair.fs, whole, bytes);
}

/**
 * Removes a file from the store, and keeps what it was.
 *
 * @param repair The repair.
 * @param path The file, from the store's folder on; one that is not there is passed over.
 * @param message What is being done.
 */
export function removeKept(repair: Repair, path: string, message: string): void {
  if (repair.fs.stat(joinPath(repair.folder, path)) === undefined) return;
  addStep(repair, path, message);
  moveFileAside(repair, path);
}

/**
 * Moves a file out of the store as it is, and tells nothing of it.
 *
 * @param repair The repair.
 * @param path The file, from the store's folder on.
 */
export function moveFileAside(repair: Repair, path: string): void {
  moveAside(repair, path, () => {
    keepFile(repair, path);
    repair.fs.remove(joinPath(repair.folder, path));
  });
}

/**
 * Moves a folder out of the store as it is.
 *
 * @param repair The repair.
 * @param path The folder, from the store's folder on.
 * @param message What is being done.
 */
export function moveFolderAside(repair: Repair, path: string, message: string): void {
  addStep(repair, path, message);
  moveAside(repair, path, () => {
    keepFolder(repair, path);
    removeFolder(repair, path);
  });
}

/** What is taken out may go to another disk: then it is copied. */
function moveAside(repair: Repair, path: string, copy: () => void): void {
  const { fs, folder } = repair;
  const source = joinPath(folder, path);
  if (repair.isDryRun) {
    repair.changes.set(source, "gone");
    return;
  }
  const target = findFreeName(repair, joinPath(runFolderOf(repair), path));
  makeFolderSynced(fs, folderOf(target));
  try {
    fs.rename(source, target);
  } catch (error) {
    if (!hasErrorCode(error, "EXDEV")) throw error;
    copy();
  }
  fs.syncFolder(folderOf(target));
  fs.syncFolder(folderOf(source));
}

function keepFolder(repair: Repair, path: string): void {
  const { fs, folder } = repair;
  makeFolderSynced(fs, joinPath(runFolderOf(repair), path));
  for (const { name, isFolder } of fs.list(joinPath(folder, path))) {
    if (isFolder) keepFolder(repair, joinPath(path, name));
    else keepFile(repair, joinPath(path, name));
  }
}

/** Of a link to a folder only the link goes: what is in it lies elsewhere, and is another's. */
function removeFolder(repair: Repair, path: string): void {
  const { fs, folder } = repair;
  const whole = joinPath(folder, path);
  try {
    fs.removeFolder(whole);
    return;
  } catch (error) {
    if (!hasErrorCode(error, "ENOTEMPTY")) throw error;
  }
  for (const { name, isFolder } of fs.list(whole)) {
    if (isFolder) removeFolder(repair, joinPath(path, name));
    else fs.remove(joinPath(whole, name));
  }
  fs.removeFolder(whole);
}

function copyAside(
  repair: Repair,
  path: string,
  keptPath: string,
  start: number,
  end: number,
): void {
  const { fs, folder } = repair;
  const target = findFreeName(repair, joinPath(runFolderOf(repair), keptPath));
  makeFolderSynced(fs, folderOf(target));
  const source = fs.open(joinPath(folder, path), "read");
  try {
    const copy = fs.createExclusive(target);
    try {
      copyStretch(repair, source, copy, start, end);
      fs.syncDataNow(copy);
    } finally {
      fs.close(copy);
    }
  } finally {
    fs.close(source);
  }
  fs.syncFolder(folderOf(target));
}

/** What was kept stays, should the same file be changed twice. */
function findFreeName({ fs }: Repair, path: string): string {
  let free = path;
  for (let count = 2; fs.stat(free) !== undefined && count < runsMax; count++) {
    free = `${path}.${count}`;
  }
  return free;
}

function copyStretch(
  { fs }: Repair,
  source: FileHandle,
  target: FileHandle,
  start: number,
  end: number,
): void {
  const buffer = new Uint8Array(Math.min(copyBytes, end - start));
  for (let position = start; position < end;) {
    const count = fs.read(source, buffer.subarray(0, end - position), position);
    if (count === 0) return;
    fs.write(target, buffer.subarray(0, count), position - start);
    position += count;
  }
}

/** The folder of this repair, made when it is first needed. */
function runFolderOf(repair: Repair): string {
  if (repair.runFolder !== undefined) return repair.runFolder;
  const { fs, asideFolder } = repair;
  let run = 1;
  while (fs.stat(joinPath(asideFolder, String(run))) !== undefined && run < runsMax) run++;
  repair.runFolder = joinPath(asideFolder, String(run));
  makeFolderSynced(fs, repair.runFolder);
  return repair.runFolder;
}
