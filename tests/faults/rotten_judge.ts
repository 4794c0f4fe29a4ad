/**
 * What must be true of a store whatever has happened to the bytes of one of its files.
 *
 * Opening gives a store or an `OttlaError` that names the file. Every record that is read is the
 * one that was written at its offset. What lies beside the damage is read, whatever it was that was
 * hit. What is missing was told of by `checkStore`. Opening again shows the same. An append then
 * works or is refused with an `OttlaError`, and the next opening has it.
 */

import assert from "node:assert/strict";

import { append } from "../../src/client/append.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import { read } from "../../src/client/read.ts";
import type { ReadGap } from "../../src/client/read_options.ts";
import { isOttlaError, OttlaError } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import { checkStore } from "../../src/store/check_store.ts";
import type { CheckProblem } from "../../src/store/check_report.ts";
import type { Store } from "../../src/store/store.ts";
import { parseOffsetCheckpoint } from "../../src/log/checkpoint_file.ts";
import { logStartName, recoveryPointName } from "../../src/store/store_files.ts";
import { partitionFolderName } from "../../src/store/topic_name.ts";
import { storeFolder } from "../support/store_fixture.ts";
import type {
  OriginalBatch,
  OriginalPartition,
  OriginalStore,
  StoreImage,
} from "./rotten_store.ts";
import {
  committedBefore,
  committedLast,
  openRotten,
  restoreImage,
  shownRecord,
} from "./rotten_store.ts";

/** What has happened to a file. */
export interface Rot {
  /** The file, from the store's folder on. */
  readonly path: string;
  /** Its bytes now, or undefined if it is gone. */
  readonly bytes: Uint8Array | undefined;
  /** The first byte that is not what it was, and the one behind the last. */
  readonly startPosition: number;
  readonly endPosition: number;
  /** Other files that have changed with it. */
  readonly others?: readonly Rot[];
}

/** What a reader was given of one partition. */
interface SeenPartition {
  /** By offset. */
  readonly records: Map<number, string>;
  readonly gaps: ReadGap[];
  /** Why it could not be read. */
  readonly failure: OttlaError | undefined;
}

type SeenStore = ReadonlyMap<string, SeenPartition>;

/** What a file is to those that are not in its folder. */
type Scope = "partition" | "start" | "metadata" | "root";

/**
 * Damages a store and holds everything against what was written.
 *
 * @param original The store.
 * @param rot What happens to it.
 * @returns Resolves with whether it could be opened.
 * @throws AssertionError naming what is wrong.
 */
export async function judgeRot(original: OriginalStore, rot: Rot): Promise<boolean> {
  const all = [rot, ...rot.others ?? []];
  const fs = restoreImage(original.image, new Map(all.map(({ path, bytes }) => [path, bytes])));
  const problems = await checkedProblems(fs);
  let store: Store;
  try {
    store = await openRotten(fs);
  } catch (error) {
    judgeRefusal(error, all);
    // A lock that is not written to its end counts as free a little later.
    const isTransient = isOttlaError(error, "STORE_LOCKED");
    assert.ok(
      isTransient || problems.length > 0,
      "the check finds what keeps it from being opened",
    );
    return false;
  }
  const seen = await readAll(store, original);
  judgeGroup(await groupOffset(store), all);
  await closeStore(store);
  for (const [name, partition] of original.partitions) {
    const lost = judgePartition(partition, seen.get(name), all, original);
    if (lost > 0) judgeReport(problems, all, name, lost, original);
  }
  await judgeSecondOpening(fs, original, seen);
  return true;
}

/** The errors and warnings of a check; a store that is none has one. */
async function checkedProblems(fs: FileSystem): Promise<CheckProblem[]> {
  try {
    const report = await checkStore(storeFolder, { fileSystem: fs });
    const problems = [...report.problems, ...report.partitions.flatMap((one) => one.problems)];
    return problems.filter(({ severity }) => severity !== "note");
  } catch (error) {
    if (!isOttlaError(error, "STORE_INVALID")) throw error;
    return [{ severity: "error", path: "", message: error.message }];
  }
}

function judgeRefusal(error: unknown, rots: readonly Rot[]): void {
  if (!(error instanceof OttlaError)) throw error;
  assert.match(error.message, /^Cannot /);
  const isNamed = rots.some(({ path }) => {
    const [folder = "", file] = path.replace(/^ottla\.meta/, "meta").split("/");
    // A log is told of by its folder where it is not a matter of one file.
    return error.message.includes(file ?? folder) || error.message.includes(`/${folder}`);
  });
  const isAboutFolder = /holds other files and no meta\.properties/.test(error.message);
  assert.ok(isNamed || isAboutFolder, `the refusal names no file: ${error.message}`);
}

