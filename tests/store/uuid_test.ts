/** Random ids, and those that Kafka keeps for itself. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { bytesOfUuid, uuidOfBytes } from "../../src/bytes/uuid.ts";
import {
  isReservedDirectoryId,
  isReservedTopicId,
  metadataTopicId,
  randomUuid,
} from "../../src/store/uuid.ts";

test("a random id is a UUID of version 4", () => {
  const bytes = bytesOfUuid(randomUuid(() => new Uint8Array(16)));
  assert.equal(bytes[6], 0x40);
  assert.equal(bytes[8], 0x80);
  const drawn = bytesOfUuid(randomUuid());
  assert.equal((drawn[6] ?? 0) >> 4, 4);
  assert.equal((drawn[8] ?? 0) >> 6, 2);
});

test("an id whose text starts with a dash is drawn again", () => {
  // The first six bits 111110 are the dash.
  const draws = [new Uint8Array(16).fill(0xf8), new Uint8Array(16).fill(0x11)];
  let count = 0;
  const uuid = randomUuid(() => draws[count++] ?? new Uint8Array(16));
  assert.equal(count, 2);
  assert.equal(bytesOfUuid(uuid)[0], 0x11);
});

test("drawing ends when nothing but refused ids comes", () => {
  assert.throws(() => randomUuid(() => new Uint8Array(16).fill(0xf8)), RangeError);
});

test("the ids that Kafka keeps for itself are known", () => {
  assert.equal(isReservedTopicId("AAAAAAAAAAAAAAAAAAAAAA"), true);
  assert.equal(isReservedTopicId(metadataTopicId), true);
  assert.equal(isReservedTopicId("AAECAwQFBgcICQoLDA0ODw"), false);
  const directoryId = (upper: number, lower: bigint): string => {
    const bytes = new Uint8Array(16);
    bytes[7] = upper;
    new DataView(bytes.buffer).setBigInt64(8, lower);
    return uuidOfBytes(bytes);
  };
  for (const lower of [0n, 1n, 2n, 99n, -1n]) {
    assert.equal(isReservedDirectoryId(directoryId(0, lower)), true, String(lower));
    assert.equal(isReservedDirectoryId(directoryId(1, lower)), false, String(lower));
  }
  assert.equal(isReservedDirectoryId(directoryId(0, 100n)), false);
});
