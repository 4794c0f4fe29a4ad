/** What may be done in a step, and how often. */

import { appendMany, appendOne, flushAll, sendSome, settleProducer } from "./append_actions.ts";
import { askForCommitted, commitOne, commitOutside } from "./commit_actions.ts";
import { closeOneConsumer, openOneConsumer, pollOne } from "./consumer_actions.ts";
import { backUp } from "./backup_actions.ts";
import { deleteOneGroup, resetOne } from "./group_actions.ts";
import { handleEach, stopHandling } from "./handling_actions.ts";
import { pauseOne, resumeAll, seekOne } from "./position_actions.ts";
import { holdRange, sendHeld } from "./range_actions.ts";
import { sendFromRemote } from "./remote_actions.ts";
import { askForTime, readLive, readSome, readSomeBatches } from "./read_actions.ts";
import { askForStats } from "./stats_actions.ts";
import {
  addPartition,
  alterOne,
  compactOne,
  createOne,
  deleteOne,
  deleteSomeRecords,
  retain,
} from "./topic_actions.ts";
import { changeRoom } from "./weather.ts";
import type { Feature, World } from "./world.ts";
import { topicsNow } from "./world.ts";

interface Action {
  readonly run: (world: World) => void;
  readonly weight: number;
  readonly feature?: Feature;
}

const actions: readonly Action[] = [
  { run: appendOne, weight: 24 },
  { run: appendMany, weight: 16 },
  { run: flushAll, weight: 1 },
  { run: sendSome, weight: 16, feature: "producers" },
  { run: settleProducer, weight: 3, feature: "producers" },
  { run: sendFromRemote, weight: 8, feature: "remotes" },
  { run: readSome, weight: 8 },
  { run: readSomeBatches, weight: 4 },
  { run: readLive, weight: 3 },
  { run: askForTime, weight: 3 },
  { run: holdRange, weight: 3, feature: "ranges" },
  { run: sendHeld, weight: 4, feature: "ranges" },
  { run: backUp, weight: 2, feature: "backups" },
  { run: askForStats, weight: 2 },
  { run: openOneConsumer, weight: 3, feature: "consumers" },
  { run: pollOne, weight: 20, feature: "consumers" },
  { run: commitOne, weight: 6, feature: "consumers" },
  { run: closeOneConsumer, weight: 2, feature: "consumers" },
  { run: commitOutside, weight: 3, feature: "consumers" },
  { run: askForCommitted, weight: 2, feature: "consumers" },
  { run: seekOne, weight: 3, feature: "consumers" },
  { run: pauseOne, weight: 2, feature: "consumers" },
  { run: resumeAll, weight: 2, feature: "consumers" },
  { run: resetOne, weight: 2, feature: "consumers" },
  { run: deleteOneGroup, weight: 1, feature: "consumers" },
  { run: handleEach, weight: 3, feature: "handlers" },
  { run: stopHandling, weight: 2, feature: "handlers" },
  { run: createOne, weight: 4 },
  { run: deleteOne, weight: 1, feature: "topicChanges" },
  { run: addPartition, weight: 1, feature: "topicChanges" },
  { run: alterOne, weight: 2, feature: "topicChanges" },
  { run: deleteSomeRecords, weight: 2, feature: "deleteRecords" },
  { run: retain, weight: 3, feature: "retention" },
  { run: changeRoom, weight: 6, feature: "fullDisks" },
  { run: compactOne, weight: 2, feature: "compaction" },
];

/** With fewer there is little to do. */
const topicsMin = 2;

/**
 * Does one thing, which nobody waits for.
 *
 * @param world The simulation.
 */
export function act(world: World): void {
  if (topicsNow(world).length < topicsMin && world.random.chance(0.5)) return createOne(world);
  const allowed = actions.filter(({ feature }) =>
    feature === undefined || !world.without.has(feature)
  );
  let left = world.random.below(allowed.reduce((sum, { weight }) => sum + weight, 0));
  for (const { run, weight } of allowed) {
    left -= weight;
    if (left < 0) return run(world);
  }
}
