/**
 * What goes wrong on a simulated disk: by a rule of one's own, by probability, or not at all.
 */

import { checkNumber, checkObject } from "../store/store_options.ts";
import type { SeededRandom } from "./seeded_random.ts";

/**
 * What is done to a disk. `create` makes a file, `open` opens one that is there; `sync` is of a
 * file, `syncFolder` of the names in a folder.
 */
export type DiskOperationKind =
  | "open"
  | "create"
  | "read"
  | "write"
  | "truncate"
  | "sync"
  | "syncFolder"
  | "rename"
  | "link"
  | "remove"
  | "makeFolder"
  | "removeFolder"
  | "list";

/** One call of a process. */
export interface DiskOperation {
  /** Counts all operations of the disk, from 1. */
  readonly number: number;
  /** What is done. */
  readonly kind: DiskOperationKind;
  /** Of the file or folder; of a file that is open, as it was called when it was opened. */
  readonly path: string;
  /** Of a rename or link: the new path. */
  readonly targetPath: string | undefined;
  /** Of a read or write: where it begins. */
  readonly position: number | undefined;
  /** Of a read or write: its length. Of a truncation: the new size. */
  readonly sizeBytes: number | undefined;
}

/** What goes wrong with one operation. Whatever is not given goes well. */
export interface DiskFault {
  /**
   * The operation fails with this code, such as `EIO` or `ENOSPC`. A sync that fails drops what was
   * to be synced: as on Linux, later syncs succeed without writing it.
   */
  readonly code?: string;
  /** Of a write that fails or crashes: how many bytes reach the file; by seed unless given. */
  readonly writtenBytes?: number;
  /** Of a read that goes well: how many bits come out wrong. The file stays as it is. */
  readonly flippedBits?: number;
  /** Of `syncData` and `readAsync`: how long they take, in milliseconds of the disk's clock. */
  readonly delayMs?: number;
  /** The machine or the process dies in the middle of the operation. */
  readonly crash?: "powerCut" | "killProcess";
}

/** What goes wrong. Switched on and off with `setFaults`. */
export interface DiskFaults {
  /** How likely each kind of operation fails, from 0 to 1, with a code that suits it. */
  readonly probabilities?: Readonly<Partial<Record<DiskOperationKind, number>>>;
  /** How likely a read gives a bit that is wrong, from 0 to 1. */
  readonly flipProbability?: number;
  /** Syncs take from no time to this long, by seed, in milliseconds of the disk's clock. */
  readonly syncMsMax?: number;
  /**
   * Called with every operation, before the probabilities are asked.
   *
   * @returns What is to go wrong; undefined to leave it to the probabilities, `{}` for nothing.
   */
  readonly rule?: (operation: DiskOperation) => DiskFault | undefined;
}

/** How each kind of operation fails where nobody says how. */
const codes: Readonly<Record<DiskOperationKind, readonly string[]>> = {
  open: ["EMFILE", "EIO"],
  create: ["EMFILE", "ENOSPC", "EDQUOT", "EIO"],
  read: ["EIO"],
  write: ["ENOSPC", "EDQUOT", "EIO"],
  truncate: ["EIO"],
  // Where room is only found at the sync, as on network mounts, it can run out there.
  sync: ["EIO", "EIO", "ENOSPC", "EDQUOT"],
  syncFolder: ["EIO"],
  rename: ["EIO", "ENOSPC"],
  link: ["EIO", "ENOSPC"],
  remove: ["EIO"],
  makeFolder: ["EIO", "ENOSPC", "EDQUOT"],
  removeFolder: ["EIO"],
  list: ["EIO", "EMFILE"],
};

/**
 * Checks what a caller gave as faults.
 *
 * @param faults What was given.
 * @throws TypeError or RangeError naming what is wrong.
 */
export function checkFaults(faults: DiskFaults): void {
  checkObject("faults", faults);
  const { probabilities = {}, flipProbability = 0, syncMsMax = 0, rule } = faults;
  checkObject("probabilities", probabilities);
  for (const [kind, probability] of Object.entries(probabilities)) {
    if (!Object.hasOwn(codes, kind)) {
      throw new RangeError(
        `probabilities must be of ${Object.keys(codes).join(", ")}, got ${JSON.stringify(kind)}`,
      );
    }
    checkProbability(`probabilities.${kind}`, probability);
  }
  checkProbability("flipProbability", flipProbability);
  checkNumber("syncMsMax", syncMsMax, 0, 2 ** 31 - 1);
  if (rule !== undefined && typeof rule !== "function") {
    throw new TypeError(`rule must be a function, got ${typeof rule}`);
  }
}

/**
 * What goes wrong with an operation.
 *
 * @param faults What can go wrong.
 * @param operation The operation.
 * @param random Decides over probabilities.
 * @returns The fault, or undefined.
 */
export function findFault(
  faults: DiskFaults,
  operation: DiskOperation,
  random: SeededRandom,
): DiskFault | undefined {
  const { kind } = operation;
  const { probabilities, flipProbability = 0, syncMsMax = 0, rule } = faults;
  const ruled = rule?.(operation);
  if (ruled !== undefined) return ruled;
  const probability = probabilities?.[kind] ?? 0;
  const code = probability > 0 && random.chance(probability) ? random.pick(codes[kind]) : undefined;
  if (kind === "sync" && syncMsMax > 0) {
    const delayMs = random.below(syncMsMax + 1);
    return code === undefined ? { delayMs } : { delayMs, code };
  }
  if (code !== undefined) return { code };
  const isFlipped = kind === "read" && flipProbability > 0 && random.chance(flipProbability);
  return isFlipped ? { flippedBits: 1 } : undefined;
}

function checkProbability(name: string, value: unknown): void {
  if (typeof value !== "number") {
    throw new TypeError(`${name} must be a number, got ${typeof value}`);
  }
  if (value >= 0 && value <= 1) return;
  throw new RangeError(`${name} must be a number from 0 to 1, got ${value}`);
}
