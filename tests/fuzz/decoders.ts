/**
 * Every decoder of the project, as one list: what it reads, what it must make of any bytes, and
 * good bytes to begin with, from a store of ottla's and from folders that Kafka wrote.
 */

import assert from "node:assert/strict";

import {
  decodeGroupKey,
  decodeGroupValue,
  findForeignGroupId,
} from "../../src/coordinator/group_records.ts";
import { encodeGroupRecord } from "../../src/coordinator/group_records.ts";
import type { GroupRecord } from "../../src/coordinator/group_records.ts";
import { groupRecordSchemas } from "../../src/coordinator/group_record_schemas.ts";
import {
  parseEpochCheckpoint,
  parseOffsetCheckpoint,
  printEpochCheckpoint,
  printOffsetCheckpoint,
} from "../../src/log/checkpoint_file.ts";
import {
  parsePartitionMetadata,
  printPartitionMetadata,
} from "../../src/log/partition_metadata.ts";
import {
  parseProducerSnapshot,
  printProducerSnapshot,
} from "../../src/log/producer_snapshot_file.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { parseLock, printLock } from "../../src/platform/store_lock_file.ts";
import { batchesIn, hasValidChecksum, isControlBatch } from "../../src/record/batch_view.ts";
import { endTransactionMarkerOf } from "../../src/record/control_record.ts";
import { forEachRecord, keyOf, recordsOf, valueOf } from "../../src/record/record_reader.ts";
import { scanBatches } from "../../src/segment/batch_scan.ts";
import {
  decodeOffsetEntries,
  encodeOffsetEntries,
  offsetIndex,
} from "../../src/segment/offset_index.ts";
import { decodeTimeEntries, encodeTimeEntries, timeIndex } from "../../src/segment/time_index.ts";
import { parseTxnIndex, printTxnIndex } from "../../src/segment/txn_index_file.ts";
import { parseMetaProperties } from "../../src/store/meta_properties.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeMetadataRecord,
} from "../../src/store/metadata_records.ts";
import { readMetadata } from "../../src/store/metadata_reader.ts";
import { parseQuorumState, printQuorumState } from "../../src/store/quorum_state.ts";
import { readCleanShutdown, readPartitioners } from "../../src/store/store_files.ts";
import type { StoreImage } from "../faults/rotten_store.ts";
import { originalStore } from "../faults/rotten_store.ts";
import { kafkaSegments } from "../support/kafka_segments.ts";
import { segmentPath, writeBytes } from "../support/log_fixture.ts";
import { codecs } from "../support/arbitraries.ts";
import { buildBatch } from "../support/batches.ts";

/** One decoder. */
export interface Decoder {
  readonly name: string;
  /** Good bytes. */
  readonly seeds: readonly Uint8Array[];
  /**
   * Decodes, and asserts what must be true of the result. Throws nothing but an `OttlaError`,
   * unless something is wrong.
   */
  readonly decode: (bytes: Uint8Array) => unknown;
  /** How many values may come of a byte; some compress. */
  readonly valuesPerByte?: number;
}

const path = "the file";

/** Collects all decoders with their seeds. */
export async function allDecoders(): Promise<Decoder[]> {
  const { image } = await originalStore("closed");
  return [
    ...logDecoders(image),
    ...indexDecoders(image),
    ...smallFileDecoders(image),
    ...recordDecoders(image),
  ];
}

function logDecoders(image: StoreImage): Decoder[] {
  const logs = [...filesOf(image, /\.log$/), ...kafkaSegments().map(({ read }) => read("log"))]
    .filter(({ length }) => length > 0 && length < 4000);
  const record = { key: "key", value: "value ".repeat(20), timestamp: 5 };
  const compressed = codecs.map((compression) => buildBatch([record, record], { compression }));
  const seeds = [...logs, ...compressed];
  return [
    { name: "batches", seeds, decode: decodeBatches, valuesPerByte: 400 },
    { name: "a log file", seeds, decode: decodeLogFile },
  ];
}

