/**
 * Repairs the folder of one partition in which a check has found something.
 *
 * The log is the truth: its damaged stretches are taken out (`repair_segment.ts`), and of the files
 * that are made from it those that are wrong are removed. The opening that ends every repair makes
 * them anew, since what is recorded as synced of this log is forgotten.
 */

import {
  epochCheckpointName,
  parseEpochCheckpoint,
  printEpochCheckpoint,
} from "../log/checkpoint_file.ts";
import type { EpochEntry } from "../log/leader_epoch_cache.ts";
import { assignEpoch, leaderEpochCache } from "../log/leader_epoch_cache.ts";
import {
  findTopicIdOfFolder,
  partitionMetadataName,
  printPartitionMetadata,
} from "../log/partition_metadata.ts";
import { isOttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, makeFolderSynced, readFile } from "../platform/files.ts";
import { partitionLeaderEpochOf } from "../record/batch_view.ts";
import { parseSegmentFileName, segmentFileName } from "../segment/segment_file_name.ts";
import type { CheckProblem } from "./check_report.ts";
import { listSegments, scanFile } from "./folder_view.ts";
import type { SegmentFile } from "./folder_view.ts";
import { removeKept, replaceKept } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";
import { addLoss, addStep } from "./repair_report.ts";
import type { SegmentPlan } from "./repair_segment.ts";
import {
  firstEpoch,
  needsRewrite,
  planSegment,
  rangesOf,
  rewriteSegment,
} from "./repair_segment.ts";
import { partitionFolderName } from "./topic_name.ts";

/** A partition that is to be repaired. */
export interface DamagedPartition {
  readonly topic: string;
  readonly partition: number;
  /** What the metadata says; undefined if it says nothing of this topic. */
  readonly topicId: string | undefined;
  readonly isCompacted: boolean;
  /** How far the log is recorded to have been on disk. */
  readonly reachedOffset: number;
  /** Where the log is recorded to begin; 0 if nothing is recorded. */
  readonly startOffset: number;
  /** That of the partition, which no batch is above; undefined if it is not known. */
  readonly leaderEpoch: number | undefined;
  /** What a check has found. */
  readonly problems: readonly CheckProblem[];
}

/** Files that are made from the log. */
const derivedKinds = ["index", "timeindex", "txnindex"] as const;

/**
 * Repairs a partition.
 *
 * @param repair The repair.
 * @param damaged The partition; its folder exists.
 * @throws What the file system throws.
 */
export function repairPartition(repair: Repair, damaged: DamagedPartition): void {
  const name = partitionFolderName(damaged.topic, damaged.partition);
  repairTopicId(repair, damaged, name);
  repairMissingSegments(repair, damaged, name);
  repairSegments(repair, damaged, name);
  removeWrongFiles(repair, damaged, name);
  repairEpochs(repair, damaged, name);
}

/** A partition whose folder is gone. */
export type MissingPartition = Pick<
  DamagedPartition,
  "topic" | "partition" | "topicId" | "reachedOffset" | "startOffset"
>;

/**
 * Makes the folder of a partition that is gone, so that its offsets are not given out again. One
 * that a crash leaves empty is taken for a partition whose log is short of what was reached.
 *
 * @param repair The repair.
 * @param missing The partition.
 */
export function replaceMissingFolder(repair: Repair, missing: MissingPartition): void {
  const name = partitionFolderName(missing.topic, missing.partition);
  addStep(repair, name, "The folder is made anew");
  if (!repair.isDryRun) makeFolderSynced(repair.fs, joinPath(repair.folder, name));
  beginLogAnew(repair, missing, name, missing.startOffset);
  if (missing.topicId === undefined) return;
  const path = joinPath(name, partitionMetadataName);
  replaceKept(repair, path, printPartitionMetadata(missing.topicId), "The topic id is written");
}

/** A log that is empty goes on where it had come to. */
function beginLogAnew(
  repair: Repair,
  { topic, partition, reachedOffset }: MissingPartition,
  name: string,
  startOffset: number,
): void {
  if (reachedOffset === 0) return;
  const { fs, folder, isDryRun } = repair;
  const path = joinPath(name, segmentFileName(reachedOffset, "log"));
  addStep(repair, path, `The log is begun anew with offset ${reachedOffset}`);
  if (startOffset < reachedOffset) {
    addLoss(repair, { topic, partition, startOffset, endOffset: reachedOffset });
  }
  if (isDryRun) return;
  fs.close(fs.open(joinPath(folder, path), "create"));
  fs.syncFolder(joinPath(folder, name));
}

function repairTopicId(
  repair: Repair,
  { topicId, problems }: DamagedPartition,
  name: string,
): void {
  const path = joinPath(name, partitionMetadataName);
  if (topicId === undefined || !problems.some((problem) => problem.path === path)) return;
  if (findReadableTopicId(repair.fs, joinPath(repair.folder, name)) === topicId) return;
  const bytes = printPartitionMetadata(topicId);
  replaceKept(repair, path, bytes, `The topic id becomes ${topicId}, as the metadata has it`);
}

function findReadableTopicId(fs: FileSystem, folder: string): string | undefined {
  try {
    return findTopicIdOfFolder(fs, folder);
  } catch (error) {
    if (isOttlaError(error)) return undefined;
    throw error;
  }
}

/**
 * An index without a log tells of a segment that is gone. What is gone between two others is found
 * without it where offsets leave no gaps.
 */
