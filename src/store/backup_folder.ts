/**
 * The folder that a backup goes to: begun so that nobody takes it for a store before it is one,
 * ended so that it is one all at once, or taken away again.
 *
 * Its first file is `meta.properties.part`, which shows whose the folder is; with its last change it
 * becomes `meta.properties`. A folder that a crash leaves in between is refused by every opening.
 */

import { OttlaError } from "../errors.ts";
import type { PartitionOffset } from "../log/checkpoint_file.ts";
import { writeOffsetCheckpoint } from "../log/checkpoint_file.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath, makeFolderSynced } from "../platform/files.ts";
import { metaPropertiesName } from "./meta_properties.ts";
import type { CleanShutdown } from "./store_files.ts";
import {
  bootstrapName,
  cleanerOffsetName,
  logStartName,
  recoveryPointName,
  writeCleanShutdown,
  writePartitioners,
} from "./store_files.ts";
import { metadataTopic, partitionFolderName } from "./topic_name.ts";

/** A folder that is becoming a store. */
export interface BackupFolder {
  readonly fs: FileSystem;
  readonly folder: string;
  /** Folders that were made for it, the deepest first. */
  readonly madeFolders: readonly string[];
}

/** What the files in the root of a store say. */
export interface RootFiles {
  readonly metaProperties: Uint8Array;
  /** What a folder was formatted with, if it is a broker's. */
  readonly bootstrap: Uint8Array | undefined;
  readonly partitioners: ReadonlyMap<string, string>;
  readonly recoveryPoints: readonly PartitionOffset[];
  readonly startOffsets: readonly PartitionOffset[];
  readonly firstDirtyOffsets: readonly PartitionOffset[];
  readonly cleanShutdown: CleanShutdown;
}

const partName = `${metaPropertiesName}.part`;
/** What may lie in a folder that counts as empty. */
const passedOver = "lost+found";

/**
 * Begins a store in a folder that is empty or not there.
 *
 * @param fs Where to make it.
 * @param folder The folder.
 * @returns What `finishFolder` or `removeFolder` ends.
 * @throws OttlaError `STORE_INVALID` if something is there; nothing is changed then. What the file
 * system throws.
 */
export function beginFolder(fs: FileSystem, folder: string): BackupFolder {
  checkEmpty(fs, folder);
  const madeFolders = makeFolderSynced(fs, folder);
  try {
    fs.close(fs.createExclusive(joinPath(folder, partName)));
  } catch (error) {
    if (hasErrorCode(error, "EEXIST")) throw notEmpty(folder, partName);
    removeMade(fs, madeFolders);
    throw error;
  }
  return { fs, folder, madeFolders };
}

/**
 * Makes a store of the folder, once all partitions are in it.
 *
 * @param target The folder.
 * @param files What the files in its root are to say.
 * @throws What the file system throws.
 */
export function finishFolder({ fs, folder }: BackupFolder, files: RootFiles): void {
  const { bootstrap, partitioners, firstDirtyOffsets } = files;
  writeOffsetCheckpoint(fs, joinPath(folder, recoveryPointName), files.recoveryPoints);
  writeOffsetCheckpoint(fs, joinPath(folder, logStartName), files.startOffsets);
  if (firstDirtyOffsets.length > 0) {
    writeOffsetCheckpoint(fs, joinPath(folder, cleanerOffsetName), firstDirtyOffsets);
  }
  if (partitioners.size > 0) writePartitioners(fs, folder, partitioners);
  if (bootstrap !== undefined) writeSynced(fs, joinPath(folder, bootstrapName), bootstrap);
  writeCleanShutdown(fs, folder, files.cleanShutdown);
  const part = joinPath(folder, partName);
  writeSynced(fs, part, files.metaProperties);
  fs.syncFolder(folder);
  fs.rename(part, joinPath(folder, metaPropertiesName));
  fs.syncFolder(folder);
}

/**
 * Takes away what was made, as far as the file system lets go of it.
 *
 * @param target The folder.
 */
export function removeFolder({ fs, folder, madeFolders }: BackupFolder): void {
  try {
    takeBack(fs, folder);
    // Last, so that it shows to the end whose the folder is.
    const others = fs.list(folder).filter(({ name }) => name !== partName && name !== passedOver);
    for (const { name } of others) removeTree(fs, joinPath(folder, name));
    if (fs.stat(joinPath(folder, partName)) !== undefined) fs.remove(joinPath(folder, partName));
    removeMade(fs, madeFolders);
  } catch (error) {
    // The caller throws what went wrong first. What is left is no store to anybody.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** What may be whole is no store any more, and no repair makes it one, before the rest of it goes. */
function takeBack(fs: FileSystem, folder: string): void {
  const whole = joinPath(folder, metaPropertiesName);
  if (fs.stat(whole) !== undefined) {
    fs.rename(whole, joinPath(folder, partName));
    fs.syncFolder(folder);
  }
  const metadata = joinPath(folder, partitionFolderName(metadataTopic, 0));
  if (fs.stat(metadata) === undefined) return;
  removeTree(fs, metadata);
  fs.syncFolder(folder);
}

function checkEmpty(fs: FileSystem, folder: string): void {
  const status = fs.stat(folder);
  if (status === undefined) return;
  if (!status.isFolder) {
    throw new OttlaError("STORE_INVALID", `Cannot back up to ${folder}: it is a file`, {
      details: { folder },
    });
  }
  const found = fs.list(folder).find(({ name }) => name !== passedOver);
  if (found !== undefined) throw notEmpty(folder, found.name);
}

function notEmpty(folder: string, name: string): OttlaError {
  return new OttlaError(
    "STORE_INVALID",
    `Cannot back up to ${folder}: it holds ${
      JSON.stringify(name)
    }, wanted a folder that is empty ` +
      "or not there",
    { details: { folder, name } },
  );
}

function writeSynced(fs: FileSystem, path: string, bytes: Uint8Array): void {
  const file = fs.open(path, "create");
  try {
    fs.write(file, bytes, 0);
    fs.syncDataNow(file);
  } finally {
    fs.close(file);
  }
}

function removeTree(fs: FileSystem, path: string): void {
  if (fs.stat(path)?.isFolder !== true) return fs.remove(path);
  for (const { name } of fs.list(path)) removeTree(fs, joinPath(path, name));
  fs.removeFolder(path);
}

function removeMade(fs: FileSystem, folders: readonly string[]): void {
  for (const folder of folders) fs.removeFolder(folder);
}
