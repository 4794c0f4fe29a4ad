/**
 * Fuzzing, in a bounded measure: whatever the bytes are, a decoder gives a value or an
 * `OttlaError`, takes no more memory than the bytes are worth, and what it took it reads again from
 * what it prints. `npm run fuzz -- --minutes 10` goes on for longer.
 */

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { OttlaError } from "../../src/errors.ts";
import { loadCodec } from "../../src/record/compression.ts";
import { codecs } from "../support/arbitraries.ts";
import { allDecoders } from "./decoders.ts";
import { fuzzDecoder } from "./fuzzing.ts";

const inputsOfTest = 3000;

describe("decoders", () => {
  before(async () => {
    await loadCrc32c();
    for (const codec of codecs) await loadCodec(codec);
  });

  it("stand any bytes", { timeout: 120_000 }, async () => {
    for (const decoder of await allDecoders()) {
      const { answerCount } = fuzzDecoder(decoder, 1, (thrown) => thrown < inputsOfTest);
      assert.ok(answerCount > 3, `${decoder.name} gave ${answerCount} different answers`);
    }
  });

  it("take their good bytes, but for those of other kinds", async () => {
    for (const { name, seeds, decode } of await allDecoders()) {
      const taken = seeds.filter((bytes) => {
        try {
          decode(bytes);
          return true;
        } catch (error) {
          if (error instanceof OttlaError) return false;
          throw error;
        }
      });
      const isOfOthers = /^the values of|^our own files/.test(name);
      assert.ok(isOfOthers || taken.length === seeds.length, `${name} took ${taken.length}`);
    }
  });
});

describe("the fuzzer finds", () => {
  const seeds = [Uint8Array.from([0, 0, 0, 2, 1, 2])];
  const fuzz = (decode: (bytes: Uint8Array) => unknown): unknown =>
    fuzzDecoder({ name: "a bad decoder", seeds, decode }, 1, (thrown) => thrown < 3000);

  const bad: readonly (readonly [string, (bytes: Uint8Array) => unknown, RegExp])[] = [
    ["an error of another kind", (bytes) => bytes[0] === 1 && new Array(-1), /RangeError/],
    ["a length that is believed", (bytes) => new Uint8Array((bytes[0] ?? 0) << 16), /values came/],
    ["a change of its bytes", (bytes) => bytes.fill(0), /as they were/],
    ["what lies deep", (bytes) => {
      if (bytes[0] !== 0x80) throw new OttlaError("CORRUPT_MESSAGE", "Cannot read the first byte");
      if (bytes[3] !== 0xff) throw new OttlaError("CORRUPT_MESSAGE", "Cannot read the other byte");
      throw new TypeError("too deep");
    }, /too deep/],
  ];
  for (const [name, decode, message] of bad) {
    it(name, () => {
      assert.throws(() => fuzz(decode), message);
    });
  }

  it("the same again with the same seed", () => {
    const seen: string[][] = [[], []];
    for (const inputs of seen) fuzz((bytes) => inputs.push(bytes.join()));
    assert.deepEqual(seen[0], seen[1]);
    assert.ok(new Set(seen[0]).size > 1000);
  });
});
