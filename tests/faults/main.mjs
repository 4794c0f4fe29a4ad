// @ts-check
/**
 * The tests of real faults, longer than `npm test` runs them:
 *
 *     npm run test:kill -- --rounds 200                kills a program that many times
 *     npm run test:powercut -- --rounds 50             takes that many snapshots of a disk
 *     npm run test:kill -- --runtime bun --seed 17     on one runtime, from another seed on
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** What each of them is run as: the tests, the prefix of their settings, how often unless told. */
const kinds = {
  kill: { filter: "faults/kill_", prefix: "OTTLA_KILL", rounds: "200" },
  powercut: { filter: "faults/power_cut_real", prefix: "OTTLA_POWER_CUT", rounds: "50" },
};

/** A file of tests that takes longer hangs. */
const testMsMax = 19 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    seed: { type: "string", default: "1" },
    runtime: { type: "string", multiple: true, default: [] },
  },
});
const kind = kinds[/** @type {keyof typeof kinds} */ (positionals[0])];
if (kind === undefined) throw new RangeError(`one of ${Object.keys(kinds)} must be named`);
const runner = fileURLToPath(new URL("../runner/main.mjs", import.meta.url));
const runtimes = values.runtime.flatMap((name) => ["--runtime", name]);
const { status } = spawnSync(process.execPath, [runner, "--filter", kind.filter, ...runtimes], {
  stdio: "inherit",
  env: {
    ...process.env,
    OTTLA_TEST_MS_MAX: String(testMsMax),
    [`${kind.prefix}_ROUNDS`]: values.rounds ?? kind.rounds,
    [`${kind.prefix}_SEED`]: values.seed,
  },
});
process.exitCode = status ?? 1;
