/**
 * The handle of a store, and what all of its functions share: one folder, one owner.
 */

import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { LogStats } from "../log/log_stats.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { FilePool } from "../platform/file_pool.ts";
import type { FileSystem } from "../platform/file_system.ts";
import type { RandomBytes } from "../platform/random.ts";
import type { StoreLock } from "../platform/store_lock.ts";
import type { DiskSpace } from "./disk_space.ts";
import type { MetadataImage } from "./metadata_image.ts";
import type { MetadataLog } from "./metadata_log.ts";
import type { Partitioner, PartitionerState } from "./partitioner.ts";
import type { ProducerIds } from "./producer_ids.ts";
import type { StoreCounters } from "./store_counters.ts";
import type { TopicConfig } from "./topic_config.ts";

/** What `openStore` may be told. */
export interface StoreOptions {
  /** Whether a folder that does not exist or is empty becomes a store; true unless given. */
  readonly create?: boolean;
  /** The level that appends wait for unless they say otherwise; "disk" unless given. */
  readonly ack?: "disk" | "os" | "memory";
  /**
   * How records with a key find their partition, for topics that do not say; "xxh64" unless given.
   */
  readonly partitioner?: Partitioner;
  /** How often retention is enforced, in milliseconds; 300,000 unless given. */
  readonly retentionCheckMs?: number;
  /** How often topics are looked for that need compaction, in milliseconds; 15,000 unless given. */
  readonly compactionCheckMs?: number;
  /** How often recovery points are recorded, in milliseconds; 60,000 unless given. */
  readonly checkpointMs?: number;
  /** How many log files are kept open at once; 512 unless given. */
  readonly openFilesMax?: number;
  /**
   * How many bytes stay free on the disk: appends that would take of them are refused with
   * `DISK_FULL`, so that there is room for commits, changes of topics and checkpoints, and for what
   * retention and compaction have to write before they free more. 16 MiB unless given; 0 keeps
   * nothing. A store in memory keeps nothing.
   */
  readonly diskFreeBytesMin?: number;
  /**
   * How long the offsets of a group are kept once it has no members any more, in minutes; 10,080 (a
   * week) unless given.
   */
  readonly offsetsRetentionMinutes?: number;
  /** Where the files are; for tests. */
  readonly fileSystem?: FileSystem;
  /** What time it is; for tests. */
  readonly clock?: Clock;
  /** Where random ids come from; for tests. */
  readonly randomBytes?: RandomBytes;
  /**
   * Overrides of every topic's configuration that are not recorded, for tests that need what Kafka
   * does not allow, such as segments of a few kilobytes.
   */
  readonly topicOverrides?: Partial<TopicConfig>;
}

/** An open store. Opaque: pass it to the functions of this package. */
export interface Store extends AsyncDisposable {
  /** The folder, or ":memory:". */
  readonly path: string;
  /** What opening it had to do. */
  readonly recovery: RecoveryReport;
  /** Not for users: `internalsOf` knows what it is. */
  readonly internals: unknown;
}

/** What is inside a store. */
export interface StoreInternals {
  readonly folder: string;
  readonly fs: FileSystem;
  readonly pool: FilePool;
  readonly clock: Clock;
  readonly randomBytes: RandomBytes;
  readonly options: Required<
    Pick<
      StoreOptions,
      | "ack"
      | "partitioner"
      | "retentionCheckMs"
      | "compactionCheckMs"
      | "checkpointMs"
      | "offsetsRetentionMinutes"
    >
  >;
  readonly topicOverrides: Partial<TopicConfig>;
  /** How much room there is, and how much of it is kept from appends. */
  readonly diskSpace: DiskSpace;
  readonly lock: StoreLock;
  readonly nodeId: number;
  readonly directoryId: string;
  readonly clusterId: string;
  readonly image: MetadataImage;
  readonly metadata: MetadataLog;
  readonly topics: Map<string, TopicState>;
  /** Partitioners by topic id, for topics that have one of their own. */
  readonly partitioners: Map<string, Partitioner | "custom">;
  /** The ids that producers get. */
  readonly producerIds: ProducerIds;
  /** What the recovery at open found and did. */
  readonly recovery: RecoveryReport;
  readonly stats: StoreCounters;
  /** Called when topics were created, deleted or given more partitions. */
  readonly topicWatchers: Set<() => void>;
  /** What is to be ended before the store closes its files: producers, consumers. */
  readonly closers: Set<() => Promise<void>>;
  /**
   * What is to be forgotten, without a trace on disk, when the store was closed or abandoned: timers,
   * waits.
   */
  readonly abandoners: Set<() => void>;
  timers: Timer[];
  /** Whether offsets of topics that are gone may be recorded still, by the names of their folders. */
  hasStaleOffsets: boolean;
  state: "open" | "closing" | "closed";
  /** The closing that was begun, for those who ask for it again. */
  closing: Promise<void> | undefined;
}

