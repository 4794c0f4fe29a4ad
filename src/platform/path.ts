/** Paths as callers give them. */

import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The path of a folder that a caller named.
 *
 * @param path A path or a `file:` URL, or ":memory:".
 * @returns The absolute path, which stays right if the process changes its working folder;
 * ":memory:" as it is.
 * @throws TypeError if it is neither, RangeError if it is empty.
 */
export function pathOf(path: string | URL): string {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw new TypeError(`path must be a string or a URL, got ${typeof path}`);
  }
  const isUrl = path instanceof URL || path.startsWith("file://");
  if (isUrl && new URL(path).protocol !== "file:") {
    throw new TypeError(`path must be a path or a file: URL, got ${String(path)}`);
  }
  const text = isUrl ? fileURLToPath(path) : path;
  if (text === "" || text.includes("\0")) {
    throw new RangeError(`path must be the path of a folder, got ${JSON.stringify(text)}`);
  }
  return text === ":memory:" ? text : resolve(text);
}
