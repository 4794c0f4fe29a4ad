/** Starts processes that take locks, on the runtime that runs the tests. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** A process that does as `store_lock_child.ts` says. */
export interface LockProcess {
  readonly pid: number;
  acquire(folder: string, time?: number): Promise<string>;
  release(): Promise<string>;
  /** Kills it as `kill -9` does, and waits for its end. */
  kill(): Promise<void>;
  /** Ends its input and waits for its end; resolves to its exit code. */
  end(): Promise<number | null>;
}

/**
 * Starts a process.
 *
 * @returns The process; it may still be loading.
 */
export function startLockProcess(): LockProcess {
  // Beside this file lies the program in the same form: TypeScript, or what tsc made of it.
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const program = fileURLToPath(new URL(`./store_lock_child${extension}`, import.meta.url));
  const child = spawn(process.execPath, [...runtimeArguments(), program], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (...command: (string | number)[]): Promise<string> => {
    child.stdin.write(JSON.stringify(command) + "\n");
    const answer = await answers.next();
    return answer.done === true ? "ended" : answer.value;
  };
  const ended = once(child, "exit");
  return {
    pid: child.pid ?? -1,
    acquire: (folder, time = 0) => ask("acquire", folder, time),
    release: () => ask("release"),
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async end() {
      child.stdin.end();
      await ended;
      return child.exitCode;
    },
  };
}

function runtimeArguments(): string[] {
  return "deno" in process.versions ? ["run", "--allow-all", "--no-check", "--quiet"] : [];
}
