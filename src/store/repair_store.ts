/**
 * Repairs a store that nobody has open.
 *
 * In this order: the lock is taken; the metadata log is mended, so that it is known which topics
 * there are; then `meta.properties`; then compactions that were broken off are completed or undone;
 * then a check says which partitions are damaged, and these are mended one by one; then the
 * checkpoints. All of that only takes out what is damaged. At last the store is opened and closed:
 * its recovery makes the indexes, snapshots and checkpoints anew.
 *
 * Nothing is removed or changed before its bytes are kept elsewhere, and every step leaves a folder
 * that can be repaired again: whoever interrupts a repair begins it once more.
 */

import { sep } from "node:path";
import { loadCrc32c } from "../bytes/crc32c.ts";
import { isOttlaError, OttlaError } from "../errors.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { Clock } from "../platform/clock.ts";
import { systemClock } from "../platform/clock.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import { pathOf, realPathOf } from "../platform/path.ts";
import type { RandomBytes } from "../platform/random.ts";
import { systemRandomBytes } from "../platform/random.ts";
import { findStoreHolder } from "../platform/store_holder.ts";
import { acquireStoreLock, releaseStoreLock } from "../platform/store_lock.ts";
import type { StoreLock } from "../platform/store_lock.ts";
import { loadCodec } from "../record/compression.ts";
import type { CheckReport, PartitionCheck } from "./check_report.ts";
import { checkStore, checkStoreFolder } from "./check_store.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { findTopic } from "./metadata_image.ts";
import { readMetadata } from "./metadata_reader.ts";
import { closeStore, openStore } from "./open_store.ts";
import { configOf } from "./partitions.ts";
import { settleCompactions } from "./repair_compaction.ts";
import type { DryRunChange } from "./repair_dry_run.ts";
import { dryRunFileSystem } from "./repair_dry_run.ts";
import { repairLocks } from "./repair_lock.ts";
import {
  hasLostTopics,
  recoverTopics,
  removeDamagedSnapshots,
  repairQuorumState,
  rewriteMetadata,
  saveMetadata,
  unknownPartitions,
} from "./repair_metadata.ts";
import type { DamagedPartition } from "./repair_partition.ts";
import { repairPartition, replaceMissingFolder } from "./repair_partition.ts";
import type { Repair, RepairReport } from "./repair_report.ts";
import { addStep } from "./repair_report.ts";
import type { Identity } from "./repair_root.ts";
import {
  markUnclean,
  readableCheckpoint,
  repairCheckpoint,
  repairIdentity,
  repairPartitioners,
  repairSubFolders,
} from "./repair_root.ts";
import { removeKept } from "./repair_aside.ts";
import {
  bootstrapName,
  cleanerOffsetName,
  hasPowerLoss,
  kindOfFolder,
  logStartName,
  markPowerLoss,
  notAStore,
  readCleanShutdown,
  recoveryPointName,
  syncedMetadataOffset,
} from "./store_files.ts";
import { asStorageError } from "./store_errors.ts";
import { checkObject } from "./store_options.ts";
import { metadataTopic, partitionFolderName } from "./topic_name.ts";
import { metadataTopicId, randomUuid } from "./uuid.ts";

/** How to repair. */
export interface RepairOptions {
  /** Whether to tell what would be done and change nothing; false unless given. */
  readonly dryRun?: boolean;
  /**
   * The folder for the bytes that are taken out; beside the store, with `.repair` behind its name,
   * unless given. It must not lie in the store.
   */
  readonly asideFolder?: string | URL;
  /** The cluster that the store belongs to, should its `meta.properties` be lost. */
  readonly clusterId?: string;
  /** Where the files are; for tests. */
  readonly fileSystem?: FileSystem;
  /** What time it is; for tests. */
  readonly clock?: Clock;
  /** Where random ids come from; for tests. */
  readonly randomBytes?: RandomBytes;
}

type Surroundings = Required<Pick<RepairOptions, "clock" | "randomBytes">>;

const highWatermarkName = "replication-offset-checkpoint";
const metadataName = partitionFolderName(metadataTopic, 0);
/** Mending one thing can bring another to light; more rounds than this bring nothing new. */
const roundsMax = 4;

