/**
 * The files of the two indexes of a segment: loaded with suspicion, saved as far as they have
 * grown.
 *
 * While a segment is active its index files are preallocated with zeros behind their entries; once
 * it is sealed or cleanly closed they end with their last entry, as Kafka wants them.
 */

import type { FileHandle } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath, replaceFile } from "../platform/files.ts";
import { OttlaError } from "../errors.ts";
import {
  decodeOffsetEntries,
  encodeOffsetEntries,
  offsetEntryBytes,
  offsetIndex,
  truncateOffsetIndex,
} from "./offset_index.ts";
import type { Segment, SegmentIndexes } from "./segment.ts";
import { segmentFileName } from "./segment_file_name.ts";
import { decodeTimeEntries, encodeTimeEntries, timeEntryBytes, timeIndex } from "./time_index.ts";

/** How large an index file is at least taken for. */
const segmentIndexBytesRead = 10 * 1024 * 1024;
/** How much is read at once: a whole number of entries of either size. */
const chunkBytes = 24 * 4096;

/**
 * Indexes without entries.
 *
 * @param segment Whose indexes they are.
 * @param segmentIndexBytes How large each file may become.
 * @returns The indexes.
 */
export function emptyIndexes(segment: Segment, segmentIndexBytes: number): SegmentIndexes {
  return {
    offset: offsetIndex(segment.baseOffset, segmentIndexBytes),
    time: timeIndex(segment.baseOffset, segmentIndexBytes),
    offsetEntriesSaved: 0,
    timeEntriesSaved: 0,
  };
}

/**
 * Reads what the index files hold, as far as it can be true.
 *
 * @param segment Whose indexes they are.
 * @param segmentIndexBytes How large each file may become.
 * @param logBytes The size of the log file.
 * @param endOffset Entries from this offset on are not taken.
 * @returns The indexes, without entries where a file is missing or cannot be an index; and whether
 * all of the time index was entries.
 */
export function readIndexFiles(
  segment: Segment,
  segmentIndexBytes: number,
  logBytes: number,
  endOffset: number,
): { indexes: SegmentIndexes; isTimeIndexWhole: boolean } {
  const { baseOffset } = segment;
  // A segment that another configuration filled may have larger indexes than this one allows.
  const sizeBytesMax = Math.max(segmentIndexBytes, segmentIndexBytesRead);
  const offset = offsetIndex(baseOffset, sizeBytesMax);
  const time = timeIndex(baseOffset, sizeBytesMax);
  readEntries(segment, "index", (bytes) => decodeOffsetEntries(offset, bytes, logBytes));
  truncateOffsetIndex(offset, endOffset);
  const isTimeIndexWhole = readEntries(
    segment,
    "timeindex",
    (bytes) => decodeTimeEntries(time, bytes, endOffset),
  );
  const indexes = {
    offset: { ...offset, entriesMax: Math.floor(segmentIndexBytes / offsetEntryBytes) },
    time: { ...time, entriesMax: Math.floor(segmentIndexBytes / timeEntryBytes) },
    offsetEntriesSaved: offset.count,
    timeEntriesSaved: time.count,
  };
  return { indexes, isTimeIndexWhole };
}

/**
 * Writes the entries that are not in the files yet.
 *
 * @param segment Whose indexes they are.
 * @param indexes Its indexes.
 * @param sizeBytes How large to leave the files: preallocated, or undefined to end them with their
 * last entry.
 */
export function saveIndexFiles(
  segment: Segment,
  indexes: SegmentIndexes,
  sizeBytes: number | undefined,
): void {
  const { offset, time } = indexes;
  // The largest timestamp is looked for behind the last offset entry only, so where a crash or a
  // failure leaves one index behind, it must not be that of times. What a recovery did not trust
  // may still be in the files, so that of offsets is cut first.
  const offsetBytes = indexes.offsetEntriesSaved * offsetEntryBytes;
  if (time.count > indexes.timeEntriesSaved) {
    writeEntries(segment, "index", offsetBytes, new Uint8Array(0), undefined);
  }
  writeEntries(
    segment,
    "timeindex",
    indexes.timeEntriesSaved * timeEntryBytes,
    encodeTimeEntries(time, indexes.timeEntriesSaved),
    sizeBytes && sizeBytes - sizeBytes % timeEntryBytes,
  );
  writeEntries(
    segment,
    "index",
    offsetBytes,
    encodeOffsetEntries(offset, indexes.offsetEntriesSaved),
    sizeBytes && sizeBytes - sizeBytes % offsetEntryBytes,
  );
  indexes.offsetEntriesSaved = offset.count;
  indexes.timeEntriesSaved = time.count;
}

