/**
 * `ottla consume`: prints the records of a topic. It reads the files from outside, without the
 * store's lock, so it works while an application has the store open, and can follow what that
 * application appends.
 */

import { isOttlaError } from "../errors.ts";
import { isControlBatch } from "../record/batch_view.ts";
import type { IsolationLevel } from "../log/committed_reader.ts";
import type { BatchView } from "../record/batch_view.ts";
import { forEachRecord } from "../record/record_reader.ts";
import type { RecordView } from "../record/record_reader.ts";
import { findEndOffset, viewPartition } from "../store/folder_view.ts";
import type { PartitionView } from "../store/folder_view.ts";
import { getTopic } from "../store/metadata_image.ts";
import type { Command } from "./command.ts";
import {
  exitCode,
  findTime,
  messageOf,
  parseArguments,
  parseInteger,
  parseWord,
  usageError,
} from "./command.ts";
import type { CommittedTail } from "./committed_tail.ts";
import { committedTail, outcomeOf } from "./committed_tail.ts";
import { consumeAsMember } from "./consume_group.ts";
import type { CliIo } from "./io.ts";
import { addLine, flushLines, isFull, lineOutput } from "./output.ts";
import type { LineOutput } from "./output.ts";
import { advanceTail, partitionTail, tailGapMessage } from "./partition_tail.ts";
import type { PartitionTail } from "./partition_tail.ts";
import { recordLine } from "./record_line.ts";
import type { RecordLineOptions } from "./record_line.ts";
import { viewStore } from "./store_access.ts";
import type { StoreView } from "./store_access.ts";

const help = `Usage: ottla consume [options] <folder> <topic>

Prints the values of records, one a line; of several partitions one after the other, with --follow as records come.
It takes no lock and changes nothing, so it works while another process has the store open. What it shows then is
what is in the files, which may be a little more than what has been acknowledged.

Options:
  --from <place>               earliest (unless given), latest, an offset, or a time such as 2026-01-31T12:00:00Z
  --to <place>                 stop before this offset, or at the first record of this time or later
  --partition <number>         this partition only; needed with offsets if the topic has several
  --isolation <level>          read_uncommitted (unless given), or read_committed: of transactions what was committed,
                               up to the first one that is still open
  --group <id>                 go on where this group has stopped, and commit what was printed
  --limit <count>              so many records at most
  --follow                     wait for records to come, until Ctrl+C
  --timestamp, --offset, --headers, --key
                               print these too, before the value, in this order
  --separator <text>           what stands between them: a tab unless given
  --json                       one JSON object a record
  -h, --help

With --group the command opens the store, so nobody else may have it open; --from then is earliest or latest, for
partitions of which the group has committed nothing.

Bytes that are not UTF-8 are replaced in lines; with --json they are in base64, in keyBase64 and valueBase64. Damage is
told of and passed over; then the exit code is 1.
`;

const optionTable = {
  "from": { type: "string" },
  "to": { type: "string" },
  "partition": { type: "string" },
  "isolation": { type: "string" },
  "group": { type: "string" },
  "limit": { type: "string" },
  "follow": { type: "boolean" },
  "timestamp": { type: "boolean" },
  "offset": { type: "boolean" },
  "headers": { type: "boolean" },
  "key": { type: "boolean" },
  "separator": { type: "string" },
  "json": { type: "boolean" },
} as const;

/** The command. */
export const consumeCommand: Command = {
  name: "consume",
  summary: "print the records of a topic",
  help,
  run: runConsume,
};

/** Kafka's names for what a reader may see. */
const isolationLevels = ["read_uncommitted", "read_committed"] as const;

/** How often the files are looked at for new records. */
const pollMs = 100;

/** A place to begin or to stop at. */
type Place = "earliest" | "latest" | { readonly offset: number } | { readonly timeMs: number };

/** What all partitions share. */
interface Consumption {
  readonly io: CliIo;
  readonly output: LineOutput;
  readonly format: RecordLineOptions;
  readonly to: Place | undefined;
  /** How many records are still wanted. */
  left: number;
  damageCount: number;
}

/** A partition that is being read. */
interface Source {
  readonly tail: PartitionTail;
  /** Tells which batches are to be seen; undefined if all are. */
  readonly committed: CommittedTail | undefined;
  /** Records before it are not wanted. */
  readonly startOffset: number;
  /** Until a record of this time has come none is wanted. */
  startTimeMs: number | undefined;
  /** Whether `to` was reached. */
  isDone: boolean;
  /** Whether a transaction that is open keeps it where it is. */
  isHeld: boolean;
}

async function runConsume(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, optionTable, ["folder", "topic"]);
  const [folder = "", topic = ""] = positionals;
  const from = parsePlace("--from", values.from ?? "earliest");
  const to = values.to === undefined ? undefined : parsePlace("--to", values.to);
  if (typeof to === "string") throw usageError(`--to takes an offset or a time, got "${to}"`);
  const partition = parseInteger("--partition", values.partition, 0, 2 ** 31 - 1);
  const level = parseWord("--isolation", values.isolation, isolationLevels);
  const isolation = level === "read_committed" ? "readCommitted" : "readUncommitted";
  const consumption: Consumption = {
    io,
    output: lineOutput(io),
    format: {
      isJson: values.json ?? false,
      hasTimestamp: values.timestamp ?? false,
      hasOffset: values.offset ?? false,
      hasHeaders: values.headers ?? false,
      hasKey: values.key ?? false,
      separator: values.separator ?? "\t",
    },
    to,
    left: parseInteger("--limit", values.limit, 0) ?? Infinity,
    damageCount: 0,
  };
  const { group: groupId, follow: isFollowing = false } = values;
  if (groupId !== undefined) {
    if (to !== undefined) throw usageError("--group takes no --to");
    if (partition !== undefined) throw usageError("--group takes no --partition: all are its own");
    if (typeof from !== "string") throw usageError("--from takes earliest or latest with --group");
    const { format, left: limit } = consumption;
    const member = { topic, groupId, from, isolation, limit, isFollowing, format } as const;
    return await consumeAsMember(io, folder, member);
  }
  const views = viewPartitions(await viewStore(folder), topic, partition);
  const hasOffsets = [from, to].some((place) => typeof place === "object" && "offset" in place);
  if (hasOffsets && views.length > 1) {
    throw usageError(`${topic} has ${views.length} partitions: an offset needs --partition`);
  }
  const sources = views.map((view) => sourceAt(view, from, isolation));
  try {
    if (isFollowing) await follow(consumption, sources);
    else for (const source of sources) await readToEnd(consumption, source);
  } finally {
    await flushLines(consumption.output);
  }
  return consumption.damageCount > 0 ? exitCode.failed : exitCode.fine;
}

