/** `ottla produce`: appends the lines of a file or of standard input to a topic. */

import { accessSync, createReadStream } from "node:fs";
import { appendBatch } from "../client/append.ts";
import type { AppendRecord, BatchMetadata } from "../client/append.ts";
import type { Ack } from "../log/log.ts";
import { createTopic } from "../store/topics.ts";
import type { Command } from "./command.ts";
import { exitCode, parseArguments, parseInteger, parseWord, usageError } from "./command.ts";
import { formatBytes, formatCount, formatNoun } from "./format.ts";
import { lineGroups } from "./input_lines.ts";
import type { CliIo } from "./io.ts";
import { lineRecord } from "./line_record.ts";
import type { LineFormat } from "./line_record.ts";
import { changeStore } from "./store_access.ts";

const help = `Usage: ottla produce [options] <folder> <topic> [file]

Appends the lines of a file, or of standard input, as records: one line is the value of one record. Lines are
bytes; only their line ends are taken off.

Options:
  --key <text>                 the key of all records
  --key-separator <text>       what stands before its first occurrence in a line is the key
  --key-field <name>           lines are JSON objects; the key is this field of theirs
  --null-marker <text>         a value that is this text is null: a tombstone on a compacted topic
  --partition <number>         write to this partition, whatever the key
  --ack <level>                wait for disk (unless given), os or memory
  --batch <count>              how many records are appended at once: 1000 unless given
  --create                     create the topic, and the store, if there is none
  --partitions <count>         with --create: how many partitions, 1 unless given
  --json                       print the result as one JSON object
  -h, --help

Prints the offsets of each partition that was written to, and how fast it went on standard error. Ctrl+C ends the
input: what was read until then is appended.
`;

const optionTable = {
  "key": { type: "string" },
  "key-separator": { type: "string" },
  "key-field": { type: "string" },
  "null-marker": { type: "string" },
  "partition": { type: "string" },
  "ack": { type: "string" },
  "batch": { type: "string" },
  "create": { type: "boolean" },
  "partitions": { type: "string" },
  "json": { type: "boolean" },
} as const;

/** The command. */
export const produceCommand: Command = {
  name: "produce",
  summary: "append lines to a topic",
  help,
  run: runProduce,
};

const batchRecordsMax = 100_000;
/** A group of lines ends here, so that memory is bounded whatever the lines are. */
const groupBytesMax = 1024 * 1024;
/** How long lines that come slowly wait for others. */
const lingerMs = 20;
/** How many appends wait for the disk at once; they share their flushes. */
const appendsMax = 8;
const progressMs = 200;
const inputReadBytes = 1024 * 1024;

/** What has been appended so far. */
interface Produced {
  recordCount: number;
  sizeBytes: number;
  readonly startedMs: number;
  shownMs: number;
  /** By partition. */
  readonly ranges: Map<number, { baseOffset: number; lastOffset: number }>;
}

async function runProduce(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, optionTable, ["folder", "topic", "file?"]);
  const [folder = "", topic = "", file] = positionals;
  const partitions = parseInteger("--partitions", values.partitions, 1, 2 ** 31 - 1);
  if (partitions !== undefined && !values.create) throw usageError("--partitions needs --create");
  const format = lineFormat(values);
  const partition = parseInteger("--partition", values.partition, 0, 2 ** 31 - 1);
  const ack = parseWord("--ack", values.ack, ["disk", "os", "memory"]) ?? "disk";
  const linesMax = parseInteger("--batch", values.batch, 1, batchRecordsMax) ?? 1000;
  const input = file === undefined || file === "-" ? io.stdin : fileInput(file);
  const produced: Produced = {
    recordCount: 0,
    sizeBytes: 0,
    startedMs: performance.now(),
    shownMs: 0,
    ranges: new Map(),
  };
  await changeStore(folder, values.create ?? false, async (store) => {
    if (values.create) {
      await createTopic(store, topic, { partitions: partitions ?? 1, ifNotExists: true });
    }
    const groups = lineGroups(input, {
      linesMax,
      bytesMax: groupBytesMax,
      lingerMs,
      signal: io.signal,
    });
    const write = (records: AppendRecord[]): Promise<BatchMetadata[]> =>
      appendBatch(store, topic, records, { ack });
    await produceGroups(groups, format, partition, write, produced, io);
  });
  await printResult(io, topic, produced, ack, values.json ?? false);
  return exitCode.fine;
}

