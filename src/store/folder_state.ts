/**
 * What the files of a folder say about the store in it, before anything there is changed: a folder
 * that cannot be opened is found out here, and stays as it is.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import type { MetaProperties } from "./meta_properties.ts";
import { parseMetaProperties } from "./meta_properties.ts";
import { initialFeatureRecords } from "./metadata_changes.ts";
import type { MetadataImage } from "./metadata_image.ts";
import type { FolderMetadata } from "./metadata_reader.ts";
import { readBootstrapRecords, readMetadata } from "./metadata_reader.ts";
import type { MetadataRecord } from "./metadata_records.ts";
import type { Partitioner } from "./partitioner.ts";
import { partitionerNames } from "./partitioner.ts";
import type { FolderPast } from "./partitions.ts";
import { readCheckpoints } from "./partitions.ts";
import {
  bootstrapName,
  checkSubFolders,
  hasPowerLoss,
  isMetaFileShown,
  metaFileName,
  readCleanShutdown,
  readMetaFile,
  readPartitioners,
  syncedMetadataOffset,
} from "./store_files.ts";
import { metadataTopic, partitionFolderName } from "./topic_name.ts";

/** Whom a folder belongs to. */
export interface FolderIdentity {
  readonly clusterId: string;
  readonly nodeId: number;
  /** Undefined if the folder has none yet. */
  readonly directoryId: string | undefined;
}

/** What the files of a folder say. */
export interface FolderState extends FolderPast {
  /** `meta.properties` as it is; undefined in a folder that is to become a store. */
  readonly metaFile: Uint8Array | undefined;
  /** Undefined where there is no `meta.properties`. */
  readonly identity: FolderIdentity | undefined;
  readonly partitioners: Map<string, Partitioner | "custom">;
  readonly metadata: FolderMetadata;
  /** What the metadata log has to begin with, if it does not yet. */
  readonly firstRecords: readonly MetadataRecord[];
}

/**
 * Reads what the files of a folder say, and changes nothing.
 *
 * @param fs Where it is.
 * @param folder The store's folder, which exists.
 * @returns What they say.
 * @throws OttlaError `STORE_INVALID` if they are damaged or of another program,
 * `UNSUPPORTED_VERSION` if a newer version wrote them.
 */
export function readFolderState(fs: FileSystem, folder: string): FolderState {
  const metaFile = readMetaFile(fs, folder);
  if (metaFile !== undefined) checkSubFolders(fs, folder);
  const identity = metaFile === undefined
    ? undefined
    : identityOf(parseMetaProperties(metaFile, joinPath(folder, metaFileName(fs, folder))));
  const partitioners = readPartitioners(fs, folder);
  const checkpoints = readCheckpoints(fs, folder);
  const { ours, isKafkaClean } = readCleanShutdown(fs, folder);
  const name = partitionFolderName(metadataTopic, 0);
  const syncedOffset = syncedMetadataOffset(ours, checkpoints.recoveryPoints.get(name));
  const metadata = readMetadata(fs, joinPath(folder, name), syncedOffset);
  const isOurs = ours !== undefined && ours.metadataEndOffset === metadata.endOffset &&
    ours.metadataBytes === metadata.logBytes;
  const isClean = isOurs || (ours === undefined && isKafkaClean);
  return {
    metaFile,
    identity,
    partitioners: partitionersOf(partitioners, metadata.image),
    checkpoints,
    metadata,
    firstRecords: firstRecordsOf(fs, folder, metadata),
    isClean,
    wasBrokers: !isClean && isMetaFileShown(fs, folder),
    lostPower: !isClean && hasPowerLoss(fs, folder),
  };
}

/**
 * A folder that was only formatted, or whose first opening crashed, has features to be recorded
 * before anything else.
 */
function firstRecordsOf(
  fs: FileSystem,
  folder: string,
  { image }: FolderMetadata,
): readonly MetadataRecord[] {
  if (image.features.has("metadata.version")) return [];
  const records = readBootstrapRecords(fs, joinPath(folder, bootstrapName));
  const hasVersion = records.some((record) =>
    record.type === "FeatureLevelRecord" && record.name === "metadata.version"
  );
  return hasVersion ? records : initialFeatureRecords();
}

function identityOf({ clusterId, nodeId, directoryId }: MetaProperties): FolderIdentity {
  if (clusterId === undefined || nodeId === undefined) {
    throw new OttlaError(
      "STORE_INVALID",
      "Cannot open the store: its meta.properties names no cluster.id and node.id; a Kafka of the " +
        "time of ZooKeeper wrote it",
    );
  }
  return { clusterId, nodeId, directoryId };
}

/** Without those of topics that are gone, or that a crash kept from being. */
function partitionersOf(
  names: ReadonlyMap<string, string>,
  { topicsById }: MetadataImage,
): Map<string, Partitioner | "custom"> {
  const known = new Map<string, Partitioner | "custom">();
  for (const [topicId, name] of names) {
    if (topicsById.has(topicId)) {
      known.set(
        topicId,
        partitionerNames.find((partitioner) => partitioner === name) ?? "custom",
      );
    }
  }
  return known;
}
