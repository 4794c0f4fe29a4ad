/** Zstandard frames: walked before they are decompressed. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { isOttlaError } from "../../src/errors.ts";
import { decompressZstd, loadZstd } from "../../src/record/zstd_codec.ts";
import { readZstdFrame } from "../../src/record/zstd_frame.ts";

const limit = 16 * 1024 * 1024;
const magic = "28b52ffd";
/** Frames of one raw block: a single segment of 5 bytes, and a window of 1 KiB without a size. */
const sizedHello = magic + "2005" + "290000" + "68656c6c6f";
const streamedHello = magic + "0000" + "290000" + "68656c6c6f";
const skippable = "502a4d18" + "03000000" + "616263";

test("a frame says where it ends and what it holds", () => {
  assert.deepEqual(readZstdFrame(bytesOf(sizedHello + "ffff"), 0), {
    isSkippable: false,
    end: 14,
    contentSizeBytes: 5,
    contentSizeBytesMax: 5,
  });
  assert.deepEqual(readZstdFrame(bytesOf("00" + streamedHello), 1), {
    isSkippable: false,
    end: 15,
    contentSizeBytes: -1,
    contentSizeBytesMax: 5,
  });
  assert.deepEqual(readZstdFrame(bytesOf(skippable), 0), {
    isSkippable: true,
    end: 11,
    contentSizeBytes: 0,
    contentSizeBytesMax: 0,
  });
});

test("every form of the header is understood", () => {
  const raw = "290000" + "68656c6c6f";
  const ends: ReadonlyArray<readonly [string, number, number]> = [
    [magic + "0100" + "07" + raw, 15, -1], // a dictionary id of 1 byte
    [magic + "0200" + "0700" + raw, 16, -1],
    [magic + "0300" + "07000000" + raw, 18, -1],
    [magic + "0400" + raw + "12345678", 18, -1], // a checksum
    [magic + "4000" + "0000" + "010800" + "00".repeat(256), 267, 256], // a size of 2 bytes, from 256
    [magic + "8000" + "05000000" + raw, 18, 5],
    [magic + "c000" + "0500000000000000" + raw, 22, 5],
    [magic + "a0" + "05000000" + raw, 17, 5], // a single segment
  ];
  for (const [hex, end, contentSizeBytes] of ends) {
    const frame = readZstdFrame(bytesOf(hex), 0);
    assert.equal(frame.end, end, hex);
    assert.equal(frame.contentSizeBytes, contentSizeBytes, hex);
  }
});

test("blocks bound what can come out", () => {
  // 1000 bytes of a run, then a compressed block of 4 bytes, which may hold the whole window.
  const frame = readZstdFrame(bytesOf(magic + "0000" + "421f00" + "61" + "250000" + "00000000"), 0);
  assert.equal(frame.contentSizeBytesMax, 1000 + 1024);
});

test("a frame without a sound form is an error", () => {
  assertNoFrame("");
  assertNoFrame("28b52f");
  assertNoFrame("28b52ffc" + sizedHello.slice(8)); // another magic
  assertNoFrame(magic);
  assertNoFrame(magic + "2805" + sizedHello.slice(12)); // the reserved bit
  assertNoFrame(magic + "0090" + streamedHello.slice(12)); // a window of 256 MiB
  assertNoFrame(magic + "2005" + "2f0000" + "68656c6c6f"); // a block of the reserved type
  assertNoFrame(magic + "2005" + "310000" + "68656c6c6f61"); // a block larger than its window
  assertNoFrame(magic + "2005" + "280000" + "68656c6c6f"); // no last block
  assertNoFrame(magic + "2005" + "290000" + "68656c6c"); // cut
  assertNoFrame(magic + "2405" + "290000" + "68656c6c6f" + "123456"); // a checksum that is cut
  assertNoFrame("502a4d18" + "04000000" + "616263"); // a skippable frame that is cut
  assertNoFrame("502a4d18" + "0400");
});

test("a size that the blocks cannot fulfil is refused before anything is allocated", () => {
  assertNoFrame(magic + "2006" + "290000" + "68656c6c6f");
  assertNoFrame(magic + "e0" + "ffffffffffffff7f" + "290000" + "68656c6c6f");
});

test("several frames are read, skippable ones passed over", async () => {
  await loadZstd();
  assert.equal(text(sizedHello), "hello");
  assert.equal(text(streamedHello), "hello");
  assert.equal(text(sizedHello + streamedHello), "hellohello");
  assert.equal(text(skippable + sizedHello + skippable + sizedHello), "hellohello");
  assert.equal(text(skippable), "");
});

test("a size that is not what comes out is an error", async () => {
  await loadZstd();
  assertCorrupt(magic + "2004" + "210000" + "68656c6c" + "6f"); // a byte after the frame
  assertCorrupt(magic + "8000" + "04000000" + "290000" + "68656c6c6f");
});

test("a checksum is verified", async () => {
  await loadZstd();
  // The low 32 bits of the XXH64 of "hello", 26c7827d889f6da3.
  assert.equal(text(magic + "2405" + "290000" + "68656c6c6f" + "a36d9f88"), "hello");
  assertCorrupt(magic + "2405" + "290000" + "68656c6c6f" + "a36d9f89");
});

test("a frame that wants a dictionary is an error", async () => {
  await loadZstd();
  assertCorrupt(magic + "2107" + "05" + "290000" + "68656c6c6f");
});

test("content behind the limit is refused, said or unsaid", async () => {
  await loadZstd();
  const runs = magic + "0038" + "020010" + "61" + "030010" + "61"; // 2 runs of 128 KiB, no size
  assert.equal(decompressZstd(bytesOf(runs), 262_144).length, 262_144);
  assertTooLarge(runs, 262_143);
  assertTooLarge(runs, 1000);
  assertTooLarge(sizedHello, 4);
  assertTooLarge(sizedHello + streamedHello, 9);
});

function text(hex: string): string {
  return new TextDecoder().decode(decompressZstd(bytesOf(hex), limit));
}

function assertNoFrame(hex: string): void {
  assert.throws(
    () => readZstdFrame(bytesOf(hex), 0),
    (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
    hex,
  );
}

function assertCorrupt(hex: string): void {
  assert.throws(
    () => decompressZstd(bytesOf(hex), limit),
    (error) => isOttlaError(error, "CORRUPT_MESSAGE"),
    hex,
  );
}

function assertTooLarge(hex: string, sizeBytesMax: number): void {
  assert.throws(
    () => decompressZstd(bytesOf(hex), sizeBytesMax),
    (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"),
    hex,
  );
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
