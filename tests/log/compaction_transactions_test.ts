/** Compacting a log with transactions: what was aborted goes, and markers when nothing needs them. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadXxh64 } from "../../src/bytes/xxh64.ts";
import { findAborted } from "../../src/log/compaction_transactions.ts";
import type { IsolationLevel } from "../../src/log/committed_reader.ts";
import { isolatedCursor, isolatedEnd, nextVisibleBatch } from "../../src/log/committed_reader.ts";
import type { Log } from "../../src/log/log.ts";
import { abortedTransactions } from "../../src/log/transaction_indexes.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { appendPairs, cleanTestLog, compactAll, leftOf, sealAll } from "../support/compaction.ts";
import type { LeftOver } from "../support/compaction.ts";
import { manualClock, openTestLog } from "../support/log_fixture.ts";
import type { ManualClock } from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";

/** A log, its clock, and what its only producer does. */
interface Scene {
  readonly log: Log;
  readonly clock: ManualClock;
  readonly send: (...keys: readonly number[]) => void;
  readonly end: (type: "abort" | "commit") => void;
}

function scene(): Scene {
  const clock = manualClock();
  const { log } = openTestLog(memoryFileSystem(), { config: { cleanupPolicy: "compact" }, clock });
  let baseSequence = 0;
  return {
    log,
    clock,
    send(...keys) {
      const header = { producerId: 7, producerEpoch: 0, baseSequence, transactional: true };
      appendPairs(log, keys.map((key) => [String(key), "v"]), header);
      baseSequence += keys.length;
    },
    end: (type) => void endTransaction(log, type),
  };
}

function left(log: Log): Pick<LeftOver, "offsets" | "batches"> & { keys: string } {
  const { keys, offsets, batches } = leftOf(log);
  return { keys: keys.join(""), offsets, batches };
}

/** The keys that a reader of an isolation level sees. */
function keysSeen(log: Log, isolation: IsolationLevel): string[] {
  const options = { readBytes: 4096, reusesBuffer: false };
  const cursor = isolatedCursor(log, log.startOffset, options, isolation);
  const endOffset = isolatedEnd(log, isolation);
  const keys: string[] = [];
  for (;;) {
    const batch = nextVisibleBatch(cursor, endOffset);
    if (batch === undefined) return keys;
    for (const { key } of recordsOf(batch)) keys.push(new TextDecoder().decode(key!));
  }
}

before(loadXxh64);

