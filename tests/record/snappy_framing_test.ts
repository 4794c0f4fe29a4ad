/** The framing that Kafka puts around Snappy blocks. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { isOttlaError } from "../../src/errors.ts";
import { decompress } from "../../src/record/compression.ts";
import { compressSnappy, decompressSnappy } from "../../src/record/snappy_framing.ts";

const limit = 1024 * 1024;
const header = "82534e41505059000000000100000001";
/** A raw block by hand: length 5, a literal of 5 bytes. */
const helloBlock = "0510" + "68656c6c6f";
const helloChunk = "00000007" + helloBlock;

test("a stream is the header, then chunks of 32 KiB of input", () => {
  const stream = compressSnappy(new Uint8Array(70_000));
  assert.equal(hexOf(stream.subarray(0, 16)), header);
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const sizes: string[] = [];
  for (let position = 16; position < stream.length;) {
    sizes.push(hexOf(stream.subarray(position + 4, position + 7)));
    position += 4 + view.getInt32(position);
  }
  // 32768 and 70000 - 2 * 32768 = 4464 as unsigned varints, with the element's first byte behind.
  assert.deepEqual(sizes.map((size) => size.slice(0, 4)), ["8080", "8080", "f022"]);
});

test("a raw block without the framing is read", () => {
  assert.deepEqual(text(helloBlock), "hello");
  const long = `14` + `4c` + "61".repeat(20);
  assert.deepEqual(text(long), "a".repeat(20));
});

test("an empty block is read as no bytes", () => {
  for (const hex of ["00", header + "0000000100", header + "0000000100" + "0000000100"]) {
    assert.deepEqual(decompress("snappy", bytesOf(hex), limit), new Uint8Array(0));
  }
});

test("a header alone is an empty stream", () => {
  assert.deepEqual(text(header), "");
});

test("a stream behind a stream is read", () => {
  assert.equal(text(header + helloChunk + header + helloChunk), "hellohello");
  assert.equal(text(header + header + helloChunk), "hello");
});

test("a higher version is read, a version below 1 is not", () => {
  assert.equal(text("82534e41505059000000000200000001" + helloChunk), "hello");
  assertCorrupt("82534e41505059000000000000000001" + helloChunk);
  assertCorrupt("82534e4150505900ffffffff00000001" + helloChunk);
  assertCorrupt(header + "82534e41505059000000000000000001" + helloChunk);
});

test("an impossible chunk is an error", () => {
  assertCorrupt(header + "00000008" + helloBlock); // longer than what is left
  assertCorrupt(header + "7fffffff" + helloBlock);
  assertCorrupt(header + "ffffffff" + helloBlock); // negative
  assertCorrupt(header + "80000000" + helloBlock);
  assertCorrupt(header + "00000000"); // a block has a length at least
  assertCorrupt(header + "000000"); // cut
  assertCorrupt(header + helloChunk + header.slice(0, 16)); // a second header, cut
});

test("an impossible block is an error", () => {
  assertCorrupt(""); // nothing at all
  assertCorrupt("8080808080"); // a length without an end
  assertCorrupt("808080808001" + "10"); // six bytes of length
  assertCorrupt(header + "00000007" + "0610" + "68656c6c6f"); // one byte more than there is
  assertCorrupt(header + "00000007" + "0410" + "68656c6c6f"); // one byte less
});

test("a length that a block's bytes cannot fulfil is refused before anything is allocated", () => {
  assertCorrupt("ffffffff0f" + "10" + "68656c6c6f"); // 4 GiB out of 6 bytes
  assertCorrupt(header + "0000000c" + "ffffffff7f" + "10" + "68656c6c6f61"); // 32 GiB
});

test("the sum of the blocks is checked before anything is decompressed", () => {
  const stream = bytesOf(header + helloChunk.repeat(3));
  assert.equal(decompressSnappy(stream, 15).length, 15);
  assert.throws(
    () => decompressSnappy(stream, 14),
    (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"),
  );
});

test("the densest block is read", () => {
  // One byte, then copies of 64 bytes each, three bytes a copy: the most that snappy can grow.
  const copies = 1000;
  const sizeBytes = 1 + 64 * copies;
  const length = Uint8Array.of(
    sizeBytes & 0x7f | 0x80,
    sizeBytes >> 7 & 0x7f | 0x80,
    sizeBytes >> 14,
  );
  const block = hexOf(length) + "00" + "61" + "fe0100".repeat(copies);
  assert.deepEqual(text(block), "a".repeat(sizeBytes));
});

function text(hex: string): string {
  return new TextDecoder().decode(decompressSnappy(bytesOf(hex), limit));
}

function assertCorrupt(hex: string): void {
  assert.throws(
    () => decompressSnappy(bytesOf(hex), limit),
    (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
    hex,
  );
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
