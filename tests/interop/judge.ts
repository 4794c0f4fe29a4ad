/**
 * Holds every file of a closed log folder to Kafka's dump tool, and `ottla dump` to what that tool
 * prints.
 */
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { compareDumpedLogs, dumpLogSegments, parseDump, shortPath } from "./kafka_dump.ts";
import type { DumpedFile, DumpOptions } from "./kafka_dump.ts";
import { findProjectFolder } from "./project.ts";
import type { Kafka } from "./kafka_tools.ts";

const outputBytesMax = 256 * 1024 * 1024;
const dumpTimeoutMs = 120_000;

/** Which decoder Kafka's tool needs for the logs of a folder. */
const decoders: Readonly<Record<string, NonNullable<DumpOptions["decoder"]>>> = {
  "__cluster_metadata": "metadata",
  "__consumer_offsets": "offsets",
  "__transaction_state": "transactions",
};

/**
 * Lets Kafka's dump tool read every file of a folder, every way it can.
 *
 * @param kafka Kafka.
 * @param folder A log folder that nobody has open.
 * @returns One line a complaint.
 */
export async function judgeFolder(kafka: Kafka, folder: string): Promise<string[]> {
  const files = await findFiles(folder);
  const indexes = files.filter((path) => /\.(time)?index$/.test(path));
  const runs: [readonly string[], DumpOptions][] = [
    [indexes, { check: "sanity" }],
    [indexes, { check: "entries" }],
    [files.filter((path) => /\.(index|timeindex|txnindex)$/.test(path)), {}],
  ];
  for (const [decoder, some] of groupByDecoder(files)) runs.push([some, { decoder }]);
  const dumps = await Promise.all(
    runs.map(([some, options]) => dumpLogSegments(kafka, some, options)),
  );
  return dumps.flatMap((dump) => dump.complaints.map((line) => line.replaceAll(`${folder}/`, "")));
}

/**
 * Compares `ottla dump` with Kafka's dump tool over every file of a folder: batches and records of
 * logs, metadata records of the metadata log and its snapshots, entries of indexes and of producer
 * snapshots.
 *
 * @param kafka Kafka.
 * @param folder A log folder that nobody has open.
 * @returns One line a difference.
 */
export async function compareDumps(kafka: Kafka, folder: string): Promise<string[]> {
  const files = await findFiles(folder);
  const isMetadata = (path: string): boolean =>
    /__cluster_metadata-0.*\.log|checkpoint$/.test(path);
  return [
    ...await compareDumpsOf(kafka, folder, files.filter((path) => !isMetadata(path)), "text"),
    ...await compareDumpsOf(kafka, folder, files.filter(isMetadata), "metadata"),
  ];
}

async function compareDumpsOf(
  kafka: Kafka,
  folder: string,
  files: readonly string[],
  decoder: "text" | "metadata",
): Promise<string[]> {
  const expected = await dumpLogSegments(kafka, files, { decoder });
  const actual = await runOttlaDump(files, decoder);
  return files.flatMap((path) => {
    const name = shortPath(folder, path);
    const isSame = (file: DumpedFile): boolean => file.path === path;
    const [one, other] = [actual.find(isSame), expected.files.find(isSame)];
    if (/\.(log|checkpoint)$/.test(path)) return compareDumpedLogs(name, one, other);
    const [text, wanted] = [one?.lines.join("\n"), other?.lines.join("\n")];
    return text === wanted ? [] : [`${name}: ${text}, expected ${wanted}`];
  });
}

/** Everything the dump tool reads, in the partitions that exist. */
async function findFiles(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name === "bootstrap.checkpoint") paths.push(join(folder, entry.name));
    if (!entry.isDirectory() || entry.name.endsWith("-delete")) continue;
    const names = await readdir(join(folder, entry.name));
    paths.push(...names.map((name) => join(folder, entry.name, name)));
  }
  return paths.filter((path) => /\.(log|index|timeindex|txnindex|snapshot|checkpoint)$/.test(path))
    .sort();
}

function groupByDecoder(
  files: readonly string[],
): Map<NonNullable<DumpOptions["decoder"]>, string[]> {
  const groups = new Map<NonNullable<DumpOptions["decoder"]>, string[]>();
  for (const path of files.filter((path) => /\.(log|snapshot|checkpoint)$/.test(path))) {
    const topic = Object.keys(decoders).find((name) => path.includes(`/${name}-`));
    const isMetadata = path.endsWith(".checkpoint");
    const decoder = isMetadata ? "metadata" : decoders[topic ?? ""] ?? "text";
    groups.set(decoder, [...groups.get(decoder) ?? [], path]);
  }
  return groups;
}

async function runOttlaDump(
  files: readonly string[],
  decoder: "text" | "metadata",
): Promise<DumpedFile[]> {
  const program = join(findProjectFolder(), "dist", "src", "cli", "main.js");
  const option = decoder === "text" ? "--print-data-log" : "--cluster-metadata-decoder";
  const parameters = [program, "dump", "--deep-iteration", option, ...files];
  const { stdout } = await promisify(execFile)(process.execPath, parameters, {
    maxBuffer: outputBytesMax,
    timeout: dumpTimeoutMs,
  }).catch(({ stderr, message }: { stderr?: string; message: string }) => {
    throw new Error(`Cannot run ottla dump: ${(stderr || message).slice(0, 1000)}`);
  });
  return parseDump(stdout);
}
