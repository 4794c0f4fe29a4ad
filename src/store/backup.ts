/**
 * A consistent copy of a live store.
 *
 * 1. The logs that are not open yet are opened.
 * 2. Between two changes of the metadata, in one turn of the event loop, it is noted what every log
 *    is (`cutLog`), and the files of all logs are held. State changes are synchronous, so all logs
 *    are seen at the same moment: an offset that a group has committed is never beyond the end of
 *    its partition, a topic that the metadata knows has its folders.
 * 3. The files are copied while the store goes on, several partitions at a time. What is removed
 *    from the store meanwhile stays until it is copied.
 * 4. The metadata log is copied, then the files in the root are written, `meta.properties` last.
 *
 * So the copy is what closing the store at that moment would have left. It has the same cluster id
 * and directory id: it takes the place of the store, and does not stand beside it.
 */

import { OttlaError } from "../errors.ts";
import type { PartitionOffset } from "../log/checkpoint_file.ts";
import type { CopyRun, FolderCopy } from "../log/folder_copy.ts";
import { writeWhole } from "../log/folder_copy.ts";
import type { Log } from "../log/log.ts";
import type { LogCut } from "../log/log_copy.ts";
import { copyLog, cutLog, syncSealed } from "../log/log_copy.ts";
import { partitionMetadataName, printPartitionMetadata } from "../log/partition_metadata.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import { pathOf, realPathOf } from "../platform/path.ts";
import type { BackupFolder, RootFiles } from "./backup_folder.ts";
import { beginFolder, finishFolder, removeFolder } from "./backup_folder.ts";
import type { DiskSpace } from "./disk_space.ts";
import { diskSpace, tryClaimSpace } from "./disk_space.ts";
import { printMetaProperties } from "./meta_properties.ts";
import { changeMetadata } from "./metadata_log.ts";
import { hasFolder, logOf, writeRecoveryPoints } from "./partitions.ts";
import { quorumStateName } from "./quorum_state.ts";
import type { Store, StoreInternals } from "./store.ts";
import { checkLock, checkOpen, openInternals } from "./store.ts";
import { asStorageError } from "./store_errors.ts";
import { bootstrapName, readPartitioners } from "./store_files.ts";
import { checkObject, checkSignal } from "./store_options.ts";
import { releaseLogFiles } from "./topic_folders.ts";
import { partitionFolderName } from "./topic_name.ts";
import { untilClosed, waitedTurn } from "./until_closed.ts";
import { metadataTopicId } from "./uuid.ts";

