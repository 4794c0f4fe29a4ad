/**
 * The byte reader and writer: what one writes the other reads, and no input is read past its end.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import {
  byteReader,
  getInt64,
  readBytes,
  readFloat64,
  readInt16,
  readInt32,
  readInt64,
  readInt8,
  readUint16,
  readUint32,
  readUnsignedVarint,
  readVarint,
  readVarlong,
  remainingBytes,
  setInt64,
} from "../../src/bytes/byte_reader.ts";
import type { ByteReader } from "../../src/bytes/byte_reader.ts";
import {
  byteWriter,
  writeBytes,
  writeFloat64,
  writeInt16,
  writeInt32,
  writeInt64,
  writeInt8,
  writeUint16,
  writeUint32,
  writeUnsignedVarint,
  writeVarint,
  writeVarlong,
  writtenBytes,
} from "../../src/bytes/byte_writer.ts";
import type { ByteWriter } from "../../src/bytes/byte_writer.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

interface Kind {
  readonly write: (writer: ByteWriter, value: number) => void;
  readonly read: (reader: ByteReader) => number;
  readonly values: fc.Arbitrary<number>;
}

const kinds: readonly Kind[] = [
  { write: writeInt8, read: readInt8, values: fc.integer({ min: -128, max: 127 }) },
  { write: writeInt16, read: readInt16, values: fc.integer({ min: -32768, max: 32767 }) },
  { write: writeUint16, read: readUint16, values: fc.integer({ min: 0, max: 65535 }) },
  { write: writeInt32, read: readInt32, values: fc.integer() },
  { write: writeUint32, read: readUint32, values: fc.integer({ min: 0, max: 2 ** 32 - 1 }) },
  { write: writeInt64, read: readInt64, values: fc.maxSafeInteger() },
  { write: writeFloat64, read: readFloat64, values: fc.double() },
  {
    write: writeUnsignedVarint,
    read: readUnsignedVarint,
    values: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  },
  { write: writeVarint, read: readVarint, values: fc.integer() },
  { write: writeVarlong, read: readVarlong, values: fc.maxSafeInteger() },
];

const fixedReads: readonly (readonly [(reader: ByteReader) => number, number])[] = [
  [readInt8, 1],
  [readInt16, 2],
  [readUint16, 2],
  [readInt32, 4],
  [readUint32, 4],
  [readInt64, 8],
  [readFloat64, 8],
];

test("whatever was written is read in the same order", () => {
  const item = fc.nat({ max: kinds.length - 1 }).chain((kind) =>
    kinds[kind]!.values.map((value) => ({ kind, value }))
  );
  assertProperty(
    fc.property(fc.array(item, { maxLength: 40 }), fc.nat({ max: 20 }), (items, capacity) => {
      const writer = byteWriter(capacity);
      for (const { kind, value } of items) kinds[kind]!.write(writer, value);
      const reader = byteReader(writtenBytes(writer));
      for (const { kind, value } of items) {
        assert.ok(Object.is(kinds[kind]!.read(reader) + 0, value + 0), `${value}`);
      }
      assert.equal(remainingBytes(reader), 0);
    }),
  );
});

test("numbers are big-endian", () => {
  const writer = byteWriter(0);
  writeInt16(writer, -2);
  writeUint32(writer, 0x01020304);
  writeInt64(writer, 2 ** 40 + 5);
  writeInt64(writer, -1);
  writeBytes(writer, bytesOfHex("aabb"));
  writeInt8(writer, -128);
  assert.equal(
    hexOf(writtenBytes(writer)),
    "fffe" + "01020304" + "0000010000000005" + "ffffffffffffffff" + "aabb" + "80",
  );
});

test("the 64-bit integers at the border of the safe ones come back", () => {
  const view = new DataView(new ArrayBuffer(16));
  const { MAX_SAFE_INTEGER: max, MIN_SAFE_INTEGER: min } = Number;
  for (const value of [0, 1, -1, 2 ** 31, -(2 ** 31), 2 ** 32, -(2 ** 32), max, min, max - 1]) {
    setInt64(view, 4, value);
    assert.equal(view.getBigInt64(4), BigInt(value));
    assert.equal(getInt64(view, 4), value);
  }
});

test("a 64-bit integer beyond the safe ones is refused by the reader and rounded by the view", () => {
  const view = new DataView(new ArrayBuffer(8));
  const reader = byteReader(new Uint8Array(view.buffer));
  for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]) {
    view.setBigInt64(0, value);
    reader.position = 0;
    assert.throws(() => readInt64(reader), RangeError);
    assert.equal(getInt64(view, 0), Number(value));
  }
});

test("reading ends at the end of the range, not of the buffer", () => {
  const poison = new Uint8Array(32).fill(0x11);
  for (const [read, size] of fixedReads) {
    for (let length = 0; length < size; length++) {
      const reader = byteReader(poison, 8, 8 + length);
      assert.throws(() => read(reader), RangeError);
      assert.equal(reader.position, 8, "a failed read does not move the reader");
    }
    assert.equal(read(byteReader(new Uint8Array(32), 8, 8 + size)), 0);
  }
  assert.throws(() => readBytes(byteReader(poison, 8, 10), 3), RangeError);
});

test("no count of bytes leads out of the range", () => {
  for (const count of [-1, 5, 2 ** 31, 2 ** 53, Infinity, NaN]) {
    assert.throws(() => readBytes(byteReader(new Uint8Array(4)), count), RangeError, `${count}`);
  }
  assert.equal(readBytes(byteReader(new Uint8Array(4)), 0).length, 0);
});

test("bytes are read as a view of the input, also of a pooled buffer", () => {
  const pool = Buffer.from("....abcdef");
  const input = pool.subarray(4);
  const reader = byteReader(input, 1);
  assert.equal(readInt8(reader), "b".charCodeAt(0));
  const view = readBytes(reader, 2);
  assert.deepEqual([...view], [..."cd"].map((letter) => letter.charCodeAt(0)));
  pool[6] = 0x7a;
  assert.equal(view[0], 0x7a);
  assert.equal(remainingBytes(reader), 2);
});

test("the writer grows from nothing and keeps what it has", () => {
  const writer = byteWriter(0);
  const chunk = Uint8Array.from({ length: 1_000 }, (_, index) => index);
  for (let round = 0; round < 50; round++) writeBytes(writer, chunk);
  writeBytes(writer, new Uint8Array(0));
  const written = writtenBytes(writer);
  assert.equal(written.length, 50_000);
  assert.ok(written.every((byte, index) => byte === index % 1_000 % 256));
});
