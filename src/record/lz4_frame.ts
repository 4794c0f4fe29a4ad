/**
 * LZ4 as Kafka writes it: the LZ4 frame format, of which Kafka knows a part.
 *
 *     frame      = magic 04 22 4d 18, descriptor, block*, end mark 00 00 00 00, [checksum (4
 * bytes)]
 *     descriptor = flags, block size, [content size (8 bytes)], header checksum
 *     block      = length (uint32, highest bit: stored as it is), bytes, [checksum (4 bytes)]
 *
 * All integers are little-endian. Blocks are independent of each other, and there is no dictionary.
 * The package `lz4-napi` does the raw blocks.
 */

import { Buffer } from "node:buffer";
import { xxh32 } from "../bytes/xxh32.ts";
import { plainBytes } from "./codec_bytes.ts";
import { causeText, codecCorruptError, codecLimitError } from "./codec_errors.ts";
import { requireCodecPackage } from "./codec_packages.ts";

/**
 * The functions of `lz4-napi` used here: a raw block with its uncompressed size in front (uint32).
 */
interface Lz4Package {
  compressSync(input: Buffer): Uint8Array;
  uncompressSync(input: Uint8Array): Uint8Array;
}

/** What a frame's header says. */
interface Lz4Header {
  readonly blockSizeBytesMax: number;
  readonly hasBlockChecksum: boolean;
  readonly hasContentChecksum: boolean;
  /** Where the first block begins. */
  readonly end: number;
}

/** What Java writes: version 1, independent blocks of 64 KiB, no checksums, no content size. */
const header = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82);
const magic = 0x184d2204;
const magicSizeBytes = 4;
const endMarkSizeBytes = 4;
const blockSizeBytes = 64 * 1024;
const storedBit = 0x80000000;

/** No block grows by more than this factor, and a few bytes, when it is decompressed. */
const expansionMax = 255;
const expansionExtra = 64;

let lz4: Lz4Package | undefined;

/**
 * Loads the package `lz4-napi`.
 *
 * @throws OttlaError CODEC_MISSING if it is not installed.
 */
export function loadLz4(): void {
  lz4Package();
}

/**
 * Compresses to one frame.
 *
 * @param bytes What to compress.
 * @returns The frame.
 * @throws OttlaError CODEC_MISSING if the package `lz4-napi` is not installed.
 */
export function compressLz4(bytes: Uint8Array): Uint8Array {
  const { compressSync } = lz4Package();
  const blockCount = Math.ceil(bytes.length / blockSizeBytes);
  const blocks: Uint8Array[] = [];
  let sizeBytes = header.length + blockCount * 4 + endMarkSizeBytes;
  for (let start = 0; start < bytes.length; start += blockSizeBytes) {
    const source = bytes.subarray(start, start + blockSizeBytes);
    const block = compressSync(bufferOf(source)).subarray(4);
    blocks.push(block.length < source.length ? block : source);
    sizeBytes += Math.min(block.length, source.length);
  }
  const frame = new Uint8Array(sizeBytes);
  const view = new DataView(frame.buffer);
  frame.set(header);
  let position = header.length;
  let start = 0;
  for (const block of blocks) {
    const isStored = block.length === Math.min(blockSizeBytes, bytes.length - start);
    view.setUint32(position, isStored ? block.length + storedBit : block.length, true);
    frame.set(block, position + 4);
    position += 4 + block.length;
    start += blockSizeBytes;
  }
  return frame;
}

/**
 * Decompresses one frame.
 *
 * @param bytes The frame, without anything after it.
 * @param sizeBytesMax The most bytes that may come out.
 * @returns What was compressed.
 * @throws OttlaError CORRUPT_MESSAGE, MESSAGE_TOO_LARGE or CODEC_MISSING.
 */
export function decompressLz4(bytes: Uint8Array, sizeBytesMax: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frame = readLz4Header(bytes, view);
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  let position = frame.end;
  while (true) {
    checkLeft(bytes, position, 4);
    const word = view.getUint32(position, true);
    position += 4;
    if (word === 0) break;
    const isStored = word >= storedBit;
    const length = isStored ? word - storedBit : word;
    checkBlockLength(bytes, position, length, frame.blockSizeBytesMax);
    checkLeft(bytes, position, frame.hasBlockChecksum ? length + 4 : length);
    const block = bytes.subarray(position, position + length);
    position += length;
    if (frame.hasBlockChecksum) {
      checkBlockChecksum(bytes, block, view.getUint32(position, true));
      position += 4;
    }
    // A copy even where it is stored as it is: the caller may use its input again.
    const part = isStored
      ? new Uint8Array(block)
      : uncompressBlock(bytes, block, frame.blockSizeBytesMax);
    sizeBytes += part.length;
    if (sizeBytes > sizeBytesMax) throw codecLimitError("lz4", bytes, sizeBytesMax);
    parts.push(part);
  }
  // Kafka skips the checksum of the content: the batch has one of its own.
  if (frame.hasContentChecksum) {
    checkLeft(bytes, position, 4);
    position += 4;
  }
  if (position < bytes.length) {
    const reason = `${bytes.length - position} bytes follow the frame, wanted none`;
    throw codecCorruptError("lz4", bytes, reason);
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, sizeBytes);
}

