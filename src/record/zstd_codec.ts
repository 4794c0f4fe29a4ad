/**
 * zstd as Kafka writes it: standard frames (RFC 8878), by the runtime's zlib or, on Node before
 * 22.15, by the package `@bokuweb/zstd-wasm`, which must be loaded first.
 */

import { Buffer } from "node:buffer";
import zlib from "node:zlib";
import { OttlaError } from "../errors.ts";
import { causeText, codecCorruptError, codecLimitError } from "./codec_errors.ts";
import { requireCodecPackage } from "./codec_packages.ts";
import { isZlibLimitError, zlibChunkSize, zlibOutputLengthMax } from "./zlib_codec.ts";
import { readZstdFrame, type ZstdFrame } from "./zstd_frame.ts";

/** What a zstd library does for us. */
interface ZstdLibrary {
  compress(bytes: Uint8Array, level: number): Uint8Array;
  /** Decompresses one frame of sound form; undefined if more than the limit comes out. */
  decompress(bytes: Uint8Array, frame: ZstdFrame, sizeBytesMax: number): Uint8Array | undefined;
}

/** The functions of `@bokuweb/zstd-wasm` that are used here. */
interface ZstdPackage {
  init(): Promise<void>;
  compress(bytes: Uint8Array, level: number): Uint8Array;
  decompress(bytes: Uint8Array, options: { defaultHeapSize: number }): Uint8Array;
}

const packageName = "@bokuweb/zstd-wasm";

/** WebAssembly memory ends at 2 GiB, and input and output must both fit. */
const wasmSizeBytesMax = 2 ** 29;

/** zstd's number for a target that is too small for what comes out. */
const targetTooSmallCode = -70;

/**
 * The first buffer for a frame of unknown content: this factor of its size, but at least so much.
 */
const expansionGuess = 8;
const unknownSizeBytesMin = 16 * 1024;

let library: ZstdLibrary | undefined = runtimeLibrary();
/** The package must be initialised once, whoever asks meanwhile. */
let loading: Promise<ZstdLibrary> | undefined;

/**
 * Makes sure that zstd can be used.
 *
 * @returns Resolves when it can; at once where the runtime has zstd itself.
 * @throws OttlaError CODEC_MISSING if neither the runtime nor a package has it.
 */
export async function loadZstd(): Promise<void> {
  if (library !== undefined) return;
  loading ??= packageLibrary();
  library = await loading;
}

/**
 * Compresses to one frame.
 *
 * @param bytes What to compress.
 * @param level -131072 to 22.
 * @returns The frame.
 * @throws OttlaError CODEC_MISSING if there is no zstd, or none was loaded.
 */
export function compressZstd(bytes: Uint8Array, level: number): Uint8Array {
  return zstdLibrary().compress(bytes, level);
}

/**
 * Decompresses one frame or several.
 *
 * @param bytes The frames, without anything after them.
 * @param sizeBytesMax The most bytes that may come out.
 * @returns What was compressed.
 * @throws OttlaError CORRUPT_MESSAGE, MESSAGE_TOO_LARGE or CODEC_MISSING.
 */
export function decompressZstd(bytes: Uint8Array, sizeBytesMax: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  let start = 0;
  do {
    const frame = readZstdFrame(bytes, start);
    if (!frame.isSkippable) {
      const part = decompressFrame(bytes, start, frame, sizeBytesMax - sizeBytes);
      if (part === undefined) throw codecLimitError("zstd", bytes, sizeBytesMax);
      sizeBytes += part.length;
      parts.push(part);
    }
    start = frame.end;
  } while (start < bytes.length);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, sizeBytes);
}

function decompressFrame(
  bytes: Uint8Array,
  start: number,
  frame: ZstdFrame,
  sizeBytesMax: number,
): Uint8Array | undefined {
  if (frame.contentSizeBytes > sizeBytesMax) return undefined;
  const { decompress } = zstdLibrary();
  let part: Uint8Array | undefined;
  try {
    part = decompress(bytes.subarray(start, frame.end), frame, sizeBytesMax);
  } catch (error) {
    throw codecCorruptError("zstd", bytes, causeText(error), error);
  }
  if (part === undefined || part.length > sizeBytesMax) return undefined;
  if (frame.contentSizeBytes >= 0 && part.length !== frame.contentSizeBytes) {
    const reason = `${part.length} bytes come out, wanted ${frame.contentSizeBytes}`;
    throw codecCorruptError("zstd", bytes, reason);
  }
  return part;
}

function zstdLibrary(): ZstdLibrary {
  if (library === undefined) {
    // A package that is missing is the likelier reason, and has its own error.
    requireCodecPackage("zstd", packageName);
    const message = 'Cannot use zstd compression: await loadCodec("zstd") first, ' +
      "wanted where the runtime has no zstd of its own";
    throw new OttlaError("CODEC_MISSING", message, { details: { codec: "zstd", packageName } });
  }
  return library;
}

/** The runtime's own zstd, which Node has from 22.15 on. */
function runtimeLibrary(): ZstdLibrary | undefined {
  if (typeof zlib.zstdCompressSync !== "function") return undefined;
  const levelParameter = zlib.constants.ZSTD_c_compressionLevel;
  return {
    compress: (bytes, level) =>
      zlib.zstdCompressSync(bytes, {
        params: { [levelParameter]: level },
        chunkSize: zlibChunkSize(bytes.length),
      }),
    decompress(bytes, frame, sizeBytesMax) {
      // Java's frames do not say how large their content is; what their blocks could hold is far
      // too much.
      const sizeBytesGuess = Math.max(unknownSizeBytesMin, bytes.length * expansionGuess);
      const sizeBytesExpected = frame.contentSizeBytes >= 0
        ? frame.contentSizeBytes
        : Math.min(frame.contentSizeBytesMax, sizeBytesMax, sizeBytesGuess);
      try {
        return zlib.zstdDecompressSync(bytes, {
          maxOutputLength: zlibOutputLengthMax(sizeBytesMax),
          chunkSize: zlibChunkSize(sizeBytesExpected),
        });
      } catch (error) {
        if (isZlibLimitError(error)) return undefined;
        throw error;
      }
    },
  };
}

async function packageLibrary(): Promise<ZstdLibrary> {
  const zstd = requireCodecPackage("zstd", packageName) as ZstdPackage;
  await zstd.init();
  return {
    compress(bytes, level) {
      if (bytes.length > wasmSizeBytesMax) {
        const message = `Cannot compress ${bytes.length} bytes of zstd: ` +
          `wanted at most ${wasmSizeBytesMax} without a zstd of the runtime`;
        throw new OttlaError("MESSAGE_TOO_LARGE", message);
      }
      return zstd.compress(bytes, level);
    },
    decompress(bytes, frame, sizeBytesMax) {
      const defaultHeapSize = Math.min(frame.contentSizeBytesMax, sizeBytesMax, wasmSizeBytesMax);
      if (Math.max(bytes.length, frame.contentSizeBytes) > wasmSizeBytesMax) return undefined;
      try {
        return zstd.decompress(bytes, { defaultHeapSize });
      } catch (error) {
        const isTooSmall = causeText(error).endsWith(`code ${targetTooSmallCode}`);
        // Where no limit of ours was in the way, the frame is at fault.
        if (isTooSmall && frame.contentSizeBytesMax > defaultHeapSize) return undefined;
        throw error;
      }
    },
  };
}
