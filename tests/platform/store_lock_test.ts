/** The lock of a store within one process: who is refused, who is dead, what else may be there. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { isOttlaError } from "../../src/errors.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { ProcessIdentity, ProcessTable } from "../../src/platform/process_identity.ts";
import type { StoreLock } from "../../src/platform/store_lock.ts";
import {
  acquireStoreLock,
  heartbeatMs,
  releaseStoreLock,
  silenceMsMax,
  unfinishedMsMax,
} from "../../src/platform/store_lock.ts";

const own: ProcessIdentity = {
  pid: 4711,
  startTime: "100",
  bootId: "boot-a",
  pidNamespace: "pid:[1]",
  machineId: "machine-a",
  host: "host-a",
  beganMs: Date.UTC(2026, 0, 1),
};
const elsewhere: ProcessIdentity = { ...own, pid: 1, pidNamespace: "pid:[2]", host: "host-b" };

/** A file system, and a way to make a file of it look older. */
interface Place {
  readonly fs: FileSystem;
  readonly folder: string;
  age(name: string, ms: number): void;
  readonly [Symbol.dispose]: () => void;
}

const places: Readonly<Record<string, () => Place>> = {
  memory() {
    let nowMs = Date.UTC(2026, 0, 2);
    const fs = memoryFileSystem(() => nowMs);
    fs.makeFolder("/store");
    const age = (_name: string, ms: number): void => void (nowMs += ms);
    return { fs, folder: "/store", age, [Symbol.dispose]: () => {} };
  },
  disk() {
    const folder = mkdtempSync(join(tmpdir(), "ottla-lock-"));
    const fs = diskFileSystem();
    const age = (name: string, ms: number): void => {
      const path = join(folder, name);
      const seconds = (fs.stat(path)!.modifiedMs - ms) / 1000;
      utimesSync(path, seconds, seconds);
    };
    return { fs, folder, age, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
  },
};

/** A clock whose only timer goes off when told to. */
interface FakeClock extends Clock {
  callback: (() => void) | undefined;
  delayMs: number;
}

function fakeClock(): FakeClock {
  const clock: FakeClock = {
    callback: undefined,
    delayMs: 0,
    now: () => 0,
    startTimer(callback, delayMs) {
      clock.callback = callback;
      clock.delayMs = delayMs;
      return callback;
    },
    stopTimer(timer) {
      if (timer === clock.callback) clock.callback = undefined;
    },
  };
  return clock;
}

/** Takes the lock as a process that sees those whose start times are given. */
function acquireAs(
  { fs, folder }: Pick<Place, "fs" | "folder">,
  identity: ProcessIdentity,
  startTimes: Readonly<Record<number, string | undefined>> = { 4711: "100" },
  clock: Clock = fakeClock(),
): StoreLock {
  const find: ProcessTable["find"] = (pid) =>
    pid in startTimes ? { startTime: startTimes[pid] } : undefined;
  return acquireStoreLock(fs, folder, { processes: { own: identity, find }, clock });
}

function writeFile({ fs, folder }: Place, name: string, text: string): void {
  const file = fs.open(`${folder}/${name}`, "create");
  fs.write(file, new TextEncoder().encode(text), 0);
  fs.close(file);
}

function namesIn({ fs, folder }: Place): string[] {
  return fs.list(folder).map(({ name }) => name).sort();
}

function assertLocked(act: () => unknown, message: RegExp): void {
  assert.throws(act, (error) => {
    assert.ok(isOttlaError(error, "STORE_LOCKED"), String(error));
    assert.match(error.message, message);
    return true;
  });
}

for (const [kind, newPlace] of Object.entries(places)) {
  describe(`store lock, ${kind}`, () => {
    it("a second one is refused and told who has it", () => {
      using place = newPlace();
      acquireAs(place, own);
      assert.throws(() => acquireAs(place, { ...own, pid: 5 }), {
        code: "STORE_LOCKED",
        message: `Cannot open ${place.folder}: process 4711 on host-a, which began ` +
          "2026-01-01T00:00:00.000Z, has it open",
        details: { folder: place.folder, pid: 4711, host: "host-a", beganMs: own.beganMs },
      });
      assert.deepEqual(namesIn(place), ["ottla.lock.1"]);
    });

    it("the same process is refused too", () => {
      using place = newPlace();
      const lock = acquireStoreLock(place.fs, place.folder);
      assertLocked(() => acquireStoreLock(place.fs, place.folder), new RegExp(`${process.pid}`));
      releaseStoreLock(lock);
      releaseStoreLock(acquireStoreLock(place.fs, place.folder));
    });

    it("what was let go is free, and letting go again changes nothing", () => {
      using place = newPlace();
      const first = acquireAs(place, own);
      assert.equal(first.isHeld, true);
      releaseStoreLock(first);
      assert.equal(first.isHeld, false);
      const second = acquireAs(place, own);
      releaseStoreLock(first);
      assert.equal(second.isHeld, true);
      assertLocked(() => acquireAs(place, own), /process 4711/);
      assert.deepEqual(namesIn(place), ["ottla.lock.2"]);
    });

    it("a process that is gone, or whose id another has, is dead", () => {
      using place = newPlace();
      acquireAs(place, own);
      acquireAs(place, { ...own, pid: 5 }, {});
      acquireAs(place, { ...own, pid: 6, startTime: "300" }, { 5: "200" });
      assertLocked(() => acquireAs(place, own, { 6: "300" }), /process 6/);
    });

    it("a reboot ends every process of this machine, and of no other", () => {
      using place = newPlace();
      const rebooted = { ...own, bootId: "boot-b" };
      acquireAs(place, own);
      acquireAs(place, rebooted);
      assertLocked(() => acquireAs(place, { ...own, host: "host-c" }), /cannot be asked/);
      assertLocked(() => acquireAs(place, { ...own, machineId: "machine-c" }), /cannot be asked/);
      assertLocked(() => acquireAs(place, { ...own, bootId: undefined }), /cannot be asked/);
    });

    it("who cannot be asked is dead after a long silence", () => {
      using place = newPlace();
      acquireAs(place, elsewhere);
      assertLocked(
        () => acquireAs(place, own),
        /process 1 on host-b.+cannot be asked from here, was heard \d+ s ago .+ gone after 60 s/,
      );
      place.age("ottla.lock.1", silenceMsMax - 25_000);
      assertLocked(() => acquireAs(place, own), /was heard [3-5]\d s ago/);
      place.age("ottla.lock.1", 30_000);
      acquireAs(place, own);
      assert.deepEqual(namesIn(place), ["ottla.lock.2"]);
    });

    it("a silence from before the clock was set back counts as well", () => {
      using place = newPlace();
      acquireAs(place, elsewhere);
      place.age("ottla.lock.1", -silenceMsMax - 5_000);
      acquireAs(place, own);
    });

    it("where no start time is known, a silence tells a used id from its former process", () => {
      using place = newPlace();
      const windows = {
        ...own,
        startTime: undefined,
        bootId: undefined,
        pidNamespace: undefined,
        machineId: undefined,
      };
      acquireAs(place, windows);
      assertLocked(() => acquireAs(place, windows, { 4711: undefined }), /cannot be asked/);
      place.age("ottla.lock.1", silenceMsMax + 5_000);
      acquireAs(place, windows, { 4711: undefined });
      acquireAs(place, windows, {});
      assert.deepEqual(namesIn(place), ["ottla.lock.3"]);
    });

    it("a holder is heard as long as it lives", () => {
      using place = newPlace();
      const clock = fakeClock();
      const lock = acquireAs(place, elsewhere, {}, clock);
      const { sizeBytes } = place.fs.stat(lock.path)!;
      for (let beat = 0; beat < 3; beat++) {
        place.age("ottla.lock.1", silenceMsMax + 5_000);
        assert.equal(clock.delayMs, heartbeatMs);
        clock.callback!();
        assertLocked(() => acquireAs(place, own), /was heard \d s ago/);
      }
      assert.equal(place.fs.stat(lock.path)!.sizeBytes, sizeBytes);
      releaseStoreLock(lock);
      assert.equal(clock.callback, undefined);
    });

    it("a holder that was silent for too long notices that it has lost its lock", () => {
      using place = newPlace();
      const clock = fakeClock();
      const lost = acquireAs(place, elsewhere, {}, clock);
      place.age("ottla.lock.1", silenceMsMax + 5_000);
      const lock = acquireAs(place, own);
      const beat = clock.callback!;
      clock.callback = undefined;
      beat();
      assert.equal(lost.isHeld, false);
      assert.equal(clock.callback, undefined);
      releaseStoreLock(lost);
      assert.equal(lock.isHeld, true);
      assert.deepEqual(namesIn(place), ["ottla.lock.2"]);
    });

    it("a holder that reads its lock wrong once still has it", () => {
      using place = newPlace();
      const clock = fakeClock();
      let wrongReads = 0;
      const fs: FileSystem = {
        ...place.fs,
        read(file, target, position) {
          const read = place.fs.read(file, target, position);
          if (wrongReads-- > 0) target[target.length >> 1]! ^= 4;
          return read;
        },
      };
      const lock = acquireAs({ ...place, fs }, elsewhere, {}, clock);
      for (const expected of [true, false]) {
        wrongReads = expected ? 1 : 2;
        clock.callback!();
        assert.equal(lock.isHeld, expected);
      }
    });

    it("a lock that was not written to its end counts for a moment", () => {
      using place = newPlace();
      let generation = 0;
      for (const text of ["", '{"vers', '{"version":1,"state":"held","to', "\0\0\0\0\0\0"]) {
        generation++;
        writeFile(place, `ottla.lock.${generation}`, text);
        assertLocked(() => acquireAs(place, own), /somebody is about to take its lock/);
        place.age(`ottla.lock.${generation}`, unfinishedMsMax + 2_000);
        generation++;
        releaseStoreLock(acquireAs(place, own));
        assert.deepEqual(namesIn(place), [`ottla.lock.${generation}`]);
      }
    });

    it("what is no lock is refused and left as it is", () => {
      using place = newPlace();
      const texts = [
        "notes about locks",
        "{}",
        "[]",
        '{"version":2}',
        '{"version":1,"state":"gone","token":""}',
        '{"version":1,"state":"held","token":"a","pid":0,"host":"a","beganMs":1}',
        '{"version":1,"state":"held","token":"a","pid":1.5,"host":"a","beganMs":1}',
        '{"version":1,"state":"held","token":"a","pid":1,"host":"a","beganMs":1e300}',
        '{"version":1,"state":"held","token":"a","pid":1,"host":7,"beganMs":1}',
        `{"version":1,"state":"free","token":"${"a".repeat(5000)}"}`,
      ];
      for (const [index, text] of texts.entries()) {
        const name = `ottla.lock.${index + 1}`;
        writeFile(place, name, text);
        place.age(name, 3_600_000);
        assert.throws(() => acquireAs(place, own), (error) => {
          assert.ok(isOttlaError(error, "STORE_INVALID"), text);
          assert.ok(error.message.includes(`${place.folder}/${name}`), error.message);
          return true;
        });
        const bytes = readFile(place.fs, `${place.folder}/${name}`);
        assert.equal(new TextDecoder().decode(bytes), text);
        assert.equal(namesIn(place).length, index + 1);
      }
    });

    it("what former owners left is removed, and nothing else", () => {
      using place = newPlace();
      const others = ["ottla.lock.01", "ottla.lock.txt", "ottla.locks", "meta.properties"];
      for (const name of [...others, "ottla.lock.1", "ottla.lock.tmp-0", "ottla.lock.3"]) {
        writeFile(place, name, "");
      }
      place.age("ottla.lock.3", 3_600_000);
      acquireAs(place, own);
      assert.deepEqual(namesIn(place), [...others, "ottla.lock.4"].sort());
    });

    it("works where a file system has no links", () => {
      using place = newPlace();
      const link = (): never => {
        throw Object.assign(new Error("EPERM: no links here"), { code: "EPERM" });
      };
      const linkless = { ...place, fs: { ...place.fs, link } };
      const lock = acquireAs(linkless, own);
      assertLocked(() => acquireAs(linkless, own), /process 4711/);
      releaseStoreLock(lock);
      acquireAs(linkless, own);
      assert.deepEqual(namesIn(place), ["ottla.lock.2"]);
    });

    it("believes what stands in the folder, not what a link answers", () => {
      using place = newPlace();
      const link = (source: string, target: string): void => {
        place.fs.link(source, target);
        place.fs.link(source, target);
      };
      acquireAs({ ...place, fs: { ...place.fs, link } }, own);
      assertLocked(() => acquireAs(place, own), /process 4711/);
    });

    it("a failure on the way leaves the folder free", () => {
      using place = newPlace();
      for (const call of ["list", "write", "close", "remove"] as const) {
        let count = 0;
        const fail = (...args: unknown[]): unknown => {
          // The second listing, the only write, the only close before the link, the only removal.
          if (++count === (call === "list" ? 2 : 1)) {
            throw Object.assign(new Error("EIO: the disk is old"), { code: "EIO" });
          }
          return (place.fs[call] as (...args: unknown[]) => unknown)(...args);
        };
        const failing = { ...place, fs: { ...place.fs, [call]: fail } };
        assert.throws(() => acquireAs(failing, own), { code: "EIO" });
        releaseStoreLock(acquireAs(place, own));
      }
    });

    it("whoever was overtaken while looking is refused", () => {
      using place = newPlace();
      for (const call of ["list", "createExclusive", "link"] as const) {
        let overtaker: StoreLock | undefined;
        const overtaken = (...args: unknown[]): unknown => {
          if (overtaker === undefined) {
            // Three owners come and go, so that the generation looked at is free again but too low.
            for (let owner = 0; owner < 3; owner++) releaseStoreLock(acquireAs(place, own));
            overtaker = acquireAs(place, own);
          }
          return (place.fs[call] as (...args: unknown[]) => unknown)(...args);
        };
        const slow = { ...place, fs: { ...place.fs, [call]: overtaken } };
        assertLocked(() => acquireAs(slow, own), /process 4711/);
        assert.equal(overtaker?.isHeld, true);
        releaseStoreLock(overtaker!);
      }
    });
  });
}
