/**
 * The producer snapshots in a log's folder: taken, brought to disk, loaded, removed.
 *
 * A snapshot says what was known of the producers below its offset, so that an opening need not
 * read the log to know it. Kafka takes one at every roll. Here a log gets its first one, an empty
 * one, right before the first batch of a producer, and from then on one at every roll, checkpoint,
 * close and recovery. So a log without snapshots has no producers, and costs nothing.
 *
 * A snapshot is brought to disk with the data that lies before it: before a recovery point can move
 * beyond it. One that a crash left half written has a wrong checksum and does not count. Until a
 * recovery point beyond it is recorded it replaces no older one, since a recovery trusts only
 * snapshots that are not beyond. So a log never has a producer that neither a snapshot nor the
 * batches that a recovery reads tell of.
 */

import { OttlaError } from "../errors.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import { joinPath, readFile } from "../platform/files.ts";
import { decrementSequence } from "../record/batch_view.ts";
import { segmentFileName } from "../segment/segment_file_name.ts";
import type { Log } from "./log.ts";
import { recoveryPointOf } from "./log_sync.ts";
import { storageError } from "./log_errors.ts";
import type { ProducerSnapshotEntry } from "./producer_snapshot_file.ts";
import { parseProducerSnapshot, printProducerSnapshot } from "./producer_snapshot_file.ts";
import type { ProducerState, ProducerStates } from "./producer_state.ts";
import { producerIdExpirationMs, restoreProducer } from "./producer_state.ts";

/** The producer snapshots in the folder of a log. */
export interface ProducerSnapshots {
  /** Of those that lie in the folder, rising. */
  readonly offsets: number[];
  /** Of those that may not be on disk. */
  unsynced: number[];
  /** What is recorded: a recovery reads what lies behind. */
  recoveryPoint: number;
  /** Set where one could not be taken that was due; the next occasion takes it. */
  isDue: boolean;
}

/** A snapshot holds `producersMax` entries at most, unless a broker wrote it. */
const snapshotBytesMax = 64 * 1024 * 1024;

/**
 * The producer snapshots of a log that is being opened.
 *
 * @param offsets Of those that lie in its folder, rising.
 * @param recoveryPoint Everything below it is on disk; Infinity after a clean shutdown.
 * @param endOffset Of the log.
 * @returns The snapshots; after a crash those from the recovery point on may not be on disk.
 */
export function producerSnapshots(
  offsets: number[],
  recoveryPoint: number,
  endOffset: number,
): ProducerSnapshots {
  return {
    offsets,
    unsynced: offsets.filter((offset) => offset >= recoveryPoint),
    recoveryPoint: Math.min(recoveryPoint, endOffset),
    isDue: false,
  };
}

/**
 * Loads a snapshot into states that are empty. Producers that have expired are passed over.
 *
 * @param log The log.
 * @param offset Of the snapshot.
 * @param states What to load it into; the log's own unless given.
 * @returns False if what is there is no snapshot; then nothing was loaded.
 */
