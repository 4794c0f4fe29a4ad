/**
 * Reads a segment from its first byte to its last: every batch's header, checksum and records, in
 * their order, and what the indexes say of them. Goes on behind damage with the next good batch,
 * and says which offsets are lost.
 */

import { isOttlaError } from "../errors.ts";
import { segmentBytesMax } from "../limits.ts";
import type { ProducerStates } from "../log/producer_state.ts";
import { replayBatch } from "../log/producer_state.ts";
import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { attribute } from "../record/batch_layout.ts";
import type { BatchView } from "../record/batch_view.ts";
import {
  baseSequenceOf,
  deleteHorizonOf,
  isControlBatch,
  isLogAppendTime,
  partitionLeaderEpochOf,
  producerIdOf,
} from "../record/batch_view.ts";
import { controlTypeOf } from "../record/control_record.ts";
import { forEachRecord, valueOf } from "../record/record_reader.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import type { ScanEnd } from "../segment/batch_scan.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import { checkIndexesAt, finishIndexes, indexCheck } from "./check_indexes.ts";
import type { CheckProblem, CheckSeverity, ProblemList } from "./check_report.ts";
import { addProblem } from "./check_report.ts";
import { findContentEnd } from "./check_zeros.ts";
import type { SegmentFile } from "./folder_view.ts";
import { decodeMetadataRecord } from "./metadata_records.ts";

/** What is known of a partition from elsewhere. */
export interface PartitionRules {
  /** Whether compaction may have taken records out. */
  readonly isCompacted: boolean;
  readonly isMetadata: boolean;
  /** Where it begins, as it was last recorded. */
  readonly startOffset: number;
  readonly indexIntervalBytes: number;
  /** Everything below it was on disk once; Infinity after a clean shutdown. */
  readonly recoveryPoint: number;
  /** Whether somebody may be writing at its end now. */
  readonly isOpen: boolean;
}

/** What the segments of a partition have shown so far. */
export interface PartitionProgress {
  batches: number;
  records: number;
  /** Undefined before the first batch. */
  endOffset: number | undefined;
  leaderEpoch: number;
  readonly producers: ProducerStates;
  /** The transactions that were aborted, in the order of their markers. */
  readonly aborted: AbortedTransaction[];
}

/** One segment that is being checked. */
interface SegmentCheck {
  /** From the store's folder on. */
  readonly path: string;
  readonly segment: SegmentFile;
  readonly next: SegmentFile | undefined;
  readonly rules: PartitionRules;
  readonly progress: PartitionProgress;
  readonly list: ProblemList;
}

const knownAttributes = attribute.compressionMask | attribute.logAppendTime |
  attribute.transactional | attribute.control | attribute.deleteHorizon;
const tailReadBytes = 1024 * 1024;

/**
 * Checks a segment.
 *
 * @param fs Where it is.
 * @param path The path of its log from the store's folder on.
 * @param segment The segment.
 * @param next The segment behind it, if there is one.
 * @param rules What is known of the partition.
 * @param progress What the segments before it have shown; it is carried on.
 * @param list Gets what is wrong.
 */
export function checkSegment(
  fs: FileSystem,
  path: string,
  segment: SegmentFile,
  next: SegmentFile | undefined,
  rules: PartitionRules,
  progress: PartitionProgress,
  list: ProblemList,
): void {
  const check: SegmentCheck = { path, segment, next, rules, progress, list };
  const { baseOffset } = segment;
  if (segment.sizeBytes > segmentBytesMax) {
    report(
      check,
      "error",
      0,
      `It has ${segment.sizeBytes} bytes, at most ${segmentBytesMax} can be`,
    );
  }
  checkSegmentStart(check);
  const indexes = indexCheck(fs, segment.path, path, baseOffset, list);
  const batchesBefore = progress.batches;
  const file = fs.open(segment.path, "read");
  try {
    const end = fs.sizeOf(file);
    for (let position = 0; position < end;) {
      const scan = scanBatches(fs, file, { start: position, end, verify: true }, (batch, at) => {
        checkBatch(check, batch, at);
        checkIndexesAt(indexes, batch, at);
        return true;
      });
      position = scan.reason === "end" ? end : checkDamage(check, fs, file, scan, end);
    }
  } finally {
    fs.close(file);
  }
  finishIndexes(indexes, {
    isComplete: next !== undefined || rules.recoveryPoint === Infinity,
    isEmpty: progress.batches === batchesBefore,
    indexIntervalBytes: rules.indexIntervalBytes,
  });
}