async function readAll(store: Store, original: OriginalStore): Promise<SeenStore> {
  const seen = new Map<string, SeenPartition>();
  for (const [name, { topic, partition }] of original.partitions) {
    const records = new Map<number, string>();
    const gaps: ReadGap[] = [];
    let failure: OttlaError | undefined;
    let last = -1;
    try {
      for await (
        const record of read(store, topic, { partition, onGap: (gap) => gaps.push(gap) })
      ) {
        assert.ok(record.offset > last, "offsets rise");
        last = record.offset;
        records.set(record.offset, shownRecord(record));
      }
    } catch (error) {
      if (!(error instanceof OttlaError)) throw error;
      failure = error;
    }
    seen.set(name, { records, gaps, failure });
  }
  return seen;
}

/** What the group has committed, or the error of who asks. */
async function groupOffset(store: Store): Promise<number | OttlaError | undefined> {
  try {
    const offsets = await committedOffsets(store, "billing");
    return offsets[0]?.offset;
  } catch (error) {
    if (error instanceof OttlaError) return error;
    throw error;
  }
}

/** A group is where it was, or where it was once; nowhere else. */
function judgeGroup(offset: number | OttlaError | undefined, rots: readonly Rot[]): void {
  if (offset === committedLast) return;
  const isHit = rots.some(({ path }) => path.startsWith("__") || path === logStartName);
  assert.ok(isHit, `the group is at ${String(offset)}`);
  const isOlder = offset === undefined || offset === committedBefore;
  assert.ok(isOlder || offset instanceof OttlaError, `the group was never at ${String(offset)}`);
}

/** Returns how many records of a partition cannot be read that could be. */
function judgePartition(
  partition: OriginalPartition,
  seen: SeenPartition | undefined,
  rots: readonly Rot[],
  original: OriginalStore,
): number {
  assert.ok(seen !== undefined);
  const { records, gaps, failure } = seen;
  const name = `${partition.topic}-${partition.partition}`;
  for (const [offset, record] of records) {
    if (mayBeMisplaced(partition, rots)) break;
    const written = writtenAt(original, partition, rots, offset);
    assert.ok(written.includes(record), `record ${offset} of ${name} is as it was written`);
  }
  let missing = 0;
  for (const batch of partition.batches) {
    for (const offset of batch.records.keys()) {
      if (records.has(offset) || offset < partition.startOffset) continue;
      missing++;
      assert.ok(
        failure !== undefined || mayBeMissing(original, partition, batch, rots),
        `record ${offset} of ${name} is missing and was not hit; gaps ${shownGaps(gaps)}`,
      );
    }
  }
  const scopes = new Set(rots.map((rot) => scopeOf(rot.path, name)));
  if (failure !== undefined || gaps.length > 0) {
    assert.ok(
      scopes.has("partition") || scopes.has("metadata") || scopes.has("start"),
      `${name} was not hit: ${failure?.message ?? shownGaps(gaps)}`,
    );
  }
  for (const offset of records.keys()) {
    const isInGap = gaps.some((gap) => offset >= gap.startOffset && offset < gap.endOffset);
    assert.ok(!isInGap, `offset ${offset} of ${name} is in a gap and was read`);
  }
  return missing;
}

/**
 * Whether nothing tells that a batch has a wrong place: the last one where offsets leave gaps, and
 * the metadata's in another log, whose checksums are right.
 */
export function mayBeMisplaced(
  { batches, isCompacted }: OriginalPartition,
  rots: readonly Rot[],
): boolean {
  const last = batches.at(-1)!;
  const isSwapped = rots.length > 1 &&
    rots.some(({ path }) => path.startsWith("__cluster_metadata") && path.endsWith(".log"));
  return isSwapped || isCompacted && isHit({ ...last, endPosition: last.startPosition + 8 }, rots);
}

/** What was written at an offset, also of logs whose files have changed places with its own. */
export function writtenAt(
  { partitions }: OriginalStore,
  partition: OriginalPartition,
  rots: readonly Rot[],
  offset: number,
): string[] {
  const isSwapped = rots.length > 1;
  const isOfInterest = (path: string): boolean =>
    isSwapped && rots.some((rot) => rot.path === path);
  const batches = [...partitions.values()].flatMap((one) =>
    one === partition ? one.batches : one.batches.filter(({ path }) => isOfInterest(path))
  );
  return batches.flatMap(({ records }) => records.get(offset) ?? []);
}

