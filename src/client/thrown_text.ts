/** What a user's function threw, as text: it may be anything. */

/**
 * The message of what was thrown.
 *
 * @param thrown An error, or anything else.
 * @returns Its message, or it as text; a text in any case.
 */
export function textOfThrown(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    // An object without a prototype, or one whose own code throws.
    return `${typeof thrown} without a text`;
  }
}
