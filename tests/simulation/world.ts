/**
 * A simulation under way: the disk, the store that is open on it, what is known to be true, and the
 * calls that have not been answered.
 *
 * Calls are not awaited by those who make them: `start` has them run beside the steps, and `attempt`
 * tells what came of each. What a process was told after its death it was not told.
 */

import { AssertionError } from "node:assert/strict";
import { isOttlaError } from "../../mod.ts";
import type { Consumer, ErrorCode, ErrorDetails, FileRange, Producer, Store } from "../../mod.ts";
import { internalsOf } from "../../src/store/store.ts";
import type { SeededRandom, SimulatedDisk, SimulatedProcess } from "../../src/testing/mod.ts";
import type { Backup } from "./backup_actions.ts";
import type { Handling } from "./handling_actions.ts";
import type { GroupModels } from "./group_model.ts";
import { demand } from "./invariant.ts";
import type { ModelRecord, PartitionModel } from "./partition_model.ts";
import type { RemoteProducer } from "./remote_actions.ts";
import type { AppendCounts } from "./stats_actions.ts";
import type { TopicModel, TopicModels } from "./topic_model.ts";
import { topicWithId } from "./topic_model.ts";

/** What a seed does unless it is told to leave it out. */
export const features = [
  "powerCuts",
  "kills",
  "crashesInOpening",
  "failingSyncs",
  "failingWrites",
  "failingReads",
  "fullDisks",
  "fewFiles",
  "flippedBits",
  "slowSyncs",
  "producers",
  "remotes",
  "backups",
  "damage",
  "consumers",
  "handlers",
  "ranges",
  "topicChanges",
  "retention",
  "compaction",
  "deleteRecords",
  "memory",
] as const;

/** One of them. */
export type Feature = (typeof features)[number];

/** Where records go that no handler can do anything with. Nobody consumes it. */
export const deadLetterTopic = "failed";

/** What has happened to a store: nothing, its process was killed, or the power was cut. */
export type Harm = "none" | "kill" | "powerCut";

/** A producer that is open. */
export interface OpenProducer {
  readonly name: string;
  readonly producer: Producer;
}

/** A consumer that is open. */
export interface OpenConsumer {
  readonly name: string;
  readonly groupId: string;
  readonly consumer: Consumer;
  readonly isAutoCommitting: boolean;
  isPolling: boolean;
  /** How many polls it has begun. */
  pollCount: number;
  isClosing: boolean;
  /** Where it reads on, by partition: unknown until the next record. */
  readonly positions: Map<PartitionModel, number>;
  /** What could count as committed when it was given a partition. */
  readonly begins: Map<PartitionModel, readonly number[]>;
  /** Where it was moved to during a poll, which may have taken what it gives before. */
  readonly sought: Map<PartitionModel, readonly number[]>;
  /** What it has paused, and how many polls it had begun then. */
  readonly paused: Map<PartitionModel, number>;
}

/** A range that is open, and what it gave when it was opened. */
export interface OpenRange {
  readonly name: string;
  readonly range: FileRange;
  readonly bytes: Uint8Array;
}

/** A simulation. */
export interface World {
  readonly seed: number;
  /** Decides what is done. */
  readonly random: SeededRandom;
  readonly disk: SimulatedDisk;
  readonly without: ReadonlySet<Feature>;
  /** All that was done and answered. */
  readonly trace: string[];
  /** Whether the trace has the operations of the disk too. */
  readonly tracesDisk: boolean;
  readonly topics: TopicModels;
  readonly groups: GroupModels;
  /** All records that were sent, by number. */
  readonly records: ModelRecord[];
  readonly segmentBytes: number;
  /** The life of a store that it is, from 0, and the step in it. */
  life: number;
  step: number;
  store: Store | undefined;
  /** The process that has it open. */
  process: SimulatedProcess | undefined;
  /** What may fail in this life. */
  hasFaults: boolean;
  /** Whether something failed while it was opened: then some files may stay until the next time. */
  hadFaults: boolean;
  /** Whether what is read in this life may be wrong; consumers tell of it later, too. */
  hasFlips: boolean;
  isClosing: boolean;
  /** Whether others fill the disk now and then. */
  isFilling: boolean;
  /** The worst that has happened since the store was last compared with the model as a whole. */
  harm: Harm;
  /** Calls that have not been answered. */
  readonly underWay: Set<string>;
  producers: OpenProducer[];
  /** These outlive every store. */
  readonly remotes: RemoteProducer[];
  consumers: OpenConsumer[];
  /** Members that handle records one by one. */
  handlings: Handling[];
  /** The records that handlers have in hand, by partition and key. */
  readonly lanes: Map<string, number>;
  ranges: OpenRange[];
  /** Those that were not looked at. */
  readonly backups: Backup[];
  /** By topic id: what was appended in this life of the store. */
  readonly counts: Map<string, AppendCounts>;
  /** By group: which member has which partition. */
  readonly owners: Map<string, Map<string, string>>;
  nextName: number;
  /** The first invariant that did not hold. */
  failure: unknown;
}

/** What came of a call. */
export type Outcome<Value> =
  | { readonly kind: "done"; readonly value: Value }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly details: ErrorDetails }
  | { readonly kind: "dead" };

