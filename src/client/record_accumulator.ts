/**
 * Collects records into batches: each is encoded at once into the builder of its partition.
 *
 * What a batch counts for in `bufferBytes` is what it really takes: the whole of its builder until
 * it is written, and for each record its promise until that is settled.
 */

import { Buffer } from "node:buffer";
import type { Ack } from "../log/log.ts";
import { appendRecord } from "../record/batch_builder.ts";
import type { Content, HeaderInput } from "../record/record.ts";
import type { RandomBytes } from "../platform/random.ts";
import { choosePartition } from "../store/partitioner.ts";
import { logOf } from "../store/partitions.ts";
import { getPartitionState, getTopicState } from "../store/store.ts";
import { getPartitioner } from "../store/topics.ts";
import { checkNotInternal } from "../store/topic_name.ts";
import { batchBytesMaxOf } from "./batch_limits.ts";
import { returnBuilder, takeBuilder } from "./builder_pool.ts";
import type {
  PartitionQueue,
  ProducerBatch,
  ProducerInternals,
  Settle,
  TopicRoute,
} from "./producer_state.ts";
import { producerClosedError } from "./producer_state.ts";
import type { PendingSend } from "./send_queue.ts";

/**
 * What a record takes beside its bytes until it is acknowledged: a promise, what settles it, and who
 * waits for it.
 */
const recordOverheadBytes = 320;
/** The most that the lengths, deltas and counts of a record take beside its key and value. */
const recordFrameBytes = 32;
/** Texts up to this length are taken to have the most bytes that they may have. */
const textLengthCounted = 1024;

/**
 * Where the records of a topic go.
 *
 * @param producer The inside of a producer.
 * @param name The topic's name.
 * @returns The same for as long as the topic lives.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_TOPIC_EXCEPTION` for a topic that the
 * store keeps its own state in.
 */
export function routeOf(producer: ProducerInternals, name: string): TopicRoute {
  // Routes of topics that are deleted are taken out when that happens.
  const known = producer.routes.get(name);
  if (known !== undefined) return known;
  const topic = getTopicState(producer.store, name);
  checkNotInternal(topic.name, "send to");
  const route: TopicRoute = { topic, partitionerState: { partition: -1, bytes: 0 }, queues: [] };
  producer.routes.set(name, route);
  return route;
}

/**
 * How much of `bufferBytes` a record takes at most, its promise included.
 *
 * @param key The key as it is stored.
 * @param value The value as it is stored.
 * @param headers The headers.
 * @returns A number of bytes.
 */
export function sizeBoundOf(
  key: Content,
  value: Content,
  headers: readonly HeaderInput[],
): number {
  let size = recordOverheadBytes + recordFrameBytes + sizeBoundOfContent(key) +
    sizeBoundOfContent(value);
  for (const header of headers) {
    size += recordFrameBytes + sizeBoundOfContent(header.key) + sizeBoundOfContent(header.value);
  }
  return size;
}

/**
 * Whether the buffer takes a record now.
 *
 * @param producer The inside of a producer.
 * @param sizeBytes What `sizeBoundOf` says of the record.
 * @returns True if there is room. A record begins a builder that is larger, or makes one grow, so
 * that the last one that has room may take more than there is.
 */
export function hasRoom(producer: ProducerInternals, sizeBytes: number): boolean {
  return producer.usedBytes + sizeBytes <= producer.settings.bufferBytes;
}

/**
 * Encodes a record at the end of what goes to its partition.
 *
 * @param producer The inside of a producer.
 * @param pending The record, serialized. Records of other levels are in other batches.
 * @returns The batch that it is in. If it is the only record there, the batch has just begun; if
 * the queue has batches that are ready, they can be written.
 * @throws TypeError, RangeError or OttlaError if the record cannot be encoded or its partition
 * cannot be used; nothing of it is in a batch then.
 */
export function addRecord(producer: ProducerInternals, pending: PendingSend): ProducerBatch {
  const { route, ack, timestamp, storedKey: key, storedValue: value, headers } = pending;
  const chosen = pending.partition ?? partitionFor(producer, route, key, value);
  // Serdes and partitioners are a user's code: they may do anything.
  if (producer.state === "closed") throw producerClosedError();
  const known = typeof chosen === "number" ? route.queues[chosen] : undefined;
  const queue = known ?? addQueue(producer, route, chosen);
  const limitBytes = Math.min(producer.settings.batchBytes, batchBytesMaxOf(route.topic.config));
  let batch = queue.open;
  const isJoined = batch !== undefined && batch.ack === ack &&
    appendRecord(batch.builder!, timestamp, key, value, headers, limitBytes);
  if (batch === undefined || !isJoined) {
    batch = openBatch(producer, queue, ack, pending.send, producer.store.clock.now());
    try {
      appendRecord(batch.builder!, timestamp, key, value, headers);
    } catch (error) {
      releaseBuilder(producer, batch);
      throw error;
    }
    sealBatch(queue);
    queue.open = batch;
  }
  noteRecord(producer, batch, key !== null, timestamp, pending.settle);
  return batch;
}

