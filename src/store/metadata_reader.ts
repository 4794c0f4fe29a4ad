/**
 * Reads the metadata of a folder: the newest snapshot, and the log `__cluster_metadata-0` behind it
 * (src/FORMAT.md, sections 5.5 and 5.6).
 *
 * Nothing is changed, so a folder that cannot be opened is left as it is. What a crash tore off at
 * the end of the log is passed over and cut by the recovery of the log; damage anywhere else would
 * take topics away, and is an error.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import type { BatchView } from "../record/batch_view.ts";
import {
  batchesIn,
  isControlBatch,
  partitionLeaderEpochOf,
  verifyChecksum,
} from "../record/batch_view.ts";
import { forEachRecord, keyOf, valueOf } from "../record/record_reader.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import type { SegmentFile } from "./folder_view.ts";
import { listSegments, replayBatch } from "./folder_view.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { metadataImage } from "./metadata_image.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import { decodeControlRecord, decodeMetadataRecord } from "./metadata_records.ts";
import { applyRecord, finishReplay } from "./metadata_replay.ts";
import { parseQuorumState, quorumStateName } from "./quorum_state.ts";

/** What the metadata of a folder says. */
export interface FolderMetadata {
  readonly image: MetadataImage;
  /** Records that must come before any others are appended. */
  readonly pending: readonly MetadataRecord[];
  /**
   * The epoch of the last batch, of the quorum's state, or of the snapshot, whichever is the
   * highest.
   */
  readonly lastEpoch: number;
  /** Where the log has to begin; behind its end if a snapshot is ahead of it. */
  readonly startOffset: number;
  /** The offset that the next record gets. */
  readonly endOffset: number;
  /** The size of all log files, torn ends included. */
  readonly logBytes: number;
}

/** A snapshot that a Kafka has left. */
interface Snapshot {
  readonly path: string;
  /** Behind the last record that it stands for. */
  readonly offset: number;
  readonly epoch: number;
}

/** What is still wanted of a log. */
interface LogReading {
  readonly image: MetadataImage;
  /** Records before it are in the snapshot. */
  readonly startOffset: number;
  endOffset: number;
  lastEpoch: number;
  logBytes: number;
}

const snapshotName = /^(\d{20})-(\d{10})\.checkpoint$/;
const snapshotBytesMax = 2 ** 30;

/**
 * Reads the metadata of a folder.
 *
 * @param fs Where it is.
 * @param folder The metadata log's folder, which need not be there.
 * @param syncedOffset Up to where the log is known to have been on disk.
 * @returns What it says.
 * @throws OttlaError `STORE_INVALID` if it is damaged, `UNSUPPORTED_VERSION` if a newer Kafka wrote
 * it.
 */
export function readMetadata(
  fs: FileSystem,
  folder: string,
  syncedOffset: number,
): FolderMetadata {
  const segments = listSegments(fs, folder);
  const image = metadataImage();
  const snapshot = findSnapshot(fs, folder);
  const logStart = segments[0]?.baseOffset ?? 0;
  if (logStart > (snapshot?.offset ?? 0)) {
    throw damagedMetadata(
      folder,
      `it begins at offset ${logStart}, and no snapshot holds the rest`,
    );
  }
  if (snapshot !== undefined) replaySnapshot(fs, snapshot.path, image);
  const reading: LogReading = {
    image,
    startOffset: snapshot?.offset ?? 0,
    endOffset: logStart,
    lastEpoch: Math.max(snapshot?.epoch ?? 0, quorumEpoch(fs, folder)),
    logBytes: 0,
  };
  for (const segment of segments) {
    readLogFile(fs, folder, segment, segment === segments.at(-1), reading);
  }
  const { endOffset, lastEpoch, logBytes, startOffset } = reading;
  if (Math.max(endOffset, startOffset) < syncedOffset) {
    throw damagedMetadata(
      folder,
      `it ends at offset ${endOffset}, and went on to ${syncedOffset} as ottla.cleanshutdown or ` +
        `recovery-point-offset-checkpoint has it`,
    );
  }
  const isBehind = endOffset < startOffset;
  return {
    image,
    pending: finishReplay(image),
    lastEpoch,
    startOffset: isBehind ? startOffset : logStart,
    endOffset: isBehind ? startOffset : endOffset,
    logBytes,
  };
}

/**
 * Reads the records that a formatted folder is to begin with.
 *
 * @param fs Where it is.
 * @param path Of the `bootstrap.checkpoint`.
 * @returns Its records; none if there is no such file.
 * @throws OttlaError `STORE_INVALID` if it is damaged, `UNSUPPORTED_VERSION` if a newer Kafka wrote
 * it.
 */
export function readBootstrapRecords(fs: FileSystem, path: string): MetadataRecord[] {
  const records: MetadataRecord[] = [];
  const scratch = metadataImage();
  visitSnapshot(fs, path, (batch) => {
    if (isControlBatch(batch)) return;
    forEachRecord(batch, (view) => {
      const value = valueOf(view);
      if (value === null) return;
      const record = decodeMetadataRecord(value);
      applyRecord(scratch, record, "snapshot");
      records.push(record);
    });
  });
  return records;
}

