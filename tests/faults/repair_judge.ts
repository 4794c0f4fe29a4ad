/**
 * What must be true of a store that was damaged and repaired: a check finds nothing, all that was
 * not hit is there as it was written, nothing is lost that was not told, no offset is given out
 * twice, and every damaged byte is kept.
 */

import assert from "node:assert/strict";

import { append } from "../../src/client/append.ts";
import { read } from "../../src/client/read.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { RepairReport } from "../../src/store/repair_report.ts";
import { repairStore } from "../../src/store/repair_store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { manualClock } from "../support/log_fixture.ts";
import { contentOf, dyingFileSystem, removeLocks, storeFolder } from "../support/store_fixture.ts";
import type { Rot } from "./rotten_judge.ts";
import { mayBeMisplaced, mayBeMissing, writtenAt } from "./rotten_judge.ts";
import type { OriginalStore } from "./rotten_store.ts";
import { openRotten, restoreImage, shownRecord } from "./rotten_store.ts";

/** Long after the files of `restoreImage` were written. */
const repairMs = 1_900_000_000_000;

/** Repairs a store of the tests. */
export function repairRotten(fs: FileSystem, dryRun = false): Promise<RepairReport> {
  return repairStore(storeFolder, { fileSystem: fs, clock: manualClock(repairMs), dryRun });
}

/**
 * Damages a store, repairs it and holds everything against what was written.
 *
 * @param original The store.
 * @param rot What happens to it.
 * @returns Resolves with whether anything was lost.
 * @throws AssertionError naming what is wrong.
 */
export async function judgeRepair(original: OriginalStore, rot: Rot): Promise<boolean> {
  const all = [rot, ...rot.others ?? []];
  const fs = restoreImage(original.image, new Map(all.map(({ path, bytes }) => [path, bytes])));
  const before = contentOf(fs);
  let planned: RepairReport;
  try {
    planned = await repairRotten(fs, true);
  } catch (error) {
    // Records of users in the place of the metadata may look like those of a newer Kafka.
    if (all.length > 1 && isOttlaError(error, "UNSUPPORTED_VERSION")) return true;
    throw error;
  }
  assert.deepEqual(contentOf(fs), before, "a dry run changes nothing");
  assert.equal(planned.keptIn, undefined);
  const report = await repairRotten(fs);
  const problems = [
    ...report.check!.problems,
    ...report.check!.partitions.flatMap((partition) => partition.problems),
  ].filter(({ severity }) => severity !== "note");
  assert.equal(JSON.stringify(problems), "[]");
  assert.equal(report.steps.length > 0, planned.steps.length > 0, "a dry run tells of it");
  const again = await repairRotten(fs);
  assert.equal(JSON.stringify([again.steps, again.losses]), "[[],[]]");
  await judgeRecords(original, all, fs, report);
  return report.losses.length > 0;
}

/**
 * Interrupts a repair at one of its changes, and holds what the next repair makes of it against
 * what was written.
 *
 * @param original The store.
 * @param rot What happens to it.
 * @param changesMax How many changes are made before the process dies.
 * @returns Resolves with whether the repair came to its end.
 */
export async function judgeInterrupted(
  original: OriginalStore,
  rot: Rot,
  changesMax: number,
): Promise<boolean> {
  const fs = restoreImage(original.image, new Map([[rot.path, rot.bytes]]));
  const dying = dyingFileSystem(fs, changesMax);
  let isDone = true;
  try {
    await repairRotten(dying.fs);
  } catch (error) {
    if (dying.changeCount() <= changesMax) throw error;
    isDone = false;
  }
  removeLocks(fs);
  const report = await repairRotten(fs);
  assert.equal(report.check!.isClean, true);
  await judgeRecords(original, [rot], fs, undefined);
  return isDone;
}

async function judgeRecords(
  original: OriginalStore,
  rots: readonly Rot[],
  fs: FileSystem,
  report: RepairReport | undefined,
): Promise<void> {
  const store = await openRotten(fs);
  for (const [name, partition] of original.partitions) {
    const { topic, partition: number, endOffset, startOffset } = partition;
    if (!internalsOf(store).topics.has(topic)) {
      // A metadata log that ends with a whole batch is whole, unless it is known to have gone on.
      const isHit = rots.some(({ path }) => path.startsWith("__cluster_metadata"));
      assert.ok(isHit && original.ending === "crashed", `topic ${topic} is gone`);
      continue;
    }
    const isLost = (offset: number): boolean =>
      // Of two repairs the first may have told.
      report === undefined || report.losses.some((loss) =>
        loss.topic === topic && loss.partition === number && offset >= loss.startOffset &&
        offset < loss.endOffset
      );
    const seen = new Set<number>();
    // Without `onGap`: a gap would be an error.
    for await (const record of read(store, topic, { partition: number })) {
      seen.add(record.offset);
      if (mayBeMisplaced(partition, rots)) continue;
      const written = writtenAt(original, partition, rots, record.offset);
      assert.ok(written.includes(shownRecord(record)), `record ${record.offset} of ${name}`);
    }
    for (const batch of partition.batches) {
      for (const offset of batch.records.keys()) {
        if (seen.has(offset) || offset < startOffset) continue;
        const isExcused = mayBeMissing(original, partition, batch, rots);
        assert.ok(isExcused, `record ${offset} of ${name} is missing and was not hit`);
        const isTold = isLost(offset) || original.ending === "crashed" || rots.length > 1 ||
          mayBeMisplaced(partition, rots) ||
          !rots[0]!.path.endsWith(".log");
        assert.ok(isTold, `record ${offset} of ${name} is missing, nothing is told of it`);
      }
    }
    if (topic.startsWith("__")) continue;
    const { offset } = await append(store, topic, { partition: number, key: "k", value: "on" });
    assert.ok(!seen.has(offset), `offset ${offset} of ${name} is given out twice`);
    const isKnown = original.ending === "closed" && rots.length === 1 &&
      !rots[0]!.path.includes("checkpoint");
    assert.ok(!isKnown || offset >= endOffset, `offset ${offset} of ${name} is given out twice`);
  }
  await closeStore(store);
}
