/** Looking at batches: the fields of a header, and what is no batch. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { isOttlaError } from "../../src/errors.ts";
import { assignOffsets } from "../../src/record/batch_builder.ts";
import { batchHeaderBytes, field, headerToMagicBytes } from "../../src/record/batch_layout.ts";
import {
  baseSequenceOf,
  batchesIn,
  compressionOfBatch,
  decrementSequence,
  hasValidChecksum,
  incrementSequence,
  isControlBatch,
  isTransactional,
  lastSequenceOf,
  partitionLeaderEpochOf,
  peekBatchSize,
  producerEpochOf,
  producerIdOf,
  sequenceOf,
  verifyChecksum,
  viewBatch,
} from "../../src/record/batch_view.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import {
  buildBatch,
  concat,
  poisoned,
  rawBatch,
  someTime,
  viewOf,
  writeChecksum,
} from "../support/batches.ts";

await loadCrc32c();

const sequenceMax = 2 ** 31 - 1;
const threeRecords = [{ key: "a", value: "1" }, { key: "b" }, { value: "3" }];

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function throwsCorrupt(run: () => unknown, what: RegExp): void {
  assert.throws(
    run,
    (error) => isOttlaError(error, "CORRUPT_MESSAGE") && what.test(error.message),
  );
}

test("a batch without a producer says so", () => {
  const batch = viewOf(buildBatch(threeRecords, { baseOffset: 1_234_567 }));
  assert.deepEqual([producerIdOf(batch), producerEpochOf(batch)], [-1, -1]);
  assert.deepEqual([baseSequenceOf(batch), lastSequenceOf(batch)], [-1, -1]);
  assert.equal(sequenceOf(batch, 1_234_568), -1);
  assert.equal(partitionLeaderEpochOf(batch), -1);
  assert.equal(isTransactional(batch), false);
  assert.equal(isControlBatch(batch), false);
  assert.deepEqual([batch.topic, batch.partition], ["", -1]);
});

test("sequence numbers wrap to 0 within a batch", () => {
  const batch = viewOf(buildBatch(threeRecords, {
    baseOffset: 100,
    producerId: 15,
    producerEpoch: 1,
    baseSequence: sequenceMax - 1,
  }));
  const sequences = [100, 101, 102].map((offset) => sequenceOf(batch, offset));
  assert.deepEqual(sequences, [sequenceMax - 1, sequenceMax, 0]);
  assert.equal(lastSequenceOf(batch), 0);
  assert.equal(incrementSequence(lastSequenceOf(batch), 1), 1);
});

test("sequence numbers are counted on and back as Kafka does", () => {
  assert.equal(incrementSequence(5, 5), 10);
  assert.equal(incrementSequence(sequenceMax, 1), 0);
  assert.equal(incrementSequence(sequenceMax - 5, 10), 4);
  assert.equal(incrementSequence(sequenceMax - 2, 5), 2);
  assert.equal(decrementSequence(5, 5), 0);
  assert.equal(decrementSequence(0, 1), sequenceMax);
  assert.equal(decrementSequence(2, 5), sequenceMax - 2);
});

test("offsets and leader epoch are assigned without touching the checksum", () => {
  const bytes = buildBatch(threeRecords);
  assignOffsets(dataView(bytes), 0, 498, 500);
  const batch = viewOf(bytes);
  assert.deepEqual([batch.baseOffset, batch.lastOffset], [498, 500]);
  assert.deepEqual(recordsOf(batch).map(({ offset }) => offset), [498, 499, 500]);
  assert.equal(partitionLeaderEpochOf(batch), 500);
  assert.ok(hasValidChecksum(batch));
});

test("a change of anything behind the checksum is noticed, whichever byte it is", () => {
  const bytes = buildBatch(threeRecords);
  for (let position = field.crc; position < bytes.length; position++) {
    for (const bit of [1, 128]) {
      const changed = bytes.slice();
      changed[position]! ^= bit;
      const batch = (() => {
        try {
          return viewBatch(changed);
        } catch (error) {
          assert.ok(isOttlaError(error, "CORRUPT_MESSAGE"));
          return undefined;
        }
      })();
      if (batch !== undefined) assert.equal(hasValidChecksum(batch), false, `byte ${position}`);
    }
  }
});

test("a wrong checksum names the offsets and both sums", () => {
  const bytes = buildBatch(threeRecords, { baseOffset: 7 });
  dataView(bytes).setInt32(field.lastOffsetDelta, 4);
  throwsCorrupt(
    () => verifyChecksum(viewOf(bytes)),
    /offsets 7 to 11.*checksum [0-9a-f]{8}, [0-9a-f]{8} was/,
  );
  assert.equal(verifyChecksum(viewOf(writeChecksum(bytes))), undefined);
});

test("a length below that of a header is corrupt", () => {
  const good = buildBatch(threeRecords);
  for (const length of [-(2 ** 31), -1, 0, 9, 10, 14, 48]) {
    const bytes = good.slice();
    dataView(bytes).setInt32(field.batchLength, length);
    throwsCorrupt(() => viewBatch(bytes), new RegExp(`length ${length} `));
    assert.equal(peekBatchSize(dataView(bytes), 0), 0);
  }
});

test("a format other than 2 is corrupt", () => {
  const good = buildBatch(threeRecords);
  for (const magic of [-1, 0, 1, 3, 10, 37, 127]) {
    const bytes = good.slice();
    dataView(bytes).setInt8(field.magic, magic);
    throwsCorrupt(() => viewBatch(bytes), new RegExp(`format ${magic} `));
  }
});

test("a length up to 2^31 - 1 is a batch that is not there in full", () => {
  const bytes = buildBatch(threeRecords);
  for (const length of [bytes.length - 11, 2 ** 30, 2 ** 31 - 1]) {
    dataView(bytes).setInt32(field.batchLength, length);
    assert.equal(viewBatch(bytes), undefined);
    assert.equal(peekBatchSize(dataView(bytes), 0), length + 12);
  }
});

test("offsets that cannot be are corrupt", () => {
  const good = buildBatch(threeRecords);
  const withOffsets = (baseOffset: bigint, lastOffsetDelta: number): Uint8Array => {
    const bytes = good.slice();
    dataView(bytes).setBigInt64(field.baseOffset, baseOffset);
    dataView(bytes).setInt32(field.lastOffsetDelta, lastOffsetDelta);
    return bytes;
  };
  const safe = BigInt(Number.MAX_SAFE_INTEGER);
  const wrong: [bigint, number][] = [
    [-1n, 2],
    [-(2n ** 63n), 2],
    [5n, -1],
    [5n, -(2 ** 31)],
    [safe, 0],
    [safe - 2n, 2],
    [safe + 1n, 0],
    [2n ** 63n - 1n, 2],
  ];
  for (const [baseOffset, delta] of wrong) {
    throwsCorrupt(() => viewBatch(withOffsets(baseOffset, delta)), /it claims offsets/);
  }
  // The offset behind the last one must still be exact.
  const last = viewOf(withOffsets(safe - 3n, 2));
  assert.equal(last.lastOffset + 1, Number.MAX_SAFE_INTEGER);
});

test("a batch is there only if all of it is", () => {
  const bytes = buildBatch(threeRecords);
  for (let end = 0; end < bytes.length; end++) {
    assert.equal(viewBatch(bytes, 0, end), undefined, `${end} bytes`);
    assert.equal(viewBatch(poisoned(bytes.subarray(0, end))), undefined, `${end} bytes`);
  }
  assert.equal(viewBatch(bytes)?.sizeBytes, bytes.length);
  assert.equal(viewBatch(bytes, bytes.length), undefined);
  assert.ok(headerToMagicBytes < batchHeaderBytes);
});

test("batches follow each other and an incomplete one at the end is passed over", () => {
  const first = buildBatch(threeRecords, { baseOffset: 0 });
  const second = buildBatch(threeRecords, { baseOffset: 3 });
  const both = concat(first, second);
  const source = { topic: "orders", partition: 3 };
  for (let cut = 0; cut < second.length; cut++) {
    const batches = [...batchesIn(poisoned(both.subarray(0, both.length - cut)), source)];
    assert.deepEqual(batches.map(({ lastOffset }) => lastOffset), cut === 0 ? [2, 5] : [2]);
    assert.equal(batches[0]!.topic, "orders");
    assert.equal(batches[0]!.partition, 3);
  }
  assert.deepEqual([...batchesIn(new Uint8Array(0))], []);
});

test("batches in front of something else are given before the error", () => {
  const first = buildBatch(threeRecords);
  for (const change of [[field.batchLength + 3, 9], [field.magic, 37]]) {
    const second = first.slice();
    second.fill(0, field.batchLength, field.batchLength + 4);
    second[change[0]!] = change[1]!;
    const batches = batchesIn(concat(first, second));
    assert.equal(batches.next().value?.lastOffset, 2);
    throwsCorrupt(() => batches.next(), new RegExp(`position ${first.length}`));
  }
});

test("a batch in a buffer from the pool is seen where it lies", () => {
  const bytes = buildBatch(threeRecords, { baseOffset: 9 });
  const pool = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("behind")]);
  assert.notEqual(pool.byteOffset + pool.buffer.byteLength, 0);
  const batch = viewBatch(pool, 6, pool.length);
  assert.equal(batch?.baseOffset, 9);
  assert.ok(hasValidChecksum(batch!));
  assert.equal(recordsOf(batch!).length, 3);
});

test("an unknown codec is an unsupported compression type", () => {
  for (const id of [5, 6, 7]) {
    const batch = viewOf(
      rawBatch({ body: Uint8Array.of(1, 2, 3), recordCount: 1, attributes: id }),
    );
    assert.throws(
      () => compressionOfBatch(batch),
      (error) => isOttlaError(error, "UNSUPPORTED_COMPRESSION_TYPE"),
    );
  }
});

test("bits of the attributes that have no meaning are ignored", () => {
  const body = buildBatch([{ key: "a" }]).subarray(batchHeaderBytes);
  const batch = viewOf(rawBatch({ body, recordCount: 1, attributes: -128 }));
  assert.equal(compressionOfBatch(batch), "none");
  assert.equal(recordsOf(batch)[0]?.timestamp, someTime);
});
