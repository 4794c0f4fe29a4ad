/**
 * The demo's readers: one that reads everything, one that stops and goes on after a restart, and a
 * look-up by time.
 */

import type { LogRecord } from "../../mod.ts";
import {
  append,
  closeStore,
  createTopic,
  json,
  offsetForTimestamp,
  openStore,
  read,
  topicOf,
  utf8,
} from "../../mod.ts";
import type { Ledger } from "./demo_ledger.ts";
import {
  enterRecord,
  findKeyDifference,
  findTotalDifference,
  ledger,
  mergedLedger,
} from "./demo_ledger.ts";
import {
  formatChecksum,
  formatDuration,
  formatTime,
  printFacts,
  printStep,
  printVerified,
  stepIndent,
} from "./demo_report.ts";
import { formatCount } from "./format.ts";
import type { DemoRun, PartitionTally } from "./demo_run.ts";
import { extentOf, keepTimeOf, lookupTimeOf, partitionCount } from "./demo_run.ts";
import { endProgress, progressBar, updateProgress } from "./progress_bar.ts";

/** Somebody who reads all partitions of the topic. */
interface Reader {
  /** What was read so far, a partition each. */
  readonly ledgers: readonly Ledger[];
  /** The offset to read next, a partition each. */
  readonly positions: number[];
  /** The first break in the sequence of offsets. */
  difference: string | undefined;
}

/** What a partition's tally is made of while it is read. */
type OpenTally = { -readonly [Name in "lookupOffset" | "keptCount"]: PartitionTally[Name] };

/**
 * Where the demo's consumer notes how far it is: the name of the consumer, its next offset a
 * partition.
 */
const positions = topicOf<string, number[]>("demo-positions", { key: utf8, value: json() });
const consumerName = "dashboard";
const stoppedAfterPart = 0.6;
const progressEvery = 10_000;
const sampleLineChars = 77;

const decoder = new TextDecoder();
const noBytes = new Uint8Array(0);

/**
 * Reads everything and compares it with what was appended.
 *
 * @param run The run; gets its tallies.
 */
export async function readStep(run: DemoRun): Promise<void> {
  const { report, appended } = run;
  await printStep(
    report,
    "Read",
    "Reading takes nothing away: every reader meets the same records, in order.",
  );
  const reader = newReader(run);
  const [lookupTime, keepTime] = [lookupTimeOf(run), keepTimeOf(run)];
  const tallies: OpenTally[] = Array.from({ length: partitionCount }, () => ({
    lookupOffset: undefined,
    keptCount: 0,
  }));
  const bar = progressBar(report.io, stepIndent);
  const startedMs = performance.now();
  let count = 0;
  for await (const record of read(run.store, run.topic, { signal: run.signal })) {
    takeRecord(reader, record);
    const tally = tallies[record.partition]!;
    if (record.timestamp >= lookupTime) tally.lookupOffset ??= record.offset;
    if (record.timestamp >= keepTime) tally.keptCount++;
    count++;
    if (count % progressEvery === 0 && report.io.isTerminal) {
      await updateProgress(bar, count / appended.count, `${formatCount(count)} records`);
    }
  }
  const durationMs = performance.now() - startedMs;
  await endProgress(bar, false);
  const { sizeBytes } = extentOf(run);
  run.rates.push({ step: "read and verify", count, sizeBytes, durationMs });
  for (const [partition, { count, checksum, byKey }] of reader.ledgers.entries()) {
    run.tallies.push({ count, checksum, keyCount: byKey.size, ...tallies[partition]! });
  }
  await printReadBack(run, reader);
}

async function printReadBack(run: DemoRun, reader: Reader): Promise<void> {
  const { report, appended } = run;
  const found = mergedLedger(reader.ledgers);
  const counts = run.tallies.map(({ count }) => formatCount(count)).join(", ");
  await printVerified(report, `offsets from 0 on without a gap: ${counts}`, reader.difference);
  await printVerified(
    report,
    `${formatCount(appended.byKey.size)} keys, the records of each in the order of appending`,
    findKeyDifference(appended, found),
  );
  const checksum = formatChecksum(found.checksum);
  await printVerified(
    report,
    `${formatCount(found.count)} records, checksum ${checksum}, as they were appended`,
    findTotalDifference(appended, found),
  );
}

/**
 * Reads a part, notes the position, closes the store, opens it again and goes on from the note.
 *
 * @param run The run; gets the store that was opened again.
 */
