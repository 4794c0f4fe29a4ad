/** What the tests of the simulated disk share: small files, written and read whole. */

import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import type { SimulatedDisk } from "../../src/testing/mod.ts";

/** Nothing that is waited for takes longer, in milliseconds of the disk's clock. */
const turnsMax = 10_000;

/** As many bytes of one value. */
export function filled(sizeBytes: number, value: number): Uint8Array {
  return new Uint8Array(sizeBytes).fill(value);
}

/** Opens or makes a file, writes to it, and closes it. */
export function writeAt(
  fs: FileSystem,
  path: string,
  bytes: Uint8Array,
  position = 0,
): void {
  const file = fs.open(path, "create");
  try {
    fs.write(file, bytes, position);
  } finally {
    fs.close(file);
  }
}

/** Brings a file and its name to the disk. */
export function syncWhole(fs: FileSystem, path: string): void {
  const file = fs.open(path, "write");
  fs.syncDataNow(file);
  fs.close(file);
  fs.syncFolder("/");
}

/** The content of a file. */
export function contentOf(disk: SimulatedDisk, path: string): Uint8Array | undefined {
  return readFile(disk.fileSystem, path);
}

/** The names in a folder, sorted. */
export function namesIn(disk: SimulatedDisk, folder = "/"): string[] {
  return disk.fileSystem.list(folder).map(({ name }) => name).sort();
}

/** The text of every file below a folder, by path. */
export function textsIn(disk: SimulatedDisk, folder = "/"): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { name, isFolder } of disk.fileSystem.list(folder)) {
    const path = joinPath(folder, name);
    if (isFolder) Object.assign(texts, { [`${path}/`]: "" }, textsIn(disk, path));
    else texts[path] = new TextDecoder().decode(contentOf(disk, path));
  }
  return texts;
}

/** How often each outcome came, over the seeds from 0. */
export function outcomesOf(seedCount: number, run: (seed: number) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (let seed = 0; seed < seedCount; seed++) {
    const outcome = run(seed);
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  }
  return counts;
}

/** Lets time go on, a millisecond at a time, until something is done. */
export async function withRunningClock<Result>(
  disk: SimulatedDisk,
  doing: Promise<Result>,
): Promise<Result> {
  let isDone = false;
  const ended = doing.finally(() => isDone = true);
  // What it is rejected with is the caller's.
  ended.catch(() => {});
  for (let turns = 0; !isDone; turns++) {
    if (turns === turnsMax) throw new Error(`nothing came of it in ${turnsMax} ms`);
    await disk.clock.advance(1);
  }
  return await ended;
}
