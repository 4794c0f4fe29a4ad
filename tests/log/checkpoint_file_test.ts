/** Checkpoint files, with the cases of Kafka's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import {
  parseEpochCheckpoint,
  parseOffsetCheckpoint,
  printEpochCheckpoint,
  printOffsetCheckpoint,
  readEpochCheckpoint,
  readOffsetCheckpoint,
  writeEpochCheckpoint,
  writeOffsetCheckpoint,
} from "../../src/log/checkpoint_file.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { assertProperty } from "../support/properties.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const orders = [
  { topic: "orders", partition: 0, offset: 1523 },
  { topic: "orders", partition: 1, offset: 1498 },
];

function assertStorageError(
  text: string,
  parse: typeof parseOffsetCheckpoint | typeof parseEpochCheckpoint,
): void {
  assert.throws(
    () => parse(bytesOf(text), "the-checkpoint"),
    (error) =>
      isOttlaError(error, "KAFKA_STORAGE_ERROR") && error.message.includes("the-checkpoint"),
    JSON.stringify(text),
  );
}

test("an offset checkpoint is Kafka's text", () => {
  const text = "0\n2\norders 0 1523\norders 1 1498\n";
  assert.deepEqual(printOffsetCheckpoint(orders), bytesOf(text));
  assert.deepEqual(parseOffsetCheckpoint(bytesOf(text), "c"), orders);
  assert.deepEqual(parseOffsetCheckpoint(bytesOf(text.replaceAll("\n", "\r\n")), "c"), orders);
  assert.deepEqual(parseOffsetCheckpoint(bytesOf(text.trimEnd()), "c"), orders);
  assert.deepEqual(printOffsetCheckpoint([]), bytesOf("0\n0\n"));
});

test("a checkpoint that is absent, empty or of no entries has none", () => {
  const fs = memoryFileSystem();
  fs.makeFolder("/d");
  assert.deepEqual(readOffsetCheckpoint(fs, "/d/c"), []);
  assert.deepEqual(readEpochCheckpoint(fs, "/d/c"), []);
  fs.close(fs.open("/d/c", "create"));
  assert.deepEqual(readOffsetCheckpoint(fs, "/d/c"), []);
  assert.deepEqual(parseOffsetCheckpoint(bytesOf("0\n0\n"), "c"), []);
  assert.deepEqual(parseEpochCheckpoint(bytesOf("0\n0"), "c"), []);
});

test("writing an offset checkpoint replaces all of it", () => {
  const fs = memoryFileSystem();
  fs.makeFolder("/d");
  writeOffsetCheckpoint(fs, "/d/c", orders);
  assert.deepEqual(readOffsetCheckpoint(fs, "/d/c"), orders);
  writeOffsetCheckpoint(fs, "/d/c", [{ topic: "a", partition: 7, offset: 0 }]);
  assert.deepEqual(readOffsetCheckpoint(fs, "/d/c"), [{ topic: "a", partition: 7, offset: 0 }]);
  assert.deepEqual(fs.list("/d").map((entry) => entry.name), ["c"]);
});

test("a leader epoch checkpoint is written, read and replaced", () => {
  const fs = memoryFileSystem();
  fs.makeFolder("/d");
  const entries = [[0, 1], [1, 2], [2, 3]].map(([epoch = 0, startOffset = 0]) => ({
    epoch,
    startOffset,
  }));
  writeEpochCheckpoint(fs, "/d/c", entries);
  assert.deepEqual(readEpochCheckpoint(fs, "/d/c"), entries);
  assert.deepEqual(printEpochCheckpoint(entries), bytesOf("0\n3\n0 1\n1 2\n2 3\n"));
  writeEpochCheckpoint(fs, "/d/c", [{ epoch: 9, startOffset: 8 }]);
  assert.deepEqual(readEpochCheckpoint(fs, "/d/c"), [{ epoch: 9, startOffset: 8 }]);
});

test("a malformed offset checkpoint is refused with its name", () => {
  const texts = [
    "1\n0\n",
    "0",
    "\n",
    "0\n\n",
    "0\n1\n",
    "0\n2\na 0 1\n",
    "0\n1\na 0 1\na 1 1\n",
    "x\n0\n",
  ];
  const lines = [
    "a 0",
    "a 0 1 2",
    "a -1 1",
    "a 0 -1",
    "a 0 1.5",
    "a 0 0x1",
    "a b 1",
    "",
    "a 0 9007199254740993",
  ];
  for (const text of [...texts, ...lines.map((line) => `0\n1\n${line}\n`)]) {
    assertStorageError(text, parseOffsetCheckpoint);
  }
  assertStorageError("0\n2\na 0 1\na 0 2\n", parseOffsetCheckpoint);
});

test("a leader epoch checkpoint must increase in both numbers", () => {
  for (const lines of ["1 5\n1 6", "1 5\n2 5", "2 5\n1 6", "1 5\n2 4", "-1 5\n2 6", "1\n2"]) {
    assertStorageError(`0\n2\n${lines}\n`, parseEpochCheckpoint);
  }
});

test("every offset checkpoint reads back as it was written", () => {
  const entry = fc.record({
    topic: fc.stringMatching(/^[a-zA-Z0-9._-]{1,30}$/),
    partition: fc.nat(),
    offset: fc.maxSafeNat(),
  });
  const entries = fc.uniqueArray(entry, { selector: (one) => `${one.topic}-${one.partition}` });
  assertProperty(fc.property(entries, (list) => {
    const read = parseOffsetCheckpoint(printOffsetCheckpoint(list), "c");
    assert.deepEqual(read, list.map((one) => ({ ...one })));
  }));
});

test("any bytes give entries or a storage error", () => {
  const text = fc.string({ unit: fc.constantFrom("0", "1", "\n", " ", "a", "\r", "-") });
  assertProperty(fc.property(fc.oneof(text.map(bytesOf), fc.uint8Array()), (bytes) => {
    for (const parse of [parseOffsetCheckpoint, parseEpochCheckpoint]) {
      try {
        assert.equal(Array.isArray(parse(bytes, "c")), true);
      } catch (error) {
        assert.equal(isOttlaError(error, "KAFKA_STORAGE_ERROR"), true);
      }
    }
  }));
});