/**
 * The bytes of a file, which is opened when they are first wanted; that it is there is made sure at
 * once.
 */
function fileInput(path: string): AsyncIterable<Uint8Array> {
  accessSync(path);
  return {
    [Symbol.asyncIterator]: () =>
      createReadStream(path, { highWaterMark: inputReadBytes })[Symbol.asyncIterator](),
  };
}

/** Appends group by group, a few of them waiting for the disk together. */
async function produceGroups(
  groups: AsyncIterable<Uint8Array[]>,
  format: LineFormat,
  partition: number | undefined,
  write: (records: AppendRecord[]) => Promise<BatchMetadata[]>,
  produced: Produced,
  io: CliIo,
): Promise<void> {
  const waiting: Promise<void>[] = [];
  let lineCount = 0;
  for await (const lines of groups) {
    const records = lines.map((line, index): AppendRecord => {
      const { key, value } = lineRecord(line, lineCount + index + 1, format);
      return { key, value, partition };
    });
    lineCount += lines.length;
    const sizeBytes = lines.reduce((sum, line) => sum + line.length, 0);
    const appended = write(records).then((batches) => {
      notePlaces(produced, batches);
      produced.recordCount += lines.length;
      produced.sizeBytes += sizeBytes;
    });
    // The first failure ends the loop; the others must not end the process.
    appended.catch(() => {});
    waiting.push(appended);
    if (waiting.length >= appendsMax) await waiting.shift();
    await showProgress(produced, io);
  }
  await Promise.all(waiting);
  if (io.isTerminal && produced.shownMs > 0) await io.stderr.write("\r\x1b[K");
}

function notePlaces(produced: Produced, batches: readonly BatchMetadata[]): void {
  for (const { partition, baseOffset, lastOffset } of batches) {
    const range = produced.ranges.get(partition);
    if (range === undefined) produced.ranges.set(partition, { baseOffset, lastOffset });
    else range.lastOffset = lastOffset;
  }
}

async function showProgress(produced: Produced, io: CliIo): Promise<void> {
  const now = performance.now();
  if (!io.isTerminal || now - Math.max(produced.shownMs, produced.startedMs) < progressMs) return;
  produced.shownMs = now;
  const line = summaryOf(produced).slice(0, Math.max(0, io.columns - 1));
  await io.stderr.write(`\r\x1b[K${line}`);
}

function summaryOf({ recordCount, sizeBytes, startedMs }: Produced): string {
  const seconds = Math.max(performance.now() - startedMs, 1) / 1000;
  return `${formatNoun(recordCount, "record")}, ${formatBytes(sizeBytes)} in ` +
    `${seconds.toFixed(2)} s: ${formatCount(recordCount / seconds)} records/s, ` +
    `${formatBytes(sizeBytes / seconds)}/s`;
}

async function printResult(
  io: CliIo,
  topic: string,
  produced: Produced,
  ack: Ack,
  isJson: boolean,
): Promise<void> {
  const { recordCount, sizeBytes, startedMs, ranges } = produced;
  const partitions = [...ranges].sort(([a], [b]) => a - b)
    .map(([partition, range]) => ({ partition, ...range }));
  if (isJson) {
    const durationMs = Math.round(performance.now() - startedMs);
    const result = { topic, ack, recordCount, sizeBytes, durationMs, partitions };
    await io.stdout.write(`${JSON.stringify(result)}\n`);
  } else {
    const lines = partitions.map(({ partition, baseOffset, lastOffset }) =>
      `${topic}-${partition} offsets ${baseOffset} to ${lastOffset}\n`
    );
    await io.stdout.write(lines.join(""));
  }
  await io.stderr.write(`${summaryOf(produced)}\n`);
}

function lineFormat(
  values: {
    readonly "key"?: string;
    readonly "key-separator"?: string;
    readonly "key-field"?: string;
    readonly "null-marker"?: string;
  },
): LineFormat {
  const { key, "key-separator": keySeparator, "key-field": keyField } = values;
  if ([key, keySeparator, keyField].filter((value) => value !== undefined).length > 1) {
    throw usageError("Only one of --key, --key-separator and --key-field can be given");
  }
  if (keySeparator === "") throw usageError("--key-separator takes a text that is not empty");
  return {
    key,
    keySeparator: keySeparator === undefined ? undefined : new TextEncoder().encode(keySeparator),
    keyField,
    nullMarker: values["null-marker"],
  };
}
