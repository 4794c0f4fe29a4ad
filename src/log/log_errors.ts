/** The errors that a log gives, each with its partition and the numbers in its details. */

import { OttlaError } from "../errors.ts";
import { isDiskFull } from "../platform/file_system.ts";
import type { Log } from "./log.ts";

/** The name of a log for people: `orders-3`. */
export function nameOfLog(log: Log): string {
  return `${log.source.topic}-${log.source.partition}`;
}

/** For what a file system threw: `DISK_FULL` or `KAFKA_STORAGE_ERROR`. */
export function storageError(log: Log, cause: unknown, action: string): OttlaError {
  const isFull = isDiskFull(cause);
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new OttlaError(
    isFull ? "DISK_FULL" : "KAFKA_STORAGE_ERROR",
    `Cannot ${action} ${nameOfLog(log)}: ${isFull ? "the disk is full" : reason}`,
    { cause, details: { ...log.source, endOffset: log.endOffset } },
  );
}

/** For a failure after which nobody knows what is on disk. */
export function poisonError(log: Log, cause: unknown, action: string): OttlaError {
  const { syncedOffset } = log.commit;
  return new OttlaError(
    "KAFKA_STORAGE_ERROR",
    `Cannot use ${
      nameOfLog(log)
    }: ${action} failed, so records from offset ${syncedOffset} on may ` +
      `not be on disk; open the store again to go on from what is`,
    { cause, details: { ...log.source, syncedOffset } },
  );
}

/** For a log that was closed. */
export function closedError(log: Log): OttlaError {
  return new OttlaError("HANDLE_CLOSED", `Cannot use ${nameOfLog(log)}: it is closed`);
}

/** For a batch that no segment can hold. */
export function batchTooLargeError(log: Log, sizeBytes: number): OttlaError {
  const { segmentBytes } = log.config;
  return new OttlaError(
    "RECORD_LIST_TOO_LARGE",
    `Cannot append a batch of ${sizeBytes} bytes to ${nameOfLog(log)}: a segment holds at most ` +
      `${segmentBytes}`,
    { details: { ...log.source, sizeBytes, segmentBytes } },
  );
}
