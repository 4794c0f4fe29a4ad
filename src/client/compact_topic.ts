/** Compacts a topic at once, because somebody asks for it. */

import { OttlaError } from "../errors.ts";
import { cleanableRange } from "../log/compaction_range.ts";
import type { Log } from "../log/log.ts";
import { activeSegment, flushLog, rollLog } from "../log/log.ts";
import { syncSnapshots } from "../log/producer_snapshots.ts";
import { largestTimestamp } from "../log/retention.ts";
import {
  checkCompacted,
  cleanPartition,
  firstDirtyOffsetIn,
  inCleanerTurn,
} from "../store/cleaner.ts";
import { waitedTurn } from "../store/until_closed.ts";
import { hasFolder, logOf, writeRecoveryPoints, writeStartOffsets } from "../store/partitions.ts";
import type { PartitionState, Store, StoreInternals, TopicState } from "../store/store.ts";
import { checkOpen, getTopicState, openInternals } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { checkObject, checkSignal } from "../store/store_options.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";
import { untilAborted } from "./until_aborted.ts";

/** How far the compaction of a partition has come. */
export interface CompactionProgress {
  readonly topic: string;
  readonly partition: number;
  /** Of what was not compacted before every byte counts twice: it is read, and then copied. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** What `compactTopic` may be told. */
export interface CompactTopicOptions {
  /** Called many times; what it throws ends the compaction. */
  readonly onProgress?: (progress: CompactionProgress) => void;
  /** Ends the compaction; what was compacted until then stays so. */
  readonly signal?: AbortSignal;
}

/** What `compactTopic` did, of all partitions together. */
export interface CompactionReport {
  readonly readBytes: number;
  readonly keptBytes: number;
  readonly readRecords: number;
  readonly keptRecords: number;
  /** Of those that went because they have no key. */
  readonly keylessRecords: number;
}

/** What all parts of one call share. */
interface Call {
  readonly internals: StoreInternals;
  readonly topic: TopicState;
  readonly options: CompactTopicOptions;
  /** Aborted when the store is closed. */
  readonly closing: AbortSignal;
  readonly report: { -readonly [Name in keyof CompactionReport]: CompactionReport[Name] };
}

/** How often retention may take away what is being compacted before that is enough for now. */
const interruptionsMax = 10;

/**
 * Compacts a topic now, whatever part of it is dirty: of each key the last record stays. What was
 * appended until now is looked at, so each partition begins a new segment; but records that are
 * younger than `minCompactionLagMs`, and those of transactions that are open, wait. Tombstones go
 * once `deleteRetentionMs` have passed since the compaction that first came by them.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types. Its `cleanupPolicy` contains "compact".
 * @param options `onProgress` is told how far it is, `signal` ends it.
 * @returns Resolves with what was done when it is on disk.
 * @throws TypeError for options of the wrong kind; the signal's reason. OttlaError
 * `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_CONFIG` if the topic is not to be compacted,
 * `CORRUPT_MESSAGE` if a partition is damaged, `DISK_FULL`, `KAFKA_STORAGE_ERROR`, `HANDLE_CLOSED`
 * if the store is closed meanwhile. Whatever happens, no key loses its last record.
 * @example
 * ```ts
 * import { append, closeStore, compactTopic, createTopic, openStore } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "prices", { cleanupPolicy: "compact" });
 * for (const value of ["3", "4", "5"]) await append(store, "prices", { key: "tea", value });
 * console.log((await compactTopic(store, "prices")).keptRecords); // 1
 * await closeStore(store);
 * ```
 */
export async function compactTopic(
  store: Store,
  topic: TopicArgument,
  options: CompactTopicOptions = {},
): Promise<CompactionReport> {
  const internals = openInternals(store);
  const name = nameOfTopic(topic);
  const state = getTopicState(internals, name);
  checkOptions(options);
  checkCompacted(state);
  const report = {
    readBytes: 0,
    keptBytes: 0,
    readRecords: 0,
    keptRecords: 0,
    keylessRecords: 0,
  };
  try {
    await inOwnTurn(
      internals,
      options.signal,
      (closing) => compactPartitions({ internals, topic: state, options, closing, report }),
    );
  } catch (error) {
    if (isDeleted(internals, state)) throw topicDeletedError(name, error);
    throw asStorageError(`compact ${name}`, error);
  }
  return report;
}

function checkOptions(options: CompactTopicOptions): void {
  checkObject("options", options);
  checkSignal(options.signal);
  const { onProgress } = options;
  if (onProgress === undefined || typeof onProgress === "function") return;
  throw new TypeError(`onProgress must be a function, got ${typeof onProgress}`);
}

/** As `inCleanerTurn`; the signal also ends the wait for the compactions before. */
async function inOwnTurn(
  internals: StoreInternals,
  signal: AbortSignal | undefined,
  task: (closing: AbortSignal) => Promise<void>,
): Promise<void> {
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => begin = resolve);
  const run = inCleanerTurn(internals, (closing) => {
    begin();
    return task(closing);
  });
  if (signal !== undefined) await untilAborted(Promise.race([begun, run]), signal);
  await run;
}

