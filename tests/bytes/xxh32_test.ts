/** XXH32: published vectors. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import xxhash from "xxhash-wasm";
import { xxh32 } from "../../src/bytes/xxh32.ts";
import { assertProperty } from "../support/properties.ts";

test("xxh32 agrees with the published hashes", () => {
  const encoder = new TextEncoder();
  assert.equal(xxh32(new Uint8Array(0)), 0x02cc5d05);
  assert.equal(xxh32(encoder.encode("a")), 0x550d7456);
  assert.equal(xxh32(encoder.encode("abc")), 0x32d153ff);
  assert.equal(xxh32(encoder.encode("Nobody inspects the spammish repetition")), 0xe2293b2f);
});

test("xxh32 agrees with the library on anything", async () => {
  const { h32Raw } = await xxhash();
  assertProperty(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    assert.equal(xxh32(bytes), h32Raw(bytes));
  }));
});
