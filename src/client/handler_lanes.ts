/**
 * Runs handlers of records side by side and keeps those of one key in order.
 *
 * A key of a partition is a lane: its records go one behind the other. Records without a key have
 * no lane and wait for none. Of each partition the oldest record is known that is not done; no later
 * offset may be committed, however much behind it is done already.
 */

import type { LogRecord } from "../record/record.ts";

/**
 * How many records may be kept account of: as long as one is not done, so many behind it may be
 * handled before no more are taken in.
 */
export const takenMax = 100_000;

/** One record that is to be handled. */
export interface Task {
  readonly record: LogRecord<unknown, unknown>;
  readonly partition: PartitionTasks;
  /** Undefined if it has no key. */
  readonly lane: string | undefined;
  readonly progress: Progress;
}

/** What has become of a record, which is not kept for it. */
export interface Progress {
  readonly offset: number;
  isDone: boolean;
}

/** What is under way of one partition. */
export interface PartitionTasks {
  /** In the order of their offsets; those at the front that are done have been removed. */
  readonly taken: Progress[];
  running: number;
  /** Whether it is to go to someone else: nothing of it is tried again. */
  isDraining: boolean;
}

/** Handlers side by side. */
export interface HandlerLanes {
  readonly concurrency: number;
  /** Handles a record to its end; must not reject. Resolves with false if it was not handled. */
  readonly run: (task: Task) => Promise<boolean>;
  readonly partitions: Map<string, PartitionTasks>;
  /** The tasks that wait behind the running one of their lane. */
  readonly lanes: Map<string, Task[]>;
  /** Tasks that wait for nothing but room. */
  ready: Task[];
  running: number;
  /** Not running yet, ready or behind another one. */
  waiting: number;
  /** How many records are kept account of: with those that are done behind one that is not. */
  taken: number;
  /** Called when a task is over, some were dropped, or there is other news. */
  readonly watchers: Set<() => void>;
}

/**
 * Lanes with nothing in them.
 *
 * @param concurrency How many handlers run at once.
 * @param run Handles a record; resolves with whether it was.
 * @returns The lanes.
 */
export function handlerLanes(concurrency: number, run: HandlerLanes["run"]): HandlerLanes {
  return {
    concurrency,
    run,
    partitions: new Map(),
    lanes: new Map(),
    ready: [],
    running: 0,
    waiting: 0,
    taken: 0,
    watchers: new Set(),
  };
}

/**
 * Takes in a record; `startTasks` starts its handler as soon as its lane and the concurrency allow.
 *
 * @param lanes The lanes.
 * @param name Of its partition.
 * @param record The record; those of a partition come in order.
 * @param key Its key as it is stored, or null.
 */
export function addTask(
  lanes: HandlerLanes,
  name: string,
  record: LogRecord<unknown, unknown>,
  key: Uint8Array | null,
): void {
  let partition = lanes.partitions.get(name);
  if (partition === undefined) {
    partition = { taken: [], running: 0, isDraining: false };
    lanes.partitions.set(name, partition);
  }
  const lane = key === null ? undefined : `${name}/${textOfKey(key)}`;
  const progress = { offset: record.offset, isDone: false };
  const task: Task = { record, partition, lane, progress };
  partition.taken.push(progress);
  lanes.taken++;
  lanes.waiting++;
  const queue = lane === undefined ? undefined : lanes.lanes.get(lane);
  if (queue !== undefined) {
    queue.push(task);
    return;
  }
  if (lane !== undefined) lanes.lanes.set(lane, []);
  lanes.ready.push(task);
}

/**
 * Starts handlers of what was taken in, as many as may run. A handler may drop what comes behind it.
 *
 * @param lanes The lanes.
 */
export function startTasks(lanes: HandlerLanes): void {
  while (lanes.running < lanes.concurrency) {
    const task = lanes.ready.shift();
    if (task === undefined) return;
    lanes.waiting--;
    lanes.running++;
    task.partition.running++;
    void lanes.run(task).then((isDone) => endTask(lanes, task, isDone));
  }
}

/**
 * The oldest record of a partition that is not done.
 *
 * @param lanes The lanes.
 * @param name Of the partition.
 * @returns Its offset, or undefined if all that was taken in is done.
 */
