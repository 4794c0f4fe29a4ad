/**
 * The coordinator of a store's groups: which there are, and what happens to them when topics come
 * and go, when time passes, and when the store ends.
 *
 * What `__consumer_offsets` says of them is read once, when a group is first asked for. A partition
 * of it that cannot be read keeps its groups from being used, and no others.
 */

import { OttlaError } from "../errors.ts";
import type { Timer } from "../platform/clock.ts";
import type { StoreInternals } from "../store/store.ts";
import { checkOpen } from "../store/store.ts";
import { writeDue } from "./group_change.ts";
import type { Group, GroupContent } from "./group.ts";
import { groupContent, hasMembers, isGroupInUse } from "./group.ts";
import { expireGroup } from "./group_expiry.ts";
import { forgetGoneTopics } from "./group_gone_topics.ts";
import type { LoadedGroups } from "./group_load.ts";
import { loadGroups } from "./group_load.ts";
import type { GroupLog } from "./group_log.ts";
import { findOffsetsTopic, groupLog, partitionOfGroup } from "./group_log.ts";
import { closeMembership, createMembership, topicsChanged } from "./membership.ts";

/** The coordinator of an open store's groups. */
export interface GroupCoordinator {
  readonly store: StoreInternals;
  readonly log: GroupLog;
  /** By id; of some nothing is known but that they were asked for. */
  readonly groups: Map<string, Group>;
  /** Ids that belong to groups of other kinds: those of queues and of streams. */
  readonly foreignIds: ReadonlySet<string>;
  /** Why partitions of `__consumer_offsets` could not be read, by their numbers. */
  readonly failures: ReadonlyMap<number, unknown>;
  /** What was damaged or not understood when the groups were read, and was passed over. */
  readonly skippedCount: number;
  /** How many topics there were when they were last looked at. */
  topicCount: number;
  timer: Timer | undefined;
  isClosed: boolean;
}

/** How often offsets are looked for that are to be forgotten; Kafka's number. */
export const offsetsRetentionCheckMs = 600_000;
/** How long the name of a group may be, in bytes: what its records can hold. */
export const groupIdBytesMax = 32_767;

const coordinators = new WeakMap<StoreInternals, Promise<GroupCoordinator>>();
const loadedCoordinators = new WeakMap<StoreInternals, GroupCoordinator>();

/**
 * The coordinator of a store's groups; there is one a store.
 *
 * @param store The inside of a store.
 * @returns Resolves when everything that was written of the groups has been read.
 * @throws OttlaError `HANDLE_CLOSED`.
 */
export function groupCoordinator(store: StoreInternals): Promise<GroupCoordinator> {
  let coordinator = coordinators.get(store);
  if (coordinator === undefined) {
    coordinator = startCoordinator(store);
    coordinators.set(store, coordinator);
    coordinator.catch(() => coordinators.delete(store));
  }
  return coordinator;
}

/**
 * Tells whether the groups of a store have been read, so that they learn what becomes of its topics.
 *
 * @param store The inside of a store.
 * @returns True if they have.
 */
export function areGroupsRead(store: StoreInternals): boolean {
  return loadedCoordinators.has(store);
}

/**
 * The coordinator of a store's groups, if anybody has asked for them so far.
 *
 * @param store The inside of a store.
 * @returns The coordinator, or undefined while the groups have not been read.
 */
export function findGroupCoordinator(store: StoreInternals): GroupCoordinator | undefined {
  return loadedCoordinators.get(store);
}

/**
 * A group, new if it is not known yet. Being asked for leaves no trace of it.
 *
 * @param coordinator The coordinator.
 * @param groupId The group's id.
 * @returns The group.
 * @throws TypeError. OttlaError `INVALID_GROUP_ID` for an empty id or one that is too long,
 * `INCONSISTENT_GROUP_PROTOCOL` if a group of another kind has it; what keeps its partition of
 * `__consumer_offsets` from being read.
 */
