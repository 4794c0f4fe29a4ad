/**
 * Where the interoperability test reads and writes: the project's folders and scratch ones.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { fetchKafka, findJava, findMaven, kafkaVersion } from "./kafka_tools.ts";
import type { Kafka } from "./kafka_tools.ts";

/**
 * Finds the project's root, from the sources as well as from what the compiler made of them.
 *
 * @returns The folder that holds `package.json`.
 * @throws Error If no folder above this file does.
 */
export function findProjectFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("Cannot find the project: no package.json above");
    folder = parent;
  }
  return folder;
}

/**
 * Gets Kafka, or says why this machine cannot have it.
 *
 * @returns Kafka, or the reason in one sentence.
 */
export async function findKafka(): Promise<Kafka | string> {
  const java = await findJava();
  if (java === undefined) return "there is no Java 17 or newer on this machine";
  const maven = await findMaven();
  if (maven === undefined) {
    return `there is no Maven on this machine to fetch Kafka ${kafkaVersion}`;
  }
  const cacheFolder = join(findProjectFolder(), "node_modules", ".cache", "ottla-interop");
  return await fetchKafka(java, maven, cacheFolder);
}

/**
 * Runs a function with a new scratch folder and removes that folder, even after a failure unless
 * the variable OTTLA_INTEROP_KEEP is set.
 *
 * @param use What to do with the folder.
 * @returns What the function returned.
 */
export async function withScratchFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "ottla-interop-"));
  try {
    return await use(folder);
  } finally {
    if (process.env["OTTLA_INTEROP_KEEP"] === undefined) {
      await rm(folder, { recursive: true, force: true });
    } else {
      console.log(`kept ${folder}`);
    }
  }
}
