/**
 * Backups of a store that is in use, in folders beside it. What is in them is compared before the
 * next life of the store, whatever crash comes in between.
 */

import { backupStore } from "../../mod.ts";
import { checkCopy, copiedPartitions, removeCopy } from "./copy_check.ts";
import type { CopyExpectation } from "./copy_check.ts";
import { demand } from "./invariant.ts";
import { checkStep } from "./step_checks.ts";
import { capacityBytes } from "./weather.ts";
import type { World } from "./world.ts";
import { attempt, newName, openStoreOf, start, topicNow, topicsNow } from "./world.ts";

const backupsMax = 2;

/** A backup: under way, or complete as long as it says what must be in it. */
export interface Backup {
  readonly path: string;
  expected: CopyExpectation | undefined;
}

/** Makes a backup. */
export function backUp(world: World): void {
  // Files are copied as they are read.
  const { fileSystem } = world.disk;
  const hasRoom = fileSystem.freeBytes("/") > capacityBytes / 2;
  if (world.backups.length >= backupsMax || world.hasFlips || !hasRoom) return;
  const { disk, random } = world;
  const backup: Backup = { path: `/${newName(world, "backup")}`, expected: undefined };
  world.backups.push(backup);
  const links = random.chance(0.5);
  const label = `backupStore ${backup.path}${links ? "" : " without links"}`;
  start(world, label, async () => {
    checkStep(world);
    // What can be read is in the files, or is written before they are looked at.
    const partitions = copiedPartitions(world, ({ highWatermark }) => highWatermark);
    const topics = topicsNow(world).filter(({ isCreated, isDeleting }) => isCreated && !isDeleting);
    const outcome = await attempt(
      world,
      label,
      [],
      () => backupStore(openStoreOf(world), backup.path, { links }),
    );
    if (outcome.kind === "dead") return;
    checkStep(world);
    if (outcome.kind === "done") {
      for (const [model, copied] of partitions) {
        partitions.set(model, { ...copied, startOffsetMax: model.startOffsetMax });
      }
      backup.expected = {
        partitions,
        topics: topics.filter((topic) =>
          topicNow(world, topic.name) === topic && !topic.isDeleting
        ),
        damage: undefined,
      };
    } else if (!world.hasFaults) {
      const left = disk.fileSystem.stat(backup.path);
      demand(left === undefined, () => `${label} failed, and has left something`);
    }
  });
}

/** Looks at the backups that were completed, and removes all of them. */
export async function checkBackups(world: World): Promise<void> {
  for (const { path, expected } of world.backups.splice(0)) {
    if (expected === undefined) removeCopy(world, path);
    else await checkCopy(world, path, expected);
  }
}
