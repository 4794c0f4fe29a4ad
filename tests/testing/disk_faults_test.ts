/** What goes wrong on a simulated disk: where it was asked for, as it was asked for, nowhere else. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { DiskFault, DiskFaults, DiskOperation } from "../../src/testing/mod.ts";
import {
  historyOf,
  killProcess,
  openHandlesOf,
  operationCountOf,
  powerCut,
  setFaults,
  simulatedDisk,
} from "../../src/testing/mod.ts";
import {
  contentOf,
  filled,
  namesIn,
  outcomesOf,
  writeAt,
} from "../support/simulated_disk_fixture.ts";

const path = "/file";

function codeOf(run: () => unknown): string {
  try {
    run();
    return "none";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "no code";
  }
}

/** One rule for one kind of operation. */
function onKind(kind: DiskOperation["kind"], fault: DiskFault): DiskFaults {
  return { rule: (operation) => operation.kind === kind ? fault : undefined };
}

describe("faults by rule", () => {
  it("see every operation with what it is about", () => {
    const seen: Partial<DiskOperation>[] = [];
    const disk = simulatedDisk({
      seed: 0,
      faults: { rule: (operation) => void seen.push(operation) },
    });
    const { fileSystem } = disk;
    fileSystem.makeFolder("/x");
    const file = fileSystem.open("/x/a", "create");
    fileSystem.write(file, filled(10, 1), 5);
    fileSystem.read(file, new Uint8Array(3), 6);
    fileSystem.truncate(file, 7);
    fileSystem.syncDataNow(file);
    fileSystem.close(file);
    fileSystem.close(fileSystem.open("/x/a", "read"));
    fileSystem.rename("/x/a", "/x/b");
    fileSystem.link("/x/b", "/x/c");
    fileSystem.syncFolder("/x");
    fileSystem.list("/x");
    fileSystem.remove("/x/b");
    const shown = seen.map(({ number, kind, path, targetPath, position, sizeBytes }) =>
      [number, kind, path, targetPath, position, sizeBytes].filter((part) => part !== undefined)
    );
    assert.deepEqual(shown, [
      [1, "makeFolder", "/x"],
      [2, "create", "/x/a"],
      [3, "write", "/x/a", 5, 10],
      [4, "read", "/x/a", 6, 3],
      [5, "truncate", "/x/a", 7],
      [6, "sync", "/x/a"],
      [7, "open", "/x/a"],
      [8, "rename", "/x/a", "/x/b"],
      [9, "link", "/x/b", "/x/c"],
      [10, "syncFolder", "/x"],
      [11, "list", "/x"],
      [12, "remove", "/x/b"],
    ]);
    assert.equal(operationCountOf(disk), 12);
  });

  it("fail an operation, which then has not happened", () => {
    const disk = simulatedDisk({ seed: 0 });
    const { fileSystem } = disk;
    writeAt(fileSystem, path, filled(10, 1));
    fileSystem.makeFolder("/x");
    const file = fileSystem.open(path, "write");
    const calls: [DiskOperation["kind"], () => unknown][] = [
      ["open", () => fileSystem.open(path, "read")],
      ["create", () => fileSystem.open("/new", "create")],
      ["create", () => fileSystem.createExclusive("/new")],
      ["read", () => fileSystem.read(file, new Uint8Array(1), 0)],
      ["truncate", () => fileSystem.truncate(file, 0)],
      ["sync", () => fileSystem.syncDataNow(file)],
      ["syncFolder", () => fileSystem.syncFolder("/")],
      ["rename", () => fileSystem.rename(path, "/new")],
      ["link", () => fileSystem.link(path, "/new")],
      ["remove", () => fileSystem.remove(path)],
      ["makeFolder", () => fileSystem.makeFolder("/new")],
      ["removeFolder", () => fileSystem.removeFolder("/x")],
      ["list", () => fileSystem.list("/")],
    ];
    for (const [kind, call] of calls) {
      setFaults(disk, onKind(kind, { code: "EXAMPLE" }));
      assert.equal(codeOf(call), "EXAMPLE", kind);
      assert.match(historyOf(disk).at(-1) ?? "", new RegExp(`${kind} .*: EXAMPLE$`));
      setFaults(disk);
      assert.deepEqual(namesIn(disk), ["file", "x"], kind);
      assert.deepEqual(contentOf(disk, path), filled(10, 1), kind);
      assert.equal(openHandlesOf(disk).length, 1, kind);
    }
    powerCut(disk, { unsynced: "lost" });
    assert.deepEqual(namesIn(disk), [], "no folder was synced");
  });

  it("let a part of a write reach the file, as said or by seed", () => {
    const disk = simulatedDisk({
      seed: 0,
      faults: onKind("write", { code: "EIO", writtenBytes: 3 }),
    });
    assert.equal(codeOf(() => writeAt(disk.fileSystem, path, filled(10, 1))), "EIO");
    assert.deepEqual(contentOf(disk, path), filled(3, 1));
    const lengths = outcomesOf(200, (seed) => {
      const other = simulatedDisk({ seed, faults: onKind("write", { code: "ENOSPC" }) });
      assert.equal(codeOf(() => writeAt(other.fileSystem, path, filled(4, 1))), "ENOSPC");
      return String(contentOf(other, path)?.length);
    });
    assert.deepEqual([...lengths.keys()].sort(), ["0", "1", "2", "3", "4"]);
  });

  it("flip bits of what is read, and leave the file as it is", async () => {
    const disk = simulatedDisk({ seed: 0 });
    writeAt(disk.fileSystem, path, filled(100, 0));
    const file = disk.fileSystem.open(path, "read");
    const target = new Uint8Array(200);
    const flipped = (): number =>
      target.reduce((sum, byte) => sum + byte.toString(2).replaceAll("0", "").length, 0);
    setFaults(disk, onKind("read", { flippedBits: 1 }));
    assert.equal(disk.fileSystem.read(file, target, 0), 100);
    assert.equal(flipped(), 1);
    assert.ok(target.subarray(100).every((byte) => byte === 0));
    assert.equal(await disk.fileSystem.readAsync(file, target, 0), 100);
    assert.equal(flipped(), 1);
    assert.equal(disk.fileSystem.read(file, target, 100), 0, "there is nothing to flip");
    setFaults(disk);
    disk.fileSystem.read(file, target, 0);
    assert.equal(flipped(), 0);
  });

  it("delay what is awaited, on the disk's clock", async () => {
    const disk = simulatedDisk({ seed: 0, faults: { rule: () => ({ delayMs: 50 }) } });
    const { clock, fileSystem } = disk;
    const file = fileSystem.open(path, "create");
    fileSystem.write(file, filled(1, 1), 0);
    const done: string[] = [];
    const sync = fileSystem.syncData(file).then(() => done.push(`sync ${clock.now()}`));
    const target = new Uint8Array(1);
    const read = fileSystem.readAsync(file, target, 0).then(() => done.push(`read ${clock.now()}`));
    const start = clock.now();
    await clock.advance(49);
    assert.deepEqual(done, []);
    assert.equal(target[0], 0);
    await clock.advance(1);
    await Promise.all([sync, read]);
    assert.deepEqual(done, [`sync ${start + 50}`, `read ${start + 50}`]);
    assert.equal(target[0], 1);
    assert.equal(clock.timerCount(), 0);
  });

  it("may crash the disk themselves", () => {
    const disk = simulatedDisk({
      seed: 0,
      faults: {
        rule: ({ kind }) => kind === "remove" ? killProcess(disk) as undefined : undefined,
      },
    });
    const { fileSystem } = disk;
    writeAt(fileSystem, path, filled(1, 1));
    assert.equal(codeOf(() => fileSystem.remove(path)), "EIO");
    assert.deepEqual(namesIn(disk), ["file"]);
  });
});

