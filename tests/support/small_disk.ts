/**
 * Disks of a few megabytes that can be filled up: a tmpfs, where the test may mount one, and always
 * the simulated disk.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import type { StoreOptions } from "../../mod.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import type { ManualClock } from "../../src/testing/mod.ts";
import { manualClock, simulatedDisk } from "../../src/testing/mod.ts";

/** How large such a disk is. */
export const smallDiskBytes: number = 4 * 1024 * 1024;
const blockBytes = 4_096;

/** A disk that a test has for itself. */
export interface SmallDisk {
  readonly fs: FileSystem;
  /** Where a store may be; beside it lies what others have on the disk. */
  readonly folder: string;
  readonly clock: ManualClock;
  /** What to open a store with. */
  readonly options: StoreOptions;
}

/**
 * Registers a test for a tmpfs and one for the simulated disk.
 *
 * @param name Of the tests; the disk is put behind it.
 * @param run Gets a disk with nothing on it.
 */
export function forEachSmallDisk(name: string, run: (disk: SmallDisk) => Promise<void>): void {
  const reason = whyNoTmpfs();
  test(`${name} (tmpfs)`, reason === undefined ? {} : { skip: reason }, async () => {
    const mounted = mkdtempSync(join(tmpdir(), "ottla-test-"));
    runCommand("mount", "-t", "tmpfs", "-o", `size=${smallDiskBytes}`, "tmpfs", mounted);
    try {
      await runOn(diskFileSystem(), mounted, run);
    } finally {
      unmount(mounted);
      rmSync(mounted, { recursive: true });
    }
  });
  test(`${name} (simulated)`, async () => {
    const { fileSystem } = simulatedDisk({ seed: 0, capacityBytes: smallDiskBytes });
    fileSystem.makeFolder("/small");
    await runOn(fileSystem, "/small", run);
  });
}

/** Leaves as little room on a disk as is wanted, by a file of others. */
export function fillDisk({ fs, folder }: SmallDisk, leftBytes = 0): void {
  const path = `${folder}.others`;
  const file = fs.open(path, "create");
  const block = new Uint8Array(blockBytes).fill(1);
  try {
    let position = fs.sizeOf(file);
    while (fs.freeBytes(folder) > leftBytes) {
      fs.write(file, block, position);
      position += block.length;
    }
  } catch (error) {
    if (!hasErrorCode(error, "ENOSPC")) throw error;
  } finally {
    fs.close(file);
  }
}

/** Gives the room back. */
export function emptyDisk({ fs, folder }: SmallDisk): void {
  fs.remove(`${folder}.others`);
}

async function runOn(
  fs: FileSystem,
  root: string,
  run: (disk: SmallDisk) => Promise<void>,
): Promise<void> {
  const clock = manualClock(Date.now());
  const folder = joinPath(root, "store");
  fs.makeFolder(folder);
  await run({ fs, folder, clock, options: { fileSystem: fs, clock } });
}

let mountReason: string | undefined | null = null;

/** Why no tmpfs can be mounted here, found out by trying. */
function whyNoTmpfs(): string | undefined {
  if (mountReason !== null) return mountReason;
  mountReason = process.platform === "linux" ? tryMount() : "a tmpfs is Linux's";
  return mountReason;
}

function tryMount(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
  try {
    mkdirSync(join(folder, "mounted"));
    runCommand("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", join(folder, "mounted"));
    unmount(join(folder, "mounted"));
    return undefined;
  } catch (error) {
    return `no tmpfs can be mounted: ${String(error)}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Unmounts what a test that has failed may still have files open on: it is gone with the last. */
export function unmount(folder: string): void {
  runCommand("umount", "--lazy", folder);
}

/** Runs a command of the system, which must succeed. Returns its output. */
export function runCommand(command: string, ...args: string[]): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
  return stdout;
}
