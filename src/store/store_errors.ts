/** What a file system throws, as errors of the store. */

import { OttlaError } from "../errors.ts";
import { isDiskFull } from "../platform/file_system.ts";

const codePattern = /^E(?!RR_)[A-Z0-9]+$/;

/**
 * Makes the failure of a file system an error of the store; every other error stays what it is.
 *
 * @param action What failed, for the message: "open /data/events".
 * @param error What was caught.
 * @returns `DISK_FULL` or `KAFKA_STORAGE_ERROR` with the failure as its cause, or the error itself.
 */
export function asStorageError(action: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof OttlaError || !("code" in error)) return error;
  const { code, message } = error;
  if (typeof code !== "string" || !codePattern.test(code)) return error;
  const isFull = isDiskFull(error);
  return new OttlaError(
    isFull ? "DISK_FULL" : "KAFKA_STORAGE_ERROR",
    `Cannot ${action}: ${isFull ? "the disk is full" : message}`,
    { cause: error, details: { systemCode: code } },
  );
}
