/** `ottla perf consume`: polls records and measures how fast they come. */

import { closeConsumer, commit, openConsumer } from "../client/consumer.ts";
import type { ConsumerOptions } from "../client/consumer_options.ts";
import type { Consumer } from "../client/consumer_state.ts";
import type { Store } from "../store/store.ts";
import { describeTopic } from "../store/topics.ts";
import { exitCode, messageOf, parseArguments, parseInteger } from "./command.ts";
import { pollUntilAborted } from "./consume_group.ts";
import { formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import type { ConsumedTally } from "./perf_report.ts";
import {
  consumerHeader,
  consumerIntervalLine,
  consumerSummary,
  consumerSummaryLine,
  intervalHeader,
} from "./perf_report.ts";
import type { ProgressBar } from "./progress_bar.ts";
import { endProgress, progressBar, updateProgress } from "./progress_bar.ts";
import { changeStore } from "./store_access.ts";

const optionTable = {
  "messages": { type: "string" },
  "group": { type: "string" },
  "from-latest": { type: "boolean" },
  "timeout": { type: "string" },
  "show-detailed-stats": { type: "boolean" },
  "hide-header": { type: "boolean" },
  "reporting-interval": { type: "string" },
  "json": { type: "boolean" },
} as const;

/** What to consume, and what to print. */
interface ConsumePlan {
  readonly topic: string;
  /** Undefined to commit nothing. */
  readonly groupId: string | undefined;
  readonly from: "earliest" | "latest";
  /** Infinity for all. */
  readonly recordsMax: number;
  readonly timeoutMs: number;
  readonly intervalMs: number;
  readonly isDetailed: boolean;
  readonly hasHeader: boolean;
  readonly isJson: boolean;
}

/** A run. Times are those of `performance.now()` unless they say otherwise. */
interface ConsumeRun {
  readonly io: CliIo;
  readonly plan: ConsumePlan;
  readonly bar: ProgressBar;
  /** How many records there may be to come, for the bar. */
  readonly expectedCount: number;
  readonly startMs: number;
  /** In milliseconds since the epoch. */
  readonly startTime: number;
  rebalanceMs: number;
  recordCount: number;
  sizeBytes: number;
  /** The present interval, and what had been consumed when it began. */
  intervalStartMs: number;
  intervalRebalanceMs: number;
  countBefore: number;
  bytesBefore: number;
  /** What is to be said of damage. */
  readonly messages: string[];
}

const pollRecordsMax = 500;
const intervalMsDefault = 5_000;
const intMax = 2 ** 31 - 1;

/**
 * Runs `ottla perf consume`.
 *
 * @param args What follows on the command line.
 * @param io The surroundings.
 * @returns The exit code: 1 if there was damage.
 * @throws Error for a wrong command line; OttlaError as `openConsumer` and `poll`.
 */
export async function runPerfConsume(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, optionTable, ["folder", "topic"]);
  const [folder = "", topic = ""] = positionals;
  const interval = values["reporting-interval"];
  const plan: ConsumePlan = {
    topic,
    groupId: values.group,
    from: values["from-latest"] ? "latest" : "earliest",
    recordsMax: parseInteger("--messages", values.messages, 1) ?? Infinity,
    timeoutMs: parseInteger("--timeout", values.timeout, 0, intMax) ?? 0,
    intervalMs: parseInteger("--reporting-interval", interval, 1) ?? intervalMsDefault,
    isDetailed: values["show-detailed-stats"] ?? false,
    hasHeader: !(values["hide-header"] ?? false),
    isJson: values.json ?? false,
  };
  return await changeStore(folder, false, (store) => measure(store, plan, io));
}

async function measure(store: Store, plan: ConsumePlan, io: CliIo): Promise<number> {
  const partitions = describeTopic(store, plan.topic).partitions;
  const storedCount = partitions.reduce((sum, part) => sum + part.endOffset - part.startOffset, 0);
  if (plan.hasHeader && !plan.isJson) {
    await io.stdout.write(`${plan.isDetailed ? intervalHeader : consumerHeader}\n`);
  }
  const run = consumeRun(plan, io, Math.min(plan.recordsMax, storedCount));
  const consumer = await openConsumer(store, consumerOptions(run, partitions));
  run.rebalanceMs = performance.now() - run.startMs;
  run.intervalRebalanceMs = run.rebalanceMs;
  try {
    await consumeRecords(run, consumer);
    // All that was counted is handled, the last poll's records too.
    if (plan.groupId !== undefined) await commit(consumer);
  } finally {
    await endProgress(run.bar, false);
    await closeConsumer(consumer);
  }
  for (const message of run.messages) await io.stderr.write(`ottla: ${message}\n`);
  return run.messages.length > 0 ? exitCode.failed : exitCode.fine;
}

