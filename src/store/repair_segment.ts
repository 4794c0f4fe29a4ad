/**
 * Takes damaged stretches out of the log of a segment. What is good stays byte by byte; in the
 * place of offsets that are lost comes a batch without records, so that a log without compaction
 * stays without gaps, and no offset is given out twice. Brokers and Kafka's tools read over it.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import { segmentBytesMax } from "../limits.ts";
import { filePool } from "../platform/file_pool.ts";
import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { folderOf, joinPath, temporarySuffix } from "../platform/files.ts";
import { field, headerToMagicBytes } from "../record/batch_layout.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, partitionLeaderEpochOf, peekBatchSize } from "../record/batch_view.ts";
import { controlTypeOf } from "../record/control_record.ts";
import { buildEmptyBatch } from "../record/empty_batch.ts";
import { forEachRecord } from "../record/record_reader.ts";
import { scanBatches } from "../segment/batch_scan.ts";
import type { Segment } from "../segment/segment.ts";
import { segmentAt } from "../segment/segment.ts";
import { endsBeforeNext, findGoodBatch } from "../segment/segment_damage.ts";
import { readHeader } from "../segment/segment_walk.ts";
import { findContentEnd } from "./check_zeros.ts";
import type { SegmentFile } from "./folder_view.ts";
import { keepStretch } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";

/** A part of a segment as it is to be. */
type Piece =
  | { readonly kind: "kept"; readonly start: number; end: number }
  | {
    /** Lost offsets are told of; compaction may have taken the records of absent ones out. */
    readonly kind: "lost" | "absent";
    readonly startOffset: number;
    readonly endOffset: number;
    epoch: number;
  };

/** What is to become of a segment. */
export interface SegmentPlan {
  readonly segment: SegmentFile;
  readonly pieces: Piece[];
  /** What is not kept. */
  readonly damaged: { readonly start: number; readonly end: number }[];
  /** Leader epochs, which no checksum covers, that are to be others: by positions of batches. */
  readonly epochs: Map<number, number>;
  /** The offset behind the last one. */
  endOffset: number;
  /** The leader epoch of the last batch. */
  lastEpoch: number;
}

/** What is known of a segment from elsewhere. */
export interface SegmentBounds {
  /** Where the next segment begins; undefined for the last one. */
  readonly nextBase: number | undefined;
  /** The log went on to here once. */
  readonly reachedOffset: number;
  readonly isCompacted: boolean;
  /** The leader epoch of the batch before the segment. */
  readonly leaderEpoch: number;
  /** That of the batch behind it, or of the partition; undefined if it is not known. */
  readonly nextLeaderEpoch: number | undefined;
}

const piecesMax = 1_000_000;
const copyBytes = 1024 * 1024;

/**
 * Finds out what of a segment is good. Nothing is changed.
 *
 * @param fs Where it is.
 * @param segment The segment.
 * @param bounds What is known of it.
 * @returns What is to become of it.
 * @throws OttlaError `STORE_INVALID` if it has more damaged stretches than can be counted.
 */
export function planSegment(
  fs: FileSystem,
  segment: SegmentFile,
  bounds: SegmentBounds,
): SegmentPlan {
  const plan: SegmentPlan = {
    segment,
    pieces: [],
    damaged: [],
    epochs: new Map(),
    endOffset: segment.baseOffset,
    lastEpoch: bounds.leaderEpoch,
  };
  const { nextBase, reachedOffset, isCompacted } = bounds;
  const pool = filePool(fs, 1);
  const source = { topic: "", partition: 0 };
  const view = segmentAt({ pool, folder: folderOf(segment.path), source }, segment.baseOffset, 0);
  const file = fs.open(segment.path, "read");
  try {
    planBatches(plan, view, file, bounds);
  } finally {
    fs.close(file);
  }
  const target = nextBase ?? reachedOffset;
  // Where offsets may be missing, those are lost behind which bytes were damaged.
  const isTailDamaged = segment.sizeBytes === 0
    ? wasEmptied(fs, segment)
    : plan.damaged.at(-1)?.end === segment.sizeBytes;
  const isLost = nextBase === undefined || !isCompacted || isTailDamaged;
  const isHole = target > plan.endOffset && target - segment.baseOffset <= segmentBytesMax;
  // Without a recovery point a hole would end the log, should the power fail before it is opened.
  if (isHole) addLost(plan, target, isLost ? "lost" : "absent");
  return plan;
}

