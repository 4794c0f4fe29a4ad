/** The file that takes room, to give it back on a full disk. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { closeStore, openStore } from "../../mod.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import {
  giveReserve,
  giveReserveIfFull,
  lendingReserve,
  takeReserve,
  withReserve,
} from "../../src/store/disk_reserve.ts";
import type { DiskSpace } from "../../src/store/disk_space.ts";
import { diskSpace } from "../../src/store/disk_space.ts";
import { manualClock, simulatedDisk } from "../../src/testing/mod.ts";
import { writeFile } from "../support/store_fixture.ts";

const reserveBytes = 64 * 1024;
const path = "/store/ottla.reserve";
const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });

/** A disk that holds the folder of a store and has as much room as is wanted. */
function smallSpace(capacityBytes: number, freeBytesMin = 1): DiskSpace {
  const { fileSystem } = simulatedDisk({ seed: 0, clock: manualClock(), capacityBytes });
  fileSystem.makeFolder("/store");
  return diskSpace(fileSystem, "/store", freeBytesMin);
}

function sizeOf(fs: FileSystem): number | undefined {
  return fs.stat(path)?.sizeBytes;
}

describe("a reserve", () => {
  it("takes room that nothing can be saved of", () => {
    const { fs, ...space } = smallSpace(1_000_000);
    const freeBytes = fs.freeBytes("/");
    takeReserve({ fs, ...space });
    assert.equal(sizeOf(fs), reserveBytes);
    assert.equal(fs.freeBytes("/"), freeBytes - reserveBytes);
    assert.ok(gzipSync(readFile(fs, path)!).length > 0.95 * reserveBytes);
  });

  it("is as large as there is room for, and grows when there is more", () => {
    const space = smallSpace(100_000);
    writeFile(space.fs, "/others", new Uint8Array(80_000));
    takeReserve(space);
    assert.equal(sizeOf(space.fs), 16_384);
    assert.equal(space.fs.freeBytes("/"), 0);
    takeReserve(space);
    assert.equal(sizeOf(space.fs), 16_384);
    space.fs.remove("/others");
    takeReserve(space);
    assert.equal(sizeOf(space.fs), reserveBytes);
  });

  it("is given back when there is less room than it takes", () => {
    const space = smallSpace(1_000_000);
    takeReserve(space);
    giveReserveIfFull(space.fs, "/store");
    assert.equal(sizeOf(space.fs), reserveBytes);
    writeFile(space.fs, "/others", new Uint8Array(900_000));
    giveReserveIfFull(space.fs, "/store");
    assert.equal(sizeOf(space.fs), undefined);
  });

  it("is lent for as long as something is freed, whether that succeeds or not", () => {
    const space = smallSpace(100_000);
    writeFile(space.fs, "/others", new Uint8Array(20_000));
    takeReserve(space);
    const seen = lendingReserve(space, () => sizeOf(space.fs));
    assert.deepEqual([seen, sizeOf(space.fs)], [undefined, reserveBytes]);
    assert.throws(() =>
      lendingReserve(space, () => {
        throw full;
      }), full);
    assert.equal(sizeOf(space.fs), reserveBytes);
  });

  it("lets what fails on a full disk be tried once more", () => {
    const { fs } = smallSpace(1_000_000);
    let tries = 0;
    const task = (): string => {
      tries++;
      if (fs.stat(path) !== undefined) throw full;
      return "done";
    };
    writeFile(fs, path, "some bytes");
    assert.equal(withReserve(fs, "/store", task), "done");
    assert.equal(tries, 2);
  });

  it("is of no help where there is none, or something else is wrong", () => {
    const { fs } = smallSpace(1_000_000);
    let tries = 0;
    const failing = (error: Error) => (): never => {
      tries++;
      throw error;
    };
    assert.throws(() => withReserve(fs, "/store", failing(full)), full);
    writeFile(fs, path, "some bytes");
    const broken = Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    assert.throws(() => withReserve(fs, "/store", failing(broken)), broken);
    assert.equal(tries, 2);
    assert.equal(giveReserve(fs, "/store"), true);
    assert.equal(giveReserve(fs, "/store"), false);
  });

  it("is neither taken in memory, nor where nothing is to be kept free", () => {
    const memory = memoryFileSystem();
    memory.makeFolder("/store");
    takeReserve(diskSpace(memory, "/store", 1_000_000));
    assert.equal(sizeOf(memory), undefined);
    const space = smallSpace(1_000_000, 0);
    takeReserve(space);
    assert.equal(sizeOf(space.fs), undefined);
  });

  it("of a store is there while it is open and when it is closed", async () => {
    const disk = simulatedDisk({ seed: 0, capacityBytes: 64 * 1024 * 1024 });
    const store = await openStore("/store", disk.process);
    assert.equal(sizeOf(disk.fileSystem), reserveBytes);
    await closeStore(store);
    assert.equal(sizeOf(disk.fileSystem), reserveBytes);
  });
});
