/** What to throw where several things may fail and all of them are gone through. */

import { textOfThrown } from "./thrown_text.ts";

/**
 * Throws what was collected, so that nothing of it is swallowed.
 *
 * @param errors What was thrown, in order; nothing happens if there is none.
 * @throws The only one as it is, or an `AggregateError` with all of them in `errors`.
 */
export function throwAll(errors: readonly unknown[]): void {
  if (errors.length === 0) return;
  if (errors.length === 1) throw errors[0];
  const texts = errors.map(textOfThrown).join("; ");
  throw new AggregateError(errors, `${errors.length} errors at once: ${texts}`);
}
