/** Compression: every codec both ways, levels, limits, and corrupt input. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import zlib from "node:zlib";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import {
  checkCompressionLevel,
  codecOf,
  compress,
  type Compression,
  decompress,
  idOf,
  levelsOf,
  loadCodec,
} from "../../src/record/compression.ts";
import { assertProperty } from "../support/properties.ts";

const codecs: readonly Compression[] = ["none", "gzip", "snappy", "lz4", "zstd"];
const limit = 1024 * 1024;
const text = new TextEncoder().encode("The only truth is the log. ".repeat(38).slice(0, 1024));

/** What the Java client 4.1.1 writes for no bytes and for `text`, at each codec's own level. */
const javaStreams: ReadonlyArray<readonly [Compression, string, string]> = [
  [
    "gzip",
    "1f8b08000000000000ff03000000000000000000",
    "1f8b08000000000000ff0bc94855c8cfcba95428292a2dc950c82c5628018ae4e4a7eb29848c4a8d4a8d4a0d6f29" +
    "00c4f5136b00040000",
  ],
  [
    "snappy",
    "82534e41505059000000000100000001",
    "82534e415050590000000001000000010000004e800868546865206f6e6c7920747275746820697320746865206c" +
    "6f672e20" + "fe1b00".repeat(15) + "921b00",
  ],
  [
    "lz4",
    "04224d1860408200000000",
    "04224d1860408229000000ff0c546865206f6e6c7920747275746820697320746865206c6f672e201b00ffffffd0" +
    "5065206c6f6700000000",
  ],
  [
    "zstd",
    "28b52ffd2000010000",
    "28b52ffd00581c0100d8546865206f6e6c7920747275746820697320746865206c6f672e2001008bf76a8e010100" +
    "00",
  ],
];

test("every codec has its number in Kafka's attributes", () => {
  assert.deepEqual(codecs.map(idOf), [0, 1, 2, 3, 4]);
  assert.deepEqual([0, 1, 2, 3, 4].map(codecOf), codecs);
});

test("an unknown number is an unsupported compression type", () => {
  for (const id of [5, 6, 7, -1]) {
    assert.throws(
      () => codecOf(id),
      (error) =>
        isOttlaError(error, "UNSUPPORTED_COMPRESSION_TYPE") && error.kafkaCode === 76 &&
        error.message ===
          `Cannot decompress a batch: unknown compression type id ${id}, wanted 0 to 4`,
    );
  }
});

test("a level outside the codec's range is refused", () => {
  const refused: ReadonlyArray<readonly [Compression, number]> = [
    ["gzip", 0],
    ["gzip", 10],
    ["gzip", -2],
    ["gzip", 1.5],
    ["lz4", 0],
    ["lz4", 18],
    ["zstd", -131073],
    ["zstd", 23],
    ["zstd", Number.NaN],
    ["snappy", 1],
    ["none", 1],
  ];
  for (const [codec, level] of refused) {
    assert.throws(() => checkCompressionLevel(codec, level), RangeError, `${codec} ${level}`);
    assert.throws(() => compress(codec, text, level), RangeError, `${codec} ${level}`);
  }
  assert.throws(() => checkCompressionLevel("gzip", 10), {
    message: "Cannot compress with gzip at level 10: wanted 1 to 9 or -1",
  });
});

test("repeated text comes back at the lowest, default and highest level of every codec", async () => {
  await loadCodec("zstd");
  for (const codec of codecs) {
    const range = levelsOf(codec);
    const levels = range === undefined
      ? [undefined]
      : [undefined, range.min, range.initial, range.max];
    for (const level of levels) {
      const stream = compress(codec, text, level);
      assert.deepEqual(decompress(codec, stream, text.length), text, `${codec} ${level}`);
    }
  }
});

test("what Java wrote is read", async () => {
  await loadCodec("zstd");
  for (const [codec, emptyStream, textStream] of javaStreams) {
    assert.deepEqual(decompress(codec, bytesOf(emptyStream), 0), new Uint8Array(0), codec);
    assert.deepEqual(decompress(codec, bytesOf(textStream), text.length), text, codec);
  }
});

test("no bytes are written as Java writes them, and text where the compressors agree", () => {
  for (const [codec, emptyStream] of javaStreams.slice(0, 3)) {
    assert.equal(hexOf(compress(codec, new Uint8Array(0))), emptyStream, codec);
  }
  assert.equal(hexOf(compress("snappy", text)), javaStreams[1]?.[2]);
});

test("a gzip header does not tell the level or the machine", () => {
  for (const level of [-1, 1, 9]) {
    const stream = compress("gzip", text, level);
    assert.equal(hexOf(stream.subarray(0, 10)), "1f8b08000000000000ff", `level ${level}`);
  }
});

test("anything comes back from every codec", async () => {
  await loadCodec("zstd");
  assertProperty(fc.property(fc.constantFrom(...codecs), records(), (codec, bytes) => {
    const copy = bytes.slice();
    const stream = compress(codec, bytes);
    assert.deepEqual(bytes, copy);
    assert.deepEqual(decompress(codec, stream, bytes.length), copy);
  }));
});

test("streams of several blocks come back, compressible or not", async () => {
  await loadCodec("zstd");
  const repeated = new Uint8Array(300_000).map((_, index) => (index >>> 4) * 7);
  const random = noise(300_000);
  for (const codec of codecs) {
    for (const bytes of [repeated, random]) {
      assert.deepEqual(decompress(codec, compress(codec, bytes), limit), bytes, codec);
    }
  }
});