/** What is under way is waited for in small steps first, and not for longer than this many. */
export const quickWaits = 200;
export const waitsMax = 400;
export const waitMs = 1_000;

/** What fails where the disk does. */
const diskCodes: readonly ErrorCode[] = ["DISK_FULL", "KAFKA_STORAGE_ERROR"];

/** Adds a line to the trace. */
export function trace(world: World, line: string): void {
  const { life, step, disk } = world;
  world.trace.push(`${life}.${step} +${disk.clock.now() - 1_700_000_000_000} ${line}`);
}

/** The process or the machine dies. */
export function noteCrash(world: World, crash: "powerCut" | "killProcess"): void {
  if (crash === "powerCut") world.harm = "powerCut";
  else if (world.harm === "none") world.harm = "kill";
}

/** Whether the process that has the store open has died. */
export function isDead(world: World): boolean {
  return world.process !== world.disk.process;
}

/**
 * Whether the process that runs now has died, for what goes on in its name: others may have come
 * since.
 *
 * @param world The simulation.
 * @returns Tells so whenever it is asked.
 */
export function deathOf({ disk }: World): () => boolean {
  const { process } = disk;
  return () => process !== disk.process;
}

/** The store that is open. */
export function openStoreOf(world: World): Store {
  demand(world.store !== undefined, () => "the simulation has a store open");
  return world.store;
}

/** A name for the trace that nothing else has. */
export function newName(world: World, kind: string): string {
  return `${kind}${world.nextName++}`;
}

/**
 * Has a call run beside the steps.
 *
 * @param world The simulation.
 * @param name What it is, for the trace.
 * @param run Makes the call and takes in what comes of it.
 */
export function start(world: World, name: string, run: () => Promise<void>): void {
  const label = `${newName(world, "#")} ${name}`;
  trace(world, label);
  world.underWay.add(label);
  const { process } = world;
  run().catch((error: unknown) => {
    if (process === world.disk.process) world.failure ??= error;
  }).finally(() => world.underWay.delete(label));
}

/**
 * Makes a call and tells what came of it.
 *
 * @param world The simulation.
 * @param name What it is, for the trace.
 * @param codes The errors it may fail with, beside those of a disk that fails and of a store that is
 * being closed.
 * @param call Makes the call.
 * @returns What came of it.
 * @throws What it must not fail with.
 */
export async function attempt<Value>(
  world: World,
  name: string,
  codes: readonly ErrorCode[],
  call: () => Promise<Value> | Value,
): Promise<Outcome<Value>> {
  const { process } = world;
  try {
    const value = await call();
    if (process !== world.disk.process) return { kind: "dead" };
    return { kind: "done", value };
  } catch (error) {
    if (process !== world.disk.process) {
      if (error instanceof AssertionError) throw error;
      return { kind: "dead" };
    }
    trace(world, `${name}: ${String(error)}`);
    if (error instanceof AssertionError) throw error;
    const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
    demand(isOttlaError(first), () => `${name} failed with ${String(first)}`);
    const { code, details, message } = first;
    const isAllowed = codes.includes(code) || (world.hasFaults && diskCodes.includes(code)) ||
      (world.hasFlips && code === "CORRUPT_MESSAGE") ||
      (world.isClosing && code === "HANDLE_CLOSED");
    demand(isAllowed, () => `${name} failed with ${code}: ${message}`);
    return { kind: "failed", code, details };
  }
}

/** Waits for something, and lets time go on until it is there; undefined if the process dies. */
export async function settled<Value>(
  world: World,
  doing: Promise<Value>,
): Promise<Value | undefined> {
  let isSettled = false;
  const settling = doing.finally(() => isSettled = true);
  settling.catch(() => {});
  for (let waits = 0; !isSettled && !isDead(world); waits++) {
    demand(waits < waitsMax, () => `a call has not been answered after ${waits * waitMs} ms`);
    await world.disk.clock.advance(waits < quickWaits ? 1 : waitMs);
  }
  return isSettled ? await settling : undefined;
}

/**
 * The topic that bears a name now, as the store knows it; nothing is opened for that.
 *
 * @param world The simulation.
 * @param name The name.
 * @returns The topic, or undefined if none does.
 */
export function topicNow(world: World, name: string): TopicModel | undefined {
  if (world.store === undefined || name === deadLetterTopic) return undefined;
  const state = internalsOf(world.store).topics.get(name);
  if (state === undefined || state.failure !== undefined) return undefined;
  return topicWithId(world.topics, name, state.topicId, state.partitions.length);
}

/** All topics of users that the store knows now. */
export function topicsNow(world: World): TopicModel[] {
  if (world.store === undefined) return [];
  return [...internalsOf(world.store).topics.keys()]
    .filter((name) => !name.startsWith("__"))
    .flatMap((name) => topicNow(world, name) ?? []);
}

/** A partition of a topic that there is now. */
export function pickPartition(
  world: World,
  accepts: (topic: TopicModel) => boolean = () => true,
): PartitionModel | undefined {
  const topics = topicsNow(world).filter(accepts);
  if (topics.length === 0) return undefined;
  return world.random.pick(world.random.pick(topics).partitions);
}
