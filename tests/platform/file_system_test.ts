/** The file systems: the same behaviour on disk and in memory. */

import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import { folderOf, joinPath, readFile, replaceFile } from "../../src/platform/files.ts";
import type { FileHandle, FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { systemRandomBytes } from "../../src/platform/random.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { assertProperty } from "../support/properties.ts";
import { withFolder } from "../support/store_fixture.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Everything a file holds, through its handle. */
function contentOf(fs: FileSystem, file: FileHandle): number[] {
  const target = new Uint8Array(fs.sizeOf(file) + 8);
  return [...target.subarray(0, fs.read(file, target, 0))];
}

function writeNew(fs: FileSystem, path: string, content: Uint8Array): void {
  const file = fs.open(path, "create");
  fs.write(file, content, 0);
  fs.close(file);
}

function throwsCode(code: string, run: () => unknown): void {
  assert.throws(run, (error) => hasErrorCode(error, code), `expected ${code}`);
}

forEachFileSystem("a missing file is ENOENT", (fs, folder) => {
  const path = joinPath(folder, "none");
  throwsCode("ENOENT", () => fs.open(path, "read"));
  throwsCode("ENOENT", () => fs.open(path, "write"));
  throwsCode("ENOENT", () => fs.open(joinPath(path, "below"), "create"));
  throwsCode("ENOENT", () => fs.remove(path));
  throwsCode("ENOENT", () => fs.removeFolder(path));
  throwsCode("ENOENT", () => fs.list(path));
  throwsCode("ENOENT", () => fs.rename(path, joinPath(folder, "other")));
  throwsCode("ENOENT", () => fs.link(path, joinPath(folder, "other")));
  throwsCode("ENOENT", () => fs.syncFolder(path));
  assert.equal(fs.stat(path), undefined);
});

forEachFileSystem("creating makes a file, or opens it as it is", (fs, folder) => {
  const path = joinPath(folder, "file");
  writeNew(fs, path, bytes(1, 2, 3));
  const file = fs.open(path, "create");
  assert.deepEqual(contentOf(fs, file), [1, 2, 3]);
  fs.close(file);
});

forEachFileSystem("creating exclusively fails with EEXIST on what exists", (fs, folder) => {
  const path = joinPath(folder, "file");
  const file = fs.createExclusive(path);
  fs.write(file, bytes(7), 0);
  assert.deepEqual(contentOf(fs, file), [7]);
  fs.close(file);
  throwsCode("EEXIST", () => fs.createExclusive(path));
  fs.makeFolder(joinPath(folder, "sub"));
  throwsCode("EEXIST", () => fs.createExclusive(joinPath(folder, "sub")));
});

forEachFileSystem("a file that is opened for reading cannot be written", (fs, folder) => {
  const path = joinPath(folder, "file");
  writeNew(fs, path, bytes(1));
  const file = fs.open(path, "read");
  throwsCode("EBADF", () => fs.write(file, bytes(2), 0));
  assert.throws(() => fs.truncate(file, 0));
  assert.deepEqual(contentOf(fs, file), [1]);
  fs.close(file);
});

forEachFileSystem("reads end where the file ends", async (fs, folder) => {
  const file = fs.open(joinPath(folder, "file"), "create");
  fs.write(file, bytes(1, 2, 3, 4), 0);
  for (const read of [fs.read, fs.readAsync]) {
    const target = bytes(9, 9, 9, 9);
    assert.equal(await read(file, target, 2), 2);
    assert.deepEqual(target, bytes(3, 4, 9, 9));
    assert.equal(await read(file, target, 4), 0);
    assert.equal(await read(file, target, 400), 0);
    assert.equal(await read(file, new Uint8Array(0), 0), 0);
  }
  fs.close(file);
});

forEachFileSystem("reads and writes go through views with an offset", async (fs, folder) => {
  const file = fs.open(joinPath(folder, "file"), "create");
  const pool = bytes(0, 1, 2, 3, 4, 5, 6, 7);
  fs.write(file, pool.subarray(2, 5), 1);
  assert.deepEqual(contentOf(fs, file), [0, 2, 3, 4]);
  const target = new Uint8Array(6).fill(9);
  assert.equal(fs.read(file, target.subarray(1, 4), 1), 3);
  assert.deepEqual(target, bytes(9, 2, 3, 4, 9, 9));
  assert.equal(await fs.readAsync(file, target.subarray(4, 5), 0), 1);
  assert.deepEqual(target, bytes(9, 2, 3, 4, 0, 9));
  fs.close(file);
});

forEachFileSystem("a file that grows by truncation reads as zeros", (fs, folder) => {
  const file = fs.open(joinPath(folder, "file"), "create");
  const sizeBytes = 10 * 1024 * 1024;
  fs.write(file, bytes(5), 0);
  fs.truncate(file, sizeBytes);
  assert.equal(fs.sizeOf(file), sizeBytes);
  const target = bytes(1, 1, 1);
  assert.equal(fs.read(file, target, sizeBytes - 2), 2);
  assert.deepEqual(target, bytes(0, 0, 1));
  assert.equal(fs.read(file, target, 0), 3);
  assert.deepEqual(target, bytes(5, 0, 0));
  fs.write(file, bytes(6), sizeBytes + 2);
  assert.equal(fs.read(file, target, sizeBytes), 3);
  assert.deepEqual(target, bytes(0, 0, 6));
  fs.close(file);
});

forEachFileSystem("what was cut off reads as zeros when the file grows again", (fs, folder) => {
  const file = fs.open(joinPath(folder, "file"), "create");
  const sizeBytes = 40_000;
  fs.write(file, new Uint8Array(sizeBytes).fill(7), 0);
  fs.truncate(file, 20_000);
  fs.truncate(file, sizeBytes);
  const target = new Uint8Array(sizeBytes);
  assert.equal(fs.read(file, target, 0), sizeBytes);
  assert.equal(target.lastIndexOf(7), 19_999);
  fs.truncate(file, 0);
  assert.equal(fs.sizeOf(file), 0);
  fs.close(file);
});

forEachFileSystem("a rename replaces the file that was there", (fs, folder) => {
  const source = joinPath(folder, "source");
  const target = joinPath(folder, "target");
  writeNew(fs, source, bytes(1));
  writeNew(fs, target, bytes(2));
  const replaced = fs.open(target, "read");
  fs.rename(source, target);
  assert.deepEqual(readFile(fs, target), bytes(1));
  assert.equal(readFile(fs, source), undefined);
  assert.deepEqual(contentOf(fs, replaced), [2], "who had it open still reads the old file");
  fs.close(replaced);
  fs.rename(target, target);
  assert.deepEqual(readFile(fs, target), bytes(1));
});

forEachFileSystem("a rename that fails leaves everything in its place", (fs, folder) => {
  const source = joinPath(folder, "source");
  writeNew(fs, source, bytes(1));
  fs.makeFolder(joinPath(folder, "sub/full"));
  throwsCode("ENOENT", () => fs.rename(source, joinPath(folder, "missing/target")));
  throwsCode("EISDIR", () => fs.rename(source, joinPath(folder, "sub")));
  throwsCode("ENOTDIR", () => fs.rename(joinPath(folder, "sub"), source));
  assert.deepEqual(readFile(fs, source), bytes(1));
  assert.equal(fs.stat(joinPath(folder, "sub/full"))?.isFolder, true);
});

forEachFileSystem("a folder is renamed with what is in it", (fs, folder) => {
  fs.makeFolder(joinPath(folder, "a/b"));
  writeNew(fs, joinPath(folder, "a/b/file"), bytes(1));
  fs.rename(joinPath(folder, "a"), joinPath(folder, "c"));
  assert.deepEqual(readFile(fs, joinPath(folder, "c/b/file")), bytes(1));
  assert.equal(fs.stat(joinPath(folder, "a")), undefined);
});

forEachFileSystem("a link is a second name for one file", (fs, folder) => {
  const first = joinPath(folder, "first");
  const second = joinPath(folder, "second");
  writeNew(fs, first, bytes(1));
  fs.link(first, second);
  writeNew(fs, second, bytes(2));
  assert.deepEqual(readFile(fs, first), bytes(2));
  throwsCode("EEXIST", () => fs.link(first, second));
  fs.remove(first);
  assert.deepEqual(readFile(fs, second), bytes(2));
});

forEachFileSystem("a removed file lives on for who has it open", (fs, folder) => {
  const path = joinPath(folder, "file");
  writeNew(fs, path, bytes(1, 2));
  const file = fs.open(path, "read");
  fs.remove(path);
  assert.equal(fs.stat(path), undefined);
  assert.deepEqual(contentOf(fs, file), [1, 2]);
  fs.close(file);
});

forEachFileSystem("folders are made with those above, listed and removed", (fs, folder) => {
  const deep = joinPath(folder, "one/two/three");
  fs.makeFolder(deep);
  fs.makeFolder(deep);
  writeNew(fs, joinPath(folder, "one/file"), bytes(1));
  const entries = fs.list(joinPath(folder, "one")).sort((a, b) => a.name < b.name ? -1 : 1);
  assert.deepEqual(entries, [{ name: "file", isFolder: false }, { name: "two", isFolder: true }]);
  assert.deepEqual(fs.list(deep), []);
  throwsCode("ENOTEMPTY", () => fs.removeFolder(joinPath(folder, "one")));
  fs.removeFolder(deep);
  assert.deepEqual(fs.list(joinPath(folder, "one/two")), []);
  throwsCode("EEXIST", () => fs.makeFolder(joinPath(folder, "one/file")));
  throwsCode("ENOTDIR", () => fs.makeFolder(joinPath(folder, "one/file/below")));
  throwsCode("ENOTDIR", () => fs.list(joinPath(folder, "one/file")));
  throwsCode("ENOTDIR", () => fs.removeFolder(joinPath(folder, "one/file")));
});

forEachFileSystem("the status tells size, kind and time", (fs, folder) => {
  const before = Date.now();
  const path = joinPath(folder, "file");
  writeNew(fs, path, bytes(1, 2, 3));
  const status = fs.stat(path);
  assert.equal(status?.sizeBytes, 3);
  assert.equal(status?.isFolder, false);
  assert.ok(Number.isInteger(status?.modifiedMs));
  // A file system may round down its times.
  assert.ok((status?.modifiedMs ?? 0) >= before - 2_000);
  assert.equal(fs.stat(folder)?.isFolder, true);
});

forEachFileSystem("a file takes the time that it is given", (fs, folder) => {
  const path = joinPath(folder, "file");
  writeNew(fs, path, bytes(1));
  fs.setModified(path, 1_600_000_000_000);
  assert.equal(fs.stat(path)?.modifiedMs, 1_600_000_000_000);
  assert.equal(fs.stat(path)?.sizeBytes, 1);
  throwsCode("ENOENT", () => fs.setModified(joinPath(folder, "other"), 1_600_000_000_000));
});

forEachFileSystem("names may have any letters", (fs, folder) => {
  const names = ["Prozeß", "日本語", "emoji 🪰", "with space", "with.dot-and_line", "%41"];
  for (const name of names) writeNew(fs, joinPath(folder, name), new TextEncoder().encode(name));
  assert.deepEqual(fs.list(folder).map(({ name }) => name).sort(), [...names].sort());
  for (const name of names) {
    const content = readFile(fs, joinPath(folder, name));
    assert.equal(new TextDecoder().decode(content), name);
  }
});

forEachFileSystem(
  "syncing works on files and folders, and the disk has room",
  async (fs, folder) => {
    const file = fs.open(joinPath(folder, "file"), "create");
    fs.write(file, bytes(1), 0);
    fs.syncDataNow(file);
    assert.equal(await fs.syncData(file), undefined);
    fs.close(file);
    fs.syncFolder(folder);
    assert.ok(fs.freeBytes(folder) > 0);
  },
);

forEachFileSystem("replacing a file leaves its new content and nothing beside it", (fs, folder) => {
  const path = joinPath(folder, "file");
  replaceFile(fs, path, bytes(1, 2, 3, 4));
  writeNew(fs, `${path}.tmp`, new Uint8Array(100));
  replaceFile(fs, path, bytes(5));
  assert.deepEqual(readFile(fs, path), bytes(5));
  assert.deepEqual(fs.list(folder), [{ name: "file", isFolder: false }]);
});

forEachFileSystem("a file larger than allowed is not read", (fs, folder) => {
  const path = joinPath(folder, "file");
  writeNew(fs, path, new Uint8Array(11));
  assert.equal(readFile(fs, path, 11)?.length, 11);
  assert.throws(
    () => readFile(fs, path, 10),
    (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
  );
});

forEachFileSystem("any writes and cuts leave what they would leave in an array", (fs, folder) => {
  const operation = fc.record({
    position: fc.nat({ max: 70_000 }),
    size: fc.nat({ max: 40_000 }),
    isCut: fc.boolean(),
    value: fc.integer({ min: 1, max: 255 }),
  });
  let number = 0;
  assertProperty(
    fc.property(fc.array(operation, { maxLength: 8 }), (operations) => {
      const file = fs.open(joinPath(folder, `file-${number++}`), "create");
      const expected = new Uint8Array(120_000);
      let size = 0;
      for (const { position, size: length, isCut, value } of operations) {
        if (isCut) {
          fs.truncate(file, position);
          expected.fill(0, position);
          size = position;
        } else {
          fs.write(file, new Uint8Array(length).fill(value), position);
          expected.fill(value, position, position + length);
          if (length > 0) size = Math.max(size, position + length);
        }
      }
      const actual = new Uint8Array(120_000);
      assert.equal(fs.read(file, actual, 0), size);
      assert.deepEqual(actual, expected);
      fs.close(file);
    }),
    // The example is one that the memory file system once got wrong.
    { numRuns: 40, examples: [[[{ position: 1, size: 0, isCut: false, value: 1 }]]] },
  );
});

// Not on a disk: another file may have got the number by then.
test("a closed file in memory cannot be used", () => {
  const fs = memoryFileSystem();
  const file = fs.open("/file", "create");
  fs.close(file);
  throwsCode("EBADF", () => fs.read(file, bytes(0), 0));
  throwsCode("EBADF", () => fs.sizeOf(file));
  throwsCode("EBADF", () => fs.close(file));
});

test("a file in memory has a limit", () => {
  const fs = memoryFileSystem();
  const file = fs.open("/file", "create");
  throwsCode("EFBIG", () => fs.write(file, bytes(1), 2 ** 40));
  throwsCode("EFBIG", () => fs.truncate(file, 2 ** 40 + 1));
});

test("a file in memory is stamped with the time that is given", () => {
  let now = 1_000;
  const fs = memoryFileSystem(() => now);
  writeNew(fs, "/file", bytes(1));
  now = 2_000;
  assert.equal(fs.stat("/file")?.modifiedMs, 1_000);
  writeNew(fs, "/file", bytes(2));
  assert.equal(fs.stat("/file")?.modifiedMs, 2_000);
});

test("paths are taken apart and put together", () => {
  assert.equal(folderOf("/a/b/c"), "/a/b");
  assert.equal(folderOf("/a"), "/");
  assert.equal(folderOf("a"), ".");
  assert.equal(folderOf("C:\\data\\file"), "C:\\data");
  assert.equal(joinPath("/a", "b"), "/a/b");
  assert.equal(joinPath("/", "b"), "/b");
});

test("the system gives random bytes and whole milliseconds", () => {
  assert.equal(systemRandomBytes(0).length, 0);
  const first = systemRandomBytes(32);
  assert.equal(first.length, 32);
  assert.notDeepEqual(first, systemRandomBytes(32));
  assert.ok(Number.isInteger(systemClock().now()));
});

test("a timer calls back once and can be stopped, twice if need be", async () => {
  const clock = systemClock();
  const stopped: string[] = [];
  const timer = clock.startTimer(() => stopped.push("called"), 0);
  clock.stopTimer(timer);
  clock.stopTimer(timer);
  // Longer than `setTimeout` can wait: it must not be called at once.
  const long = clock.startTimer(() => stopped.push("called"), 2 ** 40);
  // The timer does not keep the process alive, so something else must while it is waited for.
  const keepsAlive = setInterval(() => {}, 1_000);
  await new Promise<void>((resolve) => clock.startTimer(resolve, 1));
  clearInterval(keepsAlive);
  clock.stopTimer(long);
  assert.deepEqual(stopped, []);
});

test("a link to a folder is a folder, and one that leads nowhere is nothing", async () => {
  await withFolder((folder) => {
    const fs = diskFileSystem();
    fs.makeFolder(joinPath(folder, "elsewhere"));
    symlinkSync(joinPath(folder, "elsewhere"), joinPath(folder, "linked"), "junction");
    symlinkSync(joinPath(folder, "loop"), joinPath(folder, "loop"), "junction");
    writeNew(fs, joinPath(folder, "linked/file"), new Uint8Array(1));
    const isFolder = new Map(fs.list(folder).map((entry) => [entry.name, entry.isFolder]));
    assert.deepEqual([isFolder.get("linked"), isFolder.get("loop")], [true, false]);
    assert.equal(fs.stat(joinPath(folder, "loop")), undefined);
    fs.removeFolder(joinPath(folder, "linked"));
    assert.equal(fs.stat(joinPath(folder, "linked")), undefined);
    assert.equal(fs.stat(joinPath(folder, "elsewhere/file"))!.sizeBytes, 1);
    return Promise.resolve();
  });
});
