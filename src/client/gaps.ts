/** Damage as readers and consumers tell about it: an error, or a call and reading goes on. */

import type { ErrorCode } from "../errors.ts";
import { isOttlaError, OttlaError } from "../errors.ts";
import type { BatchSource, BatchView } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import { recordsOf } from "../record/record_reader.ts";
import type { ReadGap } from "./read_options.ts";

/** Of batches that are damaged, or that cannot be decompressed here. */
const unreadableCodes: readonly ErrorCode[] = [
  "CORRUPT_MESSAGE",
  "CODEC_MISSING",
  "UNSUPPORTED_COMPRESSION_TYPE",
  "MESSAGE_TOO_LARGE",
];

/**
 * Tells about damage, or throws what is none or nobody wants to be told.
 *
 * @param onGap Who wants to be told.
 * @param source Where it was found.
 * @param error What was found.
 */
export function tellGap(
  onGap: ((gap: ReadGap) => void) | undefined,
  { topic, partition }: BatchSource,
  error: unknown,
): void {
  if (onGap === undefined || !isOttlaError(error, "CORRUPT_MESSAGE")) throw error;
  const { startOffset, endOffset } = error.details;
  onGap({
    topic,
    partition,
    startOffset: Number(startOffset),
    endOffset: Number(endOffset),
    error,
  });
}

/**
 * Tells whether an error is about a batch that cannot be read, and not about the disk or the log.
 *
 * @param error What was caught.
 * @returns True if its details say from `startOffset` to `endOffset` what cannot be read.
 */
export function isUnreadable(error: unknown): error is OttlaError {
  const isOfBatch = isOttlaError(error) && unreadableCodes.includes(error.code);
  return isOfBatch && error.details["endOffset"] !== undefined;
}

/**
 * The records of a batch whose checksum is right.
 *
 * @param batch The batch.
 * @returns Its records.
 * @throws OttlaError with `startOffset` and `endOffset`: `CORRUPT_MESSAGE` if its records are not
 * what its header says, and all of it is lost; `CODEC_MISSING`, `UNSUPPORTED_COMPRESSION_TYPE`,
 * `MESSAGE_TOO_LARGE` if it cannot be decompressed here.
 */
export function recordsOrGap(batch: BatchView): LogRecord[] {
  try {
    return recordsOf(batch);
  } catch (cause) {
    if (!isOttlaError(cause)) throw cause;
    const { topic, partition, baseOffset, lastOffset } = batch;
    const place = { topic, partition, startOffset: baseOffset, endOffset: lastOffset + 1 };
    throw new OttlaError(
      cause.code,
      `Cannot read offsets ${baseOffset} to ${lastOffset} of ${topic}-${partition}: ` +
        cause.message,
      { cause, details: { ...cause.details, ...place } },
    );
  }
}
