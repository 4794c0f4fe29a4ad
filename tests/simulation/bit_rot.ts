/**
 * A bit that a disk gives back wrong in a store that no power cut has touched: the batch that it is
 * in is lost, and nothing else.
 *
 * It is a copy of the folder that is damaged, since damage is there to stay.
 */

import { filesOf } from "../../src/testing/mod.ts";
import { checkCopy, copiedPartitions } from "./copy_check.ts";
import type { CopyDamage } from "./copy_check.ts";
import type { PartitionModel } from "./partition_model.ts";
import type { World } from "./world.ts";

const storePath = "/data";
const copyPath = "/rotten";
/** Where things are in the header of a batch. */
const lengthAt = 8;
const attributesAt = 21;
const lastOffsetDeltaAt = 23;
const lengthEnd = 12;

interface StoredBatch {
  readonly model: PartitionModel;
  readonly path: string;
  readonly position: number;
  readonly sizeBytes: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
}

/**
 * Opens a copy of the store in which one batch is damaged.
 *
 * @param world The simulation, nothing open in it and no power cut since it was last compared.
 */
export async function checkRotten(world: World): Promise<void> {
  const { random } = world;
  const batches = world.topics.all.flatMap((topic) =>
    topic.isGone || topic.isDeleting || !topic.isCreated ? [] : topic.partitions.flatMap((model) =>
      // Nothing tells a torn end from a damaged one.
      batchesOf(world, model).slice(0, -1)
    )
  );
  if (batches.length === 0) return;
  const batch = random.pick(batches);
  copyStore(world);
  damage(world, batch);
  const partitions = copiedPartitions(
    world,
    ({ diskEnd, processEnd }) => Math.max(diskEnd, processEnd),
  );
  // Retention may have moved a start that nobody has seen since.
  for (const [model, copied] of partitions) {
    partitions.set(model, { ...copied, startOffsetMax: Infinity });
  }
  const topics = world.topics.all.filter(({ isGone, isDeleting, isCreated }) =>
    isCreated && !isGone && !isDeleting
  );
  const { model, baseOffset, lastOffset } = batch;
  const lost: CopyDamage = { model, baseOffset, lastOffset };
  await checkCopy(world, copyPath, { partitions, topics, damage: lost });
}

function copyStore({ disk }: World): void {
  const { fileSystem } = disk;
  fileSystem.makeFolder(copyPath);
  for (const { path, isFolder, sizeBytes } of filesOf(disk)) {
    if (!path.startsWith(`${storePath}/`)) continue;
    const target = copyPath + path.slice(storePath.length);
    if (isFolder) {
      fileSystem.makeFolder(target);
      continue;
    }
    const bytes = new Uint8Array(sizeBytes);
    const source = fileSystem.open(path, "read");
    fileSystem.read(source, bytes, 0);
    fileSystem.close(source);
    const copy = fileSystem.open(target, "create");
    // What is preallocated takes no room.
    fileSystem.write(copy, bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1), 0);
    fileSystem.truncate(copy, sizeBytes);
    fileSystem.close(copy);
  }
}

/** Turns one bit; where offsets may be left out only one that a checksum covers. */
function damage({ disk: { fileSystem }, random }: World, batch: StoredBatch): void {
  const { model, path, position, sizeBytes } = batch;
  const from = model.rules.isCompacted ? attributesAt : 0;
  const at = position + from + random.below(sizeBytes - from);
  const file = fileSystem.open(copyPath + path.slice(storePath.length), "write");
  const byte = new Uint8Array(1);
  fileSystem.read(file, byte, at);
  byte[0] = byte[0]! ^ (1 << random.below(8));
  fileSystem.write(file, byte, at);
  fileSystem.close(file);
}

/** The whole batches in the files of a partition, in order. */
function batchesOf({ disk }: World, model: PartitionModel): StoredBatch[] {
  const { fileSystem } = disk;
  const folder = `${storePath}/${model.topic}-${model.partition}/`;
  const logs = filesOf(disk).filter(({ path }) =>
    path.startsWith(folder) && /\d{20}\.log$/.test(path)
  );
  const batches: StoredBatch[] = [];
  for (const { path, sizeBytes: fileBytes } of logs) {
    const bytes = new Uint8Array(fileBytes);
    const file = fileSystem.open(path, "read");
    fileSystem.read(file, bytes, 0);
    fileSystem.close(file);
    const view = new DataView(bytes.buffer);
    for (let position = 0; position + attributesAt < fileBytes;) {
      const sizeBytes = lengthEnd + view.getInt32(position + lengthAt);
      if (sizeBytes <= attributesAt || position + sizeBytes > fileBytes) break;
      const baseOffset = Number(view.getBigInt64(position));
      const lastOffset = baseOffset + view.getInt32(position + lastOffsetDeltaAt);
      batches.push({ model, path, position, sizeBytes, baseOffset, lastOffset });
      position += sizeBytes;
    }
  }
  return batches;
}
