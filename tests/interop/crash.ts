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
  const program = fileURLToPath(import.meta.url).replace(/crash\.(js|ts)$/, "crash_child.$1");
  const child = spawn(process.execPath, [program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: crashTimeoutMs,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve, reject) => {
    let text = "";
    let acknowledgedCount = 0;
    child.stdout.on("data", (chunk: Uint8Array) => {
      text += new TextDecoder().decode(chunk);
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      acknowledgedCount = Number(lines.at(-1) ?? acknowledgedCount);
      if (acknowledgedCount >= count) child.kill("SIGKILL");
    });
    child.once("error", reject);
    child.once("close", (_, signal) => {
      if (signal === "SIGKILL" && acknowledgedCount >= count) return resolve(acknowledgedCount);
      reject(new Error(`Cannot crash: ended by ${signal} after ${acknowledgedCount} records`));
    });
  });
}
