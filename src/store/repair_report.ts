/** What a repair is doing, and what it tells: plain data. */

import type { FileSystem } from "../platform/file_system.ts";
import type { CheckReport } from "./check_report.ts";
import type { DryRunChange } from "./repair_dry_run.ts";

/** One thing that was done, or, if nothing is to be changed, would be. */
export interface RepairStep {
  /** The file or folder, from the store's folder on. */
  readonly path: string;
  /** One sentence without a full stop. */
  readonly message: string;
}

/** Offsets of which nothing could be saved. */
export interface RepairLoss {
  readonly topic: string;
  readonly partition: number;
  /** The first one. */
  readonly startOffset: number;
  /** The one behind the last. */
  readonly endOffset: number;
}

/** The outcome of a repair. */
export interface RepairReport {
  /** The folder that was repaired. */
  readonly path: string;
  /** Whether nothing was changed. */
  readonly isDryRun: boolean;
  readonly steps: readonly RepairStep[];
  /** In the order of topics, partitions and offsets. */
  readonly losses: readonly RepairLoss[];
  /** How many steps and losses were left out of these lists, which have 10,000 at most each. */
  readonly omittedCount: number;
  /** The folder with the bytes that were taken out; undefined if there are none. */
  readonly keptIn: string | undefined;
  /**
   * What a check found afterwards; in a dry run, what it finds now. Undefined if there can be none.
   */
  readonly check: CheckReport | undefined;
}

/** A repair that is under way. */
export interface Repair {
  readonly fs: FileSystem;
  readonly folder: string;
  readonly isDryRun: boolean;
  /** What a dry run would have changed, by paths: `fs` shows it so. */
  readonly changes: Map<string, DryRunChange>;
  /** In it each repair has a folder of its own. */
  readonly asideFolder: string;
  /** That of this repair, once it has put something aside. */
  runFolder: string | undefined;
  readonly steps: RepairStep[];
  readonly losses: RepairLoss[];
  /** How many of both were left out. */
  omittedCount: number;
}

/** More are counted only. */
const stepsMax = 10_000;

/**
 * Notes what is being done.
 *
 * @param repair The repair.
 * @param path The file or folder, from the store's folder on.
 * @param message One sentence without a full stop.
 */
export function addStep(repair: Repair, path: string, message: string): void {
  if (repair.steps.length < stepsMax) repair.steps.push({ path, message });
  else repair.omittedCount++;
}

/** Notes offsets of which nothing could be saved. */
export function addLoss(repair: Repair, loss: RepairLoss): void {
  if (repair.losses.length < stepsMax) repair.losses.push(loss);
  else repair.omittedCount++;
}
