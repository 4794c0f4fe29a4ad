/** What a store does without the checkpoints that a full disk does not take. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  append,
  closeStore,
  createTopic,
  deleteRecords,
  deleteTopic,
  isOttlaError,
  offsetsOf,
} from "../../mod.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { crashStore, numberedText, openTestStore, valuesIn } from "../support/store_fixture.ts";

/** A disk with a store that crashed, whose log does not begin with its first record. */
async function crashedDisk(): Promise<FaultyDisk> {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  for (const value of numberedText(0, 10)) await append(store, "orders", { value });
  await deleteRecords(store, "orders", 0, 3);
  crashStore(store, disk.fs);
  return disk;
}

describe("opening a store whose disk takes no checkpoint", () => {
  const names = ["log-start-offset-checkpoint", "recovery-point-offset-checkpoint"];

  for (const code of ["ENOSPC", "EDQUOT"]) {
    it(`succeeds if it is full, and tells what is not written (${code})`, async () => {
      const disk = await crashedDisk();
      for (const path of names) failNext(disk, { operation: "write", code, path, times: Infinity });
      const store = await openTestStore(disk.fs);
      assert.deepEqual(store.recovery.unwrittenFiles, names);
      assert.deepEqual(await valuesIn(store, "orders"), numberedText(3, 10));
      // Else a topic could begin where another one of its name was.
      await assert.rejects(createTopic(store, "new"), (error) => isOttlaError(error, "DISK_FULL"));
      healDisk(disk);
      await deleteTopic(store, "orders");
      await createTopic(store, "orders");
      assert.equal(offsetsOf(store, "orders")[0]!.startOffset, 0);
      await closeStore(store);
      const again = await openTestStore(disk.fs);
      assert.deepEqual([again.recovery.wasClean, again.recovery.unwrittenFiles], [true, []]);
      await closeStore(again);
    });
  }

  it("tells of those alone that are not written", async () => {
    const disk = await crashedDisk();
    failNext(disk, { operation: "write", code: "ENOSPC", path: names[1]! });
    const store = await openTestStore(disk.fs);
    assert.deepEqual(store.recovery.unwrittenFiles, [names[1]]);
    await closeStore(store);
  });

  it("fails if something else is wrong with it", async () => {
    const disk = await crashedDisk();
    failNext(disk, { operation: "write", code: "EIO", path: names[0]! });
    await assert.rejects(
      openTestStore(disk.fs),
      (error) => isOttlaError(error, "KAFKA_STORAGE_ERROR"),
    );
    const store = await openTestStore(disk.fs);
    assert.deepEqual(await valuesIn(store, "orders"), numberedText(3, 10));
    await closeStore(store);
  });
});

it("a refused deletion of records has deleted none", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  for (const value of numberedText(0, 5)) await append(store, "orders", { value });
  failNext(disk, { operation: "write", code: "ENOSPC", path: "log-start-offset-checkpoint" });
  await assert.rejects(
    deleteRecords(store, "orders", 0, 3),
    (error) => isOttlaError(error, "DISK_FULL"),
  );
  assert.deepEqual(await valuesIn(store, "orders"), numberedText(0, 5));
  assert.equal(await deleteRecords(store, "orders", 0, 3), 3);
  assert.deepEqual(await valuesIn(store, "orders"), numberedText(3, 5));
  await closeStore(store);
});
