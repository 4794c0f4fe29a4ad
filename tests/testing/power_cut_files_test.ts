/** What a power cut makes of the bytes of a file: each thing that may happen happens, no other does. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { SimulatedDisk } from "../../src/testing/mod.ts";
import {
  filesOf,
  killProcess,
  powerCut,
  setFaults,
  simulatedDisk,
  syncedContentOf,
} from "../../src/testing/mod.ts";
import {
  contentOf,
  filled,
  outcomesOf,
  syncWhole,
  writeAt,
} from "../support/simulated_disk_fixture.ts";

const path = "/file";

/** A disk on which a file has three sectors of ones. */
function diskWithFile(seed: number, sizeBytes = 1_536): SimulatedDisk {
  const disk = simulatedDisk({ seed });
  writeAt(disk.fileSystem, path, filled(sizeBytes, 1));
  syncWhole(disk.fileSystem, path);
  return disk;
}

/** The value of each sector, or `noise`. */
function sectorsOf(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return "none";
  const sectors: string[] = [];
  for (let at = 0; at < bytes.length; at += 512) {
    const values = new Set(bytes.subarray(at, at + 512));
    sectors.push(values.size === 1 ? String([...values][0]) : "noise");
  }
  return sectors.join(" ");
}

describe("a power cut", () => {
  it("leaves old and new sectors of what was written over, in any mixture", () => {
    const outcomes = outcomesOf(300, (seed) => {
      const disk = diskWithFile(seed);
      writeAt(disk.fileSystem, path, filled(1_536, 2));
      powerCut(disk);
      return sectorsOf(contentOf(disk, path));
    });
    const mixtures = [1, 2].flatMap((a) =>
      [1, 2].flatMap((b) => [1, 2].map((c) => `${a} ${b} ${c}`))
    );
    assert.deepEqual([...outcomes.keys()].sort(), mixtures);
  });

  it("may leave zeros, noise or less where a file grew", () => {
    const outcomes = outcomesOf(500, (seed) => {
      const disk = diskWithFile(seed, 512);
      writeAt(disk.fileSystem, path, filled(512, 2), 512);
      powerCut(disk);
      return sectorsOf(contentOf(disk, path));
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["1", "1 0", "1 2", "1 noise"]);
  });

  it("never harms what was synced in a sector that was written on", () => {
    const tails = outcomesOf(500, (seed) => {
      const disk = diskWithFile(seed, 100);
      writeAt(disk.fileSystem, path, filled(100, 2), 100);
      powerCut(disk);
      const bytes = contentOf(disk, path)!;
      assert.deepEqual(bytes.subarray(0, 100), filled(100, 1), `seed ${seed}`);
      return sectorsOf(bytes.subarray(100));
    });
    assert.deepEqual([...tails.keys()].sort(), ["", "0", "2", "noise"]);
  });

  it("may keep a later write and lose an earlier one, but not within a sector", () => {
    const outcomes = outcomesOf(500, (seed) => {
      const disk = diskWithFile(seed);
      writeAt(disk.fileSystem, path, filled(512, 2), 0);
      writeAt(disk.fileSystem, path, filled(512, 3), 1_024);
      writeAt(disk.fileSystem, path, filled(256, 4), 1_024);
      powerCut(disk);
      const bytes = contentOf(disk, path)!;
      return `${bytes[0]} ${bytes[1_024]} ${bytes[1_535]}`;
    });
    // The last write brings along what the one before it left in the same sector.
    assert.deepEqual([...outcomes.keys()].sort(), [
      "1 1 1",
      "1 3 3",
      "1 4 3",
      "2 1 1",
      "2 3 3",
      "2 4 3",
    ]);
  });

  it("keeps sizes and cuts in their order", () => {
    const sizes = outcomesOf(300, (seed) => {
      const disk = diskWithFile(seed);
      const file = disk.fileSystem.open(path, "write");
      disk.fileSystem.truncate(file, 10);
      disk.fileSystem.truncate(file, 1_000);
      disk.fileSystem.truncate(file, 20);
      powerCut(disk);
      const bytes = contentOf(disk, path)!;
      if (bytes.length === 1_000) assert.ok(bytes.subarray(10).every((byte) => byte === 0));
      assert.ok(bytes.subarray(0, 10).every((byte) => byte === 1));
      return String(bytes.length);
    });
    assert.deepEqual([...sizes.keys()].sort(), ["10", "1000", "1536", "20"]);
  });

  it("shows nothing of what was written behind a cut that was lost", () => {
    const outcomes = outcomesOf(500, (seed) => {
      const disk = diskWithFile(seed);
      const file = disk.fileSystem.open(path, "write");
      disk.fileSystem.truncate(file, 512);
      disk.fileSystem.write(file, filled(1_024, 2), 512);
      powerCut(disk);
      return sectorsOf(contentOf(disk, path)).replaceAll("noise", "0");
    });
    const wanted = ["1", "1 0 0", "1 0 2", "1 1 1", "1 2 0", "1 2 2"];
    assert.deepEqual([...outcomes.keys()].sort(), wanted);
  });

  it("that loses all leaves the bytes of the last sync, and one that keeps all every byte", () => {
    for (const unsynced of ["lost", "kept"] as const) {
      const disk = diskWithFile(0, 600);
      const file = disk.fileSystem.open(path, "write");
      disk.fileSystem.write(file, filled(600, 2), 300);
      disk.fileSystem.truncate(file, 700);
      assert.deepEqual(syncedContentOf(disk, path), filled(600, 1));
      assert.equal(filesOf(disk)[0]?.unsyncedCount, 2);
      powerCut(disk, { unsynced });
      const kept = Uint8Array.from([...filled(300, 1), ...filled(400, 2)]);
      assert.deepEqual(contentOf(disk, path), unsynced === "lost" ? filled(600, 1) : kept);
      assert.equal(filesOf(disk)[0]?.unsyncedCount, 0);
      assert.deepEqual(syncedContentOf(disk, path), contentOf(disk, path));
    }
  });

  it("decides once: what it left is on the disk", () => {
    for (let seed = 0; seed < 50; seed++) {
      const disk = diskWithFile(seed);
      writeAt(disk.fileSystem, path, filled(4_096, 2));
      powerCut(disk);
      const left = contentOf(disk, path);
      powerCut(disk);
      assert.deepEqual(contentOf(disk, path), left);
      powerCut(disk, { unsynced: "lost" });
      assert.deepEqual(contentOf(disk, path), left);
    }
  });

  it("keeps apart what is on the disk and what is written after it", () => {
    const disk = diskWithFile(0);
    writeAt(disk.fileSystem, path, filled(512, 2));
    powerCut(disk, { unsynced: "kept" });
    const kept = contentOf(disk, path);
    writeAt(disk.fileSystem, path, filled(512, 3), 512);
    assert.deepEqual(syncedContentOf(disk, path), kept);
    powerCut(disk, { unsynced: "lost" });
    assert.deepEqual(contentOf(disk, path), kept);
  });

  it("decides over what a killed process wrote, which until then is all there", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskWithFile(seed, 512);
      writeAt(disk.fileSystem, path, filled(512, 2));
      killProcess(disk);
      assert.equal(sectorsOf(contentOf(disk, path)), "2");
      powerCut(disk);
      return sectorsOf(contentOf(disk, path));
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["1", "2"]);
  });

  it("gives unsynced files older times, as the machine was off", () => {
    const disk = diskWithFile(0);
    writeAt(disk.fileSystem, "/other", filled(1, 1));
    disk.fileSystem.syncFolder("/");
    const now = disk.clock.now();
    powerCut(disk, { unsynced: "lost" });
    assert.equal(disk.fileSystem.stat(path)?.modifiedMs, now);
    assert.equal(disk.fileSystem.stat("/other")?.modifiedMs, now - 60_000);
    writeAt(disk.fileSystem, "/other", filled(1, 1));
    powerCut(disk, { offMs: 0 });
    assert.equal(disk.fileSystem.stat("/other")?.modifiedMs, now);
  });

  it("finds what the disk wrote back by itself when much was written and nothing synced", () => {
    const disk = diskWithFile(0, 1);
    for (let position = 0; position < 2_000; position++) {
      writeAt(disk.fileSystem, path, filled(1, 2), position);
    }
    powerCut(disk, { unsynced: "lost" });
    assert.deepEqual(contentOf(disk, path), filled(2_000 - 1_024, 2));
  });

  it("leaves the same for the same seed, and not for all seeds", () => {
    const run = (seed: number): string => {
      const disk = diskWithFile(seed);
      writeAt(disk.fileSystem, path, filled(20_000, 2));
      powerCut(disk);
      return String(contentOf(disk, path));
    };
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    const first = seeds.map(run);
    assert.deepEqual(seeds.map(run), first);
    assert.ok(new Set(first).size > 4);
  });
});

