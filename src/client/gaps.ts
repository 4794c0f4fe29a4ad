/** Damage as readers and consumers tell about it: an error, or a call and reading goes on. */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { BatchSource, BatchView } from "../record/batch_view.ts";
import type { LogRecord } from "../record/record.ts";
import { recordsOf } from "../record/record_reader.ts";
import type { ReadGap } from "./read_options.ts";

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
 * The records of a batch whose checksum is right.
 *
 * @param batch The batch.
 * @returns Its records.
 * @throws OttlaError `CORRUPT_MESSAGE` with `startOffset` and `endOffset` if its records are not
 * what its header says: all of it is lost. `CODEC_MISSING`.
 */
export function recordsOrGap(batch: BatchView): LogRecord[] {
  try {
    return recordsOf(batch);
  } catch (cause) {
    if (!isOttlaError(cause, "CORRUPT_MESSAGE")) throw cause;
    const { topic, partition, baseOffset, lastOffset } = batch;
    throw new OttlaError(
      "CORRUPT_MESSAGE",
      `Cannot read offsets ${baseOffset} to ${lastOffset} of ${topic}-${partition}: ` +
        cause.message,
      { cause, details: { topic, partition, startOffset: baseOffset, endOffset: lastOffset + 1 } },
    );
  }
}
