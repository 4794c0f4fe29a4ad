/** The pool of open files: never more than its limit, and never a pinned one closed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  closePooledFile,
  filePool,
  handleOf,
  pinFile,
  pooledFile,
  unpinFile,
} from "../../src/platform/file_pool.ts";
import type { FilePool, PooledFile } from "../../src/platform/file_pool.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { hasErrorCode } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";

/** A pool and files in memory, and how many of them the file system has open. */
function makePool(
  openMax: number,
  count: number,
): { pool: FilePool; files: PooledFile[]; openCount: () => number } {
  const memory = memoryFileSystem();
  let open = 0;
  const fs: FileSystem = {
    ...memory,
    open: (path, mode) => {
      const handle = memory.open(path, mode);
      open++;
      return handle;
    },
    close: (handle) => {
      memory.close(handle);
      open--;
    },
  };
  const files = Array.from({ length: count }, (_, index) => {
    memory.close(memory.open(`/${index}`, "create"));
    return pooledFile(`/${index}`);
  });
  return { pool: filePool(fs, openMax), files, openCount: () => open };
}

const isOpen = (file: PooledFile): boolean => file.handle >= 0;

test("a file is opened when it is needed and stays open", () => {
  const { pool, files, openCount } = makePool(2, 1);
  assert.equal(openCount(), 0);
  const handle = handleOf(pool, files[0]!);
  assert.equal(handleOf(pool, files[0]!), handle);
  assert.equal(openCount(), 1);
  pool.fs.write(handle, Uint8Array.of(1), 0);
  assert.equal(pool.fs.sizeOf(handle), 1);
});

test("no more files are open than allowed, however many are used", () => {
  const { pool, files, openCount } = makePool(3, 20);
  for (let round = 0; round < 3; round++) {
    for (const file of files) {
      handleOf(pool, file);
      assert.ok(openCount() <= 3);
      assert.equal(pool.open.size, openCount());
    }
  }
});

test("a file that was used since the last look gets a second chance", () => {
  const { pool, files } = makePool(3, 5);
  const [a, b, c, d, e] = files as [PooledFile, PooledFile, PooledFile, PooledFile, PooledFile];
  for (const file of [a, b, c]) handleOf(pool, file);
  handleOf(pool, d);
  assert.deepEqual([a, b, c, d].map(isOpen), [false, true, true, true]);
  handleOf(pool, b);
  handleOf(pool, e);
  assert.deepEqual([b, c, d, e].map(isOpen), [true, false, true, true]);
});

test("a pinned file stays open", () => {
  const { pool, files } = makePool(2, 10);
  const [first] = files;
  const handle = pinFile(pool, first!);
  pinFile(pool, first!);
  unpinFile(first!);
  for (const file of files) handleOf(pool, file);
  assert.equal(first!.handle, handle);
  unpinFile(first!);
  for (const file of files.slice(1)) handleOf(pool, file);
  assert.equal(isOpen(first!), false);
});

test("more are open where more are pinned, and no longer once they are not", () => {
  const { pool, files, openCount } = makePool(2, 12);
  const pinned = files.slice(0, 8);
  for (const file of pinned) pinFile(pool, file);
  handleOf(pool, files[8]!);
  assert.equal(openCount(), 9);
  handleOf(pool, files[9]!);
  assert.equal(openCount(), 9, "the one that is not pinned made room");
  for (const file of pinned) unpinFile(file);
  handleOf(pool, files[10]!);
  assert.equal(openCount(), 2);
});

test("a closed file opens again, and closing it twice is fine", () => {
  const { pool, files, openCount } = makePool(2, 1);
  const [file] = files;
  handleOf(pool, file!);
  closePooledFile(pool, file!);
  closePooledFile(pool, file!);
  assert.equal(openCount(), 0);
  assert.equal(pool.open.size, 0);
  assert.ok(handleOf(pool, file!) >= 0);
});

test("a file that is not there is ENOENT and leaves the pool usable", () => {
  const { pool, files } = makePool(1, 1);
  const missing = pooledFile("/missing");
  assert.throws(() => pinFile(pool, missing), (error) => hasErrorCode(error, "ENOENT"));
  assert.equal(missing.pins, 0);
  assert.equal(isOpen(missing), false);
  assert.ok(handleOf(pool, files[0]!) >= 0);
  assert.equal(pool.open.size, 1);
});
