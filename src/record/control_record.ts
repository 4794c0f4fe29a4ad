/**
 * The records of control batches: what ends a transaction (src/FORMAT.md, section 1.6).
 *
 * A control record's key is a version (int16) and a type (int16). The value of an
 * end-of-transaction marker is a version (int16) and the epoch of the coordinator (int32). The
 * other types belong to the metadata log.
 */

import { strict as assert } from "node:assert";
import { OttlaError } from "../errors.ts";
import type { BatchBuilder } from "./batch_builder.ts";
import { appendRecord, finishBatch } from "./batch_builder.ts";
import type { RecordView } from "./record_reader.ts";

/**
 * What a control record stands for, in Kafka's order; `unknown` is one that a newer Kafka may have
 * written.
 */
export type ControlType =
  | "abort"
  | "commit"
  | "leaderChange"
  | "snapshotHeader"
  | "snapshotFooter"
  | "kraftVersion"
  | "kraftVoters"
  | "unknown";

/** How a transaction ended, and by whose word. */
export interface EndTransactionMarker {
  readonly type: "abort" | "commit";
  /** The epoch of the transaction coordinator. */
  readonly coordinatorEpoch: number;
}

/** The batch that carries a marker. */
export interface EndTransactionOptions extends EndTransactionMarker {
  /** The offset of the marker. */
  readonly baseOffset: number;
  readonly partitionLeaderEpoch?: number;
  /** Of the producer whose transaction ends. */
  readonly producerId: number;
  readonly producerEpoch: number;
  /** When it ended, in milliseconds since the epoch. */
  readonly timestamp: number;
}

/** The place of a type in the list is its number. */
const types: readonly ControlType[] = [
  "abort",
  "commit",
  "leaderChange",
  "snapshotHeader",
  "snapshotFooter",
  "kraftVersion",
  "kraftVoters",
];
const keyBytes = 4;
const markerBytes = 6;

/**
 * Builds the batch that ends a transaction of a producer.
 *
 * @param builder Where to; no batch is open in it.
 * @param options How the transaction ended and whose it was.
 * @returns The size of the batch with its header, 78 bytes.
 */
export function buildEndTransactionMarker(
  builder: BatchBuilder,
  options: EndTransactionOptions,
): number {
  assert(builder.recordCount === 0, "a marker has a batch of its own");
  const key = new Uint8Array(keyBytes);
  new DataView(key.buffer).setInt16(2, types.indexOf(options.type));
  const value = new Uint8Array(markerBytes);
  new DataView(value.buffer).setInt32(2, options.coordinatorEpoch);
  appendRecord(builder, options.timestamp, key, value);
  const { baseOffset, partitionLeaderEpoch = -1, producerId, producerEpoch } = options;
  return finishBatch(builder, {
    baseOffset,
    partitionLeaderEpoch,
    producerId,
    producerEpoch,
    transactional: true,
    control: true,
  });
}

/**
 * What a record of a control batch stands for.
 *
 * @param record The record.
 * @returns Its type; `unknown` must be passed over.
 * @throws OttlaError `INVALID_RECORD` if its key is not that of a control record.
 */
export function controlTypeOf(record: RecordView): ControlType {
  const { bytes, keyStart, keyEnd } = record;
  const size = keyStart < 0 ? 0 : keyEnd - keyStart;
  if (size < keyBytes) {
    throw invalidControl(record, `its key has ${size} bytes, ${keyBytes} were expected`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + keyStart, size);
  const version = view.getInt16(0);
  if (version < 0) throw invalidControl(record, `its key has version ${version}`);
  return types[view.getInt16(2)] ?? "unknown";
}

/**
 * Reads a marker that ended a transaction.
 *
 * @param record A record of a control batch.
 * @returns The marker, or undefined if the record stands for something else.
 * @throws OttlaError `INVALID_RECORD` if it is malformed.
 */
export function endTransactionMarkerOf(record: RecordView): EndTransactionMarker | undefined {
  const type = controlTypeOf(record);
  if (type !== "abort" && type !== "commit") return undefined;
  const { bytes, valueStart, valueEnd } = record;
  const size = valueStart < 0 ? 0 : valueEnd - valueStart;
  if (size < markerBytes) {
    throw invalidControl(record, `its value has ${size} bytes, ${markerBytes} were expected`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + valueStart, size);
  const version = view.getInt16(0);
  if (version < 0) throw invalidControl(record, `its value has version ${version}`);
  return { type, coordinatorEpoch: view.getInt32(2) };
}

function invalidControl(record: RecordView, what: string): OttlaError {
  return new OttlaError(
    "INVALID_RECORD",
    `Cannot read the control record at offset ${record.offset}: ${what}`,
    { details: { offset: record.offset } },
  );
}
