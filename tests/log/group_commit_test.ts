/** Who waits for which sync: the durability stage alone, with syncs that a test lets go. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { GroupCommit } from "../../src/log/group_commit.ts";
import {
  groupCommit,
  hideUntilSynced,
  visibleEnd,
  waitUntilSynced,
} from "../../src/log/group_commit.ts";
import { settle } from "../support/log_fixture.ts";
import { assertProperty } from "../support/properties.ts";

/** A stage over syncs that wait. */
interface HeldCommit {
  readonly commit: GroupCommit;
  /** What is written so far. */
  endOffset: number;
  readonly syncs: { endOffset: number; resolve: () => void; reject: (error: Error) => void }[];
  /** What happened, in order. */
  readonly events: string[];
}

function heldCommit(): HeldCommit {
  const held: HeldCommit = {
    commit: groupCommit(
      0,
      () => {
        const { endOffset } = held;
        const done = new Promise<void>((resolve, reject) => {
          held.syncs.push({ endOffset, resolve, reject });
        });
        held.events.push(`sync ${endOffset}`);
        return { endOffset, done };
      },
      () => held.events.push(`synced ${held.commit.syncedOffset}`),
      (cause) => new Error("the disk failed", { cause }),
    ),
    endOffset: 0,
    syncs: [],
    events: [],
  };
  return held;
}

/** Appends a record that waits. */
function append(held: HeldCommit): Promise<void> {
  const offset = held.endOffset++;
  hideUntilSynced(held.commit, offset, offset + 1);
  return waitUntilSynced(held.commit, offset + 1).then(
    () => void held.events.push(`done ${offset}`),
    (error: Error) => void held.events.push(`failed ${offset}: ${error.message}`),
  );
}

describe("group commit", () => {
  it("all appends of one turn share one sync", async () => {
    const held = heldCommit();
    const appends = [append(held), append(held), append(held)];
    assert.equal(held.syncs.length, 0);
    await settle();
    assert.deepEqual(held.events, ["sync 3"]);
    held.syncs[0]!.resolve();
    await Promise.all(appends);
    assert.deepEqual(held.events, ["sync 3", "synced 3", "done 0", "done 1", "done 2"]);
    assert.equal(held.commit.syncedOffset, 3);
  });

  it("appends during a sync share the next one", async () => {
    const held = heldCommit();
    void append(held);
    await settle();
    const later = [append(held), append(held)];
    await settle();
    assert.deepEqual(held.events, ["sync 1"]);
    held.syncs[0]!.resolve();
    await settle();
    assert.deepEqual(held.events, ["sync 1", "synced 1", "sync 3", "done 0"]);
    held.syncs[1]!.resolve();
    await Promise.all(later);
    assert.deepEqual(held.events.slice(4), ["synced 3", "done 1", "done 2"]);
    await settle();
    assert.equal(held.syncs.length, 2);
    assert.equal(held.commit.isSyncing, false);
  });

  it("who waits for what is on disk does not wait", async () => {
    const held = heldCommit();
    await waitUntilSynced(held.commit, 0);
    assert.deepEqual(held.events, []);
  });

  it("a stage that came to rest begins again", async () => {
    const held = heldCommit();
    for (const endOffset of [1, 2, 3]) {
      const appended = append(held);
      await settle();
      held.syncs.at(-1)!.resolve();
      await appended;
      assert.equal(held.commit.syncedOffset, endOffset);
    }
    assert.equal(held.syncs.length, 3);
  });

  it("what is hidden ends what can be seen until it is on disk", async () => {
    const held = heldCommit();
    assert.equal(visibleEnd(held.commit, 5), 5);
    held.endOffset = 5;
    void append(held);
    assert.equal(visibleEnd(held.commit, 9), 5);
    await settle();
    held.endOffset = 7;
    void append(held);
    held.syncs[0]!.resolve();
    await settle();
    assert.equal(visibleEnd(held.commit, 9), 7);
    held.syncs[1]!.resolve();
    await settle();
    assert.equal(visibleEnd(held.commit, 9), 9);
  });

  it("a sync that fails is the last word for all who wait and all who come", async () => {
    const held = heldCommit();
    const first = append(held);
    await settle();
    const second = append(held);
    held.syncs[0]!.reject(new Error("EIO"));
    await Promise.all([first, second, append(held)]);
    assert.deepEqual(held.events, [
      "sync 1",
      "failed 0: the disk failed",
      "failed 1: the disk failed",
      "failed 2: the disk failed",
    ]);
    const errorOf = (offset: number): Promise<unknown> =>
      waitUntilSynced(held.commit, offset).then(() => undefined, (error: unknown) => error);
    assert.equal(await errorOf(1), held.commit.failure);
    assert.equal(await errorOf(9), held.commit.failure);
    assert.equal(held.commit.syncedOffset, 0);
    assert.equal(visibleEnd(held.commit, 9), 0);
    await settle();
    assert.equal(held.syncs.length, 1);
  });

  it("a sync that cannot even begin fails as one that failed", async () => {
    const error = new Error("EMFILE");
    const commit = groupCommit(
      0,
      () => {
        throw error;
      },
      () => {},
      (cause) => cause as Error,
    );
    await assert.rejects(waitUntilSynced(commit, 1), error);
    assert.equal(commit.failure, error);
  });

  it("keeps its promises in any order of appends and syncs", async () => {
    const steps = fc.array(fc.constantFrom("append", "flush", "turn", "sync"), { maxLength: 60 });
    await assertProperty(
      fc.asyncProperty(steps, async (names) => {
        const held = heldCommit();
        const done: number[] = [];
        let appended = 0;
        let seenBefore = 0;
        for (const name of names) {
          if (name === "append") {
            const offset = held.endOffset;
            appended++;
            void append(held).then(() => {
              assert.ok(held.commit.syncedOffset > offset);
              done.push(offset);
            });
          } else if (name === "flush") {
            void waitUntilSynced(held.commit, held.endOffset);
          } else if (name === "turn") {
            await settle();
          } else {
            held.syncs.shift()?.resolve();
            await settle();
          }
          const seen = visibleEnd(held.commit, held.endOffset);
          assert.ok(seen >= seenBefore && seen <= held.commit.syncedOffset);
          seenBefore = seen;
        }
        for (let rounds = 0; rounds < 3; rounds++) {
          await settle();
          held.syncs.shift()?.resolve();
        }
        await settle();
        assert.deepEqual(done, Array.from({ length: appended }, (_, offset) => offset));
        assert.equal(held.commit.isSyncing, false);
      }),
      { numRuns: 200 },
    );
  });
});
