/**
 * CRC-32C: the check value of the standard, and the native and the WebAssembly form against each
 * other.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c, loadCrc32c, wasmChecksum } from "../../src/bytes/crc32c.ts";
import { bytesOfHex } from "../support/hex.ts";
import { assertProperty } from "../support/properties.ts";

/** Values from RFC 3720, appendix B.4, and the check value of the algorithm. */
const vectors: readonly (readonly [Uint8Array, number])[] = [
  [new Uint8Array(0), 0],
  [new TextEncoder().encode("123456789"), 0xe3069283],
  [new Uint8Array(32), 0x8a9136aa],
  [new Uint8Array(32).fill(0xff), 0x62a8ab43],
  [Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
  [Uint8Array.from({ length: 32 }, (_, index) => 31 - index), 0x113fdb5c],
  [
    bytesOfHex(
      "01c00000" + "00".repeat(12) + "14000000" + "00000400" + "00000014" + "00000018" +
        "28000000" + "00000000" + "02000000" + "00000000",
    ),
    0xd9963a56,
  ],
];

/** One bit after the other, as the definition has it. */
function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

test("the checksum has the published values", async () => {
  await loadCrc32c();
  for (const [bytes, expected] of vectors) assert.equal(crc32c(bytes), expected);
});

test("the checksum in WebAssembly has the published values", async () => {
  const checksum = await wasmChecksum();
  for (const [bytes, expected] of vectors) assert.equal(checksum(bytes), expected);
});

test("native, WebAssembly and definition agree, also on views with an offset", async () => {
  await loadCrc32c();
  const checksum = await wasmChecksum();
  const part = fc.tuple(
    fc.uint8Array({ maxLength: 300 }),
    fc.nat({ max: 20 }),
    fc.nat({ max: 20 }),
  );
  assertProperty(fc.property(part, ([bytes, start, cut]) => {
    const view = bytes.subarray(start, Math.max(start, bytes.length - cut));
    const expected = slowCrc32c(view);
    assert.equal(crc32c(view), expected);
    assert.equal(checksum(view), expected);
  }));
});

test("a Node buffer from the pool counts as its own bytes alone", async () => {
  await loadCrc32c();
  const buffer = Buffer.from("123456789");
  assert.equal(crc32c(buffer), 0xe3069283);
  assert.equal(crc32c(Buffer.from("x123456789y").subarray(1, 10)), 0xe3069283);
});

test("a large input is summed up whole", async () => {
  await loadCrc32c();
  const checksum = await wasmChecksum();
  const bytes = new Uint8Array(3 * 1024 * 1024);
  for (let index = 0; index < bytes.length; index++) bytes[index] = index * 31 >> 3;
  const before = crc32c(bytes);
  assert.equal(checksum(bytes), before);
  bytes[bytes.length - 1]! ^= 1;
  assert.notEqual(crc32c(bytes), before);
});