/**
 * Repairs a store: takes out what is damaged, keeps it elsewhere, and makes the rest usable.
 *
 * @param path The store's folder, of ottla's or Kafka's. Nobody may have it open.
 * @param options See `RepairOptions`.
 * @returns Resolves with what was done, what is lost, and what a check finds now.
 * @throws TypeError or RangeError for an argument of the wrong kind. OttlaError `STORE_LOCKED` if
 * somebody has the store open, `STORE_INVALID` if the folder is no store, `UNSUPPORTED_VERSION` if
 * a newer version wrote it, `DISK_FULL` or `KAFKA_STORAGE_ERROR` if the disk fails. It can be begun
 * again.
 */
export async function repairStore(
  path: string | URL,
  options: RepairOptions = {},
): Promise<RepairReport> {
  const folder = pathOf(path);
  checkObject("options", options);
  const { dryRun = false, clusterId } = options;
  if (typeof dryRun !== "boolean") throw new TypeError(`dryRun must be true or false`);
  if (clusterId !== undefined && typeof clusterId !== "string") {
    throw new TypeError(`clusterId must be a string, got ${typeof clusterId}`);
  }
  const fs = options.fileSystem ?? diskFileSystem();
  const asideFolder = options.asideFolder === undefined
    ? `${folder.replace(/[\\/]+$/, "")}.repair`
    : pathOf(options.asideFolder);
  const [real, realAside] = fs.kind === "disk"
    ? [realPathOf(folder), realPathOf(asideFolder)]
    : [folder, asideFolder];
  if (realAside === real || realAside.startsWith(real + sep)) {
    throw new RangeError(`asideFolder must not lie in the store, got ${asideFolder}`);
  }
  await loadDecoders();
  const surroundings = {
    clock: options.clock ?? systemClock(),
    randomBytes: options.randomBytes ?? systemRandomBytes,
  };
  const changes = new Map<string, DryRunChange>();
  const repair: Repair = {
    fs: dryRun ? dryRunFileSystem(fs, changes) : fs,
    folder,
    isDryRun: dryRun,
    changes,
    asideFolder,
    runFolder: undefined,
    steps: [],
    losses: [],
    omittedCount: 0,
  };
  try {
    checkFolder(fs, folder);
    const check = await repairUnderLock(repair, clusterId, surroundings) ??
      await checkIfStore(fs, folder);
    const { steps, losses, omittedCount, runFolder: keptIn } = repair;
    return { path: folder, isDryRun: dryRun, steps, losses, omittedCount, keptIn, check };
  } catch (error) {
    throw asStorageError(`repair ${folder}`, error);
  }
}

/** Returns what a check has found at last; a dry run has nothing to be checked. */
async function repairUnderLock(
  repair: Repair,
  clusterId: string | undefined,
  surroundings: Surroundings,
): Promise<CheckReport | undefined> {
  const { fs, folder, isDryRun, steps } = repair;
  for (let round = 0; round < roundsMax; round++) {
    const stepsBefore = steps.length;
    repairLocks(repair, surroundings.clock);
    if (isDryRun) checkNoHolder(repair);
    // A dry run leaves no trace, and so no lock either.
    const lock = isDryRun ? undefined : takeLock(repair, surroundings);
    try {
      await repairRound(repair, lock, clusterId, surroundings);
    } finally {
      if (lock !== undefined) releaseStoreLock(lock);
    }
    if (isDryRun) return undefined;
    const isMended = steps.length > stepsBefore;
    // What a repair that was interrupted has left, recovery puts right.
    if (isMended || (round === 0 && !(await checkStore(folder, { fileSystem: fs })).isClean)) {
      const options = { ...surroundings, fileSystem: fs, create: false };
      await closeStore(await openStore(folder, options));
    }
    const check = await checkStore(folder, { fileSystem: fs });
    if (check.isClean || !isMended) return check;
  }
  return await checkStore(folder, { fileSystem: fs });
}

/** What the lock tells of the machine is told on, as by an opening. */
function takeLock({ fs, folder }: Repair, surroundings: Surroundings): StoreLock {
  const onRebooted = (): void => markPowerLoss(fs, folder);
  return acquireStoreLock(fs, folder, { ...surroundings, onRebooted });
}

