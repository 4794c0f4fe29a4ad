/** `ottla perf produce`: sends records through a producer and measures their acknowledgements. */

import { closeProducer, flushProducer, openProducer, send } from "../client/producer.ts";
import type { ProducerOptions } from "../client/producer_options.ts";
import type { Producer } from "../client/producer_state.ts";
import type { Ack } from "../log/log.ts";
import { nextTurn, systemClock } from "../platform/clock.ts";
import { loadCodec } from "../record/compression.ts";
import type { Store } from "../store/store.ts";
import { createTopic, describeTopic } from "../store/topics.ts";
import { exitCode, parseArguments, parseInteger, parseWord, usageError } from "./command.ts";
import { formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import type { LatencyStatistics, LatencyTally } from "./perf_latency.ts";
import { addLatency, latencyStatistics, latencyTally, noteLatency } from "./perf_latency.ts";
import type { PayloadSource } from "./perf_payload.ts";
import { filePayloads, monotonicPayloads, randomPayloads } from "./perf_payload.ts";
import { producerIntervalLine, producerSummary, producerSummaryLine } from "./perf_report.ts";
import { sleep, takeThrottleDelay, throttle } from "./perf_throttle.ts";
import type { Throttle } from "./perf_throttle.ts";
import type { ProgressBar } from "./progress_bar.ts";
import { endProgress, progressBar, updateProgress } from "./progress_bar.ts";
import { changeStore } from "./store_access.ts";

const optionTable = {
  "num-records": { type: "string" },
  "record-size": { type: "string" },
  "payload-file": { type: "string" },
  "payload-monotonic": { type: "boolean" },
  "payload-delimiter": { type: "string" },
  "throughput": { type: "string" },
  "acks": { type: "string" },
  "batch-bytes": { type: "string" },
  "linger-ms": { type: "string" },
  "buffer-bytes": { type: "string" },
  "compression": { type: "string" },
  "warmup-records": { type: "string" },
  "reporting-interval": { type: "string" },
  "create": { type: "boolean" },
  "partitions": { type: "string" },
  "json": { type: "boolean" },
} as const;

type Values = ReturnType<typeof parseArguments<typeof optionTable>>["values"];

/** What to send, and how. */
interface ProducePlan {
  readonly topic: string;
  readonly recordsMax: number;
  readonly payloads: PayloadSource;
  /** Infinity for as many as possible. */
  readonly recordsPerSecond: number;
  readonly producerOptions: ProducerOptions & { readonly ack: Ack };
  /** How much may be on its way at once. */
  readonly inFlightBytesMax: number;
  /** After so many bytes the event loop has a turn. */
  readonly turnBytes: number;
  readonly warmupRecords: number;
  readonly intervalMs: number;
}

/** A run. Times are those of `performance.now()`. */
interface ProduceRun {
  readonly io: CliIo;
  readonly plan: ProducePlan;
  readonly producer: Producer;
  readonly throttle: Throttle;
  readonly bar: ProgressBar;
  readonly startMs: number;
  readonly all: LatencyStatistics;
  /** Of what followed the warm-up. */
  readonly steady: LatencyStatistics | undefined;
  steadyStartMs: number;
  interval: LatencyTally;
  intervalStartMs: number;
  sentCount: number;
  inFlightBytes: number;
  /** Set while sending waits for acknowledgements. */
  wake: (() => void) | undefined;
  isFlushing: boolean;
  failure: { readonly error: unknown } | undefined;
}

const batchBytesDefault = 65_536;
const bufferBytesDefault = 33_554_432;
/** More than a producer counts for a record beside its value, so that its sends never wait. */
const recordOverheadBytes = 100;
const recordBytesMax = 128 * 1024 * 1024;
const intervalMsDefault = 5_000;
const intMax = 2 ** 31 - 1;

/**
 * Runs `ottla perf produce`.
 *
 * @param args What follows on the command line.
 * @param io The surroundings.
 * @returns The exit code.
 * @throws Error for a wrong command line. What the first send that failed was rejected with, when
 * the rest has been summed up.
 */
export async function runPerfProduce(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, optionTable, ["folder", "topic"]);
  const [folder = "", topic = ""] = positionals;
  const partitions = parseInteger("--partitions", values.partitions, 1, intMax);
  if (partitions !== undefined && !values.create) throw usageError("--partitions needs --create");
  const plan = producePlan(topic, values);
  await loadCodec(plan.producerOptions.compression ?? "none");
  await changeStore(folder, values.create ?? false, async (store) => {
    if (values.create) {
      await createTopic(store, topic, { partitions: partitions ?? 1, ifNotExists: true });
    }
    describeTopic(store, topic);
    await measure(store, plan, io, values.json ?? false);
  });
  return exitCode.fine;
}

