/**
 * The deadlines of a group's members: heartbeats, and partitions that have to be given up.
 *
 * A group has one timer, for the earliest deadline. Deadlines mostly move away before they are
 * reached: then the timer runs out too early, finds nobody late, and is set anew.
 *
 * Deadlines are times of day. Where the clock is set back they are too far away: they begin anew
 * when the timer runs out, so nobody has more than twice his time.
 */

import type { Member, Membership } from "./membership_state.ts";

/**
 * How long the place of a member without a session is kept once it has left: what Kafka gives to
 * members that name no session timeout.
 */
export const keptPlaceMs = 45_000;

/**
 * Has a member's session go on from now.
 *
 * @param membership The group.
 * @param member The member; nothing changes if it has no session.
 */
export function extendSession(membership: Membership, member: Member): void {
  if (member.sessionTimeoutMs === undefined) return;
  member.sessionEndMs = membership.options.clock.now() + member.sessionTimeoutMs;
}

/**
 * Limits how long the place of a member is kept, from now.
 *
 * @param membership The group.
 * @param member The member, which has left.
 */
export function keepPlace(membership: Membership, member: Member): void {
  const { sessionTimeoutMs = keptPlaceMs } = member;
  member.sessionEndMs = membership.options.clock.now() + sessionTimeoutMs;
}

/**
 * Tells when a member is lost if nothing happens.
 *
 * @param member The member.
 * @returns A time in milliseconds, or undefined if never.
 */
export function memberDeadline(member: Member): number | undefined {
  const { sessionEndMs, rebalanceTimeoutMs, revoking } = member;
  if (rebalanceTimeoutMs === undefined || revoking.size === 0) return sessionEndMs;
  const [longestAsked] = revoking;
  return Math.min(longestAsked!.revocableAtMs + rebalanceTimeoutMs, sessionEndMs ?? Infinity);
}

/**
 * Sees to it that the timer runs out no later than a member's deadline.
 *
 * @param membership The group.
 * @param member The member.
 * @param onDue Called when the timer runs out.
 */
export function watchDeadline(membership: Membership, member: Member, onDue: () => void): void {
  const deadline = memberDeadline(member);
  if (deadline !== undefined) startTimer(membership, deadline, onDue);
}

/**
 * Sets the timer to the earliest deadline, and stops it if there is none.
 *
 * @param membership The group.
 * @param onDue Called when the timer runs out.
 */
export function resetTimer(membership: Membership, onDue: () => void): void {
  const nowMs = membership.options.clock.now();
  let earliest = Infinity;
  for (const member of membership.members.values()) {
    limitDeadlines(member, nowMs);
    earliest = Math.min(earliest, memberDeadline(member) ?? Infinity);
  }
  if (earliest === Infinity) stopTimer(membership);
  else startTimer(membership, earliest, onDue);
}

/** Brings back to now what lies in the future because the clock was set back. */
function limitDeadlines(member: Member, nowMs: number): void {
  const { sessionEndMs, sessionTimeoutMs = keptPlaceMs, revoking } = member;
  if (sessionEndMs !== undefined) {
    member.sessionEndMs = Math.min(sessionEndMs, nowMs + sessionTimeoutMs);
  }
  for (const slot of revoking) slot.revocableAtMs = Math.min(slot.revocableAtMs, nowMs);
}

/**
 * Stops the timer.
 *
 * @param membership The group.
 */
export function stopTimer(membership: Membership): void {
  if (membership.timer !== undefined) membership.options.clock.stopTimer(membership.timer);
  membership.timer = undefined;
}

function startTimer(membership: Membership, dueMs: number, onDue: () => void): void {
  if (membership.timer !== undefined && membership.timerDueMs <= dueMs) return;
  const { clock } = membership.options;
  stopTimer(membership);
  membership.timerDueMs = dueMs;
  membership.timer = clock.startTimer(() => {
    membership.timer = undefined;
    onDue();
  }, Math.max(0, dueMs - clock.now()));
}
