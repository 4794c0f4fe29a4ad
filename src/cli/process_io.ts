/**
 * The surroundings of a command that runs as a program of its own: the process's streams and
 * signals.
 */

import process from "node:process";
import type { CliIo, TextOutput } from "./io.ts";

/**
 * Takes hold of the process. Standard output that nobody reads any more is an error of the next
 * write, not of the process; the first Ctrl+C asks the command to stop, the second one ends the
 * process.
 *
 * @returns What a command may touch.
 */
export function processIo(): CliIo {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort());
  process.once("SIGTERM", () => controller.abort());
  return {
    stdout: textOutput(process.stdout),
    stderr: textOutput(process.stderr),
    stdin: process.stdin,
    env: process.env,
    isTerminal: process.stderr.isTTY === true,
    columns: process.stderr.columns ?? 80,
    signal: controller.signal,
  };
}

function textOutput(stream: NodeJS.WriteStream): TextOutput {
  let failure: Error | undefined;
  stream.on("error", (error) => failure ??= error);
  return {
    write(text) {
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        stream.write(text, (error) => error ? reject(error) : resolve());
      });
    },
  };
}
