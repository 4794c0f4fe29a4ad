/**
 * The offsets of groups against plain models of them: over commits, members that come and go, topics
 * that are deleted and made again, deletions, full disks, crashes, and time.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import type { ConsumedOffset } from "../../src/client/consumer_options.ts";
import { commitOffsets, committedOffsets, deleteGroup } from "../../src/client/groups.ts";
import type { GroupCoordinator } from "../../src/coordinator/group_coordinator.ts";
import { getOrCreateGroup, groupCoordinator } from "../../src/coordinator/group_coordinator.ts";
import { commitGroupOffsets } from "../../src/coordinator/group_offsets.ts";
import type { Member } from "../../src/coordinator/membership.ts";
import { joinMembership, leaveMembership } from "../../src/coordinator/membership.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import type { FaultyDisk } from "../support/faulty_file_system.ts";
import { crashDisk, failNext, faultyDisk, healDisk } from "../support/faulty_file_system.ts";
import { assertProperty } from "../support/properties.ts";
import { crashStore, openTestStore, removeLocks } from "../support/store_fixture.ts";

const minuteMs = 60_000;
const checkMs = 10 * minuteMs;
const retentionMs = 60 * minuteMs;
const topics = ["a", "b"];
const groupIds = ["g", "h"];
const partitionCount = 2;
/** Nothing is ever appended: what tells commits apart is their note. */
const offset = 0;

/** The committed notes of a group, by `topic-partition`. */
type Notes = Record<string, string>;

/** What a step commits. */
interface Commit {
  readonly group: string;
  readonly topic: string;
  readonly partitions: readonly number[];
  readonly ack: "disk" | "os";
}

function offsetsOf({ topic, partitions }: Commit, metadata: string): ConsumedOffset[] {
  return partitions.map((partition) => ({ topic, partition, offset, metadata }));
}

async function makeTopics(store: Store): Promise<void> {
  for (const topic of topics) await createTopic(store, topic, { partitions: partitionCount });
}

async function remakeTopic(store: Store, topic: string): Promise<void> {
  await deleteTopic(store, topic);
  await createTopic(store, topic, { partitions: partitionCount });
}

async function notesOf(store: Store, groupId: string): Promise<Notes> {
  const offsets = await committedOffsets(store, groupId);
  return Object.fromEntries(
    offsets.map(({ topic, partition, metadata }) => [`${topic}-${partition}`, metadata]),
  );
}

function open(fs: FileSystem, clock = manualClock()): Promise<Store> {
  const never = 2 ** 31 - 1;
  return openTestStore(fs, {
    clock,
    offsetsRetentionMinutes: retentionMs / minuteMs,
    retentionCheckMs: never,
    checkpointMs: never,
  });
}

const someGroup = fc.constantFrom(...groupIds);
const someTopic = fc.constantFrom(...topics);
const somePartitions = fc.uniqueArray(fc.nat({ max: partitionCount - 1 }), { minLength: 1 });
/** What both models are asked to do. */
const commitStep = fc.record({
  step: fc.constant("commit" as const),
  group: someGroup,
  topic: someTopic,
  partitions: somePartitions,
  ack: fc.constantFrom("disk" as const, "os" as const),
});
const topicStep = fc.record({ step: fc.constant("remake" as const), topic: someTopic });
const deleteStep = fc.record({ step: fc.constant("delete" as const), group: someGroup });

/** What was committed, and which making of its topic it was for. */
type State = ReadonlyMap<string, { readonly note: string; readonly making: number }>;

/** A store that may lose its power, and what it may be then. */
interface PoweredRun {
  disk: FaultyDisk;
  store: Store;
  /** How often each topic was made again. */
  readonly makings: Map<string, number>;
  /** Of each group what it was at each moment since the last one that no crash takes back. */
  readonly moments: Map<string, State[]>;
}

async function startPowered(): Promise<PoweredRun> {
  const disk = faultyDisk();
  const store = await open(disk.fs);
  await makeTopics(store);
  return {
    disk,
    store,
    makings: new Map(topics.map((topic) => [topic, 0])),
    moments: new Map(groupIds.map((id) => [id, [new Map()]])),
  };
}

/** What is left of a state after its topics were deleted. */
function shownOf({ makings }: PoweredRun, state: State): Notes {
  const shown = [...state].filter(([key, { making }]) => makings.get(key.split("-")[0]!) === making)
    .map(([key, { note }]) => [key, note] as const);
  return Object.fromEntries(shown.sort());
}

async function commitPowered(run: PoweredRun, commit: Commit, note: string): Promise<void> {
  const { group, topic, partitions, ack } = commit;
  await commitOffsets(run.store, group, offsetsOf(commit, note), { ack });
  const before = run.moments.get(group)!;
  const next = new Map(before.at(-1));
  const making = run.makings.get(topic)!;
  for (const partition of partitions) next.set(`${topic}-${partition}`, { note, making });
  run.moments.set(group, ack === "disk" ? [next] : [...before, next]);
}

