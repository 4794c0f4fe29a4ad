/**
 * Compares two ways of doing the same work, side by side in one run, with tinybench.
 *
 * On a virtual machine the first use of a memory page that was given back can cost ten times its
 * later uses, so the same write comes out at 0.5 or at 5 GB/s by chance. So before every
 * measurement a child process touches memory and gives it back, the sides take turns, and the
 * medians of the rounds are compared.
 */

import { spawnSync } from "node:child_process";
import { Bench } from "tinybench";

/** One way of doing the work. */
export interface Side {
  readonly name: string;
  /** Before each measurement. */
  readonly before?: () => void | Promise<void>;
  /** The work; what it returns goes into the checksum. */
  readonly run: () => number | Promise<number>;
  /** After each measurement. */
  readonly after?: () => void | Promise<void>;
}

/** What to compare. */
export interface Comparison {
  readonly title: string;
  /** What is counted, for example "records". */
  readonly unit: string;
  /** How many of them one `run` does, a number for each side or one for both. */
  readonly unitsPerRun: number | readonly [number, number];
  /** How often `run` is called in one measurement. */
  readonly runs: number;
  readonly baseline: Side;
  readonly ottla: Side;
  /** What the ratio of the rates, ottla to baseline, must be at least. */
  readonly ratioMin: number;
}

/** What came out. */
export interface Outcome {
  readonly title: string;
  readonly unit: string;
  /** Medians, in units a second. */
  readonly baselineRate: number;
  readonly ottlaRate: number;
  readonly ratio: number;
  readonly ratioMin: number;
  readonly checksum: number;
}

/** How large and how often. */
export interface BenchScale {
  readonly isSmoke: boolean;
  readonly rounds: number;
  /** How much memory is touched before each measurement. */
  readonly touchBytes: number;
}

/** For tests: that it runs and does its work. */
export const smokeScale: BenchScale = { isSmoke: true, rounds: 1, touchBytes: 0 };
/** For numbers. */
export const fullScale: BenchScale = { isSmoke: false, rounds: 7, touchBytes: 1536 * 1024 * 1024 };

/**
 * Measures both sides in turn.
 *
 * @param comparison What to compare.
 * @param scale How often.
 * @returns The medians.
 */
export async function compare(comparison: Comparison, scale: BenchScale): Promise<Outcome> {
  const { baseline, ottla, unitsPerRun } = comparison;
  const [baselineUnits, ottlaUnits] = typeof unitsPerRun === "number"
    ? [unitsPerRun, unitsPerRun]
    : unitsPerRun;
  const rates: [number[], number[]] = [[], []];
  let checksum = 0;
  // The first round warms up what compiles code as it runs.
  for (let round = -1; round < scale.rounds; round++) {
    const first = await measure(baseline, comparison.runs, scale);
    const second = await measure(ottla, comparison.runs, scale);
    checksum = (checksum * 31 + first.checksum + second.checksum) >>> 0;
    if (round < 0 && !scale.isSmoke) continue;
    rates[0].push(first.runsPerSecond * baselineUnits);
    rates[1].push(second.runsPerSecond * ottlaUnits);
  }
  const baselineRate = median(rates[0]);
  const ottlaRate = median(rates[1]);
  const { title, unit, ratioMin } = comparison;
  const ratio = ottlaRate / baselineRate;
  return { title, unit, baselineRate, ottlaRate, ratio, ratioMin, checksum };
}

/** The middle of some numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/**
 * Touches memory in a child process and gives it back with its end.
 *
 * @param sizeBytes How much.
 */
export function touchMemory(sizeBytes: number): void {
  if (sizeBytes === 0) return;
  const chunkBytes = 64 * 1024 * 1024;
  const program = `const kept = []; for (let n = 0; n < ${sizeBytes / chunkBytes}; n++) ` +
    `kept.push(Buffer.alloc(${chunkBytes}, 1));`;
  spawnSync(process.execPath, ["-e", program]);
}

async function measure(
  side: Side,
  runs: number,
  scale: BenchScale,
): Promise<{ runsPerSecond: number; checksum: number }> {
  touchMemory(scale.touchBytes);
  await side.before?.();
  let checksum = 0;
  const bench = new Bench({ iterations: runs, time: 0, warmup: false, throws: true });
  bench.add(side.name, async () => {
    const result = side.run();
    checksum = (checksum + (typeof result === "number" ? result : await result)) >>> 0;
  });
  await bench.run();
  await side.after?.();
  const result = bench.tasks[0]?.result;
  if (result === undefined || !("totalTime" in result)) {
    throw new Error(`${side.name} has not been measured`);
  }
  const counted = result.latency.samplesCount;
  return { runsPerSecond: counted / (result.totalTime / 1000), checksum };
}
