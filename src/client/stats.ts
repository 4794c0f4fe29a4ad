/** Statistics of a store that is open: what it has done since it was opened, what it holds now. */

import { hasMembers, isGroupInUse } from "../coordinator/group.ts";
import { findGroupCoordinator } from "../coordinator/group_coordinator.ts";
import type { Store, StoreInternals } from "../store/store.ts";
import { getTopicState, openInternals } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { checkObject } from "../store/store_options.ts";
import type { LogsStats } from "../store/store_stats.ts";
import { logsStatsOf } from "../store/store_stats.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** What `statsOf` is to tell. */
export interface StatsOptions {
  /** Topics to tell of one by one; all unless given. The totals are always those of all topics. */
  readonly topics?: readonly TopicArgument[];
  /** Whether each partition is told of; false unless given. */
  readonly partitions?: boolean;
}

/** What the groups of a store are like. */
export interface GroupsStats {
  readonly groups: number;
  /** Of these, groups that have members. */
  readonly groupsWithMembers: number;
  /** Consumers, those of all groups together. */
  readonly members: number;
}

/** What a store has done since it was opened, and what it holds now. */
export interface StoreStats extends LogsStats {
  /** Undefined until somebody has asked for a group since the store was opened. */
  readonly groups: GroupsStats | undefined;
}

/**
 * The statistics of a store: counters since it was opened, by topic and in total, and what it holds
 * now. All of it is plain numbers, lists and objects, which can be printed as JSON; `prometheusOf`
 * prints them for Prometheus.
 *
 * It reads no log. With many partitions that have not been used since the store was opened the first
 * call takes longer, as it looks at their folders.
 *
 * @param store The store.
 * @param options Which topics are told of, and whether their partitions are.
 * @returns The statistics as they are now.
 * @throws TypeError for options of the wrong kind. OttlaError `UNKNOWN_TOPIC_OR_PARTITION`,
 * `HANDLE_CLOSED`, `KAFKA_STORAGE_ERROR` if a folder cannot be looked at.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, openStore, statsOf } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "3 apples" });
 * const { totals } = statsOf(store);
 * console.log(totals.appends.disk.records, totals.acknowledgeMs.p99); // 1, and how long it took
 * await closeStore(store);
 * ```
 */
export function statsOf(store: Store, options: StatsOptions = {}): StoreStats {
  const internals = openInternals(store);
  checkObject("options", options);
  const { topics, partitions = false } = options;
  if (typeof partitions !== "boolean") {
    throw new TypeError(`partitions must be true or false, got ${typeof partitions}`);
  }
  if (topics !== undefined && !Array.isArray(topics)) {
    throw new TypeError(`topics must be an array, got ${typeof topics}`);
  }
  const wanted = topics?.map((topic) => getTopicState(internals, nameOfTopic(topic))) ??
    [...internals.topics.values()];
  try {
    const stats = logsStatsOf(internals, store.path, { topics: new Set(wanted), partitions });
    return { ...stats, groups: groupsStatsOf(internals) };
  } catch (error) {
    throw asStorageError(`tell the statistics of ${store.path}`, error);
  }
}

function groupsStatsOf(internals: StoreInternals): GroupsStats | undefined {
  const coordinator = findGroupCoordinator(internals);
  if (coordinator === undefined) return undefined;
  const groups = [...coordinator.groups.values()].filter(isGroupInUse);
  return {
    groups: groups.length,
    groupsWithMembers: groups.filter(hasMembers).length,
    members: groups.reduce((sum, { membership }) => sum + membership.members.size, 0),
  };
}
