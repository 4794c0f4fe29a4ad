/**
 * Throws bytes at a decoder, guided by what it answers.
 *
 * Bytes are changed copies of good ones, or of earlier ones that drew an answer that had not been
 * heard before: another sentence of an error, another shape of a result. So the search comes deeper
 * into a decoder than chance would, as one that is guided by the branches taken, and needs nothing
 * of the runtime. The same seed throws the same bytes.
 */

import assert from "node:assert/strict";

import { crc32c } from "../../src/bytes/crc32c.ts";
import { OttlaError } from "../../src/errors.ts";
import { batchHeaderBytes, field, logOverheadBytes } from "../../src/record/batch_layout.ts";
import type { SeededRandom } from "../../src/testing/mod.ts";
import { seededRandom } from "../../src/testing/mod.ts";
import { writeChecksum } from "../support/batches.ts";
import type { Decoder } from "./decoders.ts";

/** What became of a decoder. */
export interface FuzzResult {
  /** How many different answers it gave. */
  readonly answerCount: number;
  /** How many inputs it took. */
  readonly acceptedCount: number;
}

/** Inputs that drew new answers, and are changed further. */
const corpusMax = 2000;
const inputBytesMax = 8192;
const snapshotHeaderBytes = 10;
/** What every result may have, however short its bytes are. */
const valuesMin = 200;

/**
 * Fuzzes a decoder.
 *
 * @param decoder The decoder.
 * @param seed Of all chance.
 * @param goesOn Asked before each input, with how many were thrown.
 * @returns What became of it.
 * @throws AssertionError with the bytes in hexadecimal digits if it does what it must not.
 */
export function fuzzDecoder(
  decoder: Decoder,
  seed: number,
  goesOn: (thrown: number) => boolean,
): FuzzResult {
  const random = seededRandom(seed).fork(decoder.name);
  const corpus = [new Uint8Array(0), ...decoder.seeds];
  const answers = new Set<string>();
  let acceptedCount = 0;
  for (const bytes of decoder.seeds) answers.add(answerOf(decoder, bytes).text);
  for (let thrown = 0; goesOn(thrown); thrown++) {
    const bytes = changed(random, corpus);
    const { text, isAccepted } = answerOf(decoder, bytes);
    if (isAccepted) acceptedCount++;
    if (answers.has(text) || corpus.length >= corpusMax) continue;
    answers.add(text);
    corpus.push(bytes);
  }
  return { answerCount: answers.size, acceptedCount };
}

/** What a decoder makes of some bytes, without its numbers and names. */
function answerOf(decoder: Decoder, bytes: Uint8Array): { text: string; isAccepted: boolean } {
  const before = bytes.slice();
  try {
    const value = decoder.decode(bytes);
    assert.deepEqual(bytes, before, "the bytes are as they were");
    const countMax = bytes.length * (decoder.valuesPerByte ?? 20) + valuesMin;
    const count = countValues(value, countMax);
    assert.ok(count <= countMax, `${count} values came of ${bytes.length} bytes`);
    return { text: shapeOf(value, 3), isAccepted: true };
  } catch (error) {
    if (error instanceof OttlaError) {
      assert.ok(error.message.length < 2000, `a message has ${error.message.length} characters`);
      const text = error.message.replace(/"(\\.|[^"\\])*"/g, '""').replace(/\d+/g, "0");
      return { text: error.code + text, isAccepted: false };
    }
    const hex = Array.from(before, (byte) => byte.toString(16).padStart(2, "0")).join("");
    throw new Error(`${decoder.name} made of ${hex}: ${String(error)}`, { cause: error });
  }
}

/** How many values there are in a value: what it takes of memory, up to a factor. */
function countValues(value: unknown, max: number): number {
  const pending: unknown[] = [value];
  let count = 0;
  while (pending.length > 0 && count <= max) {
    const next = pending.pop();
    count++;
    if (typeof next === "string") count += next.length >> 3;
    else if (ArrayBuffer.isView(next)) count += next.byteLength >> 3;
    else if (next instanceof Map) pending.push(...next.keys(), ...next.values());
    else if (typeof next === "object" && next !== null) pending.push(...Object.values(next));
  }
  return count;
}

