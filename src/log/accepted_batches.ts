/**
 * Batches that were acknowledged at level "memory" and wait to be written, one behind the other as
 * they will lie in the file.
 */

import { getInt64 } from "../bytes/byte_reader.ts";
import { peekBatchSize } from "../record/batch_view.ts";

/** Accepted batches, in the order of their offsets. */
export interface AcceptedBatches {
  /** The batches, and behind them room for more. */
  bytes: Uint8Array;
  /** Of the batches. */
  sizeBytes: number;
  /** Whether someone will write them soon. */
  isWriteDue: boolean;
}

/** They are written before there are more bytes of them than this. */
export const acceptedWriteBytes: number = 256 * 1024;
/** And when the disk takes none, this many are kept before appends fail. */
export const acceptedBytesMax: number = 8 * 1024 * 1024;

const capacityBytesMin = 4 * 1024;
const noBytes = new Uint8Array(0);

/** None yet. */
export function acceptedBatches(): AcceptedBatches {
  return { bytes: noBytes, sizeBytes: 0, isWriteDue: false };
}

/**
 * Keeps a copy of batches.
 *
 * @param accepted What is accepted already.
 * @param bytes The batches.
 */
export function acceptBytes(accepted: AcceptedBatches, bytes: Uint8Array): void {
  const sizeBytes = accepted.sizeBytes + bytes.length;
  if (sizeBytes > accepted.bytes.length) {
    const grown = new Uint8Array(Math.max(capacityBytesMin, 2 * sizeBytes));
    grown.set(accepted.bytes.subarray(0, accepted.sizeBytes));
    accepted.bytes = grown;
  }
  accepted.bytes.set(bytes, accepted.sizeBytes);
  accepted.sizeBytes = sizeBytes;
}

/**
 * Lets go of the batches that are written.
 *
 * @param accepted What is accepted.
 * @param endOffset Those below it are.
 */
export function dropWritten(accepted: AcceptedBatches, endOffset: number): void {
  const { bytes, sizeBytes } = accepted;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let written = 0;
  while (written < sizeBytes && getInt64(view, written) < endOffset) {
    written += peekBatchSize(view, written);
  }
  // An idle log keeps no room: there may be thousands.
  accepted.bytes = written === sizeBytes ? noBytes : bytes.subarray(written);
  accepted.sizeBytes -= written;
}
