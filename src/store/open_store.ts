/**
 * Opens and closes a store.
 *
 * Opening, in this order: what the folder is is decided from its names alone; the lock is taken;
 * the metadata is read, and whatever cannot be opened is found out; only then is anything changed:
 * `meta.properties` goes out of a broker's sight, the marks of a clean shutdown are taken away, and
 * if there was none, every log is recovered. Closing goes the other way.
 *
 * A lock leaves a file behind. So a folder where ottla has never been is read before its lock is
 * taken too: if it is refused, not even that file is in it.
 */

import { strict as assert } from "node:assert";
import { loadCrc32c } from "../bytes/crc32c.ts";
import { loadXxh64 } from "../bytes/xxh64.ts";
import type { OttlaError } from "../errors.ts";
import { isOttlaError } from "../errors.ts";
import { openFilesMax } from "../limits.ts";
import type { Log } from "../log/log.ts";
import { abandonLog, flushLog } from "../log/log.ts";
import { closeLog } from "../log/log_close.ts";
import { openLog } from "../log/log_open.ts";
import { recordTopicIdOfFolder } from "../log/partition_metadata.ts";
import { systemClock } from "../platform/clock.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { FilePool } from "../platform/file_pool.ts";
import { closePooledFile, filePool } from "../platform/file_pool.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath, makeFolderSynced } from "../platform/files.ts";
import { memoryFileSystem } from "../platform/memory_file_system.ts";
import { pathOf } from "../platform/path.ts";
import { systemRandomBytes } from "../platform/random.ts";
import { checkNoBroker } from "../platform/broker_lock.ts";
import type { StoreLock } from "../platform/store_lock.ts";
import { acquireStoreLock, releaseStoreLock } from "../platform/store_lock.ts";
import { loadCodec } from "../record/compression.ts";
import { giveReserveIfFull, takeReserve, withReserve } from "./disk_reserve.ts";
import { diskFreeBytesMinDefault, diskSpace } from "./disk_space.ts";
import { readFolderState } from "./folder_state.ts";
import { startMaintenance, stopMaintenance } from "./maintenance.ts";
import { printMetaProperties } from "./meta_properties.ts";
import type { MetadataLog } from "./metadata_log.ts";
import { changeMetadata, metadataLog } from "./metadata_log.ts";
import type { FolderMetadata } from "./metadata_reader.ts";
import {
  allPartitions,
  hasFolder,
  settleFolders,
  topicStates,
  writeRecoveryPoints,
  writeStartOffsets,
} from "./partitions.ts";
import { producerIds } from "./producer_ids.ts";
import { nothingRecovered, recoverPartitions } from "./recover_partitions.ts";
import type { Store, StoreInternals, StoreOptions } from "./store.ts";
import { checkLock, internalsOf, openInternals } from "./store.ts";
import type { CleanShutdown } from "./store_files.ts";
import {
  hasLock,
  hideMetaFile,
  isMetaFileShown,
  kindOfFolder,
  markPowerLoss,
  notAStore,
  removeCleanShutdown,
  removePowerLoss,
  removeTemporaryFiles,
  showMetaFile,
  writeCleanShutdown,
} from "./store_files.ts";
import { asStorageError } from "./store_errors.ts";
import { checkStoreOptions } from "./store_options.ts";
import { topicConfigOf } from "./topic_config.ts";
import { storeCounters, timedOpening } from "./store_counters.ts";
import { settleOffsets } from "./topic_folders.ts";
import { metadataTopic, partitionFolderName } from "./topic_name.ts";
import { metadataTopicId, randomUuid } from "./uuid.ts";

/** The options of `openStore`, its surroundings filled in. */
type OpenOptions = StoreOptions & Required<Pick<StoreOptions, "clock" | "randomBytes">>;

/** How the store's own id is given in its records: the only node there is. */
const defaultNodeId = 1;

