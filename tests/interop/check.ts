/**
 * Named checks, one line each, and a closing line that counts them.
 */

import process from "node:process";
import { nextTurn } from "../../src/platform/clock.ts";

/** The outcome of checks so far. */
export interface Checks {
  passedCount: number;
  failedCount: number;
}

/** What ottla calls its warnings. */
const warningName = "OttlaWarning";
/** Differences beyond these are counted, not printed. */
const differencesMax = 20;

/**
 * Runs one check and prints how it went. A warning of ottla's is a difference too.
 *
 * @param checks Where the outcome is counted.
 * @param name What is checked.
 * @param findDifferences Returns a line a difference: file, offset and both values. Throwing is
 * failing.
 * @returns True if there was no difference.
 */
export async function check(
  checks: Checks,
  name: string,
  findDifferences: () => Promise<readonly string[]>,
): Promise<boolean> {
  const startMs = performance.now();
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => {
    if (warning.name === warningName) warnings.push(`warning: ${warning.message}`);
  };
  process.on("warning", onWarning);
  let differences: readonly string[];
  try {
    differences = await findDifferences();
  } catch (error) {
    differences = [error instanceof Error ? error.stack ?? error.message : String(error)];
  }
  // Warnings come in a later turn than what they are about.
  await nextTurn();
  process.off("warning", onWarning);
  differences = [...differences, ...warnings];
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  if (differences.length === 0) {
    checks.passedCount++;
    console.log(`ok      ${name} (${seconds} s)`);
    return true;
  }
  checks.failedCount++;
  console.log(`FAILED  ${name} (${seconds} s)`);
  for (const line of differences.slice(0, differencesMax)) console.log(`        ${line}`);
  const rest = differences.length - differencesMax;
  if (rest > 0) console.log(`        and ${rest} more`);
  return false;
}