async function compactPartitions(call: Call): Promise<void> {
  const { internals, topic } = call;
  const used = topic.partitions.filter((state) => hasFolder(internals, state));
  for (const state of used) await sealPartition(call, logOf(internals, topic, state));
  await turnOf(call);
  // Nothing is compacted that a crash might bring back, or that might have to be replayed.
  writeStartOffsets(internals);
  writeRecoveryPoints(internals);
  for (const state of used) await compactPartition(call, state);
}

/** Begins a new segment, so that all there is can be compacted, and brings it to disk. */
async function sealPartition(call: Call, log: Log): Promise<void> {
  const { internals: { clock }, topic: { config } } = call;
  await turnOf(call);
  await flushLog(log);
  await turnOf(call);
  const active = activeSegment(log);
  const isOld = config.minCompactionLagMs === 0 ||
    largestTimestamp(log, active) <= clock.now() - config.minCompactionLagMs;
  if (active.sizeBytes > 0 && isOld) rollLog(log);
  await flushLog(log);
  await syncSnapshots(log);
}

async function compactPartition(call: Call, state: PartitionState): Promise<void> {
  const { internals, topic, options: { onProgress }, report } = call;
  const { partition } = state;
  let interruptions = 0;
  for (let isOver = false; !isOver && interruptions < interruptionsMax;) {
    const log = logOf(internals, topic, state);
    const firstDirtyOffset = firstDirtyOffsetIn(internals, state, log);
    const range = cleanableRange(log, firstDirtyOffset, topic.config, internals.clock.now());
    if (range.endOffset <= log.segments[0]!.baseOffset) return;
    const cleaned = await cleanPartition(internals, topic, state, range, {
      nextTurn: () => turnOf(call),
      onProgress: onProgress &&
        ((bytesDone, bytesTotal): void =>
          onProgress({ topic: topic.name, partition, bytesDone, bytesTotal })),
    });
    report.readBytes += cleaned.readBytes;
    report.keptBytes += cleaned.keptBytes;
    report.readRecords += cleaned.readRecords;
    report.keptRecords += cleaned.keptRecords;
    report.keylessRecords += cleaned.keylessRecords;
    if (!cleaned.isComplete) interruptions++;
    isOver = cleaned.isComplete && cleaned.firstDirtyOffset >= range.endOffset;
  }
}

async function turnOf({ internals, topic, options, closing }: Call): Promise<void> {
  await waitedTurn([options.signal, closing]);
  checkOpen(internals);
  if (topic.failure !== undefined) throw topic.failure;
  if (isDeleted(internals, topic)) throw topicDeletedError(topic.name);
}

function isDeleted({ state, topics }: StoreInternals, topic: TopicState): boolean {
  return state === "open" && topics.get(topic.name) !== topic;
}

function topicDeletedError(name: string, cause?: unknown): OttlaError {
  return new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot compact ${name}: the topic was deleted`,
    { cause, details: { topic: name } },
  );
}
