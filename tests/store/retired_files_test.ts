/** Files of segments that retention has taken out while they were being synced: they go when the sync is done. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  appendBatch,
  closeStore,
  createTopic,
  enforceRetention,
  offsetsOf,
  openStore,
} from "../../mod.ts";
import { faultyDisk, holdSyncs, releaseSyncs } from "../support/faulty_file_system.ts";

test("segments retired while they are synced leave no files behind", async () => {
  const disk = faultyDisk();
  const fileSystem = disk.fs;
  const store = await openStore("/data", { fileSystem, topicOverrides: { segmentBytes: 2000 } });
  await createTopic(store, "orders", { retentionBytes: 2000 });
  holdSyncs(disk);
  for (let batch = 0; batch < 6; batch++) {
    await appendBatch(store, "orders", [{ value: new Uint8Array(1500) }], { ack: "os" });
  }
  const { removedSegments } = await enforceRetention(store);
  assert.ok(removedSegments >= 4, `${removedSegments} segments were removed`);
  const [{ startOffset } = { startOffset: 0 }] = offsetsOf(store, "orders");
  releaseSyncs(disk);
  disk.heldSyncs = undefined;
  await closeStore(store);

  const names = fileSystem.list("/data/orders-0").map(({ name }) => name);
  const retired = names.filter((name) => /^\d{20}\./.test(name) && parseInt(name) < startOffset);
  assert.deepEqual(retired, []);
});
