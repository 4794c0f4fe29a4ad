/**
 * Compares two ways of doing the same work, side by side in one run, with tinybench.
 *
 * On a virtual machine the first use of a memory page that was given back can cost ten times its
 * later uses, so the same write comes out at 0.5 or at 5 GB/s by chance. So before every
 * measurement a child process touches memory and gives it back, the sides take turns, and the
 * median of the rounds counts.
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
  /**
   * Into how many turns a measurement is divided, the sides taking turns; one unless given. The
   * latency of a disk drifts by half within seconds: what waits for it needs short turns.
   */
  readonly turns?: number;
  readonly baseline: Side;
  readonly ottla: Side;
  /** What the ratio of the rates, ottla to baseline, must be at least. */
  readonly ratioMin: number;
}

/** What came out. */
export interface Outcome {
  readonly title: string;
  readonly unit: string;
  /** Medians of the rounds, in units a second. */
  readonly baselineRate: number;
  readonly ottlaRate: number;
  /** The median of the rounds' ratios: what drifts from round to round drifts for both sides. */
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
  const { unitsPerRun } = comparison;
  const [baselineUnits, ottlaUnits] = typeof unitsPerRun === "number"
    ? [unitsPerRun, unitsPerRun]
    : unitsPerRun;
  const rates: [number[], number[]] = [[], []];
  const ratios: number[] = [];
  let checksum = 0;
  // The first round warms up what compiles code as it runs.
  for (let round = -1; round < scale.rounds; round++) {
    const [first, second] = await measureRound(comparison, scale);
    checksum = (checksum * 31 + first.checksum + second.checksum) >>> 0;
    if (round < 0 && !scale.isSmoke) continue;
    const baselineRate = baselineUnits * first.runs / (first.tookMs / 1000);
    const ottlaRate = ottlaUnits * second.runs / (second.tookMs / 1000);
    rates[0].push(baselineRate);
    rates[1].push(ottlaRate);
    ratios.push(ottlaRate / baselineRate);
  }
  const { title, unit, ratioMin } = comparison;
  return {
    title,
    unit,
    baselineRate: median(rates[0]),
    ottlaRate: median(rates[1]),
    ratio: median(ratios),
    ratioMin,
    checksum,
  };
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

/** What one side did in one round. */
interface Measurement {
  runs: number;
  tookMs: number;
  checksum: number;
}

async function measureRound(
  { baseline, ottla, runs, turns = 1 }: Comparison,
  scale: BenchScale,
): Promise<[Measurement, Measurement]> {
  const measurements: [Measurement, Measurement] = [
    { runs: 0, tookMs: 0, checksum: 0 },
    { runs: 0, tookMs: 0, checksum: 0 },
  ];
  const sides = [baseline, ottla] as const;
  if (turns === 1) {
    for (const [index, side] of sides.entries()) {
      touchMemory(scale.touchBytes);
      await side.before?.();
      await measure(side, runs, measurements[index]!);
      await side.after?.();
    }
    return measurements;
  }
  touchMemory(scale.touchBytes);
  for (const side of sides) await side.before?.();
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, side] of sides.entries()) {
      await measure(side, Math.ceil(runs / turns), measurements[index]!);
    }
  }
  for (const side of sides) await side.after?.();
  return measurements;
}

/** Runs a side and adds to its measurement. */
async function measure(side: Side, runs: number, measurement: Measurement): Promise<void> {
  const bench = new Bench({ iterations: runs, time: 0, warmup: false, throws: true });
  bench.add(side.name, async () => {
    const result = side.run();
    const count = typeof result === "number" ? result : await result;
    measurement.checksum = (measurement.checksum + count) >>> 0;
  });
  await bench.run();
  const result = bench.tasks[0]?.result;
  if (result === undefined || !("totalTime" in result)) {
    throw new Error(`${side.name} has not been measured`);
  }
  measurement.runs += result.latency.samplesCount;
  measurement.tookMs += result.totalTime;
}
