/** The folders of topics that come and go. */

import { hexOfUuid } from "../bytes/uuid.ts";
import { abandonLog } from "../log/log.ts";
import { joinPath } from "../platform/files.ts";
import { removeFolderWithFiles, setFolderAside, writeOffsets } from "./partitions.ts";
import type { StoreInternals, TopicState } from "./store.ts";
import { partitionFolderAsideName, partitionFolderName } from "./topic_name.ts";
import { randomUuid } from "./uuid.ts";

/**
 * Removes the folders of a topic that is no longer in the metadata, and closes its logs.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 * @throws What the file system throws first; what could be removed is gone all the same.
 */
export function removeTopicFolders(internals: StoreInternals, topic: TopicState): void {
  const { fs, folder } = internals;
  for (const { log } of topic.partitions) if (log !== undefined) abandonLog(log);
  internals.hasStaleOffsets = true;
  const tasks = [
    () => dropStaleOffsets(internals),
    ...topic.partitions.map(({ partition }) => () => removePartition(internals, topic, partition)),
    () => fs.syncFolder(folder),
  ];
  const errors: unknown[] = [];
  for (const task of tasks) {
    try {
      task();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/**
 * Makes sure that new partitions begin with nothing, before they are recorded: sets folders aside
 * that bear their names, as a deletion leaves them that could not remove them, and sees to it that
 * no offsets of them are recorded.
 *
 * @param internals The inside of a store.
 * @param name The topic's name.
 * @param from The first partition that is new.
 * @param to Behind the last one.
 * @throws What the file system throws; then there must be no such partitions.
 */
export function prepareFolders(
  internals: StoreInternals,
  name: string,
  from: number,
  to: number,
): void {
  const { fs, folder, randomBytes } = internals;
  if (internals.hasStaleOffsets) dropStaleOffsets(internals);
  for (let partition = from; partition < to; partition++) {
    const path = joinPath(folder, partitionFolderName(name, partition));
    if (fs.stat(path) === undefined) continue;
    setFolderAside(fs, folder, name, partition, hexOfUuid(randomUuid(randomBytes)));
  }
}

/** Offsets are recorded by names: a topic must not begin where another one of its name was. */
function dropStaleOffsets(internals: StoreInternals): void {
  writeOffsets(internals);
  internals.hasStaleOffsets = false;
}

function removePartition(
  { fs, folder, randomBytes }: StoreInternals,
  { name }: TopicState,
  partition: number,
): void {
  const path = joinPath(folder, partitionFolderName(name, partition));
  if (fs.stat(path) === undefined) return;
  const id = hexOfUuid(randomUuid(randomBytes));
  const target = joinPath(folder, partitionFolderAsideName(name, partition, id, "delete"));
  fs.rename(path, target);
  removeFolderWithFiles(fs, target);
}