describe("slow syncs", () => {
  it("make durable what was written before them, when they are done", async () => {
    const disk = simulatedDisk({ seed: 0, faults: onKind("sync", { delayMs: 10 }) });
    const { clock, fileSystem } = disk;
    const file = fileSystem.open(path, "create");
    fileSystem.syncFolder("/");
    const sizeOf = (): number => contentAfterCut();
    const contentAfterCut = (): number => {
      powerCut(disk, { unsynced: "lost" });
      return contentOf(disk, path)?.length ?? -1;
    };
    fileSystem.write(file, filled(1, 1), 0);
    const done = fileSystem.syncData(file);
    fileSystem.write(file, filled(1, 1), 1);
    await clock.advance(10);
    await done;
    assert.equal(sizeOf(), 1);
    const again = disk.fileSystem.open(path, "write");
    disk.fileSystem.write(again, filled(1, 1), 1);
    const rejected = assert.rejects(disk.fileSystem.syncData(again), { code: "EIO" });
    assert.equal(sizeOf(), 1, "it was under way");
    await rejected;
    await clock.advance(10);
    assert.equal(clock.timerCount(), 0);
  });

  it("that are not delayed are done at the end of the turn", async () => {
    const disk = simulatedDisk({ seed: 0 });
    const file = disk.fileSystem.open(path, "create");
    disk.fileSystem.syncFolder("/");
    disk.fileSystem.write(file, filled(1, 1), 0);
    const rejected = assert.rejects(disk.fileSystem.syncData(file), { code: "EIO" });
    powerCut(disk, { unsynced: "lost" });
    assert.equal(contentOf(disk, path)?.length, 0);
    await rejected;
  });

  it("take up to what was said, and fail when they are done", async () => {
    const disk = simulatedDisk({
      seed: 0,
      faults: { syncMsMax: 20, probabilities: { sync: 0.5 } },
    });
    const { clock, fileSystem } = disk;
    const file = fileSystem.open(path, "create");
    const delays = new Set<number>();
    const outcomes = new Set<string>();
    for (let round = 0; round < 300; round++) {
      const start = clock.now();
      const done = fileSystem.syncData(file).then(() => "done", () => "failed")
        .then((outcome) => {
          outcomes.add(outcome);
          delays.add(clock.now() - start);
        });
      await clock.advance(20);
      await done;
    }
    assert.deepEqual([...delays].sort((a, b) => a - b), Array.from({ length: 21 }, (_, ms) => ms));
    assert.deepEqual([...outcomes].sort(), ["done", "failed"]);
    assert.equal(fileSystem.isSyncQuick(), false);
  });
});

