/** Runs decoders over bytes that hold one thing and nothing else. */

import type { ByteReader } from "../bytes/byte_reader.ts";
import { byteReader, remainingBytes } from "../bytes/byte_reader.ts";
import { OttlaError } from "../errors.ts";

/**
 * Decodes all of the bytes.
 *
 * @param what What they are, for the message.
 * @param bytes The bytes.
 * @param read Decodes; throws a RangeError if something is wrong.
 * @returns What it returns.
 * @throws OttlaError `CORRUPT_MESSAGE` if something is wrong or left over; what else `read` throws.
 */
export function decodeWhole<Result>(
  what: string,
  bytes: Uint8Array,
  read: (reader: ByteReader) => Result,
): Result {
  try {
    const reader = byteReader(bytes);
    const result = read(reader);
    const leftBytes = remainingBytes(reader);
    if (leftBytes > 0) throw new RangeError(`${leftBytes} bytes are left over`);
    return result;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = `Cannot read ${what} of ${bytes.length} bytes: ${error.message}`;
    throw new OttlaError("CORRUPT_MESSAGE", message, { cause: error });
  }
}