/** Kafka's compaction leaves segments of which nothing is left; their indexes are empty too. */
function wasEmptied(fs: FileSystem, { path }: SegmentFile): boolean {
  const sizes = ["index", "timeindex"].map((kind) =>
    fs.stat(path.replace(/log$/, kind))?.sizeBytes
  );
  return sizes.some((sizeBytes) => sizeBytes !== undefined && sizeBytes > 0);
}

/** Whether a segment is to be written anew. */
export function needsRewrite({ segment, pieces, epochs }: SegmentPlan): boolean {
  const [first] = pieces;
  if (epochs.size > 0 || pieces.length > 1) return true;
  if (first === undefined) return segment.sizeBytes > 0;
  return first.kind !== "kept" || first.start > 0 || first.end !== segment.sizeBytes;
}

/** The offsets that a plan gives up, or those that it finds absent. */
export function rangesOf(
  plan: SegmentPlan,
  kind: "lost" | "absent",
): { startOffset: number; endOffset: number }[] {
  return plan.pieces.flatMap((piece) => {
    if (piece.kind !== kind) return [];
    const { startOffset, endOffset } = piece;
    return [{ startOffset, endOffset }];
  });
}

function planBatches(
  plan: SegmentPlan,
  view: Segment,
  file: FileHandle,
  bounds: SegmentBounds,
): void {
  const { fs } = view.pool;
  const end = fs.sizeOf(file);
  const offsetMax = bounds.nextBase === undefined
    ? view.baseOffset + segmentBytesMax
    : bounds.nextBase - 1;
  for (let position = 0; position < end;) {
    const scan = scanBatches(fs, file, { start: position, end, verify: true }, (batch, at) => {
      const behind = at + batch.sizeBytes;
      if (!isUsable(plan, view, file, batch, behind, end, offsetMax, bounds)) return false;
      if (batch.baseOffset > plan.endOffset && !bounds.isCompacted) {
        addLost(plan, batch.baseOffset);
      }
      addKept(plan, batch, at, nextEpoch(fs, file, behind) ?? bounds.nextLeaderEpoch);
      return true;
    });
    if (scan.reason === "end") return;
    const next = findGoodBatch(view, file, scan.position, end, plan.endOffset, offsetMax);
    const damagedEnd = next?.position ?? end;
    // Zeros at the end of the last segment are room that was made for batches to come.
    const isLast = next === undefined && bounds.nextBase === undefined;
    if (!isLast || !isAllZeros(fs, file, scan.position, end)) {
      plan.damaged.push({ start: scan.position, end: damagedEnd });
    }
    if (plan.damaged.length > piecesMax) throw tooDamaged(plan.segment.path);
    // What lies between is lost even where offsets may be missing; the batch itself decides where.
    if (next !== undefined && next.baseOffset > plan.endOffset) addLost(plan, next.baseOffset);
    // The checksum of a batch that is of no use is right: as many offsets were given out.
    const header = isLast && scan.reason === "stopped"
      ? readHeader(view, file, scan.position)
      : undefined;
    if (header !== undefined) {
      const behind = plan.endOffset + header.lastOffset - header.baseOffset + 1;
      if (behind <= offsetMax) addLost(plan, behind);
    }
    position = damagedEnd;
  }
}

function isUsable(
  plan: SegmentPlan,
  view: Segment,
  file: FileHandle,
  batch: BatchView,
  behind: number,
  end: number,
  offsetMax: number,
  { nextBase, isCompacted }: SegmentBounds,
): boolean {
  if (batch.baseOffset < plan.endOffset || batch.lastOffset > offsetMax) return false;
  if (batch.baseOffset !== plan.endOffset) {
    const isUnproven = behind >= end && nextBase === undefined && !isCompacted;
    if (isUnproven || !endsBeforeNext(view, file, behind, batch.lastOffset)) return false;
  }
  try {
    let lastOffset = batch.baseOffset - 1;
    let isRising = true;
    const isControl = isControlBatch(batch);
    forEachRecord(batch, (record) => {
      if (isControl) controlTypeOf(record);
      if (record.offset <= lastOffset) isRising = false;
      lastOffset = record.offset;
    });
    return isRising;
  } catch (error) {
    // Without its codec nobody can tell, and nothing speaks against it.
    if (isOttlaError(error, "CODEC_MISSING")) return true;
    if (isOttlaError(error)) return false;
    throw error;
  }
}