function readLz4Header(bytes: Uint8Array, view: DataView): Lz4Header {
  checkLeft(bytes, 0, header.length);
  const found = view.getUint32(0, true);
  if (found !== magic) {
    const reason = `frame begins with ${found.toString(16)}, wanted ${magic.toString(16)}`;
    throw codecCorruptError("lz4", bytes, reason);
  }
  const flags = bytes[magicSizeBytes]!;
  const blockSize = bytes[magicSizeBytes + 1]!;
  checkFlags(bytes, flags, blockSize);
  const hasContentSize = (flags & 0x08) !== 0;
  const checksumPosition = magicSizeBytes + 2 + (hasContentSize ? 8 : 0);
  checkLeft(bytes, checksumPosition, 1);
  const wanted = (xxh32(bytes.subarray(magicSizeBytes, checksumPosition)) >>> 8) & 0xff;
  if (bytes[checksumPosition] !== wanted) {
    const reason = `header checksum is ${bytes[checksumPosition]}, wanted ${wanted}`;
    throw codecCorruptError("lz4", bytes, reason);
  }
  return {
    // 4 to 7 stand for 64 KiB, 256 KiB, 1 MiB and 4 MiB.
    blockSizeBytesMax: 1 << (8 + 2 * (blockSize >>> 4)),
    hasBlockChecksum: (flags & 0x10) !== 0,
    hasContentChecksum: (flags & 0x04) !== 0,
    end: checksumPosition + 1,
  };
}

function checkFlags(bytes: Uint8Array, flags: number, blockSize: number): void {
  const version = flags >>> 6;
  if (version !== 1) {
    throw codecCorruptError("lz4", bytes, `frame has version ${version}, wanted 1`);
  }
  if ((flags & 0x20) === 0) {
    throw codecCorruptError("lz4", bytes, "blocks depend on each other, wanted independent ones");
  }
  // The lowest flag announces a dictionary, which Kafka treats as reserved as well.
  if ((flags & 0x03) !== 0 || (blockSize & 0x8f) !== 0) {
    throw codecCorruptError("lz4", bytes, "reserved bits of the header are set, wanted 0");
  }
  if (blockSize >>> 4 < 4) {
    throw codecCorruptError("lz4", bytes, `block size id is ${blockSize >>> 4}, wanted 4 to 7`);
  }
}

function checkLeft(bytes: Uint8Array, position: number, sizeBytes: number): void {
  if (bytes.length - position >= sizeBytes) return;
  const reason = `frame ends at position ${bytes.length}, wanted ${sizeBytes} bytes ` +
    `at position ${position}`;
  throw codecCorruptError("lz4", bytes, reason);
}

function checkBlockLength(
  bytes: Uint8Array,
  position: number,
  length: number,
  lengthMax: number,
): void {
  if (length <= lengthMax) return;
  const reason = `block at position ${position} has ${length} bytes, wanted at most ${lengthMax}`;
  throw codecCorruptError("lz4", bytes, reason);
}

function checkBlockChecksum(bytes: Uint8Array, block: Uint8Array, found: number): void {
  const wanted = xxh32(block);
  if (found === wanted) return;
  throw codecCorruptError("lz4", bytes, `block checksum is ${found}, wanted ${wanted}`);
}

function uncompressBlock(
  bytes: Uint8Array,
  block: Uint8Array,
  blockSizeBytesMax: number,
): Uint8Array {
  // The library wants the uncompressed size in front and takes one that is too high: it is what the
  // library allocates, so it follows the bytes that are there.
  const sizeBytesMax = Math.min(blockSizeBytesMax, block.length * expansionMax + expansionExtra);
  const input = Buffer.allocUnsafe(4 + block.length);
  input.writeUInt32LE(sizeBytesMax);
  input.set(block, 4);
  try {
    return plainBytes(lz4Package().uncompressSync(input));
  } catch (error) {
    throw codecCorruptError("lz4", bytes, causeText(error), error);
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function lz4Package(): Lz4Package {
  lz4 ??= requireCodecPackage("lz4", "lz4-napi") as Lz4Package;
  return lz4;
}
