/**
 * Rotten bytes: whatever happens to the bytes of one file of a small store, what `rotten_judge.ts`
 * says is true. Here a part of all ways is tried, `npm run fuzz -- rotten` tries all of them.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { before, describe, it } from "node:test";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import type { Rot } from "./rotten_judge.ts";
import { judgeRot } from "./rotten_judge.ts";
import { cuts, flips, lossesAndZeros, swaps } from "./rotten_kinds.ts";
import type { Ending, OriginalStore, StoreImage } from "./rotten_store.ts";
import { originalStore } from "./rotten_store.ts";

/** How many ways are passed over for each that is tried; primes, so that no place is left out. */
const kinds: readonly {
  readonly name: string;
  readonly ways: (image: StoreImage) => Generator<Rot>;
  readonly stride: number;
}[] = [
  { name: "a flipped bit", ways: flips, stride: 23 },
  { name: "a file that is cut", ways: cuts, stride: 31 },
  { name: "a file that is gone or full of zeros", ways: lossesAndZeros, stride: 5 },
  { name: "two files in each other's place", ways: swaps, stride: 19 },
];
const endings: readonly Ending[] = ["closed", "crashed"];
const isWhole = process.env["OTTLA_FUZZ"] === "all";

for (const ending of endings) {
  describe(`a store that was ${ending}`, () => {
    let original: OriginalStore;
    before(async () => {
      await loadCrc32c();
      original = await originalStore(ending);
    });

    it("has every kind of file, and is read as it was written", async () => {
      const names = [...original.image.keys()].map((path) => path.split("/").at(-1)!);
      for (const name of fileNames[ending]) {
        assert.ok(names.some((one) => name.test(one)), String(name));
      }
      const nothing = { path: "none", bytes: undefined, startPosition: 0, endPosition: 0 };
      assert.equal(await judgeRot(original, nothing), true);
    });

    for (const { name, ways, stride } of kinds) {
      it(`with ${name}`, { timeout: 3_600_000 }, async () => {
        let tried = 0;
        let opened = 0;
        let index = 0;
        for (const rot of ways(original.image)) {
          if (!isWhole && index++ % stride !== 0) continue;
          tried++;
          if (await judgeDescribed(original, rot)) opened++;
        }
        // Most damage leaves a store that can be opened, and some leaves none.
        assert.ok(opened > tried / 2 && opened < tried, `${opened} of ${tried} were opened`);
      });
    }
  });
}

const common = [
  /^\d{20}\.log$/,
  /\.index$/,
  /\.timeindex$/,
  /\.txnindex$/,
  /\.snapshot$/,
  /^leader-epoch-checkpoint$/,
  /^partition\.metadata$/,
  /^quorum-state$/,
  /^recovery-point-offset-checkpoint$/,
  /^log-start-offset-checkpoint$/,
  /^cleaner-offset-checkpoint$/,
  /^ottla\.partitioners$/,
];
const fileNames: Readonly<Record<Ending, readonly RegExp[]>> = {
  closed: [...common, /^meta\.properties$/, /^ottla\.cleanshutdown$/, /^ottla\.lock\.\d+$/],
  crashed: [...common, /^ottla\.meta\.properties$/],
};

async function judgeDescribed(original: OriginalStore, rot: Rot): Promise<boolean> {
  try {
    return await judgeRot(original, rot);
  } catch (cause) {
    const { path, startPosition, endPosition, others = [] } = rot;
    const place = `${path} from position ${startPosition} to ${endPosition}`;
    const more = others.map((other) => ` and ${other.path}`).join("");
    throw new Error(`${place}${more}: ${String(cause)}`, { cause });
  }
}
