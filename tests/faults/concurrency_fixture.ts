/** Those who read a store while it changes, and what they hold it to. */

import assert from "node:assert/strict";
import { Writable } from "node:stream";
import {
  closeRange,
  commit,
  isOttlaError,
  offsetsOf,
  openRange,
  poll,
  read,
  readBatches,
  recordsOf,
  sendRange,
} from "../../mod.ts";
import type { Consumer, LogRecord, Store } from "../../mod.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import type { FileHandle, FileSystem } from "../../src/platform/file_system.ts";
import type { SeededRandom } from "../../src/testing/mod.ts";

/** A file system that knows which files are open. */
export interface CountedFileSystem {
  readonly fs: FileSystem;
  readonly open: Map<FileHandle, string>;
}

/** Counts the open files of another file system. */
export function countedFileSystem(inner: FileSystem): CountedFileSystem {
  const open = new Map<FileHandle, string>();
  const counted = (file: FileHandle, path: string): FileHandle => {
    open.set(file, path);
    return file;
  };
  const fs: FileSystem = {
    ...inner,
    open: (path, mode) => counted(inner.open(path, mode), path),
    createExclusive: (path) => counted(inner.createExclusive(path), path),
    close(file) {
      inner.close(file);
      assert.ok(open.delete(file), "it was open");
    },
  };
  return { fs, open };
}

/** A test with what its parts have in common. */
export interface Scene {
  readonly store: Store;
  readonly fs: FileSystem;
  readonly random: SeededRandom;
  /** What was appended to each partition, by offset: there once the appends have resolved. */
  readonly appended: Map<number, string>[];
  /** What readers have got, to be held against that. */
  readonly seen: { readonly partition: number; readonly offset: number; readonly value: string }[];
  /** What compacted records were appended, by offset. */
  readonly latest: Map<number, string>;
  /** How often a reader was overtaken by what removes records. */
  overtakenCount: number;
  /** Set when the appending and removing is over. */
  isOver: boolean;
  isDeleted: boolean;
}

const decoder = new TextDecoder();

/** Notes a record that somebody got. */
export function noteSeen(scene: Scene, { partition, offset, value }: LogRecord): void {
  scene.seen.push({ partition, offset, value: decoder.decode(value!) });
}

/** All that was seen must have been appended there. */
export function checkSeen({ seen, appended }: Scene): void {
  for (const { partition, offset, value } of seen) {
    assert.equal(value, appended[partition]!.get(offset), `offset ${offset} of ${partition}`);
  }
}

/** Whether a reader may end or begin anew for that: records were removed, or the topic. */
function isExpected(scene: Scene, error: unknown): boolean {
  if (isOttlaError(error, "OFFSET_OUT_OF_RANGE")) {
    scene.overtakenCount++;
    return true;
  }
  return scene.isDeleted && isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION");
}

/** Follows a partition record by record, beginning anew where it was overtaken. */
export async function followRecords(scene: Scene, partition: number): Promise<number> {
  let nextOffset = 0;
  while (!scene.isDeleted) {
    let isFirst = true;
    try {
      for await (const record of read(scene.store, "orders", { partition, live: true })) {
        assert.ok(isFirst ? record.offset >= nextOffset : record.offset === nextOffset);
        isFirst = false;
        nextOffset = record.offset + 1;
        noteSeen(scene, record);
        await dawdle(scene);
      }
    } catch (error) {
      if (!isExpected(scene, error)) throw error;
      // What is read again from the earliest record on lies behind what was read.
      nextOffset = Math.min(nextOffset, startOf(scene, partition));
    }
  }
  return nextOffset;
}

/** Follows a partition batch by batch. */
export async function followBatches(scene: Scene, partition: number): Promise<void> {
  while (!scene.isDeleted) {
    let nextOffset = -1;
    try {
      for await (const batch of readBatches(scene.store, "orders", { partition, live: true })) {
        assert.ok(nextOffset < 0 || batch.baseOffset === nextOffset, "no batch is missing");
        nextOffset = batch.lastOffset + 1;
        for (const record of recordsOf(batch)) noteSeen(scene, record);
        await dawdle(scene);
      }
    } catch (error) {
      if (!isExpected(scene, error)) throw error;
    }
  }
}

/** Follows the compacted topic: of every key its last record comes, whatever is left out before. */
export async function followLatest(
  scene: Scene,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let lastOffset = -1;
  try {
    for await (const record of read(scene.store, "latest", { live: true, signal })) {
      assert.ok(record.offset > lastOffset, "records come in order");
      lastOffset = record.offset;
      const value = decoder.decode(record.value!);
      assert.equal(value, scene.latest.get(record.offset) ?? value);
      found.set(decoder.decode(record.key!), value);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return found;
}

/** Takes hold of ranges, waits a while, and sends them to somebody slow. */
export async function sendRanges(scene: Scene): Promise<number> {
  const { store, random } = scene;
  let sentCount = 0;
  while (!scene.isOver) {
    await nextTurn();
    const partitions = offsetsOf(store, "orders");
    const { partition, startOffset, highWatermark } = random.pick(partitions);
    if (highWatermark === startOffset) continue;
    const from = startOffset + random.below(highWatermark - startOffset);
    const range = openRange(store, "orders", partition, {
      from,
      bytesMax: 200 + random.below(4_000),
    });
    try {
      // The bytes as they lie in the files at this moment.
      const wanted = bytesNow(scene.fs, range.internals.slices);
      for (let turns = random.below(30); turns > 0; turns--) await nextTurn();
      const got: Uint8Array[] = [];
      assert.equal(await sendRange(range, slowSocket(got)), wanted.length);
      assert.ok(Buffer.concat(got).equals(wanted), "a range is what it was when it was opened");
      sentCount++;
    } finally {
      closeRange(range);
    }
  }
  return sentCount;
}

/** Polls and commits, until nothing more is to come. */
export async function pollOn(scene: Scene, consumer: Consumer): Promise<void> {
  while (!scene.isDeleted) {
    try {
      for (const record of await poll(consumer, { recordsMax: 20, waitMs: 0 })) {
        noteSeen(scene, record);
      }
      if (scene.random.chance(0.3)) await commit(consumer);
    } catch (error) {
      if (!isExpected(scene, error)) throw error;
    }
    await nextTurn();
  }
}

function startOf({ store, isDeleted }: Scene, partition: number): number {
  return isDeleted ? 0 : offsetsOf(store, "orders")[partition]!.startOffset;
}

function bytesNow(
  fs: FileSystem,
  slices: ReturnType<typeof openRange>["internals"]["slices"],
): Uint8Array {
  return Buffer.concat(slices.map(({ segment, startPosition, endPosition }) => {
    const bytes = new Uint8Array(endPosition - startPosition);
    const file = fs.open(segment.log.path, "read");
    try {
      assert.equal(fs.read(file, bytes, startPosition), bytes.length);
    } finally {
      fs.close(file);
    }
    return bytes;
  }));
}

/** Now and then a reader has something else to do, and may be overtaken. */
async function dawdle({ random, isOver }: Scene): Promise<void> {
  if (isOver || random.chance(0.9)) return;
  for (let turns = random.below(40); turns > 0; turns--) await nextTurn();
}

/** Takes a piece only when some turns have passed. */
function slowSocket(got: Uint8Array[]): Writable {
  return new Writable({
    highWaterMark: 1,
    write(chunk: Uint8Array, _encoding, done) {
      got.push(Uint8Array.from(chunk));
      nextTurn().then(nextTurn).then(() => done(), done);
    },
  });
}
