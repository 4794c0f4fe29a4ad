/**
 * The command `npm run fuzz`: throws bytes at every decoder for as long as it is told.
 *
 *     npm run fuzz -- --minutes 10                  all decoders by turns, for ten minutes
 *     npm run fuzz -- --decoder "metadata records"  one of them
 *     npm run fuzz -- --seed 17 --inputs 100000     from a seed on, so many inputs a turn
 *     npm run fuzz -- rotten --runtime deno         in place of that: every way in which a small
 *                                                   store can rot, opened and repaired
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { parseArgs } from "node:util";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { codecs } from "../support/arbitraries.ts";
import { allDecoders } from "./decoders.ts";
import { fuzzDecoder } from "./fuzzing.ts";

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      minutes: { type: "string", default: "1" },
      seed: { type: "string" },
      inputs: { type: "string", default: "20000" },
      decoder: { type: "string", default: "" },
      runtime: { type: "string", multiple: true, default: [] },
    },
  });
  if (positionals[0] === "rotten") return rotten(values.runtime);
  await loadCrc32c();
  for (const codec of codecs) await loadCodec(codec);
  const decoders = (await allDecoders()).filter(({ name }) => name.includes(values.decoder));
  const inputs = Number(values.inputs);
  let seed = Number(values.seed ?? Date.now());
  const endMs = Date.now() + Number(values.minutes) * 60_000;
  let thrown = 0;
  const answers = new Map<string, number>();
  for (; decoders.length > 0 && Date.now() < endMs; seed++) {
    for (const decoder of decoders) {
      if (Date.now() >= endMs) break;
      try {
        const { answerCount } = fuzzDecoder(decoder, seed, (count) => count < inputs);
        answers.set(decoder.name, Math.max(answers.get(decoder.name) ?? 0, answerCount));
      } catch (error) {
        console.error(`npm run fuzz -- --seed ${seed} --decoder "${decoder.name}" finds: ${error}`);
        return 1;
      }
      thrown += inputs;
    }
  }
  for (const [name, count] of answers) console.log(`${name}: ${count} different answers`);
  console.log(`${thrown} inputs, nothing found`);
  return decoders.length > 0 ? 0 : 1;
}

/** The tests of rotten bytes with nothing left out. */
function rotten(runtimes: readonly string[]): number {
  const { status } = spawnSync(
    process.execPath,
    [
      "tests/runner/main.mjs",
      "--filter",
      "rotten_",
      ...(runtimes.length > 0 ? runtimes : ["node24"]).flatMap((name) => ["--runtime", name]),
    ],
    { stdio: "inherit", env: { ...process.env, OTTLA_FUZZ: "all", OTTLA_TEST_MS_MAX: "7200000" } },
  );
  return status ?? 1;
}
