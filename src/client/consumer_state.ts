/**
 * What is inside a consumer: its partitions with their positions, and what it has to do next.
 *
 * Of every partition three offsets are known. `position` is the next one to be given out, `handled`
 * the next one that has not been dealt with as far as the consumer can tell, and `committed` what
 * was committed last. Handled is what was given out by earlier polls: who polls again is through
 * with what he got.
 */

import type { Group } from "../coordinator/group.ts";
import type { GroupCoordinator } from "../coordinator/group_coordinator.ts";
import type { Member } from "../coordinator/membership.ts";
import type { TopicPartition } from "../coordinator/topic_partition.ts";
import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { LogCursor } from "../log/log_reader.ts";
import type { LogRecord } from "../record/record.ts";
import type { Store, StoreInternals } from "../store/store.ts";
import { getPartitionState, getTopicState } from "../store/store.ts";
import type { ConsumerOptions } from "./consumer_options.ts";
import type { Serde } from "./serde.ts";

/** An open consumer. Opaque: pass it to the functions of this package, or iterate over it. */
export interface Consumer<K = Uint8Array | null, V = Uint8Array | null>
  extends AsyncDisposable, AsyncIterable<LogRecord<K, V>> {
  readonly groupId: string | undefined;
  /** Not for users. */
  readonly internals: unknown;
}

/** The half of a serde that reads. */
export type Deserializer = Pick<Serde<unknown>, "deserialize">;

/** A partition that a consumer reads. */
export interface ConsumedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly keySerde: Deserializer | undefined;
  readonly valueSerde: Deserializer | undefined;
  /** Undefined as long as it has no position. */
  log: Log | undefined;
  /** Behind the records below; undefined as long as the partition has no position. */
  cursor: LogCursor | undefined;
  /** Of the last batch that was decoded. */
  records: readonly LogRecord[];
  /** Of the next record among them. */
  index: number;
  /** -1 if there is none. */
  position: number;
  /** -1 if there is none. */
  handled: number;
  /** -1 if there is none. */
  committed: number;
  isPaused: boolean;
}

/** A key and a value as they are stored. */
export interface StoredContent {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
}

/** Knows what is handled of what was given out, where that does not go in order. */
export interface HandlingTracker {
  /** What records were made of that went through serdes. */
  readonly stored: WeakMap<object, StoredContent>;
  /** Takes what is given out, in the turn in which it is. */
  readonly takeIn: (records: readonly LogRecord[]) => void;
  /** The offset below which everything of a partition is handled. */
  readonly handledOf: (entry: ConsumedPartition) => number;
  /** Waits until nothing of some partitions is under way, and begins nothing more of them. */
  readonly drain: (partitions: readonly TopicPartition[]) => Promise<void>;
  /** What was given out of some partitions says nothing any more about how far they are handled. */
  readonly forget: (partitions: readonly TopicPartition[]) => void;
  /** Takes a record that no serde could read; false if it must not be given out. */
  readonly takeUndeserializable: (record: LogRecord, error: OttlaError) => boolean;
  /** Begins nothing more, for the store is gone. */
  readonly abandon: () => void;
}

/** What is inside a consumer. */
export interface ConsumerState {
  readonly handle: Store;
  readonly store: StoreInternals;
  readonly options: ConsumerOptions<unknown, unknown>;
  /** Undefined for a consumer without a group. */
  readonly coordinator: GroupCoordinator | undefined;
  readonly group: Group | undefined;
  /** Undefined for a consumer that was given its partitions. */
  member: Member | undefined;
  /** In the order in which they take turns. */
  partitions: ConsumedPartition[];
  /** The same by `nameOfPartition`. */
  readonly byName: Map<string, ConsumedPartition>;
  /** The number of the partition whose turn it is. */
  current: number;
  /** Partitions whose offsets could not be loaded yet. */
  readonly unplaced: Set<ConsumedPartition>;
  /** Whether the group may have something to give or to take. */
  isReconcileDue: boolean;
  /** Whether what was given out last is being dealt with, and not handled before more is asked for. */
  isInHand: boolean;
  /** What keeps partitions from being read: thrown one by one, by polls that have nothing to give. */
  readonly failures: Map<ConsumedPartition, unknown>;
  /** The poll that is under way, or the opening. */
  polling: Promise<readonly LogRecord[]> | undefined;
  /** Ends the wait that is under way. */
  wake: (() => void) | undefined;
  /** Commits that are under way. */
  readonly saving: Set<Promise<void>>;
  /** Whether one of them is a commit that nobody asked for. */
  isAutoSaving: boolean;
  /** Set while `consumeEach` handles the records. */
  tracker: HandlingTracker | undefined;
  lastAutoCommitMs: number;
  /** How many bytes were given out since the event loop had a turn. */
  bytesSinceTurn: number;
  phase: "open" | "closing" | "closed";
  closing: Promise<void> | undefined;
  /** Tells the store that there is nothing left to close. */
  onClosed: (() => void) | undefined;
}