function consumeRun(plan: ConsumePlan, io: CliIo, expectedCount: number): ConsumeRun {
  const startMs = performance.now();
  return {
    io,
    plan,
    bar: progressBar(io),
    expectedCount,
    startMs,
    startTime: Date.now(),
    rebalanceMs: 0,
    recordCount: 0,
    sizeBytes: 0,
    intervalStartMs: startMs,
    intervalRebalanceMs: 0,
    countBefore: 0,
    bytesBefore: 0,
    messages: [],
  };
}

function consumerOptions(
  { plan, messages }: ConsumeRun,
  partitions: readonly { readonly partition: number }[],
): ConsumerOptions {
  const { topic, groupId, from } = plan;
  return {
    autoOffsetReset: from,
    onGap: ({ error }) => void messages.push(messageOf(error)),
    ...(groupId === undefined
      ? { partitions: partitions.map(({ partition }) => ({ topic, partition })) }
      : { groupId, topics: topic }),
  };
}

async function consumeRecords(run: ConsumeRun, consumer: Consumer): Promise<void> {
  const { io, plan } = run;
  const { signal } = io;
  while (run.recordCount < plan.recordsMax && !signal.aborted) {
    const recordsMax = Math.min(pollRecordsMax, plan.recordsMax - run.recordCount);
    const records = await pollUntilAborted(consumer, recordsMax, plan.timeoutMs, signal);
    if (records.length === 0) break;
    for (const { key, value } of records) {
      run.sizeBytes += (key?.length ?? 0) + (value?.length ?? 0);
    }
    run.recordCount += records.length;
    await report(run);
  }
  await printSummary(run);
}

/** Draws the bar, and ends the interval if it is over. */
async function report(run: ConsumeRun): Promise<void> {
  const { io, plan, bar, recordCount, expectedCount } = run;
  const now = performance.now();
  if (now - run.intervalStartMs >= plan.intervalMs) {
    await endProgress(bar, false);
    bar.drawnSteps = -1;
    await endInterval(run, now);
  }
  if (!io.isTerminal) return;
  const fraction = recordCount / Math.max(expectedCount, 1);
  await updateProgress(bar, fraction, formatNoun(recordCount, "record"));
}

async function endInterval(run: ConsumeRun, now: number): Promise<void> {
  const { io, plan, recordCount, sizeBytes, intervalRebalanceMs } = run;
  const interval: ConsumedTally = {
    recordCount: recordCount - run.countBefore,
    sizeBytes: sizeBytes - run.bytesBefore,
    elapsedMs: now - run.intervalStartMs,
    rebalanceMs: intervalRebalanceMs,
  };
  run.countBefore = recordCount;
  run.bytesBefore = sizeBytes;
  run.intervalStartMs = now;
  run.intervalRebalanceMs = 0;
  if (!plan.isDetailed) return;
  const line = consumerIntervalLine({ recordCount, sizeBytes }, interval, timeOf(run, now));
  await (plan.isJson ? io.stderr : io.stdout).write(`${line}\n`);
}

async function printSummary(run: ConsumeRun): Promise<void> {
  const { io, plan, recordCount, sizeBytes, rebalanceMs, startMs, startTime } = run;
  const now = performance.now();
  const consumed: ConsumedTally = { recordCount, sizeBytes, elapsedMs: now - startMs, rebalanceMs };
  await endProgress(run.bar, false);
  // Kafka leaves out the records of an interval that has not come to its end.
  if (plan.isDetailed && recordCount > run.countBefore) await endInterval(run, now);
  if (plan.isJson) {
    const summary = consumerSummary(consumed, startTime, timeOf(run, now));
    const { topic, groupId = null } = plan;
    await io.stdout.write(`${JSON.stringify({ topic, groupId, ...summary })}\n`);
  } else if (!plan.isDetailed) {
    await io.stdout.write(`${consumerSummaryLine(consumed, startTime, timeOf(run, now))}\n`);
  }
  if (recordCount >= plan.recordsMax || plan.recordsMax === Infinity || io.signal.aborted) return;
  await io.stderr.write(
    `Consumed ${recordCount} of ${plan.recordsMax} records: there are no more\n`,
  );
}

/** In whole milliseconds since the epoch. */
function timeOf({ startMs, startTime }: ConsumeRun, now: number): number {
  return startTime + Math.round(now - startMs);
}
