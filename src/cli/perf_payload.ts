/** The values that `ottla perf produce` sends: random letters, the parts of a file, or numbers. */

import { Buffer } from "node:buffer";
import { readFileSync, statSync } from "node:fs";
import { OttlaError } from "../errors.ts";

/** Gives the value of the record with a number, counted from 0. */
export type PayloadSource = (index: number) => Uint8Array;

/**
 * How many letters are made, once: more than a compressor looks back, so that records are as random
 * to it as if each were made anew. 4 MiB take some 20 ms.
 */
const letterCount = 4 * 1024 * 1024;
/** A file is kept in memory as a whole. */
const payloadFileBytesMax = 512 * 1024 * 1024;

/**
 * Random capital letters, the same in every run.
 *
 * @param sizeBytes How large each value is.
 * @returns The values, which are views of letters that are used again and again.
 */
export function randomPayloads(sizeBytes: number): PayloadSource {
  const next = randomSequence();
  const letters = new Uint8Array(Math.max(letterCount, sizeBytes));
  for (let index = 0; index < letters.length; index++) letters[index] = 65 + next(26);
  let start = 0;
  return () => {
    if (start + sizeBytes > letters.length) start = 0;
    const value = letters.subarray(start, start + sizeBytes);
    start += sizeBytes;
    return value;
  };
}

/**
 * The parts of a file, in an order that is random and the same in every run.
 *
 * @param path The file.
 * @param delimiter What stands between its parts, and may stand behind the last one.
 * @returns The values.
 * @throws Error If it cannot be read; OttlaError `INVALID_RECORD` if there is nothing in it or it has
 * more than 512 MiB.
 */
export function filePayloads(path: string, delimiter: string): PayloadSource {
  const { size } = statSync(path);
  if (size > payloadFileBytesMax) {
    throw fileError(path, `it has ${size} bytes, the most is ${payloadFileBytesMax}`);
  }
  const parts = splitBytes(readFileSync(path), delimiter);
  if (parts.length === 0) throw fileError(path, "it is empty");
  const next = randomSequence();
  return () => parts[next(parts.length)]!;
}

/**
 * Numbers that grow: 0, 1, 2, …, as text.
 *
 * @returns The values.
 */
export function monotonicPayloads(): PayloadSource {
  const encoder = new TextEncoder();
  return (index) => encoder.encode(String(index));
}

function splitBytes(bytes: Buffer, delimiter: string): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const delimiterBytes = Buffer.from(delimiter);
  let start = 0;
  while (start < bytes.length) {
    const found = bytes.indexOf(delimiterBytes, start);
    const end = found < 0 ? bytes.length : found;
    parts.push(bytes.subarray(start, end));
    start = end + delimiterBytes.length;
  }
  return parts;
}

/** Whole numbers below a limit, by xorshift with 32 bits: quick, and random enough for letters. */
function randomSequence(): (limit: number) => number {
  let state = 0x9e37_79b9;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

function fileError(path: string, reason: string): OttlaError {
  return new OttlaError("INVALID_RECORD", `Cannot take payloads from ${path}: ${reason}`, {
    details: { path },
  });
}
