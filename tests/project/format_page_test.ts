/**
 * The format page and the code say the same: the examples of `src/FORMAT.md` are decoded by the
 * code, encoded again where the code writes such bytes, and its tables are compared with those of
 * the code.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { byteReader, readVarint } from "../../src/bytes/byte_reader.ts";
import { crc32c } from "../../src/bytes/crc32c.ts";
import { murmur2, toPositive } from "../../src/bytes/murmur2.ts";
import { sizeOfVarint, writeVarint } from "../../src/bytes/varint.ts";
import { loadXxh64, xxh64, xxh64Partition } from "../../src/bytes/xxh64.ts";
import {
  parseEpochCheckpoint,
  parseOffsetCheckpoint,
  printEpochCheckpoint,
  printOffsetCheckpoint,
} from "../../src/log/checkpoint_file.ts";
import { offsetMapLimits } from "../../src/log/compaction_offset_map.ts";
import { abortedMax } from "../../src/log/compaction_transactions.ts";
import {
  parsePartitionMetadata,
  printPartitionMetadata,
} from "../../src/log/partition_metadata.ts";
import { groupRecordSchemas } from "../../src/coordinator/group_record_schemas.ts";
import type { GroupRecord } from "../../src/coordinator/group_records.ts";
import {
  decodeGroupKey,
  decodeGroupValue,
  encodeGroupRecord,
} from "../../src/coordinator/group_records.ts";
import {
  parseProducerSnapshot,
  printProducerSnapshot,
} from "../../src/log/producer_snapshot_file.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { readFile, replaceFile } from "../../src/platform/files.ts";
import { parseLock, printLock } from "../../src/platform/store_lock_file.ts";
import { batchHeaderBytes, field } from "../../src/record/batch_layout.ts";
import type { BatchBuilder, BatchView, LogRecord } from "../../src/record/mod.ts";
import {
  appendRecord,
  batchBuilder,
  buildEndTransactionMarker,
  builtBytes,
  endTransactionMarkerOf,
  finishBatch,
  forEachRecord,
  isControlBatch,
  loadCrc32c,
  recordsOf,
  verifyChecksum,
  viewBatch,
} from "../../src/record/mod.ts";
import type { Compression } from "../../src/record/compression.ts";
import { decompress, loadCodec } from "../../src/record/compression.ts";
import {
  decodeOffsetEntries,
  encodeOffsetEntries,
  offsetIndex,
} from "../../src/segment/offset_index.ts";
import { decodeTimeEntries, encodeTimeEntries, timeIndex } from "../../src/segment/time_index.ts";
import { parseTxnIndex } from "../../src/segment/txn_index_file.ts";
import { parseMetaProperties, printMetaProperties } from "../../src/store/meta_properties.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeControlKey,
  encodeControlRecord,
  encodeMetadataRecord,
} from "../../src/store/metadata_records.ts";
import { metadataRecordSchemas } from "../../src/store/metadata_record_schemas.ts";
import { parseQuorumState, printQuorumState } from "../../src/store/quorum_state.ts";
import {
  readCleanShutdown,
  readPartitioners,
  writeCleanShutdown,
  writePartitioners,
} from "../../src/store/store_files.ts";
import { configTable } from "../../src/store/topic_config_table.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { readSources } from "./source_text.ts";

/** A line of a block of bytes: what stands before the bar, and what behind it. */
interface ByteLine {
  readonly bytes: Uint8Array;
  readonly meaning: string;
}

const page = readFileSync("src/FORMAT.md", "utf8");
const fieldSizes: Readonly<Record<string, number>> = {
  baseOffset: 8,
  batchLength: 4,
  partitionLeaderEpoch: 4,
  magic: 1,
  crc: 4,
  attributes: 2,
  lastOffsetDelta: 4,
  baseTimestamp: 8,
  maxTimestamp: 8,
  producerId: 8,
  producerEpoch: 2,
  baseSequence: 4,
  recordCount: 4,
};
const varintNames = [
  "length",
  "timestampDelta",
  "offsetDelta",
  "keyLength",
  "valueLength",
  "headerCount",
  "headerKeyLength",
  "headerValueLength",
];