export function getOrCreateGroup(coordinator: GroupCoordinator, groupId: string): Group {
  const known = coordinator.groups.get(groupId);
  if (known !== undefined) return known;
  checkGroupId(groupId);
  checkReadable(coordinator, groupId);
  if (coordinator.foreignIds.has(groupId)) {
    throw new OttlaError(
      "INCONSISTENT_GROUP_PROTOCOL",
      `Cannot use group ${groupId} for consumers: a group of another kind has this id`,
      { details: { groupId } },
    );
  }
  const group = newGroup(coordinator, groupContent(groupId, coordinator.store.clock.now()), 0);
  coordinator.groups.set(groupId, group);
  return group;
}

/**
 * A group, if there is anything of it.
 *
 * @param coordinator The coordinator.
 * @param groupId The group's id.
 * @returns The group, or undefined if it has neither members nor anything in the log.
 * @throws TypeError or OttlaError as `getOrCreateGroup`.
 */
export function findGroup(coordinator: GroupCoordinator, groupId: string): Group | undefined {
  const group = coordinator.groups.get(groupId);
  if (group === undefined) {
    checkGroupId(groupId);
    checkReadable(coordinator, groupId);
    return undefined;
  }
  return isGroupInUse(group) ? group : undefined;
}

async function startCoordinator(store: StoreInternals): Promise<GroupCoordinator> {
  checkOpen(store);
  const loaded = await loadGroups(store);
  checkOpen(store);
  const coordinator: GroupCoordinator = {
    store,
    log: groupLog(store),
    groups: new Map(),
    foreignIds: loaded.foreignIds,
    failures: loaded.failures,
    skippedCount: loaded.skippedCount,
    topicCount: store.topics.size,
    timer: undefined,
    isClosed: false,
  };
  addGroups(coordinator, loaded);
  const onTopics = (): void => noteTopics(coordinator);
  store.topicWatchers.add(onTopics);
  store.closers.add(() => settleGroups(coordinator));
  store.abandoners.add(() => {
    store.topicWatchers.delete(onTopics);
    endCoordinator(coordinator);
  });
  startExpiry(coordinator);
  loadedCoordinators.set(store, coordinator);
  return coordinator;
}

function addGroups(coordinator: GroupCoordinator, { groups }: LoadedGroups): void {
  for (const content of groups) {
    const { generation, hadMembers, ...known } = content;
    const group = newGroup(coordinator, known, generation);
    // Else it would be empty since now at each opening, and its offsets would never expire.
    group.isMetadataDue = hadMembers;
    coordinator.groups.set(group.groupId, group);
    // Deleted when nobody was there to forget them, or made again: those are other topics.
    forgetGoneTopics(coordinator.log, group);
  }
}

function newGroup(
  coordinator: GroupCoordinator,
  content: GroupContent,
  generation: number,
): Group {
  const { store } = coordinator;
  const { groupId } = content;
  const group: Group = {
    ...content,
    membership: createMembership({
      groupId,
      clock: store.clock,
      randomBytes: store.randomBytes,
      generation,
      partitionCountOf: (topic) => store.topics.get(topic)?.partitions.length,
      topicNames: () => store.topics.keys(),
      onFirstMember: () => noteFirstMember(coordinator, group),
      onEmptied: () => noteEmptied(coordinator, group),
    }),
    holderCount: 0,
    isMetadataDue: false,
    dueTombstones: [],
    offsetsUnderWay: new Set(),
    lastChange: undefined,
    commitTurn: undefined,
    outsideCommits: undefined,
  };
  return group;
}

/** A group that is known on disk must not look empty from now on: its offsets would expire. */
function noteFirstMember(coordinator: GroupCoordinator, group: Group): void {
  const isKnown = isWritten(group);
  group.protocolType = "consumer";
  group.isMetadataDue = true;
  if (isKnown) writeDueOf(coordinator, group);
}

/** A group of consumers that has never committed anything is not worth a record. */
function noteEmptied(coordinator: GroupCoordinator, group: Group): void {
  group.emptySinceMs = coordinator.store.clock.now();
  group.isMetadataDue = true;
  if (isWritten(group)) writeDueOf(coordinator, group);
}

