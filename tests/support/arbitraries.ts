/** What property tests draw from: records with every oddity that the format allows, and damage. */

import fc from "fast-check";
import type { Compression } from "../../src/record/compression.ts";
import type { Content, RecordInput } from "../../src/record/record.ts";
import { someTime } from "./batches.ts";

/** Every codec. */
export const codecs: readonly Compression[] = ["none", "gzip", "snappy", "lz4", "zstd"];

/**
 * Any text, with code points outside the first plane and halves of pairs that have lost the other.
 */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 12 })
    .map((units) => String.fromCharCode(...units)),
  fc.constantFrom("\ud800", "\udc00\ud800", "a\udfff", "\ufeffmark", "\0"),
);

/**
 * A key or a value, mostly small: sizes where its length takes another byte are drawn on purpose.
 */
export const anyContent: fc.Arbitrary<Content> = fc.oneof(
  fc.constant(null),
  fc.uint8Array({ maxLength: 40 }),
  anyText,
  fc.constantFrom(0, 63, 64, 8191, 8192, 70_000)
    .map((size) => Uint8Array.from({ length: size }, (_, index) => index * 7)),
);

/** A timestamp near the others, as they mostly are, or anywhere. */
export const anyTimestamp: fc.Arbitrary<number> = fc.oneof(
  fc.constant(someTime),
  fc.integer({ min: someTime - 100, max: someTime + 100 }),
  fc.constantFrom(-1, 0, 1, -5, 2 ** 41, 2 ** 52, -(2 ** 51)),
  fc.integer({ min: -(2 ** 51), max: 2 ** 52 }),
);

/** A record to be written, headers and all. */
export const anyRecord: fc.Arbitrary<RecordInput & { readonly timestamp: number }> = fc.record({
  timestamp: anyTimestamp,
  key: anyContent,
  value: anyContent,
  headers: fc.oneof(
    fc.constant([]),
    fc.array(fc.record({ key: anyText, value: anyContent }), { maxLength: 4 }),
  ),
});

/** The records of a batch. */
export const anyRecords: fc.Arbitrary<(RecordInput & { readonly timestamp: number })[]> = fc.array(
  anyRecord,
  { minLength: 1, maxLength: 12 },
);

/** One thing that goes wrong with bytes. */
export interface Damage {
  readonly kind: "flip" | "set" | "cut" | "fill";
  /** Where, as a part of the whole. */
  readonly at: number;
  readonly value: number;
}

/** Some things that go wrong. */
export const anyDamage: fc.Arbitrary<Damage[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Damage["kind"]>("flip", "set", "cut", "fill"),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat({ max: 255 })),
  }),
  { minLength: 1, maxLength: 4 },
);

/**
 * Does damage to a copy of some bytes.
 *
 * @param bytes The bytes.
 * @param damage What goes wrong.
 * @param start Where damage begins.
 * @returns The damaged copy, which may be shorter.
 */
export function damaged(bytes: Uint8Array, damage: readonly Damage[], start = 0): Uint8Array {
  let result = bytes.slice();
  for (const { kind, at, value } of damage) {
    const position = start + Math.floor(at * (result.length - start));
    if (position >= result.length) continue;
    if (kind === "flip") result[position]! ^= 1 << (value & 7);
    else if (kind === "set") result[position] = value;
    else if (kind === "cut") result = result.slice(0, position);
    else result.fill(value, position, position + 8);
  }
  return result;
}
