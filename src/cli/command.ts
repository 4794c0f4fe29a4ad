/** What all commands share: their form, their arguments, and the error of a wrong one. */

import { parseArgs } from "node:util";
import type { ParseArgsConfig } from "node:util";
import { hasErrorCode } from "../platform/file_system.ts";
import type { CliIo } from "./io.ts";

/** A command of `ottla`. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What `--help` prints. */
  readonly help: string;
  /** Runs it; the result is the exit code. */
  readonly run: (args: readonly string[], io: CliIo) => Promise<number>;
}

/** The exit codes of all commands. */
export const exitCode = {
  fine: 0,
  /** Damage was found, or the operation failed. */
  failed: 1,
  /** The command line was wrong. */
  usage: 2,
} as const;

const usageErrorCode = "OTTLA_USAGE";

/** Options by name, as `parseArgs` wants them. */
export type OptionTable = NonNullable<ParseArgsConfig["options"]>;

/** What a command line says. */
export interface Arguments<Options extends OptionTable> {
  readonly values: ReturnType<
    typeof parseArgs<{ options: Options; allowPositionals: true; strict: true }>
  >["values"];
  readonly positionals: readonly string[];
}

/**
 * An error in a command line.
 *
 * @param message What was found and what was wanted.
 * @returns The error; `runCli` makes it exit code 2.
 */
export function usageError(message: string): Error {
  return Object.assign(new Error(message), { code: usageErrorCode });
}

/** Whether an error is about the command line. */
export function isUsageError(error: unknown): boolean {
  return hasErrorCode(error, usageErrorCode);
}

/** What a command with several verbs does for one of them. */
export type VerbRun = (args: readonly string[], io: CliIo) => Promise<number>;

/**
 * Runs the verb that a command line begins with, as in `ottla topics list`.
 *
 * @param name The command's name.
 * @param verbs What to run, by verb.
 * @param args What follows the command's name.
 * @param io Where it reads and writes.
 * @returns The exit code.
 * @throws The error of a wrong command line if there is no such verb; what the verb throws.
 */
export async function runVerb(
  name: string,
  verbs: Readonly<Record<string, VerbRun>>,
  [verb, ...rest]: readonly string[],
  io: CliIo,
): Promise<number> {
  const run = verb !== undefined && Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (run !== undefined) return await run(rest, io);
  const names = Object.keys(verbs);
  const last = names.pop();
  const found = verb === undefined ? "nothing" : JSON.stringify(verb);
  throw usageError(`${name} takes ${names.join(", ")} or ${last}, got ${found}`);
}

/**
 * Reads the arguments of a command.
 *
 * @param args What follows the command's name.
 * @param options The options that it takes.
 * @param names What its other arguments are called; one that has `?` behind it may be left out, one
 * that has `...` may be repeated.
 * @returns The options and the other arguments.
 * @throws Error If there is an unknown option, or too few or too many arguments.
 */
export function parseArguments<const Options extends OptionTable>(
  args: readonly string[],
  options: Options,
  names: readonly string[],
): Arguments<Options> {
  let parsed;
  try {
    parsed = parseArgs({
      args: joinNegativeNumbers(args, options),
      options,
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    throw usageError(firstSentence(error));
  }
  const { values, positionals } = parsed;
  const wanted = names.filter((name) => !name.includes("?"));
  if (positionals.length < wanted.length) {
    const missing = wanted[positionals.length] ?? "";
    throw usageError(`<${missing.replace("...", "")}> is missing`);
  }
  const isOpen = names.some((name) => name.endsWith("..."));
  if (positionals.length > names.length && !isOpen) {
    throw usageError(`${JSON.stringify(positionals[names.length])} is one argument too many`);
  }
  return { values, positionals } as Arguments<Options>;
}

/** `parseArgs` takes `-5` behind an option for another option, not for its value. */
function joinNegativeNumbers(args: readonly string[], options: OptionTable): string[] {
  const joined: string[] = [];
  for (const [index, arg] of args.entries()) {
    if (arg === "--") return [...joined, ...args.slice(index)];
    const option = joined.at(-1) ?? "";
    const isValue = /^-\d/.test(arg) && option.startsWith("--") &&
      options[option.slice(2)]?.type === "string";
    if (isValue) joined[joined.length - 1] = `${option}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/**
 * Reads the value of an option that is a whole number.
 *
 * @param name The option.
 * @param text Its value, or undefined if it was not given.
 * @param min The smallest that is allowed.
 * @param max The largest that is allowed.
 * @returns The number, or undefined if it was not given.
 * @throws Error If it is not such a number.
 */
export function parseInteger(
  name: string,
  text: string | undefined,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): number | undefined {
  if (text === undefined) return undefined;
  const number = /^-?\d+$/.test(text) ? Number(text) : NaN;
  if (number >= min && number <= max) return number;
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} on` : `from ${min} to ${max}`;
  throw usageError(`${name} takes a whole number ${range}, got ${JSON.stringify(text)}`);
}

/**
 * Reads the value of an option that is one of a few words.
 *
 * @param name The option.
 * @param text Its value, or undefined if it was not given.
 * @param words What is allowed.
 * @returns The word, or undefined if it was not given.
 * @throws Error If it is another.
 */
export function parseWord<const Word extends string>(
  name: string,
  text: string | undefined,
  words: readonly Word[],
): Word | undefined {
  if (text === undefined) return undefined;
  const word = words.find((one) => one === text);
  if (word !== undefined) return word;
  throw usageError(`${name} takes ${words.join(", ")}, got ${JSON.stringify(text)}`);
}

/**
 * Reads a time.
 *
 * @param text For example `2026-01-31T12:00:00Z`.
 * @returns In milliseconds since the epoch; undefined if it is no time.
 */
export function findTime(text: string): number | undefined {
  const timeMs = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/**
 * What an error says, in one line.
 *
 * @param error What was caught.
 * @returns Its message.
 */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\s*\n\s*/g, " ").trim();
}

/** The runtimes add advice about `--` behind their first sentence. */
function firstSentence(error: unknown): string {
  return messageOf(error).replace(/\. .*$/, "").replace(/\.$/, "");
}
