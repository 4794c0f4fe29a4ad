/**
 * Where the last record of each key stands, as far as a compaction has read: Kafka's `OffsetMap`.
 *
 * Kafka knows a key by its MD5 and takes two keys of one MD5 for the same. Here a slot of the table
 * is found by an XXH64 with a seed of its own for every compaction, and the key itself is kept and
 * compared, so no two keys are ever taken for one, whoever chose them. That costs the bytes of the
 * keys, each once; table and keys together have a limit, and a map that has come to it takes no
 * more keys. What lies behind is for the next compaction.
 */

import { xxh64Halves } from "../bytes/xxh64.ts";

/** The last offset of each key. */
export interface OffsetMap {
  readonly seed: bigint;
  /** How many keys it takes. */
  readonly entriesMax: number;
  /** How many bytes of keys it takes; the first key always fits. */
  readonly keyBytesMax: number;
  count: number;
  keyBytes: number;
  /** Half of each slot's hash; its other half leads to the slot. */
  readonly hashes: Uint32Array;
  /** Where each slot's key stands, plus one; 0 marks an empty slot. */
  readonly keyPlaces: Uint32Array;
  readonly offsets: Float64Array;
  /** The keys, each behind its length. One that is longer than a chunk counts as several. */
  readonly chunks: Uint8Array[];
  /** Where the next key goes. */
  keyPlace: number;
}

/** How much a map may hold. */
export interface OffsetMapLimits {
  readonly entriesMax: number;
  readonly keyBytesMax: number;
}

/** With its table, a map has at most 128 MiB: as much as Kafka's cleaner. */
export const offsetMapLimits: OffsetMapLimits = {
  entriesMax: 3 * 2 ** 20,
  keyBytesMax: 64 * 1024 * 1024,
};

/** How full the table may get: more makes the way to a slot long. */
const loadFactorMax = 0.75;
const slotsMin = 16;
const chunkBytes = 1024 * 1024;
const lengthBytes = 4;

/**
 * A map without keys.
 *
 * @param seed What hashes begin with: a random number that nobody knows who chooses keys.
 * @param recordsMax How many records there are at most, so that a small log gets a small table.
 * @param limits How much it may hold.
 * @returns The map.
 */
export function offsetMap(
  seed: bigint,
  recordsMax: number,
  limits: OffsetMapLimits = offsetMapLimits,
): OffsetMap {
  const entriesMax = Math.max(1, Math.min(recordsMax, limits.entriesMax));
  const slots = 2 ** Math.ceil(Math.log2(Math.max(slotsMin, entriesMax / loadFactorMax)));
  return {
    seed,
    entriesMax,
    keyBytesMax: limits.keyBytesMax,
    count: 0,
    keyBytes: 0,
    hashes: new Uint32Array(slots),
    keyPlaces: new Uint32Array(slots),
    offsets: new Float64Array(slots),
    chunks: [],
    keyPlace: 0,
  };
}

/**
 * Takes note of where a key stands.
 *
 * @param map The map.
 * @param key The key.
 * @param offset Of the record; not smaller than those before.
 * @returns False if the map is full and does not know the key; then it is as before.
 */
export function putOffset(map: OffsetMap, key: Uint8Array, offset: number): boolean {
  const slot = slotOf(map, key);
  if (map.keyPlaces[slot] === 0) {
    const isFull = map.count >= map.entriesMax ||
      (map.count > 0 && map.keyBytes + key.length > map.keyBytesMax);
    if (isFull) return false;
    map.keyPlaces[slot] = keepKey(map, key) + 1;
    map.hashes[slot] = foundHash;
    map.count++;
    map.keyBytes += key.length;
  }
  map.offsets[slot] = offset;
  return true;
}

/**
 * The last offset of a key.
 *
 * @param map The map.
 * @param key The key.
 * @returns The offset, or -1 if the map does not know the key.
 */
export function lastOffsetOfKey(map: OffsetMap, key: Uint8Array): number {
  const slot = slotOf(map, key);
  return map.keyPlaces[slot] === 0 ? -1 : map.offsets[slot]!;
}

/** The half of the hash that `slotOf` has compared, for whoever fills the slot. */
let foundHash = 0;

/** The slot that holds a key, or the empty one where it belongs; one is always empty. */
function slotOf(map: OffsetMap, key: Uint8Array): number {
  const { hashes, keyPlaces } = map;
  const halves = xxh64Halves(key, map.seed);
  const last = hashes.length - 1;
  foundHash = halves[1]!;
  for (let slot = halves[0]! & last;; slot = (slot + 1) & last) {
    const place = keyPlaces[slot]!;
    if (place === 0) return slot;
    if (hashes[slot] === foundHash && isKeyAt(map, place - 1, key)) return slot;
  }
}

function isKeyAt(map: OffsetMap, place: number, key: Uint8Array): boolean {
  const chunk = map.chunks[Math.floor(place / chunkBytes)]!;
  let at = place % chunkBytes;
  const length = chunk[at]! | chunk[at + 1]! << 8 | chunk[at + 2]! << 16 | chunk[at + 3]! << 24;
  if (length !== key.length) return false;
  at += lengthBytes;
  for (let index = 0; index < length; index++) {
    if (chunk[at + index] !== key[index]) return false;
  }
  return true;
}

/** Copies a key to where the last one ends. Returns its place. */
function keepKey(map: OffsetMap, key: Uint8Array): number {
  const { chunks } = map;
  const sizeBytes = lengthBytes + key.length;
  const freeBytes = chunks.length * chunkBytes - map.keyPlace;
  if (sizeBytes > freeBytes) {
    map.keyPlace = chunks.length * chunkBytes;
    const count = Math.ceil(sizeBytes / chunkBytes);
    const chunk = new Uint8Array(count * chunkBytes);
    for (let added = 0; added < count; added++) chunks.push(chunk);
  }
  const place = map.keyPlace;
  const chunk = chunks[Math.floor(place / chunkBytes)]!;
  const at = place % chunkBytes;
  chunk[at] = key.length;
  chunk[at + 1] = key.length >> 8;
  chunk[at + 2] = key.length >> 16;
  chunk[at + 3] = key.length >> 24;
  chunk.set(key, at + lengthBytes);
  // What is left of a chunk of several is not used: a place within it would lead to a wrong byte.
  map.keyPlace = sizeBytes > chunkBytes ? chunks.length * chunkBytes : place + sizeBytes;
  return place;
}
