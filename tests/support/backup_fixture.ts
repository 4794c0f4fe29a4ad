/** What the tests of backups share: what a copy holds, and that nothing is wrong with it. */

import assert from "node:assert/strict";
import { checkStore } from "../../src/store/check_store.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import { committedOffsets, listGroups } from "../../src/client/groups.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import type { Store } from "../../src/store/store.ts";
import { listTopics } from "../../src/store/topics.ts";
import { contentOf, recordsIn, textOf } from "./store_fixture.ts";

/** Where the tests back up to in a file system in memory. */
export const copyFolder = "/copy";

/** What a copy holds: the values of every partition, from its start offset on. */
export interface CopyContent {
  /** By names such as `orders-0`. */
  readonly partitions: Record<string, { startOffset: number; values: string[] }>;
  /** By group and partition, such as `billing orders-0`. */
  readonly committed: Record<string, number>;
}

/** Opens a copy as a store, makes sure that it is clean in every respect, and reads all of it. */
export async function openedContent(
  fileSystem: FileSystem,
  folder: string = copyFolder,
): Promise<CopyContent> {
  await assertClean(fileSystem, folder);
  assertOnlyKnownNames(fileSystem, folder);
  const before = contentOf(fileSystem, folder);
  const store = await openStore(folder, { fileSystem, create: false });
  try {
    assert.deepEqual(store.recovery, {
      wasClean: true,
      scannedPartitions: 0,
      scannedBytes: 0,
      tornBytes: 0,
      failedPartitions: [],
      unwrittenFiles: [],
    });
    return await contentOfStore(store);
  } finally {
    await closeStore(store);
    await assertClean(fileSystem, folder);
    // Opening and closing had nothing to add.
    assert.deepEqual(namesOf(contentOf(fileSystem, folder)), namesOf(before));
  }
}

/** What a store holds. */
export async function contentOfStore(store: Store): Promise<CopyContent> {
  const partitions: Record<string, { startOffset: number; values: string[] }> = {};
  for (const topic of listTopics(store)) {
    for (const { partition, startOffset } of offsetsOf(store, topic)) {
      const records = await recordsIn(store, topic, { partition });
      const values = records.map(({ value }) => textOf(value));
      partitions[`${topic}-${partition}`] = { startOffset, values };
    }
  }
  const committed: Record<string, number> = {};
  for (const { groupId } of await listGroups(store)) {
    for (const { topic, partition, offset } of await committedOffsets(store, groupId)) {
      committed[`${groupId} ${topic}-${partition}`] = offset;
    }
  }
  return { partitions, committed };
}

async function assertClean(fileSystem: FileSystem, folder: string): Promise<void> {
  const { problems, partitions } = await checkStore(folder, { fileSystem });
  const all = [...problems, ...partitions.flatMap((partition) => partition.problems)];
  assert.deepEqual(all, []);
}

/** A broker refuses folders that are no partition's, and warns of files that it does not know. */
function assertOnlyKnownNames(fs: FileSystem, folder: string): void {
  const known =
    /^(meta\.properties|(log-start|recovery-point|cleaner)-offset-checkpoint|ottla\.(cleanshutdown|partitioners|lock\.\d+))$/;
  for (const { name, isFolder } of fs.list(folder)) {
    if (!isFolder) assert.match(name, known);
    else assert.match(name, /^[\w.]+-\d+$/);
  }
}

function namesOf(content: Record<string, string>): string[] {
  // An opening leaves its lock, and room for what must be written on a full disk.
  return Object.keys(content).filter((name) => !/^ottla\.(lock\.|reserve)/.test(name));
}