/** A damaged checksum must not hide what a decoder of records does with damaged records. */
function decodeBatches(bytes: Uint8Array): unknown {
  const shapes: unknown[] = [];
  for (const batch of batchesIn(bytes)) {
    assert.ok(batch.position + batch.sizeBytes <= bytes.length);
    let count = 0;
    forEachRecord(batch, (record) => {
      count++;
      assert.ok(record.offset >= batch.baseOffset && record.offset <= batch.lastOffset);
      assert.ok((keyOf(record)?.length ?? 0) + (valueOf(record)?.length ?? 0) <= record.end);
      if (isControlBatch(batch)) endTransactionMarkerOf(record);
    });
    assert.equal(recordsOf(batch).length, count);
    shapes.push([count, hasValidChecksum(batch)]);
  }
  return shapes;
}

function decodeLogFile(bytes: Uint8Array): unknown {
  const fs = memoryFileSystem();
  writeBytes(fs, "/log", bytes, 0);
  const file = fs.open("/log", "read");
  let end = 0;
  const scan = scanBatches(fs, file, { start: 0, end: bytes.length, verify: true }, (batch, at) => {
    assert.equal(at, end, "one batch begins where another one ends");
    end = at + batch.sizeBytes;
  });
  assert.equal(scan.position, end);
  return { [scan.reason]: end > 0 };
}

function indexDecoders(image: StoreImage): Decoder[] {
  return [
    {
      name: "an offset index",
      seeds: filesOf(image, /\d\.index$/),
      decode: (bytes) => {
        const index = offsetIndex(0, 4096);
        const isWhole = decodeOffsetEntries(index, bytes, 2 ** 20);
        const printed = encodeOffsetEntries(index);
        assert.deepEqual(printed, bytes.slice(0, printed.length), "what is taken is what is there");
        return [isWhole, index.count > 0];
      },
    },
    {
      name: "a time index",
      seeds: filesOf(image, /\.timeindex$/),
      decode: (bytes) => {
        const index = timeIndex(0, 4096);
        const isWhole = decodeTimeEntries(index, bytes, 2 ** 20);
        const printed = encodeTimeEntries(index);
        assert.deepEqual(printed, bytes.slice(0, printed.length), "what is taken is what is there");
        return [isWhole, index.count > 0];
      },
    },
    {
      name: "a transaction index",
      seeds: filesOf(image, /\.txnindex$/),
      decode: (bytes) => {
        const entries = parseTxnIndex(bytes, path);
        assert.deepEqual(printTxnIndex(entries), bytes);
        return entries;
      },
    },
    {
      name: "a producer snapshot",
      seeds: filesOf(image, /\.snapshot$/),
      decode: (bytes) => {
        const entries = parseProducerSnapshot(bytes, path);
        assert.deepEqual(printProducerSnapshot(entries), bytes);
        return entries;
      },
    },
  ];
}

function smallFileDecoders(image: StoreImage): Decoder[] {
  return [
    {
      name: "an offset checkpoint",
      seeds: filesOf(image, /offset-checkpoint$/),
      decode: (bytes) => again(parseOffsetCheckpoint, printOffsetCheckpoint, bytes),
    },
    {
      name: "a checkpoint of leader epochs",
      seeds: filesOf(image, /leader-epoch-checkpoint$/),
      decode: (bytes) => again(parseEpochCheckpoint, printEpochCheckpoint, bytes),
    },
    {
      name: "partition.metadata",
      seeds: filesOf(image, /partition\.metadata$/),
      decode: (bytes) => again(parsePartitionMetadata, printPartitionMetadata, bytes),
    },
    {
      name: "meta.properties",
      seeds: filesOf(image, /meta\.properties$/),
      decode: (bytes) => parseMetaProperties(bytes, path),
    },
    {
      name: "quorum-state",
      seeds: filesOf(image, /quorum-state$/),
      decode: (bytes) => again(parseQuorumState, printQuorumState, bytes),
    },
    {
      name: "a lock",
      seeds: filesOf(image, /ottla\.lock\./),
      decode: (bytes) => {
        const content = parseLock(path, bytes);
        if (content !== undefined) assert.deepEqual(parseLock(path, printLock(content)), content);
        return content;
      },
    },
    {
      name: "our own files in the root",
      seeds: filesOf(image, /ottla\.(cleanshutdown|partitioners)$/),
      decode: (bytes) => {
        const fs = memoryFileSystem();
        writeBytes(fs, "/ottla.cleanshutdown", bytes, 0);
        writeBytes(fs, "/ottla.partitioners", bytes, 0);
        return [readCleanShutdown(fs, "/"), [...readPartitioners(fs, "/")]];
      },
    },
  ];
}

