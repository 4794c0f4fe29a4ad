/**
 * A crash at every single step of a compaction: of the process, which loses nothing that was
 * written, and of the power, which loses what was not synced.
 */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadXxh64 } from "../../src/bytes/xxh64.ts";
import type { Log } from "../../src/log/log.ts";
import { abandonLog, flushLog, rollLog } from "../../src/log/log.ts";
import { openLog } from "../../src/log/log_open.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  appendPairs,
  cleanTestLog,
  compactAll,
  linesOf,
  sealAll,
  tableOf,
} from "../support/compaction.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, faultyDisk } from "../support/faulty_file_system.ts";
import {
  filesOf,
  logFolder,
  manualClock,
  openTestLog,
  testPlace,
  writeBytes,
} from "../support/log_fixture.ts";
import { endTransaction } from "../support/produced.ts";
import { dyingFileSystem } from "../support/store_fixture.ts";

const config = { segmentBytes: 400, cleanupPolicy: "compact" };
/** What every reader must find: the last value of each key, deleted ones left out. */
const table = { a: "12", b: "9", d: "11", e: "13", f: "5", g: "last" };

/** Segments of a few batches, with tombstones, an aborted transaction and a producer. */
async function fillLog(log: Log): Promise<void> {
  appendPairs(log, [["a", "0"], ["b", "1"], ["c", "2"]]);
  appendPairs(log, [["a", "3"], ["d", "4"], ["f", "5"]]);
  appendPairs(log, [["c", null]]);
  const producer = { producerId: 7, producerEpoch: 0, transactional: true };
  appendPairs(log, [["a", "aborted"], ["e", "aborted"]], { ...producer, baseSequence: 0 });
  endTransaction(log, "abort");
  appendPairs(log, [["b", "9"]], { ...producer, baseSequence: 2 });
  endTransaction(log, "commit");
  appendPairs(log, [["d", "11"]]);
  appendPairs(log, [["a", "12"], ["e", "13"]], {
    producerId: 8,
    producerEpoch: 0,
    baseSequence: 0,
  });
  await sealAll(log);
  appendPairs(log, [["g", "last"]]);
  await sealAll(log);
}

function checkTable(log: Log): void {
  const found = Object.fromEntries([...tableOf(log)].filter(([key]) => !/^\0/.test(key)));
  const live = Object.entries(found).filter(([, value]) => value !== null).sort();
  assert.deepEqual(Object.fromEntries(live), table);
}

/** A log on a disk that dies after so many changes, while it is compacted for the second time. */
async function crashedAt(disk: FaultyDisk, changesMax: number): Promise<number | undefined> {
  const clock = manualClock();
  const dying = dyingFileSystem(disk.fs, changesMax);
  const { log } = openTestLog(dying.fs, { config, clock });
  try {
    await fillLog(log);
    const changesBefore = dying.changeCount();
    await cleanTestLog(log);
    clock.nowMs += 5000;
    await cleanTestLog(log);
    checkTable(log);
    assert.equal(log.endOffset, 16);
    return changesBefore;
  } catch (error) {
    assert.match(String(error), /died|EIO|compact/);
    return undefined;
  } finally {
    abandonLog(log);
  }
}

async function checkReopened(fs: FileSystem): Promise<void> {
  const { log } = openTestLog(fs, { config, recoveryPoint: 16 });
  assert.equal(log.endOffset, 16);
  checkTable(log);
  const leftovers = filesOf(fs).filter((name) => /\.(deleted|cleaned|swap)$/.test(name));
  assert.deepEqual(leftovers, []);
  // Nothing of what the crash left keeps the next compaction from its end.
  await compactAll(log);
  checkTable(log);
  const keys = linesOf(log).map((line) => /^\d+ (.*)=/.exec(line)![1]);
  assert.deepEqual([...new Set(keys)].length, keys.length);
  abandonLog(log);
}

/**
 * What a power cut leaves where each file's renames since the last sync of the folder survive or
 * not by themselves.
 */
