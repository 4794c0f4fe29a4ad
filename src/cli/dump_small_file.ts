/**
 * Prints what lies beside a log as Kafka's dump tool does: indexes, producer snapshots, and
 * checkpoints. These files are small, so each is read whole.
 */

import { byteReader, readInt64, readUint32, remainingBytes } from "../bytes/byte_reader.ts";
import type { ByteReader } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";
import { parseEpochCheckpoint, parseOffsetCheckpoint } from "../log/checkpoint_file.ts";
import { parseProducerSnapshot } from "../log/producer_snapshot_file.ts";
import type { ProducerSnapshotEntry } from "../log/producer_snapshot_file.ts";
import { decrementSequence } from "../record/batch_view.ts";
import { offsetEntryBytes } from "../segment/offset_index.ts";
import { timeEntryBytes } from "../segment/time_index.ts";
import { parseTxnIndex } from "../segment/txn_index_file.ts";
import type { Json } from "./metadata_json.ts";
import { optionalLong } from "./optional_long.ts";

/** One entry of a file. */
export interface DumpedEntry {
  readonly text: string;
  readonly fields: { readonly [name: string]: Json };
}

/** The kinds of files that are read here. */
export type SmallFileKind =
  | "index"
  | "timeindex"
  | "txnindex"
  | "snapshot"
  | "leader-epoch-checkpoint"
  | "offset-checkpoint";

type Values = Readonly<Record<string, number | string>>;

/**
 * Reads the entries of a file.
 *
 * @param kind What the file is.
 * @param bytes All of its bytes.
 * @param baseOffset The first offset of its segment, which its name gives.
 * @param path Its path, for messages.
 * @returns Its entries; none if it is empty.
 * @throws OttlaError If it is not such a file.
 */
export function readSmallFile(
  kind: SmallFileKind,
  bytes: Uint8Array,
  baseOffset: number,
  path: string,
): DumpedEntry[] {
  const reader = byteReader(bytes);
  switch (kind) {
    case "index":
      return readIndexEntries(reader, path, offsetEntryBytes, baseOffset, () => ({
        offset: baseOffset + readUint32(reader),
        position: readUint32(reader),
      }));
    case "timeindex":
      return readIndexEntries(reader, path, timeEntryBytes, baseOffset, () => ({
        timestamp: readInt64(reader),
        offset: baseOffset + readUint32(reader),
      }));
    case "txnindex":
      return parseTxnIndex(bytes, path).map((entry) => entryOf({ ...entry }));
    case "snapshot":
      return parseProducerSnapshot(bytes, path).map(producerEntry);
    case "leader-epoch-checkpoint":
      return parseEpochCheckpoint(bytes, path).map((entry) => entryOf({ ...entry }));
    case "offset-checkpoint":
      return parseOffsetCheckpoint(bytes, path).map((entry) => entryOf({ ...entry }));
  }
}

function entryOf(fields: Values): DumpedEntry {
  const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}`).join(" ");
  return { text, fields };
}

/**
 * As Kafka's tool does: behind the first entry, one with the base offset is the preallocated rest
 * of the file.
 */
function readIndexEntries(
  reader: ByteReader,
  path: string,
  entryBytes: number,
  baseOffset: number,
  readEntry: () => Values,
): DumpedEntry[] {
  if (reader.end % entryBytes !== 0) {
    throw new OttlaError(
      "STORE_INVALID",
      `Cannot dump ${path}: ${reader.end} bytes are not whole entries of ${entryBytes}`,
      { details: { path } },
    );
  }
  const entries: DumpedEntry[] = [];
  while (remainingBytes(reader) > 0) {
    const entry = readEntry();
    if (entries.length > 0 && entry["offset"] === baseOffset) break;
    entries.push(entryOf(entry));
  }
  return entries;
}

function producerEntry(entry: ProducerSnapshotEntry): DumpedEntry {
  const { producerId, producerEpoch, coordinatorEpoch, timestamp } = entry;
  const { lastSequence, lastOffset, offsetDelta, currentTransactionFirstOffset } = entry;
  const openFrom = currentTransactionFirstOffset < 0 ? undefined : currentTransactionFirstOffset;
  const producer = { producerId, producerEpoch, coordinatorEpoch };
  const hasBatch = lastOffset >= 0;
  const firstSequence = decrementSequence(lastSequence, offsetDelta);
  const batch = { firstSequence, lastSequence, lastOffset, offsetDelta, timestamp };
  return {
    text: `${entryOf(producer).text} currentTxnFirstOffset: ${optionalLong(openFrom)} ` +
      `lastTimestamp: ${timestamp} ` + (hasBatch ? entryOf(batch).text : ""),
    fields: {
      ...producer,
      currentTxnFirstOffset: openFrom ?? null,
      lastTimestamp: timestamp,
      ...(hasBatch ? batch : {}),
    },
  };
}
