/**
 * Follows the files of a partition from outside: batch by batch, from segment to segment, to where
 * the log ends now, and on from there when it has grown. The owner of the store may append, roll
 * and remove segments meanwhile.
 */

import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import type { BatchView } from "../record/batch_view.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import { listSegments } from "../store/folder_view.ts";
import type { PartitionView, SegmentFile } from "../store/folder_view.ts";

/** A place in the files of a partition. */
export interface PartitionTail {
  readonly fs: FileSystem;
  readonly view: PartitionView;
  /** The base offset of the segment it is in; -1 before the first. */
  baseOffset: number;
  /** In that segment's file. */
  position: number;
  /** The offset behind the last batch that was visited. */
  nextOffset: number;
}

/** A stretch that holds no good batch, with a good one behind it. */
export interface TailGap {
  readonly path: string;
  readonly position: number;
  readonly sizeBytes: number;
  /** The first offset that is lost. */
  readonly startOffset: number;
  /** The offset of what comes behind. */
  readonly endOffset: number;
}

/**
 * What to say of a gap.
 *
 * @param gap The gap.
 * @returns A sentence, such as `Cannot read offsets 3 to 5: … is damaged at position 200`.
 */
export function tailGapMessage({ path, position, startOffset, endOffset }: TailGap): string {
  const lost = `offsets ${startOffset} to ${endOffset - 1}`;
  return `Cannot read ${lost}: ${path} is damaged at position ${position}`;
}

/** What is told of while moving. */
export interface TailVisitor {
  /**
   * Gets a batch whose checksum is right, in a buffer that is used again; returns false to stop
   * before it.
   */
  readonly batch: (batch: BatchView) => boolean;
  readonly gap: (gap: TailGap) => void;
}

/**
 * A place before the batch with an offset.
 *
 * @param fs Where the files are.
 * @param view The partition.
 * @param offset The first offset that is wanted; batches before it in its segment are visited too.
 * @returns The place.
 */
export function partitionTail(fs: FileSystem, view: PartitionView, offset: number): PartitionTail {
  const segment = view.segments.findLast(({ baseOffset }) => baseOffset <= offset);
  const baseOffset = segment?.baseOffset ?? -1;
  return { fs, view, baseOffset, position: 0, nextOffset: Math.max(baseOffset, 0) };
}

/**
 * Moves on to where the log ends now.
 *
 * @param tail The place, which moves.
 * @param visitor Gets what is found.
 * @returns "end", or "stopped" if the visitor did not want the next batch.
 */
export function advanceTail(tail: PartitionTail, visitor: TailVisitor): "end" | "stopped" {
  for (;;) {
    const segments = listSegments(tail.fs, tail.view.folder);
    const segment = segments.find(({ baseOffset }) => baseOffset >= tail.baseOffset);
    if (segment === undefined) return "end";
    if (segment.baseOffset > tail.baseOffset) {
      [tail.baseOffset, tail.position] = [segment.baseOffset, 0];
    }
    const next = segments.find(({ baseOffset }) => baseOffset > segment.baseOffset);
    const result = advanceInSegment(tail, segment, next?.baseOffset, visitor);
    if (result === "stopped") return "stopped";
    if (next === undefined) {
      if (result === "vanished") continue;
      return "end";
    }
    [tail.baseOffset, tail.position] = [next.baseOffset, 0];
  }
}

function advanceInSegment(
  tail: PartitionTail,
  segment: SegmentFile,
  nextBase: number | undefined,
  visitor: TailVisitor,
): "end" | "stopped" | "vanished" {
  let file: FileHandle;
  try {
    file = tail.fs.open(segment.path, "read");
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return "vanished";
    throw error;
  }
  try {
    const end = tail.fs.sizeOf(file);
    for (;;) {
      const range = { start: tail.position, end, verify: true };
      const scan = scanBatches(tail.fs, file, range, (batch) => {
        if (!visitor.batch(batch)) return false;
        tail.nextOffset = batch.lastOffset + 1;
        return true;
      });
      tail.position = scan.position;
      if (scan.reason === "stopped") return "stopped";
      if (scan.reason === "end") return "end";
      const good = findNextBatch(
        tail.fs,
        file,
        { ...range, start: scan.position },
        tail.nextOffset,
      );
      // Bytes that nothing good follows may be ones that are just being written.
      if (good === undefined && nextBase === undefined) return "end";
      visitor.gap({
        path: segment.path,
        position: scan.position,
        sizeBytes: (good?.position ?? end) - scan.position,
        startOffset: tail.nextOffset,
        endOffset: good?.baseOffset ?? nextBase!,
      });
      tail.nextOffset = good?.baseOffset ?? nextBase!;
      tail.position = good?.position ?? end;
      if (good === undefined) return "end";
    }
  } finally {
    tail.fs.close(file);
  }
}
