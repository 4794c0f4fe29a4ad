/** Reading the records of a batch, by the short way and by the careful one. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import {
  byteWriter,
  writeBytes,
  writeInt8,
  writeVarint,
  writeVarlong,
  writtenBytes,
} from "../../src/bytes/byte_writer.ts";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { isOttlaError } from "../../src/errors.ts";
import { attribute, batchHeaderBytes, field } from "../../src/record/batch_layout.ts";
import { viewBatch } from "../../src/record/batch_view.ts";
import { compress, idOf, loadCodec } from "../../src/record/compression.ts";
import {
  buildEndTransactionMarker,
  controlTypeOf,
  endTransactionMarkerOf,
} from "../../src/record/control_record.ts";
import type { EndTransactionMarker } from "../../src/record/control_record.ts";
import { batchBuilder, builtBytes } from "../../src/record/batch_builder.ts";
import {
  forEachRecord,
  headersOf,
  keyOf,
  recordsOf,
  valueOf,
} from "../../src/record/record_reader.ts";
import { anyRecords, codecs } from "../support/arbitraries.ts";
import { buildBatch, concat, poisoned, rawBatch, someTime, viewOf } from "../support/batches.ts";
import { bytesOfHex } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

await loadCrc32c();
for (const codec of codecs) await loadCodec(codec);

const utf8 = new TextEncoder();

/** The parts of a record; each number may be a lie. */
interface RawRecord {
  readonly length?: number;
  readonly timestampDelta?: number;
  readonly offsetDelta?: number;
  readonly keySize?: number;
  readonly key?: string;
  readonly valueSize?: number;
  readonly value?: string;
  readonly headerCount?: number;
  /** The bytes of the headers, in hexadecimal. */
  readonly headers?: string;
}

function rawRecord(raw: RawRecord): Uint8Array {
  const body = byteWriter();
  writeInt8(body, 0);
  writeVarlong(body, raw.timestampDelta ?? 0);
  writeVarint(body, raw.offsetDelta ?? 0);
  const key = utf8.encode(raw.key ?? "");
  writeVarint(body, raw.keySize ?? (raw.key === undefined ? -1 : key.length));
  writeBytes(body, key);
  const value = utf8.encode(raw.value ?? "");
  writeVarint(body, raw.valueSize ?? (raw.value === undefined ? -1 : value.length));
  writeBytes(body, value);
  writeVarint(body, raw.headerCount ?? 0);
  writeBytes(body, bytesOfHex(raw.headers ?? ""));
  return withLength(writtenBytes(body), raw.length);
}

function withLength(body: Uint8Array, length = body.length): Uint8Array {
  const writer = byteWriter();
  writeVarint(writer, length);
  writeBytes(writer, body);
  return writtenBytes(writer).slice();
}

/** Reads a batch of one record in the midst of bytes that must not be read. */
function readOne(record: Uint8Array): unknown {
  return recordsOf(viewOf(poisoned(rawBatch({ body: record, recordCount: 1 }))))[0];
}

function throwsCorrupt(run: () => unknown, what: RegExp): void {
  assert.throws(
    run,
    (error) => isOttlaError(error, "CORRUPT_MESSAGE") && what.test(error.message),
  );
}

/** Records as they should come back. */
function expected(records: readonly Parameters<typeof buildBatch>[0][number][]): unknown[] {
  const bytesOf = (content: unknown): unknown =>
    typeof content === "string" ? utf8.encode(content) : content ?? null;
  const textOf = (text: string): string =>
    new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(utf8.encode(text));
  return records.map((record, offset) => ({
    topic: "",
    partition: -1,
    offset: offset + 10,
    timestamp: record.timestamp,
    key: bytesOf(record.key),
    value: bytesOf(record.value),
    headers: (record.headers ?? []).map(({ key, value }) => ({
      key: textOf(key),
      value: bytesOf(value),
    })),
  }));
}

for (const compression of codecs) {
  test(`any records come back as they were (${compression})`, () => {
    assertProperty(
      fc.property(anyRecords, (records) => {
        const bytes = buildBatch(records, { baseOffset: 10, compression });
        assert.deepEqual(recordsOf(viewOf(poisoned(bytes))), expected(records));
      }),
      { numRuns: 60 },
    );
  });
}

test("a record is visited with all that belongs to it", () => {
  const records = [
    { key: "k", value: "v", headers: [{ key: "a", value: "1" }, { key: "a", value: null }] },
    { key: null, value: new Uint8Array(0) },
  ];
  const batch = viewOf(buildBatch(records, { baseOffset: 40 }));
  const seen: unknown[] = [];
  const views = new Set<unknown>();
  const count = forEachRecord(batch, (record) => {
    views.add(record);
    seen.push([record.offset, record.timestamp, keyOf(record), valueOf(record), headersOf(record)]);
  });
  assert.equal(count, 2);
  assert.equal(views.size, 1, "one view serves all records");
  const headers = [{ key: "a", value: utf8.encode("1") }, { key: "a", value: null }];
  assert.deepEqual(seen, [
    [40, someTime, utf8.encode("k"), utf8.encode("v"), headers],
    [41, someTime, null, new Uint8Array(0), []],
  ]);
});

