/**
 * Variable-length integers as Kafka writes them: groups of seven bits, lowest first, the high bit
 * set on all but the last byte. Signed values are zigzagged first, so that small negative numbers
 * stay short.
 *
 * Reading lives in `byte_reader.ts`, where the cursor is. Values beyond 32 bits are plain numbers
 * and stay exact up to `Number.MAX_SAFE_INTEGER`.
 */

/** The most bytes that a 32-bit value takes. */
export const varintSizeMax = 5;
/** The most bytes that a 64-bit value takes. */
export const varlongSizeMax = 10;

/**
 * How many bytes an unsigned 32-bit value takes.
 *
 * @param value Any 32-bit integer; a negative one counts as its unsigned bits.
 * @returns 1 to 5.
 */
export function sizeOfUnsignedVarint(value: number): number {
  // max(1, ceil(bits / 7)) without a division; exact for 0 to 32 bits.
  return ((32 - Math.clz32(value)) * 9 + 64) >> 6;
}

/**
 * How many bytes a signed 32-bit value takes.
 *
 * @param value A 32-bit integer.
 * @returns 1 to 5.
 */
export function sizeOfVarint(value: number): number {
  return sizeOfUnsignedVarint((value << 1) ^ (value >> 31));
}

/**
 * How many bytes a signed 64-bit value takes.
 *
 * @param value A safe integer.
 * @returns 1 to 10.
 */
export function sizeOfVarlong(value: number): number {
  if ((value | 0) === value) return sizeOfVarint(value);
  let rest = value < 0 ? -(value + 1) : value;
  let size = 1;
  // The sign takes one bit of the first byte.
  for (rest = Math.floor(rest / 64); rest > 0; rest = Math.floor(rest / 128)) size++;
  return size;
}

/**
 * Writes an unsigned 32-bit value.
 *
 * @param bytes Where to; the caller has checked that there is room.
 * @param position Of the first byte.
 * @param value Any 32-bit integer; a negative one counts as its unsigned bits.
 * @returns The position behind the last byte written.
 */
export function writeUnsignedVarint(bytes: Uint8Array, position: number, value: number): number {
  let rest = value;
  let at = position;
  while ((rest & ~0x7f) !== 0) {
    bytes[at++] = rest & 0x7f | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/**
 * Writes a signed 32-bit value.
 *
 * @param bytes Where to; the caller has checked that there is room.
 * @param position Of the first byte.
 * @param value A 32-bit integer.
 * @returns The position behind the last byte written.
 */
export function writeVarint(bytes: Uint8Array, position: number, value: number): number {
  return writeUnsignedVarint(bytes, position, (value << 1) ^ (value >> 31));
}

/**
 * Writes a signed 64-bit value.
 *
 * @param bytes Where to; the caller has checked that there is room.
 * @param position Of the first byte.
 * @param value A safe integer.
 * @returns The position behind the last byte written.
 */
export function writeVarlong(bytes: Uint8Array, position: number, value: number): number {
  if ((value | 0) === value) return writeVarint(bytes, position, value);
  // Zigzag in halves: the zigzagged value may need 54 bits, one more than a number holds exactly.
  const magnitude = value < 0 ? -(value + 1) : value;
  const sign = value < 0 ? 1 : 0;
  let at = position;
  bytes[at++] = (magnitude % 64) << 1 | sign | 0x80;
  let rest = Math.floor(magnitude / 64);
  while (rest >= 128) {
    bytes[at++] = rest % 128 | 0x80;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  return at;
}
