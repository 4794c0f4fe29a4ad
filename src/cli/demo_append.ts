/**
 * The demo's first step: the events of a file into a topic, in their order, each batch on disk
 * before the next.
 */

import type { AppendRecord, BatchMetadata } from "../../mod.ts";
import { appendBatch, createTopic } from "../../mod.ts";
import { usageError } from "./command.ts";
import type { EventChunk } from "./demo_events.ts";
import { readEvents } from "./demo_events.ts";
import { enterRecord, keysFollowedMax } from "./demo_ledger.ts";
import {
  formatDay,
  formatDuration,
  printFacts,
  printStep,
  printVerified,
  stepIndent,
} from "./demo_report.ts";
import { formatBytes, formatCount } from "./format.ts";
import type { DemoRun } from "./demo_run.ts";
import { extentOf, partitionCount } from "./demo_run.ts";
import { endProgress, progressBar, updateProgress } from "./progress_bar.ts";

/**
 * Kafka allows no smaller segments; files of up to 64 MB get them, larger ones segments in
 * proportion.
 */
const segmentBytesMin = 1024 * 1024;
const segmentsWanted = 64;
const segmentBytesMax = 1024 * 1024 * 1024;
/** Events may bear any time to come. */
const timestampAheadMaxMs = 100 * 365 * 24 * 60 * 60 * 1000;

/**
 * Creates the topic, appends all events and prints what was done.
 *
 * @param run The run.
 * @throws Error if the file has no event, and as `readEvents`, `createTopic`, `appendBatch`.
 */
export async function appendStep(run: DemoRun): Promise<void> {
  const { report, file, topic, appended } = run;
  await printStep(
    report,
    "Append",
    "What happens is written down once, in order, and never changed.",
  );
  const segmentBytes = Math.ceil(file.sizeBytes / segmentsWanted / segmentBytesMin) *
    segmentBytesMin;
  await createTopic(run.store, topic, {
    partitions: partitionCount,
    retentionMs: -1,
    segmentBytes: Math.min(segmentBytesMax, Math.max(segmentBytesMin, segmentBytes)),
    messageTimestampAfterMaxMs: timestampAheadMaxMs,
  });
  const { appendMs, batchCount, difference } = await appendAll(run);
  if (appended.count === 0) throw usageError(`Cannot append: ${file.name} has no events`);
  const { sizeBytes } = extentOf(run);
  run.rates.push({
    step: run.isMemory ? "append, in memory" : "append, fsync each time",
    count: appended.count,
    sizeBytes,
    durationMs: appendMs,
  });
  await printFacts(
    report,
    `${formatCount(appended.count)} events${timesOf(run)} became records of topic ${topic}`,
    `${keysOf(run)}; ${partitionCount} partitions, a key's records share one and stay in order`,
  );
  const place = run.isMemory ? "in memory" : "on disk";
  const written = `${formatCount(batchCount)} batches, ${formatBytes(sizeBytes)}`;
  const time = formatDuration(appendMs);
  await printVerified(
    report,
    `${written}, each ${place} when acknowledged: ${time} in all`,
    difference,
  );
}

/** Appends all events; only the time spent in `appendBatch` is counted. */
async function appendAll(
  run: DemoRun,
): Promise<{ appendMs: number; batchCount: number; difference: string | undefined }> {
  const { report, file, appended } = run;
  const nextOffsets = new Array<number>(partitionCount).fill(0);
  const bar = progressBar(report.io, stepIndent);
  let appendMs = 0;
  let batchCount = 0;
  let difference: string | undefined;
  for await (const chunk of readEvents(file)) {
    run.signal.throwIfAborted();
    const records = recordsOfChunk(run, chunk);
    const startedMs = performance.now();
    const batches = await appendBatch(run.store, run.topic, records, { ack: "disk" });
    appendMs += performance.now() - startedMs;
    batchCount += batches.length;
    for (const batch of batches) difference ??= takeOffsets(nextOffsets, batch);
    await updateProgress(bar, chunk.fraction, `${formatCount(appended.count)} events`);
  }
  await endProgress(bar, true);
  return { appendMs, batchCount, difference };
}

function recordsOfChunk(run: DemoRun, { events }: EventChunk): AppendRecord[] {
  const now = Date.now();
  return events.map(({ key, value, timestamp }) => {
    if (timestamp !== undefined) run.timedCount++;
    const record = { key, value, timestamp: timestamp ?? now };
    enterRecord(run.appended, key, value, record.timestamp);
    return record;
  });
}

/** Notes which offsets a partition has given out; returns what is wrong with them. */
function takeOffsets(nextOffsets: number[], batch: BatchMetadata): string | undefined {
  const { partition, baseOffset, lastOffset } = batch;
  const wanted = nextOffsets[partition];
  nextOffsets[partition] = lastOffset + 1;
  if (baseOffset === wanted) return undefined;
  return `partition ${partition} was to go on at offset ${wanted} and went on at ${baseOffset}`;
}

function timesOf({ appended, timedCount }: DemoRun): string {
  if (timedCount === 0) return " without times of their own";
  const days = `, ${formatDay(appended.timestampMin)} to ${formatDay(appended.timestampMax)},`;
  const untimed = appended.count - timedCount;
  return untimed === 0 ? days : `${days} ${formatCount(untimed)} of them without a time`;
}

function keysOf({ file, appended }: DemoRun): string {
  const { byKey, keylessCount } = appended;
  const name = file.form === "text" ? "first word" : file.fields.key;
  if (name === undefined) return "no key";
  const keyless = keylessCount === 0 ? "" : `, ${formatCount(keylessCount)} events have none`;
  const more = byKey.size < keysFollowedMax ? "" : " or more";
  return `${formatCount(byKey.size)}${more} keys (${name}${keyless})`;
}