function producePlan(topic: string, values: Values): ProducePlan {
  const recordsMax = parseInteger("--num-records", values["num-records"], 1);
  if (recordsMax === undefined) throw usageError("--num-records is missing");
  const batchBytes = parseInteger("--batch-bytes", values["batch-bytes"], 1, recordBytesMax);
  const bufferBytes = parseInteger("--buffer-bytes", values["buffer-bytes"], 1, intMax);
  const compressions = ["none", "gzip", "snappy", "lz4", "zstd"] as const;
  const recordsPerSecond = parseThroughput(values.throughput);
  const interval = values["reporting-interval"];
  return {
    topic,
    recordsMax,
    recordsPerSecond,
    warmupRecords: parseInteger("--warmup-records", values["warmup-records"], 0, recordsMax - 1) ??
      0,
    intervalMs: parseInteger("--reporting-interval", interval, 1) ?? intervalMsDefault,
    producerOptions: {
      ack: parseWord("--acks", values.acks, ["disk", "os", "memory"]) ?? "disk",
      batchBytes,
      bufferBytes,
      lingerMs: parseInteger("--linger-ms", values["linger-ms"], 0, intMax),
      compression: parseWord("--compression", values.compression, compressions),
    },
    inFlightBytesMax: bufferBytes ?? bufferBytesDefault,
    turnBytes: batchBytes ?? batchBytesDefault,
    payloads: parsePayloads(values),
  };
}

function parseThroughput(text: string | undefined): number {
  if (text === undefined || text === "-1") return Infinity;
  const number = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (number > 0) return number;
  throw usageError(`--throughput takes a number of records, or -1, got ${JSON.stringify(text)}`);
}

function parsePayloads(values: Values): PayloadSource {
  const {
    "record-size": size,
    "payload-file": file,
    "payload-monotonic": isMonotonic,
    "payload-delimiter": delimiter,
  } = values;
  const given = [size, file, isMonotonic].filter((value) => value !== undefined);
  if (given.length !== 1) {
    throw usageError("perf takes one of --record-size, --payload-file and --payload-monotonic");
  }
  if (delimiter === "") throw usageError("--payload-delimiter takes a text that is not empty");
  if (delimiter !== undefined && file === undefined) {
    throw usageError("--payload-delimiter needs --payload-file");
  }
  if (file !== undefined) return filePayloads(file, delimiter ?? "\n");
  const sizeBytes = parseInteger("--record-size", size, 1, recordBytesMax);
  return sizeBytes === undefined ? monotonicPayloads() : randomPayloads(sizeBytes);
}

async function measure(
  store: Store,
  plan: ProducePlan,
  io: CliIo,
  isJson: boolean,
): Promise<void> {
  const producer = openProducer(store, plan.producerOptions);
  const run = produceRun(producer, plan, io);
  try {
    await sendRecords(run);
    await flushProducer(producer);
  } finally {
    await closeProducer(producer);
  }
  const endMs = performance.now();
  await endProgress(run.bar, false);
  await printSummary(run, endMs, isJson);
  if (run.failure !== undefined) throw run.failure.error;
}

function produceRun(producer: Producer, plan: ProducePlan, io: CliIo): ProduceRun {
  const { recordsMax, warmupRecords, recordsPerSecond } = plan;
  const all = latencyStatistics(recordsMax);
  const steady = warmupRecords > 0 ? latencyStatistics(recordsMax - warmupRecords) : undefined;
  const startMs = performance.now();
  return {
    io,
    plan,
    producer,
    throttle: throttle(recordsPerSecond, startMs),
    bar: progressBar(io),
    startMs,
    all,
    steady,
    steadyStartMs: startMs,
    interval: latencyTally(),
    intervalStartMs: startMs,
    sentCount: 0,
    inFlightBytes: 0,
    wake: undefined,
    isFlushing: false,
    failure: undefined,
  };
}

