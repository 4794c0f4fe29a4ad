/** `checkStore` and transaction indexes: what a broker would be told wrongly. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createTopic } from "../../mod.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { rollLog } from "../../src/log/log.ts";
import { logOf } from "../../src/store/partitions.ts";
import { internalsOf } from "../../src/store/store.ts";
import { flipByte, resizeFile } from "../support/log_fixture.ts";
import { endTransaction, produce } from "../support/produced.ts";
import { crashStore, openTestStore } from "../support/store_fixture.ts";
import { allProblems, at, check, kafkaStore } from "./check_fixture.ts";

const indexName = "orders-0/00000000000000000002.txnindex";

/** A store with two aborted transactions and one that was committed. */
async function filled(ending: "closed" | "crashed" | "open" = "closed"): Promise<FileSystem> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  const internals = internalsOf(store);
  const topic = internals.topics.get("orders")!;
  const log = logOf(internals, topic, topic.partitions[0]!);
  for (const producerId of [1, 2]) produce(log, 0, { producerId, transactional: true });
  rollLog(log);
  endTransaction(log, "abort", { producerId: 1 });
  endTransaction(log, "commit", { producerId: 2 });
  produce(log, 1, { producerId: 2, transactional: true });
  endTransaction(log, "abort", { producerId: 2 });
  if (ending === "closed") await closeStore(store);
  if (ending === "crashed") crashStore(store, fs);
  return fs;
}

async function problemsOf(fs: FileSystem): Promise<string[]> {
  return allProblems(await check(fs))
    .filter(({ path, severity }) => path.endsWith(".txnindex") && severity !== "note")
    .map(({ severity, path, message }) => {
      assert.equal(severity, "warning");
      assert.equal(path, indexName);
      return message;
    });
}

test("an index that agrees with the log has no problem", async () => {
  for (const ending of ["closed", "crashed", "open"] as const) {
    assert.deepEqual(await problemsOf(await filled(ending)), []);
  }
  for (const name of ["static_4_0", "standalone_4_1"]) {
    assert.deepEqual(await problemsOf(kafkaStore(name)), []);
  }
});

test("an entry that is missing is told of, unless the next opening makes it anew", async () => {
  const damages = [
    (fs: FileSystem) => fs.remove(at(indexName)),
    (fs: FileSystem) => resizeFile(fs, at(indexName), 34),
  ];
  for (const [index, damage] of damages.entries()) {
    for (const ending of ["closed", "crashed", "open"] as const) {
      const fs = await filled(ending);
      damage(fs);
      const messages = await problemsOf(fs);
      assert.equal(messages.length, ending === "closed" ? 2 - index : 0);
      for (const message of messages) assert.match(message, /producer \d aborted, is missing/);
    }
  }
});

test("an entry that is wrong is told of", async () => {
  const cases: [(fs: FileSystem) => void, RegExp][] = [
    [(fs) => flipByte(fs, at(indexName), 9, 7), /is not what producer 6 aborted there$/],
    [(fs) => flipByte(fs, at(indexName), 17, 1), /^The transaction of offsets 1 to 2 is not what/],
    [(fs) => flipByte(fs, at(indexName), 25, 0x40), /is not in its order, or not of this segment$/],
    [(fs) => flipByte(fs, at(indexName), 1, 1), /version 1, wanted 0$/],
    [(fs) => resizeFile(fs, at(indexName), 40), /are not whole entries of 34$/],
  ];
  for (const [damage, expected] of cases) {
    const fs = await filled();
    damage(fs);
    assert.match((await problemsOf(fs))[0]!, expected);
  }
});
