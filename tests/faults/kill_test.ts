/**
 * `kill -9`: a program that appends, commits and changes topics is killed at a random moment, and
 * what was acknowledged to it is there, in order and once.
 *
 * `npm run test:kill -- --rounds 200` kills more often.
 */

import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { closeStore, openStore } from "../../mod.ts";
import type { SeededRandom } from "../../src/testing/mod.ts";
import { abandonStore, seededRandom } from "../../src/testing/mod.ts";
import { startChildProgram } from "../support/child_program.ts";
import { withFolder } from "../support/store_fixture.ts";
import type { Acknowledged } from "./kill_check.ts";
import { checkAcknowledged, noteAcknowledged, nothingAcknowledged } from "./kill_check.ts";
import type { Acknowledgement } from "./kill_plan.ts";
import { killStoreOptions } from "./kill_plan.ts";

const roundCount = Number(process.env["OTTLA_KILL_ROUNDS"] ?? 10);
const firstSeed = Number(process.env["OTTLA_KILL_SEED"] ?? 1);
/** So many rounds go on in the same folder. */
const roundsAFolder = 20;
/** A life ends after as many acknowledgements at most. */
const acknowledgementsMax = 600;

/** Lets a program live for a random while, and kills it. */
async function liveAndDie(
  folder: string,
  seed: number,
  random: SeededRandom,
  known: Acknowledged,
): Promise<void> {
  // Half of them early, where folders and topics are made and recovered.
  const killAfter = random.below(random.chance(0.5) ? 40 : acknowledgementsMax);
  const child = startChildProgram(import.meta.url, "kill_child", [folder, String(seed)]);
  let count = 0;
  let killed: Promise<void> | undefined;
  try {
    for await (const line of child.lines) {
      // The last line may have been cut off by the kill.
      if (!line.endsWith("]")) continue;
      const acknowledgement = JSON.parse(line) as Acknowledgement;
      if (acknowledgement[0] !== "open") noteAcknowledged(known, acknowledgement);
      if (count++ === killAfter) killed = child.kill();
    }
  } finally {
    await (killed ?? child.kill());
  }
  assert.ok(count > killAfter, `it lived until it was killed: ${count} of ${killAfter}`);
}

describe("a process that is killed", () => {
  for (let first = 0; first < roundCount; first += roundsAFolder) {
    const count = Math.min(roundsAFolder, roundCount - first);
    it(`loses nothing that was acknowledged (rounds ${first + 1} to ${first + count})`, async () => {
      await withFolder(async (folder) => {
        const known = nothingAcknowledged();
        for (let seed = firstSeed + first; seed < firstSeed + first + count; seed++) {
          const random = seededRandom(seed).fork("test");
          await liveAndDie(folder, seed, random, known);
          const store = await openStore(folder, killStoreOptions);
          try {
            assert.equal(store.recovery.wasClean, false);
            assert.deepEqual(store.recovery.failedPartitions, []);
            await checkAcknowledged(store, known);
          } catch (cause) {
            throw new Error(`round with seed ${seed} failed`, { cause });
          } finally {
            // The next one finds a folder that was closed, or one that was not.
            if (random.chance(0.5)) await closeStore(store);
            else abandonStore(store);
          }
        }
        assert.ok(known.count > 0);
      });
    });
  }
});
