/**
 * Kills a program in the middle of its appends.
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { AppendRecord } from "../../mod.ts";

/** The topic that the killed program appends to. */
export const crashTopic = "crash";

const crashTimeoutMs = 60_000;

/** The record that the killed program appends at an offset. */
export function makeCrashRecord(offset: number): AppendRecord {
  return {
    key: offset % 3 === 0 ? null : `key-${offset % 100}`,
    value: `value ${offset} `.padEnd(100 + offset % 50, "abcdef"),
    headers: [],
    timestamp: 1_700_000_000_000 + offset,
  };
}

/**
 * Starts a program that appends to a store, and kills it.
 *
 * @param folder The store's folder.
 * @param count Kill it after at least this many records were acknowledged.
 * @returns How many were acknowledged; a few more may have been appended.
 */
export function crashWhileAppending(folder: string, count: number): Promise<number> {
  return crashChild("crash_child", folder, count);
}

/**
 * Starts a program that says line by line how far it got, and kills it.
 *
 * @param name The name of its module, which lies beside this one.
 * @param folder Its parameter.
 * @param count Kill it when it has said at least this.
 * @returns What it said last.
 */
export function crashChild(name: string, folder: string, count: number): Promise<number> {
  const program = fileURLToPath(import.meta.url).replace(/crash\.(js|ts)$/, `${name}.$1`);
  const child = spawn(process.execPath, [program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: crashTimeoutMs,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve, reject) => {
    let text = "";
    let reachedCount = 0;
    child.stdout.on("data", (chunk: Uint8Array) => {
      text += new TextDecoder().decode(chunk);
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      reachedCount = Number(lines.at(-1) ?? reachedCount);
      if (reachedCount >= count) child.kill("SIGKILL");
    });
    child.once("error", reject);
    child.once("close", (_, signal) => {
      if (signal === "SIGKILL" && reachedCount >= count) return resolve(reachedCount);
      reject(new Error(`Cannot crash: ended by ${signal} after ${reachedCount}`));
    });
  });
}
