/** Assignments as texts: `t1-0 t1-1` are two partitions, in order. */

import type { Assignor, AssignorMember } from "../../src/coordinator/assignor.ts";
import { assign } from "../../src/coordinator/assignor.ts";
import type { TopicPartition } from "../../src/coordinator/topic_partition.ts";
import {
  compareText,
  compareTopicPartitions,
  topicPartitionName,
} from "../../src/coordinator/topic_partition.ts";

/** What a member has besides its id and its topics; nothing unless given. */
interface MemberMore {
  readonly owned?: string;
  readonly generation?: number;
  readonly instanceId?: string;
}

/**
 * What an assignor is told of a member.
 *
 * @param memberId Its id.
 * @param topics What it subscribes to, with spaces between.
 * @param more What else there is; who owns something does so since generation 1.
 * @returns The member.
 */
export function assignorMember(
  memberId: string,
  topics: string,
  { owned = "", generation = owned === "" ? -1 : 1, instanceId }: MemberMore = {},
): AssignorMember {
  return {
    memberId,
    instanceId,
    topics: wordsOf(topics),
    owned: partitionsIn(owned),
    generation,
  };
}

/**
 * Reads partitions.
 *
 * @param text For example `t1-0 t1-1`.
 * @returns The partitions.
 */
export function partitionsIn(text: string): TopicPartition[] {
  return wordsOf(text).map((word) => {
    const dash = word.lastIndexOf("-");
    return { topic: word.slice(0, dash), partition: Number(word.slice(dash + 1)) };
  });
}

/**
 * Writes partitions.
 *
 * @param partitions The partitions.
 * @returns For example `t1-0 t1-1`: in order, whatever order they come in.
 */
export function textOfPartitions(partitions: readonly TopicPartition[]): string {
  return [...partitions].sort(compareTopicPartitions).map(topicPartitionName).join(" ");
}

/**
 * Writes a whole assignment.
 *
 * @param assignment The partitions by member id.
 * @returns The texts by member id, in order.
 */
export function textOfAssignment(
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): Record<string, string> {
  const sorted = [...assignment].sort(([left], [right]) => compareText(left, right));
  return Object.fromEntries(sorted.map(([id, partitions]) => [id, textOfPartitions(partitions)]));
}

/**
 * Assigns.
 *
 * @param assignor How.
 * @param counts How many partitions each topic has.
 * @param members The members.
 * @returns The assignment as texts.
 */
export function assigned(
  assignor: Assignor,
  counts: Readonly<Record<string, number>>,
  ...members: readonly AssignorMember[]
): Record<string, string> {
  return textOfAssignment(assign(assignor, members, new Map(Object.entries(counts))));
}

function wordsOf(text: string): string[] {
  return text.split(" ").filter((word) => word !== "");
}
