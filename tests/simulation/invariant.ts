/** What is demanded of the store, and how it is told that it does not hold. */

import { AssertionError } from "node:assert/strict";

/**
 * Makes sure that an invariant holds.
 *
 * @param condition Whether it does.
 * @param sentence Says with its numbers what does not.
 * @throws AssertionError if it does not.
 */
export function demand(condition: boolean, sentence: () => string): asserts condition {
  if (!condition) throw new AssertionError({ message: sentence() });
}
