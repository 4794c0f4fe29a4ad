/**
 * CRC-32C (Castagnoli), the checksum of every batch.
 *
 * The native module of `@node-rs/crc32` uses the processor's own instruction (6 GB/s measured).
 * Where it has no build for the machine, `hash-wasm` does it in WebAssembly (2 GB/s), which must be
 * compiled first: whoever may be the first to need a checksum awaits `loadCrc32c`.
 */

import { createRequire } from "node:module";

/** The polynomial 0x1EDC6F41, its bits in reverse. */
const castagnoliReversed = 0x82f63b78;

/** Computes a checksum, on from an earlier one if given. */
type Checksum = (bytes: Uint8Array, initial?: number) => number;

let checksum: Checksum | undefined = nativeChecksum();

/**
 * The CRC-32C of some bytes.
 *
 * @param bytes What to sum up.
 * @returns An unsigned 32-bit integer.
 * @throws Error before `loadCrc32c` has resolved, on a machine without the native module.
 */
export function crc32c(bytes: Uint8Array): number {
  if (checksum === undefined) {
    throw new Error("Cannot compute a checksum: loadCrc32c() has not been awaited");
  }
  return checksum(bytes);
}

/**
 * Makes sure that `crc32c` can be called.
 *
 * @returns Resolves when it can; at once where the native module is there.
 */
export async function loadCrc32c(): Promise<void> {
  checksum ??= await wasmChecksum();
}

function nativeChecksum(): Checksum | undefined {
  try {
    const native = createRequire(import.meta.url)("@node-rs/crc32") as { crc32c: Checksum };
    return native.crc32c;
  } catch {
    // No build for this machine: the WebAssembly one takes over.
    return undefined;
  }
}

/**
 * The checksum in WebAssembly. Exported so that it is tested also where the native module is there.
 *
 * @returns A function that gives the same results as the native one.
 */
export async function wasmChecksum(): Promise<(bytes: Uint8Array) => number> {
  const { createCRC32 } = await import("hash-wasm");
  const hasher = await createCRC32(castagnoliReversed);
  return (bytes) => Number.parseInt(hasher.init().update(bytes).digest("hex"), 16);
}
