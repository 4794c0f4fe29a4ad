/**
 * The errors that every codec shares.
 */

import { OttlaError } from "../errors.ts";

/**
 * The error for bytes that are not a stream of their codec.
 *
 * @param codec The codec's name.
 * @param bytes The compressed bytes.
 * @param reason What was found and what was wanted.
 * @param cause The error of the library, if it found the fault.
 * @returns The error, to be thrown.
 */
export function codecCorruptError(
  codec: string,
  bytes: Uint8Array,
  reason: string,
  cause?: unknown,
): OttlaError {
  return new OttlaError(
    "CORRUPT_MESSAGE",
    `Cannot decompress ${bytes.length} bytes of ${codec}: ${reason}`,
    cause === undefined ? {} : { cause },
  );
}

/**
 * The error for a stream that gives more bytes than its reader takes.
 *
 * @param codec The codec's name.
 * @param bytes The compressed bytes.
 * @param sizeBytesMax The most bytes that the reader takes.
 * @returns The error, to be thrown.
 */
export function codecLimitError(
  codec: string,
  bytes: Uint8Array,
  sizeBytesMax: number,
): OttlaError {
  return new OttlaError(
    "MESSAGE_TOO_LARGE",
    `Cannot decompress ${bytes.length} bytes of ${codec}: ` +
      `more than ${sizeBytesMax} bytes come out, which is the limit`,
    { details: { sizeBytes: bytes.length, sizeBytesMax } },
  );
}

/**
 * What went wrong, for the message of an error that wraps it.
 *
 * @param error Anything that was caught.
 * @returns The first line of its message, without a full stop.
 */
export function causeText(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().replace(/\s*\n[^]*$/, "").replace(/\.$/, "");
}
