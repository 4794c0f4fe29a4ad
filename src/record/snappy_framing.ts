/**
 * snappy as Kafka writes it: the framing of the Java library xerial/snappy-java around raw snappy
 * blocks, which is not the framing of the snappy project itself.
 *
 *     stream = magic (8 bytes), version (int32), compatible version (int32), chunk*
 *     chunk  = length (int32), raw snappy block of that length
 *     block  = uncompressed length (unsigned varint), snappy elements
 *
 * All integers are big-endian. Some clients write a single raw block without the framing; others
 * put one stream behind another. Both are read.
 */

import { Buffer } from "node:buffer";
import { plainBytes } from "./codec_bytes.ts";
import { causeText, codecCorruptError, codecLimitError } from "./codec_errors.ts";
import { requireCodecPackage } from "./codec_packages.ts";

/** The functions of the package `snappy` that are used here; they know raw blocks only. */
interface SnappyPackage {
  compressSync(input: Uint8Array, options: typeof compressOptions): Uint8Array;
  uncompressSync(input: Uint8Array, options: typeof uncompressOptions): Uint8Array;
}

/** Where one raw block lies in the input and in the output. */
interface SnappyBlock {
  readonly start: number;
  readonly end: number;
  readonly sizeBytes: number;
}

const header = Uint8Array.of(0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1);
const magicSizeBytes = 8;
/** The magic's first word, read as a chunk's length: another stream begins here. */
const magicWord = 0x82534e41 | 0;
const versionMin = 1;

/** How many bytes go into one block, as in Java. */
const blockSizeBytes = 32 * 1024;

/** The densest element of a block makes 64 bytes of 3. */
const expansionMax = 22;

/**
 * Results are copied into memory of the runtime: the library's own is given back only by the
 * garbage collector, and touching new pages all the time costs more (on Node 24: 380 MB/s, copied
 * 2400 MB/s).
 */
const compressOptions = { copyOutputData: true } as const;
const uncompressOptions = { copyOutputData: true, asBuffer: true } as const;

let snappy: SnappyPackage | undefined;

/**
 * Loads the package `snappy`.
 *
 * @throws OttlaError CODEC_MISSING if it is not installed.
 */
export function loadSnappy(): void {
  snappyPackage();
}

/**
 * Compresses to one framed stream.
 *
 * @param bytes What to compress.
 * @returns The stream; the header alone for no bytes, as in Java.
 * @throws OttlaError CODEC_MISSING if the package `snappy` is not installed.
 */
export function compressSnappy(bytes: Uint8Array): Uint8Array {
  const { compressSync } = snappyPackage();
  const blocks: Uint8Array[] = [];
  let sizeBytes = header.length;
  for (let start = 0; start < bytes.length; start += blockSizeBytes) {
    const block = compressSync(bytes.subarray(start, start + blockSizeBytes), compressOptions);
    blocks.push(block);
    sizeBytes += 4 + block.length;
  }
  const stream = new Uint8Array(sizeBytes);
  const view = new DataView(stream.buffer);
  stream.set(header);
  let position = header.length;
  for (const block of blocks) {
    view.setInt32(position, block.length);
    stream.set(block, position + 4);
    position += 4 + block.length;
  }
  return stream;
}

/**
 * Decompresses a framed stream, several of them, or one raw block.
 *
 * @param bytes The compressed bytes, without anything after them.
 * @param sizeBytesMax The most bytes that may come out.
 * @returns What was compressed.
 * @throws OttlaError CORRUPT_MESSAGE, MESSAGE_TOO_LARGE or CODEC_MISSING.
 */
export function decompressSnappy(bytes: Uint8Array, sizeBytesMax: number): Uint8Array {
  const { uncompressSync } = snappyPackage();
  // The blocks say how large they are: the sum is checked before anything is allocated.
  const blocks = snappyBlocks(bytes);
  let sizeBytes = 0;
  for (const block of blocks) sizeBytes += block.sizeBytes;
  if (sizeBytes > sizeBytesMax) throw codecLimitError("snappy", bytes, sizeBytesMax);
  const parts = blocks.map((block) => uncompressBlock(bytes, block, uncompressSync));
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, sizeBytes);
}

function uncompressBlock(
  bytes: Uint8Array,
  block: SnappyBlock,
  uncompressSync: SnappyPackage["uncompressSync"],
): Uint8Array {
  let part: Uint8Array;
  try {
    const source = bytes.subarray(block.start, block.end);
    part = plainBytes(uncompressSync(source, uncompressOptions));
  } catch (error) {
    const reason = `block at position ${block.start}: ${causeText(error)}`;
    throw codecCorruptError("snappy", bytes, reason, error);
  }
  if (part.length !== block.sizeBytes) {
    const reason = `block at position ${block.start} gives ${part.length} bytes, ` +
      `wanted ${block.sizeBytes}`;
    throw codecCorruptError("snappy", bytes, reason);
  }
  return part;
}

function snappyBlocks(bytes: Uint8Array): SnappyBlock[] {
  if (!hasMagic(bytes)) return [snappyBlockAt(bytes, 0, bytes.length)];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkVersion(bytes, view, magicSizeBytes);
  const blocks: SnappyBlock[] = [];
  let position = header.length;
  while (position < bytes.length) {
    if (position + 4 > bytes.length) {
      throw codecCorruptError("snappy", bytes, `chunk at position ${position} is cut`);
    }
    const length = view.getInt32(position);
    if (length === magicWord) {
      checkVersion(bytes, view, position + magicSizeBytes);
      position += header.length;
      continue;
    }
    const start = position + 4;
    if (length < 0 || length > bytes.length - start) {
      const reason = `chunk at position ${position} has length ${length}, ` +
        `wanted 0 to ${bytes.length - start}`;
      throw codecCorruptError("snappy", bytes, reason);
    }
    blocks.push(snappyBlockAt(bytes, start, start + length));
    position = start + length;
  }
  return blocks;
}

function hasMagic(bytes: Uint8Array): boolean {
  if (bytes.length < header.length) return false;
  for (let index = 0; index < magicSizeBytes; index++) {
    if (bytes[index] !== header[index]) return false;
  }
  return true;
}

function checkVersion(bytes: Uint8Array, view: DataView, position: number): void {
  if (position + 8 > bytes.length) {
    throw codecCorruptError("snappy", bytes, `stream header before position ${position} is cut`);
  }
  const version = view.getInt32(position);
  if (version < versionMin) {
    const reason = `stream has version ${version}, wanted ${versionMin} or higher`;
    throw codecCorruptError("snappy", bytes, reason);
  }
}

/** Reads a block's own uncompressed length, and refuses one that its bytes cannot fulfil. */
function snappyBlockAt(bytes: Uint8Array, start: number, end: number): SnappyBlock {
  let sizeBytes = 0;
  let position = start;
  for (let scale = 1; scale <= 2 ** 28; scale *= 128) {
    const byte = position < end ? bytes[position++]! : 0x80;
    sizeBytes += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (sizeBytes > (end - position) * expansionMax) break;
      return { start, end, sizeBytes };
    }
  }
  const reason = `block at position ${start} of ${end - start} bytes has no possible length`;
  throw codecCorruptError("snappy", bytes, reason);
}

function snappyPackage(): SnappyPackage {
  snappy ??= requireCodecPackage("snappy", "snappy") as SnappyPackage;
  return snappy;
}