test("offset and timestamp count from those of the batch", () => {
  const body = rawRecord({ timestampDelta: 323, offsetDelta: 10, key: "k", value: "v" });
  const raw = rawBatch({ body, recordCount: 1, baseOffset: 37, lastOffsetDelta: 12 });
  const [record] = recordsOf(viewOf(raw));
  assert.equal(record?.offset, 47);
  assert.equal(record?.timestamp, someTime + 323);
});

test("under append time every record has the largest timestamp, whatever its delta says", () => {
  const body = concat(rawRecord({}), rawRecord({ offsetDelta: 1, timestampDelta: -9 }));
  const raw = rawBatch({
    body,
    recordCount: 2,
    attributes: attribute.logAppendTime,
    maxTimestamp: 15,
  });
  assert.deepEqual(recordsOf(viewOf(raw)).map(({ timestamp }) => timestamp), [15, 15]);
});

test("a count of headers that is not theirs is corrupt", () => {
  // Three headers: a=1, b=null, c="".
  const headers = "02610231" + "026201" + "026300";
  assert.notEqual(readOne(rawRecord({ headerCount: 3, headers })), undefined);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 4, headers })), /malformed/);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 2, headers })), /malformed/);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: -1, headers })), /-1 headers/);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 11, headers })), /11 headers/);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 2 ** 31 - 1 })), /2147483647 headers/);
});

test("a header without a key is corrupt", () => {
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 1, headers: "0101" })), /no key/);
});

test("a size beyond the record is corrupt, wherever it stands", () => {
  const filler = "x".repeat(80);
  for (const size of [105, 8_000, 2 ** 31 - 1]) {
    throwsCorrupt(() => readOne(rawRecord({ keySize: size, key: filler })), /its key of/);
    throwsCorrupt(() => readOne(rawRecord({ valueSize: size, value: filler })), /its value of/);
  }
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 1, headers: "d2016101" })), /a header of/);
  throwsCorrupt(() => readOne(rawRecord({ headerCount: 1, headers: "0261d201" })), /a header of/);
});

test("a negative size other than -1 counts as null, as in Kafka", () => {
  assert.deepEqual(readOne(rawRecord({ keySize: -2, valueSize: -(2 ** 31) })), {
    topic: "",
    partition: -1,
    offset: 0,
    timestamp: someTime,
    key: null,
    value: null,
    headers: [],
  });
});

test("a record cut short is corrupt", () => {
  const record = rawRecord({ timestampDelta: 1_000_000, key: "key", value: "value" });
  for (let size = 0; size < record.length; size++) {
    throwsCorrupt(() => readOne(record.subarray(0, size)), /Cannot read the records/);
    // The same with a length that fits what is left.
    if (size > 1) {
      throwsCorrupt(() => readOne(withLength(record.subarray(1, size))), /Cannot read the records/);
    }
  }
});

test("a timestamp of eleven bytes is corrupt", () => {
  const body = concat(
    Uint8Array.of(0),
    new Uint8Array(10).fill(0xff),
    bytesOfHex("01000101" + "00"),
  );
  throwsCorrupt(() => readOne(withLength(body)), /longer than 10 bytes/);
});

test("a length that is not that of the record is corrupt", () => {
  for (const length of [-(2 ** 31), -1, 0, 5, 9, 11, 8_192, 2 ** 31 - 1]) {
    throwsCorrupt(() => readOne(rawRecord({ length, key: "key", value: "v" })), /malformed|left/);
  }
});

test("an offset outside of the batch is corrupt", () => {
  for (const offsetDelta of [-1, 1, 63, 64, 2 ** 31 - 1, -(2 ** 31)]) {
    throwsCorrupt(() => readOne(rawRecord({ offsetDelta })), /not in the batch/);
  }
});

test("a count of records that is not theirs is corrupt, compressed or not", () => {
  const body = buildBatch([{ key: "a" }, { key: "b" }, { key: "c" }]).subarray(batchHeaderBytes);
  for (const codec of codecs) {
    const stream = compress(codec, body);
    const read = (recordCount: number): unknown =>
      recordsOf(viewOf(
        rawBatch({ body: stream, recordCount, lastOffsetDelta: 9, attributes: idOf(codec) }),
      ));
    assert.equal((read(3) as unknown[]).length, 3);
    for (const count of [-1, -(2 ** 31), 0, 2, 4, 5, 2 ** 31 - 1]) {
      throwsCorrupt(() => read(count), /Cannot read the records/);
    }
  }
});

test("what visited records saw stays true when a later one is corrupt", () => {
  const body = concat(rawRecord({ key: "a" }), rawRecord({ offsetDelta: 9, key: "b" }));
  const seen: number[] = [];
  const batch = viewOf(rawBatch({ body, recordCount: 2 }));
  throwsCorrupt(() => forEachRecord(batch, ({ offset }) => seen.push(offset)), /not in the batch/);
  assert.deepEqual(seen, [0]);
});

