/**
 * Repairs the files in the root of a store: whom it belongs to, and what is recorded of its logs.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { PartitionOffset } from "../log/checkpoint_file.ts";
import { printOffsetCheckpoint, readOffsetCheckpoint } from "../log/checkpoint_file.ts";
import { joinPath, readFile, replaceFile } from "../platform/files.ts";
import { recordedPlaces } from "./check_identity.ts";
import type { MetaProperties } from "./meta_properties.ts";
import { metaPropertiesName, parseMetaProperties, printMetaProperties } from "./meta_properties.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { moveFileAside, moveFolderAside, removeKept, replaceKept } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";
import {
  cleanShutdownName,
  metaFileName,
  partitionersName,
  readMetaFile,
  readPartitioners,
  removePowerLoss,
} from "./store_files.ts";
import { parsePartitionFolderName, partitionFolderName } from "./topic_name.ts";

/** Whom a folder belongs to. */
export interface Identity {
  readonly clusterId: string;
  readonly nodeId: number;
  readonly directoryId: string;
}

const clusterIdPattern = /(?:^|\n)cluster\.id=([A-Za-z0-9_-]{1,64})(?:\r?\n|$)/;

/**
 * Finds out whom a store belongs to, from its `meta.properties` and from what the metadata says of
 * its partitions, and writes that if the file does not say it.
 *
 * @param repair The repair.
 * @param image The metadata.
 * @param clusterId What is known of it from elsewhere.
 * @param newId Gives an id where nothing tells.
 * @returns Whom it belongs to.
 */
export function repairIdentity(
  repair: Repair,
  image: MetadataImage,
  clusterId: string | undefined,
  newId: () => string,
): Identity {
  const { fs, folder } = repair;
  const path = metaFileName(fs, folder);
  const bytes = readableMetaFile(repair);
  const found = findIdentity(bytes, path);
  const { nodeIds, directoryIdsOf } = recordedPlaces(image);
  const isNodeKnown = found?.nodeId !== undefined &&
    (nodeIds.length === 0 || nodeIds.includes(found.nodeId));
  const nodeId = isNodeKnown ? found.nodeId! : nodeIds[0] ?? found?.nodeId ?? 1;
  const directoryIds = directoryIdsOf(nodeId);
  const isDirectoryKnown = found?.directoryId !== undefined &&
    (directoryIds.length === 0 || directoryIds.includes(found.directoryId));
  const directoryId = isDirectoryKnown
    ? found.directoryId!
    : directoryIds[0] ?? found?.directoryId ?? newId();
  const text = bytes === undefined ? "" : new TextDecoder("latin1").decode(bytes);
  const savedClusterId = found?.clusterId ?? clusterIdPattern.exec(text)?.[1] ?? clusterId;
  const identity = { clusterId: savedClusterId ?? newId(), nodeId, directoryId };
  const hasAll = found?.clusterId !== undefined && isNodeKnown &&
    (isDirectoryKnown || (found.directoryId === undefined && directoryIds.length === 0));
  if (hasAll) return identity;
  const told = savedClusterId === undefined
    ? "a new cluster.id, as nothing tells the old one"
    : `cluster.id ${identity.clusterId}`;
  const message =
    `It is written anew with ${told}, node.id ${nodeId} and directory.id ${directoryId}`;
  replaceKept(repair, path, printMetaProperties(identity), message);
  return identity;
}

function readableMetaFile({ fs, folder }: Repair): Uint8Array | undefined {
  try {
    return readMetaFile(fs, folder);
  } catch (error) {
    if (error instanceof OttlaError) return undefined;
    throw error;
  }
}

function findIdentity(bytes: Uint8Array | undefined, path: string): MetaProperties | undefined {
  try {
    return bytes === undefined ? undefined : parseMetaProperties(bytes, path);
  } catch (error) {
    if (isOttlaError(error, "STORE_INVALID")) return undefined;
    throw error;
  }
}

