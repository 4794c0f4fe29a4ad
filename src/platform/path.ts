/** Paths as callers give them. */

import { fileURLToPath } from "node:url";

/**
 * The path of a folder that a caller named.
 *
 * @param path A path or a `file:` URL.
 * @returns The path, without a separator at its end.
 * @throws TypeError if it is neither, RangeError if it is empty.
 */
export function pathOf(path: string | URL): string {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw new TypeError(`path must be a string or a URL, got ${typeof path}`);
  }
  const text = path instanceof URL || path.startsWith("file://") ? fileURLToPath(path) : path;
  if (text === "" || text.includes("\0")) {
    throw new RangeError(`path must be the path of a folder, got ${JSON.stringify(text)}`);
  }
  return text.length > 1 ? text.replace(/[/\\]+$/, "") || "/" : text;
}
