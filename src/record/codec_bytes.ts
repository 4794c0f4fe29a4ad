/**
 * What the libraries behind the codecs return, made into what the rest of the program expects.
 */

/**
 * A view of the same bytes that is a plain `Uint8Array`: the libraries answer with Buffers, whose
 * `slice` and `toString` mean something else.
 *
 * @param bytes What a library returned.
 * @returns The same bytes, not copied.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (Object.getPrototypeOf(bytes) === Uint8Array.prototype) return bytes;
  // On Bun an empty Buffer of a native module counts as detached: it can be neither shared nor
  // copied.
  if (bytes.length === 0) return new Uint8Array(0);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
