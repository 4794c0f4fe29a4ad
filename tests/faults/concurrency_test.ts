/**
 * Readers, ranges and consumers that are at work while segments are rolled, removed and compacted,
 * partitions are made, and in the end the topic is deleted.
 */

import assert from "node:assert/strict";
import {
  append,
  appendBatch,
  closeConsumer,
  closeStore,
  compactTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  enforceRetention,
  offsetsOf,
  openConsumer,
  openStore,
} from "../../mod.ts";
import type { Ack, Store } from "../../mod.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath } from "../../src/platform/files.ts";
import { manualClock, seededRandom } from "../../src/testing/mod.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import type { Scene } from "./concurrency_fixture.ts";
import {
  checkSeen,
  countedFileSystem,
  followBatches,
  followLatest,
  followRecords,
  pollOn,
  sendRanges,
} from "./concurrency_fixture.ts";

const seeds = [1, 2, 3, 4];
const partitionsFirst = 3;
const partitionsMax = 5;
const stepCount = 150;
const keyCount = 7;
const openFilesMax = 4;
/** Nothing that is waited for takes longer. */
const turnsMax = 5_000;

function sceneOf(store: Store, fs: Scene["fs"], seed: number): Scene {
  return {
    store,
    fs,
    random: seededRandom(seed),
    appended: Array.from({ length: partitionsMax }, () => new Map<number, string>()),
    seen: [],
    latest: new Map(),
    overtakenCount: 0,
    isOver: false,
    isDeleted: false,
  };
}

/** Appends to the orders and to the compacted topic. */
async function appendOn(scene: Scene, acks: readonly Ack[]): Promise<void> {
  const { store, random, appended, latest } = scene;
  for (let step = 0; step < stepCount; step++) {
    const partition = random.below(offsetsOf(store, "orders").length);
    const ack = random.pick(acks);
    const values = Array.from(
      { length: 1 + random.below(4) },
      (_, index) => `${partition}.${step}.${index} `.padEnd(random.below(200), "x"),
    );
    const records = values.map((value) => ({ value, partition }));
    const [stored] = await appendBatch(store, "orders", records, { ack });
    values.forEach((value, index) => appended[partition]!.set(stored!.baseOffset + index, value));
    const value = `${step}`.padEnd(60, "y");
    const { offset } = await append(store, "latest", { key: `${step % keyCount}`, value }, { ack });
    latest.set(offset, value);
    await nextTurn();
  }
}

/** Removes, compacts and makes partitions. */
async function changeOn(scene: Scene, advance: () => Promise<void>): Promise<number> {
  const { store, random } = scene;
  let removedSegments = 0;
  while (!scene.isOver) {
    await nextTurn();
    const partitions = offsetsOf(store, "orders");
    const { partition, startOffset, highWatermark } = random.pick(partitions);
    switch (random.below(5)) {
      case 0:
        await advance();
        removedSegments += (await enforceRetention(store)).removedSegments;
        break;
      case 1: {
        const beforeOffset = startOffset + random.below(highWatermark - startOffset + 1);
        await deleteRecords(store, "orders", partition, beforeOffset);
        break;
      }
      case 2:
        await compactTopic(store, "latest");
        break;
      case 3:
        if (partitions.length === partitionsMax || random.chance(0.9)) break;
        await createPartitions(store, "orders", partitions.length + 1);
    }
  }
  return removedSegments;
}

/** Until somebody has seen the last record of every partition that has one. */
async function allSeen({ store, seen }: Scene): Promise<void> {
  for (let turns = 0;; turns++) {
    const ends = new Map<number, number>();
    for (const { partition, offset } of seen) {
      ends.set(partition, Math.max(ends.get(partition) ?? 0, offset + 1));
    }
    const isBehind = offsetsOf(store, "orders").some(({ partition, startOffset, endOffset }) =>
      startOffset < endOffset && (ends.get(partition) ?? 0) < endOffset
    );
    if (!isBehind) return;
    assert.ok(turns < turnsMax, "readers come to the end");
    await nextTurn();
  }
}

/** What happened in the tests of several seeds, each of which may lack some of it. */
interface Happened {
  removedSegments: number;
  sentRanges: number;
  overtakenCount: number;
}

