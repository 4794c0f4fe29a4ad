/**
 * Members of a group that handle records with `consumeEach`: many at once, those of a key in order,
 * again if a handler throws, and with a place for those that no handler can do anything with.
 *
 * Whatever happens, the group never passes a record that was neither handled nor sent to that place.
 */

import { closeConsumer, consumeEach, createTopic, listTopics, read } from "../../mod.ts";
import type { ErrorCode, HandlerContext, LogRecord } from "../../mod.ts";
import type { Clock } from "../../src/testing/mod.ts";
import { pollCodes, refusedCodes } from "./consumer_actions.ts";
import { handlingGroup } from "./group_model.ts";
import { demand } from "./invariant.ts";
import { joinGroup } from "./members.ts";
import type { ModelRecord } from "./partition_model.ts";
import { noteRead } from "./partition_model.ts";
import { idOfRecord } from "./record_content.ts";
import { checkStep } from "./step_checks.ts";
import type { OpenConsumer, World } from "./world.ts";
import { attempt, deadLetterTopic, deathOf, openStoreOf, start } from "./world.ts";

const handlingsMax = 3;
const handlerMsMax = 30;
/** Of so many records one is never handled, and of fewer one not at the first attempt. */
const hopelessEvery = 17;
const moodyEvery = 5;
/** A dead letter is larger than the record, and no larger than a small segment. */
const thrownBytesMax = 250;

/** A member of the group, and what ends its handling. */
export interface Handling {
  readonly open: OpenConsumer;
  readonly stop: AbortController;
}

/** What a handler knows of where it runs. */
interface Surroundings {
  readonly retriesMax: number;
  readonly clock: Clock;
  readonly isDead: () => boolean;
}

/** A member joins the group and handles what it is given. */
export function handleEach(world: World): void {
  if (world.handlings.length >= handlingsMax) return;
  const { random } = world;
  const concurrency = random.pick([1, 3, 16]);
  const retriesMax = random.pick([0, 1, 2]);
  const label = `consumeEach, ${concurrency} at once, ${retriesMax} retries`;
  start(world, label, async () => {
    const { clock } = world.disk.process;
    const surroundings = { retriesMax, clock, isDead: deathOf(world) };
    const options = { retentionMs: -1, ifNotExists: true };
    const made = await attempt(
      world,
      `createTopic ${deadLetterTopic}`,
      [],
      () => createTopic(openStoreOf(world), deadLetterTopic, options),
    );
    if (made.kind !== "done") return;
    const open = await joinGroup(world, handlingGroup, true);
    if (open === undefined) return;
    const stop = new AbortController();
    const handling = { open, stop };
    world.handlings.push(handling);
    const codes: readonly ErrorCode[] = [...pollCodes, ...refusedCodes];
    const outcome = await attempt(world, label, codes, () =>
      consumeEach(
        open.consumer,
        (record, context) => handle(world, open, record, context, surroundings),
        { concurrency, retriesMax, backoffMs: 3, deadLetterTopic, signal: stop.signal },
      ));
    if (outcome.kind === "dead" || open.isClosing) return;
    world.handlings = world.handlings.filter((other) => other !== handling);
    await close(world, open);
  });
}

/** A member ends its handling, or is closed in the middle of it. */
export function stopHandling(world: World): void {
  if (world.handlings.length === 0) return;
  const handling = world.random.pick(world.handlings);
  const { open, stop } = handling;
  world.handlings = world.handlings.filter((other) => other !== handling);
  const isAborted = world.random.chance(0.5);
  start(world, `${isAborted ? "stopHandling" : "closeHandling"} ${open.name}`, async () => {
    if (isAborted) return stop.abort(new Error("enough"));
    await close(world, open);
  });
}

/**
 * Reads what could not be handled, which is as good as handled from then on.
 *
 * @param world The simulation, whose store was just opened.
 */
export async function readDeadLetters(world: World): Promise<void> {
  for (const record of world.records) record.isGivenUp = false;
  if (!listTopics(openStoreOf(world)).includes(deadLetterTopic)) return;
  for await (const letter of read(openStoreOf(world), deadLetterTopic)) {
    const record = world.records[idOfRecord(letter)];
    demand(record !== undefined, () => `a dead letter is of a record that nobody sent`);
    const fields = ["dlt.topic", "dlt.partition", "dlt.offset"].map((name) =>
      headerOf(letter, name)
    );
    const { model: { topic, partition }, offset } = record;
    demand(
      fields.join() === `${topic},${partition},${fields[2]}` &&
        (offset < 0 || offset === Number(fields[2])),
      () =>
        `the dead letter of record ${record.id} names ${fields.join()}, not ${topic}-${partition}`,
    );
    record.isGivenUp = true;
  }
}

async function close(world: World, open: OpenConsumer): Promise<void> {
  open.isClosing = true;
  const codes: readonly ErrorCode[] = ["HANDLE_CLOSED", ...refusedCodes];
  await attempt(world, `closeConsumer ${open.name}`, codes, () => closeConsumer(open.consumer));
}

async function handle(
  world: World,
  open: OpenConsumer,
  found: LogRecord,
  { attempt: number }: HandlerContext,
  { retriesMax, clock, isDead }: Surroundings,
): Promise<void> {
  const { random } = world;
  if (isDead()) return;
  const record = takeRecord(world, found);
  const lane = enterLane(world, open, record, number);
  const waitMs = random.chance(0.3) ? random.below(handlerMsMax) : 0;
  if (waitMs > 0) {
    await new Promise<void>((resolve) => clock.startTimer(() => resolve(), waitMs));
  } else if (random.chance(0.3)) await Promise.resolve();
  if (isDead()) return;
  world.lanes.delete(lane);
  const isHopeless = record.id % hopelessEvery === 0;
  const isMoody = number === 1 && record.id % moodyEvery === 0;
  if (record.sizeBytes < thrownBytesMax && (isHopeless || isMoody)) {
    if (number > retriesMax) record.isGivenUp = true;
    throw new Error(`record ${record.id} is not to be handled`);
  }
  record.isHandled = true;
}

function takeRecord(world: World, found: LogRecord): ModelRecord {
  try {
    checkStep(world);
    const { model } = world.records[idOfRecord(found)]!;
    return noteRead(model, world.records, found);
  } catch (error) {
    // What a handler throws is no failure of the simulation.
    world.failure ??= error;
    throw error;
  }
}

/** One record of a key is handled at a time, and none before those that lie before it. */
function enterLane(world: World, open: OpenConsumer, record: ModelRecord, number: number): string {
  const { model, id, offset } = record;
  const key = record.record.key === null ? `record ${id}` : String(record.record.key);
  const lane = `${model.name} ${key}`;
  const other = world.lanes.get(lane);
  const before = model.rules.isCompacted || number > 1 || record.record.key === null
    ? undefined
    : model.placed.findLast((earlier) =>
      earlier !== undefined && earlier.offset < offset && earlier.offset >= model.startOffsetMax &&
      String(earlier.record.key) === key
    );
  const isInOrder = before === undefined || before.isHandled || before.isGivenUp;
  if (other !== undefined || !isInOrder) {
    world.failure ??= new Error(
      other === undefined
        ? `${open.name} handles record ${id} of ${lane} before ${before!.id}`
        : `${open.name} handles record ${id} of ${lane} beside ${other}`,
    );
  }
  world.lanes.set(lane, id);
  return lane;
}

function headerOf({ headers }: LogRecord, name: string): string {
  const value = headers.findLast(({ key }) => key === name)?.value;
  return new TextDecoder().decode(value ?? new Uint8Array(0));
}
