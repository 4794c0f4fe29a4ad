/** Randomness: injected, so that a seed can take its place. */

/** Gives as many random bytes as asked for. */
export type RandomBytes = (count: number) => Uint8Array;

/**
 * Random bytes from the operating system.
 *
 * @param count How many, at most 65,536.
 * @returns The bytes.
 */
export function systemRandomBytes(count: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(count));
}
