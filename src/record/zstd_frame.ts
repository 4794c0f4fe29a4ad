/**
 * The outer form of a zstd frame (RFC 8878, section 3.1): enough to know where it ends and how many
 * bytes can come out of it, without decompressing anything.
 *
 *     frame      = magic 28 b5 2f fd, descriptor, block+, [checksum (4 bytes)]
 *     descriptor = flags, [window], [dictionary id], [content size]
 *     block      = last (1 bit), type (2 bits), size (21 bits), content
 *     skippable  = magic 5x 2a 4d 18, size (uint32), content
 *
 * All integers are little-endian. This must be known beforehand, because the runtimes disagree:
 * some return nothing for a frame that is cut, some drop what follows the first frame, none minds
 * garbage behind it.
 */

import { codecCorruptError } from "./codec_errors.ts";

/** One frame of a stream. */
export interface ZstdFrame {
  /** Whether it carries no content at all. */
  readonly isSkippable: boolean;
  /** The position behind it. */
  readonly end: number;
  /** How many bytes come out of it, or -1 if it does not say. */
  readonly contentSizeBytes: number;
  /** How many bytes can come out of it at most. */
  readonly contentSizeBytesMax: number;
}

const magic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
const blockSizeBytesMax = 128 * 1024;

/** The largest window that decoders take: 2^27 bytes. */
const windowSizeBytesMax = 2 ** 27;

const rawBlock = 0;
const runLengthBlock = 1;
const compressedBlock = 2;

/** The size of the dictionary id, and of the content size, by their flags. */
const dictionaryIdSizes = [0, 1, 2, 4] as const;
const contentSizeSizes = [0, 2, 4, 8] as const;

/**
 * Reads the outer form of the frame that begins at a position.
 *
 * @param bytes The stream.
 * @param start Where the frame begins.
 * @returns The frame.
 * @throws OttlaError CORRUPT_MESSAGE if there is no whole frame.
 */
export function readZstdFrame(bytes: Uint8Array, start: number): ZstdFrame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkLeft(bytes, start, 4);
  const found = view.getUint32(start, true);
  if ((found & 0xfffffff0) === skippableMagic) {
    checkLeft(bytes, start, 8);
    const sizeBytes = view.getUint32(start + 4, true);
    checkLeft(bytes, start + 8, sizeBytes);
    const end = start + 8 + sizeBytes;
    return { isSkippable: true, end, contentSizeBytes: 0, contentSizeBytesMax: 0 };
  }
  if (found !== magic) {
    const reason = `frame at position ${start} begins with ${found.toString(16)}, ` +
      `wanted ${magic.toString(16)}`;
    throw codecCorruptError("zstd", bytes, reason);
  }
  return readContentFrame(bytes, view, start + 4);
}

function readContentFrame(bytes: Uint8Array, view: DataView, start: number): ZstdFrame {
  checkLeft(bytes, start, 1);
  const flags = bytes[start]!;
  if ((flags & 0x08) !== 0) {
    throw codecCorruptError("zstd", bytes, "reserved bit of the frame is set, wanted 0");
  }
  const isSingleSegment = (flags & 0x20) !== 0;
  const windowStart = start + 1;
  const contentSizeStart = windowStart + (isSingleSegment ? 0 : 1) + dictionaryIdSizes[flags & 3]!;
  const contentSizeSize = contentSizeSizes[flags >>> 6]! || (isSingleSegment ? 1 : 0);
  const blocksStart = contentSizeStart + contentSizeSize;
  checkLeft(bytes, start, blocksStart - start);
  const contentSizeBytes = contentSizeAt(view, contentSizeStart, contentSizeSize);
  const windowSizeBytes = isSingleSegment ? contentSizeBytes : windowSizeOf(bytes[windowStart]!);
  if (!isSingleSegment && windowSizeBytes > windowSizeBytesMax) {
    const reason = `frame wants a window of ${windowSizeBytes} bytes, ` +
      `which is more than ${windowSizeBytesMax}`;
    throw codecCorruptError("zstd", bytes, reason);
  }
  const blocks = walkBlocks(bytes, blocksStart, Math.min(windowSizeBytes, blockSizeBytesMax));
  const checksumSize = (flags & 0x04) !== 0 ? 4 : 0;
  checkLeft(bytes, blocks.end, checksumSize);
  if (contentSizeBytes > blocks.contentSizeBytesMax) {
    const reason = `frame claims ${contentSizeBytes} bytes, ` +
      `its blocks give at most ${blocks.contentSizeBytesMax}`;
    throw codecCorruptError("zstd", bytes, reason);
  }
  return {
    isSkippable: false,
    end: blocks.end + checksumSize,
    contentSizeBytes,
    contentSizeBytesMax: contentSizeBytes < 0 ? blocks.contentSizeBytesMax : contentSizeBytes,
  };
}

function contentSizeAt(view: DataView, position: number, size: number): number {
  if (size === 1) return view.getUint8(position);
  if (size === 2) return view.getUint16(position, true) + 256;
  if (size === 4) return view.getUint32(position, true);
  if (size === 8) return Number(view.getBigUint64(position, true));
  return -1;
}

function windowSizeOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** Passes over the blocks of a frame, from header to header. */
function walkBlocks(
  bytes: Uint8Array,
  start: number,
  sizeBytesMax: number,
): { readonly end: number; readonly contentSizeBytesMax: number } {
  let position = start;
  let contentSizeBytesMax = 0;
  let isLast = false;
  while (!isLast) {
    checkLeft(bytes, position, 3);
    const word = bytes[position]! | (bytes[position + 1]! << 8) | (bytes[position + 2]! << 16);
    const type = (word >>> 1) & 3;
    const sizeBytes = word >>> 3;
    if (type > compressedBlock || sizeBytes > sizeBytesMax) {
      const reason = `block at position ${position} has type ${type} and ${sizeBytes} bytes, ` +
        `wanted type ${rawBlock} to ${compressedBlock} and at most ${sizeBytesMax} bytes`;
      throw codecCorruptError("zstd", bytes, reason);
    }
    const storedSizeBytes = type === runLengthBlock ? 1 : sizeBytes;
    checkLeft(bytes, position + 3, storedSizeBytes);
    contentSizeBytesMax += type === compressedBlock ? sizeBytesMax : sizeBytes;
    position += 3 + storedSizeBytes;
    isLast = (word & 1) !== 0;
  }
  return { end: position, contentSizeBytesMax };
}

function checkLeft(bytes: Uint8Array, position: number, sizeBytes: number): void {
  if (bytes.length - position >= sizeBytes) return;
  const reason = `stream ends at position ${bytes.length}, wanted ${sizeBytes} bytes ` +
    `at position ${position}`;
  throw codecCorruptError("zstd", bytes, reason);
}
