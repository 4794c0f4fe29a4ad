/**
 * What the demo prints: numbered steps, each with a sentence of why one wants it and the facts, and
 * what was verified.
 */

import type { CliIo } from "./io.ts";
import { formatCount } from "./format.ts";

/** A report that is being written. */
export interface DemoReport {
  readonly io: CliIo;
  readonly isColoured: boolean;
  stepCount: number;
  heldCount: number;
  readonly failures: string[];
}

/** What stands before each line of a step. */
export const stepIndent = "   ";

const codes = { bold: 1, dim: 2, red: 31, green: 32 };

/**
 * Begins a report.
 *
 * @param io Where it goes.
 * @param isColoured Whether its reader sees colours.
 * @returns The report.
 */
export function demoReport(io: CliIo, isColoured: boolean): DemoReport {
  return { io, isColoured, stepCount: 0, heldCount: 0, failures: [] };
}

/**
 * Prints the head of a step.
 *
 * @param report The report.
 * @param title One or two words.
 * @param why Why one would want it, in a sentence.
 */
export async function printStep(report: DemoReport, title: string, why: string): Promise<void> {
  report.stepCount++;
  await report.io.stdout.write(
    `\n${paint(report, "bold", `${report.stepCount}  ${title}`)}\n` +
      `${stepIndent}${paint(report, "dim", why)}\n`,
  );
}

/**
 * Prints lines of a step.
 *
 * @param report The report.
 * @param lines The lines, without line ends.
 */
export async function printFacts(report: DemoReport, ...lines: readonly string[]): Promise<void> {
  const text = lines.map((line) => line === "" ? "\n" : `${stepIndent}${line}\n`).join("");
  await report.io.stdout.write(text);
}

/**
 * Prints what was verified, and counts it.
 *
 * @param report The report.
 * @param claim What should be true.
 * @param difference What differs; undefined if the claim holds.
 */
export async function printVerified(
  report: DemoReport,
  claim: string,
  difference: string | undefined,
): Promise<void> {
  if (difference === undefined) {
    report.heldCount++;
    await printFacts(report, `${paint(report, "green", "✓")} ${claim}`);
    return;
  }
  report.failures.push(`${claim}: ${difference}`);
  await printFacts(report, paint(report, "red", `✗ ${claim}`), `  ${difference}`);
}

/**
 * Colours text, if colours are seen.
 *
 * @param report The report.
 * @param look The colour or weight.
 * @param text What to colour.
 * @returns The text to print.
 */
export function paint(report: DemoReport, look: keyof typeof codes, text: string): string {
  return report.isColoured ? `\x1b[${codes[look]}m${text}\x1b[0m` : text;
}

/**
 * Says how two numbers differ.
 *
 * @param what What they count.
 * @param wanted What should be.
 * @param found What is.
 * @returns Undefined if they are the same.
 */
export function differenceOf(what: string, wanted: number, found: number): string | undefined {
  if (wanted === found) return undefined;
  return `expected ${formatCount(wanted)} ${what}, found ${formatCount(found)}`;
}

/** A duration: `0.21 ms`, `8 ms`, `1.25 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 10) return `${durationMs.toFixed(2)} ms`;
  return durationMs < 1000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(2)} s`;
}

/** A time in UTC, as much of it as is not zero: `2001-02-14`, `2001-02-14 00:05`. */
export function formatTime(timestamp: number): string {
  const text = new Date(timestamp).toISOString().replace("T", " ");
  if (timestamp % 86_400_000 === 0) return text.slice(0, 10);
  if (timestamp % 60_000 === 0) return text.slice(0, 16);
  return text.slice(0, timestamp % 1000 === 0 ? 19 : 23);
}

/** A day in UTC: `2001-02-14`. */
export function formatDay(timestamp: number): string {
  return new Date(timestamp).toISOString().slice(0, 10);
}

/** A checksum in hexadecimal digits. */
export function formatChecksum(checksum: number): string {
  return checksum.toString(16).padStart(8, "0");
}
