/**
 * Appending without a producer: one record or many, straight into the batch that is written.
 */

import type { GatheredPlace } from "../log/gathered_appends.ts";
import { gatherAppend, isWorthGathering } from "../log/gathered_appends.ts";
import type { Ack, Log } from "../log/log.ts";
import { appendBuilt, checkUsable } from "../log/log.ts";
import { countFailedAppend } from "../log/log_stats.ts";
import type { BatchBuilder } from "../record/batch_builder.ts";
import {
  appendRecord,
  batchBuilder,
  finishBatch,
  placeBuilt,
  resetBuilder,
} from "../record/batch_builder.ts";
import type { Content, HeaderInput } from "../record/record.ts";
import { claimSpace } from "../store/disk_space.ts";
import type { Partitioner } from "../store/partitioner.ts";
import { choosePartition } from "../store/partitioner.ts";
import { logOf } from "../store/partitions.ts";
import type { PartitionState, Store, StoreInternals, TopicState } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { checkAck, checkObject, checkSignal } from "../store/store_options.ts";
import type { TopicConfig } from "../store/topic_config.ts";
import { checkNotInternal } from "../store/topic_name.ts";
import { findPartitioner, getPartitioner } from "../store/topics.ts";
import { checkHeaders, checkTimestamp, keyMissingError } from "./append_checks.ts";
import { batchBytesMaxOf, checkBatchSize, compressionOf, levelOf } from "./batch_limits.ts";
import type { Serializer, Topic, TopicArgument } from "./topic.ts";
import { asTopicDeleted, contentOf, nameOfTopic } from "./topic.ts";
import { untilAborted } from "./until_aborted.ts";

/** A record to be written to a topic with types, or to a topic of bytes and text. */
export interface AppendRecord<K = Content, V = Content> {
  /** Decides the partition; absent counts as null. */
  readonly key?: K | null | undefined;
  /** Absent counts as null, which on a compacted topic deletes the key. */
  readonly value?: V | null | undefined;
  readonly headers?: readonly HeaderInput[] | undefined;
  /** In milliseconds since the epoch, or a `Date`; absent means now. */
  readonly timestamp?: number | Date | undefined;
  /** Absent means that the topic's partitioner chooses. */
  readonly partition?: number | undefined;
}

