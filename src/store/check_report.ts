/** What `checkStore` finds: plain data. */

import { OttlaError } from "../errors.ts";
import { asStorageError } from "./store_errors.ts";

/**
 * How bad it is. An "error": data is lost or wrong. A "warning": something is wrong that the next
 * opening puts right, or that the data does not need. A "note": nothing is wrong, but worth
 * knowing.
 */
export type CheckSeverity = "error" | "warning" | "note";

/** One thing that was found. */
export interface CheckProblem {
  readonly severity: CheckSeverity;
  /** The file or folder, from the store's folder on; "" is that folder itself. */
  readonly path: string;
  /** Of the byte in that file. */
  readonly position?: number;
  /** One sentence without a full stop. */
  readonly message: string;
  /** The first offset that cannot be read. */
  readonly startOffset?: number;
  /** The next offset that can be read. */
  readonly endOffset?: number;
}

/** One partition. */
export interface PartitionCheck {
  readonly topic: string;
  readonly partition: number;
  readonly segments: number;
  readonly batches: number;
  readonly records: number;
  /** Of the log files. */
  readonly sizeBytes: number;
  /** The first offset that can be read. */
  readonly startOffset: number;
  /** The offset behind the last record. */
  readonly endOffset: number;
  readonly problems: readonly CheckProblem[];
}

/** The outcome of a check. */
export interface CheckReport {
  /** The folder that was checked. */
  readonly path: string;
  /** Whether there are no errors and no warnings. */
  readonly isClean: boolean;
  /** Whether somebody has the store open: what he is writing may look like a torn end. */
  readonly isOpen: boolean;
  /** In the order of topics and numbers; the metadata log is among them. */
  readonly partitions: readonly PartitionCheck[];
  /** What does not belong to one partition. */
  readonly problems: readonly CheckProblem[];
}

/**
 * Problems of one file or folder as they are found; a damaged file does not fill the memory with
 * them.
 */
export interface ProblemList {
  readonly problems: CheckProblem[];
  /** How many were left out. */
  omittedCount: number;
}

/** More of one partition are counted only. */
const problemsMax = 1000;

/** An empty list. */
export function problemList(): ProblemList {
  return { problems: [], omittedCount: 0 };
}

/**
 * Adds a problem.
 *
 * @param list The list.
 * @param problem The problem; beyond a thousand of one list they are counted only.
 */
export function addProblem(list: ProblemList, problem: CheckProblem): void {
  if (list.problems.length < problemsMax) list.problems.push(problem);
  else list.omittedCount++;
}

/**
 * Ends a list.
 *
 * @param list The list.
 * @param path What it is about.
 * @returns Its problems; the last one says how many were left out.
 */
export function problemsOf(list: ProblemList, path: string): CheckProblem[] {
  if (list.omittedCount === 0) return list.problems;
  const message = `There are ${list.omittedCount} more problems`;
  return [...list.problems, { severity: "error", path, message }];
}

/**
 * Runs a check that throws; what it finds becomes a problem.
 *
 * @param list Where to.
 * @param severity How bad it is.
 * @param path The file it is about.
 * @param check What to do.
 * @returns What it returned, or undefined if it threw.
 */
export function attempt<T>(
  list: ProblemList,
  severity: CheckSeverity,
  path: string,
  check: () => T,
): T | undefined {
  try {
    return check();
  } catch (error) {
    // Files that are damaged or cannot be read; anything else is a fault of our own.
    const found = asStorageError(`read ${path}`, error);
    if (!(found instanceof OttlaError)) throw error;
    addProblem(list, { severity, path, message: found.message });
    return undefined;
  }
}
