/**
 * What the records of a simulation hold: made from a number that each of them bears in a header, so
 * that whoever finds one knows which it is and what of it must come back.
 */

import type { AppendRecord, LogRecord } from "../../mod.ts";
import type { SeededRandom } from "../../src/testing/mod.ts";

const idHeader = "id";
/** Beyond a sector and a half, so that batches are torn in the middle. */
const largeBytes = 800;
/** Few, so that compaction has something to do. */
const keyCount = 5;
/** Bytes that a record has beside its content, in a batch of its own. */
const overheadBytes = 100;
const utf8 = new TextEncoder();
const text = new TextDecoder();

/** A record to be written. */
export interface RecordContent {
  readonly id: number;
  readonly record: AppendRecord<Uint8Array, Uint8Array> & { readonly timestamp: number };
  /** Everything of it that must come back. */
  readonly text: string;
  /** More bytes than it can take, alone in a batch and not compressed. */
  readonly sizeBytes: number;
}

/**
 * Makes a record.
 *
 * @param random Decides what is in it.
 * @param id Its number.
 * @param timestamp Its time.
 * @param isKeyed Whether it must have a key, as in topics that are compacted.
 * @returns The record.
 */
export function makeRecord(
  random: SeededRandom,
  id: number,
  timestamp: number,
  isKeyed: boolean,
): RecordContent {
  const key = isKeyed || random.chance(0.5) ? utf8.encode(`key ${random.below(keyCount)}`) : null;
  const sizeBytes = random.chance(0.1) ? random.below(largeBytes) : random.below(60);
  const value = random.chance(0.1) ? null : random.bytes(sizeBytes);
  const headers = [{ key: idHeader, value: utf8.encode(String(id)) }];
  const record = { key, value, headers, timestamp };
  return {
    id,
    record,
    text: contentText(record),
    sizeBytes: overheadBytes + sizeBytes + (key?.length ?? 0),
  };
}

/**
 * The number of a record that was read.
 *
 * @param record The record.
 * @returns Its number; NaN if it bears none.
 */
export function idOfRecord(record: Pick<LogRecord, "headers">): number {
  const value = record.headers.find(({ key }) => key === idHeader)?.value;
  return value === undefined || value === null ? NaN : Number(text.decode(value));
}

/**
 * All of a record that must come back, to be compared.
 *
 * @param record The record, as it is written or as it was read.
 * @returns A text that differs if anything differs.
 */
export function contentText(
  record: {
    readonly key?: Uint8Array | null | undefined;
    readonly value?: Uint8Array | null | undefined;
    readonly headers?: readonly { readonly key: string; readonly value?: unknown }[] | undefined;
    readonly timestamp?: number | Date | undefined;
  },
): string {
  const headers = (record.headers ?? []).map(({ key, value }) =>
    `${key}=${hexOf(value as Uint8Array | null)}`
  );
  return `${Number(record.timestamp)} ${hexOf(record.key)} ${hexOf(record.value)} ${headers}`;
}

function hexOf(bytes: Uint8Array | null | undefined): string {
  if (bytes === null || bytes === undefined) return "null";
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
