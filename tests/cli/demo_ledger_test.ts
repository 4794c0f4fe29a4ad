/** The accounts of records that the demo compares. */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import {
  enterRecord,
  findKeyDifference,
  findTotalDifference,
  ledger,
  mergedLedger,
} from "../../src/cli/demo_ledger.ts";
import type { Ledger } from "../../src/cli/demo_ledger.ts";
import { assertProperty } from "../support/properties.ts";

type Entry = readonly [key: string | null, value: string, timestamp: number];

const utf8 = new TextEncoder();
const entries = fc.array(
  fc.tuple(
    fc.option(fc.constantFrom("a", "b", "c")),
    fc.string(),
    fc.nat({ max: 2 ** 31 - 1 }),
  ),
  { maxLength: 30 },
);

describe("ledger", () => {
  before(loadCrc32c);

  it("is the same however the keys are spread over partitions", () => {
    assertProperty(fc.property(entries, (records) => {
      const wanted = accountOf(records);
      const spread = ["a", "b", "c", null].map((wantedKey) =>
        accountOf(records.filter(([key]) => key === wantedKey), wanted)
      );
      const merged = mergedLedger(spread.reverse());
      assert.equal(findTotalDifference(wanted, merged), undefined);
      assert.equal(findKeyDifference(wanted, merged), undefined);
    }));
  });

  it("tells two records of a key that changed places", () => {
    const records: Entry[] = [["a", "1", 5], ["b", "2", 5], ["a", "3", 5]];
    const wanted = accountOf(records);
    const swapped = accountOf([...records].reverse(), wanted);
    assert.equal(findTotalDifference(wanted, swapped), undefined);
    assert.match(findKeyDifference(wanted, swapped)!, /key "a" came in another order/);
  });

  it("tells a record that is missing, twice, or another", () => {
    const records: Entry[] = [["a", "1", 5], ["a", "2", 6], [null, "3", 7]];
    const wanted = accountOf(records);
    const missing = accountOf(records.slice(1), wanted);
    assert.equal(
      findTotalDifference(wanted, missing),
      "expected 3 records, found 2",
    );
    assert.match(findKeyDifference(wanted, missing)!, /2 records of key "a"/);
    const twice = accountOf([records[0]!, records[0]!, records[2]!], wanted);
    assert.match(findTotalDifference(wanted, twice)!, /checksum/);
    for (const other of [["b", "1", 5], ["a", "x", 5], ["a", "1", 4]] as const) {
      const changed = accountOf([other, ...records.slice(1)], wanted);
      assert.match(findTotalDifference(wanted, changed)!, /checksum/);
    }
  });
});

function accountOf(records: readonly Entry[], original?: Ledger): Ledger {
  const account = ledger(original);
  for (const [key, value, timestamp] of records) {
    enterRecord(account, key, utf8.encode(value), timestamp);
  }
  return account;
}
