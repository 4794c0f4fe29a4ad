/**
 * The file systems that a test of file work runs on: the disk, in a folder of its own, memory, and
 * the simulated disk as long as nothing goes wrong with it.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { manualClock, simulatedDisk } from "../../src/testing/mod.ts";

/**
 * Registers a test for the disk, one for memory and one for the simulated disk.
 *
 * @param name Of the tests; the file system's kind is put behind it.
 * @param run Gets the file system and an empty folder in it, which is removed afterwards.
 */
export function forEachFileSystem(
  name: string,
  run: (fs: FileSystem, folder: string) => void | Promise<void>,
): void {
  test(`${name} (disk)`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
    try {
      await run(diskFileSystem(), folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
  test(`${name} (memory)`, async () => {
    const fs = memoryFileSystem();
    fs.makeFolder("/test");
    await run(fs, "/test");
  });
  test(`${name} (simulated)`, async () => {
    const { fileSystem } = simulatedDisk({ seed: 0, clock: manualClock(Date.now()) });
    fileSystem.makeFolder("/test");
    await run(fileSystem, "/test");
  });
}
