/** Ranges: whatever becomes of a partition, what was taken hold of stays as it was. */

import { closeRange, openRange, sendRange } from "../../mod.ts";
import type { FileRange } from "../../mod.ts";
import { demand } from "./invariant.ts";
import { pickOffset, readCodes } from "./read_actions.ts";
import type { OpenRange, World } from "./world.ts";
import { attempt, newName, openStoreOf, pickPartition, start, trace } from "./world.ts";

const rangesMax = 4;

/** Takes hold of a range, and sends it at once to know what is in it. */
export function holdRange(world: World): void {
  // What a range sends nobody has looked at.
  if (world.ranges.length >= rangesMax || world.hasFlips) return;
  const model = pickPartition(world);
  if (model === undefined) return;
  const from = pickOffset(world, model);
  const name = newName(world, "range");
  const label = `openRange ${name} of ${model.name} from ${from}`;
  start(world, label, async () => {
    const outcome = await attempt(world, label, readCodes, async () => {
      const range = openRange(openStoreOf(world), model.topic, model.partition, { from });
      return await sentOrClosed(range, name);
    });
    if (outcome.kind === "done") world.ranges.push(outcome.value);
  });
}

/** Sends a range that is held, and maybe lets go of it. */
export function sendHeld(world: World): void {
  if (world.ranges.length === 0) return;
  const held = world.random.pick(world.ranges);
  const isLast = world.random.chance(0.5);
  if (isLast) world.ranges = world.ranges.filter((other) => other !== held);
  const label = `sendRange ${held.name}`;
  start(world, label, async () => {
    await attempt(world, label, [], () => checkHeld(held));
    if (isLast) closeRange(held.range);
  });
}

/** Lets go of all ranges, once their bytes have been compared. */
export async function closeRanges(world: World): Promise<void> {
  for (const held of world.ranges.splice(0)) {
    trace(world, `sendRange ${held.name} for the last time`);
    await attempt(world, held.name, [], () => checkHeld(held));
    closeRange(held.range);
  }
}

async function checkHeld({ name, range, bytes }: OpenRange): Promise<void> {
  const sent = await bytesOf(range);
  demand(
    sent.length === bytes.length && sent.every((byte, index) => byte === bytes[index]),
    () => `${name} of ${range.topic}-${range.partition} gave other bytes than when it was opened`,
  );
}

async function sentOrClosed(range: FileRange, name: string): Promise<OpenRange> {
  try {
    return { name, range, bytes: await bytesOf(range) };
  } catch (error) {
    closeRange(range);
    throw error;
  }
}

async function bytesOf(range: FileRange): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const socket = new WritableStream<Uint8Array>({
    write: (chunk) => void chunks.push(chunk.slice()),
  });
  const sizeBytes = await sendRange(range, socket);
  demand(
    sizeBytes === range.sizeBytes,
    () => `sendRange sent ${sizeBytes} of ${range.sizeBytes} bytes`,
  );
  const bytes = new Uint8Array(sizeBytes);
  let filled = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  return bytes;
}
