/** meta.properties as Kafka and Java write it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isOttlaError } from "../../src/errors.ts";
import {
  checkMetaProperties,
  parseMetaProperties,
  printMetaProperties,
} from "../../src/store/meta_properties.ts";
import { assertProperty } from "../support/properties.ts";

const directoryId = "AAECAwQFBgcICQoLDA0ODw";
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string): ReturnType<typeof parseMetaProperties> =>
  parseMetaProperties(bytesOf(text), "meta.properties");

test("version 1 is printed and read back", () => {
  const bytes = printMetaProperties({
    clusterId: "4L6g3nShT-eMCtK--X86sw",
    nodeId: 1,
    directoryId,
  });
  const text = "cluster.id=4L6g3nShT-eMCtK--X86sw\ndirectory.id=" + directoryId +
    "\nnode.id=1\nversion=1\n";
  assert.deepEqual(bytes, bytesOf(text));
  const found = { version: 1, clusterId: "4L6g3nShT-eMCtK--X86sw", nodeId: 1, directoryId };
  assert.deepEqual(parseMetaProperties(bytes, "meta.properties"), found);
});

test("a file as Kafka writes it is read", () => {
  const text = "#\n#Wed Jan 01 00:00:00 UTC 2025\ncluster.id=abc\nversion=1\nnode.id=17\n";
  assert.deepEqual(parse(text), {
    version: 1,
    clusterId: "abc",
    nodeId: 17,
    directoryId: undefined,
  });
});

test("version 0 has the broker's id and may lack the rest", () => {
  const found = { version: 0, clusterId: undefined, nodeId: 3, directoryId: undefined };
  assert.deepEqual(parse("version=0\nbroker.id=3\n"), found);
  assert.deepEqual(parse("broker.id=3"), found);
  assert.equal(parse("").nodeId, undefined);
});

test("Java's escapes, continued lines and separators are understood", () => {
  const text = "! a comment\r\n  version : 1\r\nnode.id 1\ncluster\\.id=a\\u0041\\=\\\n   b\\\\\n";
  assert.equal(parse(text).clusterId, "aA=b\\");
  assert.equal(parse("version=1\nnode.id=1\ncluster.id = x \n").clusterId, "x ");
  assert.equal(parse("version=1\nnode.id=1\ncluster.id=a\ncluster.id=b").clusterId, "b");
});

test("a newer version is refused by its number", () => {
  assert.throws(
    () => parse("version=2\nnode.id=1\ncluster.id=a"),
    (error) => isOttlaError(error, "UNSUPPORTED_VERSION") && error.message.includes('"2"'),
  );
});

test("what is missing or wrong is refused with STORE_INVALID", () => {
  const good = "version=1\nnode.id=1\ncluster.id=a\n";
  const texts = [
    "version=x",
    "version=1\nnode.id=1",
    "version=1\ncluster.id=a",
    "version=1\ncluster.id=a\nnode.id=-1",
    "version=1\ncluster.id=a\nnode.id=1.5",
    "version=1\ncluster.id=a\nnode.id=2147483648",
    `${good}directory.id=short`,
    `${good}directory.id=AAAAAAAAAAAAAAAAAAAAAQ`,
  ];
  for (const text of texts) {
    assert.throws(() => parse(text), (error) => isOttlaError(error, "STORE_INVALID"), text);
  }
});

test("a directory of another cluster or node is refused", () => {
  const found = parse("version=1\nnode.id=1\ncluster.id=a");
  checkMetaProperties(found, { clusterId: "a", nodeId: 1 }, "m");
  checkMetaProperties(found, {}, "m");
  for (const wanted of [{ clusterId: "b" }, { nodeId: 2 }]) {
    assert.throws(
      () => checkMetaProperties(found, wanted, "m"),
      (error) => isOttlaError(error, "STORE_INVALID"),
    );
  }
});

test("every cluster id reads back as it was written", () => {
  const character = fc.nat(0x10ffff).filter((code) => code < 0xd800 || code > 0xdfff);
  const unit = fc.oneof(
    character.map((code) => String.fromCodePoint(code)),
    fc.constantFrom(..." \t\n\r\f=:#!\\ab"),
  );
  assertProperty(fc.property(fc.string({ unit }), (clusterId) => {
    const bytes = printMetaProperties({ clusterId, nodeId: 1, directoryId });
    assert.equal(parseMetaProperties(bytes, "m").clusterId, clusterId);
  }));
});

test("any bytes give properties or an OttlaError", () => {
  const text = fc.string({ unit: fc.constantFrom(..."version=01\nnode.id\\u# !:\r") });
  assertProperty(fc.property(fc.oneof(text.map(bytesOf), fc.uint8Array()), (bytes) => {
    try {
      assert.equal(typeof parseMetaProperties(bytes, "m").version, "number");
    } catch (error) {
      assert.equal(isOttlaError(error), true);
    }
  }));
});
