/**
 * Copies made at any moment of any program: every partition as it was at one moment between the call
 * and its end, all of them at the same one; no offset of a group beyond the end of its partition.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { append } from "../../src/client/append.ts";
import { compactTopic } from "../../src/client/compact_topic.ts";
import { deleteTopic } from "../../src/client/delete_topic.ts";
import { commitOffsets } from "../../src/client/groups.ts";
import type { Ack } from "../../src/log/log.ts";
import { nextTurn } from "../../src/platform/clock.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { backupStore } from "../../src/store/backup.ts";
import { enforceRetention, writeCheckpoints } from "../../src/store/maintenance.ts";
import { closeStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteRecords } from "../../src/store/topics.ts";
import type { CopyContent } from "../support/backup_fixture.ts";
import { openedContent } from "../support/backup_fixture.ts";
import { assertProperty } from "../support/properties.ts";
import { openTestStore } from "../support/store_fixture.ts";

const partitionCount = 2;

/** What a program knows of its store. */
interface World {
  readonly store: Store;
  /** All that was ever appended, in one row: what each is and where it went. */
  readonly appended: {
    readonly topic: string;
    readonly partition: number;
    readonly value: string;
  }[];
  readonly backups: Promise<void>[];
}

type Step = (world: World) => unknown;

const anyPartition = fc.nat({ max: partitionCount - 1 });

const anyAppend = fc.record({
  topic: fc.constantFrom("orders", "prices"),
  partition: anyPartition,
  size: fc.nat({ max: 300 }),
  ack: fc.constantFrom<Ack>("disk", "os", "memory"),
}).map(({ topic, partition, size, ack }): Step => ({ store, appended }) => {
  const value = `${appended.length}:${"x".repeat(size)}`;
  appended.push({ topic, partition, value });
  // The key is the value's own, so that compaction takes nothing.
  return append(store, topic, { key: value, value, partition }, { ack });
});

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: anyAppend },
  { weight: 3, arbitrary: fc.constant<Step>(() => nextTurn()) },
  {
    weight: 2,
    arbitrary: anyPartition.map((partition): Step => async ({ store, appended }) => {
      const count = appended.filter((one) => one.topic === "orders" && one.partition === partition);
      const commit = { topic: "orders", partition, offset: count.length };
      // Its records may still be gathered; then it is refused.
      await commitOffsets(store, `group-${partition}`, [commit], { ack: "os" }).catch(() => {});
    }),
  },
  {
    weight: 1,
    arbitrary: anyPartition.map((partition): Step => ({ store }) =>
      deleteRecords(store, "orders", partition, -1)
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>(({ store }) => enforceRetention(store)) },
  { weight: 1, arbitrary: fc.constant<Step>(({ store }) => writeCheckpoints(internalsOf(store))) },
  { weight: 1, arbitrary: fc.constant<Step>(({ store }) => compactTopic(store, "prices")) },
  {
    weight: 1,
    arbitrary: fc.constant<Step>(async ({ store }) => {
      await createTopic(store, "passing", { ifNotExists: true });
      await append(store, "passing", { value: "there" }, { ack: "os" });
      await deleteTopic(store, "passing");
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>(backUp) },
);

const anySteps = fc.array(anyStep, { size: "medium", maxLength: 40 });

function backUp({ backups, appended, store }: World): void {
  const folder = `/copy-${backups.length}`;
  const before = appended.length;
  const backing = backupStore(store, folder).then(async () => {
    const after = appended.length;
    const content = await openedContent(internalsOf(store).fs, folder);
    checkMoment(content, appended, before, after);
  });
  backups.push(backing);
}

/** One number of appends between the two tells of all partitions. */
function checkMoment(
  { partitions, committed }: CopyContent,
  appended: World["appended"],
  before: number,
  after: number,
): void {
  let last = 0;
  let total = 0;
  for (const topic of ["orders", "prices"]) {
    for (let partition = 0; partition < partitionCount; partition++) {
      const found = partitions[`${topic}-${partition}`] ?? { startOffset: 0, values: [] };
      const indexes = appended.flatMap((one, index) =>
        one.topic === topic && one.partition === partition ? [index] : []
      );
      const endOffset = found.startOffset + found.values.length;
      const wanted = indexes.slice(found.startOffset, endOffset).map((at) => appended[at]!.value);
      assert.deepEqual(found.values, wanted, `${topic}-${partition}`);
      total += endOffset;
      last = Math.max(last, endOffset === 0 ? 0 : indexes[endOffset - 1]! + 1);
      const offset = committed[`group-${partition} ${topic}-${partition}`] ?? 0;
      assert.ok(offset <= endOffset, `committed ${offset} of ${endOffset}`);
    }
  }
  // As many records as there were at the moment of the last one: no partition is behind another.
  assert.equal(total, last);
  assert.ok(total >= before && total <= after, `${before} <= ${total} <= ${after}`);
}

test("a copy is the store at one moment", async () => {
  await assertProperty(
    fc.asyncProperty(anySteps, anySteps, async (before, after) => {
      const fs = memoryFileSystem();
      const store = await openTestStore(fs, {
        topicOverrides: { segmentBytes: 900, minCleanableDirtyRatio: 0 },
      });
      await createTopic(store, "orders", { partitions: partitionCount });
      await createTopic(store, "prices", {
        partitions: partitionCount,
        cleanupPolicy: "compact",
      });
      const backups: Promise<void>[] = [];
      const world: World = { store, appended: [], backups };
      const doing: Promise<unknown>[] = [];
      for (const step of [...before, backUp, ...after]) {
        const result = step(world);
        if (result instanceof Promise) doing.push(result.catch(() => {}));
        await Promise.resolve();
      }
      await Promise.all(backups);
      await Promise.all(doing);
      await closeStore(store);
    }),
    { numRuns: 60 },
  );
});
