/**
 * Ends a log where a crash has torn it. Nothing is thrown away: what is cut off is put aside in a
 * file `.torn` that names its segment and position.
 */

import { OttlaError } from "../errors.ts";
import { handleOf, pinFile, unpinFile } from "../platform/file_pool.ts";
import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { isDiskFull } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { Segment, SegmentPlace } from "../segment/segment.ts";
import { removeSegmentFiles, segmentAt } from "../segment/segment.ts";
import { segmentFileName, tornSuffix } from "../segment/segment_file_name.ts";
import type { ScanResult } from "../segment/segment_load.ts";

const copyBytes = 1024 * 1024;

/**
 * Finds where a power cut has left a hole: batches behind it were written later, and not synced
 * either, or there would be none. Below the recovery point a hole is damage, which has other causes.
 * Below the log's start it is nothing: what retention takes out of a log is not synced any more.
 *
 * @param segment A segment that was walked through.
 * @param result What the walk found.
 * @param offsets `recoveryPoint`, below which everything is on disk, and `startOffset`, where the log
 * begins.
 * @param nextBase Where the next segment begins, if there is one.
 * @returns The position of the hole, or undefined if there is none.
 */
export function findHole(
  segment: Segment,
  result: ScanResult,
  { recoveryPoint, startOffset }: { readonly recoveryPoint: number; readonly startOffset: number },
  nextBase: number | undefined,
): number | undefined {
  // One that lacks no offset is one too: the first offset of the batch behind it has no checksum,
  // and is 0 where a sector is that ends behind it.
  const hole = result.gaps.find((gap) =>
    gap.startOffset >= recoveryPoint && Math.max(gap.startOffset + 1, gap.endOffset) > startOffset
  );
  if (hole !== undefined) return hole.startPosition;
  const isComplete = nextBase === undefined || segment.endOffset >= nextBase ||
    nextBase <= startOffset;
  return isComplete || segment.endOffset < recoveryPoint ? undefined : segment.sizeBytes;
}

/**
 * Puts what begins at a position of a segment aside, and all segments behind it. The last goes
 * first: whatever a crash leaves of this ends at the same hole.
 *
 * @param place Where the log lies.
 * @param segment The segment; only its file is changed.
 * @param position Of the hole.
 * @param laterBases The base offsets of the segments behind it, rising.
 * @returns How many bytes were put aside.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk does not let it.
 */
export function cutAtHole(
  place: SegmentPlace,
  segment: Segment,
  position: number,
  laterBases: readonly number[],
): number {
  let cutBytes = 0;
  for (const baseOffset of laterBases.toReversed()) {
    cutBytes += setSegmentAside(place, baseOffset);
  }
  return cutBytes + cutTail(place, segment, position);
}

/**
 * Puts what follows a position aside and cuts it off.
 *
 * @param place Where the log lies.
 * @param segment The segment; only its file is changed.
 * @param position Where to cut.
 * @returns How many bytes were cut.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk does not let it.
 */
export function cutTail(place: SegmentPlace, segment: Segment, position: number): number {
  const { fs } = place.pool;
  const file = pinFile(place.pool, segment.log);
  try {
    const count = fs.sizeOf(file) - position;
    if (count > 0) {
      keepTail(fs, file, position, count, tornPath(place, segment.baseOffset, position));
      fs.syncFolder(place.folder);
    }
    fs.truncate(file, position);
    return count;
  } catch (cause) {
    throw new OttlaError(
      "KAFKA_STORAGE_ERROR",
      `Cannot put the torn end of ${segment.log.path} aside, which begins at position ${position}`,
      { cause, details: { position } },
    );
  } finally {
    unpinFile(segment.log);
  }
}

/**
 * Writes bytes over themselves. After a failed sync Linux takes them for written though they are
 * not, and the next sync succeeds without them; what was written again it has to sync.
 *
 * @param segment A segment of which a process that died may have failed to sync the end.
 * @param start Where to begin.
 * @throws What the file system throws: on a full disk too, where even that takes new room (btrfs).
 */
export function writeAgain(segment: Segment, start: number): void {
  const { fs } = segment.pool;
  const file = handleOf(segment.pool, segment.log);
  const buffer = new Uint8Array(Math.min(copyBytes, segment.sizeBytes - start));
  for (let position = start; position < segment.sizeBytes;) {
    const wanted = Math.min(buffer.length, segment.sizeBytes - position);
    const read = fs.read(file, buffer.subarray(0, wanted), position);
    if (read === 0) break;
    fs.write(file, buffer.subarray(0, read), position);
    position += read;
  }
}

function tornPath(place: SegmentPlace, baseOffset: number, position: number): string {
  const name = `${String(baseOffset).padStart(20, "0")}-${position}${tornSuffix}`;
  return joinPath(place.folder, name);
}

/**
 * Puts a whole segment aside.
 *
 * @param place Where the log lies.
 * @param baseOffset The segment's; nobody has its files open.
 * @returns How many bytes its log had.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the disk does not let it.
 */
export function setSegmentAside(place: SegmentPlace, baseOffset: number): number {
  const { fs } = place.pool;
  const path = joinPath(place.folder, segmentFileName(baseOffset, "log"));
  try {
    const sizeBytes = fs.stat(path)?.sizeBytes ?? 0;
    if (sizeBytes > 0) fs.rename(path, tornPath(place, baseOffset, 0));
    // Its indexes, and the log itself if it is empty.
    removeSegmentFiles(segmentAt(place, baseOffset, 0));
    fs.syncFolder(place.folder);
    return sizeBytes;
  } catch (cause) {
    throw new OttlaError("KAFKA_STORAGE_ERROR", `Cannot put ${path} aside`, { cause });
  }
}

function keepTail(
  fs: FileSystem,
  source: FileHandle,
  position: number,
  count: number,
  path: string,
): void {
  const target = fs.open(path, "create");
  try {
    fs.truncate(target, 0);
    const buffer = new Uint8Array(Math.min(copyBytes, count));
    for (let done = 0; done < count;) {
      const read = fs.read(source, buffer.subarray(0, count - done), position + done);
      if (read === 0) break;
      fs.write(target, buffer.subarray(0, read), done);
      done += read;
    }
    fs.syncDataNow(target);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    fs.truncate(target, 0);
  } finally {
    fs.close(target);
  }
}
