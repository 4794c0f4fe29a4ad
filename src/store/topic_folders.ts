/** The folders of topics that come and go. */

import { hexOfUuid } from "../bytes/uuid.ts";
import { abandonLog } from "../log/log.ts";
import { joinPath } from "../platform/files.ts";
import {
  removeFolderWithFiles,
  setFolderAside,
  writeRecoveryPoints,
  writeStartOffsets,
} from "./partitions.ts";
import type { StoreInternals, TopicState } from "./store.ts";
import { partitionFolderAsideName, partitionFolderName } from "./topic_name.ts";
import { randomUuid } from "./uuid.ts";

/**
 * Removes the folders of a topic that is no longer in the metadata, and closes its logs.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 */
export function removeTopicFolders(internals: StoreInternals, topic: TopicState): void {
  const { fs, folder, randomBytes } = internals;
  for (const { log } of topic.partitions) if (log !== undefined) abandonLog(log);
  // Recorded for the folders' names: a topic of the same name must not begin where this one did.
  writeStartOffsets(internals);
  writeRecoveryPoints(internals);
  for (const { partition } of topic.partitions) {
    const path = joinPath(folder, partitionFolderName(topic.name, partition));
    if (fs.stat(path) === undefined) continue;
    const id = hexOfUuid(randomUuid(randomBytes));
    const target = joinPath(folder, partitionFolderAsideName(topic.name, partition, id, "delete"));
    fs.rename(path, target);
    removeFolderWithFiles(fs, target);
  }
  fs.syncFolder(folder);
}

/**
 * Sets folders aside that bear the names of new partitions: what a deletion could not remove must
 * not be taken for the partitions of a new topic of that name.
 *
 * @param internals The inside of a store.
 * @param topic The topic.
 * @param from The first partition that is new.
 */
export function setFoldersAside(internals: StoreInternals, topic: TopicState, from: number): void {
  const { fs, folder, randomBytes } = internals;
  for (const { partition } of topic.partitions.slice(from)) {
    const path = joinPath(folder, partitionFolderName(topic.name, partition));
    if (fs.stat(path) !== undefined) {
      setFolderAside(fs, folder, topic.name, partition, hexOfUuid(randomUuid(randomBytes)));
    }
  }
}
