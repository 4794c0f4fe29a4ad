/**
 * Verifies every byte of a store and changes none: no lock is taken, no file is opened for writing.
 *
 * The parts are looked at one by one, so that one that cannot be read does not hide the others:
 * `meta.properties`, the metadata log, the checkpoints, the folders, and each partition's segments,
 * records and indexes.
 */

import { loadCrc32c } from "../bytes/crc32c.ts";
import { isOttlaError } from "../errors.ts";
import { readOffsetCheckpoint } from "../log/checkpoint_file.ts";
import type { PartitionOffset } from "../log/checkpoint_file.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import { pathOf } from "../platform/path.ts";
import { findStoreHolder } from "../platform/store_holder.ts";
import { loadCodec } from "../record/compression.ts";
import { checkIdentity, checkRecordedIdentity } from "./check_identity.ts";
import { checkMetadataSnapshot, checkPartition } from "./check_partition.ts";
import type { PartitionPlace } from "./check_partition.ts";
import { addProblem, attempt, problemList, problemsOf } from "./check_report.ts";
import type { CheckReport, PartitionCheck, ProblemList } from "./check_report.ts";
import { findTopic } from "./metadata_image.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { readMetadata } from "./metadata_reader.ts";
import { configOf } from "./partitions.ts";
import {
  bootstrapName,
  cleanerOffsetName,
  cleanShutdownName,
  kindOfFolder,
  logStartName,
  notAStore,
  readCleanShutdown,
  readPartitioners,
  recoveryPointName,
  syncedMetadataOffset,
} from "./store_files.ts";
import { asStorageError } from "./store_errors.ts";
import type { PartitionFolder } from "./topic_name.ts";
import { metadataTopic, parsePartitionFolderName, partitionFolderName } from "./topic_name.ts";
import { metadataTopicId } from "./uuid.ts";

/** How to check. */
export interface CheckOptions {
  /** Where the files are; for tests. */
  readonly fileSystem?: FileSystem;
}

const highWatermarkName = "replication-offset-checkpoint";
const checkpointNames = [recoveryPointName, logStartName, highWatermarkName, cleanerOffsetName];
/** Folders that are passed over, as a broker does. */
const otherFolders = ["remote-log-index-cache", "lost+found"];
const rootFiles =
  /^(meta\.properties|bootstrap\.checkpoint|\.lock|\.kafka_cleanshutdown|ottla\..+|\.DS_Store)$/;

