/** The lock between real processes: killed ones, and many at once. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import { systemProcesses } from "../../src/platform/process_identity.ts";
import { acquireStoreLock, releaseStoreLock } from "../../src/platform/store_lock.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { LockProcess } from "./lock_processes.ts";
import { startLockProcess } from "./lock_processes.ts";

const fs = diskFileSystem();
const racerCount = 8;
const roundCount = 12;

let root = "";
let folderCount = 0;
before(() => {
  root = mkdtempSync(join(tmpdir(), "ottla-lock-"));
});
after(() => rmSync(root, { recursive: true }));

function newFolder(): string {
  const folder = join(root, String(folderCount++));
  mkdirSync(folder);
  return folder;
}

describe("store lock between processes", () => {
  it("another process is refused and told who has it", async () => {
    const folder = newFolder();
    const child = startLockProcess();
    try {
      assert.equal(await child.acquire(folder), "won");
      assert.throws(() => acquireStoreLock(fs, folder), (error) => {
        assert.ok(isOttlaError(error, "STORE_LOCKED"));
        assert.equal(error.details["pid"], child.pid);
        assert.match(error.message, new RegExp(`process ${child.pid} on .+, which began 2`));
        return true;
      });
      await child.release();
      const lock = acquireStoreLock(fs, folder);
      assert.match(await child.acquire(folder), /OttlaError: .+ has it open/);
      releaseStoreLock(lock);
      assert.equal(await child.acquire(folder), "won");
    } finally {
      assert.equal(await child.end(), 0);
    }
  });

  it("the lock of a killed process blocks nobody", async () => {
    const folder = newFolder();
    const child = startLockProcess();
    assert.equal(await child.acquire(folder), "won");
    await child.kill();
    releaseStoreLock(acquireStoreLock(fs, folder));
  });

  it("a lock does not keep its process alive, nor outlive it", async () => {
    const folder = newFolder();
    const child = startLockProcess();
    assert.equal(await child.acquire(folder), "won");
    assert.equal(await child.end(), 0);
    releaseStoreLock(acquireStoreLock(fs, folder));
  });

  it("of processes that race, one wins each round", async () => {
    const racers = Array.from({ length: racerCount }, startLockProcess);
    try {
      // Not before all have started does a common time make a race.
      await Promise.all(racers.map((racer) => racer.release()));
      const folder = newFolder();
      for (let round = 0; round < roundCount; round++) {
        const isFresh = round % 3 === 0;
        const isStale = round % 3 === 1;
        if (isStale) leaveStaleLock(folder);
        await raceOnce(racers, isFresh ? newFolder() : folder);
      }
    } finally {
      await Promise.all(racers.map((racer) => racer.end()));
    }
  });
});

async function raceOnce(racers: readonly LockProcess[], folder: string): Promise<void> {
  const time = Date.now() + 20;
  const answers = await Promise.all(racers.map((racer) => racer.acquire(folder, time)));
  const winners = answers.flatMap((answer, index) => answer === "won" ? [index] : []);
  assert.equal(winners.length, 1, answers.join("\n"));
  for (const answer of answers) {
    assert.match(answer, /^won$|^OttlaError: Cannot open .+(has it open|others took its lock)/);
  }
  await Promise.all(racers.map((racer) => racer.release()));
}

/** As a process leaves it whose id another one has now. */
function leaveStaleLock(folder: string): void {
  const { own, find } = systemProcesses();
  const former = { ...own, startTime: "of a former process" };
  const processes = { own: former, find };
  // No heartbeat: its holder is thought of as dead.
  const clock = { now: Date.now, startTimer: () => undefined, stopTimer: () => {} };
  acquireStoreLock(fs, folder, { processes, clock });
}
