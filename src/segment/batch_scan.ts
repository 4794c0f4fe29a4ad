/**
 * Goes through the batches of a log file from a position on: for recovery, for rebuilding an index,
 * for checks. It believes nothing: it stops at the first thing that is not a batch, and says what
 * that was.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { batchHeaderBytes, field, headerToMagicBytes, magicV2 } from "../record/batch_layout.ts";
import type { BatchSource, BatchView } from "../record/batch_view.ts";
import { hasValidChecksum, peekBatchSize, viewBatch } from "../record/batch_view.ts";

/**
 * Why a scan ended: at the end of the range, at a batch cut short, at bytes that are no batch, at a
 * wrong checksum, or because the visitor did not want to go on.
 */
export type ScanEndReason = "end" | "incomplete" | "malformed" | "checksum" | "stopped";

/** Where and why a scan ended. */
export interface ScanEnd {
  /** Of the first byte that does not belong to a good batch. */
  readonly position: number;
  readonly reason: ScanEndReason;
}

/** What to scan. */
export interface ScanRange {
  /** Of a batch. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Whether the checksums are verified too. */
  readonly verify: boolean;
  readonly source?: BatchSource;
}

const bufferBytes = 256 * 1024;
/** How much is read at once to find the next batch behind damage. */
const searchBytes = 1024 * 1024;

/**
 * Visits the batches of a range of a file.
 *
 * @param fs Where the file is.
 * @param file Its handle; it must stay open.
 * @param range What to scan.
 * @param visit Gets each batch, in a buffer that is used again for the next, and its position in
 * the file; returns false to stop before it.
 * @returns Where the scan ended.
 */
export function scanBatches(
  fs: FileSystem,
  file: FileHandle,
  range: ScanRange,
  visit: (batch: BatchView, position: number) => boolean | void,
): ScanEnd {
  const { end, verify, source } = range;
  let buffer = new Uint8Array(Math.max(0, Math.min(bufferBytes, end - range.start)));
  let position = range.start;
  while (position < end) {
    const wanted = buffer.subarray(0, Math.min(buffer.length, end - position));
    const filled = wanted.subarray(0, fs.read(file, wanted, position));
    const view = new DataView(filled.buffer, filled.byteOffset, filled.byteLength);
    let at = 0;
    while (at < filled.length) {
      const batch = scanView(filled, at, view, source);
      if (batch === "malformed") return { position: position + at, reason: "malformed" };
      if (batch === undefined) break;
      if (verify && !hasValidChecksum(batch)) {
        return { position: position + at, reason: "checksum" };
      }
      if (visit(batch, position + at) === false) {
        return { position: position + at, reason: "stopped" };
      }
      at += batch.sizeBytes;
    }
    position += at;
    if (at > 0) continue;
    // Not even one batch was there in full: it is larger than the buffer, or the file ends in it.
    const needed = scanNeededBytes(filled, view);
    if (needed > batchBytesMax) return { position, reason: "malformed" };
    if (needed > end - position || filled.length < wanted.length) {
      return { position, reason: "incomplete" };
    }
    buffer = new Uint8Array(Math.max(needed, bufferBytes));
  }
  return { position, reason: "end" };
}

/**
 * Looks for the next good batch behind damage.
 *
 * @param fs Where the file is.
 * @param file Its handle.
 * @param range From where to where; its start is where the damage begins.
 * @param offsetMin Only a batch without an offset below this one counts.
 * @param offsetMax Nor with one above this one.
 * @returns Where the batch is and its first offset, or undefined if there is none.
 */
export function findNextBatch(
  fs: FileSystem,
  file: FileHandle,
  range: ScanRange,
  offsetMin: number,
  offsetMax: number = Number.MAX_SAFE_INTEGER - 1,
): { position: number; baseOffset: number } | undefined {
  const buffer = new Uint8Array(Math.max(0, Math.min(searchBytes, range.end - range.start)));
  for (let position = range.start; position + batchHeaderBytes <= range.end;) {
    const wanted = buffer.subarray(0, Math.min(buffer.length, range.end - position));
    const count = fs.read(file, wanted, position);
    const view = new DataView(buffer.buffer, 0, count);
    for (let at = 0;; at++) {
      // By its magic: so a gigabyte of zeros is gone through in 0.5 s, byte by byte in 20 s.
      at = buffer.indexOf(magicV2, at + field.magic) - field.magic;
      if (at < 0 || at + batchHeaderBytes > count) break;
      if (!searchCandidate(view, at, range.end - position - at)) continue;
      const baseOffset = getInt64(view, at + field.baseOffset);
      const lastOffset = baseOffset + view.getInt32(at + field.lastOffsetDelta);
      if (baseOffset < offsetMin || lastOffset > offsetMax) continue;
      if (isGoodBatchAt(fs, file, position + at, range.end)) {
        return { position: position + at, baseOffset };
      }
    }
    if (count < batchHeaderBytes) return undefined;
    // The next part begins so that a header over the border is seen whole.
    position += count - batchHeaderBytes + 1;
  }
  return undefined;
}

function scanView(
  bytes: Uint8Array,
  at: number,
  view: DataView,
  source: BatchSource | undefined,
): BatchView | "malformed" | undefined {
  try {
    return viewBatch(bytes, at, bytes.length, source, view);
  } catch (error) {
    if (error instanceof OttlaError) return "malformed";
    throw error;
  }
}

function scanNeededBytes(bytes: Uint8Array, view: DataView): number {
  return bytes.length < headerToMagicBytes ? headerToMagicBytes : peekBatchSize(view, 0);
}

/** Whether the bytes could be the header of a batch: cheap, and wrong now and then. */
function searchCandidate(view: DataView, at: number, bytesLeft: number): boolean {
  const sizeBytes = peekBatchSize(view, at);
  if (sizeBytes === 0 || sizeBytes > Math.min(bytesLeft, batchBytesMax)) return false;
  const recordCount = view.getInt32(at + field.recordCount);
  return recordCount >= 0 && view.getInt32(at + field.lastOffsetDelta) >= recordCount - 1;
}

function isGoodBatchAt(fs: FileSystem, file: FileHandle, start: number, end: number): boolean {
  let isGood = false;
  scanBatches(fs, file, { start, end, verify: true }, () => {
    isGood = true;
    return false;
  });
  return isGood;
}
