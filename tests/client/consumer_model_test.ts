/**
 * Groups under random work: members come and go, poll a little, leave iterations, topics grow, the
 * process dies. Without a crash every record is given out exactly once, with one at least once, and
 * those of a partition in order.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import { append } from "../../src/client/append.ts";
import { closeConsumer, commit, openConsumer, poll } from "../../src/client/consumer.ts";
import { assignmentOf } from "../../src/client/consumer_positions.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { committedOffsets, groupLag } from "../../src/client/groups.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { createPartitions, createTopic } from "../../src/store/topics.ts";
import { assertProperty } from "../support/properties.ts";
import { crashStore, openTestStore } from "../support/store_fixture.ts";

type Step =
  | { readonly kind: "append"; readonly partition: number; readonly count: number }
  | { readonly kind: "open" }
  | { readonly kind: "poll"; readonly member: number; readonly recordsMax: number }
  | { readonly kind: "commit" | "close"; readonly member: number }
  | { readonly kind: "grow" }
  | { readonly kind: "crash" };

/** What happens, and what is known to have been given out. */
interface World {
  readonly fs: FileSystem;
  store: Store;
  members: Consumer[];
  partitionCount: number;
  /** Of every partition, how often each offset was given out. */
  readonly given: number[][];
  /** Of every partition, up to where the oldest offset in the log may have been committed. */
  readonly ends: number[];
}

const member = fc.nat(7);
const calmStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      partition: fc.nat(5),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("open" as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("poll" as const),
      member,
      recordsMax: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("commit" as const), member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("close" as const), member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("grow" as const) }) },
);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: calmStep },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
);
const partitionsMax = 6;

async function newWorld(): Promise<World> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders", { partitions: 2 });
  return { fs, store, members: [], partitionCount: 2, given: [[], []], ends: [0, 0] };
}

function joinWorld({ store }: World): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    topics: ["orders"],
    autoOffsetReset: "earliest",
    autoCommitIntervalMs: 1_000_000,
  });
}

async function pollMember(world: World, consumer: Consumer, recordsMax: number): Promise<number> {
  const records = await poll(consumer, { waitMs: 0, recordsMax });
  const owned = new Set(assignmentOf(consumer).map(({ partition }) => partition));
  const lastSeen = new Map<number, number>();
  for (const { partition, offset } of records) {
    assert.ok(owned.has(partition), "a record of somebody else's partition");
    const before = lastSeen.get(partition);
    if (before !== undefined) assert.equal(offset, before + 1);
    lastSeen.set(partition, offset);
    const given = world.given[partition]!;
    given[offset] = (given[offset] ?? 0) + 1;
  }
  return records.length;
}

/** Nobody reads a partition that another member reads. */
function checkOwners({ members }: World): void {
  const seen = new Set<number>();
  for (const { partition } of members.flatMap((consumer) => assignmentOf(consumer))) {
    assert.equal(seen.has(partition), false, `partition ${partition} has two owners`);
    seen.add(partition);
  }
}

async function doStep(world: World, step: Step): Promise<void> {
  const { store, members } = world;
  const chosen = "member" in step && members.length > 0
    ? members[step.member % members.length]!
    : undefined;
  switch (step.kind) {
    case "append": {
      const partition = step.partition % world.partitionCount;
      for (let n = 0; n < step.count; n++) {
        await append(store, "orders", { value: "v", partition });
      }
      world.ends[partition]! += step.count;
      break;
    }
    case "open":
      if (members.length < 5) members.push(await joinWorld(world));
      break;
    case "poll":
      if (chosen !== undefined) await pollMember(world, chosen, step.recordsMax);
      break;
    case "commit":
      if (chosen !== undefined) await commit(chosen);
      break;
    case "close":
      if (chosen === undefined) break;
      await closeConsumer(chosen);
      world.members = members.filter((consumer) => consumer !== chosen);
      break;
    case "grow":
      if (world.partitionCount === partitionsMax) break;
      world.partitionCount++;
      world.given.push([]);
      world.ends.push(0);
      await createPartitions(store, "orders", world.partitionCount);
      break;
    case "crash":
      crashStore(store, world.fs);
      world.store = await openTestStore(world.fs);
      world.members = [];
  }
  checkOwners(world);
}

/** Polls until everybody has what he is to have and nothing is left. */
async function finish(world: World): Promise<void> {
  if (world.members.length === 0) world.members.push(await joinWorld(world));
  for (let quiet = 0; quiet < 3;) {
    let count = 0;
    for (const consumer of world.members) count += await pollMember(world, consumer, 100);
    quiet = count === 0 ? quiet + 1 : 0;
    checkOwners(world);
  }
  for (const consumer of world.members) await closeConsumer(consumer);
  const offsets = await committedOffsets(world.store, "billing");
  const committed = new Map(offsets.map(({ partition, offset }) => [partition, offset]));
  for (const [partition, end] of world.ends.entries()) {
    assert.equal(committed.get(partition) ?? 0, end, `what is committed of ${partition}`);
  }
  const lags = await groupLag(world.store, "billing");
  assert.deepEqual(lags.filter(({ lag }) => lag !== 0), []);
}

async function run(steps: readonly Step[], check: (count: number) => void): Promise<void> {
  const world = await newWorld();
  for (const step of steps) await doStep(world, step);
  await finish(world);
  for (const [partition, end] of world.ends.entries()) {
    for (let offset = 0; offset < end; offset++) check(world.given[partition]![offset] ?? 0);
    assert.equal(world.given[partition]!.length, end);
  }
  await closeStore(world.store);
}

describe("a group under random work", () => {
  it("gives every record to exactly one member, once", async () => {
    await assertProperty(
      fc.asyncProperty(
        fc.array(calmStep, { minLength: 20, maxLength: 60 }),
        (steps) => run(steps, (count) => assert.equal(count, 1)),
      ),
      { numRuns: 60 },
    );
  });

  it("gives every record at least once where the process dies", async () => {
    await assertProperty(
      fc.asyncProperty(
        fc.array(anyStep, { minLength: 20, maxLength: 60 }),
        (steps) => run(steps, (count) => assert.ok(count >= 1)),
      ),
      { numRuns: 60 },
    );
  });
});