function isWritten({ hasMetadata, offsets, brokerKeys, lastChange }: Group): boolean {
  return hasMetadata || offsets.size > 0 || brokerKeys.size > 0 || lastChange !== undefined;
}

function writeDueOf({ log, isClosed }: GroupCoordinator, group: Group): void {
  if (!isClosed) writeDue(log, group);
}

function noteTopics(coordinator: GroupCoordinator): void {
  const { store, groups, log } = coordinator;
  // Every change is told by itself: a topic that was deleted and made again was missing in between.
  const isAnyGone = store.topics.size < coordinator.topicCount;
  coordinator.topicCount = store.topics.size;
  for (const group of groups.values()) {
    if (isAnyGone) forgetGoneTopics(log, group);
    if (hasMembers(group)) topicsChanged(group.membership);
  }
}

function startExpiry(coordinator: GroupCoordinator): void {
  const { store, groups, log } = coordinator;
  coordinator.timer = store.clock.startTimer(() => {
    if (coordinator.isClosed || store.state !== "open") return;
    startExpiry(coordinator);
    for (const group of groups.values()) {
      expireGroup(log, group);
      writeDueIfWritten(coordinator, group);
      if (isForgettable(coordinator, group)) groups.delete(group.groupId);
    }
  }, offsetsRetentionCheckMs);
}

/** Names of groups may be used once only: of one that nobody uses or will write to nothing is kept. */
function isForgettable({ log }: GroupCoordinator, group: Group): boolean {
  const { holderCount, lastChange, dueTombstones } = group;
  const isIdle = holderCount === 0 && lastChange === undefined && log.waiting.length === 0;
  return isIdle && dueTombstones.length === 0 && !isGroupInUse(group);
}

function writeDueIfWritten(coordinator: GroupCoordinator, group: Group): void {
  const isDue = group.isMetadataDue || group.dueTombstones.length > 0;
  if (isDue && isWritten(group)) writeDueOf(coordinator, group);
}

/** Waits for what is under way, and writes what is still due; consumers may go on using the groups. */
async function settleGroups(coordinator: GroupCoordinator): Promise<void> {
  const { groups, log } = coordinator;
  await log.creating;
  await Promise.allSettled([...groups.values()].flatMap(({ lastChange }) => lastChange ?? []));
  for (const group of groups.values()) writeDueIfWritten(coordinator, group);
}

/** The store has no files any more. */
function endCoordinator(coordinator: GroupCoordinator): void {
  const { store, groups, timer } = coordinator;
  coordinator.isClosed = true;
  if (timer !== undefined) store.clock.stopTimer(timer);
  coordinators.delete(store);
  for (const { membership } of groups.values()) closeMembership(membership);
}

function checkGroupId(groupId: unknown): asserts groupId is string {
  if (typeof groupId !== "string") {
    throw new TypeError(`groupId must be a string, got ${typeof groupId}`);
  }
  const fault = findGroupIdFault(groupId);
  if (fault === undefined) return;
  const shown = JSON.stringify(groupId.length > 60 ? `${groupId.slice(0, 60)}...` : groupId);
  throw new OttlaError("INVALID_GROUP_ID", `Cannot use group ${shown}: its name ${fault}`);
}

function findGroupIdFault(groupId: string): string | undefined {
  if (groupId === "") return "is empty";
  // Half a character would come back from the log as another one.
  if (/\p{Surrogate}/u.test(groupId)) return "is no well-formed text";
  const sizeBytes = new TextEncoder().encode(groupId).length;
  if (sizeBytes <= groupIdBytesMax) return undefined;
  return `has ${sizeBytes} bytes, the most is ${groupIdBytesMax}`;
}

function checkReadable({ store, failures }: GroupCoordinator, groupId: string): void {
  if (failures.size === 0) return;
  const topic = findOffsetsTopic(store);
  const failure = topic && failures.get(partitionOfGroup(topic, groupId));
  if (failure !== undefined) throw failure;
}