/** Of a store that is open nobody could tell what is damaged. */
function checkNoHolder({ fs, folder }: Repair): void {
  const holder = findStoreHolder(fs, folder, fs.processes);
  if (holder === undefined) return;
  throw new OttlaError("STORE_LOCKED", `Cannot repair ${folder}: ${holder}`, {
    details: { folder },
  });
}

async function checkIfStore(fs: FileSystem, folder: string): Promise<CheckReport | undefined> {
  if (kindOfFolder(fs, folder) !== "store") return undefined;
  return await checkStoreFolder(fs, folder);
}

/** Mends what can be seen to be damaged now. */
async function repairRound(
  repair: Repair,
  lock: StoreLock | undefined,
  clusterId: string | undefined,
  { randomBytes }: Surroundings,
): Promise<void> {
  const newId = (): string => randomUuid(randomBytes);
  // Before the mark of it goes.
  const lostPower = hasPowerLoss(repair.fs, repair.folder);
  repairSubFolders(repair);
  const { image, identity } = repairMetadata(repair, clusterId, newId);
  repairPartitioners(repair);
  for (const name of unknownPartitions(repair, image)) {
    addStep(repair, name, "It belongs to no topic; the opening sets it aside");
  }
  if (repair.steps.length > 0) markUnclean(repair);
  settleCompactions(repair, image);
  const check = await checkStoreFolder(repair.fs, repair.folder);
  const recorded = recordedOffsets(repair);
  const mended = new Set<string>();
  for (const partition of check.partitions) {
    const damaged = damagedPartition(partition, image, identity.nodeId, recorded);
    const isShort = partition.endOffset < damaged.reachedOffset;
    if (!isShort && !isMendable(repair, damaged)) continue;
    if (lock !== undefined && !lock.isHeld) return;
    markUnclean(repair);
    repairPartition(repair, damaged);
    mended.add(partitionFolderName(partition.topic, partition.partition));
  }
  repairMissingFolders(repair, check, image, recorded);
  repairCheckpoints(repair, check, mended, lostPower);
}

/** Returns what the metadata says, mended if need be, and whom the store belongs to. */
function repairMetadata(
  repair: Repair,
  clusterId: string | undefined,
  newId: () => string,
): { image: MetadataImage; identity: Identity } {
  const { fs, folder } = repair;
  repairQuorumState(repair);
  const path = joinPath(folder, metadataName);
  const recoveryPoint = readableCheckpoint(repair, recoveryPointName).get(metadataName);
  const { ours } = readCleanShutdown(fs, folder);
  try {
    const { image } = readMetadata(fs, path, syncedMetadataOffset(ours, recoveryPoint));
    removeDamagedSnapshots(repair);
    if (!hasLostTopics(repair, image)) {
      return { image, identity: repairIdentity(repair, image, clusterId, newId) };
    }
    addStep(
      repair,
      metadataName,
      "There are partitions that it does not know, and its end is lost",
    );
  } catch (error) {
    if (!isOttlaError(error, "STORE_INVALID")) throw error;
    addStep(repair, metadataName, error.message);
  }
  const saved = saveMetadata(fs, folder);
  const identity = repairIdentity(repair, saved.image, clusterId, newId);
  recoverTopics(repair, saved, { ...identity, newTopicId: newId });
  markUnclean(repair);
  rewriteMetadata(repair, saved);
  repairCheckpoint(
    repair,
    recoveryPointName,
    ({ topic }) => topic === metadataTopic ? "the metadata log begins anew" : undefined,
  );
  return { image: saved.image, identity };
}

/**
 * Whether a repair of a partition would change anything. Where its log is only not as it should have
 * been written, nothing can be mended, and a repair leaves no trace.
 */
function isMendable(repair: Repair, damaged: DamagedPartition): boolean {
  const problems = damaged.problems.filter(({ severity }) => severity !== "note");
  if (problems.length === 0) return false;
  if (problems.some(({ path }) => !path.endsWith(".log"))) return true;
  const planned = {
    ...repair,
    isDryRun: true,
    changes: new Map<string, DryRunChange>(),
    steps: [],
    losses: [],
  };
  repairPartition(planned, damaged);
  return planned.steps.length > 0;
}

