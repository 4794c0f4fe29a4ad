/**
 * The compression of a batch's records: Kafka's codecs, their numbers and their levels
 * (src/FORMAT.md, sections 1.2 and 1.7).
 *
 * What is compressed is the records area of one batch: one complete stream, nothing after it.
 * `compress` and `decompress` are synchronous. Decompressing trusts nothing: whatever the bytes
 * are, the outcome is the records or an `OttlaError`, and never more memory than the caller
 * allowed.
 */

import { OttlaError } from "../errors.ts";
import { plainBytes } from "./codec_bytes.ts";
import { codecLimitError } from "./codec_errors.ts";
import { compressGzip, decompressGzip } from "./gzip_codec.ts";
import { compressLz4, decompressLz4, loadLz4 } from "./lz4_frame.ts";
import { compressSnappy, decompressSnappy, loadSnappy } from "./snappy_framing.ts";
import { compressZstd, decompressZstd, loadZstd } from "./zstd_codec.ts";

/** How the records of a batch are compressed, in Kafka's words. */
export type Compression = "none" | "gzip" | "snappy" | "lz4" | "zstd";

/** The compression levels that a codec takes. */
export interface CompressionLevels {
  /** The lowest level. */
  readonly min: number;
  /** The highest level. */
  readonly max: number;
  /** The level used when none is named. */
  readonly initial: number;
  /** A level outside the range that is taken too, if there is one. */
  readonly special?: number;
}

/** Every codec; the place in the list is its number in a batch's attributes. */
const codecs: readonly Compression[] = ["none", "gzip", "snappy", "lz4", "zstd"];

/** The levels of each codec that has any; the ranges are Kafka's. */
const gzipLevels: CompressionLevels = { min: 1, max: 9, initial: -1, special: -1 };
const lz4Levels: CompressionLevels = { min: 1, max: 17, initial: 9 };
const zstdLevels: CompressionLevels = { min: -131072, max: 22, initial: 3 };
const levels: Readonly<Partial<Record<Compression, CompressionLevels>>> = {
  gzip: gzipLevels,
  lz4: lz4Levels,
  zstd: zstdLevels,
};

/**
 * The codec that a number in a batch's attributes stands for.
 *
 * @param id The low three bits of the attributes.
 * @returns The codec.
 * @throws OttlaError UNSUPPORTED_COMPRESSION_TYPE if no codec has this number.
 */
export function codecOf(id: number): Compression {
  const codec = codecs[id];
  if (codec === undefined) {
    throw new OttlaError(
      "UNSUPPORTED_COMPRESSION_TYPE",
      `Cannot decompress a batch: unknown compression type id ${id}, wanted 0 to 4`,
      { details: { id } },
    );
  }
  return codec;
}

/**
 * The number of a codec in a batch's attributes.
 *
 * @param codec The codec.
 * @returns An integer from 0 to 4.
 */
export function idOf(codec: Compression): number {
  return codecs.indexOf(codec);
}

/**
 * The levels that a codec takes.
 *
 * @param codec The codec.
 * @returns The range, or undefined for a codec without levels.
 */
export function levelsOf(codec: Compression): CompressionLevels | undefined {
  return levels[codec];
}

/**
 * Refuses a level that a codec does not have, so that a configuration fails before the first batch.
 *
 * @param codec The codec.
 * @param level The level to check.
 * @throws RangeError if the codec has no levels, or not this one.
 */
export function checkCompressionLevel(codec: Compression, level: number): void {
  const range = levels[codec];
  if (range === undefined) {
    throw new RangeError(`Cannot compress with ${codec} at level ${level}: it has no levels`);
  }
  const isKnown = Number.isInteger(level) &&
    (level === range.special || (level >= range.min && level <= range.max));
  if (isKnown) return;
  const special = range.special === undefined ? "" : ` or ${range.special}`;
  throw new RangeError(
    `Cannot compress with ${codec} at level ${level}: wanted ${range.min} to ${range.max}${special}`,
  );
}

/**
 * Makes a codec ready, so that a missing package is known before there is a batch to lose.
 *
 * Only zstd on a runtime without one of its own (Node before 22.15) must be loaded before it is
 * used; the other codecs load themselves with their first batch.
 *
 * @param codec The codec that will be used.
 * @returns Resolves when `compress` and `decompress` can be called with it.
 * @throws OttlaError CODEC_MISSING, naming the package to install.
 */
export async function loadCodec(codec: Compression): Promise<void> {
  if (codec === "snappy") loadSnappy();
  else if (codec === "lz4") loadLz4();
  else if (codec === "zstd") await loadZstd();
}

/**
 * Compresses the records of one batch.
 *
 * @param codec The codec.
 * @param bytes The records, encoded.
 * @param level How hard to try; the codec's own default if left out. For lz4 every level gives the
 * same bytes: the library has the fast compressor alone.
 * @returns One complete stream of the codec; the same bytes, not copied, for `none`.
 * @throws RangeError if the codec does not have this level.
 * @throws OttlaError CODEC_MISSING, naming the package to install.
 */
export function compress(codec: Compression, bytes: Uint8Array, level?: number): Uint8Array {
  if (level !== undefined) checkCompressionLevel(codec, level);
  return plainBytes(compressWith(codec, bytes, level));
}

/**
 * Decompresses the records of one batch.
 *
 * @param codec The codec.
 * @param bytes One complete stream of the codec, without anything after it.
 * @param sizeBytesMax The most bytes that may come out.
 * @returns The records, encoded; the same bytes, not copied, for `none`.
 * @throws OttlaError CORRUPT_MESSAGE if the bytes are not such a stream, MESSAGE_TOO_LARGE if more
 * than `sizeBytesMax` would come out, CODEC_MISSING if the codec's package is not installed.
 */
export function decompress(
  codec: Compression,
  bytes: Uint8Array,
  sizeBytesMax: number,
): Uint8Array {
  return plainBytes(decompressWith(codec, bytes, sizeBytesMax));
}

function compressWith(codec: Compression, bytes: Uint8Array, level?: number): Uint8Array {
  switch (codec) {
    case "none":
      return bytes;
    case "gzip":
      return compressGzip(bytes, level ?? gzipLevels.initial);
    case "snappy":
      return compressSnappy(bytes);
    case "lz4":
      return compressLz4(bytes);
    case "zstd":
      return compressZstd(bytes, level ?? zstdLevels.initial);
  }
}

function decompressWith(codec: Compression, bytes: Uint8Array, sizeBytesMax: number): Uint8Array {
  switch (codec) {
    case "none":
      if (bytes.length > sizeBytesMax) throw codecLimitError(codec, bytes, sizeBytesMax);
      return bytes;
    case "gzip":
      return decompressGzip(bytes, sizeBytesMax);
    case "snappy":
      return decompressSnappy(bytes, sizeBytesMax);
    case "lz4":
      return decompressLz4(bytes, sizeBytesMax);
    case "zstd":
      return decompressZstd(bytes, sizeBytesMax);
  }
}
