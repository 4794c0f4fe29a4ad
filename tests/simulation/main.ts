/**
 * The command `npm run sim`: runs seeds and tells which of them fail.
 *
 *     npm run sim -- --seeds 1000               the seeds from 0 to 999
 *     npm run sim -- --from 5000 --minutes 10   the seeds from 5000 on, for ten minutes
 *     npm run sim -- --seed 17 --trace          one seed, with all that it did
 *     npm run sim -- --seed 17 --steps 20 --without consumers --without kills
 *                                               less of it, to find out what matters
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { simulate, stepsMaxDefault } from "./simulation.ts";
import type { Feature } from "./world.ts";
import { features } from "./world.ts";

const seedsDefault = 100;

// A store on a disk that fails says so; that is what is simulated.
process.removeAllListeners("warning");
process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      from: { type: "string", default: "0" },
      seeds: { type: "string" },
      minutes: { type: "string" },
      steps: { type: "string", default: String(stepsMaxDefault) },
      without: { type: "string", multiple: true, default: [] },
      failures: { type: "string", default: "1" },
      trace: { type: "boolean", default: false },
    },
  });
  const unknown = values.without.filter((name) => !features.includes(name as Feature));
  if (unknown.length > 0) {
    console.error(`--without takes ${features.join(", ")}; found ${unknown.join(", ")}`);
    return 1;
  }
  const from = Number(values.seed ?? values.from);
  const isTimed = values.minutes !== undefined;
  const count = values.seed !== undefined
    ? 1
    : Number(values.seeds ?? (isTimed ? Infinity : seedsDefault));
  const endMs = Date.now() + Number(values.minutes ?? Infinity) * 60_000;
  const stepsMax = Number(values.steps);
  let failed = 0;
  let seed = from;
  // What nobody handles is a failure too, of the seed that runs now.
  process.on("unhandledRejection", (error) => {
    const command = `npm run sim -- --seed ${seed} --trace`;
    console.error(`seed ${seed} has a rejection that nobody handles: ${error}\n${command}`);
    process.exit(1);
  });
  for (; seed < from + count && Date.now() < endMs && failed < Number(values.failures); seed++) {
    const result = await simulate({
      seed,
      without: values.without as Feature[],
      tracesDisk: values.trace,
      ...(stepsMax === stepsMaxDefault ? {} : { stepsMax }),
    });
    if (values.trace) console.log(result.trace.join("\n"));
    if (result.failure === undefined) continue;
    failed++;
    console.error(result.failure);
  }
  console.log(`${seed - from} seeds from ${from} on: ${failed} failed`);
  return failed === 0 ? 0 : 1;
}