function damagedPartition(
  { topic, partition, problems }: PartitionCheck,
  image: MetadataImage,
  nodeId: number,
  { reached, starts, cleaned }: RecordedOffsets,
): DamagedPartition {
  const known = findTopic(image, topic);
  const name = partitionFolderName(topic, partition);
  const isMetadata = topic === metadataTopic;
  return {
    topic,
    partition,
    topicId: isMetadata ? metadataTopicId : known?.topicId,
    // As the check has it: what was compacted once has gaps, whatever becomes of it now.
    isCompacted: !isMetadata && (known === undefined || cleaned.has(name) ||
      configOf(image, topic, nodeId, {}).cleanupPolicy.includes("compact")),
    // Of the metadata log it was made sure before.
    reachedOffset: isMetadata ? 0 : reached.get(name) ?? 0,
    startOffset: starts.get(name) ?? 0,
    leaderEpoch: known?.partitions.get(partition)?.leaderEpoch,
    problems,
  };
}

/** What is recorded of logs, by the names of their folders. */
interface RecordedOffsets {
  /** How far they were on disk. */
  readonly reached: ReadonlyMap<string, number>;
  /** Where they begin. */
  readonly starts: ReadonlyMap<string, number>;
  /** How far they were compacted. */
  readonly cleaned: ReadonlyMap<string, number>;
}

function recordedOffsets(repair: Repair): RecordedOffsets {
  return {
    reached: readableCheckpoint(repair, recoveryPointName),
    starts: readableCheckpoint(repair, logStartName),
    cleaned: readableCheckpoint(repair, cleanerOffsetName),
  };
}

function repairMissingFolders(
  repair: Repair,
  { problems }: CheckReport,
  image: MetadataImage,
  { reached, starts }: RecordedOffsets,
): void {
  const missing = new Set(
    problems.filter(({ severity }) => severity === "error").map(({ path }) => path),
  );
  for (const { name: topic, topicId, partitions } of image.topicsByName.values()) {
    for (const partition of partitions.keys()) {
      const name = partitionFolderName(topic, partition);
      const isThere = repair.fs.stat(joinPath(repair.folder, name)) !== undefined;
      const reachedOffset = reached.get(name) ?? 0;
      if (!missing.has(name) || isThere || reachedOffset === 0) continue;
      markUnclean(repair);
      const startOffset = starts.get(name) ?? 0;
      replaceMissingFolder(repair, { topic, partition, topicId, reachedOffset, startOffset });
    }
  }
}

/**
 * Forgets of every log that was mended how far it was on disk, so that all of it is recovered, and
 * of every log what lies behind its end.
 */
function repairCheckpoints(
  repair: Repair,
  { partitions, problems }: CheckReport,
  mended: ReadonlySet<string>,
  lostPower: boolean,
): void {
  const ends = new Map(
    partitions.map((one) => [partitionFolderName(one.topic, one.partition), one.endOffset]),
  );
  const paths = new Set(
    problems.filter(({ severity }) => severity !== "note").map(({ path }) => path),
  );
  const names = [recoveryPointName, logStartName, highWatermarkName, cleanerOffsetName];
  for (const name of names) {
    if (!paths.has(name) && !(name === recoveryPointName && mended.size > 0)) continue;
    markUnclean(repair);
    repairCheckpoint(repair, name, ({ topic, partition, offset }) => {
      const folder = partitionFolderName(topic, partition);
      const endOffset = ends.get(folder);
      if (name === recoveryPointName && mended.has(folder)) return "it is recovered as a whole";
      if (endOffset === undefined || offset <= endOffset || mended.has(folder)) return undefined;
      // What was deleted on request may not have been on disk; the opening begins behind it.
      if (name === logStartName && lostPower) return undefined;
      return `offset ${offset} is behind the end, ${endOffset}`;
    });
  }
  if (paths.has(bootstrapName)) {
    removeKept(repair, bootstrapName, "It cannot be read, and the metadata log has what it said");
  }
}

function checkFolder(fs: FileSystem, folder: string): void {
  const status = fs.stat(folder);
  if (status === undefined) throw notAStore(folder, "there is no such folder");
  if (!status.isFolder) throw notAStore(folder, "it is a file");
  if (kindOfFolder(fs, folder) === "store") return;
  const hasMetadata = fs.stat(joinPath(folder, metadataName))?.isFolder === true;
  if (!hasMetadata) throw notAStore(folder, "it has no meta.properties and no metadata log");
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