describe("compaction and transactions", () => {
  it("drops what was aborted, and keeps the header of its producer's last batch", async () => {
    const { log, send, end } = scene();
    send(1);
    send(2, 3);
    end("abort");
    await compactAll(log);
    assert.deepEqual(left(log), { keys: "", offsets: [3], batches: [2, 3] });
    assert.deepEqual(leftOf(log).sequences, { 7: 2 });
    send(1);
    send(5);
    end("commit");
    await compactAll(log);
    assert.deepEqual(left(log), { keys: "15", offsets: [3, 4, 5, 6], batches: [3, 4, 5, 6] });
    assert.deepEqual(keysSeen(log, "readCommitted"), ["1", "5"]);
  });

  it("keeps the markers of committed records, and others until their horizon", async () => {
    const { log, clock, send, end } = scene();
    send(1);
    send(2, 3);
    end("commit");
    send(2);
    end("commit");
    await compactAll(log);
    assert.deepEqual(left(log), {
      keys: "132",
      offsets: [0, 2, 3, 4, 5],
      batches: [0, 2, 3, 4, 5],
    });
    send(1);
    send(3);
    end("commit");
    await compactAll(log);
    assert.equal(left(log).keys, "213");
    assert.deepEqual(left(log).offsets, [3, 4, 5, 6, 7, 8]);
    await cleanTestLog(log);
    assert.deepEqual(left(log).offsets, [3, 4, 5, 6, 7, 8]);
    clock.nowMs += 1000;
    await cleanTestLog(log);
    assert.deepEqual(left(log).offsets, [4, 5, 6, 7, 8]);
  });

  it("drops the marker of an abort when its horizon has come", async () => {
    const { log, clock, send, end } = scene();
    send(1);
    send(2, 3);
    end("abort");
    send(3);
    end("commit");
    await compactAll(log);
    assert.deepEqual(left(log), { keys: "3", offsets: [3, 4, 5], batches: [3, 4, 5] });
    clock.nowMs += 1000;
    await cleanTestLog(log);
    assert.deepEqual(left(log).offsets, [3, 4, 5]);
    clock.nowMs += 1000;
    await cleanTestLog(log);
    assert.deepEqual(left(log), { keys: "3", offsets: [4, 5], batches: [4, 5] });
    assert.deepEqual(abortedTransactions(log, 0, 6), []);
  });

  it("keeps the marker as long as there is a batch, were it empty", async () => {
    const { log, clock, send, end } = scene();
    send(2, 3);
    end("abort");
    for (let round = 0; round < 3; round++) {
      await compactAll(log);
      clock.nowMs += 1000;
      assert.deepEqual(left(log), { keys: "", offsets: [2], batches: [1, 2] });
      const [aborted] = abortedTransactions(log, 0, 3);
      assert.deepEqual([aborted?.producerId, aborted?.firstOffset, aborted?.lastOffset], [7, 0, 2]);
      assert.deepEqual(keysSeen(log, "readCommitted"), []);
    }
    send(1);
    end("commit");
    await compactAll(log);
    // The empty batch was there still; the next compaction finds the marker to be of nothing.
    assert.deepEqual(left(log).batches, [2, 3, 4]);
    await cleanTestLog(log);
    clock.nowMs += 1000;
    await cleanTestLog(log);
    assert.deepEqual(left(log).batches, [3, 4]);
    assert.deepEqual(abortedTransactions(log, 0, 5), []);
  });

  it("does not let an aborted record take the place of a committed one", async () => {
    const { log, send, end } = scene();
    send(1);
    end("commit");
    send(1);
    // The marker of the abort lies behind what is cleaned.
    await sealAll(log);
    end("abort");
    await compactAll(log, { endOffset: 3 });
    assert.deepEqual(keysSeen(log, "readCommitted"), ["1"]);
    assert.deepEqual(keysSeen(log, "readUncommitted").filter((key) => key === "1"), ["1"]);
    assert.deepEqual(left(log).offsets, [0, 1, 3]);
  });

  it("leaves open transactions alone", async () => {
    const { log, send, end } = scene();
    send(1);
    end("commit");
    await sealAll(log);
    send(1);
    await compactAll(log);
    assert.deepEqual(left(log), { keys: "11", offsets: [0, 1, 2], batches: [0, 1, 2] });
    end("commit");
    await compactAll(log);
    assert.deepEqual(left(log).keys, "1");
    assert.deepEqual(left(log).offsets, [1, 2, 3]);
  });

  it("goes only as far as it can keep the aborted ones in mind", async () => {
    const { log, send, end } = scene();
    for (let count = 0; count < 5; count++) {
      send(count);
      end("abort");
    }
    const turns = { next: () => Promise.resolve(), onBytes: (): void => {} };
    const found = await findAborted(log, 0, 10, turns, 3);
    assert.deepEqual([found?.endOffset, found?.aborted.length], [6, 3]);
    const rest = await findAborted(log, 6, 10, turns, 3);
    assert.deepEqual([rest?.endOffset, rest?.aborted.length], [10, 2]);
    send(9);
    const other = { producerId: 8, producerEpoch: 0, transactional: true };
    for (let baseSequence = 0; baseSequence < 3; baseSequence++) {
      appendPairs(log, [["k", "v"]], { ...other, baseSequence });
      endTransaction(log, "abort", { producerId: 8 });
    }
    await assert.rejects(findAborted(log, 10, log.endOffset, turns, 3), {
      code: "BUFFER_EXHAUSTED",
    });
  });
});
