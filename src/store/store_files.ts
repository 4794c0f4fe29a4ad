/**
 * The files in the root of a store: which there are, and what they say about the folder.
 *
 * While a store is open its `meta.properties` bears another name, and a Kafka broker refuses a
 * folder without that file. It gets its name back when the store is closed; after a crash, when it
 * is next opened and closed.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile, replaceFile, temporarySuffix } from "../platform/files.ts";
import { metaPropertiesName } from "./meta_properties.ts";
import { parsePartitionFolderName } from "./topic_name.ts";

/** What `meta.properties` is called while a store is open. */
const openMetaPropertiesName = "ottla.meta.properties";
/** The name of the mark of a clean shutdown. */
export const cleanShutdownName = "ottla.cleanshutdown";
const kafkaCleanShutdownName = ".kafka_cleanshutdown";
/** The name of the file of partitioners. */
export const partitionersName = "ottla.partitioners";
const powerLossName = "ottla.powerloss";
const lockPrefix = "ottla.lock.";
/** The version of our own files; a higher one was written by a newer ottla. */
const filesVersion = 1;
const smallFileBytesMax = 16 * 1024 * 1024;

/** The name of the checkpoint of what is on disk. */
export const recoveryPointName = "recovery-point-offset-checkpoint";
/** The name of the records that a formatted folder is to begin with. */
export const bootstrapName = "bootstrap.checkpoint";
/** The name of the checkpoint of where logs begin. */
export const logStartName = "log-start-offset-checkpoint";
/** The name of the checkpoint of how far logs are compacted. */
export const cleanerOffsetName = "cleaner-offset-checkpoint";

/**
 * What a folder is, as far as its names tell: a log directory of ottla's or Kafka's, one that may
 * become a store, one that another process is just making a store of, or something else.
 */
export type FolderKind = "store" | "empty" | "unfinished" | "foreign";

/**
 * Looks at the names in a folder.
 *
 * @param fs Where it is.
 * @param folder The folder.
 * @returns What it is.
 */
export function kindOfFolder(fs: FileSystem, folder: string): FolderKind {
  const names = fs.list(folder).map((entry) => entry.name);
  if (names.includes(metaPropertiesName) || names.includes(openMetaPropertiesName)) return "store";
  // A first opening that crashed leaves a lock, and a temporary file.
  const isOurs = (name: string): boolean => name.startsWith("ottla.") || name === "lost+found";
  if (names.every(isOurs)) return "empty";
  return names.some((name) => name.startsWith(lockPrefix)) ? "unfinished" : "foreign";
}

/**
 * The error for a folder that is not a store.
 *
 * @param folder The folder.
 * @param reason What was found there.
 * @returns `STORE_INVALID`.
 */
export function notAStore(folder: string, reason: string): OttlaError {
  return new OttlaError("STORE_INVALID", `Cannot open ${folder} as a store: ${reason}`, {
    details: { folder },
  });
}

/**
 * Checks that every sub-folder is one that a log directory may have.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @throws OttlaError `STORE_INVALID` naming one that is not.
 */
export function checkSubFolders(fs: FileSystem, folder: string): void {
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder || name === "remote-log-index-cache" || name === "lost+found") continue;
    try {
      parsePartitionFolderName(name);
    } catch {
      throw notAStore(folder, `it has a folder ${JSON.stringify(name)}, which is no partition's`);
    }
  }
}

/** Reads `meta.properties` under either of its names. */
export function readMetaFile(fs: FileSystem, folder: string): Uint8Array | undefined {
  return readFile(fs, joinPath(folder, openMetaPropertiesName), smallFileBytesMax) ??
    readFile(fs, joinPath(folder, metaPropertiesName), smallFileBytesMax);
}

/** The name that `readMetaFile` finds `meta.properties` under; the one of a closed store if none. */
export function metaFileName(fs: FileSystem, folder: string): string {
  const isHidden = fs.stat(joinPath(folder, openMetaPropertiesName)) !== undefined;
  return isHidden ? openMetaPropertiesName : metaPropertiesName;
}

/** Whether `meta.properties` is where a broker would see it. */
export function isMetaFileShown(fs: FileSystem, folder: string): boolean {
  return fs.stat(joinPath(folder, metaPropertiesName)) !== undefined;
}

/** Whether a name in the root is that of a lock, or of one that is being made. */
export function isLockName(name: string): boolean {
  return name.startsWith(lockPrefix);
}

/** Whether ottla has had the folder open, now or before: a lock leaves a file. */
export function hasLock(fs: FileSystem, folder: string): boolean {
  return fs.list(folder).some(({ name }) => name.startsWith(lockPrefix));
}

/** Takes `meta.properties` out of a broker's sight, with the given content. */
export function hideMetaFile(fs: FileSystem, folder: string, content: Uint8Array): void {
  const hidden = joinPath(folder, openMetaPropertiesName);
  const shown = joinPath(folder, metaPropertiesName);
  if (fs.stat(hidden) === undefined) replaceFile(fs, hidden, content);
  if (fs.stat(shown) === undefined) return;
  fs.remove(shown);
  fs.syncFolder(folder);
}

/** Gives `meta.properties` its name back. */
export function showMetaFile(fs: FileSystem, folder: string): void {
  fs.rename(joinPath(folder, openMetaPropertiesName), joinPath(folder, metaPropertiesName));
  fs.syncFolder(folder);
}

/** What the mark of a clean shutdown is bound to: a broker that ran since has changed it. */
export interface CleanShutdown {
  readonly metadataEndOffset: number;
  readonly metadataBytes: number;
}

