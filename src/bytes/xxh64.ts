/**
 * XXH64, the hash of keys: it chooses partitions by default and finds keys again in a compaction.
 *
 * The work is done by `xxhash-wasm`, which must be compiled first: whoever may be the first to hash
 * awaits `loadXxh64`.
 */

import assert from "node:assert/strict";
import xxhash from "xxhash-wasm";

let hash64: ((bytes: Uint8Array, seed?: bigint) => bigint) | undefined;

/** The same 64 bits as one number and as two, which spares the arithmetic of bigints. */
const wholeHash = new BigUint64Array(1);
const hashHalves = new Uint32Array(wholeHash.buffer);

/**
 * Makes sure that `xxh64` and `xxh64Partition` can be called.
 *
 * @returns Resolves when they can; at once from the second time on.
 */
export async function loadXxh64(): Promise<void> {
  hash64 ??= (await xxhash()).h64Raw;
}

/**
 * The XXH64 of some bytes, with seed 0.
 *
 * @param bytes What to hash.
 * @returns An unsigned 64-bit integer.
 * @throws AssertionError before `loadXxh64` has resolved.
 */
export function xxh64(bytes: Uint8Array): bigint {
  assert(hash64 !== undefined, "loadXxh64() has not been awaited");
  return hash64(bytes);
}

/**
 * The partition of a key: the low 31 bits of its XXH64 with seed 0, modulo the number of
 * partitions.
 *
 * This rule can never change: records of one key must stay in one partition for as long as the
 * topic lives. The low bits are those that a machine number holds: on 12-byte keys a call takes 65
 * ns, with the remainder of all 64 bits 90 to 110 ns (Node 24 and Deno). As with Kafka's own
 * `toPositive`, 31 bits spread evenly over any number of partitions that a topic can have.
 *
 * @param bytes The key as it is stored.
 * @param partitionCount How many partitions the topic has, at least 1.
 * @returns A partition from 0 to `partitionCount - 1`.
 * @throws AssertionError before `loadXxh64` has resolved.
 */
export function xxh64Partition(bytes: Uint8Array, partitionCount: number): number {
  if (partitionCount === 1) return 0;
  return Number(BigInt.asUintN(31, xxh64(bytes))) % partitionCount;
}

/**
 * The XXH64 of some bytes as two numbers of 32 bits.
 *
 * @param bytes What to hash.
 * @param seed What the hash begins with, an unsigned 64-bit integer.
 * @returns Two numbers, which the next call replaces.
 * @throws AssertionError before `loadXxh64` has resolved.
 */
export function xxh64Halves(bytes: Uint8Array, seed: bigint): Readonly<Uint32Array> {
  assert(hash64 !== undefined, "loadXxh64() has not been awaited");
  wholeHash[0] = hash64(bytes, seed);
  return hashHalves;
}
