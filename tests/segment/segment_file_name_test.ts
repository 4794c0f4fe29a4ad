/** The names of the files of a segment. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseSegmentFileName, segmentFileName } from "../../src/segment/segment_file_name.ts";
import type { SegmentFileKind } from "../../src/segment/segment_file_name.ts";
import { assertProperty } from "../support/properties.ts";

const kinds: SegmentFileKind[] = ["log", "index", "timeindex", "txnindex", "snapshot"];
const suffixes = ["", "deleted", "cleaned", "swap"] as const;

test("a name has twenty digits", () => {
  assert.equal(segmentFileName(0, "log"), "00000000000000000000.log");
  assert.equal(segmentFileName(42, "timeindex"), "00000000000000000042.timeindex");
  assert.equal(segmentFileName(Number.MAX_SAFE_INTEGER, "index"), "00009007199254740991.index");
});

test("a name that was made is parsed, with every suffix", () => {
  const offset = fc.maxSafeNat();
  assertProperty(
    fc.property(
      offset,
      fc.constantFrom(...kinds),
      fc.constantFrom(...suffixes),
      (baseOffset, kind, suffix) => {
        const name = segmentFileName(baseOffset, kind) + (suffix === "" ? "" : `.${suffix}`);
        assert.deepEqual(parseSegmentFileName(name), { baseOffset, kind, suffix });
      },
    ),
  );
});

test("of several that are about to be removed all but one have a number", () => {
  const wanted = { baseOffset: 7, kind: "log", suffix: "deleted" };
  assert.deepEqual(parseSegmentFileName("00000000000000000007.log.2.deleted"), wanted);
  assert.deepEqual(parseSegmentFileName("00000000000000000007.log.123456.deleted"), wanted);
});

test("the names of other files are not parsed", () => {
  const names = [
    "",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "0.log",
    "0000000000000000000.log",
    "000000000000000000000.log",
    "0000000000000000000x.log",
    "-0000000000000000001.log",
    "00000000000000000000.LOG",
    "00000000000000000000.log.",
    "00000000000000000000.log.tmp",
    "00000000000000000000.log.deleted.swap",
    "00000000000000000000.log.2",
    "00000000000000000000.log.2.swap",
    "00000000000000000000.log.x.deleted",
    "00000000000000000000.log..deleted",
    "00000000000000000000",
    "00000000000000000000.logs",
    "x00000000000000000000.log",
    "00000000000000000000.log\n",
    "٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠.log",
    // Beyond the safe integers.
    "00009007199254740992.log",
    "09223372036854775807.log",
    "99999999999999999999.log",
  ];
  for (const name of names) assert.equal(parseSegmentFileName(name), undefined, name);
});
