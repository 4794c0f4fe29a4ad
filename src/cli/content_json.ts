/**
 * The bytes of keys, values and headers as JSON: text where they are UTF-8, base64 where they are
 * not.
 */

import { Buffer } from "node:buffer";

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A field for bytes: `{ key: "text" }`, `{ key: null }`, or `{ keyBase64: "…" }` if they are not
 * UTF-8.
 *
 * @param name The field's name.
 * @param bytes The bytes, or null.
 * @returns An object with that one field.
 */
export function contentField(
  name: string,
  bytes: Uint8Array | null,
): Readonly<Record<string, string | null>> {
  if (bytes === null) return { [name]: null };
  try {
    return { [name]: strictUtf8.decode(bytes) };
  } catch {
    return { [`${name}Base64`]: base64Of(bytes) };
  }
}

/**
 * Bytes as text; what is not UTF-8 becomes the replacement character.
 *
 * @param bytes The bytes.
 * @returns The text.
 */
export function textOf(bytes: Uint8Array): string {
  return lenientUtf8.decode(bytes);
}

/**
 * Bytes in base64.
 *
 * @param bytes The bytes.
 * @returns The text.
 */
export function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
