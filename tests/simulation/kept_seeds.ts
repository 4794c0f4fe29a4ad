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
];
