/** What the opening of a store that was not closed properly does first: every log is recovered. */

import { nextTurn } from "../platform/clock.ts";
import { hasFolder, openPartition } from "./partitions.ts";
import type { RecoveryReport, StoreInternals } from "./store.ts";
import { partitionFolderName } from "./topic_name.ts";

/** What is known of a recovery before anything is written of it. */
export type Recovered = Omit<RecoveryReport, "unwrittenFiles">;

/** How many partitions are recovered before the event loop gets a turn. */
const recoveriesAtOnce = 64;

/** For a store that was closed properly. */
export const nothingRecovered: Recovered = {
  wasClean: true,
  scannedPartitions: 0,
  scannedBytes: 0,
  tornBytes: 0,
  failedPartitions: [],
};

/**
 * Opens the log of every partition that was ever used, which recovers it.
 *
 * @param store What there is of a store so far.
 * @returns Resolves with what was done.
 * @throws What is no failure of one partition alone.
 */
export async function recoverPartitions(
  store: Pick<StoreInternals, "fs" | "folder" | "pool" | "clock" | "topics">,
): Promise<Recovered> {
  let scannedPartitions = 0;
  let scannedBytes = 0;
  let tornBytes = 0;
  const failedPartitions: string[] = [];
  for (const topic of store.topics.values()) {
    for (const state of topic.partitions) {
      if (!hasFolder(store, state)) continue;
      try {
        const opened = openPartition(store, topic, state);
        scannedBytes += opened.scannedBytes;
        tornBytes += opened.tornBytes;
      } catch (error) {
        // A fault stays local: the other partitions go on, and who uses this one gets the error.
        if (!(error instanceof Error && "code" in error)) throw error;
        failedPartitions.push(partitionFolderName(state.topic, state.partition));
      }
      scannedPartitions++;
      if (scannedPartitions % recoveriesAtOnce === 0) await nextTurn();
    }
  }
  return { wasClean: false, scannedPartitions, scannedBytes, tornBytes, failedPartitions };
}
