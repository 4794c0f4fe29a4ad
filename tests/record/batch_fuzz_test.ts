/**
 * Whatever the bytes are, reading them gives batches and records, or an `OttlaError`: no other
 * error, no endless loop, nothing from behind the end, no allocation by a length that was not
 * checked.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { byteReader, readVarint } from "../../src/bytes/byte_reader.ts";
import { byteWriter, writeBytes, writtenBytes } from "../../src/bytes/byte_writer.ts";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { sizeOfVarint } from "../../src/bytes/varint.ts";
import { OttlaError } from "../../src/errors.ts";
import { batchHeaderBytes } from "../../src/record/batch_layout.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { batchesIn, viewBatch } from "../../src/record/batch_view.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { endTransactionMarkerOf } from "../../src/record/control_record.ts";
import { forEachRecord, headersOf, recordsOf } from "../../src/record/record_reader.ts";
import { anyDamage, anyRecords, codecs, damaged } from "../support/arbitraries.ts";
import {
  buildBatch,
  concat,
  poisoned,
  rawBatch,
  viewOf,
  writeChecksum,
} from "../support/batches.ts";
import { kafkaSegments } from "../support/kafka_segments.ts";
import { assertProperty } from "../support/properties.ts";

await loadCrc32c();
for (const codec of codecs) await loadCodec(codec);

type Outcome = { readonly value: unknown } | { readonly code: string };

/** What reading comes to; an error that is not an `OttlaError` fails the test. */
function outcomeOf(run: () => unknown): Outcome {
  try {
    return { value: run() };
  } catch (error) {
    if (error instanceof OttlaError) return { code: error.code };
    throw error;
  }
}

/** Reads all that can be read of some bytes, in every way. */
function readAll(bytes: Uint8Array): Outcome[] {
  const outcomes: Outcome[] = [];
  const readBatch = (batch: BatchView): void => {
    assert.ok(batch.position + batch.sizeBytes <= bytes.length);
    assert.ok(Number.isSafeInteger(batch.lastOffset + 1));
    let count = 0;
    const visited = outcomeOf(() =>
      forEachRecord(batch, (record) => {
        count++;
        assert.ok(record.offset >= batch.baseOffset && record.offset <= batch.lastOffset);
        assert.ok(record.end <= record.bytes.length);
        headersOf(record);
        outcomeOf(() => endTransactionMarkerOf(record));
      })
    );
    assert.ok(count * 7 <= 2 ** 30);
    if ("value" in visited) assert.equal(count, batch.recordCount);
    outcomes.push(visited, outcomeOf(() => recordsOf(batch)));
  };
  outcomes.push(outcomeOf(() => {
    for (const batch of batchesIn(bytes)) readBatch(batch);
  }));
  for (let position = 0; position < Math.min(bytes.length, 80); position += 13) {
    const seen = outcomeOf(() => viewBatch(bytes, position));
    if ("value" in seen && seen.value !== undefined) readBatch(seen.value as BatchView);
  }
  return outcomes;
}

/**
 * The same bytes alone, and in the midst of others: what lies around them must make no difference.
 */
function readsTheSameAnywhere(bytes: Uint8Array): void {
  assert.deepEqual(readAll(poisoned(bytes)), readAll(bytes));
}

test("random bytes are read without harm", () => {
  assertProperty(fc.property(fc.uint8Array({ maxLength: 200 }), readsTheSameAnywhere), {
    numRuns: 300,
  });
});

test("random bytes behind a plausible header are read without harm", () => {
  const fields = fc.record({
    body: fc.uint8Array({ maxLength: 120 }),
    recordCount: fc.oneof(fc.nat({ max: 12 }), fc.integer()),
    lastOffsetDelta: fc.oneof(fc.nat({ max: 12 }), fc.integer()),
    attributes: fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 }),
    baseOffset: fc.oneof(fc.nat(), fc.maxSafeInteger()),
    baseTimestamp: fc.maxSafeInteger(),
  });
  assertProperty(fc.property(fields, (raw) => readsTheSameAnywhere(rawBatch(raw))), {
    numRuns: 500,
  });
});

for (const compression of codecs) {
  test(`damaged batches are read without harm (${compression})`, () => {
    assertProperty(
      fc.property(anyRecords, anyDamage, (records, damage) => {
        const good = buildBatch(records, { baseOffset: 3, compression });
        readsTheSameAnywhere(damaged(concat(good, good), damage));
      }),
      { numRuns: 60 },
    );
  });
}

test("records that were damaged before the checksum was made are read without harm", () => {
  assertProperty(
    fc.property(anyRecords, anyDamage, (records, damage) => {
      const good = buildBatch(records);
      const body = damaged(good, damage, batchHeaderBytes).subarray(batchHeaderBytes);
      readsTheSameAnywhere(rawBatch({ body, recordCount: records.length }));
    }),
    { numRuns: 200 },
  );
});