async function deletePowered(run: PoweredRun, group: string): Promise<void> {
  const deleting = deleteGroup(run.store, group);
  if (Object.keys(shownOf(run, run.moments.get(group)!.at(-1)!)).length === 0) {
    await assert.rejects(deleting, { code: "GROUP_ID_NOT_FOUND" });
    return;
  }
  await deleting;
  run.moments.set(group, [new Map()]);
}

async function fillDisk(run: PoweredRun, commit: Commit, shortBytes: number): Promise<void> {
  failNext(run.disk, {
    operation: "write",
    code: "ENOSPC",
    path: "__consumer_offsets",
    shortBytes,
  });
  await assert.rejects(commitOffsets(run.store, commit.group, offsetsOf(commit, "never")), {
    code: "DISK_FULL",
  });
  healDisk(run.disk);
}

async function cutPower(run: PoweredRun, names: boolean, keptBytes: number): Promise<void> {
  const { disk, store, moments } = run;
  run.disk = crashDisk(disk, { names, bytes: (unsynced) => Math.min(unsynced, keptBytes) });
  crashStore(store, disk.fs);
  removeLocks(run.disk.fs);
  run.store = await open(run.disk.fs);
  for (const id of groupIds) {
    const found = await notesOf(run.store, id);
    const text = JSON.stringify(found);
    const state = moments.get(id)!.findLast((one) => JSON.stringify(shownOf(run, one)) === text);
    assert(state !== undefined, `group ${id} has ${text}, which it never had`);
    moments.set(id, [state]);
  }
}

describe("committed offsets after a power cut", () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: commitStep },
    topicStep,
    deleteStep,
    fc.record({
      step: fc.constant("full" as const),
      commit: commitStep,
      shortBytes: fc.nat({ max: 300 }),
    }),
    fc.record({
      step: fc.constant("cut" as const),
      names: fc.boolean(),
      keptBytes: fc.nat({ max: 400 }),
    }),
  );

  it("are those of one moment since the last commit that was acknowledged", async () => {
    const steps = fc.array(step, { maxLength: 40, size: "max" });
    await assertProperty(
      fc.asyncProperty(steps, async (all) => {
        const run = await startPowered();
        for (const [index, one] of all.entries()) {
          if (one.step === "commit") await commitPowered(run, one, `n${index}`);
          else if (one.step === "delete") await deletePowered(run, one.group);
          else if (one.step === "full") await fillDisk(run, one.commit, one.shortBytes);
          else if (one.step === "cut") await cutPower(run, one.names, one.keptBytes);
          else {
            await remakeTopic(run.store, one.topic);
            run.makings.set(one.topic, run.makings.get(one.topic)! + 1);
          }
          for (const [id, states] of run.moments) {
            assert.deepEqual(await notesOf(run.store, id), shownOf(run, states.at(-1)!));
          }
        }
        await closeStore(run.store);
      }),
      { numRuns: 40 },
    );
  });
});

/** A group: its commits with their times, its members, and what its metadata in the log says. */
interface Model {
  offsets: Map<string, { readonly note: string; readonly committedMs: number }>;
  members: Member[];
  isOfConsumers: boolean;
  emptySinceMs: number;
  /** Whether the log is behind. */
  isDue: boolean;
  /** Since when it is empty for the log: undefined without a record, -1 if it had members. */
  writtenMs: number | undefined;
}

/** A store whose clock moves. */
interface TimedRun {
  readonly fs: FileSystem;
  readonly clock: ManualClock;
  store: Store;
  coordinator: GroupCoordinator;
  models: Map<string, Model>;
  /** When offsets are next looked at. */
  nextLookMs: number;
}

async function startTimed(): Promise<TimedRun> {
  const clock = manualClock();
  const fs = memoryFileSystem();
  const store = await open(fs, clock);
  await makeTopics(store);
  const now = clock.now();
  return {
    fs,
    clock,
    store,
    coordinator: await groupCoordinator(internalsOf(store)),
    models: new Map(groupIds.map((id) => [id, modelOf(now)])),
    nextLookMs: now + checkMs,
  };
}

function modelOf(now: number): Model {
  return {
    offsets: new Map(),
    members: [],
    isOfConsumers: false,
    emptySinceMs: now,
    isDue: false,
    writtenMs: undefined,
  };
}

function isWritten({ offsets, writtenMs }: Model): boolean {
  return offsets.size > 0 || writtenMs !== undefined;
}

function writeDue(model: Model): void {
  if (!model.isDue) return;
  model.isDue = false;
  model.writtenMs = model.members.length > 0 ? -1 : model.emptySinceMs;
}

function writeDueIfWritten(model: Model): void {
  if (isWritten(model)) writeDue(model);
}

/** Forgets what has expired; a group of which nothing is left is as good as none. */
function look(model: Model, now: number): void {
  if (model.members.length === 0) {
    const { isOfConsumers, emptySinceMs } = model;
    const kept = [...model.offsets].filter(([, { committedMs }]) => {
      const unusedSinceMs = isOfConsumers ? Math.max(emptySinceMs, committedMs) : committedMs;
      return now - unusedSinceMs < retentionMs;
    });
    if (kept.length === 0) Object.assign(model, modelOf(now));
    else if (kept.length < model.offsets.size) writeDue(model);
    model.offsets = new Map(kept);
  }
  writeDueIfWritten(model);
}