export function oldestOffset(lanes: HandlerLanes, name: string): number | undefined {
  return lanes.partitions.get(name)?.taken[0]?.offset;
}

/**
 * Forgets what was taken in of a partition, because it is read from elsewhere. What is running goes
 * on, and its key waits for it.
 *
 * @param lanes The lanes.
 * @param name Of the partition.
 */
export function restartPartition(lanes: HandlerLanes, name: string): void {
  const partition = lanes.partitions.get(name);
  if (partition === undefined) return;
  dropTasks(lanes, (task) => task.partition === partition);
  lanes.taken -= partition.taken.length;
  partition.taken.length = 0;
  partition.isDraining = false;
  wakeLanes(lanes);
}

/**
 * Waits until everything that was taken in has been run.
 *
 * @param lanes The lanes.
 * @returns Resolves when nothing is under way.
 */
export async function finishLanes(lanes: HandlerLanes): Promise<void> {
  while (lanes.running > 0 || lanes.waiting > 0) await nextEnd(lanes);
}

/**
 * Drops what is not running of some partitions and waits for what is.
 *
 * @param lanes The lanes.
 * @param names Of the partitions.
 * @returns Resolves when nothing of them is under way.
 */
export async function drainLanes(lanes: HandlerLanes, names: readonly string[]): Promise<void> {
  const partitions = names.flatMap((name) => lanes.partitions.get(name) ?? []);
  for (const partition of partitions) partition.isDraining = true;
  const isDropped = ({ partition }: Task): boolean => partitions.includes(partition);
  dropTasks(lanes, isDropped);
  while (partitions.some(({ running }) => running > 0)) await nextEnd(lanes);
}

/**
 * Tells how much room there is for more records.
 *
 * @param lanes The lanes.
 * @param waitingMax How many may wait.
 * @returns How many may be taken in now.
 */
export function roomIn({ waiting, taken }: HandlerLanes, waitingMax: number): number {
  return Math.max(0, Math.min(waitingMax - waiting, takenMax - taken));
}

/**
 * Waits for something to change.
 *
 * @param lanes The lanes.
 * @returns Resolves when the next task is over, some were dropped, or `wakeLanes` was called.
 */
export function nextEnd(lanes: HandlerLanes): Promise<void> {
  return new Promise((resolve) => {
    const watcher = (): void => {
      lanes.watchers.delete(watcher);
      resolve();
    };
    lanes.watchers.add(watcher);
  });
}

/**
 * Has everybody who waits for something to change look again.
 *
 * @param lanes The lanes.
 */
export function wakeLanes({ watchers }: HandlerLanes): void {
  for (const watcher of [...watchers]) watcher();
}

function dropTasks(lanes: HandlerLanes, isDropped: (task: Task) => boolean): void {
  const droppedReady = lanes.ready.filter(isDropped);
  lanes.ready = lanes.ready.filter((task) => !isDropped(task));
  lanes.waiting -= droppedReady.length;
  for (const { lane } of droppedReady) if (lane !== undefined) dropLane(lanes, lane);
  for (const queue of lanes.lanes.values()) {
    const first = queue[0];
    if (first === undefined || !isDropped(first)) continue;
    lanes.waiting -= queue.length;
    queue.length = 0;
  }
}

function dropLane(lanes: HandlerLanes, lane: string): void {
  lanes.waiting -= lanes.lanes.get(lane)?.length ?? 0;
  lanes.lanes.delete(lane);
}

function endTask(lanes: HandlerLanes, task: Task, isDone: boolean): void {
  const { partition, lane, progress } = task;
  progress.isDone = isDone;
  lanes.running--;
  partition.running--;
  let count = 0;
  while (partition.taken[count]?.isDone === true) count++;
  partition.taken.splice(0, count);
  lanes.taken -= count;
  const next = lane === undefined ? undefined : lanes.lanes.get(lane)?.shift();
  if (next !== undefined) lanes.ready.push(next);
  else if (lane !== undefined) lanes.lanes.delete(lane);
  startTasks(lanes);
  wakeLanes(lanes);
}

/** A text that is the same for the same bytes and for no others. */
function textOfKey(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += String.fromCharCode(byte);
  return text;
}