/** How to append. */
export interface AppendOptions {
  /** What to wait for; the store's level unless given. */
  readonly ack?: Ack | undefined;
  /** Stops the waiting. What is appended stays appended. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a record was stored. */
export interface RecordMetadata {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** In milliseconds since the epoch. */
  readonly timestamp: number;
}

/** Where the records of one partition were stored: one behind the other. */
export interface BatchMetadata {
  readonly topic: string;
  readonly partition: number;
  /** Of the first record. */
  readonly baseOffset: number;
  /** Of the last record, inclusive. */
  readonly lastOffset: number;
  /** The largest, in milliseconds since the epoch. */
  readonly maxTimestamp: number;
}

/** The records of one call that go to one partition. */
interface Portion {
  readonly state: PartitionState;
  readonly log: Log;
  readonly builder: BatchBuilder;
  baseOffset: number;
  nextOffset: number;
  maxTimestamp: number;
}

/** How many builders a store keeps for later calls, and how large they may be. */
const sparesMax = 16;
const spareBytesMax = 4 * 1024 * 1024;
const spares = new WeakMap<StoreInternals, BatchBuilder[]>();
const noHeaders: readonly HeaderInput[] = [];
const noOptions: AppendOptions = {};

/**
 * Appends one record.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types.
 * @param record The record.
 * @param options What to wait for.
 * @returns Resolves when the record has reached the level, with its place.
 * @throws TypeError or RangeError for a record of the wrong kind. OttlaError
 * `UNKNOWN_TOPIC_OR_PARTITION`, `MESSAGE_TOO_LARGE`, `INVALID_RECORD`, `INVALID_TIMESTAMP`,
 * `DISK_FULL`, `KAFKA_STORAGE_ERROR`, `HANDLE_CLOSED`.
 */
export async function append<K = Content, V = Content>(
  store: Store,
  topic: string | Topic<K, V>,
  record: AppendRecord<NoInfer<K>, NoInfer<V>>,
  options: AppendOptions = noOptions,
): Promise<RecordMetadata> {
  const internals = openInternals(store);
  const ack = ackOf(internals, options);
  const call = beginCall(internals, topic as TopicArgument);
  let waiting: Promise<void> | undefined;
  let place: GatheredPlace | undefined;
  try {
    addRecord(call, record as AppendRecord);
    const portion = call.portions[0]!;
    finishOpenBatch(portion, call.config, call.now);
    const { log, builder } = portion;
    claimSpace(internals.diskSpace, log.source, builder.batchStart, call.now);
    if (ack === "disk" && isWorthGathering(builder)) {
      place = gatherAppend(log, builder);
    } else {
      waiting = writePortion(portion, ack);
    }
  } catch (error) {
    countFailedAppend(call.topic.stats, error);
    throw error;
  } finally {
    giveBack(call);
  }
  const { log, baseOffset, maxTimestamp } = call.portions[0]!;
  let offset = baseOffset;
  if (waiting !== undefined) await waitFor(waiting, options.signal, call);
  if (place !== undefined) offset = await offsetOfGathered(place, options.signal, call);
  const { partition } = log.source;
  return { topic: call.topic.name, partition, offset, timestamp: maxTimestamp };
}

/**
 * Appends many records: those of one partition one behind the other, in as few batches as the
 * topic's `maxMessageBytes` allows.
 *
 * All records are checked and encoded before any is written: bad input appends nothing. If a disk
 * fails in between, the error says which partition it was; records of partitions before it may have
 * been stored.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types.
 * @param records The records, in the order in which they are stored in their partitions.
 * @param options What to wait for.
 * @returns Resolves when all have reached the level, with one place for each partition touched, in
 * the order of partitions.
 * @throws As `append`.
 */
export async function appendBatch<K = Content, V = Content>(
  store: Store,
  topic: string | Topic<K, V>,
  records: Iterable<AppendRecord<NoInfer<K>, NoInfer<V>>>,
  options: AppendOptions = noOptions,
): Promise<BatchMetadata[]> {
  const internals = openInternals(store);
  const ack = ackOf(internals, options);
  if (typeof records !== "object" || records === null || !(Symbol.iterator in records)) {
    throw new TypeError("records must be an array or another iterable of records");
  }
  const call = beginCall(internals, topic as TopicArgument);
  const { portions } = call;
  const waits: Promise<void>[] = [];
  try {
    for (const record of records) addRecord(call, record as AppendRecord);
    for (const portion of portions) {
      checkUsable(portion.log);
      finishOpenBatch(portion, call.config, call.now);
    }
    claimAll(call);
    for (const portion of portions) {
      const waiting = writePortion(portion, ack);
      if (waiting !== undefined) waits.push(waiting);
    }
  } catch (error) {
    // Nobody waits for the partitions before the one that failed.
    for (const waiting of waits) waiting.catch(() => {});
    countFailedAppend(call.topic.stats, error);
    throw error;
  } finally {
    giveBack(call);
  }
  if (waits.length > 0) await waitFor(Promise.all(waits), options.signal, call);
  return portions
    .map(({ log, baseOffset, nextOffset, maxTimestamp }) => ({
      topic: call.topic.name,
      partition: log.source.partition,
      baseOffset,
      lastOffset: nextOffset - 1,
      maxTimestamp,
    }))
    .sort((a, b) => a.partition - b.partition);
}

function ackOf(internals: StoreInternals, options: AppendOptions): Ack {
  checkObject("options", options);
  checkAck(options.ack);
  if (options.signal !== undefined) {
    checkSignal(options.signal);
    options.signal.throwIfAborted();
  }
  return options.ack ?? internals.options.ack;
}

/** One call of `append` or `appendBatch`. */
interface Call {
  readonly internals: StoreInternals;
  readonly topic: TopicState;
  readonly config: TopicConfig;
  /** How large a batch may become. */
  readonly batchBytesMax: number;
  /** Undefined if it is a function that has to be given again. */
  readonly partitioner: Partitioner | undefined;
  readonly keySerde: Serializer | undefined;
  readonly valueSerde: Serializer | undefined;
  readonly now: number;
  /** Whether there is nothing to choose. */
  readonly hasOnePartition: boolean;
  /** By partition, in the order in which they were first touched. */
  readonly portions: Portion[];
}

function beginCall(internals: StoreInternals, argument: TopicArgument): Call {
  const topic = getTopicState(internals, nameOfTopic(argument));
  checkNotInternal(topic.name, "append to");
  const { config } = topic;
  const isTyped = typeof argument === "object";
  const partitioner = findPartitioner(internals, topic);
  return {
    internals,
    topic,
    config,
    batchBytesMax: batchBytesMaxOf(config),
    partitioner,
    hasOnePartition: topic.partitions.length === 1 && typeof partitioner !== "function",
    keySerde: isTyped ? argument.key : undefined,
    valueSerde: isTyped ? argument.value : undefined,
    now: internals.clock.now(),
    portions: [],
  };
}

/** Writes a record into the batch of its partition, ending the batch first if it is full. */
function addRecord(call: Call, record: AppendRecord): void {
  if (typeof record !== "object" || record === null) {
    throw new TypeError(`record must be an object with a key and a value, got ${String(record)}`);
  }
  const { config, now } = call;
  const key = contentOf("key", record.key, call.keySerde);
  const value = contentOf("value", record.value, call.valueSerde);
  const headers = record.headers === undefined ? noHeaders : checkHeaders(record.headers);
  const timestamp = record.timestamp === undefined
    ? now
    : checkTimestamp(record.timestamp, config, now);
  if (key === null && config.cleanupPolicy.includes("compact")) throw keyMissingError(call.topic);
  const portion = portionFor(call, record.partition, key, value);
  const { builder } = portion;
  if (!appendRecord(builder, timestamp, key, value, headers, call.batchBytesMax)) {
    finishOpenBatch(portion, config, now);
    appendRecord(builder, timestamp, key, value, headers);
  }
  if (timestamp > portion.maxTimestamp) portion.maxTimestamp = timestamp;
}

/** The portion of the partition that a record goes to. */
function portionFor(
  call: Call,
  partition: number | undefined,
  key: Content,
  value: Content,
): Portion {
  const { internals, topic, portions } = call;
  const first = portions[0];
  if (call.hasOnePartition && partition === undefined && first !== undefined) return first;
  const chosen = partition ?? choosePartition(
    call.partitioner ?? getPartitioner(internals, topic),
    topic.partitionerState,
    key,
    value,
    topic.partitions.length,
    internals.randomBytes,
  );
  for (let index = portions.length - 1; index >= 0; index--) {
    const portion = portions[index]!;
    if (portion.state.partition === chosen) return portion;
  }
  const state = getPartitionState(topic, chosen);
  const log = logOf(internals, topic, state);
  const portion: Portion = {
    state,
    log,
    builder: spares.get(internals)?.pop() ?? batchBuilder(),
    baseOffset: log.endOffset,
    nextOffset: log.endOffset,
    maxTimestamp: -1,
  };
  portions.push(portion);
  return portion;
}

function finishOpenBatch(portion: Portion, config: TopicConfig, now: number): void {
  const { builder, log } = portion;
  if (builder.recordCount === 0) return;
  const baseOffset = portion.nextOffset;
  const recordCount = builder.recordCount;
  const compression = compressionOf(config);
  const isLogAppendTime = config.timestampType === "LogAppendTime";
  if (isLogAppendTime) portion.maxTimestamp = now;
  const sizeBytes = finishBatch(builder, {
    baseOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    compression,
    compressionLevel: levelOf(config, compression),
    logAppendTime: isLogAppendTime ? now : undefined,
  });
  portion.nextOffset = baseOffset + recordCount;
  checkBatchSize(log, config, sizeBytes);
}

/** Sees to it that there is room for all of them before any is written. */
function claimAll({ internals, topic, portions, now }: Call): void {
  if (portions.length === 0) return;
  let sizeBytes = 0;
  for (const { builder } of portions) sizeBytes += builder.batchStart;
  const target = portions.length === 1 ? portions[0]!.log.source : { topic: topic.name };
  claimSpace(internals.diskSpace, target, sizeBytes, now);
}

/** Writes the finished batches of a portion behind all that was appended before. */
function writePortion(portion: Portion, ack: Ack): Promise<void> | undefined {
  const { log, builder } = portion;
  log.gathered?.write();
  if (log.endOffset !== portion.baseOffset) {
    // Or a serde, a partitioner or a generator of the user's has appended in between.
    portion.baseOffset = log.endOffset;
    portion.nextOffset = placeBuilt(builder, log.endOffset, log.leaderEpoch);
  }
  return appendBuilt(log, builder, portion.nextOffset, ack);
}

function giveBack({ internals, portions }: Call): void {
  let kept = spares.get(internals);
  if (kept === undefined) {
    kept = [];
    spares.set(internals, kept);
  }
  for (const { builder } of portions) {
    if (kept.length >= sparesMax || builder.bytes.length > spareBytesMax) continue;
    resetBuilder(builder);
    kept.push(builder);
  }
}

async function offsetOfGathered(
  { index, outcome }: GatheredPlace,
  signal: AbortSignal | undefined,
  call: Call,
): Promise<number> {
  const { baseOffset, storedCount, failure } = await waitFor(outcome, signal, call);
  if (index >= storedCount) {
    countFailedAppend(call.topic.stats, failure);
    throw asTopicDeleted(call.internals, call.topic, failure);
  }
  return baseOffset + index;
}

/** Waits for a level to be reached, or for the signal that says not to. */
async function waitFor<T>(
  waiting: Promise<T>,
  signal: AbortSignal | undefined,
  { internals, topic }: Call,
): Promise<T> {
  try {
    return await (signal === undefined ? waiting : untilAborted(waiting, signal));
  } catch (error) {
    throw asTopicDeleted(internals, topic, error);
  }
}
