/**
 * What is known of a group's members: who there is, what each subscribes to, what it owns and what
 * it should own.
 */

import type { OttlaError } from "../errors.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { RandomBytes } from "../platform/random.ts";
import type { Assignor } from "./assignor.ts";
import type { Subscription, SubscriptionOptions } from "./subscription.ts";
import type { TopicPartition } from "./topic_partition.ts";

/** How many members a group may have, those included whose places are kept. */
export const membersMax = 10_000;

/** What a group's membership is made of. */
export interface MembershipOptions {
  /** The group. */
  readonly groupId: string;
  /** What time it is. */
  readonly clock: Clock;
  /** Where member ids come from. */
  readonly randomBytes: RandomBytes;
  /** The generation to go on from; 0 unless given. */
  readonly generation?: number | undefined;
  /** Tells how many partitions a topic has; undefined if it does not exist. */
  readonly partitionCountOf: (topic: string) => number | undefined;
  /** Tells which topics exist, for patterns. */
  readonly topicNames: () => Iterable<string>;
  /** Called when the last member has gone; must not throw. */
  readonly onEmptied?: (() => void) | undefined;
  /** Called when an empty group has its first member; must not throw. */
  readonly onFirstMember?: (() => void) | undefined;
}

/** Who joins a group, and what it wants: `topics` or a `pattern`, one of the two. */
export interface MemberOptions extends SubscriptionOptions {
  /** Its id; made up unless given. */
  readonly memberId?: string | undefined;
  /** The name under which a static member comes back. */
  readonly instanceId?: string | undefined;
  /** Whose member it is; "ottla" unless given. */
  readonly clientId?: string | undefined;
  /** How partitions are given out; "cooperativeSticky" unless given. */
  readonly assignor?: Assignor | undefined;
  /** After how long without a heartbeat it is lost; never unless given. */
  readonly sessionTimeoutMs?: number | undefined;
  /** How long it may hold on to partitions that it has to give up; forever unless given. */
  readonly rebalanceTimeoutMs?: number | undefined;
  /**
   * Called when what it should own or could take may have changed, at most once until it next asks
   * with `revocationsOf` or `takePartitions`, for the first time after it has asked. It may use the
   * group; it must not throw.
   */
  readonly onChange?: (() => void) | undefined;
}

/** A partition as a group sees it. */
export interface PartitionSlot extends TopicPartition {
  /** Who owns it: one member at most, until that one lets go. */
  owner: Member | undefined;
  /** Who should own it. */
  target: Member | undefined;
  /** The topic was deleted while somebody owned it; what has its name now is another partition. */
  isGone: boolean;
  /** When its owner was first asked to give it up, while it has to. */
  revocableAtMs: number;
}

/** A member of a group. Read it; only the functions of `membership.ts` change it. */
export interface Member {
  readonly memberId: string;
  readonly instanceId: string | undefined;
  readonly clientId: string;
  readonly assignor: Assignor;
  readonly sessionTimeoutMs: number | undefined;
  readonly rebalanceTimeoutMs: number | undefined;
  readonly onChange: (() => void) | undefined;
  subscription: Subscription;
  /** The group's generation when it last took partitions; -1 before. */
  generation: number;
  /** "left" if it went by itself, "lost" if it was dropped. */
  state: "active" | "left" | "lost";
  /** Another member has taken over its instance id. */
  isFenced: boolean;
  /** When it is lost unless it heartbeats; undefined if never. */
  sessionEndMs: number | undefined;
  /** What it owns. */
  readonly owned: Set<PartitionSlot>;
  /** What it should own. */
  readonly meant: Set<PartitionSlot>;
  /** What is meant for it and has no owner. */
  readonly free: Set<PartitionSlot>;
  /** What it owns and has to give up, longest asked for first. */
  readonly revoking: Set<PartitionSlot>;
  /** What it owns because it took over another's place, and was not told of yet. */
  readonly inherited: Set<PartitionSlot>;
}

/** The members of a group. Read it; only the functions of `membership.ts` change it. */
export interface Membership {
  readonly groupId: string;
  readonly options: MembershipOptions;
  /** Grows with every change. */
  generation: number;
  /** By member id: the active ones, and those that have left and whose places are kept. */
  readonly members: Map<string, Member>;
  /** The static ones of them by instance id. */
  readonly instances: Map<string, Member>;
  /** What members subscribe to, by key: those that subscribe to the same share one. */
  readonly subscriptions: Map<string, Subscription>;
  /** The partitions that have an owner or should have one, by topic and number. */
  readonly slots: Map<string, PartitionSlot[]>;
  /** How many partitions each subscribed topic had when last looked at; by topic, in order. */
  partitionCounts: ReadonlyMap<string, number>;
  /** Something has changed since the partitions were last given out. */
  isStale: boolean;
  /** The assignor is at work: a function of the user's own must not change the group. */
  isAssigning: boolean;
  /** Why partitions could not be given out the last time. */
  failure: OttlaError | undefined;
  /** Members that have asked since they were last told of a change. */
  readonly listeners: Set<Member>;
  /** Who is to be called once the change under way is complete. */
  readonly notices: (() => void)[];
  isTelling: boolean;
  /** Runs out at the earliest deadline of a member, or before. */
  timer: Timer | undefined;
  timerDueMs: number;
}

/**
 * Gives the partition of a group, a new one if it is not known yet.
 *
 * @param membership The group.
 * @param topic The topic.
 * @param partition The partition's number; those below become known too.
 * @returns The partition.
 */
export function slotOf(membership: Membership, topic: string, partition: number): PartitionSlot {
  let slots = membership.slots.get(topic);
  if (slots === undefined) membership.slots.set(topic, slots = []);
  for (let number = slots.length; number <= partition; number++) {
    slots.push({
      topic,
      partition: number,
      owner: undefined,
      target: undefined,
      isGone: false,
      revocableAtMs: 0,
    });
  }
  return slots[partition]!;
}

/**
 * Makes a partition a member's own, or nobody's, and keeps the sets of both members right.
 *
 * @param slot The partition.
 * @param owner Its next owner.
 */
export function setOwner(slot: PartitionSlot, owner: Member | undefined): void {
  if (slot.owner !== undefined) {
    slot.owner.owned.delete(slot);
    slot.owner.revoking.delete(slot);
    slot.owner.inherited.delete(slot);
    slot.isGone = false;
  }
  slot.owner = owner;
  owner?.owned.add(slot);
  if (owner === undefined) slot.target?.free.add(slot);
  else slot.target?.free.delete(slot);
}

/**
 * Asks the owner of a partition to give it up if it has to, and no longer if it has not. An owner
 * that does not read it (only its place is kept, or it was not told of it yet) loses it at once.
 *
 * @param slot The partition.
 * @param nowMs What time it is.
 */
export function settleRevocation(slot: PartitionSlot, nowMs: number): void {
  const { owner } = slot;
  if (owner === undefined) return;
  if (slot.target === owner && !slot.isGone) {
    owner.revoking.delete(slot);
  } else if (owner.state !== "active" || owner.inherited.has(slot)) {
    setOwner(slot, undefined);
  } else if (!owner.revoking.has(slot)) {
    slot.revocableAtMs = nowMs;
    owner.revoking.add(slot);
  }
}
