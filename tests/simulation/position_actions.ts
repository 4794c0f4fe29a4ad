/** What consumers do to go on elsewhere, or not for a while: seek, pause and resume. */

import { pause, positionOf, resume, seek } from "../../mod.ts";
import type { ErrorCode } from "../../mod.ts";
import { pickConsumer } from "./consumer_actions.ts";
import { beginCommit, commitModel } from "./group_model.ts";
import { demand } from "./invariant.ts";
import type { PartitionModel } from "./partition_model.ts";
import { pickOffset } from "./read_actions.ts";
import type { OpenConsumer, World } from "./world.ts";
import { attempt, start, topicNow } from "./world.ts";

/** The partition may have left, its topic be gone, and retention have overtaken who seeks. */
const codes: readonly ErrorCode[] = [
  "HANDLE_CLOSED",
  "ILLEGAL_GENERATION",
  "OFFSET_OUT_OF_RANGE",
  "UNKNOWN_TOPIC_OR_PARTITION",
];

/** A consumer goes on somewhere else in one of its partitions. */
export function seekOne(world: World): void {
  const open = pickConsumer(world, ({ positions }) => positions.size > 0);
  if (open === undefined) return;
  const model = world.random.pick([...open.positions.keys()]);
  if (!isThere(world, model)) return;
  const { topic, partition } = model;
  const to = world.random.pick([pickOffset(world, model), "earliest", "latest"] as const);
  const label = `seek ${open.name} in ${model.name} to ${to}`;
  start(world, label, async () => {
    await attempt(world, label, codes, () => {
      seek(open.consumer, topic, partition, to);
      const position = positionOf(open.consumer, topic, partition);
      const isRight = typeof to === "number" ? position === to : position !== undefined;
      demand(isRight, () => `${label} has it go on with ${position}`);
      notePosition(world, open, model, position!);
    });
  });
}

/** A consumer pauses one of its partitions. */
export function pauseOne(world: World): void {
  const open = pickConsumer(world, ({ positions }) => positions.size > 0);
  if (open === undefined) return;
  const model = world.random.pick([...open.positions.keys()]);
  const { topic, partition } = model;
  const label = `pause ${open.name} in ${model.name}`;
  start(world, label, async () => {
    await attempt(world, label, codes, () => {
      pause(open.consumer, [{ topic, partition }]);
      if (isThere(world, model)) open.paused.set(model, open.pollCount);
    });
  });
}

/** A consumer goes on with what it has paused. */
export function resumeAll(world: World): void {
  const open = pickConsumer(world, ({ paused }) => paused.size > 0);
  if (open === undefined) return;
  const label = `resume ${open.name}`;
  start(world, label, async () => {
    await attempt(world, label, codes, () => {
      resume(open.consumer);
      open.paused.clear();
    });
  });
}

/** A poll that is under way may have taken what it gives before. */
function notePosition(
  world: World,
  open: OpenConsumer,
  model: PartitionModel,
  position: number,
): void {
  if (open.isPolling) open.sought.set(model, [...open.sought.get(model) ?? [], position]);
  else open.positions.set(model, position);
  if (!open.isAutoCommitting) return;
  beginCommit(world.groups, commitModel(world.groups, open.groupId, model), position);
}

function isThere(world: World, { topic, topicId }: PartitionModel): boolean {
  return topicNow(world, topic)?.topicId === topicId;
}
