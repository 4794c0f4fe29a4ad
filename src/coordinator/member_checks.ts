/** What must be so before a member does something, or a group changes. */

import { OttlaError } from "../errors.ts";
import type { Member, Membership } from "./membership_state.ts";

/**
 * Checks that nobody changes a group while its assignor is at work.
 *
 * @param membership The group.
 * @throws {TypeError} If that is so: the assignor is a function of the user's own that uses it.
 */
export function checkMayChange({ groupId, isAssigning }: Membership): void {
  if (isAssigning) throw new TypeError(`Cannot use group ${groupId} inside its own assignor`);
}

/**
 * Tells whether a member is in a group and at work.
 *
 * @param membership The group.
 * @param member The member.
 * @returns False once it has left or was lost, whether its place is kept or not.
 */
export function isActive({ members }: Membership, member: Member): boolean {
  return member.state === "active" && members.get(member.memberId) === member;
}

/**
 * Checks that a member is in a group and at work.
 *
 * @param membership The group.
 * @param member The member.
 * @param action What it is about to do, as it stands in the message.
 * @throws {OttlaError} UNKNOWN_MEMBER_ID if it is not, or FENCED_INSTANCE_ID if another member has
 *   its place.
 */
export function checkActive(membership: Membership, member: Member, action: string): void {
  if (isActive(membership, member)) return;
  const { memberId, instanceId, isFenced, state } = member;
  const { groupId } = membership;
  const reason = isFenced
    ? `another member has taken over instance ${instanceId}`
    : state === "active"
    ? "it is a member of another group"
    : state === "left"
    ? "it has left"
    : "it was lost";
  throw new OttlaError(
    isFenced ? "FENCED_INSTANCE_ID" : "UNKNOWN_MEMBER_ID",
    `Cannot ${action} as member ${memberId} of group ${groupId}: ${reason}`,
    { details: { groupId, memberId } },
  );
}
