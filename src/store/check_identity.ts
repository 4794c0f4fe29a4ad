/**
 * Checks whom a folder says it belongs to. `meta.properties` has no checksum, so what it says is
 * held against the metadata log, which names node and directory of every partition.
 */

import type { FileSystem } from "../platform/file_system.ts";
import type { ProblemList } from "./check_report.ts";
import { addProblem, attempt } from "./check_report.ts";
import type { MetaProperties } from "./meta_properties.ts";
import { parseMetaProperties } from "./meta_properties.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { metaFileName, readMetaFile } from "./store_files.ts";
import { isReservedDirectoryId } from "./uuid.ts";

/** Nodes and directories that partitions are recorded for, those of most partitions first. */
export interface RecordedPlaces {
  readonly nodeIds: readonly number[];
  /** Of one node. */
  readonly directoryIdsOf: (nodeId: number) => readonly string[];
}

/**
 * Reads `meta.properties` and says what is wrong with it.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param list Gets what is wrong.
 * @returns What the file says, or undefined if it cannot be read.
 */
export function checkIdentity(
  fs: FileSystem,
  folder: string,
  list: ProblemList,
): MetaProperties | undefined {
  const path = metaFileName(fs, folder);
  const meta = attempt(list, "error", path, () => {
    const bytes = readMetaFile(fs, folder);
    return bytes === undefined ? undefined : parseMetaProperties(bytes, path);
  });
  if (meta !== undefined && (meta.clusterId === undefined || meta.nodeId === undefined)) {
    const message = "It names no cluster.id and node.id; the store cannot be opened";
    addProblem(list, { severity: "error", path, message });
  }
  return meta;
}

/**
 * Holds what `meta.properties` says against the metadata.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param meta What it says.
 * @param image The metadata.
 * @param list Gets what is wrong.
 */
export function checkRecordedIdentity(
  fs: FileSystem,
  folder: string,
  { nodeId, directoryId }: MetaProperties,
  image: MetadataImage,
  list: ProblemList,
): void {
  const { nodeIds, directoryIdsOf } = recordedPlaces(image);
  const report = (message: string): void =>
    addProblem(list, { severity: "warning", path: metaFileName(fs, folder), message });
  if (nodeId === undefined || nodeIds.length === 0) return;
  if (!nodeIds.includes(nodeId)) {
    report(`It says node.id ${nodeId}, the metadata has partitions of node ${nodeIds[0]}`);
    return;
  }
  const directoryIds = directoryIdsOf(nodeId);
  if (directoryIds.length === 0 || directoryId === undefined) return;
  if (directoryIds.includes(directoryId)) return;
  report(
    `It says directory.id ${directoryId}, the metadata has partitions in ${directoryIds[0]}`,
  );
}

/**
 * The nodes and directories that the metadata names for its partitions.
 *
 * @param image The metadata.
 * @returns What it names, those of most partitions first.
 */
export function recordedPlaces(image: MetadataImage): RecordedPlaces {
  const nodes = new Map<number, number>();
  const directories = new Map<number, Map<string, number>>();
  for (const topic of image.topicsByName.values()) {
    for (const partition of topic.partitions.values()) {
      for (const [index, nodeId] of partition.replicas.entries()) {
        nodes.set(nodeId, (nodes.get(nodeId) ?? 0) + 1);
        const directoryId = partition.directories[index];
        if (directoryId === undefined || isReservedDirectoryId(directoryId)) continue;
        const counts = directories.get(nodeId) ?? new Map<string, number>();
        counts.set(directoryId, (counts.get(directoryId) ?? 0) + 1);
        directories.set(nodeId, counts);
      }
    }
  }
  return {
    nodeIds: byCount(nodes),
    directoryIdsOf: (nodeId) => byCount(directories.get(nodeId) ?? new Map<string, number>()),
  };
}

function byCount<Key>(counts: ReadonlyMap<Key, number>): Key[] {
  return [...counts].sort(([, a], [, b]) => b - a).map(([key]) => key);
}