export function loadSnapshot(
  log: Log,
  offset: number,
  states: ProducerStates = log.producers,
): boolean {
  const path = pathOf(log, offset);
  let entries: ProducerSnapshotEntry[];
  try {
    const bytes = readFile(log.pool.fs, path, snapshotBytesMax);
    if (bytes === undefined) return false;
    entries = parseProducerSnapshot(bytes, path);
  } catch (error) {
    // Neither what is in it nor a disk that does not give it back keeps the log from being opened.
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
  const now = log.clock.now();
  entries.sort((a, b) => a.currentTransactionFirstOffset - b.currentTransactionFirstOffset);
  for (const entry of entries) {
    const isOpen = entry.currentTransactionFirstOffset >= 0;
    const isExpired = now - entry.timestamp >= producerIdExpirationMs;
    if (isOpen || !isExpired) restoreProducer(states, stateOf(entry));
  }
  return true;
}

/**
 * Takes a snapshot at the end of the log, if there is none there yet. It is not synced.
 *
 * @param log The log, nothing of it accepted and not written.
 * @throws OttlaError `DISK_FULL`, `KAFKA_STORAGE_ERROR`; then one is due.
 */
export function takeSnapshot(log: Log): void {
  const { snapshots, endOffset } = log;
  snapshots.isDue = false;
  if (snapshots.offsets.at(-1) === endOffset) return;
  writeSnapshot(log, endOffset);
  sweepSnapshots(log);
}

/**
 * Writes what is known of the producers as the snapshot at an offset, in place of one that is there.
 *
 * @param log The log.
 * @param offset Where what is known ends.
 * @param states What is known; what the log knows now unless given.
 * @throws As `takeSnapshot`.
 */
export function writeSnapshot(
  log: Log,
  offset: number,
  states: ProducerStates = log.producers,
): void {
  const { snapshots } = log;
  const path = pathOf(log, offset);
  const bytes = printProducerSnapshot(entriesOf(states));
  const { fs } = log.pool;
  try {
    writeWhole(fs, path, bytes);
  } catch (cause) {
    snapshots.isDue = true;
    // The only one shows that there are producers, even if it cannot be read.
    const isShown = snapshots.offsets.every((other) => other === offset) &&
      log.producers.byId.size > 0;
    if (isShown || tryRemove(fs, path)) forgetSnapshot(log, offset);
    throw storageError(log, cause, "write the producer snapshot of");
  }
  forgetSnapshot(log, offset);
  snapshots.offsets.push(offset);
  snapshots.offsets.sort((a, b) => a - b);
  snapshots.unsynced.push(offset);
}

/**
 * Takes a snapshot for one that is not there, so that a new one takes its place.
 *
 * @param log The log.
 * @param offset Of the snapshot.
 */
export function forgetSnapshot({ snapshots }: Log, offset: number): void {
  const kept = snapshots.offsets.filter((other) => other !== offset);
  snapshots.offsets.splice(0, snapshots.offsets.length, ...kept);
  snapshots.unsynced = snapshots.unsynced.filter((other) => other !== offset);
}

/**
 * Writes a snapshot over itself, as a process that died may have failed to sync it (`writeAgain` of
 * `torn_tail.ts` tells why).
 *
 * @param log The log.
 * @param offset Of the snapshot, which can be read.
 * @throws What the file system throws.
 */
export function writeSnapshotAgain(log: Log, offset: number): void {
  const { fs } = log.pool;
  const path = pathOf(log, offset);
  const bytes = readFile(fs, path, snapshotBytesMax)!;
  const file = fs.open(path, "write");
  try {
    fs.write(file, bytes, 0);
  } catch (error) {
    // What is there can be read, and the log tells the same unless retention has been there.
    if (!(error instanceof Error && "code" in error)) throw error;
  } finally {
    fs.close(file);
  }
}

/**
 * What a snapshot at the end of the log would hold.
 *
 * @param log The log, nothing of it accepted and not written.
 * @returns The whole file, or undefined if the log never had a producer.
 */
export function snapshotOf(log: Log): Uint8Array | undefined {
  const { snapshots, producers } = log;
  if (snapshots.offsets.length === 0 && producers.byId.size === 0) return undefined;
  return printProducerSnapshot(entriesOf(producers));
}

/**
 * Takes a snapshot at the end of the log if it has producers, as far as the disk takes it. While
 * batches wait to be written, what is known is ahead of the files: then one becomes due.
 *
 * @param log The log.
 */
export function takeSnapshotIfUsed(log: Log): void {
  const { snapshots, accepted } = log;
  if (snapshots.offsets.length === 0 && log.producers.byId.size === 0) return;
  if (accepted.sizeBytes > 0) {
    snapshots.isDue = true;
    return;
  }
  try {
    takeSnapshot(log);
  } catch (error) {
    // The log tells all that a snapshot knows; without one the next opening reads more of it.
    if (!(error instanceof OttlaError)) throw error;
  }
}

/**
 * Brings the snapshots to disk that are not there yet.
 *
 * @param log The log.
 * @returns Resolves when they are there.
 */
export async function syncSnapshots(log: Log): Promise<void> {
  const { fs } = log.pool;
  const { snapshots } = log;
  const offsets = snapshots.unsynced;
  if (offsets.length === 0) return;
  const isSynced = new Set(offsets);
  for (const offset of isSynced) await syncWhole(fs, pathOf(log, offset));
  fs.syncFolder(log.folder);
  snapshots.unsynced = snapshots.unsynced.filter((offset) => !isSynced.has(offset));
}

/**
 * As `syncSnapshots`, waiting on the spot.
 *
 * @param log The log.
 * @throws What the file system throws where a snapshot cannot be opened. OttlaError
 * `KAFKA_STORAGE_ERROR` if a sync fails, which poisons the log: asking again would be answered
 * alike, whatever is on disk.
 */
export function syncSnapshotsNow(log: Log): void {
  const { fs } = log.pool;
  const { snapshots } = log;
  if (snapshots.unsynced.length === 0) return;
  for (const offset of snapshots.unsynced) {
    const file = fs.open(pathOf(log, offset), "write");
    try {
      syncOrPoison(log, () => fs.syncDataNow(file));
    } finally {
      fs.close(file);
    }
  }
  syncOrPoison(log, () => fs.syncFolder(log.folder));
  snapshots.unsynced = [];
}

function syncOrPoison(log: Log, sync: () => void): void {
  try {
    sync();
  } catch (cause) {
    throw log.commit.onFailed(cause);
  }
}

/**
 * Takes note that the recovery point of a log is recorded, and removes the snapshots that are of no
 * use from then on.
 *
 * @param log The log; `recoveryPointOf` it is what was recorded.
 */
export function noteRecoveryPoint(log: Log): void {
  log.snapshots.recoveryPoint = recoveryPointOf(log);
  sweepSnapshots(log);
}

/**
 * Removes the snapshots that are of no use: all but the newest, those that a recovery would begin with
 * after a crash of the process and after a power cut, which may take what is not synced, and, should
 * these be damaged, those that stand where segments begin.
 *
 * @param log The log.
 */
export function sweepSnapshots(log: Log): void {
  const { offsets, unsynced } = log.snapshots;
  // While the start is not recorded a crash may bring back what lies before it.
  if (offsets.length < 2 || log.isStartDue) return;
  const limit = trustedOffset(log);
  const written = offsets.filter((offset) => offset <= limit);
  const synced = written.filter((offset) => !unsynced.includes(offset));
  const kept = new Set<number | undefined>(log.segments.map(({ baseOffset }) => baseOffset));
  kept.add(written.at(-1)).add(synced.at(-1) ?? offsets[0]).add(offsets.at(-1));
  dropSnapshots(log, (offset) => !kept.has(offset));
}

/**
 * The last offset at which a snapshot of a log is trusted: what lies before it is on disk, or is no
 * longer part of the log.
 *
 * @param log The log.
 * @returns The offset.
 */
export function trustedOffset(log: Log): number {
  const { snapshots: { recoveryPoint }, startOffset, isStartDue } = log;
  return isStartDue ? recoveryPoint : Math.max(recoveryPoint, startOffset);
}

/**
 * Removes snapshots, as far as they can be removed now.
 *
 * @param log The log.
 * @param isDropped Which of them, by their offsets.
 */
export function dropSnapshots(log: Log, isDropped: (offset: number) => boolean): void {
  const { snapshots } = log;
  const kept: number[] = [];
  for (const offset of snapshots.offsets) {
    if (!isDropped(offset) || !tryRemove(log.pool.fs, pathOf(log, offset))) kept.push(offset);
  }
  snapshots.offsets.splice(0, snapshots.offsets.length, ...kept);
  snapshots.unsynced = snapshots.unsynced.filter((offset) => kept.includes(offset));
}

function pathOf(log: Log, offset: number): string {
  return joinPath(log.folder, segmentFileName(offset, "snapshot"));
}

function writeWhole(fs: FileSystem, path: string, bytes: Uint8Array): void {
  const file = fs.open(path, "create");
  try {
    fs.truncate(file, 0);
    fs.write(file, bytes, 0);
  } finally {
    fs.close(file);
  }
}

async function syncWhole(fs: FileSystem, path: string): Promise<void> {
  let file;
  try {
    file = fs.open(path, "write");
  } catch (error) {
    // It went with its segment.
    if (hasErrorCode(error, "ENOENT")) return;
    throw error;
  }
  try {
    await fs.syncData(file);
  } finally {
    fs.close(file);
  }
}

/** Returns whether the file is gone. */
function tryRemove(fs: FileSystem, path: string): boolean {
  try {
    fs.remove(path);
    return true;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return hasErrorCode(error, "ENOENT");
  }
}

/** Only the last batch of each producer is kept, as Kafka does. */
function entriesOf(states: ProducerStates): ProducerSnapshotEntry[] {
  return Array.from(states.byId.values(), (state) => {
    const last = state.batches.at(-1);
    return {
      producerId: state.producerId,
      producerEpoch: state.epoch,
      lastSequence: last?.lastSequence ?? -1,
      lastOffset: last?.lastOffset ?? -1,
      offsetDelta: last === undefined ? 0 : last.lastOffset - last.baseOffset,
      timestamp: state.lastTimestamp,
      coordinatorEpoch: state.coordinatorEpoch,
      currentTransactionFirstOffset: state.currentTransactionFirstOffset,
    };
  });
}

function stateOf(entry: ProducerSnapshotEntry): ProducerState {
  const { lastOffset, lastSequence, offsetDelta, timestamp } = entry;
  const last = {
    baseSequence: decrementSequence(lastSequence, offsetDelta),
    lastSequence,
    baseOffset: lastOffset - offsetDelta,
    lastOffset,
    maxTimestamp: timestamp,
  };
  return {
    producerId: entry.producerId,
    epoch: entry.producerEpoch,
    batches: lastOffset < 0 ? [] : [last],
    coordinatorEpoch: entry.coordinatorEpoch,
    lastTimestamp: timestamp,
    lastUsedMs: timestamp,
    currentTransactionFirstOffset: entry.currentTransactionFirstOffset,
  };
}