function crashNames(disk: FaultyDisk, survives: (nth: number) => boolean): FileSystem {
  const after = memoryFileSystem();
  after.makeFolder(logFolder);
  const durable = new Map(
    [...disk.durableNames.get(logFolder)!].map(([name, file]) => [file, name]),
  );
  const current = new Map(
    [...disk.files].map(([path, file]) => [file, path.slice(logFolder.length + 1)]),
  );
  let nth = 0;
  for (const file of new Set([...durable.keys(), ...current.keys()])) {
    const name = durable.get(file) === current.get(file) || !survives(nth++)
      ? durable.get(file)
      : current.get(file);
    if (name === undefined) continue;
    assert.equal(after.stat(`${logFolder}/${name}`), undefined, `one file is ${name}`);
    writeBytes(after, `${logFolder}/${name}`, file.durable);
  }
  return after;
}

before(loadXxh64);

describe("a crash in a compaction", () => {
  it("at any change loses no key, whatever survives of it", async () => {
    const whole = faultyDisk(memoryFileSystem());
    const first = await crashedAt(whole, Infinity);
    assert.ok(first !== undefined);
    let changes = first;
    for (;; changes++) {
      const disk = faultyDisk(memoryFileSystem());
      const isOver = await crashedAt(disk, changes) !== undefined;
      // The power goes: what was synced is left, or the names too, or the bytes too.
      await checkReopened(crashDisk(disk).inner);
      await checkReopened(crashDisk(disk, { names: true }).inner);
      await checkReopened(crashDisk(disk, { names: true, bytes: (count) => count }).inner);
      for (let seed = 1; seed < 12; seed++) {
        await checkReopened(crashNames(disk, (nth) => ((seed * 7919) >> nth & 1) === 1));
      }
      // The process dies: all that was written is left.
      await checkReopened(disk.inner);
      if (isOver) break;
    }
    assert.ok(changes - first > 60, `${changes - first} changes are enough to be interesting`);
  });

  it("takes no value for a later one that is not on disk", async () => {
    const disk = faultyDisk();
    let isSlow = false;
    const syncData: FileSystem["syncData"] = (file) =>
      isSlow && !disk.handles.get(file)!.endsWith(".cleaned")
        ? new Promise(() => {})
        : disk.fs.syncData(file);
    const { log } = openTestLog({ ...disk.fs, syncData }, { config });
    appendPairs(log, [["a", "0"]]);
    await sealAll(log);
    isSlow = true;
    appendPairs(log, [["a", "1"]]);
    rollLog(log);
    await cleanTestLog(log);
    assert.deepEqual(linesOf(log), ["0 a=0", "1 a=1"]);
    const { log: reopened } = openTestLog(crashDisk(disk).inner, { config, recoveryPoint: 1 });
    assert.deepEqual(linesOf(reopened), ["0 a=0"]);
    abandonLog(log);
    abandonLog(reopened);
  });

  it("completes no swap that was given up", async () => {
    const disk = faultyDisk();
    const { log } = openTestLog(disk.fs, { config });
    await fillLog(log);
    const hasSwap = (fs: FileSystem): boolean => filesOf(fs).some((name) => /\.swap$/.test(name));
    await assert.rejects(
      cleanTestLog(log, {
        nextTurn() {
          if (hasSwap(disk.fs)) throw new Error("given up");
          return Promise.resolve();
        },
      }),
      /given up/,
    );
    abandonLog(log);
    assert.equal(hasSwap(crashDisk(disk).inner), false);
  });

  it("leaves no hole where a recovery looks for one, whatever the policy is by then", async () => {
    const fs = memoryFileSystem();
    const { log } = openTestLog(fs, { config });
    appendPairs(log, [["a", "0"]]);
    await sealAll(log);
    const recoveryPoint = log.endOffset;
    appendPairs(log, [["b", "1"]]);
    appendPairs(log, [["c", "2"]]);
    appendPairs(log, [["c", "3"]]);
    rollLog(log);
    await flushLog(log);
    await cleanTestLog(log);
    abandonLog(log);
    const place = testPlace(fs, { recoveryPoint, config: { ...config, cleanupPolicy: "delete" } });
    const { log: reopened, tornBytes } = openLog({ ...place, lostPower: true });
    assert.deepEqual([tornBytes, reopened.endOffset], [0, 4]);
    assert.deepEqual(linesOf(reopened), ["0 a=0", "1 b=1", "2 c=2", "3 c=3"]);
    abandonLog(reopened);
  });
});
