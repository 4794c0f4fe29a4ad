/**
 * Assignors: who reads which partition.
 *
 * An assignor is a pure function of the members and of how many partitions each topic has. Four
 * have names and are Kafka's; a user may bring one of their own, and what that gives is checked.
 */

import { OttlaError } from "../errors.ts";
import { assignRange } from "./range_assignor.ts";
import { assignRoundRobin } from "./round_robin_assignor.ts";
import { assignSticky } from "./sticky_assignor.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { topicPartitionName } from "./topic_partition.ts";

/** What an assignor is told of a member. */
export interface AssignorMember {
  /** The member's id, unique in its group. */
  readonly memberId: string;
  /** The name under which a static member comes back; undefined for others. */
  readonly instanceId: string | undefined;
  /** The topics it subscribes to; some may not exist. */
  readonly topics: readonly string[];
  /** What it owns now. */
  readonly owned: readonly TopicPartition[];
  /** The generation in which it came to own that; -1 if it has none. */
  readonly generation: number;
}

/**
 * Gives out partitions.
 *
 * @param members The members of the group.
 * @param partitionCounts How many partitions each subscribed topic has; only topics that exist.
 * @returns Partitions by member id. A member may be missing; a partition must not.
 */
export type AssignorFunction = (
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
) => ReadonlyMap<string, readonly TopicPartition[]>;

/**
 * An assignor. "sticky" and "cooperativeSticky" have the same aim; in Kafka's classic protocol they
 * differ in how it is reached.
 */
export type Assignor = "range" | "roundRobin" | "sticky" | "cooperativeSticky" | AssignorFunction;

/** The assignor of members that name none. */
export const defaultAssignor = "cooperativeSticky";

const assignors: Readonly<Record<Exclude<Assignor, AssignorFunction>, AssignorFunction>> = {
  range: assignRange,
  roundRobin: assignRoundRobin,
  sticky: assignSticky,
  cooperativeSticky: assignSticky,
};

/** The names of the assignors that have one. */
export const assignorNames: readonly string[] = Object.keys(assignors);

/**
 * Gives out the partitions of all subscribed topics.
 *
 * @param assignor How.
 * @param members The members of the group, each with an id of its own.
 * @param partitionCounts How many partitions each topic has; only topics that exist.
 * @returns The partitions of every member, also of those that get none.
 * @throws {OttlaError} UNSUPPORTED_ASSIGNOR if a function of the user's own throws, or gives
 *   something else than every partition once, each to a member that subscribes to its topic.
 */
export function assign(
  assignor: Assignor,
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  if (typeof assignor === "function") return assignByUser(assignor, members, partitionCounts);
  const assignment = assignors[assignor](members, partitionCounts);
  return new Map(members.map(({ memberId }) => [memberId, [...assignment.get(memberId) ?? []]]));
}

/**
 * Gives the name of an assignor, as it stands in messages.
 *
 * @param assignor The assignor.
 * @returns Its own name, or `a function` where that has none.
 */
export function assignorName(assignor: Assignor): string {
  if (typeof assignor === "string") return assignor;
  return assignor.name === "" ? "a function" : `function ${assignor.name}`;
}

function assignByUser(
  assignor: AssignorFunction,
  members: readonly AssignorMember[],
  partitionCounts: ReadonlyMap<string, number>,
): Map<string, TopicPartition[]> {
  const topicsOf = new Map(members.map(({ memberId, topics }) => [memberId, new Set(topics)]));
  let given: unknown;
  try {
    given = assignor([...members], new Map(partitionCounts));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : shown(cause);
    throw assignorError(assignor, `it threw ${JSON.stringify(reason)}`, cause);
  }
  if (!(given instanceof Map)) {
    const kind = given === null ? "null" : given instanceof Promise ? "a promise" : typeof given;
    throw assignorError(assignor, `it gave ${kind}, a Map was wanted`);
  }
  return checkedAssignment(assignor, topicsOf, partitionCounts, given);
}

function checkedAssignment(
  assignor: AssignorFunction,
  topicsOf: ReadonlyMap<string, ReadonlySet<string>>,
  partitionCounts: ReadonlyMap<string, number>,
  given: ReadonlyMap<unknown, unknown>,
): Map<string, TopicPartition[]> {
  const assignment = new Map<string, TopicPartition[]>();
  for (const memberId of topicsOf.keys()) assignment.set(memberId, []);
  const owners = new Map<string, string>();
  for (const [memberId, partitions] of given) {
    const topics = typeof memberId === "string" ? topicsOf.get(memberId) : undefined;
    if (typeof memberId !== "string" || topics === undefined) {
      throw assignorError(assignor, `it names ${shown(memberId)}, which is not a member`);
    }
    if (!Array.isArray(partitions)) {
      throw assignorError(assignor, `it gives ${memberId} something else than an array`);
    }
    for (const partition of partitions as readonly unknown[]) {
      const checked = checkedPartition(assignor, memberId, partition, partitionCounts);
      const name = topicPartitionName(checked);
      const other = owners.get(name);
      if (other !== undefined) {
        const both = other === memberId ? `twice to ${memberId}` : `to ${other} and ${memberId}`;
        throw assignorError(assignor, `it gives ${name} ${both}`);
      }
      if (!topics.has(checked.topic)) {
        throw assignorError(
          assignor,
          `it gives ${name} to ${memberId}, which does not subscribe to ${checked.topic}`,
        );
      }
      owners.set(name, memberId);
      assignment.get(memberId)!.push(checked);
    }
  }
  checkNothingMissing(assignor, topicsOf.values(), partitionCounts, owners);
  return assignment;
}

function checkedPartition(
  assignor: AssignorFunction,
  memberId: string,
  value: unknown,
  partitionCounts: ReadonlyMap<string, number>,
): TopicPartition {
  const { topic, partition } = (value ?? {}) as Partial<TopicPartition>;
  if (typeof topic !== "string" || typeof partition !== "number") {
    const wanted = "{ topic, partition } was wanted";
    throw assignorError(assignor, `it gives ${memberId} ${shown(value)}, ${wanted}`);
  }
  const isKnown = Number.isInteger(partition) && partition >= 0 &&
    partition < (partitionCounts.get(topic) ?? 0);
  if (!isKnown) {
    const name = topicPartitionName({ topic, partition });
    throw assignorError(assignor, `it gives ${name} to ${memberId}, which does not exist`);
  }
  return { topic, partition };
}

function checkNothingMissing(
  assignor: AssignorFunction,
  subscriptions: Iterable<ReadonlySet<string>>,
  partitionCounts: ReadonlyMap<string, number>,
  owners: ReadonlyMap<string, string>,
): void {
  const topics = new Set<string>();
  for (const subscribed of subscriptions) {
    for (const topic of subscribed) topics.add(topic);
  }
  for (const topic of topics) {
    const count = partitionCounts.get(topic) ?? 0;
    for (let partition = 0; partition < count; partition++) {
      const name = topicPartitionName({ topic, partition });
      if (!owners.has(name)) throw assignorError(assignor, `it leaves ${name} without an owner`);
    }
  }
}

/** A value as it stands in a message; not every object can be made into a text. */
function shown(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function assignorError(assignor: AssignorFunction, reason: string, cause?: unknown): OttlaError {
  return new OttlaError(
    "UNSUPPORTED_ASSIGNOR",
    `Cannot assign partitions with ${assignorName(assignor)}: ${reason}`,
    cause === undefined ? {} : { cause },
  );
}
