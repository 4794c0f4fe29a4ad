/**
 * A batch without records: a header that stands for offsets of which nothing is left, as Kafka's
 * compaction leaves them. Whoever reads the log passes over it.
 */

import { setInt64 } from "../bytes/byte_reader.ts";
import { crc32c } from "../bytes/crc32c.ts";
import {
  batchHeaderBytes,
  checksumStart,
  field,
  logOverheadBytes,
  magicV2,
  none,
} from "./batch_layout.ts";

/** The most offsets that one batch can stand for. */
export const emptyBatchOffsetsMax: number = 2 ** 31 - 1;

/**
 * Builds a batch without records.
 *
 * @param startOffset The first offset that it stands for.
 * @param endOffset The one behind the last.
 * @param partitionLeaderEpoch That of the batch before it, or -1.
 * @returns Its bytes.
 * @throws RangeError if these are no offsets, or too many for one batch.
 */
export function buildEmptyBatch(
  startOffset: number,
  endOffset: number,
  partitionLeaderEpoch: number,
): Uint8Array {
  const count = endOffset - startOffset;
  if (!(startOffset >= 0 && count >= 1 && count <= emptyBatchOffsetsMax)) {
    throw new RangeError(`Cannot build a batch for offsets ${startOffset} to ${endOffset}`);
  }
  const bytes = new Uint8Array(batchHeaderBytes);
  const view = new DataView(bytes.buffer);
  setInt64(view, field.baseOffset, startOffset);
  view.setInt32(field.batchLength, batchHeaderBytes - logOverheadBytes);
  view.setInt32(field.partitionLeaderEpoch, partitionLeaderEpoch);
  view.setInt8(field.magic, magicV2);
  view.setInt32(field.lastOffsetDelta, count - 1);
  setInt64(view, field.baseTimestamp, none);
  setInt64(view, field.maxTimestamp, none);
  setInt64(view, field.producerId, none);
  view.setInt16(field.producerEpoch, none);
  view.setInt32(field.baseSequence, none);
  view.setUint32(field.crc, crc32c(bytes.subarray(checksumStart)));
  return bytes;
}
