/** Telling the developer of something that nobody waits for. */

import { emitWarning } from "node:process";

/**
 * Shows a warning as the runtime shows its own: on standard error, and to who listens for the
 * process's `warning` event.
 *
 * @param message What happened.
 * @param cause The error behind it, if there is one, shown with its stack where the runtime shows
 * details.
 */
export function warn(message: string, cause?: unknown): void {
  const type = "OttlaWarning";
  if (cause === undefined) return emitWarning(message, { type });
  const detail = cause instanceof Error ? cause.stack ?? cause.message : String(cause);
  emitWarning(message, { type, detail });
}
