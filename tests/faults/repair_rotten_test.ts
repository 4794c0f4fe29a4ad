/**
 * Whatever rots in a store, a repair makes it clean and whole but for what was hit. Here a part of
 * all ways is tried, `npm run fuzz -- rotten` tries all of them.
 */

import process from "node:process";
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { judgeInterrupted, judgeRepair } from "./repair_judge.ts";
import type { Rot } from "./rotten_judge.ts";
import { cuts, flips, lossesAndZeros, swaps } from "./rotten_kinds.ts";
import type { Ending, OriginalStore, StoreImage } from "./rotten_store.ts";
import { originalStore } from "./rotten_store.ts";

/** How many ways are passed over for each that is tried; primes, so that no place is left out. */
const kinds: readonly {
  readonly name: string;
  readonly ways: (image: StoreImage) => Generator<Rot>;
  readonly stride: number;
}[] = [
  { name: "a flipped bit", ways: flips, stride: 97 },
  { name: "a file that is cut", ways: cuts, stride: 113 },
  { name: "a file that is gone or full of zeros", ways: lossesAndZeros, stride: 11 },
  { name: "two files in each other's place", ways: swaps, stride: 83 },
];
const endings: readonly Ending[] = ["closed", "crashed"];
const isWhole = process.env["OTTLA_FUZZ"] === "all";

for (const ending of endings) {
  describe(`a store that was ${ending} is repaired`, () => {
    let original: OriginalStore;
    before(async () => {
      await loadCrc32c();
      original = await originalStore(ending);
    });

    for (const { name, ways, stride } of kinds) {
      it(`with ${name}`, { timeout: 3_600_000 }, async () => {
        let lossCount = 0;
        let tried = 0;
        let index = 0;
        for (const rot of ways(original.image)) {
          if (!isWhole && index++ % stride !== 0) continue;
          tried++;
          if (await describing(rot, () => judgeRepair(original, rot))) lossCount++;
        }
        assert.ok(lossCount < tried, `${lossCount} of ${tried} have lost something`);
      });
    }
  });
}

describe("a repair that was interrupted", () => {
  const wanted = [
    "orders-0/00000000000000000006.log",
    "ledger-0/00000000000000000008.snapshot",
    "__cluster_metadata-0/00000000000000000000.log",
    "meta.properties",
  ];
  for (const path of wanted) {
    it(`at any change is begun again: ${path}`, { timeout: 600_000 }, async () => {
      await loadCrc32c();
      const original = await originalStore("closed");
      const bytes = original.image.get(path)!.slice();
      const startPosition = Math.floor(bytes.length / 2);
      bytes.fill(0xa5, startPosition, startPosition + 4);
      const rot = { path, bytes, startPosition, endPosition: startPosition + 4 };
      let changes = 0;
      const step = isWhole ? 1 : 4;
      while (!(await describing(rot, () => judgeInterrupted(original, rot, changes)))) {
        changes += step;
        assert.ok(changes < 5000, "the repair comes to an end");
      }
      assert.ok(changes > 10, `${changes} changes were made`);
    });
  }
});

async function describing<T>(rot: Rot, judge: () => Promise<T>): Promise<T> {
  try {
    return await judge();
  } catch (cause) {
    const place = `${rot.path} from position ${rot.startPosition} to ${rot.endPosition}`;
    const others = (rot.others ?? []).map(({ path }) => ` and ${path}`).join("");
    throw new Error(`${place}${others}: ${String(cause)}`, { cause });
  }
}
