/**
 * How a record finds its partition.
 *
 * A record's own `partition` comes first. With a key, the topic's partitioner decides: `xxh64` and
 * `murmur2` by a hash of the key, so that a key always comes to the same partition. Without a key
 * both keep to one partition until about 16 KiB have gone there and then pick another at random,
 * which makes larger batches than going around.
 */

import { murmur2, toPositive } from "../bytes/murmur2.ts";
import { xxh64Partition } from "../bytes/xxh64.ts";
import type { Content } from "../record/record.ts";
import type { RandomBytes } from "../platform/random.ts";

/** Chooses a partition from the key as it is stored and the number of partitions. */
export type PartitionFunction = (key: Uint8Array | null, partitionCount: number) => number;

/** A partitioner: `murmur2` agrees with Kafka's Java clients. */
export type Partitioner = "xxh64" | "murmur2" | "roundRobin" | "sticky" | PartitionFunction;

/** The names of the partitioners that have one. */
export const partitionerNames = ["xxh64", "murmur2", "roundRobin", "sticky"] as const;

/** What the partitioners remember of a topic. */
export interface PartitionerState {
  /** The partition of the last record; -1 before the first. */
  partition: number;
  /** How much has gone there since it was picked. */
  bytes: number;
}

/** When a sticky partition is left: Kafka's `batch.size`. */
const stickyBytes = 16 * 1024;
const utf8 = new TextEncoder();

/**
 * Chooses the partition of a record.
 *
 * @param partitioner The topic's.
 * @param state What it remembers of the topic.
 * @param key The key as it is stored, or null.
 * @param value The value as it is stored, or null.
 * @param partitionCount How many partitions the topic has.
 * @param randomBytes Where randomness comes from.
 * @returns A partition of the topic.
 * @throws RangeError if a function of the user's own gives anything else.
 */
export function choosePartition(
  partitioner: Partitioner,
  state: PartitionerState,
  key: Content,
  value: Content,
  partitionCount: number,
  randomBytes: RandomBytes,
): number {
  if (typeof partitioner === "function") {
    const chosen = partitioner(bytesOf(key), partitionCount);
    if (Number.isInteger(chosen) && chosen >= 0 && chosen < partitionCount) return chosen;
    throw new RangeError(
      `The partitioner gave ${String(chosen)}: a partition from 0 to ${
        partitionCount - 1
      } was wanted`,
    );
  }
  if (partitioner === "roundRobin") {
    state.partition = (state.partition + 1) % partitionCount;
    return state.partition;
  }
  if (partitionCount === 1) return 0;
  if (partitioner === "sticky" || key === null) {
    const sizeBytes = (key?.length ?? 0) + (value?.length ?? 0);
    return stickyPartition(state, sizeBytes, partitionCount, randomBytes);
  }
  const bytes = bytesOf(key)!;
  return partitioner === "murmur2"
    ? toPositive(murmur2(bytes)) % partitionCount
    : xxh64Partition(bytes, partitionCount);
}

function stickyPartition(
  state: PartitionerState,
  sizeBytes: number,
  partitionCount: number,
  randomBytes: RandomBytes,
): number {
  if (state.partition < 0 || state.partition >= partitionCount || state.bytes >= stickyBytes) {
    const bytes = randomBytes(4);
    const random = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    // Any but the present one, so that every partition gets its share.
    const step = state.partition < 0 ? random % partitionCount : 1 + random % (partitionCount - 1);
    state.partition = (Math.max(0, state.partition) + step) % partitionCount;
    state.bytes = 0;
  }
  state.bytes += sizeBytes;
  return state.partition;
}

function bytesOf(key: Content): Uint8Array | null {
  return typeof key === "string" ? utf8.encode(key) : key;
}