function recordDecoders(image: StoreImage): Decoder[] {
  const metadata = recordsIn(image, /^__cluster_metadata-0\/.*\.log$/, false);
  const control = recordsIn(image, /^__cluster_metadata-0\/.*\.log$/, true);
  const groups = recordsIn(image, /^__consumer_offsets-\d+\/.*\.log$/, false);
  const types = Object.keys(groupRecordSchemas) as (keyof typeof groupRecordSchemas)[];
  return [
    {
      name: "metadata records",
      seeds: metadata.map(({ value }) => value),
      decode: (bytes) => {
        const record = decodeMetadataRecord(bytes);
        assert.deepEqual(decodeMetadataRecord(encodeMetadataRecord(record)), record);
        return record;
      },
    },
    {
      name: "control records of the metadata log",
      seeds: control.map(({ key, value }) => Uint8Array.from([...key, ...value])),
      decode: (bytes) => decodeControlRecord(bytes.subarray(0, 4), bytes.subarray(4)),
    },
    {
      name: "a metadata log",
      seeds: filesOf(image, /^__cluster_metadata-0\/.*\.log$/),
      decode: (bytes) => {
        const fs = memoryFileSystem();
        fs.makeFolder("/metadata");
        writeBytes(fs, segmentPath(0, "log", "/metadata"), bytes, 0);
        const { image: read, endOffset } = readMetadata(fs, "/metadata", 0);
        return [endOffset, [...read.topicsByName.keys()]];
      },
    },
    {
      name: "the keys of groups",
      seeds: groups.map(({ key }) => key),
      decode: (bytes) => [decodeGroupKey(bytes), findForeignGroupId(bytes)],
    },
    ...types.map((type): Decoder => ({
      name: `the values of ${type}`,
      seeds: groups.map(({ value }) => value),
      decode: (bytes) => {
        const value = decodeGroupValue(type, bytes);
        const key = { ...emptyKey, type };
        const encoded = encodeGroupRecord({ key, value } as unknown as GroupRecord).value!;
        assert.deepEqual(decodeGroupValue(type, encoded), value);
        return value;
      },
    })),
  ];
}

/** All that a key of any kind of record of a group may need. */
const emptyKey = {
  group: "g",
  topic: "t",
  partition: 0,
  groupId: "g",
  memberId: "m",
  regularExpression: "r",
  topicId: "AAAAAAAAAAAAAAAAAAAAAA",
};

/** What was read and printed is read as the same. */
function again<Value>(
  parse: (bytes: Uint8Array, path: string) => Value,
  print: (value: Value) => Uint8Array,
  bytes: Uint8Array,
): Value {
  const value = parse(bytes, path);
  assert.deepEqual(parse(print(value), path), value);
  return value;
}

function filesOf(image: StoreImage, pattern: RegExp): Uint8Array[] {
  const files = [...image].filter(([name]) => pattern.test(name)).map(([, bytes]) => bytes);
  assert.ok(files.length > 0, `there are files like ${pattern}`);
  return files;
}

function recordsIn(
  image: StoreImage,
  pattern: RegExp,
  isControl: boolean,
): { readonly key: Uint8Array; readonly value: Uint8Array }[] {
  const found: { key: Uint8Array; value: Uint8Array }[] = [];
  for (const bytes of filesOf(image, pattern)) {
    for (const batch of batchesIn(bytes)) {
      if (isControlBatch(batch) !== isControl) continue;
      for (const { key, value } of recordsOf(batch)) {
        found.push({ key: key ?? new Uint8Array(0), value: value ?? new Uint8Array(0) });
      }
    }
  }
  return found;
}
