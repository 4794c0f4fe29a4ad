/**
 * Record batches: encode and decode Kafka's record batch v2, without a store.
 *
 * For whoever has bytes of Kafka's or needs some: the records of a Produce request, of a Fetch
 * response, of a `.log` file. A builder writes records straight into the bytes of batches; a view
 * looks at a batch where it lies and copies nothing. What is read is believed only as far as its
 * bytes go: whatever they are, the outcome is records or an `OttlaError`.
 *
 * @example
 * ```ts
 * import { appendRecord, batchBuilder, batchesIn, builtBytes, finishBatch } from "ottla/record";
 * import { loadCodec, loadCrc32c, recordsOf, verifyChecksum } from "ottla/record";
 *
 * await loadCrc32c(); // at once where the native module is there
 * await loadCodec("gzip"); // says early which package a codec needs
 *
 * const builder = batchBuilder();
 * appendRecord(builder, Date.now(), "ann", "hello", [{ key: "language", value: "en" }]);
 * appendRecord(builder, Date.now(), "bob", null);
 * finishBatch(builder, { baseOffset: 0, compression: "gzip" });
 * const bytes = builtBytes(builder).slice();
 *
 * for (const batch of batchesIn(bytes)) {
 *   verifyChecksum(batch);
 *   for (const record of recordsOf(batch)) console.log(record.offset, record.key, record.value);
 * }
 * ```
 *
 * @module
 */

export {
  appendRecord,
  assignOffsets,
  batchBuilder,
  builtBytes,
  finishBatch,
  openBatchBytes,
  resetBuilder,
} from "./batch_builder.ts";
export type { BatchBuilder, BatchOptions } from "./batch_builder.ts";

export {
  baseSequenceOf,
  batchesIn,
  compressionOfBatch,
  deleteHorizonOf,
  hasValidChecksum,
  isControlBatch,
  isLogAppendTime,
  isTransactional,
  lastSequenceOf,
  partitionLeaderEpochOf,
  producerEpochOf,
  producerIdOf,
  sequenceOf,
  verifyChecksum,
  viewBatch,
} from "./batch_view.ts";
export type { BatchSource, BatchView } from "./batch_view.ts";

export { forEachRecord, headersOf, keyOf, recordsOf, valueOf } from "./record_reader.ts";
export type { RecordView } from "./record_reader.ts";
export type { Content, Header, HeaderInput, LogRecord } from "./record.ts";

export {
  buildEndTransactionMarker,
  controlTypeOf,
  endTransactionMarkerOf,
} from "./control_record.ts";
export type { ControlType, EndTransactionMarker, EndTransactionOptions } from "./control_record.ts";

export { loadCodec } from "./compression.ts";
export type { Compression } from "./compression.ts";
export { loadCrc32c } from "../bytes/crc32c.ts";
export { isOttlaError, OttlaError } from "../errors.ts";
export type { ErrorCode, ErrorDetails } from "../errors.ts";
