/**
 * A store's folder seen from outside: what its files say, without its lock and without changing a
 * byte. For tools that look at a folder while its owner has it open, or that must not touch it at
 * all.
 *
 * What is torn at the end of a log is passed over: the owner may just be writing it. So this view
 * is what a recovery would find, not what the owner has acknowledged.
 */

import { readOffsetCheckpoint } from "../log/checkpoint_file.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch } from "../record/batch_view.ts";
import { forEachRecord, keyOf, valueOf } from "../record/record_reader.ts";
import { scanBatches } from "../segment/batch_scan.ts";
import type { ScanEnd } from "../segment/batch_scan.ts";
import { parseSegmentFileName } from "../segment/segment_file_name.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { decodeControlRecord, decodeMetadataRecord } from "./metadata_records.ts";
import { applyControlRecord, applyRecord } from "./metadata_replay.ts";
import { logStartName } from "./store_files.ts";
import { partitionFolderName } from "./topic_name.ts";

/** The log file of a segment. */
export interface SegmentFile {
  readonly baseOffset: number;
  readonly path: string;
  readonly sizeBytes: number;
}

/** Where the records of a partition lie. */
export interface PartitionView {
  readonly topic: string;
  readonly partition: number;
  readonly folder: string;
  /** The first offset that can be read. */
  readonly startOffset: number;
  readonly segments: readonly SegmentFile[];
}

/**
 * Lists the segments of a partition.
 *
 * @param fs Where it is.
 * @param folder The partition's folder.
 * @returns Their log files by base offset; none if there is no such folder.
 */
export function listSegments(fs: FileSystem, folder: string): SegmentFile[] {
  const segments: SegmentFile[] = [];
  for (const name of namesIn(fs, folder)) {
    const parsed = parseSegmentFileName(name);
    if (parsed?.kind !== "log" || parsed.suffix !== "") continue;
    const path = joinPath(folder, name);
    const status = fs.stat(path);
    // Retention may have removed it since the folder was listed.
    if (status === undefined) continue;
    segments.push({ baseOffset: parsed.baseOffset, path, sizeBytes: status.sizeBytes });
  }
  return segments.sort((a, b) => a.baseOffset - b.baseOffset);
}

/**
 * Looks at the segments of a partition.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns Its segments and where it begins; no segments if nothing was ever written.
 */
export function viewPartition(
  fs: FileSystem,
  folder: string,
  topic: string,
  partition: number,
): PartitionView {
  const partitionFolder = joinPath(folder, partitionFolderName(topic, partition));
  const segments = listSegments(fs, partitionFolder);
  const recorded = readOffsetCheckpoint(fs, joinPath(folder, logStartName))
    .find((entry) => entry.topic === topic && entry.partition === partition)?.offset ?? 0;
  const startOffset = Math.max(recorded, segments[0]?.baseOffset ?? 0);
  return { topic, partition, folder: partitionFolder, startOffset, segments };
}

/**
 * Finds where a partition ends, by the headers of its last segment.
 *
 * @param fs Where it is.
 * @param view The partition.
 * @returns The offset behind its last good batch.
 */
export function findEndOffset(fs: FileSystem, view: PartitionView): number {
  const last = view.segments.at(-1);
  if (last === undefined) return view.startOffset;
  let endOffset = Math.max(view.startOffset, last.baseOffset);
  scanFile(fs, last.path, { verify: false }, (batch) => {
    endOffset = Math.max(endOffset, batch.lastOffset + 1);
  });
  return endOffset;
}

/**
 * Scans the batches of a file from its beginning.
 *
 * @param fs Where it is.
 * @param path The file.
 * @param options Whether to verify checksums.
 * @param visit Gets each batch and its position.
 * @returns Where the scan ended, and the size of the file.
 */
export function scanFile(
  fs: FileSystem,
  path: string,
  options: { readonly verify: boolean },
  visit: (batch: BatchView, position: number) => void,
): ScanEnd & { readonly fileBytes: number } {
  const file = fs.open(path, "read");
  try {
    const fileBytes = fs.sizeOf(file);
    const end = scanBatches(fs, file, { start: 0, end: fileBytes, verify: options.verify }, visit);
    return { ...end, fileBytes };
  } finally {
    fs.close(file);
  }
}

/**
 * Applies a batch of the metadata log to an image.
 *
 * @param batch The batch.
 * @param startOffset Records before it are passed over.
 * @param image The image, which is changed.
 * @param origin Whether the batch stands in the log or in a snapshot.
 * @throws OttlaError As `decodeMetadataRecord` and `applyRecord`.
 */
export function replayBatch(
  batch: BatchView,
  startOffset: number,
  image: MetadataImage,
  origin: "log" | "snapshot",
): void {
  const isControl = isControlBatch(batch);
  forEachRecord(batch, (record) => {
    const value = valueOf(record);
    if (record.offset < startOffset || value === null) return;
    if (!isControl) {
      applyRecord(image, decodeMetadataRecord(value), origin);
      return;
    }
    const key = keyOf(record);
    if (key !== null) applyControlRecord(image, decodeControlRecord(key, value));
  });
}

function namesIn(fs: FileSystem, folder: string): string[] {
  try {
    return fs.list(folder).filter((entry) => !entry.isFolder).map((entry) => entry.name);
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return [];
    throw error;
  }
}
