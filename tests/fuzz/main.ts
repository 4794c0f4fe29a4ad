/**
 * The command `npm run fuzz`: throws bytes at every decoder, or cases at every property of the tests,
 * for as long as it is told.
 *
 *     npm run fuzz -- --minutes 10                  all decoders by turns, for ten minutes
 *     npm run fuzz -- --decoder "metadata records"  one of them
 *     npm run fuzz -- --seed 17 --inputs 100000     from a seed on, so many inputs a turn
 *     npm run fuzz -- properties --minutes 30       in place of that: the tests that try cases, with
 *                                                   ten times as many and other ones each turn
 *     npm run fuzz -- rotten --runtime deno         every way in which a small store can rot, opened
 *                                                   and repaired
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
      runtime: { type: "string", multiple: true, default: ["node24"] },
      filter: { type: "string", default: "" },
    },
  });
  const seed = Number(values.seed ?? Date.now());
  const minutes = Number(values.minutes);
  const inputs = Number(values.inputs);
  if (!(minutes > 0 && inputs > 0 && Number.isSafeInteger(seed))) {
    console.error("--minutes and --inputs take a number above 0, --seed a whole number");
    return 1;
  }
  const endMs = Date.now() + minutes * 60_000;
  if (positionals[0] === "rotten") return rotten(values.runtime);
  if (positionals[0] === "properties") {
    return properties(seed % 2 ** 31, endMs, values.runtime, values.filter);
  }
  await loadCrc32c();
  for (const codec of codecs) await loadCodec(codec);
  const decoders = (await allDecoders()).filter(({ name }) => name.includes(values.decoder));
  let thrown = 0;
  const answers = new Map<string, number>();
  for (let turn = seed; decoders.length > 0 && Date.now() < endMs; turn++) {
    for (const decoder of decoders) {
      if (Date.now() >= endMs) break;
      try {
        const { answerCount } = fuzzDecoder(decoder, turn, (count) => count < inputs);
        answers.set(decoder.name, Math.max(answers.get(decoder.name) ?? 0, answerCount));
      } catch (error) {
        console.error(`npm run fuzz -- --seed ${turn} --decoder "${decoder.name}" finds: ${error}`);
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
  return runTests(runtimes, ["--filter", "rotten_"], { OTTLA_FUZZ: "all" });
}

/** The tests that try cases, with other cases each turn. */
function properties(
  seed: number,
  endMs: number,
  runtimes: readonly string[],
  filter: string,
): number {
  for (let turn = seed; Date.now() < endMs; turn++) {
    console.log(`Seed ${turn}`);
    const variables = { OTTLA_PROPERTY_SEED: `${turn}`, OTTLA_PROPERTY_ROUNDS: "10" };
    const chosen = ["--filter", filter, "--containing", "assertProperty"];
    const status = runTests(runtimes, chosen, variables);
    if (status !== 0) {
      const options = [...runtimes.map((name) => `--runtime ${name}`), `--filter "${filter}"`];
      console.error(
        `npm run fuzz -- properties --seed ${turn} ${options.join(" ")} tries it again`,
      );
      return status;
    }
  }
  return 0;
}

function runTests(
  runtimes: readonly string[],
  chosen: readonly string[],
  variables: Readonly<Record<string, string>>,
): number {
  const runtimeOptions = runtimes.flatMap((name) => ["--runtime", name]);
  const { status } = spawnSync(
    process.execPath,
    ["tests/runner/main.mjs", ...chosen, ...runtimeOptions],
    { stdio: "inherit", env: { ...process.env, ...variables, OTTLA_TEST_MS_MAX: "7200000" } },
  );
  return status ?? 1;
}
