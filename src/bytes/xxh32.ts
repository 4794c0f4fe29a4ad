/**
 * XXH32, the checksum inside LZ4 frames.
 *
 * Plain arithmetic, because it must be there at once: the WebAssembly libraries have to be compiled
 * first, and what a frame of Kafka's needs hashed is its two-byte header.
 */

const prime1 = 0x9e3779b1;
const prime2 = 0x85ebca77;
const prime3 = 0xc2b2ae3d;
const prime4 = 0x27d4eb2f;
const prime5 = 0x165667b1;

/**
 * The XXH32 of some bytes, with seed 0.
 *
 * @param bytes What to hash.
 * @returns An unsigned 32-bit integer.
 */
export function xxh32(bytes: Uint8Array): number {
  const length = bytes.length;
  let position = 0;
  let hash = prime5;
  if (length >= 16) {
    let lane1 = prime1 + prime2;
    let lane2 = prime2;
    let lane3 = 0;
    let lane4 = -prime1;
    for (const endStripes = length - 16; position <= endStripes; position += 16) {
      lane1 = xxh32Round(lane1, wordAt(bytes, position));
      lane2 = xxh32Round(lane2, wordAt(bytes, position + 4));
      lane3 = xxh32Round(lane3, wordAt(bytes, position + 8));
      lane4 = xxh32Round(lane4, wordAt(bytes, position + 12));
    }
    hash = rotateLeft(lane1, 1) + rotateLeft(lane2, 7) + rotateLeft(lane3, 12) +
      rotateLeft(lane4, 18);
  }
  hash = (hash + length) | 0;
  for (; position + 4 <= length; position += 4) {
    hash = (hash + Math.imul(wordAt(bytes, position), prime3)) | 0;
    hash = Math.imul(rotateLeft(hash, 17), prime4);
  }
  for (; position < length; position++) {
    hash = (hash + Math.imul(bytes[position]!, prime5)) | 0;
    hash = Math.imul(rotateLeft(hash, 11), prime1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), prime2);
  hash = Math.imul(hash ^ (hash >>> 13), prime3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function xxh32Round(lane: number, word: number): number {
  return Math.imul(rotateLeft((lane + Math.imul(word, prime2)) | 0, 13), prime1);
}

function wordAt(bytes: Uint8Array, position: number): number {
  return bytes[position]! | (bytes[position + 1]! << 8) | (bytes[position + 2]! << 16) |
    (bytes[position + 3]! << 24);
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}