describe("the format page", () => {
  it("gives the header's fields as the code has them", () => {
    const rows = tableRows("1.1").filter(([, , name]) => name !== "records");
    assert.deepEqual(
      Object.fromEntries(rows.map(([position, , name = ""]) => [name, Number(position)])),
      field,
    );
    const sizes = rows.map(([, size, name = ""]) => [name, Number(size)]);
    assert.deepEqual(Object.fromEntries(sizes), fieldSizes);
  });

  it("gives the check value of CRC-32C", async () => {
    await loadCrc32c();
    const checksum = crc32c(utf8("123456789")).toString(16).toUpperCase();
    assert.ok(page.includes(`is 0x${checksum}.`));
  });

  it("gives varints as the code writes them", () => {
    const rows = tableRows("1.3").flatMap(([a, b, c, d]) => [[a, b], [c, d]]);
    assert.equal(rows.length, 10);
    for (const [value, bytes = ""] of rows) {
      const found = new Uint8Array(sizeOfVarint(Number(value)));
      writeVarint(found, 0, Number(value));
      assert.equal(hexOf(found), bytes.replaceAll("`", ""));
    }
  });

  it("explains every byte of a batch with two records", async () => {
    await loadCrc32c();
    const bytes = checkBatchLines("two-record-batch");
    const batch = soundBatch(bytes);
    const records = recordsOf(batch);
    const [first, second] = records;
    assert.deepEqual(records.map(({ offset }) => offset), [42, 43]);
    assert.deepEqual(
      [text(first?.key), text(first?.value), first?.headers.length],
      ["ann", "3 apples", 0],
    );
    assert.deepEqual([second?.key, text(second?.value)], [null, "closed"]);
    assert.deepEqual(
      second?.headers.map(({ key, value }) => [key, text(value)]),
      [["by", "bob"], ["why", null]],
    );
    const builder = batchBuilder();
    for (const record of records) appendAgain(builder, record);
    finishBatch(builder, { baseOffset: 42, partitionLeaderEpoch: 0 });
    assert.equal(hexOf(builtBytes(builder)), hexOf(bytes));
  });

  it("explains every byte of a commit marker", async () => {
    await loadCrc32c();
    const bytes = checkBatchLines("commit-marker");
    const batch = soundBatch(bytes);
    const markers: unknown[] = [];
    forEachRecord(batch, (record) => markers.push(endTransactionMarkerOf(record)));
    assert.ok(isControlBatch(batch));
    assert.deepEqual(markers, [{ type: "commit", coordinatorEpoch: 7 }]);
    const builder = batchBuilder();
    buildEndTransactionMarker(builder, {
      type: "commit",
      coordinatorEpoch: 7,
      baseOffset: 44,
      partitionLeaderEpoch: 0,
      producerId: 1000,
      producerEpoch: 3,
      timestamp: 1700000000000,
    });
    assert.equal(hexOf(builtBytes(builder)), hexOf(bytes));
  });

  it("explains every byte of the batch that begins an epoch", async () => {
    await loadCrc32c();
    const bytes = checkBatchLines("leader-change");
    const [record] = recordsOf(soundBatch(bytes));
    const { key, value } = record!;
    const change = decodeControlRecord(key!, value!);
    assert.ok(change.type === "LeaderChangeMessage");
    assert.deepEqual([change.leaderId, change.voters.length], [1, 1]);
    assert.equal(hexOf(encodeControlKey(change.type)), hexOf(key!));
    assert.equal(hexOf(encodeControlRecord(change)), hexOf(value!));
    const builder = batchBuilder();
    appendAgain(builder, record!);
    finishBatch(builder, { baseOffset: 0, partitionLeaderEpoch: 1, control: true });
    assert.equal(hexOf(builtBytes(builder)), hexOf(bytes));
  });

  it("shows a text in every codec", async () => {
    const lines = byteLines("compressed");
    assert.deepEqual(lines.map(({ meaning }) => meaning), ["gzip", "snappy", "lz4", "zstd"]);
    for (const { bytes, meaning } of lines) {
      const codec = meaning as Compression;
      await loadCodec(codec);
      const expected = "ottla ottla ottla ottla ottla ottla";
      assert.ok(page.includes(`\`${expected}\``));
      assert.equal(text(decompress(codec, bytes, 1024)), expected);
    }
  });

  it("shows entries of both indexes", () => {
    const base = 1000;
    const offsets = byteLines("offset-index");
    const positions = offsetIndex(base, 1024);
    assert.ok(decodeOffsetEntries(positions, joined(offsets), 2 ** 20));
    const found = offsets.map((_, entry) => ({
      offset: base + positions.relativeOffsets[entry]!,
      position: positions.positions[entry]!,
    }));
    assert.deepEqual(found, offsets.map(({ meaning }) => JSON.parse(meaning)));
    assert.equal(hexOf(encodeOffsetEntries(positions)), hexOf(joined(offsets)));

    const times = byteLines("time-index");
    const timestamps = timeIndex(base, 1024);
    assert.ok(decodeTimeEntries(timestamps, joined(times), base + 100));
    const foundTimes = times.map((_, entry) => ({
      timestamp: timestamps.timestamps[entry]!,
      offset: base + timestamps.relativeOffsets[entry]!,
    }));
    assert.deepEqual(foundTimes, times.map(({ meaning }) => JSON.parse(meaning)));
    assert.equal(hexOf(encodeTimeEntries(timestamps)), hexOf(joined(times)));
  });

  it("shows what is kept of transactions and producers", async () => {
    await loadCrc32c();
    const aborted = byteLines("txn-index");
    assert.deepEqual(
      parseTxnIndex(joined(aborted), "a"),
      aborted.map(({ meaning }) => JSON.parse(meaning)),
    );
    const snapshot = byteLines("producer-snapshot");
    const producers = parseProducerSnapshot(joined(snapshot), "a");
    assert.equal(hexOf(printProducerSnapshot(producers)), hexOf(joined(snapshot)));
    assert.deepEqual(
      producers,
      snapshot.slice(1).map(({ meaning }) => JSON.parse(meaning)),
    );
  });

  it("shows the lock and the other files of ottla's own", () => {
    const lock = utf8(block("text lock") + "\n");
    assert.equal(text(printLock(parseLock("lock", lock)!)), text(lock));

    const fs = memoryFileSystem(() => 0);
    fs.makeFolder("/store");
    const mark = block("text cleanshutdown");
    replaceFile(fs, "/store/ottla.cleanshutdown", utf8(mark));
    const { ours } = readCleanShutdown(fs, "/store");
    assert.deepEqual(ours, { metadataEndOffset: 9, metadataBytes: 520 });
    writeCleanShutdown(fs, "/store", ours!);
    assert.equal(text(readFile(fs, "/store/ottla.cleanshutdown")), mark);

    const partitioners = block("text partitioners");
    replaceFile(fs, "/store/ottla.partitioners", utf8(partitioners));
    writePartitioners(fs, "/store", readPartitioners(fs, "/store"));
    assert.equal(text(readFile(fs, "/store/ottla.partitioners")), partitioners);
  });

  it("shows Kafka's small files as the code writes them", () => {
    const offsets = block("text offset-checkpoint") + "\n";
    assert.equal(text(printOffsetCheckpoint(parseOffsetCheckpoint(utf8(offsets), "a"))), offsets);
    const epochs = block("text leader-epoch-checkpoint") + "\n";
    assert.equal(text(printEpochCheckpoint(parseEpochCheckpoint(utf8(epochs), "a"))), epochs);
    const metadata = block("text partition.metadata");
    assert.equal(
      text(printPartitionMetadata(parsePartitionMetadata(utf8(metadata), "a"))),
      metadata,
    );
    const properties = block("text meta.properties") + "\n";
    const { clusterId, nodeId, directoryId } = parseMetaProperties(utf8(properties), "a");
    assert.equal(
      text(printMetaProperties({
        clusterId: clusterId!,
        nodeId: nodeId!,
        directoryId: directoryId!,
      })),
      properties,
    );
    const states = blocks("text quorum-state");
    assert.equal(states.length, 2);
    for (const state of states) {
      assert.equal(text(printQuorumState(parseQuorumState(utf8(state), "a"))), state);
    }
  });

  it("shows each metadata record that it names", () => {
    const examples = block("hex metadata-records").split(/\n(?=[0-9a-f])(?<=\}\n)/);
    const shown = examples.map((example) => {
      const [hex = "", json = ""] = example.split("\n= ");
      const record = decodeMetadataRecord(bytesOfHex(hex));
      assert.deepEqual(record, JSON.parse(json));
      assert.equal(hexOf(encodeMetadataRecord(record)), hex.replace(/\s/g, ""));
      return record.type;
    });
    const named = tableRows("5.3").map(([apiKey, name = ""]) => {
      assert.ok(name in metadataRecordSchemas, name);
      const type = name as keyof typeof metadataRecordSchemas;
      assert.equal(metadataRecordSchemas[type].key, Number(apiKey));
      return type;
    });
    assert.deepEqual([...new Set(shown)].sort(), named.sort());
  });

  it("shows each record of groups that it names", () => {
    const examples = block("hex group-records").split(/\n(?=[0-9a-f])(?<=\}\n)/).map((example) => {
      const [hex = "", json = ""] = example.split("\n= ");
      return { bytes: bytesOfHex(hex), meaning: JSON.parse(json) as unknown };
    });
    const shown: string[] = [];
    for (let index = 0; index < examples.length; index += 2) {
      const [key, value] = [examples[index]!, examples[index + 1]!];
      const decoded = decodeGroupKey(key.bytes)!;
      const content = decodeGroupValue(decoded.type, value.bytes);
      assert.deepEqual(decoded, key.meaning);
      assert.deepEqual(content, value.meaning);
      const encoded = encodeGroupRecord({ key: decoded, value: content } as GroupRecord);
      assert.equal(hexOf(encoded.key), hexOf(key.bytes));
      assert.equal(hexOf(encoded.value!), hexOf(value.bytes));
      shown.push(decoded.type);
    }
    const named = tableRows("10.2").map(([kind, name = ""]) => {
      assert.ok(name in groupRecordSchemas, name);
      assert.equal(
        groupRecordSchemas[name as keyof typeof groupRecordSchemas].number,
        Number(kind),
      );
      return name;
    });
    assert.deepEqual(shown, named);
  });

  it("lists every configuration entry with its default", () => {
    const listed = tableRows("7.2").map(([name, value]) => [name, value]);
    const known = Object.values(configTable).map((row) => [row.config, row.default]);
    assert.deepEqual(Object.fromEntries(listed), Object.fromEntries(known));
    assert.equal(listed.length, known.length);
  });

  it("tells the partitions of keys", async () => {
    await loadXxh64();
    const rows = tableRows("7.3");
    assert.ok(rows.length > 0);
    for (const [quoted = "", ...expected] of rows) {
      const key = utf8(quoted.replaceAll("`", ""));
      const found = [
        xxh64(key).toString(16).padStart(16, "0"),
        String(xxh64Partition(key, 4)),
        (murmur2(key) >>> 0).toString(16).padStart(8, "0"),
        String(toPositive(murmur2(key)) % 4),
      ];
      assert.deepEqual(found, expected);
    }
  });

  it("gives the limits of a compaction as the code has them", () => {
    const { entriesMax, keyBytesMax } = offsetMapLimits;
    const keys = `${entriesMax.toLocaleString("en-US")} keys, or ${keyBytesMax / 1024 ** 2} MiB`;
    assert.ok(page.includes(`more than ${keys} of them`), keys);
    assert.match(
      page,
      new RegExp(`more\\s+than\\s+${abortedMax.toLocaleString("en-US")}\\s+aborted`),
    );
  });

  it("has every section that is cited", () => {
    const sections = new Set(Array.from(page.matchAll(/^##+ (\d+(?:\.\d+)?) /gm), ([, at]) => at));
    const texts = [page, ...["mod.ts", "src"].flatMap(readSources).map(citationsIn)];
    const cited = texts.flatMap((content) =>
      Array.from(content.matchAll(/\bsections? (\d+(?:\.\d+)?)(?: and (\d+(?:\.\d+)?))?/g))
        .flatMap(([, ...numbers]) => numbers.filter((number) => number !== undefined))
    );
    assert.ok(cited.length > 0);
    assert.deepEqual(cited.filter((number) => !sections.has(number)), []);
  });
});

/** What a source says of this page: each mention, up to the end of its sentence. */
function citationsIn({ text: source }: { readonly text: string }): string {
  const pattern = /(?<!KAFKA-)FORMAT\.md,[^).;:]*(?:\.\d[^).;:]*)*/g;
  const prose = source.replace(/\n\s*(?:\*|\/\/) ?/g, " ");
  return Array.from(prose.matchAll(pattern), ([found]) => found).join("\n");
}

