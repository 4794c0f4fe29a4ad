/** `repairStore` and logs that are shorter than they were: no offset is given out twice. */

import assert from "node:assert/strict";
import { once } from "node:events";
import process from "node:process";
import { describe, test } from "node:test";

import {
  alterTopic,
  append,
  closeStore,
  compactTopic,
  createTopic,
  openStore,
  repairStore,
} from "../../mod.ts";
import type { RepairReport } from "../../mod.ts";
import { printOffsetCheckpoint } from "../../src/log/checkpoint_file.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { field } from "../../src/record/batch_layout.ts";
import { readFile } from "../../src/platform/files.ts";
import { planSegment } from "../../src/store/repair_segment.ts";
import { someTime, writeChecksum } from "../support/batches.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import {
  dyingFileSystem,
  openTestStore,
  recordsIn,
  removeLocks,
  storeFolder,
} from "../support/store_fixture.ts";
import {
  allProblems,
  at,
  batchesOf,
  check,
  filledStore,
  firstLog,
  logNames,
  recordCount,
  replace,
} from "./check_fixture.ts";

const repair = (fs: FileSystem): Promise<RepairReport> =>
  repairStore(storeFolder, { fileSystem: fs });

async function appendOne(fs: FileSystem): Promise<number> {
  const store = await openTestStore(fs);
  const { offset } = await append(store, "orders", { value: "on" });
  await closeStore(store);
  return offset;
}

function emptyFolder(fs: FileSystem, isKept: (name: string) => boolean = () => false): void {
  for (const { name } of fs.list(at("orders-0"))) {
    if (!isKept(name)) fs.remove(at(`orders-0/${name}`));
  }
}

/** As if nobody had closed the store; how far its logs were on disk is recorded. */
function forgetClosing(fs: FileSystem): void {
  fs.remove(at("ottla.cleanshutdown"));
}

describe("a log goes on behind its recovery point", () => {
  const startOffset = recordCount - 1;
  const lastBatch = [{ topic: "orders", partition: 0, startOffset, endOffset: recordCount }];
  const all = [{ topic: "orders", partition: 0, startOffset: 0, endOffset: recordCount }];
  const cases: readonly [string, (fs: FileSystem) => void, typeof all][] = [
    ["if its last batch is gone", cutLastBatch, lastBatch],
    ["if all of its files are gone", (fs) => emptyFolder(fs), all],
    [
      "if all but its topic id is gone",
      (fs) => emptyFolder(fs, (name) => name === "partition.metadata"),
      all,
    ],
    ["if its logs are gone", (fs) => emptyFolder(fs, (name) => !name.endsWith(".log")), all],
  ];
  for (const [name, damage, losses] of cases) {
    for (const ending of ["closed", "not closed"]) {
      test(`${name}, the store ${ending}`, async () => {
        const fs = await filledStore();
        if (ending === "not closed") forgetClosing(fs);
        damage(fs);
        const found = allProblems(await check(fs)).filter(({ severity }) => severity === "error");
        assert.deepEqual(found.map((one) => [one.startOffset, one.endOffset]), [
          [losses[0]!.startOffset, recordCount],
        ]);
        const report = await repair(fs);
        assert.deepEqual(report.losses, losses);
        assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
        assert.deepEqual((await repair(fs)).steps, []);
        assert.equal(await appendOne(fs), recordCount);
      });
    }
  }

  test("if its folder is gone, wherever a repair before was interrupted", async () => {
    let isDone = false;
    for (let changes = 0; !isDone; changes += 2) {
      assert.ok(changes < 1000, "the repair comes to an end");
      const fs = await filledStore();
      emptyFolder(fs);
      fs.removeFolder(at("orders-0"));
      const dying = dyingFileSystem(fs, changes);
      await repair(dying.fs).then(() => isDone = true, (error) => {
        if (dying.changeCount() <= changes) throw error;
      });
      removeLocks(fs);
      assert.equal((await repair(fs)).check!.isClean, true);
      assert.equal(await appendOne(fs), recordCount, `after ${changes} changes`);
    }
  });
});

test("a last batch whose records cannot be read has had its offsets", async () => {
  const edits = [
    (view: DataView) => view.setInt32(field.recordCount, 7),
    (view: DataView) => view.setInt32(field.baseOffset + 4, recordCount + 5),
  ];
  for (const edit of edits) {
    const fs = await filledStore("crashed");
    editLastBatch(fs, edit);
    const { losses } = await repair(fs);
    assert.deepEqual(losses.map((loss) => [loss.startOffset, loss.endOffset]), [
      [recordCount - 1, recordCount],
    ]);
    assert.equal(await appendOne(fs), recordCount);
  }
});

