/** How the arrays of an index grow: small for the thousands of partitions that stay small. */

const entriesMin = 8;

/**
 * The next size of an index whose arrays are full.
 *
 * @param count How many entries it has.
 * @param entriesMax How many it may have, the one that sealing adds not counted.
 * @returns Twice as many, within bounds, and room for one more in any case.
 */
export function grownCapacity(count: number, entriesMax: number): number {
  return Math.max(count + 1, Math.min(entriesMax, Math.max(entriesMin, count * 2)));
}
