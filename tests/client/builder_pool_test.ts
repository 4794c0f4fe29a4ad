/** The pool of builders: what it keeps, and how much of it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { builderPool, returnBuilder, takeBuilder } from "../../src/client/builder_pool.ts";
import { appendRecord, batchBuilder } from "../../src/record/batch_builder.ts";

const mebibyte = 1024 * 1024;

test("builders begin small and come back empty", () => {
  const pool = builderPool(32_768);
  const builder = takeBuilder(pool);
  assert.equal(builder.bytes.length, 4096);
  appendRecord(builder, 1, null, "v");
  returnBuilder(pool, builder);
  const again = takeBuilder(pool);
  assert.equal(again, builder);
  assert.equal(again.recordCount, 0);
  assert.notEqual(takeBuilder(pool), builder);
});

test("no more than four mebibytes are kept, however often they are taken", () => {
  const pool = builderPool(32_768);
  for (let round = 0; round < 3; round++) {
    for (let count = 0; count < 3; count++) returnBuilder(pool, batchBuilder(2 * mebibyte));
    assert.equal(pool.spares.length, 2);
    assert.equal(pool.spareBytes, 4 * mebibyte);
    takeBuilder(pool);
    takeBuilder(pool);
    assert.equal(pool.spareBytes, 0);
  }
});
