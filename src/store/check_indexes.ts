/**
 * Holds the index files of a segment against its log, while the log is being scanned from its
 * beginning.
 *
 * What must be true of an entry is what a reader relies on (src/FORMAT.md, sections 3.1 and 3.2),
 * so that both what Kafka writes since 4.0, an entry for a batch, and what it wrote before, an
 * entry for an append of several batches, pass: an offset entry leads to the beginning of a batch,
 * and names the last offset of that batch or of a later one of the same append; a time entry names
 * the largest timestamp so far and a batch that has it.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { readFile } from "../platform/files.ts";
import type { BatchView } from "../record/batch_view.ts";
import { offsetEntryBytes } from "../segment/offset_index.ts";
import { timeEntryBytes } from "../segment/time_index.ts";
import type { CheckProblem, ProblemList } from "./check_report.ts";
import { addProblem, attempt } from "./check_report.ts";
import { findContentEnd } from "./check_zeros.ts";

/** One index file, and how far the scan has come in it. */
interface IndexCursor {
  /** For messages. */
  readonly path: string;
  /** Undefined if there is no such file. */
  readonly view: DataView | undefined;
  readonly entryBytes: number;
  readonly count: number;
  /** The entries before it have been dealt with. */
  next: number;
}

/** Both indexes of a segment that is being scanned. */
export interface IndexCheck {
  readonly baseOffset: number;
  readonly offsets: IndexCursor;
  readonly times: IndexCursor;
  readonly list: ProblemList;
  /** Offsets of entries for several batches, whose last batch has not come yet. */
  readonly awaitedOffsets: { entry: number; offset: number }[];
  maxTimestamp: number;
  /** The batch that has it begins and ends with these offsets. */
  maxTimestampFrom: number;
  maxTimestampTo: number;
  /** The largest of batches without records, which Kafka indexes and ottla does not. */
  emptyTimestamp: number;
  /** Where the last indexed batch begins, and the longest way that is not indexed. */
  indexedPosition: number;
  unindexedBytesMax: number;
  batchBytesMax: number;
}

/** No index of Kafka's is larger; a larger file is none. */
const indexBytesMax = 256 * 1024 * 1024;

/**
 * Loads the index files of a segment.
 *
 * @param fs Where they are.
 * @param logPath The path of the segment's log.
 * @param shownLogPath The same from the store's folder on.
 * @param baseOffset The first offset of the segment.
 * @param list Gets what is wrong.
 * @returns The check, to be given every batch.
 */
export function indexCheck(
  fs: FileSystem,
  logPath: string,
  shownLogPath: string,
  baseOffset: number,
  list: ProblemList,
): IndexCheck {
  const cursor = (ending: string, entryBytes: number): IndexCursor =>
    indexCursor(
      fs,
      logPath.replace(/\.log$/, ending),
      shownLogPath.replace(/\.log$/, ending),
      entryBytes,
      list,
    );
  return {
    baseOffset,
    offsets: cursor(".index", offsetEntryBytes),
    times: cursor(".timeindex", timeEntryBytes),
    list,
    awaitedOffsets: [],
    maxTimestamp: -1,
    maxTimestampFrom: baseOffset,
    maxTimestampTo: baseOffset,
    emptyTimestamp: -1,
    indexedPosition: 0,
    unindexedBytesMax: 0,
    batchBytesMax: 0,
  };
}

/**
 * Holds the entries against the next good batch of the log.
 *
 * @param check The check.
 * @param batch The batch.
 * @param position Of the batch in the file.
 */
export function checkIndexesAt(check: IndexCheck, batch: BatchView, position: number): void {
  if (batch.recordCount === 0) {
    if (batch.maxTimestamp > check.emptyTimestamp) check.emptyTimestamp = batch.maxTimestamp;
  } else if (batch.maxTimestamp > check.maxTimestamp) {
    check.maxTimestamp = batch.maxTimestamp;
    check.maxTimestampFrom = batch.baseOffset;
    check.maxTimestampTo = batch.lastOffset;
  }
  check.batchBytesMax = Math.max(check.batchBytesMax, batch.sizeBytes);
  check.unindexedBytesMax = Math.max(check.unindexedBytesMax, position - check.indexedPosition);
  checkOffsetEntries(check, batch, position);
  checkTimeEntries(check, batch);
}