describe("a failed sync", () => {
  /** A disk on which a sync of what was written over has failed. */
  function diskAfterFailure(seed: number): SimulatedDisk {
    const disk = diskWithFile(seed, 512);
    writeAt(disk.fileSystem, path, filled(512, 2));
    setFaults(disk, { rule: ({ kind }) => kind === "sync" ? { code: "EIO" } : undefined });
    assert.throws(() => syncWhole(disk.fileSystem, path), { code: "EIO" });
    setFaults(disk);
    return disk;
  }

  it("drops what was to be synced, and later syncs succeed without writing it", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskAfterFailure(seed);
      syncWhole(disk.fileSystem, path);
      assert.equal(sectorsOf(contentOf(disk, path)), "2", "processes still see it");
      powerCut(disk, { unsynced: "kept" });
      return sectorsOf(contentOf(disk, path));
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["1", "2"]);
  });

  it("is made good by writing again", () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = diskAfterFailure(seed);
      writeAt(disk.fileSystem, path, filled(1, 3));
      syncWhole(disk.fileSystem, path);
      powerCut(disk);
      assert.equal(contentOf(disk, path)![0], 3);
      assert.equal(contentOf(disk, path)![511], 2, "all of a sector is written");
    }
  });

  it("may leave the size without the data, but no cut undone", () => {
    const outcomes = outcomesOf(200, (seed) => {
      const disk = diskWithFile(seed, 512);
      writeAt(disk.fileSystem, path, filled(512, 2), 512);
      setFaults(disk, { probabilities: { sync: 1 } });
      assert.throws(() => syncWhole(disk.fileSystem, path));
      setFaults(disk);
      powerCut(disk);
      return sectorsOf(contentOf(disk, path)).replaceAll("noise", "0");
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["1", "1 0", "1 2"]);
    for (let seed = 0; seed < 20; seed++) {
      const disk = diskWithFile(seed, 512);
      const file = disk.fileSystem.open(path, "write");
      disk.fileSystem.truncate(file, 100);
      setFaults(disk, { probabilities: { sync: 1 } });
      assert.throws(() => disk.fileSystem.syncDataNow(file));
      powerCut(disk, { unsynced: "lost" });
      assert.deepEqual(syncedContentOf(disk, path), filled(100, 1));
    }
  });
});
