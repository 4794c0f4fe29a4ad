/** What a consumer may be told, checked once at the border. */

import type { Assignor } from "../coordinator/assignor.ts";
import type { TopicPartition } from "../coordinator/topic_partition.ts";
import type { IsolationLevel } from "../log/committed_reader.ts";
import type { Ack } from "../log/log.ts";
import { checkAck, checkObject, checkSignal, checkWholeNumber } from "../store/store_options.ts";
import type { ReadGap } from "./read_options.ts";
import { checkIsolation } from "./read_options.ts";
import type { Topic, TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** Up to where a partition was consumed. */
export interface ConsumedOffset extends TopicPartition {
  /** The next offset to be consumed. */
  readonly offset: number;
  /** A note of the caller's own, at most 4,096 bytes. */
  readonly metadata?: string;
}

/**
 * Keeps offsets somewhere else than in the store, for example in the database that also takes the
 * results, so that both change in one transaction.
 */
export interface OffsetStore {
  /** Gives what is known of some partitions; one that is left out begins as `autoOffsetReset` says. */
  readonly load: (
    partitions: readonly TopicPartition[],
  ) => Promise<readonly ConsumedOffset[]> | readonly ConsumedOffset[];
  /** Keeps offsets. */
  readonly save: (offsets: readonly ConsumedOffset[]) => Promise<void> | void;
}

/** Where a partition without a committed offset begins. */
export type AutoOffsetReset = "earliest" | "latest" | "none" | { readonly durationMs: number };

/** Is told about partitions that come or go; the consumer waits for it. */
export type PartitionsListener = (partitions: readonly TopicPartition[]) => Promise<void> | void;

/** What a consumer is to be like. */
export interface ConsumerOptions<K = Uint8Array | null, V = Uint8Array | null> {
  /** The group it consumes with, or commits for. */
  readonly groupId?: string | undefined;
  /**
   * What to consume as a member of the group: topics, which need not exist yet, or all topics whose
   * names match an expression, those that come later too.
   */
  readonly topics?: string | Topic<K, V> | readonly (string | Topic<K, V>)[] | RegExp | undefined;
  /** What to consume in place of `topics`, whatever other consumers do. */
  readonly partitions?: readonly TopicPartition[] | undefined;
  /** How the group's partitions are shared out; "cooperativeSticky" unless given. */
  readonly assignor?: Assignor | undefined;
  /** Where a partition without a committed offset begins; "latest" unless given, as in Kafka. */
  readonly autoOffsetReset?: AutoOffsetReset | undefined;
  /**
   * What of transactions is consumed: all that is there ("readUncommitted", unless given), or only
   * what was committed, up to the first offset of which that is still open. That is "latest" then.
   */
  readonly isolation?: IsolationLevel | undefined;
  /** Whether what was polled is committed by itself; true unless given, if there is a group. */
  readonly autoCommit?: boolean | undefined;
  /** How often, in milliseconds; 5,000 unless given. */
  readonly autoCommitIntervalMs?: number | undefined;
  /** What a commit waits for; the store's level unless given. */
  readonly ack?: Ack | undefined;
  /** Makes it the member that returns: once closed, its partitions wait for it for 45 seconds. */
  readonly instanceId?: string | undefined;
  /** A name for people. */
  readonly clientId?: string | undefined;
  /** Keeps the offsets in place of the store. */
  readonly offsetStore?: OffsetStore | undefined;
  /** Called with partitions that were given to the consumer, before their first record. */
  readonly onAssigned?: PartitionsListener | undefined;
  /** Called with partitions that are to go to others; offsets committed in it count. */
  readonly onRevoked?: PartitionsListener | undefined;
  /** Called with partitions that are gone already; nothing can be committed for them. */
  readonly onLost?: PartitionsListener | undefined;
  /**
   * Called for damage, and consuming goes on behind it when it returns, also where that was only read
   * wrongly. Unless given, polls fail until somebody seeks behind the damage.
   */
  readonly onGap?: ((gap: ReadGap) => void) | undefined;
}

/** How to poll. */
export interface PollOptions {
  /** How many records at most; 500 unless given. */
  readonly recordsMax?: number | undefined;
  /** How long to wait for records, in milliseconds; 500 unless given. */
  readonly waitMs?: number | undefined;
  /** With fewer bytes of keys and values it waits on for as long; 0 unless given. */
  readonly bytesMin?: number | undefined;
  /** Ends the waiting with its reason as the error; records that were found are given. */
  readonly signal?: AbortSignal | undefined;
}

const clientNameMax = 249;

/**
 * Checks the options of a consumer.
 *
 * @param options What was given.
 * @throws TypeError or RangeError naming the option.
 */
export function checkConsumerOptions(options: ConsumerOptions<unknown, unknown>): void {
  checkObject("options", options);
  const { groupId, topics, partitions } = options;
  checkName("groupId", groupId);
  checkName("instanceId", options.instanceId);
  checkName("clientId", options.clientId);
  if (topics !== undefined && partitions !== undefined) {
    throw new TypeError("topics and partitions cannot both be given");
  }
  if (topics !== undefined && groupId === undefined) {
    throw new TypeError("groupId must be given with topics; without a group give partitions");
  }
  if (topics === undefined && options.instanceId !== undefined) {
    throw new TypeError("instanceId needs topics: only a member of a group has one");
  }
  if (topics !== undefined && !(topics instanceof RegExp)) {
    for (const topic of topicListOf(topics)) nameOfTopic(topic as TopicArgument);
  }
  if (partitions !== undefined) checkPartitionList("partitions", partitions);
  checkReset(options.autoOffsetReset);
  checkIsolation(options.isolation);
  if (options.autoCommit !== undefined && typeof options.autoCommit !== "boolean") {
    throw new TypeError(`autoCommit must be true or false, got ${typeof options.autoCommit}`);
  }
  checkWholeNumber("autoCommitIntervalMs", options.autoCommitIntervalMs, 1, 2 ** 31 - 1);
  checkAck(options.ack);
  for (const name of ["onAssigned", "onRevoked", "onLost", "onGap"] as const) {
    const value = options[name];
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`${name} must be a function, got ${typeof value}`);
    }
  }
  if (options.offsetStore === undefined) return;
  checkObject("offsetStore", options.offsetStore);
  for (const name of ["load", "save"] as const) {
    if (typeof options.offsetStore[name] !== "function") {
      throw new TypeError(`offsetStore.${name} must be a function`);
    }
  }
}

