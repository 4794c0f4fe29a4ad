/**
 * What the steps of the demo share: the store, the account of what was appended, and what was
 * measured.
 */

import type { Store, StoreOptions } from "../../mod.ts";
import { describeTopic } from "../../mod.ts";
import type { EventFile } from "./demo_events.ts";
import type { Ledger } from "./demo_ledger.ts";
import type { DemoReport } from "./demo_report.ts";

/** What the scan of a partition found; later steps are held against it. */
export interface PartitionTally {
  readonly count: number;
  readonly keyCount: number;
  readonly checksum: number;
  /** Of the first record of `lookupTime` or later. */
  readonly lookupOffset: number | undefined;
  /** Records of `keepTime` or later. */
  readonly keptCount: number;
}

/** How fast a step was. */
export interface Rate {
  readonly step: string;
  readonly count: number;
  readonly sizeBytes: number;
  readonly durationMs: number;
}

/** A run of the demo. */
export interface DemoRun {
  readonly report: DemoReport;
  readonly file: EventFile;
  readonly folder: string;
  readonly storeOptions: StoreOptions;
  readonly isMemory: boolean;
  readonly topic: string;
  readonly signal: AbortSignal;
  store: Store;
  readonly appended: Ledger;
  /** How many events bore a time of their own. */
  timedCount: number;
  readonly tallies: PartitionTally[];
  readonly rates: Rate[];
}

/** How many partitions the demo's topic has. */
export const partitionCount = 4;

const dayMs = 24 * 60 * 60 * 1000;

/**
 * The time that is looked up: the middle of what was appended, the beginning of its day if there
 * are several days.
 */
export function lookupTimeOf(run: DemoRun): number {
  return timeAt(run.appended, 1 / 2);
}

/** From when on retention keeps records: two thirds into what was appended. */
export function keepTimeOf(run: DemoRun): number {
  return timeAt(run.appended, 2 / 3);
}

function timeAt({ timestampMin, timestampMax }: Ledger, part: number): number {
  const time = Math.floor(timestampMin + (timestampMax - timestampMin) * part);
  return timestampMax - timestampMin < 3 * dayMs ? time : time - time % dayMs;
}

/** How many segments a topic has, and how many bytes are in them. */
export function extentOf(run: DemoRun): { segmentCount: number; sizeBytes: number } {
  let segmentCount = 0;
  let sizeBytes = 0;
  for (const partition of describeTopic(run.store, run.topic).partitions) {
    segmentCount += partition.segmentCount;
    sizeBytes += partition.sizeBytes;
  }
  return { segmentCount, sizeBytes };
}
