/** What clients do to write: single records, batches, and producers, none of them awaited. */

import {
  append,
  appendBatch,
  closeProducer,
  flush,
  flushProducer,
  openProducer,
  send,
} from "../../mod.ts";
import type { ErrorCode } from "../../mod.ts";
import { demand } from "./invariant.ts";
import type { Level, ModelRecord, PartitionModel } from "./partition_model.ts";
import { noteSent, noteStored, noteSynced, placedEnd } from "./partition_model.ts";
import { makeRecord } from "./record_content.ts";
import { countSent, countStored } from "./stats_actions.ts";
import type { OpenProducer, World } from "./world.ts";
import { attempt, newName, openStoreOf, pickPartition, start, topicsNow } from "./world.ts";

const batchRecordsMax = 8;
const sendsMax = 6;
const producersMax = 3;
/** Timestamps go back by so much at most, so that records of one partition are not in their order. */
const timestampsBackMs = 40;

/** A topic may be deleted, and a small segment may not take what is large. */
const appendCodes: readonly ErrorCode[] = ["UNKNOWN_TOPIC_OR_PARTITION", "RECORD_LIST_TOO_LARGE"];
/** What a producer may give up for. */
const sendCodes: readonly ErrorCode[] = [
  ...appendCodes,
  "REQUEST_TIMED_OUT",
  "BUFFER_EXHAUSTED",
  "HANDLE_CLOSED",
];
/** With these nothing was stored of a record that was appended by itself. */
const refusals: readonly ErrorCode[] = ["DISK_FULL", "RECORD_LIST_TOO_LARGE"];

/** Appends one record. */
export function appendOne(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const level = pickLevel(world);
  const record = newRecord(world, model, "append", level);
  const name = `append ${record.id} to ${model.name} at ${level}`;
  start(world, name, async () => {
    const { topic, partition } = model;
    const outcome = await attempt(
      world,
      name,
      appendCodes,
      () => append(openStoreOf(world), topic, { ...record.record, partition }, { ack: level }),
    );
    if (outcome.kind === "done") {
      const { offset, timestamp } = outcome.value;
      demand(timestamp === record.record.timestamp, () => `${name} got timestamp ${timestamp}`);
      noteStored(record, offset);
      countStored(world, record);
    } else if (outcome.kind === "failed") {
      record.state = refusals.includes(outcome.code) ? "refused" : "uncertain";
    }
  });
}

/** Appends several records to one partition, at once. */
export function appendMany(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const level = pickLevel(world);
  const count = 1 + world.random.below(batchRecordsMax);
  const records = Array.from({ length: count }, () => newRecord(world, model, "append", level));
  const name = `appendBatch ${records[0]!.id} to ${
    records.at(-1)!.id
  } to ${model.name} at ${level}`;
  start(world, name, async () => {
    const { topic, partition } = model;
    const values = records.map(({ record }) => ({ ...record, partition }));
    const outcome = await attempt(
      world,
      name,
      appendCodes,
      () => appendBatch(openStoreOf(world), topic, values, { ack: level }),
    );
    if (outcome.kind === "done") {
      const [place] = outcome.value;
      demand(
        place !== undefined && place.lastOffset - place.baseOffset === count - 1,
        () => `${name} got ${JSON.stringify(outcome.value)}`,
      );
      for (const [index, record] of records.entries()) {
        noteStored(record, place.baseOffset + index);
        countStored(world, record);
      }
    } else if (outcome.kind === "failed") {
      for (const record of records) record.state = "uncertain";
    }
  });
}

/** Opens a producer, unless there are enough. */
export function openOneProducer(world: World): void {
  if (world.producers.length >= producersMax) return;
  const { random } = world;
  const name = newName(world, "producer");
  const producer = openProducer(openStoreOf(world), {
    ack: "disk",
    lingerMs: random.pick([0, 0, 5, 20]),
    batchBytes: random.pick([100, 300, 1_000]),
    bufferBytes: random.pick([2_000, 1_000_000]),
    deliveryTimeoutMs: random.pick([100, 2_000, 120_000]),
    retryBackoffMs: 10,
    retryBackoffMaxMs: 100,
  });
  world.producers.push({ name, producer });
}

/** Sends a few records with a producer. */
export function sendSome(world: World): void {
  if (world.producers.length === 0) return openOneProducer(world);
  const open = world.random.pick(world.producers);
  const count = 1 + world.random.below(sendsMax);
  for (let index = 0; index < count; index++) {
    const model = pickPartition(world);
    if (model !== undefined) sendOne(world, open, model);
  }
}

function sendOne(world: World, { name, producer }: OpenProducer, model: PartitionModel): void {
  const level = pickLevel(world);
  const record = newRecord(world, model, name, level);
  const label = `send ${record.id} with ${name} to ${model.name} at ${level}`;
  start(world, label, async () => {
    const { topic, partition } = model;
    const outcome = await attempt(
      world,
      label,
      sendCodes,
      () => send(producer, topic, { ...record.record, partition }, { ack: level }),
    );
    if (outcome.kind === "done") {
      noteStored(record, outcome.value.offset);
      countStored(world, record);
    } else if (outcome.kind === "failed") record.state = "uncertain";
  });
}

/** Waits for a producer's sends, or ends it. */
export function settleProducer(world: World): void {
  if (world.producers.length === 0) return;
  const open = world.random.pick(world.producers);
  if (world.random.chance(0.5)) {
    const label = `flushProducer ${open.name}`;
    start(world, label, async () => {
      await attempt(world, label, ["HANDLE_CLOSED"], () => flushProducer(open.producer));
    });
    return;
  }
  world.producers = world.producers.filter((other) => other !== open);
  const label = `closeProducer ${open.name}`;
  start(world, label, async () => {
    await attempt(world, label, [], () => closeProducer(open.producer));
  });
}

/** Flushes the store: all that has an offset then is on disk. */
export function flushAll(world: World): void {
  const ends = topicsNow(world).flatMap(({ partitions }) =>
    partitions.map((model) => ({ model, endOffset: placedEnd(model) }))
  );
  start(world, "flush", async () => {
    const outcome = await attempt(
      world,
      "flush",
      ["HANDLE_CLOSED"],
      () => flush(openStoreOf(world)),
    );
    if (outcome.kind !== "done") return;
    for (const { model, endOffset } of ends) noteSynced(model, endOffset);
  });
}

function pickLevel({ random, without }: World): Level {
  const level = random.pick<Level>(["disk", "disk", "disk", "os", "memory"]);
  return level === "memory" && without.has("memory") ? "os" : level;
}

/** A record that nobody has sent yet, for a partition. */
export function newRecord(
  world: World,
  model: PartitionModel,
  source: string,
  level: Level,
): ModelRecord {
  const { random, records, disk } = world;
  const timestamp = disk.clock.now() - random.below(timestampsBackMs);
  const content = makeRecord(random, records.length, timestamp, model.rules.isCompacted);
  const record = noteSent(model, content, source, level, disk.clock.now());
  records.push(record);
  countSent(world, record);
  return record;
}