/**
 * Ends the check: what the indexes have left over leads nowhere.
 *
 * @param check The check.
 * @param segment Whether the segment is sealed or cleanly closed, so that its indexes are complete,
 * whether the log has any batch, and how far apart entries should be.
 */
export function finishIndexes(
  check: IndexCheck,
  segment: {
    readonly isComplete: boolean;
    readonly isEmpty: boolean;
    readonly indexIntervalBytes: number;
  },
): void {
  const { offsets, times, list } = check;
  for (const { entry, offset } of check.awaitedOffsets) {
    addProblem(list, wrongEntry(offsets, entry, `no batch ends with offset ${offset}`));
  }
  for (; offsets.next < offsets.count; offsets.next++) {
    const position = offsetEntry(check, offsets.next).position;
    const found = `no good batch begins at position ${position}`;
    addProblem(list, wrongEntry(offsets, offsets.next, found));
  }
  for (; times.next < times.count; times.next++) {
    const { offset } = timeEntry(check, times.next);
    addProblem(list, wrongEntry(times, times.next, `the log has no offset ${offset}`));
  }
  if (!segment.isComplete || segment.isEmpty) return;
  for (const { view, path } of [offsets, times]) {
    if (view !== undefined) continue;
    const message = "The file is missing; it is made anew when it is needed";
    addProblem(list, { severity: "warning", path, message });
  }
  finishTimeIndex(check);
  const apartMax = 2 * (segment.indexIntervalBytes + check.batchBytesMax);
  if (offsets.view !== undefined && check.unindexedBytesMax > apartMax) {
    const message = `Entries are up to ${check.unindexedBytesMax} bytes of the log apart, ` +
      `index.interval.bytes is ${segment.indexIntervalBytes}`;
    addProblem(list, { severity: "note", path: offsets.path, message });
  }
}

/** The last entry of a complete time index is the largest timestamp: retention relies on it. */
function finishTimeIndex(check: IndexCheck): void {
  const { times, list, maxTimestamp, emptyTimestamp, baseOffset } = check;
  // An entry of the first millisecond of 1970 looks like the zeros of a preallocated file.
  if (times.view === undefined || maxTimestamp <= 0) return;
  const last = times.count === 0
    ? undefined
    : getInt64(times.view, (times.count - 1) * timeEntryBytes);
  if (last === maxTimestamp || last === emptyTimestamp) return;
  const found = last === undefined ? "It is empty" : `It ends with timestamp ${last}`;
  const message = `${found}, the largest of segment ${baseOffset} is ${maxTimestamp}`;
  addProblem(list, { severity: "warning", path: times.path, message });
}

function checkOffsetEntries(check: IndexCheck, batch: BatchView, position: number): void {
  const { offsets, awaitedOffsets, list } = check;
  while (awaitedOffsets.length > 0 && awaitedOffsets[0]!.offset <= batch.lastOffset) {
    const { entry, offset } = awaitedOffsets.shift()!;
    if (offset === batch.lastOffset) continue;
    addProblem(list, wrongEntry(offsets, entry, `no batch ends with offset ${offset}`));
  }
  for (; offsets.next < offsets.count; offsets.next++) {
    const entry = offsetEntry(check, offsets.next);
    if (entry.position > position) return;
    if (entry.position < position) {
      const found = `no good batch begins at position ${entry.position}`;
      addProblem(list, wrongEntry(offsets, offsets.next, found));
      continue;
    }
    check.indexedPosition = position;
    if (entry.offset > batch.lastOffset) {
      awaitedOffsets.push({ entry: offsets.next, offset: entry.offset });
    } else if (entry.offset < batch.lastOffset) {
      const found = `offset ${entry.offset} is not the last one, ${batch.lastOffset}, of the batch`;
      addProblem(list, wrongEntry(offsets, offsets.next, found));
    }
  }
}