test("every single bit of a batch may be wrong", () => {
  const headers = [{ key: "h", value: "1" }, { key: "n", value: null }];
  const good = buildBatch([{ key: "k", value: "v" }, { key: null, value: "w", headers }]);
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bytes = good.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    readsTheSameAnywhere(bytes);
  }
});

test("what Kafka wrote may be damaged anywhere", () => {
  const segments = kafkaSegments();
  const pick = fc.nat({ max: segments.length - 1 });
  assertProperty(
    fc.property(pick, anyDamage, (index, damage) => {
      readAll(damaged(segments[index]!.read("log"), damage));
    }),
    { numRuns: 150 },
  );
});

/**
 * The records of an uncompressed batch with each length one or two bytes longer than it need be,
 * which only the careful path of the reader takes.
 */
function withLongLengths(body: Uint8Array, recordCount: number): Uint8Array {
  const reader = byteReader(body);
  const writer = byteWriter();
  for (let index = 0; index < recordCount; index++) {
    const before = reader.position;
    const size = readVarint(reader);
    const lengthBytes = body.slice(before, reader.position);
    assert.ok(lengthBytes.length === sizeOfVarint(size) && size >= 0);
    lengthBytes[lengthBytes.length - 1]! |= 0x80;
    writeBytes(writer, lengthBytes);
    writeBytes(writer, new Uint8Array(Math.max(0, 2 - lengthBytes.length)).fill(0x80));
    writeBytes(writer, Uint8Array.of(0));
    const end = Math.min(body.length, reader.position + size);
    writeBytes(writer, body.subarray(reader.position, end));
    reader.position = end;
  }
  writeBytes(writer, body.subarray(reader.position));
  return writtenBytes(writer).slice();
}

test("the fast path and the careful path read the same", () => {
  const content = fc.option(fc.uint8Array({ maxLength: 100 }));
  const record = fc.record({ key: content, value: content });
  assertProperty(fc.property(fc.array(record, { minLength: 1, maxLength: 5 }), (records) => {
    const fast = buildBatch(records);
    const body = withLongLengths(fast.subarray(batchHeaderBytes), records.length);
    const careful = viewOf(rawBatch({ body, recordCount: records.length }));
    assert.deepEqual(recordsOf(careful), recordsOf(viewOf(fast)));
  }));
});

test("the fast path and the careful path refuse the same", () => {
  // Small fields that mostly fit each other, and sometimes just not.
  const size = fc.constantFrom(1, 1, 0, 2, 4, 6, 3, 0x80);
  const body = fc.record({
    start: fc.tuple(
      fc.constantFrom(0, 0, 7),
      fc.constantFrom(0, 0, 0, 1),
      fc.constantFrom(0, 0, 2, 1),
    ),
    sizes: fc.tuple(size, size),
    slip: fc.constantFrom(0, 0, 0, 0, 1, -1),
    end: fc.constantFrom([0], [0], [0], [1], [2], [2, 0, 1], [0, 0]),
  }).map(({ start, sizes: [key, value], slip, end }) =>
    Uint8Array.from([
      ...start,
      key,
      ...new Array<number>(Math.max(0, (key >> 1) + slip)).fill(2),
      value,
      ...new Array<number>(value >> 1).fill(0),
      ...end,
    ])
  );
  const fields = fc.record({
    recordCount: fc.constantFrom(1, 1, 1, 2),
    lastOffsetDelta: fc.nat({ max: 2 }),
  });
  let readableCount = 0;
  assertProperty(
    fc.property(body, fields, (bytes, raw) => {
      const length = bytes.length << 1;
      const fast = concat(Uint8Array.of(length & 0x7f | 0x80, length >> 7), bytes);
      const slow = concat(Uint8Array.of(length & 0x7f | 0x80, length >> 7 | 0x80, 0), bytes);
      const outcome = outcomeOf(() => recordsOf(viewOf(rawBatch({ ...raw, body: fast }))));
      assert.deepEqual(
        outcomeOf(() => recordsOf(viewOf(rawBatch({ ...raw, body: slow })))),
        outcome,
      );
      if ("value" in outcome) readableCount++;
    }),
    { numRuns: 2_000 },
  );
  assert.ok(readableCount > 200, `${readableCount} could be read`);
});

test("a damaged length is no reason to allocate", () => {
  const good = buildBatch([{ key: "k", value: "v" }]);
  for (const compression of codecs) {
    const bytes = buildBatch([{ key: "k", value: "v" }], { compression });
    // The count of records at its largest: 2^31 - 1 objects would not fit into any memory.
    bytes.set([0x7f, 0xff, 0xff, 0xff], batchHeaderBytes - 4);
    writeChecksum(bytes);
    assert.deepEqual(outcomeOf(() => recordsOf(viewOf(bytes))), { code: "CORRUPT_MESSAGE" });
  }
  assert.equal(recordsOf(viewOf(good)).length, 1);
});
