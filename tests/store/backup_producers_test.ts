/** What copies know of producers and transactions: as much as closing the store would have left. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { closeProducer, flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { Log } from "../../src/log/log.ts";
import { lastStableOffset } from "../../src/log/producer_append.ts";
import { abortedTransactions } from "../../src/log/transaction_indexes.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { backupStore } from "../../src/store/backup.ts";
import { writeCheckpoints } from "../../src/store/maintenance.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { manualClock } from "../../src/testing/mod.ts";
import { copyFolder, openedContent } from "../support/backup_fixture.ts";
import { endTransaction, produce, producedTime } from "../support/produced.ts";
import {
  contentOf,
  isNoLock,
  numbered,
  openTestStore,
  storeFolder,
} from "../support/store_fixture.ts";

const clock = manualClock(producedTime);
const options = { clock, topicOverrides: { segmentBytes: 600 } };

function ordersOf(store: Store): Log {
  const internals = internalsOf(store);
  const topic = internals.topics.get("orders")!;
  return logOf(internals, topic, topic.partitions[0]!);
}

/** Transactions that were committed, aborted and are open, over several segments. */
function transact(log: Log): void {
  for (let round = 0; round < 8; round++) {
    produce(log, round, { producerId: 1, transactional: true });
    produce(log, round * 2, { producerId: 2, transactional: true, values: ["a", "b"] });
    endTransaction(log, round % 2 === 0 ? "abort" : "commit", { producerId: 1 });
    endTransaction(log, "abort", { producerId: 2 });
    produce(log, round, { producerId: 3 });
  }
  produce(log, 8, { producerId: 1, transactional: true });
}

test("producer snapshots and transaction indexes are those of a clean shutdown", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders");
  const log = ordersOf(store);
  transact(log);
  writeCheckpoints(internalsOf(store));
  produce(log, 8, { producerId: 3 });
  await backupStore(store, copyFolder);
  await closeStore(store);
  const copied = contentOf(fs, copyFolder);
  const closed = contentOf(fs, storeFolder, isNoLock);
  const isSnapshot = (name: string): boolean => name.endsWith(".snapshot");
  // An older snapshot that the last checkpoint made useless may have been copied before.
  const older = Object.keys(copied).filter((name) => isSnapshot(name) && !(name in closed));
  assert.ok(older.length <= 1);
  for (const name of older) delete copied[name];
  assert.deepEqual(copied, closed);
  assert.ok(Object.keys(closed).some((name) => name.endsWith(".txnindex")));
});

test("the copy knows aborted and open transactions, and duplicates", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders");
  const log = ordersOf(store);
  transact(log);
  await backupStore(store, copyFolder, {
    // What is aborted after the copy was decided on is no part of it.
    onProgress: () => {
      if (log.producers.byId.get(1)!.currentTransactionFirstOffset < 0) return;
      endTransaction(log, "abort", { producerId: 1 });
      produce(log, 9, { producerId: 1, transactional: true });
      endTransaction(log, "abort", { producerId: 1 });
    },
  });
  await openedContent(fs);
  const copy = await openStore(copyFolder, { fileSystem: fs, ...options });
  const copied = ordersOf(copy);
  const { endOffset } = copied;
  assert.ok(endOffset < log.endOffset);
  assert.deepEqual(
    abortedTransactions(copied, 0, endOffset),
    abortedTransactions(log, 0, log.endOffset).filter(({ lastOffset }) => lastOffset < endOffset),
  );
  assert.equal(lastStableOffset(copied), endOffset - 1);
  assert.equal(produce(copied, 7, { producerId: 3 }).isDuplicate, true);
  assert.equal(produce(copied, 8, { producerId: 3 }).isDuplicate, false);
  await closeStore(copy);
  await closeStore(store);
});

test("a producer that sends meanwhile loses and repeats nothing in the copy", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, options);
  await createTopic(store, "orders");
  const producer = openProducer(store, { lingerMs: 0, batchBytes: 100 });
  const sent = numbered(0, 40).map((record) => send(producer, "orders", record));
  const backing = backupStore(store, copyFolder);
  await flushProducer(producer);
  await Promise.all([...sent, backing]);
  await closeProducer(producer);
  await closeStore(store);
  const { partitions } = await openedContent(fs);
  const { values } = partitions["orders-0"]!;
  assert.deepEqual(values, numbered(0, values.length).map(({ value }) => value));
});
