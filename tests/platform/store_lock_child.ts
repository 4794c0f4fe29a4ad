/**
 * A process that takes and lets go of a lock when told to, a line on its standard input a command:
 * `acquire <folder> <time>` (at that time, so that several try at once) answers `won` or the
 * error's message; `release` answers `released`. It ends with its input, without letting go.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { StoreLock } from "../../src/platform/store_lock.ts";
import { acquireStoreLock, releaseStoreLock } from "../../src/platform/store_lock.ts";

const fs = diskFileSystem();
let lock: StoreLock | undefined;

createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, folder = "", time] = JSON.parse(line) as [string, string?, number?];
  console.log(command === "acquire" ? acquire(folder, time ?? 0) : release());
});

function acquire(folder: string, time: number): string {
  while (Date.now() < time);
  try {
    lock = acquireStoreLock(fs, folder);
    return "won";
  } catch (error) {
    return String(error);
  }
}

function release(): string {
  if (lock !== undefined) releaseStoreLock(lock);
  lock = undefined;
  return "released";
}