/** Whether a batch was hit, or something beside it that may keep it from being read. */
export function mayBeMissing(
  { ending, image }: OriginalStore,
  { topic, partition }: OriginalPartition,
  batch: OriginalBatch,
  rots: readonly Rot[],
): boolean {
  const name = partitionFolderName(topic, partition);
  if (isHit(batch, rots)) return true;
  return rots.some((rot) => {
    const scope = scopeOf(rot.path, name);
    // A number in a text that has no checksum; another file of whole batches.
    if (scope === "start" || rots.length > 1 && rot.path.endsWith(".log")) return true;
    if (ending === "closed") return false;
    // The topic is not known, or the folder is taken for another one's, and set aside.
    if (scope === "metadata" || rot.path === `${name}/partition.metadata`) return true;
    // Behind a hole that a power cut may have left nothing counts that was not synced.
    return rot.path === batch.path && batch.baseOffset >= recoveryPointOf(image, topic, partition);
  });
}

/** Below which offset all of a partition is known to have been on disk. */
function recoveryPointOf(image: StoreImage, topic: string, partition: number): number {
  const entries = parseOffsetCheckpoint(image.get(recoveryPointName)!, recoveryPointName);
  const entry = entries.find((one) => one.topic === topic && one.partition === partition);
  return entry?.offset ?? 0;
}

function scopeOf(path: string, partitionName: string): Scope | undefined {
  if (path.startsWith(`${partitionName}/`)) return "partition";
  if (path.startsWith("__cluster_metadata-0/")) return "metadata";
  if (path === logStartName) return "start";
  return path.includes("/") ? undefined : "root";
}

/** Whether any of a batch's bytes is not what it was. */
function isHit(batch: OriginalBatch, rots: readonly Rot[]): boolean {
  return rots.some(({ path, startPosition, endPosition }) =>
    path === batch.path && startPosition < batch.endPosition && endPosition > batch.startPosition
  );
}

/**
 * Nothing is lost silently: the check has named the file, or the partition where another file tells
 * of the loss.
 */
function judgeReport(
  problems: readonly CheckProblem[],
  rots: readonly Rot[],
  name: string,
  lostCount: number,
  { ending, image, partitions }: OriginalStore,
): void {
  const isTold = problems.some(({ path, message }) =>
    message.includes(name) ||
    rots.some((rot) => path === rot.path || path.split("/")[0] === rot.path.split("/")[0])
  );
  const { topic, partition } = partitions.get(name)!;
  // A crash may cut what was not recorded as synced, and a start is a number like any other.
  const isUnknown = ending === "crashed" && recoveryPointOf(image, topic, partition) === 0;
  const isStart = rots.some(({ path }) => path === logStartName);
  assert.ok(
    isTold || isUnknown || isStart,
    `${lostCount} records of ${name} are lost, the check found ${JSON.stringify(problems)}`,
  );
}

async function judgeSecondOpening(
  fs: FileSystem,
  original: OriginalStore,
  seen: SeenStore,
): Promise<void> {
  const store = await openRotten(fs);
  assert.deepEqual(comparable(await readAll(store, original)), comparable(seen), "opened again");
  const appended = new Map<string, { offset: number; value: string }>();
  for (const [name, { topic, partition }] of original.partitions) {
    if (topic.startsWith("__")) continue;
    const value = `appended to ${name}`;
    try {
      const { offset } = await append(store, topic, { partition, key: "k", value });
      appended.set(name, { offset, value });
      assert.ok(!seen.get(name)!.records.has(offset), `offset ${offset} of ${name} is given out`);
    } catch (error) {
      if (!(error instanceof OttlaError)) throw error;
    }
  }
  await closeStore(store);
  const again = await openRotten(fs);
  const after = await readAll(again, original);
  for (const [name, { offset, value }] of appended) {
    const record = after.get(name)!.records.get(offset);
    const hex = Array.from(new TextEncoder().encode(value), (byte) => byte.toString(16)).join(" ");
    assert.ok(record?.includes(hex), `what was appended to ${name} is there`);
    for (const [before, content] of seen.get(name)!.records) {
      assert.equal(after.get(name)!.records.get(before), content);
    }
  }
  await closeStore(again);
}

function comparable(seen: SeenStore): unknown {
  return [...seen].map(([name, { records, gaps, failure }]) => [
    name,
    [...records],
    gaps.map(({ startOffset, endOffset }) => [startOffset, endOffset]),
    failure?.code,
  ]);
}

function shownGaps(gaps: readonly ReadGap[]): string {
  return gaps.map(({ startOffset, endOffset }) => `${startOffset} to ${endOffset}`).join(", ");
}