/**
 * Opens the store in a folder, and makes it if the folder is empty or not there.
 *
 * @param path The folder, as a path or a `file:` URL, or ":memory:" for a store that lives and dies
 * with the process.
 * @param options See `StoreOptions`.
 * @returns The store. It must be closed with `closeStore`, or be declared with `await using`.
 * @throws TypeError or RangeError for an argument of the wrong kind. OttlaError `STORE_LOCKED` if
 * somebody has it open, `STORE_INVALID` if the folder is not a Kafka log directory or is damaged
 * beyond what can be opened, `UNSUPPORTED_VERSION` if a newer version wrote it; then nothing in the
 * folder is changed. `DISK_FULL` or `KAFKA_STORAGE_ERROR` if the disk fails.
 * @example
 * ```ts
 * import { closeStore, openStore } from "ottla";
 * const store = await openStore(":memory:");
 * await closeStore(store);
 * ```
 */
export async function openStore(path: string | URL, options: StoreOptions = {}): Promise<Store> {
  const folder = pathOf(path);
  checkStoreOptions(options);
  await Promise.all([loadCrc32c(), loadXxh64(), loadZstd()]);
  const clock = options.clock ?? systemClock();
  const isMemory = folder === ":memory:";
  const fs = options.fileSystem ?? (isMemory ? memoryFileSystem(clock.now) : diskFileSystem());
  const root = isMemory ? "/memory" : folder;
  const randomBytes = options.randomBytes ?? systemRandomBytes;
  try {
    const internals = await openFolder(fs, root, { ...options, clock, randomBytes });
    const store: Store = {
      path: folder,
      recovery: internals.recovery,
      internals,
      [Symbol.asyncDispose]: () => closeStore(store),
    };
    return store;
  } catch (error) {
    throw asStorageError(`open ${folder}`, error);
  }
}

async function openFolder(
  fs: FileSystem,
  root: string,
  options: OpenOptions,
): Promise<StoreInternals> {
  const { clock, randomBytes } = options;
  prepareFolder(fs, root, options.create ?? true);
  const onRebooted = (): void => markPowerLoss(fs, root);
  const take = (): StoreLock => acquireStoreLock(fs, root, { clock, randomBytes, onRebooted });
  const lock = withReserve(fs, root, take);
  const pool = filePool(fs, options.openFilesMax ?? openFilesMax);
  const wasShown = isMetaFileShown(fs, root);
  try {
    if (kindOfFolder(fs, root) === "unfinished") throw foreignFolder(root);
    giveReserveIfFull(fs, root);
    const internals = await timedOpening(clock, () => openLocked(fs, root, lock, pool, options));
    takeReserve(internals.diskSpace);
    startMaintenance(internals);
    return internals;
  } catch (error) {
    openFolderUndo(pool, lock, root, wasShown);
    throw error;
  }
}

/** Leaves the folder to whoever opens it next, a broker included if it was one's. */
function openFolderUndo(pool: FilePool, lock: StoreLock, folder: string, wasShown: boolean): void {
  try {
    try {
      for (const file of [...pool.open]) closePooledFile(pool, file);
      if (wasShown && !isMetaFileShown(pool.fs, folder)) showMetaFile(pool.fs, folder);
    } finally {
      releaseStoreLock(lock);
    }
  } catch {
    // The caller throws what went wrong first. The next opening knows the file by both names.
  }
}

/**
 * Waits for everything appended so far to be on disk, closes all files and lets go of the folder.
 *
 * @param store The store. Closing it twice is fine.
 * @returns Resolves when all is done.
 * @throws OttlaError if something could not be written; the store is closed all the same, and
 * recovers when it is next opened.
 */
export async function closeStore(store: Store): Promise<void> {
  const internals = internalsOf(store);
  internals.closing ??= closeInternals(internals);
  await internals.closing;
}

async function closeInternals(internals: StoreInternals): Promise<void> {
  // Those who come while these end find the store open and are ended too.
  while (internals.closers.size > 0) await endClosers(internals);
  if (internals.state === "closed") return;
  internals.state = "closing";
  stopMaintenance(internals);
  try {
    checkLock(internals);
    giveReserveIfFull(internals.fs, internals.folder);
    await internals.metadata.turn;
    await closeLogs(internals);
    checkLock(internals);
    writeRecoveryPoints(internals);
    writeStartOffsets(internals);
    if (isRecovered(internals)) {
      writeCleanShutdown(internals.fs, internals.folder, cleanShutdownOf(internals.metadata.log));
    }
    showMetaFile(internals.fs, internals.folder);
    takeReserve(internals.diskSpace);
  } catch (error) {
    throw asStorageError(`close ${internals.folder}`, error);
  } finally {
    closeInternalsEnd(internals);
  }
}