/** A store that is being checked. */
interface StoreCheck {
  readonly fs: FileSystem;
  readonly folder: string;
  readonly list: ProblemList;
  readonly isOpen: boolean;
  readonly isClean: boolean;
  readonly nodeId: number;
  /** Undefined if the metadata log is damaged. */
  readonly image: MetadataImage | undefined;
  /** Offsets by partition, for each checkpoint file. */
  readonly checkpoints: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/**
 * Verifies every byte of a store: files and records against each other, checksums, indexes. Changes
 * nothing, and may be called while the store is open, here or elsewhere; then its ends are moving,
 * and the report says so.
 *
 * @param path The store's folder, of ottla's or Kafka's.
 * @param options Where the files are.
 * @returns Resolves with what was found; a damaged store is a result, not an error.
 * @throws TypeError or RangeError if the path is none. OttlaError `STORE_INVALID` if the folder is
 * no store at all, `KAFKA_STORAGE_ERROR` if the disk does not tell what is in it.
 */
export async function checkStore(
  path: string | URL,
  options: CheckOptions = {},
): Promise<CheckReport> {
  const fs = options.fileSystem ?? diskFileSystem();
  const folder = pathOf(path);
  await loadDecoders();
  try {
    const status = fs.stat(folder);
    if (status === undefined) throw notAStore(folder, "there is no such folder");
    if (!status.isFolder) throw notAStore(folder, "it is a file");
    if (kindOfFolder(fs, folder) !== "store") throw notAStore(folder, "it has no meta.properties");
    const list = problemList();
    const holder = attempt(list, "warning", "", () => findStoreHolder(fs, folder));
    if (holder !== undefined) {
      addProblem(list, { severity: "note", path: "", message: `The store is open: ${holder}` });
    }
    return await checkStoreFolder(fs, folder, list, holder !== undefined);
  } catch (error) {
    throw asStorageError(`check ${folder}`, error);
  }
}

/**
 * As `checkStore`, for who holds the lock of the store and has nothing of it open.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param list Gets what does not belong to one partition; what was found before is in it.
 * @param isOpen Whether somebody may be writing.
 * @returns Resolves with what was found.
 */
export async function checkStoreFolder(
  fs: FileSystem,
  folder: string,
  list: ProblemList = problemList(),
  isOpen = false,
): Promise<CheckReport> {
  const check = beginCheck(fs, folder, list, isOpen);
  checkRootFiles(check);
  const partitions = await checkFolders(check);
  checkMissingFolders(check, partitions);
  for (const [name, offsets] of check.checkpoints) {
    checkCheckpoint(check, name, offsets, partitions);
  }
  const problems = problemsOf(check.list, "");
  const all = [...problems, ...partitions.flatMap((partition) => partition.problems)];
  return {
    path: folder,
    isClean: all.every(({ severity }) => severity === "note"),
    isOpen: check.isOpen,
    partitions,
    problems,
  };
}

/** A codec that is missing is told of the batches that need it. */
async function loadDecoders(): Promise<void> {
  await loadCrc32c();
  try {
    await loadCodec("zstd");
  } catch (error) {
    if (!isOttlaError(error, "CODEC_MISSING")) throw error;
  }
}

function beginCheck(
  fs: FileSystem,
  folder: string,
  list: ProblemList,
  isOpen: boolean,
): StoreCheck {
  const meta = checkIdentity(fs, folder, list);
  const marks = attempt(list, "warning", cleanShutdownName, () => readCleanShutdown(fs, folder)) ??
    { ours: undefined, isKafkaClean: false };
  const checkpoints = new Map(
    checkpointNames.map((name) => [name, checkpointOffsets(fs, folder, name, list)]),
  );
  const metadataName = partitionFolderName(metadataTopic, 0);
  const recoveryPoint = checkpoints.get(recoveryPointName)?.get(metadataName);
  const syncedOffset = syncedMetadataOffset(marks.ours, recoveryPoint);
  const metadata = attempt(
    list,
    "error",
    metadataName,
    () => readMetadata(fs, joinPath(folder, metadataName), syncedOffset),
  );
  if (meta !== undefined && metadata !== undefined) {
    checkRecordedIdentity(fs, folder, meta, metadata.image, list);
  }
  attempt(list, "error", "ottla.partitioners", () => readPartitioners(fs, folder));
  const { ours, isKafkaClean } = marks;
  // A mark of ours counts only if no broker has been there since.
  const isOurs = ours !== undefined && ours.metadataEndOffset === metadata?.endOffset &&
    ours.metadataBytes === metadata.logBytes;
  const isClean = isOurs || (ours === undefined && isKafkaClean);
  if (!isClean && !isOpen) {
    const message = "The store was not closed; the next opening recovers it";
    addProblem(list, { severity: "note", path: "", message });
  }
  return {
    fs,
    folder,
    list,
    isOpen,
    isClean,
    nodeId: meta?.nodeId ?? 0,
    image: metadata?.image,
    checkpoints,
  };
}

function checkpointOffsets(
  fs: FileSystem,
  folder: string,
  name: string,
  list: ProblemList,
): Map<string, number> {
  const read = (): PartitionOffset[] => readOffsetCheckpoint(fs, joinPath(folder, name));
  const entries = attempt(list, "warning", name, read) ?? [];
  return new Map(
    entries.map((entry) => [partitionFolderName(entry.topic, entry.partition), entry.offset]),
  );
}

function checkRootFiles({ fs, folder, list }: StoreCheck): void {
  for (const { name, isFolder } of fs.list(folder)) {
    if (name === bootstrapName) checkMetadataSnapshot(fs, joinPath(folder, name), name, list);
    if (isFolder || checkpointNames.includes(name) || rootFiles.test(name)) continue;
    const message = name.endsWith(".tmp")
      ? "A file that was being written when its process ended"
      : "The file is none of a store";
    addProblem(list, { severity: "note", path: name, message });
  }
}

async function checkFolders(check: StoreCheck): Promise<PartitionCheck[]> {
  const { fs, folder, list } = check;
  const partitions: PartitionCheck[] = [];
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder || otherFolders.includes(name)) continue;
    const parsed = attempt(list, "error", name, () => parsePartitionFolderName(name));
    if (parsed === undefined) continue;
    if (parsed.state !== "live") {
      addProblem(list, { severity: "note", path: name, message: folderMessages[parsed.state] });
      continue;
    }
    partitions.push(await checkPartition(fs, folder, partitionPlace(check, name, parsed)));
  }
  return partitions.sort((a, b) =>
    a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1
  );
}