test("a record that reaches behind its batch is not visited, though its bytes are there", () => {
  const whole = buildBatch([{ key: "a" }, { key: "b", value: "reaches far" }]);
  // With less than seven bytes left a second record could not be at all, and no record is visited.
  for (let cut = 1; cut < 18; cut++) {
    const bytes = whole.slice();
    new DataView(bytes.buffer).setInt32(field.batchLength, whole.length - 12 - cut);
    const seen: number[] = [];
    const batch = viewOf(bytes);
    throwsCorrupt(() => forEachRecord(batch, ({ offset }) => seen.push(offset)), /Cannot read/);
    assert.deepEqual(seen, cut < 14 ? [0] : [], `${cut} bytes`);
  }
});

test("an error of the visitor comes through as it is", () => {
  const batch = viewOf(buildBatch([{ key: "a", headers: [{ key: "h", value: null }] }]));
  const own = new RangeError("my own");
  assert.throws(
    () =>
      forEachRecord(batch, () => {
        throw own;
      }),
    (error) => error === own,
  );
});

test("keys and values are views of the batch, also in a buffer from the pool", () => {
  const bytes = Buffer.concat([Buffer.from("xx"), buildBatch([{ key: "key", value: "value" }])]);
  const [record] = recordsOf(viewBatch(bytes, 2)!);
  const text = (): string => new TextDecoder().decode(record?.value ?? undefined);
  assert.equal(text(), "value");
  assert.equal(record?.value?.buffer, bytes.buffer);
  bytes[bytes.length - 2] = 0x21;
  assert.equal(text(), "valu!");
});

test("the largest offset that there can be is read", () => {
  const baseOffset = Number.MAX_SAFE_INTEGER - 2;
  const batch = viewOf(buildBatch([{ key: "a" }, { key: "b" }], { baseOffset }));
  assert.deepEqual(recordsOf(batch).map(({ offset }) => offset), [baseOffset, baseOffset + 1]);
});

/** A control batch with the key and value given in hexadecimal. */
function control(key: string, value: string): ReturnType<typeof recordsOf>[number] & {
  readonly type: () => string;
  readonly marker: () => EndTransactionMarker | undefined;
} {
  const bytes = buildBatch([{ key: bytesOfHex(key), value: bytesOfHex(value) }], {
    control: true,
    transactional: true,
    producerId: 1,
    producerEpoch: 0,
  });
  const batch = viewOf(poisoned(bytes));
  const visit = <T>(read: (record: Parameters<typeof controlTypeOf>[0]) => T): T => {
    const results: T[] = [];
    forEachRecord(batch, (record) => results.push(read(record)));
    return results[0]!;
  };
  return {
    ...recordsOf(batch)[0]!,
    type: () => visit(controlTypeOf),
    marker: () => visit(endTransactionMarkerOf),
  };
}

test("a marker comes back with its type and the epoch of its coordinator", () => {
  for (const type of ["abort", "commit"] as const) {
    for (const coordinatorEpoch of [0, 15, -1, 2 ** 31 - 1]) {
      const builder = batchBuilder();
      buildEndTransactionMarker(builder, {
        type,
        coordinatorEpoch,
        baseOffset: 5,
        producerId: 23,
        producerEpoch: 4,
        timestamp: someTime,
      });
      const markers: unknown[] = [];
      forEachRecord(viewOf(builtBytes(builder)), (r) => markers.push(endTransactionMarkerOf(r)));
      assert.deepEqual(markers, [{ type, coordinatorEpoch }]);
    }
  }
});

test("a control key of a later version is read as far as it is known", () => {
  assert.equal(control("00050000" + "ffff", "00000000000f").type(), "abort");
  assert.equal(control("00000001", "").type(), "commit");
  assert.equal(control("00000151", "").type(), "unknown");
  assert.equal(control("0000ffff", "").type(), "unknown");
  const known = ["leaderChange", "snapshotHeader", "snapshotFooter", "kraftVersion", "kraftVoters"];
  assert.deepEqual(known.map((_, index) => control(`0000000${index + 2}`, "").type()), known);
  assert.equal(control("00000151", "").marker(), undefined);
  assert.equal(control("00000002", "").marker(), undefined);
});

test("a control value of a later version is read as far as it is known", () => {
  const marker = control("00000001", "0005" + "0000000f" + "aabbcc").marker();
  assert.deepEqual(marker, { type: "commit", coordinatorEpoch: 15 });
});

test("a malformed control record is an invalid record", () => {
  const invalid = (run: () => unknown): void =>
    assert.throws(run, (error) => isOttlaError(error, "INVALID_RECORD"));
  invalid(() => control("", "").type());
  invalid(() => control("000000", "").type());
  invalid(() => control("ffff0001", "").type());
  invalid(() => control("00000001", "").marker());
  invalid(() => control("00000001", "0000000000").marker());
  invalid(() => control("00000001", "ffff0000000f").marker());
});