/** The lock is a file too: where the disk takes no write, whoever closes is told so. */
function closeInternalsEnd(internals: StoreInternals): void {
  try {
    letGo(internals);
  } catch (error) {
    throw asStorageError(`let go of ${internals.folder}`, error);
  }
}

/** Ends what stands on the store; what of it fails has told whoever waits for it. */
async function endClosers({ closers }: StoreInternals): Promise<void> {
  const ending = [...closers];
  closers.clear();
  await Promise.allSettled(ending.map((close) => close()));
}

/**
 * Waits until everything appended so far, at whatever level, is on disk.
 *
 * @param store The store.
 * @returns Resolves when it is.
 * @throws OttlaError `DISK_FULL` or `KAFKA_STORAGE_ERROR` if it cannot be.
 */
export async function flush(store: Store): Promise<void> {
  const internals = openInternals(store);
  await Promise.all(openLogs(internals).map(flushLog));
}

/**
 * Lets go of a store as a crash of the process would: nothing is written, no mark is left. For
 * tests of recovery.
 *
 * @param store The store; it cannot be used afterwards.
 */
export function abandonStore(store: Store): void {
  const internals = internalsOf(store);
  if (internals.state !== "open") return;
  stopMaintenance(internals);
  letGo(internals);
}

/** Whether every log was closed properly, now or when it was last used. */
function isRecovered(internals: StoreInternals): boolean {
  for (const state of allPartitions(internals)) {
    const isUnknown = state.log === undefined && !state.isClean;
    if (isUnknown && hasFolder(internals, state)) return false;
  }
  return true;
}

function letGo(internals: StoreInternals): void {
  internals.state = "closed";
  for (const abandon of [...internals.abandoners]) abandon();
  internals.abandoners.clear();
  for (const log of [...openLogs(internals), internals.metadata.log]) abandonLog(log);
  releaseStoreLock(internals.lock);
}

function openLogs(internals: StoreInternals): Log[] {
  return [...allPartitions(internals)].flatMap(({ log }) => log === undefined ? [] : [log]);
}

