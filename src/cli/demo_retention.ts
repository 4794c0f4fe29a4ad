/** The demo's last step: retention, which removes whole segments. */

import { alterTopic, describeTopic, enforceRetention, isOttlaError, read } from "../../mod.ts";
import { joinPath } from "../platform/files.ts";
import { partitionFolderName } from "../store/topic_name.ts";
import { differenceOf, formatTime, printFacts, printStep, printVerified } from "./demo_report.ts";
import { formatBytes, formatCount } from "./format.ts";
import { internalsOf } from "../store/store.ts";
import type { DemoRun } from "./demo_run.ts";
import { extentOf, keepTimeOf } from "./demo_run.ts";

/** The clock goes on until the segments are looked at, and nothing since the time named may go. */
const clockMarginMs = 60_000;
const dayMs = 24 * 60 * 60 * 1000;

/**
 * Applies retention, by time where the events bear times, else by size.
 *
 * @param run The run.
 */
export async function retentionStep(run: DemoRun): Promise<void> {
  const { report, topic } = run;
  await printStep(
    report,
    "Retain",
    "A log must not grow for ever: the oldest files go, offsets stay as they are.",
  );
  const before = extentOf(run);
  const rule = await setRetention(run);
  await enforceRetention(run.store);
  const after = extentOf(run);
  // Counted from the clock, the rule would go on removing records while somebody looks at them.
  await alterTopic(run.store, topic, { retentionMs: -1, retentionBytes: -1 });
  await printFacts(
    report,
    `${rule}: ${formatBytes(before.sizeBytes)} in ${formatCount(before.segmentCount)} segments, ` +
      `then ${formatBytes(after.sizeBytes)} in ${formatCount(after.segmentCount)}`,
  );
  await printFacts(report, segmentRule(run, after.sizeBytes < before.sizeBytes));
  const files = logFilesOf(run);
  await printVerified(
    report,
    `${formatCount(files.count)} .log files with ${
      formatBytes(files.sizeBytes)
    } are in the folder now`,
    differenceOf("files", after.segmentCount, files.count) ??
      differenceOf("bytes", after.sizeBytes, files.sizeBytes),
  );
  await verifyRest(run);
  await verifyStart(run);
}

/** Sets the topic's retention; returns it in words. */
async function setRetention(run: DemoRun): Promise<string> {
  const { store, topic } = run;
  if (run.timedCount > 0) {
    const keepTime = keepTimeOf(run);
    const retentionMs = Math.max(0, Date.now() - keepTime) + clockMarginMs;
    await alterTopic(store, topic, { retentionMs });
    return `keep from ${formatTime(keepTime)} (retention.ms)`;
  }
  const sizes = describeTopic(store, topic).partitions.map(({ sizeBytes }) => sizeBytes);
  const retentionBytes = Math.floor(Math.max(...sizes) / 2);
  await alterTopic(store, topic, { retentionBytes });
  return `keep ${formatBytes(retentionBytes)} a partition (retention.bytes)`;
}

function segmentRule(run: DemoRun, hasRemoved: boolean): string {
  const { segmentBytes, segmentMs } = describeTopic(run.store, run.topic).config;
  const segment = `a segment (${segmentMs / dayMs} days or ${formatBytes(segmentBytes)})`;
  return hasRemoved
    ? `${segment} goes as a whole, so some older records stay`
    : `${segment} goes as a whole; none is wholly over the limit`;
}

/** What is really there, whatever the store thinks. */
function logFilesOf({ store, topic, tallies }: DemoRun): { count: number; sizeBytes: number } {
  const { fs, folder } = internalsOf(store);
  const paths = tallies.flatMap((_, partition) => {
    const path = joinPath(folder, partitionFolderName(topic, partition));
    return fs.list(path).map(({ name }) => joinPath(path, name));
  }).filter((path) => path.endsWith(".log"));
  const sizeBytes = paths.reduce((sum, path) => sum + (fs.stat(path)?.sizeBytes ?? 0), 0);
  return { count: paths.length, sizeBytes };
}

/** What is to be kept must all be there. */
async function verifyRest(run: DemoRun): Promise<void> {
  const { store, topic, report, tallies } = run;
  const keepTime = run.timedCount > 0 ? keepTimeOf(run) : Infinity;
  let count = 0;
  let keptCount = 0;
  for await (const record of read(store, topic, { signal: run.signal })) {
    count++;
    if (record.timestamp >= keepTime) keptCount++;
  }
  const { partitions } = describeTopic(store, topic);
  const there = partitions.reduce((sum, part) => sum + part.endOffset - part.startOffset, 0);
  const wanted = tallies.reduce((sum, tally) => sum + tally.keptCount, 0);
  const difference = differenceOf("records", there, count);
  if (run.timedCount === 0) {
    await printVerified(
      report,
      `all ${formatCount(count)} records that are left can be read`,
      difference,
    );
    return;
  }
  await printVerified(
    report,
    `${formatCount(count)} records are left, among them all ${formatCount(wanted)} since then`,
    difference ?? differenceOf("records since then", wanted, keptCount),
  );
}

/** Who asks for what is gone must be told so. */
async function verifyStart(run: DemoRun): Promise<void> {
  const { store, topic, report } = run;
  const moved = describeTopic(store, topic).partitions.find(({ startOffset }) => startOffset > 0);
  if (moved === undefined) return;
  const { partition, startOffset } = moved;
  let difference: string | undefined = "the record was given";
  try {
    for await (const _ of read(store, topic, { partition, from: 0, limit: 1 })) break;
  } catch (error) {
    difference = isOttlaError(error, "OFFSET_OUT_OF_RANGE") ? undefined : String(error);
  }
  await printVerified(
    report,
    `offset 0 of ${topic}-${partition} is refused (OFFSET_OUT_OF_RANGE), ${startOffset} is the first`,
    difference,
  );
}
