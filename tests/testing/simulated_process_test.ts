/** Processes on a simulated disk: what dies with them, and who may open a store after them. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  append,
  closeStore,
  createTopic,
  isOttlaError,
  listTopics,
  offsetsOf,
  openConsumer,
  openStore,
} from "../../mod.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import type { SimulatedDisk } from "../../src/testing/mod.ts";
import {
  filesOf,
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
  withRunningClock,
  writeAt,
} from "../support/simulated_disk_fixture.ts";

const crashes = [["powerCut", powerCut], ["killProcess", killProcess]] as const;

describe("a dead process", () => {
  for (const [name, crash] of crashes) {
    it(`reaches the disk with no call (${name})`, async () => {
      const disk = simulatedDisk({ seed: 0 });
      const { fileSystem } = disk;
      fileSystem.makeFolder("/x");
      fileSystem.syncFolder("/");
      const file = fileSystem.open("/x/a", "create");
      fileSystem.write(file, filled(1, 1), 0);
      fileSystem.syncDataNow(file);
      fileSystem.syncFolder("/x");
      crash(disk);
      const before = [filesOf(disk), operationCountOf(disk)];
      for (const call of callsOf(fileSystem, file)) assert.throws(call, { code: "EIO" }, `${call}`);
      await assert.rejects(fileSystem.syncData(file), { code: "EIO" });
      await assert.rejects(fileSystem.readAsync(file, filled(1, 0), 0), { code: "EIO" });
      assert.deepEqual([filesOf(disk), operationCountOf(disk)], before);
      assert.throws(() => disk.fileSystem.sizeOf(file), { code: "EBADF" });
      assert.deepEqual(contentOf(disk, "/x/a"), filled(1, 1));
    });

    it(`has no timers any more, and others keep theirs (${name})`, async () => {
      const disk = simulatedDisk({ seed: 0 });
      const calls: string[] = [];
      const { clock } = disk.process;
      clock.startTimer(() => calls.push("dead"), 10);
      disk.clock.startTimer(() => calls.push("test"), 10);
      crash(disk);
      clock.startTimer(() => calls.push("late"), 10);
      disk.process.clock.startTimer(() => calls.push("next"), 10);
      await disk.clock.advance(10);
      assert.deepEqual(calls, ["test", "next"]);
      assert.equal(disk.clock.timerCount(), 0);
    });

    it(`leaves its store to the next one at once (${name})`, async () => {
      for (let seed = 0; seed < 20; seed++) {
        const disk = simulatedDisk({ seed });
        const store = await openStore("/data", disk.process);
        await createTopic(store, "orders");
        await append(store, "orders", { value: "one" });
        crash(disk);
        await assert.rejects(append(store, "orders", { value: "two" }));
        await assert.rejects(closeStore(store));
        const again = await openStore("/data", { ...disk.process, create: false });
        assert.equal(offsetsOf(again, "orders")[0]?.endOffset, 1);
        await closeStore(again);
        assert.deepEqual(openHandlesOf(disk), []);
        assert.equal(disk.clock.timerCount(), 0);
      }
    });
  }

  it("in whose place another one runs does not disturb it", async () => {
    const disk = simulatedDisk({ seed: 0 });
    const store = await openStore("/data", disk.process);
    await createTopic(store, "orders");
    const consumer = await openConsumer(store, { groupId: "billing", topics: "orders" });
    assert.ok(consumer);
    killProcess(disk);
    const again = await openStore("/data", disk.process);
    await disk.clock.advance("10m");
    await append(again, "orders", { value: "one" });
    assert.equal(offsetsOf(again, "orders")[0]?.endOffset, 1);
    await closeStore(again);
  });
});

describe("a living process", () => {
  it("keeps its store from others of the machine", async () => {
    const disk = simulatedDisk({ seed: 0 });
    const store = await openStore("/data", disk.process);
    await assert.rejects(
      openStore("/data", disk.process),
      (error) => isOttlaError(error, "STORE_LOCKED"),
    );
    await closeStore(store);
  });

  it("takes random bytes by seed, other ones than the process before", () => {
    const disk = simulatedDisk({ seed: 5 });
    const first = disk.process.randomBytes(16);
    killProcess(disk);
    const second = disk.process.randomBytes(16);
    assert.notDeepEqual(first, second);
    const again = simulatedDisk({ seed: 5 });
    assert.deepEqual(again.process.randomBytes(16), first);
    assert.notDeepEqual(simulatedDisk({ seed: 6 }).process.randomBytes(16), first);
  });

  it("is told by some seeds that syncs are quick", () => {
    const quick = Array.from(
      { length: 50 },
      (_, seed) => simulatedDisk({ seed }).fileSystem.isSyncQuick(),
    );
    assert.deepEqual([...new Set(quick)].sort(), [false, true]);
  });
});

describe("a crash in the middle of an operation", () => {
  it("by power cut leaves it to the disk whether it was done", () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = diskCrashingAt(seed, "remove", "powerCut");
      assert.throws(() => disk.fileSystem.remove("/a"), { code: "EIO" });
      setFaults(disk);
      seen.add(namesIn(disk).join());
    }
    assert.deepEqual([...seen].sort(), ["", "a"]);
  });

  it("kills before it was done or after, and writes in part", () => {
    const names = new Set<string>();
    const sizes = new Set<number | undefined>();
    for (let seed = 0; seed < 100; seed++) {
      const removing = diskCrashingAt(seed, "remove", "killProcess");
      assert.throws(() => removing.fileSystem.remove("/a"), { code: "EIO" });
      names.add(namesIn(removing).join());
      const writing = diskCrashingAt(seed, "write", "killProcess");
      assert.throws(() => writeAt(writing.fileSystem, "/a", filled(3, 2)), { code: "EIO" });
      sizes.add(contentOf(writing, "/a")?.indexOf(1));
    }
    assert.deepEqual([...names].sort(), ["", "a"]);
    assert.deepEqual([...sizes].sort(), [0, 1, 2, 3]);
  });

  it("syncs nothing", async () => {
    for (const crash of ["powerCut", "killProcess"] as const) {
      const disk = diskCrashingAt(0, "sync", crash);
      const file = disk.fileSystem.open("/a", "write");
      disk.fileSystem.write(file, filled(4, 2), 0);
      await assert.rejects(disk.fileSystem.syncData(file), { code: "EIO" });
      if (crash === "killProcess") {
        assert.equal(filesOf(disk)[0]?.unsyncedCount, 1);
        powerCut(disk, { unsynced: "lost" });
        assert.deepEqual(contentOf(disk, "/a"), filled(4, 1));
      }
    }
  });

  /** A disk with one file, of four ones. */
  function diskCrashingAt(
    seed: number,
    kind: "remove" | "write" | "sync",
    crash: "powerCut" | "killProcess",
  ): SimulatedDisk {
    const disk = simulatedDisk({ seed });
    const file = disk.fileSystem.open("/a", "create");
    disk.fileSystem.write(file, filled(4, 1), 0);
    disk.fileSystem.syncDataNow(file);
    disk.fileSystem.close(file);
    disk.fileSystem.syncFolder("/");
    setFaults(disk, { rule: (operation) => operation.kind === kind ? { crash } : undefined });
    return disk;
  }
});

