/** Runs commands of `ottla` in this process, with their input and output in hand. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CliIo } from "../../src/cli/io.ts";
import { runCli } from "../../src/cli/run.ts";

/** What a command printed, and its exit code. */
export interface CommandResult {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** What a command gets, where it matters. */
export interface CommandOptions {
  /** Its standard input, in the pieces in which it comes. */
  readonly input?: string | AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal;
  readonly isTerminal?: boolean;
  /** Called with each piece of its output. */
  readonly onOutput?: (text: string) => void | Promise<void>;
  /** Called with each piece of what it says beside its output. */
  readonly onErrors?: (text: string) => void;
}

/**
 * Runs a command.
 *
 * @param args What follows `ottla`.
 * @param options What it gets.
 * @returns Resolves with what it printed.
 */
export async function runCommand(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { input = "", onOutput, onErrors } = options;
  const output: string[] = [];
  const errors: string[] = [];
  const io: CliIo = {
    stdout: {
      write: (text) => {
        output.push(text);
        return onOutput?.(text);
      },
    },
    stderr: {
      write: (text) => {
        errors.push(text);
        onErrors?.(text);
      },
    },
    stdin: typeof input === "string" ? piecesOf(input) : input,
    env: {},
    isTerminal: options.isTerminal ?? false,
    columns: 80,
    signal: options.signal ?? new AbortController().signal,
  };
  const code = await runCli(args, io);
  return { code, output: output.join(""), errors: errors.join("") };
}

/**
 * Text as the pieces of a stream.
 *
 * @param pieces The pieces.
 * @returns Their bytes, one after the other.
 */
export async function* piecesOf(...pieces: readonly string[]): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for (const piece of pieces) {
    await Promise.resolve();
    yield encoder.encode(piece);
  }
}

/**
 * Does something with a new folder, and removes it.
 *
 * @param use What to do.
 * @returns What that returned.
 */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "ottla-cli-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The lines of an output.
 *
 * @param text An output that ends with a line end, or is empty.
 * @returns Its lines.
 */
export function linesOf(text: string): string[] {
  return text.split("\n").slice(0, -1);
}
