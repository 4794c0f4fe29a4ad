/**
 * MurmurHash2 in the variant of Kafka's Java client, which chooses partitions by it
 * (src/FORMAT.md, section 7.3): whoever writes a topic together with Java producers hashes keys
 * so.
 */

const seed = 0x9747b28c;
const multiplier = 0x5bd1e995;

/**
 * Kafka's murmur2 of some bytes.
 *
 * @param bytes The key as it is stored.
 * @returns A signed 32-bit integer.
 */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length;
  const endBlocks = length - (length & 3);
  let hash = seed ^ length;
  for (let position = 0; position < endBlocks; position += 4) {
    let block = bytes[position]! | (bytes[position + 1]! << 8) | (bytes[position + 2]! << 16) |
      (bytes[position + 3]! << 24);
    block = Math.imul(block, multiplier);
    block ^= block >>> 24;
    hash = Math.imul(hash, multiplier) ^ Math.imul(block, multiplier);
  }
  if (endBlocks < length) {
    let tail = bytes[endBlocks]!;
    if (endBlocks + 1 < length) tail |= bytes[endBlocks + 1]! << 8;
    if (endBlocks + 2 < length) tail |= bytes[endBlocks + 2]! << 16;
    hash = Math.imul(hash ^ tail, multiplier);
  }
  hash = Math.imul(hash ^ (hash >>> 13), multiplier);
  return hash ^ (hash >>> 15);
}

/**
 * Kafka's way from a hash to a number to take the remainder of: the sign bit is dropped.
 *
 * @param hash A signed 32-bit integer.
 * @returns An integer from 0 to 2147483647; not the absolute value.
 */
export function toPositive(hash: number): number {
  return hash & 0x7fffffff;
}

/**
 * Kafka's absolute value, by which a group's partition of `__consumer_offsets` is chosen. It
 * differs from the mathematical one for -2147483648, which has no positive counterpart and becomes
 * 0.
 *
 * @param hash A signed 32-bit integer.
 * @returns An integer from 0 to 2147483647.
 */
export function absoluteOf(hash: number): number {
  return hash === -2147483648 ? 0 : Math.abs(hash);
}