/** Sends until all is sent, a send has failed, or the user wants to stop. */
async function sendRecords(run: ProduceRun): Promise<void> {
  const { io, plan, throttle } = run;
  const clock = systemClock();
  let bytesSinceTurn = 0;
  while (run.sentCount < plan.recordsMax && run.failure === undefined && !io.signal.aborted) {
    const value = plan.payloads(run.sentCount);
    const sizeBytes = value.length + recordOverheadBytes;
    if (run.inFlightBytes > 0 && run.inFlightBytes + sizeBytes > plan.inFlightBytesMax) {
      await acknowledgement(run);
      await report(run);
      continue;
    }
    const sentMs = performance.now();
    sendOne(run, value, sentMs);
    bytesSinceTurn += sizeBytes;
    const delayMs = takeThrottleDelay(throttle, run.sentCount - 1, sentMs);
    if (delayMs === 0 && bytesSinceTurn < plan.turnBytes) continue;
    bytesSinceTurn = 0;
    if (delayMs === 0) await nextTurn();
    else await sleep(clock, delayMs, io.signal);
    await report(run);
  }
}

/** One closure a record: what is measured makes a promise a record anyway. */
function sendOne(run: ProduceRun, value: Uint8Array, sentMs: number): void {
  const { plan, producer } = run;
  const isSteady = run.steady !== undefined && run.sentCount >= plan.warmupRecords;
  if (isSteady && run.sentCount === plan.warmupRecords) run.steadyStartMs = sentMs;
  run.sentCount++;
  run.inFlightBytes += value.length + recordOverheadBytes;
  send(producer, plan.topic, { value }).then(
    () => {
      const latencyMs = performance.now() - sentMs;
      noteLatency(run.all, latencyMs, value.length);
      addLatency(run.interval, latencyMs, value.length);
      if (isSteady) noteLatency(run.steady!, latencyMs, value.length);
      noteArrival(run, value.length);
    },
    (error: unknown) => {
      run.failure ??= { error };
      noteArrival(run, value.length);
    },
  );
}

function noteArrival(run: ProduceRun, sizeBytes: number): void {
  run.inFlightBytes -= sizeBytes + recordOverheadBytes;
  run.wake?.();
}

/** Waits for the next acknowledgement. Nothing lingers while nothing more can be sent. */
function acknowledgement(run: ProduceRun): Promise<void> {
  const { producer, plan } = run;
  if (!run.isFlushing && (plan.producerOptions.lingerMs ?? 0) > 0) {
    run.isFlushing = true;
    const end = (): void => void (run.isFlushing = false);
    flushProducer(producer).then(end, end);
  }
  return new Promise((resolve) => {
    run.wake = () => {
      run.wake = undefined;
      resolve();
    };
  });
}

/** Draws the bar, and prints the interval if one is over. */
async function report(run: ProduceRun): Promise<void> {
  const { io, plan, bar, all } = run;
  const now = performance.now();
  const elapsedMs = now - run.intervalStartMs;
  if (elapsedMs >= plan.intervalMs) {
    const { interval } = run;
    run.interval = latencyTally();
    run.intervalStartMs = now;
    await endProgress(bar, false);
    bar.drawnSteps = -1;
    await io.stderr.write(`${producerIntervalLine(interval, elapsedMs)}\n`);
  }
  if (!io.isTerminal) return;
  const { count } = all.tally;
  await updateProgress(bar, count / plan.recordsMax, formatNoun(count, "record"));
}

async function printSummary(run: ProduceRun, endMs: number, isJson: boolean): Promise<void> {
  const { io, plan, all, steady, startMs, steadyStartMs } = run;
  const steadyMs = endMs - steadyStartMs;
  if (isJson) {
    const summary = {
      topic: plan.topic,
      ack: plan.producerOptions.ack,
      ...producerSummary(all, endMs - startMs),
      ...(steady === undefined ? {} : { steadyState: producerSummary(steady, steadyMs) }),
    };
    await io.stdout.write(`${JSON.stringify(summary)}\n`);
    return;
  }
  await io.stdout.write(`${producerSummaryLine(all, endMs - startMs)}\n`);
  if (steady === undefined) return;
  await io.stdout.write(`${producerSummaryLine(steady, steadyMs, true)}\n`);
}
