/**
 * What "cooperativeSticky" adds to "sticky" in Kafka's classic protocol, where a rebalance is one
 * step for all members: a partition does not come to its new owner in the step that takes it from
 * the old one. The old owner gives it up, joins again, and the next step hands it over.
 *
 * Groups of one process do not need it: there a partition moves when its owner lets go of it.
 */

import type { AssignorMember } from "./assignor.ts";
import type { TopicPartition } from "./topic_partition.ts";
import { topicPartitionName } from "./topic_partition.ts";

/** Who claims to own a partition, in which generation. */
interface Claim {
  /** The member with the highest generation; undefined if there are several. */
  memberId: string | undefined;
  generation: number;
}

/**
 * Takes out of an assignment what another member still holds.
 *
 * A partition is held by the member that claims it in the highest generation; if several do in the
 * same one, each of them has to let go first.
 *
 * @param members The members with what they say they own.
 * @param assignment What the sticky assignor gives them.
 * @returns The partitions that members may have in this step.
 */
export function withholdMovingPartitions(
  members: readonly AssignorMember[],
  assignment: ReadonlyMap<string, readonly TopicPartition[]>,
): Map<string, TopicPartition[]> {
  const claims = new Map<string, Claim>();
  for (const { memberId, owned, generation } of members) {
    for (const partition of owned) addClaim(claims, partition, memberId, Math.max(generation, -1));
  }
  const isHeldByOther = (partition: TopicPartition, memberId: string): boolean => {
    const claim = claims.get(topicPartitionName(partition));
    return claim !== undefined && claim.memberId !== memberId;
  };
  return new Map(
    [...assignment].map(([memberId, partitions]) => [
      memberId,
      partitions.filter((partition) => !isHeldByOther(partition, memberId)),
    ]),
  );
}

function addClaim(
  claims: Map<string, Claim>,
  partition: TopicPartition,
  memberId: string,
  generation: number,
): void {
  const name = topicPartitionName(partition);
  const claim = claims.get(name);
  if (claim === undefined || generation > claim.generation) {
    claims.set(name, { memberId, generation });
  } else if (generation === claim.generation && claim.memberId !== memberId) {
    claim.memberId = undefined;
  }
}