function checkSegmentStart(check: SegmentCheck): void {
  const { segment: { baseOffset }, progress, rules } = check;
  const { endOffset } = progress;
  if (endOffset === undefined || endOffset === baseOffset) return;
  if (endOffset > baseOffset) {
    const message =
      `It begins with offset ${baseOffset}, the segment before ends behind it, at ${endOffset}`;
    report(check, "error", 0, message);
  } else if (!rules.isCompacted) {
    reportLoss(check, "error", 0, endOffset, baseOffset, "are in no segment");
  }
}

function checkBatch(check: SegmentCheck, batch: BatchView, position: number): void {
  const { segment, next, rules, progress } = check;
  const { baseOffset, lastOffset } = batch;
  const wanted = Math.max(progress.endOffset ?? 0, segment.baseOffset);
  if (baseOffset < wanted) {
    report(check, "error", position, `Offset ${baseOffset} comes behind offset ${wanted - 1}`);
  } else if (baseOffset > wanted && !rules.isCompacted) {
    reportLoss(check, "error", position, wanted, baseOffset, "are missing before the batch");
  }
  if (next !== undefined && lastOffset >= next.baseOffset) {
    const message =
      `Offset ${lastOffset} belongs into the next segment, which begins with ${next.baseOffset}`;
    report(check, "error", position, message);
  }
  checkHeader(check, batch, position);
  checkRecords(check, batch, position);
  progress.batches++;
  progress.endOffset = Math.max(progress.endOffset ?? 0, lastOffset + 1);
  const aborted = replayBatch(progress.producers, batch);
  if (aborted !== undefined) progress.aborted.push(aborted);
}

function checkHeader(check: SegmentCheck, batch: BatchView, position: number): void {
  const { rules, progress } = check;
  const unknown = batch.attributes & ~knownAttributes;
  if (unknown !== 0) {
    report(check, "warning", position, `The batch has unknown attributes ${unknown & 0xffff}`);
  }
  const offsetCount = batch.lastOffset - batch.baseOffset + 1;
  // One without records stands for offsets that compaction or a repair has taken out.
  const isWhole = batch.recordCount === offsetCount || batch.recordCount === 0;
  if (batch.recordCount > offsetCount || (!isWhole && !rules.isCompacted)) {
    const message = `The batch claims ${batch.recordCount} records for ${offsetCount} offsets`;
    report(check, "error", position, message);
  }
  const isIdempotent = producerIdOf(batch) >= 0 && !isControlBatch(batch);
  if (isIdempotent && batch.recordCount > 0 && baseSequenceOf(batch) < 0) {
    report(check, "warning", position, "The batch has a producer id and no sequence number");
  }
  const leaderEpoch = partitionLeaderEpochOf(batch);
  if (leaderEpoch < progress.leaderEpoch) {
    const message = `Leader epoch ${leaderEpoch} comes behind epoch ${progress.leaderEpoch}`;
    report(check, "warning", position, message);
  }
  progress.leaderEpoch = Math.max(progress.leaderEpoch, leaderEpoch);
}

