/**
 * Files of a folder copied into another one, of the same file system or not: a hard link where that
 * is possible, else the bytes. Nothing is ever overwritten, and what is copied is synced.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";

/** What the folders of one backup share. */
export interface CopyRun {
  readonly source: FileSystem;
  readonly target: FileSystem;
  /** Whether files may be linked; false from the first one on that could not be. */
  canLink: boolean;
  linkedBytes: number;
  copiedBytes: number;
  /** Called before bytes are written; throws if there is no room for them. */
  readonly claim: (sizeBytes: number) => void;
  /** Waits for the next turn of the event loop; throws if the copying is to end. */
  readonly nextTurn: () => Promise<void>;
  /** Called when some more of the log files has its copy. */
  readonly onBytes: (sizeBytes: number) => void;
}

/** A folder that is being filled. */
export interface FolderCopy {
  readonly run: CopyRun;
  /** Its path, in the target's file system. */
  readonly folder: string;
}

const chunkBytes = 1024 * 1024;
/** How a file system says that it makes no such links: none at all, or no more of this file. */
const noLinkCodes = ["EXDEV", "EPERM", "EACCES", "EMLINK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"];

/**
 * Gives a log file that is on disk and never written to again a second name, or copies it.
 *
 * @param target The folder.
 * @param findPath Tells where the file lies; asked right before it is used.
 * @param name Its name in the folder.
 * @param sizeBytes Its size.
 * @returns Resolves when its bytes are on disk.
 * @throws What the file systems, `claim` and `nextTurn` throw.
 */
export async function copyFile(
  target: FolderCopy,
  findPath: () => string,
  name: string,
  sizeBytes: number,
): Promise<void> {
  const { run } = target;
  if (!run.canLink || !tryLink(run, findPath(), joinPath(target.folder, name))) {
    return await copyBytes(target, findPath, name, sizeBytes);
  }
  run.linkedBytes += sizeBytes;
  run.onBytes(sizeBytes);
  await run.nextTurn();
}

/**
 * Copies the first bytes of a log file.
 *
 * @param target The folder.
 * @param findPath Tells where the file lies; asked right before it is opened.
 * @param name Its name in the folder.
 * @param sizeBytes How many.
 * @returns Resolves when they are on disk.
 * @throws OttlaError `KAFKA_STORAGE_ERROR` if the file is shorter; what the file systems,
 * `claim` and `nextTurn` throw.
 */
export async function copyBytes(
  target: FolderCopy,
  findPath: () => string,
  name: string,
  sizeBytes: number,
): Promise<void> {
  const { run } = target;
  const path = findPath();
  const source = run.source.open(path, "read");
  try {
    const copy = run.target.createExclusive(joinPath(target.folder, name));
    try {
      const buffer = new Uint8Array(Math.min(chunkBytes, sizeBytes));
      for (let position = 0; position < sizeBytes;) {
        const chunk = buffer.subarray(0, sizeBytes - position);
        const count = await run.source.readAsync(source, chunk, position);
        if (count < chunk.length) throw shortFileError(path, position + count, sizeBytes);
        run.claim(count);
        run.target.write(copy, chunk, position);
        position += count;
        run.copiedBytes += count;
        run.onBytes(count);
        await run.nextTurn();
      }
      await run.target.syncData(copy);
    } finally {
      run.target.close(copy);
    }
  } finally {
    run.source.close(source);
  }
}

/**
 * Makes a small file.
 *
 * @param target The folder.
 * @param name Its name in the folder.
 * @param bytes All of its content.
 * @returns Resolves when it is on disk.
 * @throws What the file system and `claim` throw.
 */
export async function writeWhole(
  { run: { target: fs, claim }, folder }: FolderCopy,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  claim(bytes.length);
  const file = fs.createExclusive(joinPath(folder, name));
  try {
    fs.write(file, bytes, 0);
    await fs.syncData(file);
  } finally {
    fs.close(file);
  }
}

/** Returns false if there can be no link. */
function tryLink(run: CopyRun, source: string, target: string): boolean {
  try {
    run.source.link(source, target);
    return true;
  } catch (error) {
    if (!noLinkCodes.some((code) => hasErrorCode(error, code))) throw error;
    // Another file may have fewer names.
    if (!hasErrorCode(error, "EMLINK")) run.canLink = false;
    return false;
  }
}

function shortFileError(path: string, endPosition: number, sizeBytes: number): OttlaError {
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot copy ${path}: it ends at position ${endPosition}, wanted ${sizeBytes} bytes`,
    { details: { path, endPosition, sizeBytes } },
  );
}
