/**
 * Reads the batches of a segment for a compaction: some at a time, so that appends have their turns
 * in between, and none that a checksum does not confirm.
 *
 * Other readers go on behind damage. A compaction ends there: what it does not understand it must
 * not throw away.
 */

import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import { handleOf } from "../platform/file_pool.ts";
import type { BatchView } from "../record/batch_view.ts";
import { scanBatches } from "../segment/batch_scan.ts";
import type { Segment } from "../segment/segment.ts";
import type { Log } from "./log.ts";
import { nameOfLog } from "./log_errors.ts";

/**
 * How many bytes of batches are gone through in one turn of the event loop: about 0.3 ms with
 * records of 100 bytes. A batch is never divided.
 */
export const stepBytes: number = 64 * 1024;

/** Goes through batches while others work on the same log. */
export interface CompactionTurns {
  /** Waits for the next turn of the event loop; throws if the compaction is to end. */
  readonly next: () => Promise<void>;
  /** Called after so many bytes were gone through. */
  readonly onBytes: (count: number) => void;
}

/**
 * Visits the batches of a segment.
 *
 * @param log The log.
 * @param segment One of its sealed segments.
 * @param start The position of a batch.
 * @param turns Gives others their turns.
 * @param visit Gets each batch, in a buffer that is used again for the next, and whether it is the
 * last one of the segment; returns false to end.
 * @param onStep Called at the end of every turn.
 * @returns False if the segment was taken out of the log meanwhile.
 * @throws OttlaError `CORRUPT_MESSAGE` at damage; what `turns`, `visit` and `onStep` throw.
 */
export async function scanSegment(
  log: Log,
  segment: Segment,
  start: number,
  turns: CompactionTurns,
  visit: (batch: BatchView, isLast: boolean) => boolean | void,
  onStep: () => void = () => {},
): Promise<boolean> {
  const { pool, source } = log;
  const { sizeBytes } = segment;
  let minOffset = segment.baseOffset;
  let windowBytes = stepBytes;
  let isWanted = true;
  for (let position = start; position < sizeBytes && isWanted;) {
    if (segment.isDoomed) return false;
    const end = Math.min(sizeBytes, position + windowBytes);
    const range = { start: position, end, verify: true, source };
    const scanned = scanBatches(pool.fs, handleOf(pool, segment.log), range, (batch, at) => {
      if (batch.baseOffset < minOffset || batch.lastOffset >= segment.endOffset) return false;
      minOffset = batch.lastOffset + 1;
      isWanted = visit(batch, at + batch.sizeBytes === sizeBytes) !== false;
      return isWanted;
    });
    const isCut = scanned.reason === "incomplete" && end < sizeBytes && windowBytes < batchBytesMax;
    if (isWanted && scanned.reason !== "end" && !isCut) {
      throw damageError(log, segment, scanned.position);
    }
    turns.onBytes(scanned.position - position);
    // A batch that is larger than all that was looked at is looked at as a whole.
    windowBytes = scanned.position === position ? windowBytes * 2 : stepBytes;
    position = scanned.position;
    onStep();
    await turns.next();
  }
  return !segment.isDoomed;
}

function damageError(log: Log, segment: Segment, position: number): OttlaError {
  return new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot compact ${nameOfLog(log)}: the batch at position ${position} of ${segment.log.path} ` +
      `is damaged`,
    { details: { ...log.source, position, segmentBaseOffset: segment.baseOffset } },
  );
}
