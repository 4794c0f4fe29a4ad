/**
 * Which UUIDs name what: random ids for topics, folders and clusters, and the few that Kafka keeps
 * for itself (src/FORMAT.md, section 4.5).
 */

import { hexOfUuid, uuidBytes, uuidOfBytes, zeroUuid } from "../bytes/uuid.ts";
import type { RandomBytes } from "../platform/random.ts";
import { systemRandomBytes } from "../platform/random.ts";

/** The topic id of `__cluster_metadata`. */
export const metadataTopicId = "AAAAAAAAAAAAAAAAAAAAAQ";

/** Below this number, an id whose first eight bytes are zero is not that of a directory. */
const reservedDirectoryIdEnd = 100;

/** How many draws are made; one in 64 is refused, so chance never refuses them all. */
const drawsMax = 100;

/**
 * Draws a UUID of version 4 that Kafka would also have drawn: not a reserved one, and not one whose
 * text starts with `-`, which a command line would take for an option.
 *
 * @param random Gives so many random bytes; the platform's by default.
 * @returns 22 characters.
 */
export function randomUuid(random: RandomBytes = systemRandomBytes): string {
  for (let draw = 0; draw < drawsMax; draw += 1) {
    const bytes = random(uuidBytes).slice();
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const uuid = uuidOfBytes(bytes);
    if (!uuid.startsWith("-")) return uuid;
  }
  throw new RangeError(`Cannot draw a UUID: ${drawsMax} draws in a row start with "-"`);
}

/**
 * Tells whether a topic must not have this id.
 *
 * @param uuid 22 characters.
 * @returns True for "none" and for the id of `__cluster_metadata`.
 */
export function isReservedTopicId(uuid: string): boolean {
  return uuid === zeroUuid || uuid === metadataTopicId;
}

/**
 * Tells whether a log directory must not have this id.
 *
 * @param uuid 22 characters.
 * @returns True where the id as a number is negative in its lower half or below 100, its upper half
 *   being zero.
 * @throws {RangeError} If the text is not a UUID.
 */
export function isReservedDirectoryId(uuid: string): boolean {
  const hex = hexOfUuid(uuid);
  const lowerHalf = BigInt.asIntN(64, BigInt(`0x${hex.slice(16)}`));
  return hex.startsWith("0000000000000000") && lowerHalf < reservedDirectoryIdEnd;
}