/**
 * Gives a sealed segment whole index files, so that a power cut leaves of each the old one or the
 * new one: of a time index that it has made shorter nothing would tell that it is.
 *
 * @param segment Whose indexes they are.
 * @param indexes Its indexes, complete.
 * @throws What the file system throws.
 */
export function replaceIndexFiles(segment: Segment, indexes: SegmentIndexes): void {
  const { offset, time } = indexes;
  const { fs } = segment.pool;
  // As above: that of times must not be the one that is left behind.
  replaceFile(fs, indexPath(segment, "timeindex"), encodeTimeEntries(time, 0));
  replaceFile(fs, indexPath(segment, "index"), encodeOffsetEntries(offset, 0));
  indexes.offsetEntriesSaved = offset.count;
  indexes.timeEntriesSaved = time.count;
}

/**
 * Brings the index files of a sealed segment to disk. ottla could do without, but a broker believes
 * the indexes of segments below the recovery point.
 *
 * @param segment The segment.
 * @returns Resolves when they are on disk.
 */
export async function syncIndexFiles(segment: Segment): Promise<void> {
  const { fs } = segment.pool;
  for (const kind of ["index", "timeindex"] as const) {
    const file = fs.open(indexPath(segment, kind), "write");
    try {
      await fs.syncData(file);
    } finally {
      fs.close(file);
    }
  }
}

/**
 * Brings the index files of a sealed segment to disk before this returns: those that a recovery has
 * completed. Of a time index that a power cut has made shorter nothing would tell that it is.
 *
 * @param segment The segment.
 * @throws What the file system throws.
 */
export function syncIndexFilesNow(segment: Segment): void {
  const { fs } = segment.pool;
  for (const kind of ["index", "timeindex"] as const) {
    const file = fs.open(indexPath(segment, kind), "write");
    try {
      fs.syncDataNow(file);
    } finally {
      fs.close(file);
    }
  }
}

/** Returns whether there is a file and all of it was entries. */
function readEntries(
  segment: Segment,
  kind: "index" | "timeindex",
  decode: (bytes: Uint8Array) => boolean,
): boolean {
  const { fs } = segment.pool;
  let file: FileHandle;
  try {
    file = fs.open(indexPath(segment, kind), "read");
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return false;
    throw error;
  }
  try {
    const sizeBytes = fs.sizeOf(file);
    const chunk = new Uint8Array(Math.min(chunkBytes, sizeBytes));
    for (let position = 0; position < sizeBytes;) {
      const count = fs.read(file, chunk, position);
      if (count === 0 || !decode(chunk.subarray(0, count))) return false;
      position += count;
    }
    return true;
  } catch (error) {
    // Bytes that are no index are no loss: the log tells all that an index knows.
    if (error instanceof OttlaError) return false;
    throw error;
  } finally {
    fs.close(file);
  }
}

function writeEntries(
  segment: Segment,
  kind: "index" | "timeindex",
  position: number,
  entries: Uint8Array,
  sizeBytes: number | undefined,
): void {
  const { fs } = segment.pool;
  const file = fs.open(indexPath(segment, kind), "create");
  try {
    // Whatever stood behind the entries is no longer true.
    fs.truncate(file, position);
    if (entries.length > 0) fs.write(file, entries, position);
    if (sizeBytes !== undefined) fs.truncate(file, Math.max(sizeBytes, position + entries.length));
  } finally {
    fs.close(file);
  }
}

function indexPath(segment: Segment, kind: "index" | "timeindex"): string {
  return joinPath(segment.folder, segmentFileName(segment.baseOffset, kind));
}