forEachFileSystem("readers get right records or the documented error", async (fs, root) => {
  const happened: Happened = { removedSegments: 0, sentRanges: 0, overtakenCount: 0 };
  // A disk takes its time.
  const wanted = fs.kind === "disk" ? seeds.slice(0, 2) : seeds;
  for (const seed of wanted) await runScene(fs, joinPath(root, `store-${seed}`), seed, happened);
  const { removedSegments, sentRanges, overtakenCount } = happened;
  assert.ok(removedSegments > 0 && sentRanges > 0, JSON.stringify(happened));
  // On a disk readers have the time of a sync to read on.
  assert.ok(overtakenCount > 0 || fs.kind === "disk", JSON.stringify(happened));
});

async function runScene(
  inner: FileSystem,
  folder: string,
  seed: number,
  happened: Happened,
): Promise<void> {
  const { fs, open } = countedFileSystem(inner);
  const clock = manualClock(1_700_000_000_000);
  const store = await openStore(folder, {
    fileSystem: fs,
    clock,
    openFilesMax,
    topicOverrides: { segmentBytes: 1_000, indexIntervalBytes: 200 },
  });
  await createTopic(store, "orders", { partitions: partitionsFirst, retentionMs: 5_000 });
  await createTopic(store, "latest", { cleanupPolicy: "compact" });
  const scene = sceneOf(store, fs, seed);
  const ending = new AbortController();
  try {
    await live(scene, ending, () => clock.advance(6_000), happened);
    const left = fs.list(folder).filter(({ name }) => name.startsWith("orders"));
    assert.deepEqual(left, [], "what is deleted leaves nothing");
    assert.deepEqual([...open.values()].filter((path) => path.includes("/orders-")), []);
    checkSegmentFiles(scene, folder);
  } finally {
    // Whatever has failed, all of them end.
    scene.isOver = true;
    scene.isDeleted = true;
    ending.abort();
    await closeStore(store);
  }
  assert.deepEqual([...open.values()], [], "no file is left open");
}

/** Lets all of them do their work, until the topic is deleted. */
async function live(
  scene: Scene,
  ending: AbortController,
  advance: () => Promise<void>,
  happened: Happened,
): Promise<void> {
  const { store } = scene;
  const options = { groupId: "g", topics: "orders", autoOffsetReset: "earliest" } as const;
  const consumers = [
    await openConsumer(store, options),
    await openConsumer(store, { ...options, autoCommit: false }),
  ];
  const partitions = Array.from({ length: partitionsFirst }, (_, partition) => partition);
  const latest = followLatest(scene, ending.signal);
  const readers = Promise.all([
    ...partitions.map((partition) => followRecords(scene, partition)),
    ...partitions.map((partition) => followBatches(scene, partition)),
    ...consumers.map((consumer) => pollOn(scene, consumer)),
  ]);
  const ranges = Promise.all([sendRanges(scene), sendRanges(scene)]);
  const changes = changeOn(scene, advance);
  const story = async (): Promise<void> => {
    await appendOn(scene, ["disk", "os", "memory"]);
    scene.isOver = true;
    happened.removedSegments += await changes;
    for (const count of await ranges) happened.sentRanges += count;
    await allSeen(scene);

    scene.isDeleted = true;
    await deleteTopic(store, "orders");
    await readers;
    happened.overtakenCount += scene.overtakenCount;
    checkSeen(scene);
    await checkLatest(scene, latest, ending);
    for (const consumer of consumers) await closeConsumer(consumer);
  };
  // What fails first is told, whoever would wait for it.
  const failure = Promise.all([latest, readers, ranges, changes]).then(() => new Promise(() => {}));
  await Promise.race([story(), failure]);
}

/** The reader of the compacted topic has what is the last of each key. */
async function checkLatest(
  { latest: appended }: Scene,
  latest: Promise<Map<string, string>>,
  ending: AbortController,
): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await nextTurn();
  ending.abort();
  const wanted = new Map<string, string>();
  for (const value of appended.values()) wanted.set(`${Number.parseInt(value) % keyCount}`, value);
  assert.deepEqual(new Map([...await latest].sort()), new Map([...wanted].sort()));
}

/** Of segments that are no longer there nothing is left. */
function checkSegmentFiles({ store, fs }: Scene, folder: string): void {
  const names = fs.list(joinPath(folder, "latest-0")).map(({ name }) => name);
  assert.deepEqual(names.filter((name) => /\.(deleted|cleaned|swap)$/.test(name)), []);
  const [partition] = describeTopic(store, "latest").partitions;
  assert.equal(names.filter((name) => name.endsWith(".log")).length, partition!.segmentCount);
}
