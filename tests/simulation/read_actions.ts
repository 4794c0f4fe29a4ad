/** What clients do to read: records from anywhere, as they come, and by time. */

import { offsetForTimestamp, offsetsOf, read, readBatches, recordsOf } from "../../mod.ts";
import type { ErrorCode, PartitionOffsets } from "../../mod.ts";
import { demand } from "./invariant.ts";
import type { PartitionModel } from "./partition_model.ts";
import { noteRead } from "./partition_model.ts";
import type { World } from "./world.ts";
import { attempt, deathOf, openStoreOf, pickPartition, start } from "./world.ts";

const limitMax = 20;
const batchLimitMax = 6;
const liveMsMax = 200;

/** A topic may be deleted, and retention may overtake whoever reads. */
export const readCodes: readonly ErrorCode[] = [
  "UNKNOWN_TOPIC_OR_PARTITION",
  "OFFSET_OUT_OF_RANGE",
  "HANDLE_CLOSED",
];

/** Reads some records of a partition from anywhere. */
export function readSome(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const from = pickOffset(world, model);
  const limit = 1 + world.random.below(limitMax);
  const name = `read ${model.name} from ${from} up to ${limit}`;
  start(world, name, async () => {
    await attempt(world, name, readCodes, () => readRecords(world, model, { from, limit }));
  });
}

/** Reads some batches of a partition from anywhere. */
export function readSomeBatches(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const from = pickOffset(world, model);
  const limit = 1 + world.random.below(batchLimitMax);
  const label = `readBatches ${model.name} from ${from} up to ${limit}`;
  start(world, label, async () => {
    await attempt(world, label, readCodes, async () => {
      const { topic, partition } = model;
      let next = from;
      let count = 0;
      const isDead = deathOf(world);
      for await (
        const batch of readBatches(openStoreOf(world), topic, { partition, from, limit })
      ) {
        if (isDead()) return;
        demand(++count <= limit, () => `${label} gave ${count} batches`);
        const isFirst = count === 1 && batch.baseOffset <= next && batch.lastOffset >= next;
        demand(
          isFirst ||
            (model.rules.isCompacted ? batch.baseOffset >= next : batch.baseOffset === next),
          () => `${label} gave a batch from ${batch.baseOffset} on where ${next} is wanted`,
        );
        next = batch.lastOffset + 1;
        for (const record of recordsOf(batch)) noteRead(model, world.records, record);
      }
    });
  });
}

/** Reads records as they come, for a while. */
export function readLive(world: World): void {
  const model = pickPartition(world);
  if (model === undefined || world.process === undefined) return;
  const from = pickOffset(world, model);
  const name = `read ${model.name} live from ${from}`;
  const stop = new AbortController();
  const { clock } = world.process;
  const timer = clock.startTimer(() => stop.abort(), 1 + world.random.below(liveMsMax));
  start(world, name, async () => {
    const { signal } = stop;
    const isOver = (error: unknown): boolean => signal.aborted && error === signal.reason;
    await attempt(
      world,
      name,
      readCodes,
      () =>
        readRecords(world, model, { from, live: true, signal }).catch((error) => {
          if (!isOver(error)) throw error;
        }),
    );
    clock.stopTimer(timer);
  });
}

async function readRecords(
  world: World,
  model: PartitionModel,
  options: {
    readonly from: number;
    readonly limit?: number;
    readonly live?: boolean;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  const { topic, partition, name } = model;
  const isDead = deathOf(world);
  let next = options.from;
  for await (const found of read(openStoreOf(world), topic, { ...options, partition })) {
    if (isDead()) return;
    demand(
      model.rules.isCompacted ? found.offset >= next : found.offset === next,
      () => `a reader of ${name} got offset ${found.offset} where ${next} is wanted`,
    );
    next = found.offset + 1;
    noteRead(model, world.records, found);
  }
}

/** Asks for the offset of a time. */
export function askForTime(world: World): void {
  const model = pickPartition(world);
  const record = model?.placed.at(-1 - world.random.below(10));
  if (model === undefined || record === undefined) return;
  const { timestamp } = record.record;
  const name = `offsetForTimestamp ${model.name} ${timestamp}`;
  start(world, name, async () => {
    await attempt(world, name, readCodes, () => {
      const { topic, partition } = model;
      const offsets = offsetsOf(openStoreOf(world), topic)[partition]!;
      const offset = offsetForTimestamp(openStoreOf(world), topic, partition, timestamp);
      // Damage is passed over, and what was read wrong counts as damaged.
      if (!world.hasFlips) checkTime(model, timestamp, offset, offsets);
    });
  });
}

/** Every record before the one that was found is older, as far as the model knows. */
function checkTime(
  model: PartitionModel,
  timestamp: number,
  offset: number | undefined,
  { startOffset, highWatermark }: PartitionOffsets,
): void {
  for (let before = startOffset; before < (offset ?? highWatermark); before++) {
    const record = model.placed[before];
    if (record === undefined || model.rules.isCompacted) continue;
    demand(
      record.record.timestamp < timestamp,
      () => `time ${timestamp} of ${model.name} is at ${offset}, but ${before} is not older`,
    );
  }
}

/** An offset that can be read, as far as is known. */
export function pickOffset({ random }: World, model: PartitionModel): number {
  const { startOffset, highWatermark } = model;
  const near = Math.max(startOffset, highWatermark - random.below(10));
  return random.pick([
    startOffset,
    near,
    startOffset + random.below(highWatermark - startOffset + 1),
  ]);
}
