/** What a store's checkpoints do for transaction indexes, and what a power cut leaves of these. */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Log } from "../../src/log/log.ts";
import { abortedTransactions } from "../../src/log/transaction_indexes.ts";
import { writeCheckpoints } from "../../src/store/maintenance.ts";
import { closeStore, flush } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import {
  bytesReadOf,
  crashDisk,
  failNext,
  faultyDisk,
  resetCounts,
} from "../support/faulty_file_system.ts";
import { endTransaction, produce } from "../support/produced.ts";
import {
  crashStore,
  openTestStore,
  removeLocks,
  textOfFile,
  valuesIn,
} from "../support/store_fixture.ts";

function logIn(store: Store, name = "orders"): Log {
  const internals = internalsOf(store);
  const topic = internals.topics.get(name)!;
  return logOf(internals, topic, topic.partitions[0]!);
}

function recoveryPointOf(disk: FaultyDisk, name = "orders"): number {
  const text = textOfFile(disk.fs, "recovery-point-offset-checkpoint") ?? "";
  return Number(new RegExp(`^${name} 0 (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}

function abortOne(log: Log, producerId: number): void {
  const last = log.producers.byId.get(producerId)?.batches.at(-1)?.lastSequence ?? -1;
  produce(log, last + 1, { producerId, transactional: true });
  endTransaction(log, "abort", { producerId });
}

function markersOf(log: Log): number[] {
  return abortedTransactions(log, 0, log.endOffset).map(({ lastOffset }) => lastOffset);
}

test("an index is on disk before a recovery point moves beyond its markers", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  const log = logIn(store);
  abortOne(log, 1);
  abortOne(log, 2);
  await flush(store);
  writeCheckpoints(internalsOf(store));
  assert.equal(recoveryPointOf(disk), 4);
  abortOne(log, 1);
  await flush(store);
  failNext(disk, { operation: "sync", code: "EIO", path: ".txnindex" });
  writeCheckpoints(internalsOf(store));
  assert.equal(recoveryPointOf(disk), 4, "it stays where it was");
  writeCheckpoints(internalsOf(store));
  assert.equal(recoveryPointOf(disk), 6);
  abortOne(log, 3);
  await flush(store);
  crashStore(store, disk.fs);
  // Of the index only what was synced is left.
  const after = crashDisk(disk, { names: true, bytes: () => 0 });
  removeLocks(after.fs);
  const reopened = await openTestStore(after.fs);
  assert.deepEqual(markersOf(logIn(reopened)), [1, 3, 5, 7]);
  await closeStore(reopened);
});

test("an index that a sync has failed for is written anew, since the next sync would say nothing", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  const log = logIn(store);
  abortOne(log, 1);
  await flush(store);
  for (const operation of ["sync", "syncFolder"] as const) {
    const before = recoveryPointOf(disk);
    failNext(disk, {
      operation,
      code: "EIO",
      path: operation === "sync" ? ".txnindex" : "orders-0",
    });
    writeCheckpoints(internalsOf(store));
    assert.equal(recoveryPointOf(disk), before, "it stays where it was");
    failNext(disk, { operation: "write", code: "ENOSPC", path: ".txnindex" });
    writeCheckpoints(internalsOf(store));
    assert.equal(disk.faults.at(-1)!.failed, 1, "it was to be written");
    assert.equal(recoveryPointOf(disk), before);
    writeCheckpoints(internalsOf(store));
    assert.equal(recoveryPointOf(disk), log.endOffset);
    abortOne(log, 1);
    await flush(store);
  }
  assert.deepEqual(markersOf(log), [1, 3, 5]);
  await closeStore(store);
});

test("a checkpoint that a deletion writes does not leave an index behind", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  await createTopic(store, "other");
  abortOne(logIn(store, "other"), 1);
  abortOne(logIn(store), 1);
  await flush(store);
  await deleteTopic(store, "other");
  assert.equal(recoveryPointOf(disk), 2);
  const after = crashDisk(disk, { names: true });
  crashStore(store, disk.fs);
  removeLocks(after.fs);
  const reopened = await openTestStore(after.fs);
  assert.deepEqual(markersOf(logIn(reopened)), [1]);
  await closeStore(reopened);
});

test("a checkpoint of a store without aborted transactions opens no index", async () => {
  const disk = faultyDisk();
  const store = await openTestStore(disk.fs);
  await createTopic(store, "orders");
  const log = logIn(store);
  produce(log, 0, { transactional: true });
  endTransaction(log, "commit");
  await flush(store);
  writeCheckpoints(internalsOf(store));
  resetCounts(disk);
  failNext(disk, { operation: "open", code: "EIO", path: ".txnindex" });
  writeCheckpoints(internalsOf(store));
  assert.deepEqual(await valuesIn(store, "orders", { isolation: "readCommitted" }), ["s0"]);
  assert.equal(bytesReadOf(disk, ".txnindex"), 0);
  assert.equal(disk.faults[0]!.failed, 0);
  await closeStore(store);
});
