/** Checks the folder of one partition: its segments, and every file beside them. */

import { epochCheckpointName, parseEpochCheckpoint } from "../log/checkpoint_file.ts";
import { findTopicIdOfFolder, partitionMetadataName } from "../log/partition_metadata.ts";
import { producerStates } from "../log/producer_state.ts";
import { parseProducerSnapshot } from "../log/producer_snapshot_file.ts";
import { nextTurn } from "../platform/clock.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import { isControlBatch } from "../record/batch_view.ts";
import { forEachRecord, valueOf } from "../record/record_reader.ts";
import { parseSegmentFileName, tornSuffix } from "../segment/segment_file_name.ts";
import { addProblem, attempt, problemList, problemsOf } from "./check_report.ts";
import type { CheckSeverity, PartitionCheck, ProblemList } from "./check_report.ts";
import { checkSegment } from "./check_segment.ts";
import type { PartitionProgress, PartitionRules } from "./check_segment.ts";
import { checkTransactionIndex } from "./check_transactions.ts";
import { listSegments, scanFile } from "./folder_view.ts";
import type { SegmentFile } from "./folder_view.ts";
import { metadataImage } from "./metadata_image.ts";
import { replaySnapshot } from "./metadata_reader.ts";
import { decodeMetadataRecord } from "./metadata_records.ts";
import { parseQuorumState, quorumStateName } from "./quorum_state.ts";
import { partitionFolderName } from "./topic_name.ts";

/** A partition to be checked. */
export interface PartitionPlace extends PartitionRules {
  readonly topic: string;
  readonly partition: number;
  /** What the metadata says; undefined if it says nothing of this partition. */
  readonly topicId: string | undefined;
}

const snapshotName = /^\d{20}-\d{10}\.checkpoint$/;
const sideFileBytesMax = 256 * 1024 * 1024;

/**
 * Checks a partition.
 *
 * @param fs Where it is.
 * @param storeFolder The store's folder.
 * @param place The partition; its folder exists.
 * @returns Resolves with what was found.
 */
export async function checkPartition(
  fs: FileSystem,
  storeFolder: string,
  place: PartitionPlace,
): Promise<PartitionCheck> {
  const name = partitionFolderName(place.topic, place.partition);
  const folder = joinPath(storeFolder, name);
  const list = problemList();
  const segments = listSegments(fs, folder);
  const progress: PartitionProgress = {
    batches: 0,
    records: 0,
    endOffset: undefined,
    leaderEpoch: -1,
    producers: producerStates(place),
    aborted: [],
  };
  for (const [index, segment] of segments.entries()) {
    const path = joinPath(name, segment.path.slice(folder.length + 1));
    const severity = place.isOpen ? "note" : "error";
    attempt(list, severity, path, () => {
      checkSegment(fs, path, segment, segments[index + 1], place, progress, list);
    });
    progress.endOffset = Math.max(progress.endOffset ?? 0, segment.baseOffset);
    // Others get a turn between segments.
    await nextTurn();
  }
  const startOffset = Math.max(place.startOffset, segments[0]?.baseOffset ?? 0);
  const endOffset = progress.endOffset ?? startOffset;
  checkTopicId(fs, folder, name, place, progress.batches > 0, list);
  checkSideFiles(fs, folder, name, segments, endOffset, list);
  for (const [index, segment] of segments.entries()) {
    const scanned = {
      segment,
      endOffset: segments[index + 1]?.baseOffset ?? endOffset,
      logBaseOffset: segments[0]!.baseOffset,
      shownLogPath: joinPath(name, segment.path.slice(folder.length + 1)),
    };
    checkTransactionIndex(fs, scanned, place, progress.aborted, list);
  }
  return {
    topic: place.topic,
    partition: place.partition,
    segments: segments.length,
    batches: progress.batches,
    records: progress.records,
    sizeBytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    startOffset: Math.min(startOffset, endOffset),
    endOffset,
    problems: problemsOf(list, name),
  };
}

function checkTopicId(
  fs: FileSystem,
  folder: string,
  name: string,
  { topicId }: PartitionPlace,
  hasBatches: boolean,
  list: ProblemList,
): void {
  const path = joinPath(name, partitionMetadataName);
  const found = attempt(list, "error", path, () => findTopicIdOfFolder(fs, folder) ?? "none");
  if (found === "none" && hasBatches) {
    const message = "The file is missing, so that nothing tells which topic the records are of";
    addProblem(list, { severity: "warning", path, message });
  }
  const isOther = found !== undefined && found !== "none" && topicId !== undefined &&
    found !== topicId;
  if (isOther) {
    const message = `The folder belongs to topic id ${found}, the metadata says ${topicId}`;
    addProblem(list, { severity: "error", path, message });
  }
}