describe("faults by probability", () => {
  it("come as often as asked for, with codes that suit", () => {
    const disk = simulatedDisk({ seed: 1, faults: { probabilities: { write: 0.2, open: 1 } } });
    const file = disk.fileSystem.createExclusive(path);
    const codes = new Map<string, number>();
    for (let round = 0; round < 2_000; round++) {
      const code = codeOf(() => disk.fileSystem.write(file, filled(10, 1), 0));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    assert.deepEqual([...codes.keys()].sort(), ["EDQUOT", "EIO", "ENOSPC", "none"]);
    const share = 1 - (codes.get("none") ?? 0) / 2_000;
    assert.ok(share > 0.16 && share < 0.24, `${share}`);
    assert.ok(["EMFILE", "EIO"].includes(codeOf(() => disk.fileSystem.open(path, "read"))));
  });

  it("flip one bit of a read", () => {
    const disk = simulatedDisk({ seed: 1, faults: { flipProbability: 1 } });
    writeAt(disk.fileSystem, path, filled(1, 0));
    const file = disk.fileSystem.open(path, "read");
    const target = filled(1, 0);
    disk.fileSystem.read(file, target, 0);
    assert.ok([1, 2, 4, 8, 16, 32, 64, 128].includes(target[0]!));
  });

  it("give way to the rule", () => {
    const rule = ({ path }: DiskOperation): DiskFault | undefined =>
      path === "/spared" ? {} : undefined;
    const disk = simulatedDisk({ seed: 1, faults: { probabilities: { create: 1 }, rule } });
    assert.equal(codeOf(() => disk.fileSystem.open("/spared", "create")), "none");
    assert.notEqual(codeOf(() => disk.fileSystem.open("/other", "create")), "none");
  });

  it("are refused where they are none", () => {
    const disk = simulatedDisk({ seed: 0 });
    const refused: [unknown, RegExp][] = [
      [
        { probabilities: { write: 1.1 } },
        /^RangeError: probabilities.write must be .* 0 to 1, got 1.1/,
      ],
      [{ probabilities: { write: NaN } }, /^RangeError: probabilities.write must be/],
      [{ probabilities: { write: "1" } }, /^TypeError: probabilities.write must be a number/],
      [
        { probabilities: { wriet: 1 } },
        /^RangeError: probabilities must be of open, .*got "wriet"/,
      ],
      [{ flipProbability: -1 }, /^RangeError: flipProbability must be/],
      [{ syncMsMax: 0.5 }, /^RangeError: syncMsMax must be/],
      [{ rule: {} }, /^TypeError: rule must be a function, got object/],
      [null, /^TypeError: faults must be an object, got null/],
    ];
    for (const [faults, message] of refused) {
      assert.throws(() => setFaults(disk, faults as DiskFaults), message);
      assert.throws(() => simulatedDisk({ seed: 0, faults: faults as DiskFaults }), message);
    }
  });
});

describe("a disk of limited capacity", () => {
  it("takes what fits, says how much does, and has room again when something goes", () => {
    const disk = simulatedDisk({ seed: 0, capacityBytes: 3 * 4_096 + 100 });
    const { fileSystem } = disk;
    assert.equal(fileSystem.freeBytes("/"), 3 * 4_096);
    writeAt(fileSystem, path, filled(5_000, 1));
    assert.equal(fileSystem.freeBytes("/"), 4_096);
    const other = fileSystem.open("/other", "create");
    assert.equal(codeOf(() => fileSystem.write(other, filled(5_000, 2), 100)), "ENOSPC");
    assert.deepEqual(
      contentOf(disk, "/other"),
      Uint8Array.from([...filled(100, 0), ...filled(3_996, 2)]),
    );
    assert.equal(fileSystem.freeBytes("/"), 0);
    fileSystem.write(other, filled(10, 3), 0);
    fileSystem.truncate(other, 10 * 1024 * 1024);
    assert.equal(fileSystem.freeBytes("/"), 0, "what is written over or only grows needs no room");
    assert.equal(codeOf(() => fileSystem.write(other, filled(1, 3), 5_000_000)), "ENOSPC");
    fileSystem.remove(path);
    assert.equal(fileSystem.freeBytes("/"), 2 * 4_096);
    fileSystem.remove("/other");
    assert.equal(fileSystem.freeBytes("/"), 2 * 4_096, "it is still open");
    fileSystem.close(other);
    assert.equal(fileSystem.freeBytes("/"), 3 * 4_096);
  });

  it("gives back what was cut or replaced, and counts names once", () => {
    const disk = simulatedDisk({ seed: 0, capacityBytes: 10 * 4_096 });
    const { fileSystem } = disk;
    const used = (): number => 10 - fileSystem.freeBytes("/") / 4_096;
    writeAt(fileSystem, path, filled(4 * 4_096, 1));
    const file = fileSystem.open(path, "write");
    fileSystem.truncate(file, 4_097);
    fileSystem.close(file);
    assert.equal(used(), 2);
    fileSystem.link(path, "/second");
    assert.equal(used(), 2);
    writeAt(fileSystem, "/new", filled(1, 1));
    fileSystem.rename("/new", path);
    assert.equal(used(), 3);
    fileSystem.rename(path, "/second");
    assert.equal(used(), 1);
    powerCut(disk, { unsynced: "kept" });
    assert.equal(disk.fileSystem.freeBytes("/"), 9 * 4_096);
    powerCut(disk, { unsynced: "lost" });
    assert.equal(disk.fileSystem.freeBytes("/"), 9 * 4_096);
  });

  it("counts after a power cut what is left", () => {
    const disk = simulatedDisk({ seed: 0, capacityBytes: 10 * 4_096 });
    writeAt(disk.fileSystem, path, filled(4_096, 1));
    disk.fileSystem.createExclusive("/open");
    powerCut(disk, { unsynced: "lost" });
    assert.equal(disk.fileSystem.freeBytes("/"), 10 * 4_096);
    assert.deepEqual(namesIn(disk), []);
  });

  it("is refused if it is no capacity", () => {
    assert.throws(
      () => simulatedDisk({ seed: 0, capacityBytes: -1 }),
      /^RangeError: capacityBytes/,
    );
    assert.throws(() => simulatedDisk({ seed: -1 }), /^RangeError: seed/);
    assert.throws(() => simulatedDisk(undefined as never), /^TypeError: options/);
    assert.throws(() => powerCut({} as never), /^TypeError: disk must be what simulatedDisk/);
    assert.throws(
      () => powerCut(simulatedDisk({ seed: 0 }), { unsynced: "some" as never }),
      TypeError,
    );
  });
});