function viewPartitions(
  { fs, folder, image }: StoreView,
  topic: string,
  partition: number | undefined,
): ViewOnDisk[] {
  const { partitions } = getTopic(image, topic);
  const numbers = [...partitions.keys()].sort((a, b) => a - b);
  if (partition !== undefined && !partitions.has(partition)) {
    throw usageError(`${topic} has no partition ${partition}, only 0 to ${numbers.length - 1}`);
  }
  const wanted = partition === undefined ? numbers : [partition];
  return wanted.map((number) => ({ fs, view: viewPartition(fs, folder, topic, number) }));
}

type ViewOnDisk = { readonly fs: StoreView["fs"]; readonly view: PartitionView };

function sourceAt({ fs, view }: ViewOnDisk, from: Place, isolation: IsolationLevel): Source {
  const isOffset = typeof from === "object" && "offset" in from;
  const wanted = from === "latest" ? findEndOffset(fs, view) : isOffset ? from.offset : 0;
  const startOffset = Math.max(wanted, view.startOffset);
  const tail = partitionTail(fs, view, startOffset);
  return {
    tail,
    committed: isolation === "readCommitted" ? committedTail(tail) : undefined,
    startOffset,
    startTimeMs: typeof from === "object" && "timeMs" in from ? from.timeMs : undefined,
    isDone: false,
    isHeld: false,
  };
}

/** Reads to where the log ends, and stops there. */
async function readToEnd(consumption: Consumption, source: Source): Promise<void> {
  for (;;) {
    const result = await advance(consumption, source);
    if (result === "end" || source.isHeld || isOver(consumption, source)) return;
  }
}

/** Reads all sources as they grow, until nothing more is wanted. */
async function follow(consumption: Consumption, sources: readonly Source[]): Promise<void> {
  for (;;) {
    for (const source of sources) {
      if (!isOver(consumption, source)) await readToEnd(consumption, source);
    }
    if (sources.every((source) => isOver(consumption, source))) return;
    await pause(consumption.io.signal);
  }
}

function isOver(consumption: Consumption, source: Source): boolean {
  return source.isDone || consumption.left === 0 || consumption.io.signal.aborted;
}

/** Goes on until the output is full, the end is reached, or nothing more is wanted. */
async function advance(consumption: Consumption, source: Source): Promise<"end" | "stopped"> {
  const messages: string[] = [];
  const result = advanceTail(source.tail, {
    batch: (batch) => {
      if (isOver(consumption, source) || isFull(consumption.output)) return false;
      const outcome = source.committed === undefined
        ? "commit"
        : outcomeOf(source.committed, batch);
      source.isHeld = outcome === "open";
      if (outcome !== "commit") return !source.isHeld;
      try {
        addBatch(consumption, source, batch);
      } catch (error) {
        if (!isOttlaError(error)) throw error;
        messages.push(messageOf(error));
      }
      return true;
    },
    gap: (gap) => {
      if (gap.endOffset > source.startOffset) messages.push(tailGapMessage(gap));
    },
  });
  await flushLines(consumption.output);
  consumption.damageCount += messages.length;
  for (const message of messages) await consumption.io.stderr.write(`ottla: ${message}\n`);
  return result;
}

function addBatch(consumption: Consumption, source: Source, batch: BatchView): void {
  if (isControlBatch(batch) || batch.lastOffset < source.startOffset) return;
  const { topic, partition } = source.tail.view;
  forEachRecord(batch, (record) => {
    if (record.offset < source.startOffset || isOver(consumption, source)) return;
    if (source.startTimeMs !== undefined) {
      if (record.timestamp < source.startTimeMs) return;
      source.startTimeMs = undefined;
    }
    if (isAt(record, consumption.to)) {
      source.isDone = true;
      return;
    }
    addLine(consumption.output, recordLine(topic, partition, record, consumption.format));
    consumption.left--;
  });
}

function isAt(record: RecordView, to: Place | undefined): boolean {
  if (typeof to !== "object") return false;
  return "offset" in to ? record.offset >= to.offset : record.timestamp >= to.timeMs;
}

function parsePlace(name: string, text: string): Place {
  if (text === "earliest" || text === "latest") return text;
  if (/^\d+$/.test(text)) return { offset: parseInteger(name, text, 0)! };
  const timeMs = findTime(text);
  if (timeMs !== undefined) return { timeMs };
  const words = name === "--from" ? "earliest, latest, " : "";
  throw usageError(`${name} takes ${words}an offset or an ISO time, got ${JSON.stringify(text)}`);
}

function pause(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, pollMs);
    signal.addEventListener("abort", end, { once: true });
  });
}
