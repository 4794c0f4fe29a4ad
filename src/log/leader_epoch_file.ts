/** Keeps a log's `leader-epoch-checkpoint` up with what is appended. */

import { joinPath } from "../platform/files.ts";
import { epochCheckpointName, writeEpochCheckpoint } from "./checkpoint_file.ts";
import { assignEpoch } from "./leader_epoch_cache.ts";
import type { Log } from "./log.ts";
import { storageError } from "./log_errors.ts";

/**
 * Takes note of the epoch of a batch that is about to be appended.
 *
 * @param log The log.
 * @param baseOffset Of the batch.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR` if a new epoch cannot be recorded; then it is
 * not known either.
 */
export function noteEpoch(log: Log, baseOffset: number): void {
  const { entries } = log.epochs;
  if (!assignEpoch(log.epochs, log.leaderEpoch, baseOffset)) return;
  try {
    const path = joinPath(log.folder, epochCheckpointName);
    writeEpochCheckpoint(log.pool.fs, path, log.epochs.entries);
  } catch (cause) {
    log.epochs.entries = entries;
    throw storageError(log, cause, "record the leader epoch of");
  }
}