/** What opening a store had to do. */
export interface RecoveryReport {
  /** Whether the store had been closed properly. */
  readonly wasClean: boolean;
  /** Partitions whose logs were scanned. */
  readonly scannedPartitions: number;
  readonly scannedBytes: number;
  /** Bytes cut from torn ends and put aside. */
  readonly tornBytes: number;
  /** Partitions that could not be opened, such as `orders-3`: whoever uses one is told why. */
  readonly failedPartitions: readonly string[];
  /**
   * Checkpoints that a full disk did not take, such as `log-start-offset-checkpoint`. They are
   * written later; until then a crash means that the next opening scans as much again.
   */
  readonly unwrittenFiles: readonly string[];
}

/** A topic of an open store. */
export interface TopicState {
  readonly name: string;
  readonly topicId: string;
  config: TopicConfig;
  readonly partitions: PartitionState[];
  readonly partitionerState: PartitionerState;
  /** What its logs have done since the store was opened. */
  readonly stats: LogStats;
  /** Why none of it can be used any more: nobody knows whether its deletion is on disk. */
  failure: OttlaError | undefined;
}

/** A partition of an open store; its log is opened when it is first needed. */
export interface PartitionState {
  readonly topic: string;
  readonly partition: number;
  log: Log | undefined;
  /** Everything below it is on disk, as it was last recorded. */
  recoveryPoint: number;
  /**
   * Whether all of the log is on disk, because it was closed properly and has not been opened
   * since.
   */
  isClean: boolean;
  /** Whether a broker that was killed had it open last. */
  wasBrokers: boolean;
  /** Whether the machine has stopped since it was last open and not closed properly. */
  lostPower: boolean;
  /** The first offset that can be read, as it was last recorded. */
  startOffset: number;
  /** What lies before it was compacted, as it was last recorded; undefined if nothing is. */
  firstDirtyOffset: number | undefined;
  leaderEpoch: number;
}

/**
 * What is inside a store, open or closed.
 *
 * @param store What a caller gave as a store.
 * @returns Its inside.
 * @throws TypeError if it is no store.
 */
export function internalsOf(store: Store): StoreInternals {
  const internals = (store as Store | undefined)?.internals;
  if (internals === undefined) throw new TypeError("store must be what openStore() resolved to");
  return internals as StoreInternals;
}

/**
 * What is inside a store that can be used.
 *
 * @param store What a caller gave as a store.
 * @returns Its inside.
 * @throws TypeError if it is no store, OttlaError `HANDLE_CLOSED` if it is closed.
 */
export function openInternals(store: Store): StoreInternals {
  const internals = internalsOf(store);
  checkOpen(internals, store.path);
  return internals;
}

/**
 * Makes sure that a store can be used.
 *
 * @param internals The inside of a store.
 * @param path What it was opened as, for the message.
 * @throws OttlaError `HANDLE_CLOSED` if it is closed, `STORE_LOCKED` as `checkLock`.
 */
export function checkOpen(internals: StoreInternals, path: string = internals.folder): void {
  if (internals.state !== "open") {
    throw new OttlaError("HANDLE_CLOSED", `Cannot use the store ${path}: it is closed`);
  }
  checkLock(internals);
}

/**
 * Makes sure that the folder still belongs to a store.
 *
 * @param internals The inside of a store.
 * @throws OttlaError `STORE_LOCKED` if another process took it over.
 */
export function checkLock(internals: StoreInternals): void {
  if (internals.lock.isHeld) return;
  throw new OttlaError(
    "STORE_LOCKED",
    `Cannot use the store ${internals.folder}: its lock was lost to another process while this one stood still`,
    { details: { folder: internals.folder } },
  );
}

/**
 * A topic of a store.
 *
 * @param store The inside of a store.
 * @param name The topic's name.
 * @returns The topic.
 * @throws TypeError if the name is no text, OttlaError `UNKNOWN_TOPIC_OR_PARTITION` if there is no
 * such topic.
 */
export function getTopicState(store: StoreInternals, name: string): TopicState {
  const topic = store.topics.get(name);
  if (topic !== undefined) return topic;
  if (typeof name !== "string") throw new TypeError(`topic must be a string, got ${typeof name}`);
  throw new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot find topic ${JSON.stringify(name)}: the store has no topic of that name`,
    { details: { topic: name } },
  );
}

/**
 * A partition of a topic.
 *
 * @param topic The topic.
 * @param partition Its number.
 * @returns The partition.
 * @throws TypeError if the number is no whole number, OttlaError `UNKNOWN_TOPIC_OR_PARTITION` if
 * there is no such partition.
 */
export function getPartitionState(topic: TopicState, partition: number): PartitionState {
  const state = typeof partition === "number" ? topic.partitions[partition] : undefined;
  if (state !== undefined) return state;
  if (!Number.isInteger(partition)) {
    const found = typeof partition === "number" ? String(partition) : typeof partition;
    throw new TypeError(`partition must be a whole number, got ${found}`);
  }
  throw new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot find partition ${partition} of ${topic.name}: it has partitions 0 to ` +
      `${topic.partitions.length - 1}`,
    { details: { topic: topic.name, partition } },
  );
}
