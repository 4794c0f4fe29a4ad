/**
 * Chance by seed: xoshiro128**, started with splitmix32, in 32-bit arithmetic, so that every
 * runtime draws the same numbers.
 */

import { checkNumber } from "../store/store_options.ts";

/** A source of chance that gives the same again for the same seed. */
export interface SeededRandom {
  /** A whole number from 0 to 2^32 - 1. */
  uint32(): number;
  /** A whole number from 0 to `end - 1`; `end` is 1 or more. */
  below(end: number): number;
  /** True with a probability from 0 to 1. */
  chance(probability: number): boolean;
  /** One of some values; there must be one. */
  pick<Value>(values: readonly Value[]): Value;
  /** As many random bytes as asked for, as `openStore({ randomBytes })` wants them. */
  bytes(count: number): Uint8Array;
  /**
   * Another source, which depends on the seed and on a name and not on what was drawn before: who
   * draws more here changes nothing there.
   */
  fork(name: string): SeededRandom;
}

/**
 * Chance by seed. Not for secrets.
 *
 * @param seed A whole number from 0 to 2^53 - 1.
 * @returns The source.
 * @throws TypeError or RangeError if the seed is none.
 * @example
 * ```ts
 * import { seededRandom } from "ottla/testing";
 *
 * const random = seededRandom(42);
 * const dice = 1 + random.below(6);
 * console.log(dice === 1 + seededRandom(42).below(6)); // true
 * ```
 */
export function seededRandom(seed: number): SeededRandom {
  checkNumber("seed", seed, 0, Number.MAX_SAFE_INTEGER);
  return randomOf(seed >>> 0, Math.floor(seed / 2 ** 32));
}

function randomOf(low: number, high: number): SeededRandom {
  const start = splitMix(low ^ Math.imul(high, 0x9e3779b1));
  let a = start();
  let b = start();
  let c = start();
  // Not all four may be zero.
  let d = start() | 1;
  const uint32 = (): number => {
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  const fraction = (): number => ((uint32() >>> 5) * 2 ** 26 + (uint32() >>> 6)) / 2 ** 53;
  const below = (end: number): number =>
    Math.floor(end > 2 ** 32 ? fraction() * end : uint32() / 2 ** 32 * end);
  return {
    uint32,
    below,
    chance: (probability) => uint32() < probability * 2 ** 32,
    pick<Value>(values: readonly Value[]): Value {
      if (values.length === 0) throw new RangeError("values must hold one value or more, got none");
      return values[below(values.length)] as Value;
    },
    bytes: (count) => Uint8Array.from({ length: count }, () => uint32() >>> 24),
    fork: (name) => randomOf(low ^ hashOf(name), high ^ hashOf(`${name}.`)),
  };
}

function splitMix(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) | 0;
  };
}

/** FNV-1a over the code units. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index++) {
    hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  }
  return hash;
}
