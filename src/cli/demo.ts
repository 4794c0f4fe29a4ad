/**
 * `ottla demo`: what an event log is for, shown with real events and verified step by step.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import process from "node:process";
import type { StoreOptions } from "../../mod.ts";
import { closeStore, describeTopic, openStore } from "../../mod.ts";
import { memoryFileSystem } from "../platform/memory_file_system.ts";
import { exitCode, parseArguments } from "./command.ts";
import { appendStep } from "./demo_append.ts";
import type { EventFile } from "./demo_events.ts";
import { eventFile } from "./demo_events.ts";
import { ledger } from "./demo_ledger.ts";
import { continueStep, lookUpStep, readStep } from "./demo_read.ts";
import { demoReport, formatDuration, paint, printFacts, stepIndent } from "./demo_report.ts";
import { formatBytes, formatCount } from "./format.ts";
import { retentionStep } from "./demo_retention.ts";
import type { DemoRun } from "./demo_run.ts";
import { streamStep } from "./demo_stream.ts";
import type { CliIo } from "./io.ts";
import { tableLines } from "./table.ts";
import { version } from "./version.ts";

const steps = [appendStep, readStep, continueStep, lookUpStep, streamStep, retentionStep];
const flightsTopic = "flights";

/** What `ottla demo --help` prints. */
export const demoHelp = `ottla demo [file]

Appends the events of a file to a new store, reads them back, stops and goes on, looks up a time,
streams a partition over TCP, applies retention, and verifies each step. Without a file it takes
the 20,000 flights of the npm package vega-datasets.

The file may hold JSON lines, lines of text, or one JSON array.

  --key-field <name>    the JSON field that is the key; the first with text unless given
  --time-field <name>   the JSON field that is the time; the first with a time unless given
  --topic <name>        the topic to create; the name of the file unless given
  --folder <path>       where to put the store; a new temporary folder unless given
  --memory              keep everything in memory, leave nothing behind
`;

/**
 * Runs the demo.
 *
 * @param args What follows `demo` on the command line.
 * @param io The surroundings.
 * @returns 0 if all that was verified held, else 1.
 * @throws Error for a wrong command line; OttlaError as the library.
 */
export async function demoCommand(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, {
    "key-field": { type: "string" },
    "time-field": { type: "string" },
    topic: { type: "string" },
    folder: { type: "string" },
    memory: { type: "boolean", default: false },
  }, ["file?"]);
  const [path] = positionals;
  const file = eventFile(path, { key: values["key-field"], time: values["time-field"] });
  const topic = values.topic ?? (path === undefined ? flightsTopic : topicNameOf(file));
  const isTemporary = !values.memory && values.folder === undefined;
  const folder = isTemporary
    ? mkdtempSync(join(tmpdir(), "ottla-demo-"))
    : values.folder ?? "/demo";
  const storeOptions: StoreOptions = values.memory ? { fileSystem: memoryFileSystem() } : {};
  const run: DemoRun = {
    report: demoReport(io, isColoured(io)),
    file,
    folder,
    storeOptions,
    isMemory: values.memory,
    topic,
    signal: io.signal,
    store: await openStore(folder, storeOptions),
    appended: ledger(),
    timedCount: 0,
    tallies: [],
    rates: [],
  };
  try {
    await printHead(run, path === undefined);
    for (const step of steps) await step(run);
    await printTables(run);
  } finally {
    await closeStore(run.store);
    // Where nothing came into it there is nothing to look at.
    if (isTemporary && run.appended.count === 0) rmSync(folder, { recursive: true });
  }
  await printEnd(run);
  return run.report.failures.length === 0 ? exitCode.fine : exitCode.failed;
}

/**
 * The name of the file without what follows the first dot, and without what a topic's name may not
 * hold.
 */
function topicNameOf(file: EventFile): string {
  const name = file.name.replace(/(?<=.)\..*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 100);
  return name.replace(/^-+|-+$/g, "") || "events";
}

/** Colours go to people only: both streams must end in a terminal. */
function isColoured(io: CliIo): boolean {
  const { NO_COLOR: refusal = "" } = io.env;
  return io.isTerminal && process.stdout.isTTY === true && refusal === "";
}

async function printHead(run: DemoRun, isFlights: boolean): Promise<void> {
  const { report, file, folder, isMemory } = run;
  const what = isFlights ? "flights-20k.json of the npm package vega-datasets" : file.path;
  await report.io.stdout.write(
    `${paint(report, "bold", `ottla ${version}, an event log in a folder`)}\n\n` +
      `${stepIndent}events  ${what} (${formatBytes(file.sizeBytes)})\n` +
      `${stepIndent}store   ${isMemory ? "in memory" : folder}\n`,
  );
}

async function printTables(run: DemoRun): Promise<void> {
  const { report, store, topic, tallies, rates } = run;
  const right = (title: string) => ({ title, align: "right" } as const);
  const { partitions } = describeTopic(store, topic);
  const partitionRows = partitions.map((part) => [
    `${topic}-${part.partition}`,
    formatCount(tallies[part.partition]!.keyCount),
    formatCount(part.endOffset),
    formatCount(part.endOffset - part.startOffset),
    part.startOffset < part.endOffset ? `${part.startOffset} to ${part.endOffset - 1}` : "none",
    formatCount(part.segmentCount),
    formatBytes(part.sizeBytes),
  ]);
  const rateRows = rates.map(({ step, count, sizeBytes, durationMs }) => [
    step,
    formatCount(count),
    formatBytes(sizeBytes),
    formatDuration(durationMs),
    formatCount(count / durationMs * 1000),
    (sizeBytes / durationMs / 1000).toFixed(1),
  ]);
  await report.io.stdout.write("\n");
  await printFacts(
    report,
    ...tableLines([
      { title: "Partition" },
      right("Keys"),
      right("Appended"),
      right("Kept"),
      right("Offsets"),
      right("Segments"),
      right("Size"),
    ], partitionRows),
    "",
    ...tableLines([
      { title: "Rate" },
      right("Records"),
      right("Size"),
      right("Time"),
      right("Records/s"),
      right("MB/s"),
    ], rateRows),
  );
}

async function printEnd(run: DemoRun): Promise<void> {
  const { report, folder, topic, isMemory } = run;
  const { failures, heldCount } = report;
  const verdict = failures.length === 0
    ? paint(report, "green", `All ${heldCount} verifications held.`)
    : paint(report, "red", `${failures.length} of ${failures.length + heldCount} failed:`);
  await report.io.stdout.write("\n");
  await printFacts(report, verdict, ...failures.map((failure) => `- ${failure}`));
  if (isMemory) return;
  const program = programName();
  await printFacts(
    report,
    "The store stays. Its files are Kafka's own; look at them with",
    `  ${program} topics describe ${folder} ${topic}`,
    `  ${program} consume ${folder} ${topic}`,
  );
}

/** What to type to start this program again. */
function programName(): string {
  const script = process.argv[1] ?? "";
  if (!/main\.[jt]s$/.test(script)) return "ottla";
  if (script.includes("node_modules")) return "npx ottla";
  const runtime = basename(process.execPath).replace(/\.exe$/, "");
  const path = relative(process.cwd(), resolve(script));
  return `${runtime === "deno" ? "deno run -A" : runtime} ${path}`;
}
