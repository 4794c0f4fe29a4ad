/**
 * `meta.properties`: which cluster and node a log directory belongs to, in the text form of Java's
 * `Properties` (src/FORMAT.md, section 4.4). Version 0, from the time of ZooKeeper, is read;
 * version 1 is written.
 */

import { findUuid } from "../bytes/uuid.ts";
import { OttlaError } from "../errors.ts";
import { isReservedDirectoryId } from "./uuid.ts";

/** The file's name in a log directory. */
export const metaPropertiesName = "meta.properties";

/** What the file says. */
export interface MetaProperties {
  readonly version: 0 | 1;
  /** Compared as it is; undefined only in version 0. */
  readonly clusterId: string | undefined;
  /** Undefined only in version 0. */
  readonly nodeId: number | undefined;
  /** 22 characters; undefined if the directory has none yet. */
  readonly directoryId: string | undefined;
}

/**
 * Parses the content of `meta.properties`.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns What it says.
 * @throws {OttlaError} UNSUPPORTED_VERSION for a version above 1, STORE_INVALID if it is not as it
 *   should be.
 */
export function parseMetaProperties(bytes: Uint8Array, path: string): MetaProperties {
  const properties = parseProperties(bytes);
  const version = properties.get("version") ?? "0";
  if (version !== "0" && version !== "1") {
    const isNumber = /^\d{1,9}$/.test(version);
    throw new OttlaError(
      isNumber ? "UNSUPPORTED_VERSION" : "STORE_INVALID",
      `Cannot read ${path}: version ${JSON.stringify(version)}, wanted 0 or 1` +
        (isNumber ? ", a newer Kafka wrote the folder" : ""),
      { details: { path, version } },
    );
  }
  const nodeKey = version === "0" ? "broker.id" : "node.id";
  const nodeId = parseNodeId(properties, nodeKey, path);
  const clusterId = properties.get("cluster.id");
  if (version === "1") {
    if (clusterId === undefined) throw propertiesFault(path, "it has no cluster.id");
    if (nodeId === undefined) throw propertiesFault(path, "it has no node.id");
  }
  const directoryId = parseDirectoryId(properties, path);
  return { version: version === "0" ? 0 : 1, clusterId, nodeId, directoryId };
}

/**
 * Prints `meta.properties`, in version 1.
 *
 * @param properties What it is to say.
 * @returns The whole file.
 */
export function printMetaProperties(
  properties: { readonly clusterId: string; readonly nodeId: number; readonly directoryId: string },
): Uint8Array {
  const lines = [
    "cluster.id=" + escapeValue(properties.clusterId),
    "directory.id=" + escapeValue(properties.directoryId),
    `node.id=${properties.nodeId}`,
    "version=1",
  ];
  return new TextEncoder().encode(lines.join("\n") + "\n");
}

/**
 * Checks that a log directory is the one that is wanted.
 *
 * @param found What its `meta.properties` says.
 * @param wanted The cluster and the node it must belong to; what is left out is not checked.
 * @param path The file's name, for messages.
 * @throws {OttlaError} STORE_INVALID if it belongs to another cluster or node.
 */
export function checkMetaProperties(
  found: MetaProperties,
  wanted: { readonly clusterId?: string; readonly nodeId?: number },
  path: string,
): void {
  if (wanted.clusterId !== undefined && found.clusterId !== wanted.clusterId) {
    const reason = `cluster.id is ${found.clusterId}, wanted ${wanted.clusterId}`;
    throw propertiesFault(path, reason);
  }
  if (wanted.nodeId !== undefined && found.nodeId !== wanted.nodeId) {
    throw propertiesFault(path, `node.id is ${found.nodeId}, wanted ${wanted.nodeId}`);
  }
}

/**
 * Parses Java's `Properties`: Latin-1, comments, continued lines, escapes, and `=`, `:` or a space
 * between key and value. The last of equal keys wins.
 */
function parseProperties(bytes: Uint8Array): Map<string, string> {
  const properties = new Map<string, string>();
  const text = latin1Of(bytes);
  const lines = text.split(/\r\n|\n|\r/);
  for (let index = 0; index < lines.length; index += 1) {
    let line = (lines[index] ?? "").replace(/^[ \t\f]+/, "");
    if (line === "" || line.startsWith("#") || line.startsWith("!")) continue;
    // An odd number of backslashes at the end takes the next line in, but not its first spaces.
    while (/(^|[^\\])(\\\\)*\\$/.test(line) && index + 1 < lines.length) {
      index += 1;
      line = line.slice(0, -1) + (lines[index] ?? "").replace(/^[ \t\f]+/, "");
    }
    const match = /^((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)$/s.exec(line);
    properties.set(unescapeText(match?.[1] ?? ""), unescapeText(match?.[2] ?? ""));
  }
  return properties;
}

function latin1Of(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function unescapeText(text: string): string {
  const letters: Readonly<Record<string, string>> = { t: "\t", n: "\n", r: "\r", f: "\f" };
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|(.)|$)/gs, (_, hex?: string, letter?: string) => {
    if (hex !== undefined) return String.fromCharCode(parseInt(hex, 16));
    return letter === undefined ? "" : letters[letter] ?? letter;
  });
}

function escapeValue(text: string): string {
  const letters: Readonly<Record<string, string>> = { "\t": "t", "\n": "n", "\r": "r", "\f": "f" };
  return text.replace(/^ |[\\=:#!]|[^ -~]/g, (character) => {
    if (/[ -~]/.test(character)) return "\\" + character;
    const letter = letters[character];
    if (letter !== undefined) return "\\" + letter;
    return "\\u" + character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  });
}

function parseNodeId(
  properties: ReadonlyMap<string, string>,
  key: string,
  path: string,
): number | undefined {
  const text = properties.get(key);
  if (text === undefined) return undefined;
  if (/^\d{1,10}$/.test(text) && Number(text) <= 0x7fff_ffff) return Number(text);
  throw propertiesFault(path, `${key} is ${JSON.stringify(text)}, wanted a whole number`);
}

function parseDirectoryId(
  properties: ReadonlyMap<string, string>,
  path: string,
): string | undefined {
  const text = properties.get("directory.id");
  if (text === undefined) return undefined;
  const directoryId = findUuid(text);
  if (directoryId !== undefined && !isReservedDirectoryId(directoryId)) return directoryId;
  throw propertiesFault(path, `directory.id ${JSON.stringify(text)} is not a directory's id`);
}

function propertiesFault(path: string, reason: string): OttlaError {
  return new OttlaError("STORE_INVALID", `Cannot use ${path}: ${reason}`, { details: { path } });
}
