/**
 * Seeds that have failed once, each with what it found. They run in every test: a change of the
 * workload gives them another history, so a defect that matters has a plain test of its own as well.
 */

import type { SimulationOptions } from "./simulation.ts";

/** A seed, and what it found. */
export interface KeptSeed extends SimulationOptions {
  readonly found: string;
}

/** All of them, the oldest first. */
export const keptSeeds: readonly KeptSeed[] = [
  {
    seed: 47,
    found: "asking for statistics threw what the file system had thrown",
  },
  {
    seed: 202,
    found: "resetting a group to a time threw what the file system had thrown",
  },
  {
    seed: 939,
    found: "a backup failed as a topic was deleted whose files were being synced",
  },
  {
    seed: 2145,
    found: "offsets that a compaction had taken out before it was broken off passed for lost",
  },
  {
    seed: 2494,
    found: "a store whose lock was read wrong once thought that it had lost it",
  },
  {
    seed: 3378,
    found: "a group committed what lay behind a batch that was read wrong once",
  },
  {
    seed: 5117,
    found: "a store was gone whose folder had been made by a process that was killed at once",
  },
  {
    seed: 538,
    found: "an append that could not read the indexes threw what the file system had thrown",
  },
  {
    seed: 100_293,
    found: "a power cut brought back a segment that a failed recovery had put aside",
  },
];