test("what was compacted once has gaps that are no losses, also when it is compacted no more", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, { topicOverrides: { segmentBytes: 1000 } });
  await createTopic(store, "orders", { cleanupPolicy: "compact" });
  for (let index = 0; index < 40; index++) {
    const record = { key: `k${index % 3}`, value: "v".repeat(60), timestamp: someTime + index };
    await append(store, "orders", record);
  }
  await compactTopic(store, "orders");
  for (const value of ["one", "two"]) await append(store, "orders", { key: value, value });
  await alterTopic(store, "orders", { cleanupPolicy: "delete" });
  const before = (await recordsIn(store, "orders")).map(({ offset }) => offset);
  await closeStore(store);
  const last = logNames(fs).at(-1)!;
  flipByte(fs, at(last), batchesOf(fs, last).at(-1)!.position + 70);
  const { losses, check: found } = await repair(fs);
  assert.deepEqual(losses, [{ topic: "orders", partition: 0, startOffset: 41, endOffset: 42 }]);
  assert.equal(found!.isClean, true, JSON.stringify(allProblems(found!)));
  const again = await openStore(storeFolder, { fileSystem: fs });
  const after = (await recordsIn(again, "orders")).map(({ offset }) => offset);
  await closeStore(again);
  assert.deepEqual(after, before.filter((offset) => offset !== 41));
});

test("a compacted segment without a batch has lost some if its indexes say so", async () => {
  const fs = await filledStore();
  resizeFile(fs, at(firstLog), 0);
  const segment = { baseOffset: 0, path: at(firstLog), sizeBytes: 0 };
  const bounds = {
    nextBase: 20,
    reachedOffset: recordCount,
    isCompacted: true,
    leaderEpoch: 0,
    nextLeaderEpoch: 0,
  };
  const hole = { startOffset: 0, endOffset: 20, epoch: 0 };
  assert.deepEqual(planSegment(fs, segment, bounds).pieces, [{ kind: "lost", ...hole }]);
  for (const kind of ["index", "timeindex"]) resizeFile(fs, at(firstLog.replace("log", kind)), 0);
  assert.deepEqual(planSegment(fs, segment, bounds).pieces, [{ kind: "absent", ...hole }]);
});

test("a leader epoch before zeros stays what it is", async () => {
  const fs = await filledStore();
  const bytes = readFile(fs, at(firstLog))!;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [first, second, ...others] = batchesOf(fs, firstLog);
  for (const { position } of [first!, ...others]) {
    view.setInt32(position + field.partitionLeaderEpoch, 5);
  }
  bytes.fill(0, second!.position, second!.position + second!.sizeBytes);
  writeBytes(fs, at(firstLog), bytes, 0);
  const segment = { baseOffset: 0, path: at(firstLog), sizeBytes: bytes.length };
  const { epochs, damaged } = planSegment(fs, segment, {
    nextBase: undefined,
    reachedOffset: 0,
    isCompacted: false,
    leaderEpoch: -1,
    nextLeaderEpoch: 5,
  });
  assert.deepEqual([...epochs], []);
  assert.deepEqual(damaged, [{ start: second!.position, end: others[0]!.position }]);
});

test("what was deleted before a power cut stays deleted, a start that is rotten is none", async () => {
  for (const lostPower of [true, false]) {
    const fs = await filledStore("crashed");
    const start = { topic: "orders", partition: 0, offset: recordCount + 10 };
    replace(fs, "log-start-offset-checkpoint", printOffsetCheckpoint([start]));
    if (lostPower) replace(fs, "ottla.powerloss", new Uint8Array(0));
    const report = await repair(fs);
    assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
    const store = await openTestStore(fs);
    assert.equal((await recordsIn(store, "orders")).length, lostPower ? 0 : recordCount);
    await closeStore(store);
    assert.equal(await appendOne(fs), lostPower ? start.offset : recordCount);
  }
});

test("whoever opens a log that is shorter than it was is warned", async () => {
  for (const ending of ["closed", "not closed"]) {
    const fs = await filledStore();
    if (ending === "not closed") forgetClosing(fs);
    cutLastBatch(fs);
    const warned = once(process, "warning");
    const store = await openTestStore(fs);
    await append(store, "orders", { value: "on" });
    const [{ name, message }] = await warned;
    assert.equal(name, "OttlaWarning");
    const found = `Records of orders-0 are missing: it ends at offset ${recordCount - 1}`;
    assert.ok(message.startsWith(found), message);
    await closeStore(store);
  }
});

function cutLastBatch(fs: FileSystem): void {
  const last = logNames(fs).at(-1)!;
  resizeFile(fs, at(last), batchesOf(fs, last).at(-1)!.position);
}

function editLastBatch(fs: FileSystem, edit: (view: DataView) => void): void {
  const last = logNames(fs).at(-1)!;
  const { position, sizeBytes } = batchesOf(fs, last).at(-1)!;
  const bytes = readFile(fs, at(last))!.slice(position, position + sizeBytes);
  edit(new DataView(bytes.buffer));
  writeBytes(fs, at(last), writeChecksum(bytes), position);
}