test("a view is compressed and decompressed without what lies around it", async () => {
  await loadCodec("zstd");
  for (const codec of codecs) {
    const stream = compress(codec, noise(2000).subarray(500, 1500));
    const surrounded = Buffer.concat([noise(100), stream, noise(100)]);
    const view = surrounded.subarray(100, 100 + stream.length);
    assert.deepEqual(decompress(codec, view, limit), noise(2000).slice(500, 1500), codec);
  }
});

test("the result is a plain array that outlives its input", async () => {
  await loadCodec("zstd");
  for (const codec of codecs.slice(1)) {
    const stream = compress(codec, noise(1000));
    const result = decompress(codec, stream, limit);
    stream.fill(0);
    assert.deepEqual(result, noise(1000), codec);
    assert.equal(Object.getPrototypeOf(stream), Uint8Array.prototype, codec);
    assert.equal(Object.getPrototypeOf(result), Uint8Array.prototype, codec);
  }
});

test("a limit that is met exactly is no limit, one byte less is an error", async () => {
  await loadCodec("zstd");
  for (const codec of codecs) {
    for (const bytes of [text, noise(1), noise(200_000)]) {
      const stream = compress(codec, bytes);
      assert.equal(decompress(codec, stream, bytes.length).length, bytes.length, codec);
      assertTooLarge(codec, stream, bytes.length - 1);
      assertTooLarge(codec, stream, 0);
    }
  }
});

test("a stream that grows a thousandfold is refused at the limit", async () => {
  await loadCodec("zstd");
  const zeros = new Uint8Array(32 * limit);
  for (const codec of codecs.slice(1)) assertTooLarge(codec, compress(codec, zeros), limit);
});

test("bytes after the stream are an error", async () => {
  await loadCodec("zstd");
  for (const codec of codecs.slice(1)) {
    for (const tail of ["00", "00000000", "0000000000000000", "ff", "deadbeef", "1f8b0800"]) {
      const stream = Buffer.concat([compress(codec, text), bytesOf(tail)]);
      assertCorrupt(codec, stream, `${codec} ${tail}`);
    }
  }
});

test("a stream that is cut anywhere is an error", async () => {
  await loadCodec("zstd");
  for (const codec of codecs.slice(1)) {
    const stream = compress(codec, text);
    // The snappy framing alone has no end mark: its header by itself is an empty stream.
    const whole = codec === "snappy" ? 16 : -1;
    for (let length = 0; length < stream.length; length++) {
      if (length === whole) continue;
      assertCorrupt(codec, stream.subarray(0, length), `${codec} cut at ${length}`);
    }
  }
});

test("a stream of another codec is an error", async () => {
  await loadCodec("zstd");
  for (const codec of codecs.slice(1)) {
    for (const other of codecs) {
      if (other !== codec) assertCorrupt(codec, compress(other, text), `${codec} from ${other}`);
    }
  }
});

test("a second gzip member is an error, and so is a size that does not fit", () => {
  const member = compress("gzip", text);
  assertCorrupt("gzip", Buffer.concat([member, member]), "two members");
  const wrongSize = member.slice();
  wrongSize[wrongSize.length - 4] = 1;
  assertCorrupt("gzip", wrongSize, "wrong size");
});

test("gzip members of other writers are read", () => {
  const member = zlib.gzipSync(text, { level: 1 });
  // A member with a file name in its header, as the program gzip writes it.
  const named = Buffer.concat([member.subarray(0, 10), Buffer.from("log\0"), member.subarray(10)]);
  named[3] = 0x08;
  assert.deepEqual(decompress("gzip", member, limit), text);
  assert.deepEqual(decompress("gzip", named, limit), text);
});

test("every codec can be loaded twice, at once too", async () => {
  for (const codec of codecs) {
    await Promise.all([loadCodec(codec), loadCodec(codec)]);
    await loadCodec(codec);
    assert.deepEqual(decompress(codec, compress(codec, text), limit), text);
  }
});

function assertCorrupt(codec: Compression, stream: Uint8Array, message: string): void {
  assert.throws(
    () => decompress(codec, stream, limit),
    (error) =>
      isOttlaError(error, "CORRUPT_MESSAGE") &&
      error.message.startsWith(`Cannot decompress ${stream.length} bytes of ${codec}: `),
    message,
  );
}

function assertTooLarge(codec: Compression, stream: Uint8Array, sizeBytesMax: number): void {
  assert.throws(
    () => decompress(codec, stream, sizeBytesMax),
    (error) =>
      isOttlaError(error, "MESSAGE_TOO_LARGE") && error.details.sizeBytesMax === sizeBytesMax,
    codec,
  );
}

/** Bytes with repetitions in them, as records have, and bytes without. */
function records(): fc.Arbitrary<Uint8Array> {
  const repeated = fc.tuple(fc.uint8Array({ maxLength: 50 }), fc.integer({ min: 0, max: 3000 }))
    .map(([part, count]) => new Uint8Array(Buffer.concat(new Array(count).fill(part))));
  return fc.oneof(fc.uint8Array({ maxLength: 5000 }), repeated);
}

/** Bytes that no codec can make smaller, the same at every call. */
function noise(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let state = 1;
  for (let index = 0; index < sizeBytes; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
