/** A member when it joins: what it may be, and its first state. */

import { OttlaError } from "../errors.ts";
import type { RandomBytes } from "../platform/random.ts";
import type { Assignor } from "./assignor.ts";
import { assignorName, assignorNames, defaultAssignor } from "./assignor.ts";
import type { Member, MemberOptions, Membership } from "./membership_state.ts";
import { membersMax } from "./membership_state.ts";
import { subscriptionOf } from "./subscription.ts";

const defaultClientId = "ottla";

/** How many random bytes a member id is made of. */
const memberIdBytes = 16;

/**
 * Makes a member of a group it has yet to be added to.
 *
 * @param membership The group.
 * @param options Who it is and what it wants.
 * @param replaced The member whose place it takes.
 * @returns The member.
 * @throws {TypeError} If an option has the wrong type.
 * @throws {RangeError} If an option is out of range.
 * @throws {OttlaError} If the group cannot take it: GROUP_MAX_SIZE_REACHED,
 *   INCONSISTENT_GROUP_PROTOCOL, INVALID_TOPIC_EXCEPTION.
 */
export function createMember(
  membership: Membership,
  options: MemberOptions,
  replaced: Member | undefined,
): Member {
  const { instanceId, clientId = defaultClientId, assignor = defaultAssignor } = options;
  checkNotEmpty("instanceId", instanceId);
  checkNotEmpty("memberId", options.memberId);
  checkTimeout("sessionTimeoutMs", options.sessionTimeoutMs);
  checkTimeout("rebalanceTimeoutMs", options.rebalanceTimeoutMs);
  checkAssignor(assignor);
  const subscription = subscriptionOf(options);
  const memberId = options.memberId ??
    randomMemberId(instanceId ?? clientId, membership.options.randomBytes);
  checkPlace(membership, memberId, assignor, replaced);
  const { sessionTimeoutMs, rebalanceTimeoutMs, onChange } = options;
  const nowMs = membership.options.clock.now();
  return {
    memberId,
    instanceId,
    clientId,
    assignor,
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    onChange,
    subscription,
    generation: -1,
    state: "active",
    isFenced: false,
    sessionEndMs: sessionTimeoutMs === undefined ? undefined : nowMs + sessionTimeoutMs,
    owned: new Set(),
    meant: new Set(),
    free: new Set(),
    revoking: new Set(),
    inherited: new Set(),
  };
}

/** An id as Kafka makes them: what the member calls itself, and a random UUID. */
function randomMemberId(prefix: string, randomBytes: RandomBytes): string {
  const bytes = randomBytes(memberIdBytes).slice();
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${prefix}-${hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}`;
}

function checkPlace(
  { groupId, members }: Membership,
  memberId: string,
  assignor: Assignor,
  replaced: Member | undefined,
): void {
  const namesake = members.get(memberId);
  if (namesake !== undefined && namesake !== replaced) {
    throw new RangeError(`memberId: group ${groupId} has a member ${memberId} already`);
  }
  if (replaced === undefined && members.size >= membersMax) {
    throw new OttlaError(
      "GROUP_MAX_SIZE_REACHED",
      `Cannot join group ${groupId}: it has ${members.size} members, the most is ${membersMax}`,
      { details: { groupId, memberCount: members.size } },
    );
  }
  const [first, second] = members.values();
  const other = first === replaced ? second : first;
  if (other !== undefined && other.assignor !== assignor) {
    throw new OttlaError(
      "INCONSISTENT_GROUP_PROTOCOL",
      `Cannot join group ${groupId} with assignor ${assignorName(assignor)}: its members use ${
        assignorName(other.assignor)
      }`,
      { details: { groupId } },
    );
  }
}

function checkAssignor(assignor: Assignor): void {
  if (typeof assignor === "function") return;
  if (typeof assignor !== "string") {
    throw new TypeError("assignor: the name of one or a function is wanted");
  }
  if (!assignorNames.includes(assignor)) {
    throw new RangeError(
      `assignor: ${JSON.stringify(assignor)} is none of ${assignorNames.join(", ")}`,
    );
  }
}

function checkTimeout(name: string, timeoutMs: number | undefined): void {
  if (timeoutMs === undefined) return;
  if (!Number.isSafeInteger(timeoutMs) || timeoutMs <= 0) {
    throw new RangeError(`${name}: ${String(timeoutMs)} is not a positive whole number`);
  }
}

function checkNotEmpty(name: string, text: string | undefined): void {
  if (text === undefined) return;
  if (typeof text !== "string") throw new TypeError(`${name}: a text is wanted`);
  if (text === "") throw new RangeError(`${name}: it is empty`);
}
