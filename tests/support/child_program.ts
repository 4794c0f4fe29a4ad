/** Starts a program of the tests on the runtime that runs them, and hears what it says. */

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** A program that says a line after the other. */
export interface ChildProgram {
  /** Ends with its output. */
  readonly lines: AsyncIterable<string>;
  /** Lets it stand still where it is, until it is killed or goes on. */
  stop(): void;
  goOn(): void;
  /** Kills it as `kill -9` does, and waits for its end. */
  kill(): Promise<void>;
}

/**
 * Starts a program.
 *
 * @param module The `import.meta.url` of a module in the program's folder.
 * @param name The name of the program's module without its extension.
 * @param args What it is told.
 * @returns The program; it may still be loading.
 */
export function startChildProgram(
  module: string,
  name: string,
  args: readonly string[],
): ChildProgram {
  // It is there in the same form: TypeScript, or what tsc made of it.
  const extension = module.endsWith(".ts") ? ".ts" : ".js";
  const program = fileURLToPath(new URL(`./${name}${extension}`, module));
  const child: ChildProcess = spawn(process.execPath, [...runtimeArguments(), program, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let isOver = false;
  child.once("exit", () => isOver = true);
  // Not `child.kill`: on Deno whoever was sent one signal is taken for dead.
  const signal = (name: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void => {
    if (!isOver && child.pid !== undefined) process.kill(child.pid, name);
  };
  return {
    lines: createInterface({ input: child.stdout! }),
    stop: () => signal("SIGSTOP"),
    goOn: () => signal("SIGCONT"),
    async kill() {
      signal("SIGKILL");
      await closed;
    },
  };
}

function runtimeArguments(): string[] {
  return "deno" in process.versions ? ["run", "--allow-all", "--no-check", "--quiet"] : [];
}
