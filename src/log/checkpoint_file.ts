/**
 * Kafka's text checkpoint files (src/FORMAT.md, section 4.1): a line with the version 0, a line
 * with the number of entries, then one entry a line. An offset file has `topic partition offset`,
 * the file of leader epochs has `epoch startOffset`. A file that is absent or empty has no entries.
 *
 * Files are replaced as a whole, so a crash leaves the old one or the new one. What they say can
 * always be found out from the logs, so a caller may take a fault here for "no entries".
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { readFile, replaceFile } from "../platform/files.ts";
import type { EpochEntry } from "./leader_epoch_cache.ts";

/** The name of the checkpoint of leader epochs in the folder of a partition. */
export const epochCheckpointName = "leader-epoch-checkpoint";

/** The only version of the format there is. */
const formatVersion = 0;

/** One line of an offset checkpoint. */
export interface PartitionOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/**
 * Reads an offset checkpoint, such as `recovery-point-offset-checkpoint`.
 *
 * @param fs Where the file is.
 * @param path The file.
 * @returns Its entries in the file's order; none if there is no file.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR if the file is not such a checkpoint.
 */
export function readOffsetCheckpoint(fs: FileSystem, path: string): PartitionOffset[] {
  const bytes = readFile(fs, path);
  return bytes === undefined ? [] : parseOffsetCheckpoint(bytes, path);
}

/**
 * Replaces an offset checkpoint, durably.
 *
 * @param fs Where the file is.
 * @param path The file.
 * @param entries All of its entries.
 */
export function writeOffsetCheckpoint(
  fs: FileSystem,
  path: string,
  entries: readonly PartitionOffset[],
): void {
  replaceFile(fs, path, printOffsetCheckpoint(entries));
}

/**
 * Reads a partition's `leader-epoch-checkpoint`.
 *
 * @param fs Where the file is.
 * @param path The file.
 * @returns Its entries, strictly increasing in both numbers; none if there is no file.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR if the file is not such a checkpoint.
 */
export function readEpochCheckpoint(fs: FileSystem, path: string): EpochEntry[] {
  const bytes = readFile(fs, path);
  return bytes === undefined ? [] : parseEpochCheckpoint(bytes, path);
}

/**
 * Replaces a partition's `leader-epoch-checkpoint`, durably.
 *
 * @param fs Where the file is.
 * @param path The file.
 * @param entries All of its entries, strictly increasing in both numbers.
 */
export function writeEpochCheckpoint(
  fs: FileSystem,
  path: string,
  entries: readonly EpochEntry[],
): void {
  replaceFile(fs, path, printEpochCheckpoint(entries));
}

/**
 * Parses the content of an offset checkpoint.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns Its entries in the file's order.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR at the first line that is not as it should be.
 */
export function parseOffsetCheckpoint(bytes: Uint8Array, path: string): PartitionOffset[] {
  const seen = new Set<string>();
  return parseCheckpoint(bytes, path, 3, (fields) => {
    const [topic = "", partition = "", offset = ""] = fields;
    const entry = {
      topic,
      partition: parseNumber(partition, "partition"),
      offset: parseNumber(offset, "offset"),
    };
    const name = `${topic}-${entry.partition}`;
    if (seen.has(name)) throw new RangeError(`partition ${name} stands twice`);
    seen.add(name);
    return entry;
  });
}

/**
 * Prints an offset checkpoint.
 *
 * @param entries All of its entries.
 * @returns The whole file.
 */
export function printOffsetCheckpoint(entries: readonly PartitionOffset[]): Uint8Array {
  return printCheckpoint(
    entries.map((entry) => `${entry.topic} ${entry.partition} ${entry.offset}`),
  );
}

/**
 * Parses the content of a `leader-epoch-checkpoint`.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns Its entries, strictly increasing in both numbers.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR at the first line that is not as it should be.
 */
export function parseEpochCheckpoint(bytes: Uint8Array, path: string): EpochEntry[] {
  let previous: EpochEntry = { epoch: -1, startOffset: -1 };
  return parseCheckpoint(bytes, path, 2, (fields) => {
    const [epoch = "", startOffset = ""] = fields;
    const entry = {
      epoch: parseNumber(epoch, "epoch"),
      startOffset: parseNumber(startOffset, "start offset"),
    };
    if (entry.epoch <= previous.epoch || entry.startOffset <= previous.startOffset) {
      throw new RangeError(
        `epoch ${entry.epoch} at offset ${entry.startOffset} does not come after ` +
          `epoch ${previous.epoch} at offset ${previous.startOffset}`,
      );
    }
    previous = entry;
    return entry;
  });
}

/**
 * Prints a `leader-epoch-checkpoint`.
 *
 * @param entries All of its entries, strictly increasing in both numbers.
 * @returns The whole file.
 */
export function printEpochCheckpoint(entries: readonly EpochEntry[]): Uint8Array {
  return printCheckpoint(entries.map((entry) => `${entry.epoch} ${entry.startOffset}`));
}

/** Parses the frame that all checkpoints share; a RangeError of `parseEntry` is the line's. */
function parseCheckpoint<Entry>(
  bytes: Uint8Array,
  path: string,
  fieldCount: number,
  parseEntry: (fields: readonly string[]) => Entry,
): Entry[] {
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) return [];
  if (lines[0] !== `${formatVersion}`) {
    throw checkpointFault(path, 1, `version ${JSON.stringify(lines[0])}, wanted ${formatVersion}`);
  }
  const entryCount = lines.length - 2;
  if (lines[1] !== `${entryCount}`) {
    const found = JSON.stringify(lines[1] ?? "");
    throw checkpointFault(path, 2, `entry count ${found}, but ${Math.max(entryCount, 0)} follow`);
  }
  return lines.slice(2).map((line, index) => {
    const fields = line.trim().split(/\s+/);
    if (fields.length !== fieldCount) {
      throw checkpointFault(path, index + 3, `${fields.length} fields, wanted ${fieldCount}`);
    }
    try {
      return parseEntry(fields);
    } catch (error) {
      if (error instanceof RangeError) throw checkpointFault(path, index + 3, error.message);
      throw error;
    }
  });
}

function printCheckpoint(lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode([formatVersion, lines.length, ...lines, ""].join("\n"));
}

function parseNumber(text: string, name: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new RangeError(`${name} ${JSON.stringify(text.slice(0, 40))}, wanted a whole number`);
}

function checkpointFault(path: string, line: number, found: string): OttlaError {
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot read checkpoint ${path}: line ${line} has ${found}`,
    { details: { path, line } },
  );
}
