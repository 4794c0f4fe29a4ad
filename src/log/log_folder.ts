/**
 * The files of a partition's folder as a crash may have left them, brought in order before the log
 * is opened.
 */

import { joinPath, temporarySuffix } from "../platform/files.ts";
import type { FileSystem } from "../platform/file_system.ts";
import type { SegmentFileName } from "../segment/segment_file_name.ts";
import { scanBatches } from "../segment/batch_scan.ts";
import { parseSegmentFileName } from "../segment/segment_file_name.ts";

/** What lies in the folder of a log; the lists rise. */
export interface LogFiles {
  /** The base offsets of the segments. */
  readonly bases: number[];
  /** The offsets of the producer snapshots. */
  readonly snapshotOffsets: number[];
  /** The base offsets of the segments that have a transaction index. */
  readonly transactionIndexes: ReadonlySet<number>;
}

/** A file of a segment that lies in the folder. */
interface FoundFile extends SegmentFileName {
  readonly path: string;
}

/**
 * Finishes or undoes what was under way in a folder, and lists its segments.
 *
 * Files about to be removed are removed, and those that were not written to their end. A compaction
 * that had not begun to swap its files in is dropped; one that had is completed. Indexes without a
 * log are removed (src/FORMAT.md, section 2.4).
 *
 * @param fs Where the folder is.
 * @param folder The partition's folder.
 * @returns What lies there then.
 */
export function settleLogFolder(fs: FileSystem, folder: string): LogFiles {
  let files = foundFiles(fs, folder);
  for (const file of files) {
    if (file.suffix === "deleted") fs.remove(file.path);
  }
  files = files.filter((file) => file.suffix !== "deleted");
  files = settleSwaps(fs, folder, files);
  const bases = new Set(files.filter((file) => file.kind === "log").map((file) => file.baseOffset));
  for (const { kind, baseOffset, path } of files) {
    const isIndex = kind === "index" || kind === "timeindex" || kind === "txnindex";
    if (isIndex && !bases.has(baseOffset)) fs.remove(path);
  }
  const indexed = files.filter((file) => file.kind === "txnindex" && bases.has(file.baseOffset));
  const snapshots = files.filter((file) => file.kind === "snapshot").map((file) => file.baseOffset);
  return {
    bases: [...bases].sort((a, b) => a - b),
    snapshotOffsets: snapshots.sort((a, b) => a - b),
    transactionIndexes: new Set(indexed.map((file) => file.baseOffset)),
  };
}

function foundFiles(fs: FileSystem, folder: string): FoundFile[] {
  const files: FoundFile[] = [];
  for (const { name, isFolder } of fs.list(folder)) {
    if (isFolder) continue;
    // Of a checkpoint that was being replaced; the old one is still in its place.
    if (name.endsWith(temporarySuffix)) fs.remove(joinPath(folder, name));
    const parsed = parseSegmentFileName(name);
    if (parsed !== undefined) files.push({ ...parsed, path: joinPath(folder, name) });
  }
  return files;
}

function settleSwaps(fs: FileSystem, folder: string, files: FoundFile[]): FoundFile[] {
  // Files are swapped in from the last to the first, so a `.cleaned` one shows that those behind it
  // are not complete.
  const cleaned = files.filter((file) => file.suffix === "cleaned");
  const firstCleaned = Math.min(Infinity, ...cleaned.map((file) => file.baseOffset));
  const isDropped = (file: FoundFile): boolean =>
    file.suffix === "cleaned" || (file.suffix === "swap" && file.baseOffset >= firstCleaned);
  for (const file of files.filter(isDropped)) fs.remove(file.path);

  const kept = files.filter((file) => !isDropped(file));
  const swaps = kept.filter((file) => file.suffix === "swap").sort(compareSwaps);
  if (swaps.length === 0) return kept;
  // The logs that are swapped in replace all that begins among their offsets. One whose log has its
  // name already has nothing left to replace.
  const logs = swaps.filter((file) => file.kind === "log");
  const start = Math.min(...logs.map((file) => file.baseOffset));
  const end = Math.max(...logs.map((file) => endOffsetOf(fs, file)));
  const isReplaced = (file: FoundFile): boolean =>
    file.suffix === "" && file.baseOffset >= start && file.baseOffset < end;
  for (const file of kept.filter(isReplaced)) fs.remove(file.path);
  fs.syncFolder(folder);
  const swapped = swaps.map((file): FoundFile => {
    const path = file.path.slice(0, -".swap".length);
    fs.rename(file.path, path);
    return { ...file, suffix: "", path };
  });
  // A swap that came back beside the files of the next compaction would be taken for part of it.
  fs.syncFolder(folder);
  return [...kept.filter((file) => file.suffix === "" && !isReplaced(file)), ...swapped];
}

/**
 * From the first to the last, the log before its indexes: what has its name already then lies
 * before what is left.
 */
function compareSwaps(a: FoundFile, b: FoundFile): number {
  return a.baseOffset - b.baseOffset || Number(b.kind === "log") - Number(a.kind === "log");
}

/** The offset behind the last batch of a log file. */
function endOffsetOf(fs: FileSystem, { path, baseOffset }: FoundFile): number {
  const file = fs.open(path, "read");
  try {
    let endOffset = baseOffset;
    scanBatches(fs, file, { start: 0, end: fs.sizeOf(file), verify: false }, (batch) => {
      endOffset = batch.lastOffset + 1;
    });
    return endOffset;
  } finally {
    fs.close(file);
  }
}
