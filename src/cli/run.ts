/**
 * Finds the command that the arguments name, runs it, and turns what goes wrong into one line and
 * an exit code.
 */

import { hasErrorCode } from "../platform/file_system.ts";
import type { Command } from "./command.ts";
import { exitCode, isUsageError, messageOf } from "./command.ts";
import { backupCommand } from "./backup.ts";
import { checkCommand } from "./check.ts";
import { consumeCommand } from "./consume.ts";
import { demoCommand, demoHelp } from "./demo.ts";
import { dumpCommand } from "./dump.ts";
import { groupsCommand } from "./groups.ts";
import type { CliIo } from "./io.ts";
import { perfCommand } from "./perf.ts";
import { produceCommand } from "./produce.ts";
import { statsCommand } from "./stats.ts";
import { repairCommand } from "./repair.ts";
import { topicsCommand } from "./topics.ts";
import { version } from "./version.ts";

const commands: readonly Command[] = [
  topicsCommand,
  produceCommand,
  consumeCommand,
  groupsCommand,
  dumpCommand,
  checkCommand,
  repairCommand,
  backupCommand,
  statsCommand,
  perfCommand,
  {
    name: "demo",
    summary: "show what an event log is for, with real events",
    help: demoHelp,
    run: demoCommand,
  },
];

/**
 * Runs `ottla`.
 *
 * @param args What follows the program's name.
 * @param io What it may touch of the process.
 * @returns The exit code: 0 fine, 1 damage found or operation failed, 2 wrong usage.
 */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    await io.stderr.write(helpText());
    return exitCode.usage;
  }
  if (name === "--help" || name === "-h") {
    await io.stdout.write(helpText());
    return exitCode.fine;
  }
  if (name === "--version") {
    await io.stdout.write(`${version}\n`);
    return exitCode.fine;
  }
  const command = commands.find((one) => one.name === name);
  if (command === undefined) {
    await io.stderr.write(`ottla: There is no command ${JSON.stringify(name)}; try ottla --help\n`);
    return exitCode.usage;
  }
  return await runCommand(command, rest, io);
}

async function runCommand(command: Command, args: readonly string[], io: CliIo): Promise<number> {
  try {
    if (isHelpWanted(args)) {
      await io.stdout.write(command.help);
      return exitCode.fine;
    }
    return await command.run(args, io);
  } catch (error) {
    // Whoever read our output has seen enough.
    if (hasErrorCode(error, "EPIPE")) return exitCode.fine;
    const message = messageOf(error);
    const isUsage = isUsageError(error) || error instanceof RangeError;
    if (isUsage) {
      await io.stderr.write(`ottla: ${message}; try ottla ${command.name} --help\n`);
      return exitCode.usage;
    }
    const line = message.startsWith("Cannot ") ? message : `Cannot ${command.name}: ${message}`;
    await io.stderr.write(`ottla: ${line}\n`);
    return exitCode.failed;
  }
}

/** Behind `--` everything is a value. */
function isHelpWanted(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  return options.includes("--help") || options.includes("-h");
}

function helpText(): string {
  const nameWidth = Math.max(...commands.map(({ name }) => name.length)) + 2;
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(nameWidth)}${summary}`);
  return `Usage: ottla <command> [options]

An embedded event log whose files are Apache Kafka's own.

Commands:
${lines.join("\n")}

ottla <command> --help tells more. Exit codes: 0 fine, 1 damage found or operation failed, 2 wrong usage.
`;
}