function addKept(
  plan: SegmentPlan,
  batch: BatchView,
  position: number,
  nextEpoch: number | undefined,
): void {
  const { pieces, lastEpoch } = plan;
  const epoch = partitionLeaderEpochOf(batch);
  // Epochs never fall: one that does is wrong, and so is one that the next batch does not bear out.
  const isWrong = epoch < lastEpoch ||
    (nextEpoch !== undefined && epoch > nextEpoch && nextEpoch >= lastEpoch);
  if (isWrong) plan.epochs.set(position, lastEpoch);
  else plan.lastEpoch = epoch;
  const last = pieces.at(-1);
  const end = position + batch.sizeBytes;
  if (last?.kind === "kept" && last.end === position) last.end = end;
  else pieces.push({ kind: "kept", start: position, end });
  plan.endOffset = batch.lastOffset + 1;
}

function addLost(
  plan: SegmentPlan,
  endOffset: number,
  kind: "lost" | "absent" = "lost",
): void {
  const { endOffset: startOffset, lastEpoch: epoch } = plan;
  plan.pieces.push({ kind, startOffset, endOffset, epoch });
  plan.endOffset = endOffset;
}

/**
 * The leader epoch of the first batch of a segment.
 *
 * @param fs Where it is.
 * @param segment The segment.
 * @returns The epoch; undefined if the segment has no batch.
 */
export function firstEpoch(fs: FileSystem, { path }: SegmentFile): number | undefined {
  const file = fs.open(path, "read");
  try {
    return nextEpoch(fs, file, 0);
  } finally {
    fs.close(file);
  }
}

/** The leader epoch of the batch at a position, if there is one. */
function nextEpoch(fs: FileSystem, file: FileHandle, position: number): number | undefined {
  const bytes = new Uint8Array(headerToMagicBytes);
  if (fs.read(file, bytes, position) < bytes.length) return undefined;
  const view = new DataView(bytes.buffer);
  // Damaged bytes are no witness.
  return peekBatchSize(view, 0) === 0 ? undefined : view.getInt32(field.partitionLeaderEpoch);
}

function isAllZeros(fs: FileSystem, file: FileHandle, start: number, end: number): boolean {
  const buffer = new Uint8Array(Math.min(copyBytes, end - start));
  for (let position = start; position < end;) {
    const count = fs.read(file, buffer.subarray(0, end - position), position);
    if (count === 0 || findContentEnd(buffer.subarray(0, count)) > 0) return count === 0;
    position += count;
  }
  return true;
}

/**
 * Writes a segment as it was planned. Its old log is there until the new one has its name.
 *
 * @param repair The repair; nothing is changed in a dry run.
 * @param plan The plan.
 * @param path The segment's log, from the store's folder on.
 */
export function rewriteSegment(repair: Repair, plan: SegmentPlan, path: string): void {
  if (repair.isDryRun) return;
  const { fs } = repair;
  for (const { start, end } of plan.damaged) keepStretch(repair, path, start, end);
  const target = joinPath(repair.folder, path);
  const temporary = target + temporarySuffix;
  const source = fs.open(target, "read");
  try {
    const copy = fs.open(temporary, "create");
    try {
      fs.truncate(copy, 0);
      writePieces(fs, source, copy, plan);
      fs.syncDataNow(copy);
    } finally {
      fs.close(copy);
    }
  } finally {
    fs.close(source);
  }
  fs.rename(temporary, target);
  fs.syncFolder(folderOf(target));
}

function writePieces(
  fs: FileSystem,
  source: FileHandle,
  target: FileHandle,
  { pieces, epochs }: SegmentPlan,
): void {
  const buffer = new Uint8Array(copyBytes);
  let position = 0;
  for (const piece of pieces) {
    if (piece.kind !== "kept") {
      const bytes = buildEmptyBatch(piece.startOffset, piece.endOffset, piece.epoch);
      fs.write(target, bytes, position);
      position += bytes.length;
      continue;
    }
    const shift = position - piece.start;
    for (let at = piece.start; at < piece.end;) {
      const count = fs.read(source, buffer.subarray(0, piece.end - at), at);
      if (count === 0) throw new Error("a file that is being repaired has become shorter");
      fs.write(target, buffer.subarray(0, count), at + shift);
      at += count;
    }
    position += piece.end - piece.start;
    for (const [batch, epoch] of epochs) {
      if (batch >= piece.start && batch < piece.end) writeEpoch(fs, target, batch + shift, epoch);
    }
  }
}

function writeEpoch(fs: FileSystem, file: FileHandle, position: number, epoch: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, epoch);
  fs.write(file, bytes, position + field.partitionLeaderEpoch);
}

function tooDamaged(path: string): OttlaError {
  return new OttlaError(
    "STORE_INVALID",
    `Cannot repair ${path}: it has more than ${piecesMax} damaged stretches`,
    { details: { path } },
  );
}
