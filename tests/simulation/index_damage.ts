/**
 * Index files that are gone, or hold something else than they should: whoever opens the store next
 * makes them anew, and gets the same answers.
 *
 * What is wrong with an index may look right. So some keep their size, their last entry and the
 * order of their entries, and only lead astray.
 */

import { filesOf } from "../../src/testing/mod.ts";
import type { World } from "./world.ts";
import { trace } from "./world.ts";

const entryBytes = 8;
/** An index that is preallocated has entries at its beginning only. */
const entriesBytesMax = 4_096;
const noiseBytesMax = 200;

/** Spoils the indexes of all segments, each in its own way. */
export function spoilIndexes(world: World): void {
  const { disk, random } = world;
  trace(world, "the indexes of all segments are removed, or hold something else");
  const indexes = filesOf(disk).filter(({ path }) => /^\/data\/.+\.index$/.test(path));
  for (const { path } of indexes) {
    // One without the other would be made anew as a whole, and what it says not looked at.
    const spoil = random.pick([mislead, mislead, writeNoise, removeIndex]);
    spoil(world, path);
    if (spoil !== mislead) removeIndex(world, path.replace(/index$/, "timeindex"));
  }
}

/** Has entries claim offsets that lie before the batches at their positions. */
function mislead({ disk: { fileSystem }, random }: World, path: string): void {
  const file = fileSystem.open(path, "write");
  const bytes = new Uint8Array(Math.min(fileSystem.sizeOf(file), entriesBytesMax));
  fileSystem.read(file, bytes, 0);
  const view = new DataView(bytes.buffer);
  let offsetMin = 0;
  for (let at = 0; at + 2 * entryBytes <= bytes.length; at += entryBytes) {
    const offset = view.getInt32(at);
    const isLast = view.getInt32(at + entryBytes) <= offset;
    if (isLast || offset < offsetMin) break;
    const claimed = offsetMin + random.below(offset - offsetMin + 1);
    view.setInt32(at, claimed);
    offsetMin = claimed + 1;
  }
  fileSystem.write(file, bytes, 0);
  fileSystem.close(file);
}

function writeNoise({ disk: { fileSystem }, random }: World, path: string): void {
  const file = fileSystem.open(path, "write");
  const sizeBytes = Math.min(fileSystem.sizeOf(file), noiseBytesMax);
  fileSystem.write(file, random.bytes(sizeBytes), 0);
  fileSystem.close(file);
}

function removeIndex({ disk: { fileSystem } }: World, path: string): void {
  if (fileSystem.stat(path) !== undefined) fileSystem.remove(path);
}
