/** Whether a store counts what was appended to it as it was. */

import { statsOf } from "../../mod.ts";
import { demand } from "./invariant.ts";
import type { Level, ModelRecord, PartitionModel } from "./partition_model.ts";
import type { World } from "./world.ts";
import { attempt, openStoreOf, start, topicNow } from "./world.ts";

const levels: readonly Level[] = ["disk", "os", "memory"];

type LevelCounts = Record<Level, number>;

/** What was appended to a topic in this life of the store. */
export interface AppendCounts {
  /** Records that were sent, whatever came of it. */
  readonly sent: LevelCounts;
  /** Records that were acknowledged. */
  readonly stored: LevelCounts;
  /** Those that were sent. */
  readonly records: Set<ModelRecord>;
}

/** A record is sent, maybe again. */
export function countSent(world: World, record: ModelRecord): void {
  const { sent, records } = countsOf(world, record.model);
  sent[record.level]++;
  records.add(record);
}

/** A record was acknowledged that nobody had sent before; maybe as its store was dying. */
export function countStored(world: World, record: ModelRecord): void {
  const { stored, records } = countsOf(world, record.model);
  if (records.has(record)) stored[record.level]++;
}

/** Asks for the statistics, and compares them with what is known. */
export function askForStats(world: World): void {
  start(world, "statsOf", async () => {
    await attempt(world, "statsOf", ["HANDLE_CLOSED"], () => {
      const { topics, totals } = statsOf(openStoreOf(world), { partitions: true });
      for (const { topic, appends, partitionStats = [] } of topics) {
        if (topic.startsWith("__")) continue;
        const known = topicNow(world, topic);
        const counts = known && world.counts.get(known.topicId);
        for (const level of counts === undefined ? [] : levels) {
          const { records } = appends[level];
          const { [level]: sent } = counts!.sent;
          const { [level]: stored } = counts!.stored;
          demand(
            stored <= records && records <= sent,
            () =>
              `${records} records of ${topic} were appended at ${level}, but ${stored} were ` +
              `acknowledged and ${sent} sent`,
          );
        }
        for (const { partition, offsets, segments } of partitionStats) {
          const end = known?.partitions[partition]?.endOffset ?? 0;
          demand(
            offsets === undefined || (offsets.endOffset >= end && segments > 0),
            () => `${topic}-${partition} is said to end at ${offsets?.endOffset}, not at ${end}`,
          );
        }
      }
      const logBytes = topics.reduce((sum, topic) => sum + topic.logBytes, 0);
      demand(
        totals.logBytes === logBytes,
        () => `all topics have ${totals.logBytes} bytes, and one by one ${logBytes}`,
      );
    });
  });
}

function countsOf({ counts }: World, { topicId }: PartitionModel): AppendCounts {
  let found = counts.get(topicId);
  if (found === undefined) {
    found = {
      sent: { disk: 0, os: 0, memory: 0 },
      stored: { disk: 0, os: 0, memory: 0 },
      records: new Set(),
    };
    counts.set(topicId, found);
  }
  return found;
}
