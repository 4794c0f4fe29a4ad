/** Batches for tests: well made, made by hand, and damaged. */

import { setInt64 } from "../../src/bytes/byte_reader.ts";
import { crc32c } from "../../src/bytes/crc32c.ts";
import type { BatchOptions } from "../../src/record/batch_builder.ts";
import {
  appendRecord,
  batchBuilder,
  builtBytes,
  finishBatch,
} from "../../src/record/batch_builder.ts";
import {
  batchHeaderBytes,
  checksumStart,
  field,
  logOverheadBytes,
  magicV2,
} from "../../src/record/batch_layout.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { viewBatch } from "../../src/record/batch_view.ts";
import type { RecordInput } from "../../src/record/record.ts";

/** A moment at which tests take place. */
export const someTime = 1_700_000_000_000;

/**
 * The bytes of one batch.
 *
 * @param records Its records; without a timestamp they have `someTime`.
 * @param options What its header says; its first offset is 0 if nothing else is said.
 * @returns A copy, the batch and nothing else.
 */
export function buildBatch(
  records: readonly RecordInput[],
  options: Partial<BatchOptions> = {},
): Uint8Array {
  const builder = batchBuilder(64);
  for (const { timestamp = someTime, key = null, value = null, headers } of records) {
    appendRecord(builder, timestamp, key, value, headers);
  }
  finishBatch(builder, { baseOffset: 0, ...options });
  return builtBytes(builder).slice();
}

/** What a batch made by hand says; everything has a plain default. */
export interface RawBatch {
  readonly body: Uint8Array;
  readonly recordCount: number;
  readonly baseOffset?: number;
  readonly lastOffsetDelta?: number;
  readonly attributes?: number;
  readonly baseTimestamp?: number;
  readonly maxTimestamp?: number;
}

/**
 * The bytes of a batch whose fields need not fit each other; only its length and checksum do.
 *
 * @param raw Its fields.
 * @returns The bytes.
 */
export function rawBatch(raw: RawBatch): Uint8Array {
  const bytes = new Uint8Array(batchHeaderBytes + raw.body.length);
  const view = new DataView(bytes.buffer);
  setInt64(view, field.baseOffset, raw.baseOffset ?? 0);
  view.setInt32(field.batchLength, bytes.length - logOverheadBytes);
  view.setInt8(field.magic, magicV2);
  view.setInt16(field.attributes, raw.attributes ?? 0);
  view.setInt32(field.lastOffsetDelta, raw.lastOffsetDelta ?? Math.max(0, raw.recordCount - 1));
  setInt64(view, field.baseTimestamp, raw.baseTimestamp ?? someTime);
  setInt64(view, field.maxTimestamp, raw.maxTimestamp ?? someTime);
  setInt64(view, field.producerId, -1);
  view.setInt16(field.producerEpoch, -1);
  view.setInt32(field.baseSequence, -1);
  view.setInt32(field.recordCount, raw.recordCount);
  bytes.set(raw.body, batchHeaderBytes);
  return writeChecksum(bytes);
}

/**
 * Makes the checksum of a batch right again.
 *
 * @param bytes The batch and nothing else.
 * @returns The same bytes.
 */
export function writeChecksum(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(field.crc, crc32c(bytes.subarray(checksumStart)));
  return bytes;
}

/**
 * The view of a batch that must be there.
 *
 * @param bytes The batch, from the first byte on.
 * @returns The view.
 */
export function viewOf(bytes: Uint8Array): BatchView {
  const batch = viewBatch(bytes);
  if (batch === undefined) throw new Error("There is no whole batch");
  return batch;
}

/**
 * Bytes one behind the other.
 *
 * @param parts The bytes.
 * @returns A copy of all.
 */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * The same bytes in the middle of others, which a reader must never let in.
 *
 * @param bytes The bytes.
 * @returns A view into a larger buffer full of something else.
 */
export function poisoned(bytes: Uint8Array): Uint8Array {
  const around = new Uint8Array(bytes.length + 64).fill(0x02);
  around.set(bytes, 17);
  return around.subarray(17, 17 + bytes.length);
}
