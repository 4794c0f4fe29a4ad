/** Paths as callers give them. */

import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
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

/**
 * Where a path on the disk leads to, symbolic links followed. Of what is not there yet the name
 * counts.
 *
 * @param path An absolute path.
 * @returns The path of the same place that has no symbolic link in it.
 */
export function realPathOf(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    const folder = dirname(path);
    return folder === path ? path : join(realPathOf(folder), basename(path));
  }
}