/**
 * Counts a record that was encoded.
 *
 * @param producer The inside of a producer.
 * @param batch The batch whose builder it is in.
 * @param hasKey Whether it has a key.
 * @param timestamp The record's.
 * @param settle Settles its promise.
 */
export function noteRecord(
  producer: ProducerInternals,
  batch: ProducerBatch,
  hasKey: boolean,
  timestamp: number,
  settle: Settle,
): void {
  if (!hasKey) batch.isKeyed = false;
  batch.settles.push(settle);
  batch.timestamps.push(timestamp);
  const grownBytes = batch.builder!.bytes.length - batch.capacityBytes;
  const addedBytes = grownBytes + recordOverheadBytes;
  batch.capacityBytes += grownBytes;
  batch.reservedBytes += addedBytes;
  producer.usedBytes += addedBytes;
}

/**
 * Ends the batch that takes records, if it has any.
 *
 * @param queue The queue of its partition.
 */
export function sealBatch(queue: PartitionQueue): void {
  if (queue.open === undefined) return;
  queue.ready.push(queue.open);
  queue.open = undefined;
}

/**
 * A batch without records.
 *
 * @param producer The inside of a producer.
 * @param queue The queue of its partition; the batch is not in it yet.
 * @param ack What its records wait for.
 * @param firstSend The number of its first send.
 * @param createdMs When it gets its first record.
 * @returns The batch.
 */
export function openBatch(
  producer: ProducerInternals,
  queue: PartitionQueue,
  ack: Ack,
  firstSend: number,
  createdMs: number,
): ProducerBatch {
  const builder = takeBuilder(producer.pool);
  const capacityBytes = builder.bytes.length;
  producer.usedBytes += capacityBytes;
  return {
    queue,
    ack,
    firstSend,
    createdMs,
    builder,
    reservedBytes: capacityBytes,
    capacityBytes,
    settles: [],
    timestamps: [],
    isKeyed: true,
    isFinished: false,
    appendTime: undefined,
    attempts: 0,
    failure: undefined,
    isSettled: false,
  };
}

/**
 * Gives the builder of a batch back that is written, or will not be.
 *
 * @param producer The inside of a producer.
 * @param batch The batch.
 */
export function releaseBuilder(producer: ProducerInternals, batch: ProducerBatch): void {
  const { builder } = batch;
  if (builder === undefined) return;
  batch.builder = undefined;
  batch.reservedBytes -= batch.capacityBytes;
  producer.usedBytes -= batch.capacityBytes;
  returnBuilder(producer.pool, builder);
}

function partitionFor(
  producer: ProducerInternals,
  route: TopicRoute,
  key: Content,
  value: Content,
): number {
  const { store, settings } = producer;
  const { topic } = route;
  const partitionCount = topic.partitions.length;
  if (settings.partitioner === "random") {
    return randomPartition(store.randomBytes, partitionCount);
  }
  return choosePartition(
    settings.partitioner ?? getPartitioner(store, topic),
    route.partitionerState,
    key,
    value,
    partitionCount,
    store.randomBytes,
  );
}

function randomPartition(randomBytes: RandomBytes, partitionCount: number): number {
  const bytes = randomBytes(4);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) % partitionCount;
}

/** Opens the log as well, so that whoever sends to one that cannot be opened is told at once. */
function addQueue(
  producer: ProducerInternals,
  route: TopicRoute,
  partition: number,
): PartitionQueue {
  const state = getPartitionState(route.topic, partition);
  logOf(producer.store, route.topic, state);
  const queue: PartitionQueue = {
    route,
    state,
    ready: [],
    open: undefined,
    isListed: false,
    retryTimer: undefined,
    identity: undefined,
    nextSequence: 0,
  };
  route.queues[partition] = queue;
  return queue;
}

function sizeBoundOfContent(content: Content): number {
  if (content === null) return 0;
  if (typeof content !== "string") return content.length;
  // A unit of UTF-16 takes three bytes of UTF-8 at most. For a long text it is worth while to count.
  return content.length > textLengthCounted ? Buffer.byteLength(content) : 3 * content.length;
}