async function closeLogs(internals: StoreInternals): Promise<void> {
  const results = await Promise.allSettled(
    [...openLogs(internals), internals.metadata.log].map(closeLog),
  );
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/**
 * On runtimes without zstd of their own it must be loaded before a batch that needs it turns up.
 */
async function loadZstd(): Promise<void> {
  try {
    await loadCodec("zstd");
  } catch (error) {
    // Whoever needs it is told then.
    if (!isOttlaError(error, "CODEC_MISSING")) throw error;
  }
}

/**
 * Makes sure that there is a folder and that it may be opened, changing nothing if it may not. What
 * another process is just making a store of can only be judged under the lock.
 */
function prepareFolder(fs: FileSystem, folder: string, create: boolean): void {
  try {
    const kind = kindOfFolder(fs, folder);
    if (kind === "foreign") throw foreignFolder(folder);
    if (kind === "empty" && !create) throw notAStore(folder, "it is empty");
    if (kind === "empty") makeFolderSynced(fs, folder);
    if (kind !== "store" || hasLock(fs, folder)) return;
    checkNoBroker(fs, folder);
    const state = readFolderState(fs, folder);
    // Finds out what is wrong with configurations.
    topicStates(state.metadata.image, state.identity?.nodeId ?? defaultNodeId, state, {});
  } catch (error) {
    if (hasErrorCode(error, "ENOTDIR")) throw notAStore(folder, "it is a file");
    if (!hasErrorCode(error, "ENOENT")) throw error;
    if (!create) throw notAStore(folder, "there is no such folder");
    makeFolderSynced(fs, folder);
  }
}

function foreignFolder(folder: string): OttlaError {
  return notAStore(folder, "it holds other files and no meta.properties");
}

async function openLocked(
  fs: FileSystem,
  folder: string,
  lock: StoreLock,
  pool: FilePool,
  options: OpenOptions,
): Promise<StoreInternals> {
  const { clock, randomBytes } = options;
  const state = readFolderState(fs, folder);
  const { firstRecords, isClean, metaFile, partitioners } = state;
  const { image } = state.metadata;
  const { clusterId, nodeId, directoryId: ownDirectoryId } = state.identity ??
    { clusterId: randomUuid(randomBytes), nodeId: defaultNodeId, directoryId: undefined };
  const directoryId = ownDirectoryId ?? randomUuid(randomBytes);
  const overrides = options.topicOverrides ?? {};
  const topics = topicStates(image, nodeId, state, overrides);

  // From here on the folder is changed.
  hideMetaFile(
    fs,
    folder,
    metaFile !== undefined && ownDirectoryId !== undefined
      ? metaFile
      : printMetaProperties({ clusterId, nodeId, directoryId }),
  );
  // A broker may have begun to start before its file was out of sight.
  checkNoBroker(fs, folder);
  removeTemporaryFiles(fs, folder);
  removeCleanShutdown(fs, folder);
  const metadata = openMetadata({ fs, folder, pool, clock }, state.metadata, nodeId);
  await changeMetadata(metadata, () => firstRecords);
  settleFolders(fs, folder, image, isClean, () => randomUuid(randomBytes));
  const recovery = isClean
    ? nothingRecovered
    : await recoverPartitions({ fs, folder, pool, clock, topics });
  const unwrittenFiles: string[] = [];
  const internals: StoreInternals = {
    folder,
    fs,
    pool,
    clock,
    randomBytes,
    options: {
      ack: options.ack ?? "disk",
      partitioner: options.partitioner ?? "xxh64",
      retentionCheckMs: options.retentionCheckMs ?? 300_000,
      compactionCheckMs: options.compactionCheckMs ?? 15_000,
      checkpointMs: options.checkpointMs ?? 60_000,
      offsetsRetentionMinutes: options.offsetsRetentionMinutes ?? 10_080,
    },
    topicOverrides: overrides,
    diskSpace: diskSpace(fs, folder, options.diskFreeBytesMin ?? diskFreeBytesMinDefault),
    lock,
    nodeId,
    directoryId,
    clusterId,
    image,
    metadata,
    topics,
    partitioners,
    producerIds: producerIds(),
    recovery: { ...recovery, unwrittenFiles },
    stats: storeCounters(),
    topicWatchers: new Set(),
    closers: new Set(),
    abandoners: new Set(),
    timers: [],
    hasStaleOffsets: false,
    state: "open",
    closing: undefined,
  };
  // A deletion that crashed must leave nothing that a new topic of the same name would begin with.
  if (!isClean) unwrittenFiles.push(...settleOffsets(internals));
  if (recovery.failedPartitions.length === 0) removePowerLoss(fs, folder);
  return internals;
}

function openMetadata(
  place: Pick<StoreInternals, "fs" | "folder" | "pool" | "clock">,
  metadata: FolderMetadata,
  nodeId: number,
): MetadataLog {
  const { fs, pool, clock } = place;
  const folder = joinPath(place.folder, partitionFolderName(metadataTopic, 0));
  if (fs.stat(folder) === undefined) {
    fs.makeFolder(folder);
    fs.syncFolder(place.folder);
  }
  recordTopicIdOfFolder(fs, folder, metadataTopicId);
  const { log } = openLog({
    pool,
    clock,
    folder,
    source: { topic: metadataTopic, partition: 0 },
    config: topicConfigOf(new Map([["cleanup.policy", "delete"], ["retention.ms", "-1"]])),
    leaderEpoch: 0,
    // Kafka never trusts this log either; all of it is read anyway.
    recoveryPoint: 0,
    startOffset: metadata.startOffset,
  });
  assert(log.endOffset === metadata.endOffset, "the log ends where its reader found its end");
  return metadataLog(log, metadata, nodeId);
}

/**
 * What a broker would change if it ran on the folder: its controller appends to this log at every
 * start.
 */
function cleanShutdownOf(log: Log): CleanShutdown {
  return {
    metadataEndOffset: log.endOffset,
    metadataBytes: log.segments.reduce((sum, segment) => sum + segment.sizeBytes, 0),
  };
}