/** Looks at every file that is no log, index or time index of a segment. */
function checkSideFiles(
  fs: FileSystem,
  folder: string,
  name: string,
  segments: readonly SegmentFile[],
  endOffset: number,
  list: ProblemList,
): void {
  for (const entry of fs.list(folder)) {
    const path = joinPath(name, entry.name);
    const note = (severity: CheckSeverity, message: string): void =>
      addProblem(list, { severity, path, message });
    const read = (): Uint8Array =>
      readFile(fs, joinPath(folder, entry.name), sideFileBytesMax) ?? new Uint8Array(0);
    const parsed = parseSegmentFileName(entry.name);
    if (entry.isFolder) {
      note("warning", "There are no folders in the folder of a partition");
    } else if (parsed !== undefined && parsed.suffix === "deleted") {
      note("note", "The file is about to be removed");
    } else if (parsed !== undefined && parsed.suffix !== "") {
      note("warning", "A compaction was broken off; the next opening completes or undoes it");
    } else if (parsed?.kind === "snapshot") {
      checkSnapshot(path, read, parsed.baseOffset, endOffset, list);
    } else if (parsed !== undefined && parsed.kind !== "log") {
      const at = segments.findIndex(({ baseOffset }) => baseOffset === parsed.baseOffset);
      if (at < 0) note("warning", "The index has no log; the next opening removes it");
    } else if (entry.name === epochCheckpointName) {
      checkEpochs(path, read, endOffset, list);
    } else if (entry.name === quorumStateName) {
      attempt(list, "error", path, () => {
        const bytes = read();
        // Kafka makes it empty and fills it with its first election.
        if (bytes.length > 0) parseQuorumState(bytes, path);
      });
    } else if (snapshotName.test(entry.name)) {
      const snapshot = joinPath(folder, entry.name);
      // Where every batch is good, it may still lack its end, or contradict itself.
      const isGood = checkMetadataSnapshot(fs, snapshot, path, list);
      if (isGood) attempt(list, "error", path, () => replaySnapshot(fs, snapshot, metadataImage()));
    } else if (entry.name.endsWith(tornSuffix)) {
      note("note", "A recovery has cut these bytes from the end of the log and put them aside");
    } else if (/\.(tmp|part|deleted)$/.test(entry.name)) {
      note("note", "A file that was being written or removed when its process ended");
    } else if (parsed === undefined && entry.name !== partitionMetadataName) {
      note("note", "The file is none of a partition");
    }
  }
}

/**
 * Checks a file of metadata records: a snapshot of the metadata log, or what a folder was formatted
 * with.
 *
 * @param fs Where it is.
 * @param path The file.
 * @param shownPath The same from the store's folder on.
 * @param list Gets what is wrong.
 * @returns Whether every batch of it is good.
 */
export function checkMetadataSnapshot(
  fs: FileSystem,
  path: string,
  shownPath: string,
  list: ProblemList,
): boolean {
  const isGood = attempt(list, "error", shownPath, () => {
    const scan = scanFile(fs, path, { verify: true }, (batch) => {
      const isControl = isControlBatch(batch);
      forEachRecord(batch, (record) => {
        const value = isControl ? null : valueOf(record);
        if (value !== null) decodeMetadataRecord(value);
      });
    });
    if (scan.reason === "end") return true;
    const { position } = scan;
    const message = `There is no good batch from position ${position} on`;
    addProblem(list, { severity: "error", path: shownPath, position, message });
    return false;
  });
  return isGood === true;
}

function checkSnapshot(
  path: string,
  read: () => Uint8Array,
  offset: number,
  endOffset: number,
  list: ProblemList,
): void {
  attempt(list, "warning", path, () => parseProducerSnapshot(read(), path));
  if (offset <= endOffset) return;
  const message = `It is of offset ${offset}, the log ends at ${endOffset}`;
  addProblem(list, { severity: "warning", path, message });
}

function checkEpochs(
  path: string,
  read: () => Uint8Array,
  endOffset: number,
  list: ProblemList,
): void {
  const entries = attempt(list, "warning", path, () => parseEpochCheckpoint(read(), path));
  const last = entries?.at(-1);
  if (last === undefined || last.startOffset <= endOffset) return;
  const message =
    `Epoch ${last.epoch} begins at offset ${last.startOffset}, the log ends at ${endOffset}`;
  addProblem(list, { severity: "warning", path, message });
}
