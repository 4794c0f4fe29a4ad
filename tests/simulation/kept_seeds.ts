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
    seed: 383,
    found: "a range got the bytes of the next topic of the name, whose opening had failed",
  },
  {
    seed: 207,
    found: "a file that was being replaced when the process died stayed for ever",
  },
  {
    seed: 1715,
    found:
      "a swap that an opening had completed came back, and the next compaction's crash took it",
  },
];
