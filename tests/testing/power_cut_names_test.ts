/** What a power cut makes of names: each thing that may happen happens, no other does. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { SimulatedDisk } from "../../src/testing/mod.ts";
import { filesOf, killProcess, powerCut, simulatedDisk } from "../../src/testing/mod.ts";
import {
  contentOf,
  namesIn,
  outcomesOf,
  syncWhole,
  textsIn,
  writeAt,
} from "../support/simulated_disk_fixture.ts";

const encoder = new TextEncoder();

/** A disk with files of these texts, all of it synced. */
function diskWith(seed: number, texts: Readonly<Record<string, string>> = {}): SimulatedDisk {
  const disk = simulatedDisk({ seed });
  for (const [path, text] of Object.entries(texts)) writeSynced(disk, path, text);
  return disk;
}

/** The name is not synced, but for those of `diskWith`. */
function writeSynced(disk: SimulatedDisk, path: string, text: string): void {
  const { fileSystem } = disk;
  const file = fileSystem.open(path, "create");
  fileSystem.write(file, encoder.encode(text), 0);
  fileSystem.syncDataNow(file);
  fileSystem.close(file);
}

function cutAndShow(disk: SimulatedDisk): string {
  powerCut(disk);
  return Object.entries(textsIn(disk)).sort().map(([path, text]) => `${path}=${text}`).join(" ");
}

describe("a power cut", () => {
  it("keeps or loses a new name, whatever of its file was synced", () => {
    const outcomes = outcomesOf(50, (seed) => {
      const disk = diskWith(seed, { "/a": "1" });
      return cutAndShow(disk);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["", "/a=1"]);
  });

  it("loses no name whose folder was synced", () => {
    for (let seed = 0; seed < 50; seed++) {
      const disk = diskWith(seed, { "/a": "1" });
      disk.fileSystem.syncFolder("/");
      assert.equal(cutAndShow(disk), "/a=1");
    }
  });

  it("may keep a name and lose the bytes behind it", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = simulatedDisk({ seed });
      writeAt(disk.fileSystem, "/a", encoder.encode("1"));
      disk.fileSystem.syncFolder("/");
      powerCut(disk);
      return String(contentOf(disk, "/a")?.length);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["0", "1"]);
  });

  it("has renamed a file or has not, in place of another one or not", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskWith(seed, { "/new": "2", "/old": "1" });
      disk.fileSystem.syncFolder("/");
      disk.fileSystem.rename("/new", "/old");
      return cutAndShow(disk);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["/new=2 /old=1", "/old=2"]);
  });

  it("loses with a name what was made of it, and never what it took the place of", () => {
    const outcomes = outcomesOf(200, (seed) => {
      const disk = diskWith(seed, { "/file": "1" });
      disk.fileSystem.syncFolder("/");
      writeSynced(disk, "/tmp", "2");
      disk.fileSystem.rename("/tmp", "/file");
      writeSynced(disk, "/tmp", "3");
      return cutAndShow(disk);
    });
    const wanted = ["/file=1", "/file=1 /tmp=2", "/file=2", "/file=2 /tmp=3"];
    assert.deepEqual([...outcomes.keys()].sort(), wanted);
  });

  it("may keep a later name and lose an earlier one", () => {
    const outcomes = outcomesOf(200, (seed) => {
      const disk = diskWith(seed);
      disk.fileSystem.makeFolder("/x");
      disk.fileSystem.makeFolder("/y");
      disk.fileSystem.syncFolder("/");
      writeSynced(disk, "/x/a", "1");
      writeSynced(disk, "/x/b", "2");
      writeSynced(disk, "/y/c", "3");
      return cutAndShow(disk).replace("/x/= ", "").replace("/y/= ", "").replace("/y/=", "");
    });
    const subsets = ["", "/x/a=1", "/x/b=2", "/y/c=3", "/x/a=1 /x/b=2", "/x/a=1 /y/c=3"];
    const all = [...subsets, "/x/b=2 /y/c=3", "/x/a=1 /x/b=2 /y/c=3"];
    assert.deepEqual([...outcomes.keys()].map((text) => text.trim()).sort(), all.sort());
  });

  it("syncs with one folder what its names build on, and nothing else", () => {
    const outcomes = outcomesOf(200, (seed) => {
      const disk = diskWith(seed);
      disk.fileSystem.makeFolder("/x");
      disk.fileSystem.makeFolder("/y");
      disk.fileSystem.syncFolder("/");
      writeSynced(disk, "/x/a", "1");
      writeSynced(disk, "/x/b", "2");
      disk.fileSystem.rename("/x/a", "/y/a");
      disk.fileSystem.syncFolder("/y");
      return cutAndShow(disk);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["/x/= /x/b=2 /y/= /y/a=1", "/x/= /y/= /y/a=1"]);
  });

  it("loses with a folder all that is in it, synced or not", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskWith(seed);
      disk.fileSystem.makeFolder("/x/y");
      writeSynced(disk, "/x/y/a", "1");
      disk.fileSystem.syncFolder("/x/y");
      return cutAndShow(disk);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["", "/x/=", "/x/= /x/y/= /x/y/a=1"]);
  });

  it("brings back what was removed and not synced, with its bytes", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskWith(seed);
      disk.fileSystem.makeFolder("/x");
      disk.fileSystem.syncFolder("/");
      writeSynced(disk, "/x/a", "1");
      disk.fileSystem.syncFolder("/x");
      disk.fileSystem.remove("/x/a");
      disk.fileSystem.removeFolder("/x");
      return cutAndShow(disk);
    });
    assert.deepEqual([...outcomes.keys()].sort(), ["", "/x/=", "/x/= /x/a=1"]);
  });

  it("moves a folder with all that is in it", () => {
    const outcomes = outcomesOf(100, (seed) => {
      const disk = diskWith(seed);
      disk.fileSystem.makeFolder("/x");
      writeSynced(disk, "/x/a", "1");
      disk.fileSystem.syncFolder("/x");
      disk.fileSystem.syncFolder("/");
      disk.fileSystem.rename("/x", "/y");
      disk.fileSystem.makeFolder("/x");
      return cutAndShow(disk);
    });
    const wanted = ["/x/= /x/a=1", "/x/= /y/= /y/a=1", "/y/= /y/a=1"];
    assert.deepEqual([...outcomes.keys()].sort(), wanted);
  });

  it("leaves one file behind two names", () => {
    const disk = diskWith(0, { "/a": "1" });
    disk.fileSystem.link("/a", "/b");
    disk.fileSystem.syncFolder("/");
    powerCut(disk);
    writeAt(disk.fileSystem, "/a", encoder.encode("2"));
    assert.deepEqual(textsIn(disk), { "/a": "2", "/b": "2" });
    disk.fileSystem.remove("/a");
    assert.deepEqual(textsIn(disk), { "/b": "2" });
  });

  it("that loses all leaves the names of the last sync, and one that keeps all every name", () => {
    const disk = diskWith(0, { "/a": "1" });
    disk.fileSystem.syncFolder("/");
    disk.fileSystem.rename("/a", "/b");
    assert.deepEqual(filesOf(disk, "synced").map((file) => file.path), ["/a"]);
    assert.deepEqual(filesOf(disk).map((file) => file.path), ["/b"]);
    powerCut(disk, { unsynced: "lost" });
    assert.deepEqual(namesIn(disk), ["a"]);
    disk.fileSystem.rename("/a", "/b");
    powerCut(disk, { unsynced: "kept" });
    assert.deepEqual(namesIn(disk), ["b"]);
    assert.deepEqual(filesOf(disk, "synced").map((file) => file.path), ["/b"]);
  });

  it("finds what the journal wrote by itself when much was done and nothing synced", () => {
    const disk = diskWith(0);
    for (let number = 0; number < 5_000; number++) disk.fileSystem.makeFolder(`/${number}`);
    powerCut(disk, { unsynced: "lost" });
    assert.equal(namesIn(disk).length, 5_000 - 4_096);
    assert.ok(namesIn(disk).includes("0"));
  });
});

