/**
 * How far a long task is: on a terminal one line that is drawn again and again, elsewhere a plain
 * line each quarter. It goes to stderr, so that stdout holds the result alone.
 */

import type { CliIo } from "./io.ts";

/** A bar that is being drawn. */
export interface ProgressBar {
  readonly io: Pick<CliIo, "stderr" | "isTerminal" | "columns">;
  readonly indent: string;
  /** What was drawn last: whole percents on a terminal, quarters elsewhere. */
  drawnSteps: number;
  /** The part that is done, 0 to 1, and the words beside it. */
  fraction: number;
  detail: string;
}

const cellsMax = 40;
/** What else stands on the line: the percentage and blanks. */
const marginCells = 10;
const eraseLine = "\r\x1b[K";

/**
 * Begins a bar; nothing is drawn yet.
 *
 * @param io Where to draw.
 * @param indent What stands before it on its line.
 * @returns The bar.
 */
export function progressBar(
  io: Pick<CliIo, "stderr" | "isTerminal" | "columns">,
  indent = "",
): ProgressBar {
  return { io, indent, drawnSteps: -1, fraction: 0, detail: "" };
}

/**
 * Says how far the task is. Draws only if that can be seen.
 *
 * @param bar The bar.
 * @param fraction The part that is done, 0 to 1.
 * @param detail What to say beside it, such as a count.
 * @returns Resolves when it is drawn.
 */
export async function updateProgress(
  bar: ProgressBar,
  fraction: number,
  detail = "",
): Promise<void> {
  bar.fraction = Math.min(1, Math.max(0, fraction));
  bar.detail = detail;
  const steps = Math.floor(bar.fraction * (bar.io.isTerminal ? 100 : 4));
  if (steps === bar.drawnSteps) return;
  const isFirstPlain = !bar.io.isTerminal && steps === 0;
  bar.drawnSteps = steps;
  if (isFirstPlain) return;
  await bar.io.stderr.write(bar.io.isTerminal ? eraseLine + barLine(bar) : `${barLine(bar)}\n`);
}

/**
 * Ends a bar.
 *
 * @param bar The bar.
 * @param stays Whether its last state remains on the terminal; else its line is free again.
 * @returns Resolves when that is drawn.
 */
export async function endProgress(bar: ProgressBar, stays: boolean): Promise<void> {
  if (!bar.io.isTerminal || bar.drawnSteps < 0) return;
  await bar.io.stderr.write(stays ? `${eraseLine}${barLine(bar)}\n` : eraseLine);
}

function barLine(bar: ProgressBar): string {
  const { io, indent, fraction, detail } = bar;
  const percents = `${Math.floor(fraction * 100)} %`;
  if (!io.isTerminal) return `${indent}${percents}  ${detail}`.trimEnd();
  const room = io.columns - indent.length - detail.length - marginCells;
  const cells = Math.max(0, Math.min(cellsMax, room));
  const done = Math.round(fraction * cells);
  const line = `${indent}${"█".repeat(done)}${"░".repeat(cells - done)} ${percents}  ${detail}`;
  // A line that wraps could not be erased.
  return line.trimEnd().slice(0, Math.max(0, io.columns - 1));
}