function repairMissingSegments(repair: Repair, damaged: DamagedPartition, name: string): void {
  const { fs } = repair;
  const { topic, partition, reachedOffset, isCompacted } = damaged;
  const folder = joinPath(repair.folder, name);
  const bases = listSegments(fs, folder).map(({ baseOffset }) => baseOffset);
  const indexed = fs.list(folder).flatMap((entry) => {
    const parsed = parseSegmentFileName(entry.name);
    const isIndex = parsed?.kind === "index" || parsed?.kind === "timeindex";
    return isIndex && parsed.suffix === "" ? [parsed.baseOffset] : [];
  });
  const known = [...new Set([...bases, ...indexed])].sort((a, b) => a - b);
  const [firstBase] = bases;
  if (firstBase === undefined) {
    const startOffset = Math.max(damaged.startOffset, known[0] ?? 0);
    beginLogAnew(repair, damaged, name, startOffset);
    return;
  }
  for (const [index, startOffset] of known.entries()) {
    if (bases.includes(startOffset) || (startOffset > firstBase && !isCompacted)) continue;
    const endOffset = known[index + 1] ?? reachedOffset;
    if (endOffset > startOffset) addLoss(repair, { topic, partition, startOffset, endOffset });
  }
}

function repairSegments(repair: Repair, damaged: DamagedPartition, name: string): void {
  const { fs } = repair;
  const { topic, partition, isCompacted, reachedOffset } = damaged;
  const segments = listSegments(fs, joinPath(repair.folder, name));
  let leaderEpoch = -1;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    const plan = planSegment(fs, segment, {
      nextBase: next?.baseOffset,
      reachedOffset,
      isCompacted,
      leaderEpoch,
      nextLeaderEpoch: next === undefined ? damaged.leaderEpoch : firstEpoch(fs, next),
    });
    leaderEpoch = plan.lastEpoch;
    if (!needsRewrite(plan)) continue;
    const path = logPath(name, segment);
    addStep(repair, path, rewriteMessage(plan));
    for (const range of rangesOf(plan, "lost")) addLoss(repair, { topic, partition, ...range });
    removeDerived(repair, path);
    rewriteSegment(repair, plan, path);
  }
}

function rewriteMessage(plan: SegmentPlan): string {
  const damagedBytes = plan.damaged.reduce((sum, { start, end }) => sum + end - start, 0);
  const lost = rangesOf(plan, "lost");
  const parts: string[] = [];
  if (damagedBytes > 0) parts.push(`${damagedBytes} damaged bytes are taken out`);
  if (plan.epochs.size > 0) parts.push(`${plan.epochs.size} leader epochs are set right`);
  for (const { startOffset, endOffset } of rangesOf(plan, "absent")) {
    parts.push(`a batch without records stands for offsets ${startOffset} to ${endOffset - 1}`);
  }
  for (const { startOffset, endOffset } of lost.slice(0, 10)) {
    parts.push(`offsets ${startOffset} to ${endOffset - 1} are lost`);
  }
  if (lost.length > 10) parts.push(`and ${lost.length - 10} more stretches`);
  const text = parts.length > 0 ? parts.join(", ") : "unused bytes at its end are cut off";
  return text[0]!.toUpperCase() + text.slice(1);
}

/** What an index says of a log that changes is not true any more. */
function removeDerived(repair: Repair, path: string): void {
  for (const kind of derivedKinds) {
    const derived = path.replace(/log$/, kind);
    removeKept(repair, derived, "It is made anew from the log");
  }
}

/** Removes what a check has found wrong and the log tells as well. */
function removeWrongFiles(repair: Repair, { problems }: DamagedPartition, name: string): void {
  const paths = new Set(problems.map(({ path }) => path));
  for (const path of paths) {
    const parsed = parseSegmentFileName(path.slice(name.length + 1));
    if (parsed === undefined || parsed.suffix !== "" || parsed.kind === "log") continue;
    removeKept(repair, path, "It is made anew from the log");
  }
}

/** The leader epochs are in every batch; only the file says them for an empty log. */
function repairEpochs(
  repair: Repair,
  { problems }: DamagedPartition,
  name: string,
): void {
  const path = joinPath(name, epochCheckpointName);
  const { fs, folder } = repair;
  if (!problems.some((problem) => problem.path === path)) return;
  const cache = leaderEpochCache();
  for (const segment of listSegments(fs, joinPath(folder, name))) {
    scanFile(fs, segment.path, { verify: true }, (batch) => {
      const epoch = partitionLeaderEpochOf(batch);
      const isNew = epoch >= 0 && epoch > (cache.entries.at(-1)?.epoch ?? -1);
      if (isNew) assignEpoch(cache, epoch, batch.baseOffset);
    });
  }
  if (isSame(readEpochs(fs, joinPath(folder, path)), cache.entries)) return;
  const message = "The leader epochs are written as the batches have them";
  replaceKept(repair, path, printEpochCheckpoint(cache.entries), message);
}

function readEpochs(fs: FileSystem, path: string): readonly EpochEntry[] | undefined {
  try {
    const bytes = readFile(fs, path);
    return bytes === undefined ? undefined : parseEpochCheckpoint(bytes, path);
  } catch (error) {
    if (isOttlaError(error)) return undefined;
    throw error;
  }
}

function isSame(a: readonly EpochEntry[] | undefined, b: readonly EpochEntry[]): boolean {
  return a !== undefined && a.length === b.length &&
    a.every((entry, index) =>
      entry.epoch === b[index]!.epoch && entry.startOffset === b[index]!.startOffset
    );
}

function logPath(name: string, { path }: SegmentFile): string {
  return joinPath(name, path.slice(path.lastIndexOf("/") + 1));
}