export async function continueStep(run: DemoRun): Promise<void> {
  const { report, appended } = run;
  await printStep(
    report,
    "Continue",
    "One number a partition is all a reader needs to go on where it was.",
  );
  const reader = newReader(run);
  const limit = Math.floor(appended.count * stoppedAfterPart);
  for await (const record of read(run.store, run.topic, { limit, signal: run.signal })) {
    takeRecord(reader, record);
  }
  const first = formatCount(limit);
  const note = { cleanupPolicy: "compact", ifNotExists: true } as const;
  await createTopic(run.store, positions.name, note);
  await append(run.store, positions, { key: consumerName, value: reader.positions });
  await printFacts(
    report,
    `consumer "${consumerName}" reads ${first} records, notes its next offsets in topic`,
    `${positions.name}, ${JSON.stringify(reader.positions)}, and stops; the store is closed`,
  );
  await closeStore(run.store);

  const startedMs = performance.now();
  run.store = await openStore(run.folder, run.storeOptions);
  const openMs = performance.now() - startedMs;
  await printVerified(
    report,
    `opened again in ${formatDuration(openMs)}, with nothing to recover`,
    run.store.recovery.wasClean ? undefined : "the store was not closed cleanly",
  );
  const noted = await readNote(run);
  await readRest(run, reader, noted);
  const rest = formatCount(appended.count - limit);
  await printVerified(
    report,
    `went on there with the other ${rest} records: none missed, none twice`,
    reader.difference ?? findTotalDifference(appended, mergedLedger(reader.ledgers)) ??
      findKeyDifference(appended, mergedLedger(reader.ledgers)),
  );
}

/** The newest note of the consumer. */
async function readNote(run: DemoRun): Promise<number[]> {
  let noted: number[] = [];
  for await (const { key, value } of read(run.store, positions)) {
    if (key === consumerName && value !== null) noted = value;
  }
  return noted;
}

async function readRest(run: DemoRun, reader: Reader, noted: readonly number[]): Promise<void> {
  for (const [partition, from] of noted.entries()) {
    const options = { partition, from, signal: run.signal };
    for await (const record of read(run.store, run.topic, options)) takeRecord(reader, record);
  }
}

/**
 * Looks up the offsets of a time.
 *
 * @param run The run.
 */
export async function lookUpStep(run: DemoRun): Promise<void> {
  const { report, tallies } = run;
  const time = lookupTimeOf(run);
  const name = formatTime(time);
  await printStep(
    report,
    "Look up a time",
    `"What happened since ${name}?" The time index knows where to begin.`,
  );
  const startedMs = performance.now();
  const offsets = tallies.map((_, partition) =>
    offsetForTimestamp(run.store, run.topic, partition, time)
  );
  const durationMs = performance.now() - startedMs;
  const first = await firstRecordAt(run, offsets);
  if (first !== undefined) await printFacts(report, sampleOf(first));
  const wrong = offsets.findIndex((offset, partition) =>
    offset !== tallies[partition]!.lookupOffset
  );
  const found = offsets.map((offset) => offset ?? "-").join(", ");
  await printVerified(
    report,
    `from offsets ${found} on, as step 2 met them; took ${formatDuration(durationMs)}`,
    wrong < 0
      ? undefined
      : `partition ${wrong} gave ${offsets[wrong]}, the scan met ${tallies[wrong]!.lookupOffset}`,
  );
}

/** The earliest of the records at some offsets, one a partition. */
async function firstRecordAt(
  run: DemoRun,
  offsets: readonly (number | undefined)[],
): Promise<LogRecord | undefined> {
  let first: LogRecord | undefined;
  for (const [partition, from] of offsets.entries()) {
    if (from === undefined) continue;
    for await (const record of read(run.store, run.topic, { partition, from, limit: 1 })) {
      if (first === undefined || record.timestamp < first.timestamp) first = record;
    }
  }
  return first;
}

/** A record in one line, as much of it as there is room for. */
function sampleOf({ topic, partition, offset, timestamp, value }: LogRecord): string {
  const head = `${topic}-${partition}, offset ${offset}, ${formatTime(timestamp)}: `;
  const text = [...decoder.decode(value ?? noBytes).replace(/[\p{Cc}\s]+/gu, " ")];
  const room = Math.max(1, sampleLineChars - head.length);
  return head + (text.length > room ? `${text.slice(0, room - 1).join("")}…` : text.join(""));
}

function newReader({ appended }: DemoRun): Reader {
  return {
    ledgers: Array.from({ length: partitionCount }, () => ledger(appended)),
    positions: new Array<number>(partitionCount).fill(0),
    difference: undefined,
  };
}

function takeRecord(reader: Reader, record: LogRecord): void {
  const { partition, offset, key, value, timestamp } = record;
  const wanted = reader.positions[partition];
  if (offset !== wanted) {
    reader.difference ??= `offset ${offset} came in partition ${partition} in place of ${wanted}`;
  }
  reader.positions[partition] = offset + 1;
  const text = key === null ? null : decoder.decode(key);
  enterRecord(reader.ledgers[partition]!, text, value ?? noBytes, timestamp);
}