function readLogFile(
  fs: FileSystem,
  folder: string,
  { baseOffset, path }: SegmentFile,
  isLast: boolean,
  reading: LogReading,
): void {
  if (baseOffset !== reading.endOffset) {
    const { endOffset } = reading;
    throw damagedMetadata(folder, `offsets ${endOffset} to ${baseOffset - 1} are missing`);
  }
  const file = fs.open(path, "read");
  try {
    const end = fs.sizeOf(file);
    reading.logBytes += end;
    const scanned = scanBatches(fs, file, { start: 0, end, verify: true }, (batch) => {
      if (batch.baseOffset !== reading.endOffset) return false;
      replayBatch(batch, reading.startOffset, reading.image, "log");
      reading.endOffset = batch.lastOffset + 1;
      reading.lastEpoch = Math.max(reading.lastEpoch, partitionLeaderEpochOf(batch));
      return true;
    });
    if (scanned.reason === "end") return;
    const behind = { start: scanned.position + 1, end, verify: true };
    const isTorn = isLast && scanned.reason !== "stopped" &&
      findNextBatch(fs, file, behind, reading.endOffset) === undefined;
    if (isTorn) return;
    throw damagedMetadata(
      folder,
      `there is no good batch at position ${scanned.position} of ${path}`,
    );
  } catch (cause) {
    if (isCorrupt(cause)) throw damagedMetadata(folder, cause.message, cause);
    throw readLogFileFault(path, cause);
  } finally {
    fs.close(file);
  }
}

/** A rule that a record breaks is told with the file that it stands in. */
function readLogFileFault(path: string, cause: unknown): unknown {
  const isOfRecord = cause instanceof OttlaError && !cause.message.includes(path) &&
    (cause.code === "UNSUPPORTED_VERSION" || cause.code === "STORE_INVALID") &&
    cause.details["folder"] === undefined;
  if (!isOfRecord) return cause;
  return new OttlaError(cause.code, `${cause.message}, found in ${path}`, {
    cause,
    details: { ...cause.details, path },
  });
}

function isCorrupt(error: unknown): error is OttlaError {
  return error instanceof OttlaError && error.code === "CORRUPT_MESSAGE";
}

function quorumEpoch(fs: FileSystem, folder: string): number {
  const path = joinPath(folder, quorumStateName);
  const bytes = readFile(fs, path);
  return bytes === undefined || bytes.length === 0 ? 0 : parseQuorumState(bytes, path).leaderEpoch;
}

/** The newest snapshot. */
function findSnapshot(fs: FileSystem, folder: string): Snapshot | undefined {
  if (fs.stat(folder) === undefined) return undefined;
  let newest: Snapshot | undefined;
  for (const { name } of fs.list(folder)) {
    const match = snapshotName.exec(name);
    if (match === null) continue;
    const found = {
      path: joinPath(folder, name),
      offset: Number(match[1]),
      epoch: Number(match[2]),
    };
    const isNewer = newest === undefined || found.offset > newest.offset ||
      (found.offset === newest.offset && found.epoch > newest.epoch);
    if (isNewer) newest = found;
  }
  return newest;
}

/**
 * Replays a snapshot of the metadata. Its last record says that it is one: without it a file that
 * was cut would be taken for a folder with fewer topics, or none.
 *
 * @param fs Where it is.
 * @param path The snapshot.
 * @param image The image, which is changed.
 * @throws OttlaError `STORE_INVALID` if it is damaged, `UNSUPPORTED_VERSION` if a newer Kafka wrote
 * it.
 */
export function replaySnapshot(fs: FileSystem, path: string, image: MetadataImage): void {
  let hasEnd = false;
  visitSnapshot(fs, path, (batch) => {
    replayBatch(batch, 0, image, "snapshot");
    hasEnd = isControlBatch(batch) && isSnapshotEnd(batch);
  });
  if (!hasEnd) throw damagedSnapshot(path, "its end is missing");
}

function isSnapshotEnd(batch: BatchView): boolean {
  let isEnd = false;
  forEachRecord(batch, (record) => {
    const [key, value] = [keyOf(record), valueOf(record)];
    if (key === null || value === null) return;
    isEnd = decodeControlRecord(key, value).type === "SnapshotFooterRecord";
  });
  return isEnd;
}

function visitSnapshot(fs: FileSystem, path: string, visit: (batch: BatchView) => void): void {
  const bytes = readFile(fs, path, snapshotBytesMax);
  if (bytes === undefined) return;
  let end = 0;
  try {
    for (const batch of batchesIn(bytes)) {
      verifyChecksum(batch);
      visit(batch);
      end = batch.position + batch.sizeBytes;
    }
  } catch (cause) {
    if (isCorrupt(cause)) throw damagedSnapshot(path, cause.message, cause);
    throw cause;
  }
  if (end !== bytes.length) {
    throw damagedSnapshot(path, `it ends within a batch at position ${end}`);
  }
}

function damagedSnapshot(path: string, reason: string, cause?: unknown): OttlaError {
  return new OttlaError("STORE_INVALID", `Cannot read the snapshot ${path}: ${reason}`, {
    cause,
    details: { path },
  });
}

function damagedMetadata(folder: string, reason: string, cause?: unknown): OttlaError {
  return new OttlaError(
    "STORE_INVALID",
    `Cannot open the store: its metadata log ${folder} is damaged: ${reason}`,
    { cause, details: { folder } },
  );
}
