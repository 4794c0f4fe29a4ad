/** LZ4 frames: what is written is what Kafka reads, and the other way round. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { xxh32 } from "../../src/bytes/xxh32.ts";
import { isOttlaError } from "../../src/errors.ts";
import { compressLz4, decompressLz4 } from "../../src/record/lz4_frame.ts";

const limit = 16 * 1024 * 1024;
const header = "04224d18604082";
const endMark = "00000000";
/** A block that is stored as it is, and the same text as LZ4: a literal run of 5. */
const storedHello = "05000080" + "68656c6c6f";
const packedHello = "06000000" + "50" + "68656c6c6f";

test("a frame starts with Kafka's header and closes with an end mark", () => {
  for (const sizeBytes of [0, 1, 1000, 200_000]) {
    const frame = compressLz4(new Uint8Array(sizeBytes));
    assert.equal(hexOf(frame.subarray(0, 4)), "04224d18");
    const flags = frame[4]!;
    assert.equal(flags >>> 6, 1, "version");
    assert.equal(flags & 0x20, 0x20, "independent blocks");
    assert.equal(flags & 0x03, 0, "reserved bits");
    assert.equal(frame[5]! >>> 4, 4, "block size id");
    assert.equal(frame[5]! & 0x8f, 0, "reserved bits");
    assert.equal(frame[6], (xxh32(frame.subarray(4, 6)) >>> 8) & 0xff, "header checksum");
    assert.equal(hexOf(frame.subarray(-4)), endMark);
  }
});

test("a block holds 64 KiB of input", () => {
  const frame = compressLz4(new Uint8Array(150_000));
  assert.equal(blockWordsOf(frame).length, 3);
});

test("a block that would not shrink is stored as it is", () => {
  const frame = compressLz4(Uint8Array.of(1, 2, 3, 4, 5));
  assert.equal(hexOf(frame), header + "05000080" + "0102030405" + endMark);
});

test("stored and compressed blocks are read in one frame", () => {
  assert.equal(text(header + storedHello + packedHello + storedHello + endMark), "hellohellohello");
  assert.equal(text(header + endMark), "");
  assert.equal(text(header + "00000080" + storedHello + endMark), "hello");
  assert.equal(text(header + "0100000000" + packedHello + "0100000000" + endMark), "hello");
});

test("every block size that Kafka knows is read", () => {
  for (const blockSize of [0x40, 0x50, 0x60, 0x70]) {
    assert.equal(text(frameHeader(0x60, blockSize) + packedHello + endMark), "hello");
  }
});

test("a content size is passed over, a content checksum not verified", () => {
  assert.equal(text(frameHeader(0x68, 0x40, "ffffffffffffffff") + packedHello + endMark), "hello");
  assert.equal(text(frameHeader(0x64, 0x40) + packedHello + endMark + "12345678"), "hello");
  assertCorrupt(frameHeader(0x64, 0x40) + packedHello + endMark);
  assertCorrupt(frameHeader(0x64, 0x40) + packedHello + endMark + "1234");
});

test("a block checksum is verified", () => {
  for (const block of [storedHello, packedHello]) {
    const checksum = littleEndian(xxh32(bytesOf(block.slice(8))));
    assert.equal(text(frameHeader(0x70, 0x40) + block + checksum + endMark), "hello");
    assertCorrupt(frameHeader(0x70, 0x40) + block + "00000001" + endMark);
    assertCorrupt(frameHeader(0x70, 0x40) + block + endMark);
  }
});

test("a header that Kafka refuses is an error", () => {
  const rest = packedHello + endMark;
  assertCorrupt("");
  assertCorrupt("04224d186040"); // cut before its checksum
  assertCorrupt("04224d1960408200" + rest); // another magic
  assertCorrupt("04224d186040" + "83" + rest); // a wrong checksum
  assertCorrupt(frameHeader(0x20, 0x40) + rest); // version 0
  assertCorrupt(frameHeader(0xa0, 0x40) + rest); // version 2
  assertCorrupt(frameHeader(0x40, 0x40) + rest); // blocks that depend on each other
  assertCorrupt(frameHeader(0x61, 0x40) + rest); // a dictionary
  assertCorrupt(frameHeader(0x62, 0x40) + rest); // reserved bits
  assertCorrupt(frameHeader(0x60, 0x41) + rest);
  assertCorrupt(frameHeader(0x60, 0xc0) + rest);
  assertCorrupt(frameHeader(0x60, 0x30) + rest); // block size id 3
  assertCorrupt("04224d186840" + "01020304"); // a content size that is cut
});

test("a block that Kafka refuses is an error", () => {
  const stored = "01000180" + "61".repeat(65_537);
  assertCorrupt(header + stored + endMark); // 65537 bytes, 64 KiB declared
  assert.equal(text(frameHeader(0x60, 0x50) + stored + endMark).length, 65_537);
  assertCorrupt(header + "ffffff7f" + endMark);
  assertCorrupt(header + "ffffffff" + endMark);
  assertCorrupt(header + "06000000" + "50" + "68656c"); // cut
  assertCorrupt(header + packedHello); // no end mark
  assertCorrupt(header + "06000000" + "60" + "68656c6c6f" + endMark); // a literal longer than the block
  assertCorrupt(header + "04000000" + "10" + "61" + "0900" + endMark); // a copy from before the start
  assertCorrupt(header + packedHello + endMark + "00"); // a byte after the frame
});

test("a compressed block that gives more than its declared size is an error", () => {
  // A literal, then a copy of 19 + 255 * 300 bytes: 76520 bytes and more, 64 KiB declared.
  const block = "1f" + "61" + "0100" + "ff".repeat(300) + "00" + "50" + "6162636465";
  const word = littleEndian(block.length / 2);
  assertCorrupt(header + word + block + endMark);
  assert.equal(text(frameHeader(0x60, 0x50) + word + block + endMark).length, 76_525);
});

test("blocks are refused as soon as they exceed the limit", () => {
  const frame = bytesOf(header + packedHello.repeat(3) + endMark);
  assert.equal(decompressLz4(frame, 15).length, 15);
  assert.throws(
    () => decompressLz4(frame, 14),
    (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"),
  );
});

function blockWordsOf(frame: Uint8Array): number[] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const words: number[] = [];
  let position = 7;
  while (view.getUint32(position, true) !== 0) {
    const word = view.getUint32(position, true);
    words.push(word);
    position += 4 + word % 0x80000000;
  }
  return words;
}

/** A header with its checksum. */
function frameHeader(flags: number, blockSize: number, contentSize = ""): string {
  const descriptor = hexOf(Uint8Array.of(flags, blockSize)) + contentSize;
  const checksum = (xxh32(bytesOf(descriptor)) >>> 8) & 0xff;
  return "04224d18" + descriptor + hexOf(Uint8Array.of(checksum));
}

function littleEndian(word: number): string {
  return hexOf(Uint8Array.of(word, word >>> 8, word >>> 16, word >>> 24));
}

function text(hex: string): string {
  return new TextDecoder().decode(decompressLz4(bytesOf(hex), limit));
}

function assertCorrupt(hex: string): void {
  assert.throws(
    () => decompressLz4(bytesOf(hex), limit),
    (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
    hex.slice(0, 100),
  );
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
