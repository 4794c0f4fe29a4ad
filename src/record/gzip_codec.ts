/**
 * gzip as Kafka writes it: one member (RFC 1952), by the runtime's zlib.
 */

import zlib from "node:zlib";
import { causeText, codecCorruptError, codecLimitError } from "./codec_errors.ts";
import { isZlibLimitError, zlibChunkSize, zlibOutputLengthMax } from "./zlib_codec.ts";

/** Where a member says how hard it was compressed (XFL) and on which system (OS). */
const extraFlagsPosition = 8;
const systemPosition = 9;
const systemUnknown = 0xff;

/** The smallest member: a header of 10 bytes, an empty block of 2, checksum and size of 4 each. */
const memberSizeBytesMin = 20;

/** No deflate stream grows by more than this factor when it is inflated. */
const expansionMax = 1032;

/**
 * Compresses to one gzip member.
 *
 * @param bytes What to compress.
 * @param level 1 to 9, or -1 for zlib's own default.
 * @returns The member.
 */
export function compressGzip(bytes: Uint8Array, level: number): Uint8Array {
  const member = zlib.gzipSync(bytes, { level, chunkSize: zlibChunkSize(bytes.length) });
  // zlib tells its operating system and level here and Java does not; so the bytes of a batch do
  // not depend on the machine.
  member[extraFlagsPosition] = 0;
  member[systemPosition] = systemUnknown;
  return member;
}

/**
 * Decompresses one gzip member.
 *
 * @param bytes The member, without anything after it.
 * @param sizeBytesMax The most bytes that may come out.
 * @returns What was compressed.
 * @throws OttlaError CORRUPT_MESSAGE or MESSAGE_TOO_LARGE.
 */
export function decompressGzip(bytes: Uint8Array, sizeBytesMax: number): Uint8Array {
  if (bytes.length < memberSizeBytesMin) {
    throw codecCorruptError("gzip", bytes, `a member has at least ${memberSizeBytesMin} bytes`);
  }
  const sizeBytes = memberSizeBytes(bytes);
  const sizeBytesExpected = Math.min(sizeBytes, bytes.length * expansionMax, sizeBytesMax);
  const records = decompressGzipMember(bytes, sizeBytesMax, zlibChunkSize(sizeBytesExpected));
  if (records.length > sizeBytesMax) throw codecLimitError("gzip", bytes, sizeBytesMax);
  // zlib passes over zero bytes after a member and reads on into a second one.
  if (records.length >>> 0 !== sizeBytes) {
    const reason =
      `${records.length} bytes come out and the member ends with the size ${sizeBytes}`;
    throw codecCorruptError("gzip", bytes, reason);
  }
  return records;
}

function decompressGzipMember(
  bytes: Uint8Array,
  sizeBytesMax: number,
  chunkSize: number,
): Uint8Array {
  try {
    const maxOutputLength = zlibOutputLengthMax(sizeBytesMax);
    return zlib.gunzipSync(bytes, { maxOutputLength, chunkSize });
  } catch (error) {
    if (isZlibLimitError(error)) throw codecLimitError("gzip", bytes, sizeBytesMax);
    throw codecCorruptError("gzip", bytes, causeText(error), error);
  }
}

/** The last four bytes of a member: how many bytes come out of it, modulo 2^32. */
function memberSizeBytes(bytes: Uint8Array): number {
  const end = bytes.length;
  return (bytes[end - 4]! | (bytes[end - 3]! << 8) | (bytes[end - 2]! << 16) |
    (bytes[end - 1]! << 24)) >>> 0;
}
