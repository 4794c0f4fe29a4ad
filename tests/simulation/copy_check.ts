/**
 * Copies of a store's folder: whether what must be in one of them is there.
 *
 * They are looked at between two lives of the store, by the process that will open it next, and are
 * removed then.
 */

import {
  checkStore,
  closeStore,
  committedOffsets,
  describeTopic,
  listTopics,
  openStore,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { readAll } from "./full_check.ts";
import { demand } from "./invariant.ts";
import type { ModelRecord, PartitionModel } from "./partition_model.ts";
import { knownRecord } from "./partition_model.ts";
import type { TopicModel } from "./topic_model.ts";
import type { World } from "./world.ts";
import { settled, trace } from "./world.ts";

/** What must be in the copy of a partition. */
export interface CopiedPartition {
  readonly placed: readonly (ModelRecord | undefined)[];
  /** Everything below it is there, from the start on. */
  readonly requiredEnd: number;
  /** The start lies between the two. */
  readonly startOffset: number;
  readonly startOffsetMax: number;
}

/** What must be in a copy. */
export interface CopyExpectation {
  readonly partitions: ReadonlyMap<PartitionModel, CopiedPartition>;
  /** Topics that must be there. */
  readonly topics: readonly TopicModel[];
  /** What cannot be read: the offsets of one batch. */
  readonly damage: CopyDamage | undefined;
}

/** A batch that was damaged. */
export interface CopyDamage {
  readonly model: PartitionModel;
  readonly baseOffset: number;
  readonly lastOffset: number;
}

/**
 * What must be in a copy that is made from now on.
 *
 * @param world The simulation.
 * @param ends Gives the end of what must be there of a partition.
 * @returns The partitions of all topics that there are.
 */
export function copiedPartitions(
  world: World,
  ends: (model: PartitionModel) => number,
): Map<PartitionModel, CopiedPartition> {
  const copied = new Map<PartitionModel, CopiedPartition>();
  for (const { partitions, isGone } of world.topics.all) {
    if (isGone) continue;
    for (const model of partitions) {
      const { placed, startOffset, startOffsetMax } = model;
      copied.set(model, {
        placed: placed.slice(),
        requiredEnd: ends(model),
        startOffset,
        startOffsetMax,
      });
    }
  }
  return copied;
}

/**
 * Opens a copy, compares it with what must be in it, and removes it.
 *
 * @param world The simulation, nothing open in it.
 * @param path Where the copy lies.
 * @param expected What must be in it.
 */
export async function checkCopy(
  world: World,
  path: string,
  expected: CopyExpectation,
): Promise<void> {
  const { disk } = world;
  trace(world, `the copy ${path} is looked at`);
  const opening = openStore(path, { ...disk.process, diskFreeBytesMin: 0 });
  const store = await settled(world, opening);
  demand(store !== undefined, () => `${path} is open`);
  const { failedPartitions } = store.recovery;
  demand(failedPartitions.length === 0, () => `${path} has lost ${failedPartitions.join(", ")}`);
  for (const { name, topicId } of expected.topics) {
    const isThere = listTopics(store).includes(name) &&
      describeTopic(store, name).topicId === topicId;
    demand(isThere, () => `topic ${name} (${topicId}) is not in ${path}`);
  }
  for (const [model, copied] of expected.partitions) {
    await checkCopied(world, store, model, copied, expected.damage);
  }
  await checkCommitted(world, store);
  await settled(world, closeStore(store));
  if (expected.damage === undefined) await checkWhole(world, path);
  removeCopy(world, path);
}

/** Removes a copy, or what there is of it. */
export function removeCopy({ disk: { fileSystem } }: World, path: string): void {
  if (fileSystem.stat(path) === undefined) return;
  for (const { name, isFolder } of fileSystem.list(path)) {
    const inner = `${path}/${name}`;
    if (isFolder) {
      for (const file of fileSystem.list(inner)) fileSystem.remove(`${inner}/${file.name}`);
    }
    if (isFolder) fileSystem.removeFolder(inner);
    else fileSystem.remove(inner);
  }
  fileSystem.removeFolder(path);
}

async function checkCopied(
  world: World,
  store: Store,
  model: PartitionModel,
  { placed, requiredEnd, startOffset, startOffsetMax }: CopiedPartition,
  damage: CopyDamage | undefined,
): Promise<void> {
  const { topic, topicId, partition, rules } = model;
  const description = listTopics(store).includes(topic) ? describeTopic(store, topic) : undefined;
  if (description?.topicId !== topicId || description.partitions.length <= partition) return;
  const where = `the copy of ${model.name}`;
  const found = await readAll(store, topic, partition, () => {});
  demand(
    found.startOffset >= startOffset && found.startOffset <= startOffsetMax,
    () => `${where} begins at ${found.startOffset}, not at ${startOffset} to ${startOffsetMax}`,
  );
  demand(
    found.endOffset >= requiredEnd,
    () => `${where} ends at ${found.endOffset}, but everything below ${requiredEnd} was there`,
  );
  const there = new Set<number>();
  for (const entry of found.records) {
    const record = knownRecord(model, world.records, entry);
    const known = placed[entry.offset];
    demand(
      known === undefined || known === record,
      () => `${where} has record ${record.id} at offset ${entry.offset}, not ${known?.id}`,
    );
    there.add(entry.offset);
  }
  for (let offset = found.startOffset; offset < requiredEnd; offset++) {
    const isDamaged = damage?.model === model && offset >= damage.baseOffset &&
      offset <= damage.lastOffset;
    const mayBeMissing = isDamaged || rules.isCompacted || placed[offset] === undefined;
    demand(
      there.has(offset) || mayBeMissing,
      () => `record ${placed[offset]?.id} at offset ${offset} is missing in ${where}`,
    );
  }
}

/** No group is beyond the end of a partition. */
async function checkCommitted({ groups }: World, store: Store): Promise<void> {
  const groupIds = new Set(Array.from(groups.byName.values(), ({ groupId }) => groupId));
  for (const groupId of groupIds) {
    for (const { topic, partition, offset } of await committedOffsets(store, groupId)) {
      const { endOffset } = describeTopic(store, topic).partitions[partition]!;
      demand(
        offset <= endOffset,
        () =>
          `group ${groupId} has committed ${offset} of ${topic}-${partition} in a copy, ` +
          `where it ends at ${endOffset}`,
      );
    }
  }
}

async function checkWhole({ disk: { fileSystem } }: World, path: string): Promise<void> {
  const { problems, partitions } = await checkStore(path, { fileSystem });
  const errors = [...problems, ...partitions.flatMap((part) => part.problems)]
    .filter(({ severity }) => severity === "error");
  demand(
    errors.length === 0,
    () => `checkStore found in ${path}: ${errors.map(({ message }) => message).join("; ")}`,
  );
}
