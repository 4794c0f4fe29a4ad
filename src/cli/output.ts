/**
 * Lines on their way to standard output, gathered so that a line does not cost a write, and handed
 * on at the reader's speed.
 */

import type { CliIo, TextOutput } from "./io.ts";

/** How many characters are gathered before they are written. */
const gatheredCharsMax = 256 * 1024;

/** Lines that wait to be written. */
export interface LineOutput {
  readonly target: TextOutput;
  lines: string[];
  charCount: number;
}

/**
 * Begins to write lines to standard output.
 *
 * @param io The command's surroundings.
 * @returns The output, without lines.
 */
export function lineOutput(io: CliIo): LineOutput {
  return { target: io.stdout, lines: [], charCount: 0 };
}

/** Adds a line; it is written with the next flush. */
export function addLine(output: LineOutput, line: string): void {
  output.lines.push(line, "\n");
  output.charCount += line.length + 1;
}

/** Whether so much has been gathered that it should be flushed. */
export function isFull(output: LineOutput): boolean {
  return output.charCount >= gatheredCharsMax;
}

/**
 * Writes what was gathered.
 *
 * @param output The output.
 * @returns Resolves when more may be gathered.
 * @throws Error With code `EPIPE` if nobody reads any more.
 */
export async function flushLines(output: LineOutput): Promise<void> {
  if (output.charCount === 0) return;
  const text = output.lines.join("");
  output.lines = [];
  output.charCount = 0;
  await output.target.write(text);
}