/** How far a backup has come. */
export interface BackupProgress {
  readonly partitionsDone: number;
  readonly partitionsTotal: number;
  /** Of log files. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** How to back up. */
export interface BackupOptions {
  /**
   * Whether files that are never written to again may be shared with the copy by hard links, which
   * costs neither time nor space; true unless given. With false all bytes are copied, so that what
   * damages a file of the one leaves the other alone.
   */
  readonly links?: boolean;
  /** Called many times; what it throws ends the backup. */
  readonly onProgress?: (progress: BackupProgress) => void;
  /** Ends the backup; what was copied until then is removed. */
  readonly signal?: AbortSignal;
  /** Where the copy is made; where the store is unless given, and for one in memory the disk. */
  readonly fileSystem?: FileSystem;
}

/** What `backupStore` did. */
export interface BackupReport {
  /** The folder of the copy. */
  readonly path: string;
  /** Those that had been used: others have no files. */
  readonly partitions: number;
  /** Bytes of log files that are shared with the store. */
  readonly linkedBytes: number;
  /** Bytes of log files that were copied. */
  readonly copiedBytes: number;
}

/** A partition to be copied. */
interface PartitionCut {
  /** The name of its folder. */
  readonly name: string;
  readonly cut: LogCut;
  /** Other small files of it. */
  readonly sideFiles: readonly (readonly [name: string, bytes: Uint8Array])[];
  /** Whether the files of its log are held. */
  isHeld: boolean;
}

/** A backup that is under way. */
interface Backup {
  readonly internals: StoreInternals;
  readonly target: BackupFolder;
  readonly run: CopyRun;
  /** Aborted with what the copying of a partition failed with. */
  readonly failing: AbortController;
  readonly partitions: PartitionCut[];
  readonly report: (progress: BackupProgress) => void;
  partitionsDone: number;
  bytesDone: number;
  bytesTotal: number;
}

/** How many partitions are copied at the same time, and so about how many files are open for it. */
const copiesAtOnce = 8;
/** How many partitions are opened before the event loop gets a turn. */
const openingsAtOnce = 64;
const smallFileBytesMax = 2 ** 30;
const metadataSnapshotName = /^\d{20}-\d{10}\.checkpoint$/;

/**
 * Makes a consistent copy of a live store in another folder: all topics, records and groups as they
 * are at one moment between the call and its end, whatever is appended, removed, created or deleted
 * meanwhile. The copy opens as a store that was closed properly.
 *
 * Files that are never written to again become hard links where the file system has them. A store in
 * memory can be backed up to the disk, too. Bytes are copied as they are: `checkStore` of the copy
 * tells whether each checksum is right.
 *
 * @param store The store.
 * @param target The folder, as a path or a `file:` URL; it must be empty or not there.
 * @param options See `BackupOptions`.
 * @returns Resolves when all of the copy is on disk.
 * @throws TypeError or RangeError for an argument of the wrong kind, or a target within the store's
 * own folder; the signal's reason. OttlaError `STORE_INVALID` if the target is not empty,
 * `DISK_FULL` also if less would stay free than the store's `diskFreeBytesMin`,
 * `KAFKA_STORAGE_ERROR` if a log cannot be read or had failed before, `HANDLE_CLOSED` if the store is
 * closed meanwhile. Then nothing of the copy is left.
 * @example
 * ```ts
 * import { backupStore, closeStore, openStore } from "ottla";
 * const store = await openStore("./data");
 * await backupStore(store, `./backups/${new Date().toISOString().slice(0, 10)}`);
 * await closeStore(store);
 * ```
 */
export async function backupStore(
  store: Store,
  target: string | URL,
  options: BackupOptions = {},
): Promise<BackupReport> {
  const internals = openInternals(store);
  const folder = pathOf(target);
  checkOptions(options);
  const fs = targetFileSystem(store, internals, options);
  checkTarget(internals, fs, folder);
  options.signal?.throwIfAborted();
  try {
    return await untilClosed(
      internals,
      "backing up",
      (closing) => makeBackup(internals, fs, folder, options, closing),
    );
  } catch (error) {
    throw asStorageError(`back up ${store.path} to ${folder}`, error);
  }
}

function checkOptions(options: BackupOptions): void {
  checkObject("options", options);
  const { links, onProgress, signal } = options;
  if (links !== undefined && typeof links !== "boolean") {
    throw new TypeError(`links must be true or false, got ${typeof links}`);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new TypeError(`onProgress must be a function, got ${typeof onProgress}`);
  }
  checkSignal(signal);
}

/** A folder among those of the partitions would keep the store from being opened again. */
function checkTarget({ fs, folder }: StoreInternals, targetFs: FileSystem, target: string): void {
  const placeOf = fs.kind === "disk" ? realPathOf : (path: string): string => path;
  const isInside = fs.kind === targetFs.kind && isWithin(placeOf(folder), placeOf(target));
  if (target !== ":memory:" && !isInside) return;
  const found = isInside ? `${target}, which is in the store's own` : JSON.stringify(target);
  throw new RangeError(`target must be the path of another folder, got ${found}`);
}

function isWithin(folder: string, path: string): boolean {
  return path === folder || path.startsWith(joinPath(folder, "")) || path.startsWith(`${folder}\\`);
}

function targetFileSystem(
  store: Store,
  internals: StoreInternals,
  { fileSystem }: BackupOptions,
): FileSystem {
  if (fileSystem !== undefined) return fileSystem;
  const isInMemory = store.path === ":memory:" && internals.fs.kind === "memory";
  return isInMemory ? diskFileSystem() : internals.fs;
}

async function makeBackup(
  internals: StoreInternals,
  fs: FileSystem,
  folder: string,
  { links = true, onProgress = () => {}, signal }: BackupOptions,
  closing: AbortSignal,
): Promise<BackupReport> {
  const target = beginFolder(fs, folder);
  const space = diskSpace(fs, folder, internals.diskSpace.freeBytesMin);
  const failing = new AbortController();
  const backup: Backup = {
    internals,
    target,
    run: {
      source: internals.fs,
      target: fs,
      canLink: links && fs === internals.fs,
      linkedBytes: 0,
      copiedBytes: 0,
      claim(sizeBytes) {
        if (!tryClaimSpace(space, sizeBytes, internals.clock.now())) throw noSpaceError(space);
      },
      async nextTurn() {
        await waitedTurn([failing.signal, closing, signal]);
        checkLock(internals);
      },
      onBytes(sizeBytes) {
        backup.bytesDone += sizeBytes;
        reportProgress(backup);
      },
    },
    failing,
    partitions: [],
    report: onProgress,
    partitionsDone: 0,
    bytesDone: 0,
    bytesTotal: 0,
  };
  try {
    await openLogs(backup);
    finishFolder(target, await copyAll(backup));
  } catch (error) {
    removeFolder(target);
    throw error;
  } finally {
    for (const partition of backup.partitions) release(internals, partition);
  }
  const { partitions, run: { linkedBytes, copiedBytes } } = backup;
  return { path: folder, partitions: partitions.length - 1, linkedBytes, copiedBytes };
}

/** The copy may lie where the store does, which needs the room to go on. */
function noSpaceError({ folder, freeBytes, freeBytesMin }: DiskSpace): OttlaError {
  return new OttlaError(
    "DISK_FULL",
    `Cannot back up to ${folder}: its disk has ${freeBytes} bytes free, of which ` +
      `diskFreeBytesMin keeps ${freeBytesMin}`,
    { details: { folder, freeBytes, diskFreeBytesMin: freeBytesMin } },
  );
}

/** So that the turn in which all logs are looked at is a short one. */
async function openLogs({ internals, run }: Backup): Promise<void> {
  let looks = 0;
  for (const topic of [...internals.topics.values()]) {
    for (const state of [...topic.partitions]) {
      if (++looks % openingsAtOnce === 0) await run.nextTurn();
      const isThere = (): boolean => internals.topics.get(topic.name) === topic;
      if (!isThere() || !hasFolder(internals, state)) continue;
      try {
        await syncSealed(logOf(internals, topic, state));
      } catch (error) {
        // A topic that has been deleted meanwhile is no part of the copy.
        if (isThere()) throw error;
      }
    }
  }
  await run.nextTurn();
  try {
    // Only what lies below can be shared by links.
    writeRecoveryPoints(internals);
  } catch (error) {
    // On a full disk more is copied.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** Returns what the files in the root are to say. */
async function copyAll(backup: Backup): Promise<RootFiles> {
  const { internals, partitions, target } = backup;
  let files: RootFiles | undefined;
  let failure: { readonly cause: unknown } | undefined;
  await changeMetadata(internals.metadata, () => {
    try {
      checkOpen(internals);
      files = cutStore(backup);
    } catch (cause) {
      // It is no failure of a change.
      failure = { cause };
    }
    return [];
  });
  if (failure !== undefined) throw failure.cause;
  backup.bytesTotal = partitions.reduce((sum, { cut }) => sum + cut.sizeBytes, 0);
  // The metadata comes last. Where it lies there is all the rest, should anybody try a repair.
  const metadata = partitions.at(-1)!;
  await copyPartitions(backup, partitions.slice(0, -1));
  target.fs.syncFolder(target.folder);
  await copyPartition(backup, metadata);
  return files!;
}

async function copyPartitions(
  backup: Backup,
  partitions: readonly PartitionCut[],
): Promise<void> {
  const waiting = partitions.values();
  const copyOn = async (): Promise<void> => {
    for (const partition of waiting) await copyPartition(backup, partition);
  };
  const copies = Array.from({ length: copiesAtOnce }, () =>
    copyOn().catch((error) => {
      // The others end with their next turn.
      backup.failing.abort(error);
    }));
  await Promise.all(copies);
  await backup.run.nextTurn();
}

/** Notes what every log is, that of the metadata last, and what the files in the root are to say. */
function cutStore({ internals, partitions }: Backup): RootFiles {
  const { fs, folder, clusterId, nodeId, directoryId } = internals;
  const recoveryPoints: PartitionOffset[] = [];
  const startOffsets: PartitionOffset[] = [];
  const firstDirtyOffsets: PartitionOffset[] = [];
  const add = (log: Log, topicId: string, others: PartitionCut["sideFiles"] = []): LogCut => {
    const cut = cutLog(log);
    const { topic, partition } = log.source;
    const name = partitionFolderName(topic, partition);
    const topicIdFile = [partitionMetadataName, printPartitionMetadata(topicId)] as const;
    partitions.push({ name, cut, sideFiles: [topicIdFile, ...others], isHeld: true });
    const { endOffset } = cut;
    if (endOffset > 0) recoveryPoints.push({ topic, partition, offset: endOffset });
    return cut;
  };
  for (const topic of internals.topics.values()) {
    if (topic.failure !== undefined) throw topic.failure;
    for (const state of topic.partitions) {
      if (!hasFolder(internals, state)) continue;
      const { startOffset } = add(logOf(internals, topic, state), topic.topicId);
      const place = { topic: topic.name, partition: state.partition };
      if (startOffset > 0) startOffsets.push({ ...place, offset: startOffset });
      const { firstDirtyOffset } = state;
      if (firstDirtyOffset === undefined) continue;
      firstDirtyOffsets.push({ ...place, offset: firstDirtyOffset });
    }
  }
  const { log } = internals.metadata;
  const { endOffset, sizeBytes } = add(log, metadataTopicId, metadataSideFiles(fs, log.folder));
  return {
    metaProperties: printMetaProperties({ clusterId, nodeId, directoryId }),
    bootstrap: readFile(fs, joinPath(folder, bootstrapName), smallFileBytesMax),
    partitioners: readPartitioners(fs, folder),
    recoveryPoints,
    startOffsets,
    firstDirtyOffsets,
    cleanShutdown: { metadataEndOffset: endOffset, metadataBytes: sizeBytes },
  };
}

/** Who leads the quorum, and what a broker has left of the metadata before its log begins. */
function metadataSideFiles(fs: FileSystem, folder: string): [string, Uint8Array][] {
  const names = fs.list(folder).map(({ name }) => name)
    .filter((name) => name === quorumStateName || metadataSnapshotName.test(name));
  return names.map((name) => [name, readFile(fs, joinPath(folder, name), smallFileBytesMax)!]);
}

async function copyPartition(backup: Backup, partition: PartitionCut): Promise<void> {
  const { internals, target: { fs, folder }, run } = backup;
  const path = joinPath(folder, partition.name);
  fs.makeFolder(path);
  const target: FolderCopy = { run, folder: path };
  await copyLog(partition.cut, target);
  for (const [name, bytes] of partition.sideFiles) await writeWhole(target, name, bytes);
  fs.syncFolder(path);
  release(internals, partition);
  backup.partitionsDone++;
  reportProgress(backup);
  await run.nextTurn();
}

function release(internals: StoreInternals, partition: PartitionCut): void {
  if (!partition.isHeld) return;
  partition.isHeld = false;
  releaseLogFiles(internals, partition.cut.log);
}

function reportProgress(backup: Backup): void {
  const { partitions, partitionsDone, bytesDone, bytesTotal } = backup;
  const partitionsTotal = partitions.length;
  backup.report({ partitionsDone, partitionsTotal, bytesDone, bytesTotal });
}
