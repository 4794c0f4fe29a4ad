/**
 * How a member goes: by itself, because it is late, or because another one takes its place; and what
 * becomes of what it owned.
 */

import { noteChange, noteNews } from "./membership_notices.ts";
import type { Member, Membership } from "./membership_state.ts";
import { setOwner } from "./membership_state.ts";
import { stopTimer } from "./membership_timer.ts";
import { dropSubscription } from "./subscription.ts";

/**
 * Takes a member out of its group; what it owned is free.
 *
 * @param membership The group.
 * @param member The member, which is in it.
 */
export function removeMember(membership: Membership, member: Member): void {
  const { members, instances, listeners, notices, options } = membership;
  members.delete(member.memberId);
  if (member.instanceId !== undefined) instances.delete(member.instanceId);
  listeners.delete(member);
  dropSubscription(membership, member.subscription);
  for (const slot of member.meant) slot.target = undefined;
  member.meant.clear();
  member.free.clear();
  for (const slot of member.owned) setOwner(slot, undefined);
  noteChange(membership);
  if (members.size > 0) return;
  stopTimer(membership);
  if (options.onEmptied !== undefined) notices.push(options.onEmptied);
}

/**
 * Takes a member out of its group without asking it, and has it told.
 *
 * @param membership The group.
 * @param member The member; one that is not in the group any more is passed over.
 */
export function dropMember(membership: Membership, member: Member): void {
  if (membership.members.get(member.memberId) !== member) return;
  if (member.state === "active") member.state = "lost";
  noteNews(membership, member);
  removeMember(membership, member);
}

/**
 * Gives a member the place of another one, which is fenced. What that one was about to give up is
 * free, for nobody reads it any more.
 *
 * @param membership The group.
 * @param member The member that comes; it is not in the group yet.
 * @param replaced The member before it.
 */
export function takeOver(membership: Membership, member: Member, replaced: Member): void {
  if (replaced.state === "active") replaced.state = "lost";
  replaced.isFenced = true;
  noteNews(membership, replaced);
  membership.members.delete(replaced.memberId);
  dropSubscription(membership, replaced.subscription);
  for (const slot of replaced.meant) {
    slot.target = member;
    member.meant.add(slot);
  }
  for (const slot of replaced.free) member.free.add(slot);
  replaced.meant.clear();
  replaced.free.clear();
  for (const slot of replaced.owned) {
    if (replaced.revoking.has(slot)) {
      setOwner(slot, undefined);
      if (slot.target !== undefined) noteNews(membership, slot.target);
    } else {
      setOwner(slot, member);
      member.inherited.add(slot);
    }
  }
}
