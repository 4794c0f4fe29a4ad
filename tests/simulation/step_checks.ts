/** What is checked after every step: offsets, and that only what may go has gone. */

import { internalsOf } from "../../src/store/store.ts";
import { demand } from "./invariant.ts";
import type { PartitionModel } from "./partition_model.ts";
import type { World } from "./world.ts";
import { topicsNow } from "./world.ts";

/**
 * Looks at the offsets of all partitions that are open, behind the back of the store: asking for
 * them would have it write what it has accepted.
 *
 * @param world The simulation, whose process lives.
 * @throws AssertionError if an invariant does not hold.
 */
export function checkStep(world: World): void {
  if (world.store === undefined) return;
  const { topics } = internalsOf(world.store);
  for (const { name, partitions } of topicsNow(world)) {
    for (const model of partitions) {
      const log = topics.get(name)?.partitions[model.partition]?.log;
      if (log !== undefined) checkOffsets(world, model, log);
    }
  }
}

/** The offsets of one partition are in their order, and none but the start has jumped or gone back. */
export function checkOffsets(
  world: World,
  model: PartitionModel,
  { startOffset, highWatermark, endOffset }: {
    readonly startOffset: number;
    readonly highWatermark: number;
    readonly endOffset: number;
  },
): void {
  const { name } = model;
  demand(
    startOffset <= highWatermark && highWatermark <= endOffset,
    () => `${name} has start ${startOffset}, high watermark ${highWatermark}, end ${endOffset}`,
  );
  demand(
    highWatermark >= model.highWatermark,
    () => `the high watermark of ${name} went back from ${model.highWatermark} to ${highWatermark}`,
  );
  demand(
    endOffset >= model.endOffset,
    () => `the end of ${name} went back from ${model.endOffset} to ${endOffset}`,
  );
  model.highWatermark = highWatermark;
  model.endOffset = endOffset;
  checkStart(world, model, startOffset);
}

/**
 * A log begins no earlier than was acknowledged, and no later than was asked for or its retention
 * allows.
 */
export function checkStart(world: World, model: PartitionModel, startOffset: number): void {
  const { name } = model;
  demand(
    startOffset >= model.startOffset,
    () => `${name} begins at ${startOffset}, but ${model.startOffset} was acknowledged`,
  );
  if (startOffset <= model.startOffsetMax) return;
  checkRetention(world, model, startOffset);
  model.startOffsetMax = startOffset;
}

function checkRetention(world: World, model: PartitionModel, startOffset: number): void {
  const { name, placed, sent, rules: { retentionBytes, retentionMs } } = model;
  const lines = `${name} begins at ${startOffset} instead of ${model.startOffsetMax}`;
  demand(retentionMs >= 0 || retentionBytes >= 0, () => `${lines}, and nothing may go`);
  if (retentionMs >= 0) {
    const endMs = world.disk.clock.now() - retentionMs;
    for (let offset = model.startOffsetMax; offset < startOffset; offset++) {
      const record = placed[offset]?.record;
      demand(
        record === undefined || record.timestamp < endMs,
        () => `${lines}, but ${offset} is younger than ${retentionMs} ms`,
      );
    }
    return;
  }
  // What has no place may lie behind the start, or nowhere.
  let keptBytesMax = 0;
  for (const { offset, sizeBytes } of sent) {
    if (offset < 0 || offset >= startOffset) keptBytesMax += sizeBytes;
  }
  demand(
    keptBytesMax >= retentionBytes,
    () => `${lines}, which leaves ${keptBytesMax} of ${retentionBytes} bytes`,
  );
}
