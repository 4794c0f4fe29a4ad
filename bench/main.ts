/**
 * Runs the benchmarks: all of them, or those whose names contain an argument. `--smoke` runs them
 * small, to see that they work.
 *
 * Prints a table: the rates of both sides, their ratio, what the ratio must be at least, and a
 * checksum of the work. Exits with 1 if a full run misses one.
 */

import { benchAppend, benchAppendAtOnce, benchAppendBatch } from "./append.ts";
import { benchCompaction, benchCompactionLatency } from "./compaction.ts";
import { benchIdleConsumers, benchLive, benchPoll, benchRebalance } from "./consumer.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { fullScale, smokeScale } from "./harness.ts";
import type { Measurement } from "./memory.ts";
import { benchGrowth, benchPartitions } from "./memory.ts";
import { benchOpen } from "./open.ts";
import { benchProducerMemory, benchSend } from "./producer.ts";
import { benchRead } from "./read.ts";

type Result = Outcome | Measurement;

const benchmarks: Readonly<Record<string, (scale: BenchScale) => Promise<Result | Result[]>>> = {
  "append-batch-100": (scale) => benchAppendBatch(scale, 100, "os", 0.5),
  "append-batch-1000": (scale) => benchAppendBatch(scale, 1024, "os", 0.45),
  "append-batch-disk": (scale) => benchAppendBatch(scale, 100, "disk", 0.7),
  "append-os": (scale) => benchAppend(scale, "os", 1 / 3),
  "append-disk": (scale) => benchAppend(scale, "disk", 1 / 1.3),
  "append-at-once": (scale) => benchAppendAtOnce(scale, 20),
  send: (scale) => benchSend(scale, 0.5),
  "producer-memory": benchProducerMemory,
  read: benchRead,
  poll: benchPoll,
  live: benchLive,
  rebalance: benchRebalance,
  "idle-consumers": benchIdleConsumers,
  open: benchOpen,
  compaction: benchCompaction,
  "compaction-latency-disk": (scale) => benchCompactionLatency(scale, "disk"),
  "compaction-latency-os": (scale) => benchCompactionLatency(scale, "os"),
  partitions: benchPartitions,
  growth: benchGrowth,
};

const args = process.argv.slice(2);
const scale = args.includes("--smoke") ? smokeScale : fullScale;
const filters = args.filter((arg) => !arg.startsWith("--"));
let missed = 0;
let count = 0;
for (const [name, run] of Object.entries(benchmarks)) {
  if (filters.length > 0 && !filters.some((filter) => name.includes(filter))) continue;
  for (const result of [await run(scale)].flat()) {
    console.log(describe(result));
    count++;
    if (!isMet(result)) missed++;
  }
}
console.log(
  scale.isSmoke
    ? `${count} benchmarks ran at smoke size: their numbers mean nothing`
    : `${count} benchmarks ran, ${missed} below what is asked of them`,
);
if (count === 0 || (missed > 0 && !scale.isSmoke)) process.exitCode = 1;

function isMet(result: Result): boolean {
  return "ratio" in result ? result.ratio >= result.ratioMin : result.value <= result.valueMax;
}

function describe(result: Result): string {
  const verdict = scale.isSmoke ? "ran" : isMet(result) ? "ok" : "MISSED";
  if ("ratio" in result) {
    const { title, unit, baselineRate, ottlaRate, ratio, ratioMin, checksum } = result;
    return `${title}\n  ${rate(baselineRate)} against ${rate(ottlaRate)} ${unit}/s, ratio ` +
      `${ratio.toFixed(2)}, at least ${ratioMin.toFixed(2)}: ${verdict} (checksum ${checksum})`;
  }
  const { title, value, valueMax, unit, checksum } = result;
  return `${title}\n  ${
    value.toFixed(1)
  } ${unit}, at most ${valueMax}: ${verdict} (checksum ${checksum})`;
}

function rate(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(2)} k`;
  return value.toFixed(1);
}