/** Whether a consumer commits what was handled by itself. */
export function isAutoCommitting({ options, tracker }: ConsumerState): boolean {
  const hasPlace = options.groupId !== undefined || options.offsetStore !== undefined;
  return hasPlace && (tracker !== undefined || (options.autoCommit ?? true));
}

/**
 * A partition of a consumer, if it is one.
 *
 * @param state The consumer.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns The partition, or undefined.
 */
export function findConsumed(
  state: ConsumerState,
  topic: string,
  partition: number,
): ConsumedPartition | undefined {
  return state.byName.get(nameOfPartition(topic, partition));
}

/**
 * Whether the topic that a partition was read from was deleted. What has its name now is another
 * partition, of which nothing is known.
 */
export function isGone({ log }: ConsumedPartition): boolean {
  return log !== undefined && log.isClosed;
}

/** What a partition is kept under; no name of a topic has a slash. */
export function nameOfPartition(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/**
 * A partition of a consumer.
 *
 * @param state The consumer.
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @param action What was to be done with it, for the message.
 * @returns The partition.
 * @throws OttlaError `ILLEGAL_GENERATION` if it is not the consumer's, or no longer.
 */
export function getConsumed(
  state: ConsumerState,
  topic: string,
  partition: number,
  action: string,
): ConsumedPartition {
  const found = findConsumed(state, topic, partition);
  if (found !== undefined) return found;
  throw new OttlaError(
    "ILLEGAL_GENERATION",
    `Cannot ${action} ${topic}-${partition}: the partition is not assigned to this consumer`,
    { details: { topic, partition, groupId: state.options.groupId } },
  );
}

/** Everything that was given out so far is taken as handled, unless someone knows better. */
export function noteHandled(state: ConsumerState): void {
  for (const entry of state.partitions) {
    entry.handled = state.tracker?.handledOf(entry) ?? entry.position;
  }
}

/** Ends the wait of a poll: there is something to be looked at. */
export function wakeConsumer(state: ConsumerState): void {
  state.wake?.();
}

/**
 * What is inside a consumer, open or closed.
 *
 * @param consumer What a caller gave as a consumer.
 * @returns Its inside.
 * @throws TypeError if it is no consumer.
 */
export function stateOf<K, V>(consumer: Consumer<K, V>): ConsumerState {
  const state = (consumer as Consumer | undefined)?.internals;
  if (state === undefined || typeof state !== "object") {
    throw new TypeError("consumer must be what openConsumer() resolved to");
  }
  return state as ConsumerState;
}

/**
 * What is inside a consumer that can be used.
 *
 * @param consumer What a caller gave as a consumer.
 * @returns Its inside.
 * @throws TypeError if it is no consumer, OttlaError `HANDLE_CLOSED` if it is closed.
 */
export function openState<K, V>(consumer: Consumer<K, V>): ConsumerState {
  const state = stateOf(consumer);
  // In `onRevoked` of a consumer that is being closed commits count.
  if (state.phase === "closed") {
    throw new OttlaError("HANDLE_CLOSED", "Cannot use the consumer: it is closed");
  }
  return state;
}

/**
 * Makes sure that a partition is there.
 *
 * @param store The inside of a store.
 * @param partition Its topic and number.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION` if it is not.
 */
export function checkExists(store: StoreInternals, { topic, partition }: TopicPartition): void {
  getPartitionState(getTopicState(store, topic), partition);
}
