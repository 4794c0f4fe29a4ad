/** What the tests of `checkStore` share: stores in memory, and ways to damage them. */

import { readdirSync, readFileSync } from "node:fs";
import { append, closeStore, createTopic } from "../../mod.ts";
import type { CheckProblem, CheckReport } from "../../mod.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { checkStore } from "../../src/store/check_store.ts";
import { someTime } from "../support/batches.ts";
import { resizeFile, writeBytes } from "../support/log_fixture.ts";
import { crashStore, openTestStore, storeFolder } from "../support/store_fixture.ts";

/** Folders that Kafka wrote. */
export const fixtures = "tests/fixtures/kafka_4_1_1";
/** How many records the topic has. */
export const recordCount = 60;
/** The first segment of the topic, its log and its offset index. */
export const firstLog = "orders-0/00000000000000000000.log";
export const firstIndex = "orders-0/00000000000000000000.index";

/** A store in memory with a topic of several segments, closed or torn away. */
export async function filledStore(ending: "closed" | "crashed" = "closed"): Promise<FileSystem> {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs, { topicOverrides: { segmentBytes: 2000 } });
  await createTopic(store, "orders", { indexIntervalBytes: 200 });
  await createTopic(store, "empty", { partitions: 2 });
  const value = new Uint8Array(50).fill(0x61);
  for (let index = 0; index < recordCount; index++) {
    const timestamp = someTime + (index * 37) % 100;
    await append(store, "orders", { key: `k${index}`, value, timestamp }, { ack: "disk" });
  }
  if (ending === "closed") await closeStore(store);
  else crashStore(store, fs);
  return fs;
}

/** Checks the store of a test. */
export function check(fs: FileSystem): Promise<CheckReport> {
  return checkStore(storeFolder, { fileSystem: fs });
}

/** The problems of the store and of all partitions. */
export function allProblems({ problems, partitions }: CheckReport): CheckProblem[] {
  return [...problems, ...partitions.flatMap((partition) => partition.problems)];
}

/** The path of a file of the store. */
export const at = (path: string): string => joinPath(storeFolder, path);

/** The logs of the topic, in order. */
export function logNames(fs: FileSystem): string[] {
  const names = fs.list(at("orders-0")).map(({ name }) => name);
  return names.filter((name) => name.endsWith(".log")).sort().map((name) => `orders-0/${name}`);
}

/** The batches of a log, which is whole. */
export function batchesOf(fs: FileSystem, path: string): BatchView[] {
  return [...batchesIn(readFile(fs, at(path))!)];
}

/** Copies a folder that Kafka wrote into memory. */
export function kafkaStore(name: string): FileSystem {
  const fs = memoryFileSystem();
  for (
    const entry of readdirSync(`${fixtures}/${name}`, { recursive: true, withFileTypes: true })
  ) {
    const folder = entry.parentPath.replaceAll("\\", "/").slice(`${fixtures}/${name}`.length);
    fs.makeFolder(at(folder.slice(1)));
    if (!entry.isFile()) continue;
    const bytes = new Uint8Array(readFileSync(`${entry.parentPath}/${entry.name}`));
    writeBytes(fs, joinPath(at(folder.slice(1)), entry.name), bytes);
  }
  return fs;
}

/** Replaces a file. */
export function replace(fs: FileSystem, path: string, bytes: Uint8Array): void {
  writeBytes(fs, at(path), bytes, 0);
  resizeFile(fs, at(path), bytes.length);
}