/** Checks what the lines of a batch say, one by one, and gives its bytes. */
function checkBatchLines(name: string): Uint8Array {
  const lines = byteLines(name);
  const headerLines = lines.slice(0, Object.keys(field).length);
  let position = 0;
  for (const { bytes, meaning } of headerLines) {
    const [fieldName = "", value] = meaning.split(": ");
    assert.equal(field[fieldName as keyof typeof field], position, fieldName);
    assert.equal(bytes.length, fieldSizes[fieldName], fieldName);
    assert.equal(integerOf(bytes, fieldName === "crc"), BigInt(value ?? ""), fieldName);
    position += bytes.length;
  }
  assert.equal(position, batchHeaderBytes);
  for (const { bytes, meaning } of lines.slice(headerLines.length)) checkRecordLine(bytes, meaning);
  return joined(lines);
}

function checkRecordLine(bytes: Uint8Array, meaning: string): void {
  const [name = "", value = ""] = meaning.split(": ");
  if (varintNames.includes(name)) {
    const reader = byteReader(bytes);
    assert.equal(readVarint(reader), Number(value), meaning);
    assert.equal(reader.position, bytes.length, meaning);
  } else if (value.startsWith('"')) {
    assert.equal(text(bytes), JSON.parse(value), meaning);
  } else if (/^\d/.test(value)) {
    assert.equal(integerOf(bytes, false), BigInt(value.split(",")[0]!), meaning);
  }
}

