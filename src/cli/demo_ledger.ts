/**
 * What was appended and what was read, so that both can be compared: a count, a sum over all
 * records in whatever order, and for each key a sum that depends on the order of its records.
 */

import { crc32c } from "../bytes/crc32c.ts";
import { differenceOf, formatChecksum } from "./demo_report.ts";

/** What is known of the records of one key. */
interface KeyTally {
  count: number;
  /** Changes with the order of the records. */
  chain: number;
}

/** An account of records. */
export interface Ledger {
  count: number;
  valueBytes: number;
  /** The sum of `checksumOfRecord` over all records, modulo 2^32: the same in any order. */
  checksum: number;
  keylessCount: number;
  /** In milliseconds since the epoch; Infinity and -Infinity without records. */
  timestampMin: number;
  timestampMax: number;
  readonly byKey: Map<string, KeyTally>;
  /** The keys to follow; undefined follows the first `keysFollowedMax`. */
  readonly followed: ReadonlyMap<string, unknown> | undefined;
}

/** The order is verified for this many keys; all others count in the sum over all. */
export const keysFollowedMax = 1_000_000;

const utf8 = new TextEncoder();

/**
 * Opens an account.
 *
 * @param original The account that it is to be compared with, if there is one: the same keys are
 * followed.
 * @returns An account without records.
 */
export function ledger(original?: Ledger): Ledger {
  return {
    count: 0,
    valueBytes: 0,
    checksum: 0,
    keylessCount: 0,
    timestampMin: Infinity,
    timestampMax: -Infinity,
    byKey: new Map(),
    followed: original?.byKey,
  };
}

/**
 * Enters a record.
 *
 * @param account The account.
 * @param key Its key as text, or null.
 * @param value Its value.
 * @param timestamp In milliseconds since the epoch.
 * @returns The record's own checksum.
 */
export function enterRecord(
  account: Ledger,
  key: string | null,
  value: Uint8Array,
  timestamp: number,
): number {
  const checksum = checksumOfRecord(key === null ? null : utf8.encode(key), value, timestamp);
  account.count++;
  account.valueBytes += value.length;
  account.checksum = (account.checksum + checksum) >>> 0;
  account.timestampMin = Math.min(account.timestampMin, timestamp);
  account.timestampMax = Math.max(account.timestampMax, timestamp);
  if (key === null) account.keylessCount++;
  else enterRecordOfKey(account, key, checksum);
  return checksum;
}

function enterRecordOfKey(account: Ledger, key: string, checksum: number): void {
  let tally = account.byKey.get(key);
  if (tally === undefined) {
    const { followed, byKey } = account;
    const isFollowed = followed === undefined ? byKey.size < keysFollowedMax : followed.has(key);
    if (!isFollowed) return;
    tally = { count: 0, chain: 0 };
    byKey.set(key, tally);
  }
  tally.count++;
  tally.chain = (Math.imul(tally.chain, 31) + checksum) >>> 0;
}

/**
 * One number for all that is in a record.
 *
 * @param key Its key, or null.
 * @param value Its value.
 * @param timestamp In milliseconds since the epoch.
 * @returns An unsigned 32-bit integer.
 */
export function checksumOfRecord(
  key: Uint8Array | null,
  value: Uint8Array,
  timestamp: number,
): number {
  const ofKey = key === null ? -1 : crc32c(key);
  return (Math.imul(ofKey, 0x9e37_79b1) + crc32c(value) + timestamp % 2 ** 32) >>> 0;
}

/**
 * Compares the records of two accounts as a whole.
 *
 * @param wanted What was appended.
 * @param found What was read.
 * @returns What differs, or undefined.
 */
export function findTotalDifference(wanted: Ledger, found: Ledger): string | undefined {
  const difference = differenceOf("records", wanted.count, found.count) ??
    differenceOf("bytes of values", wanted.valueBytes, found.valueBytes);
  if (difference !== undefined || wanted.checksum === found.checksum) return difference;
  return `expected checksum ${formatChecksum(wanted.checksum)}, ` +
    `found ${formatChecksum(found.checksum)}`;
}

/**
 * Compares the records of each key, order included.
 *
 * @param wanted What was appended.
 * @param found What was read.
 * @returns What differs at the first key that differs, or undefined.
 */
export function findKeyDifference(wanted: Ledger, found: Ledger): string | undefined {
  for (const [key, { count, chain }] of wanted.byKey) {
    const tally = found.byKey.get(key);
    const name = JSON.stringify(key);
    const difference = differenceOf(`records of key ${name}`, count, tally?.count ?? 0);
    if (difference !== undefined) return difference;
    if (tally?.chain !== chain) return `the records of key ${name} came in another order`;
  }
  return differenceOf("keys", wanted.byKey.size, found.byKey.size);
}

/**
 * Adds up the accounts of partitions. The records of a key are in one of them.
 *
 * @param accounts An account a partition.
 * @returns The account of all their records.
 */
export function mergedLedger(accounts: readonly Ledger[]): Ledger {
  const merged = ledger();
  for (const account of accounts) {
    merged.count += account.count;
    merged.valueBytes += account.valueBytes;
    merged.checksum = (merged.checksum + account.checksum) >>> 0;
    merged.keylessCount += account.keylessCount;
    merged.timestampMin = Math.min(merged.timestampMin, account.timestampMin);
    merged.timestampMax = Math.max(merged.timestampMax, account.timestampMax);
    // A key that is in two of them keeps one tally, which then is not the one of all its records.
    for (const [key, tally] of account.byKey) merged.byKey.set(key, tally);
  }
  return merged;
}
