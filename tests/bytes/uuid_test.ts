/** The text of UUIDs. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { bytesOfUuid, findUuid, hexOfUuid, uuidOfBytes, zeroUuid } from "../../src/bytes/uuid.ts";
import { assertProperty } from "../support/properties.ts";

const counted = Uint8Array.from({ length: 16 }, (_, index) => index);

test("sixteen bytes are 22 characters of base64url", () => {
  assert.equal(uuidOfBytes(counted), "AAECAwQFBgcICQoLDA0ODw");
  assert.deepEqual(bytesOfUuid("AAECAwQFBgcICQoLDA0ODw"), counted);
  assert.equal(hexOfUuid("AAECAwQFBgcICQoLDA0ODw"), "000102030405060708090a0b0c0d0e0f");
  assert.equal(uuidOfBytes(new Uint8Array(16)), zeroUuid);
  assert.equal(uuidOfBytes(new Uint8Array(16).fill(0xff)), "_____________________w");
});

test("bytes inside of a larger buffer are read from their own place", () => {
  const larger = new Uint8Array(40);
  larger.set(counted, 7);
  assert.equal(uuidOfBytes(larger.subarray(7, 23)), "AAECAwQFBgcICQoLDA0ODw");
});

test("padding is tolerated and unused bits are dropped", () => {
  assert.equal(findUuid("AAECAwQFBgcICQoLDA0ODw=="), "AAECAwQFBgcICQoLDA0ODw");
  assert.equal(findUuid("AAECAwQFBgcICQoLDA0OD_"), "AAECAwQFBgcICQoLDA0ODw");
});

test("what is not a UUID is refused", () => {
  const wrong = ["", "AAECAwQFBgcICQoLDA0OD", "AAECAwQFBgcICQoLDA0ODwA", "AAECAwQFBgcICQoLDA0O+/"];
  for (const text of [...wrong, "AAECAwQFBgcICQoLDA0ODw===", "AAECAwQFBgcICQoLDA0ODw\n"]) {
    assert.equal(findUuid(text), undefined, text);
    assert.throws(() => bytesOfUuid(text), RangeError);
  }
  assert.throws(() => uuidOfBytes(new Uint8Array(15)), RangeError);
});

test("text and bytes agree both ways", () => {
  assertProperty(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
    const uuid = uuidOfBytes(bytes);
    assert.equal(uuid.length, 22);
    assert.equal(findUuid(uuid), uuid);
    assert.deepEqual(bytesOfUuid(uuid), new Uint8Array(bytes));
  }));
});