/**
 * The topics of a list, whichever way it was given.
 *
 * @param topics One topic or several.
 * @returns All of them.
 */
export function topicListOf<K, V>(
  topics: string | Topic<K, V> | readonly (string | Topic<K, V>)[],
): readonly (string | Topic<K, V>)[] {
  return Array.isArray(topics) ? topics : [topics as string | Topic<K, V>];
}

/**
 * Checks a list of partitions.
 *
 * @param name The argument's name.
 * @param partitions What was given.
 * @throws TypeError or RangeError naming the argument.
 */
export function checkPartitionList(
  name: string,
  partitions: unknown,
): asserts partitions is readonly TopicPartition[] {
  if (!Array.isArray(partitions)) throw new TypeError(`${name} must be an array`);
  for (const entry of partitions as unknown[]) {
    checkObject(`${name}[]`, entry);
    const { topic, partition } = entry as Partial<TopicPartition>;
    if (typeof topic !== "string") throw new TypeError(`${name}[].topic must be a string`);
    if (partition === undefined) throw new TypeError(`${name}[].partition must be a number`);
    checkWholeNumber(`${name}[].partition`, partition, 0, 2 ** 31 - 1);
  }
}

/**
 * Checks the options of a poll.
 *
 * @param options What was given.
 * @throws TypeError or RangeError naming the option.
 */
export function checkPollOptions(options: PollOptions): void {
  checkObject("options", options);
  checkWholeNumber("recordsMax", options.recordsMax, 1, 2 ** 31 - 1);
  if (options.waitMs !== Infinity) checkWholeNumber("waitMs", options.waitMs, 0, 2 ** 31 - 1);
  checkWholeNumber("bytesMin", options.bytesMin, 0, 2 ** 31 - 1);
  checkSignal(options.signal);
}

function checkName(name: string, value: unknown): void {
  if (value === undefined) return;
  if (typeof value !== "string") {
    throw new TypeError(`${name} must be a string, got ${typeof value}`);
  }
  if (name !== "groupId" && (value.length === 0 || value.length > clientNameMax)) {
    throw new RangeError(`${name} must have 1 to ${clientNameMax} characters, got ${value.length}`);
  }
}

function checkReset(reset: unknown): void {
  if (reset === undefined || reset === "earliest" || reset === "latest" || reset === "none") return;
  if (typeof reset !== "object" || reset === null || !("durationMs" in reset)) {
    throw new TypeError(
      `autoOffsetReset must be "earliest", "latest", "none" or { durationMs }, got ${
        String(reset)
      }`,
    );
  }
  const { durationMs } = reset;
  if (durationMs === undefined) throw new TypeError("autoOffsetReset.durationMs must be a number");
  checkWholeNumber("autoOffsetReset.durationMs", durationMs, 0, Number.MAX_SAFE_INTEGER);
}
