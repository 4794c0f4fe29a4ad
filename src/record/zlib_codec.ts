/**
 * What the codecs that run in the runtime's zlib have in common.
 */

import { constants } from "node:buffer";

/** The smallest buffer that is worth a call. */
const chunkSizeMin = 1024;

/** More than is expected, or zlib makes a second buffer to see that nothing is left. */
const chunkSizeExtra = 64;

/**
 * How large a buffer zlib should make, so that a result of the expected size fits into the first
 * one.
 *
 * @param sizeBytes How many bytes are expected.
 * @returns A chunk size in bytes that zlib takes.
 */
export function zlibChunkSize(sizeBytes: number): number {
  return Math.max(chunkSizeMin, sizeBytes + chunkSizeExtra);
}

/**
 * A limit of output as zlib takes it: not 0, and not more than a buffer can hold.
 *
 * @param sizeBytesMax The most bytes that may come out.
 * @returns The limit in bytes; one more than asked for if that was 0.
 */
export function zlibOutputLengthMax(sizeBytesMax: number): number {
  return Math.min(Math.max(1, sizeBytesMax), constants.MAX_LENGTH);
}

/**
 * Tells whether zlib stopped because more would come out than its limit allows.
 *
 * @param error What was caught.
 * @returns True if it did.
 */
export function isZlibLimitError(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
}
