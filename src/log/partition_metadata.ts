/**
 * `partition.metadata`: the topic id that a partition's folder belongs to (src/FORMAT.md, section
 * 4.3). Two lines, the second without a newline. It is written before the first record is.
 */

import { findUuid, zeroUuid } from "../bytes/uuid.ts";
import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath, readFile, replaceFile } from "../platform/files.ts";

/** The file's name in a partition's folder. */
export const partitionMetadataName = "partition.metadata";

/**
 * Reads the topic id of a partition's folder.
 *
 * @param fs Where the folder is.
 * @param folder The partition's folder.
 * @returns The topic id, 22 characters, or undefined if the folder has no such file.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR if the file is not as it should be.
 */
export function findTopicIdOfFolder(fs: FileSystem, folder: string): string | undefined {
  const path = joinPath(folder, partitionMetadataName);
  const bytes = readFile(fs, path);
  return bytes === undefined ? undefined : parsePartitionMetadata(bytes, path);
}

/**
 * Makes sure that a partition's folder belongs to a topic: writes the file if there is none,
 * durably.
 *
 * @param fs Where the folder is.
 * @param folder The partition's folder.
 * @param topicId The topic id, 22 characters.
 * @throws {OttlaError} INCONSISTENT_TOPIC_ID if the folder belongs to another topic; nothing is
 *   changed.
 */
export function recordTopicIdOfFolder(
  fs: FileSystem,
  folder: string,
  topicId: string,
): void {
  const found = findTopicIdOfFolder(fs, folder);
  if (found === undefined) {
    const bytes = printPartitionMetadata(topicId);
    replaceFile(fs, joinPath(folder, partitionMetadataName), bytes);
  } else if (found !== topicId) {
    throw new OttlaError(
      "INCONSISTENT_TOPIC_ID",
      `Cannot use folder ${folder}: it belongs to topic id ${found}, wanted ${topicId}`,
      { details: { folder, found, wanted: topicId } },
    );
  }
}

/**
 * Parses the content of `partition.metadata`.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns The topic id, 22 characters.
 * @throws {OttlaError} KAFKA_STORAGE_ERROR if it is not as it should be.
 */
export function parsePartitionMetadata(bytes: Uint8Array, path: string): string {
  const text = new TextDecoder().decode(bytes);
  const match = /^version:\s+(\d{1,9})\r?\ntopic_id:\s+(\S+)(?:\r?\n)?$/.exec(text);
  if (match === null) throw metadataFault(path, "wanted the lines version and topic_id");
  if (match[1] !== "0") throw metadataFault(path, `version ${match[1]}, wanted 0`);
  const topicId = findUuid(match[2] ?? "");
  if (topicId === undefined || topicId === zeroUuid) {
    throw metadataFault(path, `topic_id ${JSON.stringify(match[2])} is not a topic's id`);
  }
  return topicId;
}

/**
 * Prints `partition.metadata`.
 *
 * @param topicId The topic id, 22 characters.
 * @returns The whole file.
 * @throws {RangeError} If the text is not the id of a topic.
 */
export function printPartitionMetadata(topicId: string): Uint8Array {
  if (findUuid(topicId) !== topicId || topicId === zeroUuid) {
    throw new RangeError(`Cannot record topic id ${JSON.stringify(topicId)}: not a topic's id`);
  }
  return new TextEncoder().encode(`version: 0\ntopic_id: ${topicId}`);
}

function metadataFault(path: string, reason: string): OttlaError {
  return new OttlaError("KAFKA_STORAGE_ERROR", `Cannot read ${path}: ${reason}`, {
    details: { path },
  });
}