/**
 * Makes sure that no broker starts on a store that is half repaired, and that the next opening
 * recovers it.
 *
 * @param repair The repair, which is about to change something.
 */
export function markUnclean(repair: Repair): void {
  const { fs, folder, isDryRun } = repair;
  for (const name of [cleanShutdownName, ".kafka_cleanshutdown"]) {
    const path = joinPath(folder, name);
    if (fs.stat(path) === undefined) continue;
    moveFileAside(repair, name);
  }
  if (isDryRun) return;
  // A log that ends at a hole was mended; what lies behind it is not to be cut off any more.
  removePowerLoss(fs, folder);
  const shown = joinPath(folder, metaPropertiesName);
  const hidden = joinPath(folder, `ottla.${metaPropertiesName}`);
  const bytes = readFile(fs, shown);
  if (bytes !== undefined) {
    if (fs.stat(hidden) === undefined) replaceFile(fs, hidden, bytes);
    fs.remove(shown);
  }
  fs.syncFolder(folder);
}

/**
 * Moves folders out of the store that are none of its own: in the root those that are no
 * partition's, for which every opening would refuse it, and in a partition's folder all of them, as
 * they may have the place of a file.
 *
 * @param repair The repair.
 */
export function repairSubFolders(repair: Repair): void {
  const { fs, folder } = repair;
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder || name === "remote-log-index-cache" || name === "lost+found") continue;
    try {
      parsePartitionFolderName(name);
    } catch {
      moveFolderAside(repair, name, "The folder is no partition's");
      continue;
    }
    for (const inner of fs.list(joinPath(folder, name))) {
      if (!inner.isFolder) continue;
      const path = joinPath(name, inner.name);
      moveFolderAside(repair, path, "The folder is none of a partition's files");
    }
  }
}

/**
 * Removes the file of partitioners if it cannot be read.
 *
 * @param repair The repair.
 */
export function repairPartitioners(repair: Repair): void {
  try {
    readPartitioners(repair.fs, repair.folder);
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    const message = "It cannot be read; topics with a partitioner of their own get the store's";
    removeKept(repair, partitionersName, message);
  }
}

/**
 * Takes entries out of a checkpoint, or removes it if it cannot be read.
 *
 * @param repair The repair.
 * @param name The checkpoint.
 * @param judge Says what is wrong with an entry, or undefined if nothing is.
 */
export function repairCheckpoint(
  repair: Repair,
  name: string,
  judge: (entry: PartitionOffset) => string | undefined,
): void {
  let entries: PartitionOffset[];
  try {
    entries = readOffsetCheckpoint(repair.fs, joinPath(repair.folder, name));
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    removeKept(repair, name, "It cannot be read; the next opening finds out what it said");
    return;
  }
  const reasons = entries.flatMap((entry) => {
    const reason = judge(entry);
    const partition = partitionFolderName(entry.topic, entry.partition);
    return reason === undefined ? [] : [`${partition}: ${reason}`];
  });
  if (reasons.length === 0) return;
  const kept = entries.filter((entry) => judge(entry) === undefined);
  const shown = reasons.slice(0, 10).join("; ");
  const message = `${reasons.length} entries are taken out: ${shown}`;
  replaceKept(repair, name, printOffsetCheckpoint(kept), message);
}

/**
 * What is recorded in a checkpoint.
 *
 * @param repair The repair.
 * @param name The checkpoint.
 * @returns Offsets by the names of folders; none if it cannot be read.
 */
export function readableCheckpoint(repair: Repair, name: string): Map<string, number> {
  try {
    const entries = readOffsetCheckpoint(repair.fs, joinPath(repair.folder, name));
    return new Map(
      entries.map((entry) => [partitionFolderName(entry.topic, entry.partition), entry.offset]),
    );
  } catch (error) {
    if (!(error instanceof OttlaError)) throw error;
    return new Map();
  }
}