function integerOf(bytes: Uint8Array, isUnsigned: boolean): bigint {
  const value = BigInt(`0x${hexOf(bytes)}`);
  return isUnsigned ? value : BigInt.asIntN(bytes.length * 8, value);
}

/** The only batch of some bytes, its checksum right. */
function soundBatch(bytes: Uint8Array): BatchView {
  const batch = viewBatch(bytes);
  assert.ok(batch !== undefined);
  assert.equal(batch.sizeBytes, bytes.length);
  verifyChecksum(batch);
  return batch;
}

function appendAgain(builder: BatchBuilder, record: LogRecord): void {
  const { timestamp, key, value, headers } = record;
  assert.ok(appendRecord(builder, timestamp, key, value, headers));
}

/** The contents of all code blocks that are marked so, without their last newline. */
function blocks(mark: string): string[] {
  const pattern = /^```(.*)\n([^]*?)\n```$/gm;
  return Array.from(page.matchAll(pattern))
    .filter(([, found]) => found === mark)
    .map(([, , content = ""]) => content);
}

function block(mark: string): string {
  const found = blocks(mark);
  assert.equal(found.length, 1, `the page has ${found.length} blocks ${mark}`);
  return found[0]!;
}

function byteLines(name: string): ByteLine[] {
  return block(`hex ${name}`).split("\n").map((line) => {
    const [hex = "", meaning = ""] = line.split(/\s*\| /);
    assert.match(hex, /^(?:[0-9a-f]{2}|\s)+$/);
    return { bytes: bytesOfHex(hex), meaning };
  });
}

function joined(lines: readonly ByteLine[]): Uint8Array {
  return Uint8Array.from(lines.flatMap(({ bytes }) => [...bytes]));
}

/** The rows of the first table of a section, without its head. */
function tableRows(section: string): string[][] {
  const start = page.search(new RegExp(`^##+ ${section.replace(".", "\\.")} `, "m"));
  assert.ok(start >= 0, `the page has no section ${section}`);
  const table = /(?:^\|.*\n)+/m.exec(page.slice(start))?.[0] ?? "";
  return table.trim().split("\n").slice(2).map((row) =>
    row.split("|").slice(1, -1).map((cell) => cell.trim())
  );
}

function utf8(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function text(bytes: Uint8Array | null | undefined): string | null {
  return bytes === null || bytes === undefined ? null : new TextDecoder().decode(bytes);
}