describe("the view from outside", () => {
  it("shows the last events, oldest first", () => {
    const disk = simulatedDisk({ seed: 0 });
    for (let number = 1; number <= 200; number++) disk.fileSystem.makeFolder(`/${number}`);
    const history = historyOf(disk);
    assert.equal(history.length, 128);
    assert.equal(history[0], "73 makeFolder /73");
    assert.equal(history[127], "200 makeFolder /200");
    assert.throws(() => disk.fileSystem.remove("/none"));
    assert.equal(historyOf(disk).at(-1), "201 remove /none: ENOENT");
    killProcess(disk);
    assert.equal(historyOf(disk).at(-1), "process killed");
    disk.fileSystem.rename("/1", "/0");
    assert.equal(historyOf(disk).at(-1), "202 rename /1 to /0");
    writeAt(disk.fileSystem, "/a", filled(3, 1), 7);
    assert.equal(historyOf(disk).at(-1), "204 write /a 3 bytes at 7");
  });

  it("shows what is open and what is there, and counts none of its looking", () => {
    const disk = simulatedDisk({ seed: 0 });
    assert.deepEqual(openHandlesOf(disk), []);
    assert.deepEqual(historyOf(disk), []);
    disk.fileSystem.makeFolder("/x");
    const handle = disk.fileSystem.open("/x/a", "create");
    disk.fileSystem.write(handle, filled(2, 1), 0);
    disk.fileSystem.remove("/x/a");
    assert.deepEqual(openHandlesOf(disk), [{ handle, path: "/x/a" }]);
    assert.deepEqual(filesOf(disk), [
      { path: "/x", isFolder: true, sizeBytes: 0, unsyncedCount: 0 },
    ]);
    assert.equal(operationCountOf(disk), 4);
  });
});

describe("the same seed", () => {
  it("gives the same run of a store, to the last byte", async () => {
    // What is loaded when a store is first opened takes turns that no seed decides over.
    await closeStore(await openStore(":memory:"));
    const first = await runOf(11);
    assert.deepEqual(await runOf(11), first);
    assert.notDeepEqual(await runOf(12), first);
  });

  async function runOf(seed: number): Promise<unknown> {
    const disk = simulatedDisk({ seed, faults: { syncMsMax: 5 } });
    const parts: unknown[] = [];
    await withRunningClock(disk, liveThrice(disk, parts));
    return parts;
  }

  async function liveThrice(disk: SimulatedDisk, parts: unknown[]): Promise<void> {
    for (let life = 0; life < 3; life++) {
      const store = await openStore("/data", { ...disk.process, ack: "os" });
      parts.push(
        await createTopic(store, "orders", { ifNotExists: true }),
        await listTopics(store),
      );
      for (let number = 0; number < 10; number++) {
        await append(store, "orders", { value: `${life} ${number}` });
      }
      powerCut(disk);
      parts.push(
        historyOf(disk),
        filesOf(disk).map(({ path }) => [path, contentOrFolder(disk, path)]),
      );
    }
  }

  function contentOrFolder(disk: SimulatedDisk, path: string): Uint8Array | undefined {
    return disk.fileSystem.stat(path)?.isFolder === true ? undefined : contentOf(disk, path);
  }
});

/** Every call there is that does not return a promise. */
function callsOf(fs: FileSystem, file: number): (() => unknown)[] {
  return [
    () => fs.open("/x/a", "read"),
    () => fs.open("/x/a", "write"),
    () => fs.open("/x/b", "create"),
    () => fs.createExclusive("/x/b"),
    () => fs.read(file, filled(1, 0), 0),
    () => fs.write(file, filled(1, 2), 0),
    () => fs.sizeOf(file),
    () => fs.truncate(file, 0),
    () => fs.syncDataNow(file),
    () => fs.close(file),
    () => fs.rename("/x/a", "/x/b"),
    () => fs.link("/x/a", "/x/b"),
    () => fs.remove("/x/a"),
    () => fs.makeFolder("/y"),
    () => fs.removeFolder("/x"),
    () => fs.list("/x"),
    () => fs.stat("/x/a"),
    () => fs.syncFolder("/x"),
    () => fs.freeBytes("/x"),
  ];
}
