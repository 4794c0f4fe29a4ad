/**
 * The lock file of a store: its names and its content.
 *
 * `ottla.lock.<generation>` is a lock, `ottla.lock.tmp-<token>` one that is being written; both are
 * plain files in the root of the folder, which a Kafka broker passes over. The content is one line
 * of JSON:
 *
 *     {"version":1,"state":"held","token":"…","pid":4711,…,"beganMs":1767225600000}
 *
 * The two states have the same length, so that a lock is let go by writing over it in place.
 */

import { OttlaError } from "../errors.ts";
import type { ProcessIdentity } from "./process_identity.ts";

/** No lock file is larger. */
export const lockBytesMax = 4096;

const prefix = "ottla.lock.";
const temporaryPrefix = `${prefix}tmp-`;
const contentStart = '{"version":1,';

/** What a lock file says. */
export interface LockContent {
  /** A lock that is `free` was let go. */
  readonly state: "held" | "free";
  /** Tells this lock from every other one, of the same process too. */
  readonly token: string;
  readonly holder: ProcessIdentity;
}

/**
 * Names the lock file of a generation.
 *
 * @param generation 1 or more.
 * @returns The name.
 */
export function lockName(generation: number): string {
  return prefix + generation;
}

/**
 * Names a file that is to become a lock.
 *
 * @param token The lock's token.
 * @returns The name.
 */
export function temporaryLockName(token: string): string {
  return temporaryPrefix + token;
}

/**
 * Reads the generation out of a name.
 *
 * @param name Of a file in the root of a store.
 * @returns The generation; undefined if the name is not a lock's.
 */
export function parseLockName(name: string): number | undefined {
  const digits = name.startsWith(prefix) ? name.slice(prefix.length) : "";
  return /^[1-9]\d{0,14}$/.test(digits) ? Number(digits) : undefined;
}

/**
 * Tells whether a name is that of a lock that is being written.
 *
 * @param name Of a file in the root of a store.
 * @returns True if it is.
 */
export function isTemporaryLockName(name: string): boolean {
  return name.startsWith(temporaryPrefix);
}

/**
 * Prints a lock.
 *
 * @param content What it says.
 * @returns The bytes of the file.
 */
export function printLock({ state, token, holder }: LockContent): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ version: 1, state, token, ...holder }) + "\n");
}

/**
 * Reads a lock.
 *
 * @param path The file's path, for the message.
 * @param bytes The file's content.
 * @returns What it says; undefined if it was not written to its end.
 * @throws OttlaError `STORE_INVALID` if this is no lock, or one of a newer version.
 */
export function parseLock(path: string, bytes: Uint8Array): LockContent | undefined {
  const text = new TextDecoder().decode(bytes);
  try {
    return lockContentOf(JSON.parse(text) as unknown);
  } catch (cause) {
    if (isUnfinished(text)) return undefined;
    const message = `Cannot read ${path}: it is not the lock of a store, or of a newer version`;
    throw new OttlaError("STORE_INVALID", message, { details: { path }, cause });
  }
}

/** What a crash kept from being written is empty, ends early, or, after a power cut, in zeros. */
function isUnfinished(text: string): boolean {
  const end = text.indexOf("\0");
  const written = end < 0 ? text : text.slice(0, end);
  const isOurs = written.startsWith(contentStart) || contentStart.startsWith(written);
  return isOurs && !written.includes("}");
}

function lockContentOf(value: unknown): LockContent {
  if (typeof value !== "object" || value === null) throw new TypeError("no object");
  const fields = value as Readonly<Record<string, unknown>>;
  const { version, state, token } = fields;
  if (version !== 1) throw new RangeError(`version ${String(version)}`);
  if (state !== "held" && state !== "free") throw new RangeError(`state ${String(state)}`);
  return {
    state,
    token: textOf(token, "token"),
    holder: {
      pid: numberOf(fields["pid"], "pid", 1, 2 ** 31 - 1),
      startTime: findTextOf(fields["startTime"], "startTime"),
      bootId: findTextOf(fields["bootId"], "bootId"),
      pidNamespace: findTextOf(fields["pidNamespace"], "pidNamespace"),
      machineId: findTextOf(fields["machineId"], "machineId"),
      host: textOf(fields["host"], "host"),
      // The largest time that a Date can hold.
      beganMs: numberOf(fields["beganMs"], "beganMs", 0, 8.64e15),
    },
  };
}

function textOf(value: unknown, name: string): string {
  if (typeof value !== "string") throw new TypeError(`${name} is ${typeof value}`);
  return value;
}

function findTextOf(value: unknown, name: string): string | undefined {
  return value === undefined ? undefined : textOf(value, name);
}

function numberOf(value: unknown, name: string, min: number, max: number): number {
  const isInRange = typeof value === "number" && Number.isSafeInteger(value) &&
    value >= min && value <= max;
  if (!isInRange) throw new RangeError(`${name} is ${String(value)}`);
  return value;
}
