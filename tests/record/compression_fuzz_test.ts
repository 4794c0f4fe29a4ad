/**
 * Whatever bytes a decompressor is given, the outcome is at most as many bytes as were allowed, or
 * an `OttlaError` that says why not.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isOttlaError } from "../../src/errors.ts";
import { compress, type Compression, decompress, loadCodec } from "../../src/record/compression.ts";
import { assertProperty } from "../support/properties.ts";

const codecs: readonly Compression[] = ["gzip", "snappy", "lz4", "zstd"];
const runs = 1500;

/** What a stream of each codec begins with, so that random bytes come past the first check. */
const headers: Readonly<Record<Compression, readonly number[]>> = {
  none: [],
  gzip: [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
  snappy: [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
  lz4: [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
};

test("random bytes are refused or within the limit", async () => {
  await loadCodec("zstd");
  for (const codec of codecs) {
    const input = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.nat(100_000));
    const property = fc.property(input, ([bytes, sizeBytesMax]) => {
      assertBounded(codec, bytes, sizeBytesMax);
      assertBounded(codec, Uint8Array.from([...headers[codec], ...bytes]), sizeBytesMax);
    });
    assertProperty(property, { numRuns: runs });
  }
});

test("a stream with changed, lost and repeated bytes is refused or within the limit", async () => {
  await loadCodec("zstd");
  const records = fc.oneof(
    fc.uint8Array({ maxLength: 500 }),
    fc.tuple(fc.uint8Array({ maxLength: 20 }), fc.nat(200)).map(([part, count]) =>
      Uint8Array.from(new Array(count).fill([...part]).flat())
    ),
  );
  const change = fc.record({
    kind: fc.constantFrom("set", "cut", "repeat", "drop"),
    position: fc.nat(1000),
    value: fc.nat(255),
  });
  for (const codec of codecs) {
    const property = fc.property(
      records,
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.nat(10_000),
      (bytes, changes, sizeBytesMax) => {
        let stream = compress(codec, bytes);
        for (const { kind, position, value } of changes) {
          stream = changed(stream, kind, position % Math.max(1, stream.length), value);
        }
        assertBounded(codec, stream, sizeBytesMax);
      },
    );
    assertProperty(property, { numRuns: runs });
  }
});

test("every single flipped bit of a small stream is refused or within the limit", async () => {
  await loadCodec("zstd");
  const bytes = new TextEncoder().encode("a log, a log, a log and nothing but a log");
  for (const codec of codecs) {
    const stream = compress(codec, bytes);
    for (let bit = 0; bit < stream.length * 8; bit++) {
      const flipped = stream.slice();
      flipped[bit >>> 3] = flipped[bit >>> 3]! ^ (1 << (bit & 7));
      assertBounded(codec, flipped, 1000);
    }
  }
});

function changed(
  stream: Uint8Array,
  kind: string,
  position: number,
  value: number,
): Uint8Array {
  if (kind === "cut") return stream.slice(0, position);
  const start = stream.slice(0, position);
  const rest = stream.slice(position);
  if (kind === "set") return Uint8Array.from([...start, value, ...rest.subarray(1)]);
  if (kind === "drop") return Uint8Array.from([...start, ...rest.subarray(1 + value % 8)]);
  return Uint8Array.from([...start, ...rest, ...rest]);
}

function assertBounded(codec: Compression, stream: Uint8Array, sizeBytesMax: number): void {
  try {
    const result = decompress(codec, stream, sizeBytesMax);
    assert.ok(result.length <= sizeBytesMax, `${result.length} bytes, wanted ${sizeBytesMax}`);
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    assert.ok(["CORRUPT_MESSAGE", "MESSAGE_TOO_LARGE"].includes(error.code), error.code);
  }
}
