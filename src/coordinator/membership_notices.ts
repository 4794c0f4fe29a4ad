/**
 * Who is told of a change, and when: after the change is complete, never in the middle of it. What
 * is called may itself change the group; who is to be told of that waits for its turn.
 */

import assert from "node:assert/strict";
import type { Member, Membership } from "./membership_state.ts";

/** Callbacks that tell one another of changes for ever would never come to an end. */
const noticesMax = 1_000_000;

/**
 * Begins something new for a group: its generation grows, who should own what is to be found out
 * anew, and all members are to be told.
 *
 * @param membership The group.
 */
export function noteChange(membership: Membership): void {
  membership.generation++;
  membership.isStale = true;
  for (const member of [...membership.listeners]) noteNews(membership, member);
}

/**
 * Notes that there is news for a member, unless it was told and has not asked since.
 *
 * @param membership The group.
 * @param member The member.
 */
export function noteNews(membership: Membership, member: Member): void {
  const isListening = membership.listeners.delete(member);
  if (isListening && member.onChange !== undefined) membership.notices.push(member.onChange);
}

/**
 * Calls all who are to be told, in order, unless that is under way already.
 *
 * @param membership The group.
 * @throws What a callback threw, the first if there are several, after all have been told.
 */
export function tellAll(membership: Membership): void {
  if (membership.isTelling || membership.notices.length === 0) return;
  membership.isTelling = true;
  const { notices } = membership;
  const errors: unknown[] = [];
  try {
    for (let index = 0; index < notices.length; index++) {
      assert(index < noticesMax, `callbacks of group ${membership.groupId} call one another`);
      try {
        notices[index]!();
      } catch (error) {
        errors.push(error);
      }
    }
  } finally {
    notices.length = 0;
    membership.isTelling = false;
  }
  if (errors.length > 0) throw errors[0];
}
