/**
 * Prints what lies beside a log as Kafka's dump tool does: indexes, producer snapshots, and checkpoints. These
 * files are small, so each is read whole.
 */

import {
  byteReader,
  readInt16,
  readInt32,
  readInt64,
  readUint32,
  remainingBytes,
} from "../bytes/byte_reader.ts";
import type { ByteReader } from "../bytes/byte_reader.ts";
import { crc32c } from "../bytes/crc32c.ts";
import { OttlaError } from "../errors.ts";
import { parseEpochCheckpoint, parseOffsetCheckpoint } from "../log/checkpoint_file.ts";
import { decrementSequence } from "../record/batch_view.ts";
import { offsetEntryBytes } from "../segment/offset_index.ts";
import { timeEntryBytes } from "../segment/time_index.ts";
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

const abortedEntryBytes = 34;
const snapshotHeaderBytes = 10;
const snapshotEntryBytes = 46;
const snapshotVersion = 1;

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
      return readEntries(reader, path, abortedEntryBytes, () => ({
        version: readInt16(reader),
        producerId: readInt64(reader),
        firstOffset: readInt64(reader),
        lastOffset: readInt64(reader),
        lastStableOffset: readInt64(reader),
      }));
    case "snapshot":
      return readProducerSnapshot(reader, path);
    case "leader-epoch-checkpoint":
      return parseEpochCheckpoint(bytes, path).map((entry) => entryOf({ ...entry }));
    case "offset-checkpoint":
      return parseOffsetCheckpoint(bytes, path).map((entry) => entryOf({ ...entry }));
  }
}

type Values = Readonly<Record<string, number | string>>;

function entryOf(fields: Values): DumpedEntry {
  const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}`).join(" ");
  return { text, fields };
}

function readEntries(
  reader: ByteReader,
  path: string,
  entryBytes: number,
  readEntry: () => Values,
): DumpedEntry[] {
  if (reader.end % entryBytes !== 0) {
    throw invalidFile(path, `${reader.end} bytes are not whole entries of ${entryBytes}`);
  }
  const entries: DumpedEntry[] = [];
  while (remainingBytes(reader) > 0) entries.push(entryOf(readEntry()));
  return entries;
}

/** As Kafka's tool does: behind the first entry, one with the base offset is the preallocated rest of the file. */
function readIndexEntries(
  reader: ByteReader,
  path: string,
  entryBytes: number,
  baseOffset: number,
  readEntry: () => Values,
): DumpedEntry[] {
  const entries = readEntries(reader, path, entryBytes, readEntry);
  const end = entries.findIndex(({ fields }, at) => at > 0 && fields["offset"] === baseOffset);
  return end < 0 ? entries : entries.slice(0, end);
}

function readProducerSnapshot(reader: ByteReader, path: string): DumpedEntry[] {
  if (reader.end < snapshotHeaderBytes) {
    throw invalidFile(path, `${reader.end} bytes are less than a header`);
  }
  const version = readInt16(reader);
  if (version !== snapshotVersion) throw invalidFile(path, `it has version ${version}, wanted 1`);
  const stored = readUint32(reader);
  const actual = crc32c(reader.bytes.subarray(reader.position, reader.end));
  if (stored !== actual) {
    throw invalidFile(path, `its checksum is ${actual}, ${stored} was written`);
  }
  const count = readInt32(reader);
  if (count * snapshotEntryBytes !== remainingBytes(reader)) {
    throw invalidFile(path, `${count} entries are not in ${remainingBytes(reader)} bytes`);
  }
  return Array.from({ length: count }, () => readProducer(reader));
}

function readProducer(reader: ByteReader): DumpedEntry {
  const producerId = readInt64(reader);
  const producerEpoch = readInt16(reader);
  const lastSequence = readInt32(reader);
  const lastOffset = readInt64(reader);
  const offsetDelta = readInt32(reader);
  const timestamp = readInt64(reader);
  const coordinatorEpoch = readInt32(reader);
  const openFrom = readInt64(reader);
  const currentTxnFirstOffset = openFrom < 0 ? undefined : openFrom;
  const producer = { producerId, producerEpoch, coordinatorEpoch };
  const hasBatch = lastOffset >= 0;
  const firstSequence = decrementSequence(lastSequence, offsetDelta);
  const batch = { firstSequence, lastSequence, lastOffset, offsetDelta, timestamp };
  const open = optionalLong(currentTxnFirstOffset);
  return {
    text: `${entryOf(producer).text} currentTxnFirstOffset: ${open} lastTimestamp: ${timestamp} ` +
      (hasBatch ? entryOf(batch).text : ""),
    fields: {
      ...producer,
      currentTxnFirstOffset: currentTxnFirstOffset ?? null,
      lastTimestamp: timestamp,
      ...(hasBatch ? batch : {}),
    },
  };
}

function invalidFile(path: string, reason: string): OttlaError {
  return new OttlaError("STORE_INVALID", `Cannot dump ${path}: ${reason}`, { details: { path } });
}
