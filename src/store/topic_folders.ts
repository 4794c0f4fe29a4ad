/** The folders of topics that come and go. */

import { hexOfUuid } from "../bytes/uuid.ts";
import type { Log } from "../log/log.ts";
import { abandonLog } from "../log/log.ts";
import { releaseFiles } from "../log/retired_segments.ts";
import { isDiskFull } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import {
  removeFolderWithFiles,
  setFolderAside,
  writeFirstDirtyOffsets,
  writeOffsets,
  writeRecoveryPoints,
  writeStartOffsets,
} from "./partitions.ts";
import type { StoreInternals, TopicState } from "./store.ts";
import { cleanerOffsetName, logStartName, recoveryPointName } from "./store_files.ts";
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
    ...topic.partitions.map(({ partition }) => () => removePartition(internals, topic, partition)),
    () => fs.syncFolder(folder),
    // On a full disk there is room for it only now.
    () => dropStaleOffsets(internals),
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

/**
 * Records the offsets of the partitions that there are, and thereby forgets those of any others. A
 * full disk keeps no store from being opened: then it is done before a topic is made.
 *
 * @param internals The inside of a store.
 * @returns The names of the files that the disk did not take.
 * @throws What the file system throws but for that.
 */
export function settleOffsets(internals: StoreInternals): string[] {
  const writes = [
    { name: logStartName, write: writeStartOffsets },
    { name: recoveryPointName, write: writeRecoveryPoints },
    { name: cleanerOffsetName, write: writeFirstDirtyOffsets },
  ];
  const unwritten: string[] = [];
  for (const { name, write } of writes) {
    try {
      write(internals);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      unwritten.push(name);
    }
  }
  if (unwritten.length > 0) internals.hasStaleOffsets = true;
  return unwritten;
}

/**
 * Lets go of the files of a log that were held to be copied. Those of a topic that was deleted
 * meanwhile are removed with the last one who held them.
 *
 * @param internals The inside of a store, open or closed.
 * @param log The log.
 */
export function releaseLogFiles(internals: StoreInternals, log: Log): void {
  const { fs, folder, lock } = internals;
  releaseFiles(log);
  const { topic, partition } = log.source;
  const isDeleted = log.folder !== joinPath(folder, partitionFolderName(topic, partition));
  if (!isDeleted || log.copyCount > 0 || !lock.isHeld) return;
  try {
    removeFolderWithFiles(fs, log.folder);
  } catch (error) {
    // The next opening removes what is left.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** Offsets are recorded by names: a topic must not begin where another one of its name was. */
function dropStaleOffsets(internals: StoreInternals): void {
  writeOffsets(internals);
  internals.hasStaleOffsets = false;
}

function removePartition(
  { fs, folder, randomBytes }: StoreInternals,
  { name, partitions }: TopicState,
  partition: number,
): void {
  const path = joinPath(folder, partitionFolderName(name, partition));
  if (fs.stat(path) === undefined) return;
  const id = hexOfUuid(randomUuid(randomBytes));
  const target = joinPath(folder, partitionFolderAsideName(name, partition, id, "delete"));
  fs.rename(path, target);
  const log = partitions[partition]?.log;
  if (log !== undefined && log.copyCount > 0) log.folder = target;
  else removeFolderWithFiles(fs, target);
}
