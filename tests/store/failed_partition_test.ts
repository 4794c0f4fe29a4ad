/** A partition whose files cannot be read after a crash: the others go on, and nothing counts as recovered that is not. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { append, closeStore, createTopic, isOttlaError, offsetsOf, openStore } from "../../mod.ts";
import { abandonStore, memoryFileSystem } from "../../src/testing/mod.ts";
import type { FileSystem } from "../../src/testing/mod.ts";

/** A file system on which the log of one partition cannot be opened while `isBroken` says so. */
function brokenAt(fs: FileSystem, part: string, isBroken: () => boolean): FileSystem {
  return {
    ...fs,
    open(path, mode) {
      if (isBroken() && path.includes(part) && path.endsWith(".log")) {
        throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
      }
      return fs.open(path, mode);
    },
  };
}

test("a partition that cannot be read after a crash hides itself, not the others", async () => {
  let isBroken = false;
  const fileSystem = brokenAt(memoryFileSystem(), "/orders-1/", () => isBroken);
  const store = await openStore("/data", { fileSystem });
  await createTopic(store, "orders", { partitions: 3 });
  for (const partition of [0, 1, 2]) await append(store, "orders", { value: "a", partition });
  abandonStore(store);

  isBroken = true;
  const broken = await openStore("/data", { fileSystem });
  assert.deepEqual(broken.recovery.failedPartitions, ["orders-1"]);
  assert.equal((await append(broken, "orders", { value: "b", partition: 2 })).offset, 1);
  await assert.rejects(append(broken, "orders", { value: "b", partition: 1 }), (error) => {
    return isOttlaError(error, "KAFKA_STORAGE_ERROR");
  });
  await closeStore(broken);

  isBroken = false;
  const mended = await openStore("/data", { fileSystem });
  assert.equal(mended.recovery.wasClean, false, "what was not recovered is not clean");
  assert.deepEqual(mended.recovery.failedPartitions, []);
  assert.deepEqual(offsetsOf(mended, "orders").map(({ endOffset }) => endOffset), [1, 1, 2]);
  await closeStore(mended);
});