describe("a rename", () => {
  it("leaves two names of one file as they are", () => {
    const disk = diskWith(0, { "/a": "1" });
    disk.fileSystem.link("/a", "/b");
    disk.fileSystem.rename("/a", "/b");
    assert.deepEqual(namesIn(disk), ["a", "b"]);
  });

  it("puts no folder into itself", () => {
    const disk = diskWith(0);
    disk.fileSystem.makeFolder("/x/y");
    disk.fileSystem.makeFolder("/xy");
    assert.throws(() => disk.fileSystem.rename("/x", "/x/y/z"), { code: "EINVAL" });
    assert.throws(() => disk.fileSystem.rename("/x", "/x/z"), { code: "EINVAL" });
    disk.fileSystem.rename("/x", "/xy/z");
    assert.deepEqual(textsIn(disk), { "/xy/": "", "/xy/z/": "", "/xy/z/y/": "" });
  });
});

describe("a killed process", () => {
  it("leaves every name and every byte, and the room of what nobody can reach", () => {
    const disk = simulatedDisk({ seed: 0, capacityBytes: 8_192 });
    writeSynced(disk, "/a", "1");
    const { fileSystem } = disk;
    const removed = fileSystem.createExclusive("/b");
    fileSystem.write(removed, encoder.encode("2"), 0);
    fileSystem.remove("/b");
    assert.equal(fileSystem.freeBytes("/"), 0);
    killProcess(disk);
    assert.deepEqual(textsIn(disk), { "/a": "1" });
    assert.equal(disk.fileSystem.freeBytes("/"), 4_096);
    syncWhole(disk.fileSystem, "/a");
  });
});