const folderMessages = {
  delete: "A deleted topic's partition, whose files are about to be removed",
  future: "A partition that was being moved here from another folder",
  stray: "A partition that belonged to no topic and was set aside",
} as const;

function partitionPlace(
  check: StoreCheck,
  name: string,
  { topic: topicName, partition }: PartitionFolder,
): PartitionPlace {
  const { image, list, checkpoints, isClean, isOpen, nodeId } = check;
  const isMetadata = topicName === metadataTopic;
  const topic = image === undefined ? undefined : findTopic(image, topicName);
  const isKnown = isMetadata || topic?.partitions.has(partition) === true;
  if (image !== undefined && !isKnown) {
    const message = "The partition belongs to no topic; a new topic of its name will set it aside";
    addProblem(list, { severity: "warning", path: name, message });
  }
  const config = image === undefined || topic === undefined
    ? undefined
    : attempt(list, "error", name, () => configOf(image, topicName, nodeId, {}));
  const wasCompacted = checkpoints.get(cleanerOffsetName)?.has(name) === true;
  return {
    topic: topicName,
    partition,
    // A leftover of an earlier topic of the name is nobody's, and has been told of.
    topicId: isMetadata ? metadataTopicId : isKnown ? topic?.topicId : undefined,
    startOffset: checkpoints.get(logStartName)?.get(name) ?? 0,
    // Without the metadata nothing tells, and a hole is no proof of a loss.
    isCompacted: !isMetadata &&
      (config === undefined || wasCompacted || config.cleanupPolicy.includes("compact")),
    isMetadata,
    indexIntervalBytes: config?.indexIntervalBytes ?? 4096,
    recoveryPoint: isClean ? Infinity : checkpoints.get(recoveryPointName)?.get(name) ?? 0,
    isOpen,
  };
}

/** A topic's partition without a folder has no records yet, unless a checkpoint knows better. */
function checkMissingFolders(check: StoreCheck, partitions: readonly PartitionCheck[]): void {
  const present = new Set(partitions.map((one) => partitionFolderName(one.topic, one.partition)));
  for (const topic of check.image?.topicsByName.values() ?? []) {
    for (const partition of topic.partitions.keys()) {
      const name = partitionFolderName(topic.name, partition);
      const endOffset = check.checkpoints.get(recoveryPointName)?.get(name) ?? 0;
      if (present.has(name) || endOffset === 0) continue;
      addProblem(check.list, {
        severity: "error",
        path: name,
        message: `The folder is missing; its log had reached offset ${endOffset}`,
        startOffset: 0,
        endOffset,
      });
    }
  }
}

function checkCheckpoint(
  check: StoreCheck,
  path: string,
  offsets: ReadonlyMap<string, number>,
  partitions: readonly PartitionCheck[],
): void {
  const byName = new Map(
    partitions.map((one) => [partitionFolderName(one.topic, one.partition), one]),
  );
  for (const [name, offset] of offsets) {
    const partition = byName.get(name);
    if (partition === undefined || offset <= partition.endOffset || check.isOpen) continue;
    // Damage that was found there says the same with more detail.
    if (partition.problems.some(({ severity }) => severity === "error")) continue;
    const { endOffset: startOffset } = partition;
    const message = `It says offset ${offset} of ${name}, which ends at ${startOffset}`;
    // What was on disk up to the recovery point was there once.
    addProblem(
      check.list,
      path === recoveryPointName
        ? { severity: "error", path, message, startOffset, endOffset: offset }
        : { severity: "warning", path, message },
    );
  }
}