function checkTimeEntries(check: IndexCheck, batch: BatchView): void {
  const { times, list } = check;
  for (; times.next < times.count; times.next++) {
    const { timestamp, offset } = timeEntry(check, times.next);
    if (offset > batch.lastOffset) return;
    const isThere = offset >= check.maxTimestampFrom && offset <= check.maxTimestampTo;
    if (timestamp === check.maxTimestamp && isThere) continue;
    if (timestamp === check.emptyTimestamp) continue;
    const found = `timestamp ${timestamp} at offset ${offset} is not the largest so far, ` +
      `${check.maxTimestamp} at offset ${check.maxTimestampTo}`;
    addProblem(list, wrongEntry(times, times.next, found));
  }
}

function offsetEntry(
  { offsets: { view }, baseOffset }: IndexCheck,
  entry: number,
): { offset: number; position: number } {
  const at = entry * offsetEntryBytes;
  return { offset: baseOffset + view!.getUint32(at), position: view!.getUint32(at + 4) };
}

function timeEntry(
  { times: { view }, baseOffset }: IndexCheck,
  entry: number,
): { timestamp: number; offset: number } {
  const at = entry * timeEntryBytes;
  return { timestamp: getInt64(view!, at), offset: baseOffset + view!.getUint32(at + 8) };
}

function wrongEntry({ path, entryBytes }: IndexCursor, entry: number, found: string): CheckProblem {
  return {
    severity: "warning",
    path,
    position: entry * entryBytes,
    message: `Entry ${entry} is wrong: ${found}`,
  };
}

/** Loads an index; the zeros that it may end with are no entries. */
function indexCursor(
  fs: FileSystem,
  path: string,
  shownPath: string,
  entryBytes: number,
  list: ProblemList,
): IndexCursor {
  const read = (): Uint8Array | undefined => readFile(fs, path, indexBytesMax);
  const bytes = attempt(list, "warning", shownPath, read);
  if (bytes === undefined) {
    return { path: shownPath, view: undefined, entryBytes, count: 0, next: 0 };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = Math.floor(bytes.length / entryBytes);
  if (bytes.length % entryBytes !== 0) {
    const message = `${bytes.length} bytes are not whole entries of ${entryBytes}`;
    addProblem(list, { severity: "warning", path: shownPath, message });
  }
  // No entry leads to position 0, and none is of the year 1970, so zeros are none.
  const usedBytes = findContentEnd(bytes);
  const count = Math.min(whole, Math.ceil(usedBytes / entryBytes));
  if (count < whole) {
    const message = `${whole - count} entries at its end are preallocated and not used`;
    addProblem(list, { severity: "note", path: shownPath, position: count * entryBytes, message });
  }
  for (let entry = 0; entry < count; entry++) {
    const at = entry * entryBytes;
    if (entry === 0 || risesAt(view, at, entryBytes)) continue;
    const message = `Entry ${entry} does not rise; what is there from here on is not looked at`;
    addProblem(list, { severity: "warning", path: shownPath, position: at, message });
    return { path: shownPath, view, entryBytes, count: entry, next: 0 };
  }
  return { path: shownPath, view, entryBytes, count, next: 0 };
}

function risesAt(view: DataView, at: number, entryBytes: number): boolean {
  if (entryBytes === offsetEntryBytes) {
    return view.getUint32(at) > view.getUint32(at - entryBytes) &&
      view.getUint32(at + 4) > view.getUint32(at - entryBytes + 4);
  }
  return getInt64(view, at) > getInt64(view, at - entryBytes) &&
    view.getUint32(at + 8) >= view.getUint32(at - entryBytes + 8);
}
