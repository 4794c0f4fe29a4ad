/** A folder that a Kafka broker runs on is left alone. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { isOttlaError } from "../../src/errors.ts";
import { checkNoBroker, findLockHolder, parseLocks } from "../../src/platform/broker_lock.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { acquireStoreLock, releaseStoreLock } from "../../src/platform/store_lock.ts";

/** Takes the kind of lock that a broker takes, and holds it until its input ends. */
const holder = `
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
`;
const canHold = process.platform === "linux" && spawnSync("python3", ["--version"]).status === 0;

describe("broker lock", () => {
  it("reads the write locks of /proc/locks", () => {
    const text = [
      "1: POSIX  ADVISORY  WRITE 1331 fe:00:10043836 0 EOF",
      "2: POSIX  ADVISORY  READ  1332 fe:00:10043837 128 128",
      "3: FLOCK  ADVISORY  WRITE 1333 fe:00:10043838 0 EOF",
      "3: -> POSIX  ADVISORY  WRITE 1334 fe:00:10043836 0 EOF",
      "4: OFDLCK ADVISORY  WRITE -1 fe:00:10043839 0 EOF",
      "5: POSIX  MANDATORY WRITE 1335 103:12345:18446744073709551615 0 0",
      "6: LEASE  ACTIVE    WRITE 1336 fe:00:10043836 0 EOF",
      "7: POSIX  *NOINODE* WRITE 1337 <none>:0 0 EOF",
      "",
    ].join("\n");
    assert.deepEqual(parseLocks(text), [
      { pid: 1331, device: 0xfe00n, inode: 10043836n },
      { pid: 1335, device: 0x12310345n, inode: 18446744073709551615n },
    ]);
    assert.deepEqual(parseLocks(""), []);
  });

  it("a folder without a broker is free, with or without a lock file", () => {
    const folder = mkdtempSync(join(tmpdir(), "ottla-broker-"));
    try {
      checkNoBroker(diskFileSystem(), folder);
      writeFileSync(join(folder, ".lock"), "");
      checkNoBroker(diskFileSystem(), folder);
      assert.equal(findLockHolder([{ pid: 1, device: 1n, inode: 1n }], folder), undefined);
      checkNoBroker(memoryFileSystem(), folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("a folder with a broker is locked until it ends", { skip: !canHold }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "ottla-broker-"));
    const path = join(folder, ".lock");
    const child = spawn("python3", ["-c", holder, path], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(child, "exit");
    try {
      await once(createInterface({ input: child.stdout }), "line");
      const fs = diskFileSystem();
      assert.throws(() => acquireStoreLock(fs, folder), (error) => {
        assert.ok(isOttlaError(error, "STORE_LOCKED"));
        assert.match(error.message, new RegExp(`a Kafka broker, process ${child.pid}, runs on it`));
        assert.equal(error.details["pid"], child.pid);
        return true;
      });
      // As `/proc/locks` has it on a file system with volumes inside.
      const { ino } = statSync(path, { bigint: true });
      const locks = [{ pid: child.pid!, device: 1n, inode: ino }];
      assert.equal(findLockHolder(locks, path), child.pid);
      assert.equal(findLockHolder([{ ...locks[0]!, pid: process.pid }], path), undefined);
      child.stdin.end();
      await ended;
      releaseStoreLock(acquireStoreLock(fs, folder));
    } finally {
      child.kill();
      rmSync(folder, { recursive: true });
    }
  });
});