function checkRecords(check: SegmentCheck, batch: BatchView, position: number): void {
  const { rules, progress } = check;
  const isControl = isControlBatch(batch);
  const isMetadata = rules.isMetadata && !isControl;
  let lastOffset = batch.baseOffset - 1;
  let maxTimestamp = -1;
  try {
    progress.records += forEachRecord(batch, (record) => {
      if (record.offset <= lastOffset) {
        report(
          check,
          "error",
          position,
          `Record ${record.offset} comes behind record ${lastOffset}`,
        );
      }
      lastOffset = record.offset;
      if (record.timestamp > maxTimestamp) maxTimestamp = record.timestamp;
      // Readers pass over such a batch: records of users must not be in it.
      if (isControl) controlTypeOf(record);
      const value = isMetadata ? valueOf(record) : null;
      if (value !== null) decodeMetadataRecord(value);
    });
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    const isMissing = error.code === "CODEC_MISSING";
    const { baseOffset: startOffset, lastOffset: end } = batch;
    addProblem(check.list, {
      severity: isMissing ? "warning" : "error",
      path: check.path,
      position,
      message: error.message,
      ...(isMissing ? {} : { startOffset, endOffset: end + 1 }),
    });
    return;
  }
  const hasTimes = !isLogAppendTime(batch) && batch.recordCount > 0 &&
    deleteHorizonOf(batch) === undefined;
  if (hasTimes && maxTimestamp !== batch.maxTimestamp) {
    const message =
      `The batch claims the timestamp ${batch.maxTimestamp}, its largest is ${maxTimestamp}`;
    report(check, "warning", position, message);
  }
}

/** Says what was found where the scan ended, and finds where to go on. */
function checkDamage(
  check: SegmentCheck,
  fs: FileSystem,
  file: FileHandle,
  scan: ScanEnd,
  end: number,
): number {
  const { segment, next, progress, rules } = check;
  const { position } = scan;
  const expected = Math.max(progress.endOffset ?? 0, segment.baseOffset);
  const good = findNextBatch(fs, file, { start: position, end, verify: true }, expected);
  const nextOffset = good?.baseOffset ?? next?.baseOffset;
  const found = foundInstead(scan);
  if (nextOffset !== undefined) {
    reportLoss(check, "error", position, expected, nextOffset, `cannot be read: ${found}`);
    progress.endOffset = nextOffset;
    return good?.position ?? end;
  }
  const sizeBytes = end - position;
  if (isAllZeros(fs, file, position, end)) {
    report(check, "note", position, `${sizeBytes} bytes at its end are preallocated and not used`);
  } else if (rules.isOpen) {
    const message =
      `${sizeBytes} bytes behind the last good batch may be ones that are just being written`;
    report(check, "note", position, message);
  } else if (rules.recoveryPoint === Infinity || rules.recoveryPoint > expected) {
    // All of it was on disk once, so this is no trace of a crash.
    reportLoss(check, "error", position, expected, undefined, `cannot be read: ${found}`);
  } else {
    const message =
      `${sizeBytes} bytes behind the last good batch are a torn end: ${found}; the next ` +
      `opening puts them aside`;
    report(check, "warning", position, message);
  }
  return end;
}

function foundInstead({ reason }: ScanEnd): string {
  if (reason === "checksum") return "the batch there has a wrong checksum";
  if (reason === "incomplete") return "the batch there ends behind the end of the file";
  return "there is no batch";
}

function isAllZeros(fs: FileSystem, file: FileHandle, start: number, end: number): boolean {
  const buffer = new Uint8Array(Math.min(tailReadBytes, end - start));
  for (let position = start; position < end;) {
    const count = fs.read(file, buffer.subarray(0, end - position), position);
    if (count === 0) return true;
    if (findContentEnd(buffer.subarray(0, count)) > 0) return false;
    position += count;
  }
  return true;
}

function report(
  { list, path }: SegmentCheck,
  severity: CheckSeverity,
  position: number,
  message: string,
): void {
  addProblem(list, { severity, path, position, message });
}

function reportLoss(
  { list, path, rules }: SegmentCheck,
  severity: CheckSeverity,
  position: number,
  startOffset: number,
  endOffset: number | undefined,
  what: string,
): void {
  // Nobody reads what lies before the start: what is left of it goes with the next retention.
  if (endOffset !== undefined && endOffset <= rules.startOffset) return;
  const range = endOffset === undefined
    ? `Offsets from ${startOffset} on`
    : `Offsets ${startOffset} to ${endOffset - 1}`;
  const problem: CheckProblem = {
    severity,
    path,
    position,
    message: `${range} ${what}`,
    startOffset,
  };
  addProblem(list, endOffset === undefined ? problem : { ...problem, endOffset });
}