async function commitTimed(run: TimedRun, commit: Commit, note: string): Promise<void> {
  const { coordinator, models, clock } = run;
  const group = getOrCreateGroup(coordinator, commit.group);
  await commitGroupOffsets(coordinator, group, offsetsOf(commit, note), commit.ack);
  const model = models.get(commit.group)!;
  writeDue(model);
  for (const partition of commit.partitions) {
    model.offsets.set(`${commit.topic}-${partition}`, { note, committedMs: clock.now() });
  }
}

async function remakeTimed({ store, models }: TimedRun, topic: string): Promise<void> {
  await remakeTopic(store, topic);
  for (const model of models.values()) {
    const gone = [...model.offsets.keys()].filter((key) => key.startsWith(topic));
    for (const key of gone) model.offsets.delete(key);
    // The tombstones take what is due with them.
    if (gone.length > 0) writeDue(model);
  }
}

async function deleteTimed({ store, models, clock }: TimedRun, group: string): Promise<void> {
  const model = models.get(group)!;
  const deleting = deleteGroup(store, group);
  if (model.members.length > 0) {
    await assert.rejects(deleting, { code: "NON_EMPTY_GROUP" });
  } else if (!isWritten(model)) {
    await assert.rejects(deleting, { code: "GROUP_ID_NOT_FOUND" });
  } else {
    await deleting;
    models.set(group, modelOf(clock.now()));
  }
}

function joinTimed({ coordinator, models }: TimedRun, group: string): void {
  const model = models.get(group)!;
  const { membership } = getOrCreateGroup(coordinator, group);
  model.members.push(joinMembership(membership, { topics }));
  if (model.members.length > 1) return;
  Object.assign(model, { isOfConsumers: true, isDue: true });
  writeDueIfWritten(model);
}

function leaveTimed({ coordinator, models, clock }: TimedRun, group: string): void {
  const model = models.get(group)!;
  const member = model.members.pop();
  if (member === undefined) return;
  leaveMembership(getOrCreateGroup(coordinator, group).membership, member);
  if (model.members.length > 0) return;
  Object.assign(model, { emptySinceMs: clock.now(), isDue: true });
  writeDueIfWritten(model);
}

async function waitTimed(run: TimedRun, minutes: number): Promise<void> {
  await run.clock.advance(minutes * minuteMs);
  for (; run.nextLookMs <= run.clock.now(); run.nextLookMs += checkMs) {
    for (const model of run.models.values()) look(model, run.nextLookMs);
  }
}

async function reopenTimed(run: TimedRun, isCrash: boolean): Promise<void> {
  const { fs, clock, models } = run;
  if (isCrash) {
    crashStore(run.store, fs);
  } else {
    await closeStore(run.store);
    models.forEach(writeDueIfWritten);
  }
  const now = clock.now();
  run.store = await open(fs, clock);
  run.coordinator = await groupCoordinator(internalsOf(run.store));
  run.nextLookMs = now + checkMs;
  for (const [id, { offsets, writtenMs }] of models) {
    const isDue = writtenMs === -1;
    const emptySinceMs = writtenMs === undefined || isDue ? now : writtenMs;
    const isOfConsumers = writtenMs !== undefined;
    models.set(id, { ...modelOf(now), offsets, isOfConsumers, emptySinceMs, isDue, writtenMs });
  }
}

describe("the expiry of offsets over members, openings and crashes", () => {
  const of = <Name extends string>(step: Name): fc.Arbitrary<{ step: Name; group: string }> =>
    fc.record({ step: fc.constant(step), group: someGroup });
  const step = fc.oneof(
    { weight: 3, arbitrary: commitStep },
    { weight: 2, arbitrary: of("join") },
    { weight: 2, arbitrary: of("leave") },
    {
      weight: 4,
      arbitrary: fc.record({ step: fc.constant("wait" as const), minutes: fc.nat({ max: 40 }) }),
    },
    topicStep,
    deleteStep,
    fc.record({ step: fc.constant("open" as const), isCrash: fc.boolean() }),
  );

  it("comes when a plain model says so, and not before", async () => {
    const steps = fc.array(step, { maxLength: 40, size: "max" });
    await assertProperty(
      fc.asyncProperty(steps, async (all) => {
        const run = await startTimed();
        for (const [index, one] of all.entries()) {
          if (one.step === "commit") await commitTimed(run, one, `n${index}`);
          else if (one.step === "remake") await remakeTimed(run, one.topic);
          else if (one.step === "delete") await deleteTimed(run, one.group);
          else if (one.step === "join") joinTimed(run, one.group);
          else if (one.step === "leave") leaveTimed(run, one.group);
          else if (one.step === "wait") await waitTimed(run, one.minutes);
          else await reopenTimed(run, one.isCrash);
          for (const [id, { offsets }] of run.models) {
            const wanted = [...offsets].map(([key, { note }]) => [key, note] as const).sort();
            assert.deepEqual(await notesOf(run.store, id), Object.fromEntries(wanted));
          }
        }
        await closeStore(run.store);
      }),
      { numRuns: 100 },
    );
  });
});
