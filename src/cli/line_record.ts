/** What record a line of input stands for. */

import { Buffer } from "node:buffer";
import { OttlaError } from "../errors.ts";
import { messageOf } from "./command.ts";
import { textOf } from "./content_json.ts";

/** Where in a line the key and the value stand; at most one of the first three is given. */
export interface LineFormat {
  /** The key of all records. */
  readonly key: string | undefined;
  /** What stands between a key and a value: bytes, not none. */
  readonly keySeparator: Uint8Array | undefined;
  /** The field of a JSON object that is the key; the whole line is the value. */
  readonly keyField: string | undefined;
  /** A value that is this text is null. */
  readonly nullMarker: string | undefined;
}

/** A key and a value to be appended. */
export interface LineRecord {
  readonly key: Uint8Array | string | null;
  readonly value: Uint8Array | null;
}

/**
 * Reads a line.
 *
 * @param line The line without its end.
 * @param number Of the line, from 1, for messages.
 * @param format Where key and value stand.
 * @returns The record.
 * @throws OttlaError `INVALID_RECORD` if the line has no separator, or is no JSON object.
 */
export function lineRecord(line: Uint8Array, number: number, format: LineFormat): LineRecord {
  const { keySeparator, keyField, nullMarker } = format;
  if (keySeparator === undefined) {
    const key = keyField === undefined ? format.key ?? null : keyOfJson(line, number, keyField);
    return { key, value: valueOf(line, nullMarker) };
  }
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
  const end = bytes.indexOf(keySeparator);
  if (end < 0) {
    throw badLine(number, `it has no key separator ${JSON.stringify(textOf(keySeparator))}`);
  }
  return {
    key: line.subarray(0, end),
    value: valueOf(line.subarray(end + keySeparator.length), nullMarker),
  };
}

function valueOf(value: Uint8Array, nullMarker: string | undefined): Uint8Array | null {
  return nullMarker !== undefined && textOf(value) === nullMarker ? null : value;
}

/** Text is the key as it is; anything else as JSON; a field that is null or not there is no key. */
function keyOfJson(line: Uint8Array, number: number, keyField: string): string | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(textOf(line));
  } catch (cause) {
    throw badLine(number, `it is no JSON: ${messageOf(cause)}`, cause);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw badLine(number, "it is no JSON object");
  }
  const key: unknown = Object.hasOwn(parsed, keyField)
    ? (parsed as Readonly<Record<string, unknown>>)[keyField]
    : null;
  if (key === null || typeof key === "string") return key;
  return JSON.stringify(key);
}

function badLine(number: number, reason: string, cause?: unknown): OttlaError {
  return new OttlaError("INVALID_RECORD", `Cannot produce line ${number}: ${reason}`, {
    details: { line: number },
    cause,
  });
}