/**
 * Reads the marks of a clean shutdown.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @returns Our own mark, and whether Kafka's is there.
 */
export function readCleanShutdown(
  fs: FileSystem,
  folder: string,
): { ours: CleanShutdown | undefined; isKafkaClean: boolean } {
  const isKafkaClean = fs.stat(joinPath(folder, kafkaCleanShutdownName)) !== undefined;
  return { ours: findCleanShutdown(fs, joinPath(folder, cleanShutdownName)), isKafkaClean };
}

/**
 * Up to where the metadata log is known to have been on disk. Two texts without a checksum say so;
 * where they differ, one of them is rotten, and the log is not held against it.
 *
 * @param ours The mark of a clean shutdown.
 * @param recoveryPoint The recovery point of the metadata log.
 * @returns The offset; 0 if nothing is known.
 */
export function syncedMetadataOffset(
  ours: CleanShutdown | undefined,
  recoveryPoint: number | undefined,
): number {
  const marked = ours?.metadataEndOffset;
  return Math.min(marked ?? recoveryPoint ?? 0, recoveryPoint ?? marked ?? 0);
}

/** Removes the marks of a clean shutdown: from now on the folder is not cleanly closed. */
export function removeCleanShutdown(fs: FileSystem, folder: string): void {
  for (const name of [cleanShutdownName, kafkaCleanShutdownName]) {
    const path = joinPath(folder, name);
    if (fs.stat(path) !== undefined) fs.remove(path);
  }
  fs.syncFolder(folder);
}

/** Removes what a crash has left of files that were being replaced; the old ones are in their place. */
export function removeTemporaryFiles(fs: FileSystem, folder: string): void {
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder && name.endsWith(temporarySuffix)) fs.remove(joinPath(folder, name));
  }
}

/** Leaves the mark of a clean shutdown. */
export function writeCleanShutdown(fs: FileSystem, folder: string, mark: CleanShutdown): void {
  const text = JSON.stringify({ version: filesVersion, ...mark });
  replaceFile(fs, joinPath(folder, cleanShutdownName), new TextEncoder().encode(text));
}

/**
 * Marks a folder as one whose machine has stopped while it was open, or after: until it is recovered
 * every opening has to know. Not synced: after the next power cut the lock tells it again.
 */
export function markPowerLoss(fs: FileSystem, folder: string): void {
  fs.close(fs.open(joinPath(folder, powerLossName), "create"));
}

/** Whether a folder is marked with `markPowerLoss`. */
export function hasPowerLoss(fs: FileSystem, folder: string): boolean {
  return fs.stat(joinPath(folder, powerLossName)) !== undefined;
}

/** Takes the mark away: what the folder holds is recovered. */
export function removePowerLoss(fs: FileSystem, folder: string): void {
  if (hasPowerLoss(fs, folder)) fs.remove(joinPath(folder, powerLossName));
}

/**
 * Reads which topics have partitioners of their own.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @returns Names by topic id.
 * @throws OttlaError `UNSUPPORTED_VERSION` if a newer ottla wrote the file, `STORE_INVALID` if it
 * cannot be read.
 */
export function readPartitioners(fs: FileSystem, folder: string): Map<string, string> {
  const path = joinPath(folder, partitionersName);
  const bytes = readFile(fs, path, smallFileBytesMax);
  if (bytes === undefined) return new Map();
  const file = parseJsonObject(bytes);
  if (file === undefined) {
    throw new OttlaError("STORE_INVALID", `Cannot read ${path}: it is not a JSON object`, {
      details: { path },
    });
  }
  if (file["version"] !== filesVersion) {
    throw new OttlaError(
      "UNSUPPORTED_VERSION",
      `Cannot read ${path}: it has version ${
        String(file["version"])
      }, at most ${filesVersion} is known; ` +
        `a newer ottla wrote the folder`,
      { details: { path, version: String(file["version"]) } },
    );
  }
  const entries = Object.entries(file["partitioners"] ?? {});
  return new Map(entries.map(([topicId, name]) => [topicId, String(name)]));
}

/** Records which topics have partitioners of their own. */
export function writePartitioners(
  fs: FileSystem,
  folder: string,
  partitioners: ReadonlyMap<string, string>,
): void {
  const file = { version: filesVersion, partitioners: Object.fromEntries(partitioners) };
  replaceFile(
    fs,
    joinPath(folder, partitionersName),
    new TextEncoder().encode(JSON.stringify(file)),
  );
}

function findCleanShutdown(fs: FileSystem, path: string): CleanShutdown | undefined {
  let bytes: Uint8Array | undefined;
  try {
    bytes = readFile(fs, path, smallFileBytesMax);
  } catch (error) {
    // One that is too large is no mark either.
    if (!(error instanceof OttlaError)) throw error;
  }
  const file = bytes === undefined ? undefined : parseJsonObject(bytes);
  const { version, metadataEndOffset, metadataBytes } = file ?? {};
  const isMark = version === filesVersion && Number.isSafeInteger(metadataEndOffset) &&
    Number.isSafeInteger(metadataBytes);
  // A mark that cannot be read is no mark; the store is recovered.
  if (!isMark) return undefined;
  return { metadataEndOffset: Number(metadataEndOffset), metadataBytes: Number(metadataBytes) };
}

function parseJsonObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === "object" && value !== null
      ? value as Readonly<Record<string, unknown>>
      : undefined;
  } catch {
    return undefined;
  }
}
