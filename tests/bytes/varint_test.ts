/** Variable-length integers: the vectors at the edges of each length, and round trips. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  byteReader,
  readUnsignedVarint,
  readVarint,
  readVarlong,
} from "../../src/bytes/byte_reader.ts";
import type { ByteReader } from "../../src/bytes/byte_reader.ts";
import {
  sizeOfUnsignedVarint,
  sizeOfVarint,
  sizeOfVarlong,
  writeUnsignedVarint,
  writeVarint,
  writeVarlong,
} from "../../src/bytes/varint.ts";
import { bytesOfHex, hexOf } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

const max32 = 2 ** 31 - 1;
const min32 = -(2 ** 31);

interface Form {
  readonly sizeOf: (value: number) => number;
  readonly write: (bytes: Uint8Array, position: number, value: number) => number;
  readonly read: (reader: ByteReader) => number;
}

const unsigned: Form = {
  sizeOf: sizeOfUnsignedVarint,
  write: writeUnsignedVarint,
  read: readUnsignedVarint,
};
const signed: Form = { sizeOf: sizeOfVarint, write: writeVarint, read: readVarint };
const long: Form = { sizeOf: sizeOfVarlong, write: writeVarlong, read: readVarlong };

function encode(form: Form, value: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const end = form.write(bytes, 3, value);
  assert.equal(end - 3, form.sizeOf(value), `the size of ${value}`);
  assert.ok(bytes.subarray(end).every((byte) => byte === 0), "nothing is written behind the end");
  return bytes.slice(3, end);
}

function decode(form: Form, bytes: Uint8Array): number {
  const reader = byteReader(bytes);
  const value = form.read(reader);
  assert.equal(reader.position, bytes.length, "all was read");
  return value;
}

const unsignedVectors: readonly (readonly [number, string])[] = [
  [0, "00"],
  [1, "01"],
  [63, "3f"],
  [64, "40"],
  [127, "7f"],
  [128, "8001"],
  [8191, "ff3f"],
  [8192, "8040"],
  [1048575, "ffff3f"],
  [1048576, "808040"],
  [max32, "ffffffff07"],
  [2 ** 32 - 1, "ffffffff0f"],
];

const signedVectors: readonly (readonly [number, string])[] = [
  [0, "00"],
  [-1, "01"],
  [1, "02"],
  [-2, "03"],
  [63, "7e"],
  [-64, "7f"],
  [64, "8001"],
  [-65, "8101"],
  [300, "d804"],
  [8191, "fe7f"],
  [-8192, "ff7f"],
  [8192, "808001"],
  [-8193, "818001"],
  [1048575, "feff7f"],
  [-1048576, "ffff7f"],
  [134217727, "feffff7f"],
  [134217728, "8080808001"],
  [max32, "feffffff0f"],
  [min32, "ffffffff0f"],
];

const longVectors: readonly (readonly [number, string])[] = [
  ...signedVectors,
  [17179869183, "feffffff7f"],
  [17179869184, "808080808001"],
  [-17179869184, "ffffffff7f"],
  [-17179869185, "818080808001"],
  [Number.MAX_SAFE_INTEGER, "feffffffffffff1f"],
  [Number.MIN_SAFE_INTEGER, "fdffffffffffff1f"],
];

test("unsigned varints have Kafka's bytes", () => {
  for (const [value, hex] of unsignedVectors) {
    assert.equal(hexOf(encode(unsigned, value)), hex);
    assert.equal(decode(unsigned, bytesOfHex(hex)), value);
  }
});

test("a negative number counts as its unsigned bits", () => {
  for (const [value, hex] of [[-1, "ffffffff0f"], [-64, "c0ffffff0f"], [min32, "8080808008"]]) {
    assert.equal(hexOf(encode(unsigned, value as number)), hex);
    assert.equal(decode(unsigned, bytesOfHex(hex as string)), value as number >>> 0);
  }
});

test("signed varints have Kafka's bytes", () => {
  for (const [value, hex] of signedVectors) {
    assert.equal(hexOf(encode(signed, value)), hex);
    assert.equal(decode(signed, bytesOfHex(hex)), value);
  }
});

test("signed varlongs have Kafka's bytes", () => {
  for (const [value, hex] of longVectors) {
    assert.equal(hexOf(encode(long, value)), hex);
    assert.equal(decode(long, bytesOfHex(hex)), value);
  }
});

test("a varlong beyond the safe integers is refused, not rounded", () => {
  const beyond = [
    "80808080808080" + "20", // 2^53
    "81808080808080" + "20", // -2^53 - 1
    "feffffffffffffffff01", // 2^63 - 1
    "ffffffffffffffffff01", // -2^63
    "80808080808080808001",
  ];
  for (const hex of beyond) {
    assert.throws(() => readVarlong(byteReader(bytesOfHex(hex))), RangeError, hex);
  }
  // -2^53 has an even magnitude and is not a safe integer either.
  assert.throws(() => readVarlong(byteReader(bytesOfHex("ffffffffffffff1f"))), RangeError);
});

test("a varint of six bytes and a varlong of eleven are errors", () => {
  for (const read of [readUnsignedVarint, readVarint]) {
    assert.throws(() => read(byteReader(bytesOfHex("ffffffffff01"))), RangeError);
    assert.throws(() => read(byteReader(bytesOfHex("808080808000"))), RangeError);
  }
  assert.throws(() => readVarlong(byteReader(bytesOfHex("ff".repeat(10) + "01"))), RangeError);
  assert.throws(() => readVarlong(byteReader(bytesOfHex("80".repeat(10) + "00"))), RangeError);
});

test("a varint that the input cuts short is an error", () => {
  for (const read of [readUnsignedVarint, readVarint, readVarlong]) {
    for (const hex of ["", "80", "ffff", "ffffffff"]) {
      assert.throws(() => read(byteReader(bytesOfHex(hex))), RangeError);
    }
    // What lies behind the end is there, but is not of this input.
    assert.throws(() => read(byteReader(bytesOfHex("8001"), 0, 1)), RangeError);
  }
});

test("longer forms than needed are read as the same number", () => {
  assert.equal(decode(signed, bytesOfHex("82808000")), 1);
  assert.equal(decode(long, bytesOfHex("81808080808080808000")), -1);
  assert.equal(decode(unsigned, bytesOfHex("8100")), 1);
});

test("every size agrees with the bytes at every power of two", () => {
  for (let bits = 0; bits <= 32; bits++) {
    for (const value of [2 ** bits - 1, 2 ** bits, 2 ** bits + 1]) {
      if (value < 2 ** 32) assert.equal(decode(unsigned, encode(unsigned, value)), value);
    }
  }
  for (let bits = 0; bits < 53; bits++) {
    for (const value of [2 ** bits - 1, 2 ** bits, 2 ** bits + 1]) {
      assert.equal(decode(long, encode(long, value)), value);
      assert.equal(decode(long, encode(long, -value)), 0 - value);
    }
  }
});

test("any number comes back", () => {
  assertProperty(fc.property(fc.integer(), (value) => {
    assert.equal(decode(signed, encode(signed, value)), value);
    assert.equal(decode(unsigned, encode(unsigned, value)), value >>> 0);
  }));
  assertProperty(fc.property(fc.maxSafeInteger(), (value) => {
    assert.equal(decode(long, encode(long, value)), value);
  }));
});

test("a varlong agrees with 64-bit arithmetic", () => {
  assertProperty(fc.property(fc.maxSafeInteger(), (value) => {
    let rest = BigInt.asUintN(64, BigInt(value) << 1n ^ BigInt(value) >> 63n);
    const expected: number[] = [];
    do {
      expected.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
      rest >>= 7n;
    } while (rest > 0n);
    assert.deepEqual([...encode(long, value)], expected);
  }));
});