/** The kinds of the values in a value, not these themselves. */
function shapeOf(value: unknown, depth: number): string {
  if (Array.isArray(value)) {
    const shapes = new Set(
      value.slice(0, 20).map((one) => depth > 0 ? shapeOf(one, depth - 1) : ""),
    );
    return `[${Math.min(3, value.length)} ${[...shapes].join()}]`;
  }
  if (typeof value === "boolean" || value === null || value === undefined) return String(value);
  if (typeof value === "number") return value < 0 ? "-" : value === 0 ? "0" : "n";
  if (typeof value !== "object") return typeof value;
  const entries = Object.entries(value).slice(0, 30);
  const shapes = entries.map(([key, one]) => `${key}:${depth > 0 ? shapeOf(one, depth - 1) : ""}`);
  return `{${"type" in value ? String(value.type) : ""} ${shapes.join()}}`;
}

/** Numbers at which lengths and counts turn. */
const telling = [0, 1, 2, 0x7f, 0x80, 0xff, 0xfe, 0x7ffe, 0x7fff, 0x8000, 0xffff];
const tellingLarge = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x10000, 0x7ffffff0];

function changed(random: SeededRandom, corpus: readonly Uint8Array[]): Uint8Array {
  if (random.chance(0.05)) return random.bytes(random.below(64));
  let bytes: Uint8Array = random.pick(corpus).slice();
  const changes = 1 + random.below(4);
  for (let change = 0; change < changes; change++) bytes = changedOnce(random, bytes, corpus);
  // Else hardly anything comes behind the checksum of a batch.
  if (random.chance(0.5)) tryWriteChecksum(bytes);
  return bytes.subarray(0, inputBytesMax);
}

function changedOnce(
  random: SeededRandom,
  bytes: Uint8Array,
  corpus: readonly Uint8Array[],
): Uint8Array {
  const at = random.below(bytes.length + 1);
  const kind = random.below(9);
  if (kind === 0) return bytes.slice(0, at);
  if (kind === 1) {
    return joined(bytes.subarray(0, at), random.bytes(1 + random.below(8)), bytes, at);
  }
  if (kind === 2) return joined(bytes.subarray(0, at), random.pick(corpus), bytes, at);
  if (kind === 3) {
    const end = Math.min(bytes.length, at + 1 + random.below(16));
    return joined(bytes.subarray(0, at), new Uint8Array(0), bytes, end);
  }
  if (at >= bytes.length) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (kind === 4) bytes[at]! ^= 1 << random.below(8);
  else if (kind === 5) bytes[at] = random.below(256);
  else if (kind === 6) bytes[at] = random.pick(telling) & 0xff;
  else if (kind === 7 && at + 2 <= bytes.length) view.setUint16(at, random.pick(telling));
  else if (at + 4 <= bytes.length) view.setUint32(at, random.pick(tellingLarge));
  return bytes;
}

function joined(
  head: Uint8Array,
  middle: Uint8Array,
  bytes: Uint8Array,
  tailStart: number,
): Uint8Array {
  const tail = bytes.subarray(tailStart);
  const all = new Uint8Array(head.length + middle.length + tail.length);
  all.set(head);
  all.set(middle, head.length);
  all.set(tail, head.length + middle.length);
  return all;
}

/** Of the first batch, or of a producer snapshot, if the bytes are one. */
function tryWriteChecksum(bytes: Uint8Array): void {
  if (bytes.length < snapshotHeaderBytes) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] === 0 && bytes[1] === 1) {
    view.setUint32(2, crc32c(bytes.subarray(6)));
    return;
  }
  if (bytes.length < batchHeaderBytes) return;
  const sizeBytes = view.getInt32(field.batchLength) + logOverheadBytes;
  if (sizeBytes >= batchHeaderBytes && sizeBytes <= bytes.length) {
    writeChecksum(bytes.subarray(0, sizeBytes));
  }
}
