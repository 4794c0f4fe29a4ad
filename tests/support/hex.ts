/** Bytes as people write them in tests. */

/**
 * Bytes from hexadecimal digits.
 *
 * @param text Digits; white space between them counts for nothing.
 * @returns The bytes.
 */
export function bytesOfHex(text: string): Uint8Array {
  const digits = text.replace(/\s/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
}

/**
 * Hexadecimal digits of bytes.
 *
 * @param bytes The bytes.
 * @returns Two digits a byte.
 */
export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
