/**
 * Kafka's UUID as text: 16 bytes, big-endian, in base64 for URLs without padding, 22 characters.
 * The text is what the rest of ottla holds: it is what Kafka's tools print, and two ids are equal
 * when their texts are.
 */

import { Buffer } from "node:buffer";

/** How many bytes a UUID has. */
export const uuidBytes = 16;

/** The UUID of sixteen zero bytes, which Kafka takes for "none". */
export const zeroUuid = "AAAAAAAAAAAAAAAAAAAAAA";

/**
 * Makes the text of a UUID.
 *
 * @param bytes Exactly 16 bytes.
 * @returns 22 characters.
 * @throws {RangeError} If there are not 16 bytes.
 */
export function uuidOfBytes(bytes: Uint8Array): string {
  if (bytes.length !== uuidBytes) {
    throw new RangeError(`Cannot make a UUID of ${bytes.length} bytes: wanted ${uuidBytes}`);
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, uuidBytes).toString("base64url");
}

/**
 * Reads the text of a UUID as Kafka does: padding and unused last bits are tolerated.
 *
 * @param text 22 characters of the URL alphabet, up to two of padding behind them.
 * @returns The same UUID as exactly 22 characters, or undefined if the text is not a UUID.
 */
export function findUuid(text: string): string | undefined {
  if (!/^[A-Za-z0-9_-]{22}={0,2}$/.test(text)) return undefined;
  return Buffer.from(text.slice(0, 22), "base64url").toString("base64url");
}

/**
 * Gives the bytes of a UUID.
 *
 * @param uuid 22 characters.
 * @returns 16 bytes of its own.
 * @throws {RangeError} If the text is not a UUID.
 */
export function bytesOfUuid(uuid: string): Uint8Array {
  if (findUuid(uuid) === undefined) {
    throw new RangeError(
      `Cannot read UUID ${JSON.stringify(uuid)}: wanted 22 base64url characters`,
    );
  }
  return new Uint8Array(Buffer.from(uuid.slice(0, 22), "base64url"));
}

/**
 * Gives a UUID as 32 hexadecimal digits, as it stands in the name of a partition folder being
 * deleted.
 *
 * @param uuid 22 characters.
 * @returns 32 characters of `0-9a-f`.
 * @throws {RangeError} If the text is not a UUID.
 */
export function hexOfUuid(uuid: string): string {
  return Buffer.from(bytesOfUuid(uuid)).toString("hex");
}
