/** `ottla consume --isolation`: of transactions what was committed, as the files tell from outside. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";

import { flush } from "../../mod.ts";
import type { CommittedTail } from "../../src/cli/committed_tail.ts";
import { committedTail, outcomeOf } from "../../src/cli/committed_tail.ts";
import { advanceTail, partitionTail } from "../../src/cli/partition_tail.ts";
import type { Log } from "../../src/log/log.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { isControlBatch } from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { viewPartition } from "../../src/store/folder_view.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { logOf } from "../../src/store/partitions.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import { endTransaction, produce } from "../support/produced.ts";
import { assertProperty } from "../support/properties.ts";
import { storeFolder, textOf, valuesIn } from "../support/store_fixture.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const committed = ["--isolation", "read_committed"];

function logIn(store: Store): Log {
  const internals = internalsOf(store);
  const topic = internals.topics.get("t")!;
  return logOf(internals, topic, topic.partitions[0]!);
}

/** A batch with the next sequence of its producer. */
function produceNext(log: Log, producerId: number, value: string, transactional: boolean): void {
  const last = log.producers.byId.get(producerId)?.batches.at(-1)?.lastSequence ?? -1;
  produce(log, last + 1, { producerId, transactional, values: [value] });
}

async function withLog(
  path: string,
  run: (log: Log, store: Store) => Promise<void>,
  options: StoreOptions = {},
): Promise<void> {
  const store = await openStore(path, options);
  await createTopic(store, "t", { ifNotExists: true });
  try {
    await run(logIn(store), store);
  } finally {
    await closeStore(store);
  }
}

async function consume(path: string, ...options: string[]): Promise<string[]> {
  const { code, output, errors } = await runCommand(["consume", path, "t", ...options]);
  assert.deepEqual([code, errors], [0, ""]);
  return linesOf(output);
}

test("what was aborted is left out, and it ends before the first open transaction", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "s");
    await withLog(path, async (log, store) => {
      produceNext(log, 1, "a", true);
      produceNext(log, 2, "b", true);
      produceNext(log, 3, "plain", false);
      endTransaction(log, "abort", { producerId: 2 });
      produceNext(log, 1, "c", true);
      endTransaction(log, "commit", { producerId: 1 });
      produceNext(log, 2, "open", true);
      produceNext(log, 3, "behind", false);
      await flush(store);
    });
    const all = ["a", "b", "plain", "c", "open", "behind"];
    assert.deepEqual(await consume(path), all);
    assert.deepEqual(await consume(path, "--isolation", "read_uncommitted"), all);
    assert.deepEqual(await consume(path, ...committed), ["a", "plain", "c"]);
    assert.deepEqual(await consume(path, ...committed, "--from", "1", "--limit", "1"), ["plain"]);
    assert.deepEqual(await consume(path, ...committed, "--group", "g"), ["a", "plain", "c"]);
    await withLog(path, (log) => {
      endTransaction(log, "commit", { producerId: 2 });
      return Promise.resolve();
    });
    assert.deepEqual(await consume(path, ...committed, "--group", "g"), ["open", "behind"]);
    assert.deepEqual(await consume(path, ...committed), ["a", "plain", "c", "open", "behind"]);
  });
});

test("following goes on when a transaction has ended", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "s");
    await withLog(path, async (log) => {
      produceNext(log, 1, "a", false);
      produceNext(log, 2, "b", true);
      produceNext(log, 1, "c", false);
      const controller = new AbortController();
      let text = "";
      const { code } = await runCommand(["consume", path, "t", "--follow", ...committed], {
        signal: controller.signal,
        onOutput: (piece) => {
          text += piece;
          if (text === "a\n") endTransaction(log, "commit", { producerId: 2 });
          else controller.abort();
        },
      });
      assert.deepEqual([code, text], [0, "a\nb\nc\n"]);
    });
  });
});

test("a level that there is not is refused", async () => {
  const { code, errors } = await runCommand(["consume", "x", "t", "--isolation", "serializable"]);
  assert.equal(code, 2);
  assert.match(errors, /--isolation takes read_uncommitted, read_committed, got "serializable"/);
});

/** What a reader of the files sees, asking once more after each step. */
function seenBy(state: CommittedTail, seen: string[]): void {
  advanceTail(state.tail, {
    batch: (batch) => {
      const outcome = outcomeOf(state, batch);
      if (outcome === "open") return false;
      if (outcome === "commit" && !isControlBatch(batch)) {
        seen.push(...recordsOf(batch).map(({ value }) => textOf(value)));
      }
      return true;
    },
    gap: () => assert.fail("there is no damage"),
  });
}

test("from outside there is to be seen what readers of the store see", async () => {
  const step = fc.record({
    producerId: fc.integer({ min: 1, max: 4 }),
    act: fc.constantFrom("plain", "transactional", "commit", "abort"),
    looks: fc.boolean(),
  });
  const property = fc.asyncProperty(
    fc.array(step, { maxLength: 80, size: "max" }),
    fc.constantFrom(1, 2, 1000),
    // One that comes late has all markers ahead of it.
    fc.boolean(),
    async (steps, markersMax, isLate) => {
      const fileSystem = memoryFileSystem();
      const options = { fileSystem, topicOverrides: { segmentBytes: 400 } };
      await withLog(storeFolder, async (log, store) => {
        const view = viewPartition(fileSystem, storeFolder, "t", 0);
        const state = committedTail(partitionTail(fileSystem, view, 0), markersMax);
        const seen: string[] = [];
        for (const [index, { producerId, act, looks }] of steps.entries()) {
          const isOpen = log.producers.open.has(producerId);
          if (act === "plain") produceNext(log, 10 + producerId, `v${index}`, false);
          else if (act === "transactional") produceNext(log, producerId, `v${index}`, true);
          else if (isOpen) endTransaction(log, act, { producerId });
          if (isLate || !looks) continue;
          seenBy(state, seen);
          assert.deepEqual(seen, await valuesIn(store, "t", { isolation: "readCommitted" }));
        }
        seenBy(state, seen);
        assert.deepEqual(seen, await valuesIn(store, "t", { isolation: "readCommitted" }));
      }, options);
    },
  );
  await assertProperty(property, { numRuns: 150 });
});
