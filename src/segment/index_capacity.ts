/** How the arrays of an index grow: small for the thousands of partitions that stay small. */

const entriesMin = 8;

/**
 * The next size of an index that is full.
 *
 * @param count How many entries it has.
 * @param entriesMax How many it may ever have.
 * @returns Twice as many, within bounds.
 */
export function grownCapacity(count: number, entriesMax: number): number {
  return Math.min(entriesMax, Math.max(entriesMin, count * 2));
}
